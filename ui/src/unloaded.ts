/** A part of the page that is loaded when it is needed did not come, though there is a network. */
export class Unloaded extends Error {
  constructor() {
    super("A part of the page was not loaded.");
    this.name = "Unloaded";
  }
}

/**
 * Have style sheets that failed asked for again. Vite puts a link for each into the head and never asks for one that is
 * there: a part that is loaded at the second attempt would have no styles.
 */
export function forgetFailedStyles(): void {
  for (const link of document.head.querySelectorAll<HTMLLinkElement>("link[rel=stylesheet]"))
    if (link.sheet === null) link.remove();
}

/** A part of the page that is loaded when it is needed did not come. */
export class Unloaded extends Error {
  constructor() {
    super("A part of the page was not loaded.");
    this.name = "Unloaded";
  }
}

/** Style sheets that failed. Vite asks for each of them once: without this, a part would come without its looks. */
const missing = new Set<HTMLLinkElement>();

/** Load a part of the page. Throws `Unloaded`, after which it may be asked for again. */
export async function loaded<Part>(load: () => Promise<{ default: Part }>): Promise<Part> {
  const stop = new AbortController();
  const failed = ({ target }: Event) =>
    target instanceof HTMLLinkElement && target.rel === "stylesheet" && missing.add(target);
  document.head.addEventListener("error", failed, { capture: true, signal: stop.signal });
  try {
    await Promise.all([...missing].map(askAgain));
    return (await load()).default;
  } catch {
    throw new Unloaded();
  } finally {
    stop.abort();
  }
}

function askAgain(failed: HTMLLinkElement): Promise<Event> {
  const link = failed.cloneNode() as HTMLLinkElement;
  missing.delete(failed);
  return new Promise((resolve, reject) => {
    link.addEventListener("load", resolve);
    link.addEventListener("error", reject);
    failed.replaceWith(link);
  });
}

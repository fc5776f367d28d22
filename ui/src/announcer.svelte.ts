const SEEN_MS = 5_000;

/**
 * What is said of what happened: politely of what was done, at once of what failed. Where the page itself shows what
 * was done, only a screen reader says it; what nothing else shows is also seen for a while.
 */
export class Announcer {
  #polite = $state("");
  #assertive = $state("");
  #isSeen = $state(false);
  #timer: ReturnType<typeof setTimeout> | undefined;

  get polite(): string {
    return this.#polite;
  }

  get assertive(): string {
    return this.#assertive;
  }

  /** Whether what was said politely is to be seen, too: for a while, from when it was said. */
  get isSeen(): boolean {
    return this.#isSeen;
  }

  /** Say what was done, and is shown where it was done. */
  say(text: string): void {
    this.#isSeen = false;
    this.#polite = this.#different(this.#polite, text);
  }

  /** Say what was done, and show it for a while: nothing on the page does. */
  show(text: string): void {
    this.say(text);
    this.#isSeen = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.#isSeen = false), SEEN_MS);
  }

  /** Show it no longer: somebody has seen it. */
  dismiss(): void {
    this.#isSeen = false;
  }

  /** Say what failed. What was begun, and may still be seen, is over with that. */
  warn(text: string): void {
    this.#isSeen = false;
    this.#assertive = this.#different(this.#assertive, text);
  }

  /** The same sentence twice would not be read twice. */
  #different(before: string, text: string): string {
    return before === text ? `${text}\u200b` : text;
  }
}

const SEEN_MS = 5_000;

/** What is said of what happened: politely of what was done, which is also seen for a while; at once of what failed. */
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

  /** Whether what was said politely was said just now. */
  get isSeen(): boolean {
    return this.#isSeen;
  }

  say(text: string): void {
    this.#polite = this.#different(this.#polite, text);
    this.#isSeen = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.#isSeen = false), SEEN_MS);
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

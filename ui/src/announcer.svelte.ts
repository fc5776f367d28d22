/** What a screen reader is told: politely of what was done, at once of what failed. */
export class Announcer {
  polite = $state("");
  assertive = $state("");

  say(text: string): void {
    this.polite = this.#different(this.polite, text);
  }

  warn(text: string): void {
    this.assertive = this.#different(this.assertive, text);
  }

  /** The same sentence twice would not be read twice. */
  #different(before: string, text: string): string {
    return before === text ? `${text}\u00a0` : text;
  }
}

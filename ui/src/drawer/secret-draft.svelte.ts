const IDLE_MS = 5 * 60_000;

/** What was around a key and is no part of it. */
export type Surplus = "space" | "quotes" | "bearer";

/** Have the browser forget the text that an expression matched last: it is kept, for all the page, in `RegExp.input`. */
function forget(): void {
  /^/.test("");
}

/** Whether a secret looks as an expression says, without leaving it behind. */
export function looksLike(pattern: RegExp, secret: string): boolean {
  const does = pattern.test(secret);
  forget();
  return does;
}

/** Take off what comes along when a key is copied; a document, such as a service account's, keeps all but the space. */
export function bare(typed: string): { value: string; surplus: Surplus[] } {
  const surplus = new Set<Surplus>();
  let value = typed;
  for (;;) {
    const before = value;
    value = value.trim();
    if (value !== before) surplus.add("space");
    const quoted = /^(["'`])(.*)\1$/s.exec(value);
    if (quoted !== null) {
      value = quoted[2] ?? "";
      surplus.add("quotes");
    }
    const headed = value.replace(/^bearer\s+/i, "");
    if (headed !== value) {
      value = headed;
      surplus.add("bearer");
    }
    if (value === before) break;
  }
  forget();
  return { value, surplus: [...surplus] };
}

/** A secret while it is typed: here and nowhere else, and not for longer than somebody is typing it. */
export class SecretDraft {
  #value = $state("");
  #surplus = $state<Surplus[]>([]);
  #wasCleared = $state(false);
  /** Whether it is shown as it is; until it is cleared. */
  isShown = $state(false);
  #idle: ReturnType<typeof setTimeout> | undefined;
  #waits = new AbortController();

  get value(): string {
    return this.#value;
  }

  /** What was taken off the value. */
  get surplus(): readonly Surplus[] {
    return this.#surplus;
  }

  /** Whether it was cleared because nobody typed for five minutes. */
  get wasCleared(): boolean {
    return this.#wasCleared;
  }

  typed(value: string): void {
    this.#value = value;
    this.#surplus = [];
    this.#wasCleared = false;
    this.#stay();
  }

  /**
   * Keep it for as long again, because it is being sent. The signal ends a request that still waits when the draft is
   * cleared: what waits for somebody to sign in again holds the secret as well, and whoever does would store it.
   */
  held(): AbortSignal {
    this.#waits = new AbortController();
    if (this.#value !== "") this.#stay();
    return this.#waits.signal;
  }

  #stay(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      this.clear();
      this.#wasCleared = true;
    }, IDLE_MS);
  }

  /** Take off what is no part of the secret: after a paste, and before it is sent. */
  tidy(): void {
    const { value, surplus } = bare(this.#value);
    if (surplus.length === 0) return;
    this.#value = value;
    this.#surplus = surplus;
  }

  clear(): void {
    clearTimeout(this.#idle);
    this.#value = "";
    this.#surplus = [];
    this.#wasCleared = false;
    this.isShown = false;
    this.#waits.abort();
  }
}

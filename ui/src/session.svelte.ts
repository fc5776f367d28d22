const STORED = "voxplane.token";

/** Whose token the console sends: in memory, and in this tab's storage only when the person asked for that. */
export class Session {
  #token = $state<string | null>(null);
  #again: { promise: Promise<boolean>; settle: (signedIn: boolean) => void } | null = null;
  /** Whether the server stopped knowing the token in mid-work: a dialog then asks for another one. */
  hasExpired = $state(false);

  constructor() {
    this.#token = sessionStorage.getItem(STORED);
  }

  get token(): string | null {
    return this.#token;
  }

  signIn(token: string, { keepInTab }: { keepInTab: boolean }): void {
    this.#token = token;
    if (keepInTab) sessionStorage.setItem(STORED, token);
    else sessionStorage.removeItem(STORED);
    this.#settle(true);
  }

  signOut(): void {
    sessionStorage.removeItem(STORED);
    this.#token = null;
    this.#settle(false);
  }

  /** Ask for another token, once for all requests that were refused; resolves to whether there is one. */
  signInAgain(): Promise<boolean> {
    if (this.#token === null) return Promise.resolve(false);
    if (this.#again === null) {
      let settle: (signedIn: boolean) => void = () => undefined;
      const promise = new Promise<boolean>((resolve) => (settle = resolve));
      this.#again = { promise, settle };
      this.hasExpired = true;
    }
    return this.#again.promise;
  }

  #settle(signedIn: boolean): void {
    this.hasExpired = false;
    this.#again?.settle(signedIn);
    this.#again = null;
  }
}

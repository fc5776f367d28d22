/** By which name a token is kept in the tab. */
export const STORED = "voxplane.token";

/** One person's time at the console, from signing in to signing out: nothing of it reaches into the next one's. */
export class Session {
  #token = $state<string | null>(null);
  #again: { promise: Promise<boolean>; settle: (signedIn: boolean) => void } | null = null;
  /** Whether the server stopped knowing the token in mid-work: a dialog then asks for another one. */
  hasExpired = $state(false);

  constructor(token: string) {
    this.#token = token;
  }

  /** The token to send; null once the session has ended, so that nothing more is sent for it. */
  get token(): string | null {
    return this.#token;
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

  /** Go on with another token: what waits for one is sent with it. */
  renew(token: string): void {
    this.#token = token;
    this.#settle(true);
  }

  end(): void {
    this.#token = null;
    this.#settle(false);
  }

  #settle(signedIn: boolean): void {
    this.hasExpired = false;
    this.#again?.settle(signedIn);
    this.#again = null;
  }
}

/** Who is signed in. A token is kept in memory, and in this tab's storage only when the person asked for that. */
export class SignedIn {
  #session = $state<Session | null>(null);

  constructor() {
    const token = sessionStorage.getItem(STORED);
    if (token !== null) this.#session = new Session(token);
  }

  get session(): Session | null {
    return this.#session;
  }

  /** Whether the token is kept in this tab, as the person asked. */
  get isKept(): boolean {
    return sessionStorage.getItem(STORED) !== null;
  }

  /** Begin a session, or go on with the one whose token is no longer known. */
  signIn(token: string, { keepInTab }: { keepInTab: boolean }): void {
    if (keepInTab) sessionStorage.setItem(STORED, token);
    else sessionStorage.removeItem(STORED);
    if (this.#session === null) this.#session = new Session(token);
    else this.#session.renew(token);
  }

  signOut(): void {
    sessionStorage.removeItem(STORED);
    this.#session?.end();
    this.#session = null;
  }
}

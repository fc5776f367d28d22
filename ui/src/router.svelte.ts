/** What the overview is filtered by: it stays in the address while a drawer opens over it and closes. */
const FILTERS = ["q", "status", "type"];

/** Asked before what is on screen is left for another path: resolves to false to stay. */
export type Guard = (path: string) => boolean | Promise<boolean>;

/** A part of a path as it was meant; what is no proper encoding is taken as it stands. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address bar as state. Addresses are seen from `basePath`, where the host mounts the console. */
export class Router {
  readonly basePath: string;
  #path = $state("/");
  #query = $state(new URLSearchParams());
  readonly #guards = new Set<Guard>();
  #here = "";

  constructor(basePath = "") {
    this.basePath = basePath.replace(/\/+$/, "");
    this.#read();
  }

  /** The path without the base: `/providers/openai/config`. */
  get path(): string {
    return this.#path;
  }

  get query(): URLSearchParams {
    return this.#query;
  }

  /** The path's parts after `/providers`, when it is one of those: `["openai", "config"]`. */
  get provider(): { key: string; tab: string } | null {
    const [first, key, tab] = this.#path.split("/").filter(Boolean);
    return first === "providers" && key !== undefined ? { key: decoded(key), tab: tab ?? "config" } : null;
  }

  /** The address of the overview, filtered as it is now. */
  get overview(): string {
    return this.#filtered("/providers");
  }

  /** What a link to an address of ours says, with the base; a drawer's keeps what is behind it filtered as it is. */
  href(address: string): string {
    return this.basePath + (address.startsWith("/providers/") ? this.#filtered(address) : address);
  }

  /** Follow the browser's own buttons and every link of ours, until the returned function is called. */
  listen(): () => void {
    const stop = new AbortController();
    addEventListener("popstate", () => void this.#returned(), { signal: stop.signal });
    addEventListener("click", (event) => this.#clicked(event), { signal: stop.signal });
    return () => stop.abort();
  }

  /** Go to an address of ours, unless what is on screen is guarded and the person stays. */
  async go(address: string, { replace = false } = {}): Promise<boolean> {
    const there = new URL(this.href(address), location.origin).pathname;
    if (there !== location.pathname && !(await this.#mayLeaveFor(there))) return false;
    history[replace ? "replaceState" : "pushState"](null, "", this.href(address));
    this.#read();
    return true;
  }

  /** Change the query of the present address, without a new entry in the history. */
  setQuery(changes: Record<string, string | null>): void {
    const query = new URLSearchParams(this.#query);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === "") query.delete(name);
      else query.set(name, value);
    }
    const text = query.toString();
    history.replaceState(null, "", `${this.basePath}${this.#path}${text ? `?${text}` : ""}`);
    this.#read();
  }

  /** Have `guard` asked before the page is left; returns how to take it away. */
  guard(guard: Guard): () => void {
    this.#guards.add(guard);
    return () => this.#guards.delete(guard);
  }

  #filtered(address: string): string {
    const [path = "", own] = address.split("?");
    const query = new URLSearchParams(own);
    for (const name of FILTERS) {
      const value = this.#query.get(name);
      if (value !== null) query.set(name, value);
    }
    return query.size > 0 ? `${path}?${query}` : path;
  }

  #read(): void {
    this.#path = this.#own(location.pathname);
    // The same query is the same object: every row's link is made from it.
    const query = new URLSearchParams(location.search);
    if (query.toString() !== this.#query.toString()) this.#query = query;
    this.#here = location.href;
  }

  async #returned(): Promise<void> {
    if (this.#guards.size > 0 && location.href !== this.#here) {
      const there = location.href;
      // The browser has already gone back: put the address right while the person is asked.
      history.pushState(null, "", this.#here);
      if (!(await this.#mayLeaveFor(new URL(there).pathname))) return;
      history.replaceState(null, "", there);
    }
    this.#read();
  }

  async #mayLeaveFor(pathname: string): Promise<boolean> {
    for (const guard of [...this.#guards]) if (!(await guard(this.#own(pathname)))) return false;
    return true;
  }

  /** The path as the console knows it, without the host's part. */
  #own(pathname: string): string {
    const isOurs = pathname === this.basePath || pathname.startsWith(`${this.basePath}/`);
    return (isOurs ? pathname.slice(this.basePath.length) : pathname) || "/";
  }

  #clicked(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey)
      return;
    const link = (event.target as Element | null)?.closest?.("a[href]");
    if (!(link instanceof HTMLAnchorElement) || link.target || link.origin !== location.origin) return;
    const own = `${this.basePath}/`;
    if (
      !link.pathname.startsWith(own) ||
      !/^\/(providers|activity|signin|$)/.test(link.pathname.slice(own.length - 1))
    )
      return;
    event.preventDefault();
    void this.go(link.pathname.slice(this.basePath.length) + link.search);
  }
}

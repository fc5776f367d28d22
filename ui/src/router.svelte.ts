import { Page } from "./page";

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
  #here = new URL("about:blank");
  #isAllowed = false;

  constructor(
    basePath = "",
    private readonly page = new Page(),
  ) {
    this.basePath = basePath.replace(/\/+$/, "");
    this.#show(new URL(location.href));
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
    const { signal } = stop;
    // Another page has the address: this one keeps its own, and begins at the overview.
    if (!this.page.hasAddress) this.#show(new URL(this.href("/providers"), location.origin));
    addEventListener("popstate", () => void this.#returned(), { signal });
    for (const part of this.page.parts)
      part.addEventListener("click", (event) => this.#clicked(event as MouseEvent), { signal });
    // What leads here from elsewhere in the app.
    const elsewhere = (event: MouseEvent) => this.page.hasAddress && this.#clicked(event);
    addEventListener("click", elsewhere, { signal });
    return () => stop.abort();
  }

  /** Go to an address of ours, unless what is on screen is guarded and the person stays. */
  async go(address: string, { replace = false } = {}): Promise<boolean> {
    const there = new URL(this.href(address), location.origin);
    if (there.pathname !== this.#here.pathname && !(await this.#mayLeaveFor(there.pathname))) return false;
    this.#write(there, replace ? "replaceState" : "pushState");
    return true;
  }

  /** Change the query of the present address, without a new entry in the history. */
  setQuery(changes: Record<string, string | null>): void {
    const query = new URLSearchParams(this.#query);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === "") query.delete(name);
      else query.set(name, value);
    }
    const there = new URL(this.basePath + this.#path, location.origin);
    there.search = query.toString();
    this.#write(there, "replaceState");
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

  #write(there: URL, how: "pushState" | "replaceState"): void {
    if (this.page.hasAddress) history[how](null, "", there);
    this.#show(there);
  }

  #show(there: URL): void {
    this.#path = this.#own(there.pathname);
    // The same query is the same object: every row's link is made from it.
    const query = new URLSearchParams(there.search);
    if (query.toString() !== this.#query.toString()) this.#query = query;
    this.#here = there;
  }

  async #returned(): Promise<void> {
    if (!this.page.hasAddress) return;
    const there = new URL(location.href);
    if (this.#guards.size > 0 && !this.#isAllowed && there.href !== this.#here.href) {
      // The browser has already gone back: put the address right while the person is asked.
      history.pushState(null, "", this.#here);
      if (!(await this.#mayLeaveFor(there.pathname))) return;
      // Once more, to the same entry: another one would stand there twice.
      this.#isAllowed = true;
      history.back();
      return;
    }
    this.#isAllowed = false;
    this.#show(there);
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

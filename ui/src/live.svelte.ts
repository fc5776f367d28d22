import { authorizedFetch, type Connection } from "./api/client";
import { readEvents } from "./api/changes";

const RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;
const SILENT_MS = 40_000;
const SAY_RECONNECTING_MS = 5_000;

export type LiveState = "connecting" | "live" | "reconnecting" | "offline";
export type News = { kind: "all" } | { kind: "providers"; keys: readonly string[] };

/** The organization's changes as they happen: follows the stream, comes back after every cut, misses nothing. */
export class Live {
  #state = $state<LiveState>("connecting");
  #since = $state<number | null>(null);
  #lastEventId: string | null = null;
  #stopped = new AbortController();
  #wakeUp: () => void = () => undefined;

  /**
   * Follow the changes of the token's organization.
   *
   * @param onNews is told what may have changed since it was last told.
   */
  constructor(
    private readonly connection: Connection,
    private readonly onNews: (news: News) => void,
  ) {}

  get state(): LiveState {
    return this.#state;
  }

  /** Since when what is on screen may be old, as epoch milliseconds; null while it is not. */
  get staleSince(): number | null {
    return this.#since;
  }

  /** Begin; after `stop` it begins anew, for whoever's token it is then. */
  start(): void {
    this.#stopped = new AbortController();
    this.#lastEventId = null;
    this.#state = "connecting";
    this.#since = null;
    const signal = this.#stopped.signal;
    addEventListener("online", () => this.#wakeUp(), { signal });
    addEventListener("offline", () => this.#lost("offline"), { signal });
    void this.#follow(signal);
  }

  stop(): void {
    this.#stopped.abort();
    this.#wakeUp();
  }

  async #follow(stopped: AbortSignal): Promise<void> {
    let failures = 0;
    while (!stopped.aborted) {
      try {
        const ended = await this.#listen(stopped, () => (failures = 0));
        if (ended === "forbidden") return;
      } catch {
        // Whatever cut it, the answer is to come back: the position tells the server what was missed.
      }
      if (stopped.aborted) return;
      failures += 1;
      this.#lost(navigator.onLine ? "reconnecting" : "offline");
      await this.#wait(
        Math.min(LONGEST_RETRY_MS, RETRY_MS * 2 ** (failures - 1)) * (0.5 + Math.random() / 2),
      );
    }
  }

  async #listen(stopped: AbortSignal, onOpen: () => void): Promise<"ended" | "forbidden"> {
    const cut = new AbortController();
    const headers = new Headers({ Accept: "text/event-stream" });
    if (this.#lastEventId !== null) headers.set("Last-Event-ID", this.#lastEventId);
    const url = `${this.connection.baseUrl || location.origin}/api/organizations/current/changes`;
    const request = new Request(url, {
      headers,
      signal: AbortSignal.any([stopped, cut.signal]),
    });
    const response = await authorizedFetch(this.connection, request);
    // A token that is refused is replaced by whoever gives it out: the next attempt asks for another one.
    if (response.status === 403) return "forbidden";
    if (!response.ok || response.body === null) throw new Error(`HTTP ${response.status}`);
    onOpen();
    this.#found();
    let silence = setTimeout(() => cut.abort(), SILENT_MS);
    const offline = () => cut.abort();
    addEventListener("offline", offline);
    try {
      for await (const event of readEvents(response.body)) {
        clearTimeout(silence);
        silence = setTimeout(() => cut.abort(), SILENT_MS);
        this.#heard(event.kind, event.id, event.data);
        if (event.kind === "bye") break;
      }
    } finally {
      clearTimeout(silence);
      removeEventListener("offline", offline);
    }
    return "ended";
  }

  #heard(kind: string, id: string | null, data: string): void {
    const first = this.#lastEventId === null;
    if (id !== null) this.#lastEventId = id;
    if (kind === "reset") this.onNews({ kind: "all" });
    if (kind !== "change" && kind !== "health") return;
    const keys = (JSON.parse(data) as { keys: string[] | null }).keys;
    // The first event says where the organization stands; what is on screen was read a moment before.
    this.onNews(keys === null || first ? { kind: "all" } : { kind: "providers", keys });
  }

  #found(): void {
    this.#state = "live";
    this.#since = null;
  }

  #lost(state: "reconnecting" | "offline"): void {
    this.#since ??= Date.now();
    if (state === "offline") {
      this.#state = state;
      return;
    }
    const since = this.#since;
    setTimeout(() => {
      if (this.#since === since && this.#state !== "offline") this.#state = "reconnecting";
    }, SAY_RECONNECTING_MS);
    if (this.#state === "offline") this.#state = "reconnecting";
  }

  #wait(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

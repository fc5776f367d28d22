import { QueryClient } from "@tanstack/svelte-query";
import { createContext } from "svelte";
import { Announcer } from "./announcer.svelte";
import {
  type Api,
  type Connection,
  createApi,
  type Me,
  type OrganizationProviders,
  Problem,
} from "./api/client";
import { Live } from "./live.svelte";
import { Page } from "./page";
import { Router } from "./router.svelte";
import { Shortcuts } from "./shortcuts.svelte";
import { Turns } from "./turns";
import { Verifications } from "./verification/verifications.svelte";

export const PROVIDERS = ["providers"] as const;
export const CATALOGUE = ["catalogue"] as const;
export const AUDIT = ["audit"] as const;
export const ME = ["me"] as const;
/** Of the providers: what renews them renews it. */
export const IMPORT_NOTICE = [...PROVIDERS, "import-notice"] as const;

export type Scope = "livekit:read" | "livekit:write" | "admin:secrets" | "audit:read";

/** Something that can be done from anywhere, by its name. */
export interface Action {
  name: string;
  run: () => void;
}

/** What every part of the console stands on: one for each place it is mounted. */
export class ConsoleContext {
  readonly api: Api;
  readonly live: Live;
  readonly queries: QueryClient;
  readonly page = new Page();
  readonly router: Router;
  readonly announcer = new Announcer();
  readonly shortcuts = new Shortcuts();
  readonly orders = new Turns<OrganizationProviders>();
  readonly verifications: Verifications;
  /** Who is asking; null until the server said so. */
  me = $state<Me | null>(null);

  constructor(
    readonly connection: Connection,
    basePath: string,
    /** What the ids of inputs begin with, where several pages are in one document. */
    readonly id = "",
  ) {
    this.api = createApi(connection);
    this.router = new Router(basePath, this.page);
    this.queries = new QueryClient({
      defaultOptions: {
        queries: {
          staleTime: 30_000,
          refetchOnWindowFocus: true,
          // What the server explained does not change by asking again; what was not answered may.
          retry: (failures, error) => failures < 2 && !(error instanceof Problem && error.status < 500),
          retryDelay: (failures) => 500 * 2 ** failures,
        },
        mutations: { retry: false },
      },
    });
    this.verifications = new Verifications(this.api, this.announcer, () =>
      this.queries.invalidateQueries({ queryKey: PROVIDERS }),
    );
    this.live = new Live(connection, (news) => {
      this.readProvidersAgain();
      void this.queries.invalidateQueries({ queryKey: AUDIT });
      if (news.kind !== "all") return;
      void this.queries.invalidateQueries({ queryKey: CATALOGUE });
      // Where nobody could say who is asking, for want of a token that is good, somebody can now.
      void this.queries.invalidateQueries({
        queryKey: ME,
        predicate: ({ state }) => state.status === "error",
      });
    });
  }

  /** Ask for the list anew, unless an order is on its way: an answer from before it would move rows back. */
  readProvidersAgain(): void {
    if (!this.orders.isUnderWay) void this.queries.invalidateQueries({ queryKey: PROVIDERS });
  }

  /** Whether the browser has no network: what is on screen stays, and nothing can be saved. */
  get isOffline(): boolean {
    return this.live.state === "offline";
  }

  /** Whether the person's token carries a scope. The server decides; hiding what it would refuse is a courtesy. */
  may(scope: Scope): boolean {
    return this.me?.scopes.includes(scope) ?? false;
  }

  /** Begin, in these elements of the document or in all of it, until the returned function is called. */
  start(...parts: readonly Element[]): () => void {
    const unmount = this.page.mount(...parts);
    const stop = this.router.listen();
    const press = (event: KeyboardEvent) => {
      if (this.page.hasKeys) this.shortcuts.pressed(event);
    };
    addEventListener("keydown", press);
    this.live.start();
    return () => {
      stop();
      unmount();
      removeEventListener("keydown", press);
      this.live.stop();
      this.queries.clear();
    };
  }
}

export const [getConsole, setConsole] = createContext<ConsoleContext>();

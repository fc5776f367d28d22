import { createInfiniteQuery } from "@tanstack/svelte-query";
import { answered, type OrganizationProvider, type Schemas, type SettingsVersion } from "../api/client";
import { type ConsoleContext, PROVIDERS } from "../context.svelte";

const current = { organization: "current" } as const;

function readPage(
  shared: ConsoleContext,
  key: string,
  query: { before?: number; limit?: number },
  signal: AbortSignal,
): Promise<Schemas["ProviderHistory"]> {
  return answered(
    shared.api.GET("/api/organizations/{organization}/providers/{key}/history", {
      params: { path: { ...current, key }, query },
      signal,
    }),
  );
}

/** What became of one provider, newest first, page by page. It is of the providers: what renews them renews it. */
export function historyQuery(shared: ConsoleContext, key: () => string) {
  return createInfiniteQuery(() => ({
    queryKey: [...PROVIDERS, key(), "history"],
    queryFn: ({ pageParam, signal }: { pageParam: number | null; signal: AbortSignal }) =>
      readPage(shared, key(), pageParam === null ? {} : { before: pageParam }, signal),
    initialPageParam: null as number | null,
    getNextPageParam: (page: Schemas["ProviderHistory"]) => page.nextBefore,
  }));
}

/** Read one version; null: the history has none of this revision. */
export async function readVersion(
  shared: ConsoleContext,
  key: string,
  revision: number,
  signal: AbortSignal,
): Promise<SettingsVersion | null> {
  const { entries } = await readPage(shared, key, { before: revision + 1, limit: 1 }, signal);
  const versions = entries.filter((each) => each.kind === "settings");
  return versions.find((each) => each.revision === revision) ?? null;
}

/**
 * Put an older version back as a new one, based on the provider as it was read.
 *
 * Throws the server's problem: `restore_refused` with a pointer for each setting that no longer fits, which
 * `validOnly` leaves out; 412 when somebody changed the provider since it was read.
 */
export function restoreVersion(
  shared: ConsoleContext,
  provider: OrganizationProvider,
  revision: number,
  validOnly = false,
): Promise<OrganizationProvider> {
  return answered(
    shared.api.POST("/api/organizations/{organization}/providers/{key}/restore", {
      params: { path: { ...current, key: provider.provider.key }, header: { "If-Match": provider.etag } },
      body: { revision, include: [], validOnly },
    }),
  );
}

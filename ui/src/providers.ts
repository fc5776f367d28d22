import { createQuery } from "@tanstack/svelte-query";
import {
  answered,
  type OrganizationProvider,
  type OrganizationProviders,
  type ProviderType,
  type Schemas,
} from "./api/client";
import { CATALOGUE, type ConsoleContext, IMPORT_NOTICE, ME, PROVIDERS } from "./context.svelte";

export const TYPES: readonly ProviderType[] = ["llm", "tts", "stt"];
const current = { organization: "current" } as const;

/** The organization's providers in rank order, with the server's word on who answers the next call. */
export function providersQuery(shared: ConsoleContext) {
  return createQuery<OrganizationProviders>(() => ({
    queryKey: PROVIDERS,
    queryFn: ({ signal }) =>
      answered(
        shared.api.GET("/api/organizations/{organization}/providers", { params: { path: current }, signal }),
      ),
  }));
}

/** One definition of the catalogue, with its schemas; read only while it `isWanted`. */
export function definitionQuery(
  shared: ConsoleContext,
  key: () => string,
  isWanted: () => boolean = () => true,
) {
  return createQuery<Schemas["Provider"]>(() => ({
    queryKey: [...CATALOGUE, key()],
    queryFn: ({ signal }) =>
      answered(shared.api.GET("/api/providers/{key}", { params: { path: { key: key() } }, signal })),
    enabled: isWanted(),
    staleTime: Number.POSITIVE_INFINITY,
  }));
}

export function meQuery(shared: ConsoleContext) {
  return createQuery<Schemas["Me"]>(() => ({
    queryKey: ME,
    queryFn: ({ signal }) => answered(shared.api.GET("/api/me", { signal })),
    staleTime: Number.POSITIVE_INFINITY,
  }));
}

/** What the import from the old system left to a person. */
export function importNoticeQuery(shared: ConsoleContext) {
  return createQuery<Schemas["ImportNotice"]>(() => ({
    queryKey: IMPORT_NOTICE,
    queryFn: ({ signal }) =>
      answered(
        shared.api.GET("/api/organizations/{organization}/import-notice", {
          params: { path: current },
          signal,
        }),
      ),
  }));
}

export function cached(shared: ConsoleContext): OrganizationProviders | undefined {
  return shared.queries.getQueryData<OrganizationProviders>(PROVIDERS);
}

/** Put the server's answer on one provider into the list; what it changes for others is asked for. */
export function received(shared: ConsoleContext, provider: OrganizationProvider): void {
  const before = cached(shared);
  if (before !== undefined) {
    const providers = before.providers.map((each) =>
      each.provider.key === provider.provider.key ? provider : each,
    );
    shared.queries.setQueryData<OrganizationProviders>(PROVIDERS, { ...before, providers });
  }
  shared.readProvidersAgain();
}

/** Show a change before the server has answered; returns how to take it back. */
export async function shown(shared: ConsoleContext, after: OrganizationProviders): Promise<() => void> {
  await shared.queries.cancelQueries({ queryKey: PROVIDERS });
  const before = cached(shared);
  shared.queries.setQueryData<OrganizationProviders>(PROVIDERS, after);
  return () => {
    shared.queries.setQueryData<OrganizationProviders>(PROVIDERS, before);
    void shared.queries.invalidateQueries({ queryKey: PROVIDERS });
  };
}

/**
 * Turn a provider on or off. Throws the server's problem, with the list as it was.
 *
 * @param onShown is called when the list shows it, before the server has answered.
 */
export async function setEnabled(
  shared: ConsoleContext,
  provider: OrganizationProvider,
  isEnabled: boolean,
  onShown: () => void = () => undefined,
): Promise<void> {
  const before = cached(shared);
  if (before === undefined) return;
  const providers = before.providers.map((each) =>
    each.provider.key === provider.provider.key ? { ...each, isEnabled } : each,
  );
  const takeBack = await shown(shared, { ...before, providers });
  onShown();
  try {
    received(shared, await writeConfig(shared, provider, { isEnabled }));
  } catch (error) {
    takeBack();
    throw error;
  }
}

/** Read one provider anew: what a write that came too late is to be based on. */
export function readProvider(shared: ConsoleContext, key: string): Promise<OrganizationProvider> {
  return answered(
    shared.api.GET("/api/organizations/{organization}/providers/{key}", {
      params: { path: { ...current, key } },
      cache: "no-store",
    }),
  );
}

/**
 * Write settings, switch or priority, based on the provider as it was read: 412 when somebody changed it since. The
 * signal ends it while it waits for somebody to sign in again.
 */
export function writeConfig(
  shared: ConsoleContext,
  provider: Pick<OrganizationProvider, "provider" | "etag">,
  change: Schemas["ConfigWrite"],
  signal: AbortSignal | null = null,
): Promise<OrganizationProvider> {
  return answered(
    shared.api.PUT("/api/organizations/{organization}/providers/{key}/config", {
      params: { path: { ...current, key: provider.provider.key }, header: { "If-Match": provider.etag } },
      body: change,
      signal,
    }),
  );
}

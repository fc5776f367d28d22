import { answered, type OrganizationProvider, type OrganizationProviders, type Schemas } from "../api/client";
import { type ConsoleContext, PROVIDERS } from "../context.svelte";
import { received } from "../providers";

const current = { organization: "current" } as const;

/**
 * Store, replace, remove or label secrets. Never tried again by itself, and kept in no cache: what comes back names
 * them and holds none. Throws the server's problem; 412 when somebody changed the provider since it was read.
 *
 * @param signal ends it while it waits for somebody to sign in again.
 */
export async function writeSecrets(
  shared: ConsoleContext,
  provider: OrganizationProvider,
  change: Partial<Schemas["SecretsWrite"]>,
  signal: AbortSignal | null = null,
): Promise<Schemas["StoredSecrets"]> {
  const changed = await answered(
    shared.api.PUT("/api/organizations/{organization}/providers/{key}/secrets", {
      params: { path: { ...current, key: provider.provider.key }, header: { "If-Match": provider.etag } },
      body: change as Schemas["SecretsWrite"],
      signal,
    }),
  );
  received(shared, changed);
  return changed;
}

/** Remove all that is stored, also what cannot be opened any more. Throws the server's problem. */
export async function removeSecrets(shared: ConsoleContext, provider: OrganizationProvider): Promise<void> {
  await answered(
    shared.api.DELETE("/api/organizations/{organization}/providers/{key}/secrets", {
      params: { path: { ...current, key: provider.provider.key }, header: { "If-Match": provider.etag } },
    }),
  );
  await shared.queries.invalidateQueries({ queryKey: PROVIDERS });
}

/** Which secret somebody means who sets or replaces "the key": one that is missing, else the one that is there. */
export function keyMeant({ status, secretFields }: OrganizationProvider): Schemas["SecretField"] | undefined {
  return (
    secretFields.find((each) => each.required && !each.isSet) ??
    secretFields.find((each) => (status === "secrets_missing" ? !each.isSet : isOwn(each))) ??
    secretFields[0]
  );
}

/** Whether a secret is stored for this provider, and not used along with another one. */
export function isOwn({ isSet, sharedFrom }: Schemas["SecretField"]): boolean {
  return isSet && sharedFrom === null;
}

/** Where the settings send calls and the stored secrets may not go. */
export function unapproved(provider: OrganizationProvider): string[] {
  return provider.origins.filter((origin) => !provider.approvedOrigins.includes(origin));
}

/** Write an address as people do: without the port that goes without saying. */
export function inShort(origin: string): string {
  return origin.replace(/^(https:\/\/(?:\[[^\]]*\]|[^/:]+)):443(?=\/|$)/, "$1");
}

/** The other providers that use a secret of this one, as they have none of their own. */
export function sharersOf(all: OrganizationProviders, key: string, secret: string): OrganizationProvider[] {
  return all.providers.filter((each) =>
    each.secretFields.some((field) => field.name === secret && field.sharedFrom === key),
  );
}

/** What the removal of one secret means for calls that a provider answers today. */
export interface Loss {
  provider: OrganizationProvider;
  /** Its place among the enabled ones of its type, from 0. */
  position: number;
  /** Whether it answers the next call. */
  isNext: boolean;
  /** Who answers the next call then; null when nobody can. */
  successor: OrganizationProvider | null;
}

/** Say who stops answering calls without a secret, by the server's own order and its word on who is usable. */
export function losses(
  all: OrganizationProviders,
  provider: OrganizationProvider,
  secret: string,
): readonly Loss[] {
  const { key } = provider.provider;
  const losing = all.providers.filter((each) =>
    each.secretFields.some(
      (field) =>
        field.name === secret &&
        field.required &&
        field.isSet &&
        (each.provider.key === key ? field.sharedFrom === null : field.sharedFrom === key),
    ),
  );
  return losing
    .filter((each) => each.usable)
    .map((each) => {
      const enabled = all.providers.filter(
        (one) => one.isEnabled && one.provider.type === each.provider.type,
      );
      return {
        provider: each,
        position: enabled.indexOf(each),
        isNext: all.nextCall[each.provider.type] === each.provider.key,
        successor: enabled.find((one) => one.usable && !losing.includes(one)) ?? null,
      };
    });
}

/** Why secrets that were to be checked before they were stored are not known to work; null when they are. */
export function whyUnchecked({ untested, verification }: Schemas["StoredSecrets"]): string | null {
  if (untested !== null) return untested.message;
  if (verification === null || verification.verdict !== "inconclusive") return null;
  const isKeyKnown = verification.stages.some(({ name, state }) => name === "key" && state === "passed");
  return isKeyKnown ? null : verification.sentence;
}

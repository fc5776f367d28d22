import type { OrganizationProvider, ProviderType } from "../api/client";
import { formatClock, formatDate, text } from "../messages";
import { endings } from "../retirement/replacement";

/** The part of a call that a provider has: its rank words and what the row shows beside its name. */
export interface Chain {
  type: ProviderType;
  enabled: readonly OrganizationProvider[];
  off: readonly OrganizationProvider[];
}

export function chainOf(type: ProviderType, providers: readonly OrganizationProvider[]): Chain {
  const ofType = providers.filter((each) => each.provider.type === type);
  return {
    type,
    enabled: ofType.filter((each) => each.isEnabled),
    off: ofType.filter((each) => !each.isEnabled),
  };
}

export function rankWord(position: number): string {
  return position === 0 ? text.overview.primary : text.overview.fallback(position);
}

const NEEDS_SOMEBODY = new Set([
  "failing",
  "retired",
  "secrets_missing",
  "invalid_config",
  "destination_unapproved",
  "undecryptable",
]);

/** Whether somebody should look: an enabled provider that cannot be used or that workers see fail. */
export function needsAttention(provider: OrganizationProvider): boolean {
  return provider.isEnabled && NEEDS_SOMEBODY.has(provider.status);
}

/** What is known of a failure beyond the status: since when, and why, as a test or workers saw it. */
export function failureDetail({
  status,
  statusSince,
  health,
  verification,
}: OrganizationProvider): string | null {
  if (status !== "failing" || statusSince === null) return null;
  const since = text.since(formatClock(new Date(statusSince)));
  const ofWorkers = health?.status === "failing" && health.since === statusSince;
  const kind = ofWorkers ? health.kind : null;
  if (kind !== null) return `${since} · ${text.failures[kind]}`;
  return ofWorkers || verification === null
    ? since
    : `${since} · ${text.verification.outcomes[verification.outcome]}`;
}

/** What the last test found where that says nothing of whether the provider works: its status is an older one. */
export function inconclusive({ status, verification, provider }: OrganizationProvider): string | null {
  if (verification?.verdict !== "inconclusive" || !["verified", "unverified", "failing"].includes(status))
    return null;
  // That nobody looked is no finding.
  if (verification.outcome === "not_checkable" && provider.hosting === "local")
    return text.verification.notFromHere;
  return text.verification.lastTest(text.verification.outcomes[verification.outcome]);
}

/** Whether a test of what is saved can be made, which says more than what is known to be missing. */
export function isTestable({ status, secretFields }: OrganizationProvider): boolean {
  // A key can be tested while a voice is still to be chosen.
  if (status === "invalid_config") return secretFields.some((each) => each.isSet);
  return status !== "retired" && status !== "undecryptable";
}

/** When a model in use ends, in words; null when none does. The model that the row names is not named again. */
export function retirement(provider: OrganizationProvider): string | null {
  const found = endings(provider);
  const notice = found.find((each) => each.retiresOn !== null) ?? found[0];
  if (notice === undefined) return null;
  const isNamed = notice.model === null || notice.model === provider.config.model;
  const hasEnded = notice.code.endsWith("_retired");
  const what = notice.retiresOn
    ? text.overview[hasEnded ? "ended" : "ends"](formatDate(notice.retiresOn))
    : text.overview.endsSometime[hasEnded ? "ended" : "deprecated"];
  return isNamed ? what : text.overview.ofModel(notice.model ?? "", what);
}

/** Where what has to be given before it can be used is missing: the key first, with which voices are listed. */
export function lacking({ status, secretFields }: OrganizationProvider): "config" | "credentials" | null {
  if (status === "secrets_missing") return "credentials";
  if (status !== "invalid_config") return null;
  return secretFields.some((each) => each.required && !each.isSet) ? "credentials" : "config";
}

/** What a provider's status is called: one that is off and not filled in waits for nobody. */
export function statusWord({ status, isEnabled }: OrganizationProvider): string {
  return status === "invalid_config" && !isEnabled ? text.notConfigured : text.status[status];
}

const OF_CREDENTIALS = new Set(["secrets_missing", "destination_unapproved", "undecryptable"]);
const OF_THE_KEY = new Set(["authentication", "permission", "quota"]);

/** The drawer's tab where what is wrong with a provider is mended. */
export function mendingTab(provider: OrganizationProvider): "config" | "credentials" {
  const { status, health, verification } = provider;
  if (status === "invalid_config") return lacking(provider) ?? "config";
  const isOfTheKey =
    status === "failing" && (OF_THE_KEY.has(health?.kind ?? "") || verification?.outcome === "key_rejected");
  return OF_CREDENTIALS.has(status) || isOfTheKey ? "credentials" : "config";
}

/** Providers whose name, key or model holds the words, and whose status is the chosen one. */
export function matching(
  providers: readonly OrganizationProvider[],
  words: string,
  status: string | null,
): OrganizationProvider[] {
  const wanted = words.trim().toLowerCase();
  return providers.filter((each) => {
    const model = typeof each.config.model === "string" ? each.config.model : "";
    const described = `${each.provider.name} ${each.provider.key} ${model}`.toLowerCase();
    return described.includes(wanted) && (status === null || each.status === status);
  });
}

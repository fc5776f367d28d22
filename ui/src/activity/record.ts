import type { AuditRecord, OrganizationProviders, ProviderType } from "../api/client";
import { isObject } from "../form/json";
import { formatList, text } from "../messages";
import { TYPES } from "../providers";

type Known = Pick<OrganizationProviders, "providers">;

/** What a record is about, as a person calls it: a provider, a type, a token. */
export function aboutWhat({ target, action }: AuditRecord, all: Known): string {
  const types = target.split(" ").filter(isType);
  if (types.length > 0) return formatList(types.map((each) => text.types(each)));
  if (action.startsWith("token.") && target !== "") return text.activity.token(target);
  return nameOf(target, all);
}

/** What was done, as a person calls it: keys are given out for more than one purpose. */
export function actionOf({ action, detail, outcome }: AuditRecord): string {
  if (action !== "secrets.release" || outcome !== "success") return text.activity.actionWord(action);
  return text.activity.purposes[String(detail.purpose ?? "worker")] ?? text.activity.actionWord(action);
}

/** What the activity can be filtered by: an action, or one purpose of giving out keys, as `audit.ts` reads it. */
export function actionFilters(): [string, string][] {
  return Object.keys(text.activity.actions).flatMap((action) => [
    [action, text.activity.actionWord(action)],
    ...(action === "secrets.release"
      ? Object.entries(text.activity.purposes).map(([purpose, words]): [string, string] => [
          `${action}/${purpose}`,
          words,
        ])
      : []),
  ]);
}

/** One line on what was done, beyond the action and what it was done to. */
export function summary(record: AuditRecord, all: Known): string {
  const { action, detail, outcome, target } = record;
  if (action === "denials.collapsed") return text.activity.collapsed(Number(detail.count));
  if (outcome === "denied") return text.activity.refusal(String(detail.reason));
  switch (action) {
    case "config.put": {
      const changed = changedParts(
        strings(detail.changed),
        strings(detail.changedSettings),
        typeof detail.isEnabled === "boolean" ? detail.isEnabled : null,
      );
      return changed.length === 0 ? text.activity.nothingChanged : sentence(formatList(changed));
    }
    case "config.restore":
      return text.activity.restoredFrom(Number(detail.from));
    case "config.delete":
      return text.activity.removed;
    case "order.put":
      return strings(detail.order)
        .map((key) => nameOf(key, all))
        .join(" → ");
    case "secrets.put":
      return secretsPut(strings(detail.set), strings(detail.removed));
    case "secrets.delete":
      return text.activity.allSecrets;
    case "secrets.release":
      return ofOne(detail, target) ?? released(named(detail.providers, all), named(detail.refused, all));
    case "token.create":
      return strings(detail.scopes).join(", ");
    case "organization.create":
      return providers(detail, all);
    case "legacy.import":
      return imported(providers(detail, all), Number(detail.left));
    default:
      return "";
  }
}

/** What changed, with its settings by name where the record has them and they are few. */
function changedParts(
  parts: readonly string[],
  names: readonly string[],
  isEnabled: boolean | null,
): string[] {
  const MOST = 4;
  const spoken =
    names.length > MOST ? [text.activity.someSettings(names.length)] : names.map(text.activity.spoken);
  return parts.flatMap((each) => {
    if (each === "config" && names.length > 0) return spoken;
    if (each === "is_enabled" && isEnabled !== null) return text.activity.turned(isEnabled);
    return text.activity.changed([each]);
  });
}

/** The keys that were given out for the one provider that a record is about; null when it is about others, too. */
function ofOne({ providers: given, refused }: AuditRecord["detail"], target: string): string | null {
  if (!isObject(given) || Object.keys(given).join() !== target || refused !== undefined) return null;
  const keys = strings(given[target]);
  return keys.length === 0 ? text.activity.withoutKey : sentence(formatList(keys.map(text.activity.spoken)));
}

function providers(detail: AuditRecord["detail"], all: Known): string {
  return formatList(strings(detail.providers).map((key) => nameOf(key, all)));
}

function imported(taken: string, left: number): string {
  return [taken, left > 0 ? text.activity.left(left) : ""].filter(Boolean).join("; ");
}

function secretsPut(stored: readonly string[], removed: readonly string[]): string {
  const said = [
    stored.length > 0 ? text.activity.stored(stored.map(text.activity.spoken).join(", ")) : null,
    removed.length > 0 ? text.activity.taken(removed.map(text.activity.spoken).join(", ")) : null,
  ].filter((each) => each !== null);
  return said.length === 0 ? text.activity.labelled : said.join("; ");
}

function released(given: readonly string[], withheld: readonly string[]): string {
  const said = [
    given.length > 0 ? text.activity.released(formatList(given)) : text.activity.nothingReleased,
    withheld.length > 0 ? text.activity.withheld(formatList(withheld)) : null,
  ];
  return said.filter((each) => each !== null).join("; ");
}

function named(byKey: unknown, all: Known): string[] {
  return isObject(byKey) ? Object.keys(byKey).map((key) => nameOf(key, all)) : [];
}

function nameOf(key: string, all: Known): string {
  return all.providers.find((each) => each.provider.key === key)?.provider.name ?? key;
}

function isType(word: string): word is ProviderType {
  return TYPES.some((each) => each === word);
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

function sentence(words: string): string {
  return words.charAt(0).toLocaleUpperCase() + words.slice(1);
}

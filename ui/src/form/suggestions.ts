import type { Schemas } from "../api/client";
import { formatDate, text } from "../messages";
import type { Field } from "./profile";
import { languageName } from "./shown";

/** A model or a voice that can be chosen, from whichever list. */
export type Offer = Pick<Schemas["ListedOffer"], "name" | "status" | "retiresOn" | "replacement" | "note"> &
  Partial<Pick<Schemas["ListedOffer"], "label" | "language" | "isListed" | "hasPreview">>;

/** One value that a list offers, with what is to be known of it. */
export interface Suggestion {
  value: string;
  remarks: readonly string[];
  matches: (typed: string) => boolean;
}

const BEST_FIRST: readonly Offer["status"][] = [
  "current",
  "preview",
  "restricted",
  "legacy",
  "unverified",
  "deprecated",
  "retired",
];

/** Return what to offer for a setting: its default, its examples and what can be chosen, without what has ended. */
export function suggestionsFor(field: Field, offers: readonly Offer[]): Suggestion[] {
  const examples = (field.schema.examples ?? []).filter((each) => typeof each === "string");
  const preset = typeof field.schema.default === "string" ? [field.schema.default] : [];
  if (field.hints.widget === "language") {
    return unique([...preset, ...examples]).map((value) => {
      const name = languageName(value);
      return suggestion(value, name === null ? [] : [name]);
    });
  }
  const known = new Map(offers.map((each) => [each.name, each]));
  const rank = (value: string) => BEST_FIRST.indexOf(known.get(value)?.status ?? "current");
  /** Whether the provider's own list, where there is one, is without it. */
  const isElsewhere = (value: string) => known.get(value)?.isListed === false;
  return unique([...preset, ...examples, ...known.keys()])
    .filter((value) => known.get(value)?.status !== "retired" || known.get(value)?.isListed === true)
    .sort((one, other) => Number(isElsewhere(one)) - Number(isElsewhere(other)) || rank(one) - rank(other))
    .map((value) => suggestion(value, remarksOn(known.get(value))));
}

function unique(values: readonly string[]): string[] {
  return [...new Set(values)];
}

function suggestion(value: string, remarks: string[]): Suggestion {
  const searched = [value, ...remarks].join(" ").toLowerCase();
  return { value, remarks, matches: (typed) => searched.includes(typed.trim().toLowerCase()) };
}

/** What people call an offer, where its name does not say it: a voice's name is often a number. */
export function calledBy({ name, label, language }: Offer): string[] {
  const spoken = language == null ? null : (languageName(language) ?? language);
  return [label === name ? null : (label ?? null), spoken].filter((each) => each !== null);
}

function remarksOn(offer: Offer | undefined): string[] {
  if (offer === undefined) return [];
  return [
    ...calledBy(offer),
    offer.status === "current" ? null : text.form.models[offer.status],
    offer.retiresOn === null
      ? null
      : text.form[offer.status === "retired" ? "ended" : "ends"](formatDate(offer.retiresOn)),
    offer.replacement === null ? null : text.form.successor(offer.replacement),
    offer.isListed === false ? text.form.unlisted : null,
    offer.note,
  ].filter((each) => each !== null);
}

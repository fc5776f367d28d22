import type { Schemas } from "../api/client";
import { formatDay, text } from "../messages";
import type { Field } from "./profile";
import { languageName } from "./shown";

/** One value that a list offers, with what is to be known of it. */
export interface Suggestion {
  value: string;
  remarks: readonly string[];
  matches: (typed: string) => boolean;
}

/** Return what to offer for a setting: its examples and, for a model, all that is known of the vendor's models. */
export function suggestionsFor(field: Field, models: readonly Schemas["Model"][]): Suggestion[] {
  const examples = (field.schema.examples ?? []).filter((each) => typeof each === "string");
  const preset = typeof field.schema.default === "string" ? [field.schema.default] : [];
  if (field.hints.widget !== "model-picker") {
    const isLanguage = field.hints.widget === "language";
    return unique([...preset, ...examples]).map((value) => {
      const name = isLanguage ? languageName(value) : null;
      return suggestion(value, name === null ? [] : [name]);
    });
  }
  const known = new Map(models.map((each) => [each.name, each]));
  return unique([...preset, ...examples, ...known.keys()])
    .filter((value) => known.get(value)?.status !== "retired")
    .map((value) => suggestion(value, remarksOn(known.get(value))));
}

function unique(values: readonly string[]): string[] {
  return [...new Set(values)];
}

function suggestion(value: string, remarks: string[]): Suggestion {
  const searched = [value, ...remarks].join(" ").toLowerCase();
  return { value, remarks, matches: (typed) => searched.includes(typed.trim().toLowerCase()) };
}

function remarksOn(model: Schemas["Model"] | undefined): string[] {
  if (model === undefined) return [];
  return [
    model.status === "current" ? null : text.form.models[model.status],
    model.retiresOn === null ? null : text.form.ends(formatDay(new Date(`${model.retiresOn}T00:00`))),
    model.replacement === null ? null : text.form.successor(model.replacement),
    model.note,
  ].filter((each) => each !== null);
}

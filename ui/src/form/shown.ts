import { locale, text } from "../messages";
import { isObject } from "./json";
import type { Field } from "./profile";

const languages = new Intl.DisplayNames([locale], { type: "language", fallback: "none" });

/** Return the name of a language, such as "German" for `de`; null for a code that is none. */
export function languageName(code: string): string | null {
  try {
    return languages.of(code) ?? null;
  } catch {
    // It throws at what cannot be a code at all, which a vendor's own spelling may be.
    return null;
  }
}

/** Write one value of a list of choices for a person. */
export function choiceLabel(field: Field, value: unknown): string {
  const named = field.hints.labels?.[String(value)] ?? titleOf(field, value);
  if (named !== undefined) return named;
  if (typeof value === "boolean") return value ? text.common.on : text.common.off;
  const language = field.hints.widget === "language" ? languageName(String(value)) : null;
  return language === null ? String(value) : `${language} (${String(value)})`;
}

function titleOf(field: Field, value: unknown): string | undefined {
  return field.schema.oneOf?.find((each) => each.const === value)?.title;
}

/** Write a setting's value in words, for where it cannot be edited. */
export function shown(field: Field, value: unknown): string {
  if (value === undefined) return text.form.notSet;
  if (value === "") return text.form.empty;
  if (Array.isArray(value)) return value.length === 0 ? text.form.empty : value.map(String).join(", ");
  if (isObject(value)) return JSON.stringify(value);
  const unit = field.hints.unit === undefined ? "" : ` ${field.hints.unit}`;
  return choiceLabel(field, value) + unit;
}

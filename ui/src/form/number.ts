import { isExact } from "./exact";

const NUMBER = /^[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?$/i;
const IN_THOUSANDS = /^[+-]?[1-9]\d{0,2}([.,]\d{3})+$/;

/** What a number may be: a JSON Schema, as far as it says. */
export interface Numeric {
  type?: unknown;
  minimum?: number | undefined;
  maximum?: number | undefined;
  exclusiveMaximum?: number | undefined;
}

/**
 * Read what was typed for a number: undefined when it is empty, and the text itself when it is no number, or none that
 * can be kept, or one that people of different countries read differently: "2,000" is two, or two thousand.
 */
export function readNumber(typed: string, schema: Numeric): number | string | undefined {
  const trimmed = typed.trim();
  if (trimmed === "") return undefined;
  if (isAmbiguous(trimmed, schema)) return trimmed;
  const number = NUMBER.test(trimmed) ? Number(trimmed.replace(",", ".")) : Number.NaN;
  return isExact(number) ? number : trimmed;
}

/** Whether a value is text with a mark between its digits: what was not read for that reason. */
export function isMarked(value: unknown): boolean {
  return typeof value === "string" && /^[+-]?[\d.,\s]*\d[.,]\d[\d.,]*$/.test(value);
}

function isAmbiguous(typed: string, { type, minimum, maximum, exclusiveMaximum }: Numeric): boolean {
  if (type === "integer" && typed.includes(",")) return true;
  if (!IN_THOUSANDS.test(typed)) return false;
  if (type === "integer" || typed.includes(",")) return true;
  // With the point that decimals have here, it is one where thousands would be out of range.
  const thousands = Number(typed.replaceAll(".", ""));
  return (
    thousands >= (minimum ?? -Infinity) &&
    thousands <= Math.min(maximum ?? Infinity, exclusiveMaximum ?? Infinity)
  );
}

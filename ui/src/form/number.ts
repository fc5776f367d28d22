import { isExact } from "./exact";

const NUMBER = /^[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?$/i;

/** Read what was typed for a number: undefined when it is empty, and the text itself when it is no number, or none that can be kept. */
export function readNumber(typed: string): number | string | undefined {
  const trimmed = typed.trim();
  if (trimmed === "") return undefined;
  const number = NUMBER.test(trimmed) ? Number(trimmed.replace(",", ".")) : Number.NaN;
  return isExact(number) ? number : trimmed;
}

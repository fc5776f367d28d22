import { text } from "../messages";
import { isObject, pointerTo } from "./json";
import type { Finding } from "./finding";

const UNSTORABLE = /[\0\p{Surrogate}]/u;
const UNNAMEABLE = /[\0-\x1f\x7f\p{Surrogate}]/u;

/** Whether a number is the one that was written: beyond this, reading has already rounded it. */
export function isExact(number: number): boolean {
  return Number.isInteger(number) ? Number.isSafeInteger(number) : Number.isFinite(number);
}

/** Return what in a value would be kept as something else than was typed. The server refuses the same, as a whole. */
export function inexact(value: unknown, pointer = ""): Finding[] {
  if (typeof value === "number" && !isExact(value)) return [{ pointer, message: text.form.wrong.exact }];
  if (typeof value === "string" && UNSTORABLE.test(value))
    return [{ pointer, message: text.form.wrong.character }];
  if (Array.isArray(value)) return value.flatMap((each, at) => inexact(each, pointerTo(pointer, at)));
  if (!isObject(value)) return [];
  return Object.entries(value).flatMap(([name, each]) =>
    UNNAMEABLE.test(name)
      ? [{ pointer, message: text.form.wrong.character }]
      : inexact(each, pointerTo(pointer, name)),
  );
}

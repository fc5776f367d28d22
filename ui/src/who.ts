import type { Actor } from "./api/client";
import { text } from "./messages";

/** Say who did something, and through what. */
export function who({ kind, name }: Actor): string {
  return text.who[kind](name);
}

import { text } from "../messages";
import type { Field } from "./profile";

/** Return fields by group, the groups in the order in which they first appear. */
export function grouped(fields: readonly Field[]): [string, Field[]][] {
  const groups = new Map<string, Field[]>();
  for (const field of fields) {
    const group = field.hints.group ?? text.form.general;
    groups.set(group, [...(groups.get(group) ?? []), field]);
  }
  return [...groups];
}

/** Return fields in the order in which the form shows them: the advanced ones last. */
export function inOrder(fields: readonly Field[]): Field[] {
  const halves = [
    fields.filter((each) => !each.hints.advanced),
    fields.filter((each) => each.hints.advanced),
  ];
  return halves.flatMap((half) => grouped(half).flatMap(([, inner]) => inner));
}

import type { ProblemField, Provider, SettingsVersion } from "../api/client";
import { isObject, isSame, type JsonObject, pointerParts, pointerTo } from "../form/json";
import { type Field, Profile } from "../form/profile";
import { shown } from "../form/shown";
import { text } from "../messages";

/** One setting with two values; undefined: it is not set, so the default holds. */
export interface Difference {
  pointer: string;
  before: unknown;
  after: unknown;
}

/** List what differs between two overrides, in the order of the names and into objects, as the server lists it. */
export function differences(before: JsonObject, after: JsonObject, at = ""): Difference[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return names.flatMap((name) => {
    const [was, became] = [before[name], after[name]];
    if (isSame(was, became)) return [];
    const pointer = pointerTo(at, name);
    return isObject(was) && isObject(became)
      ? differences(was, became, pointer)
      : [{ pointer, before: was, after: became }];
  });
}

/** What one version changed. To the server a value is null also where there is none; here it is undefined then. */
export function changesOf({ changes }: Pick<SettingsVersion, "changes">): Difference[] {
  return changes.map(({ pointer, kind, before, after }) => ({
    pointer,
    before: kind === "added" ? undefined : before,
    after: kind === "removed" ? undefined : after,
  }));
}

/** The settings that are left without those that a restore was refused for. */
export function withoutRefused(overrides: JsonObject, errors: readonly ProblemField[]): JsonObject {
  const refused = new Set(errors.map((each) => settingOf(each.pointer)));
  return Object.fromEntries(Object.entries(overrides).filter(([name]) => !refused.has(name)));
}

/** The setting that an error of the server is about; undefined when it is about them all. */
export function settingOf(pointer: string): string | undefined {
  const [root, name] = pointerParts(pointer);
  return root === "config" ? name : undefined;
}

/** Says settings in the words of one provider's definition. */
export class Wording {
  readonly #profile: Profile;
  readonly #defaults: JsonObject;

  constructor(definition: Pick<Provider, "configSchema" | "defaultConfig">) {
    this.#profile = new Profile(definition.configSchema);
    this.#defaults = definition.defaultConfig;
  }

  /** What a setting is called, with what it is part of. */
  label(pointer: string): string {
    const parts = pointerParts(pointer);
    return parts.map((part, depth) => this.#field(parts.slice(0, depth + 1))?.label ?? part).join(": ");
  }

  /** A setting's value; the default, said to be that, where it is undefined. */
  value(pointer: string, value: unknown): string {
    const parts = pointerParts(pointer);
    const field = this.#field(parts);
    if (value !== undefined) return this.#words(field, value);
    const preset = this.#default(parts, field);
    return preset === undefined ? text.form.notSet : text.history.defaultOf(this.#words(field, preset));
  }

  #words(field: Field | null, value: unknown): string {
    if (field !== null) return shown(field, value);
    return typeof value === "string" ? value : JSON.stringify(value);
  }

  #field([name = "", ...inner]: readonly string[]): Field | null {
    let field = this.#profile.declared(name);
    for (const part of inner) {
      const within = [...(field?.fields ?? []), ...(field?.branches.flatMap((each) => each.fields) ?? [])];
      field = within.find((each) => each.name === part) ?? null;
    }
    return field;
  }

  #default(parts: readonly string[], field: Field | null): unknown {
    const found = parts.reduce<unknown>(
      (whole, part) => (isObject(whole) ? whole[part] : undefined),
      this.#defaults,
    );
    return found ?? field?.schema.default;
  }
}

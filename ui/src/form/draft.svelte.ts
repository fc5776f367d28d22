import { createContext } from "svelte";
import type { OrganizationProvider, ProblemField, Schemas } from "../api/client";
import { text } from "../messages";
import type { Finding } from "./finding";
import { isSame, type JsonObject, pointerParts, withField } from "./json";
import { isMarked } from "./number";
import { type Field, type Layout, Profile } from "./profile";
import { Validation } from "./validation";

/** What a setting is: the definition's, the organization's own, or changed and not saved. */
export type Standing = "default" | "unset" | "overridden" | "pinned" | "unsaved";

/** A setting that somebody else changed while it was being edited. */
export interface Overlap {
  /** What was typed here; undefined: reset to the default. */
  yours: unknown;
  /** What is stored now; undefined: the default. */
  theirs: unknown;
  by: string | null;
}

export interface Received {
  /** Settings that now show what somebody else set. */
  taken: string[];
  /** Settings that somebody else set, and that keep what was typed here. */
  overlapping: string[];
  by: string | null;
}

type Definition = Pick<
  Schemas["Provider"],
  "configSchema" | "secretsSchema" | "defaultConfig" | "models" | "voices"
>;

/** The provider's place among the others: changed with the settings, and none of them, so it has no name. */
export const PRIORITY = { name: "", pointer: "//priority", lowest: 0, highest: 1000 };

/** The settings of one provider while they are edited: what is stored, what was typed, and what a save would send. */
export class ConfigDraft {
  readonly profile: Profile;
  /** The models and voices that the catalogue knows of. */
  readonly known: Pick<Schemas["Provider"], "secretsSchema" | "models" | "voices">;
  readonly #validation: Validation;
  readonly #defaults: JsonObject;
  #provider = $state.raw() as OrganizationProvider;
  #stored = $state.raw<JsonObject>({});
  #values = $state.raw<JsonObject>({});
  #priority = $state<unknown>(0);
  #overlaps = $state.raw<ReadonlyMap<string, Overlap>>(new Map());
  #looked = $state.raw<ReadonlySet<string>>(new Set());
  #showsAll = $state(false);
  #refused = $state.raw<readonly Finding[]>([]);
  /** What was typed and could not be read, by setting; it is not in the values. */
  #unreadable = $state.raw<ReadonlyMap<string, Finding>>(new Map());

  /** The override that a save would send: sparse, and without settings that the others forbid. */
  readonly override: JsonObject = $derived.by(() => this.profile.sent(this.#values));
  readonly layout: Layout = $derived.by(() => this.profile.layout(this.override));
  readonly #findings: readonly Finding[] = $derived.by(() => [
    ...this.#unreadable.values(),
    ...priorityFindings(this.#priority),
    ...this.#validation.findings(this.override, this.layout),
  ]);

  constructor(definition: Definition, provider: OrganizationProvider) {
    this.profile = new Profile(definition.configSchema);
    this.#validation = new Validation(definition.configSchema);
    this.known = definition;
    this.#defaults = definition.defaultConfig;
    this.#provider = provider;
    this.#stored = this.#values = provider.overrides;
    this.#priority = provider.priority;
  }

  /** The provider as the server last said that it is; a save is based on it. */
  get provider(): OrganizationProvider {
    return this.#provider;
  }

  /** A number from 0 to 1000, or what was typed instead. */
  get priority(): unknown {
    return this.#priority;
  }

  set priority(priority: unknown) {
    this.set(PRIORITY.name, priority);
  }

  /** Stored settings that the definition no longer has; the next save leaves them out. */
  get outdated(): string[] {
    return Object.keys(this.#stored).filter((name) => !this.profile.has(name));
  }

  /** Settings with a value of their own that the others forbid: not sent. */
  get forbidden(): string[] {
    return Object.keys(this.#values).filter((name) => this.profile.has(name) && !(name in this.override));
  }

  /** What a setting is called. */
  label(name: string): string {
    return name === PRIORITY.name ? text.configuration.priority : this.profile.label(name);
  }

  /** All values of one's own, saved or not. */
  get typed(): JsonObject {
    return this.#values;
  }

  /** Have values of one's own again that were typed before, except where something was typed since. */
  retype(values: JsonObject): void {
    const names = [...new Set([...Object.keys(values), ...Object.keys(this.#stored)])];
    for (const name of names.filter((each) => !this.isDirty(each))) this.set(name, values[name]);
  }

  default(field: Field): unknown {
    return this.#defaults[field.name] ?? field.schema.default;
  }

  /** What is typed, stored or, without either, the default; undefined when there is none. */
  value(field: Field): unknown {
    return this.isOverridden(field.name) ? this.#values[field.name] : this.default(field);
  }

  isOverridden(name: string): boolean {
    return Object.hasOwn(this.#values, name);
  }

  isDirty(name: string): boolean {
    if (name === PRIORITY.name) return this.#priority !== this.#provider.priority;
    return this.isUnreadable(name) || !isSame(this.#values[name], this.#stored[name]);
  }

  standing(field: Field): Standing {
    if (this.isDirty(field.name)) return "unsaved";
    const preset = this.default(field);
    if (!this.isOverridden(field.name)) return preset === undefined ? "unset" : "default";
    return isSame(this.#stored[field.name], preset) ? "pinned" : "overridden";
  }

  /** The names of what a save would change. */
  get changes(): string[] {
    const names = new Set([
      ...Object.keys(this.#stored),
      ...Object.keys(this.#values),
      ...this.#unreadable.keys(),
    ]);
    const edited = [...names].filter((name) => this.isDirty(name));
    // What a choice makes impossible goes with it; untouched, a stored setting stays whatever it is.
    const dropped = edited.length > 0 ? [...this.forbidden, ...this.outdated] : [];
    const all = [...new Set([...edited, ...dropped])].filter(
      (name) => this.isUnreadable(name) || !isSame(this.override[name], this.#stored[name]),
    );
    return this.isDirty(PRIORITY.name) ? [...all, PRIORITY.name] : all;
  }

  /** What is to be written; null when nothing was changed. */
  get write(): Schemas["ConfigWrite"] | null {
    const changes = this.changes;
    if (changes.length === 0) return null;
    return {
      ...(changes.some((name) => name !== PRIORITY.name) ? { config: this.override } : {}),
      ...(changes.includes(PRIORITY.name) ? { priority: this.#priority as number } : {}),
    };
  }

  /** Where an override leads, as far as it says so: whoever enters it with a key wants the key to go there. */
  get addresses(): string[] {
    return this.layout.fields
      .filter((each) => each.hints.bindsSecret)
      .map((each) => this.override[each.name])
      .filter((each) => typeof each === "string")
      .filter((each) => URL.canParse(each));
  }

  /** What an override says of where calls are sent. */
  get binding(): JsonObject {
    const names = this.layout.fields.filter((each) => each.hints.bindsSecret).map((each) => each.name);
    return Object.fromEntries(Object.entries(this.override).filter(([name]) => names.includes(name)));
  }

  /** Set a setting of its own; undefined takes it back to the default. */
  set(name: string, value: unknown): void {
    this.#put(name, value);
    const overlap = this.#overlaps.get(name);
    if (overlap !== undefined)
      this.#overlaps = new Map([...this.#overlaps, [name, { ...overlap, yours: value }]]);
  }

  #put(name: string, value: unknown): void {
    if (name === PRIORITY.name) this.#priority = value;
    else this.#values = withField(this.#values, name, value);
    this.canRead(name);
    this.#forgetRefusal(name);
  }

  /** Keep a save from happening while what was typed for a setting cannot be read. */
  cannotRead(name: string, finding: Finding): void {
    this.#unreadable = new Map([...this.#unreadable, [name, finding]]);
  }

  /** Say that nothing unreadable is typed for a setting any more. */
  canRead(name: string): void {
    if (this.isUnreadable(name)) this.#unreadable = without(this.#unreadable, name);
  }

  isUnreadable(name: string): boolean {
    return this.#unreadable.has(name);
  }

  discard(): void {
    this.#values = this.#stored;
    this.#priority = this.#provider.priority;
    this.#overlaps = new Map();
    this.#looked = new Set();
    this.#showsAll = false;
    this.#refused = [];
    this.#unreadable = new Map();
  }

  // What is wrong

  /** What is wrong at one setting or a part of it, as far as it is to be said yet. */
  problem(pointer: string): string | null {
    return this.problems.find((each) => each.pointer === pointer)?.message ?? null;
  }

  /** What is wrong with any part of a setting, such as one value of a list. */
  problemWithin(pointer: string): string | null {
    return this.problems.find((each) => each.pointer.startsWith(`${pointer}/`))?.message ?? null;
  }

  /** All that is to be said yet: of settings that were left, and of all others after an attempt to save. */
  get problems(): Finding[] {
    const own = this.#findings.filter(({ pointer }) => this.#showsAll || this.#looked.has(nameIn(pointer)));
    const refused = this.#refused.filter(({ pointer }) => !own.some((each) => each.pointer === pointer));
    const places = new Map(this.layout.fields.map((each, place) => [each.name, place]));
    const place = ({ pointer }: Finding) => places.get(nameIn(pointer)) ?? places.size;
    return [...own, ...refused].sort((a, b) => place(a) - place(b));
  }

  /** Say from now on what is wrong with a setting: the person has left it. */
  left(name: string): void {
    if (!this.#looked.has(name)) this.#looked = new Set([...this.#looked, name]);
  }

  /** Whether somebody tried to save, so that all that is wrong is said. */
  get isChecked(): boolean {
    return this.#showsAll;
  }

  /** Say from now on all that is wrong; returns whether nothing is. */
  checkAll(): boolean {
    this.#showsAll = true;
    return this.#findings.length === 0;
  }

  /** Take what the server refused, by pointers into what was sent; what has no place here is returned. */
  refuse(errors: readonly ProblemField[]): ProblemField[] {
    const isOurs = ({ pointer }: ProblemField) => /^\/(config\/|priority$)/.test(pointer);
    this.#refused = errors.filter(isOurs).map(({ pointer, message }) => ({
      pointer: pointer === "/priority" ? PRIORITY.pointer : pointer.replace(/^\/config/, ""),
      message,
    }));
    return errors.filter((each) => !isOurs(each));
  }

  #forgetRefusal(name: string): void {
    this.#refused = this.#refused.filter(({ pointer }) => nameIn(pointer) !== name);
  }

  // What others do meanwhile

  get overlaps(): ReadonlyMap<string, Overlap> {
    return this.#overlaps;
  }

  /** The overlaps in which a save would replace what somebody else set. */
  get contested(): ReadonlyMap<string, Overlap> {
    return new Map([...this.#overlaps].filter(([name]) => this.isDirty(name)));
  }

  #present(name: string): unknown {
    return name === PRIORITY.name ? this.#priority : this.#values[name];
  }

  /** Go on from what the server now has: what nobody edited here follows it, what was typed stays. */
  receive(provider: OrganizationProvider): Received {
    const before = this.#stored;
    const theirs = provider.overrides;
    const received: Received = { taken: [], overlapping: [], by: provider.updatedBy };
    const overlaps = new Map(this.#overlaps);
    const compare = (name: string, stored: unknown, theirs: unknown) => {
      if (isSame(stored, theirs)) return;
      const isEdited = this.isDirty(name);
      if (!isEdited) {
        this.#put(name, theirs);
        received.taken.push(name);
      }
      const yours = this.#present(name);
      const isAgreed = isSame(yours, theirs) && !this.isUnreadable(name);
      if (!isEdited || isAgreed) overlaps.delete(name);
      else {
        overlaps.set(name, { yours, theirs, by: provider.updatedBy });
        received.overlapping.push(name);
      }
    };
    for (const name of new Set([...Object.keys(before), ...Object.keys(theirs)]))
      compare(name, before[name], theirs[name]);
    compare(PRIORITY.name, this.#provider.priority, provider.priority);
    this.#overlaps = overlaps;
    this.#stored = theirs;
    this.#provider = provider;
    return received;
  }

  /** Take the server's answer to a save of `sent`: what was typed since is still unsaved. */
  saved(sent: Schemas["ConfigWrite"], answer: OrganizationProvider): void {
    if (sent.config !== undefined) {
      for (const name of [...this.forbidden, ...this.outdated])
        this.#values = withField(this.#values, name, undefined);
      this.#stored = sent.config;
    }
    if (sent.priority != null) this.#provider = { ...this.#provider, priority: sent.priority };
    this.#overlaps = new Map();
    this.receive(answer);
    if (this.changes.length === 0) this.discard();
  }

  /** Decide an overlap. */
  settle(name: string, choice: "yours" | "theirs" | "default"): void {
    const overlap = this.#overlaps.get(name);
    if (overlap === undefined) return;
    this.#put(name, choice === "default" ? undefined : overlap[choice]);
  }

  /** Take what somebody else set, and be done with the overlap. */
  takeTheirs(name: string): void {
    this.settle(name, "theirs");
    this.#overlaps = without(this.#overlaps, name);
  }
}

function without<T>(map: ReadonlyMap<string, T>, name: string): ReadonlyMap<string, T> {
  return new Map([...map].filter(([each]) => each !== name));
}

function priorityFindings(priority: unknown): Finding[] {
  const { pointer, lowest: low, highest: high } = PRIORITY;
  if (Number.isInteger(priority) && (priority as number) >= low && (priority as number) <= high) return [];
  const range = { isWhole: true, unit: "", low, isAbove: false, high, isBelow: false };
  return [{ pointer, message: text.form.wrong.number(range, isMarked(priority)) }];
}

/** The name of the setting that a pointer leads to or into. */
export function nameIn(pointer: string): string {
  return pointerParts(pointer)[0] ?? "";
}

export const [getDraft, setDraft] = createContext<ConfigDraft>();

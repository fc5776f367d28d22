import { Validator, type Schema as AnySchema } from "@cfworker/json-schema";
import { isObject, type JsonObject, pointerTo } from "./json";

export interface Hints {
  widget?: string;
  group?: string;
  order?: number;
  advanced?: boolean;
  unit?: string;
  labels?: Record<string, string>;
  placeholder?: string;
  help?: string;
  bindsSecret?: boolean;
  costly?: boolean;
}

/** A node of a JSON Schema within the profile of provider definitions. */
export interface Schema {
  type?: string;
  enum?: readonly unknown[];
  const?: unknown;
  default?: unknown;
  title?: string;
  description?: string;
  examples?: readonly unknown[];
  deprecated?: boolean;
  readOnly?: boolean;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  multipleOf?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  format?: string;
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  uniqueItems?: boolean;
  properties?: Record<string, Schema | false>;
  required?: readonly string[];
  additionalProperties?: unknown;
  oneOf?: readonly Schema[];
  allOf?: readonly Schema[];
  if?: Schema;
  then?: Schema;
  else?: Schema;
  dependentSchemas?: Record<string, Schema>;
  $ref?: string;
  $defs?: Record<string, Schema>;
  "x-ui"?: Hints;
}

export type Kind =
  | "text"
  | "textarea"
  | "number"
  | "slider"
  | "switch"
  | "select"
  | "radio"
  | "suggest"
  | "picker"
  | "tags"
  | "choices"
  | "object"
  | "variant"
  | "json";

/** One setting as a form shows it: its schema with references resolved and narrowed by the conditions that hold. */
export interface Field {
  name: string;
  pointer: string;
  kind: Kind;
  schema: Schema;
  hints: Hints;
  label: string;
  isRequired: boolean;
  /** The settings within it, when it is an object. */
  fields: readonly Field[];
  /** What it can be, when it is one of several objects. */
  branches: readonly Branch[];
}

/** One of the objects that a setting can be: recognised by one field with a constant value. */
export interface Branch {
  discriminator: string;
  value: unknown;
  label: string;
  fields: readonly Field[];
}

/** The settings as they stand for one override, in order. */
export interface Layout {
  fields: readonly Field[];
  /** Settings that may not be set together with the others: neither shown nor sent. */
  hidden: ReadonlySet<string>;
}

const WIDEST_SLIDER = 10;

/** Reads a definition's schema as a form: which fields there are, of which kind, and what restricts them. */
export class Profile {
  readonly #root: Schema;
  readonly #conditions = new WeakMap<Schema, Validator>();

  constructor(readonly schema: JsonObject) {
    this.#root = schema as Schema;
  }

  /** Whether the definition has a setting of this name at all. */
  has(name: string): boolean {
    return Object.hasOwn(this.#root.properties ?? {}, name);
  }

  /** What a setting is called. */
  label(name: string): string {
    const declared = this.#root.properties?.[name];
    return declared ? (this.#resolved(declared).title ?? name) : name;
  }

  /** One setting as the definition declares it, whatever the others say; null when it has none of this name. */
  declared(name: string): Field | null {
    const found = this.#root.properties?.[name];
    return found ? this.#field(name, "", this.#resolved(found), false) : null;
  }

  /** Return the settings as the conditions narrow them for an override. */
  layout(override: JsonObject): Layout {
    const restrictions = [...this.#holding(this.#root, override)];
    const hidden = new Set<string>();
    const fields: Field[] = [];
    const required = new Set([this.#root, ...restrictions].flatMap((each) => each.required ?? []));
    for (const [name, declared] of Object.entries(this.#root.properties ?? {})) {
      const narrowing = restrictions.map((each) => each.properties?.[name]);
      if (declared === false || narrowing.includes(false)) {
        hidden.add(name);
        continue;
      }
      const given = narrowing.filter((each) => each !== undefined && each !== false);
      const schema = given.reduce(narrowed, this.#resolved(declared));
      fields.push(this.#field(name, "", schema, required.has(name)));
    }
    fields.sort((a, b) => (a.hints.order ?? 0) - (b.hints.order ?? 0));
    return { fields, hidden };
  }

  /** Return what of an override can be sent: a setting that the others forbid is left out, one at a time. */
  sent(override: JsonObject): JsonObject {
    const kept = Object.fromEntries(Object.entries(override).filter(([name]) => this.has(name)));
    for (;;) {
      const forbidden = [...this.#forbidden(kept)].find((name) => Object.hasOwn(kept, name));
      if (forbidden === undefined) return kept;
      // Without it another one may be allowed again.
      delete kept[forbidden];
    }
  }

  *#forbidden(override: JsonObject): Generator<string> {
    for (const restriction of this.#holding(this.#root, override))
      for (const [name, schema] of Object.entries(restriction.properties ?? {}))
        if (schema === false) yield name;
  }

  /** Yield what the conditions that hold for an override demand, in the definition's order. */
  *#holding(node: Schema, override: JsonObject): Generator<Schema> {
    if (node.if !== undefined) {
      const branch = this.#accepts(node.if, override) ? node.then : node.else;
      if (branch !== undefined) yield* this.#withInner(branch, override);
    }
    for (const each of node.allOf ?? []) yield* this.#withInner(each, override);
    for (const [name, each] of Object.entries(node.dependentSchemas ?? {}))
      if (Object.hasOwn(override, name)) yield* this.#withInner(each, override);
  }

  *#withInner(restriction: Schema, override: JsonObject): Generator<Schema> {
    yield restriction;
    yield* this.#holding(restriction, override);
  }

  #accepts(condition: Schema, override: JsonObject): boolean {
    let validator = this.#conditions.get(condition);
    if (validator === undefined) {
      validator = new Validator(condition as AnySchema, "2020-12");
      this.#conditions.set(condition, validator);
    }
    return validator.validate(override).valid;
  }

  #resolved(schema: Schema): Schema {
    const name = schema.$ref?.match(/^#\/\$defs\/([^/]+)$/)?.[1];
    const target = name === undefined ? undefined : this.#root.$defs?.[name];
    if (target === undefined) return schema;
    const { $ref: _followed, ...own } = schema;
    return { ...this.#resolved(target), ...own };
  }

  #field(name: string, parent: string, schema: Schema, isRequired: boolean): Field {
    const pointer = pointerTo(parent, name);
    const hints = schema["x-ui"] ?? {};
    const isNested = parent !== "";
    const branches = isNested ? [] : this.#branches(pointer, schema);
    const isClosed = schema.properties !== undefined && schema.additionalProperties === false;
    const isFlat = schema.type === "object" && isClosed && !isNested;
    return {
      name,
      pointer,
      kind: branches.length > 0 ? "variant" : isFlat ? "object" : kindOf(schema, hints),
      schema,
      hints,
      label: schema.title ?? name,
      isRequired,
      fields: isFlat ? this.#inner(pointer, schema, []) : [],
      branches,
    };
  }

  #inner(pointer: string, schema: Schema, without: readonly string[]): Field[] {
    const inner: Field[] = [];
    for (const [name, declared] of Object.entries(schema.properties ?? {})) {
      if (declared === false || without.includes(name)) continue;
      const isRequired = schema.required?.includes(name) ?? false;
      inner.push(this.#field(name, pointer, this.#resolved(declared), isRequired));
    }
    return inner;
  }

  /** Return the branches of a `oneOf` of closed objects that one constant tells apart; none for anything else. */
  #branches(pointer: string, schema: Schema): Branch[] {
    const branches: Branch[] = [];
    for (const each of schema.oneOf ?? []) {
      const branch = this.#resolved(each);
      const constant = Object.entries(branch.properties ?? {}).find(
        ([, inner]) => inner !== false && inner.const !== undefined,
      );
      if (constant === undefined || branch.additionalProperties !== false) return [];
      const [discriminator, { const: value }] = constant as [string, Schema];
      branches.push({
        discriminator,
        value,
        label: branch.title ?? String(value),
        fields: this.#inner(pointer, branch, [discriminator]),
      });
    }
    return branches;
  }
}

function kindOf(schema: Schema, hints: Hints): Kind {
  if (schema.oneOf !== undefined)
    return schema.oneOf.every((each) => each.const !== undefined) ? "radio" : "json";
  if (schema.const !== undefined || schema.enum !== undefined)
    return choicesOf(schema).every((each) => !isObject(each) && !Array.isArray(each)) ? "select" : "json";
  switch (schema.type) {
    case "boolean":
      // A switch is on or off; without a default there is a third: not set.
      return schema.default === undefined ? "select" : "switch";
    case "string":
      if (hints.widget === "language") return "suggest";
      if (hints.widget === "model-picker" || hints.widget === "voice-picker") return "picker";
      return hints.widget === "textarea" ? "textarea" : "text";
    case "number":
    case "integer":
      return isNarrow(schema, hints) ? "slider" : "number";
    case "array":
      if (schema.items?.enum !== undefined) return "choices";
      return /^(string|integer|number)$/.test(schema.items?.type ?? "") ? "tags" : "json";
    default:
      return "json";
  }
}

function isNarrow({ minimum, maximum }: Schema, hints: Hints): boolean {
  if (minimum === undefined || maximum === undefined) return false;
  return hints.widget === "slider" || maximum - minimum <= WIDEST_SLIDER;
}

/** Return the values that a setting can have, when they are listed. */
export function choicesOf(schema: Schema): readonly unknown[] {
  if (schema.const !== undefined) return [schema.const];
  if (schema.enum !== undefined) return schema.enum;
  if (schema.oneOf !== undefined) return schema.oneOf.map((each) => each.const);
  return schema.type === "boolean" ? [true, false] : [];
}

/** Return a schema that only accepts what both accept, as far as conditions restrict. */
function narrowed(schema: Schema, by: Schema): Schema {
  const both: Schema = { ...schema, ...by };
  if (schema.enum && by.enum) both.enum = schema.enum.filter((each) => by.enum?.includes(each));
  if (schema.items && by.items) both.items = narrowed(schema.items, by.items);
  for (const lower of ["minimum", "exclusiveMinimum", "minLength", "minItems"] as const) {
    const bounds = [schema[lower], by[lower]].filter((each) => each !== undefined);
    if (bounds.length > 0) both[lower] = Math.max(...bounds);
  }
  for (const upper of ["maximum", "exclusiveMaximum", "maxLength", "maxItems"] as const) {
    const bounds = [schema[upper], by[upper]].filter((each) => each !== undefined);
    if (bounds.length > 0) both[upper] = Math.min(...bounds);
  }
  return both;
}

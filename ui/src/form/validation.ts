import { type OutputUnit, type Schema as AnySchema, Validator } from "@cfworker/json-schema";
import { text } from "../messages";
import { inexact } from "./exact";
import type { Finding } from "./finding";
import { isObject, type JsonObject, pointerParts, pointerTo } from "./json";
import { isMarked } from "./number";
import { formOf } from "./pattern";
import { choicesOf, type Field, type Layout, type Schema } from "./profile";

// These only say that something within them was found.
const WRAPPERS = new Set(["properties", "additionalProperties", "items", "allOf", "oneOf", "if", "$ref"]);

/** Says before the server does what it would refuse; the server's verdict is the one that counts. */
export class Validation {
  readonly #validator: Validator;

  constructor(schema: JsonObject) {
    // The validator writes notes of its own into what it is given.
    this.#validator = new Validator(structuredClone(schema) as AnySchema, "2020-12", false);
  }

  /** Return the first thing that is wrong at each place of an override; `layout` is the one for it. */
  findings(override: JsonObject, layout: Layout): Finding[] {
    const found = new Map<string, string>();
    const add = (pointer: string, message: string) => found.has(pointer) || found.set(pointer, message);
    for (const error of this.#validator.validate(override).errors) {
      const pointer = decodeURI(error.instanceLocation.slice(1));
      const field = layout.fields.find((each) => each.name === pointerParts(pointer)[0]);
      const isUndecided =
        error.keyword === "oneOf" && field !== undefined && !hasBranch(field, override[field.name]);
      if (isUndecided) add(pointer, sentence(error.keyword, field.schema, field));
      if (WRAPPERS.has(error.keyword)) continue;
      if (field !== undefined && !concerns(error, field, override[field.name])) continue;
      if (error.keyword === "required") {
        const missing = missingFields(field, pointer, override, layout);
        for (const each of missing) add(each, text.form.wrong.needed);
        if (missing.length === 0) add(pointer, text.form.wrong.shape);
      } else if (field === undefined) {
        add(pointer, text.form.wrong.notHere);
      } else {
        const schema = schemaAt(field, pointer, override[field.name]);
        add(pointer, sentence(error.keyword, schema, field, isMarked(valueAt(override, pointer))));
      }
    }
    for (const { pointer, message } of inexact(override)) add(pointer, message);
    return [...found].map(([pointer, message]) => ({ pointer, message }));
  }
}

/** Of a setting that is one of several objects, only the one that was chosen has something to say. */
function concerns(error: OutputUnit, field: Field, value: unknown): boolean {
  const branch = /\/oneOf\/(\d+)(?:\/|$)/.exec(error.keywordLocation)?.[1];
  if (branch === undefined || field.kind !== "variant") return branch === undefined;
  const tried = field.branches[Number(branch)];
  return tried !== undefined && isObject(value) && value[tried.discriminator] === tried.value;
}

/** Whether it is clear which of several objects is meant; where they are no objects, it never is. */
function hasBranch(field: Field, value: unknown): boolean {
  return field.branches.some((each) => isObject(value) && value[each.discriminator] === each.value);
}

function fieldsOf(field: Field, value: unknown): readonly Field[] {
  if (field.kind !== "variant") return field.fields;
  const chosen = field.branches.find((each) => isObject(value) && value[each.discriminator] === each.value);
  return chosen?.fields ?? [];
}

function missingFields(
  field: Field | undefined,
  pointer: string,
  override: JsonObject,
  layout: Layout,
): string[] {
  const value = field === undefined ? override : override[field.name];
  const fields = field === undefined ? layout.fields : fieldsOf(field, value);
  return fields
    .filter((each) => each.isRequired && isObject(value) && !Object.hasOwn(value, each.name))
    .map((each) => pointerTo(pointer, each.name));
}

/** Return the schema of what a pointer points to: the setting's own, or that of a part of it. */
function schemaAt(field: Field, pointer: string, value: unknown): Schema {
  const [, name] = pointerParts(pointer);
  if (name === undefined) return field.schema;
  const inner = fieldsOf(field, value).find((each) => each.name === name);
  return inner?.schema ?? field.schema.items ?? {};
}

function valueAt(override: JsonObject, pointer: string): unknown {
  let value: unknown = override;
  for (const part of pointerParts(pointer)) value = (value as JsonObject | undefined)?.[part];
  return value;
}

function sentence(keyword: string, schema: Schema, field: Field, isMarked = false): string {
  const say = text.form.wrong;
  const choices = field.schema === schema && field.branches.length > 0 ? labels(field) : choicesOf(schema);
  if (choices.length > 0 && schema.type !== "boolean") return say.choose(choices.map(String).join(", "));
  switch (schema.type) {
    case "number":
    case "integer":
      if (keyword === "multipleOf") return say.multiple(schema.multipleOf ?? 1);
      return numberSentence(schema, isMarked);
    case "string":
      if (keyword === "type") return say.text;
      if (keyword === "minLength" || keyword === "maxLength")
        return say.length(schema.minLength ?? 0, schema.maxLength ?? null);
      return formSentence(schema);
    case "array":
      if (keyword === "uniqueItems") return say.once;
      return say.items(schema.minItems ?? 0, schema.maxItems ?? null);
    case "boolean":
      return say.onOrOff;
    default:
      return say.shape;
  }
}

function labels(field: Field): string[] {
  return field.branches.map((each) => each.label);
}

function numberSentence(schema: Schema, isMarked: boolean): string {
  const say = text.form.wrong;
  const unit = schema["x-ui"]?.unit ?? "";
  const isWhole = schema.type === "integer";
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const high = schema.maximum ?? schema.exclusiveMaximum;
  const given = {
    isWhole,
    unit,
    low: low ?? null,
    isAbove: schema.minimum === undefined,
    high: high ?? null,
    isBelow: schema.maximum === undefined,
  };
  return say.number(given, isMarked);
}

function formSentence(schema: Schema): string {
  const say = text.form.wrong;
  const example = [...(schema.examples ?? []), schema.default].find((each) => typeof each === "string");
  if (schema.format === "uri") return say.address((example as string | undefined) ?? null);
  if (schema.format === "email") return say.email;
  if (schema.format === "date") return say.date;
  if (schema.format === "duration") return say.duration;
  if (schema.format === "regex") return say.regex;
  // A pattern that forbids nothing but control characters asks for a line of text.
  if (schema.pattern !== undefined && /^\^\[\^[^\]]*\]\+\$$/.test(schema.pattern)) return say.line;
  if (typeof example === "string") return say.likeExample(example);
  const form = formOf(schema.pattern ?? "");
  return form === null ? say.described : say.form(form);
}

import { describe, expect, inject, test } from "vitest";
import { type Kind, Profile, type Schema } from "../src/form/profile";
import { definition } from "./provider";

function profile(schema: Schema): Profile {
  return new Profile({ type: "object", additionalProperties: false, ...schema });
}

const definitions = Object.entries(inject("definitions"));
const shipped = definitions.filter(([key]) => key !== "reference");

test("the twelve are there, and the reference", () => {
  expect(shipped).toHaveLength(12);
  expect(definitions).toHaveLength(13);
});

describe.each(shipped)("%s", (_key, { configSchema }) => {
  test("needs no node of JSON, for itself or for a part", () => {
    const fields = new Profile(configSchema).layout({}).fields;
    const parts = fields.flatMap((each) => [each, ...each.fields]);
    expect(parts.filter((each) => each.kind === "json")).toEqual([]);
  });

  test("shows every setting or hides it, and none twice", () => {
    const { fields, hidden } = new Profile(configSchema).layout({});
    const names = [...fields.map((each) => each.name), ...hidden].sort();
    expect(names).toEqual(Object.keys(configSchema.properties as object).sort());
  });
});

test("every kind is derived from the reference", () => {
  const { fields } = new Profile(definition("reference").configSchema).layout({});
  const kinds = Object.fromEntries(fields.map((each) => [each.name, each.kind]));
  expect(kinds).toEqual({
    model: "picker",
    voice: "picker",
    language: "suggest",
    name: "text",
    greeting: "text",
    prompt: "textarea",
    contact: "text",
    startsOn: "text",
    patience: "text",
    filter: "text",
    temperature: "slider",
    tokens: "number",
    ratio: "number",
    step: "number",
    beams: "slider",
    streams: "switch",
    parallel: "select",
    mode: "select",
    rate: "select",
    edition: "select",
    size: "radio",
    thinks: "switch",
    words: "tags",
    redact: "choices",
    sizes: "tags",
    limits: "object",
    opening: "variant",
    weights: "json",
    old: "switch",
    fixed: "text",
    baseUrl: "text",
  } satisfies Record<string, Kind>);
});

test("an object shows its parts, one level deep", () => {
  const { fields } = new Profile(definition("reference").configSchema).layout({});
  const limits = fields.find((each) => each.name === "limits");
  expect(limits?.fields.map((each) => [each.pointer, each.kind])).toEqual([
    ["/limits/words", "switch"],
    ["/limits/level", "select"],
    ["/limits/count", "number"],
  ]);
  const deep = profile({
    properties: {
      a: {
        type: "object",
        additionalProperties: false,
        properties: {
          b: { type: "object", additionalProperties: false, properties: { c: { type: "string" } } },
        },
      },
    },
  });
  expect(deep.layout({}).fields[0]?.fields[0]?.kind).toBe("json");
});

test("one of several objects shows what tells them apart, and what each has", () => {
  const { fields } = new Profile(definition("reference").configSchema).layout({});
  const opening = fields.find((each) => each.name === "opening");
  expect(opening?.branches).toMatchObject([
    { discriminator: "kind", value: "fixed", label: "Fixed", fields: [{ name: "at" }] },
    {
      discriminator: "kind",
      value: "window",
      fields: [{ name: "opens", isRequired: true }, { name: "closes" }],
    },
  ]);
});

describe("what is outside the profile is a node of JSON", () => {
  const outside: [string, Schema][] = [
    ["anything", {}],
    ["an open object", { type: "object", properties: { a: { type: "string" } } }],
    ["a list of objects", { type: "array", items: { type: "object" } }],
    [
      "a choice among objects that no constant tells apart",
      { oneOf: [{ type: "string" }, { type: "object" }] },
    ],
    ["a list of values that are no words", { enum: [{ a: 1 }] }],
  ];
  test.each(outside)("%s", (_what, schema) => {
    expect(profile({ properties: { node: schema } }).layout({}).fields[0]?.kind).toBe("json");
  });
});

describe("conditions", () => {
  const openai = () => new Profile(definition("openai").configSchema);
  const shown = (override: object) => openai().layout({ ...override });
  const names = (override: object) => shown(override).fields.map((each) => each.name);

  test("hide what a model refuses, by default and when it is chosen", () => {
    expect(names({})).not.toContain("reasoningEffort");
    expect(names({})).toContain("temperature");
    expect(names({ model: "gpt-6-astra" })).toContain("reasoningEffort");
    expect(names({ model: "gpt-6-astra" })).not.toContain("temperature");
  });

  test("within conditions hold as well", () => {
    expect(names({ model: "gpt-6-luna" })).not.toContain("temperature");
    expect(names({ model: "gpt-6-luna", reasoningEffort: "none" })).toContain("temperature");
  });

  test("narrow ranges and choices", () => {
    const field = (override: object, name: string) =>
      shown(override).fields.find((each) => each.name === name)?.schema;
    expect(field({}, "maxTokens")?.maximum).toBe(16384);
    expect(field({ model: "gpt-6-luna" }, "maxTokens")?.maximum).toBe(128000);
    expect(field({ model: "o3" }, "reasoningEffort")?.enum).toEqual([
      "low",
      "medium",
      "high",
      "xhigh",
      "max",
    ]);
  });

  test("narrow the values of a list", () => {
    const deepgram = new Profile(definition("deepgram").configSchema).layout({ model: "flux-general-en" });
    const redact = deepgram.fields.find((each) => each.name === "redact")?.schema;
    expect(redact).toMatchObject({ maxItems: 1, items: { enum: ["numbers", "aggressive_numbers"] } });
  });

  test("may ask for a setting", () => {
    const google = new Profile(definition("google").configSchema);
    const project = google.layout({ backend: "vertex" }).fields.find((each) => each.name === "project");
    expect(project?.isRequired).toBe(true);
    expect(google.layout({}).hidden).toContain("project");
  });

  test("may stand at the top, or depend on a setting", () => {
    const schema = profile({
      properties: { a: { type: "string" }, b: { type: "integer", maximum: 9 }, c: { type: "string" } },
      if: { properties: { a: { const: "x" } }, required: ["a"] },
      then: { properties: { c: false } },
      else: { required: ["c"] },
      dependentSchemas: { c: { properties: { b: { type: "integer", minimum: 3, maximum: 20 } } } },
    });
    expect(schema.layout({ a: "x" }).hidden).toEqual(new Set(["c"]));
    const [, b, c] = schema.layout({ c: "y" }).fields;
    expect(b?.schema).toMatchObject({ minimum: 3, maximum: 9 });
    expect(c?.isRequired).toBe(true);
  });
});

describe("what is sent", () => {
  test("leaves out what the others forbid", () => {
    const openai = new Profile(definition("openai").configSchema);
    expect(openai.sent({ model: "gpt-6-astra", temperature: 0.3, topP: 0.5 })).toEqual({
      model: "gpt-6-astra",
    });
  });

  test("keeps what is allowed once another one is gone", () => {
    const anthropic = new Profile(definition("anthropic").configSchema);
    expect(anthropic.sent({ temperature: 0.3, topP: 0.5 })).toEqual({ temperature: 0.3 });
    const one = profile({
      properties: { a: {}, b: {}, c: {} },
      allOf: [
        { if: { required: ["a"] }, then: { properties: { b: false } } },
        { if: { required: ["b"] }, then: { properties: { c: false } } },
      ],
    });
    expect(one.sent({ a: 1, b: 2, c: 3 })).toEqual({ a: 1, c: 3 });
  });

  test("leaves out what the definition does not have", () => {
    expect(profile({ properties: { a: {} } }).sent({ a: 1, old: 2 })).toEqual({ a: 1 });
  });
});

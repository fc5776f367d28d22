import { describe, expect, inject, test } from "vitest";
import { inexact } from "../src/form/exact";
import type { JsonObject } from "../src/form/json";
import { readNumber } from "../src/form/number";
import { Profile } from "../src/form/profile";
import { Validation } from "../src/form/validation";
import { definition } from "./provider";

function findings(key: string, override: JsonObject): Record<string, string> {
  const { configSchema } = definition(key);
  const found = new Validation(configSchema).findings(override, new Profile(configSchema).layout(override));
  return Object.fromEntries(found.map(({ pointer, message }) => [pointer, message]));
}
const reference = (override: JsonObject) => findings("reference", { name: "Ann", ...override });

test.each(Object.keys(inject("definitions")))(
  "the defaults of %s are valid, but for what is needed",
  (key) => {
    const needed = (definition(key).configSchema.required ?? []) as string[];
    expect(Object.keys(findings(key, {})).sort()).toEqual(needed.map((name) => `/${name}`).sort());
  },
);

describe("says what would be valid", () => {
  const cases: [string, JsonObject, string, string][] = [
    ["a number", { temperature: 3 }, "/temperature", "Write a number from 0 to 2."],
    ["text for a number", { temperature: "warm" }, "/temperature", "Write a number from 0 to 2."],
    ["a fraction", { tokens: 1.5 }, "/tokens", "Write a whole number from 1 to 1000 tokens."],
    ["an open range", { ratio: 0 }, "/ratio", "Write a number above 0 and below 100 %."],
    ["a step", { step: 70 }, "/step", "Write a multiple of 50."],
    ["a choice", { mode: "fast" }, "/mode", "Choose one of: quick, usual, slow."],
    ["a constant", { edition: "second" }, "/edition", "Choose one of: first."],
    ["one of several constants", { size: "medium" }, "/size", "Choose one of: small, large."],
    ["a length", { name: "A" }, "/name", "Write 2 to 20 characters."],
    ["a form", { model: "Reference 1" }, "/model", "Write it in the form of this example: reference-1"],
    ["an address", { baseUrl: "reference.example" }, "/baseUrl", "https://"],
    ["an email address", { contact: "nobody" }, "/contact", "name@example.com"],
    ["a date", { startsOn: "2027-02-31" }, "/startsOn", "year-month-day"],
    ["a duration", { patience: "30" }, "/patience", "PT30S"],
    ["too many values", { words: ["a", "b", "c", "d", "e", "f"] }, "/words", "Give 1 to 5 values."],
    ["a value twice", { words: ["a", "a"] }, "/words", "Give each value once."],
    ["a value of a list", { words: ["a", "B"] }, "/words/1", "Write lowercase letters."],
    ["a number of a list", { sizes: [60, 5] }, "/sizes/1", "Write a whole number from 50 to 500"],
    ["a part of an object", { limits: { count: 0 } }, "/limits/count", "Write a whole number from 1 to 100."],
    ["a switch", { streams: "yes" }, "/streams", "Turn this on or off."],
    ["what a condition narrows", { model: "reference-2", tokens: 501 }, "/tokens", "from 1 to 500 tokens"],
    ["what a condition needs", { thinks: true }, "/thoughts", "This setting is needed."],
    ["a shape that is no form's", { weights: { a: "x" } }, "/weights", "Fill in"],
  ];
  test.each(cases)("%s", (_what, override, pointer, sentence) => {
    const found = reference(override);
    expect(Object.keys(found).some((each) => each.startsWith(pointer))).toBe(true);
    expect(Object.values(found).join(" ")).toContain(sentence);
  });
});

test.each([
  ["elevenlabs", { voiceId: "Sarah" }, "/voiceId", "Write 15 to 32 letters and digits."],
  ["openai", { organization: "mine" }, "/organization", "Write org- and then letters, digits, _ and -."],
  ["cartesia", { pronunciationDictId: "a b" }, "/pronunciationDictId", "Write letters, digits, _ and -."],
  ["azure-openai", { tenantId: "mine" }, "/tenantId", "Write it in the form that is described above."],
])("the form of a setting of %s without an example is said", (key, override, pointer, sentence) => {
  expect(findings(key, override)[pointer]).toBe(sentence);
});

describe("of several objects, the one that was chosen is meant", () => {
  test("something is missing", () => {
    expect(reference({ opening: { kind: "window" } })).toEqual({
      "/opening/opens": "This setting is needed.",
    });
  });
  test("something is out of range", () => {
    expect(reference({ opening: { kind: "fixed", at: 2000 } })).toEqual({
      "/opening/at": "Write a whole number from 0 to 1440 min.",
    });
  });
  test("none was chosen", () => {
    expect(reference({ opening: {} })).toEqual({ "/opening": "Choose one of: Fixed, Window." });
  });
});

test("no sentence repeats what was typed", () => {
  const typed = "sk-canary0123456789";
  for (const name of Object.keys(definition("reference").configSchema.properties as object))
    expect(Object.values(reference({ [name]: [typed] })).join(" ")).not.toContain(typed);
});

test("a setting that does not exist is not available", () => {
  expect(findings("openai", { madeUp: 1 })).toEqual({ "/madeUp": "This setting is not available here." });
});

describe("what reading has changed, or cannot be kept, is told and not sent", () => {
  const cases: [string, string][] = [
    ['{"a": [1e400]}', "/weights/a/0"],
    ['{"a": [9007199254740993]}', "/weights/a/0"],
    ['{"a": ["\\u0000"]}', "/weights/a/0"],
    ['{"a": ["\\ud800"]}', "/weights/a/0"],
    ['{"\\u0007": []}', "/weights"],
  ];
  test.each(cases)("%s", (typed, pointer) => {
    expect(inexact(JSON.parse(typed), "/weights").map((each) => each.pointer)).toEqual([pointer]);
    expect(reference({ weights: JSON.parse(typed) as unknown })).toHaveProperty(pointer);
  });
  test("the last whole number, and any fraction, are kept", () => {
    expect(inexact(JSON.parse('{"a": [9007199254740991, -9007199254740991, 0.1, 1e-400]}'))).toEqual([]);
  });
  test.each(["1e400", "-1e400", "9007199254740993"])("%s stays what was typed", (typed) => {
    expect(readNumber(typed, {})).toBe(typed);
    expect(reference({ tokens: readNumber(typed, {}) })).toHaveProperty("/tokens");
  });
});

describe("a number is read as everybody reads it, or not at all", () => {
  const WHOLE = { type: "integer", minimum: 1, maximum: 16384 };
  const UP_TO_TWO = { type: "number", minimum: -2, maximum: 2 };
  const OPEN = { type: "number" };
  test.each([
    ["2000", WHOLE, 2000],
    ["2,000", WHOLE, "2,000"],
    ["1.000", WHOLE, "1.000"],
    ["1,20", WHOLE, "1,20"],
    ["1.000.000", OPEN, "1.000.000"],
    ["0,5", UP_TO_TWO, 0.5],
    [".5", UP_TO_TWO, 0.5],
    ["0.125", UP_TO_TWO, 0.125],
    ["0,125", OPEN, 0.125],
    ["1.125", UP_TO_TWO, 1.125],
    ["-1.125", UP_TO_TWO, -1.125],
    ["1,125", UP_TO_TWO, "1,125"],
    ["1.125", OPEN, "1.125"],
    ["1.1250", OPEN, 1.125],
  ] as const)("%s", (typed, schema, read) => {
    expect(readNumber(typed, schema)).toBe(read);
  });
  test("and it is said how to write it", () => {
    expect(
      reference({ tokens: "2,000", ratio: "1,000", sizes: ["1,20"], limits: { count: "1.000" } }),
    ).toEqual({
      "/tokens": "Write a whole number from 1 to 1000 tokens. Use digits alone, as in 2000.",
      "/ratio":
        "Write a number above 0 and below 100 %. Leave out what separates thousands, and put a point before decimals, as in 2000.5.",
      "/sizes/0": "Write a whole number from 50 to 500. Use digits alone, as in 2000.",
      "/limits/count": "Write a whole number from 1 to 100. Use digits alone, as in 2000.",
    });
  });
});

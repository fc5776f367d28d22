import { describe, expect, test } from "vitest";
import { changesOf, differences, settingOf, Wording, withoutRefused } from "../src/drawer/difference";
import { definition } from "./provider";

describe("two overrides", () => {
  test("differ setting by setting, by name, with undefined for what is not set", () => {
    const before = { temperature: 0.7, model: "gpt-4o", stop: ["a"], kept: { a: 1, b: [2] } };
    const after = { temperature: 0.9, maxTokens: 0, stop: [], kept: { b: [2], a: 1 } };
    expect(differences(before, after)).toEqual([
      { pointer: "/maxTokens", before: undefined, after: 0 },
      { pointer: "/model", before: "gpt-4o", after: undefined },
      { pointer: "/stop", before: ["a"], after: [] },
      { pointer: "/temperature", before: 0.7, after: 0.9 },
    ]);
  });

  test("differ within objects, whose names are escaped in pointers", () => {
    expect(differences({ "a/b": { "~": 1, same: true } }, { "a/b": { "~": 2, same: true } })).toEqual([
      { pointer: "/a~1b/~0", before: 1, after: 2 },
    ]);
  });

  test("that say the same do not differ, and true is not 1", () => {
    expect(differences({ one: true }, { one: true })).toEqual([]);
    expect(differences({ one: true }, { one: 1 })).toHaveLength(1);
  });
});

test("what a version changed is told apart from null, which a setting may be", () => {
  const changes = [
    { pointer: "/a", kind: "added" as const, before: null, after: 1 },
    { pointer: "/b", kind: "changed" as const, before: null, after: 2 },
    { pointer: "/c", kind: "removed" as const, before: 3, after: null },
  ];
  expect(changesOf({ changes })).toEqual([
    { pointer: "/a", before: undefined, after: 1 },
    { pointer: "/b", before: null, after: 2 },
    { pointer: "/c", before: 3, after: undefined },
  ]);
});

describe("what a restore is refused for", () => {
  const error = (pointer: string) => ({ pointer, code: "of_the_test", message: "No." });

  test("is left out as a whole setting", () => {
    const left = withoutRefused({ a: 1, b: { c: 2 }, d: 3 }, [error("/config/a"), error("/config/b/c")]);
    expect(left).toEqual({ d: 3 });
  });

  test("may be no setting in particular", () => {
    expect(settingOf("/config/model")).toBe("model");
    expect(settingOf("/config")).toBeUndefined();
    expect(settingOf("")).toBeUndefined();
  });
});

describe("the words of a definition", () => {
  test("name a setting, its value with its unit, and its default as that", () => {
    const wording = new Wording(definition("openai"));
    expect(wording.label("/maxTokens")).toBe("Maximum tokens");
    expect(wording.value("/maxTokens", 800)).toBe("800 tokens");
    expect(wording.value("/maxTokens", undefined)).toBe("1000 tokens (default)");
    expect(wording.value("/topP", undefined)).toBe("Not set");
  });

  test("name what conditions hide, and what the definition no longer has, by what it was called", () => {
    const wording = new Wording(definition("openai"));
    expect(wording.label("/reasoningEffort")).toBe("Reasoning effort");
    expect(wording.label("/gone/inner")).toBe("gone: inner");
    expect(wording.value("/gone", { a: 1 })).toBe('{"a":1}');
  });
});

import { describe, expect, test } from "vitest";
import { PRIORITY } from "../src/form/draft.svelte";
import { draftOf, fieldOf, provider } from "./provider";

describe("untouched", () => {
  test("nothing is to be written", () => {
    expect(draftOf("openai", { temperature: 0.9 }).write).toBeNull();
  });
  test("what no longer fits stays as it is stored", () => {
    const draft = draftOf("openai", { reasoningEffort: "low", gone: 1 });
    expect(draft.write).toBeNull();
    expect(draft.outdated).toEqual(["gone"]);
    expect(draft.forbidden).toEqual(["reasoningEffort"]);
  });
});

describe("a setting", () => {
  test("goes from default to unsaved to overridden, and back", () => {
    const draft = draftOf("openai");
    const standing = () => draft.standing(fieldOf(draft, "temperature"));
    expect(standing()).toBe("default");
    draft.set("temperature", 0.9);
    expect(standing()).toBe("unsaved");
    const sent = draft.write;
    expect(sent).toEqual({ config: { temperature: 0.9 } });
    draft.saved(sent!, provider("openai", { temperature: 0.9 }));
    expect(standing()).toBe("overridden");
    draft.set("temperature", undefined);
    expect(draft.value(fieldOf(draft, "temperature"))).toBe(0.7);
    expect(draft.write).toEqual({ config: {} });
  });

  test("that equals the default is one's own", () => {
    const draft = draftOf("openai", { temperature: 0.7 });
    expect(draft.standing(fieldOf(draft, "temperature"))).toBe("pinned");
  });

  test("without a default is not set", () => {
    const draft = draftOf("openai");
    expect(draft.standing(fieldOf(draft, "topP"))).toBe("unset");
  });

  test("has the definition's default when a condition brings it out", () => {
    const draft = draftOf("deepgram");
    draft.set("model", "flux-general-en");
    expect(draft.default(fieldOf(draft, "eotThreshold"))).toBe(0.7);
  });

  test("that is taken back to what is stored is no change", () => {
    const draft = draftOf("openai", { temperature: 0.9 });
    draft.set("temperature", 1);
    draft.set("temperature", 0.9);
    expect(draft.changes).toEqual([]);
  });

  test("whose place another one takes is not sent, and is a change", () => {
    const draft = draftOf("openai", { temperature: 0.9 });
    draft.set("model", "gpt-6-astra");
    expect(draft.write).toEqual({ config: { model: "gpt-6-astra" } });
    expect(draft.changes.toSorted()).toEqual(["model", "temperature"]);
    draft.set("model", undefined);
    expect(draft.changes).toEqual([]);
  });
});

describe("the priority", () => {
  test("is written without the settings", () => {
    const draft = draftOf("openai");
    draft.priority = 300;
    expect(draft.write).toEqual({ priority: 300 });
  });
  test("is a number from 0 to 1000", () => {
    const draft = draftOf("openai");
    for (const wrong of [1001, -1, 1.5, "high"]) {
      draft.priority = wrong;
      expect(draft.checkAll()).toBe(false);
      expect(draft.problem(PRIORITY.pointer)).toBe("Write a whole number from 0 to 1000.");
    }
    draft.priority = "1,000";
    expect(draft.problem(PRIORITY.pointer)).toContain("Use digits alone");
  });
});

describe("what is wrong", () => {
  test("is said of a setting that was left, and of all after an attempt", () => {
    const draft = draftOf("openai");
    draft.set("temperature", 3);
    draft.set("maxTokens", 0);
    expect(draft.problems).toEqual([]);
    draft.left("temperature");
    expect(draft.problems.map((each) => each.pointer)).toEqual(["/temperature"]);
    expect(draft.checkAll()).toBe(false);
    expect(draft.problems).toHaveLength(2);
    draft.set("temperature", 1);
    draft.set("maxTokens", 1);
    expect(draft.checkAll()).toBe(true);
  });

  test("by the server's word stays until the setting changes", () => {
    const draft = draftOf("openai");
    draft.set("temperature", 1);
    const rest = draft.refuse([
      { pointer: "/config/temperature", code: "x", message: "Not today." },
      { pointer: "/isEnabled", code: "x", message: "Elsewhere." },
    ]);
    expect(rest.map((each) => each.pointer)).toEqual(["/isEnabled"]);
    expect(draft.problem("/temperature")).toBe("Not today.");
    draft.set("temperature", 1.1);
    expect(draft.problem("/temperature")).toBeNull();
  });

  test("includes what cannot be read", () => {
    const draft = draftOf("reference", { name: "Ann" });
    draft.cannotRead("weights", { pointer: "/weights", message: "Write valid JSON." });
    expect(draft.checkAll()).toBe(false);
    // It would be lost like any other change.
    expect(draft.changes).toEqual(["weights"]);
    expect(draft.standing(fieldOf(draft, "weights"))).toBe("unsaved");
    draft.canRead("weights");
    expect(draft.changes).toEqual([]);
    draft.cannotRead("weights", { pointer: "/weights", message: "Write valid JSON." });
    draft.set("weights", { a: [1] });
    expect(draft.checkAll()).toBe(true);
  });
});

describe("what others save meanwhile", () => {
  test("shows where nobody edits here", () => {
    const draft = draftOf("openai");
    draft.set("temperature", 0.9);
    const received = draft.receive(provider("openai", { maxTokens: 2000 }));
    expect(received).toEqual({ taken: ["maxTokens"], overlapping: [], by: "Maria" });
    expect(draft.write).toEqual({ config: { temperature: 0.9, maxTokens: 2000 } });
  });

  test("leaves what was typed, and offers theirs", () => {
    const draft = draftOf("openai");
    draft.set("temperature", 0.9);
    const received = draft.receive(provider("openai", { temperature: 0.4 }));
    expect(received.overlapping).toEqual(["temperature"]);
    expect(draft.overlaps.get("temperature")).toEqual({ yours: 0.9, theirs: 0.4, by: "Maria" });
    expect(draft.write).toEqual({ config: { temperature: 0.9 } });
    draft.takeTheirs("temperature");
    expect(draft.write).toBeNull();
    expect(draft.overlaps.size).toBe(0);
  });

  test("is a choice of yours, theirs or the default, until it is saved", () => {
    const draft = draftOf("openai");
    draft.set("temperature", 0.9);
    draft.receive(provider("openai", { temperature: 0.4 }));
    const chosen = (choice: "yours" | "theirs" | "default") => {
      draft.settle("temperature", choice);
      return draft.write;
    };
    expect(chosen("theirs")).toBeNull();
    expect(chosen("default")).toEqual({ config: {} });
    expect(chosen("yours")).toEqual({ config: { temperature: 0.9 } });
  });

  test("that says the same is no overlap", () => {
    const draft = draftOf("openai");
    draft.set("temperature", 0.9);
    expect(draft.receive(provider("openai", { temperature: 0.9 })).overlapping).toEqual([]);
    expect(draft.write).toBeNull();
  });

  test("that takes an override away is one too", () => {
    const draft = draftOf("openai", { temperature: 0.4 });
    draft.set("temperature", 0.9);
    draft.receive(provider("openai", {}));
    expect(draft.overlaps.get("temperature")).toMatchObject({ theirs: undefined });
  });

  test("moves a priority that nobody edits here", () => {
    const draft = draftOf("openai");
    draft.receive(provider("openai", {}, { priority: 500 }));
    expect(draft.priority).toBe(500);
    draft.priority = 300;
    const received = draft.receive(provider("openai", {}, { priority: 600 }));
    expect(received.overlapping).toEqual([PRIORITY.name]);
    expect(draft.contested.get(PRIORITY.name)).toEqual({ yours: 300, theirs: 600, by: "Maria" });
    expect(draft.write).toEqual({ priority: 300 });
    draft.priority = 350;
    expect(draft.overlaps.get(PRIORITY.name)?.yours).toBe(350);
    draft.settle(PRIORITY.name, "theirs");
    expect([draft.write, draft.contested.size, draft.overlaps.size]).toEqual([null, 0, 1]);
  });

  test("is no answer to one's own save of a priority", () => {
    const draft = draftOf("openai");
    draft.priority = 300;
    const sent = draft.write!;
    draft.priority = 400;
    draft.saved(sent, provider("openai", {}, { priority: 300 }));
    expect(draft.overlaps.size).toBe(0);
    expect(draft.write).toEqual({ priority: 400 });
  });
});

test("what is typed while a save is under way is still unsaved after it", () => {
  const draft = draftOf("openai");
  draft.set("temperature", 0.9);
  const sent = draft.write!;
  draft.set("temperature", 1.2);
  draft.set("maxTokens", 50);
  draft.saved(sent, provider("openai", { temperature: 0.9 }));
  expect(draft.overlaps.size).toBe(0);
  expect(draft.write).toEqual({ config: { temperature: 1.2, maxTokens: 50 } });
});

test("discarding goes back to what is stored", () => {
  const draft = draftOf("openai", { temperature: 0.4 });
  draft.set("temperature", 3);
  draft.priority = 7;
  draft.checkAll();
  draft.discard();
  expect(draft.write).toBeNull();
  expect(draft.problems).toEqual([]);
  expect(draft.value(fieldOf(draft, "temperature"))).toBe(0.4);
});

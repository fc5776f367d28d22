import { expect, test, vi } from "vitest";
import type { ConsoleContext } from "../src/context.svelte";
import { Saving } from "../src/drawer/saving.svelte";
import { draftOf, provider } from "./provider";

test("what was seen to change while it was edited is asked about, once for each value of theirs", async () => {
  const draft = draftOf("openai");
  // No request is to be made before the question is answered.
  const PUT = vi.fn(() => Promise.reject(new Error("asked")));
  const saving = new Saving({ api: { PUT, PATCH: PUT } } as unknown as ConsoleContext, draft);
  draft.set("temperature", 0.9);
  for (const theirs of [0.4, 0.5]) {
    draft.receive(provider("openai", { temperature: theirs }));
    expect(await saving.save()).toBe("overlapping");
    expect(saving.overlapping).toEqual(["temperature"]);
  }
  expect(PUT).not.toHaveBeenCalled();
  expect(await saving.save()).toBe("failed");
  expect(PUT).toHaveBeenCalledOnce();
});

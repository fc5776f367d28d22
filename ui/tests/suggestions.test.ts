import { expect, test } from "vitest";
import { suggestionsFor, type Offer } from "../src/form/suggestions";
import { draftOf, fieldOf } from "./provider";

const offer = (name: string, status: Offer["status"], more: Partial<Offer> = {}): Offer => ({
  name,
  status,
  retiresOn: null,
  replacement: null,
  note: null,
  ...more,
});

test("what goes on is offered before what ends, also where it is new", () => {
  const field = fieldOf(draftOf("openai"), "model");
  const found = suggestionsFor(
    {
      ...field,
      schema: { type: "string", default: "old", examples: ["early"] },
    },
    [
      offer("old", "deprecated", { retiresOn: "2027-01-14" }),
      offer("gone", "retired", { retiresOn: "2026-08-16", isListed: true }),
      offer("hidden", "retired"),
      offer("early", "preview"),
      offer("new", "current"),
    ],
  );
  expect(found.map((each) => each.value)).toEqual(["new", "early", "old", "gone"]);
  expect(found.map((each) => each.remarks.at(-1))).toEqual([
    undefined,
    "Preview",
    "ends Jan 14, 2027",
    "ended Aug 16, 2026",
  ]);
});

test("what the provider's own list has comes before what only the built-in one has", () => {
  const field = { ...fieldOf(draftOf("openai"), "model"), schema: { type: "string" as const } };
  const offers = [
    offer("ours", "current", { isListed: false }),
    offer("theirs-old", "deprecated", { isListed: true }),
    offer("theirs", "current", { isListed: true }),
  ];
  expect(suggestionsFor(field, offers).map((each) => each.value)).toEqual(["theirs", "theirs-old", "ours"]);
});

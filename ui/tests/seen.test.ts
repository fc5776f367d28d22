import { QueryClient } from "@tanstack/svelte-query";
import { expect, test, vi } from "vitest";
import { createApi, type OrganizationProvider, Problem, type Schemas } from "../src/api/client";
import type { ConsoleContext } from "../src/context.svelte";
import { Seen } from "../src/drawer/seen.svelte";
import { provider } from "./provider";

/** Groq with a key, as the API shows it. */
function groq(key: Partial<Schemas["SecretField"]> = {}): OrganizationProvider {
  const stored = { name: "apiKey", required: true, isSet: true, version: 4, label: "EU production" };
  const since = { updatedAt: "2027-01-01T00:00:00Z", updatedBy: "Maria", sharedFrom: null };
  return provider("groq", {}, { secretFields: [{ ...stored, ...since, ...key }] });
}

const GONE = { isSet: false, version: null, label: null, updatedAt: null, updatedBy: null };
const news: [string, Partial<Schemas["SecretField"]>, string][] = [
  ["another value", { version: 5 }, "stored"],
  ["another label", { label: "US production", updatedAt: "2027-01-02T00:00:00Z" }, "labelled"],
  ["the removal", GONE, "removed"],
  ["another provider's in its place", { sharedFrom: "openai" }, "stored"],
];

test.each(news)("%s is told, once, before anything is written over it", async (_, theirs, what) => {
  const seen = new Seen(groq(), ["apiKey"]);
  const write = vi.fn(() => Promise.resolve("written"));
  expect(await seen.hold({} as ConsoleContext, groq(theirs), write)).toBeNull();
  expect(seen.news).toMatchObject({ what });
  expect(write).not.toHaveBeenCalled();
  expect(await seen.hold({} as ConsoleContext, groq(theirs), write)).toBe("written");
  expect(seen.news).toBeNull();
});

test("settings that changed meanwhile are in no way of a key", async () => {
  const seen = new Seen(groq(), ["apiKey"]);
  const present = { ...groq(), etag: '"e.2.0"', overrides: { temperature: 0.4 } };
  expect(await seen.hold({} as ConsoleContext, present, () => Promise.resolve("written"))).toBe("written");
});

test.each([
  [groq({ version: 5 }), { what: "stored", field: { version: 5 } }],
  [groq(), { what: "changed" }],
])("what the page had not heard of is told when the server refuses", async (present, told) => {
  vi.stubGlobal("fetch", () => Promise.resolve(Response.json(present)));
  const connection = {
    baseUrl: "https://voxplane.test",
    getToken: () => null,
    signInAgain: () => Promise.resolve(false),
  };
  const shared = {
    api: createApi(connection),
    queries: new QueryClient(),
    readProvidersAgain: () => undefined,
  };
  const refused = new Problem(new Response(null, { status: 412 }), {});
  const seen = new Seen(groq(), ["apiKey"]);
  const held = seen.hold(shared as unknown as ConsoleContext, groq(), () => Promise.reject(refused));
  expect(await held).toBeNull();
  expect(seen.news).toMatchObject(told);
});

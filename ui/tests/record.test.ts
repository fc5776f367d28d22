import { describe, expect, test } from "vitest";
import { wantedBy } from "../src/activity/audit";
import { aboutWhat, actionFilters, actionOf, summary } from "../src/activity/record";
import type { AuditRecord } from "../src/api/client";
import { provider } from "./provider";

const all = { providers: [provider("openai"), provider("groq")] };

function record(action: string, detail: AuditRecord["detail"], rest: Partial<AuditRecord> = {}): AuditRecord {
  return {
    seq: 1,
    at: "2026-11-28T00:00:00Z",
    actor: { subject: "token:1", name: "deploy", kind: "token" },
    action,
    target: "openai",
    outcome: "success",
    requestId: null,
    detail,
    ...rest,
  };
}

test.each([
  ["config.put", { changed: ["config", "is_enabled"] }, "Settings and on or off"],
  ["config.put", { changed: ["is_enabled"], isEnabled: false }, "Turned off"],
  [
    "config.put",
    { changed: ["config", "is_enabled"], changedSettings: ["voiceId"], isEnabled: true },
    "Voice and turned on",
  ],
  [
    "config.put",
    { changed: ["config", "is_enabled"], changedSettings: ["baseUrl", "maxTokens"] },
    "Base URL, max tokens, and on or off",
  ],
  ["config.put", { changed: ["config"], changedSettings: ["a", "b", "c", "d", "e"] }, "5 settings"],
  ["config.put", { changed: [] }, "The same as before"],
  ["config.restore", { from: 12, settings: [] }, "v12 put back"],
  ["order.put", { order: ["groq", "openai"] }, "Groq → OpenAI"],
  ["secrets.put", { set: ["apiKey"], removed: ["organizationId"] }, "Stored: API key; Removed: organization"],
  ["secrets.put", { set: [], removed: [] }, "Label or approved addresses"],
  [
    "secrets.release",
    { providers: { openai: ["apiKey"] }, refused: { groq: "x" } },
    "For OpenAI; not for Groq",
  ],
  ["secrets.release", { providers: { openai: ["apiKey"] }, purpose: "list" }, "API key"],
  ["secrets.release", { providers: { openai: [] }, purpose: "verification" }, "Without a key"],
  ["secrets.release", { providers: {} }, "No provider has one"],
  ["token.create", { scopes: ["livekit:read"] }, "livekit:read"],
  ["denials.collapsed", { count: 3 }, "3 more, only counted"],
  ["something.new", { of: "a later release" }, ""],
])("%s with %o is summed up", (action, detail, expected) => {
  expect(summary(record(action, detail), all)).toBe(expected);
});

test("keys are given out to workers, for tests and for lists", () => {
  const said = (detail: AuditRecord["detail"], rest = {}) =>
    actionOf(record("secrets.release", { providers: { openai: ["apiKey"] }, ...detail }, rest));
  expect(said({})).toBe("Give settings and keys to a worker");
  expect(said({ purpose: "verification" })).toBe("Test a provider");
  expect(said({ purpose: "list" })).toBe("List models or voices");
  expect(said({ purpose: "verification", providers: { openai: [] } })).toBe("Test a provider");
  expect(said({ purpose: "of a later release" })).toBe("Give out keys");
  expect(said({ reason: "secrets_missing" }, { outcome: "denied" })).toBe("Give out keys");
  expect(actionOf(record("config.put", {}))).toBe("Change settings");
});

test("a refusal says why, and one that has no words yet says its code", () => {
  const refused = (reason: string) => record("config.put", { reason }, { outcome: "denied" });
  expect(summary(refused("permission_denied"), all)).toBe("The role does not allow it");
  expect(summary(refused("of_a_later_release"), all)).toBe("of a later release");
});

test("what it was done to has a name", () => {
  const about = (action: string, target: string) => aboutWhat(record(action, {}, { target }), all);
  expect(about("config.put", "groq")).toBe("Groq");
  expect(about("config.put", "gone")).toBe("gone");
  expect(about("secrets.release", "llm tts")).toBe("Language models and Text to speech");
  expect(about("token.revoke", "abc")).toBe("Token abc");
  expect(about("denials.collapsed", "")).toBe("");
});

describe("the filters of an address", () => {
  test("are days of the person's own, the last one included", () => {
    const wanted = wantedBy(new URLSearchParams("since=2026-11-28&until=2026-12-31"));
    expect(wanted).toEqual({
      since: new Date(2026, 10, 28).toISOString(),
      until: new Date(2027, 0, 1).toISOString(),
    });
  });

  test("take what keys were given out for as a part of the action", () => {
    expect(wantedBy(new URLSearchParams("action=secrets.release/list"))).toEqual({
      action: "secrets.release",
      purpose: "list",
    });
    expect(actionFilters()).toContainEqual(["secrets.release/verification", "Test a provider"]);
  });

  test("that say nothing, or what the server does not know, are left out", () => {
    expect(
      wantedBy(new URLSearchParams("since=soon&until=&outcome=maybe&actor=&record=4&target=groq")),
    ).toEqual({
      target: "groq",
    });
  });
});

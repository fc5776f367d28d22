import { expect, test } from "vitest";
import type { Schemas } from "../src/api/client";
import { inconclusive, lacking, mendingTab, retirement, statusWord } from "../src/overview/standing";
import { provider } from "./provider";

function noticed(code: Schemas["Notice"]["code"], model: string, retiresOn: string | null) {
  const notice = { code, pointer: "/config/model", message: "", model, retiresOn } as Schemas["Notice"];
  return retirement(provider("openai", { model: "gpt-4o" }, { notices: [notice] }));
}

test("a row says that its model ends, also where nobody knows when", () => {
  expect(noticed("model_retiring", "gpt-4o", "2027-01-14")).toBe("ends Jan 14, 2027");
  expect(noticed("model_retiring", "gpt-4o", null)).toBe("deprecated");
  expect(noticed("model_retired", "gpt-4o", null)).toBe("ended");
  expect(noticed("model_retired", "gpt-4o", "2026-08-16")).toBe("ended Aug 16, 2026");
  expect(noticed("model_retiring", "another", null)).toBe("another deprecated");
  expect(noticed("model_unknown", "gpt-4o", null)).toBeNull();
});

test("what is missing is led to, the key before what is chosen with it", () => {
  const field = { name: "apiKey", required: true, isSet: false } as Schemas["SecretField"];
  const at = (status: Schemas["OrganizationProvider"]["status"], isSet: boolean) =>
    provider("elevenlabs", {}, { status, isEnabled: false, secretFields: [{ ...field, isSet }] });
  expect(lacking(at("invalid_config", false))).toBe("credentials");
  expect(lacking(at("invalid_config", true))).toBe("config");
  expect(lacking(at("secrets_missing", false))).toBe("credentials");
  expect(lacking(at("unverified", true))).toBeNull();
  expect(mendingTab(at("invalid_config", false))).toBe("credentials");
  expect(statusWord(at("invalid_config", true))).toBe("Not configured");
  expect(statusWord({ ...at("invalid_config", true), isEnabled: true })).toBe("Settings need attention");
});

test("that a local provider is not tested from here is no finding of a test", () => {
  const verification = { verdict: "inconclusive", outcome: "not_checkable" } as Schemas["VerificationResult"];
  const piper = provider("piper", {}, { status: "unverified", verification });
  const local = { ...piper, provider: { ...piper.provider, hosting: "local" as const } };
  expect(inconclusive(local)).toBe("runs beside the workers, not tested from here");
  expect(inconclusive({ ...piper, provider: { ...piper.provider, hosting: "cloud" } })).toBe(
    "last test: cannot be tested",
  );
});

import { expect, test } from "vitest";
import type { Schemas } from "../src/api/client";
import { retirement } from "../src/overview/standing";
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

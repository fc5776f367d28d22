import { expect, test, vi } from "vitest";
import type { ConsoleContext } from "../src/context.svelte";
import { Saving } from "../src/drawer/saving.svelte";
import { ConfigDraft } from "../src/form/draft.svelte";
import { SecretDraft } from "../src/drawer/secret-draft.svelte";
import type { OrganizationProvider } from "../src/api/client";
import type { JsonObject } from "../src/form/json";
import { definition, draftOf, provider } from "./provider";

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

const OWN = { baseUrl: "https://eu.example.com/v1" };
const keyed = {
  secretFields: [{ name: "apiKey", isSet: true }],
  origins: ["https://eu.example.com:443/v1"],
} as unknown as Partial<OrganizationProvider>;

/** Save a key for a new address, while something happens to the draft; returns what was written, by its path. */
async function saveWhile(during: "test" | "save", happens: (draft: ConfigDraft) => void) {
  const draft = new ConfigDraft(definition("openai"), provider("openai", {}, keyed));
  const written: [path: string, body: unknown][] = [];
  let isLate = false;
  const answers = (data: unknown) => Promise.resolve({ data, response: new Response() });
  const shared = {
    announcer: { say: vi.fn(), show: vi.fn() },
    queries: { getQueryData: () => undefined },
    readProvidersAgain: () => undefined,
    verifications: {
      test: vi.fn(),
      testDraft: () => {
        if (during === "test") happens(draft);
        return Promise.resolve({ verdict: "works" });
      },
    },
    api: {
      GET: () => answers(draft.provider),
      PUT: (path: string, { body }: { body: { config?: JsonObject } }) => {
        written.push([path.split("/").at(-1) ?? "", body]);
        if (during === "save" && !isLate) {
          isLate = true;
          happens(draft);
        }
        return answers({
          ...draft.provider,
          overrides: body.config ?? draft.provider.overrides,
          untested: null,
        });
      },
    },
  };
  const saving = new Saving(shared as unknown as ConsoleContext, draft);
  draft.set("baseUrl", OWN.baseUrl);
  const secret = new SecretDraft();
  secret.typed("sk-canary");
  const outcome = await saving.save({ secrets: { apiKey: "sk-canary" }, signal: secret.held() });
  secret.clear();
  return { outcome, written, saving, draft };
}

test("a key goes where it was typed for", async () => {
  const { outcome, written } = await saveWhile("test", () => undefined);
  expect(outcome).toBe("saved");
  expect(written.map(([path]) => path)).toEqual(["config", "secrets"]);
});

test("what is discarded while its key is tested is not stored", async () => {
  const { outcome, written, saving } = await saveWhile("test", (draft) => draft.discard());
  expect([outcome, written, saving.keyProblem]).toEqual(["failed", [], null]);
});

test("an address that is typed while another one is tested is not saved untested", async () => {
  const { outcome, written, saving } = await saveWhile("test", (draft) =>
    draft.set("baseUrl", "https://attacker.example/v1"),
  );
  expect([outcome, written]).toEqual(["failed", []]);
  expect(saving.keyProblem).toContain("Nothing is saved");
});

test("a key does not follow an address that was typed while the settings were saved", async () => {
  const { outcome, written, saving } = await saveWhile("save", (draft) =>
    draft.set("baseUrl", "https://attacker.example/v1"),
  );
  expect([outcome, written]).toEqual(["failed", [["config", { config: OWN }]]]);
  expect(saving.keyProblem).toContain("The key is not saved");
});

test("what waits with a key is given up when the key is cleared, and not only for idleness", () => {
  const secret = new SecretDraft();
  secret.typed("sk-canary");
  const signal = secret.held();
  secret.isShown = true;
  secret.clear();
  expect([signal.aborted, secret.isShown]).toEqual([true, false]);
});

import { inject } from "vitest";
import type { OrganizationProvider, Provider } from "../src/api/client";
import { ConfigDraft } from "../src/form/draft.svelte";
import type { JsonObject } from "../src/form/json";
import type { Field } from "../src/form/profile";

export function definition(key: string): Provider {
  const found = inject("definitions")[key];
  if (found === undefined) throw new Error(`There is no provider ${key}.`);
  return found;
}

/** Make an organization's provider as the API would show it. */
export function provider(
  key: string,
  overrides: JsonObject = {},
  rest: Partial<OrganizationProvider> = {},
): OrganizationProvider {
  const { configSchema: _, secretsSchema: __, defaultConfig, ...summary } = definition(key);
  return {
    provider: summary,
    config: { ...defaultConfig, ...overrides },
    overrides,
    isConfigured: true,
    isEnabled: true,
    priority: 100,
    isPrimary: true,
    usable: true,
    reason: null,
    status: "unverified",
    secretFields: [],
    origins: [],
    approvedOrigins: [],
    notices: [],
    revision: 1,
    etag: '"e.1.0"',
    updatedAt: null,
    updatedBy: "Maria",
    statusSince: null,
    health: null,
    verification: null,
    ...rest,
  };
}

export function draftOf(key: string, overrides: JsonObject = {}): ConfigDraft {
  return new ConfigDraft(definition(key), provider(key, overrides));
}

export function fieldOf(draft: ConfigDraft, name: string): Field {
  const found = draft.layout.fields.find((each) => each.name === name);
  if (found === undefined) throw new Error(`${name} is not shown.`);
  return found;
}

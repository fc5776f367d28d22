import { createInterface } from "node:readline";
import type { OrganizationProvider, Provider } from "../src/api/client";
import { ConfigDraft } from "../src/form/draft.svelte";
import { Profile } from "../src/form/profile";
import { Validation } from "../src/form/validation";
import type { JsonObject } from "../src/form/json";

interface Entry {
  definition: Provider;
  provider: OrganizationProvider;
  values: JsonObject;
}
type Asked = { key: string; override: JsonObject } | Entry;

function entered({ definition, provider, values }: Entry) {
  const draft = new ConfigDraft(definition, provider);
  for (const [name, value] of Object.entries(values)) draft.set(name, value);
  const shown = draft.layout.fields.map((each) => [each.name, draft.value(each)]);
  return { isValid: draft.checkAll(), write: draft.write, shown: Object.fromEntries(shown) as JsonObject };
}

/**
 * Answers what the form would say of overrides: the first line on stdin is the definitions' schemas by key, each further
 * line `{ key, override }`; each answer is a line with the pointers of what is wrong. A line `{ definition, provider,
 * values }` enters the values into the form of a provider; the answer is what it would send, and what it shows.
 */
const lines = createInterface({ input: process.stdin });
let forms: Record<string, { profile: Profile; validation: Validation }> | undefined;

lines.on("line", (line) => {
  if (forms === undefined) {
    const schemas = Object.entries(JSON.parse(line) as Record<string, JsonObject>);
    forms = Object.fromEntries(
      schemas.map(([key, schema]) => [
        key,
        { profile: new Profile(schema), validation: new Validation(schema) },
      ]),
    );
    return;
  }
  const asked = JSON.parse(line) as Asked;
  if ("values" in asked) {
    process.stdout.write(`${JSON.stringify(entered(asked))}\n`);
    return;
  }
  const { key, override } = asked;
  const form = forms[key];
  if (form === undefined) throw new Error(`There is no definition ${key}.`);
  const found = form.validation.findings(override, form.profile.layout(override));
  process.stdout.write(`${JSON.stringify(found.map((each) => each.pointer))}\n`);
});

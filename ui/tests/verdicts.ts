import { createInterface } from "node:readline";
import { Profile } from "../src/form/profile";
import { Validation } from "../src/form/validation";
import type { JsonObject } from "../src/form/json";

/**
 * Answers what the form would say of overrides: the first line on stdin is the definitions' schemas by key, each further
 * line `{ key, override }`; each answer is a line with the pointers of what is wrong.
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
  const { key, override } = JSON.parse(line) as { key: string; override: JsonObject };
  const form = forms[key];
  if (form === undefined) throw new Error(`There is no definition ${key}.`);
  const found = form.validation.findings(override, form.profile.layout(override));
  process.stdout.write(`${JSON.stringify(found.map((each) => each.pointer))}\n`);
});

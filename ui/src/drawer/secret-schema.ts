import type { Provider } from "../api/client";

/** What a definition says of one of its secrets. */
export interface SecretSchema {
  title: string;
  /** Its title as a sentence has it: "client secret", and still "API key". */
  named: string;
  description: string;
  /** Whether it is a JSON document, such as a service account's key file. */
  isDocument: boolean;
  /** What it usually looks like: a warning for whoever pasted something else, never a rule. */
  hint: { pattern: RegExp; message: string } | null;
}

interface Property {
  title?: string;
  description?: string;
  "x-ui"?: { widget?: string; patternHint?: { pattern: string; message: string } };
}

/** Whether there is a key of it at all: a provider on one's own machines may have none. */
export function hasSecrets({ secretsSchema }: Pick<Provider, "secretsSchema">): boolean {
  return Object.keys(secretsSchema.properties ?? {}).length > 0;
}

export function secretSchema(definition: Pick<Provider, "secretsSchema">, name: string): SecretSchema {
  const properties = definition.secretsSchema.properties as Record<string, Property> | undefined;
  const property = properties?.[name] ?? {};
  const { widget, patternHint: hint } = property["x-ui"] ?? {};
  const title = property.title ?? name;
  return {
    title,
    named: title.replace(/^[A-Z](?=[a-z])/, (letter) => letter.toLowerCase()),
    description: property.description ?? "",
    // A secret of several lines can only be one: the server takes any other in one line.
    isDocument: widget === "textarea",
    hint: hint === undefined ? null : { pattern: new RegExp(hint.pattern, "u"), message: hint.message },
  };
}

import type { OrganizationProvider, Provider } from "../api/client";
import type { ConfigDraft } from "../form/draft.svelte";
import { inOrder } from "../form/groups";
import { isSame } from "../form/json";
import type { Field } from "../form/profile";

/** One setting as calls see it; undefined: it is not used. */
export interface Row {
  name: string;
  /** How it is shown; null for what the definition no longer has. */
  field: Field | null;
  default: unknown;
  /** The server's own word. */
  effective: unknown;
  /** What a save of the draft would make of it. */
  afterSave: unknown;
  isOverridden: boolean;
  isUnsaved: boolean;
}

/** List all that a provider runs with, in the form's order. */
export function effectiveRows(
  provider: OrganizationProvider,
  definition: Provider,
  draft: ConfigDraft,
): Row[] {
  const layouts = [draft.profile.layout({}), draft.profile.layout(provider.overrides), draft.layout];
  const fields = new Map(layouts.flatMap(({ fields }) => fields).map((each) => [each.name, each]));
  const listed = inOrder([...fields.values()]).map((each) => each.name);
  const others = Object.keys(provider.config).filter((name) => !fields.has(name));
  return [...listed, ...others]
    .map((name) => {
      const field = fields.get(name) ?? null;
      const effective = provider.config[name];
      const afterSave =
        field === null ? undefined : draft.layout.hidden.has(name) ? undefined : draft.value(field);
      return {
        name,
        field,
        default: definition.defaultConfig[name],
        effective,
        afterSave,
        isOverridden: name in provider.overrides,
        isUnsaved: draft.changes.length > 0 && !isSame(effective, afterSave),
      };
    })
    .filter((row) => [row.default, row.effective, row.afterSave].some((value) => value !== undefined));
}

export function differs(row: Row): boolean {
  return row.isOverridden || row.isUnsaved || !isSame(row.default, row.effective);
}

import { type OrganizationProvider, Problem, type Schemas } from "../api/client";
import type { ConsoleContext } from "../context.svelte";
import { readProvider, received } from "../providers";

type Field = Schemas["SecretField"];

/** What somebody else did since a person began: to a secret, or to something else of the provider. */
export type News = { what: "stored" | "labelled" | "removed"; field: Field } | { what: "changed" };

/**
 * The secrets as a person saw them when they began to change them. A write is held to that: before it replaces, removes
 * or labels what somebody else stored since, the person is told, once for each change.
 *
 * The ETag does not say so by itself: live updates renew it under an open form.
 */
export class Seen {
  #fields: readonly Field[];
  #news = $state.raw<News | null>(null);

  constructor(
    provider: OrganizationProvider,
    private readonly names: readonly string[],
  ) {
    this.#fields = this.#of(provider);
  }

  /** What the person is to look at before they do it again; null when nothing was in the way. */
  get news(): News | null {
    return this.#news;
  }

  /** Whether the secrets are what was seen; where they are not, `news` says so, and that counts as seen from now on. */
  isCurrent(present: OrganizationProvider): boolean {
    const before = this.#fields;
    this.#fields = this.#of(present);
    const changed = this.#fields.find((each, index) => !isSameSecret(before[index], each));
    this.#news = changed === undefined ? null : newsOf(before, changed);
    return changed === undefined;
  }

  /**
   * Write, based on the provider as it is shown now, unless somebody was quicker: null then, with `news`. Throws the
   * server's problem.
   */
  async hold<Answer>(
    shared: ConsoleContext,
    provider: OrganizationProvider,
    write: () => Promise<Answer>,
  ): Promise<Answer | null> {
    if (!this.isCurrent(provider)) return null;
    try {
      return await write();
    } catch (error) {
      if (!(error instanceof Problem && error.status === 412)) throw error;
    }
    const present = await readProvider(shared, provider.provider.key);
    received(shared, present);
    if (this.isCurrent(present)) this.#news = { what: "changed" };
    return null;
  }

  #of(provider: OrganizationProvider): Field[] {
    return provider.secretFields.filter((each) => this.names.includes(each.name));
  }
}

/** Whether it is the same value with the same label: a version is of the value alone, and the time is of either. */
function isSameSecret(one: Field | undefined, other: Field): boolean {
  return (
    one?.isSet === other.isSet &&
    one.version === other.version &&
    one.sharedFrom === other.sharedFrom &&
    one.label === other.label &&
    one.updatedAt === other.updatedAt
  );
}

function newsOf(before: readonly Field[], field: Field): News {
  const seen = before.find((each) => each.name === field.name);
  if (!field.isSet) return { what: "removed", field };
  const isLabelled =
    seen?.isSet === true && seen.version === field.version && seen.sharedFrom === field.sharedFrom;
  return { what: isLabelled ? "labelled" : "stored", field };
}

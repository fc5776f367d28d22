import { Problem } from "../api/client";
import type { ConsoleContext } from "../context.svelte";
import type { ConfigDraft, Overlap } from "../form/draft.svelte";
import { isSame } from "../form/json";
import { text } from "../messages";
import { sentence } from "../problem";
import { readProvider, received, writeConfig } from "../providers";
import { whyUnchecked, writeSecrets } from "./secrets";

const MOST_ATTEMPTS = 3;

/** How an attempt to save ended; `refused`: the person has to mend something first. */
export type Outcome = "saved" | "refused" | "overlapping" | "failed";

/** Saves a draft: on the version that was seen, merged with what others saved meanwhile, and never over it. */
export class Saving {
  #isRunning = $state(false);
  #problem = $state.raw<unknown>(null);
  #overlapping = $state.raw<ReadonlyMap<string, Overlap>>(new Map());
  #merged = $state.raw<{ by: string; names: readonly string[] } | null>(null);
  #keyProblem = $state<string | null>(null);
  #isKeyOwed = $state(false);
  /** Whether the key is tested at the new address before it is stored. */
  checks = $state(true);

  constructor(
    private readonly shared: ConsoleContext,
    private readonly draft: ConfigDraft,
  ) {}

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** Why the last attempt failed, where it is about no setting. */
  get problem(): unknown {
    return this.#problem;
  }

  /** Why the key was not stored although the settings were. */
  get keyProblem(): string | null {
    return this.#keyProblem;
  }

  /** Settings that somebody else saved first, with another value: the person chooses. */
  get overlapping(): readonly string[] {
    return [...this.#overlapping.keys()];
  }

  /** What of somebody else's was taken over while saving. */
  get merged(): { by: string; names: readonly string[] } | null {
    return this.#merged;
  }

  /** Whether the draft sends calls elsewhere than the stored key may go. */
  get redirects(): boolean {
    return (
      this.#isKeyOwed ||
      this.draft.layout.fields.some((each) => each.hints.bindsSecret && this.draft.isDirty(each.name))
    );
  }

  /** The secrets that are to be entered again, because the stored ones do not go to a new address. */
  get demanded(): string[] {
    if (!this.redirects) return [];
    return this.draft.provider.secretFields.filter((each) => each.isSet).map((each) => each.name);
  }

  /** Be done with what the last attempt said. */
  forget(): void {
    this.#problem = null;
    this.#overlapping = new Map();
    this.#merged = null;
    this.#keyProblem = null;
  }

  /** Save what was changed; `secrets` are those demanded, which go to the new address only. */
  async save(secrets: Record<string, string>): Promise<Outcome> {
    if (this.#isRunning) return "failed";
    const asked = this.#overlapping;
    this.forget();
    if (!this.draft.checkAll()) return "refused";
    // What was seen to change while it was edited is asked about as well, once for each value of theirs.
    const isAsked = ([name, { theirs }]: [string, Overlap]) =>
      asked.has(name) && isSame(asked.get(name)?.theirs, theirs);
    if (![...this.draft.contested].every(isAsked)) return this.#ask();
    this.#isRunning = true;
    try {
      const redirects = this.redirects;
      const outcome = await this.#saveSettings();
      if (outcome !== "saved" || !redirects) return outcome;
      // The settings lead elsewhere now, and until the key follows it is owed.
      this.#isKeyOwed = true;
      return await this.#saveSecrets(secrets);
    } finally {
      this.#isRunning = false;
    }
  }

  async #saveSettings(): Promise<Outcome> {
    const { draft, shared } = this;
    for (let attempt = 1; ; attempt += 1) {
      const sent = draft.write;
      if (sent === null) return "saved";
      try {
        const answer = await writeConfig(shared, draft.provider, sent);
        draft.saved(sent, answer);
        received(shared, answer);
        shared.announcer.show(text.configuration.saved(answer.provider.name));
        return "saved";
      } catch (error) {
        const isOutdated = error instanceof Problem && error.status === 412 && attempt < MOST_ATTEMPTS;
        if (!isOutdated) return this.#failed(error);
      }
      try {
        if (!(await this.#mergeWithTheirs())) return this.#ask();
      } catch (error) {
        return this.#failed(error);
      }
    }
  }

  /** Go on from what somebody else saved first; returns whether nothing of it needs a choice. */
  async #mergeWithTheirs(): Promise<boolean> {
    const { draft, shared } = this;
    const answer = await readProvider(shared, draft.provider.provider.key);
    const news = draft.receive(answer);
    received(shared, answer);
    if (news.taken.length > 0) this.#merged = { by: news.by ?? text.form.somebody, names: news.taken };
    return news.overlapping.length === 0;
  }

  #ask(): Outcome {
    this.#overlapping = this.draft.contested;
    return "overlapping";
  }

  async #saveSecrets(secrets: Record<string, string>): Promise<Outcome> {
    const { draft, shared } = this;
    // The server says where these settings lead: the key is stored for exactly that.
    const change = { secrets, approvedOrigins: [...draft.provider.origins], check: this.checks };
    try {
      const stored = await writeSecrets(shared, draft.provider, change);
      draft.receive(stored);
      this.#isKeyOwed = false;
      const why = this.checks ? whyUnchecked(stored) : null;
      if (why !== null) shared.announcer.show(text.verification.unchecked(why));
      return "saved";
    } catch (error) {
      const refused = error instanceof Problem ? error.verification : null;
      this.#keyProblem = text.configuration.keyNotSaved(
        refused === null ? sentence(error) : `${refused.sentence} ${refused.advice}`,
      );
      return "failed";
    }
  }

  #failed(error: unknown): Outcome {
    const isRefusal = error instanceof Problem && error.status === 422;
    if (isRefusal && this.draft.refuse(error.errors).length === 0) return "refused";
    this.#problem = error;
    return "failed";
  }
}

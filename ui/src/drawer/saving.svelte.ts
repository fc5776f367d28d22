import { Problem, type VerificationResult } from "../api/client";
import type { ConsoleContext } from "../context.svelte";
import type { ConfigDraft, Overlap } from "../form/draft.svelte";
import { isSame, type JsonObject } from "../form/json";
import { formatList, text } from "../messages";
import { sentence } from "../problem";
import { readProvider, received, writeConfig } from "../providers";
import { inShort, whyUnchecked, writeSecrets } from "./secrets";

const MOST_ATTEMPTS = 3;

/** Secrets that were typed beside settings, by name; the signal ends what still waits with them when they are cleared. */
export interface Typed {
  secrets: Record<string, string>;
  signal: AbortSignal | null;
}

const NOTHING: Typed = { secrets: {}, signal: null };

/** How an attempt to save ended; `refused`: the person has to mend something first. */
export type Outcome = "saved" | "refused" | "overlapping" | "failed";

/** Saves a draft: on the version that was seen, merged with what others saved meanwhile, and never over it. */
export class Saving {
  #isRunning = $state(false);
  #problem = $state.raw<unknown>(null);
  #overlapping = $state.raw<ReadonlyMap<string, Overlap>>(new Map());
  #merged = $state.raw<{ by: string; names: readonly string[] } | null>(null);
  #keyProblem = $state<string | null>(null);
  /** Where the settings that were saved send calls, until the key that goes there is stored as well. */
  #owed = $state.raw<readonly string[] | null>(null);
  #isTesting = $state(false);
  /** What a test of the key at the new address found, and the settings that it was of. */
  #tested = $state.raw<{ override: JsonObject; result: VerificationResult } | null>(null);
  /** Whether the key is tested at the new address before anything is saved. */
  checks = $state(true);

  constructor(
    private readonly shared: ConsoleContext,
    private readonly draft: ConfigDraft,
  ) {}

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** Whether the key is being tested at the new address. */
  get isTesting(): boolean {
    return this.#isTesting;
  }

  /** The test because of which nothing was saved; null once it is not of what is there. */
  get failedTest(): VerificationResult | null {
    const tested = this.#tested;
    return tested?.result.verdict === "fails" && tested.override === this.draft.override
      ? tested.result
      : null;
  }

  /** Why the last attempt failed, where it is about no setting. */
  get problem(): unknown {
    return this.#problem;
  }

  /** Why the key was not stored, and whether the settings were. */
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
      this.#owed !== null ||
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
    this.forgetTest();
  }

  /** Be done with what was found of a key: another one is typed. */
  forgetTest(): void {
    this.#keyProblem = null;
    this.#tested = null;
  }

  /**
   * Save what was changed; what was typed besides are the secrets demanded, which go to the new address only. Where
   * they fail there, nothing is saved: until both are, the provider would not be used. `isAnyway` is the choice not to
   * test them.
   */
  async save(typed: Typed = NOTHING, isAnyway = false): Promise<Outcome> {
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
      const { redirects } = this;
      const { override } = this.draft;
      // Where what was typed is to be sent; null: nothing was.
      const binding = Object.keys(typed.secrets).length > 0 ? this.draft.binding : null;
      const checks = redirects && this.checks && !isAnyway;
      const refusal = checks ? await this.#test(typed) : null;
      if (refusal !== null) return refusal;
      // Only what was tested is saved, and nothing that was given up or changed meanwhile.
      if (typed.signal?.aborted) return "failed";
      if (binding !== null && !isSame(this.draft.override, override)) return this.#changedMeanwhile();
      const tested = this.#tested?.result ?? null;
      if (this.draft.write !== null) this.#owed = null;
      const outcome = await this.#saveSettings(typed.signal, binding);
      if (outcome !== "saved" || !redirects) return outcome;
      // The settings lead elsewhere now, and until the key follows it is owed.
      if (!this.#leadsAsSeen(binding)) return "failed";
      // What could not be tested by what the settings say, the server may know how to test.
      const ended = await this.#saveSecrets(typed, checks && tested === null);
      // A draft's test is kept by nobody.
      if (ended === "saved" && tested?.verdict === "works")
        void this.shared.verifications.test(this.draft.provider.provider);
      return ended;
    } finally {
      this.#isRunning = false;
    }
  }

  /** Test the secrets at the new address; returns how the attempt to save ended by that, or null to go on. */
  async #test({ secrets, signal }: Typed): Promise<Outcome | null> {
    if (Object.keys(secrets).length === 0) return null;
    const { draft, shared } = this;
    const { override, addresses } = draft;
    this.#isTesting = true;
    try {
      const origins = addresses.length === 0 ? {} : { approvedOrigins: addresses };
      const change = { config: override, secrets, ...origins };
      const result = await shared.verifications.testDraft(draft.provider.provider.key, change, signal);
      this.#tested = { override, result };
      if (result.verdict !== "fails") return null;
      shared.announcer.say(result.sentence);
      return "failed";
    } catch (error) {
      return signal?.aborted ? "failed" : this.#untested(error);
    } finally {
      this.#isTesting = false;
    }
  }

  #untested(error: unknown): Outcome | null {
    // That it cannot be tested now, or not by what the settings say, is no reason not to save.
    if (error instanceof Problem && error.status === 429) return null;
    const pointers =
      error instanceof Problem && error.status === 422 ? error.errors.map((each) => each.pointer) : [];
    if (pointers.some((each) => each.startsWith("/approvedOrigins"))) return null;
    if (!pointers.some((each) => each.startsWith("/secrets"))) return this.#failed(error);
    this.#keyProblem = text.configuration.nothingSaved(sentence(error));
    return "failed";
  }

  /** Save them, unless they lead elsewhere than where a typed key is to be sent; null: none was typed. */
  async #saveSettings(signal: AbortSignal | null, binding: JsonObject | null): Promise<Outcome> {
    const { draft, shared } = this;
    for (let attempt = 1; ; attempt += 1) {
      if (binding !== null && !isSame(draft.binding, binding)) return this.#changedMeanwhile();
      const sent = draft.write;
      if (sent === null) return "saved";
      try {
        const answer = await writeConfig(shared, draft.provider, sent, signal);
        draft.saved(sent, answer);
        received(shared, answer);
        shared.announcer.show(text.configuration.saved(answer.provider.name));
        return "saved";
      } catch (error) {
        if (signal?.aborted) return "failed";
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

  /** The settings are no longer those with which a key was typed: the person looks at them first. */
  #changedMeanwhile(): Outcome {
    // Of what was discarded there is nothing to say.
    if (this.redirects) this.#keyProblem = text.configuration.changedMeanwhile;
    return "failed";
  }

  #ask(): Outcome {
    this.#overlapping = this.draft.contested;
    return "overlapping";
  }

  /** Whether the settings still lead where this person sent them: a key that was typed for one address goes to no other. */
  #leadsAsSeen(binding: JsonObject | null): boolean {
    const present = [...this.draft.provider.origins];
    const isMeant = binding === null || isSame(this.draft.binding, binding);
    const isSeen = isMeant && (this.#owed === null || isSame(this.#owed, present));
    this.#owed = present;
    if (!isSeen) this.#keyProblem = text.configuration.leadsElsewhere(formatList(present.map(inShort)));
    return isSeen;
  }

  async #saveSecrets({ secrets, signal }: Typed, check: boolean): Promise<Outcome> {
    const { draft, shared } = this;
    // The server says where these settings lead: the key is stored for exactly that.
    const change = { secrets, approvedOrigins: [...draft.provider.origins], check };
    try {
      const stored = await writeSecrets(shared, draft.provider, change, signal);
      draft.receive(stored);
      this.#owed = null;
      const why = this.checks && Object.keys(secrets).length > 0 ? whyUnchecked(stored) : null;
      if (why !== null) shared.announcer.show(text.verification.unchecked(why));
      return "saved";
    } catch (error) {
      if (signal?.aborted) return "failed";
      // What is on screen is out of date: the next attempt is to be based on what is there now.
      if (error instanceof Problem && error.status === 412) shared.readProvidersAgain();
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

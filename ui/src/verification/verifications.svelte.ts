import { SvelteMap, SvelteSet } from "svelte/reactivity";
import {
  type Api,
  answered,
  Problem,
  type ProviderSummary,
  type Schemas,
  type VerificationResult,
} from "../api/client";
import type { Announcer } from "../announcer.svelte";
import { text } from "../messages";
import { sentence } from "../problem";

const current = { organization: "current" } as const;
type Draft = Partial<Schemas["VerificationWrite"]>;

/** Tests of providers: which are under way, which were refused, and which have to wait. */
export class Verifications {
  readonly #running = new SvelteSet<string>();
  readonly #problems = new SvelteMap<string, unknown>();
  /** When a provider, by its key, may be tested again; in milliseconds as `Date.now` has them. */
  readonly #until = new SvelteMap<string, number>();
  /** Providers of which something that is not saved was refused: what was found before is no news beside that. */
  readonly #overshadowed = new SvelteSet<string>();
  /** The result that somebody has read and closed, by the provider's key: when it was found. */
  readonly #closed = new SvelteMap<string, string>();
  /** The same for all of them, as the server has it. */
  #untilAny = $state(0);

  constructor(
    private readonly api: Api,
    private readonly announcer: Announcer,
    private readonly readAgain: () => Promise<void>,
  ) {}

  isRunning(key: string): boolean {
    return this.#running.has(key);
  }

  /** Why the last attempt was no test; null when it was one. */
  problem(key: string): unknown {
    return this.#problems.get(key) ?? null;
  }

  /** When a provider may be tested again; in the past when it may be now. */
  until(key: string): number {
    return Math.max(this.#until.get(key) ?? 0, this.#untilAny);
  }

  /** Test a provider as it is saved; the list has what was found when this is done. */
  async test({ key, name }: Pick<ProviderSummary, "key" | "name">): Promise<void> {
    if (this.isRunning(key) || this.until(key) > Date.now()) return;
    this.#running.add(key);
    this.#problems.delete(key);
    this.#overshadowed.delete(key);
    this.announcer.say(text.verification.testing(name));
    try {
      const result = await this.#ask(key, {});
      if (result.retryAfterSeconds !== null)
        this.#until.set(key, Date.now() + result.retryAfterSeconds * 1000);
      await this.readAgain();
      this.announcer.say(result.sentence);
    } catch (error) {
      this.#problems.set(key, error);
      this.announcer.warn(text.verification.notTested(name, sentence(error)));
    } finally {
      this.#running.delete(key);
    }
  }

  /** Let a provider be tested again at once: its key is another one. */
  forget(key: string): void {
    this.#until.delete(key);
  }

  /** Whether a result is to be shown: until it is closed, and while nothing newer was refused. */
  isShown(key: string, { checkedAt }: Pick<VerificationResult, "checkedAt">): boolean {
    return !this.#overshadowed.has(key) && this.#closed.get(key) !== checkedAt;
  }

  close(key: string, { checkedAt }: Pick<VerificationResult, "checkedAt">): void {
    this.#closed.set(key, checkedAt);
  }

  /** Hide what was found before while something newer is shown as refused; returns how to end that. */
  overshadow(key: string): () => void {
    this.#overshadowed.add(key);
    return () => this.#overshadowed.delete(key);
  }

  /** Test what is not saved: nothing of it is stored. Throws the server's problem; ends with the signal, if it waits. */
  async testDraft(key: string, draft: Draft, signal: AbortSignal | null = null): Promise<VerificationResult> {
    return this.#ask(key, draft, signal);
  }

  async #ask(key: string, draft: Draft, signal: AbortSignal | null = null): Promise<VerificationResult> {
    try {
      const result = await answered(
        this.api.POST("/api/organizations/{organization}/providers/{key}/verify", {
          params: { path: { ...current, key } },
          body: draft as Schemas["VerificationWrite"],
          signal,
        }),
      );
      return result;
    } catch (error) {
      if (error instanceof Problem && error.status === 429)
        this.#untilAny = Date.now() + (error.retryAfterSeconds ?? 1) * 1000;
      throw error;
    }
  }
}

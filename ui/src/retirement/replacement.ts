import type { OrganizationProvider, Schemas } from "../api/client";
import type { ConsoleContext } from "../context.svelte";
import type { JsonObject } from "../form/json";
import { formatList } from "../messages";
import { received, writeConfig } from "../providers";

type Notice = Schemas["Notice"];

/** A proposal that was taken: what it replaced, by what, and the version that it wrote. */
export interface Taken {
  before: string;
  after: string;
  /** The settings that changed besides, because they go with it, as people call them; "" when none did. */
  others: string;
  revision: number;
  /** The settings before it, as they were overridden. */
  former: JsonObject;
}

/** Notices of models and voices that end or have ended. */
export function endings(provider: OrganizationProvider): Notice[] {
  return provider.notices.filter(({ code }) => code.endsWith("_retiring") || code.endsWith("_retired"));
}

/** The setting that a notice is about, by its name. */
export function settingOf({ pointer }: Notice): string {
  return pointer.replace("/config/", "");
}

/** What a notice's proposal would put in the place of what ends; null where nothing is proposed. */
export function successor(notice: Notice): string | null {
  const named = notice.proposal?.changes.find(({ setting }) => setting === settingOf(notice))?.after;
  return typeof named === "string" ? named : null;
}

/** Whether taking it gives up a setting of the organization's own: that is to be seen before. */
export function givesUp(notice: Notice): boolean {
  return notice.proposal?.changes.some(({ because }) => because !== null) ?? false;
}

/** Write a notice's proposal as one version, based on the provider as it was read. Throws the server's problem. */
export async function take(
  shared: ConsoleContext,
  provider: OrganizationProvider,
  notice: Notice,
): Promise<{ taken: Taken; answer: OrganizationProvider }> {
  const proposal = notice.proposal;
  const after = successor(notice);
  if (proposal === null || after === null) throw new Error("Nothing is proposed.");
  const answer = await writeConfig(shared, provider, { config: proposal.config });
  received(shared, answer);
  const before = notice.model ?? notice.voice ?? "";
  const others = formatList(
    proposal.changes.filter((each) => each.setting !== settingOf(notice)).map((each) => each.title),
  );
  return { taken: { before, after, others, revision: answer.revision, former: provider.overrides }, answer };
}

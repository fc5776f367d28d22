import { createQuery, keepPreviousData } from "@tanstack/svelte-query";
import { answered, type Schemas } from "../api/client";
import { AUDIT, type ConsoleContext } from "../context.svelte";

const current = { organization: "current" } as const;

/** What the page is filtered by, each by its name in the address. */
export const FILTERS = ["actor", "action", "target", "outcome", "since", "until"] as const;
export type Filter = (typeof FILTERS)[number];

/** What the server is asked for, as far as filters say it. */
export interface Wanted {
  actor?: string;
  action?: string;
  purpose?: "worker" | "verification" | "list";
  target?: string;
  outcome?: "success" | "denied";
  since?: string;
  until?: string;
}

/** Read the filters of an address. Its days are the person's own, and the last one is included. */
export function wantedBy(query: URLSearchParams): Wanted {
  const outcome = query.get("outcome");
  // What keys were given out for is one more part of the action.
  const [action = null, purpose] = query.get("action")?.split("/") ?? [];
  const [since, until] = [midnight(query.get("since"), 0), midnight(query.get("until"), 1)];
  return {
    ...given("actor", query.get("actor")),
    ...given("action", action),
    ...(purpose === "worker" || purpose === "verification" || purpose === "list" ? { purpose } : {}),
    ...given("target", query.get("target")),
    ...(outcome === "success" || outcome === "denied" ? { outcome } : {}),
    ...given("since", since),
    ...given("until", until),
  };
}

function given(name: Filter, value: string | null): Wanted {
  return value === null || value === "" ? {} : { [name]: value };
}

/** The moment at which a day such as 2026-11-28 begins, here, or one that is some days later; null when it is none. */
function midnight(day: string | null, later: number): string | null {
  const [, year, month, date] = (day?.match(/^(\d{4})-(\d{2})-(\d{2})$/) ?? []).map(Number);
  if (year === undefined || month === undefined || date === undefined) return null;
  return new Date(year, month - 1, date + later).toISOString();
}

/** A page of the audit log, newest first; what was there before stays until another one has come. */
export function auditQuery(shared: ConsoleContext, wanted: () => Wanted, before: () => number | null) {
  return createQuery<Schemas["AuditRecords"]>(() => {
    const place = before();
    const query = { ...wanted(), ...(place === null ? {} : { before: place }) };
    return {
      queryKey: [...AUDIT, query],
      queryFn: ({ signal }) =>
        // Without a format it is a page; only with one is it a file's text.
        answered(
          shared.api.GET("/api/organizations/{organization}/audit", {
            params: { path: current, query },
            signal,
          }),
        ) as Promise<Schemas["AuditRecords"]>,
      placeholderData: keepPreviousData,
    };
  });
}

/** Have the server write all that is wanted as a file, and the browser keep it; returns the file's name. */
export async function download(
  shared: ConsoleContext,
  wanted: Wanted,
  format: "csv" | "jsonl",
): Promise<string> {
  const file = await answered(
    shared.api.GET("/api/organizations/{organization}/audit", {
      params: { path: current, query: { ...wanted, format } },
      parseAs: "blob",
    }),
  );
  const url = URL.createObjectURL(file);
  const link = document.createElement("a");
  link.href = url;
  link.download = `audit.${format}`;
  link.click();
  URL.revokeObjectURL(url);
  return link.download;
}

import { NoToken, Problem, Unreachable } from "./api/client";
import { Unloaded } from "./loaded";
import { text } from "./messages";

/** Say what went wrong and what to do about it; never an exception's own words. */
export function sentence(error: unknown): string {
  if (error instanceof Unreachable) return text.errors.unreachable;
  if (error instanceof NoToken) return text.errors.noToken;
  if (error instanceof Unloaded) return text.errors.unloaded;
  if (!(error instanceof Problem)) return text.errors.server;
  if (error.status === 403) return text.errors.forbidden;
  if (error.status === 404) return text.errors.notFound;
  if (error.status === 429) return text.errors.tooMany(error.retryAfterSeconds ?? 1);
  if (error.status === 503) return text.errors.unavailable;
  if (error.status >= 500) return text.errors.server;
  // Our own API writes these for people, and they never repeat what was sent.
  return error.message;
}

export function requestId(error: unknown): string | null {
  return error instanceof Problem ? error.requestId : null;
}

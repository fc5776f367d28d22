import { text } from "../messages";
import { type Me, Problem, Unreachable, type Schemas } from "../api/client";

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  try {
    return await fetch(path, { credentials: "omit", ...init, cache: "no-store", redirect: "error" });
  } catch {
    throw new Unreachable();
  }
}

/** Who a token stands for; null when the server does not know it. Any other problem is thrown: it says nothing of it. */
async function whoseToken(token: string): Promise<Me | null> {
  const response = await ask("/api/me", { headers: { Authorization: `Bearer ${token}` } });
  if (response.ok) return (await response.json()) as Me;
  if (response.status === 401) return null;
  throw new Problem(response, (await response.json()) as Partial<Schemas["Problem"]>);
}

/**
 * Why a token cannot be gone on with, in words; null when it can.
 *
 * @param organization is the one that it has to be a token of; null for any.
 */
export async function refusalOf(token: string, organization: string | null): Promise<string | null> {
  const me = await whoseToken(token);
  if (me === null) return text.signIn.refused;
  return organization !== null && me.organization?.id !== organization ? text.signIn.otherOrganization : null;
}

/** Exchange a link's code for a token; null when it was used before or is too old. */
export async function redeem(code: string): Promise<string | null> {
  return exchange("/api/sign-in", { code });
}

/** How one can sign in beside a token; nothing when the server cannot say. */
export async function signInMethods(): Promise<Schemas["SignInMethods"]> {
  try {
    const response = await ask("/api/sign-in/methods");
    if (response.ok) return (await response.json()) as Schemas["SignInMethods"];
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
  }
  return { oidc: null };
}

/** What an identity provider sent this browser back with: what to finish with, or an error of OAuth's. */
export type Returned = { code: string; state: string } | { error: string };

export function returned(search: string): Returned | null {
  const said = new URLSearchParams(search);
  const [code, state, error] = ["code", "state", "error"].map((name) => said.get(name));
  if (error) return { error };
  return code && state ? { code, state } : null;
}

/** Finish what was begun in this browser, whose cookie goes along; null when it was not, or is too old. */
export async function finish(given: { code: string; state: string }): Promise<string | null> {
  return exchange("/api/sign-in/oidc", given, "same-origin");
}

async function exchange(
  path: string,
  given: Record<string, string>,
  credentials: RequestCredentials = "omit",
): Promise<string | null> {
  const headers = { "Content-Type": "application/json" };
  const response = await ask(path, { method: "POST", headers, credentials, body: JSON.stringify(given) });
  if (response.ok) return ((await response.json()) as Schemas["CreatedAccessToken"]).value;
  const problem = new Problem(response, (await response.json()) as Partial<Schemas["Problem"]>);
  if (problem.status === 401 || problem.status === 422) return null;
  throw problem;
}

import { Problem, Unreachable, type Schemas } from "../api/client";

async function ask(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, { ...init, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch {
    throw new Unreachable();
  }
}

/** Whether the server knows a token. A problem other than 401 is thrown: it says nothing about the token. */
export async function isKnown(token: string): Promise<boolean> {
  const response = await ask("/api/me", { headers: { Authorization: `Bearer ${token}` } });
  if (response.ok) return true;
  if (response.status === 401) return false;
  throw new Problem(response, (await response.json()) as Partial<Schemas["Problem"]>);
}

/** Exchange a link's code for a token; null when it was used before or is too old. */
export async function redeem(code: string): Promise<string | null> {
  const headers = { "Content-Type": "application/json" };
  const response = await ask("/api/sign-in", { method: "POST", headers, body: JSON.stringify({ code }) });
  if (response.ok) return ((await response.json()) as Schemas["CreatedAccessToken"]).value;
  const problem = new Problem(response, (await response.json()) as Partial<Schemas["Problem"]>);
  if (problem.status === 401 || problem.status === 422) return null;
  throw problem;
}

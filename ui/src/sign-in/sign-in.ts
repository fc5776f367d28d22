import { type Me, Problem, Unreachable, type Schemas } from "../api/client";

async function ask(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, { ...init, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch {
    throw new Unreachable();
  }
}

/** Who a token stands for; null when the server does not know it. Any other problem is thrown: it says nothing of it. */
export async function whoseToken(token: string): Promise<Me | null> {
  const response = await ask("/api/me", { headers: { Authorization: `Bearer ${token}` } });
  if (response.ok) return (await response.json()) as Me;
  if (response.status === 401) return null;
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

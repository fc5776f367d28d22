import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type OrganizationProvider = Schemas["OrganizationProvider"];
export type OrganizationProviders = Schemas["OrganizationProviders"];
export type Provider = Schemas["Provider"];
export type ProviderType = Schemas["ProviderType"];
export type ProviderSummary = Schemas["ProviderSummary"];
export type VerificationResult = Schemas["VerificationResult"];
export type Me = Schemas["Me"];
export type Actor = Schemas["Actor"];
export type AuditRecord = Schemas["AuditRecord"];
export type SettingsVersion = Schemas["SettingsVersion"];
export type SecretsChange = Schemas["SecretsChange"];
export type ProblemField = Schemas["ProblemField"];
export type Api = Client<paths>;

/** An error that the server explained: RFC 9457, as every route of the API answers it. */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly requestId: string | null;
  readonly errors: readonly ProblemField[];
  /** What a test of secrets found, where that is why they were not stored. */
  readonly verification: VerificationResult | null;
  /** How long to wait before asking again, in seconds; null when the server did not say. */
  readonly retryAfterSeconds: number | null;

  constructor(response: Response, body: Partial<Schemas["Problem"]>) {
    super(body.detail ?? response.statusText);
    this.name = "Problem";
    this.status = response.status;
    this.code = body.code ?? "unknown";
    this.requestId = body.requestId ?? null;
    this.errors = body.errors ?? [];
    this.verification = body.verification ?? null;
    const wait = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
    this.retryAfterSeconds = Number.isNaN(wait) ? null : wait;
  }
}

/** The server could not be reached at all: no answer, so nothing is known of what it did. */
export class Unreachable extends Error {
  constructor() {
    super("The server did not answer.");
    this.name = "Unreachable";
  }
}

/** Whoever mounts the page gave no answer when it was asked for a token: nothing was sent. */
export class NoToken extends Error {
  constructor() {
    super("The app around this page gave no token.");
    this.name = "NoToken";
  }
}

export interface Connection {
  /** Where the API is, without `/api`; empty for the page's own origin. */
  baseUrl: string;
  /** The bearer token for the next request; null while nobody is signed in. */
  getToken: () => string | null | Promise<string | null>;
  /**
   * Called when the server no longer knows the token. Resolves to true when somebody signed in again, and the
   * request is then sent once more: what was being saved is saved.
   */
  signInAgain: () => Promise<boolean>;
}

async function tokenOf(connection: Connection): Promise<string | null> {
  try {
    return await connection.getToken();
  } catch {
    // What the host threw is its own, and may hold anything.
    throw new NoToken();
  }
}

/** Wait for an answer, but no longer than the signal lets: what waits keeps all that it was given in memory. */
function unlessAborted<T>(signal: AbortSignal, pending: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(new DOMException("It was given up.", "AbortError"));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    // In any case: what nobody waits for would else be reported as an error of the page.
    pending.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/**
 * Send one request with the token; sign in again and repeat it when the token is no longer known. A request whose
 * signal is aborted meanwhile is dropped, and never sent.
 */
export async function authorizedFetch(connection: Connection, request: Request): Promise<Response> {
  // Read once: a request's own body can be sent once, and a copy of it would stay in memory, with what was typed.
  const body = request.method === "GET" ? null : await request.text();
  for (let attempt = 0; ; attempt += 1) {
    const token = await unlessAborted(request.signal, tokenOf(connection));
    const sent = new Request(request.url, {
      method: request.method,
      headers: request.headers,
      signal: request.signal,
      body: body === "" ? null : body,
    });
    // A host that is not written in TypeScript may give undefined.
    if (token != null) sent.headers.set("Authorization", `Bearer ${token}`);
    let response: Response;
    try {
      response = await fetch(sent, { cache: "no-store", credentials: "omit", redirect: "error" });
    } catch (error) {
      if (request.signal.aborted) throw error;
      throw new Unreachable();
    }
    if (response.status !== 401 || attempt > 0) return response;
    // Another request may have been refused first, and somebody has signed in again since.
    const present = await unlessAborted(request.signal, tokenOf(connection));
    const mayRepeat =
      present === token ? await unlessAborted(request.signal, connection.signInAgain()) : present != null;
    if (!mayRepeat) return response;
  }
}

export function createApi(connection: Connection): Api {
  return createClient<paths>({
    baseUrl: connection.baseUrl,
    fetch: (request) => authorizedFetch(connection, request),
  });
}

type Outcome<T> = { data?: T; error?: unknown; response: Response };

/** Return what the server answered, or throw its problem. */
export async function answered<T>(pending: Promise<Outcome<T>>): Promise<T> {
  const { data, error, response } = await pending;
  if (!response.ok) throw new Problem(response, typeof error === "object" && error !== null ? error : {});
  return data as T;
}

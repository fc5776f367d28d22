import { afterEach, expect, test, vi } from "vitest";
import { authorizedFetch } from "../src/api/client";

afterEach(() => vi.unstubAllGlobals());

test.each([null, undefined])("a host that gives %s signs nobody in", async (given) => {
  const sent: (string | null)[] = [];
  vi.stubGlobal("fetch", (request: Request) => {
    sent.push(request.headers.get("Authorization"));
    return Promise.resolve(new Response(null, { status: 401 }));
  });
  const getToken = () => given as null;
  const connection = { baseUrl: "", getToken, signInAgain: () => Promise.resolve(false) };
  await authorizedFetch(connection, new Request("https://example.com/api/me"));
  expect(sent).toEqual([null]);
});

test("a request that waits for somebody to sign in again is dropped when it is given up", async () => {
  const fetched = vi.fn(() => Promise.resolve(new Response(null, { status: 401 })));
  vi.stubGlobal("fetch", fetched);
  const cleared = new AbortController();
  let signedIn: (isSignedIn: boolean) => void = () => undefined;
  const connection = {
    baseUrl: "",
    getToken: () => "token",
    signInAgain: vi.fn(() => new Promise<boolean>((resolve) => (signedIn = resolve))),
  };
  const request = new Request("https://voxplane.test/secrets", {
    method: "PUT",
    body: '{"secrets": {"apiKey": "gsk_canary"}}',
    signal: cleared.signal,
  });
  const sent = authorizedFetch(connection, request);
  await vi.waitFor(() => expect(connection.signInAgain).toHaveBeenCalled());
  cleared.abort();
  await expect(sent).rejects.toThrow("It was given up.");
  signedIn(true);
  // Not before all that waits for it would have gone on.
  await new Promise((resolve) => setTimeout(resolve));
  expect(fetched).toHaveBeenCalledOnce();
});

test("a request that was given up before it was sent leaves no error behind", async () => {
  const getToken = () => Promise.reject(new Error("of the host"));
  const connection = { baseUrl: "", getToken, signInAgain: () => Promise.resolve(false) };
  const request = new Request("https://voxplane.test/api/me", { signal: AbortSignal.abort() });
  // What nobody takes care of would fail the run.
  await expect(authorizedFetch(connection, request)).rejects.toThrow("It was given up.");
  await new Promise((resolve) => setTimeout(resolve));
});

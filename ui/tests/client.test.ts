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

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Live, type News } from "../src/live.svelte";
import { sentence } from "../src/problem";
import { createApi, answered } from "../src/api/client";
import { text } from "../src/messages";

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1);
  vi.stubGlobal("addEventListener", () => undefined);
  vi.stubGlobal("removeEventListener", () => undefined);
  vi.stubGlobal("navigator", { onLine: true });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** What the server answers to a token: the stream to a good one, 401 to any other. */
function answering(good: () => string | null) {
  const sent: (string | null)[] = [];
  vi.stubGlobal("fetch", (request: Request) => {
    const token = request.headers.get("Authorization")?.replace("Bearer ", "") ?? null;
    sent.push(token);
    if (token !== good()) return Promise.resolve(new Response(null, { status: 401 }));
    const event = 'event: change\nid: e.1\ndata: {"keys": null}\n\n';
    const body = new ReadableStream({ start: (stream) => stream.enqueue(new TextEncoder().encode(event)) });
    return Promise.resolve(new Response(body));
  });
  return sent;
}

test("a host whose token is refused, or that fails to give one, is asked again, and never in a storm", async () => {
  let given: string | Error = "old";
  let asked = 0;
  const sent = answering(() => "new");
  const getToken = () => {
    asked += 1;
    if (given instanceof Error) throw given;
    return given;
  };
  const news: News[] = [];
  const connection = { baseUrl: "https://voxplane.test", getToken, signInAgain: () => Promise.resolve(true) };
  const live = new Live(connection, (each) => news.push(each));
  live.start();
  await vi.advanceTimersByTimeAsync(10 * 60_000);
  // Half a minute between the attempts by then, of which each asks once more after a refusal.
  expect(sent.length).toBeGreaterThan(20);
  expect(sent.length).toBeLessThan(60);
  expect([live.state, news]).toEqual(["reconnecting", []]);
  given = new Error("the host's own words");
  const before = { asked, sent: sent.length };
  await vi.advanceTimersByTimeAsync(60_000);
  expect(sent.length).toBe(before.sent);
  expect(asked - before.asked).toBeGreaterThan(0);
  given = "new";
  await vi.advanceTimersByTimeAsync(31_000);
  expect([live.state, news]).toEqual(["live", [{ kind: "all" }]]);
  live.stop();
});

test("a host that fails is not taken for the server", async () => {
  const getToken = () => Promise.reject(new Error("the host's own words"));
  const signInAgain = () => Promise.resolve(true);
  const api = createApi({ baseUrl: "https://voxplane.test", getToken, signInAgain });
  const failed: unknown = await answered(api.GET("/api/me")).catch((error: unknown) => error);
  expect(sentence(failed)).toBe(text.errors.noToken);
  expect(String(failed)).not.toContain("own words");
});

import { QueryClient } from "@tanstack/svelte-query";
import { expect, test, vi } from "vitest";
import { createApi, type OrganizationProviders } from "../src/api/client";
import { type ConsoleContext, PROVIDERS } from "../src/context.svelte";
import { above, below, reorder, toFirst } from "../src/order";
import { cached } from "../src/providers";
import { Turns } from "../src/turns";
import { provider } from "./provider";

const OFF = "azure-openai";

/** The organization's list with its language models in this order, and one that is off. */
function list(order: readonly string[]): OrganizationProviders {
  const etag = `"${order.join()}"`;
  return {
    revision: 1,
    nextCall: {},
    orderEtags: { llm: etag },
    providers: [...order.map((key) => provider(key)), provider(OFF, {}, { isEnabled: false })],
  };
}

/** A console whose server holds an order, as the real one does: `others` move when a request arrives. */
function consoleOf(order: string[], others: string[][] = []) {
  const shared = {
    api: createApi({
      baseUrl: "https://voxplane.test",
      getToken: () => null,
      signInAgain: () => Promise.resolve(false),
    }),
    orders: new Turns<OrganizationProviders>(),
    queries: new QueryClient(),
  } as unknown as ConsoleContext;
  shared.queries.setQueryData(PROVIDERS, list(order));
  const onScreen = () =>
    cached(shared)
      ?.providers.filter((each) => each.isEnabled)
      .map((each) => each.provider.key);
  const server = { order, sent: [] as string[] };
  vi.stubGlobal("fetch", async (request: Request) => {
    const { pathname } = new URL(request.url);
    server.sent.push(`${request.method} ${pathname.split("/").at(-1)}`);
    if (request.method === "PUT") {
      server.order = others.shift() ?? server.order;
      if (request.headers.get("if-match") !== list(server.order).orderEtags.llm)
        return Response.json(
          { code: "revision_conflict", detail: "Somebody changed this." },
          { status: 412 },
        );
      server.order = ((await request.json()) as { order: string[] }).order;
    }
    return Response.json(list(server.order));
  });
  return { shared, server, onScreen };
}

const [A, B, C, D] = ["openai", "groq", "anthropic", "google"];

test.each([
  ["one above another", above(C, B), [A, C, B], [A, D, C, B]],
  ["one below another", below(A, B), [B, A, C], [D, B, A, C]],
  ["one to the top", toFirst(C), [C, A, B], [C, A, D, B]],
])("%s: in the order that is seen, and in another one", (_, by, expected, other) => {
  expect(by([A, B, C])).toEqual(expected);
  expect(by([A, D, B, C])).toEqual(other);
  expect(by(expected)).toEqual(expected);
});

test("somebody else's move is not lost: ours is made again in their order", async () => {
  const { shared, server, onScreen } = consoleOf([A, B, C], [[B, C, A]]);
  expect(await reorder(shared, "llm", above(C, B))).toEqual([C, B, A]);
  expect(server.sent).toEqual(["PUT order", "GET providers", "PUT order"]);
  expect([server.order, onScreen()]).toEqual([
    [C, B, A],
    [C, B, A],
  ]);
});

test("who is outrun again and again is told, and sees what stands", async () => {
  const orders = [
    [B, A, C],
    [A, C, B],
    [C, B, A],
  ];
  const { shared, server, onScreen } = consoleOf([A, B, C], orders);
  await expect(reorder(shared, "llm", above(C, B))).rejects.toThrow("Somebody changed this.");
  expect(server.sent.filter((each) => each === "PUT order")).toHaveLength(3);
  expect([server.order, onScreen()]).toEqual([
    [C, B, A],
    [A, B, C],
  ]);
});

test("the second of two quick moves stands on what the first one became", async () => {
  const { shared, server } = consoleOf([A, B, C, D], [[A, B, D, C]]);
  const moves = [reorder(shared, "llm", above(C, B)), reorder(shared, "llm", above(C, A))];
  await Promise.all(moves);
  expect(server.sent).toEqual(["PUT order", "GET providers", "PUT order", "PUT order"]);
  expect(server.order).toEqual([C, A, B, D]);
});

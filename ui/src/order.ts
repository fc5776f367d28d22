import {
  answered,
  type OrganizationProvider,
  type OrganizationProviders,
  Problem,
  type ProviderType,
} from "./api/client";
import { type ConsoleContext, PROVIDERS } from "./context.svelte";
import { chainOf } from "./overview/standing";
import { cached, shown } from "./providers";

/** What one move makes of an order of keys: of the one on screen, and of another that somebody else made meanwhile. */
export type Move = (order: readonly string[]) => string[];

export function toFirst(key: string): Move {
  return (order) => [key, ...order.filter((each) => each !== key)];
}

/** Put one right above another, unless it is above it already. */
export function above(key: string, other: string): Move {
  return (order) => (order.indexOf(key) < order.indexOf(other) ? [...order] : beside(order, key, other, 0));
}

/** Put one right below another, unless it is below it already. */
export function below(key: string, other: string): Move {
  return (order) => (order.indexOf(key) > order.indexOf(other) ? [...order] : beside(order, key, other, 1));
}

function beside(order: readonly string[], key: string, other: string, after: 0 | 1): string[] {
  const rest = order.filter((each) => each !== key);
  const at = rest.indexOf(other) + after;
  return rest.includes(other) ? [...rest.slice(0, at), key, ...rest.slice(at)] : [...order];
}

/** How often a move is made when others move at the same time. */
const ATTEMPTS = 3;
const current = { organization: "current" } as const;

/**
 * Make one move in the order of one type. Throws the server's problem, with the list as it was.
 *
 * Where somebody else was quicker, it is made again in their order: neither move is lost.
 *
 * @param onShown is called when the list is in the new order, before the server has answered.
 * @returns the enabled ones' keys in the order that was reached.
 */
export async function reorder(
  shared: ConsoleContext,
  type: ProviderType,
  move: Move,
  onShown: () => void = () => undefined,
): Promise<readonly string[]> {
  const before = cached(shared);
  if (before === undefined) return [];
  const places = move(orderOf(type, before));
  // Those that are off have no place, and stand after the others.
  const place = ({ provider: { key } }: OrganizationProvider) =>
    places.includes(key) ? places.indexOf(key) : places.length;
  const ofType = before.providers
    .filter((each) => each.provider.type === type)
    .sort((a, b) => place(a) - place(b));
  const others = before.providers.filter((each) => each.provider.type !== type);
  const takeBack = await shown(shared, { ...before, providers: [...ofType, ...others] });
  onShown();
  const reached = await shared.orders.take(
    (previous) => made(shared, type, move, previous?.orderEtags[type] ? previous : before),
    {
      answered: (answer) => {
        shared.queries.setQueryData<OrganizationProviders>(PROVIDERS, (present) => ({
          revision: answer.revision,
          nextCall: { ...present?.nextCall, [type]: undefined, ...answer.nextCall } as Record<string, string>,
          orderEtags: { ...present?.orderEtags, ...answer.orderEtags },
          providers: [...answer.providers.filter((each) => each.provider.type === type), ...others],
        }));
        void shared.queries.invalidateQueries({ queryKey: PROVIDERS });
      },
      failed: takeBack,
    },
  );
  return chainOf(type, reached.providers).enabled.map((each) => each.provider.key);
}

/** The order that a move is made in: of those that are on. One that is named gets a priority of its own. */
function orderOf(type: ProviderType, { providers }: OrganizationProviders): string[] {
  return chainOf(type, providers).enabled.map((each) => each.provider.key);
}

/** Make a move in the order that was seen, or in the one that has replaced it meanwhile. */
async function made(
  shared: ConsoleContext,
  type: ProviderType,
  move: Move,
  seen: OrganizationProviders,
): Promise<OrganizationProviders> {
  for (let attempt = 1; ; attempt += 1) {
    const etag = seen.orderEtags[type] ?? "";
    try {
      return await answered(
        shared.api.PUT("/api/organizations/{organization}/providers/order", {
          params: { path: current, query: { type }, header: { "If-Match": etag } },
          body: { order: move(orderOf(type, seen)) },
        }),
      );
    } catch (error) {
      if (!(error instanceof Problem && error.status === 412) || attempt === ATTEMPTS) throw error;
    }
    seen = await answered(
      shared.api.GET("/api/organizations/{organization}/providers", {
        params: { path: current, query: { type } },
        cache: "no-store",
      }),
    );
  }
}

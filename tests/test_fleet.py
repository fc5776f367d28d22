"""Tokens of a fleet: workers that serve several organizations, one at a time, and only those on the token's list."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import anyio
import httpx
import psycopg
import pytest

from tests.conftest import Template, amounts, position_of, stored_rows, token_for, without_refusals
from tests.test_audit import ledger_of
from tests.test_changes import following, until
from tests.test_door import clients, documented, operations, prepared, shown_to_a_caller
from tests.test_problem import check_problem
from tests.test_stream import Served, serving
from voxplane.errors import Invalid, KeyUnavailable, OrganizationNotFound, TokenNotFound
from voxplane.schemas import AccessTokenCreate, ConfigWrite, CreatedAccessToken, OrganizationCreate, SecretsWrite
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Principal, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.settings import Settings

Superuser = psycopg.Connection[tuple[object, ...]]
OPERATOR = local_administrator(None, "test")
FLEET = AccessTokenCreate(name="fleet", scopes=[Scope.WORKER_RESOLVE])


def bearer(token: CreatedAccessToken) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.value}"}


@dataclass
class Fleet:
    """Three organizations, each with a key of its own, and a token for two of them."""

    plane: ControlPlane
    client: httpx.AsyncClient
    ids: dict[str, UUID]
    token: CreatedAccessToken

    async def resolve(self, organization: str | UUID, token: CreatedAccessToken | None = None) -> httpx.Response:
        """Ask for an organization's providers."""
        return await self.client.post(
            f"/api/organizations/{organization}/resolve", json={}, headers=bearer(token or self.token)
        )

    async def statuses(self) -> dict[str, int]:
        """Ask for every organization by its slug."""
        return {slug: (await self.resolve(slug)).status_code for slug in self.ids}

    async def key_of(self, organization: str | UUID) -> str:
        """Return the key that comes with an organization's model."""
        answer = await self.resolve(organization)
        assert answer.status_code == 200, answer.text
        return answer.json()["chains"]["llm"][0]["secrets"]["apiKey"]


async def settle(plane: ControlPlane, *slugs: str) -> dict[str, UUID]:
    """Make organizations whose model has a key that names them."""
    ids: dict[str, UUID] = {}
    for slug in slugs:
        made = await plane.access.create_organization(OPERATOR, OrganizationCreate(slug=slug, name=slug.title()))
        who = local_administrator(made.id, "test")
        stored = SecretsWrite(secrets={"apiKey": f"sk-{slug}"})
        await plane.providers.update_provider_secrets(who, "openai", stored)
        await plane.providers.upsert_organization_provider_config(who, "openai", ConfigWrite(is_enabled=True))
        ids[slug] = made.id
    return ids


@pytest.fixture
async def fleet(settings: Settings) -> AsyncIterator[Fleet]:
    """As in production: a token that was looked up is trusted for a while."""
    trusting = settings.model_copy(update={"token_cache_seconds": 30.0})
    async with ControlPlane.open(trusting) as plane, clients(plane) as client:
        ids = await settle(plane, "acme", "bolt", "core")
        token = await plane.access.create_fleet_token(OPERATOR, FLEET, [ids["acme"], ids["bolt"]])
        yield Fleet(plane, client, ids, token)


async def test_it_acts_for_each_organization_of_its_list_by_id_and_by_slug(fleet: Fleet, superuser: Superuser) -> None:
    for slug in ("acme", "bolt"):
        for named in (slug, fleet.ids[slug]):
            assert await fleet.key_of(named) == f"sk-{slug}"
            said = {
                "at": await position_of(fleet.plane, slug),
                "reports": [{"provider": "openai", "outcome": "recovered"}],
            }
            path = f"/api/organizations/{named}/reports"
            assert (await fleet.client.post(path, json=said, headers=bearer(fleet.token))).status_code == 204
    rows = without_refusals(stored_rows(superuser))
    releases = [row for row in rows["audit_events"] if row["action"] == "secrets.release"]
    assert Counter(row["organization_id"] for row in releases) == {str(fleet.ids[slug]): 2 for slug in ("acme", "bolt")}
    assert {row["actor"] for row in releases} == {f"token:{fleet.token.id}"}
    reports = {row["organization_id"]: (row["reports"], row["reported_by"]) for row in rows["provider_reports"]}
    assert reports == {str(fleet.ids[slug]): (2, "fleet") for slug in ("acme", "bolt")}


async def test_others_look_like_those_that_do_not_exist_and_there_is_no_current_one(
    fleet: Fleet, superuser: Superuser
) -> None:
    before = without_refusals(stored_rows(superuser))
    answers = [await fleet.resolve(named) for named in ("core", fleet.ids["core"], "nowhere", uuid4(), "current")]
    answers.append(await fleet.resolve(str(fleet.ids["acme"]).upper()))
    answers.append(await fleet.resolve(f"{{{fleet.ids['acme']}}}"))
    assert [shown_to_a_caller(answer) for answer in answers] == [shown_to_a_caller(answers[0])] * len(answers)
    check_problem(answers[0], 404, "organization_not_found")
    assert without_refusals(stored_rows(superuser)) == before


async def test_it_can_do_nothing_else(fleet: Fleet, superuser: Superuser) -> None:
    """Every operation but those for workers: at an organization of its list, at another one, and at none."""
    tried: Counter[int] = Counter()
    before = without_refusals(stored_rows(superuser))
    for operation in operations():
        if operation.scope in {Scope.WORKER_RESOLVE, "everybody", "anyone"}:
            continue
        for place, expected in (("acme", 403), (str(fleet.ids["acme"]), 403), ("core", 404), ("current", 403)):
            if not operation.is_of_an_organization:
                expected = 403  # noqa: PLW2901 - there is no place in its path
            url = operation.url(organization=place)
            answer = await fleet.client.request(
                operation.method, url, json=operation.body(), headers=bearer(fleet.token)
            )
            assert (str(operation), place, answer.status_code) == (str(operation), place, expected)
            tried[answer.status_code] += 1
    assert without_refusals(stored_rows(superuser)) == before
    assert tried[404] >= 10
    me = (await fleet.client.get("/api/me", headers=bearer(fleet.token))).json()
    assert me == {
        "subject": f"token:{fleet.token.id}",
        "name": "fleet",
        "kind": "token",
        "organization": None,
        "scopes": ["worker:resolve"],
    }


async def test_the_routes_for_workers_are_these(fleet: Fleet) -> None:
    """What the test above leaves out, so that a new one is looked at."""
    allowed = [str(operation) for operation in documented() if Scope.WORKER_RESOLVE in operation.scope]
    assert allowed == [
        "POST /api/organizations/{organization}/resolve",
        "GET /api/organizations/{organization}/changes",
        "POST /api/organizations/{organization}/reports",
    ]
    for operation in (each for each in operations() if str(each) in allowed):
        assert await prepared(fleet.plane, operation) == {}
        for place, expected in (("acme", operation.success), ("core", 404), ("current", 404)):
            url, body = operation.url(organization=place), operation.body()
            answer = await fleet.client.request(operation.method, url, json=body, headers=bearer(fleet.token))
            assert answer.status_code == expected


async def test_a_fleets_token_holds_one_scope_and_names_organizations_that_exist(
    fleet: Fleet, superuser: Superuser, settings: Settings
) -> None:
    access, before = fleet.plane.access, without_refusals(stored_rows(superuser))
    for scope in Scope:
        for scopes in ([scope], [Scope.WORKER_RESOLVE, scope]):
            if set(scopes) != {Scope.WORKER_RESOLVE}:
                with pytest.raises(Invalid):
                    await access.create_fleet_token(OPERATOR, AccessTokenCreate(name="x", scopes=list(scopes)), [])
    with pytest.raises(OrganizationNotFound):
        await access.create_fleet_token(OPERATOR, FLEET, [fleet.ids["acme"], uuid4()])
    sealed = settings.model_copy(update={"keyring_file": settings.keyring_path.with_name("gone.json")})
    async with ControlPlane.open(sealed) as without_key:
        with pytest.raises(KeyUnavailable):
            await without_key.access.create_fleet_token(OPERATOR, FLEET, [fleet.ids["acme"]])
    assert without_refusals(stored_rows(superuser)) == before
    twice = await access.create_fleet_token(OPERATOR, FLEET, [fleet.ids["acme"]] * 3)
    stored = [row for row in without_refusals(stored_rows(superuser))["access_tokens"] if row["id"] == twice.id]
    assert [(row["organizations"], row["organization_id"]) for row in stored] == [([str(fleet.ids["acme"])], None)]


async def test_no_organization_can_make_or_see_one(fleet: Fleet) -> None:
    """It is made on the operator's own machine; what is asked for over the API is a token of one organization."""
    value = await token_for(fleet.plane, *ADMINISTRATOR_SCOPES, organization="acme")
    headers, path = {"Authorization": f"Bearer {value}"}, "/api/organizations/current/tokens"
    wanted = {"name": "x", "scopes": ["worker:resolve"], "organizations": [str(fleet.ids["bolt"])]}
    check_problem(await fleet.client.post(path, json=wanted, headers=headers), 422, "invalid")
    listed = await fleet.client.get(path, headers=headers)
    assert fleet.token.id not in listed.text
    check_problem(await fleet.client.delete(f"{path}/{fleet.token.id}", headers=headers), 404, "token_not_found")
    assert await fleet.key_of("acme") == "sk-acme"
    shown = (await fleet.plane.access.get_platform_tokens()).tokens
    assert [(each.id, each.name, each.scopes, each.organizations) for each in shown] == [
        (fleet.token.id, "fleet", ("worker:resolve",), ("acme", "bolt"))
    ]
    assert fleet.token.value not in repr(shown)


async def test_the_list_is_replaced_as_a_whole_and_takes_effect(fleet: Fleet) -> None:
    assert await fleet.statuses() == {"acme": 200, "bolt": 200, "core": 404}
    steps: list[tuple[list[str], dict[str, int]]] = [
        (["bolt", "core"], {"acme": 404, "bolt": 200, "core": 200}),
        (["acme"], {"acme": 200, "bolt": 404, "core": 404}),
        ([], {"acme": 404, "bolt": 404, "core": 404}),
        (["core", "core"], {"acme": 404, "bolt": 404, "core": 200}),
    ]
    for slugs, expected in steps:
        await fleet.plane.access.set_fleet(fleet.token.id, [fleet.ids[slug] for slug in slugs])
        assert await fleet.statuses() == expected


async def test_the_list_of_what_is_no_live_token_of_a_fleet_is_not_set(fleet: Fleet, superuser: Superuser) -> None:
    access, mine = fleet.plane.access, [fleet.ids["acme"]]
    platform = (await token_for(fleet.plane, Scope.ADMIN_ORGANIZATIONS)).split("_")[1]
    bound = (await token_for(fleet.plane, Scope.WORKER_RESOLVE, organization="acme")).split("_")[1]
    revoked = await access.create_fleet_token(OPERATOR, FLEET, mine)
    await access.revoke_platform_token(revoked.id)
    before = without_refusals(stored_rows(superuser))
    for token_id in (platform, bound, revoked.id, "0" * 12, ""):
        with pytest.raises(TokenNotFound):
            await access.set_fleet(token_id, mine)
    with pytest.raises(OrganizationNotFound):
        await access.set_fleet(fleet.token.id, [fleet.ids["core"], uuid4()])
    assert without_refusals(stored_rows(superuser)) == before


async def test_a_revoked_or_expired_one_is_nobody(fleet: Fleet, superuser: Superuser) -> None:
    expiring = await fleet.plane.access.create_fleet_token(OPERATOR, FLEET, list(fleet.ids.values()))
    assert await fleet.key_of("acme") == "sk-acme"
    superuser.execute("UPDATE access_tokens SET expires_at = now() WHERE id = %s", [expiring.id])
    await fleet.plane.access.revoke_platform_token(fleet.token.id)
    for token in (fleet.token, expiring):
        for named in ("acme", "core", "nowhere", "current"):
            check_problem(await fleet.resolve(named, token), 401, "unauthenticated")
    with pytest.raises(TokenNotFound):
        await fleet.plane.access.revoke_platform_token(fleet.token.id)


async def test_another_process_lets_in_what_was_revoked_or_unlisted_no_longer_than_it_trusts(
    fleet: Fleet, settings: Settings
) -> None:
    trusting = settings.model_copy(update={"token_cache_seconds": 0.4})
    async with ControlPlane.open(trusting) as elsewhere, clients(elsewhere) as client:
        there = Fleet(elsewhere, client, fleet.ids, fleet.token)
        assert await there.statuses() == {"acme": 200, "bolt": 200, "core": 404}
        await fleet.plane.access.set_fleet(fleet.token.id, [fleet.ids["bolt"]])
        await _comes_to(there, {"acme": 404, "bolt": 200, "core": 404})
        await fleet.plane.access.revoke_platform_token(fleet.token.id)
        await _comes_to(there, {"acme": 401, "bolt": 401, "core": 401})


async def _comes_to(fleet: Fleet, expected: dict[str, int]) -> None:
    with anyio.fail_after(5):
        while await fleet.statuses() != expected:  # noqa: ASYNC110 - another process sets no event here
            await anyio.sleep(0.05)


async def test_an_organization_whose_slug_looks_like_an_id_is_found_by_it(
    plane: ControlPlane, superuser: Superuser
) -> None:
    slugs = ("0123456789abcdef0123456789abcdef", "01234567-89ab-4def-8123-456789abcdef")
    ids = {slug: (await settle(plane, f"before-{number}"))[f"before-{number}"] for number, slug in enumerate(slugs)}
    for slug, organization_id in ids.items():  # of a time when such a slug could be taken
        superuser.execute("UPDATE organizations SET slug = %s WHERE id = %s", [slug, organization_id])
    token = await plane.access.create_fleet_token(OPERATOR, FLEET, list(ids.values()))
    async with clients(plane) as client:
        fleet = Fleet(plane, client, ids, token)
        for number, slug in enumerate(slugs):
            assert await fleet.key_of(slug) == f"sk-before-{number}"
            own = await token_for(plane, Scope.LIVEKIT_READ, organization=slug)
            path, headers = f"/api/organizations/{slug}/providers", {"Authorization": f"Bearer {own}"}
            assert (await client.get(path, headers=headers)).status_code == 200


@pytest.mark.drill
@pytest.mark.parametrize("resolves", amounts(400, 2000))
async def test_interleaved_calls_get_each_its_own_organizations_keys_and_are_on_its_record(
    settings: Settings, superuser: Superuser, template: Template, resolves: int
) -> None:
    """One fleet, two organizations, twenty calls at once, with answers and tokens kept for a while."""
    caching = settings.model_copy(update={"token_cache_seconds": 30.0})
    seen: dict[str, str] = {}
    async with ControlPlane.open(caching) as plane, following(plane), clients(plane) as client:
        ids = await settle(plane, "acme", "bolt")
        fleet = Fleet(plane, client, ids, await plane.access.create_fleet_token(OPERATOR, FLEET, list(ids.values())))

        async def calls(number: int) -> None:
            for turn in range(resolves // 20):
                slug = ("acme", "bolt")[(number + turn) % 2]
                answer = await fleet.resolve(slug if turn % 3 else ids[slug])
                found = answer.json()
                assert found["organization"] == {"id": str(ids[slug]), "slug": slug}
                assert found["chains"]["llm"][0]["secrets"] == {"apiKey": f"sk-{slug}"}
                seen[answer.headers["x-request-id"]] = str(ids[slug])

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(calls, number)
    ledger = ledger_of(superuser, template)
    recorded = {
        event.request_id: str(event.organization_id)
        for organization_id in ids.values()
        for event, _, _ in ledger.rows(organization_id)
        if event.action == "secrets.release"
    }
    assert Counter(seen.values()) == {str(each): resolves // 2 for each in ids.values()}
    assert recorded == seen
    assert ledger.is_whole()


# The real numbers, ten times faster: a token is trusted for 5 s, a silent stream is used every 15 s, and 30 s after a
# token was revoked at the latest nothing is given out any more.
SCALE = 10
LIMIT_SECONDS = 30 / SCALE


@pytest.mark.parametrize("where", ["here", "in another process"])
async def test_a_revoked_fleet_gets_no_secret_any_more_and_its_streams_end(where: str, settings: Settings) -> None:
    """S13: under load of a hundred streams, and of workers that ask all the time."""
    quick = {"token_cache_seconds": 5.0 / SCALE, "stream_heartbeat_seconds": 15.0 / SCALE}
    async with serving(settings.model_copy(update=quick)) as server, ControlPlane.open(settings) as elsewhere:
        ids = await settle(server.plane, *(f"o-{number}" for number in range(10)))
        token = await server.plane.access.create_fleet_token(OPERATOR, FLEET, list(ids.values()))
        watch = Watch(server, token)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for number in range(100):
                    group.start_soon(watch.follow, list(ids.values())[number % 10])
                for organization_id in ids.values():
                    group.start_soon(watch.ask, organization_id)
                await until(lambda: server.followers() == 100, 30)
                await until(lambda: watch.answers > 100, 30)
                revoking = server.plane if where == "here" else elsewhere
                await revoking.access.revoke_platform_token(token.id)
                watch.revoked = time.monotonic()
                who = Principal("local:x", "x", "local", ids["o-0"], frozenset())
                for number in range(20):
                    change = ConfigWrite(priority=number)
                    await server.plane.providers.upsert_organization_provider_config(who, "openai", change)
        assert watch.ended == 100
        assert watch.refused == {401: 10}
        assert watch.last_answer <= watch.revoked + LIMIT_SECONDS
        assert watch.last_stream <= watch.revoked + LIMIT_SECONDS
        for organization_id in ids.values():
            path = f"/api/organizations/{organization_id}/resolve"
            assert (await server.client.post(path, json={}, headers=bearer(token))).status_code == 401


@pytest.mark.parametrize("end", ["revoked", "taken off the list"])
async def test_the_end_of_a_fleets_token_is_heard_by_every_process_at_once(end: str, settings: Settings) -> None:
    """With what is otherwise trusted for half a minute, and a stream that would be used as seldom."""
    trusting = {"token_cache_seconds": 30.0, "stream_heartbeat_seconds": 30.0}
    async with serving(settings.model_copy(update=trusting)) as server, ControlPlane.open(settings) as elsewhere:
        ids = await settle(server.plane, "acme", "bolt")
        token = await server.plane.access.create_fleet_token(OPERATOR, FLEET, list(ids.values()))
        path, headers = "/api/organizations/acme/resolve", bearer(token)
        async with server.follow(token.value, organization="acme") as follower:
            await follower.event()
            assert (await server.client.post(path, json={}, headers=headers)).status_code == 200
            if end == "revoked":
                await elsewhere.access.revoke_platform_token(token.id)
            else:
                await elsewhere.access.set_fleet(token.id, [ids["bolt"]])
            assert await follower.event(seconds=10) is None
        refused = await server.client.post(path, json={}, headers=headers)
        assert refused.status_code == (401 if end == "revoked" else 404)


class Watch:
    """Streams and questions of one token, and when the last of them was served."""

    def __init__(self, server: Served, token: CreatedAccessToken) -> None:
        """Use this token at this server."""
        self._server = server
        self._token = token
        self.revoked = float("inf")
        self.answers = 0
        self.ended = 0
        self.refused: Counter[int] = Counter()
        self.last_answer = self.last_stream = 0.0

    async def follow(self, organization_id: UUID) -> None:
        """Follow until the stream ends."""
        async with self._server.follow(self._token.value, organization=str(organization_id)) as follower:
            while await follower.event(30) is not None:
                pass
        self.ended += 1
        self.last_stream = time.monotonic()

    async def ask(self, organization_id: UUID) -> None:
        """Ask for secrets until they are refused."""
        path = f"/api/organizations/{organization_id}/resolve"
        while True:
            answer = await self._server.client.post(path, json={}, headers=bearer(self._token))
            if answer.status_code != 200:
                self.refused[answer.status_code] += 1
                return
            self.answers += 1
            self.last_answer = time.monotonic()


async def test_a_stream_of_an_organization_that_is_taken_off_the_list_ends_and_others_go_on(
    settings: Settings,
) -> None:
    quick = settings.model_copy(update={"stream_heartbeat_seconds": 0.2})
    async with serving(quick) as server:
        ids = await settle(server.plane, "acme", "bolt")
        token = await server.plane.access.create_fleet_token(OPERATOR, FLEET, list(ids.values()))
        async with (
            server.follow(token.value, organization="acme") as acme,
            server.follow(token.value, organization=str(ids["bolt"])) as bolt,
        ):
            first = [await each.event() for each in (acme, bolt)]
            assert [event.id.partition(".")[0] for event in first if event and event.id] == [
                (await server.plane.workers.position(local_administrator(ids[slug], "x"))).epoch
                for slug in ("acme", "bolt")
            ]
            await server.plane.access.set_fleet(token.id, [ids["bolt"]])
            assert await acme.event(seconds=5) is None
            await bolt.beats(3)
        path = "/api/organizations/acme/changes"
        check_problem(await server.client.get(path, headers=bearer(token)), 404, "organization_not_found")

"""The stream of changes, from a real server: who may follow, what is said, when it ends, and that nothing is missed."""

from __future__ import annotations

import gc
import json
import random
import re
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import httpx
import psycopg
import pytest

from tests.conftest import amounts, token_for, worker_of
from tests.served import served
from tests.test_changes import until
from tests.test_crash import served as served_by_a_process
from tests.test_crash import token as token_of_a_process
from tests.test_door import by_policy, documented, recognised, shown_to_a_caller, unrecognised
from voxplane.errors import Unauthenticated
from voxplane.schemas import (
    ConfigWrite,
    OrderWrite,
    OrganizationCreate,
    ProviderReport,
    ProviderType,
    ReportsWrite,
    ResolutionRequest,
    SecretsWrite,
)
from voxplane.server import changes as changes_module
from voxplane.server.auth import Principal, Scope
from voxplane.server.changes import Changes, Subscription
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.position import Position
from voxplane.server.settings import Settings
from voxplane.server.stream import events

Superuser = psycopg.Connection[tuple[object, ...]]
HEARTBEAT = 0.2
PATH = "/api/organizations/{}/changes"
PIPER = "/api/organizations/current/providers/piper"


@dataclass
class Event:
    """One event as it came over the line."""

    kind: str
    id: str | None
    data: dict[str, Any]

    @property
    def revision(self) -> int:
        """The revision that it names."""
        return self.data["revision"]


@dataclass
class Follower:
    """Reads one open stream, event by event."""

    response: httpx.Response
    raw: list[str] = field(default_factory=list[str])
    heartbeats: int = 0

    def __post_init__(self) -> None:
        self._lines = self.response.aiter_lines()

    async def next(self, seconds: float = 10) -> Event | None:
        """Wait for the next event, whichever it is; None when the stream ends."""
        said: dict[str, str] = {}
        with anyio.fail_after(seconds):
            async for line in self._lines:
                self.raw.append(line)
                name, _, value = line.partition(": ")
                if name:
                    said[name] = value
                elif "data" in said:
                    return Event(said["event"], said.get("id"), json.loads(said["data"]))
        return None

    async def event(self, seconds: float = 10) -> Event | None:
        """Wait for the next event that says something; heartbeats are counted and passed over."""
        with anyio.fail_after(seconds):
            while (event := await self.next(seconds)) is not None and event.kind == "heartbeat":
                assert (event.id, event.data) == (None, {})
                self.heartbeats += 1
        return event

    async def reaches(self, revision: int, seconds: float = 10) -> list[Event]:
        """Read until the organization is said to be at a revision; return all that was said up to there."""
        seen: list[Event] = []
        with anyio.fail_after(seconds):
            while not seen or seen[-1].data.get("revision", 0) < revision:
                event = await self.event(seconds)
                assert event is not None, "the stream ended"
                seen.append(event)
        return seen

    async def beats(self, number: int) -> None:
        """Wait for so many heartbeats, and for nothing else."""
        for _ in range(number):
            assert await self.next() == Event("heartbeat", None, {})


@dataclass
class Served:
    """A server on a port of its own, and a client of it."""

    plane: ControlPlane
    address: str
    client: httpx.AsyncClient
    organization_id: UUID

    @property
    def who(self) -> Principal:
        """The default organization's administrator, without HTTP."""
        return local_administrator(self.organization_id, "test")

    async def token(self, *scopes: str, organization: str = "default") -> str:
        """Make a token; without scopes, one that may follow."""
        return await token_for(self.plane, *(scopes or (Scope.WORKER_RESOLVE,)), organization=organization)

    async def at(self) -> tuple[str, int]:
        """Return epoch and revision of the default organization."""
        return await self.plane.workers.position(self.who)

    async def change(self, number: int, key: str = "openai") -> int:
        """Change something; return the revision that this led to."""
        change = ConfigWrite(config={"temperature": number / 1000})
        shown = await self.plane.providers.upsert_organization_provider_config(self.who, key, change)
        return shown.revision

    @asynccontextmanager
    async def follow(
        self, token: str, last_event_id: str | None = None, organization: str = "current"
    ) -> AsyncGenerator[Follower]:
        """Open a stream that is let in."""
        headers = {"Authorization": f"Bearer {token}"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        async with self.client.stream("GET", PATH.format(organization), headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            follower = Follower(response)  # a name for it, lest it be let go of while it is not read
            yield follower

    @property
    def subscriptions(self) -> dict[UUID, set[Subscription]]:
        """Who follows anything here, by organization."""
        return self.plane.changes._subscriptions  # pyright: ignore[reportPrivateUsage] - what is let go of is seen here only

    def followers(self) -> int:
        """Count who follows anything here."""
        return sum(len(each) for each in self.subscriptions.values())

    def untold(self) -> int | None:
        """Return the revision that the only follower is still to be told."""
        ((subscription,),) = self.subscriptions.values()
        return subscription._news.revision  # pyright: ignore[reportPrivateUsage] - as above


@asynccontextmanager
async def serving(settings: Settings) -> AsyncGenerator[Served]:
    """Open a control plane and serve it."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with (
        ControlPlane.open(settings) as plane,
        served(plane) as address,
        httpx.AsyncClient(base_url=address, timeout=None, limits=limits) as client,  # noqa: S113 - a stream has no end
    ):
        yield Served(plane, address, client, (await plane.access.find_organization("default")).id)


@pytest.fixture
def brisk(settings: Settings) -> Settings:
    """As in production, with shorter waits."""
    return settings.model_copy(update={"token_cache_seconds": 5.0, "stream_heartbeat_seconds": HEARTBEAT})


@pytest.fixture
async def server(brisk: Settings) -> AsyncIterator[Served]:
    async with serving(brisk) as found:
        yield found


async def test_a_stream_answers_every_caller_by_its_policy(settings: Settings, superuser: Superuser) -> None:
    """The same callers at the same places as every other route, see tests/test_door.py."""
    (operation,) = [each for each in documented() if each.is_a_stream]
    operator = local_administrator(None, "test")
    async with serving(settings) as server:
        made = await server.plane.access.create_organization(operator, OrganizationCreate(slug="elsewhere", name="E"))
        callers = await unrecognised(server.plane, superuser) | await recognised(server.plane)
        del callers["a blank"]  # no HTTP client sends a header that ends in one
        own = {"current": "current", "own id": str(server.organization_id), "own slug": "default"}
        foreign = {"foreign id": str(made.id), "foreign slug": "elsewhere"}
        nowhere = {"no organization's id": str(uuid4()), "no organization's slug": "nowhere"}
        wrong: dict[str, int] = {}
        refusals: dict[tuple[str, str], object] = {}
        statuses: set[int] = set()
        for place, named in (own | foreign | nowhere).items():
            for name, who in callers.items():
                async with server.client.stream("GET", PATH.format(named), headers=who.headers) as answer:
                    statuses.add(answer.status_code)
                    if answer.status_code != by_policy(operation, who, place):
                        wrong[f"{name} at {place}"] = answer.status_code
                    if answer.status_code == 404:
                        await answer.aread()
                        status, body, headers = shown_to_a_caller(answer)
                        headers.pop("date")
                        refusals[name, place] = (status, body, headers)
        assert wrong == {}
        assert statuses == {200, 401, 403, 404}
        for name in ("worker:resolve", "livekit:read"):
            assert refusals[name, "foreign id"] == refusals[name, "no organization's id"]
            assert refusals[name, "foreign slug"] == refusals[name, "no organization's slug"]
        await until(lambda: server.followers() == 0)


async def test_a_refusal_names_both_scopes_and_a_misspelt_parameter_is_refused(server: Served) -> None:
    headers = {"Authorization": f"Bearer {await server.token(Scope.AUDIT_READ)}"}
    refused = await server.client.get(PATH.format("current"), headers=headers)
    assert refused.status_code == 403
    assert refused.json()["detail"] == "This needs the scope livekit:read or worker:resolve."
    headers = {"Authorization": f"Bearer {await server.token()}"}
    refused = await server.client.get(f"{PATH.format('current')}?lastEventId=1", headers=headers)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "unknown_parameter")
    assert server.followers() == 0


async def test_every_kind_of_change_is_told_by_revision_and_provider_and_nothing_else(server: Served) -> None:
    epoch, revision = await server.at()
    mark = f"mark{uuid4().hex}"
    providers, who = server.plane.providers, server.who
    async with server.follow(await server.token()) as follower:
        headers = follower.response.headers
        assert headers["content-type"].partition(";")[0] == "text/event-stream"
        assert headers["cache-control"] == "no-store"
        assert headers["x-accel-buffering"] == "no"
        assert await follower.event() == Event("change", f"{epoch}.{revision}", {"revision": revision, "keys": None})
        assert follower.raw[0] == "retry: 1000"
        steps: list[tuple[Callable[[], Any], list[str]]] = [
            (
                lambda: providers.upsert_organization_provider_config(
                    who, "openai", ConfigWrite(config={"model": mark})
                ),
                ["openai"],
            ),
            (
                lambda: providers.update_provider_secrets(
                    who, "groq", SecretsWrite(secrets={"apiKey": f"sk-{mark}"}, label=mark)
                ),
                ["groq"],
            ),
            (
                lambda: providers.order_organization_providers(
                    who, ProviderType.TTS, OrderWrite(order=["cartesia", "piper"])
                ),
                ["cartesia", "piper"],
            ),
            (lambda: providers.delete_organization_provider_config(who, "openai"), ["openai"]),
            (lambda: providers.remove_provider_secrets(who, "groq"), ["groq"]),
        ]
        for number, (step, keys) in enumerate(steps, start=revision + 1):
            await step()
            told = await follower.event()
            assert told == Event("change", f"{epoch}.{number}", {"revision": number, "keys": keys})
        # What is refused, or changes nothing, is not told.
        await providers.delete_organization_provider_config(who, "openai")
        await follower.beats(2)
    assert mark not in "\n".join(follower.raw)


async def test_who_is_up_to_date_hears_only_that_it_is_still_there(server: Served) -> None:
    epoch, revision = await server.at()
    async with server.follow(await server.token(), f"{epoch}.{revision}") as follower:
        await follower.beats(3)
        assert follower.raw == ["retry: 1000", "", *["event: heartbeat", "data: {}", ""] * 3]
        revision = await server.change(1)
        assert await follower.event() == Event(
            "change", f"{epoch}.{revision}", {"revision": revision, "keys": ["openai"]}
        )


async def test_who_is_behind_is_told_once_that_anything_may_have_changed(server: Served) -> None:
    epoch, before = await server.at()
    for number in range(5):
        await server.change(number)
    token = await server.token()
    for behind in (f"{epoch}.{before}", f"{epoch}.{before + 4}", f"{epoch}.0"):
        async with server.follow(token, behind) as follower:
            expected = Event("change", f"{epoch}.{before + 5}", {"revision": before + 5, "keys": None})
            assert await follower.event() == expected
            await follower.beats(2)


async def test_a_position_that_was_never_given_out_is_a_reset(server: Served) -> None:
    epoch, revision = await server.at()
    canary = f"sk-{uuid4().hex}"
    strange = [
        f"{epoch}.{revision + 1}",
        f"{epoch}.{10**18}",
        f"{epoch}.{'9' * 5000}",
        f"{epoch}.-1",
        f"{epoch}.1e3",
        f"{epoch}. 1",
        f"{epoch}.0{revision}",
        f"{epoch}.",
        epoch,
        f".{revision}",
        f"{uuid4()}.{revision}",
        f"{server.organization_id}.{revision}",
        "",
        "x",
        canary,
        "' OR 1=1 --",
    ]
    token = await server.token()
    for last in strange:
        async with server.follow(token, last) as follower:
            told = await follower.event()
            assert told == Event("reset", f"{epoch}.{revision}", {"revision": revision, "keys": None}), last
            assert canary not in "".join(follower.raw)


async def test_a_silent_stream_is_used_now_and_then_whatever_is_looked_at_meanwhile(
    brisk: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking for what was not heard must not take the place of the comment that keeps the line open."""
    monkeypatch.setattr(changes_module, "_LOOK_SECONDS", HEARTBEAT / 4)
    async with serving(brisk) as server:
        epoch, revision = await server.at()
        async with server.follow(await server.token(), f"{epoch}.{revision}") as follower:
            await follower.beats(4)


async def test_a_revoked_token_ends_its_streams_at_once_and_no_others(brisk: Settings) -> None:
    """Although this process trusts what it knows for five seconds, and looks at a silent stream every fifteen."""
    patient = brisk.model_copy(update={"stream_heartbeat_seconds": 15.0})
    async with serving(patient) as server, server.follow(await server.token()) as remaining:
        await remaining.event()
        for number in range(25):
            token = await server.token()
            async with server.follow(token) as follower:
                await follower.event()
                await server.plane.access.revoke_token(server.who, token.split("_")[1])
                assert await follower.event(seconds=4) is None, number
        revision = await server.change(1)
        assert (await remaining.reaches(revision))[-1].kind == "change"


async def test_a_token_that_another_process_revokes_ends_its_streams_at_once_and_no_others(brisk: Settings) -> None:
    """At a terminal, say, a moment after the worker was recognised, and far from the next look at its stream."""
    patient = brisk.model_copy(update={"token_cache_seconds": 30.0, "stream_heartbeat_seconds": 15.0})
    async with serving(patient) as server, ControlPlane.open(patient) as elsewhere:
        token = await server.token()
        async with server.follow(await server.token()) as remaining, server.follow(token) as follower:
            await remaining.event()
            await follower.event()
            await elsewhere.access.revoke_token(server.who, token.split("_")[1])
            assert await follower.event(seconds=4) is None
            revision = await server.change(1)
            assert (await remaining.reaches(revision))[-1].kind == "change"
        again = await server.client.get(PATH.format("current"), headers={"Authorization": f"Bearer {token}"})
        assert again.status_code == 401


async def test_a_token_that_is_revoked_while_its_follower_is_let_in_ends_the_stream_all_the_same() -> None:
    """It was read a moment before, and what wakes the follower comes while that answer is on its way."""
    looked = 0

    async def let_in() -> None:
        nonlocal looked
        looked += 1
        if looked == 2:
            raise Unauthenticated
        changes.wake(organization)

    changes, organization = Changes(), uuid4()
    with changes.subscribe(organization) as subscription:
        at = Position("a" * 32, 1)
        changes.wake(organization)
        with anyio.fail_after(5):
            said = [each async for each in events(subscription, at, str(at), let_in, 60)]
    assert (looked, len(said)) == (2, 2)


async def test_a_token_that_expires_ends_its_stream(server: Served, superuser: Superuser) -> None:
    token = await server.token()
    statement = "UPDATE access_tokens SET expires_at = now() + interval '1 second' WHERE id = %s"
    superuser.execute(statement, [token.split("_")[1]])
    async with server.follow(token) as follower:
        await follower.event()
        assert await follower.event(seconds=5) is None
        assert follower.heartbeats >= 1


async def test_health_is_told_to_the_organization_and_to_no_other(server: Served) -> None:
    operator = local_administrator(None, "test")
    other = await server.plane.access.create_organization(operator, OrganizationCreate(slug="other", name="Other"))
    said = ReportsWrite(
        at=str(await server.plane.workers.position(worker_of(server.organization_id))),
        reports=[
            ProviderReport(provider="openai", outcome="failed", kind="quota"),
            ProviderReport(provider="deepgram", outcome="recovered"),
        ],
    )
    async with (
        server.follow(await server.token()) as follower,
        server.follow(await server.token(organization="other")) as stranger,
    ):
        first, theirs = await follower.event(), await stranger.event()
        assert first is not None
        assert theirs is not None
        await server.plane.workers.report(worker_of(server.organization_id), said)
        told = await follower.event()
        assert told == Event("health", None, {"keys": ["deepgram", "openai"]})
        await stranger.beats(3)
        # It is no change: whoever comes back with the position from before is up to date.
        async with server.follow(await server.token(), first.id) as again:
            await again.beats(2)
    assert other.id != server.organization_id


async def test_more_followers_than_may_be_are_refused_until_one_leaves(brisk: Settings) -> None:
    async with serving(brisk.model_copy(update={"organization_streams": 3})) as server, AsyncExitStack() as stack:
        operator = local_administrator(None, "test")
        await server.plane.access.create_organization(operator, OrganizationCreate(slug="other", name="Other"))
        token, headers = await server.token(), {"Authorization": f"Bearer {await server.token()}"}
        for _ in range(2):
            await stack.enter_async_context(server.follow(token))
        async with server.follow(token):
            refused = await server.client.get(PATH.format("current"), headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
            assert refused.json()["detail"] == "An organization is followed by at most 3 at a time."
            async with server.follow(await server.token(organization="other")) as elsewhere:
                assert (await elsewhere.event()) is not None
            await until(lambda: server.followers() == 3)
        await until(lambda: server.followers() == 2)
        async with server.follow(token) as follower:
            assert (await follower.event()) is not None


async def test_whoever_leaves_is_let_go_of(server: Served) -> None:
    gc.collect()
    before = sum(isinstance(each, Subscription) for each in gc.get_objects())
    token = await server.token()
    for _ in range(5):
        async with AsyncExitStack() as stack:
            for _ in range(20):
                follower = await stack.enter_async_context(server.follow(token))
                await follower.event()
            assert server.followers() == 20
        await until(lambda: server.followers() == 0)
    assert server.subscriptions == {}
    await server.change(1)
    gc.collect()
    assert sum(isinstance(each, Subscription) for each in gc.get_objects()) <= before + 1


async def test_who_comes_back_at_once_gets_a_stream_and_not_the_answer_from_before(server: Served) -> None:
    """An answer is given again for some seconds; a stream that was left is not an answer."""
    epoch, revision = await server.at()
    token = await server.token()
    for _ in range(5):
        async with server.follow(token, f"{epoch}.{revision}") as follower:
            assert follower.response.headers["x-request-id"]
        await until(lambda: server.followers() == 0)
        async with server.follow(token) as follower:
            assert (await follower.reaches(revision))[0].kind == "change"


async def test_a_slow_reader_gets_where_it_stands_and_never_goes_back(server: Served) -> None:
    """More is said than the line holds; what was not sent yet is replaced by what is newer."""
    epoch, revision = await server.at()
    hear = server.plane.changes._hear  # pyright: ignore[reportPrivateUsage] - faster than PostgreSQL can tell it
    keys, last = ",".join(f"provider-{number}" for number in range(500)), 4000
    async with server.follow(await server.token(), f"{epoch}.{revision}") as slow:
        await slow.beats(1)
        for number in range(revision + 1, last + 1):
            hear(f"{server.organization_id}:{number}:{keys}")
            await anyio.lowlevel.checkpoint()
        seen = await slow.reaches(last, seconds=30)
    revisions = [event.revision for event in seen]
    assert revisions[-1] == last
    assert all(earlier < later for earlier, later in pairwise(revisions))
    assert len(revisions) < last - revision


async def test_what_anybody_may_say_on_the_line_ends_neither_the_feed_nor_a_stream(
    server: Served, superuser: Superuser
) -> None:
    """Any role of the database can send a notification, and of any text."""
    for number in range(3):
        await server.change(number)
    epoch, revision = await server.at()
    own = server.organization_id
    async with server.follow(await server.token(), f"{epoch}.{revision}") as follower:
        await follower.beats(1)
        hostile = ["", ":", "::", f"{own}", f"{own}:", f"{own}:x:y", f"{own}:-5:", f"{own}:{'9' * 7000}:", f"{own}:²:"]
        hostile += [f"{own}:health:", f"{own}:1:openai", f"{own}:0:", "x" * 7999, f"{uuid4()}:7:openai"]
        for payload in hostile:
            superuser.execute("SELECT pg_notify('voxplane', %s)", [payload])
        await follower.beats(len(hostile))
        revision = await server.change(1)
        told = await follower.reaches(revision)
        assert [event.revision for event in told] == [revision]
        assert server.plane.changes.is_live


@dataclass
class Crowd:
    """Many followers of many organizations, each of whom notes what it was told."""

    server: Served
    organizations: dict[UUID, tuple[str, str]]
    """Their epochs, and the one provider of each that is changed."""
    heard: dict[UUID, list[list[Event]]] = field(default_factory=dict[UUID, list[list[Event]]])
    ended: int = 0

    async def read(self, organization_id: UUID, token: str, last: str | None, ready: Callable[[], None]) -> None:
        """Follow one organization until the stream ends. Say so when the server has answered."""
        told: list[Event] = []
        self.heard.setdefault(organization_id, []).append(told)
        async with self.server.follow(token, last) as follower:
            ready()
            while (event := await follower.event(60)) is not None:
                told.append(event)
        self.ended += 1

    def foreign(self) -> list[Event]:
        """Return what somebody was told of another organization."""
        return [
            event
            for organization_id, all_told in self.heard.items()
            for told in all_told
            for event in told
            if not self._is_own(event, *self.organizations[organization_id])
        ]

    def _is_own(self, event: Event, epoch: str, provider: str) -> bool:
        if event.id is None:
            return event.kind == "bye"
        return event.id.startswith(f"{epoch}.") and event.data["keys"] in (None, [provider])

    def backward(self) -> int:
        """Count who was sent back."""
        return sum(
            any(later.revision <= earlier.revision for earlier, later in pairwise(told))
            for all_told in self.heard.values()
            for told in ([event for event in each if event.id] for each in all_told)
        )


@pytest.mark.drill
@pytest.mark.parametrize("each", amounts(5, 50))
async def test_the_streams_of_twenty_organizations_hear_nothing_of_each_other(brisk: Settings, each: int) -> None:
    """S5: replayed, foreign, future and other-epoch positions; each hears of its own organization, to the end."""
    patient = brisk.model_copy(update={"stream_heartbeat_seconds": 15.0})
    dice = random.Random(random.getrandbits(64))  # noqa: S311 - not for keys; seeded by pytest-randomly
    organizations = 20
    async with serving(patient) as server:
        plane, operator = server.plane, local_administrator(None, "test")
        found: dict[UUID, tuple[str, str]] = {}
        providers = [provider.key for provider in plane.registry.get_all_providers() if provider.key != "elevenlabs"]
        tokens: dict[UUID, list[str]] = {}
        for number in range(organizations):
            made = await plane.access.create_organization(operator, OrganizationCreate(slug=f"o-{number}", name="One"))
            epoch = (await plane.workers.position(worker_of(made.id))).epoch
            found[made.id] = (epoch, providers[number % len(providers)])
            tokens[made.id] = [await server.token(organization=made.slug) for _ in range(5)]
        crowd, positions = Crowd(server, found), [f"{epoch}.{at}" for epoch, _ in found.values() for at in (0, 1, 99)]
        started: list[None] = []
        async with anyio.create_task_group() as group:
            for batch, organization_id in enumerate(found, start=1):
                for number in range(each):
                    last = dice.choice([None, "x", *dice.sample(positions, 3)])
                    token = tokens[organization_id][number % 5]
                    group.start_soon(crowd.read, organization_id, token, last, lambda: started.append(None))
                await until(lambda wanted=batch * each: len(started) == wanted, 30)
            final = await _changed_at_random(crowd, dice, times=200)
            await until(lambda: _arrived(crowd, final), 60)
            plane.changes.end()
        assert crowd.ended == organizations * each
        assert crowd.foreign() == []
        assert crowd.backward() == 0
        last_words = [told[-1].kind for all_told in crowd.heard.values() for told in all_told]
        assert last_words == ["bye"] * (organizations * each)


async def _changed_at_random(crowd: Crowd, dice: random.Random, *, times: int) -> dict[UUID, int]:
    """Write to each organization, and then to any; return the revision that each is at in the end."""
    final: dict[UUID, int] = {}
    organizations = list(crowd.organizations)
    for number in range(times):
        organization_id = organizations[number] if number < len(organizations) else dice.choice(organizations)
        who, change = local_administrator(organization_id, "test"), ConfigWrite(priority=number + 1)
        provider = crowd.organizations[organization_id][1]
        shown = await crowd.server.plane.providers.upsert_organization_provider_config(who, provider, change)
        final[organization_id] = shown.revision
    return final


def _arrived(crowd: Crowd, final: dict[UUID, int]) -> bool:
    return all(
        told and told[-1].data.get("revision", 0) == revision
        for organization_id, revision in final.items()
        for told in crowd.heard[organization_id]
    )


@pytest.mark.drill
@pytest.mark.timeout(300)
@pytest.mark.parametrize("batches", amounts(2, 20))
async def test_many_followers_of_one_organization_all_hear_of_a_change_and_none_is_dropped(
    batches: int, brisk: Settings
) -> None:
    """Their tokens are looked at again all at once, with ten connections to do it."""
    patient = brisk.model_copy(update={"stream_heartbeat_seconds": 15.0, "token_cache_seconds": 0.0})
    async with serving(patient) as server:
        tokens = [await server.token() for _ in range(40)]
        crowd = Crowd(server, {server.organization_id: ((await server.at())[0], "openai")})
        started: list[None] = []
        async with anyio.create_task_group() as group:
            for batch in range(batches):
                for number in range(50):
                    token = tokens[number % 40]
                    group.start_soon(crowd.read, server.organization_id, token, None, lambda: started.append(None))
                await until(lambda wanted=50 * (batch + 1): len(started) == wanted, 30)
            final = {server.organization_id: await server.change(1)}
            await until(lambda: crowd.ended > 0 or _arrived(crowd, final), 60)
            assert crowd.ended == 0
            server.plane.changes.end()
        assert crowd.backward() == 0


async def test_while_nobody_can_tell_whether_a_follower_is_let_in_nothing_is_said_and_nothing_is_lost(
    brisk: Settings,
) -> None:
    """The one connection to the database is busy when the change comes."""
    busy = {"pool_size": 1, "pool_wait_seconds": 0.05, "token_cache_seconds": 0.0}
    async with (
        serving(brisk.model_copy(update=busy)) as server,
        ControlPlane.open(brisk) as elsewhere,
        server.follow(await server.token()) as follower,
    ):
        await follower.event()
        async with server.plane.database.transaction():
            change = ConfigWrite(priority=1)
            shown = await elsewhere.providers.upsert_organization_provider_config(server.who, "openai", change)
            await until(lambda: server.untold() == shown.revision)
            for _ in range(3):
                assert (await server.client.get("/readyz")).status_code == 503
            assert server.untold() == shown.revision
        assert [event.revision for event in await follower.reaches(shown.revision)] == [shown.revision]


def _swallow(_self: Changes, _payload: str) -> None:
    """Hear nothing."""


async def test_without_any_notification_a_change_is_found_by_looking(
    brisk: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D2: nothing is missed, and what a worker then asks for is the new state and not the one kept in memory."""
    monkeypatch.setattr(changes_module, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(Changes, "_hear", _swallow)
    async with serving(brisk) as server, ControlPlane.open(brisk) as elsewhere:
        worker = worker_of(server.organization_id)
        resolution = await server.plane.workers.resolve(worker, ResolutionRequest())
        assert resolution is not None
        reader = {"Authorization": f"Bearer {await server.token(Scope.LIVEKIT_READ)}"}
        async with server.follow(await server.token()) as follower:
            assert (await follower.event()) is not None
            for number in range(20):
                change = ConfigWrite(priority=number + 1)
                shown = await elsewhere.providers.upsert_organization_provider_config(server.who, "piper", change)
                told = (await follower.reaches(shown.revision))[-1]
                assert (told.revision, told.data["keys"]) == (shown.revision, None)
                have = ResolutionRequest(have=resolution.at)
                resolution = await server.plane.workers.resolve(worker, have)
                assert resolution is not None, "not modified"
                assert resolution.at == told.id
                assert resolution.chains.tts[0].priority == number + 1
                # Nor is an answer given again from before it was found.
                shown = (await server.client.get(PIPER, headers=reader)).json()
                assert shown["priority"] == number + 1


async def test_who_comes_from_a_process_that_heard_more_is_not_sent_back(
    brisk: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Changes, "_hear", _swallow)
    async with serving(brisk) as server, ControlPlane.open(brisk) as elsewhere:
        token = await server.token()
        async with server.follow(token) as follower:
            assert await follower.event() is not None
        change = ConfigWrite(priority=1)
        shown = await elsewhere.providers.upsert_organization_provider_config(server.who, "openai", change)
        epoch, revision = await server.at()
        assert revision < shown.revision  # it has not heard
        async with server.follow(token, f"{epoch}.{shown.revision}") as follower:
            await follower.beats(2)


# What the listening line said last: that it listens, or whether anybody is there.
LISTENERS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND (query LIKE 'LISTEN%' OR query = 'SELECT')
"""


@pytest.mark.drill
@pytest.mark.parametrize("times", amounts(10, 50))
async def test_a_line_that_is_cut_again_and_again_loses_no_revision(
    brisk: Settings, superuser: Superuser, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """D3: another process writes all the time while the line is cut."""
    monkeypatch.setattr(changes_module, "_RETRY_SECONDS", 0.01)
    async with serving(brisk) as server, ControlPlane.open(brisk) as elsewhere:
        async with server.follow(await server.token()) as follower:
            first = await follower.event()
            assert first is not None
            revisions, written, stop = [first.revision], list[int](), anyio.Event()
            async with anyio.create_task_group() as group:
                group.start_soon(_write_until, elsewhere, server.who, stop, written)
                for _ in range(times):
                    await until(lambda: superuser.execute(LISTENERS).fetchone() != (0,))
                    # What was written without a line has to be found once there is one again.
                    before = len(written)
                    await until(lambda before=before: len(written) > before)
                    revisions += [event.revision for event in await follower.reaches(written[-1])]
                stop.set()
            if revisions[-1] < written[-1]:
                revisions += [event.revision for event in await follower.reaches(written[-1])]
        assert revisions[-1] == written[-1] == (await server.at())[1]
        assert all(earlier < later for earlier, later in pairwise(revisions))
        resolution = await server.plane.workers.resolve(worker_of(server.organization_id), ResolutionRequest())
        assert resolution is not None
        assert resolution.at == f"{(await server.at())[0]}.{written[-1]}"


async def test_what_is_written_while_there_is_no_line_is_found_once_there_is_one(
    brisk: Settings, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: nothing is written afterwards that could tell of it."""
    monkeypatch.setattr(changes_module, "_RETRY_SECONDS", 0.2)
    async with (
        serving(brisk) as server,
        ControlPlane.open(brisk) as elsewhere,
        server.follow(await server.token()) as follower,
    ):
        assert await follower.event() is not None
        for number in range(1, 11):
            await until(lambda: superuser.execute(LISTENERS).fetchone() != (0,))
            await until(lambda: not server.plane.changes.is_live)
            change = ConfigWrite(priority=number)
            shown = await elsewhere.providers.upsert_organization_provider_config(server.who, "openai", change)
            told = (await follower.reaches(shown.revision))[-1]
            assert (told.revision, told.data["keys"]) == (shown.revision, None)


async def _write_until(plane: ControlPlane, who: Principal, stop: anyio.Event, written: list[int]) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        change = ConfigWrite(config={"temperature": number % 2000 / 1000})
        shown = await plane.providers.upsert_organization_provider_config(who, "openai", change)
        written.append(shown.revision)


async def test_an_organization_that_was_put_back_is_a_reset(
    brisk: Settings, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restored database is at another epoch, and may be at a lower revision; no notification says so."""
    monkeypatch.setattr(changes_module, "_LOOK_SECONDS", 0.05)
    async with serving(brisk) as server:
        for number in range(5):
            await server.change(number)
        worker, token = worker_of(server.organization_id), await server.token()
        assert await server.plane.workers.resolve(worker, ResolutionRequest()) is not None
        async with server.follow(token) as follower:
            before = await follower.event()
            assert before is not None
            superuser.execute("UPDATE organizations SET epoch = gen_random_uuid(), revision = 3")
            told = await follower.event()
            if told is None:  # ended, to be opened again
                async with server.follow(token, before.id) as again:
                    told = await again.event()
        ((life,),) = superuser.execute("SELECT epoch::text FROM organizations").fetchall()
        epoch = f"{life}~{server.plane.registry.digest}"
        assert told == Event("reset", f"{epoch}.3", {"revision": 3, "keys": None})
        resolution = await server.plane.workers.resolve(worker, ResolutionRequest(have=before.id))
        assert resolution is not None
        assert resolution.at == f"{epoch}.3"


async def test_who_comes_while_the_process_stops_is_told_to_go_elsewhere(server: Served) -> None:
    token = await server.token()
    async with server.follow(token) as follower:
        await follower.event()
        server.plane.changes.end()
        assert await follower.event() == Event("bye", None, {})
        assert await follower.event() is None
    async with server.follow(token) as late:
        kinds = [event.kind for event in (await late.event(), await late.event()) if event]
        assert kinds[-1] == "bye"


def test_a_server_with_open_streams_stops_promptly_and_says_bye(tmp_path: Path) -> None:
    """D10 in small: twenty streams, and the process is gone long before the time that requests have to finish."""
    with served_by_a_process(tmp_path) as (process, address):
        value = token_of_a_process(tmp_path)
        host, _, port = address.removeprefix("http://").partition(":")
        lines: list[socket.socket] = []
        request = f"GET {PATH.format('current')} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {value}\r\n\r\n"
        for _ in range(20):
            line = socket.create_connection((host, int(port)), timeout=10)
            line.sendall(request.encode())
            assert line.recv(65536).startswith(b"HTTP/1.1 200 ")
            lines.append(line)
        process.send_signal(signal.SIGTERM)
        said = [_to_the_end(line) for line in lines]
        assert process.wait(timeout=10) == 0
    assert [b"event: bye" in each for each in said] == [True] * 20
    assert all(re.search(rb"event: bye\ndata: \{\}\n\n\r\n0\r\n\r\n$", each) for each in said)


def _to_the_end(line: socket.socket) -> bytes:
    with line:
        said = b""
        while part := line.recv(65536):
            said += part
    return said

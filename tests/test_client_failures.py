"""The worker's client where something is wrong: with the control plane, the way to it, the disk, or its own end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import anyio
import psycopg
import pytest
from aiohttp import ClientResponse, ClientSession, web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import Field
from typing_extensions import override

from tests.served import served
from tests.test_changes import until
from tests.test_client import Clock, Service, files, token, url
from voxplane import Client, channel
from voxplane.agent import client_for
from voxplane.agent_settings import AgentSettings
from voxplane.client import FIRST_RETRY_SECONDS, MAX_STALE, RETRY_AT_MOST_SECONDS, pause_seconds
from voxplane.errors import (
    ConfigurationError,
    FieldError,
    Invalid,
    OrganizationNotFound,
    Unauthenticated,
    Unreachable,
)
from voxplane.provider import UI
from voxplane.providers.openai import OpenAIConfig
from voxplane.registry import ProviderRegistry
from voxplane.reports import Reports
from voxplane.schemas import (
    MAX_REPORTS,
    AccessTokenCreate,
    ConfigWrite,
    OrganizationCreate,
    ProviderReport,
    SecretsWrite,
)
from voxplane.server.auth import Principal, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.settings import Settings
from voxplane.snapshot import SnapshotFile

__all__ = ["token", "url"]  # fixtures that pytest finds by their names


Instead = Callable[[web.Request, int], web.Response | None]
_OF_ONE_CONNECTION = {"Host", "Connection", "Content-Length", "Transfer-Encoding"}


class Way:
    """The way to the control plane, over a gateway that sees what is asked and may answer instead."""

    def __init__(self, instead: Instead = lambda _request, _number: None) -> None:
        """Answer with `instead`, of a request and its number, where that gives an answer."""
        self.instead: Instead = instead
        self.asked: list[str] = []

    @asynccontextmanager
    async def to(self, address: str) -> AsyncGenerator[str]:
        """Stand before a control plane, and yield where."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
        async with ClientSession(address) as self._session:
            await self._runner.setup()
            try:
                await web.TCPSite(self._runner, "127.0.0.1", 0).start()
                yield f"http://127.0.0.1:{self._runner.addresses[0][1]}"
            finally:
                await self._runner.cleanup()

    @property
    def is_in_use(self) -> bool:
        """Whether anybody is connected."""
        assert self._runner.server is not None
        return bool(self._runner.server.connections)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path.rpartition("/")[2])
        return self.instead(request, len(self.asked)) or await self.forward(request)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Ask the control plane, and pass on what it answers as it comes."""
        async with self.ask(request) as found:
            answer = web.StreamResponse(status=found.status, headers=_passed_on(found.headers))
            await answer.prepare(request)
            async for some in found.content.iter_any():
                await answer.write(some)
            await answer.write_eof()
            return answer

    @asynccontextmanager
    async def ask(self, request: web.Request) -> AsyncGenerator[ClientResponse]:
        """Ask the control plane what was asked here."""
        said, headers = await request.read(), _passed_on(request.headers)
        async with self._session.request(request.method, request.path_qs, data=said, headers=headers) as found:
            yield found


class OwnStream(Way):
    """A way with a stream of changes of its own in place of the control plane's."""

    status = 200

    @override
    async def forward(self, request: web.Request) -> web.StreamResponse:
        if self.asked[-1] != "changes":
            return await super().forward(request)
        answer = web.StreamResponse(status=self.status, headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await self.say(answer)
        return answer

    async def say(self, answer: web.StreamResponse) -> None:
        """Write what comes on the stream, which ends with this."""
        raise NotImplementedError


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.title() not in _OF_ONE_CONNECTION}


def refusal(status: int, code: str | None, retry_after: str | None = None) -> web.Response:
    """Make a problem of the control plane's, or without a code somebody else's."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    if code is None:
        return web.Response(status=status, text="Bad gateway", headers=headers)
    problem = {"type": "about:blank", "status": status, "code": code, "detail": "A sentence.", "requestId": "r"}
    return web.json_response(problem, status=status, headers=headers)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "rate_limited"),
        (500, "internal_error"),
        (500, "secrets_unreadable"),
        (502, None),
        (503, "unavailable"),
        (503, "key_unavailable"),
        (503, None),
    ],
)
async def test_a_control_plane_that_cannot_answer_is_one_that_is_away(
    status: int, code: str | None, plane: ControlPlane, token: str, tmp_path: Path
) -> None:
    way = Way()
    async with served(plane) as address, way.to(address) as url:
        async with Client(url, token, snapshot_folder=tmp_path) as client:
            at = client.at
        way.instead = lambda _request, _number: refusal(status, code)
        async with Client(url, token, snapshot_folder=tmp_path) as client:
            assert (client.at, client.freshness.state) == (at, "stale")
            assert client.primary("llm").secrets["apiKey"].get_secret_value() == "sk-openai-1"
            with pytest.raises(Unreachable):
                await client.resolve()
        assert len(files(tmp_path)) == 1
        with pytest.raises(Unreachable):
            async with Client(url, token):
                pytest.fail("it started")


@pytest.mark.parametrize("code", ["unavailable", None])
async def test_who_is_shed_at_the_start_comes_back_when_it_is_asked_to(url: str, token: str, code: str | None) -> None:
    way = Way(lambda _request, number: refusal(503, code, "0") if number <= 2 else None)
    async with way.to(url) as address, Client(address, token) as client:
        assert way.asked[:3] == ["resolve"] * 3
        assert client.primary("llm").provider.key == "openai"


async def test_a_caller_is_not_kept_waiting_for_a_control_plane_that_is_away_for_long(token: str) -> None:
    way = Way(lambda _request, _number: refusal(503, "unavailable", "60"))
    async with way.to("http://127.0.0.1:9") as address:
        with pytest.raises(Unreachable, match=r"cannot answer now: A sentence\."):
            async with Client(address, token):
                pytest.fail("it started")
    assert way.asked == ["resolve"]


class Late(Way):
    """A way on which one answer waits until it is let through."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        super().__init__()
        self.holds = self.has_held = False
        self.let_through = anyio.Event()

    @override
    async def forward(self, request: web.Request) -> web.StreamResponse:
        if not self.holds or self.asked[-1] != "resolve":
            return await super().forward(request)
        self.holds = False
        async with self.ask(request) as found:
            answer = web.Response(body=await found.read(), headers=_passed_on(found.headers))
        self.has_held = True
        await self.let_through.wait()
        return answer


async def test_an_answer_that_comes_late_does_not_replace_a_newer_one(
    url: str, token: str, plane: ControlPlane, administrator: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "REQUEST_SECONDS", 60)  # on a busy machine the answer waits for long
    way = Late()
    async with way.to(url) as address, Client(address, token) as client, anyio.create_task_group() as group:
        await until(lambda: client.freshness.state == "current")
        way.holds = True
        change = ConfigWrite(config={"temperature": 0.25}, is_enabled=True)
        await plane.providers.upsert_organization_provider_config(administrator, "openai", change)
        await until(lambda: way.has_held)
        await plane.providers.update_provider_secrets(
            administrator, "openai", SecretsWrite(secrets={"apiKey": "sk-openai-2"})
        )
        group.start_soon(client.resolve)
        await anyio.wait_all_tasks_blocked()
        assert way.asked.count("resolve") == 2  # the third would be answered before the second
        way.let_through.set()
        await until(lambda: client.primary("llm").secrets["apiKey"].get_secret_value() == "sk-openai-2")
        newest = client.at
        await client.resolve()
        assert client.at == newest


async def test_a_snapshot_that_cannot_be_removed_ends_no_call(
    settings: Settings, token: str, administrator: Principal, tmp_path: Path
) -> None:
    quick = settings.model_copy(update={"stream_heartbeat_seconds": 0.2})
    async with ControlPlane.open(quick) as plane, served(plane) as address:
        async with Client(address, token, snapshot_folder=tmp_path) as client:
            await until(lambda: client.freshness.state == "current")
            (file,) = files(tmp_path)
            file.unlink()
            file.mkdir()
            await plane.access.revoke_token(administrator, token.split("_")[1])
            changes = client.changes()
            with anyio.fail_after(30):
                assert await anext(changes) == "0.0"
            await changes.aclose()
            assert client.freshness.state == "revoked"
            assert client.primary("llm").config
        with pytest.raises(Unauthenticated):
            async with Client(address, token, snapshot_folder=tmp_path):
                pytest.fail("it started")


async def test_a_client_that_is_cancelled_while_it_reports_leaves_nothing_open(url: str, token: str) -> None:
    way = Way()
    async with way.to(url) as address:
        with anyio.CancelScope() as scope:
            async with Client(address, token) as client:
                client.report(ProviderReport(provider="openai", outcome="recovered"))
                scope.cancel()
        assert scope.cancelled_caught
        await until(lambda: not way.is_in_use)
    assert way.asked


async def test_a_database_that_was_restored_is_followed(
    settings: Settings,
    token: str,
    plane: ControlPlane,
    administrator: Principal,
    superuser: psycopg.Connection[tuple[object, ...]],
) -> None:
    """The follower's position is none of the control plane's any more: `reset`, and all is read again."""
    service = Service(settings)
    async with anyio.create_task_group() as group:
        address: str = await group.start(service.run)
        async with Client(address, token) as client:
            await until(lambda: client.freshness.state == "current")
            before = client.at
            await service.stop()
            superuser.execute("UPDATE organizations SET epoch = gen_random_uuid(), revision = revision - 1")
            superuser.execute("UPDATE organization_provider_configs SET config = '{\"temperature\": 0.25}'")
            await group.start(service.run)
            await until(lambda: client.at != before, seconds=30)
            stands = await plane.workers.position(administrator)
            assert client.at == str(stands)
        await service.stop()


class Terse(OpenAIConfig):
    """OpenAI's settings with another default."""

    max_tokens: Annotated[int, Field(title="Maximum tokens", ge=1, le=128_000), UI(group="Output")] = 800
    """The longest reply."""


class NextRelease(ProviderRegistry):
    """The catalogue of a release that found a better default."""

    @override
    def initialize(self, catalogue_file: Path | None = None) -> None:
        super().initialize(catalogue_file)
        self._providers["openai"] = replace(self._providers["openai"], config=Terse)


async def test_a_better_default_reaches_a_worker_that_runs(
    settings: Settings, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody changed the organization; what it gets is another all the same, and `have` is no longer what stands."""
    service = Service(settings)
    async with anyio.create_task_group() as group:
        address: str = await group.start(service.run)
        async with Client(address, token) as client:
            await until(lambda: client.freshness.state == "current")
            before = client.at
            await service.stop()
            await group.start(service.run)
            await until(lambda: client.freshness.state == "current", seconds=30)
            assert (client.at, client.primary("llm").config["maxTokens"]) == (before, 1000)
            await service.stop()
            monkeypatch.setattr("voxplane.server.control_plane.ProviderRegistry", NextRelease)
            await group.start(service.run)
            await until(lambda: client.at != before, seconds=30)
            assert client.primary("llm").config["maxTokens"] == 800
            assert client.at.rpartition(".")[2] == before.rpartition(".")[2]
        await service.stop()


async def test_a_stream_that_falls_silent_is_opened_again(
    url: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was cut without a word looks like one on which nothing happens; heartbeats tell them apart."""
    monkeypatch.setattr("voxplane.channel.SILENCE_SECONDS", 0.1)  # where the heartbeat is every 15 s
    way = Way()
    async with way.to(url) as address, Client(address, token) as client:
        await until(lambda: way.asked.count("changes") > 1)
        assert client.primary("llm").provider.key == "openai"


def test_a_revoked_worker_is_told_within_thirty_seconds_whatever_became_of_its_connection() -> None:
    """Silence, the pause after it and a new attempt; a heartbeat that is merely late does not look like silence."""
    assert channel.SILENCE_SECONDS + FIRST_RETRY_SECONDS + channel.REQUEST_SECONDS < 30
    longest = next(
        each.le for each in Settings.model_fields["stream_heartbeat_seconds"].metadata if hasattr(each, "le")
    )
    assert longest < channel.SILENCE_SECONDS


@pytest.mark.parametrize("asked_for", [0.0, 5.0, 60.0])
def test_a_revoked_worker_without_a_stream_is_told_as_soon(asked_for: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is not answered, the longest pause after it, whatever was asked for, and a slow answer."""

    def longest(_least: float, most: float) -> float:
        return most

    monkeypatch.setattr("voxplane.client.random.uniform", longest)
    pauses = [pause_seconds(asked_for, delay) for delay in (FIRST_RETRY_SECONDS, 8.0, RETRY_AT_MOST_SECONDS)]
    assert channel.REQUEST_SECONDS + max(pauses) + channel.REQUEST_SECONDS < 30
    assert min(pauses) > min(asked_for, 5.0), "it is not as if nothing had been asked for, nor all at one moment"


@pytest.mark.parametrize("status", [None, 429, 200])
async def test_without_a_stream_a_worker_asks(
    plane: ControlPlane,
    administrator: Principal,
    token: str,
    status: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy that keeps the stream of changes back, one follower too many, or a gateway that ends it at once."""
    monkeypatch.setattr(channel, "REQUEST_SECONDS", 0.5 if status is None else 5.0)
    monkeypatch.setattr("voxplane.client.FIRST_RETRY_SECONDS", 0.01)

    class Kept(Way):
        """A way over which no stream comes."""

        @override
        async def forward(self, request: web.Request) -> web.StreamResponse:
            if self.asked[-1] != "changes":
                return await super().forward(request)
            if status is None:
                await anyio.sleep_forever()
            return (
                refusal(429, "rate_limited", "0") if status == 429 else web.Response(content_type="text/event-stream")
            )

    way = Kept()
    async with served(plane) as address, way.to(address) as url, Client(url, token) as client:
        before = client.at
        await plane.providers.upsert_organization_provider_config(administrator, "openai", ConfigWrite(priority=7))
        await until(lambda: client.at != before)
        assert {each.provider.key: each.priority for each in client.chain("llm")}["openai"] == 7


async def test_the_longer_streams_fail_the_longer_a_worker_waits(
    url: str, token: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That its secrets expired meanwhile is said."""
    clock, pauses = Clock(), list[tuple[float, float]]()
    way = Way(
        lambda _request, number: refusal(503, "unavailable", "0" if len(pauses) < 9 else None) if number > 1 else None
    )

    def noted(least: float, most: float) -> float:
        pauses.append((least, most))
        return 0.0

    monkeypatch.setattr("voxplane.client.random.uniform", noted)
    async with way.to(url) as address, Client(address, token, monotonic=clock):
        await until(lambda: len(pauses) > 8)
        assert "expired" not in caplog.text
        clock.now += MAX_STALE.total_seconds()
        await until(lambda: "its secrets have expired: no call" in caplog.text)
    assert [most for _, most in pauses[:8]] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 18.0, 18.0]
    assert set(way.asked[2:9]) == {"resolve"}


@pytest.mark.parametrize(
    ("open_for", "pauses"),
    [
        # It was silent for as long as a worker waits.
        (channel.SILENCE_SECONDS, [18.0, 18.0, 0.5, 0.5]),
        # It may have been dead for nearly as long: the longer it was open, the sooner a worker is back.
        (14.5, [18.0, 18.0, 3.5]),
    ],
)
async def test_a_line_that_is_cut_soon_after_an_outage_is_soon_tried_again(
    url: str, token: str, open_for: float, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose token was revoked meanwhile would use its secrets until after the longest pause."""
    clock, seen = Clock(), list[float]()

    class Cut(OwnStream):
        """A way on which, after an outage, the stream of changes says nothing, and breaks off."""

        @override
        async def say(self, answer: web.StreamResponse) -> None:
            await until(lambda: client.freshness.state == "current")
            clock.now += open_for

    def noted(_least: float, most: float) -> float:
        seen.append(most)
        return 0.0

    monkeypatch.setattr("voxplane.client.random.uniform", noted)
    way = Cut(lambda _request, number: refusal(503, "unavailable") if 1 < number < 10 else None)
    async with way.to(url) as address, Client(address, token, monotonic=clock) as client:
        await until(lambda: len(seen) >= 6 + len(pauses))
    assert seen[6 : 6 + len(pauses)] == pauses


async def test_an_answer_that_comes_by_the_drop_is_given_up(
    url: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "ANSWER_SECONDS", 0.3)

    class Dripping(Way):
        """A way on which an answer never ends."""

        @override
        async def forward(self, request: web.Request) -> web.StreamResponse:
            answer = web.StreamResponse()
            await answer.prepare(request)
            while True:
                await answer.write(b" ")
                await anyio.sleep(0.02)

    async with Dripping().to(url) as address:
        with pytest.raises(Unreachable, match="No answer from"):
            async with Client(address, token):
                pytest.fail("it started")


@pytest.mark.parametrize("status", [200, 503])
async def test_a_stream_that_comes_by_the_drop_and_says_nothing_is_given_up(
    url: str, token: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments, or a refusal that does not end: a token that was revoked meanwhile would never be missed."""
    monkeypatch.setattr(channel, "SILENCE_SECONDS", 0.5)
    if status != 200:
        monkeypatch.setattr(channel, "REQUEST_SECONDS", 1.0)

    class Dripping(OwnStream):
        """A way on which the stream of changes goes on without an event."""

        @override
        async def say(self, answer: web.StreamResponse) -> None:
            while True:
                await answer.write(b": still here\n\n")
                await anyio.sleep(0.02)

    way = Dripping()
    way.status = status
    async with way.to(url) as address, Client(address, token):
        await until(lambda: way.asked[-2:] == ["resolve", "changes"] and len(way.asked) > 3)


async def test_a_stream_that_says_something_now_and_then_is_stayed_with(
    url: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "SILENCE_SECONDS", 0.6)

    class Ticking(OwnStream):
        """A way on which the stream of changes has a heartbeat every now and then."""

        beats = 0

        @override
        async def say(self, answer: web.StreamResponse) -> None:
            while True:
                await answer.write(b"event: heartbeat\ndata: {}\n\n")
                self.beats += 1
                await anyio.sleep(0.2)

    way = Ticking()
    async with way.to(url) as address, Client(address, token):
        await until(lambda: way.beats > 10)
        assert way.asked.count("changes") == 1


async def test_reports_that_are_refused_are_named_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    """Also where what is wrong is in none of them."""
    wrong = [FieldError("/reports/0/kind", "kind", "x"), FieldError("/reports/7/kind", "other", "x")]
    sent: list[list[str]] = []

    async def send(batch: Sequence[ProviderReport]) -> None:
        sent.append([each.provider for each in batch])
        if wrong:
            raise Invalid([wrong.pop(0)])

    reports = Reports(send)
    for key in ("groq", "openai"):
        reports.add(ProviderReport(provider=key, outcome="recovered"))
    await reports.flush()
    assert sent == [["groq", "openai"], ["openai"]]
    assert "refused reports, which are dropped: {'groq': 'kind'}" in caplog.text
    assert "refused reports, which are dropped: {'openai': 'other'}" in caplog.text


@pytest.mark.parametrize("wrong", ["", " ", "vxp_a b", "vxp_é", "vxp_a\nb", "Bearer vxp_a"])
def test_what_cannot_be_a_token_is_refused_without_repeating_it(wrong: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Client("https://voxplane.example", wrong)
    assert "vxp_" not in str(refused.value)


async def test_a_token_from_a_file_may_end_in_a_line_break(url: str, token: str) -> None:
    async with Client(url, f"{token}\n") as client:
        assert client.freshness.state == "current"


async def test_what_a_newer_control_plane_adds_to_its_answer_is_passed_over(url: str, token: str) -> None:
    class Newer(Way):
        """A way on which every object of an answer says more."""

        @override
        async def forward(self, request: web.Request) -> web.StreamResponse:
            if self.asked[-1] != "resolve":
                return await super().forward(request)
            async with self.ask(request) as found:
                said = await found.json() | {"region": "eu"}
            said["chains"]["avatar"] = []
            said["chains"]["llm"][0]["provider"]["logo"] = "x"
            said["skipped"].append({"key": "silero", "type": "vad", "reason": "suspended"})
            return web.json_response(said)

    async with Newer().to(url) as address, Client(address, token) as client:
        assert client.primary("llm").provider.key == "openai"
        assert client.skipped[-1].reason == "suspended"


@pytest.mark.parametrize(
    ("status", "said"), [(401, {"error": "no"}), (403, {"message": "Forbidden"}), (404, {"code": 7})]
)
async def test_a_gateways_refusal_is_none_of_the_control_planes(
    status: int, said: dict[str, object], plane: ControlPlane, token: str, tmp_path: Path
) -> None:
    way = Way()
    async with served(plane) as address, way.to(address) as url:
        async with Client(url, token, snapshot_folder=tmp_path):
            way.instead = lambda _request, _number: web.json_response(said, status=status)
        async with Client(url, token, snapshot_folder=tmp_path) as client:
            assert client.freshness.state == "stale"
            assert client.primary("llm").secrets["apiKey"].get_secret_value() == "sk-openai-1"


@pytest.mark.parametrize("content_type", ["text/html", ""])
async def test_an_answer_that_is_no_stream_is_no_contact(url: str, token: str, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    way = Way(lambda _request, number: web.Response(headers=headers) if number > 1 else None)
    async with way.to(url) as address, Client(address, token) as client:
        since = client.freshness.since
        await until(lambda: len(way.asked) > 2)
        assert (client.freshness.state, client.freshness.since) == ("stale", since)


async def test_a_fleets_worker_is_let_in_also_while_it_cannot_follow(
    url: str, plane: ControlPlane, administrator: Principal
) -> None:
    """There may be too many who do: then it asks instead."""
    operator, new = local_administrator(None, "test"), AccessTokenCreate(name="fleet", scopes=[Scope.WORKER_RESOLVE])
    fleet = await plane.access.create_fleet_token(operator, new, [administrator.tenant])
    way = Way(lambda _request, _number: refusal(429, "rate_limited") if way.asked[-1] == "changes" else None)
    async with way.to(url) as address:
        assert (await Client(address, fleet.value, organization="default").check()).name == "fleet"
    assert "changes" in way.asked


async def test_whichever_question_is_refused_the_secrets_are_dropped(url: str, token: str, tmp_path: Path) -> None:
    refused: set[str] = set()

    def turn_away(_request: web.Request, _number: int) -> web.Response | None:
        if way.asked[-1] not in refused:
            return None
        refused.update(("resolve", "reports", "changes"))  # else it might be let in again at once
        return refusal(401, "unauthenticated")

    way = Way(turn_away)
    for question in ("resolve", "reports"):
        refused.clear()
        async with way.to(url) as address, Client(address, token, snapshot_folder=tmp_path) as client:
            await until(lambda client=client: client.freshness.state == "current")
            held = client.primary("llm")
            (tmp_path / f"{files(tmp_path)[0].name}.draft").touch()  # of a worker that was killed
            refused.add(question)
            if question == "resolve":
                with pytest.raises(Unauthenticated):
                    await client.resolve()
            client.report(ProviderReport(provider="openai", outcome="recovered"))
            changes = client.changes() if question == "resolve" else client.changes(since=client.at)
            with anyio.fail_after(10):
                assert await anext(changes) == "0.0"
            await changes.aclose()
            await until(lambda: files(tmp_path) == [])
            with pytest.raises(Unauthenticated):
                held.secrets["apiKey"]


async def test_what_is_being_reported_while_the_client_closes_arrives(
    url: str, token: str, plane: ControlPlane, administrator: Principal
) -> None:
    class Slow(Way):
        """A way on which a report takes its time."""

        @override
        async def forward(self, request: web.Request) -> web.StreamResponse:
            if self.asked[-1] == "reports":
                under_way.set()
                await anyio.sleep(0.1)
            return await super().forward(request)

    under_way = anyio.Event()
    async with Slow().to(url) as address, Client(address, token) as client:
        for unknown in range(MAX_REPORTS):  # more than go at once, and refused for what they are
            client.report(ProviderReport(provider=f"no-such-{unknown}", outcome="recovered"))
        client.report(ProviderReport(provider="openai", outcome="failed", kind="server"))
        await under_way.wait()
    seen = await plane.providers.get_organization_provider(administrator, "openai")
    assert seen.health is not None
    assert seen.health.status == "failing"


async def test_a_client_that_lives_long_knows_what_others_reported(url: str, token: str) -> None:
    async with Client(url, token) as client, Client(url, token) as other:
        await until(lambda: client.freshness.state == "current")
        old = client.primary("llm").at
        client.report(ProviderReport(provider="openai", outcome="failed", kind="server", at=f"{old}0"))
        assert not client.primary("llm").is_failing  # it is not said of what stands
        other.report(ProviderReport(provider="openai", outcome="failed", kind="server"))
        await until(lambda: client.primary("llm").is_failing)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_no_proxy_of_the_environment_is_used(
    name: str, url: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with Client(url, token) as client:
        assert client.primary("llm").provider.key == "openai"


async def test_a_fleets_token_that_is_revoked_leaves_no_snapshot_of_any_organization(
    plane: ControlPlane, token: str, administrator: Principal, tmp_path: Path
) -> None:
    """One that may not act for an organization any more leaves those of the others."""
    operator, new = local_administrator(None, "test"), AccessTokenCreate(name="fleet", scopes=[Scope.WORKER_RESOLVE])
    other = await plane.access.create_organization(operator, OrganizationCreate(slug="other", name="Other"))
    fleet = await plane.access.create_fleet_token(operator, new, [administrator.tenant, other.id])

    async with served(plane) as address:

        def worker(organization: str, value: str = fleet.value) -> Client:
            return Client(address, value, organization=organization, snapshot_folder=tmp_path)

        async with worker("default"), worker("other"), worker("current", token):
            assert len(files(tmp_path)) == 3
        for takes_away, left in (
            (plane.access.set_fleet(fleet.id, [administrator.tenant]), 2),
            (plane.access.revoke_platform_token(fleet.id), 1),
        ):
            await takes_away
            with pytest.raises((OrganizationNotFound, Unauthenticated)):
                async with worker("other"):
                    pytest.fail("it started")
            assert len(files(tmp_path)) == left


def test_a_snapshot_file_does_not_show_its_token(tmp_path: Path) -> None:
    file = SnapshotFile(tmp_path, "https://voxplane.example.com", "current", "vxp_canary")
    assert "canary" not in repr(file)


def certificate_of_ones_own(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of localhost that nobody else signed, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now, day = datetime.now(UTC), timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .sign(key, SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, private


@pytest.mark.parametrize("scheme", ["https", "HTTPS", "Https"])
async def test_a_control_plane_of_a_private_authority_is_trusted_by_its_file_alone(
    scheme: str, plane: ControlPlane, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = certificate_of_ones_own(tmp_path)
    async with served(plane, certificate=(certificate, key)) as address:
        assert address.startswith("https://")
        address = address.replace("https", scheme)  # noqa: PLW2901 - the same place in another spelling
        async with Client(address, token, ca_file=certificate) as client:
            assert client.primary("llm").secrets["apiKey"].get_secret_value() == "sk-openai-1"
            await until(lambda: client.freshness.state == "current")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(Unreachable, match="ClientConnectorCertificateError"):
            async with Client(address, token):
                pytest.fail("it started")
        monkeypatch.setenv("VOXPLANE_URL", address)
        monkeypatch.setenv("VOXPLANE_TOKEN", token)
        monkeypatch.setenv("VOXPLANE_CA_FILE", str(certificate))
        async with client_for(AgentSettings.read(), "") as client:
            assert client.organization.slug == "default"
    for file in (key, tmp_path / "none.pem"):
        with pytest.raises(ConfigurationError, match="certificates cannot be read"):
            Client(address, token, ca_file=file)

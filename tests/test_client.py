"""The worker's client against the real service: what it gives, how it follows, and what it does without us."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import cast

import anyio
import psycopg
import pytest
from aiohttp import ClientSession, TraceConfig, TraceRequestEndParams, web
from anyio import TASK_STATUS_IGNORED, to_thread
from anyio.abc import TaskStatus

from tests.conftest import stored_rows, token_for, worker_of
from tests.served import served
from tests.test_changes import until
from voxplane import Client, SyncClient, channel
from voxplane.background import background
from voxplane.errors import (
    ConfigurationError,
    NoPrimaryProvider,
    NotFound,
    OrganizationNotFound,
    PermissionDenied,
    SnapshotExpired,
    Unauthenticated,
    Unreachable,
)
from voxplane.failure import stamped
from voxplane.schemas import (
    AccessTokenCreate,
    ConfigWrite,
    OrderWrite,
    ProviderReport,
    ProviderType,
    ReportsWrite,
    SecretsWrite,
)
from voxplane.server.auth import Principal, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.settings import Settings
from voxplane.snapshot import SnapshotFile

Superuser = psycopg.Connection[tuple[object, ...]]


def files(folder: Path) -> list[Path]:
    """Return what is in a folder."""
    return list(folder.iterdir())


class Clock:
    """A monotonic clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
async def url(plane: ControlPlane) -> AsyncIterator[str]:
    async with served(plane) as address:
        yield address


@pytest.fixture
async def token(plane: ControlPlane, administrator: Principal) -> str:
    """A worker's token; the organization has a key for openai and for groq."""
    for key, value in (("openai", "sk-openai-1"), ("groq", "gsk_1")):
        await plane.providers.update_provider_secrets(administrator, key, SecretsWrite(secrets={"apiKey": value}))
    change = ConfigWrite(is_enabled=True, priority=50)
    await plane.providers.upsert_organization_provider_config(administrator, "groq", change)
    return await token_for(plane, Scope.WORKER_RESOLVE)


async def test_a_worker_gets_its_chains_with_settings_secrets_and_origins(url: str, token: str) -> None:
    async with Client(url, token) as client:
        assert [each.provider.key for each in client.chain("llm")] == ["openai", "groq"]
        primary = client.primary(ProviderType.LLM)
        assert (primary.provider.key, primary.config["model"]) == ("openai", "gpt-4o-mini")
        assert primary.secrets["apiKey"].get_secret_value() == "sk-openai-1"
        assert primary.origins == ("https://api.openai.com:443/v1",)
        assert client.primary("tts").secrets == {}
        assert client.organization.slug == "default"
        assert [(each.key, each.reason) for each in client.skipped] == [("deepgram", "secrets_missing")]
        assert client.chain("stt") == ()
        with pytest.raises(NoPrimaryProvider, match=r"No stt provider can answer\. .*: deepgram \(secrets missing\)\."):
            client.primary("stt")
        with pytest.raises(NoPrimaryProvider, match=r"no such type of provider: ask for stt, tts, llm\."):
            client.primary("vad")
        assert client.freshness.state in {"current", "stale"}
        assert "sk-openai-1" not in repr(primary) + repr(client.chain("llm")) + repr(vars(primary))


async def test_changes_arrive_by_themselves(
    url: str, token: str, plane: ControlPlane, administrator: Principal
) -> None:
    async with Client(url, token) as client, anyio.create_task_group() as group:
        await until(lambda: client.freshness.state == "current")
        seen: list[str] = []

        async def follow() -> None:
            async for at in client.changes():
                seen.append(at)  # noqa: PERF401 - it never ends, and is looked at meanwhile

        group.start_soon(follow)
        held = client.primary("llm")
        await plane.providers.update_provider_secrets(
            administrator, "openai", SecretsWrite(secrets={"apiKey": "sk-openai-2"})
        )
        await until(lambda: client.primary("llm").secrets["apiKey"].get_secret_value() == "sk-openai-2")
        assert held.secrets["apiKey"].get_secret_value() == "sk-openai-1"
        await plane.providers.order_organization_providers(
            administrator, ProviderType.LLM, OrderWrite(order=["groq", "openai"])
        )
        await until(lambda: client.primary("llm").provider.key == "groq")
        await until(lambda: client.at in seen)
        assert len(seen) == len(set(seen)) <= 2
        group.cancel_scope.cancel()


async def test_no_change_is_lost_on_who_is_busy_with_the_one_before(
    url: str, token: str, plane: ControlPlane, administrator: Principal
) -> None:
    async def change(temperature: float) -> None:
        write = ConfigWrite(config={"temperature": temperature}, is_enabled=True)
        await plane.providers.upsert_organization_provider_config(administrator, "openai", write)
        await until(lambda: client.primary("llm").config["temperature"] == temperature)

    async with Client(url, token) as client:
        await until(lambda: client.freshness.state == "current")
        at = client.at
        await change(0.25)
        changes = client.changes(since=at)
        with anyio.fail_after(10):
            assert await anext(changes) == client.at
            await change(0.5)
            await change(0.75)
            assert await anext(changes) == client.at
            await plane.access.revoke_token(administrator, token.split("_")[1])
        with anyio.fail_after(30):
            assert await anext(changes) == client.at == "0.0"
        assert client.freshness.state == "revoked"
        await changes.aclose()


async def test_what_the_worker_has_is_not_sent_again(url: str, token: str, superuser: Superuser) -> None:
    async with Client(url, token) as client:
        before = releases(superuser)
        assert before > 0
        assert (await client.resolve()).at == client.at
        assert releases(superuser) == before


def releases(superuser: Superuser) -> int:
    """Count the releases on record."""
    found = superuser.execute("SELECT count(*) FROM audit_events WHERE action = 'secrets.release'").fetchone()
    return cast("int", found[0]) if found else 0


class Service:
    """A service that can be stopped under its clients, and started again as another process would be."""

    def __init__(self, settings: Settings) -> None:
        """Serve the installation of these settings, at the same address each time."""
        self._settings = settings
        self._port = 0
        self._stop, self._ended = anyio.Event(), anyio.Event()

    async def run(self, *, task_status: TaskStatus[str] = TASK_STATUS_IGNORED) -> None:
        """Serve until stopped, as a task beside whoever is served."""
        self._stop, self._ended = anyio.Event(), anyio.Event()
        async with ControlPlane.open(self._settings) as plane, served(plane, port=self._port) as address:
            self._port = int(address.rpartition(":")[2])
            task_status.started(address)
            await self._stop.wait()
        self._ended.set()

    async def stop(self) -> None:
        """Stop, and wait until the port is free."""
        self._stop.set()
        await self._ended.wait()


async def test_calls_go_on_while_the_control_plane_is_away(
    settings: Settings, plane: ControlPlane, token: str, administrator: Principal
) -> None:
    clock, service = Clock(), Service(settings)
    async with anyio.create_task_group() as group:
        address: str = await group.start(service.run)
        async with Client(address, token, monotonic=clock) as client:
            await until(lambda: client.freshness.state == "current")
            await service.stop()
            await until(lambda: client.freshness.state == "stale")
            held = client.primary("llm")
            for _ in range(24):
                assert client.primary("llm").secrets["apiKey"].get_secret_value() == "sk-openai-1"
                clock.now += 3600 - 1e-3
            assert client.freshness.state == "stale"
            clock.now = 1000.0 + 24 * 3600
            assert client.freshness.state == "expired"
            assert client.primary("llm").config == held.config
            for each in (held, client.primary("llm")):
                with pytest.raises(SnapshotExpired):
                    each.secrets["apiKey"]
            await group.start(service.run)
            await until(lambda: client.freshness.state == "current", seconds=60)
            assert client.primary("llm").secrets["apiKey"].get_secret_value() == "sk-openai-1"
            change = ConfigWrite(config={"temperature": 0.25}, is_enabled=True)
            await plane.providers.upsert_organization_provider_config(administrator, "openai", change)
            await until(lambda: client.primary("llm").config["temperature"] == 0.25)
            assert client.freshness.state == "current"
        await service.stop()


async def test_twenty_workers_lose_no_call_in_a_day_without_the_control_plane(settings: Settings, token: str) -> None:
    """D5: 0 failed reads in 24 hours; secrets are refused at 24 h + 0 s."""
    clock, service = Clock(), Service(settings)
    async with anyio.create_task_group() as group, AsyncExitStack() as stack:
        address: str = await group.start(service.run)
        clients = [
            await stack.enter_async_context(Client(address, token, monotonic=clock, max_stale=timedelta(hours=24)))
            for _ in range(20)
        ]
        await until(lambda: all(client.freshness.state == "current" for client in clients))
        await service.stop()
        await until(lambda: all(client.freshness.state == "stale" for client in clients))
        read = 0
        for _ in range(24 * 4):
            for client in clients:
                read += client.primary("llm").secrets["apiKey"].get_secret_value() == "sk-openai-1"
            clock.now += 15 * 60 - 1e-6
        assert read == 20 * 24 * 4
        clock.now = 1000.0 + 24 * 3600
        for client in clients:
            assert client.primary("llm").provider.key == "openai"
            with pytest.raises(SnapshotExpired):
                client.primary("llm").secrets["apiKey"]


async def test_two_hundred_restarts_without_the_control_plane_have_the_last_revision(
    plane: ControlPlane, token: str, tmp_path: Path
) -> None:
    """D6."""
    async with served(plane) as address, Client(address, token, snapshot_folder=tmp_path) as client:
        at = client.at
    started = 0
    for _ in range(200):
        async with Client(address, token, snapshot_folder=tmp_path) as restarted:
            assert restarted.primary("llm").secrets["apiKey"].get_secret_value() == "sk-openai-1"
            started += restarted.at == at
    assert started == 200


def counting(statuses: Counter[int]) -> TraceConfig:
    """Return what has answers to clients counted by status."""

    async def count(_session: object, _context: object, ended: TraceRequestEndParams) -> None:
        statuses[ended.response.status] += 1

    traced = TraceConfig()
    traced.on_request_end.append(count)
    return traced


def connections(superuser: Superuser) -> int:
    """Count the connections of control planes to the database; a pool that has grown does not shrink in minutes."""
    found = superuser.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ).fetchone()
    return cast("int", found[0]) if found else 0


@pytest.mark.deep
async def test_five_hundred_workers_come_back_at_once(
    settings: Settings,
    plane: ControlPlane,
    token: str,
    administrator: Principal,
    superuser: Superuser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """D8, all of it in one process: current within 30 s of the restart, on the revision that was made meanwhile.

    Nobody is refused with anything but 503, and the database has no more than ten connections, and the listening one.
    """
    service, clients, done = (
        Service(settings.model_copy(update={"token_cache_seconds": 5.0})),
        list[Client](),
        anyio.Event(),
    )
    statuses = Counter[int]()
    monkeypatch.setattr(channel, "ClientSession", partial(ClientSession, trace_configs=[counting(statuses)]))

    async def work(address: str) -> None:
        async with Client(address, token) as client:
            clients.append(client)
            await done.wait()

    def is_current(client: Client) -> bool:
        return client.freshness.state == "current" and client.primary("llm").config["temperature"] == 0.25

    async with anyio.create_task_group() as group:
        address: str = await group.start(service.run)
        for _ in range(500):
            group.start_soon(work, address)
            await anyio.sleep(0.01)
        await until(lambda: len(clients) == 500, seconds=60)
        await until(lambda: all(client.freshness.state == "current" for client in clients), seconds=30)
        await service.stop()
        await until(lambda: all(client.freshness.state == "stale" for client in clients), seconds=30)
        change = ConfigWrite(config={"temperature": 0.25}, is_enabled=True)
        await plane.providers.upsert_organization_provider_config(administrator, "openai", change)
        statuses.clear()
        others = connections(superuser)
        await group.start(service.run)
        await until(lambda: all(map(is_current, clients)), seconds=30)
        assert statuses[200] >= 500
        assert set(statuses) <= {200, 204, 503}
        assert connections(superuser) - others <= 10 + 1
        done.set()
        await service.stop()


async def test_what_a_worker_raises_of_its_own_goes_on_as_it_was_raised(url: str, token: str) -> None:
    """What is told in no group is caught by whoever looks for it by its type."""
    own = ValueError("its own")
    with pytest.raises(NoPrimaryProvider, match="No stt provider"):
        async with Client(url, token) as client:
            client.primary("stt")
    with pytest.raises(ValueError, match="its own") as found:
        async with Client(url, token):
            raise own
    assert found.value is own

    def use() -> None:
        with SyncClient(url, token) as client:
            client.primary("stt")

    with pytest.raises(NoPrimaryProvider, match="No stt provider"):
        await to_thread.run_sync(use)


async def test_a_client_is_entered_once(url: str, token: str) -> None:
    client = Client(url, token)
    async with client:
        with pytest.raises(ConfigurationError, match="A client is entered once"):
            await client.__aenter__()
    with pytest.raises(ConfigurationError, match="make another one"):
        await client.__aenter__()


async def test_a_worker_that_is_cancelled_in_mid_call_ends(url: str, token: str) -> None:
    """Leaving raises no second cancellation: one that is its own context, say, which anyio would follow for ever."""
    entered, left = anyio.Event(), list[BaseException | None]()

    async def work() -> None:
        try:
            async with Client(url, token) as client:
                await until(lambda: client.freshness.state == "current")
                entered.set()
                await anyio.sleep_forever()
        except BaseException as error:
            left.append(error.__context__)
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await entered.wait()
        group.cancel_scope.cancel()
    assert left == [None]


async def test_a_revoked_worker_loses_its_secrets_at_once(
    url: str, token: str, plane: ControlPlane, administrator: Principal, tmp_path: Path
) -> None:
    async with Client(url, token, snapshot_folder=tmp_path) as client:
        await until(lambda: client.freshness.state == "current")
        held = client.primary("llm")
        assert len(files(tmp_path)) == 1
        await plane.access.revoke_token(administrator, token.split("_")[1])
        await until(lambda: client.freshness.state == "revoked", seconds=30)
        with pytest.raises(Unauthenticated):
            held.secrets["apiKey"]
        with pytest.raises(Unauthenticated):
            client.primary("llm").secrets["apiKey"]
        assert client.primary("llm").config == held.config
        await until(lambda: files(tmp_path) == [])


@pytest.mark.usefixtures("token")
async def test_secrets_that_were_forgotten_are_refused_also_once_the_worker_is_let_in_again(
    settings: Settings, plane: ControlPlane, administrator: Principal
) -> None:
    """An empty key would have a plugin take the environment's, and that account would pay for this organization."""
    operator, new = local_administrator(None, "test"), AccessTokenCreate(name="fleet", scopes=[Scope.WORKER_RESOLVE])
    fleet = await plane.access.create_fleet_token(operator, new, [administrator.tenant])
    quick = settings.model_copy(update={"stream_heartbeat_seconds": 0.2})
    async with (
        ControlPlane.open(quick) as serving,
        served(serving) as address,
        Client(address, fleet.value, organization="default") as client,
    ):
        await until(lambda: client.freshness.state == "current")
        held = client.primary("llm")
        assert held.secrets["apiKey"].get_secret_value() == "sk-openai-1"
        await plane.access.set_fleet(fleet.id, [])
        await until(lambda: client.freshness.state == "revoked", seconds=30)
        await plane.access.set_fleet(fleet.id, [administrator.tenant])
        await client.resolve()
        assert client.primary("llm").secrets["apiKey"].get_secret_value() == "sk-openai-1"
        assert list(held.secrets) == ["apiKey"]
        with pytest.raises(Unauthenticated):
            held.secrets["apiKey"]


@pytest.mark.parametrize(
    ("scopes", "organization", "error", "advice"),
    [
        ([Scope.LIVEKIT_READ], "current", PermissionDenied, "worker:resolve"),
        ([Scope.WORKER_RESOLVE], "elsewhere", OrganizationNotFound, "Name its own, or|of another organization"),
        (None, "current", Unauthenticated, "Set VOXPLANE_TOKEN"),
    ],
)
async def test_who_is_turned_away_at_the_start_is_told_why(
    url: str, plane: ControlPlane, scopes: list[Scope] | None, organization: str, error: type[Exception], advice: str
) -> None:
    value = await token_for(plane, *scopes) if scopes else "vxp_nobody"
    with pytest.raises(error, match=advice):
        async with Client(url, value, organization=organization):
            pytest.fail("it was let in")
    with pytest.raises(error, match=advice):
        await Client(url, value, organization=organization).check()


async def test_who_is_turned_away_at_the_start_leaves_no_snapshot(
    url: str, token: str, plane: ControlPlane, administrator: Principal, tmp_path: Path
) -> None:
    async with Client(url, token, snapshot_folder=tmp_path) as client:
        assert (await client.check()).scopes == ("worker:resolve",)
        await client.resolve()
    assert len(files(tmp_path)) == 1
    await plane.access.revoke_token(administrator, token.split("_")[1])
    with pytest.raises(Unauthenticated):
        await Client(url, token, snapshot_folder=tmp_path).check()
    assert files(tmp_path) == []


async def test_a_wrong_address_or_name_is_said_with_what_would_be_right(
    url: str, token: str, plane: ControlPlane, administrator: Principal, tmp_path: Path
) -> None:
    new = AccessTokenCreate(name="fleet", scopes=[Scope.WORKER_RESOLVE])
    fleet = await plane.access.create_fleet_token(local_administrator(None, "test"), new, [administrator.tenant])
    with pytest.raises(
        OrganizationNotFound, match=r'organization="acme"\), or for `voxplane agent` with VOXPLANE_ORGANIZATION'
    ):
        async with Client(url, fleet.value):
            pytest.fail("it was let in")
    with pytest.raises(OrganizationNotFound, match="no such organization for this token"):
        await Client(url, fleet.value, organization="acme").check()
    async with Client(url, fleet.value, organization="default", snapshot_folder=tmp_path):
        assert len(files(tmp_path)) == 1
    await plane.access.set_fleet(fleet.id, [])
    with pytest.raises(OrganizationNotFound, match="no such organization for this token"):
        await Client(url, fleet.value, organization="default", snapshot_folder=tmp_path).check()
    assert files(tmp_path) == [], "what it was once given is not used either"
    await plane.access.set_fleet(fleet.id, [administrator.tenant])
    client = Client(url, fleet.value, organization="default")
    assert (await client.check()).organization is None
    async with client:
        assert client.organization.slug == "default"
    with pytest.raises(NotFound, match=f"not at {url}/api: give its address without /api"):
        await Client(f"{url}/api", token).check()
    with pytest.raises(Unreachable, match=r"speaks no TLS: on this machine its address may begin with http://"):
        await Client(url.replace("http:", "https:"), token).check()
    with pytest.raises(ConfigurationError, match=r"max_stale is a timedelta, such as timedelta\(hours=24\)"):
        Client(url, token, max_stale=cast("timedelta", 20.0))


async def test_without_control_plane_and_snapshot_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"No answer from http://127\.0\.0\.1:9"):
        async with Client("http://127.0.0.1:9", "vxp_x", snapshot_folder=tmp_path):
            pytest.fail("it started")


@pytest.mark.parametrize(
    "address",
    [
        "http://voxplane.example.com",
        "ftp://127.0.0.1",
        "nonsense",
        "https://a@b.example",
        "wss://voxplane.example.com",
        "WSS://127.0.0.1",
        "ws://127.0.0.1",
    ],
)
def test_an_address_over_which_keys_would_travel_in_the_open_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="control plane's address"):
        Client(address, "vxp_x")


async def test_a_redirect_is_not_followed(token: str) -> None:
    asked: list[str] = []

    async def elsewhere(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    runner = web.ServerRunner(web.Server(elsewhere, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        with pytest.raises(Unreachable, match="status 307"):
            async with Client(f"http://127.0.0.1:{runner.addresses[0][1]}", token):
                pytest.fail("it started")
    finally:
        await runner.cleanup()
    assert asked == ["/api/organizations/current/resolve"]


async def test_a_worker_starts_from_its_disk_while_the_control_plane_is_away(
    plane: ControlPlane, token: str, tmp_path: Path
) -> None:
    async with served(plane) as address, Client(address, token, snapshot_folder=str(tmp_path)) as client:
        at = client.at
    (file,) = files(tmp_path)
    assert (file.stat().st_mode & 0o777, b"sk-openai-1" in file.read_bytes()) == (0o600, False)
    async with Client(address, token, snapshot_folder=tmp_path) as restarted:
        assert (restarted.at, restarted.freshness.state) == (at, "stale")
        assert restarted.primary("llm").secrets["apiKey"].get_secret_value() == "sk-openai-1"
    other = await token_for(plane, Scope.WORKER_RESOLVE)
    for attempt in (
        Client(address, other, snapshot_folder=tmp_path),
        Client(address, token, snapshot_folder=tmp_path, organization="other"),
        Client(address, token, snapshot_folder=tmp_path, max_stale=timedelta(0)),
    ):
        with pytest.raises(Unreachable) as refused:
            async with attempt:
                pytest.fail("it started")
    assert re.search(r"The snapshot on disk is of [0-9: -]+ UTC, longer ago than max_stale \(0 h\)", str(refused.value))


async def test_no_altered_file_is_taken(
    plane: ControlPlane, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D6: every single bit of the file, cut short, readable by others, somebody else's, too old, from the future."""
    async with served(plane) as address, Client(address, token, snapshot_folder=tmp_path):
        pass
    file = SnapshotFile(tmp_path, address, "current", token)
    good, now = file.path.read_bytes(), datetime.now(UTC)
    day = timedelta(days=1)
    assert file.load(now, day) is not None
    accepted = 0
    for place in range(len(good)):
        file.path.write_bytes(good[:place] + bytes([good[place] ^ (1 << place % 8)]) + good[place + 1 :])
        accepted += file.load(now, day) is not None
    for length in range(0, len(good), 7):
        file.path.write_bytes(good[:length])
        accepted += file.load(now, day) is not None
    assert accepted == 0
    assert len(good) > 1000
    file.path.write_bytes(good)
    assert file.load(now + day * 2, day) is None
    assert file.load(now - timedelta(minutes=6), day) is None
    assert file.load(now - timedelta(minutes=4), day) is not None
    file.path.chmod(0o640)
    assert file.load(now, day) is None
    file.path.chmod(0o600)
    assert file.load(now, day) is not None
    monkeypatch.setattr(os, "geteuid", lambda: file.path.stat().st_uid + 1)
    assert file.load(now, day) is None


async def test_what_a_worker_saw_is_shown(url: str, token: str, plane: ControlPlane, administrator: Principal) -> None:
    async with Client(url, token) as client:
        client.report(ProviderReport(provider="openai", outcome="failed", kind="authentication"))
        client.report(ProviderReport(provider="groq", outcome="recovered"))

    shown = {
        each.provider.key: each.health
        for each in (await plane.providers.get_organization_providers(administrator)).providers
    }
    openai, groq = shown["openai"], shown["groq"]
    assert openai is not None
    assert groq is not None
    assert (openai.status, openai.kind, openai.reports) == ("failing", "authentication", 1)
    assert groq.status == "recovered"
    assert shown["piper"] is None


async def test_what_becomes_of_a_replaced_key_is_not_said_of_the_one_that_replaced_it(
    url: str, token: str, plane: ControlPlane, administrator: Principal
) -> None:
    """A call goes on with the objects it has until its turn ends; the old key may be dead at the vendor by then."""
    async with Client(url, token) as client:
        await until(lambda: client.freshness.state == "current")
        held = [client.primary("llm"), client.chain("llm")[1]]
        await plane.providers.update_provider_secrets(
            administrator, "openai", SecretsWrite(secrets={"apiKey": "sk-openai-2"})
        )
        await until(lambda: client.primary("llm").at != held[0].at)
        for each in held:
            told = stamped(client.report, each)
            told(ProviderReport(provider=each.provider.key, outcome="failed", kind="authentication"))
    seen = [await plane.providers.get_organization_provider(administrator, key) for key in ("openai", "groq")]
    assert [each.health and each.health.status for each in seen] == [None, "failing"]


async def test_a_worker_knows_which_providers_failed_in_other_calls(url: str, token: str) -> None:
    """So it can tell when they answer again, without a report in every call."""
    async with Client(url, token) as client:
        client.report(ProviderReport(provider="openai", outcome="failed", kind="server"))
        assert [each.is_failing for each in client.chain("llm")] == [True, False]
    async with Client(url, token) as client:
        assert [each.is_failing for each in client.chain("llm")] == [True, False]
        client.report(ProviderReport(provider="openai", outcome="recovered"))
        assert not client.primary("llm").is_failing
    async with Client(url, token) as client:
        assert not client.primary("llm").is_failing


async def test_a_report_that_comes_too_soon_is_made_again(
    settings: Settings, administrator: Principal, token: str, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxplane.reports.RETRY_SECONDS", 0.05)
    paced = settings.model_copy(update={"report_interval_seconds": 0.5})
    async with ControlPlane.open(paced) as plane, served(plane) as url, Client(url, token) as client:
        await plane.workers.report(
            worker_of(administrator.tenant),
            ReportsWrite(at=client.at, reports=[ProviderReport(provider="openai", outcome="failed", kind="quota")]),
        )
        client.report(ProviderReport(provider="openai", outcome="recovered"))
        await until(lambda: [row["outcome"] for row in stored_rows(superuser)["provider_reports"]] == ["recovered"])


async def test_code_without_an_event_loop_gets_the_same(url: str, token: str) -> None:
    def use() -> tuple[str, list[str], str]:
        with SyncClient(url, token) as client:
            client.report(ProviderReport(provider="openai", outcome="recovered"))
            found = client.primary("llm")
            assert client.resolve().at == client.at
            assert client.freshness.state in {"current", "stale"}
            assert client.organization.slug == "default"
            assert [(each.key, each.reason) for each in client.skipped] == [("deepgram", "secrets_missing")]
            keys = [each.provider.key for each in client.chain("llm")]
            return found.provider.key, keys, found.secrets["apiKey"].get_secret_value()

    assert await to_thread.run_sync(use) == ("openai", ["openai", "groq"], "sk-openai-1")


async def test_code_without_an_event_loop_waits_for_changes_until_its_client_is_left(
    url: str, token: str, plane: ControlPlane, administrator: Principal
) -> None:
    seen: list[str] = []

    def follow(client: SyncClient) -> None:
        seen.extend(client.changes())

    def first(client: SyncClient, since: str) -> str:
        return next(client.changes(since))

    client = SyncClient(url, token)
    async with anyio.create_task_group() as group:
        with_client = await to_thread.run_sync(client.__enter__)
        at = client.at
        group.start_soon(to_thread.run_sync, follow, with_client)
        await until(lambda: client.freshness.state == "current")
        await plane.providers.upsert_organization_provider_config(administrator, "openai", ConfigWrite(priority=7))
        with anyio.fail_after(30):
            assert await to_thread.run_sync(first, client, at) == client.at != at
        await until(lambda: seen == [client.at])
        await to_thread.run_sync(client.__exit__, None, None, None)
    assert list(client.changes()) == []


@pytest.mark.drill
@pytest.mark.parametrize("number", [0, 1, 2])
async def test_the_page_on_workers_means_what_it_says(
    number: int, url: str, token: str, plane: ControlPlane, administrator: Principal, tmp_path: Path
) -> None:
    await plane.providers.update_provider_secrets(
        administrator, "cartesia", SecretsWrite(secrets={"apiKey": "sk_car_1"})
    )
    await plane.providers.upsert_organization_provider_config(administrator, "cartesia", ConfigWrite(is_enabled=True))
    page = Path(__file__).parent.parent / "docs" / "worker.md"
    found = re.findall(r"^```py\n(.*?)^```$", await to_thread.run_sync(page.read_text), re.MULTILINE | re.DOTALL)
    assert len(found) == 3
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VOXPLANE_")}  # noqa: TID251 - for a program
    environment |= {"VOXPLANE_URL": url, "VOXPLANE_TOKEN": token}

    async def change_now_and_then() -> None:
        for priority in count():
            await anyio.sleep(0.3)
            change = ConfigWrite(priority=100 + priority % 2)
            await plane.providers.upsert_organization_provider_config(administrator, "openai", change)

    with anyio.fail_after(60):
        async with background(change_now_and_then):
            ran = await anyio.run_process([sys.executable, "-c", found[number]], env=environment, cwd=tmp_path)
    printed = ran.stdout.decode().splitlines()
    expected = [
        [r"openai gpt-4o-mini", r"then groq", r"current \S+ \(.*\)"],
        [r"No stt provider can answer\..*deepgram \(secrets missing\)\.", r"changed, now at \S+"],
        [r"openai gpt-4o-mini and piper en_US-lessac-medium"],
    ][number]
    assert len(printed) == len(expected)
    assert all(map(re.fullmatch, expected, printed)), printed
    shown = await plane.providers.get_organization_provider(administrator, "openai")
    assert (shown.health is not None) is (number == 1)

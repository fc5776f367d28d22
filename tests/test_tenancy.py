"""One organization never sees another: not with either of its two locks gone, and not by way of the pool."""

from __future__ import annotations

import inspect
import random
import re
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import httpx
import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from tests.conftest import Caller, amounts, settings_for, stored_rows, token_for
from voxplane.errors import InternalError, OrganizationNotFound, Unavailable
from voxplane.schemas import OrganizationCreate
from voxplane.server import verification_store
from voxplane.server.audit import AuditEvent, ChainedEvent
from voxplane.server.audit_store import AuditFilter, AuditStore
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.history_store import HistoryStore
from voxplane.server.import_notice_store import ImportNoticeRow, ImportNoticeStore
from voxplane.server.position import Position
from voxplane.server.settings import Settings
from voxplane.server.store import ConfigRow, DataKeyRow, HistoryRow, Sighting, Store
from voxplane.server.token_store import TokenStore

Superuser = psycopg.Connection[tuple[object, ...]]
Connection = psycopg.AsyncConnection[Any]
TENANT_TABLES = (
    "organizations",
    "organization_provider_configs",
    "organization_secrets",
    "organization_data_keys",
    "access_tokens",
    "config_history",
    "audit_events",
    "provider_reports",
    "provider_verifications",
    "import_notices",
)


@dataclass(frozen=True)
class Tenant:
    """An organization that left its mark wherever it can write."""

    id: UUID
    slug: str
    mark: str
    token_ids: tuple[str, ...]
    at: Position
    clients: tuple[httpx.AsyncClient, ...]

    @property
    def marks(self) -> tuple[str, ...]:
        """What nobody else may ever get to see."""
        return (self.mark, str(self.id), *self.token_ids)


async def settle(plane: ControlPlane, caller: Caller, number: int) -> Tenant:
    """Make an organization that has written its mark into everything that it may write."""
    mark = f"mark{secrets.token_hex(8)}"
    new = OrganizationCreate(slug=f"o{number}-{mark}", name=f"Organization {mark}")
    made = await plane.access.create_organization(local_administrator(None, "test"), new)
    clients = tuple(
        [
            await caller(*scopes, organization=made.slug)
            for scopes in (
                [Scope.LIVEKIT_READ],
                [Scope.LIVEKIT_READ, Scope.LIVEKIT_WRITE],
                sorted(ADMINISTRATOR_SCOPES),
                [Scope.WORKER_RESOLVE],
            )
        ]
    )
    *_, administrator, worker = clients
    here = "/api/organizations/current"
    config = {"config": {"organization": f"org-{mark}"}, "isEnabled": True}
    assert (await administrator.put(f"{here}/providers/openai/config", json=config)).status_code == 200
    stored = {
        "secrets": {"apiKey": f"secret-{mark}"},
        "label": f"label {mark}",
        "approvedOrigins": [f"https://{mark}.example", "https://api.groq.com"],
    }
    assert (await administrator.put(f"{here}/providers/groq/secrets", json=stored)).status_code == 200
    assert (await administrator.put(f"{here}/providers/groq/config", json={"isEnabled": True})).status_code == 200
    at = Position.parse((await worker.post(f"{here}/resolve", json={})).json()["at"])
    assert at is not None
    assert (await worker.post(f"{here}/reports", json=_report("groq", at))).status_code == 204
    token = {"name": f"token {mark}", "scopes": ["livekit:read"]}
    assert (await administrator.post(f"{here}/tokens", json=token)).status_code == 201
    tokens = (await administrator.get(f"{here}/tokens")).json()["tokens"]
    return Tenant(made.id, made.slug, mark, tuple(each["id"] for each in tokens), at, clients)


def _report(key: str, at: Position) -> dict[str, object]:
    return {"at": str(at), "reports": [{"provider": key, "outcome": "failed", "kind": "quota"}]}


# Every condition that holds a statement to one organization, or to the one token that is presented.
_HELD = re.compile(
    r"(?:\w+\.)?\b(?:organization_id|id) = %\((?:organization_id|wanted)\)s|(?<=WHERE )id = %\(token_id\)s"
)


@pytest.fixture
def unheld(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Take the first lock away: every condition on the organization becomes `true`. Counts what it changed."""
    taken: Counter[str] = Counter()
    execute = psycopg.AsyncCursor.execute

    async def without(
        self: psycopg.AsyncCursor[Any], query: Any, params: Any = None, **options: Any
    ) -> psycopg.AsyncCursor[Any]:
        if isinstance(query, str):
            freed, number = _HELD.subn("true", query)
            taken[query] += number
            query = freed
        return await execute(self, query, params, **options)

    monkeypatch.setattr(psycopg.AsyncCursor, "execute", without)
    return taken


def _request(dice: random.Random, mine: Tenant, other: Tenant) -> tuple[httpx.AsyncClient, httpx.Request]:
    """Ask for something of one's own, of somebody else's, or of somebody else's under one's own name."""
    client = dice.choices(mine.clients, [1, 2, 4, 1.5])[0]
    own = ["current", mine.slug, str(mine.id)]
    here = f"/api/organizations/{dice.choice([*own, *own, other.slug, str(other.id)])}"
    key = dice.choice(["openai", "groq", "deepgram", "openai-tts"])
    at = f"{here}/providers/{key}"
    config = {"config": {"temperature": dice.random()}, "priority": dice.randint(0, 1000), "isEnabled": True}
    mark = {"config": {"organization": f"org-{mine.mark}"}, "isEnabled": dice.random() < 0.8}
    stored: dict[str, object] = {"secrets": {"apiKey": f"secret-{mine.mark}-{dice.random()}"}, "label": mine.mark}
    method, path, body = dice.choices(
        [
            ("GET", f"{here}/providers", None),
            ("GET", f"{here}/providers?type=llm&enabled=true", None),
            ("GET", at, None),
            ("GET", f"{here}/providers/llm/primary", None),
            ("GET", f"{here}/tokens", None),
            ("GET", "/api/me", None),
            ("PUT", f"{here}/providers/openai/config", mark),
            ("PUT", f"{here}/providers/groq/config", config),
            ("PUT", f"{here}/providers/order?type=llm", {"order": dice.sample(["openai", "groq", "google"], 2)}),
            ("PUT", f"{at}/secrets", stored),
            ("DELETE", f"{at}/config", None),
            ("DELETE", f"{at}/secrets", None),
            ("POST", f"{here}/tokens", {"name": mine.mark, "scopes": ["livekit:read"]}),
            ("DELETE", f"{here}/tokens/{dice.choice(other.token_ids)}", None),
            ("GET", f"{here}/providers?organization={other.id}", None),
            ("PUT", f"{at}/config", {"isEnabled": True, "organizationId": str(other.id)}),
            ("POST", f"{here}/resolve", {}),
            ("POST", f"{here}/resolve", {"have": f"{other.id}.1"}),
            ("POST", f"{here}/reports", _report(key, dice.choice([mine.at, other.at]))),
        ],
        [4, 2, 4, 2, 3, 2, 3, 3, 2, 3, 1, 1, 0.2, 1, 1, 1, 6, 1, 3],
    )[0]
    if path.endswith(("/resolve", "/reports")) and dice.random() < 0.8:
        client = mine.clients[-1]
    headers = {"X-Organization-Id": str(other.id), "X-Tenant": other.slug} if dice.random() < 0.3 else {}
    return client, client.build_request(method, path, json=body, headers=headers)


async def _walk(tenants: list[Tenant], times: int) -> tuple[Counter[int], list[str]]:
    """Send random requests; return the statuses, and what anybody saw of somebody else."""
    dice = random.Random(times)  # noqa: S311 - which request comes next
    statuses: Counter[int] = Counter()
    seen: list[str] = []
    for _ in range(times):
        mine, other = dice.sample(tenants, 2)
        client, request = _request(dice, mine, other)
        answer = await client.send(request)
        statuses[answer.status_code] += 1
        said = f"{answer.headers}{answer.text}"
        seen += [
            f"{request.method} {request.url.path}: {mark}"
            for each in tenants
            if each is not mine
            for mark in each.marks
            if mark in said
        ]
    return statuses, seen


def _misplaced(superuser: Superuser, tenants: list[Tenant]) -> list[str]:
    """Return the rows in which one organization's mark stands under another's id."""
    found: list[str] = []
    for table, rows in stored_rows(superuser).items():
        for row in rows:
            owner = _owner(row)
            found += [f"{table}: {row}" for each in tenants if each.mark in str(row) and str(each.id) != owner]
    return found


@pytest.mark.drill
@pytest.mark.parametrize("times", amounts(300, 20_000))
async def test_row_level_security_holds_alone(
    plane: ControlPlane, caller: Caller, superuser: Superuser, unheld: Counter[str], times: int
) -> None:
    """S2: random requests with every condition on the organization taken out of every statement."""
    tenants = [await settle(plane, caller, number) for number in range(5)]
    statuses, seen = await _walk(tenants, times)
    assert seen == []
    assert _misplaced(superuser, tenants) == []
    assert sum(unheld.values()) > times / 2
    assert not any(status >= 500 for status in statuses), statuses
    assert statuses[200] > times / 4
    assert statuses[404] > times / 20
    released = stored_rows(superuser)["audit_events"]
    assert sum(each["action"] == "secrets.release" for each in released) > times / 50


async def test_the_search_finds_what_neither_lock_holds_back(
    plane: ControlPlane, caller: Caller, superuser: Superuser, unheld: Counter[str]
) -> None:
    """The test above can fail: with row level security off as well, strangers' marks are in the answers."""
    tenants = [await settle(plane, caller, number) for number in range(3)]
    superuser.execute("ALTER TABLE organization_provider_configs DISABLE ROW LEVEL SECURITY")
    _, seen = await _walk(tenants, 200)
    assert sum(unheld.values()) > 0
    assert len(seen) > 5


def test_every_condition_of_the_application_is_taken_away_above() -> None:
    """One in another spelling would stay in force, and the second lock would go untested."""
    source = "".join(Path(inspect.getfile(each)).read_text() for each in (*STORES, verification_store))
    conditions = re.findall(r"\bid = %\S+|\S*organization_id = %\S+", source)
    kept = [each for each in conditions if not _HELD.search(f"WHERE {each}")]
    assert len(conditions) > 8
    assert kept == []
    assert not re.search(r"organization_id (?:IN|<>|!=|ANY|IS NOT|=[^ ])", source)


STORES = (Store, HistoryStore, AuditStore, ImportNoticeStore, TokenStore)
NOW = datetime(2026, 11, 22, tzinfo=UTC)
ROW = replace(ConfigRow.nothing("openai"), config={"organization": "org-new"}, revision=77, updated_at=NOW)


async def _offered(store: Store, row: ChainedEvent) -> bool:
    return (await store.offer_audit([row])).stands


def _cases(mine: Tenant, other: Tenant) -> dict[str, Callable[[Store], Awaitable[object]]]:
    """Call every method of every store, with what would reach a stranger if anything could."""
    event = AuditEvent(
        organization_id=mine.id,
        seq=999,
        at=NOW,
        actor="x",
        action="x",
        target="x",
        outcome="success",
        request_id=None,
        detail={},
    )
    left = ImportNoticeRow(NOW, "x", [{"at": "/tts"}])
    seen = [Sighting(key, "recovered", None, mine.at) for key in ("groq", "piper")]
    return {
        "state": lambda store: store.state(lock=True),
        "put_config": lambda store: store.put_config(ROW),
        "delete_config": lambda store: store.delete_config("openai"),
        "append_history": lambda store: store.append_history(HistoryRow("openai", 77, None, ROW, "x", "x", "x", NOW)),
        "put_secrets": lambda store: store.put_secrets({"openai": {}}, NOW),
        "data_key": lambda store: store.data_key(),
        "add_data_key": lambda store: store.add_data_key(DataKeyRow(9, b"x", "x")),
        "audit_head": lambda store: store.audit_head(),
        "append_audit": lambda store: store.append_audit([ChainedEvent(event, b"x", b"x")]),
        "offer_audit": lambda store: _offered(store, ChainedEvent(replace(event, seq=998), b"x", b"x")),
        "advance": lambda store: store.advance(999, {"openai": 9}, ["openai"], ["openai"]),
        "ring": lambda store: store.ring(999),
        "ring_of_tokens": lambda store: store.ring_of_tokens(),
        "rename": lambda store: store.rename("Renamed"),
        "put_sightings": lambda store: store.put_sightings(seen, "x", NOW, 0),
        "tokens": lambda store: TokenStore(store.connection, mine.id).tokens(),
        "revoke": lambda store: TokenStore(store.connection, mine.id).revoke(other.token_ids[0], NOW),
        "versions": lambda store: HistoryStore(store.connection, mine.id).versions("openai", None, 9),
        "version": lambda store: HistoryStore(store.connection, mine.id).version("openai", 1),
        "secrets": lambda store: HistoryStore(store.connection, mine.id).secrets("groq", None, 9),
        "end": lambda store: AuditStore(store.connection, mine.id).end(),
        "chain": lambda store: AuditStore(store.connection, mine.id).chain(0, 99),
        "marks": lambda store: AuditStore(store.connection, mine.id).marks(),
        "storings": lambda store: AuditStore(store.connection, mine.id).storings("0" * 32, 9),
        "page": lambda store: AuditStore(store.connection, mine.id).page(AuditFilter(), None, 99),
        "notice": lambda store: ImportNoticeStore(store.connection, mine.id).notice(),
        "put_notice": lambda store: ImportNoticeStore(store.connection, mine.id).put_notice(left),
    }


def _owner(row: dict[str, Any]) -> str:
    """Return the id of the organization that a row belongs to, which for an organization is its own."""
    return str(row.get("organization_id", row.get("id")))


def _rows_of(superuser: Superuser, tenant: Tenant) -> list[dict[str, Any]]:
    return [row for rows in stored_rows(superuser).values() for row in rows if _owner(row) == str(tenant.id)]


def test_every_method_of_the_store_is_tried() -> None:
    methods = {
        name for each in STORES for name, _ in inspect.getmembers(each, inspect.isfunction) if not name.startswith("_")
    }
    nobody = Tenant(uuid4(), "", "", ("",), Position("", 1), ())
    assert set(_cases(nobody, nobody)) == methods


@pytest.mark.drill
@pytest.mark.parametrize("lock", ["both", "where alone", "row level security alone"])
async def test_no_method_of_the_store_reaches_another_organization(
    plane: ControlPlane,
    caller: Caller,
    superuser: Superuser,
    settings: Settings,
    request: pytest.FixtureRequest,
    lock: str,
) -> None:
    mine, other = [await settle(plane, caller, number) for number in range(2)]
    before = _rows_of(superuser, other)
    assert len(before) > 6
    if lock == "row level security alone":
        request.getfixturevalue("unheld")
    changed: set[str] = set()
    for name, call in _cases(mine, other).items():
        kept = _rows_of(superuser, mine)
        async with _transaction(plane, settings, mine.id, bypass=lock == "where alone") as connection:
            answer = await call(Store(connection, mine.id))
        assert not any(mark in repr(answer) for mark in other.marks), name
        assert _rows_of(superuser, other) == before, name
        changed |= {name} if _rows_of(superuser, mine) != kept else set()
        if name in {"state", "tokens"}:
            assert mine.mark in repr(answer), name
    # The writes were no empty gestures.
    writes = {"put_config", "delete_config", "append_history", "put_secrets", "add_data_key", "append_audit", "advance"}
    writes |= {"put_sightings", "put_notice", "rename", "offer_audit"}
    assert changed == writes


@asynccontextmanager
async def _transaction(
    plane: ControlPlane, settings: Settings, organization_id: UUID, *, bypass: bool
) -> AsyncGenerator[Connection]:
    """A transaction of one organization; `bypass` opens it as the superuser, for whom there are no policies."""
    if not bypass:
        async with plane.database.transaction(organization_id=organization_id) as connection:
            yield connection
        return
    assert settings.database_admin_url is not None
    address, options = settings.database_admin_url.get_secret_value(), "-c search_path=voxplane"
    async with await psycopg.AsyncConnection[Any].connect(
        address,
        options=options,
        row_factory=dict_row,
    ) as connection:
        yield connection


async def test_a_store_bound_to_another_organization_than_its_transaction_does_nothing(
    plane: ControlPlane, caller: Caller, superuser: Superuser
) -> None:
    """The two locks disagree: nothing is read, and a write is refused or finds no row."""
    mine, other = [await settle(plane, caller, number) for number in range(2)]
    before = stored_rows(superuser)
    outcomes: dict[str, object] = {}
    for name, call in _cases(other, other).items():
        try:
            async with plane.database.transaction(organization_id=mine.id) as connection:
                outcomes[name] = await call(Store(connection, other.id))
        except (InternalError, OrganizationNotFound) as error:
            outcomes[name] = type(error)
    refused = ("put_config", "append_history", "put_secrets", "add_data_key", "append_audit", "put_notice")
    nothing: dict[str, object] = {
        "delete_config": None,
        "data_key": None,
        "advance": None,
        "tokens": [],
        "revoke": False,
        "ring": None,
        "ring_of_tokens": None,
        "rename": None,
        "put_sightings": (False, False),
        "audit_head": OrganizationNotFound,
        "offer_audit": False,
        "version": None,
        "end": None,
        "notice": None,
        "marks": frozenset(),
        **{name: [] for name in ("versions", "secrets", "chain", "storings", "page")},
    }
    assert outcomes == {"state": OrganizationNotFound, **dict.fromkeys(refused, InternalError), **nothing}
    assert stored_rows(superuser) == before


async def test_without_an_organization_there_is_nothing(plane: ControlPlane, caller: Caller) -> None:
    await settle(plane, caller, 0)
    for begun in (
        plane.database.transaction(),
        plane.database.transaction(organization_id=uuid4()),
        plane.database.transaction(token_id="unknown"),  # noqa: S106 - the id of no token
    ):
        async with begun as connection:
            for table in TENANT_TABLES:
                cursor = await connection.execute(f"SELECT * FROM {table}".encode())
                assert await cursor.fetchall() == [], table


async def test_naming_a_token_shows_that_token_alone(plane: ControlPlane, caller: Caller) -> None:
    mine, _ = [await settle(plane, caller, number) for number in range(2)]
    async with plane.database.transaction(token_id=mine.token_ids[0]) as connection:
        found: list[str] = []
        for table in TENANT_TABLES:
            cursor = await connection.execute(f"SELECT * FROM {table}".encode())
            found += [f"{table} {row.get('id')}" for row in await cursor.fetchall()]
    assert found == [f"access_tokens {mine.token_ids[0]}"]


async def test_the_platform_sees_names_of_organizations_and_nothing_in_them(
    plane: ControlPlane, caller: Caller
) -> None:
    tenants = [await settle(plane, caller, number) for number in range(2)]
    await token_for(plane, Scope.ADMIN_ORGANIZATIONS)
    async with plane.database.transaction(platform=True) as connection:
        for table in TENANT_TABLES:
            cursor = await connection.execute(f"SELECT * FROM {table}".encode())
            rows = await cursor.fetchall()
            if table == "organizations":
                assert {each.slug for each in tenants} <= {row["slug"] for row in rows}
            elif table == "access_tokens":
                assert [row["organization_id"] for row in rows] == [None]
            else:
                assert rows == [], table


@asynccontextmanager
async def _watched(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[tuple[ControlPlane, Counter[str]]]:
    """A control plane with four connections; counts what is still set whenever one of them is taken."""
    found: Counter[str] = Counter()
    take = AsyncConnectionPool.getconn

    async def getconn(self: AsyncConnectionPool[Connection], timeout: float | None = None) -> Connection:  # noqa: ASYNC109 - the signature of what it stands in for
        connection = await take(self, timeout)
        try:
            cursor = await connection.execute(_LEFT)
            left: Any = await cursor.fetchone()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.putconn(connection)
            raise
        found["checkouts"] += 1
        found["left over"] += any(left.values())
        return connection

    async with ControlPlane.open(settings) as plane:
        with monkeypatch.context() as patch:
            patch.setattr(AsyncConnectionPool, "getconn", getconn)
            yield plane, found


_LEFT = """
    SELECT current_setting('voxplane.organization_id', true) AS organization,
           current_setting('voxplane.token_id', true) AS token,
           current_setting('voxplane.platform', true) AS platform
"""


class Interrupted(Exception):
    """What goes wrong in the middle of a transaction."""


async def _use(plane: ControlPlane, dice: random.Random, found: Counter[str]) -> None:
    """Take a connection for an organization, and leave it in one of the ways in which things go wrong."""
    organization_id = uuid4()
    modes: list[AbstractAsyncContextManager[Connection]] = [
        plane.database.transaction(organization_id=organization_id),
        plane.database.transaction(organization_id=organization_id, token_id="x", platform=True),  # noqa: S106 - the id of no token
    ]
    end = dice.choices(["well", "raised", "refused", "cancelled inside", "cancelled at any time"], [10, 5, 2, 1, 2])[0]
    found[end] += 1
    with anyio.move_on_after(dice.random() * 0.02 if end == "cancelled at any time" else 60) as scope:
        async with dice.choice(modes) as connection:
            cursor = await connection.execute("SELECT current_organization()::text AS own")
            assert await cursor.fetchone() == {"own": str(organization_id)}
            if end == "raised":
                raise Interrupted
            if end == "refused":
                await connection.execute("SELECT * FROM no_such_table")
            if end == "cancelled inside":
                scope.cancel()
            if end.startswith("cancelled"):
                await connection.execute("SELECT pg_sleep(0.01)")


async def _use_often(plane: ControlPlane, dice: random.Random, found: Counter[str], times: int) -> None:
    for _ in range(times):
        try:
            await _use(plane, dice, found)
        except (Interrupted, InternalError):
            continue
        except Unavailable:
            found["busy"] += 1


async def _crowd(plane: ControlPlane, found: Counter[str], *, checkouts: int) -> None:
    tasks = 64
    async with anyio.create_task_group() as group:
        for task in range(tasks):
            dice = random.Random(task)  # noqa: S311 - how a transaction ends
            group.start_soon(_use_often, plane, dice, found, checkouts // tasks + 1)


@pytest.fixture
def crowded(postgres: EmbeddedPostgres, database: str, settings: Settings) -> Settings:
    return settings_for(postgres, database, settings.keyring_path, pool_size=4, pool_wait_seconds=60)


@pytest.mark.drill
@pytest.mark.parametrize("checkouts", amounts(1500, 6000))
async def test_no_connection_comes_back_with_an_organization_set(
    crowded: Settings, monkeypatch: pytest.MonkeyPatch, checkouts: int
) -> None:
    """S4: 64 tasks on four connections, with exceptions and cancellations in the middle of transactions."""
    async with _watched(crowded, monkeypatch) as (plane, found):
        await _crowd(plane, found, checkouts=checkouts)
        # Whatever happened, all four are there again.
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(_use_often, plane, random.Random(0), found, 1)  # noqa: S311 - as above
    assert found["checkouts"] >= checkouts * 5 // 6
    assert found["left over"] == 0
    ends = ("well", "raised", "refused", "cancelled inside", "cancelled at any time")
    assert min(found[each] for each in ends) > checkouts // 40
    assert found["busy"] == 0


async def test_a_setting_of_the_session_would_be_found(crowded: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: had the organization been set for the session, it would still be there."""
    careless = _LEFT.replace("current_setting(", "set_config(").replace(", true)", ", %s, false)")
    monkeypatch.setattr("voxplane.server.database._SET_TENANT", careless)
    async with _watched(crowded, monkeypatch) as (plane, found):
        await _crowd(plane, found, checkouts=128)
    assert found["left over"] > 50

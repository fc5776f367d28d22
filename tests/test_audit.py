"""What is put on record: every change, once, in a chain that shows tampering and where; or nothing is changed."""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from tests.conftest import (
    Caller,
    Template,
    admin_connection,
    position_of,
    settings_for,
    stored_rows,
    without_refusals,
    worker_of,
)
from tests.test_door import operations
from tests.test_leaks import found_in
from voxplane.errors import Unavailable, VoxplaneError
from voxplane.organization_file import OrganizationFile
from voxplane.schemas import ConfigWrite
from voxplane.server.app import create_app
from voxplane.server.audit import AuditEvent, chain_hash, first_broken
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Principal, Scope
from voxplane.server.control_plane import ControlPlane
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.envelope import Keyring
from voxplane.server.import_notice_store import ImportNoticeRow, ImportNoticeStore
from voxplane.server.legacy_import import ImportOptions
from voxplane.server.legacy_source import Record
from voxplane.server.organization_files import Apply

AT = datetime(2026, 11, 22, tzinfo=UTC)
ORGANIZATION = "/api/organizations/current"
Superuser = psycopg.Connection[tuple[object, ...]]
Row = tuple[AuditEvent, bytes, bytes]


@dataclass
class Ledger:
    """The audit log as it lies in the database, and the key that its chains are made with."""

    superuser: Superuser
    key: bytes

    def rows(self, organization_id: UUID) -> list[Row]:
        """Return one organization's rows as `first_broken` takes them."""
        with self.superuser.cursor(row_factory=dict_row) as cursor:
            cursor.execute("SELECT * FROM audit_events WHERE organization_id = %s ORDER BY seq", [organization_id])
            found = cursor.fetchall()
        hashes = [(row.pop("prev_hash"), row.pop("hash")) for row in found]
        return [(AuditEvent(**row), *each) for row, each in zip(found, hashes, strict=True)]

    def first_broken(self, organization_id: UUID) -> int | None:
        """Check one organization's chain."""
        return first_broken(self.key, self.rows(organization_id))

    def organizations(self) -> list[UUID]:
        """Return every organization."""
        return [UUID(row["id"]) for row in stored_rows(self.superuser)["organizations"]]

    def is_whole(self) -> bool:
        """Whether every chain holds and ends where its organization says that it ends."""
        heads = {row["id"]: row for row in stored_rows(self.superuser)["organizations"]}
        for organization_id in self.organizations():
            rows, head = self.rows(organization_id), heads[str(organization_id)]
            last = (rows[-1][0].seq, "\\x" + rows[-1][2].hex()) if rows else (0, "\\x")
            if self.first_broken(organization_id) is not None or last != (head["audit_seq"], head["audit_hash"]):
                return False
        return True


def ledger_of(superuser: Superuser, template: Template) -> Ledger:
    found = superuser.execute("SELECT kek_id, audit_key FROM installation").fetchone()
    kek_id, wrapped = cast("tuple[str, bytes]", found)
    return Ledger(superuser, Keyring.load(template.keyring).unwrap(kek_id, wrapped, purpose="audit"))


@pytest.fixture
def ledger(superuser: Superuser, template: Template) -> Ledger:
    return ledger_of(superuser, template)


@dataclass(frozen=True)
class Mutation:
    """A request that changes something, and what must come of it besides the change."""

    url: str
    action: str
    target: str
    body: dict[str, Any] | None = None
    revisions: int = 1
    changed: tuple[str, ...] = ()
    """The providers that its notification names."""
    rings: bool = True
    records: int = 1
    history: int = 0
    """How many rows of the history."""
    scope: str = Scope.LIVEKIT_WRITE
    refused: tuple[tuple[str, object, dict[str, str]], ...] = ()
    """The same route, refused: url, body, headers."""

    @property
    def denied_action(self) -> str:
        """What a refused attempt is on record as: what workers saw has no name of its own there."""
        return self.action or "report"


PROVIDERS = f"{ORGANIZATION}/providers"
STALE = {"If-Match": '"stale"'}
MUTATIONS = {
    "PUT /api/organizations/{organization}/providers/{key}/config": Mutation(
        f"{PROVIDERS}/openai/config",
        "config.put",
        "openai",
        {"config": {"temperature": 0.25}},
        changed=("openai",),
        history=1,
        refused=(
            (f"{PROVIDERS}/openai/config", {"config": {"temperature": 9}}, {}),
            (f"{PROVIDERS}/openai/config", {"config": {"temperature": 0.25}}, STALE),
            (f"{PROVIDERS}/nothing/config", {"priority": 1}, {}),
        ),
    ),
    "DELETE /api/organizations/{organization}/providers/{key}/config": Mutation(
        f"{PROVIDERS}/deepgram/config",
        "config.delete",
        "deepgram",
        changed=("deepgram",),
        history=1,
        refused=((f"{PROVIDERS}/deepgram/config", None, STALE), (f"{PROVIDERS}/nothing/config", None, {})),
    ),
    "POST /api/organizations/{organization}/providers/{key}/restore": Mutation(
        f"{PROVIDERS}/openai/restore",
        "config.restore",
        "openai",
        {"revision": 1, "include": ["priority"]},
        changed=("openai",),
        history=1,
        refused=(
            (f"{PROVIDERS}/openai/restore", {"revision": 9}, {}),
            (f"{PROVIDERS}/openai/restore", {"revision": 1}, STALE),
            (f"{PROVIDERS}/nothing/restore", {"revision": 1}, {}),
        ),
    ),
    "PUT /api/organizations/{organization}/providers/order": Mutation(
        f"{PROVIDERS}/order?type=tts",
        "order.put",
        "tts",
        {"order": ["cartesia", "piper"]},
        changed=("cartesia", "piper"),
        history=2,
        refused=((f"{PROVIDERS}/order?type=tts", {"order": ["cartesia", "cartesia"]}, {}),),
    ),
    "PUT /api/organizations/{organization}/providers/{key}/secrets": Mutation(
        f"{PROVIDERS}/openai/secrets",
        "secrets.put",
        "openai",
        {"secrets": {"apiKey": "canary-new"}},
        changed=("openai",),
        scope=Scope.ADMIN_SECRETS,
        refused=(
            (f"{PROVIDERS}/openai/secrets", {"secrets": {"apiKey": "***"}}, {}),
            (f"{PROVIDERS}/openai/secrets", {"secrets": {"apiKey": "canary-new"}}, STALE),
            (f"{PROVIDERS}/openai/secrets", {"approvedOrigins": ["http://"]}, {}),
        ),
    ),
    "DELETE /api/organizations/{organization}/providers/{key}/secrets": Mutation(
        f"{PROVIDERS}/groq/secrets",
        "secrets.delete",
        "groq",
        changed=("groq",),
        scope=Scope.ADMIN_SECRETS,
        refused=((f"{PROVIDERS}/groq/secrets", None, STALE), (f"{PROVIDERS}/anthropic/secrets", None, {})),
    ),
    "POST /api/organizations/{organization}/tokens": Mutation(
        f"{ORGANIZATION}/tokens",
        "token.create",
        "",
        {"name": "deploy", "scopes": ["livekit:read"]},
        revisions=0,
        rings=False,
        scope=Scope.ADMIN_TOKENS,
        refused=((f"{ORGANIZATION}/tokens", {"name": "deploy", "scopes": ["admin:organizations"]}, {}),),
    ),
    "DELETE /api/organizations/{organization}/tokens/{token}": Mutation(
        f"{ORGANIZATION}/tokens/SPARE",
        "token.revoke",
        "SPARE",
        revisions=0,
        scope=Scope.ADMIN_TOKENS,
        refused=((f"{ORGANIZATION}/tokens/000000000000", None, {}),),
    ),
    "DELETE /api/organizations/{organization}/import-notice": Mutation(
        f"{ORGANIZATION}/import-notice",
        "legacy.finish",
        "default",
        revisions=0,
        refused=((f"{ORGANIZATION}/import-notice", None, STALE),),
    ),
    "POST /api/organizations": Mutation(
        "/api/organizations",
        "organization.create",
        "acme",
        {"slug": "acme", "name": "Acme Inc."},
        scope=Scope.ADMIN_ORGANIZATIONS,
        refused=(("/api/organizations", {"slug": "default", "name": "Again"}, {}),),
    ),
    "POST /api/organizations/{organization}/resolve": Mutation(
        f"{ORGANIZATION}/resolve",
        "secrets.release",
        "llm stt tts",
        {},
        revisions=0,
        rings=False,
        scope=Scope.WORKER_RESOLVE,
        refused=((f"{ORGANIZATION}/resolve", {"types": ["video"]}, {}), (f"{ORGANIZATION}/resolve", {"have": 1}, {})),
    ),
    "POST /api/organizations/{organization}/reports": Mutation(
        f"{ORGANIZATION}/reports",
        "",
        "",
        {"at": "x.1", "reports": [{"provider": "openai", "outcome": "failed", "kind": "quota"}]},
        revisions=0,
        changed=("openai",),
        records=0,
        scope=Scope.WORKER_RESOLVE,
        refused=(
            (f"{ORGANIZATION}/reports", {"at": "x.1", "reports": [{"provider": "openai", "outcome": "failed"}]}, {}),
            (f"{ORGANIZATION}/reports", {"at": "x.1", "reports": [{"provider": "x", "outcome": "recovered"}]}, {}),
        ),
    ),
}
ON_RECORD = [route for route, mutation in MUTATIONS.items() if mutation.records]
"""All but what a worker saw: that is no change of anybody's, and says itself who reported it."""


@dataclass
class Desk:
    """Somebody who may change everything, with something there to change."""

    plane: ControlPlane
    administrator: httpx.AsyncClient
    platform: httpx.AsyncClient
    worker: httpx.AsyncClient
    reader: httpx.AsyncClient
    ledger: Ledger
    spare: str
    """The id of a token that can be revoked."""

    def _filled(self, text: str) -> str:
        return text.replace("SPARE", self.spare)

    def target(self, mutation: Mutation) -> str:
        """Return what the audit log says was changed; empty when only the answer knows."""
        return self._filled(mutation.target)

    def caller(self, route: str) -> httpx.AsyncClient:
        """Return who may do what a route does."""
        others = {Scope.ADMIN_ORGANIZATIONS.value: self.platform, Scope.WORKER_RESOLVE.value: self.worker}
        return others.get(MUTATIONS[route].scope, self.administrator)

    async def do(self, route: str, url: str, body: object, headers: dict[str, str]) -> httpx.Response:
        """Send a request of one route."""
        return await self.caller(route).request(route.partition(" ")[0], self._filled(url), json=body, headers=headers)

    async def change(self, route: str) -> httpx.Response:
        """Make one route's change."""
        mutation = MUTATIONS[route]
        body = mutation.body
        if body is not None and "at" in body:
            body = body | {"at": await position_of(self.plane)}
        return await self.do(route, mutation.url, body, {})


@pytest.fixture
async def desk(plane: ControlPlane, caller: Caller, ledger: Ledger) -> Desk:
    administrator = await caller(*ADMINISTRATOR_SCOPES)
    body = {"secrets": {"apiKey": "canary-old"}}
    for key in ("openai", "groq"):
        assert (await administrator.put(f"{PROVIDERS}/{key}/secrets", json=body)).status_code == 200
    # Another version than the seeded one, to go back from.
    assert (await administrator.put(f"{PROVIDERS}/openai/config", json={"priority": 9})).status_code == 200
    spare = await administrator.post(f"{ORGANIZATION}/tokens", json={"name": "spare", "scopes": ["livekit:read"]})
    default = (await plane.access.find_organization("default")).id
    async with plane.database.transaction(organization_id=default) as connection:
        left = ImportNoticeRow(datetime.now(UTC), "test", [{"at": "/tts", "outcome": "unknown"}])
        await ImportNoticeStore(connection, default).put_notice(left)
    platform, reader = await caller(Scope.ADMIN_ORGANIZATIONS), await caller(Scope.LIVEKIT_READ)
    worker = await caller(Scope.WORKER_RESOLVE)
    return Desk(plane, administrator, platform, worker, reader, ledger, spare.json()["id"])


@pytest.fixture
def doorbell(postgres: EmbeddedPostgres, database: str) -> Iterator[Callable[[], list[str]]]:
    """Return the notifications since the last call."""
    with admin_connection(postgres, database) as line:
        line.execute("LISTEN voxplane")

        def ring() -> list[str]:
            # Notifications are handed to a line in the order of the commits, so its own comes behind all others.
            end = secrets.token_hex(8)
            line.execute("SELECT pg_notify('voxplane', %s)", [end])
            heard: list[str] = []
            for notification in line.notifies(timeout=10):
                if notification.payload == end:
                    return heard
                heard.append(notification.payload)
            raise AssertionError("the line is dead")

        yield ring


def _counts(superuser: Superuser) -> tuple[int, int]:
    rows = stored_rows(superuser)
    return len(rows["audit_events"]), len(rows["config_history"])


def test_every_route_that_changes_something_is_here() -> None:
    # To sign in with a link is to create a token, by the same service.
    # A test of a provider changes no setting; what it opens is on record as a release.
    others = {"POST /api/sign-in", "POST /api/organizations/{organization}/providers/{key}/verify"}
    assert set(MUTATIONS) | others == {str(operation) for operation in operations() if operation.method != "GET"}


@pytest.mark.parametrize("route", MUTATIONS)
async def test_a_change_its_revision_its_history_its_record_and_its_notification_come_together(
    desk: Desk, superuser: Superuser, doorbell: Callable[[], list[str]], route: str
) -> None:
    mutation, (audits, changes) = MUTATIONS[route], _counts(superuser)
    heads = {row["id"]: row["revision"] for row in stored_rows(superuser)["organizations"]}
    doorbell()
    answer = await desk.change(route)
    assert answer.status_code in {200, 201, 204}, answer.text
    assert _counts(superuser) == (audits + mutation.records, changes + mutation.history)
    after = stored_rows(superuser)["organizations"]
    moved = {row["id"]: row["revision"] for row in after if row["revision"] != heads.get(row["id"], 0)}
    rung = doorbell()
    if mutation.revisions:
        ((organization_id, revision),) = moved.items()
        assert revision == heads.get(organization_id, 0) + 1
        assert rung == [f"{organization_id}:{revision}:{','.join(mutation.changed)}"]
    else:
        assert moved == {}
        (organization_id,) = heads
        what = heads[organization_id] if mutation.records else "health"
        what = "tokens" if mutation.action == "token.revoke" else what
        assert rung == [f"{organization_id}:{what}:{','.join(mutation.changed)}"] * mutation.rings
    if mutation.records:
        event = await _newest(desk, route, answer)
        assert (event.action, event.outcome) == (mutation.action, "success")
        assert event.target == (desk.target(mutation) or answer.json()["id"])
        if mutation.revisions:  # what became of providers is found from the record
            assert event.detail["revision"] in moved.values()
    assert desk.ledger.is_whole()


async def _newest(desk: Desk, route: str, answer: httpx.Response) -> AuditEvent:
    """Return the row that a change left, which says who did it in which request."""
    me = (await desk.caller(route).get("/api/me")).json()
    (event,) = [
        event
        for organization_id in desk.ledger.organizations()
        for event, _, _ in desk.ledger.rows(organization_id)
        if event.request_id == answer.headers["x-request-id"]
    ]
    assert event.actor == me["subject"]
    return event


@pytest.mark.parametrize("route", MUTATIONS)
async def test_a_change_that_is_refused_leaves_nothing_behind(
    desk: Desk, superuser: Superuser, doorbell: Callable[[], list[str]], route: str
) -> None:
    before = stored_rows(superuser)
    doorbell()
    mutation = MUTATIONS[route]
    for url, body, headers in mutation.refused:
        assert (await desk.do(route, url, body, headers)).status_code in {404, 409, 412, 422}, (url, body)
    assert stored_rows(superuser) == before
    unscoped = await desk.reader.request(
        route.partition(" ")[0], mutation.url.replace("SPARE", desk.spare), json=mutation.body
    )
    assert unscoped.status_code == 403
    # All that a refused attempt leaves is the record of it.
    denied = _denied(superuser)
    assert (denied.pop(), without_refusals(stored_rows(superuser))) == (
        mutation.denied_action,
        without_refusals(before),
    )
    assert denied == []
    assert desk.ledger.is_whole()
    assert doorbell() == []


def _denied(superuser: Superuser) -> list[str]:
    """Return which actions were refused on record."""
    return [row["action"] for row in stored_rows(superuser)["audit_events"] if row["outcome"] == "denied"]


@pytest.mark.parametrize("route", [route for route, mutation in MUTATIONS.items() if mutation.revisions])
async def test_the_same_change_again_leaves_nothing_more(
    desk: Desk, superuser: Superuser, doorbell: Callable[[], list[str]], route: str
) -> None:
    await desk.change(route)
    before = stored_rows(superuser)
    doorbell()
    assert (await desk.change(route)).status_code in {200, 204, 404, 409}
    assert stored_rows(superuser) == before
    assert doorbell() == []


async def test_the_history_says_what_the_settings_were_and_became(desk: Desk, superuser: Superuser) -> None:
    url = f"{PROVIDERS}/groq/config"
    bodies: list[dict[str, object]] = [{"config": {"temperature": 0.1}}, {"isEnabled": True, "priority": 7}]
    for body in bodies:
        assert (await desk.administrator.put(url, json=body)).status_code == 200
    assert (await desk.administrator.delete(url)).status_code == 204
    rows = superuser.execute(
        "SELECT before, after FROM config_history WHERE provider_key = 'groq' ORDER BY revision"
    ).fetchall()
    first = {"config": {"temperature": 0.1}, "schemaVersion": 0, "isEnabled": False, "priority": 0}
    second = first | {"isEnabled": True, "priority": 7}
    assert rows == [(None, first), (first, second), (second, None)]


async def test_a_release_is_on_record_before_the_key_leaves(desk: Desk, administrator: Principal) -> None:
    before = len(desk.ledger.rows(administrator.tenant))
    worker = replace(worker_of(administrator.tenant), request_id="the-request")
    released = await desk.plane.workers.release(worker, "openai")
    assert set(released.secrets) == {"apiKey"}
    *earlier, (event, _, _) = desk.ledger.rows(administrator.tenant)
    assert len(earlier) == before
    assert (event.actor, event.action, event.target) == ("token:worker", "secrets.release", "openai")
    assert event.request_id == "the-request"
    assert event.detail == {"revision": 4, "providers": {"openai": ["apiKey"]}}
    assert desk.ledger.is_whole()


REVOKE = "REVOKE INSERT ON audit_events FROM voxplane_app"
BROKEN = {
    "the right is gone": REVOKE,
    "a trigger refuses": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse()""",
    "a trigger refuses at commit": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON audit_events DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION refuse()""",
    "the next place is taken": """
        INSERT INTO audit_events SELECT id, n, now(), 'x', 'x', 'x', 'x', NULL, '{}', '', ''
        FROM organizations, generate_series(audit_seq + 1, audit_seq + 3) AS n;
        ALTER TABLE audit_events ADD CHECK (seq > 1) NOT VALID""",
    "the disk is full": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse()""",
    "the table is gone": "ALTER TABLE audit_events RENAME TO elsewhere",
}


@pytest.mark.parametrize("failure", BROKEN)
async def test_what_cannot_be_put_on_record_is_not_done(
    desk: Desk, superuser: Superuser, administrator: Principal, doorbell: Callable[[], list[str]], failure: str
) -> None:
    """A1: on every route that changes something or releases a key, and where the command line releases one."""
    superuser.execute(BROKEN[failure].encode())
    await _assert_nothing_is_done(desk, superuser, administrator, doorbell)


async def _assert_nothing_is_done(
    desk: Desk, superuser: Superuser, administrator: Principal, doorbell: Callable[[], list[str]]
) -> None:
    before = stored_rows(superuser)
    doorbell()
    for route in ON_RECORD:
        answer = await desk.change(route)
        assert answer.status_code == 503, (route, answer.text)
        assert "canary" not in answer.text
    for attempt in _others(desk.plane, administrator):
        with pytest.raises(Unavailable):
            await attempt()
    assert stored_rows(superuser) == before
    assert doorbell() == []


def _others(plane: ControlPlane, administrator: Principal) -> list[Callable[[], Awaitable[object]]]:
    """What the command line does besides the routes: releases, files and imports, of old and new organizations."""
    blob = {"anthropic": {"temperature": 0.3, "apiKey": "sk-ant-canary-0000001"}}

    async def applied(slug: str) -> None:
        entry = {"temperature": 0.7}
        wanted = Apply(
            OrganizationFile.model_validate({"organization": slug, "providers": {"groq": {"config": entry}}})
        )
        await plane.files.apply(administrator, wanted, await plane.files.plan(administrator, wanted))

    async def imported(slug: str) -> None:
        async def records() -> AsyncGenerator[Record]:
            yield Record(1, slug, blob)

        async for _ in plane.legacy.run(administrator, records(), ImportOptions(apply=True, create_organizations=True)):
            pass

    return [
        lambda: plane.workers.release(worker_of(administrator.tenant), "openai"),
        *(partial(do, slug) for do in (applied, imported) for slug in ("default", "another")),
    ]


async def test_what_waits_too_long_for_the_record_is_not_done(
    postgres: EmbeddedPostgres, database: str, template: Template, desk: Desk, administrator: Principal
) -> None:
    """A1: somebody holds the table; the answer is 503, and when he lets go the change can be made."""
    settings = settings_for(postgres, database, template.keyring, token_cache_seconds=0, lock_timeout_seconds=0.05)
    async with ControlPlane.open(settings) as plane, _moved_to(plane, desk) as impatient:
        before = stored_rows(desk.ledger.superuser)
        with _held(postgres, database):
            for route in ON_RECORD:
                assert (await impatient.change(route)).status_code == 503, route
            for attempt in _others(plane, administrator):
                with pytest.raises(VoxplaneError, match="not answer"):
                    await attempt()
        assert stored_rows(desk.ledger.superuser) == before
        for route in ON_RECORD:
            assert (await impatient.change(route)).status_code in {200, 201, 204}, route
    assert desk.ledger.is_whole()


@contextmanager
def _held(postgres: EmbeddedPostgres, database: str) -> Generator[None]:
    """Keep everybody from writing to the audit log."""
    with admin_connection(postgres, database) as other, other.transaction():
        other.execute("LOCK TABLE audit_events IN SHARE MODE")
        yield


@asynccontextmanager
async def _moved_to(plane: ControlPlane, desk: Desk) -> AsyncGenerator[Desk]:
    """The same people at another process of the same installation."""
    transport = httpx.ASGITransport(create_app(plane))
    async with AsyncExitStack() as stack:
        administrator, platform, worker, reader = [
            await stack.enter_async_context(
                httpx.AsyncClient(transport=transport, base_url="http://voxplane", headers=client.headers)
            )
            for client in (desk.administrator, desk.platform, desk.worker, desk.reader)
        ]
        yield replace(desk, plane=plane, administrator=administrator, platform=platform, worker=worker, reader=reader)


@pytest.mark.drill
async def test_records_hold_names_and_numbers_and_nothing_that_somebody_entered(
    desk: Desk, superuser: Superuser, administrator: Principal
) -> None:
    """A4: a mark in every key, setting, label, name of a token and mask of one, over some hundred records."""
    mark = f"Canary{secrets.token_hex(8)}Mark"
    here = desk.administrator
    for number in range(60):
        entered: list[tuple[str, str, object]] = [
            ("PUT", "openai/secrets", {"secrets": {"apiKey": f"sk-{mark}-{number}"}, "label": f"{mark} {number}"}),
            ("PUT", "openai/config", {"config": {"organization": f"org-{mark}{number}"}}),
            ("PUT", "openai/config", {"config": {f"{mark}Key": mark}}),
            ("PUT", "openai/secrets", {"secrets": {mark: mark}}),
        ]
        for method, path, body in entered:
            await here.request(method, f"{PROVIDERS}/{path}", json=body)
        made = await here.post(f"{ORGANIZATION}/tokens", json={"name": mark, "scopes": ["livekit:read"]})
        await here.delete(f"{ORGANIZATION}/tokens/{made.json()['id']}")
        await desk.plane.workers.release(worker_of(administrator.tenant), "openai")
    records = stored_rows(superuser)["audit_events"]
    assert len(records) >= 300
    assert not found_in(json.dumps(records).encode(), mark)
    # The search finds it where it may be.
    assert found_in(json.dumps(stored_rows(superuser)["config_history"]).encode(), mark)


Tamper = Callable[[random.Random, Superuser, UUID, int], int]


def _set(assignment: str) -> Tamper:
    """Change a column of one row; it is found at that row."""

    def tamper(dice: random.Random, superuser: Superuser, organization_id: UUID, last: int) -> int:
        seq = dice.randint(1, last)
        statement = f"UPDATE audit_events SET {assignment} WHERE organization_id = %s AND seq = %s"
        assert superuser.execute(statement.encode(), [organization_id, seq]).rowcount == 1
        return seq

    return tamper


def _shift(superuser: Superuser, organization_id: UUID, after: int, by: int) -> None:
    """Renumber the rows behind one."""
    for step in (1_000_000, by - 1_000_000):
        superuser.execute(
            "UPDATE audit_events SET seq = seq + %s WHERE organization_id = %s AND seq > %s",
            [step, organization_id, after],
        )


def _delete(superuser: Superuser, organization_id: UUID, first: int, last: int) -> None:
    superuser.execute(
        "DELETE FROM audit_events WHERE organization_id = %s AND seq BETWEEN %s AND %s", [organization_id, first, last]
    )


def _take_one_out(dice: random.Random, superuser: Superuser, organization_id: UUID, last: int) -> int:
    seq = dice.randint(1, last - 1)
    _delete(superuser, organization_id, seq, seq)
    return seq


def _take_one_out_and_close_the_gap(dice: random.Random, superuser: Superuser, organization_id: UUID, last: int) -> int:
    seq = _take_one_out(dice, superuser, organization_id, last)
    _shift(superuser, organization_id, seq, -1)
    return seq


def _cut_the_middle_out(dice: random.Random, superuser: Superuser, organization_id: UUID, last: int) -> int:
    first = dice.randint(1, last - 2)
    _delete(superuser, organization_id, first, dice.randint(first, last - 1))
    return first


def _cut_the_middle_out_and_close_the_gap(
    dice: random.Random, superuser: Superuser, organization_id: UUID, last: int
) -> int:
    first = dice.randint(1, last - 5)
    _delete(superuser, organization_id, first, first + 3)
    _shift(superuser, organization_id, first, -4)
    return first


def _cut_the_beginning_off(dice: random.Random, superuser: Superuser, organization_id: UUID, last: int) -> int:
    _delete(superuser, organization_id, 1, dice.randint(1, last - 1))
    return 1


def _swap_two(dice: random.Random, superuser: Superuser, organization_id: UUID, last: int) -> int:
    one, other = sorted(dice.sample(range(1, last + 1), 2))
    for before, after in ((one, 0), (other, one), (0, other)):
        superuser.execute(
            "UPDATE audit_events SET seq = %s WHERE organization_id = %s AND seq = %s", [after, organization_id, before]
        )
    return one


def _copy_one(dice: random.Random, superuser: Superuser, organization_id: UUID, last: int) -> int:
    """Put a copy of a row behind itself: a true row, twice."""
    seq = dice.randint(1, last - 1)
    _shift(superuser, organization_id, seq, 1)
    superuser.execute(
        """
        INSERT INTO audit_events
        SELECT organization_id, seq + 1, at, actor, action, target, outcome, request_id, detail, prev_hash, hash
        FROM audit_events WHERE organization_id = %s AND seq = %s
        """,
        [organization_id, seq],
    )
    return seq + 1


def _forge_from(seq: int, superuser: Superuser, organization_id: UUID) -> None:
    """Rewrite a row, and every hash from there on, with a key that the intruder thought up."""
    ledger = Ledger(superuser, secrets.token_bytes(32))
    rows = ledger.rows(organization_id)
    previous = rows[seq - 1][1]
    for event, _, _ in rows[seq - 1 :]:
        forged = replace(event, actor="nobody") if event.seq == seq else event
        made = chain_hash(ledger.key, previous, forged)
        superuser.execute(
            "UPDATE audit_events SET actor = %s, prev_hash = %s, hash = %s WHERE organization_id = %s AND seq = %s",
            [forged.actor, previous, made, organization_id, event.seq],
        )
        previous = made


def _rewrite_with_another_key(dice: random.Random, superuser: Superuser, organization_id: UUID, last: int) -> int:
    seq = dice.randint(1, last)
    _forge_from(seq, superuser, organization_id)
    return seq


def _add_one_at_the_end(_dice: random.Random, superuser: Superuser, organization_id: UUID, last: int) -> int:
    superuser.execute(
        """
        INSERT INTO audit_events
        SELECT organization_id, seq + 1, at, actor, action, target, outcome, request_id, detail, hash,
               sha256(hash || actor::bytea)
        FROM audit_events WHERE organization_id = %s AND seq = %s
        """,
        [organization_id, last],
    )
    return last + 1


def _take_anothers(dice: random.Random, superuser: Superuser, organization_id: UUID, last: int) -> int:
    """Put another organization's row of the same number in place of one's own: true, but elsewhere."""
    seq = dice.randint(1, min(last, 5))
    _delete(superuser, organization_id, seq, seq)
    moved = superuser.execute(
        "UPDATE audit_events SET organization_id = %s WHERE organization_id <> %s AND seq = %s",
        [organization_id, organization_id, seq],
    )
    assert moved.rowcount == 1
    return seq


TAMPERS: list[Tamper] = [
    _set("actor = 'somebody else'"),
    _set("action = action || ' '"),
    _set("target = 'x' || target"),
    _set("outcome = 'failure'"),
    _set("request_id = coalesce(request_id, '') || 'x'"),
    _set("at = at + interval '1 microsecond'"),
    _set("""detail = detail || '{"more": 1}'"""),
    _set("prev_hash = prev_hash || '\\x00'"),
    _set("hash = set_byte(hash, 31, 255 - get_byte(hash, 31))"),
    _take_one_out,
    _take_one_out_and_close_the_gap,
    _cut_the_middle_out,
    _cut_the_middle_out_and_close_the_gap,
    _cut_the_beginning_off,
    _swap_two,
    _copy_one,
    _rewrite_with_another_key,
    _add_one_at_the_end,
    _take_anothers,
]


async def _filled(plane: ControlPlane, administrator: Principal, organization_id: UUID, records: int) -> None:
    who = replace(administrator, organization_id=organization_id, request_id="the-request")
    for number in range(records):
        change = ConfigWrite(config={"temperature": number / 100}, priority=number)
        await plane.providers.upsert_organization_provider_config(who, "openai", change)


async def test_a_tampered_chain_is_broken_just_where_it_was_tampered_with(
    desk: Desk, administrator: Principal, ledger: Ledger
) -> None:
    """A5: 100 things that a superuser can do, each undone before the next."""
    created = await desk.platform.post("/api/organizations", json={"slug": "second", "name": "Second"})
    for organization_id in (administrator.tenant, UUID(created.json()["id"])):
        await _filled(desk.plane, administrator, organization_id, 40)
    assert ledger.is_whole()
    last = len(ledger.rows(administrator.tenant))
    dice = random.Random(5)  # noqa: S311 - which row is tampered with
    for number in range(100):
        tamper = TAMPERS[number % len(TAMPERS)]
        with ledger.superuser.transaction(force_rollback=True):
            expected = tamper(dice, ledger.superuser, administrator.tenant, last)
            assert ledger.first_broken(administrator.tenant) == expected, (number, tamper)
            assert not ledger.is_whole()
    assert ledger.is_whole()


async def test_a_chain_that_was_cut_off_no_longer_reaches_its_organizations_head(
    desk: Desk, administrator: Principal, ledger: Ledger
) -> None:
    """What is left of a chain is a chain. Against one who changes the head as well, anchors outside must help."""
    await _filled(desk.plane, administrator, administrator.tenant, 10)
    last = len(ledger.rows(administrator.tenant))
    for kept in (0, 1, last - 1):
        with ledger.superuser.transaction(force_rollback=True):
            _delete(ledger.superuser, administrator.tenant, kept + 1, last)
            assert ledger.first_broken(administrator.tenant) is None
            assert not ledger.is_whole()
    assert ledger.is_whole()


def test_two_records_with_the_same_words_in_other_places_are_told_apart() -> None:
    event = AuditEvent(
        organization_id=uuid4(),
        seq=1,
        at=AT,
        actor="ab",
        action="c",
        target="d",
        outcome="success",
        request_id=None,
        detail={},
    )
    others = [
        replace(event, actor="a", action="bc"),
        replace(event, request_id=""),
        replace(event, request_id="None"),
        replace(event, detail={"": ""}),
        replace(event, seq=2),
        replace(event, organization_id=uuid4()),
        replace(event, target='d","success'),
    ]
    hashes = {chain_hash(b"k", b"p", each) for each in (event, *others)}
    hashes |= {chain_hash(b"other", b"p", event), chain_hash(b"k", b"other", event)}
    assert len(hashes) == len(others) + 3

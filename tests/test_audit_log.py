"""The audit log as people read it: who sees what, files, refusals, marks of secrets, and whether it is whole."""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
import secrets
from collections.abc import AsyncGenerator, Generator, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import psycopg
import pytest
import structlog
from psycopg import sql
from pydantic import SecretStr

from tests.conftest import Caller, Template, admin_connection, settings_for, worker_of
from tests.test_audit import TAMPERS, ledger_of
from tests.test_leaks import found_in
from voxplane.errors import ConfigurationError, DestinationUnapproved, KeyUnavailable, PermissionDenied
from voxplane.schemas import ConfigWrite, OrganizationCreate, SecretsWrite
from voxplane.server import anchor_file, audit_export, audit_log, doctor
from voxplane.server import denials as denials_module
from voxplane.server.audit_store import AuditFilter
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Principal, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.denials import Denials
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.envelope import AnchorKey, Keyring
from voxplane.server.legacy_import import ImportOptions
from voxplane.server.legacy_source import Record
from voxplane.server.settings import Settings
from voxplane.server.write import Unsealed

AUDIT = "/api/organizations/current/audit"
PROVIDERS = "/api/organizations/current/providers"
Superuser = psycopg.Connection[tuple[object, ...]]


async def test_who_may_read_the_log_reads_all_of_it_and_others_what_they_did_themselves(caller: Caller) -> None:
    auditor = await caller(Scope.AUDIT_READ)
    writer = await caller(Scope.LIVEKIT_READ, Scope.LIVEKIT_WRITE)
    reader = await caller(Scope.LIVEKIT_READ)
    await writer.put(f"{PROVIDERS}/openai/config", json={"priority": 3})
    assert (await reader.put(f"{PROVIDERS}/openai/config", json={"priority": 4})).status_code == 403
    seen = {
        who: [(each["action"], each["outcome"]) for each in (await client.get(AUDIT)).json()["records"]]
        for who, client in (("auditor", auditor), ("writer", writer), ("reader", reader))
    }
    assert seen["auditor"][:2] == [("config.put", "denied"), ("config.put", "success")]
    assert seen["writer"] == [("config.put", "success")]
    assert seen["reader"] == [("config.put", "denied")]
    # Whoever else's is asked for: there is nothing to see.
    me = (await writer.get("/api/me")).json()["subject"]
    assert (await reader.get(AUDIT, params={"actor": me})).json()["records"] == []
    assert (await (await caller(Scope.WORKER_RESOLVE)).get(AUDIT)).status_code == 403


async def test_the_log_is_narrowed_down_and_read_in_pages(plane: ControlPlane, caller: Caller) -> None:
    administrator = await caller(*ADMINISTRATOR_SCOPES)
    for number in range(5):
        await administrator.put(f"{PROVIDERS}/openai/config", json={"priority": number + 1})
    await administrator.put(f"{PROVIDERS}/groq/config", json={"priority": 5})
    await (await caller(Scope.LIVEKIT_READ)).put(f"{PROVIDERS}/openai/config", json={})
    me = (await administrator.get("/api/me")).json()
    now = datetime.now(UTC)

    async def asked(**query: Any) -> list[dict[str, Any]]:
        answer = await administrator.get(AUDIT, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["records"]

    whole = await asked()
    assert [each["seq"] for each in whole] == list(range(len(whole), 0, -1))
    assert {(each["actor"]["name"], each["actor"]["kind"]) for each in await asked(actor=me["subject"])} == {
        (me["name"], "token")
    }
    assert [each["target"] for each in await asked(action="config.put")] == ["openai", "groq", *["openai"] * 5]
    assert len(await asked(target="openai", outcome="success", limit=200)) == 5
    assert [each["outcome"] for each in await asked(outcome="denied")] == ["denied"]
    assert await asked(until=(now - timedelta(hours=1)).isoformat()) == []
    assert await asked(since=(now - timedelta(hours=1)).isoformat()) == whole
    first = (await administrator.get(AUDIT, params={"limit": 4})).json()
    rest = (await administrator.get(AUDIT, params={"limit": 200, "before": first["nextBefore"]})).json()
    assert first["records"] + rest["records"] == whole
    for wrong in ({"limit": 0}, {"outcome": "maybe"}, {"since": "2026-01-01T00:00:00"}, {"actor": "\0"}, {"who": "x"}):
        assert (await administrator.get(AUDIT, params=wrong)).status_code == 422, wrong
    # What a worker got is there at once, though nothing of the organization changed by it.
    await plane.workers.release(worker_of((await plane.access.find_organization("default")).id), "piper")
    assert len(await asked()) == len(whole) + 1
    assert [each["target"] for each in await asked(purpose="worker")] == ["piper"]
    assert await asked(purpose="verification") == []


async def test_a_file_holds_every_record_and_no_cell_is_a_formula(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "_PAGE", 3)
    administrator = await caller(*ADMINISTRATOR_SCOPES)
    token = {"name": "=HYPERLINK(0)", "scopes": ["livekit:read", "livekit:write"]}
    made = (await administrator.post("/api/organizations/current/tokens", json=token)).json()
    formula = {"Authorization": f"Bearer {made['value']}"}
    for number in range(6):
        await administrator.put(f"{PROVIDERS}/openai/config", json={"priority": number + 1}, headers=formula)
    records = (await administrator.get(AUDIT)).json()["records"]
    for query, headers in (({"format": "jsonl"}, {}), ({}, {"Accept": "application/x-ndjson, */*;q=0.1"})):
        lines = await administrator.get(AUDIT, params=query, headers=headers)
        assert [json.loads(line) for line in lines.text.splitlines()] == records
        assert lines.headers["content-type"].startswith(audit_export.JSON_LINES)
        assert lines.headers["content-disposition"] == 'attachment; filename="audit.jsonl"'
    for query, headers in (({"format": "csv"}, {}), ({}, {"Accept": "text/csv"})):
        table = await administrator.get(AUDIT, params=query, headers=headers)
        rows = list(csv.DictReader(io.StringIO(table.text, newline="")))
        assert [int(row["seq"]) for row in rows] == [each["seq"] for each in records]
        assert [json.loads(row["detail"]) for row in rows] == [each["detail"] for each in records]
        assert {row["name"] for row in rows if row["action"] == "config.put"} == {"'=HYPERLINK(0)"}
        assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    filtered = await administrator.get(AUDIT, params={"format": "jsonl", "action": "token.create"})
    assert made["id"] in {json.loads(line)["target"] for line in filtered.text.splitlines()}


async def test_refusals_are_counted_instead_of_written_when_there_are_too_many_of_one_caller(  # noqa: PLR0915 - minutes that follow one another
    plane: ControlPlane,
    administrator: Principal,
    superuser: Superuser,
    template: Template,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    unsealed = Unsealed(Keyring.load(template.keyring), ledger_of(superuser, template).key)
    denials = Denials(plane.database, unsealed, lambda: datetime.now(UTC), lambda: now[0])
    loud, quiet = [replace(administrator, subject=f"token:{name}") for name in ("loud", "quiet")]
    for _ in range(130):
        await denials.record(loud, "config.put", "openai", "permission_denied")
    await denials.record(quiet, "config.put", "openai", "permission_denied")

    async def on_record(who: Principal) -> list[tuple[str, object]]:
        found = await plane.audit.get_records(administrator, AuditFilter(actor=who.subject), limit=500)
        assert {each.outcome for each in found.records} <= {"denied"}
        return [(each.action, each.detail.get("count")) for each in found.records]

    assert (len(await on_record(loud)), len(await on_record(quiet))) == (100, 1)
    await denials.settle()
    assert len(await on_record(loud)) == 100
    now[0] = 61
    await denials.record(loud, "config.put", "openai", "permission_denied")
    assert (await on_record(loud))[:3] == [("config.put", None), ("denials.collapsed", 30), ("config.put", None)]
    for _ in range(150):
        await denials.record(loud, "config.put", "openai", "permission_denied")
    now[0] = 125
    # At the turn of the minute many come at one moment: none of them is lost.
    with monkeypatch.context() as patch:
        patch.setattr(denials_module, "_PER_MINUTE", 3)
        async with anyio.create_task_group() as group:
            for _ in range(9):
                group.start_soon(denials.record, loud, "config.put", "openai", "permission_denied")
    seen = await on_record(loud)
    assert seen.count(("config.put", None)) == 100 + 100 + 3
    assert [each for each in seen if each[1]] == [("denials.collapsed", 51), ("denials.collapsed", 30)]
    now[0] = 190
    await denials.settle()
    assert (await on_record(loud))[0] == ("denials.collapsed", 6)
    assert len(await on_record(quiet)) == 1
    # Many at once do not take all connections: they wait for their turn, and what is too many is counted.
    async with anyio.create_task_group() as group:
        for number in range(130):
            who = replace(administrator, subject=f"token:{number}")
            group.start_soon(denials.record, who, "config.put", "openai", "permission_denied")
    found = await plane.audit.get_records(administrator, AuditFilter(), limit=500)
    assert sum(each.actor.name.isdigit() for each in found.records) == 100
    # What was only counted is on record when the process ends, at once.
    await denials.end()
    found = await plane.audit.get_records(administrator, AuditFilter(), limit=500)
    numbered = [each for each in found.records if each.actor.name.isdigit()]
    assert len({each.actor.name for each in numbered}) == len(numbered) == 130
    assert [each.detail["count"] for each in numbered if each.action == "denials.collapsed"] == [1] * 30
    superuser.execute("REVOKE INSERT ON audit_events FROM voxplane_app")
    await denials.record(quiet, "config.put", "openai", "permission_denied")
    assert len(await on_record(quiet)) == 1


async def test_a_key_that_a_worker_is_not_given_is_on_record(
    plane: ControlPlane, administrator: Principal, caller: Caller
) -> None:
    service = plane.providers
    await service.update_provider_secrets(administrator, "openai", SecretsWrite(secrets={"apiKey": "sk-canary"}))
    change = ConfigWrite(config={"baseUrl": "https://elsewhere.example/v1"})
    await service.upsert_organization_provider_config(administrator, "openai", change)
    worker = await caller(Scope.WORKER_RESOLVE)
    assert (await worker.post("/api/organizations/current/resolve", json={})).status_code == 200
    with pytest.raises(DestinationUnapproved):
        await plane.workers.release(worker_of(administrator.tenant), "openai")
    refused, given, *_ = (await plane.audit.get_records(administrator, AuditFilter(action="secrets.release"))).records
    assert (refused.outcome, refused.target, refused.detail) == (
        "denied",
        "openai",
        {"reason": "destination_unapproved"},
    )
    assert (given.outcome, given.detail["refused"]) == ("success", {"openai": "destination_unapproved"})


async def test_whether_a_secret_was_ever_stored_is_known_without_keeping_it(
    plane: ControlPlane, administrator: Principal, superuser: Superuser
) -> None:
    """A3: of 1,000 keys, stored and replaced in one organization, in another one, or never."""
    made = await plane.access.create_organization(
        local_administrator(None, "test"), OrganizationCreate(slug="other", name="Other")
    )
    other = replace(administrator, organization_id=made.id)
    assert (await plane.audit.was_stored(other, SecretStr("sk-nothing-yet"))).records == ()
    keys = [f"sk-{secrets.token_urlsafe(24)}" for _ in range(1000)]
    stored, elsewhere = keys[:60], keys[60:80]
    for who, its in ((administrator, stored), (other, elsewhere)):
        for number, key in enumerate(its):
            provider = ("openai", "groq", "deepgram")[number % 3]
            await plane.providers.update_provider_secrets(who, provider, SecretsWrite(secrets={"apiKey": key}))
        await plane.providers.remove_provider_secrets(who, "openai")
    found = [bool((await plane.audit.was_stored(administrator, SecretStr(key))).records) for key in keys]
    assert found == [key in stored for key in keys]
    (record,) = (await plane.audit.was_stored(administrator, SecretStr(stored[1]))).records
    assert (record.action, record.target, record.actor.name) == ("secrets.put", "groq", "test")
    # One key has another mark in each organization, and neither tells anything of it.
    same = SecretsWrite(secrets={"apiKey": "sk-the-same"})
    for who in (administrator, other):
        await plane.providers.update_provider_secrets(who, "groq", same)
    marks = superuser.execute(
        "SELECT detail->'fingerprints'->>'apiKey' FROM audit_events WHERE action = 'secrets.put'"
        " ORDER BY at DESC LIMIT 2"
    ).fetchall()
    assert len({mark for (mark,) in marks}) == 2
    whole = [record async for page in plane.audit.pages(administrator, AuditFilter()) for record in page]
    said = json.dumps([each.model_dump(mode="json") for each in whole]).encode()
    assert not [key for key in stored if found_in(said, key)]
    with pytest.raises(PermissionDenied):
        await plane.audit.was_stored(replace(administrator, scopes=frozenset({Scope.AUDIT_READ})), SecretStr("x"))
    sealed = audit_log.AuditLog(database=plane.database, unsealed=None)
    with pytest.raises(KeyUnavailable):
        await sealed.was_stored(administrator, SecretStr("x"))
    with pytest.raises(KeyUnavailable):
        await sealed.check()


@pytest.mark.parametrize("times", [60, pytest.param(1000, marks=[pytest.mark.deep, pytest.mark.timeout(900)])])
async def test_the_check_finds_where_a_log_was_tampered_with_and_with_anchors_that_its_end_is_gone(
    plane: ControlPlane, administrator: Principal, superuser: Superuser, template: Template, times: int
) -> None:
    """A5 and A6: what a superuser can do, each undone before the next; an older database under newer anchors."""
    who = local_administrator(None, "test")
    second = (await plane.access.create_organization(who, OrganizationCreate(slug="second", name="Second"))).id
    for organization_id in (administrator.tenant, second):
        owner = replace(administrator, organization_id=organization_id, request_id="the-request")
        for number in range(30):
            change = ConfigWrite(config={"temperature": number / 100}, priority=number)
            await plane.providers.upsert_organization_provider_config(owner, "openai", change)
    early, late = [(await plane.audit.anchor()).model_dump_json(by_alias=True) for _ in range(2)]
    whole = await plane.audit.check([early, late])
    assert (whole.organizations, whole.anchors, whole.breaks) == (2, 2, ())
    last = len(ledger_of(superuser, template).rows(administrator.tenant))
    assert whole.rows == 2 * last
    dice = random.Random(5)  # noqa: S311 - which row is tampered with
    superuser.execute("CREATE TABLE kept_events AS SELECT * FROM audit_events")
    superuser.execute("CREATE TABLE kept_heads AS SELECT id, audit_seq, audit_hash FROM organizations")
    for number in range(times):
        tamper = TAMPERS[number % len(TAMPERS)]
        expected = tamper(dice, superuser, administrator.tenant, last)
        found = await plane.audit.check()
        where = {each.organization: each.seq for each in found.breaks}
        assert where["default"] == expected, (number, tamper)
        _put_back(superuser)
    # The end is cut off and the organization's own row made to match: only the anchors know.
    for left in (last - 1, 1, 0):
        superuser.execute("DELETE FROM audit_events WHERE organization_id = %s AND seq > %s", [second, left])
        superuser.execute(
            "UPDATE organizations SET audit_seq = %s, audit_hash = coalesce((SELECT hash FROM audit_events"
            " WHERE organization_id = id AND seq = %s), '') WHERE id = %s",
            [left, left, second],
        )
        assert (await plane.audit.check()).breaks == ()
        (found,) = (await plane.audit.check([early])).breaks
        assert (found.organization, found.seq, found.problem) == ("second", left + 1, "cut_off")
    _put_back(superuser)
    assert (await plane.audit.check([late])).breaks == ()


def _put_back(superuser: Superuser) -> None:
    superuser.execute("TRUNCATE audit_events")
    superuser.execute("INSERT INTO audit_events SELECT * FROM kept_events")
    superuser.execute(
        "UPDATE organizations SET audit_seq = k.audit_seq, audit_hash = k.audit_hash FROM kept_heads k"
        " WHERE k.id = organizations.id"
    )


async def test_an_anchor_is_of_this_installation_or_passed_over(
    plane: ControlPlane, administrator: Principal, superuser: Superuser, template: Template
) -> None:
    anchor = await plane.audit.anchor()
    assert anchor.heads[administrator.tenant][0] == anchor.rows > 0
    line = anchor.model_dump_json(by_alias=True)
    altered = anchor.model_copy(update={"rows": anchor.rows + 1})
    shorter = anchor.model_copy(update={"heads": {}})
    for wrong in (altered.model_dump_json(by_alias=True), shorter.model_dump_json(by_alias=True)):
        found = await plane.audit.check([line, wrong])
        assert (found.anchors, found.foreign_lines, found.breaks) == (1, (2,), ())
    for wrong in ("", "{}", "[1]", line.replace(anchor.signature, "xyz")):
        with pytest.raises(ConfigurationError, match="None of the anchors"):
            await plane.audit.check([wrong])
    # Signed, of an organization that is not there, and of a row that is another one than it was.
    key = AnchorKey.derive(ledger_of(superuser, template).key)
    gone, (seq, _) = uuid4(), anchor.heads[administrator.tenant]
    unsigned = anchor.model_copy(update={"heads": {gone: (3, "00"), administrator.tenant: (seq, "00")}})
    signed = unsigned.model_copy(update={"signature": key.sign(unsigned.signed_content()).hex()})
    found = (await plane.audit.check([signed.model_dump_json(by_alias=True)])).breaks
    assert [(each.organization, each.seq, each.problem) for each in found] == [
        ("default", seq, "not_as_anchored"),
        (str(gone), 1, "cut_off"),
    ]
    # A later anchor of the row that took its place does not hide what an earlier one proves.
    for lines in ([signed.model_dump_json(by_alias=True), line], [line, signed.model_dump_json(by_alias=True)]):
        assert ("default", seq) in [(each.organization, each.seq) for each in (await plane.audit.check(lines)).breaks]


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=[pytest.mark.deep, pytest.mark.timeout(900)])])
def test_an_older_database_that_was_put_back_shows_under_newer_anchors(
    postgres: EmbeddedPostgres, database: str, template: Template, tmp_path: Path, times: int
) -> None:
    """A6: whole databases, each copied, written to further, anchored, and put back as the copy."""
    dice = random.Random(6)  # noqa: S311 - how much is written
    here = settings_for(postgres, database, template.keyring)
    anchors: list[str] = []
    file = tmp_path / "anchors.jsonl"
    for number in range(times):
        last = anyio.run(_written_and_anchored, here, dice.randint(0, 3), anchors)
        with _copied(postgres, database, f"older_{number}") as copy:
            anchored = anyio.run(_written_and_anchored, here, dice.randint(1, 3), anchors)
            there = settings_for(postgres, copy, template.keyring, anchors_file=file)
            found = anyio.run(_breaks, there, [[], anchors[-1:], anchors])
            assert found == [[], *[[("default", last + 1, "cut_off")]] * 2]
            # Without a look into the log: at start, and by the doctor.
            file.write_text("".join(f"{anchor}\n" for anchor in anchors))
            [seen] = anyio.run(_said_at_start, there)
            assert (seen["log_level"], seen["organizations"], seen["of"]) == ("error", 1, 1)
            assert _anchors_of(anyio.run(doctor.examine, there)).startswith("bad: the audit log of 1 organization ends")
            # It is right so, and written to further than the one that it replaces: only a new file of anchors forgets.
            anew: list[str] = []
            for changes in (0, 5):
                anyio.run(_written_and_anchored, there, changes, anew)
            assert anyio.run(_breaks, there, [anew, anew[:1], [*anchors, *anew]]) == [
                *([], []),
                [("default", anchored, "not_as_anchored")],
            ]
    assert anyio.run(_breaks, here, [anchors]) == [[]]
    here = here.model_copy(update={"anchors_file": file})
    assert [each["log_level"] for each in anyio.run(_said_at_start, here)] == ["info"]
    assert _anchors_of(anyio.run(doctor.examine, here)).startswith("good: the audit log reaches the anchor of ")
    for content, level, verdict in (
        ("\n", "warning", "note: none in "),
        ("{}\n", "warning", "bad: None of the anchors"),
        (f"{anchors[0]}\n{{}}\n", "info", "good: the audit log reaches the anchor of "),
    ):
        file.write_text(content)
        assert [each["log_level"] for each in anyio.run(_said_at_start, here)] == [level]
        assert _anchors_of(anyio.run(doctor.examine, here)).startswith(verdict)


def _anchors_of(report: doctor.Report) -> str:
    (found,) = [each for each in report.findings if each.subject == "anchors"]
    return f"{found.verdict}: {found.finding}"


async def test_of_a_file_of_anchors_the_last_line_is_read_however_long(
    plane: ControlPlane, superuser: Superuser, template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchor_file, "_PIECE_BYTES", 10)
    file = tmp_path / "anchors"
    assert await plane.audit.glance(file) is None
    anchor = await plane.audit.anchor()
    line = anchor.model_dump_json(by_alias=True)
    for content in (line, f"{line}\n", f"{{}}\n{line}\n\n", "x" * 1000 + f"\n{line}"):
        file.write_text(content)
        found = await plane.audit.glance(file)
        assert found is not None
        assert (found.anchored_at, found.organizations, found.behind) == (anchor.at, 1, ())
    # Of an organization that is gone.
    key, gone = AnchorKey.derive(ledger_of(superuser, template).key), uuid4()
    for heads, behind in (({gone: (3, "00")}, (gone,)), (anchor.heads, ()), ({gone: (0, "")}, ())):
        unsigned = anchor.model_copy(update={"heads": heads})
        signed = unsigned.model_copy(update={"signature": key.sign(unsigned.signed_content()).hex()})
        file.write_text(signed.model_dump_json(by_alias=True))
        found = await plane.audit.glance(file)
        assert found is not None
        assert found.behind == behind
    for wrong in (tmp_path, file.with_name("bytes")):
        file.with_name("bytes").write_bytes(b"\xff")
        with pytest.raises(ConfigurationError):
            await plane.audit.glance(wrong)


async def _said_at_start(settings: Settings) -> list[MutableMapping[str, Any]]:
    """Start the service, stop it, and return what it said of anchors."""
    with structlog.testing.capture_logs() as said:
        async with ControlPlane.open(settings) as plane:
            await plane.anchors.look()
    return [each for each in said if "anchor" in each["event"]]


async def _written_and_anchored(settings: Settings, changes: int, anchors: list[str]) -> int:
    """Make changes, keep an anchor, and return how long the log is."""
    async with ControlPlane.open(settings) as plane:
        who = local_administrator((await plane.access.find_organization("default")).id, "test")
        for _ in range(changes):
            priority = (await plane.providers.get_organization_provider(who, "openai")).priority
            change = ConfigWrite(priority=(priority + 1) % 1000)
            await plane.providers.upsert_organization_provider_config(who, "openai", change)
        anchor = await plane.audit.anchor()
        anchors.append(anchor.model_dump_json(by_alias=True))
        return anchor.heads[who.tenant][0]


async def _breaks(settings: Settings, anchors: list[list[str]]) -> list[list[tuple[str, int, str]]]:
    """Return what is found to be broken, with each of several choices of anchors."""
    async with ControlPlane.open(settings) as plane:
        found = [(await plane.audit.check(each)).breaks for each in anchors]
    return [[(each.organization, each.seq, each.problem) for each in breaks] for breaks in found]


@contextmanager
def _copied(postgres: EmbeddedPostgres, database: str, copy: str) -> Generator[str]:
    """A backup of a database, as it was when nobody wrote to it."""
    made, of = sql.Identifier(copy), sql.Identifier(database)
    with admin_connection(postgres) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(made, of))
        yield copy
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(made))


@pytest.mark.deep
@pytest.mark.timeout(1200)
async def test_a_hundred_thousand_records_hold_no_key(plane: ControlPlane, superuser: Superuser) -> None:
    """A4: every key, prompt and name of ten thousand imported organizations carries a mark, and none is on record."""
    mark = f"Canary{secrets.token_hex(8)}Mark"

    async def blobs() -> AsyncGenerator[Record]:
        for number in range(10_000):
            key = f"sk-{mark}{number}"
            blob = {
                "openai": {"temperature": 0.3, "organization": f"org-{mark}", "apiKey": key},
                "stt": {"provider": "deepgram", "apiKey": f"{mark}{number:020}", key: key},
                "prompts": {mark: key},
            }
            yield Record(number, f"org-{number}", blob)

    options = ImportOptions(apply=True, create_organizations=True)
    async for report in plane.legacy.run(local_administrator(None, "test"), blobs(), options):
        assert report.is_new
        assert mark not in report.model_dump_json()
    found = (await plane.access.get_organizations(limit=1000)).organizations
    workers = itertools.cycle([worker_of(each.id) for each in found if each.slug != "default"])
    for number in range(100_000 - _recorded(superuser)):
        released = await plane.workers.release(next(workers), ("openai", "deepgram")[number % 2])
        assert mark in released.secrets["apiKey"].get_secret_value()
    assert _recorded(superuser) == 100_000
    with superuser.transaction(), superuser.cursor("records") as cursor:
        cursor.execute(
            "SELECT to_jsonb(each)::text FROM audit_events AS each UNION ALL SELECT findings::text FROM import_notices"
        )
        while page := cursor.fetchmany(5000):
            assert not found_in("".join(str(text) for (text,) in page).encode(), mark)
    # The search finds it where it may be.
    row = superuser.execute("SELECT config::text FROM organization_provider_configs WHERE config <> '{}'").fetchone()
    assert found_in(str(row).encode(), mark)


def _recorded(superuser: Superuser) -> int:
    ((number,),) = superuser.execute("SELECT count(*) FROM audit_events").fetchall()
    assert isinstance(number, int)
    return number

"""Anchors that the service keeps: when one is added, what it names, and what is said when one cannot be."""

from __future__ import annotations

import fcntl
import os
from collections.abc import MutableMapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import structlog

from tests.conftest import Caller, admin_connection
from voxplane.errors import ConfigurationError
from voxplane.schemas import ConfigWrite, OrganizationCreate
from voxplane.schemas.audit import AuditAnchor
from voxplane.server import anchor_file, anchors, doctor
from voxplane.server.anchors import Anchors
from voxplane.server.audit_log import AuditLog
from voxplane.server.auth import Principal
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.settings import Settings

Superuser = psycopg.Connection[tuple[object, ...]]
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


class Kept:
    """Anchors in a file of their own, by a clock that the test moves."""

    def __init__(self, plane: ControlPlane, path: Path) -> None:
        self.plane, self.path, self.now = plane, path, NOON
        self.anchors = self.started()

    def started(self) -> Anchors:
        """Return them as another process would begin with them."""
        self.anchors = Anchors(self.plane.audit, self.path, every_seconds=60, clock=lambda: self.now)
        return self.anchors

    async def added(self, *, is_last: bool = False) -> list[AuditAnchor]:
        """Return what is added by a round, a minute after whatever was before."""
        before = self.lines()
        if before:
            self.now += timedelta(minutes=1)
        await self.anchors.add(is_last=is_last)
        lines = self.lines()
        assert lines[: len(before)] == before
        return [AuditAnchor.model_validate_json(line) for line in lines[len(before) :]]

    def lines(self) -> list[str]:
        """Return the lines of the file."""
        return list(anchor_file.read(self.path)) if self.path.exists() else []


@pytest.fixture
def kept(plane: ControlPlane, tmp_path: Path) -> Kept:
    return Kept(plane, tmp_path / "anchors.jsonl")


async def _change(plane: ControlPlane, who: Principal, priority: int) -> None:
    await plane.providers.upsert_organization_provider_config(who, "openai", ConfigWrite(priority=priority))


async def _second(plane: ControlPlane) -> Principal:
    new = OrganizationCreate(slug="second", name="Second")
    made = await plane.access.create_organization(local_administrator(None, "test"), new)
    return local_administrator(made.id, "test")


async def test_an_anchor_is_added_when_a_log_grew_and_names_what_grew_or_from_time_to_time_everything(
    plane: ControlPlane, administrator: Principal, kept: Kept
) -> None:
    second = await _second(plane)
    both = {administrator.tenant, second.tenant}
    [first] = await kept.added()
    assert (first.is_whole, set(first.heads), first.at) == (True, both, NOON)
    assert await kept.added() == []
    await _change(plane, second, 1)
    [grown] = await kept.added()
    assert (grown.is_whole, set(grown.heads), grown.rows) == (False, {second.tenant}, first.heads[second.tenant][0] + 1)
    kept.now += timedelta(hours=1)
    assert await kept.added() == []
    await _change(plane, second, 2)
    [whole] = await kept.added()
    assert (whole.is_whole, set(whole.heads), whole.at) == (True, both, kept.now)
    await _change(plane, administrator, 3)
    assert [set(each.heads) for each in await kept.added()] == [{administrator.tenant}]
    # Another process goes on from what is in the file: nothing grew, so nothing is added.
    kept.started()
    await kept.anchors.look()
    assert (await kept.added(), kept.anchors.state) == ([], "kept")
    await _change(plane, second, 4)
    assert [each.is_whole for each in await kept.added()] == [True]
    found = await plane.audit.check(kept.lines())
    assert (found.anchors, found.breaks) == (len(kept.lines()), ())
    # Of a file that was cut short, what is left counts, and what is no anchor does not.
    kept.path.write_text(f"{{}}\n{grown.model_dump_json(by_alias=True)}\n")
    newest = plane.audit.newest_anchor(kept.path)
    assert (newest and newest.heads) == grown.heads


async def test_a_log_that_is_cut_off_while_the_service_runs_is_found_and_stays_found(
    plane: ControlPlane, administrator: Principal, superuser: Superuser, settings: Settings, caller: Caller, kept: Kept
) -> None:
    second = await _second(plane)
    await _change(plane, second, 1)
    await kept.added()
    _cut(superuser, second.tenant, 1)
    assert (await plane.audit.check()).breaks == ()
    await _change(plane, administrator, 1)
    with structlog.testing.capture_logs() as said:
        kept.now += timedelta(hours=2)
        [whole] = await kept.added()
        assert (whole.is_whole, whole.heads[second.tenant][0]) == (True, 2)
        await _change(plane, administrator, 2)
        await kept.added()
    assert _levels(said) == [("error", 1)]
    assert kept.anchors.state == "behind"
    # Whoever starts anew, and the doctor, see it as well, in what was written since.
    kept.started()
    with structlog.testing.capture_logs() as said:
        await kept.anchors.look()
    assert _levels(said) == [("error", 1)]
    for path, verdict, said_of_it in (
        (kept.path, "bad", "of 1 organization ends before"),
        (anchor_file.STANDARD_OUTPUT, "good", "the service prints them"),
    ):
        report = await doctor.examine(settings.model_copy(update={"anchors_file": path}))
        [finding] = [each for each in report.findings if each.subject == "anchors"]
        assert (finding.verdict, said_of_it in finding.finding) == (verdict, True)
    [found] = (await plane.audit.check(kept.lines())).breaks
    assert (found.organization, found.seq, found.problem) == ("second", 2, "cut_off")
    # Who watches the service sees it too.
    client = await caller()
    assert (await client.get("/readyz")).json()["anchors"] == "off"
    object.__setattr__(plane, "anchors", kept.anchors)
    assert (await client.get("/readyz")).json()["anchors"] == "behind"
    metrics = (await client.get("/metrics")).text
    assert "voxplane_audit_behind 1.0" in metrics
    assert "voxplane_anchors_failing 0.0" in metrics


@pytest.mark.parametrize("kept_rows", [1, 0])
async def test_rows_that_are_gone_are_missed_whatever_the_organization_says_of_its_log(
    plane: ControlPlane, superuser: Superuser, kept: Kept, kept_rows: int
) -> None:
    second = await _second(plane)
    await _change(plane, second, 1)
    await kept.added()
    found = await plane.audit.glance(kept.path)
    assert found is not None
    assert found.behind == ()
    superuser.execute("DELETE FROM audit_events WHERE organization_id = %s AND seq > %s", [second.tenant, kept_rows])
    found = await plane.audit.glance(kept.path)
    assert found is not None
    assert found.behind == (second.tenant,)
    await kept.started().look()
    assert kept.anchors.state == "behind"


def _levels(said: list[MutableMapping[str, Any]]) -> list[tuple[str, int]]:
    return [(each["log_level"], each["organizations"]) for each in said if "anchor" in each["event"]]


async def test_what_anybody_adds_to_the_file_hides_nothing_and_holds_nothing_up(
    plane: ControlPlane, administrator: Principal, superuser: Superuser, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _change(plane, administrator, 1)
    await kept.added()
    with kept.path.open("ab") as file:
        file.write(b"x\n{}\n\xff\n")
    superuser.execute("DELETE FROM audit_events WHERE seq > 1")
    superuser.execute("UPDATE organizations SET audit_seq = 1, audit_hash = (SELECT hash FROM audit_events)")
    kept.started()
    await kept.anchors.look()
    assert kept.anchors.state == "behind"
    # The log goes on from where it was cut, and so do the anchors, once it is as long as it was.
    for priority in range(2, 6):
        await _change(plane, administrator, priority)
    assert len(await kept.added()) == 1
    found = await plane.audit.check(kept.lines())
    assert found.foreign_lines == (2, 3, 4)
    assert [each.problem for each in found.breaks] == ["not_as_anchored"]
    # Whoever keeps the file locked is waited for, but not for ever.
    monkeypatch.setattr(anchor_file, "_TURN_SECONDS", 0.05)
    with kept.path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        await _change(plane, administrator, 7)
        assert await kept.added() == []
        assert kept.anchors.is_failing
    assert len(await kept.added()) == 1


async def test_an_anchor_that_cannot_be_written_is_said_once_and_made_up_for(
    plane: ControlPlane, administrator: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(plane, tmp_path / "none" / "anchors.jsonl")
    with structlog.testing.capture_logs() as said:
        for _ in range(2):
            await kept.anchors.add()
            assert kept.anchors.state == "failing"
        kept.path.parent.mkdir()
        [first] = await kept.added()
        assert (first.rows, kept.anchors.state) == (first.heads[administrator.tenant][0], "kept")
        # What was left of a line when the disk was full, or the process killed.
        with kept.path.open("a") as file:
            file.write(kept.lines()[0][:100])
        await _change(plane, administrator, 1)
        assert len(await kept.added()) == 1
        newest = plane.audit.newest_anchor(kept.path)
        assert newest is not None
        assert newest.rows == first.rows + 1
        # A disk that does not answer.
        await _change(plane, administrator, 2)
        monkeypatch.setattr(anchors, "_FILE_SECONDS", 0)
        assert await kept.added() == []
    assert [(each["log_level"], each.get("reason")) for each in said if "anchor" in each["event"]] == [
        ("warning", "There is none in the file yet."),
        ("error", "The file of anchors cannot be written."),
        ("info", None),
        ("error", "The file does not answer in time."),
    ]
    assert (await plane.audit.check(kept.lines())).anchors == 2


async def test_of_several_instances_one_adds_and_each_adds_what_is_left_when_it_ends(
    plane: ControlPlane, administrator: Principal, kept: Kept
) -> None:
    other = Kept(plane, kept.path)
    assert len(await kept.added()) == 1
    await _change(plane, administrator, 1)
    await other.anchors.add()
    assert len(kept.lines()) == 1
    # Not by the file's time, nor by what anybody else may add to it.
    os.utime(kept.path, (0, 0))
    await other.anchors.add()
    assert len(kept.lines()) == 1
    await other.anchors.end()
    assert [each.is_whole for each in map(AuditAnchor.model_validate_json, kept.lines())] == [True, True]
    assert await kept.added() == []
    await _change(plane, administrator, 2)
    with kept.path.open("ab") as file:
        file.write(b"\n")
    assert [each.is_whole for each in await kept.added()] == [False]
    assert (await plane.audit.check(kept.lines())).breaks == ()


def _cut(superuser: Superuser, organization_id: UUID, end: int) -> None:
    """Put a log back to where it once was, as an older database would have it."""
    superuser.execute("DELETE FROM audit_events WHERE organization_id = %s AND seq > %s", [organization_id, end])
    superuser.execute(
        "UPDATE organizations SET audit_seq = seq, audit_hash = hash FROM audit_events"
        " WHERE organization_id = id AND seq = %s AND id = %s",
        [end, organization_id],
    )


async def test_no_instance_signs_for_less_than_another_one_did(
    plane: ControlPlane, administrator: Principal, superuser: Superuser, kept: Kept
) -> None:
    second, other = await _second(plane), Kept(plane, kept.path)
    await kept.added()
    await other.anchors.look()
    await _change(plane, second, 1)
    [last] = await kept.added()
    _cut(superuser, second.tenant, 1)
    await _change(plane, administrator, 1)
    other.now += timedelta(hours=2)
    [added] = await other.added()
    assert (added.heads[second.tenant], other.anchors.state) == (last.heads[second.tenant], "behind")


async def test_nothing_is_added_before_the_logs_were_held_against_what_was(
    plane: ControlPlane, postgres: EmbeddedPostgres, database: str, superuser: Superuser, kept: Kept
) -> None:
    """With a lock that lasts when the service starts, the next round looks again."""
    second = await _second(plane)
    await _change(plane, second, 1)
    await kept.added()
    _cut(superuser, second.tenant, 1)
    kept.started()
    with admin_connection(postgres, database) as holder, holder.transaction():
        holder.execute("LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE")
        await kept.anchors.look()
        assert await kept.added() == []
        assert kept.anchors.state == "failing"
    assert await kept.added() == []
    assert kept.anchors.state == "behind"


async def test_a_file_that_does_not_answer_holds_nobody_up(
    plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "silent"
    os.mkfifo(silent)
    monkeypatch.setattr(anchors, "_FILE_SECONDS", 0.2)
    kept = Kept(plane, silent)
    await kept.anchors.look()
    await kept.anchors.end()
    assert kept.anchors.state == "failing"
    silent.open("wb").close()  # the thread that waits goes on


async def test_nothing_is_kept_where_nothing_can_be_signed_or_nobody_wants_it(
    plane: ControlPlane, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "anchors.jsonl"
    sealed = Anchors(AuditLog(database=plane.database, unsealed=None), file, every_seconds=60)
    for unwanted in (sealed, Anchors(plane.audit, None, every_seconds=60), Anchors(plane.audit, file, every_seconds=0)):
        await unwanted.keep()
        await unwanted.end()
        assert (unwanted.state, file.exists()) == ("off", False)
    # On standard output, which no file remembers.
    printed = Anchors(plane.audit, anchor_file.STANDARD_OUTPUT, every_seconds=60)
    await printed.look()
    await printed.add()
    [line] = [each for each in capsys.readouterr().out.splitlines() if each.startswith("{")]
    assert (await plane.audit.check([line])).breaks == ()
    closed = (tmp_path / "output").open("w")
    closed.close()
    monkeypatch.setattr("sys.stdout", closed)
    with pytest.raises(ConfigurationError):
        anchor_file.add(anchor_file.STANDARD_OUTPUT, line)

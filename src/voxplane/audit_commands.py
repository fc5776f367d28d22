"""`voxplane audit`: read the audit log, check it, and keep signed anchors of it elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from voxplane.command import Json, Organization, read_settings, run, run_for
from voxplane.schemas.audit import ACTIONS
from voxplane.server import anchor_file
from voxplane.server.audit_export import comma_separated, json_lines
from voxplane.server.audit_store import AuditFilter
from voxplane.server.control_plane import ControlPlane
from voxplane.terminal import compact, counted, err, say, show, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voxplane.schemas.audit import AuditCheck
    from voxplane.server.auth import Principal

audit = typer.Typer(help="Read and check the audit log.", no_args_is_help=True)

Actor = Annotated[str | None, typer.Option(help="Whose, such as token:ID.")]
Action = Annotated[str | None, typer.Option(help="Such as config.put.")]
Target = Annotated[str | None, typer.Option(help="Such as openai.")]
Outcome = Annotated[Literal["success", "denied"] | None, typer.Option(help="How it went.")]
Since = Annotated[datetime | None, typer.Option(help="From this moment on.")]
Until = Annotated[datetime | None, typer.Option(help="Before this moment.")]

_SHOWN_LINES = 5
_PROBLEMS = {
    "altered": "is altered, or one before it is missing",
    "cut_off": "is missing: the end of the log was cut off",
    "not_as_anchored": "is another than when the anchor was made",
}
_PUT_BACK = (
    "If an older database was put back on purpose, begin a new file of anchors, with `voxplane audit anchor --to`, "
    "and keep the old one: docs/history.md."
)


@audit.command("list")
def audit_list(
    actor: Actor = None,
    action: Action = None,
    target: Target = None,
    outcome: Outcome = None,
    since: Since = None,
    until: Until = None,
    before: Annotated[int | None, typer.Option(min=1, help="Only what is older than this number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    organization: Organization = "default",
    as_json: Json = False,
) -> None:
    """List what was done, newest first."""
    wanted = _filter(actor, action, target, outcome, since, until)
    found = run_for(organization, lambda plane, who: plane.audit.get_records(who, wanted, before=before, limit=limit))
    rows = [
        (
            each.seq,
            each.at.strftime("%Y-%m-%d %H:%M:%S"),
            each.actor.name,
            each.action,
            each.target,
            each.outcome,
            compact(each.detail),
        )
        for each in found.records
    ]
    show(found, as_json, lambda: table("Number", "When", "Who", "Action", "Target", "Outcome", "Detail", rows=rows))
    if not found.records and action is not None and action not in ACTIONS:
        say(f"Nothing on record is called that. Actions: {', '.join(ACTIONS)}, and names of routes that refused.")
    elif not found.records:
        say("Nothing like that is on record.")
    if found.next_before is not None and not as_json:
        say(f"There is more: --before {found.next_before}")


@audit.command("export")
def audit_export(
    file_format: Annotated[Literal["jsonl", "csv"], typer.Option("--format", help="For programs or spreadsheets.")] = (
        "jsonl"
    ),
    actor: Actor = None,
    action: Action = None,
    target: Target = None,
    outcome: Outcome = None,
    since: Since = None,
    until: Until = None,
    organization: Organization = "default",
) -> None:
    """Write all of an organization's audit log to standard output, newest first."""
    wanted = _filter(actor, action, target, outcome, since, until)
    written = comma_separated if file_format == "csv" else json_lines

    async def export(plane: ControlPlane, who: Principal) -> None:
        async for lines in written(plane.audit.pages(who, wanted)):
            sys.stdout.buffer.write(lines)

    run_for(organization, export)


@audit.command("verify")
def audit_verify(
    anchors: Annotated[
        list[Path] | None,
        typer.Option(
            help="A file of anchors to hold the log against; repeat for more. [default: the one of the service]"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every row of every organization's audit log. Exit code 1 means that something is altered or missing."""
    lines = (line for path in anchors or _own_anchors() for line in anchor_file.read(path))
    started = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.fields[organizations]} organizations, {task.completed} rows"))
    with Progress(*columns, console=err, transient=True) if err.is_terminal else nullcontext() as bar:
        task = bar.add_task("", total=None, organizations=0) if bar else None
        done = 0

        def advance(organizations: int, rows: int) -> None:
            nonlocal done
            done += organizations
            if bar is not None and task is not None:
                bar.update(task, advance=rows, organizations=done)

        found = run(lambda plane: plane.audit.check(lines, advance))
    show(found, as_json, lambda: table("Organization", "Row", "Problem", rows=_breaks(found)))
    seconds = max(time.monotonic() - started, 0.001)
    whole = "is whole" if not found.breaks else f"does not hold in {len(found.breaks)} of them"
    say(
        f"The audit log of {counted(found.organizations, 'organization')}, {counted(found.rows, 'row')}"
        f" and {counted(found.anchors, 'anchor')},"
        f" {whole} ({seconds:.1f} s)."
    )
    if found.foreign_lines:
        numbers = ", ".join(map(str, found.foreign_lines[:_SHOWN_LINES]))
        more = ", ..." if len(found.foreign_lines) > _SHOWN_LINES else ""
        say(f"Passed over, as no anchors that this installation signed: line {numbers}{more} of the anchors.")
    if any(each.problem != "altered" for each in found.breaks):
        say(_PUT_BACK)
    if found.breaks:
        raise typer.Exit(1)


def _own_anchors() -> list[Path]:
    path = read_settings().anchors_file
    return [path] if path is not None and path.exists() else []


def _breaks(found: AuditCheck) -> Iterable[tuple[str, int, str]]:
    return ((each.organization, each.seq, _PROBLEMS[each.problem]) for each in found.breaks)


@audit.command("anchor")
def audit_anchor(
    to: Annotated[
        Path | None, typer.Option(help="A file to add it to, where who writes the database does not write.")
    ] = None,
) -> None:
    """Sign where every organization's audit log stands, on one line. `audit verify --anchors` holds the log to it."""
    line = run(lambda plane: plane.audit.anchor()).model_dump_json(by_alias=True)
    if to is None:
        typer.echo(line)
        return
    anchor_file.add(to, line)
    say("Anchored.")


def _filter(
    actor: str | None,
    action: str | None,
    target: str | None,
    outcome: str | None,
    since: datetime | None,
    until: datetime | None,
) -> AuditFilter:
    """Take a moment without a time zone as this machine's."""
    return AuditFilter(
        actor=actor,
        action=action,
        target=target,
        outcome=outcome,
        since=since.astimezone() if since else None,
        until=until.astimezone() if until else None,
    )

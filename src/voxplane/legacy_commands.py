"""`voxplane legacy`: bring what the old system kept in `org_configs` here, and take its keys out of there."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from voxplane.command import Json, account, run
from voxplane.errors import ConfigurationError
from voxplane.schemas import ProviderType
from voxplane.schemas.import_notice import Outcome
from voxplane.server import collector, legacy_source
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.legacy_import import ImportOptions, OrganizationReport, Status, Tally
from voxplane.server.legacy_organizations import names_of
from voxplane.server.legacy_scrub import ScrubReport
from voxplane.server.legacy_scrub import Status as ScrubStatus
from voxplane.terminal import compact, counted, counting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voxplane.schemas.import_notice import Finding
    from voxplane.server.legacy_import import ImportedProvider, Totals

legacy = typer.Typer(help="Bring the settings and keys of the old org_configs here.", no_args_is_help=True)

_ONLY_LOOKED = "Nothing was written: this is what --apply does."


@legacy.command("import")
def legacy_import(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A .json file, a folder of them, a .jsonl file, or the address of a PostgreSQL with org_configs.",
        ),
    ],
    organization: Annotated[
        str | None,
        typer.Option("--organization", "-o", help="Only this one; a file of one blob is of `default` otherwise."),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Write. Otherwise it only says what it would do.")] = False,
    create_organizations: Annotated[
        bool, typer.Option("--create-organizations", help="Create organizations that are not here yet.")
    ] = False,
    approve_origins: Annotated[
        bool,
        typer.Option(
            "--approve-origins", help="Let keys go to the addresses that the blobs name for them; look at them first."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring settings and keys of the old org_configs here; what is here already stays.

    It only says what it would do, unless --apply. When it was cut off, run it again.
    """
    options = ImportOptions(apply, create_organizations, approve_origins)
    tally = Tally(is_applied=apply)

    async def bring(plane: ControlPlane) -> None:
        collector.spare()
        who = local_administrator(None, account())
        names = () if organization is None else await names_of(plane.database, organization)
        found = legacy_source.records(source, names)
        with counting("organizations") as advance:
            async with aclosing(found), aclosing(plane.legacy.run(who, found, options)) as reports:
                async for report in reports:
                    tally.add(report)
                    if as_json:
                        _print_element(report, is_first=tally.organizations == 1)
                    else:
                        _print(report, apply=apply)
                    advance()

    if as_json:
        typer.echo('{"organizations": [')
    run(bring)
    totals = tally.totals
    if as_json:
        typer.echo(f'], "totals": {json.dumps(totals.model_dump(mode="json", by_alias=True))}}}')
    else:
        typer.echo(_summary(totals))
    if not totals.organizations:
        raise _nothing(organization)
    if totals.missing or totals.refused:
        raise typer.Exit(1)


@legacy.command("scrub")
def legacy_scrub(
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="The address of the PostgreSQL with org_configs, to write there.")
    ],
    organization: Annotated[str | None, typer.Option("--organization", "-o", help="Only this one.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Write. Otherwise it only says what it would do.")] = False,
    as_json: Json = False,
) -> None:
    """Take out of the old org_configs the keys that are kept here now; everything else stays in it.

    A key is kept here when that very value is stored here, or was. What else may be a key is listed, with why it
    stays. Keep a backup: what is taken out is nowhere but here.
    """
    counts: Counter[ScrubStatus] = Counter()

    async def take_out(plane: ControlPlane) -> None:
        names = () if organization is None else await names_of(plane.database, organization)
        async with aclosing(plane.legacy_scrub.run(address, names, apply=apply)) as reports:
            async for report in reports:
                counts[report.status] += 1
                if as_json:
                    _print_element(report, is_first=counts.total() == 1)
                else:
                    _print_scrubbed(report, apply=apply)

    if as_json:
        typer.echo('{"organizations": [')
    run(take_out)
    if as_json:
        totals = {"isApplied": apply} | {status.value: counts[status] for status in ScrubStatus}
        typer.echo(f'], "totals": {json.dumps(totals)}}}')
    else:
        said = ", ".join(f"{number} {_tense(status, apply=apply)}" for status, number in counts.items()) or "none"
        end = "" if apply else f" {_ONLY_LOOKED}"
        typer.echo(f"{counted(counts.total(), 'organization')}: {said}.{end}")
    if not counts:
        raise _nothing(organization)
    if counts[ScrubStatus.MISSING] or counts[ScrubStatus.REFUSED]:
        raise typer.Exit(1)


def _nothing(organization: str | None) -> ConfigurationError:
    whose = "" if organization is None else " that is of the organization that --organization names"
    return ConfigurationError(f"There is nothing in the source{whose}.")


def _print_element(report: ScrubReport | OrganizationReport, *, is_first: bool) -> None:
    document = report.model_dump_json(by_alias=True, exclude_none=True)
    typer.echo(document if is_first else f",{document}")


def _tense(status: ScrubStatus | Status, *, apply: bool) -> str:
    is_done = apply or status not in {ScrubStatus.SCRUBBED, Status.IMPORTED}
    return status.value if is_done else f"would be {status.value}"


def _print_scrubbed(report: ScrubReport, *, apply: bool) -> None:
    head = f"{report.organization}: {_tense(report.status, apply=apply)}"
    typer.echo(f"{head}. {report.note}" if report.note else head)
    for place in report.removed:
        typer.echo(f"  key {'taken out' if apply else 'that would be taken out'}: {place}")
    for left in report.left:
        typer.echo(f"  left: {left.at}: {left.note}")


def _print(report: OrganizationReport, *, apply: bool) -> None:
    head = f"{report.organization}: {_tense(report.status, apply=apply)}{' (new)' if report.is_new else ''}"
    typer.echo(f"{head}. {report.note}" if report.note else head)
    for provider in report.providers:
        typer.echo(f"  {_described(provider)}")
        for notice in provider.notices:
            typer.echo(f"    {notice}")
    if report.status is Status.IMPORTED:
        typer.echo(f"  next call: {', '.join(_answering(report))}")
    for finding in report.findings:
        if finding.outcome is not Outcome.MOVED:
            typer.echo(f"  {_worded(finding)}")


def _answering(report: OrganizationReport) -> Iterator[str]:
    for kind in ProviderType:
        answering = report.next_call.get(kind)
        yield f"{kind} {answering}" if answering else f"{kind} nobody"


def _described(provider: ImportedProvider) -> str:
    parts = [f"{'enabled' if provider.is_enabled else 'disabled'}, priority {provider.priority}"]
    if provider.settings:
        parts.append(f"settings {', '.join(provider.settings)}")
    if provider.secrets:
        parts.append(f"keys {', '.join(provider.secrets)}")
    if provider.origins:
        parts.append(f"goes to {', '.join(provider.origins)}")
    return f"{provider.key}: {'; '.join(parts)}"


def _worded(finding: Finding) -> str:
    to = " ".join(part for part in (finding.provider, finding.setting or finding.secret) if part)
    target = f" to {to}" if to and finding.outcome in {Outcome.CONVERTED, Outcome.CLAMPED} else ""
    value = "" if finding.value is None else f" ({compact(finding.value)})"
    note = f": {finding.note}" if finding.note else ""
    return f"{finding.outcome} {finding.at or '/'}{target}{value}{note}"


def _summary(totals: Totals) -> str:
    became = ", ".join(
        f"{number} {word}"
        for word, number in (
            (_tense(Status.IMPORTED, apply=totals.is_applied), totals.imported),
            (Status.UNCHANGED.value, totals.unchanged),
            (Status.MISSING.value, totals.missing),
            (Status.REFUSED.value, totals.refused),
        )
        if number
    )
    said = ", ".join(f"{number} {outcome}" for outcome, number in totals.findings.items() if number)
    sealed = "sealed" if totals.is_applied else "would be sealed"
    keys = f"{counted(totals.secrets, 'key')} {sealed}; " if totals.secrets else ""
    end = "Written." if totals.imported else "Nothing had to be written."
    if not totals.is_applied:
        end = _ONLY_LOOKED
    of = counted(totals.organizations, "organization")
    return f"{of}: {became or 'none'}; {keys}{said or 'nothing found'}. {end}"

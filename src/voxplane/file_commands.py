"""`voxplane export`, `apply` and `preview`: organizations as files, and what a change would do."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import SecretStr, ValidationError

from voxplane import organization_file
from voxplane.command import account, opened, read_settings, read_text, run
from voxplane.errors import ConfigurationError, FieldError, Invalid
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.organization_files import Apply, Change, Keys, OrganizationPlan, Plan
from voxplane.terminal import compact, confirm, counted, counting, say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voxplane.organization_file import OrganizationFile
    from voxplane.schemas import Organization
    from voxplane.server.auth import Principal

_MAX_KEY_BYTES = 16 * 1024

File = Annotated[Path, typer.Option("--file", "-f", help="The YAML file; - is standard input.")]


def export(
    organization: Annotated[str, typer.Option("--organization", "-o", help="The organization's slug.")] = "default",
    everybody: Annotated[bool, typer.Option("--all", help="All organizations, a document each.")] = False,
) -> None:
    """Write an organization's settings, switches and order as YAML; keys are named, never written."""

    async def write(plane: ControlPlane) -> None:
        types = {each.key: each.type.value for each in plane.registry.get_all_providers()}
        found = plane.access.every_organization() if everybody else _one(plane, organization)
        is_first = True
        with counting("organizations exported") as advance:
            async for each in found:
                file = await plane.files.export(local_administrator(each.id, account()))
                text = organization_file.written(file, types)
                typer.echo(text if is_first else f"---\n{text}", nl=False)
                is_first = False
                advance()

    run(write)


async def _one(plane: ControlPlane, slug: str) -> AsyncIterator[Organization]:
    yield await plane.access.find_organization(slug)


def apply(
    file: File,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Put providers that the file does not name back to their defaults, disabled."),
    ] = False,
    create_organizations: Annotated[
        bool, typer.Option("--create-organizations", help="Create organizations that are not here yet.")
    ] = False,
    skip_missing_keys: Annotated[
        bool, typer.Option("--skip-missing-keys", help="Go on without keys whose references lead nowhere.")
    ] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Print the plan as JSON, and stop.")] = False,
    as_planned: Annotated[
        Path | None,
        typer.Option("--as-planned", help="Do what this plan says, or nothing: --plan printed it."),
    ] = None,
) -> None:
    """Bring organizations to what a file says: show what changes, ask, and write, one transaction each.

    What has changed since the plan was made is refused. Keys come from where the file's references lead.
    """
    files = _files(file)
    before = None if as_planned is None else _read_plan(as_planned)

    async def plan(plane: ControlPlane) -> tuple[list[Apply], Plan]:
        return await _plan(plane, files, prune=prune, skip_missing_keys=skip_missing_keys)

    async def write(plane: ControlPlane) -> None:
        for each, planned in zip(wanted, agreed.organizations, strict=True):
            if planned.is_new or planned.changes:
                await plane.files.apply(_operator(), each, planned)
                say(f"{planned.organization}: written.")

    wanted, agreed = run(plan)
    if plan_only:
        typer.echo(json.dumps(agreed.model_dump(mode="json", by_alias=True), indent=2))
        return
    _agree(before, agreed)
    if not any(each.is_new or each.changes for each in agreed.organizations):
        say("Nothing changes.")
        return
    _show(agreed, effects=False)
    _ask(agreed, yes=yes, create_organizations=create_organizations)
    run(write)


def _ask(plan: Plan, *, yes: bool, create_organizations: bool) -> None:
    new = sum(each.is_new for each in plan.organizations)
    if not yes:
        confirm(f"Write this, and create {counted(new, 'organization')}?" if new else "Write this?")
    elif new and not create_organizations:
        raise ConfigurationError(
            f"{counted(new, 'organization')} of this file {'is' if new == 1 else 'are'} not here: "
            "mend the slug, or say --create-organizations."
        )


def _agree(before: Plan | None, now: Plan) -> None:
    if before is not None and before != now:
        raise ConfigurationError("This is no longer what the plan says: something changed since. Make a new plan.")


def preview(
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="A YAML file, as for apply; without it, what this release changes."),
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option("--since", help="The catalogue of another release, from `voxplane providers list --json` there."),
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="As for apply.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a file, or the definitions and defaults of this release, would change in whose calls.

    Nothing is written. Keys whose references lead nowhere are taken as they are.
    """
    if file is None:
        plan = _preview_release(since)
    else:
        files = _files(file)

        async def look(plane: ControlPlane) -> Plan:
            return (await _plan(plane, files, prune=prune, skip_missing_keys=True))[1]

        plan = run(look)
    if as_json:
        typer.echo(json.dumps(plan.model_dump(mode="json", by_alias=True), indent=2))
    elif any(each.is_new or each.effects for each in plan.organizations):
        _show(plan, effects=True)
    else:
        say("No call changes.")


def _preview_release(since: Path | None) -> Plan:
    import anyio  # noqa: PLC0415 - for this command alone

    from voxplane.server import release_preview  # noqa: PLC0415 - same reason

    async def look() -> Plan:
        with counting("organizations looked at") as advance:
            found = release_preview.compare(read_settings(), None if since is None else read_text(since), advance)
            return Plan(organizations=tuple([each async for each in found]))

    return anyio.run(look)


def _operator() -> Principal:
    return local_administrator(None, account())


async def _plan(
    plane: ControlPlane, files: list[OrganizationFile], *, prune: bool, skip_missing_keys: bool
) -> tuple[list[Apply], Plan]:
    """Return what is to be applied, and what that changes.

    Raises:
        Invalid: with all that is wrong in all of the files.
    """
    keys = {each.organization: _keys(each) for each in files}
    lacking: list[tuple[str, str, str]] = []
    if not skip_missing_keys:
        with counting("organizations looked at") as advance:
            for each in files:
                lacking += await plane.files.missing([each], keys)
                advance()
    message = "Its reference leads nowhere and no key is stored: set it, or say --skip-missing-keys."
    wrong = [FieldError(f"/{slug}/{key}/secrets/{name}", "missing", message) for slug, key, name in lacking]
    wanted = [Apply(each, keys[each.organization], prune) for each in files]
    plans: list[OrganizationPlan] = []
    with counting("organizations planned") as advance:
        for each in wanted:
            try:
                plans.append(await plane.files.plan(_operator(), each))
            except Invalid as invalid:
                wrong += invalid.errors
            advance()
    if wrong:
        raise Invalid(wrong)
    return wanted, Plan(organizations=tuple(plans))


def _keys(file: OrganizationFile) -> Keys:
    found: Keys = {}
    for key, name, reference in organization_file.references(file):
        kind, _, where = reference.partition(":")
        value = os.environ.get(where) if kind == "env" else _key_file(Path(where))  # noqa: TID251 - the file's author named it
        if value:
            found[key, name] = SecretStr(value)
    return found


def _key_file(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_KEY_BYTES + 1)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError("A file that a reference leads to cannot be read as text.") from None
    if len(text) > _MAX_KEY_BYTES:
        raise ConfigurationError(
            f"A file that a reference leads to holds more than {_MAX_KEY_BYTES // 1024} KiB: no key."
        )
    return text.strip()


def _files(path: Path) -> list[OrganizationFile]:
    with counting("organizations read") as advance, opened(path) as text:
        return organization_file.read(text, advance)


def _read_plan(path: Path) -> Plan:
    try:
        return Plan.model_validate_json(read_text(path))
    except ValidationError:
        raise ConfigurationError("This is no plan: `voxplane apply --plan` prints one.") from None


_SIGNS = {"set": "+", "changed": "~", "removed": "-"}


def _show(plan: Plan, *, effects: bool) -> None:
    for each in plan.organizations:
        lines = each.effects if effects else each.changes
        if not (each.is_new or lines):
            continue
        typer.echo(f"{'+ ' if each.is_new else ''}{each.organization}{_at(each)}")
        for change in lines:
            what = " ".join(part for part in (change.provider, change.what) if part)
            typer.echo(f"  {_SIGNS[change.kind]} {what}{_values(change)}")


def _at(plan: OrganizationPlan) -> str:
    return " (new organization)" if plan.at is None else f" (revision {plan.at.rpartition('.')[2]})"


def _values(change: Change) -> str:
    if change.what.startswith("secrets."):
        return ""
    before, after = compact(change.before), compact(change.after)
    return f": {before} -> {after}" if change.kind == "changed" else f": {after or before}"

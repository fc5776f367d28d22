"""`voxplane history`: what a provider's settings were, and putting an older version back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from voxplane.command import Json, Organization, model, run_for
from voxplane.errors import VersionNotFound
from voxplane.schemas.history import ProviderHistory, Restoration, SecretsChange, SettingsVersion
from voxplane.server.control_plane import ControlPlane
from voxplane.terminal import compact, say, show, table

if TYPE_CHECKING:
    from rich.table import Table

    from voxplane.schemas import OrganizationProvider
    from voxplane.server.auth import Principal

history = typer.Typer(help="Look at what settings were, and put an older version back.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(help="The provider's key, such as openai.", metavar="PROVIDER")]
Revision = Annotated[int, typer.Argument(min=1, help="As `history list` shows it.", metavar="REVISION")]


@history.command("list")
def history_list(
    key: Key,
    before: Annotated[int | None, typer.Option(min=1, help="Only what is older than this revision.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    organization: Organization = "default",
    as_json: Json = False,
) -> None:
    """List the versions of a provider's settings, newest first, and when its secrets changed."""
    found = run_for(organization, lambda plane, who: plane.history.get_history(who, key, before=before, limit=limit))
    show(
        found,
        as_json,
        lambda: _drawn(found),
        "Nothing was changed before this." if before else "Nothing was changed yet.",
    )
    if found.next_before is not None and not as_json:
        say(f"There is more: --before {found.next_before}")


def _drawn(found: ProviderHistory) -> Table:
    rows = [
        (
            each.revision,
            "now" if isinstance(each, SettingsVersion) and each.is_current else "",
            each.at.strftime("%Y-%m-%d %H:%M"),
            each.by.name,
            each.action,
            "; ".join(_said(each)),
        )
        for each in found.entries
    ]
    return table("Revision", "", "When", "Who", "By", "What changed", rows=rows)


def _said(entry: SettingsVersion | SecretsChange) -> list[str]:
    if isinstance(entry, SecretsChange):
        if entry.action == "secrets.delete":
            return ["all secrets, and the approved addresses, removed"]
        # Values are kept nowhere, so this says no more than which.
        stored = [f"{name} {'replaced' if name in entry.replaced else 'stored'}" for name in entry.stored]
        return [*stored, *(f"{name} removed" for name in entry.removed)] or ["label or approved addresses changed"]
    said = [
        f"{change.pointer.lstrip('/')}: {compact(change.before) or 'default'} -> {compact(change.after) or 'default'}"
        for change in entry.changes
    ]
    if entry.switch:
        said.append("switched on" if entry.switch.after else "switched off")
    if entry.priority_change:
        said.append(f"priority {entry.priority_change.before} -> {entry.priority_change.after}")
    if entry.restored_from is not None:
        said.append(f"version {entry.restored_from} put back")
    return said


@history.command("show")
def history_show(key: Key, revision: Revision, organization: Organization = "default", as_json: Json = False) -> None:
    """Show one version of a provider's settings, and what it overrode."""

    async def find(plane: ControlPlane, who: Principal) -> SettingsVersion:
        found = await plane.history.get_history(who, key, before=revision + 1, limit=2)
        of_revision = [each for each in found.entries if each.revision == revision]
        for entry in of_revision:
            if isinstance(entry, SettingsVersion):
                return entry
        if of_revision:
            raise VersionNotFound(
                "This revision changed secrets, of which no values are kept: `history list` says which."
            )
        raise VersionNotFound

    one = run_for(organization, find)
    rows = [(name, compact(value)) for name, value in sorted(one.overrides.items())]
    show(one, as_json, lambda: table("Setting", "Overridden with", rows=rows), "Nothing is overridden.")
    if not as_json:
        switch = "enabled" if one.is_enabled else "disabled"
        say(f"{switch}, priority {one.priority}; by {one.by.name} with {one.action or 'an older release'}.")


@history.command("restore")
def history_restore(
    key: Key,
    revision: Revision,
    with_switch: Annotated[bool, typer.Option("--with-switch", help="Put its switch back too.")] = False,
    with_priority: Annotated[bool, typer.Option("--with-priority", help="Put its priority back too.")] = False,
    valid_only: Annotated[
        bool, typer.Option("--valid-only", help="Leave out settings that the provider no longer takes.")
    ] = False,
    organization: Organization = "default",
    as_json: Json = False,
) -> None:
    """Put an older version of a provider's settings back, as a new one. Secrets stay as they are."""
    include = ["isEnabled"] * with_switch + ["priority"] * with_priority
    wanted = model(Restoration, revision=revision, include=include, valid_only=valid_only)

    async def change(plane: ControlPlane, who: Principal) -> OrganizationProvider:
        present = await plane.providers.get_organization_provider(who, key)
        return await plane.providers.restore_organization_provider_config(who, key, wanted, if_match=present.etag)

    one = run_for(organization, change)
    rows = [(name, compact(value)) for name, value in sorted(one.overrides.items())]
    show(one, as_json, lambda: table("Setting", "Overridden with", rows=rows), "Nothing is overridden.")
    if not as_json:
        say(f"{one.provider.name} has the settings of revision {revision} again, as revision {one.revision}.")

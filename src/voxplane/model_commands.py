"""`voxplane models`: what is known of models and voices, which of those in use end, and how to go on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from voxplane import catalogue
from voxplane.catalogue import FACTS_READ_ON
from voxplane.command import Json, Key, Organization, installed_catalogue, model, run, run_for
from voxplane.remedies import of_organization
from voxplane.schemas import ConfigWrite, Notices, Wire
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.terminal import compact, confirm, counted, err, say, show, table

if TYPE_CHECKING:
    from rich.table import Table

    from voxplane.schemas import Notice, Proposal
    from voxplane.server.auth import Principal

models = typer.Typer(help="Look at models and voices, and replace those that end.", no_args_is_help=True)

_ENDS = ("_retiring", "_retired")
_DAYS = re.compile("([0-9]{1,4})d?")
_PAGE = 500


class RetiringModels(Wire):
    """What ends, organization by organization."""

    organizations: tuple[Notices, ...]


@models.command("list")
def models_list(
    key: Annotated[str | None, typer.Argument(help="A provider's key; all otherwise.", metavar="PROVIDER")] = None,
    as_json: Json = False,
) -> None:
    """List what is known of models and voices; as JSON in the form of VOXPLANE_CATALOGUE_FILE."""
    registry = installed_catalogue()
    found = registry.get_all_providers() if key is None else [registry.get_provider_by_key(key)]
    newer = registry.facts.providers if registry.facts else {}
    from_file = {(provider, each.name) for provider, facts in newer.items() for each in (*facts.models, *facts.voices)}
    rows = [
        (
            provider.key,
            noun,
            each.name,
            each.status,
            each.retires_on,
            each.replacement,
            "file" if (provider.key, each.name) in from_file else "",
        )
        for provider in found
        for noun, offers in (("model", provider.models), ("voice", provider.voices))
        for each in offers
    ]
    as_of = registry.facts.as_of if registry.facts else FACTS_READ_ON
    columns = ("Provider", "Kind", "Name", "Status", "Ends on", "Replacement", "From")
    in_force = catalogue.in_force(found, as_of)
    show(in_force, as_json, lambda: table(*columns, rows=rows), "Nothing is known of its models and voices.")


def _days(text: str) -> int:
    found = _DAYS.fullmatch(text)
    if found is None:
        raise typer.BadParameter("Write a number of days, such as 60d.")
    return int(found[1])


@models.command("retiring")
def models_retiring(
    within: Annotated[
        int | None,
        typer.Option(parser=_days, metavar="DAYS", help="Only what has ended or ends in so many days, such as 60d."),
    ] = None,
    organization: Organization = "default",
    everybody: Annotated[bool, typer.Option("--all", help="Of all organizations.")] = False,
    as_json: Json = False,
) -> None:
    """List which models and voices in use end, and when; their replacements are taken by `models replace`."""

    async def one(plane: ControlPlane, who: Principal) -> RetiringModels:
        return RetiringModels(organizations=(await plane.providers.get_notices(who, within_days=within),))

    async def all_of_them(plane: ControlPlane) -> RetiringModels:
        found: list[Notices] = []
        after = ""
        while page := (await plane.access.get_organizations(after=after, limit=_PAGE)).organizations:
            for each in page:
                who = local_administrator(each.id, "terminal")
                found.append(await plane.providers.get_notices(who, within_days=within))
            after = page[-1].slug
        return RetiringModels(organizations=tuple(found))

    found = _that_end(run(all_of_them) if everybody else run_for(organization, one))
    when = "" if within is None else f" in {counted(within, 'day')}, or has ended"
    show(found, as_json, lambda: _retiring(found), f"Nothing in use ends{when}, as far as is known.")


def _that_end(found: RetiringModels) -> RetiringModels:
    kept = (
        each.model_copy(update={"notices": tuple(one for one in each.notices if one.notice.code.endswith(_ENDS))})
        for each in found.organizations
    )
    return RetiringModels(organizations=tuple(each for each in kept if each.notices))


def _retiring(found: RetiringModels) -> Table:
    rows = [
        (
            each.organization.slug,
            one.provider.key,
            "primary" if one.is_primary else ("fallback" if one.is_enabled else "off"),
            one.notice.model or one.notice.voice,
            _when(one.notice),
            one.notice.replacement,
            f"voxplane models replace {one.provider.key}{of_organization(each.organization.slug)}"
            if one.notice.proposal
            else one.notice.no_proposal,
        )
        for each in found.organizations
        for one in each.notices
    ]
    return table("Organization", "Provider", "Rank", "In use", "Ends on", "Replacement", "What to do", rows=rows)


def _when(notice: Notice) -> str:
    if notice.code.endswith("_retired"):
        return f"ended {notice.retires_on or ''}".rstrip()
    return str(notice.retires_on or "not said")


@models.command("replace")
def models_replace(
    key: Key,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    organization: Organization = "default",
    as_json: Json = False,
) -> None:
    """Take the replacement of a model or voice that ends: shows what changes, then writes one version of settings."""
    present = run_for(organization, lambda plane, who: plane.providers.get_organization_provider(who, key))
    ending = [notice for notice in present.notices if notice.code.endswith(_ENDS)]
    for notice in ending:
        say(notice.message)
    proposal = next((notice.proposal for notice in ending if notice.proposal), None)
    if proposal is None:
        for notice in ending:
            say(f"Nothing is proposed. {notice.no_proposal}", style="yellow")
        if not ending:
            say(f"Nothing that {present.provider.name} is set to use ends, as far as is known.")
        raise typer.Exit(1 if ending else 0)
    err.print(_changes(proposal))
    if not yes:
        confirm("Change these settings?")
    write = model(ConfigWrite, config=proposal.config)
    one = run_for(
        organization,
        lambda plane, who: plane.providers.upsert_organization_provider_config(who, key, write, if_match=present.etag),
    )
    if as_json:
        show(one, as_json)
    else:
        say(f"Replaced: the settings of {one.provider.name} are at revision {one.revision}.")


def _changes(proposal: Proposal) -> Table:
    rows = [
        (each.setting, compact(each.before) or "not used", compact(each.after) or "not used", each.because)
        for each in proposal.changes
    ]
    return table("Setting", "Now", "Then", "Why", rows=rows)

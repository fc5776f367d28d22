"""`voxplane token`: access tokens of an organization, of the platform, and of a fleet of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from voxplane.command import Json, Organization, account, model, run, run_for
from voxplane.schemas import AccessTokenCreate, PlatformToken
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Principal, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.terminal import say, show, table

if TYPE_CHECKING:
    from voxplane.schemas import AccessToken, CreatedAccessToken

token = typer.Typer(help="Create, list and revoke access tokens.", no_args_is_help=True)


@token.command("create")
def token_create(
    scope: Annotated[list[Scope] | None, typer.Option(help="What it may do; repeat for more.")] = None,
    administrator: Annotated[
        bool, typer.Option("--administrator", help="All scopes of an organization's administrator.")
    ] = False,
    platform: Annotated[
        bool, typer.Option("--platform", help="For creating and listing organizations; bound to none of them.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    expires_in_days: Annotated[int | None, typer.Option(min=1, max=3650, help="Never, otherwise.")] = None,
    organization: Organization = "default",
    as_json: Json = False,
) -> None:
    """Create an access token and print it, alone, on standard output."""
    wanted = {*(scope or [])} | (ADMINISTRATOR_SCOPES if administrator else set[Scope]())
    if platform:
        wanted |= {Scope.ADMIN_ORGANIZATIONS}
    if not wanted:
        raise typer.BadParameter(f"Give --scope ({', '.join(Scope)}), --administrator or --platform.")
    new = model(
        AccessTokenCreate,
        name=name or f"{account()}'s token",
        scopes=sorted(each.value for each in wanted),
        expires_in_days=expires_in_days,
    )

    async def create(plane: ControlPlane, who: Principal) -> CreatedAccessToken:
        if platform:
            return await plane.access.create_platform_token(who, new)
        return await plane.access.create_token(who, new)

    made = run_for(organization, create)
    if as_json:
        show(made, as_json)
    else:
        typer.echo(made.value)


OfPlatform = Annotated[bool, typer.Option("--platform", help="Tokens that are bound to no organization.")]


@token.command("list")
def token_list(
    organization: Organization = "default",
    platform: OfPlatform = False,
    everything: Annotated[bool, typer.Option("--all", help="Those that were revoked, too.")] = False,
    as_json: Json = False,
) -> None:
    """List access tokens: an organization's, or those bound to none. Their values are known to nobody."""
    found = (
        run(lambda plane: plane.access.get_platform_tokens())
        if platform
        else run_for(organization, lambda plane, who: plane.access.get_tokens(who))
    )
    kept = tuple(each for each in found.tokens if everything or each.revoked_at is None)
    shown = found.model_copy(update={"tokens": kept})
    columns = ("Id", "Name", "Scopes", "Created", "Expires", "Revoked", *(["Organizations"] if platform else []))
    empty = "No token is in force: --all lists those that were revoked." if found.tokens else "There is no token yet."
    show(shown, as_json, lambda: table(*columns, rows=map(_row, kept)), empty)


def _row(one: AccessToken) -> tuple[object, ...]:
    days = (at and at.date() for at in (one.created_at, one.expires_at, one.revoked_at))
    row = (one.id, one.name, " ".join(one.scopes), *days)
    return (*row, " ".join(one.organizations or ())) if isinstance(one, PlatformToken) else row


@token.command("fleet")
def token_fleet(
    slugs: Annotated[list[str], typer.Argument(metavar="ORGANIZATION", help="The organizations, by their slugs.")],
    name: Annotated[str | None, typer.Option(help="What it is for; fleet otherwise.")] = None,
    expires_in_days: Annotated[int | None, typer.Option(min=1, max=3650, help="Never, otherwise.")] = None,
    change: Annotated[
        str | None, typer.Option("--change", metavar="ID", help="Give the token of this id these organizations.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Create a token for workers that serve several organizations, and print it, alone, on standard output."""
    if change is not None and (name is not None or expires_in_days is not None):
        raise typer.BadParameter("--change replaces the organizations only: a token keeps its name and its end.")
    new = model(
        AccessTokenCreate, name=name or "fleet", scopes=[Scope.WORKER_RESOLVE.value], expires_in_days=expires_in_days
    )

    async def create(plane: ControlPlane) -> CreatedAccessToken | None:
        fleet = [(await plane.access.find_organization(slug)).id for slug in slugs]
        if change is not None:
            await plane.access.set_fleet(change, fleet)
            return None
        return await plane.access.create_fleet_token(local_administrator(None, account()), new, fleet)

    made = run(create)
    if made is None:
        say("Changed.")
    elif as_json:
        show(made, as_json)
    else:
        typer.echo(made.value)


@token.command("revoke")
def token_revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `token list` shows it.")],
    organization: Organization = "default",
    platform: OfPlatform = False,
) -> None:
    """Revoke an access token for good."""
    if platform:
        run(lambda plane: plane.access.revoke_platform_token(token_id))
    else:
        run_for(organization, lambda plane, who: plane.access.revoke_token(who, token_id))
    say("Revoked.")

"""`voxplane secrets`: store and remove what providers are paid with. A value is asked for or read, never an option."""

from __future__ import annotations

import getpass
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import SecretStr

from voxplane import errors
from voxplane.command import Json, Key, Organization, model, read_text, run_for
from voxplane.errors import Invalid, SecretsRefused
from voxplane.provider import unknown_field
from voxplane.registry import ProviderRegistry
from voxplane.schemas import SecretsWrite
from voxplane.schemas.verification import VerificationResult
from voxplane.terminal import say, say_state, show, table

if TYPE_CHECKING:
    from voxplane.provider import AnyProvider
    from voxplane.schemas.secrets import StoredSecrets
    from voxplane.server.auth import Principal
    from voxplane.server.control_plane import ControlPlane

secrets = typer.Typer(help="Store and remove an organization's secrets of a provider.", no_args_is_help=True)


@secrets.command("set", context_settings={"allow_extra_args": True})
def secrets_set(
    context: typer.Context,
    key: Key,
    field: Annotated[str, typer.Argument(help="Which secret.", metavar="NAME")] = "apiKey",
    file: Annotated[
        Path | None,
        typer.Option(help="Read the value from a file; - is standard input. Asked for otherwise."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="A name for the person who looks later.")] = None,
    approve_origin: Annotated[
        list[str] | None,
        typer.Option(help="The only address it may be sent to, in place of the provider's own; repeat for more."),
    ] = None,
    rebind: Annotated[
        bool, typer.Option("--rebind", help="Approve it for the provider's other stored secrets too.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Test it first, and store it only if the provider does not refuse it.")
    ] = False,
    organization: Organization = "default",
    as_json: Json = False,
) -> None:
    """Store a secret. Its value is never an argument: those can be seen by every account of a machine."""
    if context.args:
        # What is too much here is most likely the value, so unlike the usual message this one does not repeat it.
        raise typer.BadParameter("The value is never an argument: it is asked for, or give --file.")
    provider = _provider_with(key, field)
    value = _secret_value(file, field)
    _warn(provider.unlike_a_secret(field, value))
    write = model(
        SecretsWrite,
        secrets={field: value},
        label=label,
        approved_origins=approve_origin,
        rebind=rebind,
        check=check,
    )

    async def change(plane: ControlPlane, who: Principal) -> StoredSecrets:
        present = await plane.providers.get_organization_provider(who, key)
        return await plane.verification.store_secrets(who, key, write, if_match=present.etag)

    try:
        one = run_for(organization, change)
    except SecretsRefused as refused:
        if as_json and refused.verification is not None:
            show(VerificationResult.model_validate(refused.verification), as_json)
        raise
    if as_json:
        show(one, as_json)
        return
    say_state(one, organization)
    if one.untested is not None:
        say(f"Not tested: {one.untested.message}", style="yellow")
    elif check and one.verification is not None:
        say(" ".join(part for part in (one.verification.sentence, one.verification.advice) if part))


def _provider_with(key: str, field: str) -> AnyProvider:
    """Return the provider of a secret: what has no place to go is refused before anybody is asked for it."""
    registry = ProviderRegistry()
    registry.initialize()
    provider = registry.get_provider_by_key(key)
    if not provider.secret_names:
        raise errors.ConfigurationError(f"{provider.name} needs no secrets.")
    if field not in provider.secret_names:
        raise Invalid([unknown_field("/secrets", field, provider.secret_names)])
    return provider


def _warn(hint: str | None) -> None:
    if hint is not None:
        say(f"{hint} Check that this is the right one.", style="yellow")


def _secret_value(file: Path | None, field: str) -> str:
    return _asked(field) if file is None else read_text(file).strip()


def _asked(field: str) -> str:
    with warnings.catch_warnings():
        # getpass would go on where it cannot hide what is typed.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(f"{field}: ").strip()
        except getpass.GetPassWarning:
            raise typer.BadParameter(
                "There is no terminal to ask at: give --file, which is - for standard input."
            ) from None


@secrets.command("was-stored", context_settings={"allow_extra_args": True})
def secrets_was_stored(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option(help="Read the value from a file; - is standard input. Asked for otherwise."),
    ] = None,
    organization: Organization = "default",
    as_json: Json = False,
) -> None:
    """Say whether this very secret was ever stored, such as one that was found where it should not be."""
    if context.args:
        raise typer.BadParameter("The value is never an argument: it is asked for, or give --file.")
    value = SecretStr(_secret_value(file, "secret"))
    found = run_for(organization, lambda plane, who: plane.audit.was_stored(who, value))
    rows = [(each.at.strftime("%Y-%m-%d %H:%M:%S"), each.actor.name, each.target, each.seq) for each in found.records]
    show(found, as_json, lambda: table("When", "Who", "Provider", "Number", rows=rows))
    if not found.records:
        say("It was never stored here.")


@secrets.command("remove")
def secrets_remove(
    key: Key,
    field: Annotated[
        str | None, typer.Argument(help="Which secret; all of the provider's otherwise.", metavar="NAME")
    ] = None,
    organization: Organization = "default",
) -> None:
    """Remove a secret, or all secrets of a provider."""

    async def change(plane: ControlPlane, who: Principal) -> None:
        if field is None:
            await plane.providers.remove_provider_secrets(who, key)
        else:
            write = model(SecretsWrite, secrets={field: None})
            await plane.providers.update_provider_secrets(who, key, write)

    run_for(organization, change)
    say("Removed.")

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
from voxplane.secret_value import not_a_secret
from voxplane.terminal import say, say_state, show, table

if TYPE_CHECKING:
    from voxplane.provider import AnyProvider
    from voxplane.schemas import OrganizationProvider
    from voxplane.schemas.secrets import StoredSecrets
    from voxplane.server.auth import Principal
    from voxplane.server.control_plane import ControlPlane

secrets = typer.Typer(help="Store and remove an organization's secrets of a provider.", no_args_is_help=True)


@secrets.command("set", context_settings={"allow_extra_args": True})
def secrets_set(
    context: typer.Context,
    key: Key,
    field: Annotated[str | None, typer.Argument(help="Which secret; apiKey otherwise.", metavar="NAME")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Read the value from a file; - is standard input. Asked for otherwise."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="A name for the person who looks later.")] = None,
    approve_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="The only address that calls may go to, and secrets with them, in place of the provider's own; "
            "repeat for more."
        ),
    ] = None,
    rebind: Annotated[
        bool,
        typer.Option(
            "--rebind",
            help="Approve the address for the provider's other stored secrets too; without NAME and --file, no secret "
            "is asked for.",
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Test it first, and store it only if the provider does not refuse it.")
    ] = False,
    organization: Organization = "default",
    as_json: Json = False,
) -> None:
    """Store a secret, or only approve where calls may go: with --rebind, or of a provider that needs no secrets.

    A value is never an argument: those can be seen by every account of a machine.
    """
    if context.args:
        # What is too much here is most likely the value, so unlike the usual message this one does not repeat it.
        raise typer.BadParameter("The value is never an argument: it is asked for, or give --file.")
    provider = _provider(key)
    values = _entered(provider, field, file, rebind=rebind)
    if not values:
        _require_approval(provider, approve_origin, label)
    write = model(
        SecretsWrite,
        secrets=values,
        label=label,
        approved_origins=approve_origin,
        rebind=rebind,
        check=check,
    )

    async def change(plane: ControlPlane, who: Principal) -> StoredSecrets:
        present = await plane.providers.get_organization_provider(who, key)
        if not values:
            _require_own(present)
        return await plane.verification.store_secrets(who, key, write, if_match=present.etag)

    try:
        one = run_for(organization, change)
    except SecretsRefused as refused:
        if as_json and refused.verification is not None:
            show(VerificationResult.model_validate(refused.verification), as_json)
        raise
    if as_json:
        show(one, as_json)
    else:
        _say_stored(one, organization, was_to_be_checked=check)


def _say_stored(one: StoredSecrets, organization: str, *, was_to_be_checked: bool) -> None:
    say_state(one, organization)
    if one.untested is not None:
        say(f"Saved, not checked: {one.untested.message}", style="yellow")
    elif was_to_be_checked and one.verification is not None:
        say(" ".join(part for part in (one.verification.sentence, one.verification.advice) if part))


def _provider(key: str) -> AnyProvider:
    registry = ProviderRegistry()
    registry.initialize()
    return registry.get_provider_by_key(key)


def _entered(provider: AnyProvider, field: str | None, file: Path | None, *, rebind: bool) -> dict[str, str]:
    """Return a secret by its name; nothing where an address alone is to be approved.

    What has no place to go is refused before anybody is asked for it.
    """
    if field is None and file is None and (rebind or not provider.secret_names):
        return {}
    if not provider.secret_names:
        raise _needs_no_secrets(provider)
    name = field or "apiKey"
    if name not in provider.secret_names:
        raise Invalid([unknown_field("/secrets", name, provider.secret_names)])
    value = _secret_value(file, name)
    _warn(provider, name, value)
    return {name: value}


def _require_approval(provider: AnyProvider, approved: list[str] | None, label: str | None) -> None:
    if not provider.secret_names and (approved is None or label is not None):
        raise _needs_no_secrets(provider)
    if approved is None:
        raise typer.BadParameter("--rebind approves an address: give it with --approve-origin.")


def _needs_no_secrets(provider: AnyProvider) -> errors.ConfigurationError:
    message = f"{provider.name} needs no secrets. Where its calls may go is approved with --approve-origin alone."
    return errors.ConfigurationError(message)


def _require_own(present: OrganizationProvider) -> None:
    """Refuse an approval that would be stored with no secrets, also in place of those of another provider."""
    name = present.provider.name
    if present.secret_fields and not any(each.is_set for each in present.secret_fields):
        message = f"{name} has no stored secrets: store one, and approve the address with it."
        raise errors.ConfigurationError(message)
    source = next((each.shared_from for each in present.secret_fields if each.shared_from), None)
    if source is not None:
        message = f"{name} uses the secrets of {source}: to approve another address, store one of its own."
        raise errors.ConfigurationError(message)


def _warn(provider: AnyProvider, field: str, value: str) -> None:
    hint = provider.unlike_a_secret(field, value)
    # What is refused anyway is told what is wrong with it, and not what keys look like.
    if hint is not None and value and not not_a_secret("", value):
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
    """Remove a secret, or all secrets of a provider and the approved addresses with them."""

    async def change(plane: ControlPlane, who: Principal) -> OrganizationProvider:
        if field is None:
            await plane.providers.remove_provider_secrets(who, key)
        else:
            write = model(SecretsWrite, secrets={field: None})
            await plane.providers.update_provider_secrets(who, key, write)
        return await plane.providers.get_organization_provider(who, key)

    one = run_for(organization, change)
    if one.secret_fields or one.reason == "retired":
        say("Removed.")
        return
    say("The approved addresses are removed.")
    say_state(one, organization)

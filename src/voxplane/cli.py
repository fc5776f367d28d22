"""The command line: run the service, and do at a terminal what the API does.

Commands work on the database directly, as the administrator of the machine they run on; what they write is in the
audit log under `local:<account>`. Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import json
import logging
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
import typer

from voxplane import errors
from voxplane.agent_settings import described
from voxplane.audit_commands import audit
from voxplane.command import Json, Key, Organization, account, installed_catalogue, model, read_settings, run, run_for
from voxplane.errors import Invalid, VoxplaneError
from voxplane.file_commands import apply, export, preview
from voxplane.history_commands import history
from voxplane.legacy_commands import legacy
from voxplane.model_commands import models
from voxplane.provider import unknown_field
from voxplane.registry import ProviderRegistry
from voxplane.remedies import kind_of, of_organization
from voxplane.schemas import (
    ConfigWrite,
    OrderWrite,
    OrganizationCreate,
    Providers,
    ProviderType,
)
from voxplane.secret_commands import secrets
from voxplane.server import database, doctor
from voxplane.server.control_plane import ControlPlane, local_administrator, upgrade
from voxplane.server.database import Location
from voxplane.terminal import compact, confirm, err, explain, out, say, say_state, show, table
from voxplane.token_commands import token
from voxplane.verify_commands import verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from voxplane.provider import AnyProvider
    from voxplane.schemas import JsonObject, OrganizationProvider, OrganizationProviders, Provider
    from voxplane.server.auth import Principal
    from voxplane.server.settings import Settings

app = typer.Typer(
    help="Voxplane, the provider control plane for voice AI.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _group(name: str, text: str) -> typer.Typer:
    group = typer.Typer(help=text, no_args_is_help=True)
    app.add_typer(group, name=name)
    return group


db = _group("db", "Upgrade, reset and seed the database.")
providers = _group("providers", "Look at the catalogue.")
organization = _group("organization", "Create and list organizations.")
config = _group("config", "Look at and change an organization's settings of a provider.")
app.add_typer(history, name="history")
app.add_typer(audit, name="audit")
app.add_typer(secrets, name="secrets")
app.add_typer(token, name="token")
app.add_typer(models, name="models")
app.command("verify")(verify)
app.add_typer(legacy, name="legacy")
for command in (export, apply, preview):
    app.command()(command)


def main() -> None:
    """Run the command line. Exit code 1 is an error that was explained, 2 a wrong use."""
    try:
        app()
    except VoxplaneError as error:
        explain(error)
        sys.exit(1)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"voxplane {version('voxplane')}")
        raise typer.Exit


@app.callback()
def _before_any_command(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None: ...


@app.command()
def serve() -> None:
    """Run the service. VOXPLANE_HOST and VOXPLANE_PORT say where; Ctrl-C stops it."""
    # Imported here: no other command needs the web framework, and it is slow to load.
    from voxplane.server.serving import serve as serve_until_stopped  # noqa: PLC0415

    settings = read_settings()
    anyio.run(serve_until_stopped, settings, backend_options={"use_uvloop": sys.platform != "win32"})


@app.command(epilog="\n\n".join(f"{name}: {text}" for name, text in described().items()))
def agent(
    command: Annotated[
        Literal["start", "dev", "console"], typer.Argument(help="In production, at a desk, or on this machine's audio.")
    ],
) -> None:
    """Run LiveKit's agent worker on the organizations' providers. It needs the extra `livekit`.

    It reads the variables below, LIVEKIT_… not for `console`. The engines of its machine read VOXPLANE_MODELS_DIR and
    VOXPLANE_PIPER: docs/speech.md.
    """
    try:
        from voxplane import agent as worker  # noqa: PLC0415 - a worker's packages, which a control plane can do without
    except ModuleNotFoundError:
        raise errors.MissingDependency("The agent needs LiveKit: pip install 'voxplane[livekit]'.") from None
    logging.basicConfig(level=logging.INFO)
    try:
        worker.run(command)
    except VoxplaneError as error:  # said to a worker: what other commands would say of its code is not meant
        say(error.message, style="red")
        raise typer.Exit(1) from None


@db.command("upgrade")
def db_upgrade() -> None:
    """Create or upgrade the schema, publish the catalogue, and make the keyring if there is none."""
    _administer(upgrade)
    say("The database is up to date.")


@db.command("seed")
def db_seed() -> None:
    """Create the default organization in an installation that has none."""

    async def seed(plane: ControlPlane) -> bool:
        if plane.providers.is_sealed:
            raise errors.KeyUnavailable
        await plane.seed()
        found = (await plane.access.get_organizations()).organizations
        return any(each.slug == "default" for each in found)

    if run(seed):
        say("The default organization is there.")
    else:
        say("This installation has other organizations, so none was created.")


@db.command("reset")
def db_reset(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    yes_destroy_secrets: Annotated[
        bool, typer.Option("--yes-destroy-secrets", help="Do it although organizations have stored secrets.")
    ] = False,
) -> None:
    """Drop everything and begin anew: schema, catalogue, default organization."""

    def reset(location: Location, settings: Settings, registry: ProviderRegistry) -> None:
        with database.administration(location) as connection:
            if database.is_in_use(connection):
                raise errors.ConfigurationError("A Voxplane is working on this database: stop it first.")
            if database.holds_secrets(connection) and not yes_destroy_secrets:
                raise errors.ConfigurationError(
                    "Organizations have stored secrets, and this would destroy them: "
                    "say --yes-destroy-secrets if that is what you want."
                )
            if not (yes or yes_destroy_secrets):
                confirm("This removes all organizations and their settings. Go on?")
            database.drop(connection)
        upgrade(location, settings, registry)

    _administer(reset)
    run(lambda plane: plane.seed())
    say("The database is as new.")


def _administer(work: Callable[[Location, Settings, ProviderRegistry], object]) -> None:
    settings, registry = read_settings(), ProviderRegistry()
    registry.initialize()
    location = Location.find(settings)
    try:
        if location.admin is None:
            raise errors.ConfigurationError(
                "This takes VOXPLANE_DATABASE_ADMIN_URL, the address of a role that may create roles and the schema."
            )
        work(location, settings, registry)
    finally:
        location.close()


@providers.command("list")
def providers_list(
    provider_type: Annotated[ProviderType | None, typer.Option("--type", help="Only of this type.")] = None,
    as_json: Json = False,
) -> None:
    """List the catalogue."""
    registry = installed_catalogue()
    found = registry.get_providers_by_type(provider_type) if provider_type else registry.get_all_providers()
    rows = [(each.key, each.type, each.hosting, each.name, each.description) for each in found]
    entries = Providers(providers=tuple(each.entry for each in found))
    show(entries, as_json, lambda: table("Key", "Type", "Hosting", "Name", "What it is", rows=rows))


@providers.command("show")
def providers_show(key: Key, as_json: Json = False) -> None:
    """Show a provider's settings, secrets and models."""
    registry = installed_catalogue()
    found = registry.get_provider_by_key(key)
    show(found.entry, as_json, lambda: _settings_table(found.entry))
    if not as_json and (found.models or found.voices):
        out.print()
        known = [(each.name, each.status, each.retires_on, each.replacement) for each in (*found.models, *found.voices)]
        out.print(table("Model or voice", "Status", "Ends on", "Replacement", rows=known))


def _settings_table(entry: Provider) -> Table:
    rows = [
        (name, field.get("type", "object"), compact(entry.default_config.get(name)), field.get("description", ""))
        for name, field in entry.config_schema["properties"].items()
    ]
    rows += [
        (name, "secret", "", field.get("description", ""))
        for name, field in entry.secrets_schema.get("properties", {}).items()
    ]
    return table("Setting", "Type", "Default", "What it does", rows=rows)


@organization.command("create")
def organization_create(
    slug: Annotated[str, typer.Argument(help="What it is called in addresses: a-z, 0-9 and hyphens.", metavar="SLUG")],
    name: Annotated[str | None, typer.Option(help="Its name; the slug otherwise.")] = None,
    as_json: Json = False,
) -> None:
    """Create an organization."""
    new = model(OrganizationCreate, slug=slug, name=name or slug)
    made = run(lambda plane: plane.access.create_organization(local_administrator(None, account()), new))
    show(made, as_json, lambda: table("Slug", "Name", "Id", rows=[(made.slug, made.name, made.id)]))


@organization.command("list")
def organization_list(
    after: Annotated[str, typer.Option(help="Begin behind this slug.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 100,
    as_json: Json = False,
) -> None:
    """List organizations."""
    found = run(lambda plane: plane.access.get_organizations(after=after, limit=limit))
    rows = [(each.slug, each.name, each.id, each.revision) for each in found.organizations]
    empty = "No organization comes after this." if after else "There is no organization yet."
    show(found, as_json, lambda: table("Slug", "Name", "Id", "Revision", rows=rows), empty)


@config.command("get")
def config_get(
    key: Annotated[str | None, typer.Argument(help="A provider's key; all otherwise.", metavar="PROVIDER")] = None,
    organization: Organization = "default",
    as_json: Json = False,
) -> None:
    """Show the settings in force, of one provider or of all."""
    if key is None:
        found = run_for(organization, lambda plane, who: plane.providers.get_organization_providers(who))
        show(found, as_json, lambda: _ranking(found))
        return
    one = run_for(organization, lambda plane, who: plane.providers.get_organization_provider(who, key))
    show(one, as_json, lambda: _effective(one))
    if not as_json:
        say_state(one, organization)


def _ranking(found: OrganizationProviders) -> Table:
    rows = [
        (
            each.provider.type,
            each.provider.key,
            _rank(each, found),
            each.priority,
            _standing(each, found),
            each.config.get("model") or each.config.get("voice"),
            "; ".join(notice.message for notice in each.notices if notice.code != "setting_invalid"),
        )
        for each in found.providers
    ]
    return table("Type", "Provider", "Rank", "Priority", "State", "Model", "Notices", rows=rows)


def _rank(one: OrganizationProvider, found: OrganizationProviders) -> str:
    """Say where a provider stands among those of its type that are on, usable or not."""
    if one.is_primary or not one.is_enabled:
        return "primary" if one.is_primary else "off"
    enabled = [each for each in found.providers if each.provider.type == one.provider.type and each.is_enabled]
    return f"fallback {enabled.index(one)}"


def _standing(one: OrganizationProvider, found: OrganizationProviders) -> str:
    """Say in a word or two whether a provider can answer, and that the next call goes to it where it does."""
    if one.reason is not None:
        return one.reason.replace("_", " ")
    standing = "usable"
    if one.status == "failing":
        is_in_calls = one.health is not None and one.health.status == "failing"
        standing = f"failing: {kind_of(one.health) if one.health and is_in_calls else 'its test'}".replace("_", " ")
    return f"{standing} (next call)" if one.provider.key in found.next_call.values() else standing


def _effective(one: OrganizationProvider) -> Table:
    rows = [
        (name, compact(value), "overridden" if name in one.overrides else "default")
        for name, value in one.config.items()
    ]
    return table("Setting", "In force", "From", rows=rows)


@config.command("set")
def config_set(
    key: Key,
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="The value is JSON or plain text.", metavar="NAME=VALUE"),
    ] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A setting to put back to its default; repeat for more."),
    ] = None,
    enable: Annotated[bool | None, typer.Option("--enable/--disable", help="Switch it on or off.")] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 1000; the highest answers first.")] = None,
    organization: Organization = "default",
    as_json: Json = False,
) -> None:
    """Override settings of a provider, all in one write; those not named stay as they are."""
    if not (settings or unset) and enable is None and priority is None:
        raise typer.BadParameter("Give settings as NAME=VALUE, --unset, --enable, --disable or --priority.")
    assignments = [_assignment(each) for each in settings or []]
    if any(name in (unset or ()) for name, _ in assignments):
        raise typer.BadParameter("A setting is either given a value or --unset.")

    async def change(plane: ControlPlane, who: Principal) -> OrganizationProvider:
        provider = plane.registry.get_provider_by_key(key)
        _check_settings(provider, unset or [])
        known = provider.config_schema["properties"]
        given = {name: _value(text, known.get(name, {})) for name, text in assignments}
        present = await plane.providers.get_organization_provider(who, key)
        overrides = {**_without(present.overrides, unset or []), **given} if given or unset else None
        write = model(ConfigWrite, config=overrides, is_enabled=enable, priority=priority)
        return await plane.providers.upsert_organization_provider_config(who, key, write, if_match=present.etag)

    one = run_for(organization, change)
    show(one, as_json, lambda: _effective(one))
    if not as_json:
        say_state(one, organization)


def _assignment(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter("Write settings as NAME=VALUE.")
    return name, value


def _value(text: str, schema: JsonObject) -> Any:
    """Read a value as JSON, or as the text that it is; where text is wanted, 2024 is a text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if schema.get("type") == "string" and not isinstance(value, str) else value


@config.command("reset")
def config_reset(
    key: Key,
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="Settings to put back to their defaults; all otherwise.", metavar="NAME"),
    ] = None,
    organization: Organization = "default",
) -> None:
    """Put settings back to their defaults. Without names the provider is also disabled."""

    async def change(plane: ControlPlane, who: Principal) -> None:
        present = await plane.providers.get_organization_provider(who, key)
        if not settings:
            await plane.providers.delete_organization_provider_config(who, key, if_match=present.etag)
            return
        _check_settings(plane.registry.get_provider_by_key(key), settings)
        write = model(ConfigWrite, config=_without(present.overrides, settings))
        await plane.providers.upsert_organization_provider_config(who, key, write, if_match=present.etag)

    run_for(organization, change)
    say("Back to the defaults." if settings else "Back to the defaults, and disabled.")


def _without(overrides: JsonObject, names: list[str]) -> JsonObject:
    return {name: value for name, value in overrides.items() if name not in names}


def _check_settings(provider: AnyProvider, names: list[str]) -> None:
    known = list(provider.config_schema["properties"])
    wrong = [unknown_field("/config", name, known) for name in names if name not in known]
    if wrong:
        raise Invalid(wrong)


@app.command()
def order(
    provider_type: Annotated[ProviderType, typer.Argument(metavar="TYPE", help="stt, tts or llm.")],
    keys: Annotated[list[str], typer.Argument(metavar="PROVIDER", help="First to answer first.")],
    organization: Organization = "default",
    as_json: Json = False,
) -> None:
    """Set the order in which the providers of one type answer."""
    wanted = model(OrderWrite, order=keys)
    found = run_for(
        organization,
        lambda plane, who: plane.providers.order_organization_providers(who, provider_type, wanted),
    )
    show(found, as_json, lambda: _ranking(found))
    if not as_json:
        of = of_organization(organization)
        for each in found.providers:
            if each.provider.key in keys and not each.is_enabled:
                say(f"{each.provider.key} is off: `voxplane config set {each.provider.key} --enable{of}`")


@app.command("doctor")
def doctor_command(
    as_json: Json = False,
    ask_providers: Annotated[
        bool, typer.Option("--verify", help="Test the enabled providers too: a request to each.")
    ] = False,
    everybody: Annotated[
        bool, typer.Option("--all", help="Look at all organizations, not at `default` alone.")
    ] = False,
) -> None:
    """Check this installation, and say what to do about what is wrong.

    It ends with 1 where the installation is wrong (✗), or a test of --verify fails. That an organization has nobody to
    answer is a remark (!), as on the first day of every one.
    """
    with err.status("Checking…"):
        report = anyio.run(doctor.examine, read_settings(), ask_providers, everybody)
    marks = {"good": "[green]✓[/]", "note": "[yellow]![/]", "bad": "[red]✗[/]"}
    # Some errors are several lines, and a cell is one.
    rows = [
        (marks[each.verdict], each.subject, line) if number == 0 else ("", "", line)
        for each in report.findings
        for number, line in enumerate(each.finding.splitlines())
    ]
    show(report, as_json, lambda: table("", "Subject", "Finding", rows=rows))
    if not report.is_healthy:
        raise typer.Exit(1)

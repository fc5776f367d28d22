"""What the definitions of this release change in whose calls, before it is installed.

The database still has the catalogue of the release that serves, and it is only read. With a catalogue given, that one
is compared instead.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from pydantic import ValidationError

from voxplane.errors import ConfigurationError, Invalid, SecretsUnreadable
from voxplane.registry import ProviderRegistry
from voxplane.resolution import rank
from voxplane.schemas import Provider, Providers, ProviderType
from voxplane.server import database, store
from voxplane.server.database import Location
from voxplane.server.organization_files import Change, OrganizationPlan, compared
from voxplane.server.organization_view import OrganizationView
from voxplane.server.position import Position
from voxplane.server.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from voxplane.errors import FieldError
    from voxplane.provider import AnyProvider
    from voxplane.server.settings import Settings
    from voxplane.server.store import ConfigRow, OrganizationState

_PAGE = 100
_REMARKS = frozenset({"title", "description", "default", "examples", "deprecated", "x-ui"})
"""What a JSON Schema says of a setting that no value is held to."""


async def compare(
    settings: Settings, since: str | None, progress: Callable[[], None] = lambda: None
) -> AsyncGenerator[OrganizationPlan]:
    """Yield the organizations in whose calls something changes; `progress` is told of each that was looked at.

    Raises:
        ConfigurationError: the database's schema is older than this release, or `since` is no catalogue.
        Unavailable: the database does not answer.
    """
    registry = ProviderRegistry()
    registry.initialize()
    location = await to_thread.run_sync(Location.find, settings)
    try:
        with database.reading(location) as connection:
            if (database.schema_version(connection) or "") < database.SCHEMA_VERSION:
                raise ConfigurationError(
                    "This release has another schema: upgrade a copy of the database, and give --since the catalogue "
                    "of the release that serves, from its `voxplane providers list --json`."
                )
            digests, served = database.catalogue(connection)
        old = _catalogue(served if since is None else since)
        connections = await database.open_database(location, settings, digests)
        try:
            after = ""
            while True:
                async with connections.transaction(platform=True) as connection:
                    page = await store.organizations(connection, after, _PAGE)
                for row in page:
                    async with connections.transaction(organization_id=row.id) as connection:
                        state = await Store(connection, row.id).state()
                    if effects := tuple(_effects(state, old, registry)):
                        at = str(Position(str(state.epoch), state.revision))
                        yield OrganizationPlan(
                            organization=state.slug, is_new=False, at=at, changes=(), effects=effects
                        )
                    progress()
                if len(page) < _PAGE:
                    return
                after = page[-1].slug
        finally:
            await connections.close()
    finally:
        await to_thread.run_sync(location.close)


def _catalogue(text: str) -> dict[str, Provider]:
    try:
        return {each.key: each for each in Providers.model_validate_json(text).providers}
    except ValidationError:
        raise ConfigurationError("This is no catalogue: `voxplane providers list --json` prints one.") from None


def _effects(state: OrganizationState, old: dict[str, Provider], registry: ProviderRegistry) -> Iterator[Change]:
    view = OrganizationView(state, registry, {}, datetime.now(UTC).date())
    listed = view.listed(list(ProviderType))
    now = {each.provider.key: each for each in listed.providers}
    offered = {each.key: each for each in registry.get_all_providers()}
    answered: list[Provider] = []
    for key, row in sorted(state.configs.items()):
        if not row.is_enabled or key not in old:
            continue
        entry, provider = old[key], offered.get(key)
        if provider is None:
            yield Change(provider=key, what="offered", kind="removed", before=True)
            was_usable = _was_usable(view, entry)
        elif provider.entry.model_dump(exclude={"retired_at"}) == entry.model_dump(exclude={"retired_at"}):
            # Its upgrades are in force already, though rows are rewritten only when somebody changes them.
            was_usable = now[key].usable
        else:
            moved = tuple(_moves(row, entry, provider))
            yield from moved
            # What is not valid for another reason than this release could not be used before either.
            was_valid = now[key].reason != "invalid_config" or any(each.what == "valid" for each in moved)
            was_usable = was_valid and _was_usable(view, entry, provider)
            yield from compared(key, {"usable": was_usable}, {"usable": now[key].usable})
        answered += [entry] if was_usable else []
    answered.sort(key=lambda entry: rank(state.configs[entry.key].priority, entry.name, entry.key))
    for kind in ProviderType:
        first, then = next((each.key for each in answered if each.type is kind), None), listed.next_call.get(kind)
        yield from compared(then or first or "", {f"answers {kind.value}": first}, {f"answers {kind.value}": then})


def _moves(row: ConfigRow, entry: Provider, provider: AnyProvider) -> Iterator[Change]:
    """Yield which settings become others, or that they are no longer valid."""
    overrides = provider.upgrade(row.config, row.schema_version)
    try:
        effective = provider.validate(overrides).effective()
    except Invalid as invalid:
        if all(_is_new(error, entry, provider.entry, row.config, overrides) for error in invalid.errors):
            reasons = [f"{error.pointer.lstrip('/')}: {error.message}" for error in invalid.errors]
            yield Change(provider=provider.key, what="valid", kind="removed", before=True, after=reasons)
        return  # if one was there before, the provider could not be used then either
    before, after = entry.default_config | row.config, provider.config.defaults() | overrides
    yield from compared(provider.key, *_moved(before, after, effective))


def _was_usable(view: OrganizationView, entry: Provider, provider: AnyProvider | None = None) -> bool:
    """Whether an enabled provider with valid settings could be used, by what the catalogue says of it.

    Of a secret that is needed under a condition, and of addresses that settings decide, a catalogue says nothing: these
    are taken to be as they are now.
    """
    shared, secrets = entry.shares_secrets_with, view.state.secrets
    source = shared if shared in secrets and entry.key not in secrets else entry.key
    try:
        sealed = view.own_envelope(source or entry.key)
    except SecretsUnreadable:
        return False
    needed = {*entry.secrets_schema.get("required", ())}
    origins = default_origins = {*entry.destination.default_origins}
    if provider is not None:
        now = view.provider(provider.key)
        if now.reason == "undecryptable":
            return False
        conditional = {each.name for each in now.secret_fields if each.required}
        conditional -= {*provider.secrets_schema.get("required", ())}
        needed |= conditional & {*entry.secrets_schema.get("properties", ())}
        if {*view.overrides(provider)} & {*entry.destination.fields}:
            origins = {*now.origins}
    approved = {str(origin) for origin in sealed.origins} if sealed else default_origins
    return entry.retired_at is None and origins <= approved and needed <= {*(sealed.fields if sealed else ())}


def _is_new(error: FieldError, old: Provider, new: Provider, stored: dict[str, Any], overrides: dict[str, Any]) -> bool:
    """Whether what is wrong with an override is so since this release, by what the two say of the setting."""
    name = error.pointer.split("/")[1] if error.pointer else None
    if name is None:  # a setting that is unknown now
        unknown = set(overrides) - set(new.config_schema["properties"])
        return unknown <= {*old.config_schema["properties"], *(set(overrides) - set(stored))}
    return stored.get(name) != overrides.get(name) or _rules(old, name) != _rules(new, name)


def _rules(provider: Provider, name: str) -> list[Any]:
    """Return what a definition says of the values of one setting, by itself and beside others."""
    schema = provider.config_schema
    own = {word: value for word, value in schema["properties"].get(name, {}).items() if word not in _REMARKS}
    beside = [rule for rule in schema.get("allOf", ()) if f'"{name}"' in json.dumps(rule)]
    return [own, name in schema.get("required", ()), beside]


def _moved(
    before: dict[str, Any], after: dict[str, Any], effective: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings whose override, or default where there is none, is another: as they were and become."""
    names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return (
        {f"config.{name}": before.get(name) for name in names},
        {f"config.{name}": effective.get(name) for name in names},
    )

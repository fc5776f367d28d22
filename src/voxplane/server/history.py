"""The history of an organization's providers: what settings were and became, by whom, and when secrets changed.

Every version is shown in the terms of the provider's present definition, so that any two can be compared and what is
seen is what a restore would give.
"""

from __future__ import annotations

from heapq import merge
from typing import TYPE_CHECKING, Any, Literal, cast

from voxplane.errors import FieldError, Invalid, RestoreRefused
from voxplane.schemas.history import (
    Actor,
    PriorityChange,
    ProviderHistory,
    SecretsChange,
    SettingChange,
    SettingsVersion,
    SwitchChange,
)
from voxplane.server.history_store import HistoryStore, SecretsRow, VersionRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from voxplane.provider import AnyProvider
    from voxplane.registry import ProviderRegistry
    from voxplane.schemas import JsonObject, Provider
    from voxplane.server.auth import Principal
    from voxplane.server.database import Database

_NOTHING: JsonObject = {"config": {}, "schemaVersion": 0, "isEnabled": False, "priority": 0}


class HistoryService:
    """Reads the history of an organization's providers. What puts a version back is `ProviderService`."""

    def __init__(self, *, registry: ProviderRegistry, retired: Mapping[str, Provider], database: Database) -> None:
        """Take what it works with."""
        self._registry = registry
        self._retired = retired
        self._database = database

    async def get_history(
        self, principal: Principal, key: str, *, before: int | None = None, limit: int = 50
    ) -> ProviderHistory:
        """Return what became of one provider's settings and secrets, newest first, below revision `before`.

        Raises:
            ProviderNotFound: there is no such provider.
        """
        provider = None if key in self._retired else self._registry.get_provider_by_key(key)
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            store = HistoryStore(connection, principal.tenant)
            newest = await store.versions(key, None, 1)
            # One more than is shown tells whether there is more.
            versions = await store.versions(key, before, limit + 1)
            secrets = await store.secrets(key, before, limit + 1)
        current = newest[0].revision if newest else None
        entries = list(
            merge(
                (_version(provider, row, is_current=row.revision == current) for row in versions),
                (_secrets_change(row) for row in secrets),
                key=lambda entry: -entry.revision,
            )
        )
        shown = _whole_revisions(entries, limit)
        more = len(entries) > len(shown)
        return ProviderHistory(entries=tuple(shown), next_before=shown[-1].revision if more else None)


def _whole_revisions(
    entries: list[SettingsVersion | SecretsChange], limit: int
) -> list[SettingsVersion | SecretsChange]:
    """Return the first `limit` entries, and one more if it is of the last one's revision: pages end between them."""
    last = limit
    while 0 < last < len(entries) and entries[last].revision == entries[last - 1].revision:
        last += 1
    return entries[:last]


def restorable(provider: AnyProvider, version: VersionRow, *, valid_only: bool) -> JsonObject:
    """Return the settings of a version as the provider's present definition takes them.

    With `valid_only` the settings that it does not take are left out, until what is left is valid.

    Raises:
        RestoreRefused: the definition does not take them; with a pointer for each setting that is wrong.
    """
    overrides = _config(provider, version.after)
    while True:
        try:
            provider.validate(overrides, at="/config")
        except Invalid as invalid:
            wrong = {error.pointer.split("/")[2] for error in invalid.errors if error.pointer.count("/") > 1}
            # A name that the definition does not know is not repeated in a pointer: it ends above it.
            wrong |= {name for name in overrides if name not in provider.setting_names}
            if not valid_only or wrong.isdisjoint(overrides):
                raise RestoreRefused(_named(provider, overrides, invalid.errors)) from None
            overrides = {name: value for name, value in overrides.items() if name not in wrong}
        else:
            return overrides


def _named(provider: AnyProvider, overrides: JsonObject, errors: list[FieldError]) -> list[FieldError]:
    """Name the settings that a definition no longer has: they come out of our own rows, not from the caller."""
    gone = [name for name in overrides if name not in provider.setting_names]
    if not gone:
        return errors
    return [FieldError(f"/config/{name}", "unknown_setting", "This setting no longer exists.") for name in gone]


def _version(provider: AnyProvider | None, row: VersionRow, *, is_current: bool) -> SettingsVersion:
    before, after = row.before or _NOTHING, row.after or _NOTHING
    overrides = _config(provider, row.after)
    switch = None
    if before["isEnabled"] != after["isEnabled"]:
        switch = SwitchChange(before=before["isEnabled"], after=after["isEnabled"])
    priority = None
    if before["priority"] != after["priority"]:
        priority = PriorityChange(before=before["priority"], after=after["priority"])
    return SettingsVersion(
        revision=row.revision,
        at=row.at,
        by=actor(row.actor, row.actor_name),
        action=row.action,
        restored_from=row.restored_from,
        is_current=is_current,
        is_removed=row.after is None,
        changes=tuple(differences(_config(provider, row.before), overrides)),
        switch=switch,
        priority_change=priority,
        overrides=overrides,
        is_enabled=after["isEnabled"],
        priority=after["priority"],
        schema_version=after["schemaVersion"],
    )


def _secrets_change(row: SecretsRow) -> SecretsChange:
    return SecretsChange(
        revision=row.revision,
        at=row.at,
        by=actor(row.actor, row.actor_name),
        action=row.action,
        stored=tuple(row.detail.get("set", ())),
        replaced=tuple(row.detail.get("replaced", ())),
        removed=tuple(row.detail.get("removed", ())),
    )


def _config(provider: AnyProvider | None, stored: JsonObject | None) -> JsonObject:
    """Return stored settings in the terms of the present definition; as they are of a provider without one."""
    stored = stored or _NOTHING
    config: JsonObject = stored["config"]
    return provider.upgrade(config, stored["schemaVersion"]) if provider else config


def differences(before: JsonObject, after: JsonObject, at: str = "") -> Iterator[SettingChange]:
    """Yield what differs between two overrides, setting by setting in the order of their names, nested ones too."""
    for name in sorted({*before, *after}):
        pointer = f"{at}/{name.replace('~', '~0').replace('/', '~1')}"
        was, became = before.get(name), after.get(name)
        if name in before and name in after and _same(was, became):
            continue
        if isinstance(was, dict) and isinstance(became, dict):
            yield from differences(cast("JsonObject", was), cast("JsonObject", became), pointer)
            continue
        kind: Literal["added", "changed", "removed"] = "changed"
        if name not in before or name not in after:
            kind = "added" if name not in before else "removed"
        yield SettingChange(pointer=pointer, kind=kind, before=was, after=became)


def _same(one: Any, other: Any) -> bool:
    """Compare as JSON: to Python, true and 1 are equal."""
    return type(one) is type(other) and one == other


def actor(subject: str, name: str | None) -> Actor:
    """Return who a subject stands for; without a name, by what its subject says."""
    kind, _, rest = subject.partition(":")
    known: dict[str, Literal["token", "user", "local"]] = {"token": "token", "user": "user", "local": "local"}
    return Actor(subject=subject, name=name or rest or subject, kind=known.get(kind, "local"))

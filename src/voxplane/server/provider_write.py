"""What may be written of an organization's providers, and how it becomes rows and envelopes.

Every way in comes through here: the API, the command line, files, and what is brought from the old system. A
`ProviderWrite` stands on one `Write`, so several changes of one organization are one transaction.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from voxplane.destination import Origin
from voxplane.errors import (
    DestinationChange,
    FieldError,
    Invalid,
    PreconditionRequired,
    ProviderRetired,
    SecretsUnreadable,
)
from voxplane.secret_value import not_a_secret
from voxplane.server import envelope
from voxplane.server.auth import Scope
from voxplane.server.envelope import DataKey, Envelope, SecretChange, SecretContext
from voxplane.server.fingerprints import fingerprints
from voxplane.server.organization_view import OrganizationView
from voxplane.server.store import DataKeyRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from pydantic import SecretStr

    from voxplane.provider import AnyProvider
    from voxplane.registry import ProviderRegistry
    from voxplane.schemas import ConfigWrite, JsonObject, Provider, SecretsWrite
    from voxplane.server.write import Write


@dataclass(frozen=True)
class Catalogue:
    """What is offered, and what no longer is."""

    registry: ProviderRegistry
    retired: Mapping[str, Provider]

    def offered(self, key: str) -> AnyProvider:
        """Return a provider that may be written.

        Raises:
            ProviderNotFound, ProviderRetired: there is no such provider, or it is no longer offered.
        """
        if key in self.retired:
            raise ProviderRetired
        return self.registry.get_provider_by_key(key)


class ProviderWrite:
    """The providers of one organization within a write. Whoever made a change ends the write with `advance`."""

    def __init__(self, write: Write, catalogue: Catalogue, today: date) -> None:
        """Stand on a write that is under way."""
        self.write = write
        self._catalogue = catalogue
        self._today = today
        self._data_keys: dict[int, DataKey] = {}

    @property
    def view(self) -> OrganizationView:
        """The organization as it is with what was written so far."""
        return OrganizationView(self.write.state, self._catalogue.registry, self._catalogue.retired, self._today)

    async def put_config(self, provider: AnyProvider, change: ConfigWrite) -> bool:
        """Change settings, switch or priority of one provider; whether that changed anything.

        Overrides that are those already stored are left alone, also when the definition no longer takes them. That
        there are none is never refused: so it is before anybody set one, and after a reset.

        Raises:
            Invalid: a setting is not valid, or belongs in the secrets.
            DestinationChange: it would send calls to an unapproved host and the principal lacks admin:secrets.
        """
        key, view = provider.key, self.view
        present = view.config_row(key)
        overrides = view.overrides(provider)
        if change.config is not None and not _same(change.config, overrides):
            overrides = change.config
            if overrides:
                self.gate(view, provider, overrides)
        row = replace(
            present,
            config=overrides,
            schema_version=provider.schema_version,
            is_enabled=present.is_enabled if change.is_enabled is None else change.is_enabled,
            priority=present.priority if change.priority is None else change.priority,
        )
        if key in self.write.state.configs and row == present:
            return False
        changed = sorted(
            name for name in ("config", "is_enabled", "priority") if getattr(row, name) != getattr(present, name)
        )
        before, after = present.config, row.config
        detail = {
            "changed": changed,
            "changedSettings": sorted(
                name for name in before.keys() | after if not _same(before.get(name), after.get(name))
            ),
            **({"isEnabled": row.is_enabled} if "is_enabled" in changed else {}),
            "settings": sorted(overrides),
            "revision": self.write.revision,
        }
        await self.write.audit("config.put", key, detail)
        await self.write.put_config(key, row)
        return True

    async def delete_config(self, key: str) -> bool:
        """Put one provider back to its defaults, disabled; whether that changed anything."""
        if key not in self.write.state.configs:
            return False
        await self.write.audit("config.delete", key, {"revision": self.write.revision})
        await self.write.put_config(key, None)
        return True

    async def put_secrets(
        self,
        provider: AnyProvider,
        change: SecretsWrite,
        values: Mapping[str, SecretStr | None],
        *,
        is_precise: bool,
    ) -> bool:
        """Replace or remove secrets of one provider; whether that changed anything.

        `values` are the change's secrets as `secret_values` returned them; `is_precise` says that the caller named
        the version that they saw.

        Raises:
            Invalid: an origin cannot be read, or is missing.
            PermissionDenied: the principal lacks admin:secrets.
            PreconditionRequired: origins are added to secrets that are not entered again, unless it is precise.
            SecretsUnreadable: what is stored does not open; remove it first.
        """
        key, write = provider.key, self.write
        write.principal.require(Scope.ADMIN_SECRETS)
        present = self.view.own_envelope(key)
        origins = bound_origins(provider, change, present)
        _check_rebinding(change, present, origins, is_precise=is_precise)
        if present is None and change.approved_origins is None and not any(values.values()):
            return False
        version = write.state.secret_versions.get(key, 0) + 1
        sealed = envelope.seal(
            await self._data_key(present),
            SecretContext(write.state.id, key),
            SecretChange(values, origins, change.label, write.at.isoformat(), write.principal.name),
            present=present,
            version=version,
        )
        if sealed is None:
            return False
        detail = {
            "set": sorted(name for name, value in values.items() if value is not None),
            "replaced": sorted(name for name, value in values.items() if value is not None and _has(present, name)),
            "removed": sorted(name for name, value in values.items() if value is None),
            "origins": sorted(str(origin) for origin in origins),
            "version": version,
            "revision": write.revision,
            "fingerprints": await fingerprints(write, values),
        }
        await write.audit("secrets.put", key, detail)
        is_same = present is not None and present.is_same(sealed)
        await write.put_secrets(key, sealed, self.view.secret_users(key), is_same=is_same)
        return True

    async def holds_secrets(self, provider: AnyProvider, values: Mapping[str, SecretStr]) -> bool:
        """Return whether these are the very secrets that a provider uses, its own or those that it shares.

        Raises:
            SecretsUnreadable: what is stored does not open.
        """
        source = self.view.secret_source(provider)
        present = self.view.own_envelope(source)
        if present is None:
            return False
        context = SecretContext(self.write.state.id, source)
        return envelope.holds(await self._data_key(present), context, present, values)

    def gate(self, view: OrganizationView, provider: AnyProvider, overrides: JsonObject) -> None:
        """Refuse settings that are not valid, or that send calls where the principal may not send them.

        Raises:
            Invalid, DestinationChange: they are that; `put_config` asks this itself.
        """
        origins = provider.effective_origins(provider.validate(overrides, at="/config"))
        if Scope.ADMIN_SECRETS not in self.write.principal.scopes and not origins <= view.allowed_origins(provider):
            settings = ", ".join(provider.destinations.settings)
            raise DestinationChange(
                f"These settings decide where calls and keys are sent: {settings}. "
                "Ask a holder of admin:secrets to approve the new destination first."
            )

    async def _data_key(self, present: Envelope | None) -> DataKey:
        """Return the key that the present envelope is sealed with, else the newest, made if there is none yet."""
        known = self._data_keys
        version = max(known, default=None) if present is None else present.data_key
        if version is not None and version in known:
            return known[version]
        # An organization that is being made has none.
        row = await self.write.store.data_key(version) if self.write.state.revision else None
        if row is None and present is not None:
            raise SecretsUnreadable
        key = await self._make_data_key() if row is None else self._unwrapped(row)
        known[key.version] = key
        return key

    def _unwrapped(self, row: DataKeyRow) -> DataKey:
        return self.write.unsealed.keyring.data_key(self.write.state.id, row.version, row.kek_id, row.wrapped)

    async def _make_data_key(self) -> DataKey:
        made = DataKey.generate(version=1)
        keyring, owner = self.write.unsealed.keyring, self.write.state.id
        kek_id, wrapped = keyring.wrap(made.key, purpose="data", owner=owner, version=made.version)
        await self.write.store.add_data_key(DataKeyRow(made.version, wrapped, kek_id))
        return made


def secret_values(
    provider: AnyProvider, given: Mapping[str, str | None], label: str | None = None
) -> dict[str, SecretStr | None]:
    """Check secrets as they were entered, each by itself.

    Raises:
        Invalid: a field is unknown, or a value cannot be a secret.
    """
    values: dict[str, SecretStr | None] = {}
    errors: list[FieldError] = []
    for name, value in given.items():
        if value is None and name in provider.secret_names:
            values[name] = None
            continue
        try:
            values[name] = provider.validate_secret(name, value or "", at="/secrets")
            errors += not_a_secret(f"/secrets/{name}", value or "")
            if value and label is not None and value in label:
                errors.append(FieldError("/label", "holds_the_secret", "A label is shown to everybody: name the key."))
        except Invalid as error:
            errors += error.errors
    if errors:
        raise Invalid(errors)
    return values


def _same(one: object, other: object) -> bool:
    """Return whether two are the same JSON, which has no switch that equals a number."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def bound_origins(provider: AnyProvider, change: SecretsWrite, present: Envelope | None) -> frozenset[Origin]:
    """Decide where the secrets may be sent: what was named, else what was approved before, else the provider's own.

    Never what the settings say now: whoever wrote them may have been waiting for this key.

    Raises:
        Invalid: an origin cannot be read, or is missing.
    """
    if change.approved_origins is not None:
        return parsed_origins(provider, change.approved_origins)
    if present is not None:
        return present.origins
    if not provider.default_origins and any(value is not None for value in change.secrets.values()):
        message = "Name where this secret may be sent: this provider has no address of its own."
        raise Invalid([FieldError("/approvedOrigins", "missing", message)])
    return provider.default_origins


def parsed_origins(provider: AnyProvider, urls: list[str]) -> frozenset[Origin]:
    """Read the origins that a holder of admin:secrets approves.

    Raises:
        Invalid: one cannot be read in exactly one way, or is none that a key may be sent to.
    """
    origins: set[Origin] = set()
    errors: list[FieldError] = []
    for index, url in enumerate(urls):
        pointer = f"/approvedOrigins/{index}"
        try:
            origin = Origin.parse(url)
        except ValueError as error:
            errors.append(FieldError(pointer, "origin", f"To approve an origin, {error}."))
            continue
        if origin.scheme != "https" and not (provider.hosting == "local" and origin.is_loopback):
            errors.append(FieldError(pointer, "origin", "To approve an origin, write one that starts with https://."))
        origins.add(origin)
    if errors:
        raise Invalid(errors)
    return frozenset(origins)


def _has(present: Envelope | None, name: str) -> bool:
    return present is not None and name in present.fields


def _check_rebinding(
    change: SecretsWrite, present: Envelope | None, origins: frozenset[Origin], *, is_precise: bool
) -> None:
    """Make sending stored secrets to a new place a deliberate act: said so, and on the version that was seen."""
    if present is None or origins <= present.origins:
        return
    kept = [name for name in present.fields if name not in change.secrets]
    if not kept:
        return
    if not change.rebind:
        message = f"Enter these secrets again for the new origins, or say rebind: {', '.join(kept)}."
        raise Invalid([FieldError("/rebind", "rebind_required", message)])
    if not is_precise:
        raise PreconditionRequired

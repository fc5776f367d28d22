"""The rules of an organization's providers: what may be written, and what it means.

How a change is written, in one transaction and on record, is `voxplane.server.write`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from voxplane.destination import Origin
from voxplane.errors import (
    DestinationChange,
    FieldError,
    Invalid,
    NoPrimaryProvider,
    PreconditionRequired,
    ProviderRetired,
    RevisionConflict,
    SecretsNotFound,
    SecretsUnreadable,
)
from voxplane.resolution import primary
from voxplane.schemas import (
    MAX_PRIORITY,
    ConfigWrite,
    Notices,
    OrganizationProvider,
    OrganizationProviders,
    ProviderType,
)
from voxplane.server import envelope
from voxplane.server.auth import Principal, Scope
from voxplane.server.envelope import DataKey, Envelope, SecretChange, SecretContext
from voxplane.server.organization_view import OrganizationView
from voxplane.server.store import ConfigRow, DataKeyRow, Store
from voxplane.server.write import Unsealed, Write, begin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from pydantic import SecretStr

    from voxplane.provider import AnyProvider
    from voxplane.registry import ProviderRegistry
    from voxplane.schemas import JsonObject, OrderWrite, Provider, SecretsWrite
    from voxplane.server.changes import Changes
    from voxplane.server.database import Database
    from voxplane.server.store import OrganizationState

_MASK = re.compile(r"[*•.xX\s]+|<?\[?(?:redacted|masked|hidden|secret)\]?>?", re.IGNORECASE)


class ProviderService:
    """An organization's providers: read, configure, order, and keep secrets.

    Every method takes the principal who asks and works on the organization that it is bound to. The door checks
    the scope that a route needs; what depends on the change itself is checked here.
    """

    def __init__(
        self,
        *,
        registry: ProviderRegistry,
        retired: Mapping[str, Provider],
        database: Database,
        changes: Changes,
        unsealed: Unsealed | None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take what it works with; `unsealed` is None while the key is missing or is another one."""
        self._registry = registry
        self._retired = retired
        self._database = database
        self._changes = changes
        self._unsealed = unsealed
        self._clock = clock

    @property
    def is_sealed(self) -> bool:
        """Whether secrets cannot be opened and nothing can be written."""
        return self._unsealed is None

    async def get_organization_providers(
        self, principal: Principal, provider_type: ProviderType | None = None, *, enabled: bool | None = None
    ) -> OrganizationProviders:
        """Return the organization's providers in rank order within each type.

        Raises:
            OrganizationNotFound: the principal's organization is gone.
        """
        view = await self._view(principal)
        found = view.listed([provider_type] if provider_type else list(ProviderType))
        if enabled is None:
            return found
        wanted = tuple(provider for provider in found.providers if provider.is_enabled is enabled)
        return found.model_copy(update={"providers": wanted})

    async def get_organization_provider(self, principal: Principal, key: str) -> OrganizationProvider:
        """Return one provider as the organization has it.

        Raises:
            ProviderNotFound: there is no such provider.
        """
        return (await self._view(principal)).provider(key)

    async def get_notices(self, principal: Principal, *, within_days: int | None = None) -> Notices:
        """Return what is to be known of the providers that the organization uses: what ends, what is not valid.

        Raises:
            OrganizationNotFound: the principal's organization is gone.
        """
        return (await self._view(principal)).notices(within_days)

    async def get_primary_provider(self, principal: Principal, provider_type: ProviderType) -> OrganizationProvider:
        """Return the first enabled provider of a type, usable or not: its `usable` and `reason` say which.

        Raises:
            NoPrimaryProvider: none is enabled.
        """
        found = primary((await self._view(principal)).ranked(provider_type))
        if found is None:
            raise NoPrimaryProvider
        return found

    async def upsert_organization_provider_config(
        self, principal: Principal, key: str, change: ConfigWrite, *, if_match: str | None = None
    ) -> OrganizationProvider:
        """Change settings, switch or priority of one provider; the same change again writes nothing.

        Raises:
            Invalid: a setting is not valid, or belongs in the secrets.
            DestinationChange: it would send calls to an unapproved host and the caller lacks admin:secrets.
            RevisionConflict: `if_match` names another revision than the present one.
            ProviderNotFound, ProviderRetired: there is no such provider, or it is no longer offered.
            KeyUnavailable: the installation is sealed.
        """
        provider = self._offered(key)
        async with self._write(principal) as write:
            view = self._view_of(write.state)
            _match(if_match, view.etag(key))
            present = view.config_row(key)
            overrides = view.overrides(provider)
            if "config" in change.model_fields_set and change.config is not None:
                overrides = change.config
                self._gate(principal, view, provider, overrides)
            row = replace(
                present,
                config=overrides,
                schema_version=provider.schema_version,
                is_enabled=present.is_enabled if change.is_enabled is None else change.is_enabled,
                priority=present.priority if change.priority is None else change.priority,
            )
            if key in write.state.configs and row == present:
                return view.provider(key)
            changed = sorted(
                name for name in ("config", "is_enabled", "priority") if getattr(row, name) != getattr(present, name)
            )
            await write.audit("config.put", key, {"changed": changed, "settings": sorted(overrides)})
            await write.put_config(key, row)
            await write.advance()
            return self._view_of(write.state).provider(key)

    async def delete_organization_provider_config(
        self, principal: Principal, key: str, *, if_match: str | None = None
    ) -> None:
        """Put one provider back to its defaults, disabled. Its secrets stay.

        Raises:
            ProviderNotFound: there is no such provider.
            RevisionConflict: `if_match` names another revision than the present one.
            KeyUnavailable: the installation is sealed.
        """
        async with self._write(principal) as write:
            view = self._view_of(write.state)
            _match(if_match, view.etag(key))
            if key in write.state.configs:
                await write.audit("config.delete", key, {})
                await write.put_config(key, None)
                await write.advance()

    async def order_organization_providers(
        self, principal: Principal, provider_type: ProviderType, wanted: OrderWrite
    ) -> OrganizationProviders:
        """Give the providers of one type priorities that put them in this order, in one change.

        Providers that are not named follow in their present order. Only those configured, enabled or named get a
        priority; a provider that nobody touched stays untouched.

        Raises:
            Invalid: a key is named twice or is no provider of this type.
            KeyUnavailable: the installation is sealed.
        """
        async with self._write(principal) as write:
            view = self._view_of(write.state)
            ranked = [provider.provider.key for provider in view.ranked(provider_type)]
            _check_order(wanted.order, ranked)
            rest = [key for key in ranked if key not in wanted.order and key in write.state.configs]
            order = [*wanted.order, *rest]
            step = max(1, MAX_PRIORITY // len(order) // 10 * 10)
            rows: list[ConfigRow] = []
            for position, key in enumerate(order):
                present, priority = view.config_row(key), max(0, (len(order) - position) * step)
                if present.priority != priority:
                    rows.append(replace(present, priority=priority))
            if rows and [key for key in ranked if key in order] != order:
                await write.audit("order.put", provider_type.value, {"order": order})
                for row in rows:
                    await write.put_config(row.provider_key, row)
                await write.advance()
            return self._view_of(write.state).listed([provider_type])

    async def update_provider_secrets(
        self, principal: Principal, key: str, change: SecretsWrite, *, if_match: str | None = None
    ) -> OrganizationProvider:
        """Replace or remove secrets of one provider, field by field; the same values again write nothing.

        Stored secrets are bound to the origins that they may be sent to: the provider's own, or, when given,
        exactly the approved ones.

        Raises:
            Invalid: a field is unknown, a value cannot be a secret, or an origin cannot be read.
            PermissionDenied: the caller lacks admin:secrets.
            PreconditionRequired: origins are added to secrets that are not entered again, without If-Match.
            RevisionConflict, ProviderNotFound, ProviderRetired, KeyUnavailable: as for settings.
            SecretsUnreadable: what is stored does not open; remove it first.
        """
        principal.require(Scope.ADMIN_SECRETS)
        provider = self._offered(key)
        values = secret_values(provider, change.secrets, change.label)
        async with self._write(principal) as write:
            view = self._view_of(write.state)
            _match(if_match, view.etag(key))
            present = view.own_envelope(key)
            origins = _bound_origins(provider, change, present)
            _check_rebinding(change, present, origins, if_match)
            if present is None and change.approved_origins is None and not any(values.values()):
                return view.provider(key)
            version = write.state.secret_versions.get(key, 0) + 1
            sealed = envelope.seal(
                await self._data_key(write, present),
                SecretContext(write.state.id, key),
                SecretChange(values, origins, change.label, write.at.isoformat(), principal.name),
                present=present,
                version=version,
            )
            if sealed is None:
                return view.provider(key)
            detail = {
                "set": sorted(name for name, value in values.items() if value is not None),
                "removed": sorted(name for name, value in values.items() if value is None),
                "origins": sorted(str(origin) for origin in origins),
                "version": version,
            }
            await write.audit("secrets.put", key, detail)
            await write.put_secrets(key, sealed)
            await write.advance()
            return self._view_of(write.state).provider(key)

    async def remove_provider_secrets(self, principal: Principal, key: str, *, if_match: str | None = None) -> None:
        """Remove all secrets of one provider, and the approval of origins with them.

        Raises:
            SecretsNotFound: it has none.
            PermissionDenied, RevisionConflict, ProviderNotFound, KeyUnavailable: as for `update_provider_secrets`.
        """
        principal.require(Scope.ADMIN_SECRETS)
        async with self._write(principal) as write:
            view = self._view_of(write.state)
            _match(if_match, view.etag(key))
            if key not in write.state.secrets:
                raise SecretsNotFound
            version = write.state.secret_versions.get(key, 0) + 1
            await write.audit("secrets.delete", key, {"version": version})
            await write.put_secrets(key, None)
            await write.advance()

    def _offered(self, key: str) -> AnyProvider:
        if key in self._retired:
            raise ProviderRetired
        return self._registry.get_provider_by_key(key)

    def _gate(self, principal: Principal, view: OrganizationView, provider: AnyProvider, overrides: JsonObject) -> None:
        """Refuse settings that are not valid, or that send calls where the caller may not send them."""
        origins = provider.effective_origins(provider.validate(overrides, at="/config"))
        if Scope.ADMIN_SECRETS not in principal.scopes and not origins <= view.allowed_origins(provider):
            settings = ", ".join(provider.destinations.settings)
            raise DestinationChange(
                f"These settings decide where calls and keys are sent: {settings}. "
                "Ask a holder of admin:secrets to approve the new destination first."
            )

    async def _view(self, principal: Principal) -> OrganizationView:
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            return self._view_of(await Store(connection, principal.tenant).state())

    def _view_of(self, state: OrganizationState) -> OrganizationView:
        return OrganizationView(state, self._registry, self._retired, self._clock().date())

    def _write(self, principal: Principal) -> AbstractAsyncContextManager[Write]:
        return begin(self._database, self._changes, principal, self._unsealed, self._clock())

    async def _data_key(self, write: Write, present: Envelope | None) -> DataKey:
        """Return the key that the present envelope is sealed with, else the newest, made if there is none yet."""
        if present is not None:
            return await self._open_data_key(write.store, write.state, write.unsealed, present.data_key)
        row = await write.store.data_key()
        if row is not None:
            return await self._open_data_key(write.store, write.state, write.unsealed, row.version)
        made = DataKey.generate(version=1)
        kek_id, wrapped = write.unsealed.keyring.wrap(
            made.key, purpose="data", owner=write.state.id, version=made.version
        )
        await write.store.add_data_key(DataKeyRow(made.version, wrapped, kek_id))
        return made

    @staticmethod
    async def _open_data_key(store: Store, state: OrganizationState, unsealed: Unsealed, version: int) -> DataKey:
        row = await store.data_key(version)
        if row is None:
            raise SecretsUnreadable
        key = unsealed.keyring.unwrap(row.kek_id, row.wrapped, purpose="data", owner=state.id, version=version)
        return DataKey(version, key)


def _match(if_match: str | None, etag: str) -> None:
    """Hold a write to the revision that its author saw (RFC 9110, 13.1.1)."""
    if if_match is None or if_match.strip() == "*":
        return
    if etag not in [candidate.strip() for candidate in if_match.split(",")]:
        raise RevisionConflict


def _check_order(order: list[str], known: list[str]) -> None:
    errors = [
        FieldError(f"/order/{index}", "unknown_provider", f"Name providers of this type: {', '.join(known)}.")
        for index, key in enumerate(order)
        if key not in known
    ] + [
        FieldError(f"/order/{index}", "duplicate", "Name each provider once.")
        for index, key in enumerate(order)
        if key in order[:index]
    ]
    if errors:
        raise Invalid(errors)


def secret_values(
    provider: AnyProvider, given: Mapping[str, str | None], label: str | None = None
) -> dict[str, SecretStr | None]:
    """Check secrets as they were entered.

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
            errors += _not_a_secret(f"/secrets/{name}", value or "")
            if value and label is not None and value in label:
                errors.append(FieldError("/label", "holds_the_secret", "A label is shown to everybody: name the key."))
        except Invalid as error:
            errors += error.errors
    if errors:
        raise Invalid(errors)
    return values


def _not_a_secret(pointer: str, value: str) -> list[FieldError]:
    if _MASK.fullmatch(value):
        return [FieldError(pointer, "masked_value", "This is a placeholder, not a secret; enter the secret itself.")]
    # A document, such as a service account's, is stored as it is; anything else ends up in a header of HTTP.
    is_document = value.startswith("{")
    is_plain = is_document or (value.isascii() and value.isprintable())
    if value != value.strip() or value.lower().startswith("bearer ") or not is_plain:
        message = "Enter the secret alone: ASCII, no space around it and no word before it."
        return [FieldError(pointer, "not_bare", message)]
    return []


def _bound_origins(provider: AnyProvider, change: SecretsWrite, present: Envelope | None) -> frozenset[Origin]:
    """Decide where the secrets may be sent: what was named, else what was approved before, else the provider's own.

    Never what the settings say now: whoever wrote them may have been waiting for this key.
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


def _check_rebinding(
    change: SecretsWrite, present: Envelope | None, origins: frozenset[Origin], if_match: str | None
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
    if if_match is None:
        raise PreconditionRequired

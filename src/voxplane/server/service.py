"""The rules of an organization's providers: what may be written, and what it means.

How a change is written, in one transaction and on record, is `voxplane.server.write`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from voxplane.errors import (
    FieldError,
    Invalid,
    NoPrimaryProvider,
    RevisionConflict,
    SecretsNotFound,
    VersionNotFound,
)
from voxplane.resolution import primary
from voxplane.schemas import (
    MAX_PRIORITY,
    Notices,
    OrganizationProvider,
    OrganizationProviders,
    ProviderType,
)
from voxplane.server.auth import Principal, Scope
from voxplane.server.history import restorable
from voxplane.server.history_store import HistoryStore
from voxplane.server.organization_view import OrganizationView
from voxplane.server.provider_write import Catalogue, ProviderWrite, secret_values
from voxplane.server.store import ConfigRow, Store
from voxplane.server.write import Unsealed, Write, begin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from voxplane.registry import ProviderRegistry
    from voxplane.schemas import ConfigWrite, OrderWrite, Provider, SecretsWrite
    from voxplane.schemas.history import Restoration
    from voxplane.server.changes import Changes
    from voxplane.server.database import Database
    from voxplane.server.store import OrganizationState


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
        self._catalogue = Catalogue(registry, retired)
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
        provider = self._catalogue.offered(key)
        async with self._write(principal) as write:
            changing = self._changing(write)
            check_precondition(if_match, changing.view.etag(key))
            if await changing.put_config(provider, change):
                await write.advance()
            return changing.view.provider(key)

    async def restore_organization_provider_config(
        self, principal: Principal, key: str, wanted: Restoration, *, if_match: str | None = None
    ) -> OrganizationProvider:
        """Put an older version of one provider's settings back as a new one; nothing when they are what stands.

        Switch and priority stay unless asked for, secrets always.

        Raises:
            VersionNotFound: there is no such version of this provider.
            RestoreRefused: the present definition no longer takes those settings.
            DestinationChange, RevisionConflict, ProviderNotFound, ProviderRetired, KeyUnavailable: as for settings.
        """
        provider = self._catalogue.offered(key)
        async with self._write(principal) as write:
            changing = self._changing(write)
            view = changing.view
            check_precondition(if_match, view.etag(key))
            version = await HistoryStore(write.store.connection, write.state.id).version(key, wanted.revision)
            if version is None:
                raise VersionNotFound
            overrides = restorable(provider, version, valid_only=wanted.valid_only)
            changing.gate(view, provider, overrides)
            present, then = view.config_row(key), version.after or {"isEnabled": False, "priority": 0}
            row = replace(
                present,
                config=overrides,
                schema_version=provider.schema_version,
                is_enabled=then["isEnabled"] if "isEnabled" in wanted.include else present.is_enabled,
                priority=then["priority"] if "priority" in wanted.include else present.priority,
            )
            if row == replace(present, schema_version=row.schema_version):
                return view.provider(key)
            detail = {"from": version.revision, "settings": sorted(overrides), "revision": write.revision}
            await write.audit("config.restore", key, detail)
            await write.put_config(key, row, restored_from=version.revision)
            await write.advance()
            return changing.view.provider(key)

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
            changing = self._changing(write)
            check_precondition(if_match, changing.view.etag(key))
            if await changing.delete_config(key):
                await write.advance()

    async def order_organization_providers(
        self, principal: Principal, provider_type: ProviderType, wanted: OrderWrite, *, if_match: str | None = None
    ) -> OrganizationProviders:
        """Give the providers of one type priorities that put them in this order, in one change.

        Providers that are not named follow in their present order. Only those configured, enabled or named get a
        priority; a provider that nobody touched stays untouched.

        Raises:
            Invalid: a key is named twice or is no provider of this type.
            RevisionConflict: `if_match` names another order than the present one.
            KeyUnavailable: the installation is sealed.
        """
        async with self._write(principal) as write:
            view = self._view_of(write.state)
            check_precondition(if_match, view.order_etag(provider_type))
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
                await write.audit("order.put", provider_type.value, {"order": order, "revision": write.revision})
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
        provider = self._catalogue.offered(key)
        values = secret_values(provider, change.secrets, change.label)
        async with self._write(principal) as write:
            changing = self._changing(write)
            check_precondition(if_match, changing.view.etag(key))
            if await changing.put_secrets(provider, change, values, is_precise=if_match is not None):
                await write.advance()
            return changing.view.provider(key)

    async def uses_secrets(self, principal: Principal, key: str, given: Mapping[str, str]) -> bool:
        """Return whether these are the very secrets that a provider uses now.

        Raises:
            Invalid, PermissionDenied, ProviderNotFound, ProviderRetired, KeyUnavailable: as for
                `update_provider_secrets`.
            SecretsUnreadable: what is stored does not open.
        """
        principal.require(Scope.ADMIN_SECRETS)
        provider = self._catalogue.offered(key)
        values = {name: value for name, value in secret_values(provider, given).items() if value is not None}
        async with self._write(principal) as write:
            return await self._changing(write).holds_secrets(provider, values)

    async def remove_provider_secrets(self, principal: Principal, key: str, *, if_match: str | None = None) -> None:
        """Remove all secrets of one provider, and the approval of origins with them.

        Raises:
            SecretsNotFound: it has none.
            PermissionDenied, RevisionConflict, ProviderNotFound, KeyUnavailable: as for `update_provider_secrets`.
        """
        principal.require(Scope.ADMIN_SECRETS)
        async with self._write(principal) as write:
            view = self._view_of(write.state)
            check_precondition(if_match, view.etag(key))
            if key not in write.state.secrets:
                raise SecretsNotFound
            version = write.state.secret_versions.get(key, 0) + 1
            await write.audit("secrets.delete", key, {"version": version, "revision": write.revision})
            await write.put_secrets(key, None, view.secret_users(key))
            await write.advance()

    async def _view(self, principal: Principal) -> OrganizationView:
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            return self._view_of(await Store(connection, principal.tenant).state())

    def _view_of(self, state: OrganizationState) -> OrganizationView:
        return OrganizationView(state, self._registry, self._retired, self._clock().date())

    def _write(self, principal: Principal) -> AbstractAsyncContextManager[Write]:
        return begin(self._database, self._changes, principal, self._unsealed, self._clock())

    def _changing(self, write: Write) -> ProviderWrite:
        return ProviderWrite(write, self._catalogue, self._clock().date())


def check_precondition(if_match: str | None, etag: str) -> None:
    """Hold a write to the revision that its author saw (RFC 9110, 13.1.1).

    Raises:
        RevisionConflict: it is another one by now.
    """
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

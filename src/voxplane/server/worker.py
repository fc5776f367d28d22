"""What workers ask for: the providers of their organization with opened keys, and what they have to say of them.

What an organization configured is kept sealed in memory while it holds, so that a worker's question costs the opening
of a few envelopes and one audit row, and those who ask at one moment share the opening. A plaintext lives as long as
the last answer that it is in.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from voxplane.errors import (
    DestinationUnapproved,
    FieldError,
    Invalid,
    KeyUnavailable,
    OrganizationNotFound,
    ProviderRetired,
    RateLimited,
    SecretsNotFound,
    SecretsUnreadable,
    Unavailable,
    VoxplaneError,
)
from voxplane.resolution import ResolvedProviderConfig, chain
from voxplane.schemas import (
    Chains,
    OrganizationName,
    ProviderName,
    ProviderType,
    Resolution,
    ResolvedProvider,
    SkippedProvider,
    Unusable,
)
from voxplane.server import envelope
from voxplane.server.auth import Principal, Scope
from voxplane.server.envelope import DataKey, Envelope, SecretContext
from voxplane.server.organization_view import OrganizationView
from voxplane.server.position import Position
from voxplane.server.releases import Releases
from voxplane.server.shared_answer import SharedAnswer
from voxplane.server.store import DataKeyRow, Sighting, Store, positions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Mapping
    from uuid import UUID

    from pydantic import SecretStr

    from voxplane.destination import Origin
    from voxplane.provider import AnyProvider
    from voxplane.registry import ProviderRegistry
    from voxplane.schemas import JsonObject, Notice, Provider, ReportsWrite, ResolutionRequest
    from voxplane.server.changes import Changes
    from voxplane.server.database import Connection, Database
    from voxplane.server.denials import Denials
    from voxplane.server.write import Unsealed

_KEPT_ORGANIZATIONS = 2000
MAX_UNDER_WAY = 200
_UNRELEASED: dict[type[VoxplaneError], Unusable] = {
    SecretsUnreadable: "undecryptable",
    DestinationUnapproved: "destination_unapproved",
}


@dataclass(frozen=True)
class _Sealed:
    """A provider of an organization, ready to be released: its settings in force, and its secrets still sealed."""

    provider: AnyProvider
    config: JsonObject
    origins: frozenset[Origin]
    source: str
    envelope: Envelope | None
    is_enabled: bool
    priority: int
    is_failing: bool
    notices: tuple[Notice, ...]


@dataclass(frozen=True, eq=False)
class _Opened:
    """What an organization's workers get, with opened secrets, and what goes on record for each one that gets it."""

    resolution: Resolution
    on_record: JsonObject


@dataclass(frozen=True)
class _Standing:
    """An organization as it stands, with the unwrapped keys that open its envelopes; no plaintext of a secret."""

    organization: OrganizationName
    at: Position
    chains: Mapping[ProviderType, tuple[_Sealed, ...]]
    skipped: tuple[SkippedProvider, ...]
    secret_versions: Mapping[str, int]
    data_keys: Mapping[int, DataKey]
    since: int
    under_way: WeakValueDictionary[tuple[ProviderType, ...], _Opened]
    """What was opened for workers who are being answered: nobody holds it but they."""


class WorkerService:
    """Resolves an organization's providers for its workers, and takes their reports."""

    def __init__(  # noqa: PLR0913 - what a service stands on, each named
        self,
        *,
        registry: ProviderRegistry,
        retired: Mapping[str, Provider],
        database: Database,
        changes: Changes,
        unsealed: Unsealed | None,
        denials: Denials,
        report_interval_seconds: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take what it works with; `unsealed` is None while the key is missing or is another one."""
        self._registry = registry
        self._catalogue = registry.digest
        self._retired = retired
        self._database = database
        self._changes = changes
        self._unsealed = unsealed
        self._denials = denials
        self._report_interval_seconds = report_interval_seconds
        self._clock = clock
        self._releases = Releases(database, clock)
        self._standing: OrderedDict[UUID, _Standing] = OrderedDict()
        self._readings: WeakValueDictionary[UUID, SharedAnswer[_Standing]] = WeakValueDictionary()
        self._under_way = 0

    async def position(self, principal: Principal, known: str | None = None) -> Position:
        """Return where the organization stands; `known` is where its follower saw it last.

        Raises:
            OrganizationNotFound: it is gone.
        """
        if self._unsealed is not None:
            # This reads once for all who ask at this moment.
            return (await self._read(principal.tenant, Position.parse(known))).at
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            found = await positions(connection, [principal.tenant], self._catalogue)
        if principal.tenant not in found:
            raise OrganizationNotFound
        return found[principal.tenant]

    async def resolve(self, principal: Principal, wanted: ResolutionRequest) -> Resolution | None:
        """Return the providers that answer the organization's calls, with opened secrets; on record before they leave.

        None when what the worker has is what stands: then nothing is opened and nothing is recorded. A provider whose
        secrets cannot be released is left out and listed with the reason; the others answer.

        Raises:
            PermissionDenied: the caller is no worker (worker:resolve).
            KeyUnavailable: the installation is sealed.
            Unavailable: it cannot be put on record, or too many ask at once.
        """
        principal.require(Scope.WORKER_RESOLVE)
        with self._one_more():
            standing = await self._read(principal.tenant, Position.parse(wanted.have))
            if wanted.have == str(standing.at):
                return None
            types = tuple(each for each in ProviderType if wanted.types is None or each in wanted.types)
            # A herd is answered with one opening; each of it has a row of its own before its answer.
            opened = standing.under_way.get(types)
            if opened is None:
                opened = standing.under_way[types] = _opened(standing, types)
            await self._releases.record(principal, self._keys, " ".join(sorted(types)), opened.on_record)
        return opened.resolution

    async def release(self, principal: Principal, key: str) -> ResolvedProviderConfig:
        """Open one provider's secrets for a worker, enabled or not; on record before they leave.

        Raises:
            PermissionDenied: the caller is no worker (worker:resolve).
            DestinationUnapproved: the settings send the key where nobody with admin:secrets allowed it.
            SecretsNotFound: a secret that the settings need is not stored.
            SecretsUnreadable: what is stored was altered or is out of date.
            Invalid: the stored settings are not valid.
            ProviderNotFound, ProviderRetired: there is no such provider, or it is no longer offered.
            KeyUnavailable: the installation is sealed.
        """
        principal.require(Scope.WORKER_RESOLVE)
        return await self._release(principal, key, {})

    async def release_for_test(self, principal: Principal, key: str) -> ResolvedProviderConfig:
        """Open one provider's secrets for a test by this process; on record, as a test, before they are used.

        Raises:
            PermissionDenied: the caller may not test (livekit:write).
            DestinationUnapproved, SecretsNotFound, SecretsUnreadable, Invalid, ProviderNotFound, ProviderRetired,
                KeyUnavailable: as for `release`.
        """
        principal.require(Scope.LIVEKIT_WRITE)
        return await self._release(principal, key, {"purpose": "verification"}, is_whole=False)

    async def release_for_list(self, principal: Principal, key: str) -> ResolvedProviderConfig:
        """Open one provider's secrets to ask its vendor for a list; on record, as that, before they are used.

        Raises:
            PermissionDenied: the caller may not read (livekit:read).
            DestinationUnapproved, SecretsNotFound, SecretsUnreadable, Invalid, ProviderNotFound, ProviderRetired,
                KeyUnavailable: as for `release`.
        """
        principal.require(Scope.LIVEKIT_READ)
        return await self._release(principal, key, {"purpose": "list"}, is_whole=False)

    async def _release(
        self, principal: Principal, key: str, purpose: JsonObject, *, is_whole: bool = True
    ) -> ResolvedProviderConfig:
        if key in self._retired:
            raise ProviderRetired
        provider = self._registry.get_provider_by_key(key)
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            standing, view = await self._look(connection, principal.tenant, self._changes.mark())
        try:
            resolved = _open(standing, _sealed(view, provider, is_whole=is_whole))
        except tuple(_UNRELEASED) as error:
            await self._denials.record(principal, "secrets.release", key, error.code)
            raise
        missing = provider.required_secrets(resolved.config) - set(resolved.secrets)
        if missing:
            raise SecretsNotFound(f"Not stored: {', '.join(sorted(missing))}.")
        given = _on_record(standing, {provider.type: [resolved]}) | purpose
        await self._releases.record(principal, self._keys, key, given)
        return resolved

    async def report(self, principal: Principal, said: ReportsWrite) -> None:
        """Keep what a worker saw of its organization's providers, and tell whoever follows the organization.

        What it saw of settings or a key that have been changed since is not kept. This goes on while the installation
        is sealed: it is nobody's change, and no secret is in it.

        Raises:
            PermissionDenied: the caller is no worker (worker:resolve).
            RateLimited: a provider's health changed a moment ago; the other reports are kept.
            Invalid: a provider does not exist or is named twice, or a kind of failure does not fit its outcome.
        """
        principal.require(Scope.WORKER_RESOLVE)
        seen = self._sightings(said)
        if not seen:
            return
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            is_news, is_too_soon = await Store(connection, principal.tenant).put_sightings(
                seen, principal.name, self._clock(), self._report_interval_seconds
            )
        if is_news:
            self._changes.note(principal.tenant)
        if is_too_soon:
            message = "What is known of these providers changed a moment ago: report again later."
            raise RateLimited(message, retry_after_seconds=max(1, math.ceil(self._report_interval_seconds)))

    def _sightings(self, said: ReportsWrite) -> list[Sighting]:
        known = {provider.key: provider for provider in self._registry.get_all_providers()}
        in_use = Position.parse(said.at)
        errors: list[FieldError] = []
        if in_use is None:
            errors.append(FieldError("/at", "position", "Give the `at` of the resolution in use."))
        named = [each.provider for each in said.reports]
        for index, each in enumerate(said.reports):
            at = f"/reports/{index}"
            if each.provider not in known:
                errors.append(FieldError(f"{at}/provider", "unknown_provider", "No provider has this key."))
            elif each.provider in named[:index]:
                errors.append(FieldError(f"{at}/provider", "duplicate", "Report each provider once at a time."))
            if (each.kind is None) is (each.outcome == "failed"):
                errors.append(FieldError(f"{at}/kind", "kind", "Give the kind of a failure, and of nothing else."))
            if each.at is not None and Position.parse(each.at) is None:
                errors.append(FieldError(f"{at}/at", "position", "Give the `at` of the resolution that it came from."))
        if errors or in_use is None:
            raise Invalid(errors)
        return [
            Sighting(each.provider, each.outcome, each.kind, Position.parse(each.at) or in_use) for each in said.reports
        ]

    @property
    def _keys(self) -> Unsealed:
        if self._unsealed is None:
            raise KeyUnavailable
        return self._unsealed

    @contextmanager
    def _one_more(self) -> Generator[None]:
        """Shed what would only queue: workers come back a little later, each at a moment of its own."""
        if self._under_way >= MAX_UNDER_WAY:
            raise Unavailable("Too many workers ask at once.", retry_after_seconds=random.randint(1, 5))  # noqa: S311 - spreads load
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def _read(self, organization_id: UUID, known: Position | None) -> _Standing:
        """Return the organization as it stands: from memory, unless `known` is that state or a later one.

        Who asks with it was told of a change by a process that may have heard of it before this one.
        """
        # A hundred workers that follow one change ask at the same moment. One reads for all who asked before it began,
        # and for those who asked later if what it found can be vouched for.
        shared = self._readings.setdefault(organization_id, SharedAnswer())
        return await shared.ask(lambda: self._read_once(organization_id), lambda: self._kept(organization_id, known))

    def _kept(self, organization_id: UUID, known: Position | None) -> _Standing | None:
        """Return what was read before, as long as it holds for who asks with `known`."""
        kept = self._standing.get(organization_id)
        if kept is None or not self._changes.is_unchanged(organization_id, kept.since):
            return None
        if known is not None and known.reaches(kept.at):
            return None
        self._standing.move_to_end(organization_id)
        return kept

    async def _read_once(self, organization_id: UUID) -> _Standing:
        since = self._changes.mark()
        async with self._database.transaction(organization_id=organization_id) as connection:
            found, _ = await self._look(connection, organization_id, since)
        self._standing[organization_id] = found
        while len(self._standing) > _KEPT_ORGANIZATIONS:
            self._standing.popitem(last=False)
        return found

    async def _look(
        self, connection: Connection, organization_id: UUID, since: int
    ) -> tuple[_Standing, OrganizationView]:
        unsealed = self._keys
        store = Store(connection, organization_id)
        state = await store.state()
        view = OrganizationView(state, self._registry, self._retired, self._clock().date())
        data_keys: dict[int, DataKey] = {}
        for version in view.data_key_versions():
            row = await store.data_key(version)
            with suppress(SecretsUnreadable, KeyUnavailable):  # what it seals is then skipped, and the rest answers
                data_keys[version] = _unwrapped(row, unsealed, organization_id)
        ranked = {each: view.ranked(each) for each in ProviderType}
        standing = _Standing(
            organization=OrganizationName(id=state.id, slug=state.slug),
            at=Position.under(self._catalogue, state.epoch, state.revision),
            chains={
                each: tuple(
                    _sealed(view, self._registry.get_provider_by_key(shown.provider.key)) for shown in chain(shown_all)
                )
                for each, shown_all in ranked.items()
            },
            skipped=tuple(
                SkippedProvider(key=shown.provider.key, type=each, reason=shown.reason)
                for each, shown_all in ranked.items()
                for shown in shown_all
                if shown.is_enabled and shown.reason is not None
            ),
            secret_versions=state.secret_versions,
            data_keys=data_keys,
            since=since,
            under_way=WeakValueDictionary(),
        )
        return standing, view


def _unwrapped(row: DataKeyRow | None, unsealed: Unsealed, organization_id: UUID) -> DataKey:
    if row is None:
        raise SecretsUnreadable
    return unsealed.keyring.data_key(organization_id, row.version, row.kek_id, row.wrapped)


def _sealed(view: OrganizationView, provider: AnyProvider, *, is_whole: bool = True) -> _Sealed:
    config = provider.validate(view.overrides(provider), at="/config", is_whole=is_whole)
    origins = provider.effective_origins(config)
    source = view.secret_source(provider)
    stored = view.own_envelope(source)
    own = stored if provider.secret_names else None
    # Where no secret is opened nothing else asks where the call goes, and the conversation is worth keeping too.
    if own is None and not origins <= view.approved_origins(provider, stored):
        raise DestinationUnapproved
    row = view.config_row(provider.key)
    failing = view.is_failing(provider.key)
    settings = config.effective()
    ends = view.endings(provider, settings)
    return _Sealed(provider, settings, origins, source, own, row.is_enabled, row.priority, failing, ends)


def _opened(standing: _Standing, types: Collection[ProviderType]) -> _Opened:
    chains, skipped = _open_chains(standing, types)
    resolution = Resolution(
        organization=standing.organization,
        at=str(standing.at),
        chains=Chains(**{each.value: tuple(map(_on_the_wire, chains[each])) for each in chains}),
        skipped=tuple(skipped),
    )
    return _Opened(resolution, _on_record(standing, chains) | _refused(skipped))


def _open_chains(
    standing: _Standing, types: Collection[ProviderType]
) -> tuple[dict[ProviderType, list[ResolvedProviderConfig]], list[SkippedProvider]]:
    chains: dict[ProviderType, list[ResolvedProviderConfig]] = {each: [] for each in types}
    skipped = [each for each in standing.skipped if each.type in types]
    for each in types:
        for sealed in standing.chains[each]:
            try:
                chains[each].append(_open(standing, sealed))
            except (SecretsUnreadable, DestinationUnapproved) as error:
                reason = _UNRELEASED[type(error)]
                skipped.append(SkippedProvider(key=sealed.provider.key, type=each, reason=reason))
    return chains, skipped


def _open(standing: _Standing, sealed: _Sealed) -> ResolvedProviderConfig:
    """Open what is sealed: the release rule is `envelope.release`."""
    secrets: dict[str, SecretStr] = {}
    if sealed.envelope is not None:
        data_key = standing.data_keys.get(sealed.envelope.data_key)
        if data_key is None:
            raise SecretsUnreadable
        opened = envelope.release(
            data_key,
            SecretContext(standing.organization.id, sealed.source),
            sealed.envelope,
            version=standing.secret_versions.get(sealed.source, 0),
            destinations=sealed.origins,
        )
        secrets = {name: value for name, value in opened.items() if name in sealed.provider.secret_names}
    provider = sealed.provider
    return ResolvedProviderConfig(
        provider=ProviderName(key=provider.key, name=provider.name, type=provider.type),
        config=sealed.config,
        secrets=secrets,
        origins=tuple(sorted(str(origin) for origin in sealed.origins)),
        is_enabled=sealed.is_enabled,
        priority=sealed.priority,
        secret_version=standing.secret_versions.get(sealed.source) if secrets else None,
        at=str(standing.at),
        is_failing=sealed.is_failing,
        notices=sealed.notices,
    )


def _on_record(standing: _Standing, chains: Mapping[ProviderType, list[ResolvedProviderConfig]]) -> dict[str, object]:
    """Say what is given out: which secrets of which providers, by name, at which revision."""
    given = {each.provider.key: sorted(each.secrets) for found in chains.values() for each in found}
    return {"revision": standing.at.revision, "providers": given}


def _refused(skipped: list[SkippedProvider]) -> dict[str, object]:
    """Say which stored secrets a worker was not given because of where they would go, or what they are."""
    refused = {each.key: each.reason for each in skipped if each.reason in _UNRELEASED.values()}
    return {"refused": refused} if refused else {}


def _on_the_wire(resolved: ResolvedProviderConfig) -> ResolvedProvider:
    return ResolvedProvider(
        provider=resolved.provider,
        config=resolved.config,
        secrets={name: value.get_secret_value() for name, value in resolved.secrets.items()},
        origins=resolved.origins,
        is_enabled=resolved.is_enabled,
        priority=resolved.priority,
        secret_version=resolved.secret_version,
        is_failing=resolved.is_failing,
        notices=resolved.notices,
    )

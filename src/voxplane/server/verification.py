"""Tests of providers: whether the key works, in a second, without its going anywhere but where it may.

A saved test opens the stored key by the rule that workers' keys are released by, puts that on record first, and is
kept. A draft test uses what came with the request and nothing else; it leaves no trace.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio

from voxplane.destination import Origin
from voxplane.errors import (
    DestinationUnapproved,
    FieldError,
    Invalid,
    KeyUnavailable,
    ProviderRetired,
    RateLimited,
    SecretsNotFound,
    SecretsRefused,
    SecretsUnreadable,
)
from voxplane.schemas.secrets import StoredSecrets, Untested
from voxplane.schemas.verification import (
    VerificationResult,
    Verifications,
    VerificationWrite,
)
from voxplane.server import verification_store
from voxplane.server.allowance import Allowance
from voxplane.server.auth import Principal, Scope
from voxplane.server.organization_view import OrganizationView, shown_verification
from voxplane.server.position import Position
from voxplane.server.probe_runner import Finding, Subject, before_asking
from voxplane.server.provider_write import bound_origins, parsed_origins, secret_values
from voxplane.server.service import check_precondition
from voxplane.server.store import Store
from voxplane.server.verdict import verdict_of
from voxplane.server.verification_store import VerificationRow, add_verification

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from uuid import UUID

    from voxplane.provider import AnyProvider
    from voxplane.registry import ProviderRegistry
    from voxplane.schemas import JsonObject, Provider, SecretsWrite
    from voxplane.server.changes import Changes
    from voxplane.server.database import Database
    from voxplane.server.probe_runner import ProbeRunner
    from voxplane.server.service import ProviderService
    from voxplane.server.store import OrganizationState
    from voxplane.server.worker import WorkerService

_REFUSED = frozenset({"key_rejected"})
"""The outcomes that speak against the secrets themselves. Where they are tried from does not, nor another setting."""


class VerificationService:
    """Tests an organization's providers and keeps what it found."""

    def __init__(  # noqa: PLR0913 - what a service stands on, each named
        self,
        *,
        registry: ProviderRegistry,
        retired: Mapping[str, Provider],
        database: Database,
        changes: Changes,
        workers: WorkerService,
        providers: ProviderService,
        runner: ProbeRunner,
        per_minute: int,
        patience_seconds: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take what it works with; at most `per_minute` tests of one organization are made.

        One waits for `patience_seconds` behind the organization's others.
        """
        self._registry = registry
        self._retired = retired
        self._database = database
        self._changes = changes
        self._workers = workers
        self._providers = providers
        self._runner = runner
        self._allowance = Allowance(per_minute)
        self._patience_seconds = patience_seconds
        self._clock = clock

    def allow(self, organization_id: UUID) -> None:
        """Count what asks providers: one test, or one round over providers as they are saved.

        Raises:
            RateLimited: there were too many within the last minute.
        """
        wait = self._allowance.take(organization_id)
        if wait:
            message = f"An organization may test providers {self._allowance.per_minute} times a minute."
            raise RateLimited(message, retry_after_seconds=max(1, round(wait)))

    async def verify(
        self, principal: Principal, key: str, wanted: VerificationWrite, *, is_allowed: bool = False
    ) -> VerificationResult:
        """Test one provider, as it is saved or as a draft has it, and say what was found.

        `is_allowed` says that the test is part of a round, which was counted, or of the schedule, which is not.

        Raises:
            PermissionDenied: a draft, or a destination that is not the provider's own, needs admin:secrets; what is
                saved needs livekit:write.
            Invalid: the settings or secrets are not valid, or a draft leads where it approves nothing.
            RateLimited: the organization tested too often within the last minute, or its other tests take too long.
            SecretsUnreadable: what is stored does not open.
            ProviderNotFound, ProviderRetired: there is no such provider, or it is no longer offered.
            KeyUnavailable: the installation is sealed.
        """
        principal.require(Scope.ADMIN_SECRETS if wanted.is_draft else Scope.LIVEKIT_WRITE)
        if key in self._retired:
            raise ProviderRetired
        provider = self._registry.get_provider_by_key(key)
        if self._providers.is_sealed:
            raise KeyUnavailable
        view = await self._view(principal)
        if wanted.is_draft:
            approved = provider.default_origins | parsed_origins(provider, wanted.approved_origins or [])
            subject = _drafted(provider, view.overrides(provider), wanted, approved)
            self.allow(principal.tenant)
            async with self._turn(principal):
                finding = await self._runner.run(subject, principal.tenant)
            return self._shown(self._row(subject, principal, finding), provider, is_draft=True)
        return await self._verify_saved(principal, provider, view, is_allowed=is_allowed)

    async def verifications(self, principal: Principal, key: str) -> Verifications:
        """Return the last tests of one provider, newest first.

        Raises:
            ProviderNotFound: there is no such provider.
        """
        provider = self._retired.get(key) or self._registry.get_provider_by_key(key)
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            rows = await verification_store.verifications(connection, principal.tenant, key)
        return Verifications(verifications=tuple(self._shown(row, provider) for row in rows))

    async def _verify_saved(
        self, principal: Principal, provider: AnyProvider, view: OrganizationView, *, is_allowed: bool
    ) -> VerificationResult:
        overrides = view.overrides(provider)
        config = provider.validate(overrides, at="/config", is_whole=False)
        is_whole = _is_whole(provider, overrides)
        subject = Subject(provider, config.effective(), provider.effective_origins(config), is_whole=is_whole)
        _require_for_custom(principal, provider, subject.origins)
        if not is_allowed:
            self.allow(principal.tenant)
        revision = view.state.revision
        fields = view.provider(provider.key).secret_fields
        is_missing = any(each.required and not each.is_set for each in fields)
        # What nobody is asked about is not opened.
        finding = Finding("key_missing") if is_missing else before_asking(subject)
        if finding is None:
            # A round asks all at once: it is the operator's, and alone in its process. The schedule asks one.
            async with nullcontext() if is_allowed else self._turn(principal):
                try:
                    released = await self._workers.release_for_test(principal, provider.key)
                except SecretsNotFound:
                    finding = Finding("key_missing")
                except DestinationUnapproved:
                    finding = Finding("blocked", origin=_first(subject.origins))
                else:
                    # Somebody may have changed the settings between the two looks: what was released is what is tested.
                    subject = Subject(
                        provider,
                        released.config,
                        frozenset(Origin.parse(each) for each in released.origins),
                        {name: value.get_secret_value() for name, value in released.secrets.items()},
                        is_whole=is_whole,
                    )
                    _require_for_custom(principal, provider, subject.origins)
                    at = Position.parse(released.at)
                    revision = at.revision if at else revision
                    finding = await self._runner.run(subject, principal.tenant)
        row = self._row(subject, principal, finding, revision)
        await self._keep(principal, row)
        return self._shown(row, provider)

    @asynccontextmanager
    async def _turn(self, principal: Principal) -> AsyncGenerator[None]:
        """Hold one of the organization's turns.

        Raises:
            RateLimited: its other tests left none in time.
        """
        turns = self._allowance.turn(principal.tenant)
        try:
            with anyio.fail_after(self._patience_seconds):
                await turns.acquire()
        except TimeoutError:
            seconds = max(1, round(self._patience_seconds))
            message = "The organization's other tests are still under way."
            raise RateLimited(message, retry_after_seconds=seconds) from None
        try:
            yield
        finally:
            turns.release()

    async def _keep(self, principal: Principal, row: VerificationRow) -> None:
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            await add_verification(connection, principal.tenant, row)
        self._changes.note(principal.tenant)

    async def store_secrets(
        self, principal: Principal, key: str, change: SecretsWrite, *, if_match: str | None = None
    ) -> StoredSecrets:
        """Store secrets as `ProviderService.update_provider_secrets` does, after a test if `change.check` asks for one.

        Secrets that the provider does not accept are not stored; if they are those that it uses already, that is known
        of it from then on. What a test found of others is kept as one of what is saved. Secrets that cannot be tested
        now, or not by themselves, are stored all the same, and the answer says why there was no test.

        Raises:
            SecretsRefused: the provider does not accept them.
            Others: as `update_provider_secrets`.
        """
        principal.require(Scope.ADMIN_SECRETS)
        found = await self._try(principal, key, change, if_match) if change.check else None
        if isinstance(found, _Tried) and found.row.outcome in _REFUSED:
            with suppress(SecretsUnreadable):  # what does not open is not what was entered
                if await self._providers.uses_secrets(principal, key, found.given):
                    await self._keep(principal, found.row)
            said = self._shown(found.row, self._registry.get_provider_by_key(key), is_draft=True)
            errors = [FieldError(f"/secrets/{name}", said.outcome, said.sentence) for name in found.given]
            raise SecretsRefused(errors, said.model_dump(mode="json", by_alias=True))
        changed = await self._providers.update_provider_secrets(principal, key, change, if_match=if_match)
        if not isinstance(found, _Tried):
            return StoredSecrets(**dict(changed), untested=found)
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            state = await Store(connection, principal.tenant).state()
            view = self._view_of(state)
            # Somebody else's change between the test and now makes it one of something else.
            if view.etag(key) != changed.etag or changed.overrides != found.overrides:
                return StoredSecrets(**dict(changed), untested=Untested.because("changed"))
            await add_verification(connection, principal.tenant, replace(found.row, revision=state.revision))
        self._changes.note(principal.tenant)
        shown = await self._providers.get_organization_provider(principal, key)
        # An ETag is of what its reader saw.
        return StoredSecrets(**dict(shown if shown.etag == changed.etag else changed), untested=None)

    async def _try(
        self, principal: Principal, key: str, change: SecretsWrite, if_match: str | None
    ) -> _Tried | Untested | None:
        """Test secrets that are about to be stored, or say why not; None of a provider that nobody can write to."""
        if key in self._retired or self._providers.is_sealed:
            return None
        provider = self._registry.get_provider_by_key(key)
        given = {name: value for name, value in change.secrets.items() if value is not None}
        secret_values(provider, change.secrets, change.label)  # nobody is asked about what cannot be stored
        view = await self._view(principal)
        check_precondition(if_match, view.etag(key))
        if not given:
            return Untested.because("nothing_entered")
        overrides = view.overrides(provider)
        # What the key would be bound to stands in the place of the provider's own addresses, in a test as later on.
        bound = bound_origins(provider, change, view.own_envelope(key))
        try:
            subject = _drafted(provider, overrides, VerificationWrite(secrets=given), bound)
            if provider.required_secrets(subject.settings) - set(given):
                return Untested.because("secrets_missing")
            self.allow(principal.tenant)
            async with self._turn(principal):
                finding = await self._runner.run(subject, principal.tenant)
        except Invalid as invalid:
            is_elsewhere = invalid.errors[0].pointer.startswith("/approvedOrigins")
            return Untested.because("destination_unapproved" if is_elsewhere else "invalid_config")
        except RateLimited:
            return Untested.because("too_often")
        return _Tried(overrides, given, self._row(subject, principal, finding, view.state.revision))

    async def _view(self, principal: Principal) -> OrganizationView:
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            return self._view_of(await Store(connection, principal.tenant).state())

    def _view_of(self, state: OrganizationState) -> OrganizationView:
        return OrganizationView(state, self._registry, self._retired, self._clock().date())

    def _shown(
        self, row: VerificationRow, provider: Provider | AnyProvider, *, is_draft: bool = False
    ) -> VerificationResult:
        return shown_verification(row, provider, self._clock().date(), is_draft=is_draft)

    def _row(self, subject: Subject, principal: Principal, finding: Finding, revision: int = 0) -> VerificationRow:
        at = self._clock()
        return VerificationRow(
            provider_key=subject.provider.key,
            checked_at=at,
            checked_by=principal.name,
            outcome=finding.outcome,
            stages=finding.stages_of(subject),
            milliseconds=finding.milliseconds,
            http_status=finding.http_status,
            retry_after_seconds=finding.retry_after_seconds,
            model=subject.model,
            retires_on=finding.retires_on,
            origin=finding.origin,
            revision=revision,
            definition=subject.provider.digest,
            verdict=verdict_of(finding.outcome),
            since=at,
            proved_at=at,
        )


@dataclass(frozen=True)
class _Tried:
    """A test of secrets that are not stored yet, and the settings that it went by."""

    overrides: JsonObject
    given: dict[str, str] = field(repr=False)
    row: VerificationRow


def _drafted(
    provider: AnyProvider, stored: JsonObject, wanted: VerificationWrite, approved: frozenset[Origin]
) -> Subject:
    overrides = stored if wanted.config is None else wanted.config
    # Who enters a key alone may be about to look what can be chosen with it.
    config = provider.validate(overrides, at="/config", is_whole=wanted.config is not None)
    values = secret_values(provider, wanted.secrets or {})
    origins = provider.effective_origins(config)
    if not origins <= approved:
        message = (
            "Name every address that these settings send calls to, with its path and without what follows that: "
            "https://host/v1 where calls go to https://host/v1/models. It is not one of the provider's own."
        )
        raise Invalid([FieldError("/approvedOrigins", "missing", message)])
    opened = {name: value.get_secret_value() for name, value in values.items() if value is not None}
    return Subject(provider, config.effective(), origins, opened, is_whole=_is_whole(provider, overrides))


def _is_whole(provider: AnyProvider, overrides: JsonObject) -> bool:
    """Whether nothing is still to be chosen in settings that are valid as far as they go."""
    try:
        provider.validate(overrides)
    except Invalid:
        return False
    return True


def _require_for_custom(principal: Principal, provider: AnyProvider, origins: frozenset[Origin]) -> None:
    if not origins <= provider.default_origins:
        principal.require(Scope.ADMIN_SECRETS)


def _first(origins: frozenset[Origin]) -> str | None:
    return min((origin.in_short for origin in origins), default=None)

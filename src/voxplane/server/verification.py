"""Tests of providers: whether the key works, in a second, without its going anywhere but where it may.

A saved test opens the stored key by the rule that workers' keys are released by, puts that on record first, and is
kept. A draft test uses what came with the request and nothing else; it leaves no trace.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from voxplane.destination import Origin
from voxplane.errors import (
    DestinationUnapproved,
    FieldError,
    Invalid,
    KeyUnavailable,
    ProviderRetired,
    RateLimited,
    SecretsNotFound,
)
from voxplane.probe import judged
from voxplane.schemas.verification import (
    Outcome,
    Stage,
    VerificationResult,
    Verifications,
    VerificationWrite,
)
from voxplane.server import verification_store
from voxplane.server.auth import Principal, Scope
from voxplane.server.organization_view import OrganizationView, shown_verification
from voxplane.server.position import Position
from voxplane.server.provider_write import parsed_origins, secret_values
from voxplane.server.store import Store
from voxplane.server.vendor_client import Unanswered, VendorRequest, origin_of
from voxplane.server.verdict import verdict_of
from voxplane.server.verification_store import VerificationRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from voxplane.probe import ProbeRequest
    from voxplane.provider import AnyProvider
    from voxplane.registry import ProviderRegistry
    from voxplane.schemas import JsonObject, Provider
    from voxplane.server.changes import Changes
    from voxplane.server.database import Database
    from voxplane.server.vendor_client import VendorClient
    from voxplane.server.worker import WorkerService

_MINUTE_SECONDS = 60.0
_WITHOUT_ANSWER: dict[str, Outcome] = {
    "blocked": "blocked",
    "unreachable": "unreachable",
    "tls": "tls",
    "timeout": "timeout",
    "unsendable": "key_rejected",
}
# Where a test stops with each outcome, and how that stage is shown; those before it passed, those after it did not run.
_STOPS_AT: dict[Outcome, Stage] = {
    "key_missing": "key",
    "key_rejected": "key",
    "key_restricted": "key",
    "quota": "model",
    "rate_limited": "key",
    "wrong_region_or_endpoint": "reachable",
    "model_unavailable": "model",
    "unreachable": "reachable",
    "timeout": "reachable",
    "tls": "reachable",
    "provider_error": "key",
    "blocked": "reachable",
    "not_checkable": "reachable",
    "local_unavailable": "reachable",
}
_STAGES: tuple[Stage, ...] = ("settings", "reachable", "key", "model")


@dataclass(frozen=True)
class Subject:
    """What is tested: a provider with settings in force, its secrets, and where they may go."""

    provider: AnyProvider
    settings: JsonObject
    origins: frozenset[Origin]
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def model(self) -> str | None:
        """The model or voice that the test is for."""
        probe = self.provider.probe
        named = self.settings.get(probe.model_setting) if probe and probe.model_setting else None
        return named if isinstance(named, str) else None


@dataclass
class Finding:
    """What a test found."""

    outcome: Outcome
    times: dict[Stage, int] = field(default_factory=dict["Stage", int])
    """Milliseconds of the stages that ran."""
    milliseconds: int = 0
    http_status: int | None = None
    retry_after_seconds: int | None = None
    origin: str | None = None

    @property
    def stages(self) -> list[dict[str, Any]]:
        """The stages as they are kept and shown."""
        stop = _STAGES.index(_STOPS_AT[self.outcome]) if self.outcome in _STOPS_AT else len(_STAGES)
        if self.outcome == "timeout" and "key" in self.times:
            stop = _STAGES.index("key")
        bad = "failed" if verdict_of(self.outcome) == "fails" else "inconclusive"
        shown: list[dict[str, Any]] = []
        for number, name in enumerate(_STAGES):
            if number == stop:
                state = "skipped" if self.outcome == "not_checkable" else bad
            elif number > stop or (name not in self.times and name != "settings"):
                state = "skipped"
            else:
                state = "passed"
            took = None if state == "skipped" else self.times.get(name, 0)
            shown.append({"name": name, "state": state, "milliseconds": took})
        return shown


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
        client: VendorClient,
        is_sealed: bool,
        per_minute: int,
        models_dir: Path | None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take what it works with; at most `per_minute` tests of one organization are made."""
        self._registry = registry
        self._retired = retired
        self._database = database
        self._changes = changes
        self._workers = workers
        self._client = client
        self._is_sealed = is_sealed
        self._per_minute = per_minute
        self._models_dir = models_dir
        self._clock = clock
        self._recent: dict[UUID, deque[float]] = {}

    def allow(self, organization_id: UUID) -> None:
        """Count what asks providers: one test, or one round over providers as they are saved.

        Raises:
            RateLimited: there were too many within the last minute.
        """
        now = monotonic()
        recent = self._recent.setdefault(organization_id, deque())
        while recent and recent[0] <= now - _MINUTE_SECONDS:
            recent.popleft()
        if len(recent) >= self._per_minute:
            wait = max(1, round(recent[0] + _MINUTE_SECONDS - now))
            raise RateLimited(
                f"An organization may test providers {self._per_minute} times a minute.", retry_after_seconds=wait
            )
        recent.append(now)

    async def verify(
        self, principal: Principal, key: str, wanted: VerificationWrite, *, is_allowed: bool = False
    ) -> VerificationResult:
        """Test one provider, as it is saved or as a draft has it, and say what was found.

        `is_allowed` says that the test is part of a round that was counted.

        Raises:
            PermissionDenied: a draft, or a destination that is not the provider's own, needs admin:secrets; what is
                saved needs livekit:write.
            Invalid: the settings or secrets are not valid, or a draft leads where it approves nothing.
            RateLimited: the organization tested too often within the last minute.
            SecretsUnreadable: what is stored does not open.
            ProviderNotFound, ProviderRetired: there is no such provider, or it is no longer offered.
            KeyUnavailable: the installation is sealed.
        """
        principal.require(Scope.ADMIN_SECRETS if wanted.is_draft else Scope.LIVEKIT_WRITE)
        if key in self._retired:
            raise ProviderRetired
        provider = self._registry.get_provider_by_key(key)
        if self._is_sealed:
            raise KeyUnavailable
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            state = await Store(connection, principal.tenant).state()
        view = OrganizationView(state, self._registry, self._retired, self._clock().date())
        if wanted.is_draft:
            subject = _drafted(provider, view.overrides(provider), wanted)
            self.allow(principal.tenant)
            finding = _before_asking(subject) or await self._run(subject)
            return self._result(subject, principal, finding, is_draft=True)
        return await self._verify_saved(principal, provider, view, is_allowed=is_allowed)

    async def verifications(self, principal: Principal, key: str) -> Verifications:
        """Return the last tests of one provider, newest first.

        Raises:
            ProviderNotFound: there is no such provider.
        """
        provider = self._retired.get(key) or self._registry.get_provider_by_key(key)
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            rows = await verification_store.verifications(connection, principal.tenant, key)
        return Verifications(verifications=tuple(shown_verification(row, provider) for row in rows))

    async def _verify_saved(
        self, principal: Principal, provider: AnyProvider, view: OrganizationView, *, is_allowed: bool
    ) -> VerificationResult:
        config = provider.validate(view.overrides(provider), at="/config")
        subject = Subject(provider, config.effective(), provider.effective_origins(config))
        _require_for_custom(principal, provider, subject.origins)
        if not is_allowed:
            self.allow(principal.tenant)
        revision = view.state.revision
        fields = view.provider(provider.key).secret_fields
        is_missing = any(each.required and not each.is_set for each in fields)
        finding = Finding("key_missing") if is_missing else None
        if finding is None:
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
                )
                _require_for_custom(principal, provider, subject.origins)
                at = Position.parse(released.at)
                revision = at.revision if at else revision
                finding = _before_asking(subject) or await self._run(subject)
        result = self._result(subject, principal, finding, is_draft=False)
        await self._keep(principal, provider, result, finding, revision)
        return result

    async def _keep(
        self,
        principal: Principal,
        provider: AnyProvider,
        result: VerificationResult,
        finding: Finding,
        revision: int,
    ) -> None:
        row = VerificationRow(
            provider_key=provider.key,
            checked_at=result.checked_at,
            checked_by=result.checked_by,
            outcome=result.outcome,
            stages=finding.stages,
            milliseconds=result.milliseconds,
            http_status=result.http_status,
            retry_after_seconds=result.retry_after_seconds,
            model=result.model,
            origin=result.origin,
            revision=revision,
            definition=provider.digest,
            verdict=result.verdict,
            since=result.checked_at,
            proved_at=result.checked_at,
        )
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            await verification_store.add_verification(connection, principal.tenant, row, provider.shares_secrets_with)
        self._changes.note(principal.tenant)

    async def _run(self, subject: Subject) -> Finding:
        probe = subject.provider.probe
        assert probe is not None  # noqa: S101 - `_before_asking` looked
        requests = probe.questions(subject.settings)
        if not requests:
            return await self._look_at_files(probe.files(subject.settings))
        finding = Finding("not_checkable")
        for number, request in enumerate(requests):
            found = await self._ask(subject, request)
            if number == 0:
                finding = found
                if found.outcome != "verified":
                    break
            else:
                # The key was accepted before, so what refuses it now is a right that it lacks. What a later request
                # leaves open is open: a key that works with a model that may not is no success.
                finding.outcome = "key_restricted" if found.outcome == "key_rejected" else found.outcome
                if found.outcome in {"verified", "model_unavailable", "quota"}:
                    finding.times["model"] = found.milliseconds
                finding.milliseconds += found.milliseconds
                finding.http_status = found.http_status
        return finding

    async def _look_at_files(self, files: tuple[str, ...]) -> Finding:
        """Look for the files of an engine that runs in the worker, where the operator said that they are."""
        if self._models_dir is None or not files:
            return Finding("not_checkable")
        are_there = await to_thread.run_sync(_are_there, self._models_dir, files)
        return Finding("verified" if are_there else "local_unavailable", {"model": 0})

    async def _ask(self, subject: Subject, request: ProbeRequest) -> Finding:
        probe, values = subject.provider.probe, {**subject.settings, **subject.secrets}
        assert probe is not None  # noqa: S101 - as above
        sent = VendorRequest(
            url=request.address(subject.settings),
            headers=request.heading(values),
            method=request.method,
            body=request.content(subject.settings),
        )
        origin = _shown_origin(sent.url)
        answer = await self._client.ask(sent, within=subject.origins)
        if isinstance(answer, Unanswered):
            return _unanswered(subject, answer, origin)
        text = answer.body.decode("utf-8", errors="replace")
        outcome = judged(probe, request, answer.status, text)
        if outcome == "verified" and request.lists is None and not answer.is_whole:
            outcome = "wrong_region_or_endpoint"  # no vendor needs so many words for that
        times: dict[Stage, int] = {
            "reachable": answer.connected_milliseconds,
            "key": answer.milliseconds - answer.connected_milliseconds,
        }
        if outcome == "verified" and subject.model is not None and request.lists is not None:
            has_model = request.has_model(text, subject.model)
            if has_model or answer.is_whole:
                times["model"] = 0
                outcome = "verified" if has_model else "model_unavailable"
        elif outcome in {"verified", "model_unavailable"} and request.proves != "key":
            times["model"] = 0
        if outcome == "model_unavailable" and subject.provider.hosting == "local":
            outcome = "local_unavailable"
        return Finding(outcome, times, answer.milliseconds, answer.status, answer.retry_after_seconds, origin)

    def _result(
        self, subject: Subject, principal: Principal, finding: Finding, *, is_draft: bool
    ) -> VerificationResult:
        at = self._clock()
        row = VerificationRow(
            provider_key=subject.provider.key,
            checked_at=at,
            checked_by=principal.name,
            outcome=finding.outcome,
            stages=finding.stages,
            milliseconds=finding.milliseconds,
            http_status=finding.http_status,
            retry_after_seconds=finding.retry_after_seconds,
            model=subject.model,
            origin=finding.origin,
            revision=0,
            definition="",
            verdict="",
            since=at,
            proved_at=at,
        )
        return shown_verification(row, subject.provider, is_draft=is_draft)


def _drafted(provider: AnyProvider, stored: JsonObject, wanted: VerificationWrite) -> Subject:
    overrides = stored if wanted.config is None else wanted.config
    config = provider.validate(overrides, at="/config")
    values = secret_values(provider, wanted.secrets or {})
    approved = provider.default_origins
    if wanted.approved_origins is not None:
        approved |= parsed_origins(provider, wanted.approved_origins)
    origins = provider.effective_origins(config)
    if not origins <= approved:
        message = "Name every place that these settings send calls to: it is not one of the provider's own."
        raise Invalid([FieldError("/approvedOrigins", "missing", message)])
    opened = {name: value.get_secret_value() for name, value in values.items() if value is not None}
    return Subject(provider, config.effective(), origins, opened)


def _before_asking(subject: Subject) -> Finding | None:
    """Return what is found without asking anybody, if that is all there is to find."""
    probe = subject.provider.probe
    if probe is None or not probe.is_checkable(subject.settings):
        return Finding("not_checkable")
    if subject.provider.required_secrets(subject.settings) - set(subject.secrets):
        return Finding("key_missing")
    return None


def _require_for_custom(principal: Principal, provider: AnyProvider, origins: frozenset[Origin]) -> None:
    if not origins <= provider.default_origins:
        principal.require(Scope.ADMIN_SECRETS)


def _unanswered(subject: Subject, answer: Unanswered, origin: str | None) -> Finding:
    provider = subject.provider
    assert provider.probe is not None  # noqa: S101 - it was asked
    outcome = _WITHOUT_ANSWER.get(answer.reason, provider.probe.unknown_host)
    if provider.hosting == "local":
        # The worker's own machine is another one than this, unless the operator says otherwise.
        outcome = "not_checkable" if outcome == "blocked" else "local_unavailable"
    connected = answer.connected_milliseconds
    if connected is None:
        return Finding(outcome, {"reachable": answer.milliseconds}, answer.milliseconds, origin=origin)
    times: dict[Stage, int] = {"reachable": connected, "key": answer.milliseconds - connected}
    return Finding(outcome, times, answer.milliseconds, origin=origin)


def _are_there(folder: Path, files: tuple[str, ...]) -> bool:
    """Whether these files or folders are below the folder, with something in them."""
    inside = folder.resolve()
    for name in files:
        path = (inside / name).resolve()
        if not path.is_relative_to(inside) or not path.exists() or (path.is_file() and path.stat().st_size == 0):
            return False
    return True


def _first(origins: frozenset[Origin]) -> str | None:
    return min((str(origin) for origin in origins), default=None)


def _shown_origin(url: str) -> str | None:
    try:
        return str(origin_of(url)._replace(path=""))
    except ValueError:
        return None

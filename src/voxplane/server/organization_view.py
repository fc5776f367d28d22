"""One organization's providers as they are shown: definitions, settings and sealed secrets seen together.

Everything here is computed from one `OrganizationState`; nothing is opened, read or written.
"""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, cast, get_args
from weakref import WeakKeyDictionary

from voxplane import retirement
from voxplane.errors import Invalid, SecretsUnreadable
from voxplane.resolution import rank, unusable_reason
from voxplane.schemas import (
    FailureKind,
    Notice,
    Notices,
    OrganizationName,
    OrganizationProvider,
    OrganizationProviders,
    Provider,
    ProviderHealth,
    ProviderName,
    ProviderNotice,
    ProviderStatus,
    ProviderSummary,
    ProviderType,
    SecretField,
    Unusable,
)
from voxplane.schemas.verification import VerificationResult
from voxplane.server.envelope import Envelope
from voxplane.server.store import ConfigRow, OrganizationState
from voxplane.server.verdict import worded

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from voxplane.destination import Origin
    from voxplane.errors import FieldError
    from voxplane.provider import AnyProvider
    from voxplane.registry import ProviderRegistry
    from voxplane.schemas import JsonObject
    from voxplane.server.verification_store import VerificationRow

_untouched: WeakKeyDictionary[AnyProvider, tuple[date, OrganizationProvider]] = WeakKeyDictionary()


class OrganizationView:
    """The providers of one organization at one revision."""

    def __init__(
        self,
        state: OrganizationState,
        registry: ProviderRegistry,
        retired: Mapping[str, Provider],
        today: date,
    ) -> None:
        """Look at a state through the catalogue; `retired` holds what the catalogue no longer offers."""
        self.state = state
        self._registry = registry
        self._retired = retired
        self._today = today

    def ranked(self, provider_type: ProviderType) -> list[OrganizationProvider]:
        """Return the providers of one type, first to answer first; retired ones while they are configured."""
        return [self._show(key, provider_type) for key in self._order(provider_type)]

    def listed(self, types: Collection[ProviderType]) -> OrganizationProviders:
        """Return the providers of these types in rank order, and which of them answer the next call."""
        ranked = {each: self.ranked(each) for each in types}
        answering = {each: next((one for one in ranked[each] if one.usable), None) for each in types}
        return OrganizationProviders(
            revision=self.state.revision,
            next_call={each: one.provider.key for each, one in answering.items() if one is not None},
            order_etags={each: self.order_etag(each) for each in types},
            providers=tuple(one for each in types for one in ranked[each]),
        )

    def notices(self, within_days: int | None = None) -> Notices:
        """Return what is to be known of the providers that the organization uses, the most pressing first.

        With `within_days`, only of what has ended or ends in so many days.
        """
        found = [
            ProviderNotice(
                provider=ProviderName(key=one.provider.key, name=one.provider.name, type=one.provider.type),
                is_enabled=one.is_enabled,
                is_primary=one.is_primary,
                etag=one.etag,
                notice=notice,
            )
            for one in self.listed(list(ProviderType)).providers
            if one.is_configured
            for notice in one.notices
            if within_days is None or self._ends_within(notice, within_days)
        ]
        return Notices(
            organization=OrganizationName(id=self.state.id, slug=self.state.slug),
            as_of=self._today,
            notices=tuple(sorted(found, key=_urgency)),
        )

    def _ends_within(self, notice: Notice, days: int) -> bool:
        if notice.code.endswith("_retired"):
            return True
        return notice.retires_on is not None and notice.retires_on <= self._today + timedelta(days=days)

    def provider(self, key: str) -> OrganizationProvider:
        """Return one provider.

        Raises:
            ProviderNotFound: there is none with this key.
        """
        known = self._retired.get(key) or self._registry.get_provider_by_key(key)
        return self._show(key, known.type)

    def _order(self, provider_type: ProviderType) -> list[str]:
        """Return the keys of one type in rank order, without looking further into any of them."""
        names = {each.key: each.name for each in self._registry.get_providers_by_type(provider_type)}
        for each in self._retired.values():
            if each.type is provider_type and (each.key in self.state.configs or each.key in self.state.secrets):
                names[each.key] = each.name
        return sorted(names, key=lambda key: rank(self.config_row(key).priority, names[key], key))

    def _is_primary(self, key: str, provider_type: ProviderType) -> bool:
        if not self.config_row(key).is_enabled:
            return False
        enabled = (each for each in self._order(provider_type) if self.config_row(each).is_enabled)
        return next(enabled, None) == key

    def _show(self, key: str, provider_type: ProviderType) -> OrganizationProvider:
        is_primary = self._is_primary(key, provider_type)
        if key in self._retired:
            return self._show_retired(self._retired[key], is_primary=is_primary)
        provider = self._registry.get_provider_by_key(key)
        own = (
            key in self.state.configs,
            self.secret_source(provider) in self.state.secrets,
            key in self.state.reports,
            key in self.state.verifications,
        )
        if any(own):
            return self._show_offered(provider, is_primary=is_primary)
        return self._show_untouched(provider)

    def _show_untouched(self, provider: AnyProvider) -> OrganizationProvider:
        """Show what an organization set nothing for: the same to each of them, but for the ETag."""
        today, shown = _untouched.get(provider, (None, None))
        if shown is None or today != self._today:
            shown = self._show_offered(provider, is_primary=False)
            _untouched[provider] = (self._today, shown)
        # Whoever gets it may change what is in a dictionary, and must not change it for others.
        own = {"config": deepcopy(shown.config), "overrides": {}, "etag": self.etag(provider.key)}
        return shown.model_copy(update=own)

    def etag(self, key: str) -> str:
        """Return the strong ETag of one provider's settings and secrets.

        Raises:
            ProviderNotFound: there is none with this key.
        """
        if key not in self._retired:
            self._registry.get_provider_by_key(key)
        row = self.state.configs.get(key)
        revision = row.revision if row else 0
        versions = [self.state.secret_versions.get(key, 0)]
        if key not in self._retired and (shared := self._registry.get_provider_by_key(key).shares_secrets_with):
            versions.append(self.state.secret_versions.get(shared, 0))
        return f'"{self.state.epoch}.{revision}.{".".join(str(version) for version in versions)}"'

    def order_etag(self, provider_type: ProviderType) -> str:
        """Return the strong ETag of one type's order: its providers and their priorities, as they rank."""
        ranked = [(key, self.config_row(key).priority) for key in self._order(provider_type)]
        return f'"{hashlib.sha256(json.dumps(ranked).encode()).hexdigest()[:32]}"'

    def config_row(self, key: str) -> ConfigRow:
        """Return what is stored for one provider, or what stands for nothing stored."""
        return self.state.configs.get(key) or ConfigRow.nothing(key)

    def overrides(self, provider: AnyProvider) -> JsonObject:
        """Return the stored override, brought up to the definition's present schema."""
        row = self.state.configs.get(provider.key)
        return provider.upgrade(row.config, row.schema_version) if row else {}

    def own_envelope(self, key: str) -> Envelope | None:
        """Return the sealed secrets stored under one provider.

        Raises:
            SecretsUnreadable: what is stored is no envelope.
        """
        stored = self.state.secrets.get(key)
        return None if stored is None else Envelope.from_json(stored)

    def data_key_versions(self) -> set[int]:
        """Return which of the organization's data keys its envelopes are sealed with."""
        return {sealed.data_key for _, sealed in self._envelopes.values() if sealed is not None}

    def secret_source(self, provider: AnyProvider) -> str:
        """Return the provider whose secrets this one uses: its own, or the one that it shares while it has none."""
        shared = provider.shares_secrets_with
        if shared is None or provider.key in self.state.secrets or shared not in self.state.secrets:
            return provider.key
        return shared

    def secret_users(self, key: str) -> set[str]:
        """Return the other providers that use what is, or will be, stored under one provider."""
        sharing = (each for each in self._registry.get_all_providers() if each.shares_secrets_with == key)
        return {each.key for each in sharing if each.key not in self.state.secrets}

    def approved_origins(self, provider: AnyProvider, sealed: Envelope | None) -> frozenset[Origin]:
        """Return where calls, and the secrets in the envelope with them, may go."""
        return sealed.origins if sealed else provider.default_origins

    def allowed_origins(self, provider: AnyProvider) -> frozenset[Origin]:
        """Return where settings may send calls without anybody's new approval.

        That is the provider's own origins, those approved for its secrets, and where calls go already.
        """
        allowed = set(provider.default_origins)
        try:
            sealed = self.own_envelope(self.secret_source(provider))
            allowed |= sealed.origins if sealed else frozenset()
            allowed |= provider.effective_origins(provider.validate(self.overrides(provider)))
        except (SecretsUnreadable, Invalid):
            return frozenset(allowed)
        return frozenset(allowed)

    def unusual_origins(self, provider: AnyProvider) -> tuple[str, ...] | None:
        """Return where calls go with the settings in force: nothing for the provider's own, None if unknown."""
        try:
            config = provider.validate(self.overrides(provider))
        except Invalid:
            return () if provider.default_origins else None
        origins = provider.effective_origins(config)
        return () if origins <= provider.default_origins else _written(origins)

    def _show_offered(self, provider: AnyProvider, *, is_primary: bool) -> OrganizationProvider:
        overrides = self.overrides(provider)
        notices: list[Notice] = []
        try:
            config = provider.validate(overrides, at="/config")
            effective, origins = config.effective(), provider.effective_origins(config)
        except Invalid as invalid:
            effective, origins = {**provider.config.defaults(), **overrides}, None
            notices = [
                Notice(code="setting_invalid", pointer=error.pointer, message=f"{_setting(error)}: {error.message}")
                for error in invalid.errors
            ]
        source = self.secret_source(provider)
        readable, sealed = self._sealed(source)
        required = provider.required_secrets(effective)
        approved = self.approved_origins(provider, sealed)
        lacks = unusable_reason(
            is_enabled=True,
            is_valid=origins is not None,
            is_readable=readable,
            has_required_secrets=required <= set(sealed.fields if sealed else ()),
            has_approved_destination=origins is not None and origins <= approved,
        )
        return self._assemble(
            provider.summary,
            is_primary=is_primary,
            config=effective,
            overrides=overrides,
            lacks=lacks,
            secret_fields=tuple(
                _secret_field(
                    name,
                    sealed,
                    required=name in required,
                    shared_from=None if source == provider.key else source,
                )
                for name in provider.secret_names
            ),
            origins=_written(origins or frozenset()),
            approved_origins=_written(approved),
            notices=(*notices, *self._notices(provider, effective)),
        )

    def _show_retired(self, provider: Provider, *, is_primary: bool) -> OrganizationProvider:
        overrides = self.config_row(provider.key).config
        message = f"{provider.name} is no longer offered by this installation. What is stored can be removed."
        return self._assemble(
            ProviderSummary(**{name: getattr(provider, name) for name in ProviderSummary.model_fields}),
            is_primary=is_primary,
            config={**provider.default_config, **overrides},
            overrides=overrides,
            lacks="retired",
            notices=(Notice(code="provider_retired", pointer="/provider", message=message),),
        )

    def _assemble(self, summary: ProviderSummary, *, lacks: Unusable | None, **shown: object) -> OrganizationProvider:
        row = self.state.configs.get(summary.key)
        stored = self.config_row(summary.key)
        health = self._health(summary.key)
        verification = self._verification(summary.key)
        status, since = _status(health, verification)
        reason = lacks if stored.is_enabled or lacks == "retired" else "disabled"
        return OrganizationProvider.model_validate(
            {
                "secret_fields": (),
                "origins": (),
                "approved_origins": (),
                **shown,
                "provider": summary,
                "is_configured": row is not None,
                "is_enabled": stored.is_enabled,
                "priority": stored.priority,
                "usable": reason is None,
                "reason": reason,
                "status": lacks or status,
                "status_since": None if lacks else since,
                "revision": stored.revision,
                "etag": self.etag(summary.key),
                "updated_at": row.updated_at if row else None,
                "updated_by": row.updated_by if row else None,
                "health": health,
                # That of a provider that is no longer offered is none.
                "verification": verification
                and shown_verification(verification, self._registry.get_provider_by_key(summary.key), self._today),
            }
        )

    def endings(self, provider: AnyProvider, effective: JsonObject) -> tuple[Notice, ...]:
        """Return what ends of what a provider's settings in force name, as those are told who change nothing."""
        return tuple(
            notice.model_copy(update={"proposal": None, "no_proposal": None})
            for notice in self._notices(provider, effective)
            if notice.code != "model_unknown"
        )

    def _notices(self, provider: AnyProvider, effective: JsonObject) -> list[Notice]:
        tested = self._verification(provider.key)
        told = tested.retires_on if tested else None
        return retirement.notices(provider, self.overrides(provider), effective, self._today, told)

    def is_failing(self, key: str) -> bool:
        """Return whether workers saw a provider fail last, as it is set now."""
        health = self._health(key)
        return health is not None and health.status == "failing"

    def _health(self, key: str) -> ProviderHealth | None:
        seen = self.state.reports.get(key)
        if seen is None or seen.revision < self._renewed_at(key):
            return None
        return ProviderHealth(
            status="failing" if seen.outcome == "failed" else "recovered",
            kind=cast("FailureKind", seen.kind) if seen.kind in get_args(FailureKind) else None,
            since=seen.since,
            reported_at=seen.reported_at,
            reported_by=seen.reported_by,
            reports=seen.reports,
            revision=seen.revision,
        )

    def _verification(self, key: str) -> VerificationRow | None:
        """Return the last test of a provider, unless its settings, secrets or definition are others by now."""
        found = self.state.verifications.get(key)
        if found is None or key in self._retired or found.revision < self._renewed_at(key):
            return None
        return found if found.definition == self._registry.get_provider_by_key(key).digest else None

    def _renewed_at(self, key: str) -> int:
        """Return the revision at which a provider's settings, or the secrets that it uses, last changed."""
        return self.state.provider_revisions.get(key, 0)

    def _sealed(self, source: str) -> tuple[bool, Envelope | None]:
        """Return whether what is stored can be right, and the envelope if it can."""
        return self._envelopes.get(source, (True, None))

    @cached_property
    def _envelopes(self) -> dict[str, tuple[bool, Envelope | None]]:
        read: dict[str, tuple[bool, Envelope | None]] = {}
        for key in self.state.secrets:
            try:
                sealed = self.own_envelope(key)
            except SecretsUnreadable:
                read[key] = (False, None)
                continue
            current = sealed is not None and sealed.version == self.state.secret_versions.get(key, 0)
            read[key] = (current, sealed)
        return read


def _urgency(one: ProviderNotice) -> tuple[bool, date, bool, str]:
    notice = one.notice
    return (not notice.code.endswith("_retired"), notice.retires_on or date.max, not one.is_enabled, one.provider.key)


def _status(
    health: ProviderHealth | None, verification: VerificationRow | None
) -> tuple[ProviderStatus, datetime | None]:
    """Return what workers and tests show together, and since when: of two that differ, the later one counts."""
    seen: list[tuple[datetime, ProviderStatus, datetime]] = []
    if health is not None:
        # A recovery takes a failure back. That a provider works is for a test to say, of all that a call needs.
        seen.append((health.reported_at, "failing" if health.status == "failing" else "unverified", health.since))
    if verification is not None and verification.verdict != "inconclusive":
        status: ProviderStatus = "verified" if verification.verdict == "works" else "failing"
        if health is None or health.status == "failing" or status == "failing":
            seen.append((verification.proved_at, status, verification.since))
        else:
            return "verified", verification.since
    _, status, since = max(seen, default=(None, "unverified", None), key=lambda each: each[0])
    return status, None if status == "unverified" else since


def shown_verification(
    row: VerificationRow, provider: ProviderSummary | AnyProvider, today: date, *, is_draft: bool = False
) -> VerificationResult:
    """Return a test as it is shown, in today's words and with what is known today of the model's end."""
    ending = None
    if not isinstance(provider, ProviderSummary) and provider.probe and provider.probe.model_setting:
        named: JsonObject = {provider.probe.model_setting: row.model}
        ending = retirement.ending(provider, named, today, row.retires_on)
    retires_on, said = ending or (row.retires_on, "")
    words = worded(row, provider, ending=said, is_draft=is_draft)
    return VerificationResult.model_validate(
        {
            "outcome": row.outcome,
            "verdict": words.verdict,
            "sentence": words.sentence,
            "advice": words.advice,
            "next_step": words.step,
            "stages": row.stages,
            "milliseconds": row.milliseconds,
            "http_status": row.http_status,
            "retry_after_seconds": row.retry_after_seconds,
            "model": row.model,
            "retires_on": retires_on,
            "origin": row.origin,
            "is_draft": is_draft,
            "checked_at": row.checked_at,
            "checked_by": row.checked_by,
        }
    )


def _secret_field(name: str, sealed: Envelope | None, *, required: bool, shared_from: str | None) -> SecretField:
    info = sealed.fields.get(name) if sealed else None
    if info is None:
        return SecretField(name=name, required=required, is_set=False)
    return SecretField(
        name=name,
        required=required,
        is_set=True,
        version=info.version,
        label=info.label,
        updated_at=datetime.fromisoformat(info.updated_at),
        updated_by=info.updated_by,
        shared_from=shared_from,
    )


def _setting(error: FieldError) -> str:
    return error.pointer.removeprefix("/config/") or "config"


def _written(origins: frozenset[Origin]) -> tuple[str, ...]:
    return tuple(sorted(str(origin) for origin in origins))

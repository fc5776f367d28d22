"""Which provider answers, and why. Pure functions: nothing here reads, writes or waits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import SecretStr

    from voxplane.schemas import (
        JsonObject,
        Notice,
        OrganizationProvider,
        ProviderName,
        ProviderType,
        SkippedProvider,
        Unusable,
    )


@dataclass(frozen=True)
class ResolvedProviderConfig:
    """One provider with its settings in force and its opened secrets, as only a worker gets it.

    `secrets` may refuse to be read: in the SDK they end when the control plane was away for too long, or revoked them.
    """

    provider: ProviderName
    config: JsonObject
    secrets: Mapping[str, SecretStr]
    origins: tuple[str, ...]
    is_enabled: bool
    priority: int
    secret_version: int | None
    at: str | None = None
    """Which state of its organization this is, as `<epoch>.<revision>`; None where no control plane said."""
    is_failing: bool = False
    """Whether workers saw it fail last, in this call or another, or reported it since: an answer is then news."""
    notices: tuple[Notice, ...] = ()
    """What ends of what the settings name, such as a model that retires."""


class Identity(NamedTuple):
    """What a provider is in a call: what is known of it holds for as long as this is the same."""

    provider: str
    settings: str
    origins: tuple[str, ...]
    secret_version: int | None


def identity(resolved: ResolvedProviderConfig) -> Identity:
    """Return what tells a provider in a call from what it was before a change, or is after one."""
    settings = json.dumps(resolved.config, sort_keys=True)
    return Identity(resolved.provider.key, settings, resolved.origins, resolved.secret_version)


def stored_keys(chain: Iterable[ResolvedProviderConfig]) -> set[tuple[str, int]]:
    """Return which stored keys a chain is on; an engine of this machine has none."""
    return {(each.provider.key, each.secret_version) for each in chain if each.secret_version is not None}


def rank(priority: int, name: str, key: str) -> tuple[int, str, str]:
    """Sort key of providers of one type: higher priority first, then by name without regard to case, then by key."""
    return (-priority, name.casefold(), key)


def primary(ranked: list[OrganizationProvider]) -> OrganizationProvider | None:
    """Return the first enabled one of ranked providers of one type, usable or not."""
    return next((provider for provider in ranked if provider.is_enabled), None)


def chain(ranked: list[OrganizationProvider]) -> list[OrganizationProvider]:
    """Return the providers that a call can be answered by, in the order in which they are tried."""
    return [provider for provider in ranked if provider.usable]


def why_nobody(provider_type: ProviderType, skipped: Iterable[SkippedProvider]) -> str:
    """Return the sentence for a worker that finds no provider of a type: what to mend, or to switch on."""
    left_out = [f"{each.key} ({each.reason.replace('_', ' ')})" for each in skipped if each.type == provider_type]
    if left_out:
        return f"No {provider_type.value} provider can answer. Enabled and not usable: {', '.join(left_out)}."
    return f"This organization has no {provider_type.value} provider enabled: enable one in the control plane."


def unusable_reason(
    *,
    is_enabled: bool,
    is_valid: bool,
    is_readable: bool,
    has_required_secrets: bool,
    has_approved_destination: bool,
) -> Unusable | None:
    """Return the first thing that keeps a provider from answering, in the order in which one would mend it."""
    checks: tuple[tuple[bool, Unusable], ...] = (
        (is_enabled, "disabled"),
        (is_valid, "invalid_config"),
        (is_readable, "undecryptable"),
        (has_required_secrets, "secrets_missing"),
        (has_approved_destination, "destination_unapproved"),
    )
    return next((reason for passed, reason in checks if not passed), None)

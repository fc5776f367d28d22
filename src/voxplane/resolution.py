"""Which provider answers, and why. Pure functions: nothing here reads, writes or waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from voxplane.schemas import Notice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from pydantic import SecretStr

    from voxplane.provider import AnyProvider
    from voxplane.schemas import JsonObject, Model, OrganizationProvider, ProviderName, Unusable


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


def rank(priority: int, name: str, key: str) -> tuple[int, str, str]:
    """Sort key of providers of one type: higher priority first, then by name without regard to case, then by key."""
    return (-priority, name.casefold(), key)


def primary(ranked: list[OrganizationProvider]) -> OrganizationProvider | None:
    """Return the first enabled one of ranked providers of one type, usable or not."""
    return next((provider for provider in ranked if provider.is_enabled), None)


def chain(ranked: list[OrganizationProvider]) -> list[OrganizationProvider]:
    """Return the providers that a call can be answered by, in the order in which they are tried."""
    return [provider for provider in ranked if provider.usable]


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


def model_notices(provider: AnyProvider, effective: JsonObject, today: date) -> list[Notice]:
    """Say what is known about the chosen model: that it ends, has ended, or is not known at all."""
    chosen = effective.get("model")
    if not provider.models or not isinstance(chosen, str):
        return []
    model = next((model for model in provider.models if model.name == chosen), None)
    if model is None:
        message = f"{provider.name} may offer this model; Voxplane does not know it."
        return [Notice(code="model_unknown", pointer="/config/model", message=message, model=chosen)]
    if model.status == "retired" or (model.retires_on is not None and model.retires_on <= today):
        return [_retirement("model_retired", provider, model)]
    if model.status == "deprecated" or model.retires_on is not None:
        return [_retirement("model_retiring", provider, model)]
    return []


def _retirement(code: str, provider: AnyProvider, model: Model) -> Notice:
    when = f" on {model.retires_on.isoformat()}" if model.retires_on else ""
    instead = f" {provider.name} names {model.replacement} as its replacement." if model.replacement else ""
    if code == "model_retired":
        sentence = f"{model.name} ended{when}."
    else:
        sentence = f"{model.name} ends{when}." if when else f"{model.name} is deprecated."
    return Notice(
        code=code,
        pointer="/config/model",
        message=sentence + instead,
        model=model.name,
        retires_on=model.retires_on,
        replacement=model.replacement,
    )

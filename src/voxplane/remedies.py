"""Which command helps a provider that cannot be used, or that fails."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from voxplane.destination import Origin

if TYPE_CHECKING:
    from voxplane.schemas import FailureKind, OrganizationProvider, ProviderHealth, Unusable

_REMEDIES: dict[Unusable, str] = {
    "disabled": "`voxplane config set {key} --enable` switches it on",
    "secrets_missing": "`voxplane secrets set {key}` stores one",
    "destination_unapproved": "`voxplane secrets set {key}{approval}` approves where calls go too",
    "invalid_config": "`voxplane config set {key}{settings}` mends it",
    "undecryptable": "`voxplane secrets remove {key}`, then store it again",
}
_WITH_ITS_OWN = "`voxplane secrets set {key}{approval}` stores a key of its own, approved for where calls go"
"""What helps one that uses another provider's key, which nobody approved for its address."""

_IF_FAILING: dict[FailureKind, str] = {
    "authentication": "`voxplane secrets set {key}` stores another key",
    "permission": "give the key more rights at the provider, or `voxplane secrets set {key}` another one",
    "quota": "add credit at the provider, or put another one first",
    "rate_limit": "it limits requests: raise the limit at the provider, or put another one first",
    "invalid_request": "it does not take these settings: `voxplane verify {key}`",
    "unavailable": "its package, model or voice is not on the worker, whose log names it: docs/speech.md",
    "server": "it may pass; if not, see the provider's status page, or put another one first",
    "timeout": "it may pass; if not, see the provider's status page, or put another one first",
    "connectivity": "see that workers can connect to it: `voxplane verify {key}` shows where calls go",
    "unsupported": "the worker's release does not know this provider: upgrade the worker",
}
_IN_THE_HOUSE: dict[FailureKind, str] = {
    "connectivity": "start its server, or set where it is: docs/speech.md",
    "timeout": "see whether its server has enough of a machine: docs/speech.md",
    "server": "see the log of its server: docs/speech.md",
}
"""What helps instead where it runs on machines of one's own."""


def remedy(one: OrganizationProvider, organization: str) -> str:
    """Return what to do, for somebody at the organization's machine; nothing when no command helps, or needs to."""
    if one.reason is None:
        return ""
    wrong = dict.fromkeys(each.pointer.split("/")[2] for each in one.notices if each.code == "setting_invalid")
    settings = "".join(f" {name}=…" for name in wrong)
    helps = _REMEDIES.get(one.reason, "")
    if one.reason == "destination_unapproved" and _is_shared(one):
        helps = _WITH_ITS_OWN
    return helps.format(key=_named(one, organization), settings=settings, approval=_approval(one))


def _approval(one: OrganizationProvider) -> str:
    """Return the options that approve where calls go, beside what is approved already, which gives way otherwise."""
    approved: tuple[str, ...] = () if _is_shared(one) else one.approved_origins
    wanted = dict.fromkeys((*approved, *one.origins))
    addresses = [f" --approve-origin {shlex.quote(Origin.parse(each).in_short)}" for each in wanted]
    # What is stored need not be entered again.
    return "".join(addresses) + (" --rebind" if one.secret_fields and not _is_shared(one) else "")


def _is_shared(one: OrganizationProvider) -> bool:
    return any(each.shared_from for each in one.secret_fields)


def failing(one: OrganizationProvider, organization: str) -> str:
    """Return that a provider which can be asked fails, since when, who says so, and what to do; else nothing."""
    if one.status != "failing":
        return ""
    health, test = one.health, one.verification
    if health is not None and health.status == "failing":
        kind = kind_of(health)
        advice = _advice(one, health.kind).format(key=_named(one, organization))
        times = f"{health.reports} report{'' if health.reports == 1 else 's'}"
        who = f"{times}, the last by {health.reported_by}"
        return f"failing in calls since {health.since:%Y-%m-%d %H:%M} UTC: {kind} ({who}); {advice}"
    return "failing in its last test" if test is None else f"failing in its last test: {test.sentence} {test.advice}"


def kind_of(health: ProviderHealth) -> str:
    """Return what kind of failure workers saw, as a newer release may have stored one that this does not know."""
    return health.kind or "unknown to this release"


def _advice(one: OrganizationProvider, kind: FailureKind | None) -> str:
    if kind is None:
        return "upgrade the control plane, which does not know what the worker says"
    helps = _IN_THE_HOUSE.get(kind) if one.provider.hosting == "local" else None
    return helps or _IF_FAILING[kind]


def _named(one: OrganizationProvider, organization: str) -> str:
    return f"{one.provider.key}{of_organization(organization)}"


def of_organization(slug: str) -> str:
    """Return what names an organization in a command, with a space before it; nothing for the usual one."""
    return "" if slug == "default" else f" --organization {slug}"

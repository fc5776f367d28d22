"""Which command helps a provider that cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voxplane.schemas import OrganizationProvider, Unusable

_REMEDIES: dict[Unusable, str] = {
    "disabled": "`voxplane config set {key} --enable` switches it on",
    "secrets_missing": "`voxplane secrets set {key}` stores one",
    "destination_unapproved": "`voxplane secrets set {key} --approve-origin ADDRESS` approves where calls go",
    "invalid_config": "`voxplane config set {key}` mends it",
    "undecryptable": "`voxplane secrets remove {key}`, then store it again",
}


def remedy(one: OrganizationProvider, organization: str) -> str:
    """Return what to do, for somebody at the organization's machine; nothing when no command helps, or needs to."""
    of = of_organization(organization)
    return "" if one.reason is None else _REMEDIES.get(one.reason, "").format(key=f"{one.provider.key}{of}")


def of_organization(slug: str) -> str:
    """Return what names an organization in a command, with a space before it; nothing for the usual one."""
    return "" if slug == "default" else f" --organization {slug}"

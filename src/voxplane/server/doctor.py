"""What is right and what is wrong with an installation, in sentences that say what to do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from voxplane.errors import VoxplaneError
from voxplane.schemas import ProviderType, Wire
from voxplane.server.control_plane import ControlPlane, local_administrator

if TYPE_CHECKING:
    from voxplane.schemas import OrganizationProvider
    from voxplane.server.settings import Settings

Verdict = Literal["good", "note", "bad"]


class Finding(Wire):
    """One thing that was looked at."""

    subject: str
    verdict: Verdict
    finding: str


class Report(Wire):
    """All that was looked at."""

    is_healthy: bool
    findings: tuple[Finding, ...]


async def examine(settings: Settings) -> Report:
    """Open the installation as the service would, and look at each part of it; nothing else is changed."""
    findings = [_python()]
    try:
        async with ControlPlane.open(settings) as plane:
            findings += [*_foundations(plane), *await _default_organization(plane)]
    except VoxplaneError as error:
        findings.append(Finding(subject="installation", verdict="bad", finding=error.message))
    return Report(is_healthy=all(each.verdict != "bad" for each in findings), findings=tuple(findings))


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(subject="python", verdict="good", finding=found)


def _foundations(plane: ControlPlane) -> list[Finding]:
    settings = plane.settings
    where = "VOXPLANE_DATABASE_URL" if settings.database_url else f"embedded, in {settings.data_dir.absolute()}"
    keyring = settings.keyring_path.absolute()
    sealed = plane.providers.is_sealed
    return [
        Finding(subject="database", verdict="good", finding=f"{where}; row level security holds for this role"),
        Finding(
            subject="catalogue",
            verdict="good",
            finding=f"{len(plane.registry.get_all_providers())} providers, the same as in the database",
        ),
        Finding(
            subject="keyring",
            verdict="bad" if sealed else "good",
            finding=f"missing, damaged or another one: restore {keyring}" if sealed else f"{keyring}: keep a backup",
        ),
    ]


async def _default_organization(plane: ControlPlane) -> list[Finding]:
    found = (await plane.access.get_organizations(limit=1)).organizations
    if not found:
        return [Finding(subject="organizations", verdict="note", finding="none yet: `voxplane organization create`")]
    principal = local_administrator(found[0].id, "doctor")
    return [
        _next_call(found[0].slug, each, await plane.providers.get_usable_providers(principal, each))
        for each in ProviderType
    ]


def _next_call(slug: str, provider_type: ProviderType, usable: list[OrganizationProvider]) -> Finding:
    subject = f"{slug}: {provider_type}"
    if not usable:
        finding = "no provider can answer a call: enable one and store its key"
        return Finding(subject=subject, verdict="note", finding=finding)
    first = usable[0]
    notices = " ".join(notice.message for notice in first.notices)
    finding = f"the next call goes to {first.provider.name}. {notices}".strip()
    return Finding(subject=subject, verdict="note" if notices else "good", finding=finding)

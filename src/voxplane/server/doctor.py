"""What is right and what is wrong with an installation, in sentences that say what to do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from voxplane.errors import ConfigurationError, VoxplaneError
from voxplane.remedies import failing, remedy
from voxplane.resolution import chain
from voxplane.schemas import ProviderType, Wire, verification
from voxplane.server.anchor_file import STANDARD_OUTPUT
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.rounds import Tried, verify_each

if TYPE_CHECKING:
    from pathlib import Path

    from voxplane.schemas import Organization, OrganizationProvider
    from voxplane.server.settings import Settings

Verdict = Literal["good", "note", "bad"]
_VERDICTS: dict[verification.Verdict, Verdict] = {"works": "good", "inconclusive": "note", "fails": "bad"}


class Finding(Wire):
    """One thing that was looked at."""

    subject: str
    verdict: Verdict
    finding: str


class Report(Wire):
    """All that was looked at."""

    is_healthy: bool
    findings: tuple[Finding, ...]


def require_installation(settings: Settings) -> None:
    """Keep a command in the wrong folder from making a new installation there.

    Raises:
        ConfigurationError: there is nothing to work on; the message says how to begin.
    """
    if settings.database_url is None and not EmbeddedPostgres.is_in(settings.data_dir):
        raise ConfigurationError(
            f"There is no Voxplane in {settings.data_dir.absolute()}: `voxplane serve` starts one there; "
            "VOXPLANE_DATA_DIR or VOXPLANE_DATABASE_URL names one elsewhere."
        )


async def examine(settings: Settings, ask_providers: bool = False, everybody: bool = False) -> Report:  # noqa: FBT001, FBT002 - as anyio.run hands it on
    """Open the installation as the service would, and look at each part of it; nothing else is changed.

    It looks at the organization `default`, or at the first one, unless `everybody`. With `ask_providers`, the enabled
    ones of an organization are tested: that makes a request to each.
    """
    findings = [_python()]
    try:
        require_installation(settings)
        async with ControlPlane.open(settings) as plane:
            findings += [
                *_foundations(plane),
                *await _anchors(plane),
                *await _organizations(plane, ask_providers=ask_providers, everybody=everybody),
            ]
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
        *_catalogue_file(plane),
        Finding(
            subject="keyring",
            verdict="bad" if sealed else "good",
            finding=f"missing, damaged or another one: restore {keyring}" if sealed else f"{keyring}: keep a backup",
        ),
    ]


async def _anchors(plane: ControlPlane) -> list[Finding]:
    """Say whether the audit log reaches what was last anchored; nothing while it is sealed, which says enough."""
    if plane.providers.is_sealed:
        return []
    verdict, finding = await _held_against(plane.settings.anchors_file, plane)
    return [Finding(subject="anchors", verdict=verdict, finding=finding)]


async def _held_against(path: Path | None, plane: ControlPlane) -> tuple[Verdict, str]:
    if path is None:
        return "good", "none are kept: VOXPLANE_ANCHORS_FILE is unset"
    if path == STANDARD_OUTPUT:
        return "good", "the service prints them: hold the log against what was kept with `voxplane audit verify`"
    try:
        found = await plane.audit.glance(path)
    except VoxplaneError as error:
        return "bad", error.message
    if found is None:
        return "note", f"none in {path} yet: the service adds one when it runs"
    when = f"{found.anchored_at:%Y-%m-%d %H:%M:%S} UTC"
    if not found.behind:
        return "good", f"the audit log reaches the anchor of {when}"
    number = len(found.behind)
    return "bad", (
        f"the audit log of {number} organization{'' if number == 1 else 's'} ends before the anchor of {when}: "
        "this database is an older one, or the end was cut off; `voxplane audit verify --anchors` says where"
    )


def _catalogue_file(plane: ControlPlane) -> list[Finding]:
    facts, path = plane.registry.facts, plane.settings.catalogue_file
    if facts is None or path is None:
        return []
    count = sum(len(each.models) + len(each.voices) for each in facts.providers.values())
    found = f"{path.absolute()}: {count} facts on models and voices, of {facts.as_of}"
    return [Finding(subject="catalogue file", verdict="good", finding=found)]


async def _organizations(plane: ControlPlane, *, ask_providers: bool, everybody: bool) -> list[Finding]:
    found = [each async for each in plane.access.every_organization()]
    if not found:
        return [Finding(subject="organizations", verdict="note", finding="none yet: `voxplane organization create`")]
    looked_at = found if everybody else [next((each for each in found if each.slug == "default"), found[0])]
    findings: list[Finding] = []
    if len(found) > len(looked_at):
        said = f"{len(found)}, of which this looks at {looked_at[0].slug}: `voxplane doctor --all` looks at all"
        findings.append(Finding(subject="organizations", verdict="good", finding=said))
    for each in looked_at:
        findings += await _organization(plane, each, ask_providers=ask_providers)
    return findings


async def _organization(plane: ControlPlane, found: Organization, *, ask_providers: bool) -> list[Finding]:
    principal = local_administrator(found.id, "doctor")
    shown = (await plane.providers.get_organization_providers(principal)).providers
    findings = [
        _next_call(found.slug, each, [provider for provider in shown if provider.provider.type is each])
        for each in ProviderType
    ]
    if ask_providers:
        keys = [each.provider.key for each in shown if each.usable]
        tried = (await verify_each(plane, principal, keys)).providers
        findings += [_tried(f"{found.slug}: {each.provider}", each) for each in tried]
    return findings


def _tried(subject: str, tried: Tried) -> Finding:
    if tried.result is None:
        return Finding(subject=subject, verdict="bad", finding=tried.problem or "")
    verdict = _VERDICTS[tried.result.verdict]
    return Finding(subject=subject, verdict=verdict, finding=f"{tried.result.sentence} {tried.result.advice}".strip())


def _next_call(organization: str, kind: ProviderType, ranked: list[OrganizationProvider]) -> Finding:
    """Say who answers the next call, and what stands in the way of whoever should."""
    subject = f"{organization}: {kind}"
    passed_over = [
        f"{each.provider.name} is enabled but not usable: {each.reason.replace('_', ' ')}."
        f"{f' {helps}.' if (helps := remedy(each, organization)) else ''}"
        for each in ranked
        if each.is_enabled and each.reason is not None
    ]
    usable = chain(ranked)
    if not usable:
        remarks = passed_over or ["Enable a provider."]
        return Finding(subject=subject, verdict="note", finding=" ".join(["Nobody answers.", *remarks]))
    notices = [notice.message for notice in usable[0].notices]
    fail = [f"{each.provider.name} is {seen.rstrip('.')}." for each in usable if (seen := failing(each, organization))]
    remarks = [f"The next call goes to {usable[0].provider.name}.", *fail, *notices, *passed_over]
    return Finding(subject=subject, verdict="note" if len(remarks) > 1 else "good", finding=" ".join(remarks))

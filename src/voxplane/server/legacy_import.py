"""Blobs of the old `org_configs` brought into organizations, each in one transaction and through the same gates.

What an organization already has wins over its blob, so a run that was cut off is simply run again. A run that is only
to be looked at does everything and takes it back: what it reports is what happens. An organization stands in a source
once: which of two records is right nobody could tell.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import uuid4

import anyio
from pydantic import Field

from voxplane.errors import OrganizationExists, VoxplaneError
from voxplane.legacy import Converted, LegacyProvider, convert
from voxplane.schemas import ConfigWrite, JsonObject, OrganizationCreate, ProviderType, SecretsWrite, Wire
from voxplane.schemas.import_notice import Finding, Outcome
from voxplane.server import import_notice
from voxplane.server.history_store import HistoryStore
from voxplane.server.legacy_organizations import new_slug_of, organizations_called
from voxplane.server.naming import as_id, spelled_alike
from voxplane.server.provider_write import ProviderWrite, secret_values
from voxplane.server.write import TakenBack, begin_as

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence

    from voxplane.provider import AnyProvider
    from voxplane.schemas import OrganizationProvider
    from voxplane.server.auth import Principal
    from voxplane.server.changes import Changes
    from voxplane.server.database import Database
    from voxplane.server.legacy_source import Record
    from voxplane.server.provider_write import Catalogue
    from voxplane.server.store import OrganizationRow
    from voxplane.server.write import Unsealed, Write

_AT_ONCE = 4
_BATCH = 32
_BEGUN_WITH = "organization.create"
"""What is on record as having written the settings that an organization began with, which is nobody's doing."""
_TWICE = "An earlier record of this source is of the same organization: only the first is taken."


class Status(StrEnum):
    """What became of one organization."""

    IMPORTED = "imported"
    UNCHANGED = "unchanged"
    MISSING = "missing"
    REFUSED = "refused"


class ImportedProvider(Wire):
    """What was written of one provider: names, never a value."""

    key: str
    is_enabled: bool
    priority: int
    settings: tuple[str, ...]
    secrets: tuple[str, ...]
    origins: tuple[str, ...]
    """Where its key may be sent, when that is not where the provider's keys usually go."""
    notices: tuple[str, ...]


class OrganizationReport(Wire):
    """What became of one organization's blob."""

    organization: str
    status: Status
    is_new: bool = False
    note: str | None = None
    providers: tuple[ImportedProvider, ...] = ()
    next_call: dict[ProviderType, str] = Field(default_factory=dict[ProviderType, str])
    """Who answers the next call then, by type; without a type when nobody can."""
    findings: tuple[Finding, ...] = ()


class Totals(Wire):
    """What became of all of them."""

    is_applied: bool
    organizations: int
    imported: int
    unchanged: int
    missing: int
    refused: int
    created: int
    secrets: int
    findings: dict[Outcome, int]


@dataclass(frozen=True)
class ImportOptions:
    """How to import: whether to write at all, to create organizations, and to approve where the blobs send keys."""

    apply: bool = False
    create_organizations: bool = False
    approve_origins: bool = False


class Tally:
    """Counts reports."""

    def __init__(self, *, is_applied: bool) -> None:
        """Begin at nothing."""
        self.organizations = 0
        self._is_applied = is_applied
        self._by_status: Counter[Status] = Counter()
        self._findings: Counter[Outcome] = Counter()
        self._created = self._secrets = 0

    def add(self, report: OrganizationReport) -> None:
        """Count one."""
        self.organizations += 1
        self._by_status[report.status] += 1
        self._created += report.is_new
        self._secrets += sum(len(provider.secrets) for provider in report.providers)
        self._findings.update(finding.outcome for finding in report.findings)

    @property
    def totals(self) -> Totals:
        """Return the sums."""
        return Totals(
            is_applied=self._is_applied,
            organizations=self.organizations,
            **{status.value: self._by_status[status] for status in Status},
            created=self._created,
            secrets=self._secrets,
            findings={outcome: self._findings[outcome] for outcome in Outcome},
        )


class LegacyImport:
    """Brings blobs into organizations, as the administrator of this installation's own machine."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        database: Database,
        changes: Changes,
        unsealed: Unsealed | None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take what it works with; `unsealed` is None while the installation is sealed."""
        self._catalogue = catalogue
        self._database = database
        self._changes = changes
        self._unsealed = unsealed
        self._clock = clock

    async def run(
        self, operator: Principal, records: AsyncIterator[Record], options: ImportOptions
    ) -> AsyncGenerator[OrganizationReport]:
        """Import record by record, a few organizations at a time, and yield their reports in the records' order.

        Raises:
            KeyUnavailable: the installation is sealed.
            Unavailable: the database does not answer; what was reported stays, the rest is as it was.
        """
        batch: list[Record] = []
        seen: set[str] = set()
        async for record in records:
            batch.append(record)
            if len(batch) == _BATCH:
                for report in await self._run_batch(operator, batch, seen, options):
                    yield report
                batch = []
        for report in await self._run_batch(operator, batch, seen, options):
            yield report

    async def _run_batch(
        self, operator: Principal, batch: list[Record], seen: set[str], options: ImportOptions
    ) -> list[OrganizationReport]:
        """Import some records at once; `seen` are the organizations of those before them."""
        known = await organizations_called(self._database, [record.organization for record in batch])
        reports: dict[int, OrganizationReport] = {}
        errors: list[VoxplaneError] = []
        turns = anyio.Semaphore(_AT_ONCE)

        async def one(number: int, record: Record) -> None:
            async with turns:
                if errors:
                    return
                try:
                    reports[number] = await self._import(operator, record, known.get(record.organization), options)
                except VoxplaneError as error:
                    errors.append(error)

        async with anyio.create_task_group() as group:
            for number, record in enumerate(batch):
                row = known.get(record.organization)
                names = {spelled_alike(record.organization), *((row.slug, str(row.id)) if row else ())}
                if names & seen:
                    name = row.slug if row else new_slug_of(record.organization)
                    reports[number] = _refused(record, name, _TWICE)
                    continue
                if record.organization:
                    seen.add(str(row.id) if row else spelled_alike(record.organization))
                group.start_soon(one, number, record)
        if errors:
            raise errors[0]
        return [reports[number] for number in range(len(batch))]

    async def _import(
        self, operator: Principal, record: Record, known: OrganizationRow | None, options: ImportOptions
    ) -> OrganizationReport:
        name = known.slug if known else new_slug_of(record.organization)
        if record.blob is None or name is None:
            note = record.problem or "This is no name that an organization can have: a-z, 0-9 and hyphens, and no key."
            return _refused(record, name, note)
        if known is None and not options.create_organizations:
            note = "No organization has this slug or id: create it, or say --create-organizations."
            return OrganizationReport(organization=name, status=Status.MISSING, note=note)
        converted = convert(record.blob, self._catalogue.registry, self._clock().date())
        organization_id = known.id if known else as_id(record.organization) or uuid4()
        who = replace(operator, organization_id=organization_id)
        reports: list[OrganizationReport] = []
        try:
            new = None if known else OrganizationCreate(slug=name, name=name)
            async with begin_as(self._database, who, new, self._unsealed, self._clock()) as write:
                reports.append(await _Organization(write, self._catalogue, options, converted).take(name))
                await self._end(write, reports[0])
                if not options.apply:
                    raise TakenBack  # noqa: TRY301 - that is how a transaction ends
        except TakenBack:
            return reports[0]
        except OrganizationExists:
            return _refused(record, name, "Another organization took this slug in the meantime: run it again.")
        self._changes.note(organization_id)
        return reports[0]

    async def _end(self, write: Write, report: OrganizationReport) -> None:
        """Put on record what was imported and what is left to a person; nothing when there is neither."""
        is_listed = await import_notice.leave(write, report.findings)
        is_imported = report.status is Status.IMPORTED
        if not is_imported and not is_listed:
            return
        detail = {
            "providers": sorted(provider.key for provider in report.providers),
            "left": sum(finding.needs_a_person for finding in report.findings),
        }
        led_to = {"revision": write.revision} if is_imported else {}
        await write.audit("legacy.import", report.organization, detail | led_to)
        if is_imported:
            await write.advance()
        else:
            await write.record()
            await write.store.ring(write.state.revision)


class _Organization:
    """One organization that takes what its blob says."""

    def __init__(self, write: Write, catalogue: Catalogue, options: ImportOptions, converted: Converted) -> None:
        self._write = write
        self._is_new = write.state.revision == 0
        self._providers = ProviderWrite(write, catalogue, write.at.date())
        self._catalogue = catalogue
        self._options = options
        self._converted = converted
        self._findings = list(converted.findings)

    async def take(self, name: str) -> OrganizationReport:
        """Write what is not there yet, and report everything."""
        taken = [each for legacy in self._converted.providers if (each := await self._take(legacy)) is not None]
        listed = self._providers.view.listed(list(ProviderType))
        self._findings += _undecided(listed.providers, taken)
        return OrganizationReport(
            organization=name,
            status=Status.IMPORTED if taken or self._is_new else Status.UNCHANGED,
            is_new=self._is_new,
            providers=tuple(taken),
            next_call=listed.next_call,
            findings=tuple(self._findings),
        )

    async def _take(self, legacy: LegacyProvider) -> ImportedProvider | None:
        provider = self._catalogue.offered(legacy.key)
        settings = await self._take_settings(provider, legacy)
        secrets, origins = await self._take_secrets(provider, legacy)
        if settings is None and not secrets:
            return None
        row = self._providers.view.config_row(legacy.key)
        return ImportedProvider(
            key=legacy.key,
            is_enabled=row.is_enabled,
            priority=row.priority,
            settings=tuple(sorted(settings or ())),
            secrets=secrets,
            origins=origins,
            notices=legacy.notices,
        )

    async def _take_settings(self, provider: AnyProvider, legacy: LegacyProvider) -> list[str] | None:
        """Write settings where there are none; return their names, or None when nothing was written."""
        present = self._write.state.configs.get(legacy.key)
        if await self._was_touched(legacy.key):
            here: JsonObject = dict(self._providers.view.overrides(provider))
            if present is not None:
                here |= {"isEnabled": present.is_enabled, "priority": present.priority}
            said = {"isEnabled": legacy.is_enabled, "priority": legacy.priority} | legacy.config
            self._leave(
                legacy.key,
                f"This organization has settings of {provider.name} already: they stay.",
                lambda finding: finding.setting is not None and here.get(finding.setting) != said.get(finding.setting),
                is_settled=True,
            )
            return None
        change = ConfigWrite(is_enabled=legacy.is_enabled, priority=legacy.priority)
        if legacy.config:
            change = change.model_copy(update={"config": legacy.config})
            change.model_fields_set.add("config")
        return list(legacy.config) if await self._providers.put_config(provider, change) else None

    async def _was_touched(self, key: str) -> bool:
        """Whether anybody ever set this provider here, since the organization was made."""
        if self._is_new:
            return False
        newest = await HistoryStore(self._write.store.connection, self._write.state.id).versions(key, None, 1)
        return bool(newest) and newest[0].action != _BEGUN_WITH

    async def _take_secrets(
        self, provider: AnyProvider, legacy: LegacyProvider
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Seal keys where there never were any; return their names, and where they may be sent if that is unusual."""
        if not legacy.secrets:
            return (), ()
        if legacy.key in self._write.state.secret_versions:
            note = f"This organization has, or had, a key of {provider.name} here: nothing of it is changed."
            self._leave(legacy.key, note, lambda finding: finding.secret is not None, is_settled=True)
            return (), ()
        origins = self._providers.view.unusual_origins(provider)
        if origins is None or (origins and not self._options.approve_origins):
            to = f" to {', '.join(origins)}" if origins else ""
            note = f"With these settings it would be sent{to}: say --approve-origins if it may."
            if origins is None:
                note = f"Where it would be sent is not known: set {', '.join(provider.destinations.settings)} first."
            self._leave(legacy.key, note, lambda finding: finding.secret is not None)
            return (), origins or ()
        values = {name: secret.get_secret_value() for name, secret in legacy.secrets.items()}
        change = SecretsWrite.model_validate(
            {"secrets": values} | ({"approvedOrigins": list(origins)} if origins else {})
        )
        await self._providers.put_secrets(
            provider, change, secret_values(provider, change.secrets, change.label), is_precise=True
        )
        return tuple(sorted(values)), origins

    def _leave(self, key: str, note: str, of: Callable[[Finding], bool], *, is_settled: bool = False) -> None:
        """Say of findings that were to be written that they stay where they are."""
        left = {"outcome": Outcome.LEFT, "note": note, "value": None, "is_settled": is_settled}
        for number, finding in enumerate(self._findings):
            if finding.provider == key and finding.outcome not in {Outcome.LEFT, Outcome.UNKNOWN} and of(finding):
                self._findings[number] = finding.model_copy(update=left)


def _undecided(ranked: tuple[OrganizationProvider, ...], taken: Sequence[ImportedProvider]) -> Generator[Finding]:
    """Say of each type of which a blob names several providers and not which is first, who is first here."""
    for kind in ProviderType:
        enabled = [each for each in ranked if each.provider.type is kind and each.is_enabled]
        keys = {each.provider.key for each in enabled}
        top = max((each.priority for each in taken if each.key in keys), default=None)
        equal = {each.key for each in taken if each.key in keys and each.priority == top}
        if len(equal) > 1:
            names = ", ".join(each.provider.name for each in enabled if each.provider.key in equal)
            first = enabled[0].provider
            note = f"It does not say which answers first: {names}. Here it is {first.name}: see that this is right."
            yield Finding(at="", outcome=Outcome.LEFT, provider=first.key, setting="priority", note=note)


def _refused(record: Record, name: str | None, note: str) -> OrganizationReport:
    return OrganizationReport(organization=name or f"record {record.number}", status=Status.REFUSED, note=note)

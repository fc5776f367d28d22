"""The keys taken out of the old system's table once they are kept here; everything else of a blob stays in it."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import SecretStr

from voxplane import legacy_keys, legacy_text
from voxplane.errors import KeyUnavailable, SecretsUnreadable
from voxplane.schemas import Wire
from voxplane.server import envelope, legacy_source
from voxplane.server.audit_store import AuditStore
from voxplane.server.envelope import DataKey, SecretContext
from voxplane.server.fingerprints import known_key
from voxplane.server.legacy_organizations import new_slug_of, organizations_called
from voxplane.server.naming import spelled_alike
from voxplane.server.organization_view import OrganizationView
from voxplane.server.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Mapping
    from uuid import UUID

    from voxplane.legacy import LegacyKey
    from voxplane.legacy_keys import Left
    from voxplane.registry import ProviderRegistry
    from voxplane.server.database import Connection, Database
    from voxplane.server.envelope import Keyring
    from voxplane.server.legacy_source import Record
    from voxplane.server.provider_write import Catalogue
    from voxplane.server.store import OrganizationRow
    from voxplane.server.write import Unsealed

_BATCH = 100


class Status(StrEnum):
    """What became of the blob of one organization."""

    SCRUBBED = "scrubbed"
    UNCHANGED = "unchanged"
    MISSING = "missing"
    REFUSED = "refused"


class LeftKey(Wire):
    """A place in a blob with what may be a key, which stays there because this system does not keep it."""

    at: str
    note: str


class ScrubReport(Wire):
    """What became of the blob of one organization: places in it, never a value."""

    organization: str
    status: Status
    note: str | None = None
    removed: tuple[str, ...] = ()
    left: tuple[LeftKey, ...] = ()


class LegacyScrub:
    """Takes keys out of the old system's table that are kept here, a few organizations at a time."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        database: Database,
        unsealed: Unsealed | None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take what it works with; `unsealed` is None while the installation is sealed."""
        self._catalogue = catalogue
        self._database = database
        self._unsealed = unsealed
        self._clock = clock

    async def run(self, address: str, names: Collection[str], *, apply: bool) -> AsyncGenerator[ScrubReport]:
        """Take the keys out, of all organizations or of the one with these names, and yield what became of each.

        A key is kept here when that very value is stored or was: another one under its name does not count.
        Without `apply` nothing is written. A blob that is changed while this runs is not written; run it again.

        Raises:
            ConfigurationError: there is no such table, or it cannot be written.
            KeyUnavailable: the installation is sealed, so what it keeps cannot be told.
            Unavailable: a database does not answer; what was reported stays.
        """
        batch: list[Record] = []
        async with aclosing(legacy_source.table(address)) as records:
            async for record in records:
                if names and spelled_alike(record.organization) not in names:
                    continue
                batch.append(record)
                if len(batch) == _BATCH:
                    for report in await self._run_batch(address, batch, apply=apply):
                        yield report
                    batch = []
        for report in await self._run_batch(address, batch, apply=apply):
            yield report

    async def _run_batch(self, address: str, batch: list[Record], *, apply: bool) -> list[ScrubReport]:
        known = await organizations_called(self._database, [record.organization for record in batch])
        reports: list[ScrubReport] = []
        texts: dict[int, tuple[str, str, str]] = {}
        for number, record in enumerate(batch):
            report, text = await self._scrub(record, known.get(record.organization))
            reports.append(report)
            if text is not None:
                texts[number] = (record.organization, record.content or "", text)
        if apply and texts:
            written = await legacy_source.rewrite(address, list(texts.values()))
            for place, number in enumerate(texts):
                if place not in written:
                    note = "It was changed in the meantime, so nothing was taken out: run it again."
                    reports[number] = ScrubReport(
                        organization=reports[number].organization, status=Status.REFUSED, note=note
                    )
        return reports

    async def _scrub(self, record: Record, row: OrganizationRow | None) -> tuple[ScrubReport, str | None]:
        """Return what would become of a blob, and its text then if that is another one."""
        name = row.slug if row else new_slug_of(record.organization) or f"record {record.number}"
        if record.blob is None or record.content is None:
            return _unread(record, name), None
        if row is None:
            note = "No organization has this slug or id here, so none of its keys is kept here."
            return ScrubReport(organization=name, status=Status.MISSING, note=note), None
        try:
            kept = await self._kept(row.id)
        except SecretsUnreadable:
            note = "What is kept of it here cannot be read, so nothing was taken out."
            return ScrubReport(organization=name, status=Status.REFUSED, note=note), None
        if legacy_text.is_ambiguous(record.content):
            note = (
                "Two members of an object in it have one name, and one of them is not seen: take its keys out by hand."
            )
            return ScrubReport(organization=name, status=Status.REFUSED, note=note), None
        scrubbed = legacy_keys.scrub(record.content, self._catalogue.registry, self._clock().date(), kept.holds)
        left = tuple(LeftKey(at=each.at, note=kept.note(each)) for each in scrubbed.left)
        if not scrubbed.removed:
            return ScrubReport(organization=name, status=Status.UNCHANGED, left=left), None
        report = ScrubReport(organization=name, status=Status.SCRUBBED, removed=scrubbed.removed, left=left)
        return report, scrubbed.text

    async def _kept(self, organization_id: UUID) -> _Kept:
        if self._unsealed is None:
            raise KeyUnavailable
        async with self._database.transaction(organization_id=organization_id) as connection:
            return await self._read(connection, organization_id, self._unsealed.keyring)

    async def _read(self, connection: Connection, organization_id: UUID, keyring: Keyring) -> _Kept:
        store = Store(connection, organization_id)
        state = await store.state()
        view = OrganizationView(state, self._catalogue.registry, self._catalogue.retired, self._clock().date())
        data_keys: dict[int, DataKey] = {}
        for version in view.data_key_versions():
            row = await store.data_key(version)
            if row is None:
                raise SecretsUnreadable
            data_keys[version] = keyring.data_key(organization_id, version, row.kek_id, row.wrapped)
        mark_key = await known_key(store, organization_id, keyring)
        marks = await AuditStore(connection, organization_id).marks()
        return _Kept(self._catalogue.registry, view, data_keys, mark_key, marks)


@dataclass(frozen=True)
class _Kept:
    """What tells whether a key is kept for one organization: that very value, under whichever name."""

    registry: ProviderRegistry
    view: OrganizationView
    data_keys: Mapping[int, DataKey] = field(repr=False)
    mark_key: bytes | None = field(repr=False)
    marks: frozenset[str]

    def holds(self, key: LegacyKey) -> bool:
        """Whether the key is stored now or, by the audit log, was: one that was removed since is nobody's loss."""
        secret = SecretStr(key.text)
        if self.mark_key is not None and envelope.fingerprint(self.mark_key, secret) in self.marks:
            return True
        try:
            sealed = self.view.own_envelope(key.provider)
            if sealed is None or key.secret not in sealed.fields:
                return False
            # It may have been stored before there were marks.
            context = SecretContext(self.view.state.id, key.provider)
            return envelope.holds(self.data_keys[sealed.data_key], context, sealed, {key.secret: secret})
        except SecretsUnreadable:
            return False

    def note(self, left: Left) -> str:
        """Say why what may be a key stays where it is."""
        if left.is_within:
            return "a key that is kept here is a part of this text: take it out by hand"
        if left.key is None:
            return "may be a key, of no vendor that is offered here"
        try:
            sealed = self.view.own_envelope(left.key.provider)
        except SecretsUnreadable:
            return "what is stored here of this provider cannot be read"
        if sealed is not None and left.key.secret in sealed.fields:
            return "another key is stored here: this one is kept nowhere else"
        if self.view.unusual_origins(self.registry.get_provider_by_key(left.key.provider)) != ():
            return "not imported, as where its provider's settings would send it is not approved"
        return "not stored here: import it, or store it with `voxplane secrets set`"


def _unread(record: Record, name: str) -> ScrubReport:
    if record.content == "null":
        return ScrubReport(organization=name, status=Status.UNCHANGED)
    note = f"{record.problem} Whether there is a key in it has to be looked at by hand."
    return ScrubReport(organization=name, status=Status.REFUSED, note=note)

"""The keys taken out of the old system's table once they are kept here; everything else of a blob stays in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from voxplane import legacy_keys
from voxplane.errors import SecretsUnreadable
from voxplane.schemas import Wire
from voxplane.server import legacy_source
from voxplane.server.legacy_organizations import new_slug_of, organizations_called
from voxplane.server.naming import spelled_alike
from voxplane.server.organization_view import OrganizationView
from voxplane.server.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection

    from voxplane.server.database import Database
    from voxplane.server.legacy_source import Record
    from voxplane.server.provider_write import Catalogue
    from voxplane.server.store import OrganizationRow

_BATCH = 100


class Status(StrEnum):
    """What became of the blob of one organization."""

    SCRUBBED = "scrubbed"
    UNCHANGED = "unchanged"
    MISSING = "missing"
    REFUSED = "refused"


class ScrubReport(Wire):
    """What became of the blob of one organization: places in it, never a value."""

    organization: str
    status: Status
    note: str | None = None
    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    """Where there still is what may be a key, which this system does not keep."""


class LegacyScrub:
    """Takes keys out of the old system's table that are kept here, a few organizations at a time."""

    def __init__(
        self, *, catalogue: Catalogue, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Take what it works with."""
        self._catalogue = catalogue
        self._database = database
        self._clock = clock

    async def run(self, address: str, names: Collection[str], *, apply: bool) -> AsyncGenerator[ScrubReport]:
        """Take the keys out, of all organizations or of the one with these names, and yield what became of each.

        Without `apply` nothing is written. A blob that is changed while this runs is not written; run it again.

        Raises:
            ConfigurationError: there is no such table, or it cannot be written.
            Unavailable: a database does not answer; what was reported stays.
        """
        batch: list[Record] = []
        async for record in legacy_source.table(address):
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
        if record.blob is None:
            if record.content == "null":
                return ScrubReport(organization=name, status=Status.UNCHANGED), None
            note = f"{record.problem} Whether there is a key in it has to be looked at by hand."
            return ScrubReport(organization=name, status=Status.REFUSED, note=note), None
        if row is None:
            note = "No organization has this slug or id here, so none of its keys is kept here."
            return ScrubReport(organization=name, status=Status.MISSING, note=note), None
        async with self._database.transaction(organization_id=row.id) as connection:
            state = await Store(connection, row.id).state()
        view = OrganizationView(state, self._catalogue.registry, self._catalogue.retired, self._clock().date())

        def is_kept(provider: str, secret: str) -> bool:
            try:
                sealed = view.own_envelope(provider)
            except SecretsUnreadable:
                return False
            # One that was stored and removed since is nobody's loss.
            return provider in state.secret_versions and (sealed is None or secret in sealed.fields)

        scrubbed = legacy_keys.scrub(record.blob, self._catalogue.registry, self._clock().date(), is_kept)
        if not scrubbed.removed:
            return ScrubReport(organization=name, status=Status.UNCHANGED, left=scrubbed.left), None
        try:
            text = _written(scrubbed.blob)
        except ValueError:
            note = "It holds a number that could not be written back: take the keys out by hand."
            return ScrubReport(organization=name, status=Status.REFUSED, note=note), None
        removed, left = scrubbed.removed, scrubbed.left
        return ScrubReport(organization=name, status=Status.SCRUBBED, removed=removed, left=left), text


def _written(blob: object) -> str:
    """Write JSON for people; what could not be stored so, a half of a surrogate pair, with escapes."""
    text = json.dumps(blob, ensure_ascii=False, allow_nan=False)
    return json.dumps(blob) if any("\ud800" <= letter <= "\udfff" for letter in text) else text

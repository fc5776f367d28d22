"""What the import from the old system left to a person: shown until somebody of the organization says that it is done.

Every part that was left is listed once, whichever import left it, and what is done stays done. Of a part that is in a
later blob too, the list says what became of it then: it leaves the list when it is taken, or when what is here already
stays, and it is there anew, done or not, when something else is said of it, such as another address for its key.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from voxplane.errors import RevisionConflict
from voxplane.schemas.import_notice import Finding, ImportNotice
from voxplane.server.import_notice_store import ImportNoticeRow, ImportNoticeStore
from voxplane.server.write import begin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from voxplane.server.auth import Principal
    from voxplane.server.changes import Changes
    from voxplane.server.database import Database
    from voxplane.server.write import Unsealed, Write


async def leave(write: Write, findings: Iterable[Finding]) -> bool:
    """Keep what needs a person within a write that imports; whether that changed what is listed."""
    found = list(findings)
    left = [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in found if each.needs_a_person]
    store = ImportNoticeStore(write.store.connection, write.state.id)
    # An organization that is being made has none.
    known = await store.notice() if write.state.revision else None
    row = known or ImportNoticeRow(write.at, write.principal.name, [])
    # What is said now of a place is all that holds of it. A place with a name that is not shown may be several.
    said = {each.at for each in found if "?" not in each.at}
    still = [each for each in row.findings if each["at"] not in said or each in left]
    added = [each for each in left if each not in still and each not in row.done]
    if still + added == row.findings:
        return False
    await store.put_notice(replace(row, imported_at=write.at, imported_by=write.principal.name, findings=still + added))
    return True


class ImportNotices:
    """Shows the import notices of organizations, and takes that they are done."""

    def __init__(
        self,
        *,
        database: Database,
        changes: Changes,
        unsealed: Unsealed | None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take what it works with; `unsealed` is None while the installation is sealed."""
        self._database = database
        self._changes = changes
        self._unsealed = unsealed
        self._clock = clock

    async def get_notice(self, principal: Principal) -> ImportNotice:
        """Return what the last import left to a person of the principal's organization."""
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            row = await ImportNoticeStore(connection, principal.tenant).notice()
        if row is None or not row.findings:
            return ImportNotice()
        return ImportNotice(
            imported_at=row.imported_at,
            imported_by=row.imported_by,
            findings=tuple(Finding.model_validate(each) for each in row.findings),
            etag=_etag(row),
        )

    async def finish_notice(self, principal: Principal, *, if_match: str | None = None) -> None:
        """Hide what an import left, as done; nothing when there is no such thing.

        Raises:
            RevisionConflict: another import left something since what `if_match` names.
            KeyUnavailable: the installation is sealed.
        """
        async with begin(self._database, self._changes, principal, self._unsealed, self._clock()) as write:
            store = ImportNoticeStore(write.store.connection, principal.tenant)
            row = await store.notice()
            if row is None or not row.findings:
                return
            if if_match is not None and if_match.strip() not in {"*", _etag(row)}:
                raise RevisionConflict
            done = row.done + row.findings
            await store.put_notice(replace(row, findings=[], done=done, done_at=write.at, done_by=principal.name))
            await write.audit("legacy.finish", write.state.slug, {"findings": len(row.findings)})
            await write.store.ring(write.state.revision)


def _etag(row: ImportNoticeRow) -> str:
    return f'"{row.imported_at.timestamp():.6f}"'

"""The audit log as it is read: page by page, or as a whole."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from voxplane.schemas.audit import AuditRecord, AuditRecords
from voxplane.server.audit_store import AuditFilter, AuditRow, AuditStore
from voxplane.server.auth import Scope
from voxplane.server.history import actor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from voxplane.server.auth import Principal
    from voxplane.server.database import Database

_PAGE = 1000


class AuditLog:
    """Reads the audit log of an organization.

    Who holds audit:read sees all of it, others what they did themselves.
    """

    def __init__(self, *, database: Database) -> None:
        """Take what it works with."""
        self._database = database

    async def get_records(
        self, principal: Principal, wanted: AuditFilter, *, before: int | None = None, limit: int = 50
    ) -> AuditRecords:
        """Return a page of records, newest first, below number `before`."""
        found = await self._page(principal, wanted, before, limit + 1)
        shown = found[:limit]
        return AuditRecords(records=shown, next_before=shown[-1].seq if len(found) > limit else None)

    async def pages(self, principal: Principal, wanted: AuditFilter) -> AsyncGenerator[tuple[AuditRecord, ...]]:
        """Yield all records, newest first, page by page; at least one page, which may be empty.

        Each page is a transaction of its own: who reads slowly holds no connection.
        """
        before = None
        while True:
            found = await self._page(principal, wanted, before, _PAGE)
            yield found
            if len(found) < _PAGE:
                return
            before = found[-1].seq

    async def _page(
        self, principal: Principal, wanted: AuditFilter, before: int | None, limit: int
    ) -> tuple[AuditRecord, ...]:
        if Scope.AUDIT_READ not in principal.scopes:
            wanted = replace(wanted, own=principal.subject)
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            rows = await AuditStore(connection, principal.tenant).page(wanted, before, limit)
        return tuple(map(_record, rows))


def _record(row: AuditRow) -> AuditRecord:
    return AuditRecord(
        seq=row.seq,
        at=row.at,
        actor=actor(row.actor, row.actor_name),
        action=row.action,
        target=row.target,
        outcome=row.outcome,
        request_id=row.request_id,
        detail=row.detail,
    )

"""The statements about what the import from the old system left to a person of one organization."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from voxplane.server.database import Connection


@dataclass(frozen=True)
class ImportNoticeRow:
    """What imports left: what is open, and what is done, and when somebody last said so."""

    imported_at: datetime
    imported_by: str
    findings: list[dict[str, Any]]
    done: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    done_at: datetime | None = None
    done_by: str | None = None


class ImportNoticeStore:
    """The import notice of one organization, on one transaction that names it."""

    def __init__(self, connection: Connection, organization_id: UUID) -> None:
        """Bind to a connection whose transaction names the same organization."""
        self._connection = connection
        self._organization_id = organization_id

    async def notice(self) -> ImportNoticeRow | None:
        """Return what imports left, done or not; None when none left anything."""
        cursor = self._connection.cursor(row_factory=class_row(ImportNoticeRow))
        await cursor.execute(
            """
            SELECT imported_at, imported_by, findings, done, done_at, done_by FROM import_notices
            WHERE organization_id = %(organization_id)s
            """,
            {"organization_id": self._organization_id},
        )
        return await cursor.fetchone()

    async def put_notice(self, row: ImportNoticeRow) -> None:
        """Write what imports left."""
        await self._connection.execute(
            """
            INSERT INTO import_notices AS notices
                (organization_id, imported_at, imported_by, findings, done, done_at, done_by)
            VALUES (%(organization_id)s, %(imported_at)s, %(imported_by)s, %(findings)s, %(done)s, %(done_at)s,
                    %(done_by)s)
            ON CONFLICT (organization_id) DO UPDATE
                SET imported_at = excluded.imported_at, imported_by = excluded.imported_by,
                    findings = excluded.findings, done = excluded.done,
                    done_at = excluded.done_at, done_by = excluded.done_by
                WHERE notices.organization_id = %(organization_id)s
            """,
            vars(row)
            | {"findings": Jsonb(row.findings), "done": Jsonb(row.done), "organization_id": self._organization_id},
        )

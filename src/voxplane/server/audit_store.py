"""The statements that read the audit log of one organization. What adds to it is in `server/store.py`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from voxplane.server.database import Connection


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """Which rows of an audit log are wanted; None is any. `since` is included, `until` is not."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    own: str | None = None
    """The only actor whose rows may be seen, whatever is wanted."""


@dataclass(frozen=True)
class AuditRow:
    """A row of the audit log, with what its actor's token is called while it is known."""

    seq: int
    at: datetime
    actor: str
    actor_name: str | None
    action: str
    target: str
    outcome: str
    request_id: str | None
    detail: dict[str, Any]


class AuditStore:
    """The audit log of one organization, on one transaction that names it."""

    def __init__(self, connection: Connection, organization_id: UUID) -> None:
        """Bind to a connection whose transaction names the same organization."""
        self._connection = connection
        self._organization_id = organization_id

    async def page(self, wanted: AuditFilter, before: int | None, limit: int) -> list[AuditRow]:
        """Return rows, newest first, from the one below `before`."""
        cursor = self._connection.cursor(row_factory=class_row(AuditRow))
        await cursor.execute(
            """
            SELECT seq, at, actor, name AS actor_name, action, target, outcome, request_id, detail
            FROM audit_events
            LEFT JOIN access_tokens ON access_tokens.organization_id = %(organization_id)s
                                   AND access_tokens.id = substr(actor, 7) AND actor LIKE 'token:%%'
            WHERE audit_events.organization_id = %(organization_id)s
              AND (%(before)s::bigint IS NULL OR seq < %(before)s)
              AND (%(own)s::text IS NULL OR actor = %(own)s)
              AND (%(actor)s::text IS NULL OR actor = %(actor)s)
              AND (%(action)s::text IS NULL OR action = %(action)s)
              AND (%(target)s::text IS NULL OR target = %(target)s)
              AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
              AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
              AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
            ORDER BY seq DESC LIMIT %(limit)s
            """,
            {"organization_id": self._organization_id, "before": before, "limit": limit, **asdict(wanted)},
        )
        return await cursor.fetchall()

"""The statements that read the audit log of one organization. What adds to it is in `server/store.py`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row, scalar_row, tuple_row

from voxplane.server.audit import canonical_detail, row_text

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
    purpose: str | None = None
    """Of keys that were given out: to a `worker`, for a test (`verification`) or for a `list`. Nothing else has one."""
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
              AND (%(purpose)s::text IS NULL
                   OR (action = 'secrets.release' AND COALESCE(detail->>'purpose', 'worker') = %(purpose)s))
              AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
              AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
              AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
            ORDER BY seq DESC LIMIT %(limit)s
            """,
            {"organization_id": self._organization_id, "before": before, "limit": limit, **asdict(wanted)},
        )
        return await cursor.fetchall()

    async def chain(self, after: int, limit: int) -> list[tuple[int, str, bytes, bytes]]:
        """Return rows as `Chain.take_text` takes them, oldest first, from the one behind number `after`."""
        cursor = self._connection.cursor(binary=True, row_factory=tuple_row)
        await cursor.execute(
            """
            SELECT seq, at, actor, action, target, outcome, request_id, detail::text, prev_hash, hash
            FROM audit_events
            WHERE organization_id = %(organization_id)s AND seq > %(after)s
            ORDER BY seq LIMIT %(limit)s
            """,
            {"organization_id": self._organization_id, "after": after, "limit": limit},
        )
        owner = str(self._organization_id)
        return [
            (seq, row_text(owner, seq, at, columns, canonical_detail(detail)), prev_hash, stored)
            for seq, at, *columns, detail, prev_hash, stored in await cursor.fetchall()
        ]

    async def end(self) -> tuple[int, str] | None:
        """Return the number and the hash of the last row; None when there is none."""
        cursor = self._connection.cursor(row_factory=tuple_row)
        await cursor.execute(
            "SELECT seq, encode(hash, 'hex') FROM audit_events WHERE organization_id = %(organization_id)s"
            " ORDER BY seq DESC LIMIT 1",
            {"organization_id": self._organization_id},
        )
        return await cursor.fetchone()

    async def storings(self, fingerprint: str, limit: int) -> list[AuditRow]:
        """Return the newest rows that tell of a secret with this mark being stored."""
        cursor = self._connection.cursor(row_factory=class_row(AuditRow))
        await cursor.execute(
            """
            SELECT seq, at, actor, name AS actor_name, action, target, outcome, request_id, detail
            FROM audit_events
            LEFT JOIN access_tokens ON access_tokens.organization_id = %(organization_id)s
                                   AND access_tokens.id = substr(actor, 7) AND actor LIKE 'token:%%'
            WHERE audit_events.organization_id = %(organization_id)s AND action = 'secrets.put'
              AND EXISTS (SELECT 1 FROM jsonb_each_text(detail->'fingerprints') WHERE value = %(fingerprint)s)
            ORDER BY seq DESC LIMIT %(limit)s
            """,
            {"organization_id": self._organization_id, "fingerprint": fingerprint, "limit": limit},
        )
        return await cursor.fetchall()

    async def marks(self) -> frozenset[str]:
        """Return the marks of all secrets that were ever stored."""
        cursor = self._connection.cursor(row_factory=scalar_row)
        await cursor.execute(
            """
            SELECT DISTINCT mark.value FROM audit_events, jsonb_each_text(detail->'fingerprints') AS mark
            WHERE audit_events.organization_id = %(organization_id)s AND action = 'secrets.put'
            """,
            {"organization_id": self._organization_id},
        )
        return frozenset(await cursor.fetchall())


@dataclass(frozen=True)
class AuditHead:
    """Where the audit log of one organization stands, by the organization's own row."""

    id: UUID
    slug: str
    audit_seq: int
    audit_hash: bytes


async def audit_heads(connection: Connection, after: UUID, limit: int) -> list[AuditHead]:
    """Return where the audit logs stand, by the organizations' ids, in a transaction of the platform."""
    cursor = connection.cursor(binary=True, row_factory=tuple_row)
    await cursor.execute(
        "SELECT id, slug, audit_seq, audit_hash FROM organizations WHERE id > %(after)s ORDER BY id LIMIT %(limit)s",
        {"after": after, "limit": limit},
    )
    return [AuditHead(*row) for row in await cursor.fetchall()]


async def audit_state(connection: Connection) -> tuple[int, int]:
    """Return two numbers that change when where a log ends does, in a transaction of the platform."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(
        "SELECT count(*), coalesce(bit_xor(hashtextextended(audit_hash::text, audit_seq)), 0) FROM organizations"
    )
    [state] = await cursor.fetchall()
    return state

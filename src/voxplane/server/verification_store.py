"""The statements about tests of providers, beside the row that they write and return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from datetime import date, datetime
    from uuid import UUID

    from voxplane.server.database import Connection

MAX_KEPT = 24


@dataclass(frozen=True)
class VerificationRow:
    """What a test of one provider found, and what was known of the provider after it."""

    provider_key: str
    checked_at: datetime
    checked_by: str
    outcome: str
    stages: list[dict[str, Any]]
    milliseconds: int
    http_status: int | None
    retry_after_seconds: int | None
    model: str | None
    retires_on: date | None
    origin: str | None
    revision: int
    definition: str
    verdict: str
    since: datetime
    proved_at: datetime


async def add_verification(connection: Connection, organization_id: UUID, row: VerificationRow) -> None:
    """Keep what a test found, drop what is older than the last few, and tell whoever follows the organization.

    The row's `verdict` is the test's own; an inconclusive one leaves standing what an earlier test of the same
    settings and secrets showed. A test of settings or secrets that were changed meanwhile is passed over.
    """
    values = {**vars(row), "stages": Jsonb(row.stages), "organization_id": organization_id}
    payload = f"{organization_id}:health:{row.provider_key}"
    await connection.execute(_ADD, values | {"payload": payload})
    await connection.execute(
        """
        DELETE FROM provider_verifications
        WHERE organization_id = %(organization_id)s AND provider_key = %(provider_key)s AND checked_at <= (
            SELECT checked_at FROM provider_verifications
            WHERE organization_id = %(organization_id)s AND provider_key = %(provider_key)s
            ORDER BY checked_at DESC OFFSET %(kept)s LIMIT 1
        )
        """,
        {"organization_id": organization_id, "provider_key": row.provider_key, "kept": MAX_KEPT},
    )


async def verifications(connection: Connection, organization_id: UUID, provider_key: str) -> list[VerificationRow]:
    """Return the last tests of one provider, newest first."""
    cursor = connection.cursor(row_factory=class_row(VerificationRow))
    await cursor.execute(
        """
        SELECT provider_key, checked_at, checked_by, outcome, stages, milliseconds, http_status, retry_after_seconds,
               model, retires_on, origin, revision, definition, verdict, since, proved_at
        FROM provider_verifications
        WHERE organization_id = %(organization_id)s AND provider_key = %(provider_key)s
        ORDER BY checked_at DESC LIMIT %(kept)s
        """,
        {"organization_id": organization_id, "provider_key": provider_key, "kept": MAX_KEPT},
    )
    return await cursor.fetchall()


_ADD: LiteralString = """
    WITH present AS (
        SELECT coalesce((provider_revisions->>%(provider_key)s)::bigint, 0) AS renewed
        FROM organizations WHERE id = %(organization_id)s
    ), before AS (
        SELECT verdict, since, proved_at, retires_on FROM provider_verifications
        WHERE organization_id = %(organization_id)s AND provider_key = %(provider_key)s
          AND definition = %(definition)s AND revision >= (SELECT renewed FROM present)
        ORDER BY revision DESC, checked_at DESC LIMIT 1
    ), after AS (
        SELECT CASE WHEN %(verdict)s = 'inconclusive' THEN coalesce((SELECT verdict FROM before), 'inconclusive')
                    ELSE %(verdict)s END AS verdict
    ), added AS (
        INSERT INTO provider_verifications
            (organization_id, provider_key, checked_at, checked_by, outcome, stages, milliseconds, http_status,
             retry_after_seconds, model, retires_on, origin, revision, definition, verdict, since, proved_at)
        SELECT %(organization_id)s, %(provider_key)s, %(checked_at)s, %(checked_by)s, %(outcome)s, %(stages)s,
               %(milliseconds)s, %(http_status)s, %(retry_after_seconds)s, %(model)s,
               CASE WHEN %(verdict)s = 'inconclusive' THEN (SELECT retires_on FROM before)
                    ELSE %(retires_on)s END, %(origin)s,
               %(revision)s, %(definition)s, verdict,
               coalesce((SELECT since FROM before WHERE before.verdict = after.verdict), %(checked_at)s),
               CASE WHEN verdict = %(verdict)s THEN %(checked_at)s ELSE (SELECT proved_at FROM before) END
        FROM after, present
        WHERE %(revision)s >= renewed
        ON CONFLICT DO NOTHING
        RETURNING provider_key
    )
    SELECT pg_notify('voxplane', %(payload)s) FROM added
"""

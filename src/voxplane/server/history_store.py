"""The statements that read the history of one organization's settings and secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from voxplane.server.database import Connection


@dataclass(frozen=True)
class VersionRow:
    """One version of one provider's settings. `before` and `after` are None where there were none."""

    revision: int
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    actor: str
    actor_name: str | None
    action: str | None
    at: datetime
    restored_from: int | None


@dataclass(frozen=True)
class SecretsRow:
    """One change of one provider's secrets, as the audit log has it."""

    revision: int
    at: datetime
    actor: str
    actor_name: str | None
    action: str
    detail: dict[str, Any]


class HistoryStore:
    """The history of one organization, on one transaction that names it."""

    def __init__(self, connection: Connection, organization_id: UUID) -> None:
        """Bind to a connection whose transaction names the same organization."""
        self._connection = connection
        self._organization_id = organization_id

    async def versions(self, provider_key: str, before: int | None, limit: int) -> list[VersionRow]:
        """Return versions of one provider's settings, newest first, from the one below revision `before`."""
        cursor = self._connection.cursor(row_factory=class_row(VersionRow))
        await cursor.execute(
            """
            SELECT revision, before, after, actor, actor_name, action, at, restored_from
            FROM config_history
            WHERE organization_id = %(organization_id)s AND provider_key = %(provider_key)s
              AND (%(before)s::bigint IS NULL OR revision < %(before)s)
            ORDER BY revision DESC LIMIT %(limit)s
            """,
            self._of(provider_key) | {"before": before, "limit": limit},
        )
        return await cursor.fetchall()

    async def version(self, provider_key: str, revision: int) -> VersionRow | None:
        """Return one version of one provider's settings."""
        found = await self.versions(provider_key, revision + 1, 1)
        return found[0] if found and found[0].revision == revision else None

    async def secrets(self, provider_key: str, before: int | None, limit: int) -> list[SecretsRow]:
        """Return changes of one provider's secrets, newest first, from the one below revision `before`.

        A row of the audit log that says no revision is from before there was a history to show: it is left out.
        """
        cursor = self._connection.cursor(row_factory=class_row(SecretsRow))
        await cursor.execute(
            """
            SELECT (detail->>'revision')::bigint AS revision, at, actor, name AS actor_name, action, detail
            FROM audit_events
            LEFT JOIN access_tokens ON access_tokens.organization_id = %(organization_id)s
                                   AND access_tokens.id = substr(actor, 7) AND actor LIKE 'token:%%'
            WHERE audit_events.organization_id = %(organization_id)s AND target = %(provider_key)s
              AND action IN ('secrets.put', 'secrets.delete') AND outcome = 'success' AND detail ? 'revision'
              AND (%(before)s::bigint IS NULL OR (detail->>'revision')::bigint < %(before)s)
            ORDER BY seq DESC LIMIT %(limit)s
            """,
            self._of(provider_key) | {"before": before, "limit": limit},
        )
        return await cursor.fetchall()

    def _of(self, provider_key: str) -> dict[str, Any]:
        return {"organization_id": self._organization_id, "provider_key": provider_key}

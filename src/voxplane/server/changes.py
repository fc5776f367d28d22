"""What changed, as far as this process knows: its own writes at once, those of others by PostgreSQL's NOTIFY.

A notification is a doorbell: it names an organization and a revision, never data. Whoever keeps something that was
read asks here whether it still holds. While the line to PostgreSQL is down or unproven the answer is no.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import anyio
import structlog

from voxplane.errors import VoxplaneError

if TYPE_CHECKING:
    from voxplane.server.database import Database

_ECHO_SECONDS = 5.0
_RETRY_SECONDS = 0.5
_RETRY_AT_MOST_SECONDS = 30.0
_REMEMBERED = 100_000

log = structlog.get_logger("voxplane")


class Changes:
    """Marks in time: take one before reading, and ask later whether an organization changed since."""

    def __init__(self) -> None:
        self._mark = 0
        self._changed: dict[UUID, int] = {}
        self._valid_from = 0
        self.is_live = False
        """Whether the changes of other processes arrive."""

    def mark(self) -> int:
        """Return the present moment."""
        return self._mark

    def note(self, organization_id: UUID) -> None:
        """Take notice that an organization changed."""
        self._mark += 1
        self._changed[organization_id] = self._mark
        if len(self._changed) > _REMEMBERED:
            self._forget()

    def is_unchanged(self, organization_id: UUID, since: int) -> bool:
        """Whether what was read of an organization after `since` still holds."""
        return self.is_live and since >= self._valid_from and self._changed.get(organization_id, 0) <= since

    def _forget(self) -> None:
        """Let go of everything: nothing that was read until now is vouched for any longer."""
        self._mark += 1
        self._valid_from = self._mark
        self._changed.clear()

    def _hear(self, payload: str) -> None:
        """Take a notification. Any role of the database may send one, so it can say anything."""
        try:
            self.note(UUID(payload.partition(":")[0]))
        except ValueError:
            self._forget()

    async def follow(self, database: Database) -> None:
        """Listen for as long as the caller lets it; reconnect when the line breaks, or when it falls silent."""
        delay = _RETRY_SECONDS
        while True:
            try:
                async for payload in database.notifications("voxplane", echo_seconds=_ECHO_SECONDS):
                    if payload is None:
                        self._forget()  # a new line: what was sent before it is lost
                        self.is_live, delay = True, _RETRY_SECONDS
                    else:
                        self._hear(payload)
            except VoxplaneError:
                log.warning("change feed lost", retry_seconds=delay)
            finally:
                self.is_live = False
            await anyio.sleep(delay)
            delay = min(2 * delay, _RETRY_AT_MOST_SECONDS)

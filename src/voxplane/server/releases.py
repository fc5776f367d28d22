"""Releases on record: the audit rows of what workers are about to get, many in one transaction.

An organization's audit log is a chain, so its rows are written one after the other. A hundred workers that follow one
change ask at the same moment; each would wait for all before it. Instead whoever's turn it is writes the rows of
everybody who waits, and nobody is answered before the transaction that holds his row is committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import anyio
import structlog

from voxplane.errors import InternalError, Unavailable, VoxplaneError
from voxplane.server.audit import AuditEvent, chained
from voxplane.server.shared_answer import SharedAnswer
from voxplane.server.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from voxplane.schemas import JsonObject
    from voxplane.server.auth import Principal
    from voxplane.server.database import Database
    from voxplane.server.write import Unsealed

log = structlog.get_logger("voxplane")


@dataclass(eq=False)
class _Release:
    principal: Principal
    target: str
    detail: JsonObject
    is_recorded: bool = False
    error: VoxplaneError | None = None


@dataclass(eq=False)
class _Queue:
    waiting: list[_Release] = field(default_factory=list["_Release"])
    writing: SharedAnswer[None] = field(default_factory=SharedAnswer[None])


class Releases:
    """The record of what workers got."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        """Write to this database."""
        self._database = database
        self._clock = clock
        self._queues: WeakValueDictionary[UUID, _Queue] = WeakValueDictionary()

    async def record(self, principal: Principal, unsealed: Unsealed, target: str, detail: JsonObject) -> None:
        """Return once it is on record that the principal gets what `detail` names; no value of a secret is in it.

        Raises:
            Unavailable: it could not be put on record, so nothing may be given out.
            OrganizationNotFound: the organization is gone.
        """
        queue = self._queues.setdefault(principal.tenant, _Queue())
        release = _Release(principal, target, detail)
        queue.waiting.append(release)
        while not release.is_recorded and release.error is None:
            await queue.writing.ask(lambda: self._write_all(queue, principal.tenant, unsealed))
        if release.error is not None:
            raise release.error

    async def _write_all(self, queue: _Queue, organization_id: UUID, unsealed: Unsealed) -> None:
        batch, queue.waiting = queue.waiting, []
        error: VoxplaneError | None = Unavailable()
        try:
            # Others wait for this transaction too: it goes on when the one who began it is gone.
            with anyio.CancelScope(shield=True):
                await self._write(batch, organization_id, unsealed)
            error = None
        except InternalError as found:
            # A right or a table that is lost. Workers go on with what they have; who operates this finds out why here.
            log.error("releases cannot be put on record", cause=type(found.__cause__).__name__)  # noqa: TRY400 - its text can hold row values
            error = Unavailable("What is given out cannot be put on record, so nothing is.")
        except VoxplaneError as found:
            error = found
        finally:
            for release in batch:
                release.error, release.is_recorded = error, error is None

    async def _write(self, batch: list[_Release], organization_id: UUID, unsealed: Unsealed) -> None:
        async with self._database.transaction(organization_id=organization_id) as connection:
            store = Store(connection, organization_id)
            seq, head = await store.audit_head()
            at = self._clock()
            events = [
                AuditEvent(
                    organization_id=organization_id,
                    seq=seq + number,
                    at=at,
                    actor=release.principal.subject,
                    action="secrets.release",
                    target=release.target,
                    outcome="success",
                    request_id=release.principal.request_id,
                    detail=release.detail,
                )
                for number, release in enumerate(batch, start=1)
            ]
            await store.append_audit(chained(unsealed.audit_key, head, events))

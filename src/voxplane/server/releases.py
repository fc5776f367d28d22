"""Releases on record: the audit rows of what workers are about to get, many in one transaction.

An organization's audit log is a chain, so its rows are written one after the other. A hundred workers that follow one
change ask at the same moment, and those of a hundred organizations whenever a call begins; each would wait for all
before it. Instead whoever's turn it is writes the rows of everybody who waits, of all organizations, and nobody is
answered before the transaction that holds his row is committed. An organization whose log somebody else holds at that
moment is passed over: its workers wait for it by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias
from weakref import WeakValueDictionary

import anyio
import structlog

from voxplane.errors import InternalError, Unavailable, VoxplaneError
from voxplane.server.audit import AuditEvent, ChainedEvent, chained
from voxplane.server.database import name_tenant
from voxplane.server.shared_answer import SharedAnswer
from voxplane.server.store import Store, audit_ends

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from uuid import UUID

    from voxplane.schemas import JsonObject
    from voxplane.server.auth import Principal
    from voxplane.server.database import Database
    from voxplane.server.store import OfferedAudit
    from voxplane.server.write import Unsealed

log = structlog.get_logger("voxplane")

_Outcome: TypeAlias = "Literal['recorded', 'passed over'] | VoxplaneError"


@dataclass(eq=False)
class _Release:
    """One row to be written, and what became of it."""

    principal: Principal
    audit_key: bytes
    target: str
    detail: JsonObject
    outcome: _Outcome | None = None


@dataclass(eq=False)
class _Queue:
    """Those who wait for one organization's log."""

    waiting: list[_Release] = field(default_factory=list["_Release"])
    writing: SharedAnswer[None] = field(default_factory=SharedAnswer[None])


_Write: TypeAlias = "Callable[[list[_Release]], Awaitable[list[_Release]]]"
"""Write the rows of a batch, and return those that were passed over."""


class Releases:
    """The record of what workers got."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        """Write to this database."""
        self._database = database
        self._clock = clock
        self._everybody = _Queue()
        self._queues: WeakValueDictionary[UUID, _Queue] = WeakValueDictionary()

    async def record(self, principal: Principal, unsealed: Unsealed, target: str, detail: JsonObject) -> None:
        """Return once it is on record that the principal gets what `detail` names; no value of a secret is in it.

        Raises:
            Unavailable: it could not be put on record, so nothing may be given out.
            OrganizationNotFound: the organization is gone.
        """
        release = _Release(principal, unsealed.audit_key, target, detail)
        if principal.tenant not in self._queues:
            await _wait(self._everybody, release, self._write_together)
        else:
            release.outcome = "passed over"
        if release.outcome == "passed over":
            queue = self._queues.setdefault(principal.tenant, _Queue())
            release.outcome = None
            await _wait(queue, release, self._write_alone)
        if isinstance(release.outcome, VoxplaneError):
            raise release.outcome

    async def _write_together(self, batch: list[_Release]) -> list[_Release]:
        by_organization: dict[UUID, list[_Release]] = {}
        for release in batch:
            by_organization.setdefault(release.principal.tenant, []).append(release)
        offered: dict[UUID, OfferedAudit] = {}
        try:
            async with self._database.transaction(platform=True, is_piped=True) as connection:
                ends = await audit_ends(connection, [*by_organization])
                for organization_id, end in ends.items():
                    await name_tenant(connection, organization_id=organization_id)
                    rows = self._rows(by_organization[organization_id], *end)
                    offered[organization_id] = await Store(connection, organization_id).offer_audit(rows)
        except VoxplaneError:
            if len(by_organization) == 1:
                raise
            # What one of them brought on is nothing to the others.
            return batch
        written = {organization_id for organization_id, rows in offered.items() if rows.stands}
        return [each for each in batch if each.principal.tenant not in written]

    async def _write_alone(self, batch: list[_Release]) -> list[_Release]:
        organization_id = batch[0].principal.tenant
        async with self._database.transaction(organization_id=organization_id) as connection:
            store = Store(connection, organization_id)
            await store.append_audit(self._rows(batch, *await store.audit_head()))
        return []

    def _rows(self, batch: list[_Release], seq: int, head: bytes) -> list[ChainedEvent]:
        at = self._clock()
        events = [
            AuditEvent(
                organization_id=release.principal.tenant,
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
        return chained(batch[0].audit_key, head, events)


async def _wait(queue: _Queue, release: _Release, write: _Write) -> None:
    """Wait until a batch with the release in it is through: one's own, or that of somebody who was there before."""
    queue.waiting.append(release)
    while release.outcome is None:
        await queue.writing.ask(lambda: _write_waiting(queue, write))


async def _write_waiting(queue: _Queue, write: _Write) -> None:
    batch, queue.waiting = queue.waiting, []
    if not batch:
        return
    passed_over: list[_Release] = []
    outcome: _Outcome = Unavailable()
    try:
        # Others wait for this transaction too: it goes on when the one who began it is gone.
        with anyio.CancelScope(shield=True):
            passed_over = await write(batch)
        outcome = "recorded"
    except InternalError as found:
        # A right or a table that is lost. Workers go on with what they have; who operates this finds out why here.
        log.error("releases cannot be put on record", cause=type(found.__cause__).__name__)  # noqa: TRY400 - its text can hold row values
        outcome = Unavailable("What is given out cannot be put on record, so nothing is.")
    except VoxplaneError as found:
        outcome = found
    finally:
        for release in batch:
            release.outcome = outcome
        for release in passed_over:
            release.outcome = "passed over"

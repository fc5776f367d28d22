"""Refusals on record: who asked for what he may not do.

A refusal is written to the audit log in a transaction of its own, after the request has come to nothing. Nobody may
fill the log or keep the database busy with it: of one caller a hundred a minute are written one by one, and the rest
is counted; and of all callers of this process a few are written at a time, while others wait for their turn, as long as
these are not too many. What is only counted is on record when its minute is over, or the process ends. What cannot be
written is still refused.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import anyio
import structlog

from voxplane.errors import VoxplaneError
from voxplane.server.audit import AuditEvent, chained
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
_MINUTE_SECONDS = 60.0
_PER_MINUTE = 100
_AT_A_TIME = 4
_WAITING = 100
_LAST_SECONDS = 5.0
_REMEMBERED = 10_000
_COLLAPSED = "denials.collapsed"


@dataclass(eq=False)
class _Minute:
    principal: Principal
    began: float
    recorded: int = 0
    passed_over: int = 0


class Denials:
    """The record of what was refused."""

    def __init__(
        self,
        database: Database,
        unsealed: Unsealed | None,
        clock: Callable[[], datetime],
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        """Write to this database, unless it is sealed; `elapsed` are seconds on any clock that only goes forward."""
        self._database = database
        self._unsealed = unsealed
        self._clock = clock
        self._elapsed = elapsed
        self._minutes: OrderedDict[tuple[UUID, str], _Minute] = OrderedDict()
        self._turns = anyio.Semaphore(_AT_A_TIME)
        self._under_way = 0

    async def record(self, principal: Principal, action: str, target: str, reason: str) -> None:
        """Put on record that the principal was refused an action; `reason` is the error's code."""
        if self._unsealed is None or principal.organization_id is None:
            return  # nothing can be written, or it is in no organization's log
        key = (principal.organization_id, principal.subject)
        minute, over = self._minutes.get(key), list[_Minute]()
        if minute is not None and self._is_over(minute):
            over.append(self._minutes.pop(key))
            minute = None
        if minute is None:
            minute = self._minutes[key] = _Minute(principal, self._elapsed())
            if len(self._minutes) > _REMEMBERED:
                over.append(self._minutes.popitem(last=False)[1])
        # All of this one is decided before anything is waited for: many are refused at one moment.
        is_counted = minute.recorded >= _PER_MINUTE or self._under_way >= _WAITING
        if is_counted:
            minute.passed_over += 1
        else:
            minute.recorded += 1
        for each in over:
            await self._end(each)
        if not is_counted:
            await self._write(principal, action, target, {"reason": reason})

    async def settle(self) -> None:
        """Put on record how many refusals were only counted, of the minutes that are over, and forget these."""
        for key in [key for key, minute in self._minutes.items() if self._is_over(minute)]:
            await self._end(self._minutes.pop(key))

    async def end(self) -> None:
        """Put on record how many refusals were only counted so far, of all minutes; for the end of the process."""
        with anyio.move_on_after(_LAST_SECONDS, shield=True):
            while self._minutes:
                await self._end(self._minutes.popitem()[1])

    async def settle_regularly(self) -> None:
        """Settle for as long as the caller lets it."""
        while True:
            await anyio.sleep(_MINUTE_SECONDS)
            await self.settle()

    def _is_over(self, minute: _Minute) -> bool:
        return self._elapsed() - minute.began >= _MINUTE_SECONDS

    async def _end(self, minute: _Minute) -> None:
        if minute.passed_over:
            await self._write(minute.principal, _COLLAPSED, "", {"count": minute.passed_over})

    async def _write(self, principal: Principal, action: str, target: str, detail: JsonObject) -> None:
        self._under_way += 1
        try:
            async with self._turns, self._database.transaction(organization_id=principal.tenant) as connection:
                store = Store(connection, principal.tenant)
                seq, head = await store.audit_head()
                event = AuditEvent(
                    organization_id=principal.tenant,
                    seq=seq + 1,
                    at=self._clock(),
                    actor=principal.subject,
                    action=action,
                    target=target,
                    outcome="denied",
                    request_id=principal.request_id,
                    detail=detail,
                )
                assert self._unsealed is not None  # noqa: S101 - nothing is counted without it
                await store.append_audit(chained(self._unsealed.audit_key, head, [event]))
        except VoxplaneError as error:
            log.warning("a refusal is not on record", reason=error.code)
        finally:
            self._under_way -= 1

"""How often an organization may have vendors asked: so many times within any minute, counted by each process.

And how much of it at a time: its vendors may be servers of its own that keep this process busy.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

_MINUTE_SECONDS = 60.0
_AT_A_TIME = 2


class Allowance:
    """Counts what was done for organizations within the last minute, and keeps nothing that is older."""

    def __init__(self, per_minute: int, timer: Callable[[], float] = monotonic) -> None:
        """Allow so much to each of them; `timer` tells seconds."""
        self.per_minute = per_minute
        self.timer = timer
        self._recent: OrderedDict[UUID, deque[float]] = OrderedDict()
        self._turns: WeakValueDictionary[UUID, anyio.Semaphore] = WeakValueDictionary()

    def take(self, organization_id: UUID) -> float:
        """Count one more, unless there were too many: then return after how many seconds there may be another."""
        now = self.timer()
        self._forget(now - _MINUTE_SECONDS)
        recent = self._recent.setdefault(organization_id, deque())
        while recent and recent[0] <= now - _MINUTE_SECONDS:
            recent.popleft()
        if len(recent) >= self.per_minute:
            return recent[0] + _MINUTE_SECONDS - now
        recent.append(now)
        self._recent.move_to_end(organization_id)
        return 0

    def turn(self, organization_id: UUID) -> anyio.Semaphore:
        """Return what to hold while vendors are asked: two hold an organization's at a time, others wait."""
        return self._turns.setdefault(organization_id, anyio.Semaphore(_AT_A_TIME))

    def _forget(self, before: float) -> None:
        """Let go of those of whom nothing was counted since: they stand first."""
        while self._recent:
            organization_id, recent = next(iter(self._recent.items()))
            if recent and recent[-1] > before:
                return
            del self._recent[organization_id]

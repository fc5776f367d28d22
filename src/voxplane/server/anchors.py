"""Anchors that the service keeps by itself: signed lines that say where all audit logs stand, added as these grow.

At start the logs are held against the newest anchors in the file, and before that nothing is added: an older database
would be signed for. What is added then names the organizations whose log grew since, and now and again all of them, so
that nobody has to read far back. What was anchored, by whichever instance, is never taken back: of a log that ends
before it, anchors go on to say how far it once went.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeVar

import anyio
import structlog
from anyio import CapacityLimiter, to_thread

from voxplane.errors import VoxplaneError
from voxplane.server import anchor_file, audit_check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from uuid import UUID

    from voxplane.schemas.audit import AuditAnchor
    from voxplane.server.audit_check import Heads
    from voxplane.server.audit_log import AuditLog

T = TypeVar("T")

log = structlog.get_logger("voxplane")
_WHOLE_EVERY = timedelta(hours=1)
_FILE_SECONDS = 10.0
_LAST_SECONDS = 5.0


class Anchors:
    """Adds anchors to a file while the service runs, and when it ends."""

    def __init__(
        self,
        audit: AuditLog,
        path: Path | None,
        *,
        every_seconds: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Keep them in this file, or nowhere; with 0 seconds those that are there are looked at, and none is added."""
        self._audit = audit
        self._path = None if audit.is_sealed else path
        self._every_seconds = every_seconds
        self._clock = clock
        self._anchored: Heads = {}
        self._is_held = False
        self._seen: tuple[int, int] | None = None
        self._whole_at: datetime | None = None
        self._behind: set[UUID] = set()
        # A disk that does not answer holds one thread, not all of them.
        self._turn = CapacityLimiter(1)
        self.is_failing = False
        """Whether the last anchor could not be made."""

    @property
    def is_behind(self) -> bool:
        """Whether an audit log was found to end before what was anchored, since the process began."""
        return bool(self._behind)

    @property
    def state(self) -> Literal["off", "kept", "failing", "behind"]:
        """What health says of them."""
        if self.is_behind:
            return "behind"
        if self._path is None or not self._every_seconds:
            return "off"
        return "failing" if self.is_failing else "kept"

    async def keep(self) -> None:
        """Hold the logs against what was anchored, and add to it for as long as the caller lets it."""
        await self.look()
        while self._path is not None and self._every_seconds:
            await self.add()
            await anyio.sleep(self._every_seconds)

    async def end(self) -> None:
        """Add the last anchor of this process, within a few seconds."""
        with anyio.move_on_after(_LAST_SECONDS, shield=True):
            await self.add(is_last=True)

    async def look(self) -> None:
        """Say in the log whether the logs reach what was last anchored.

        That they do not is no reason not to serve: a backup may have been put back on purpose.
        """
        if self._path is None:
            return
        try:
            await self._look(self._path)
        except (VoxplaneError, TimeoutError) as error:
            log.warning("the audit log was not held against an anchor", reason=_reason(error))

    async def _look(self, path: Path) -> None:
        if path != anchor_file.STANDARD_OUTPUT:
            newest = await self._newest(path)
            if newest is None:
                log.warning("the audit log was not held against an anchor", reason="There is none in the file yet.")
            else:
                self._hold(await self._audit.ends(self._anchored))
                if not self.is_behind:
                    log.info("the audit log reaches its newest anchor", anchored_at=newest.at.isoformat())
        self._is_held = True

    async def add(self, *, is_last: bool = False) -> None:
        """Add an anchor if a log grew since the last one. That it fails is said; the next one makes up for it.

        It is left to another instance that did so shortly before, unless it is the last one of this process.
        """
        if self._path is None or not self._every_seconds:
            return
        try:
            if not self._is_held:
                await self._look(self._path)
            await self._add(self._path, is_last=is_last)
        except (VoxplaneError, TimeoutError) as error:
            if not self.is_failing:
                log.error("no anchor of the audit log is written", reason=_reason(error))  # noqa: TRY400 - the reason says it
            self.is_failing = True
            return
        if self.is_failing:
            log.info("anchors of the audit log are written again")
        self.is_failing = False

    async def _add(self, path: Path, *, is_last: bool) -> None:
        seen = await self._audit.state()
        if seen == self._seen:
            return
        at = self._clock()
        newest = None if path == anchor_file.STANDARD_OUTPUT else await self._newest(path)
        # By what was signed, not by the file's own time: anybody who may add to it could hold that back for ever.
        if newest and not is_last and timedelta(0) <= at - newest.at < timedelta(seconds=self._every_seconds / 2):
            return
        now = await self._audit.heads()
        self._hold(now)
        grown = {each: head for each, head in now.items() if head[0] > self._anchored.get(each, (0, ""))[0]}
        if grown:
            is_whole = self._whole_at is None or at - self._whole_at >= _WHOLE_EVERY
            heads = self._anchored | grown

            def write() -> None:
                anchor = self._audit.sign(at, heads if is_whole else grown, is_whole=is_whole)
                anchor_file.add(path, anchor.model_dump_json(by_alias=True))

            await self._in_thread(write)
            self._anchored = heads
            self._whole_at = at if is_whole else self._whole_at
        self._seen = seen

    async def _newest(self, path: Path) -> AuditAnchor | None:
        """Return what the newest anchors of the file say, and never let go of it: other instances add them too."""
        newest = await self._in_thread(lambda: self._audit.newest_anchor(path))
        if newest is not None:
            self._anchored = audit_check.furthest(self._anchored, newest.heads)
        return newest

    async def _in_thread(self, work: Callable[[], T]) -> T:
        with anyio.fail_after(_FILE_SECONDS):
            return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._turn)

    def _hold(self, now: Heads) -> None:
        found = set(audit_check.behind(self._anchored, now))
        if found - self._behind:
            log.error(
                "the audit log ends before its newest anchor: its end was cut off, or this database is an older one",
                organizations=len(found),
                of=len(self._anchored),
            )
        self._behind |= found


def _reason(error: VoxplaneError | TimeoutError) -> str:
    return error.message if isinstance(error, VoxplaneError) else "The file does not answer in time."

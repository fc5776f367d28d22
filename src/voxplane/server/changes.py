"""What changed, as far as this process knows: its own writes at once, those of others by PostgreSQL's NOTIFY.

A notification is a doorbell: it names an organization, a revision and the providers that changed, never data. Whoever
keeps something that was read asks here whether it still holds; while the line to PostgreSQL is down or unproven the
answer is no. Whoever follows an organization subscribes: it is told where the organization stands now, not every step
on the way there. What a lost notification would have said is found by looking, after every new line and every
15 seconds.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

import anyio
import structlog

from voxplane.errors import RateLimited, VoxplaneError
from voxplane.server import store
from voxplane.server.position import read_revision

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from voxplane.server.database import Database
    from voxplane.server.position import Position

_ECHO_SECONDS = 5.0
_LOOK_SECONDS = 15.0
_RETRY_SECONDS = 0.5
_RETRY_AT_MOST_SECONDS = 30.0
_REMEMBERED = 100_000

log = structlog.get_logger("voxplane")


@dataclass
class News:
    """What a subscriber has not been told yet. Newer news takes the place of older, so it never grows."""

    revision: int | None = None
    """The revision that the organization is at; None when it is not known to have moved."""
    keys: set[str] | None = field(default_factory=set[str])
    """The providers that changed; None when it may be any."""
    health: set[str] = field(default_factory=set[str])
    """The providers that workers reported on."""
    epoch: str | None = None
    """The organization's epoch, when that was looked up: then the revision is what stands, or newer."""


class Subscription:
    """One follower of one organization."""

    def __init__(self) -> None:
        self._news = News()
        # Hundreds wait at once, and are told at once: anyio's cost four times as much.
        self._arrived = asyncio.Event()
        self.has_ended = False
        """Whether this process is about to stop."""

    async def wait(self, timeout_seconds: float) -> None:
        """Wait for something to be told, or for the time to pass.

        What arrives from then on wakes whoever waits next, also if it was taken already: a follower's token, which is
        looked at in between, may have been revoked after it was read.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._arrived.wait()
        self._arrived.clear()

    def take(self) -> News:
        """Return what is to be told; there may be nothing in it."""
        news, self._news = self._news, News()
        return news

    def tell(self, revision: int | None, keys: set[str] | None, health: set[str], epoch: str | None = None) -> None:
        """Add to what is to be told."""
        news = self._news
        if revision is not None:
            news.revision = revision if epoch is not None else max(revision, news.revision or 0)
        news.keys = None if keys is None or news.keys is None else news.keys | keys
        news.health |= health
        news.epoch = epoch or news.epoch
        self._arrived.set()

    def end(self) -> None:
        """Have the follower leave."""
        self.has_ended = True
        self._arrived.set()


class Changes:
    """Marks in time, to ask later whether an organization changed since; and subscriptions, to be told."""

    def __init__(self, *, catalogue: str = "", max_subscriptions: int = 1000) -> None:
        """Let one organization be followed by at most `max_subscriptions`; `catalogue` is this process's digest."""
        self._catalogue = catalogue
        self._mark = 0
        self._changed: dict[UUID, int] = {}
        self._valid_from = 0
        self._subscriptions: dict[UUID, set[Subscription]] = {}
        self._max_subscriptions = max_subscriptions
        self._positions: dict[UUID, Position] = {}
        self._has_ended = False
        self._look_is_due = anyio.Event()
        self._on_doubt: list[Callable[[], None]] = []
        self._on_revocation: list[Callable[[], None]] = []
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

    def on_doubt(self, forget: Callable[[], None]) -> None:
        """Have `forget` called whenever nothing that was read until then is vouched for any longer."""
        self._on_doubt.append(forget)

    def on_revocation(self, forget: Callable[[], None]) -> None:
        """Have `forget` called whenever a token was revoked, also by another process."""
        self._on_revocation.append(forget)

    @contextmanager
    def subscribe(self, organization_id: UUID) -> Generator[Subscription]:
        """Follow an organization. Subscribe before reading it, so that nothing falls in between.

        Raises:
            RateLimited: it is followed by as many as may be.
        """
        followers = self._subscriptions.setdefault(organization_id, set())
        if len(followers) >= self._max_subscriptions:
            raise RateLimited(f"An organization is followed by at most {self._max_subscriptions} at a time.")
        subscription = Subscription()
        if self._has_ended:
            subscription.end()
        followers.add(subscription)
        try:
            yield subscription
        finally:
            followers.discard(subscription)
            if not followers and self._subscriptions.get(organization_id) is followers:
                del self._subscriptions[organization_id]

    def wake(self, organization_id: UUID) -> None:
        """Wake an organization's subscribers with nothing to tell: whether they still may follow is asked then."""
        for subscription in self._subscriptions.get(organization_id, ()):
            subscription.tell(None, set(), set())

    def end(self) -> None:
        """Have all subscribers leave, and whoever still comes: this process is about to stop."""
        self._has_ended = True
        for followers in list(self._subscriptions.values()):
            for subscription in followers:
                subscription.end()

    def _forget(self) -> None:
        """Let go of everything: nothing that was read until now is vouched for any longer."""
        self._mark += 1
        self._valid_from = self._mark
        self._changed.clear()
        for forget in self._on_doubt:
            forget()

    def _hear(self, payload: str) -> None:
        """Take a notification. Any role of the database may send one, so it can say anything."""
        name, _, rest = payload.partition(":")
        what, _, keys = rest.partition(":")
        try:
            organization_id = UUID(name)
        except ValueError:
            # It is of no one organization, such as the end of a fleet's token: everybody is asked again.
            self._forget()
            for followed in list(self._subscriptions):
                self.wake(followed)
            return
        self.note(organization_id)
        if what == "tokens":
            for forget in self._on_revocation:
                forget()
            self.wake(organization_id)
            return
        changed, revision = {key for key in keys.split(",") if key}, read_revision(what)
        for subscription in self._subscriptions.get(organization_id, ()):
            if what == "health":
                subscription.tell(None, set(), changed)
            elif revision is not None:
                subscription.tell(revision, changed, set())

    async def follow(self, database: Database) -> None:
        """Listen, and look now and then, for as long as the caller lets it; reconnect when the line breaks."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._look_again, database)
            await self._listen(database)

    async def _listen(self, database: Database) -> None:
        delay = _RETRY_SECONDS
        while True:
            try:
                async with aclosing(database.notifications("voxplane", echo_seconds=_ECHO_SECONDS)) as payloads:
                    async for payload in payloads:
                        if payload is None:
                            self._forget()  # a new line: what was sent before it is lost
                            self.is_live, delay = True, _RETRY_SECONDS
                            self._look_is_due.set()
                        else:
                            self._hear(payload)
            except VoxplaneError:
                log.warning("change feed lost", retry_seconds=delay)
            finally:
                self.is_live = False
            await anyio.sleep(delay)
            delay = min(2 * delay, _RETRY_AT_MOST_SECONDS)

    async def _look_again(self, database: Database) -> None:
        """Look now and then, and at once after a new line, beside whatever is heard on it meanwhile."""
        seconds = _LOOK_SECONDS
        while True:
            with anyio.move_on_after(seconds):
                await self._look_is_due.wait()
            self._look_is_due, seconds = anyio.Event(), _LOOK_SECONDS
            try:
                await self._look(database)
            except VoxplaneError:
                seconds = _RETRY_SECONDS
                log.warning("change feed could not look", retry_seconds=seconds)

    async def _look(self, database: Database) -> None:
        """Tell every subscriber where its organization stands, whatever was or was not heard."""
        followed, mark = list(self._subscriptions), self.mark()
        if not followed:
            return
        async with database.transaction(platform=True) as connection:
            found = await store.positions(connection, followed, self._catalogue)
        before, self._positions = self._positions, found
        for organization_id, at in found.items():
            is_newest = (
                max(self._valid_from, self._changed.get(organization_id, 0)) <= mark
            )  # else it may have moved on meanwhile
            if before.get(organization_id) != at:
                self.note(organization_id)
            for subscription in self._subscriptions.get(organization_id, ()):
                subscription.tell(at.revision, None, set(), at.epoch if is_newest else None)

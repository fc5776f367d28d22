"""One answer for all who ask at one moment: one of them works it out, and the others wait for what it brings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

from voxplane.errors import VoxplaneError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


@dataclass(eq=False)
class _Round(Generic[T]):
    """One time that it is worked out."""

    number: int
    over: anyio.Event = field(default_factory=anyio.Event)
    found: tuple[T] | VoxplaneError | None = None
    """None while it is under way, and for good when whoever worked it out left."""

    def serves(self, wanted: int) -> bool:
        """Whether it brought something to whom a round of this number or a later one is for."""
        return self.number >= wanted and self.found is not None


class SharedAnswer(Generic[T]):
    """What is worked out once for everybody who asked before that began; or why it could not be.

    All who waited go on in one pass of the event loop. A lock would wake them one by one, a pass each: with a thousand
    requests under way that is seconds.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._latest: _Round[T] = _Round(0)
        self._latest.over.set()

    async def ask(self, work: Callable[[], Awaitable[T]], kept: Callable[[], T | None] = lambda: None) -> T:
        """Return what `work` brings: one's own, or another's that began after this was called.

        Or what was `kept`, by whoever began before and for as long as that may be vouched for.

        Raises:
            VoxplaneError: what the work raised; all whom it was for are told.
        """
        wanted = self._latest.number + 1
        while (answer := kept()) is None:
            latest = self._latest
            if latest.over.is_set() and not latest.serves(wanted):
                return await self._work(work)
            await latest.over.wait()
            # The next one may have begun by now: whoever has an answer must not wait for that too.
            if not latest.serves(wanted):
                continue
            if isinstance(latest.found, VoxplaneError):
                raise latest.found
            assert latest.found is not None  # noqa: S101 - it serves
            return latest.found[0]
        return answer

    async def _work(self, work: Callable[[], Awaitable[T]]) -> T:
        begun = self._latest = _Round[T](self._latest.number + 1)
        try:
            found = await work()
            begun.found = (found,)
        except VoxplaneError as error:
            begun.found = error
            raise
        finally:
            begun.over.set()
        return found

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


class SharedAnswer(Generic[T]):
    """What is worked out once for everybody who asked before that began; or why it could not be.

    All who waited go on in one pass of the event loop. A lock would wake them one by one, a pass each: with a thousand
    requests under way that is seconds.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._begun = 0
        self._under_way: _Round[T] | None = None

    async def ask(self, work: Callable[[], Awaitable[T]], kept: Callable[[], T | None] = lambda: None) -> T:
        """Return what `work` brings: one's own, or another's that began after this was called.

        Or what was `kept`, by whoever began before and for as long as that may be vouched for.

        Raises:
            VoxplaneError: what the work raised; all whom it was for are told.
        """
        wanted = self._begun + 1
        while (answer := kept()) is None:
            under_way = self._under_way
            if under_way is None:
                return await self._work(work)
            await under_way.over.wait()
            # The next round may have begun by now: whoever has an answer must not wait for that one too.
            if under_way.number < wanted or under_way.found is None:
                continue
            if isinstance(under_way.found, VoxplaneError):
                raise under_way.found
            return under_way.found[0]
        return answer

    async def _work(self, work: Callable[[], Awaitable[T]]) -> T:
        self._begun += 1
        begun = self._under_way = _Round[T](self._begun)
        try:
            found = await work()
            begun.found = (found,)
        except VoxplaneError as error:
            begun.found = error
            raise
        finally:
            self._under_way = None
            begun.over.set()
        return found

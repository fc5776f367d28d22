"""One answer for all who ask at one moment: one of them works it out, and the others wait for what it brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

from voxplane.errors import VoxplaneError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class SharedAnswer(Generic[T]):
    """What is worked out once for everybody who asked before that began; or why it could not be.

    All who waited go on in one pass of the event loop. A lock would wake them one by one, a pass each: with a thousand
    requests under way that is seconds.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._begun = 0
        self._over: anyio.Event | None = None
        self._found: tuple[T] | VoxplaneError | None = None

    async def ask(self, work: Callable[[], Awaitable[T]], kept: Callable[[], T | None] = lambda: None) -> T:
        """Return what `work` brings: one's own, or another's that began after this was called.

        Or what was `kept`, by whoever began before and for as long as that may be vouched for.

        Raises:
            VoxplaneError: what the work raised; all whom it was for are told.
        """
        wanted = self._begun + 1
        while (answer := kept()) is None:
            if self._over is not None:
                await self._over.wait()
            elif self._begun < wanted or self._found is None:
                await self._work(work)
            elif isinstance(self._found, VoxplaneError):
                raise self._found
            else:
                return self._found[0]
        return answer

    async def _work(self, work: Callable[[], Awaitable[T]]) -> None:
        self._begun, self._found = self._begun + 1, None
        over = self._over = anyio.Event()
        try:
            self._found = (await work(),)
        except VoxplaneError as error:
            self._found = error
        finally:
            self._over = None
            over.set()

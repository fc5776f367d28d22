"""A turn: of many who want the same thing at one moment, one goes, and the others wait for what it brings."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Turn:
    """Who goes, of all who want one thing.

    while (found := self._kept()) is None:
        async with turn.take() as is_mine:
            if is_mine:
                await self._fetch()

    Those who waited all go on in one pass of the event loop. A lock would wake them one by one, a pass each:
    with a thousand requests under way that is seconds.
    """

    def __init__(self) -> None:
        """Begin with nobody's."""
        self._over: anyio.Event | None = None

    @asynccontextmanager
    async def take(self) -> AsyncGenerator[bool]:
        """Take the turn, or wait until whoever has it is done, whatever came of it; say which of the two it was."""
        if self._over is not None:
            await self._over.wait()
            yield False
            return
        over = self._over = anyio.Event()
        try:
            yield True
        finally:
            self._over = None
            over.set()

"""A few requests let in at a time, so that those who came first are not held up by those who come after them.

The event loop goes round by round. Where a hundred workers ask at one moment, all of them would be let in within one
round, and each step of the first, such as an answer of the database, would wait until all others had theirs: everybody
is answered when the last one is. Let in a few each round, the first are answered while the last still wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_A_ROUND = 3


class Admission:
    """ASGI middleware that begins with so many requests of the API in a round of the event loop."""

    def __init__(self, app: ASGIApp) -> None:
        """Let requests in to this application."""
        self._app = app
        self._let_in = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, when it is its turn; what is not the API, such as a look whether all is well, at once."""
        if not scope.get("path", "").startswith("/api/"):
            await self._app(scope, receive, send)
            return
        if self._let_in == 0:
            asyncio.get_running_loop().call_soon(self._next_round)
        if self._let_in < _A_ROUND:
            self._let_in += 1
        else:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        await self._app(scope, receive, send)

    def _next_round(self) -> None:
        self._let_in = 0
        while self._waiting and self._let_in < _A_ROUND:
            turn = self._waiting.popleft()
            if not turn.done():  # else who waited is gone
                turn.set_result(None)
                self._let_in += 1
        if self._let_in:
            asyncio.get_running_loop().call_soon(self._next_round)

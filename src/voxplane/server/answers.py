"""Answers that were given a moment ago and still hold, given again without asking the database.

An answer is kept under the exact path, query and Authorization header that it was given to, for what is left of the
few seconds that a checked token is trusted, and only until its organization changes. Writes are never kept, and
neither is anything while the change feed is down.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from voxplane.server.changes import Changes

Key = tuple[bytes, bytes, bytes]
_WHOLE = 2  # the messages of an answer in one piece: its start and its body
_BESIDE = 3 * 1024  # what Python's objects around one answer weigh, headers and all


@dataclass(frozen=True, slots=True)
class _Answer:
    start: Message
    body: Message
    route: object
    organization_id: UUID
    since: int
    until: float


class RecentAnswers:
    """ASGI middleware that answers a repeated GET of the API from memory while the answer holds."""

    def __init__(self, app: ASGIApp, *, changes: Changes, max_bytes: int) -> None:
        """Keep answers in about `max_bytes` of memory; the least recently used go first."""
        self._app = app
        self._changes = changes
        self._max_bytes = max_bytes
        self._answers: OrderedDict[Key, _Answer] = OrderedDict()
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        key = self._key(scope)
        if key is None:
            await self._app(scope, receive, send)
            return
        answer = self._answers.get(key)
        if answer is not None and self._holds(answer):
            self._answers.move_to_end(key)
            scope["route"] = answer.route
            await send({**answer.start, "headers": list(answer.start["headers"])})
            await send(answer.body)
            return
        await self._ask(key, scope, receive, send)

    def _key(self, scope: Scope) -> Key | None:
        """Return what tells this request from others, or None for one whose answer is never kept."""
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith("/api/org"):
            return None
        if scope["path"].endswith("/audit"):
            return None  # it grows without a change of the organization, with each release to a worker
        headers = scope["headers"]
        authorization = [value for name, value in headers if name == b"authorization"]
        if len(authorization) != 1 or any(name == b"if-none-match" for name, _ in headers):
            return None
        return (scope["raw_path"], scope["query_string"], authorization[0])

    def _holds(self, answer: _Answer) -> bool:
        return answer.until > monotonic() and self._changes.is_unchanged(answer.organization_id, answer.since)

    async def _ask(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        since = self._changes.mark()
        messages: list[Message] = []

        async def overheard(message: Message) -> None:
            if len(messages) <= _WHOLE:  # more are a stream, and that is not kept
                messages.append({**message, "headers": list(message["headers"])} if "headers" in message else message)
            await send(message)

        await self._app(scope, receive, overheard)
        organization_id = scope["state"].get("organization_id")
        if organization_id is None or len(messages) != _WHOLE:
            return
        start, body = messages
        if start["status"] != 200 or body.get("more_body", False):  # noqa: PLR2004 - OK; a stream that was left is not
            return
        until = scope["state"]["trusted_until"]
        self._keep(key, _Answer(start, body, scope.get("route"), organization_id, since, until))

    def _keep(self, key: Key, answer: _Answer) -> None:
        replaced = self._answers.pop(key, None)
        if replaced is not None:
            self._bytes -= _size(key, replaced)
        self._bytes += _size(key, answer)
        self._answers[key] = answer
        while self._bytes > self._max_bytes:
            self._bytes -= _size(*self._answers.popitem(last=False))


def _size(key: Key, answer: _Answer) -> int:
    """Return the bytes that an answer takes. The caller writes the key, and can make it longer than any body."""
    return _BESIDE + sum(len(part) for part in key) + len(answer.body["body"])

"""Answers that are given again from memory: how much memory that is."""

from __future__ import annotations

import tracemalloc
from time import monotonic
from uuid import UUID, uuid4

import pytest
from starlette.types import Message, Receive, Scope, Send

from voxplane.server.answers import RecentAnswers
from voxplane.server.changes import Changes

MAX_BYTES = 2_000_000


class Caller:
    """One organization's caller, behind the cache and in front of an application that always answers the same."""

    def __init__(self, body: bytes) -> None:
        changes = Changes()
        changes.is_live = True
        self._answers = RecentAnswers(self._answer, changes=changes, max_bytes=MAX_BYTES)
        self._body = body
        self._organization: UUID = uuid4()
        self.asked = 0

    async def _answer(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.asked += 1
        scope["state"].update(organization_id=self._organization, trusted_until=monotonic() + 60)
        headers = [(b"content-type", b"application/json"), (b"etag", b'"%d"' % self.asked)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # A body of its own for each answer, as it is when it was written from a model.
        await send({"type": "http.response.body", "body": bytes(bytearray(self._body))})

    async def get(self, authorization: bytes) -> None:
        """Ask once, with this header."""
        scope: Scope = {
            "type": "http",
            "method": "GET",
            "path": "/api/organizations/current/providers",
            "raw_path": b"/api/organizations/current/providers",
            "query_string": b"",
            "headers": [(b"authorization", authorization)],
            "state": {},
        }
        await self._answers(scope, _nothing, _to_nobody)


async def _nothing() -> Message:
    return {"type": "http.request", "body": b""}


async def _to_nobody(_message: Message) -> None:
    pass


@pytest.mark.parametrize(
    ("body_bytes", "header_bytes"), [(20, 60), (20, 30_000), (1_400, 90)], ids=["small", "long headers", "usual"]
)
async def test_the_kept_answers_stay_within_their_memory(body_bytes: int, header_bytes: int) -> None:
    """Whoever holds a token can write its header in thousands of ways, with spaces, and each is a key of its own."""
    caller = Caller(b"x" * body_bytes)
    held: list[int] = []
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(6000):
            await caller.get(b"Bearer %b%d" % (b" " * header_bytes, number))
            if number % 1000 == 999:
                held.append(tracemalloc.get_traced_memory()[0] - before)
    finally:
        tracemalloc.stop()
    assert caller.asked == 6000
    assert max(held) < 1.1 * MAX_BYTES
    # Not by keeping nothing: the last one is answered from memory.
    await caller.get(b"Bearer %b%d" % (b" " * header_bytes, 5999))
    assert caller.asked == 6000


async def test_an_answer_larger_than_all_the_memory_is_not_kept_and_pushes_nothing_over() -> None:
    caller = Caller(b"x" * (MAX_BYTES + 1))
    for _ in range(3):
        await caller.get(b"Bearer one")
    assert caller.asked == 3

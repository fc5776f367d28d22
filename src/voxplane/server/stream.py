"""The stream of an organization's changes, as server-sent events: where it stands, never data.

    id: <epoch>.<revision>      event: change    data: {"revision": 7, "keys": ["openai"]}
                                event: reset     the follower's position is not one of ours: read everything again
                                event: health    data: {"keys": ["openai"]}: what workers report of a provider changed
                                event: heartbeat nothing else was sent for a while
                                event: bye       this process stops: come back, to another one if there is one

`keys` is null when it may be any provider. Before anything is sent the follower's token is looked at again; when it
no longer lets it in, the stream ends; while nobody can tell whether it does, nothing is said.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

from voxplane.errors import Unavailable, VoxplaneError
from voxplane.server.position import Position

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
    from contextlib import ExitStack

    from starlette.types import Receive, Scope, Send

    from voxplane.server.changes import Subscription

MEDIA_TYPE = "text/event-stream"
_RETRY_MILLISECONDS = 1000
_ASK_AGAIN_SECONDS = 1.0


async def events(
    subscription: Subscription,
    at: Position,
    last_event_id: str | None,
    let_in: Callable[[], Awaitable[object]],
    heartbeat_seconds: float,
) -> AsyncIterator[bytes]:
    """Yield the stream. `at` is where the organization stood after subscribing; `let_in` raises to end it."""
    yield f"retry: {_RETRY_MILLISECONDS}\n\n".encode()
    if last_event_id != str(at):
        yield _moved(at, None, kind="change" if _is_behind(last_event_id, at) else "reset")
    seconds = heartbeat_seconds
    while not subscription.has_ended:
        await subscription.wait(seconds)
        try:
            await let_in()
        except Unavailable:
            seconds = _ASK_AGAIN_SECONDS
            continue
        except VoxplaneError:
            return
        seconds = heartbeat_seconds
        news = subscription.take()
        said = b""
        revision = at.revision if news.revision is None else news.revision
        if news.epoch is not None and (news.epoch != at.epoch or revision < at.revision):
            at = Position(news.epoch, revision)
            said = _moved(at, None, kind="reset")
        elif revision > at.revision:
            at = Position(at.epoch, revision)
            said = _moved(at, news.keys)
        if news.health:
            said += _event("health", {"keys": sorted(news.health)})
        yield said or _event("heartbeat", {})
    yield _event("bye", {})


class EventStream(StreamingResponse):
    """A response that lasts until its follower leaves, and lets go of what it holds when it ends."""

    def __init__(self, events: AsyncIterator[bytes], held: ExitStack) -> None:
        """Send `events`; close `held` afterwards, however it ends."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type=MEDIA_TYPE)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        with self._held:
            await super().__call__(scope, receive, send)


def _is_behind(last_event_id: str | None, at: Position) -> bool:
    """Whether a follower's position is one that we can have given out; a new follower has none."""
    if last_event_id is None:
        return True
    before = Position.parse(last_event_id)
    return before is not None and at.reaches(before) and before != at


def _moved(at: Position, keys: Collection[str] | None, *, kind: str = "change") -> bytes:
    body = {"revision": at.revision, "keys": None if keys is None else sorted(keys)}
    return f"id: {at}\n".encode() + _event(kind, body)


def _event(kind: str, body: Mapping[str, object]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(body)}\n\n".encode()

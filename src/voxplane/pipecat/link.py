"""What is known of one provider in a call, and what follows from its failures.

| it answered with                    | it is                                                              |
| ----------------------------------- | ------------------------------------------------------------------ |
| authentication, permission          | dropped: not asked again with this key                             |
| unavailable                         | dropped: what it needs on this machine is not there                |
| quota, rate_limit                   | left to cool: as long as it asks for, or twice as long each time   |
| invalid_request                     | logged as an error, for it is our fault or that of the settings    |
| server, timeout, connectivity       | passed over, and asked again later, or at once if nobody else is   |

A provider whose time has come is asked when the next turn begins. There are no probes: they would cost a request.
"""

# Pipecat leaves type parameters of events and tasks open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pipecat.frames.frames import ErrorFrame, Frame
from pipecat.services.stt_service import STTService
from pipecat.utils.errors import ErrorCategory

from voxplane.failure import (
    DROPS,
    PAUSE_SECONDS,
    Clock,
    Report,
    answered_kind,
    causes,
    own_kind,
    pause_seconds,
    retry_after_seconds,
    tell,
)
from voxplane.pipecat.sockets import keep_straight
from voxplane.plugin import close_each
from voxplane.schemas import FailureKind, ProviderReport

if TYPE_CHECKING:
    from pipecat.processors.frame_processor import FrameProcessor

    from voxplane.resolution import Identity

Frames = tuple[type[Frame], ...]

CONNECT_SECONDS = 5.0
"""How long a service may take to connect."""
_OTHERWISE = (15.0, 300.0)
"""How long a provider is left alone after any other failure."""

_BY_CATEGORY: dict[ErrorCategory | None, FailureKind] = {
    ErrorCategory.AUTHENTICATION: "authentication",
    ErrorCategory.AUTHORIZATION: "permission",
    ErrorCategory.INVALID_REQUEST: "invalid_request",
    ErrorCategory.RATE_LIMIT: "rate_limit",
    ErrorCategory.QUOTA: "quota",
    ErrorCategory.CONNECTIVITY: "connectivity",
    ErrorCategory.SERVER: "server",
}
_BY_FAULT: tuple[tuple[re.Pattern[str], FailureKind], ...] = (
    (re.compile(r"(?i)time ?d?[ -]?out|no audio"), "timeout"),
    (re.compile(r"(?i)connect|reset|close|closing"), "connectivity"),
)
_STATUS = re.compile(r"(?i)\b(?:status|code|http)[\W_]{0,4}(?:code\W{0,4})?([345][0-9]{2})\b")

_log = logging.getLogger("voxplane.pipecat")


class Link:
    """One provider of a chain in one call: a service, and what its failures mean. Only what is new is reported."""

    def __init__(
        self,
        service: FrameProcessor,
        provider: str,
        answers: Frames,
        report: Report,
        clock: Clock,
        *,
        is_failing: bool = False,
    ) -> None:
        """`is_failing` is what is known of it from other calls: its first answer is then reported, too."""
        self.provider = provider
        self.service = service
        self.failure: FailureKind | None = None
        """What kind of failure its last attempt ended in; None while it answers."""
        self.report = report
        self.identity: Identity | None = None
        """What it was made from: as long as that is the same in a chain, it stays."""
        self._answers = answers
        self._clock = clock
        self._is_failing = is_failing
        self._is_dropped = self._rests = False
        self._failures_in_a_row = 0
        self._rests_until = float("-inf")
        self._calls: list[asyncio.Task[None]] = []
        """What opens and closes its connection."""
        self._clients = _clients(service)
        _hurry(service)
        keep_straight(service)
        service.add_event_handler("on_error", self._on_error)
        service.add_event_handler("on_before_push_frame", self._on_push)

    @property
    def is_open(self) -> bool:
        """Whether there is nothing against asking it."""
        return self._is_free and self._clock() >= self._rests_until

    @property
    def may_be_asked(self) -> bool:
        """Whether it may be asked when nobody else can be: it did not ask to be left alone."""
        return self.is_open or (self._is_free and self.failure not in PAUSE_SECONDS)

    @property
    def _is_free(self) -> bool:
        return not self._is_dropped and not (self._rests and any(not task.done() for task in self._calls))

    async def reopen(self) -> None:
        """Let it be asked again."""
        if not self._rests:
            return
        self._rests = False
        await self.service.set_usable(True)
        if isinstance(self.service, STTService):
            # Pipecat gives a connection up after a few failures, and does not look for it by itself.
            self._calls = [self.service.create_task(self.service._reconnect())]  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - there is no public way, and this one keeps what is said meanwhile

    async def close(self) -> None:
        """Close its connections: most services leave their vendor's client open."""
        await close_each([partial(_close, client) for client in self._clients])

    async def _on_error(self, _service: FrameProcessor, error: ErrorFrame) -> None:
        # One failure often has several errors, and a tool's is not the provider's.
        if error.category is ErrorCategory.APPLICATION:
            return
        await self.service.set_usable(False)
        kind, name = classify(error), type(error.exception).__name__
        asked_for = retry_after(error) if kind in PAUSE_SECONDS else None
        # Pipecat logs it next and hands it on. The vendor's own text may hold a part of the key or of the conversation.
        error.error, error.exception = f"{self.provider} failed: {kind}.", None
        if self._rests:
            return
        self._is_failing = self._rests = True
        self._is_dropped = kind in DROPS
        self._rests_until = self._clock() + (
            asked_for or pause_seconds(PAUSE_SECONDS.get(kind, _OTHERWISE), self._failures_in_a_row)
        )
        self._failures_in_a_row += 1
        level = logging.ERROR if kind == "invalid_request" else logging.WARNING
        _log.log(level, "%s failed: %s (%s)", self.provider, kind, name)
        if isinstance(self.service, STTService) and hasattr(self.service, "_disconnect"):
            # Deepgram's would try again and again, and the call not begin meanwhile. It calls from what this ends.
            self._calls.append(self.service.create_task(self.service._disconnect()))  # noqa: SLF001 # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType] - there is no public way
        if kind != self.failure:
            self.failure = kind
            tell(self.report, ProviderReport(provider=self.provider, outcome="failed", kind=kind))

    async def _on_push(self, _service: FrameProcessor, frame: Frame) -> None:
        if not self._is_failing or self._rests or not isinstance(frame, self._answers):
            return
        self.failure = None
        self._is_failing = False
        self._failures_in_a_row = 0
        _log.info("%s answers again", self.provider)
        tell(self.report, ProviderReport(provider=self.provider, outcome="recovered"))


def _hurry(service: FrameProcessor) -> None:
    """Bound how long a service connects: Pipecat waits for it before a call begins, even if it is in reserve."""
    connect: Callable[[], Awaitable[None]] | None = getattr(service, "_connect", None)
    if connect is None:
        return

    async def connect_soon() -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connect()
        except TimeoutError as error:
            await service.push_error("It could not be reached in time.", exception=error)

    setattr(service, "_connect", connect_soon)  # noqa: B010 - no name of FrameProcessor's


async def _close(client: Any) -> None:
    close = getattr(client, "aclose", None) or getattr(client, "close", None)
    closing = close() if close else None
    if inspect.isawaitable(closing):
        await closing


def _clients(service: FrameProcessor) -> list[Any]:
    """Return a vendor's client, and the one that Google's was given and leaves to who gave it."""
    client: Any = getattr(service, "_client", None)
    options: Any = getattr(getattr(client, "_api_client", None), "_http_options", None)
    return [client, getattr(options, "httpx_async_client", None)]


def classify(error: ErrorFrame) -> FailureKind:
    """Say what kind of failure a service reports; Pipecat's own category is often unknown."""
    found = list(causes(error.exception))
    if (own := own_kind(found)) is not None:
        return own
    holders = [holder for cause in found for holder in (cause, getattr(cause, "response", None))]
    # Pipecat often hands on no more than a sentence.
    said = " ".join([error.error, *map(str, found), *(str(getattr(holder, "body", "")) for holder in holders)])
    answered = answered_kind(http_status(found, said), said)
    if answered is not None:
        return answered
    if any(isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__ for cause in found):
        return "timeout"
    if error.category in _BY_CATEGORY:
        return _BY_CATEGORY[error.category]
    return _fault(found, said)


def _fault(found: Sequence[BaseException], said: str) -> FailureKind:
    if any(isinstance(cause, OSError) for cause in found):
        return "connectivity"
    for words, kind in _BY_FAULT:
        if words.search(said):
            return kind
    return "invalid_request" if found else "server"


def http_status(found: Sequence[BaseException], said: str) -> int | None:
    """Return the status that a vendor answered with, from the exceptions or else the sentence."""
    for cause in found:
        for holder in (getattr(cause, "response", None), cause):
            for name in ("status_code", "status", "code"):
                value: object = getattr(holder, name, None)
                if isinstance(value, int) and 300 <= value < 600:  # noqa: PLR2004 - HTTP's redirects, which are refused, and errors
                    return value
    written = _STATUS.search(said)
    return int(written[1]) if written else None


def retry_after(error: ErrorFrame) -> float | None:
    """Return the seconds that a vendor asked us to wait, at most an hour; None without such a header."""
    for cause in causes(error.exception):
        headers: Any = getattr(getattr(cause, "response", None), "headers", None) or {}
        seconds = retry_after_seconds(headers.get("retry-after") or "")
        if seconds is not None:
            return seconds
    return None

"""What is known of one provider in a call, and what follows from its failures.

| it answered with                    | it is                                                              |
| ----------------------------------- | ------------------------------------------------------------------ |
| authentication, permission          | dropped: not asked again with this key                             |
| unavailable                         | dropped: what it needs on this machine is not there                |
| quota, rate_limit                   | left to cool: as long as it asks for, or twice as long each time   |
| invalid_request                     | logged as an error, for it is our fault or that of the settings    |
| server, timeout, connectivity       | passed over, and probed by LiveKit once it has had a moment        |
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError
from livekit.agents.metrics.base import Metadata

from voxplane.failure import (
    DROPS,
    PAUSE_SECONDS,
    Clock,
    Report,
    answered_kind,
    causes,
    own_kind,
    own_sentence,
    pause_seconds,
    retry_after_seconds,
    tell,
)
from voxplane.plugin import close_each
from voxplane.schemas import FailureKind, ProviderReport

if TYPE_CHECKING:
    from livekit import rtc

    from voxplane.resolution import Identity

Links: TypeAlias = "dict[Identity, Link]"
"""What is known of the providers of one call, by what they are."""

PROBE_AFTER_SECONDS = 2.0
"""How long a provider that failed is left in peace before LiveKit may probe it: it would do so at once."""

_PASSING: frozenset[FailureKind] = frozenset({"rate_limit", "server", "timeout", "connectivity"})

_log = logging.getLogger("voxplane.livekit")


class ProviderFailed(APIError):
    """A provider did not answer, or is not asked. LiveKit handles it like an error of its own; the reason is `kind`."""

    def __init__(self, provider: str, kind: FailureKind, message: str, *, retryable: bool) -> None:
        super().__init__(message, retryable=retryable)
        self.provider = provider
        self.kind: FailureKind = kind


class ChainFailed(APIConnectionError):
    """No provider of a chain answered; `failures` says of each why."""

    def __init__(self, links: Sequence[Link]) -> None:
        self.failures = {link.provider: link.failure for link in links if link.failure is not None}
        reasons = ", ".join(f"{provider} ({kind})" for provider, kind in self.failures.items())
        super().__init__(
            f"No provider answered: {reasons}.", retryable=any(kind in _PASSING for kind in self.failures.values())
        )


@dataclass(frozen=True)
class Failure:
    """What an exception of a LiveKit class tells."""

    kind: FailureKind
    status: int | None
    """The HTTP status, if the vendor answered with one."""
    retry_after: float | None
    """The seconds that the vendor asked us to wait."""
    sentence: str = ""
    """What one of our own engines says of it, with a space before it; nothing for a vendor's."""


class Link:
    """One provider of a chain in one call. What happens to it is reported once, not with every turn."""

    def __init__(
        self, provider: str, *, report: Report, clock: Clock = time.monotonic, is_failing: bool = False
    ) -> None:
        """`is_failing` is what is known of it from other calls: its first answer is then reported, too."""
        self.provider = provider
        self.failure: FailureKind | None = None
        """What kind of failure its last attempt ended in; None while it answers."""
        self.report = report
        self._clock = clock
        self._is_failing = is_failing
        self._is_dropped = False
        self._failures_in_a_row = 0
        self._failed_at = self._cooling_until = float("-inf")
        self._seen: tuple[Exception, Failure] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it may be asked at all."""
        return not self._is_dropped and self._clock() >= self._cooling_until

    @property
    def may_be_probed(self) -> bool:
        """Whether LiveKit may try in the background if it answers again."""
        return self.is_open and self._clock() >= self._failed_at + PROBE_AFTER_SECONDS

    def drop(self) -> None:
        """Ask it no more, whatever it answered: its key is no longer this call's."""
        self._is_dropped = True
        self.failure = "authentication"

    def see(self, error: Exception) -> None:
        """Look at an exception where the plugin tells of it: when it is raised once more, it forgets what caused it."""
        self._seen = (error, examine(error))

    @contextmanager
    def attempt(self, *, resumes: bool = False) -> Generator[Callable[[], None]]:
        """Stand around one request; call what this gives as soon as the provider has answered.

        After an answer LiveKit may not repeat the request, unless it `resumes`, as a stream of audio does.

        Raises:
            ProviderFailed: it may not be asked, or it was and something went wrong.
        """
        self._refuse_unless_open()
        started, has_answered = self._clock(), False

        def answered() -> None:
            nonlocal has_answered
            has_answered = True
            # Another request may have failed since this one began; what it found is newer.
            if self._is_failing and not self._is_dropped and started >= self._failed_at:
                self._recovered()

        try:
            yield answered
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            cause = _first(error)
            failure = self._seen[1] if self._seen is not None and self._seen[0] is cause else examine(cause)
            self._failed(failure, type(cause).__name__)
            kind, retryable = failure.kind, failure.kind in _PASSING and (resumes or not has_answered)
            # The vendor's own text may hold a part of the key or of the conversation, so it ends here.
            message = f"{self.provider} failed: {kind}.{failure.sentence}"
            raise ProviderFailed(self.provider, kind, message, retryable=retryable) from None

    def _refuse_unless_open(self) -> None:
        kind = self.failure
        if kind is not None and not self.is_open:
            when = "again in this call" if self._is_dropped else "for the moment"
            message = f"{self.provider} is not asked {when}: {kind}."
            raise ProviderFailed(self.provider, kind, message, retryable=kind in _PASSING)

    def _failed(self, failure: Failure, name: str) -> None:
        kind = failure.kind
        self._seen = None
        self._failed_at = self._clock()
        self._failures_in_a_row += 1
        was_dropped = self._is_dropped  # then this request was under way, and tells nothing more
        self._is_dropped = was_dropped or kind in DROPS
        self._is_failing = True
        if kind in PAUSE_SECONDS:
            seconds = failure.retry_after or pause_seconds(PAUSE_SECONDS[kind], self._failures_in_a_row - 1)
            self._cooling_until = self._failed_at + seconds
        level = logging.ERROR if kind == "invalid_request" else logging.WARNING
        status, said = failure.status, failure.sentence
        _log.log(level, "%s failed: %s (%s, status %s)%s", self.provider, kind, name, status, said)
        if kind != self.failure and not was_dropped:
            self.failure = kind
            tell(self.report, ProviderReport(provider=self.provider, outcome="failed", kind=kind))

    def _recovered(self) -> None:
        self.failure = None
        self._is_failing = False
        self._failures_in_a_row = 0
        self._cooling_until = float("-inf")
        _log.info("%s answers again", self.provider)
        tell(self.report, ProviderReport(provider=self.provider, outcome="recovered"))


def examine(error: BaseException) -> Failure:
    """Say what an exception of a LiveKit class tells, with what caused it."""
    found = list(causes(error))
    status = next((status for cause in found if (status := _status(cause)) is not None), None)
    seconds = next((seconds for cause in found if (seconds := _retry_after(cause)) is not None), None)
    return Failure(_kind(found, status), status, seconds, own_sentence(found))


def _kind(found: Sequence[BaseException], status: int | None) -> FailureKind:
    if (own := own_kind(found)) is not None:
        return own
    answered = answered_kind(status, " ".join(f"{cause} {getattr(cause, 'body', '')}" for cause in found))
    if answered is not None:
        return answered
    if any(isinstance(cause, TimeoutError | APITimeoutError) for cause in found):
        return "timeout"
    # The status of a closed websocket is no HTTP status.
    if any(isinstance(cause, APIConnectionError | APIStatusError | OSError) for cause in found):
        return "connectivity"
    return "server" if isinstance(found[0], APIError) else "invalid_request"


def _status(error: BaseException) -> int | None:
    values: list[object] = [getattr(error, name, None) for name in ("status_code", "status")]
    return next((value for value in values if isinstance(value, int) and 300 <= value < 600), None)  # noqa: PLR2004 - HTTP's


def _retry_after(error: BaseException) -> float | None:
    headers: object = getattr(getattr(error, "response", None) or error, "headers", None)
    if not isinstance(headers, Mapping):
        return None
    return retry_after_seconds(cast("Mapping[str, str]", headers).get("retry-after", ""))


def _first(error: Exception) -> BaseException:
    """Return what went wrong inside a task group."""
    found: BaseException = error
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - its own type is unknown
    return found  # pyright: ignore[reportUnknownVariableType] - as above


class Linked:
    """What stands for a plugin's object: it goes by our provider key, and what happens to it is reported."""

    link: Link
    plugin: Any

    def _stand_for(self, plugin: Any, link: Link, model: str, parts: Sequence[object]) -> None:
        self.link = link
        self.plugin = plugin
        self._label = link.provider
        self._model = model
        self._parts = parts
        plugin.on("metrics_collected", self._forward)
        plugin.on("error", self._see)

    @property
    def model(self) -> str:
        """The model, as the vendor calls it."""
        return self._model

    @property
    def provider(self) -> str:
        """Who answers: plugins of the OpenAI family would name the host that they call."""
        return self.link.provider

    async def _let_go(self) -> None:
        """Close the plugin's object and what was made for it."""
        self.plugin.off("metrics_collected", self._forward)
        self.plugin.off("error", self._see)
        await close_each([self.plugin.aclose, *_closings(self._parts)])

    def _forward(self, metrics: Any) -> None:
        labels = {"label": self.provider, "metadata": Metadata(model_name=self.model, model_provider=self.provider)}
        cast("rtc.EventEmitter[Any]", self).emit("metrics_collected", metrics.model_copy(update=labels))

    def _see(self, event: Any) -> None:
        self.link.see(event.error)


def _closings(parts: Iterable[object]) -> list[Callable[[], Awaitable[object]]]:
    """Return what closes the parts of a plugin, such as its HTTP client: most plugins leave theirs open."""
    found = [getattr(part, "aclose", None) or getattr(part, "close", None) for part in parts]
    return [closing for closing in found if inspect.iscoroutinefunction(closing)]

"""What is known of one provider in a call, and what follows from its failures.

| it answered with                    | it is                                                              |
| ----------------------------------- | ------------------------------------------------------------------ |
| authentication, permission          | dropped: not asked again with this key                             |
| quota, rate_limit                   | left to cool: as long as it asks for, or twice as long each time   |
| invalid_request                     | logged as an error, for it is our fault or that of the settings    |
| server, timeout, connectivity       | passed over, and probed by LiveKit once it has had a moment        |
"""

from __future__ import annotations

import inspect
import logging
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, cast

from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError
from livekit.agents.metrics.base import Metadata

from voxplane.schemas import FailureKind, ProviderReport

Report = Callable[[ProviderReport], None]
Clock = Callable[[], float]

PROBE_AFTER_SECONDS = 2.0
"""How long a provider that failed is left in peace before LiveKit may probe it: it would do so at once."""
COOLING_SECONDS: dict[FailureKind, tuple[float, float]] = {"rate_limit": (2.0, 60.0), "quota": (60.0, 600.0)}
"""How long a provider is not asked after its first failure of this kind, and how long at most after many in a row."""
LONGEST_RETRY_AFTER_SECONDS = 3600.0

_DROPS: frozenset[FailureKind] = frozenset({"authentication", "permission"})
_PASSING: frozenset[FailureKind] = frozenset({"rate_limit", "server", "timeout", "connectivity"})
_BY_STATUS: dict[int, FailureKind] = {
    401: "authentication",
    402: "quota",
    403: "permission",
    408: "timeout",
    429: "rate_limit",
    504: "timeout",
}
# What vendors say where their status alone misleads: OpenAI has one status for "slow down" and "pay", ElevenLabs
# answers 401 to all three of these, and Google 400 to a wrong key.
_BY_WORDS: tuple[tuple[re.Pattern[str], FailureKind], ...] = (
    (
        re.compile(
            r"(?i)insufficient_quota|quota_exceeded|credit_balance_exhausted|credit balance is too low|billing_error"
            r"|exceeded your current quota|payment_required"
        ),
        "quota",
    ),
    (re.compile(r"(?i)missing_permissions|insufficient_permissions|missing scopes"), "permission"),
    (re.compile(r"(?i)api_key_invalid|invalid_api_key|api key not valid"), "authentication"),
)

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")

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


class Link:
    """One provider of a chain in one call. What happens to it is reported once, not with every turn."""

    def __init__(self, provider: str, *, report: Report, clock: Clock = time.monotonic) -> None:
        self.provider = provider
        self.failure: FailureKind | None = None
        """What kind of failure its last attempt ended in; None while it answers."""
        self._report = report
        self._clock = clock
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
            if self.failure is not None and not self._is_dropped and started >= self._failed_at:
                self._recovered()

        try:
            yield answered
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            cause = _first(error)
            failure = self._seen[1] if self._seen is not None and self._seen[0] is cause else examine(cause)
            self._failed(failure, type(cause).__name__)
            kind, retryable = failure.kind, failure.kind in _PASSING and (resumes or not has_answered)
            # The vendor's own text may hold a part of the key or of the conversation, so it ends here.
            raise ProviderFailed(self.provider, kind, f"{self.provider} failed: {kind}.", retryable=retryable) from None

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
        self._is_dropped = was_dropped or kind in _DROPS
        if kind in COOLING_SECONDS:
            first, longest = COOLING_SECONDS[kind]
            seconds = failure.retry_after or min(first * 2 ** (self._failures_in_a_row - 1), longest)
            self._cooling_until = self._failed_at + seconds
        level = logging.ERROR if kind == "invalid_request" else logging.WARNING
        _log.log(level, "%s failed: %s (%s, status %s)", self.provider, kind, name, failure.status)
        if kind != self.failure and not was_dropped:
            self.failure = kind
            self.tell(ProviderReport(provider=self.provider, outcome="failed", kind=kind))

    def _recovered(self) -> None:
        self.failure = None
        self._failures_in_a_row = 0
        self._cooling_until = float("-inf")
        _log.info("%s answers again", self.provider)
        self.tell(ProviderReport(provider=self.provider, outcome="recovered"))

    def tell(self, report: ProviderReport) -> None:
        """Hand on what happened; whoever takes it cannot end the call."""
        try:
            self._report(report)
        except Exception:  # noqa: BLE001 - whoever takes the reports is not to end a call
            _log.exception("a report about %s was not taken", self.provider)


def examine(error: BaseException) -> Failure:
    """Say what an exception of a LiveKit class tells, with what caused it."""
    causes = list(_causes(error))
    status = next((status for cause in causes if (status := _status(cause)) is not None), None)
    seconds = next((seconds for cause in causes if (seconds := _retry_after(cause)) is not None), None)
    return Failure(_kind(causes, status), status, seconds)


def _kind(causes: Sequence[BaseException], status: int | None) -> FailureKind:
    is_theirs = status is not None and status >= 500  # noqa: PLR2004 - the server's own faults begin here
    said = "" if is_theirs else " ".join(f"{cause} {getattr(cause, 'body', '')}" for cause in causes)
    told: FailureKind | None = next((kind for words, kind in _BY_WORDS if words.search(said)), None)
    if told is not None:
        return told
    if status is not None:
        return _BY_STATUS.get(status) or ("server" if is_theirs else "invalid_request")
    if any(isinstance(cause, TimeoutError | APITimeoutError) for cause in causes):
        return "timeout"
    # The status of a closed websocket is no HTTP status.
    if any(isinstance(cause, APIConnectionError | APIStatusError | OSError) for cause in causes):
        return "connectivity"
    return "server" if isinstance(causes[0], APIError) else "invalid_request"


def _status(error: BaseException) -> int | None:
    values: list[object] = [getattr(error, name, None) for name in ("status_code", "status")]
    return next((value for value in values if isinstance(value, int) and 300 <= value < 600), None)  # noqa: PLR2004 - HTTP's


def _retry_after(error: BaseException) -> float | None:
    headers: object = getattr(getattr(error, "response", None) or error, "headers", None)
    if not isinstance(headers, Mapping):
        return None
    value = cast("Mapping[str, str]", headers).get("retry-after", "")
    return min(float(value), LONGEST_RETRY_AFTER_SECONDS) if _SECONDS.fullmatch(value) else None


def _first(error: Exception) -> BaseException:
    """Return what went wrong inside a task group."""
    found: BaseException = error
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - its own type is unknown
    return found  # pyright: ignore[reportUnknownVariableType] - as above


def _causes(error: BaseException) -> Iterator[BaseException]:
    # Also what `from None` hides: LiveKit keeps the vendor's exception, and its headers, out of sight there.
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


class Named(Protocol):
    """What every LiveKit object says of itself."""

    @property
    def model(self) -> str:
        """The model, as the vendor calls it."""
        ...

    @property
    def provider(self) -> str:
        """Who answers."""
        ...


def labels(of: Named) -> dict[str, object]:
    """Return what marks a plugin's metrics as ours: plugins of the OpenAI family name the host that they call."""
    return {"label": of.provider, "metadata": Metadata(model_name=of.model, model_provider=of.provider)}


async def close(parts: Iterable[object]) -> None:
    """Close what was made for a plugin, such as its HTTP client: most plugins leave open what they were given."""
    for part in parts:
        closing = getattr(part, "aclose", None) or getattr(part, "close", None)
        if inspect.iscoroutinefunction(closing):
            await closing()

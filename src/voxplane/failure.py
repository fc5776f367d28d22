"""What a provider's failure in a call means, whichever framework meets it: its kind, the pause after it, who is told.

What follows from the kind is each framework's own: `voxplane.livekit.link` and `voxplane.pipecat.link`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from voxplane.errors import (
    ConfigurationError,
    DestinationUnapproved,
    MissingDependency,
    ModelMissing,
    NoPrimaryProvider,
    ProviderNotFound,
    SecretsMissing,
    SnapshotExpired,
    Unauthenticated,
    VoxplaneError,
)
from voxplane.schemas import FailureKind, ProviderReport

if TYPE_CHECKING:
    from voxplane.plugin import Framework
    from voxplane.resolution import ResolvedProviderConfig

Report = Callable[[ProviderReport], None]
Clock = Callable[[], float]

DROPS: frozenset[FailureKind] = frozenset({"authentication", "permission", "unavailable"})
"""After these a provider is not asked again in the call: the key is dead, or this machine lacks the engine."""
PAUSE_SECONDS: dict[FailureKind, tuple[float, float]] = {"rate_limit": (2.0, 60.0), "quota": (60.0, 600.0)}
"""How long a provider is left alone after its first failure of this kind, and how long at most after many in a row."""
LONGEST_RETRY_AFTER_SECONDS = 3600.0

_BY_STATUS: dict[int, FailureKind] = {
    401: "authentication",
    402: "quota",
    403: "permission",
    408: "timeout",
    429: "rate_limit",
    504: "timeout",
}
# What vendors say where their status alone misleads, or where there is none: OpenAI has one status for "slow down" and
# "pay", ElevenLabs answers 401 to all three of these and says why it closes a websocket, Google answers 400 to a wrong
# key, and its sign-in shows a service account that is gone as OAuth's `invalid_grant`.
_BY_WORDS: tuple[tuple[re.Pattern[str], FailureKind], ...] = (
    (
        re.compile(
            r"(?i)insufficient_quota|quota_exceeded|credit_balance_exhausted|credit balance is too low|billing_error"
            r"|exceeded your current quota|exceeds your quota|payment_required"
        ),
        "quota",
    ),
    (re.compile(r"(?i)missing_permissions|insufficient_permissions|missing scopes"), "permission"),
    (
        re.compile(r"(?i)api_key_invalid|invalid_api_key|invalid api key|api key not valid|invalid_grant"),
        "authentication",
    ),
)
_BY_ERROR: dict[type[VoxplaneError], FailureKind] = {
    SecretsMissing: "authentication",
    DestinationUnapproved: "permission",
    MissingDependency: "unavailable",
    ModelMissing: "unavailable",
    ProviderNotFound: "unsupported",
}
_TELLS_NOTHING = (SnapshotExpired, Unauthenticated)
"""The worker may not use its secrets any more: that says nothing of the provider."""
_FRAMEWORKS: dict[Framework, str] = {"livekit": "LiveKit", "pipecat": "Pipecat"}
_SERVERS_OWN = 500
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")


def answered_kind(status: int | None, said: str) -> FailureKind | None:
    """Return what kind of failure a vendor's answer is: its HTTP status, if it had one, and the vendor's words.

    None when neither tells.
    """
    if status is None or status < _SERVERS_OWN:
        told: FailureKind | None = next((kind for words, kind in _BY_WORDS if words.search(said)), None)
        if told is not None or status is None:
            return told
    return _BY_STATUS.get(status) or ("server" if status >= _SERVERS_OWN else "invalid_request")


def own_kind(found: Iterable[BaseException]) -> FailureKind | None:
    """Return what kind of failure the first of our own errors is; None when there is none that tells."""
    return next((kind for each in found for error, kind in _BY_ERROR.items() if isinstance(each, error)), None)


def own_sentence(found: Iterable[BaseException]) -> str:
    """Return what the first of our own errors says, with a space before it: that may be repeated, a vendor's may not.

    Nothing when none of them is ours.
    """
    return next((f" {each.message}" for each in found if isinstance(each, VoxplaneError)), "")


def pause_seconds(bounds: tuple[float, float], failures_before: int) -> float:
    """Return how long to leave a provider alone that failed so often before: twice as long each time."""
    first, longest = bounds
    return min(first * 2**failures_before, longest)


def retry_after_seconds(header: str) -> float | None:
    """Return the seconds that a vendor asked us to wait, at most an hour; None for anything else than seconds."""
    return min(float(header), LONGEST_RETRY_AFTER_SECONDS) if _SECONDS.fullmatch(header) else None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what led to it, also what `from None` hides: frameworks keep the vendor's own there."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def stamped(report: Report, resolved: ResolvedProviderConfig) -> Report:
    """Return `report` for what is seen of one provider: it then says which state of it that was.

    A call may go on with a key that has been replaced, and what becomes of it says nothing of the new one.
    """
    return lambda said: report(said.model_copy(update={"at": resolved.at}))


def tell(report: Report, said: ProviderReport) -> None:
    """Hand on what happened; whoever takes it cannot end the call."""
    try:
        report(said)
    except Exception:
        logging.getLogger("voxplane").exception("a report about %s was not taken", said.provider)


def leave_out(provider: str, framework: Framework, error: Exception, report: Report) -> VoxplaneError:
    """Log and report a provider that cannot be made into the framework's object, and return the error to raise."""
    known = (
        error
        if isinstance(error, VoxplaneError)
        else ConfigurationError(
            f"The {_FRAMEWORKS[framework]} class of {provider} cannot be made: {type(error).__name__}."
        )
    )
    log = logging.getLogger(f"voxplane.{framework}")
    log.error("%s is left out (%s): %s", provider, known.code, known.message)
    if not isinstance(known, _TELLS_NOTHING):
        kind = own_kind([known]) or "invalid_request"
        tell(report, ProviderReport(provider=provider, outcome="failed", kind=kind))
    return known


def why_none(left_out: Sequence[VoxplaneError]) -> VoxplaneError:
    """Return the error to raise for a chain of which nothing was made: why its first provider was left out."""
    if left_out:
        return left_out[0]
    return NoPrimaryProvider(
        "The chain is empty: no provider is on, or none can answer, and `skipped` of the client says why."
    )

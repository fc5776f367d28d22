"""What goes wrong with an engine or its server, as LiveKit expects to be told, and as it may be logged."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus

import aiohttp
from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError

from voxplane.errors import VoxplaneError

_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


def loggable(error: Exception) -> str:
    """Return what may be logged of an engine's failure: its own text may repeat what a caller said."""
    return error.message if isinstance(error, VoxplaneError) else type(error).__name__


@contextmanager
def livekit_errors(server: str) -> Generator[None]:
    """Turn what goes wrong with a server into LiveKit's errors, with sentences of ours and the right `retryable`.

    Raises:
        APIStatusError: it answered with another status than it should.
        APITimeoutError: it did not answer in time.
        APIConnectionError: it cannot be reached, or broke off.
    """
    try:
        yield
    except (APIError, aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
        # Never with its cause: LiveKit would add its text, which names addresses.
        raise _failure(server, error) from None
    except ExceptionGroup as group:
        # What failed first; the other tasks were cancelled for it.
        raise _failure(server, group.exceptions[0]) from None


def _failure(server: str, error: Exception) -> APIError:
    match error:
        case APIError():
            return error
        case aiohttp.ClientResponseError():
            retryable = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.status in _PASSING
            message = f"The {server} server answered with status {error.status}."
            return APIStatusError(message, status_code=error.status, retryable=retryable)
        case TimeoutError():
            return APITimeoutError(f"The {server} server did not answer in time.")
        case _:
            return APIConnectionError(f"The {server} server cannot be reached, or broke off.")

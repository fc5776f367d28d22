"""What goes wrong with an engine or its server, as LiveKit expects to be told, and as it may be logged."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus

import aiohttp
from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError

from voxplane.destination import Origin
from voxplane.errors import VoxplaneError

_LOG = logging.getLogger(__name__)
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


def loggable(error: Exception) -> str:
    """Return what may be logged of an engine's failure: its own text may repeat what a caller said."""
    return error.message if isinstance(error, VoxplaneError) else type(error).__name__


@contextmanager
def livekit_errors(server: str, url: str) -> Generator[None]:
    """Turn what goes wrong with a server into LiveKit's errors, with sentences of ours and the right `retryable`.

    Its address is in none of them; where nobody listens at it, the worker's log names it.

    Raises:
        APIStatusError: it answered with another status than it should.
        APITimeoutError: it did not answer in time.
        APIConnectionError: it cannot be reached, or broke off.
    """
    try:
        yield
    except (APIError, aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
        if isinstance(error, aiohttp.ClientConnectorError):
            place = Origin.parse(url).in_short
            _LOG.warning("No %s server answers at %s: docs/speech.md says how to start one.", server, place)
        failure = _failure(server, error)
        # Never with this as its cause: LiveKit would add its text, which names addresses.
        raise failure from failure.__cause__
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

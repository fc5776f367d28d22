"""The way to the control plane: what is sent over it, what comes back, and what is not taken for an answer."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

import anyio
import httpx
from httpx_sse import EventSource, ServerSentEvent

from voxplane.destination import Origin
from voxplane.errors import ConfigurationError, Unreachable, from_problem

if TYPE_CHECKING:
    from pathlib import Path

    from voxplane.schemas import JsonObject

REQUEST_SECONDS = 5.0
"""How long an answer may take to begin, and each wait for more of it."""
SILENCE_SECONDS = 24.0
"""After so long without an event the stream of changes is taken for cut. Heartbeats come more often; and with a new
attempt after it, a worker whose token was revoked is told within 30 seconds, whatever became of its connection."""
_EVENT_STREAM = "text/event-stream"


class Event(NamedTuple):
    """One event of the stream of changes."""

    kind: str
    keys: tuple[str, ...] = ()
    """The providers that an event about health names."""


class Channel:
    """One worker's way to its organization at the control plane."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        organization: str,
        ca_file: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Take what `Client` takes.

        Raises:
            ConfigurationError: the address is no https address, nor one of this machine; or `ca_file` holds none.
        """
        self.url = _checked(url)
        self._home = f"{self.url}/api/organizations/{quote(organization, safe='')}"
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": f"voxplane-python/{version('voxplane')}"}
        # A transport, not a client of httpx: there are no redirects, cookies or proxies, and what could follow or send
        # them makes a refresh a fifth dearer.
        self._transport = transport or httpx.AsyncHTTPTransport(verify=_tls(ca_file), trust_env=False)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._transport.aclose()

    async def ask(self, path: str, body: JsonObject) -> bytes | None:
        """Post a question, and return the answer; None when there is nothing to say (204).

        Raises:
            Unreachable: there is no answer, or one that is not ours.
            VoxplaneError: what the control plane answered instead.
        """
        answer = await self._send("POST", path, json=body)
        try:
            content = await answer.aread()
        except httpx.HTTPError as error:
            raise self._unanswered(error) from error
        return None if answer.status_code == HTTPStatus.NO_CONTENT else content

    @asynccontextmanager
    async def events(self, at: str) -> AsyncGenerator[AsyncGenerator[Event]]:
        """Open the stream of what changes after `at`. That it is open is its first event, a heartbeat.

        Raises:
            Unreachable: there is no answer, or one that is not ours; or, while it is read, it breaks off.
            VoxplaneError: what the control plane answered instead.
        """
        headers = {"Accept": _EVENT_STREAM, "Last-Event-ID": at}
        answer = await self._send("GET", "changes", headers=headers, silence_seconds=SILENCE_SECONDS)
        try:
            if answer.headers.get("Content-Type", "").partition(";")[0].strip() != _EVENT_STREAM:
                raise self._not_ours(answer)
            yield self._events(answer)
        finally:
            await answer.aclose()

    async def _events(self, answer: httpx.Response) -> AsyncGenerator[Event]:
        yield Event("heartbeat")
        try:
            async for event in EventSource(answer).aiter_sse():
                yield Event(event.event, _keys(event))
        except httpx.HTTPError as error:
            raise Unreachable("The stream of changes broke.") from error

    async def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: JsonObject | None = None,
        silence_seconds: float = REQUEST_SECONDS,
    ) -> httpx.Response:
        """Send a request; of its answer the body is still to be read."""
        request = httpx.Request(
            method,
            f"{self._home}/{path}",
            headers={**self._headers, **(headers or {})},
            json=json,
            extensions={"timeout": httpx.Timeout(REQUEST_SECONDS, read=silence_seconds).as_dict()},
        )
        try:
            with anyio.fail_after(REQUEST_SECONDS):
                answer = await self._transport.handle_async_request(request)
            if answer.is_success:
                return answer
            await answer.aread()
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._unanswered(error) from error
        try:
            error = from_problem(answer.json())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._not_ours(answer) from None
        finally:
            await answer.aclose()
        if answer.is_server_error or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            message = f"{self.url} cannot answer now: {error.message}"
            raise Unreachable(message, retry_after_seconds=_retry_after(answer))
        raise error

    def _unanswered(self, error: Exception) -> Unreachable:
        return Unreachable(f"No answer from {self.url} ({type(error).__name__}).")

    def _not_ours(self, answer: httpx.Response) -> Unreachable:
        message = f"{self.url} answered with status {answer.status_code}, and not as Voxplane."
        return Unreachable(message, retry_after_seconds=_retry_after(answer))


def _retry_after(answer: httpx.Response) -> float | None:
    seconds = answer.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdecimal() else None


def _keys(event: ServerSentEvent) -> tuple[str, ...]:
    if event.event != "health":
        return ()
    try:
        return tuple(json.loads(event.data)["keys"])
    except (ValueError, KeyError, TypeError):
        raise Unreachable("The stream of changes says something that this release does not understand.") from None


@cache
def _tls(ca_file: Path | None) -> ssl.SSLContext:
    """Read the certificates that are trusted, once: it takes longer than a resolution."""
    if ca_file is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError:  # also what ssl makes of a file that holds none
        raise ConfigurationError("The file with the control plane's certificates cannot be read as PEM.") from None


def _checked(url: str) -> str:
    """Refuse an address over which a token and keys would travel in the open."""
    try:
        origin = Origin.parse(url)
    except ValueError as error:
        raise ConfigurationError(f"The control plane's address cannot be read: {error}.") from None
    if urlsplit(url).scheme not in {"https", "http"} or (origin.scheme != "https" and not origin.is_loopback):
        raise ConfigurationError("The control plane's address must begin with https://, except on this machine.")
    return url.rstrip("/")

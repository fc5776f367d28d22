"""The way to the control plane: what is sent over it, what comes back, and what is not taken for an answer."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import cache, cached_property
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

import anyio
import certifi
from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorSSLError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from pydantic import ValidationError

from voxplane.destination import Origin
from voxplane.errors import (
    ConfigurationError,
    NotFound,
    OrganizationNotFound,
    PermissionDenied,
    Unauthenticated,
    Unreachable,
    VoxplaneError,
    from_problem,
)
from voxplane.schemas import Me

if TYPE_CHECKING:
    from pathlib import Path

    from voxplane.schemas import JsonObject

REQUEST_SECONDS = 5.0
"""How long an answer may take to begin, and each wait for more of it."""
ANSWER_SECONDS = 15.0
"""How long a whole answer may take, the stream of changes apart."""
SILENCE_SECONDS = 24.0
"""After so long without an event the stream of changes is taken for cut. Heartbeats come more often; and with a new
attempt after it, a worker whose token was revoked is told within 30 seconds, whatever became of its connection."""
_IDLE_SECONDS = 4.0  # the control plane closes a connection after five: no question is to meet that
_WAIT_AT_MOST_SECONDS = 60.0  # whatever a gateway on the way asks for
_EVENT_STREAM = "text/event-stream"
_SUCCESS = range(200, 300)

# What the API says to somebody with curl, said to whoever set up a worker.
_WHO_IS_THIS = (
    "The control plane does not know this token: it was revoked, has ended, or never was one. Set VOXPLANE_TOKEN, or "
    "the client's `token`, to what `voxplane token create --scope worker:resolve` prints."
)
_NO_ORGANIZATION_NAMED = (
    "This token has no organization of its own, for it is a fleet's: name one of its list, with "
    'Client(..., organization="acme"), or for `voxplane agent` with VOXPLANE_ORGANIZATION.'
)
LACKS_SCOPE = "This token lacks the scope worker:resolve: `voxplane token create --scope worker:resolve` makes one."
_NOT_ON_THE_LIST = (
    "There is no such organization for this token. Name its own, or one of its fleet's list: `voxplane token fleet "
    "ORGANIZATION... --change ID` gives it another, with the id that `voxplane token list --platform` shows."
)


class Event(NamedTuple):
    """One event of the stream of changes."""

    kind: str
    keys: tuple[str, ...] = ()
    """The providers that an event about health names."""


class Channel:
    """One worker's way to its organization at the control plane."""

    def __init__(self, url: str, token: str, *, organization: str, ca_file: str | Path | None = None) -> None:
        """Take what `Client` takes.

        Raises:
            ConfigurationError: the address is no https address, nor one of this machine; what is given cannot be a
                token; or `ca_file` holds no certificates.
        """
        self.url = checked_url(url)
        self._organization = organization
        self._home = f"{self.url}/api/organizations/{quote(organization, safe='')}"
        self._headers = {
            "Authorization": f"Bearer {bare_token(token)}",
            "User-Agent": f"voxplane-python/{version('voxplane')}",
        }
        self._tls = _tls(ca_file)

    async def aclose(self) -> None:
        """Close its connections, also for who is cancelled."""
        session: ClientSession | None = self.__dict__.pop("_session", None)  # none is made to be closed
        if session is not None:
            with anyio.CancelScope(shield=True):
                await session.close()

    async def me(self) -> Me:
        """Ask who the token stands for.

        Raises:
            Unreachable: there is no answer, or one that is not ours.
            VoxplaneError: what the control plane answered instead.
        """
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                content = await self._read(await self._send("GET", f"{self.url}/api/me"))
        except TimeoutError as error:
            raise self._unanswered(error) from None
        try:
            return Me.model_validate_json(content, extra="ignore")
        except ValidationError:
            raise Unreachable("The control plane's answer is not one that this release understands.") from None

    async def ask(self, path: str, body: JsonObject) -> bytes | None:
        """Post a question, and return the answer; None when there is nothing to say (204).

        Raises:
            Unreachable: there is no answer, or one that is not ours.
            VoxplaneError: what the control plane answered instead.
        """
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                answer = await self._send("POST", f"{self._home}/{path}", body=body)
                content = await self._read(answer)
        except TimeoutError as error:
            raise self._unanswered(error) from None
        return None if answer.status == HTTPStatus.NO_CONTENT else content

    @asynccontextmanager
    async def events(self, at: str) -> AsyncGenerator[AsyncGenerator[Event]]:
        """Open the stream of what changes after `at`. That it is open is its first event.

        Raises:
            Unreachable: there is no answer, or one that is not ours; or, while it is read, it breaks off.
            VoxplaneError: what the control plane answered instead.
        """
        headers = {"Accept": _EVENT_STREAM, "Last-Event-ID": at}
        place = f"{self._home}/changes"
        # From the question on: a stream that is slow to open has said nothing either.
        silent_at = asyncio.get_running_loop().time() + SILENCE_SECONDS
        answer = await self._send("GET", place, headers=headers, silence_seconds=SILENCE_SECONDS)
        try:
            if answer.headers.get("Content-Type", "").partition(";")[0].strip() != _EVENT_STREAM:
                raise self._not_ours(answer)
            yield self._events(answer, silent_at)
        finally:
            answer.close()

    async def _events(self, answer: ClientResponse, silent_at: float) -> AsyncGenerator[Event]:
        yield Event("open")
        said: dict[str, str] = {}
        try:
            while True:
                async with asyncio.timeout_at(silent_at):  # comments say nothing of whether this worker may go on
                    line = await answer.content.readline()
                if not line:
                    return
                name, _, value = line.decode().rstrip("\r\n").partition(":")
                if name:
                    said[name] = value.removeprefix(" ")
                elif not value:  # else a comment
                    if "data" in said:
                        yield _event(said)
                        silent_at = asyncio.get_running_loop().time() + SILENCE_SECONDS
                    said = {}
        except (ClientError, TimeoutError, ValueError):
            raise Unreachable("The stream of changes broke.") from None

    @cached_property
    def _session(self) -> ClientSession:
        """Made when it is first used, for it belongs to the event loop that runs then."""
        return ClientSession(
            connector=TCPConnector(ssl=self._tls, keepalive_timeout=_IDLE_SECONDS),
            headers=self._headers,
            skip_auto_headers=("Accept-Encoding",),
            cookie_jar=DummyCookieJar(),
            trust_env=False,
        )

    async def _send(
        self,
        method: str,
        place: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        silence_seconds: float = REQUEST_SECONDS,
    ) -> ClientResponse:
        """Send a request; of its answer the body is still to be read."""
        try:
            with anyio.fail_after(REQUEST_SECONDS):
                answer = await self._session.request(
                    method,
                    place,
                    headers=headers,
                    json=body,
                    timeout=ClientTimeout(sock_read=silence_seconds),
                    allow_redirects=False,
                )
        except (ClientError, TimeoutError) as error:
            raise self._unanswered(error) from None
        if answer.status in _SUCCESS:
            return answer
        try:
            with anyio.fail_after(REQUEST_SECONDS):
                content = await self._read(answer)
        except TimeoutError as error:
            raise self._unanswered(error) from None
        try:
            error = from_problem(json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._not_ours(answer) from None
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            message = f"{self.url} cannot answer now: {error.message}"
            raise Unreachable(message, retry_after_seconds=_retry_after(answer))
        raise self._refusal(error)

    async def _read(self, answer: ClientResponse) -> bytes:
        try:
            return await answer.read()
        except (ClientError, TimeoutError) as error:
            raise self._unanswered(error) from None

    def _refusal(self, error: VoxplaneError) -> VoxplaneError:
        """Return an error with what a worker's owner has to do, where the API's own words are for other readers."""
        if type(error) is Unauthenticated:
            return Unauthenticated(_WHO_IS_THIS)
        if type(error) is PermissionDenied:
            return PermissionDenied(LACKS_SCOPE)
        if type(error) is OrganizationNotFound:
            is_named = self._organization != "current"
            return OrganizationNotFound(_NOT_ON_THE_LIST if is_named else _NO_ORGANIZATION_NAMED)
        if type(error) is NotFound:
            return NotFound(f"Voxplane's API is not at {self.url}: give its address without /api, or what comes after.")
        return error

    def _unanswered(self, error: Exception) -> Unreachable:
        """Name what went wrong; aiohttp's own error goes no further, for it holds the request, and that the token."""
        name, hint = type(error).__name__, ""
        if isinstance(error, ClientConnectorCertificateError):
            hint = " Its certificate is not trusted: VOXPLANE_CA_FILE, or `ca_file`, names the file of its authority."
        elif isinstance(error, ClientConnectorSSLError):
            hint = " It speaks no TLS: on this machine its address may begin with http://."
        return Unreachable(f"No answer from {self.url} ({name}).{hint}")

    def _not_ours(self, answer: ClientResponse) -> Unreachable:
        message = f"{self.url} answered with status {answer.status}, and not as Voxplane."
        return Unreachable(message, retry_after_seconds=_retry_after(answer))


def _retry_after(answer: ClientResponse) -> float | None:
    seconds = answer.headers.get("Retry-After", "")
    return min(float(seconds), _WAIT_AT_MOST_SECONDS) if seconds.isdecimal() else None


def _event(said: Mapping[str, str]) -> Event:
    kind = said.get("event", "message")
    if kind != "health":
        return Event(kind)
    try:
        return Event(kind, tuple(json.loads(said["data"])["keys"]))
    except (ValueError, KeyError, TypeError):
        raise Unreachable("The stream of changes says something that this release does not understand.") from None


@cache
def _tls(ca_file: str | Path | None) -> ssl.SSLContext:
    """Read the certificates that are trusted, once: it takes longer than a resolution."""
    try:
        # Named, for without a name it is those of the environment's SSL_CERT_FILE.
        return ssl.create_default_context(cafile=ca_file or certifi.where())
    except OSError:  # also what ssl makes of a file that holds none
        raise ConfigurationError("The file with the control plane's certificates cannot be read as PEM.") from None


def bare_token(token: str) -> str:
    """Return a token without what the file that it came from had around it; nothing else can be sent as one.

    Raises:
        ConfigurationError: it cannot be one.
    """
    bare = token.strip()
    if not (bare.isascii() and bare.isprintable()) or " " in bare or not bare:
        raise ConfigurationError("This cannot be a token: give what `voxplane token create` printed, and no more.")
    return bare


def checked_url(url: str) -> str:
    """Return the control plane's address without a slash at its end.

    Raises:
        ConfigurationError: it cannot be read, or a token and keys would travel over it in the open.
    """
    try:
        origin = Origin.parse(url)
    except ValueError as error:
        raise ConfigurationError(f"The control plane's address cannot be read: {error}.") from None
    if urlsplit(url).scheme not in {"https", "http"} or (origin.scheme != "https" and not origin.is_loopback):
        raise ConfigurationError("The control plane's address must begin with https://, except on this machine.")
    return url.rstrip("/")

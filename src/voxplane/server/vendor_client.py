"""The one way in which the control plane calls a vendor, or a speech server: one request, as little trust as possible.

Who asks may hold a key that only admin:secrets can enter, and the address comes from an organization's settings. So:
the name is looked up once, every address that it has must be a public one or one that the operator allowed, and the
connection goes to the address that was looked at, under the name that was asked for. No redirect is followed, no
proxy, cookie or key of the environment is used, nothing is unpacked, and time and size of an answer are limited, and
in how many pieces it comes.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from socket import EAI_NONAME, SOCK_STREAM, gaierror, getaddrinfo
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

import anyio
import httpx

from voxplane.destination import Origin
from voxplane.errors import ConfigurationError
from voxplane.server.bounded_transport import BoundedTransport

if TYPE_CHECKING:
    from uuid import UUID

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Endpoint = tuple[str, int]
Resolve = Callable[[str, int], Awaitable[Sequence[Endpoint]]]
"""Looks up a host and a port: the addresses to connect to, as text, each with its port."""

MAX_ANSWER_BYTES = 64 * 1024
_MAX_PIECES = 4096
"""In how many pieces an answer may come: each costs the same time, however short it is."""
MAX_LOOK_UPS = 4
"""How many names may be looked up at once for one organization: a look-up that hangs cannot be called back."""
_LOOK_UP_THREADS = 64
_LONGEST_RETRY_AFTER_SECONDS = 3600
_WAITED_AFTER = frozenset({429, 503})
_CONNECTING = 0.45
"""How much of the time for an answer may go into each of the two steps of connecting, TCP and TLS."""
_MAX_DEPTH = 32
# A quoted slash or dot is one place to us and may be another to the server.
_PATH = re.compile(r"(?:[A-Za-z0-9._~:/-]|%(?!2[eEfF])[0-9A-Fa-f]{2})*")
_SECONDS = re.compile("[0-9]{1,9}")
_LONGEST_DATE = 40
# `is_global` says yes to some that lead back inside: IPv4 wrapped in IPv6, relays, and groups.
_GLOBAL_IPV6 = ip_network("2000::/3")
_DENIED = tuple(
    ip_network(each)
    for each in (
        "100.64.0.0/10",  # shared by carriers, RFC 6598
        "192.0.0.0/24",  # RFC 6890
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",  # Teredo and others, RFC 2928
        "2002::/16",  # 6to4
    )
)


@dataclass(frozen=True)
class VendorRequest:
    """A request to a vendor. The key may stand in its headers, so it is never shown."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    method: Literal["GET", "POST"] = "GET"
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Answered:
    """What a vendor answered. Its words are for judging by, never for handing on."""

    status: int
    body: bytes = field(repr=False)
    is_whole: bool
    """Whether `body` is all of it; it may have been longer than the limit, or packed."""
    content_type: str
    retry_after_seconds: int | None
    connected_milliseconds: int
    milliseconds: int

    def json(self) -> Any:
        """Return the body's JSON; None when it is none, is not all there, or nests too deeply."""
        if not self.is_whole:
            return None
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return document if _is_shallow(document) else None


@dataclass(frozen=True)
class Unanswered:
    """Why there is no answer."""

    reason: Literal["blocked", "no_such_host", "unreachable", "tls", "timeout", "unsendable"]
    connected_milliseconds: int | None
    milliseconds: int


class VendorClient:
    """Calls vendors within the limits above. It keeps no connection, so it needs no closing."""

    def __init__(
        self,
        *,
        allowed: Sequence[Network] = (),
        ca_file: Path | None = None,
        timeout_seconds: float = 5.0,
        resolve: Resolve | None = None,
    ) -> None:
        """Let the operator's `allowed` networks be called too, and trust the authorities in `ca_file` besides others.

        `resolve` takes the place of the system's resolver; what it returns is held to the same rules.

        Raises:
            ConfigurationError: `ca_file` cannot be read.
        """
        self._allowed = tuple(allowed)
        self._timeout_seconds = timeout_seconds
        self._resolve = resolve or _look_up
        self._turns: WeakValueDictionary[UUID | None, anyio.Semaphore] = WeakValueDictionary()
        self._looking: set[asyncio.Task[Sequence[Endpoint]]] = set()
        self._ca_file = ca_file
        if ca_file is not None:
            _ = self._tls  # what is wrong with it is said when the service starts

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Reading all authorities takes a while, and most commands call nobody.
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._ca_file is not None:
            try:
                context.load_verify_locations(self._ca_file)
            except OSError:
                raise ConfigurationError("VOXPLANE_VENDOR_CA_FILE names no file with certificates.") from None
        return context

    async def ask(
        self,
        request: VendorRequest,
        *,
        within: frozenset[Origin],
        asker: UUID | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answered | Unanswered:
        """Send a request to a place `within` these origins and return what came of it; nothing is raised.

        `asker` is the organization that it is for: what hangs of one keeps no other waiting. Plain http goes to
        addresses that the operator allowed, and nowhere else.
        """
        clock = _Clock()
        try:
            with anyio.fail_after(self._timeout_seconds):
                return await self._ask(request, within, asker, max_bytes, clock)
        except TimeoutError:
            return clock.unanswered("timeout")

    async def _ask(
        self, request: VendorRequest, within: frozenset[Origin], asker: UUID | None, max_bytes: int, clock: _Clock
    ) -> Answered | Unanswered:
        try:
            origin = origin_of(request.url)
            sent = _sent(request, origin)
        except (ValueError, httpx.InvalidURL):  # a key that is no header's value, say; the error would show it
            return clock.unanswered("unsendable")
        if not any(_covers(each, origin) for each in within):
            return clock.unanswered("blocked")
        try:
            endpoints = list(dict.fromkeys(await self._looked_up(origin, asker)))
        except gaierror as error:  # any other says that the look-up failed, and nothing of the name
            return clock.unanswered("no_such_host" if error.errno == EAI_NONAME else "unreachable")
        except OSError:
            return clock.unanswered("unreachable")
        if not endpoints or not all(self._may_call(address, origin) for address, _ in endpoints):
            return clock.unanswered("blocked" if endpoints else "no_such_host")
        found: Answered | Unanswered = clock.unanswered("unreachable")
        for address, port in endpoints:
            found = await self._send(sent.copy_to(address, port), max_bytes, clock)
            if isinstance(found, Answered) or clock.connected is not None or found.reason == "tls":
                break  # only an address that does not take the connection is worth trying another for
        return found

    async def _looked_up(self, origin: Origin, asker: UUID | None) -> Sequence[Endpoint]:
        """Look a name up when the asker has a turn. It is theirs until the look-up ends, however long they wait."""
        turn = self._turns.setdefault(asker, anyio.Semaphore(MAX_LOOK_UPS))
        await turn.acquire()
        looking = asyncio.ensure_future(self._resolve(origin.host, origin.port))

        def end(ended: asyncio.Task[Sequence[Endpoint]]) -> None:
            self._looking.discard(ended)
            turn.release()
            if not ended.cancelled():
                ended.exception()  # whoever waits is told; if nobody does, it is nobody's

        self._looking.add(looking)
        looking.add_done_callback(end)
        return await asyncio.shield(looking)

    def _may_call(self, address: str, origin: Origin) -> bool:
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        if any(ip in network for network in self._allowed):
            return True
        return origin.scheme == "https" and is_public(ip)

    async def _send(self, request: httpx.Request, max_bytes: int, clock: _Clock) -> Answered | Unanswered:
        # A handshake that is cut off from outside leaves its socket open, so each step of connecting ends by itself.
        request.extensions |= {"trace": clock.trace, "timeout": {"connect": _CONNECTING * self._timeout_seconds}}
        transport = BoundedTransport(self._tls)
        try:
            async with transport:
                response = await transport.handle_async_request(request)
                transport.expect(max_bytes)
                body, is_whole = await _read(response, max_bytes)
        except httpx.TimeoutException:
            return clock.unanswered("timeout")
        except httpx.TransportError as error:
            return clock.unanswered("tls" if _is_tls(error) else "unreachable")
        return Answered(
            status=response.status_code,
            body=body,
            is_whole=is_whole,
            content_type=response.headers.get("content-type", "").partition(";")[0].strip().lower(),
            retry_after_seconds=(
                _retry_after(response.headers.get("retry-after", "")) if response.status_code in _WAITED_AFTER else None
            ),
            connected_milliseconds=clock.connected or 0,
            milliseconds=clock.milliseconds(),
        )


def is_public(address: Address) -> bool:
    """Whether an address is one of the public network, and none that leads elsewhere."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_IPV6:
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _DENIED)


def origin_of(url: str) -> Origin:
    """Return where a request's URL leads: its origin without the query, the whole path being the base path.

    Raises:
        ValueError: it can be read in more than one way.
    """
    base, _, _query = url.partition("?")
    scheme, _, rest = base.partition("://")
    host, slash, path = rest.partition("/")
    if not _PATH.fullmatch(path) or any(set(part) == {"."} for part in path.split("/")):
        raise ValueError
    return Origin.parse(f"{scheme}://{host}")._replace(path=f"{slash}{path}".rstrip("/"))


def _covers(allowed: Origin, origin: Origin) -> bool:
    is_below = origin.path == allowed.path or origin.path.startswith(f"{allowed.path}/")
    return allowed[:3] == origin[:3] and is_below


@dataclass(frozen=True)
class _Sent:
    """A request laid out, to be sent to an address."""

    request: VendorRequest
    origin: Origin
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)

    def copy_to(self, address: str, port: int) -> httpx.Request:
        host = f"[{address}]" if ":" in address else address
        _, _, target = self.request.url.partition("://")
        _, slash, path = target.partition("/")
        return httpx.Request(
            self.request.method,
            f"{self.origin.scheme}://{host}:{port}{slash}{path}",
            headers=list(self.headers),
            content=self.request.body,
            extensions={"sni_hostname": self.origin.host},
        )


def _sent(request: VendorRequest, origin: Origin) -> _Sent:
    if not (request.url.isascii() and request.url.isprintable()):
        raise ValueError
    httpx.URL(request.url)  # what cannot be read says so here
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    is_usual = origin.port == {"https": 443, "http": 80}[origin.scheme]
    headers = {
        "host": host if is_usual else f"{host}:{origin.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "voxplane",
        **request.headers,
    }
    if not all(value.isascii() and value.isprintable() and value.strip() == value for value in headers.values()):
        raise ValueError
    return _Sent(request, origin, tuple((name.encode(), value.encode()) for name, value in headers.items()))


class _Clock:
    """Times one question: when the connection stood, and when all was over."""

    def __init__(self) -> None:
        self._began = monotonic()
        self.connected: int | None = None

    def milliseconds(self) -> int:
        return round((monotonic() - self._began) * 1000)

    async def trace(self, event: str, _info: Mapping[str, Any]) -> None:
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            self.connected = self.milliseconds()
        elif event == "connection.start_tls.failed":
            self.connected = None

    def unanswered(
        self, reason: Literal["blocked", "no_such_host", "unreachable", "tls", "timeout", "unsendable"]
    ) -> Unanswered:
        return Unanswered(reason, self.connected, self.milliseconds())


# A look-up that hangs keeps its thread: those of strangers' names have threads of their own.
_LOOK_UPS = ThreadPoolExecutor(max_workers=_LOOK_UP_THREADS, thread_name_prefix="look-up")


async def _look_up(host: str, port: int) -> Sequence[Endpoint]:
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(_LOOK_UPS, partial(getaddrinfo, host, port, type=SOCK_STREAM))
    return [(str(sockaddr[0]), port) for *_, sockaddr in found]


async def _read(response: httpx.Response, max_bytes: int) -> tuple[bytes, bool]:
    """Read an answer as far as the limit goes. One that came packed although we asked for it plain is not opened."""
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        return b"", False
    body = bytearray()
    chunks: AsyncIterator[bytes] = response.aiter_raw()
    pieces = 0
    async for chunk in chunks:
        body += chunk
        pieces += 1
        if len(body) > max_bytes or pieces > _MAX_PIECES:
            return bytes(body[:max_bytes]), False
    return bytes(body), True


def _is_tls(error: BaseException | None) -> bool:
    seen = 0
    while error is not None and seen < _MAX_DEPTH:
        if isinstance(error, ssl.SSLError):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def _retry_after(header: str) -> int | None:
    """Read how many seconds to wait, which a vendor may write as a date (RFC 9110, 10.2.3)."""
    if _SECONDS.fullmatch(header):
        return min(int(header), _LONGEST_RETRY_AFTER_SECONDS)
    try:
        at = parsedate_to_datetime(header[:_LONGEST_DATE])
    except (ValueError, OverflowError):  # a year, say, that is no machine's number
        return None
    seconds = math.ceil(((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())
    return min(max(seconds, 0), _LONGEST_RETRY_AFTER_SECONDS)


def _is_shallow(document: object) -> bool:
    level: list[Any] = [document]
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
        level = below
    return not level

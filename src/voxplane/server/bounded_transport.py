"""HTTP to servers that may be hostile: what is read of an answer is bounded on the wire, whatever it is made of.

A parser keeps up with whatever comes, so answers of "100 Continue" without end, or a body in pieces of one byte, would
take the event loop from everybody else. Reads are short, each lets others go on, and past the bounds the connection
is as if it had ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import anyio.lowlevel
import httpcore
import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

_READ_BYTES = 4096
"""How much is parsed before others have their turn: some hundred of the smallest pieces that there are."""
_MAX_READS = 4096
_MAX_HEAD_BYTES = 32 * 1024
"""What may come before a body: answers that only announce another, and the head."""


class BoundedTransport(httpx.AsyncHTTPTransport):
    """A transport for one request, over HTTP/1.1: it follows nothing, reads no environment, and unpacks nothing."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        """Take what TLS is spoken by."""
        super().__init__(verify=tls, trust_env=False)
        self._bounds = _Bounds(_MAX_HEAD_BYTES)
        self._pool = httpcore.AsyncConnectionPool(tls, network_backend=_Backend(self._bounds))

    def expect(self, body_bytes: int) -> None:
        """Let so much of a body be read, once its head is there: twice, as its pieces have heads of their own."""
        self._bounds.bytes = 2 * body_bytes + _MAX_HEAD_BYTES


@dataclass
class _Bounds:
    """How much may still be read."""

    bytes: int
    reads: int = _MAX_READS


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects as usual, to streams that are bounded."""

    def __init__(self, bounds: _Bounds) -> None:
        self._bounds = bounds
        # Its type says no more than that anyio may be absent.
        self._inner = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore asks it
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(stream, self._bounds)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream, bounds: _Bounds) -> None:
        self._inner = inner
        self._bounds = bounds

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as httpcore asks it
        bounds = self._bounds
        if bounds.bytes <= 0 or bounds.reads <= 0:
            return b""
        await anyio.lowlevel.checkpoint()
        found = await self._inner.read(min(max_bytes, _READ_BYTES), timeout)
        bounds.bytes -= len(found)
        bounds.reads -= 1
        return found

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as httpcore asks it
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore asks it
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout), self._bounds)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

"""What every fake vendor has: an address on loopback, keys that it knows, a memory of requests, faults on demand."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Literal, NamedTuple, Self, TypeVar, cast

from aiohttp import web

PROXIES = [
    written
    for name in ("http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "all_proxy")
    for written in (name, name.upper())
]
"""The variables in which programs look for a proxy, which reads every key that is not sent over TLS.

Google's sign-in for Vertex uses one, and goes nowhere but to Google over TLS: its tests do without them.
"""

Fault = Literal["401", "403", "429", "quota", "500", "reset", "hang"]
R = TypeVar("R")


class Arrived(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """By lower-case name."""
    body: Any
    """The JSON of the body, or the fields of a form."""


async def arrived(request: web.Request, form: str) -> Arrived:
    """Read a request whose body is JSON or a form of the content type `form`."""
    body: Any = None
    if request.can_read_body and request.content_type == "application/json":
        body = await request.json()
    elif request.can_read_body and request.content_type == form:
        body = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    query = {name: request.query.getall(name) for name in request.query}
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Arrived(request.method, request.path, query, headers, body)


@dataclass
class _Failing:
    path_prefix: str
    fault: Fault
    times: int | None


class Vendor(Generic[R]):
    """A vendor on loopback; a key is good only if it is among `keys`. Use it as an asynchronous context manager."""

    def __init__(self, keys: Collection[str], application: web.Application) -> None:
        """Serve an application, which asks `fault` before it answers."""
        self.keys = set(keys)
        self.requests: list[R] = []
        self._failing: list[_Failing] = []
        self._leaving = asyncio.Event()
        self._url = ""
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return self._url

    def fail(self, path_prefix: str, fault: Fault, times: int | None = None) -> None:
        """Fail requests below a path: the next `times`, or all until it is mended."""
        self._failing.append(_Failing(path_prefix, fault, times))

    def mend(self) -> None:
        """Answer again as if nothing had been said about failing; what hangs goes on hanging."""
        self._failing.clear()

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        _, port = cast("tuple[str, int]", self._runner.addresses[0])
        self._url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        await self._runner.cleanup()

    async def _fault(self, request: web.Request) -> Fault | None:
        """Return how this request is to fail, after a connection that is to be reset was, or a hanging one hung."""
        fault = self._next_fault(request.path)
        if fault == "reset":
            _reset(request)
        if fault == "hang":
            await self._leaving.wait()
        return fault

    def _next_fault(self, path: str) -> Fault | None:
        for failing in self._failing:
            if path.startswith(failing.path_prefix) and failing.times != 0:
                failing.times = None if failing.times is None else failing.times - 1
                return failing.fault
        return None


def _reset(request: web.Request) -> None:
    transport = request.transport
    assert transport is not None
    # Without lingering the other side sees a reset, not an orderly end.
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()

"""HTTP as `voxplane serve` speaks it: uvicorn's, with bounds and coalesced writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from voxplane.server.write_coalescing import CoalescingTransport

if TYPE_CHECKING:
    import asyncio

MAX_HEAD_BYTES = 16 * 1024
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class HttpProtocol(HttpToolsProtocol):
    """HTTP with an end of what may come before a body; the parser itself would keep any amount."""

    _is_in_head = True
    _messages = 0
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take a connection."""
        self._coalescing = CoalescingTransport(transport)
        super().connection_made(self._coalescing)

    @override
    def eof_received(self) -> None:
        """Send what is there: the connection is closed below us when this returns."""
        self._coalescing.flush()

    @override
    def data_received(self, data: bytes) -> None:
        messages = self._messages
        super().data_received(data)
        # Bytes that ended a message were not all head, and one that follows it is counted from the next bytes on.
        if not self._is_in_head or messages != self._messages:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    @override
    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        self._is_in_head, self._head_bytes = True, 0
        self._messages += 1
        super().on_message_complete()

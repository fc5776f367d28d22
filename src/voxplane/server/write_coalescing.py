"""Writes to a connection that leave in one piece at the next round of the event loop.

uvloop makes a system call of each write, at once. Coalesced, an answer's head and body are one call, and the events of
many followers leave one right after the other: sent as they come about, each wakes its reader, who then takes the core
away from the next.
"""

from __future__ import annotations

import asyncio
from typing import Any

from typing_extensions import override

_AT_ONCE_BYTES = 64 * 1024


class CoalescingTransport(asyncio.Transport):
    """A connection that sends at the next round what was written to it, and hands on what else uvicorn asks of one."""

    def __init__(self, below: asyncio.Transport) -> None:
        """Send over the connection `below`."""
        super().__init__()
        self._below = below
        self._written: list[bytes | bytearray | memoryview[Any]] = []
        self._bytes = 0

    @override
    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self._written:
            asyncio.get_running_loop().call_soon(self.flush)
        self._written.append(data)
        self._bytes += len(data)
        # Who writes without a pause is told to make one by the connection below.
        if self._bytes >= _AT_ONCE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what was written, if there is anybody to send it to."""
        written, self._written, self._bytes = self._written, [], 0
        if written and not self._below.is_closing():
            self._below.write(b"".join(written))

    @override
    def close(self) -> None:
        self.flush()
        self._below.close()

    @override
    def abort(self) -> None:
        self._below.abort()

    @override
    def is_closing(self) -> bool:
        return self._below.is_closing()

    @override
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._below.get_extra_info(name, default)

    @override
    def pause_reading(self) -> None:
        self._below.pause_reading()

    @override
    def resume_reading(self) -> None:
        self._below.resume_reading()

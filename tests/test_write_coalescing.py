"""What is written in one round of the event loop leaves together, in order, and nothing of it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from typing_extensions import override

from voxplane.server.write_coalescing import CoalescingTransport


class Below(asyncio.Transport):
    """A real connection, with a list of what was handed to it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Hand on to this one."""
        super().__init__()
        self.transport = transport
        self.sent: list[bytes] = []

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))
        self.transport.write(data)

    @override
    def is_closing(self) -> bool:
        return self.transport.is_closing()

    @override
    def close(self) -> None:
        self.transport.close()

    @override
    def abort(self) -> None:
        self.transport.abort()


class Line(asyncio.Protocol):
    """The server's end of a connection."""

    def __init__(self) -> None:
        """Begin without one."""
        self.made = anyio.Event()
        self.is_paused = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.below = Below(transport)
        self.coalescing = CoalescingTransport(self.below)
        self.plain = CoalescingTransport(transport)
        self.made.set()

    @override
    def pause_writing(self) -> None:
        self.is_paused = True


@asynccontextmanager
async def connected() -> AsyncGenerator[tuple[Line, asyncio.StreamReader]]:
    """Open a connection, and yield both its ends."""
    line = Line()
    async with await asyncio.get_running_loop().create_server(lambda: line, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await line.made.wait()
        try:
            yield line, reader
        finally:
            line.coalescing.close()
            writer.close()
            await writer.wait_closed()


async def test_a_head_and_a_body_leave_in_one_piece() -> None:
    async with connected() as (line, reader):
        line.coalescing.write(b"head ")
        line.coalescing.write(b"body")
        assert line.below.sent == []
        assert await reader.readexactly(9) == b"head body"
        line.coalescing.write(b"next")
        assert await reader.readexactly(4) == b"next"
        assert line.below.sent == [b"head body", b"next"]


async def test_much_leaves_at_once_so_that_its_writer_is_told_to_pause() -> None:
    async with connected() as (line, reader):
        sent = 0
        while not line.is_paused:
            line.coalescing.write(b"x" * 40_000)
            sent += 40_000
            assert sent < 100_000_000
        assert sum(map(len, line.below.sent)) >= sent - 40_000
        assert len(await reader.readexactly(sent)) == sent


async def test_what_was_written_leaves_before_the_connection_is_closed() -> None:
    async with connected() as (line, reader):
        line.coalescing.write(b"last words")
        line.coalescing.close()
        assert line.coalescing.is_closing()
        assert await reader.read() == b"last words"


async def test_nothing_is_sent_to_who_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as (line, reader):
        line.coalescing.write(b"too late")
        line.coalescing.abort()
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        assert line.below.sent == []
        assert await reader.read() == b""
    assert not caplog.records


async def test_reading_is_paused_below() -> None:
    async with connected() as (line, _):
        transport = line.below.transport
        line.plain.pause_reading()
        assert not transport.is_reading()
        line.plain.resume_reading()
        assert transport.is_reading()
        assert line.plain.get_extra_info("sockname") == transport.get_extra_info("sockname")
        assert line.plain.get_extra_info("no such thing", 1) == 1

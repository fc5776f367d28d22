"""A load generator that costs little: prebuilt requests on kept-alive connections, one under way on each.

It runs as a process of its own, reads a `Plan` as JSON from standard input and writes what it saw to standard
output. Every server is loaded by it alike, so that what it costs itself cancels out of the comparison.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_NO_BODY = frozenset({b"204", b"304"})
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Plan:
    """What to send. Each connection goes through its own requests, in order."""

    host: str
    port: int
    connections: list[list[str]]
    """Whole requests, head and body, by connection. Nothing but ASCII, so that characters are bytes."""
    seconds: float | None
    """How long to go round and round; None is once through."""
    expected: int = 200
    """The one status that is no error."""


@dataclass(frozen=True)
class Seen:
    """What came back."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    """Of the generator itself."""
    problems: dict[str, int] = field(default_factory=dict[str, int])
    """Whatever was not the expected status, and how often."""

    @property
    def rate(self) -> float:
        """Requests answered in a second."""
        return self.requests / self.seconds


def run(plan: Plan) -> Seen:
    """Load a server from a process of its own, and wait for the end of it."""
    finished = subprocess.run(  # noqa: S603 - our own file
        [sys.executable, __file__],
        input=json.dumps(asdict(plan)),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        start_new_session=True,  # Ctrl-C is for the benchmark, which ends this one
    )
    return Seen(**json.loads(finished.stdout))


class _Connection(asyncio.Protocol):
    """One connection with one request under way; `done` is set when it has sent and received its share."""

    def __init__(self, requests: list[bytes], expected: int, *, endless: bool) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.latencies: list[float] = []
        self.problems: dict[str, int] = {}
        self.deadline = float("inf")
        self._requests = requests
        self._expected = str(expected).encode()
        self._endless = endless
        self._next = 0
        self._received: bytes = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are, by what they do

    def send(self) -> None:
        """Send the next request."""
        assert self._transport is not None  # noqa: S101 - connected before it is used
        request = self._requests[self._next]
        self._next += 1
        self._sent_at = perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        if not _is_whole(data):
            self._received = data
            return
        now = perf_counter()
        self._received = b""
        self.latencies.append(now - self._sent_at)
        if data[9:12] != self._expected:
            self._note(data.partition(b"\r\n")[0].decode(errors="replace"))
        if self._next == len(self._requests):
            if not self._endless:
                self._finish()
                return
            self._next = 0
        if now < self.deadline:
            self.send()
        else:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._note(f"connection lost ({type(exc).__name__})")
            self.done.set_result(perf_counter())

    def _note(self, problem: str) -> None:
        self.problems[problem] = self.problems.get(problem, 0) + 1

    def _finish(self) -> None:
        assert self._transport is not None  # noqa: S101 - connected before it is used
        self.done.set_result(perf_counter())
        self._transport.close()


def _is_whole(data: bytes) -> bool:
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return False
    length = _LENGTH.search(data, 0, head + 2)
    if length is not None:
        return len(data) >= head + 4 + int(length[1])
    return data[9:12] in _NO_BODY or data.endswith(_LAST_CHUNK)


async def _load(plan: Plan) -> Seen:
    loop = asyncio.get_running_loop()
    made: list[_Connection] = []
    for requests in plan.connections:
        share = [request.encode("ascii") for request in requests]
        _, connection = await loop.create_connection(
            lambda share=share: _Connection(share, plan.expected, endless=plan.seconds is not None),
            plan.host,
            plan.port,
        )
        made.append(connection)
    gc.collect()
    gc.disable()  # a pause of ours would count as the server's
    started_cpu, started = _cpu_seconds(), perf_counter()
    for connection in made:
        if plan.seconds is not None:
            connection.deadline = started + plan.seconds
        connection.send()
    patience = None if plan.seconds is None else plan.seconds + _PATIENCE_SECONDS
    async with asyncio.timeout(patience):
        ended = max(await asyncio.gather(*(connection.done for connection in made)))
    latencies = sorted(each for connection in made for each in connection.latencies)
    problems: dict[str, int] = {}
    for connection in made:
        for problem, count in connection.problems.items():
            problems[problem] = problems.get(problem, 0) + count
    return Seen(
        requests=len(latencies),
        seconds=ended - started,
        p50_ms=_percentile(latencies, 0.50) * 1000,
        p99_ms=_percentile(latencies, 0.99) * 1000,
        cpu_seconds=_cpu_seconds() - started_cpu,
        problems=problems,
    )


def _percentile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_load(Plan(**json.load(sys.stdin)))))))

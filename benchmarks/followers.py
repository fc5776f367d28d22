"""Some of the workers that follow a change: clients of one organization, in a process of their own.

Workers share no process, so what one costs must not hold up another one's clock. It reads a `Watch` as JSON from
standard input, writes a line once every client follows, and then one for every value: when each client had it.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import anyio

from voxplane import Client

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

PROCESSES = 10
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Watch:
    """Whom to follow, and which values of `maxTokens` will be seen, in this order."""

    url: str
    token: str
    clients: int
    values: Sequence[int]


class Followers:
    """Processes of workers that follow one organization."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self._processes = processes

    @classmethod
    @contextmanager
    def following(cls, url: str, token: str, workers: int, values: Sequence[int]) -> Generator[Followers]:
        """Start workers, dealt out to the processes, and wait until all of them follow; stop them in the end."""
        shares = [len(range(first, workers, PROCESSES)) for first in range(min(PROCESSES, workers))]
        with ExitStack() as stack:
            followers = cls([stack.enter_context(_running(Watch(url, token, share, values))) for share in shares])
            followers.said()
            yield followers

    def said(self) -> list[float]:
        """Return what the processes say next: moments of the system's monotonic clock."""
        return [moment for each in self._processes for moment in _line(each)]


@contextmanager
def _running(watch: Watch) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # noqa: S603 - our own file
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the benchmark, which ends this one
    )
    try:
        assert process.stdin is not None  # noqa: S101 - asked for above
        process.stdin.write(json.dumps(asdict(watch)))
        process.stdin.close()
        yield process
    finally:
        process.terminate()
        process.wait()


def _line(process: subprocess.Popen[str]) -> list[float]:
    assert process.stdout is not None  # noqa: S101 - asked for where it was started
    line = process.stdout.readline()
    if not line:
        raise SystemExit("A process of workers ended before it saw all changes.")
    return json.loads(line)


async def _arrival(client: Client, value: int) -> float:
    while client.primary("llm").config["maxTokens"] != value:
        async for _ in client.changes():
            break
    return time.monotonic()


async def _watch(watch: Watch) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(watch.url, watch.token)) for _ in range(watch.clients)]
        with anyio.fail_after(_PATIENCE_SECONDS):
            while any(client.freshness.state != "current" for client in clients):  # noqa: ASYNC110 - what is waited for is elsewhere
                await anyio.sleep(0.05)
        gc.collect()
        gc.freeze()
        _say([])
        for value in watch.values:
            arrivals: list[float] = []

            async def wait(client: Client, wanted: int = value, seen: list[float] = arrivals) -> None:
                seen.append(await _arrival(client, wanted))

            with anyio.fail_after(_PATIENCE_SECONDS):
                async with anyio.create_task_group() as group:
                    for client in clients:
                        group.start_soon(wait, client)
            _say(arrivals)


def _say(moments: Sequence[float]) -> None:
    sys.stdout.write(json.dumps(moments) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(_watch, Watch(**json.load(sys.stdin)))

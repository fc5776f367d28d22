"""What a worker meets: reading its snapshot, resolving with secrets on record, and how soon a change arrives.

One run, one machine. README.md in this folder says what is measured beside what. Exit code 1 means that the measurement
is not valid; a missed goal is a result.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import structlog
from rich.console import Console
from rich.table import Table

import servers
from control_plane import Line
from followers import Followers
from servers import OpenBao, Server, Tenant
from voxplane import Client
from workloads import CONNECTIONS, TENANTS, Workload, bare_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_READS = 200_000
_SNAPSHOT_GOAL = 10.0
_RESOLVE_GOAL = 1.0
_P50_GOAL_MS, _P99_GOAL_MS = 100.0, 500.0

out = Console(width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True)


@dataclass(frozen=True)
class Reading:
    """How long one call takes that asks memory."""

    name: str
    nanoseconds: float


def read_memory(url: str, tenant: Tenant, rounds: int) -> list[Reading]:
    """Time what a worker asks at each call, beside two that do the same for feature flags."""
    # Only requirements/bench.txt brings the peers, so nothing else has to know of them.
    openfeature, memory = import_module("openfeature.api"), import_module("openfeature.provider.in_memory_provider")
    flags = import_module("UnleashClient").UnleashClient(
        "http://127.0.0.1:9/api", "bench", disable_metrics=True, disable_registration=True, custom_headers={},
        cache=_unleash_cache(), verbose_log_level=logging.CRITICAL,
    )  # fmt: skip
    flags.initialize_client(fetch_toggles=False)
    flag = memory.InMemoryFlag("on", {"on": {"provider": "openai"}})
    openfeature.set_provider(memory.InMemoryProvider({"llm": flag}))
    feature = openfeature.get_client()
    assert flags.get_variant("llm")["name"] == "openai"  # noqa: S101 - a peer that does not answer is no peer
    assert feature.get_object_value("llm", {}) == {"provider": "openai"}  # noqa: S101 - as above
    found: list[Reading] = []

    async def ours() -> None:
        async with Client(url, tenant.token) as client:
            calls: dict[str, Callable[[], object]] = {
                "Voxplane: client.primary()": lambda: client.primary("llm"),
                "Voxplane: client.chain()": lambda: client.chain("llm"),
                "UnleashClient: get_variant()": lambda: flags.get_variant("llm"),
                "OpenFeature, in memory: get_object_value()": lambda: feature.get_object_value("llm", {}),
            }
            seen: dict[str, list[float]] = {name: [] for name in calls}
            for _ in range(rounds):
                for name, call in calls.items():
                    seen[name].append(_timed(call))
            found.extend(Reading(name, statistics.median(times)) for name, times in seen.items())

    anyio.run(ours)
    flags.destroy()
    return found


def _unleash_cache() -> Any:
    cache = import_module("UnleashClient.cache").FileCache(
        "bench", directory=tempfile.mkdtemp(prefix="voxplane-bench-unleash-")
    )
    variant = {
        "name": "openai",
        "weight": 1000,
        "payload": {"type": "string", "value": "openai"},
        "stickiness": "random",
    }
    strategy: dict[str, object] = {"name": "default", "parameters": {}, "variants": []}
    feature: dict[str, object] = {"name": "llm", "enabled": True, "strategies": [strategy], "variants": [variant]}
    cache.bootstrap_from_dict({"version": 2, "features": [feature]})
    return cache


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter_ns()
    for _ in range(_READS):
        call()
    return (time.perf_counter_ns() - started) / _READS


def resolve_workloads(server: Server, tenants: Sequence[Tenant], bao: OpenBao, answer_bytes: int) -> list[Workload]:
    """Ask for the organizations' chains with secrets, and OpenBao for as much, each with a record of every answer."""
    shares = [tenants[first::CONNECTIONS] for first in range(CONNECTIONS)]
    body = json.dumps({})
    ours = [
        [
            "POST /api/organizations/current/resolve HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {each.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            for each in share
        ]
        for share in shares
    ]
    # One organization for everybody: a herd after one change.
    herd = [[requests[0] for requests in ours[:1]]] * CONNECTIONS
    keepers = bao.tenants(len(tenants))
    for keeper in keepers:
        bao.ask("POST", f"/kv/data/{keeper.name}/read", {"data": {"filling": "x" * max(1, answer_bytes - 350)}})
    theirs = [
        [
            f"GET /v1/kv/data/{each.name}/read HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Vault-Token: {each.token}\r\n\r\n"
            for each in keepers[first::CONNECTIONS]
        ]
        for first in range(CONNECTIONS)
    ]
    return [
        Workload("POST resolve, 64 organizations", "read", server, lambda _round: ours, _RESOLVE_GOAL),
        Workload("POST resolve, one organization", "read", server, lambda _round: herd, _RESOLVE_GOAL),
        Workload("OpenBao: KV v2 read, file audit", "read", bao.server, lambda _round: theirs, is_peer=True),
    ]


def arrivals(url: str, tenant: Tenant, workers: int, changes: int) -> list[float]:
    """Change a setting again and again; return the milliseconds until each worker has it, for every change."""
    values = list(range(2000, 2000 + changes))
    path, headers = "/api/organizations/current/providers/openai/config", {"Authorization": f"Bearer {tenant.token}"}
    seen: list[float] = []
    with (
        httpx.Client(base_url=url, headers=headers, trust_env=False) as admin,
        Followers.following(url, tenant.token, workers, values) as followers,
    ):
        for value in values:
            started = time.monotonic()
            admin.put(path, json={"config": {"maxTokens": value}}).raise_for_status()
            seen += [(moment - started) * 1000 for moment in followers.said()]
    return seen


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what workers meet, side by side with peers.")
    parser.add_argument("--rounds", type=int, default=3, help="Rounds of every workload; the median counts.")
    parser.add_argument("--seconds", type=float, default=4.0, help="How long a round takes.")
    parser.add_argument("--workers", type=int, default=100, help="How many follow a change.")
    parser.add_argument("--changes", type=int, default=20, help="How many changes they follow.")
    options = parser.parse_args()
    servers.forget_settings()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    logging.getLogger("httpx").setLevel(logging.ERROR)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voxplane-bench-")))
        server, tenants = stack.enter_context(
            servers.voxplane(folder / "voxplane", organizations=TENANTS, with_key=TENANTS)
        )
        bao = stack.enter_context(OpenBao.run(folder / "openbao", audited=True))
        headers = {"Authorization": f"Bearer {tenants[0].token}"}
        whole = httpx.post(f"{server.url}/api/organizations/current/resolve", json={}, headers=headers, trust_env=False)
        if "sk-bench" not in whole.text:
            raise SystemExit("This is not the answer that was to be measured: it holds no key.")
        work = resolve_workloads(server, tenants, bao, len(whole.content))
        bare = stack.enter_context(servers.bare(folder / "bare", body_bytes=len(whole.content)))
        lines = [Line(each) for each in (*work, bare_workload(bare))]
        for number in range(options.rounds + 1):
            for line in lines:
                err.print(f"round {number} of {options.rounds}: {line.name}")
                line.measure(number, options.seconds if number else 1.0)
        err.print("reading memory")
        readings = read_memory(server.url, tenants[0], options.rounds)
        err.print(f"{options.changes} changes to {options.workers} workers")
        times = arrivals(server.url, tenants[1], options.workers, options.changes)
        recorded = (folder / "openbao" / "audit.log").stat().st_size
    if not recorded:
        raise SystemExit("OpenBao wrote no audit log, so it was not measured with one.")
    _print(readings, lines, times, options)


def _print(readings: list[Reading], lines: list[Line], times: list[float], options: argparse.Namespace) -> None:
    slowest = min(each.nanoseconds for each in readings if not each.name.startswith("Voxplane"))
    memory = Table(
        "What a worker asks at each call", "ns", "x as fast as the faster peer", box=None, header_style="bold"
    )
    for each in readings:
        is_ours = each.name.startswith("Voxplane")
        memory.add_row(each.name, f"{each.nanoseconds:,.0f}", f"{slowest / each.nanoseconds:.1f}" if is_ours else "")
    out.print(memory)
    columns = ("requests/s", "of rounds", "p50 ms", "p99 ms", "CPU server", "PostgreSQL", "generator", "x OpenBao")
    table = Table(f"{CONNECTIONS} connections", *columns, box=None, header_style="bold")
    peer = next(line for line in lines if line.workload.is_peer)
    for line in lines:
        table.add_row(*line.cells(), f"{line.rate / peer.rate:.2f}" if line.workload.kind == "read" else "")
    out.print(table)
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    out.print(
        f"{options.changes} changes, each until {options.workers} workers have it: "
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {max(times):.0f} ms"
    )
    ours = max(each.nanoseconds for each in readings if each.name.startswith("Voxplane"))
    for name, reached in (
        (f"Reading memory, {_SNAPSHOT_GOAL:g} x as fast as either peer", slowest / ours / _SNAPSHOT_GOAL),
        *((f"{each.name}, {_RESOLVE_GOAL:g} x OpenBao", each.rate / peer.rate / _RESOLVE_GOAL) for each in lines[:2]),
        (f"Change to {options.workers} workers, p50 below {_P50_GOAL_MS:g} ms", _P50_GOAL_MS / p50),
        (f"Change to {options.workers} workers, p99 below {_P99_GOAL_MS:g} ms", _P99_GOAL_MS / p99),
    ):
        out.print(f"{name}: {'[green]met[/]' if reached >= 1 else f'[red]missed by {1 - reached:.0%}[/]'}")


if __name__ == "__main__":
    main()

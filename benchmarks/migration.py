"""How long `voxplane legacy import` takes for many organizations, and how much memory it needs.

Every organization is new, has two providers and two keys, and is one durable transaction on an embedded PostgreSQL.
The import runs twice: the second run finds everything there. A goal that is missed is a result, not a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

VOXPLANE = str(Path(sys.executable).with_name("voxplane"))
GOAL_SECONDS = 60
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Run:
    """One run of the import."""

    seconds: float
    peak_mib: float
    totals: dict[str, int]


def blob(number: int) -> dict[str, object]:
    """Make an organization's blob as the old system might have kept it."""
    return {
        "openai": {"chatModel": "gpt-4o-mini", "temperature": "0.3", "apiKey": f"sk-made-up-{number:08d}"},
        "stt": {"provider": "deepgram", "model": "nova-2", "smart_format": True, "apiKey": f"{number:040x}"},
        "prompts": {"system": "You are the receptionist of a clinic. " * 10},
    }


def write(path: Path, organizations: int) -> None:
    """Write that many blobs as lines of JSON."""
    with path.open("w") as file:
        for number in range(organizations):
            file.write(json.dumps({"organization": f"org-{number:06d}", "config": blob(number)}) + "\n")


def environment(folder: Path) -> dict[str, str]:
    """Return what the commands see: a folder of their own for the database."""
    return {"PATH": "/usr/bin:/bin", "VOXPLANE_DATA_DIR": str(folder / "data"), "PYTHONPATH": os.pathsep.join(sys.path)}


def run(source: Path, folder: Path) -> Run:
    """Import a source, and watch the memory of the command alone."""
    command = [VOXPLANE, "legacy", "import", str(source), "--apply", "--create-organizations", "--json"]
    answer = folder / "report.json"
    with answer.open("w") as out:
        begin = time.perf_counter()
        with subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, env=environment(folder)) as process:  # noqa: S603
            watched, peak = psutil.Process(process.pid), 0
            while process.poll() is None:
                try:
                    peak = max(peak, watched.memory_info().rss)
                except psutil.NoSuchProcess:
                    break
                time.sleep(0.02)
            code = process.wait()
        seconds = time.perf_counter() - begin
    if code:
        raise SystemExit("The import failed, so nothing was measured.")
    return Run(seconds, peak / _MEBIBYTE, json.loads(answer.read_text())["totals"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--organizations", type=int, default=10_000)
    wanted = parser.parse_args().organizations
    print(f"voxplane legacy import --apply, {os.cpu_count()} cores, embedded PostgreSQL, durable")
    print(f"{'organizations':>14} {'run':>8} {'seconds':>9} {'per second':>11} {'peak MiB':>9}")
    for organizations in (max(1, wanted // 10), wanted):
        with tempfile.TemporaryDirectory(prefix="voxplane-bench-") as name:
            folder = Path(name)
            source = folder / "org_configs.jsonl"
            write(source, organizations)
            subprocess.run([VOXPLANE, "db", "upgrade"], env=environment(folder), check=True, capture_output=True)  # noqa: S603
            for label, status in (("first", "imported"), ("again", "unchanged")):
                seen = run(source, folder)
                if seen.totals[status] != organizations:
                    raise SystemExit(f"Not every organization was {status}: {seen.totals}")
                rate = organizations / seen.seconds
                print(f"{organizations:>14,} {label:>8} {seen.seconds:>9.1f} {rate:>11,.0f} {seen.peak_mib:>9.0f}")
    print(
        f"Goal: {GOAL_SECONDS} seconds for the first run of 10,000, with memory that does not grow with their number."
    )


if __name__ == "__main__":
    main()

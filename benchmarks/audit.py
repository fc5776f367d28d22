"""How fast the audit log is checked: every row of many organizations, as `voxplane audit verify` does it.

python benchmarks/audit.py [--rows 200000] [--organizations 50]

Most of a log are releases, which repeat what they say; the same again is measured with rows of which no two are alike.
Exit code 1 means that the log did not hold, and so nothing was measured; a missed goal is a result.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import psutil

from voxplane.schemas import OrganizationCreate
from voxplane.server.audit import AuditEvent, chained
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.settings import Settings
from voxplane.server.store import Store

if TYPE_CHECKING:
    from uuid import UUID

GOAL_ROWS_PER_SECOND = 50_000
_BATCH = 2000
_ROUNDS = 3


async def _fill(plane: ControlPlane, organization_id: UUID, rows: int, *, alike: bool) -> None:
    """Add rows such as releases to workers leave."""
    # Rows are made here by the thousand, as no service makes them.
    unsealed = plane.audit._unsealed  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    assert unsealed is not None  # noqa: S101 - the plane was opened with its keyring
    for begin in range(0, rows, _BATCH):
        async with plane.database.transaction(organization_id=organization_id) as connection:
            store = Store(connection, organization_id)
            seq, head = await store.audit_head()
            events = [
                AuditEvent(
                    organization_id=organization_id,
                    seq=seq + number,
                    at=datetime.now(UTC),
                    actor="token:0123456789ab",
                    action="secrets.release",
                    target="llm stt tts",
                    outcome="success",
                    request_id=f"{number:032x}",
                    detail={
                        "revision": 7 if alike else seq + number,
                        "providers": {"openai": ["apiKey"], "deepgram": ["apiKey"], "piper": []},
                    },
                )
                for number in range(1, min(_BATCH, rows - begin) + 1)
            ]
            await store.append_audit(chained(unsealed.audit_key, head, events))


async def _measure(rows: int, organizations: int) -> int:
    for alike in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            async with ControlPlane.open(Settings(data_dir=Path(folder))) as plane:
                for number in range(organizations):
                    new = OrganizationCreate(slug=f"org-{number}", name="One of many")
                    made = await plane.access.create_organization(local_administrator(None, "bench"), new)
                    await _fill(plane, made.id, rows // organizations, alike=alike)
                print(f"rows that {'say the same' if alike else 'are all different'}:")
                for number in range(_ROUNDS):
                    if not await _check(plane, number + 1):
                        return 1
    return 0


async def _check(plane: ControlPlane, number: int) -> bool:
    began, processor = time.perf_counter(), time.process_time()
    memory = psutil.Process().memory_info().rss
    found = await plane.audit.check()
    seconds = time.perf_counter() - began
    if found.breaks:
        print(f"the log does not hold: {found.breaks[0]}")
        return False
    per_second = found.rows / seconds
    processor = time.process_time() - processor
    grown = (psutil.Process().memory_info().rss - memory) / 1e6
    verdict = "met" if per_second >= GOAL_ROWS_PER_SECOND else "missed"
    print(
        f"  round {number}: {found.rows:,} rows of {found.organizations} organizations"
        f" in {seconds:.2f} s: {per_second:,.0f} rows/s (goal {GOAL_ROWS_PER_SECOND:,}: {verdict}),"
        f" {found.rows / processor:,.0f} for each second of this process's own, memory {grown:+.1f} MB"
    )
    return True


def main() -> int:
    """Measure. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Check a large audit log.")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--organizations", type=int, default=50)
    wanted = parser.parse_args()
    return anyio.run(_measure, wanted.rows, wanted.organizations)


if __name__ == "__main__":
    sys.exit(main())

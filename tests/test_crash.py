"""Kill it in the middle of writing: what was acknowledged is there afterwards, and nothing is there by half."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import httpx
import pytest

from voxplane.errors import VoxplaneError
from voxplane.schemas import ConfigWrite
from voxplane.schemas.audit import AuditAnchor
from voxplane.server.audit import AuditEvent, first_broken
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.database import Location, installation_key, reading
from voxplane.server.envelope import Keyring
from voxplane.server.settings import Settings

RESTART_SECONDS = 10
VOXPLANE = str(Path(sys.executable).with_name("voxplane"))
KEYS = ("openai", "groq", "deepgram", "piper")


def embedded(folder: Path) -> Settings:
    return Settings.model_validate({"data_dir": folder / "data", "log_format": "json"})


def postmaster_of(settings: Settings) -> int:
    return int((settings.data_dir / "postgres" / "cluster" / "postmaster.pid").read_text().split()[0])


def kill_all_of_postgres(settings: Settings) -> None:
    """Kill the postmaster and every process that it started, as the kernel does when memory runs out."""
    postmaster = postmaster_of(settings)
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for pid in (postmaster, *map(int, children)):
        os.kill(pid, signal.SIGKILL)


async def write_until_it_breaks(plane: ControlPlane, acknowledged: dict[str, int], chance: random.Random) -> None:
    """Write one number after the other to each provider; keep the last that was acknowledged."""
    who = local_administrator((await plane.access.find_organization("default")).id, "test")
    everybody_wrote = anyio.Event()

    async def write(key: str) -> None:
        for number in range(1, 900):
            try:
                change = ConfigWrite(priority=number)
                await plane.providers.upsert_organization_provider_config(who, key, change)
            except VoxplaneError:
                return
            acknowledged[key] = number
            if len(acknowledged) == len(KEYS):
                everybody_wrote.set()

    async def kill() -> None:
        await everybody_wrote.wait()
        await anyio.sleep(chance.uniform(0, 0.2))
        kill_all_of_postgres(plane.settings)

    async with anyio.create_task_group() as group:
        for key in KEYS:
            group.start_soon(write, key)
        group.start_soon(kill)


async def check_that_nothing_is_lost_or_half_written(settings: Settings, acknowledged: dict[str, int]) -> None:
    async with ControlPlane.open(settings) as plane:
        organization = await plane.access.find_organization("default")
        who = local_administrator(organization.id, "test")
        for key, number in acknowledged.items():
            shown = await plane.providers.get_organization_provider(who, key)
            # One more may have been committed whose acknowledgement the kill cut off.
            assert shown.priority in {number, number + 1}
        audit_key = audit_key_of(settings)
        async with plane.database.transaction(organization_id=organization.id) as connection:
            cursor = await connection.execute("SELECT * FROM audit_events ORDER BY seq")
            rows = await cursor.fetchall()
            history = await connection.execute("SELECT DISTINCT revision FROM config_history")
            revisions = len(await history.fetchall())
        chain = [
            (AuditEvent(**{name: row[name] for name in AuditEvent.__dataclass_fields__}), row["prev_hash"], row["hash"])
            for row in rows
        ]
        assert first_broken(audit_key, chain) is None
        # A token is put on record too, but is no revision of the settings.
        writes = [event for event, _, _ in chain if event.action != "token.create"]
        assert revisions == organization.revision == len(writes)


def audit_key_of(settings: Settings) -> bytes:
    """Unwrap the audit key with the keyring, as a start does."""
    location = Location.find(settings)
    try:
        with reading(location) as connection:
            installed = installation_key(connection)
        assert installed is not None
        return Keyring.load(settings.keyring_path).unwrap(*installed, purpose="audit")
    finally:
        location.close()


async def one_round(settings: Settings, chance: random.Random) -> None:
    acknowledged: dict[str, int] = {}
    async with ControlPlane.open(settings) as plane:
        who = local_administrator((await plane.access.find_organization("default")).id, "test")
        for key in KEYS:
            await plane.providers.upsert_organization_provider_config(who, key, ConfigWrite(priority=0))
        await write_until_it_breaks(plane, acknowledged, chance)
    started = time.monotonic()
    await check_that_nothing_is_lost_or_half_written(settings, acknowledged)
    assert time.monotonic() - started < RESTART_SECONDS


@pytest.mark.drill
async def test_postgres_killed_during_writes(tmp_path: Path) -> None:
    chance = random.Random(1)  # noqa: S311 - when to kill is no secret
    for _ in range(2):
        await one_round(embedded(tmp_path), chance)


@pytest.mark.deep
@pytest.mark.timeout(900)
async def test_postgres_killed_during_writes_twenty_times(tmp_path: Path) -> None:
    chance = random.Random(2)  # noqa: S311 - when to kill is no secret
    for _ in range(20):
        await one_round(embedded(tmp_path), chance)


def environment(folder: Path, *, port: str = "0") -> dict[str, str]:
    inherited = dict(os.environ)  # noqa: TID251 - what a service is started with, and coverage's own
    return {**inherited, "VOXPLANE_DATA_DIR": str(folder / "data"), "VOXPLANE_PORT": port}


@contextmanager
def served(folder: Path, **settings: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run `voxplane serve` on a free port; yield the process and its address."""
    seen = environment(folder) | settings
    with subprocess.Popen(
        [VOXPLANE, "serve"], env=seen, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                found = re.search(r"listens on (http://\S+)", line)
                if found:
                    yield process, found[1]
                    break
            else:
                pytest.fail("voxplane serve did not come up")
        finally:
            process.kill()
            process.wait()


def token(folder: Path) -> str:
    command = [VOXPLANE, "token", "create", "--administrator"]
    return subprocess.run(command, env=environment(folder), capture_output=True, text=True, check=True).stdout.strip()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.drill
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_service_leaves_no_process_and_ends_well(tmp_path: Path, number: signal.Signals) -> None:
    with served(tmp_path, VOXPLANE_ANCHORS_FILE="-", VOXPLANE_ANCHOR_SECONDS="3600") as (process, address):
        assert httpx.get(f"{address}/healthz").json() == {"status": "ok"}
        postmaster = postmaster_of(embedded(tmp_path))
        assert process.stdout is not None
        first = AuditAnchor.model_validate_json(process.stdout.readline())
        token(tmp_path)
        process.send_signal(number)
        assert process.wait(timeout=20) == 0
        assert not is_running(postmaster)
        # What was done since the first anchor is in the last one, which is made when the service ends.
        [last] = [AuditAnchor.model_validate_json(line) for line in process.stdout]
        assert (first.is_whole, last.is_whole, last.rows) == (True, False, first.rows + 1)


@pytest.mark.drill
async def test_a_service_killed_during_writes_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    acknowledged: dict[str, int] = {}
    with served(tmp_path) as (process, address):
        headers = {"Authorization": f"Bearer {token(tmp_path)}"}
        async with httpx.AsyncClient(base_url=address, headers=headers) as client:

            async def write(key: str) -> None:
                path = f"/api/organizations/current/providers/{key}/config"
                for number in range(1, 900):
                    try:
                        answer = await client.put(path, json={"priority": number})
                    except httpx.HTTPError:
                        return
                    assert answer.status_code == 200
                    acknowledged[key] = number
                    if number == 20 and key == KEYS[0]:
                        process.kill()

            async with anyio.create_task_group() as group:
                for key in KEYS:
                    group.start_soon(write, key)
    assert acknowledged[KEYS[0]] == 20
    await check_that_nothing_is_lost_or_half_written(embedded(tmp_path), acknowledged)


@pytest.mark.drill
def test_two_services_share_one_database_and_the_last_one_stops_it(tmp_path: Path) -> None:
    with served(tmp_path) as (first, _), served(tmp_path) as (second, address):
        postmaster = postmaster_of(embedded(tmp_path))
        first.send_signal(signal.SIGINT)
        assert first.wait(timeout=20) == 0
        assert is_running(postmaster)
        assert httpx.get(f"{address}/readyz").json()["database"] is True
        second.send_signal(signal.SIGINT)
        assert second.wait(timeout=20) == 0
        assert not is_running(postmaster)


def test_what_a_failed_start_says_is_a_sentence(tmp_path: Path) -> None:
    with served(tmp_path) as (_, address):
        taken = environment(tmp_path, port=address.rpartition(":")[2])
        ran = subprocess.run([VOXPLANE, "serve"], env=taken, capture_output=True, text=True, check=False)
        assert ran.returncode == 1
        assert "VOXPLANE_PORT names another" in ran.stderr
        assert "Traceback" not in ran.stderr

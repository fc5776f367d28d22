"""The house: its face, its rooms, and what no room may be called. Import directions are `make house`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import voxplane

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "voxplane").rglob("*.py"))
VAGUE = {"utils", "util", "helpers", "helper", "common", "core", "base", "misc", "manager", "managers"}


def test_the_face_is_what_it_says() -> None:
    assert voxplane.__all__ == ["Client", "ProviderType", "ResolvedProviderConfig", "SyncClient", "VoxplaneError"]
    assert all(hasattr(voxplane, name) for name in voxplane.__all__)


def test_no_room_has_a_vague_name() -> None:
    assert len(SOURCES) > 30
    assert not [path for path in SOURCES if VAGUE & {*path.parts, path.stem}]


def test_no_two_models_of_the_api_share_a_name() -> None:
    """Where two do, the document of the API tells them apart by the files that they stand in."""
    document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    models = document["components"]["schemas"]
    assert len(models) > 50
    assert not [name for name in models if "__" in name]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_says_what_it_is_for_and_can_be_read_in_one_sitting(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.match(r'"""[A-Z`]', text)
    assert len(text.splitlines()) <= 680


def test_what_a_worker_installs_runs_without_the_server_and_its_packages() -> None:
    """Import the ground floor and every definition with the server's packages out of reach."""
    program = """
import sys
for name in ("fastapi", "starlette", "psycopg", "cryptography", "structlog", "typer", "uvicorn", "alembic"):
    sys.modules[name] = None
from voxplane.registry import ProviderRegistry
import voxplane.resolution
registry = ProviderRegistry()
registry.initialize()
print(len(registry.get_all_providers()))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.stdout.strip(), ran.stderr) == ("12", "")


def test_the_agent_runs_on_what_a_worker_installs() -> None:
    """With the control plane's packages out of reach it comes as far as its settings; other commands say what to do."""
    program = """
import sys
for name in ("alembic", "fastapi", "httptools", "psycopg", "psycopg_pool", "starlette", "structlog", "uvicorn", "yaml"):
    sys.modules[name] = None
from voxplane.__main__ import main
main()
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VOXPLANE_", "LIVEKIT_"))}  # noqa: TID251 - what a process inherits

    def told(*arguments: str, prelude: str = "") -> str:
        command = [sys.executable, "-c", prelude + program, *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert (ran.stdout, ran.returncode) == ("", 1)
        return ran.stderr

    assert told("agent", "start").startswith("The worker cannot start. VOXPLANE_TOKEN: This field is required.")
    assert told("agent", "start", prelude="import sys; sys.modules['livekit'] = None") == (
        "The agent needs LiveKit: pip install 'voxplane[livekit]'.\n"
    )
    assert told("config", "get").endswith("the rest needs pip install 'voxplane[server]'.\n")


def test_nothing_committed_names_a_registry_host_or_a_path_of_a_machine() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    hosts = re.compile("|".join(["pypi" + r"\.org", "python" + "hosted", "registry" + r"\.npmjs", "/wo" + "rk/"]))
    files = [ROOT / name for name in tracked.stdout.split("\0") if name and (ROOT / name).is_file()]
    assert len(files) > 50
    assert not [path for path in files if hosts.search(path.read_text(encoding="utf-8", errors="replace"))]

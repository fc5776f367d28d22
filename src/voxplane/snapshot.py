"""A worker's last resolution on its own disk, encrypted, so that it can start while the control plane is away.

The key is derived from the worker's token: whoever gets another token, or none, cannot read the file. The first line
says in the open what the file is of and when it was right; it is authenticated with the rest. The one file outside of
the server that imports `cryptography`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets as random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import ValidationError

from voxplane.schemas import Resolution

if TYPE_CHECKING:
    from pathlib import Path

_FORMAT = 1
_NONCE = 12
_FUTURE = timedelta(minutes=5)


@dataclass(frozen=True)
class SnapshotFile:
    """The file of one worker's token for one organization of one control plane."""

    folder: Path
    url: str
    organization: str
    token: str = field(repr=False)

    @property
    def path(self) -> Path:
        """Where it is. The name tells nothing but that it is another one, and which are of the same token."""
        of = hashlib.sha256(f"{self.url}\n{self.organization}".encode()).hexdigest()[:16]
        return self.folder / f"{self._token_id}-{of}.snapshot"

    @property
    def _token_id(self) -> str:
        return hashlib.sha256(b"vxp/snapshot-id" + self.token.encode()).hexdigest()[:16]

    def _box(self) -> AESGCM:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"vxp/snapshot/v1")
        return AESGCM(derived.derive(self.token.encode()))

    def save(self, resolution: Resolution, now: datetime) -> None:
        """Replace the file. Whatever happens meanwhile, there is the old one or the new one, whole.

        Raises:
            OSError: it cannot be written.
        """
        head = {
            "v": _FORMAT,
            "url": self.url,
            "organization": self.organization,
            "token": self._token_id,
            "at": resolution.at,
            "savedAt": now.isoformat(),
        }
        first = json.dumps(head).encode() + b"\n"
        nonce = os.urandom(_NONCE)
        sealed = self._box().encrypt(nonce, resolution.model_dump_json(by_alias=True).encode(), first)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.{random.token_hex(6)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(first + nonce + sealed)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        directory = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def load(self, now: datetime, max_age: timedelta) -> tuple[Resolution, datetime] | None:
        """Return what was saved and when it was right; None when there is nothing that may be used.

        Not used is a file that others can read or that is not ours, that was altered, that belongs to another token,
        organization or control plane, that is older than `max_age`, or that comes from the future.
        """
        try:
            status = self.path.stat()
            content = self.path.read_bytes()
        except OSError:
            return None
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            return None
        first, _, rest = content.partition(b"\n")
        try:
            opened = self._box().decrypt(rest[:_NONCE], rest[_NONCE:], first + b"\n")
            head = json.loads(first)
            saved_at = datetime.fromisoformat(head["savedAt"])
            resolution = Resolution.model_validate_json(opened, extra="ignore")  # a newer release may have written it
        except (InvalidTag, ValueError, KeyError, TypeError, ValidationError):
            return None
        expected = (_FORMAT, self.url, self.organization, self._token_id, resolution.at)
        if (head["v"], head["url"], head["organization"], head["token"], head["at"]) != expected:
            return None
        if not now - max_age <= saved_at <= now + _FUTURE:
            return None
        return resolution, saved_at

    def remove(self) -> None:
        """Delete the file, if there is one, and drafts of it that somebody who was killed left behind.

        Raises:
            OSError: one of them cannot be deleted; the others are.
        """
        _remove(self.folder, f"{self.path.name}*")

    def remove_all(self) -> None:
        """Delete the files of this token: a fleet's has one for each organization.

        Raises:
            OSError: one of them cannot be deleted; the others are.
        """
        _remove(self.folder, f"{self._token_id}-*")


def is_any_in(folder: Path) -> bool:
    """Whether a folder holds snapshots, of whichever token and organization; for a sentence, not to rely on."""
    return any(folder.glob("*.snapshot"))


def _remove(folder: Path, pattern: str) -> None:
    failed: OSError | None = None
    for each in folder.glob(pattern):
        try:
            each.unlink(missing_ok=True)
        except OSError as error:
            failed = error
    if failed is not None:
        raise failed

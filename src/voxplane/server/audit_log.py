"""The audit log as it is read: page by page, as a whole, or to find out whether it is whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from os import SEEK_END
from typing import TYPE_CHECKING

from anyio import to_thread

from voxplane.errors import ConfigurationError, KeyUnavailable
from voxplane.schemas.audit import AuditRecord, AuditRecords
from voxplane.server import audit_check, envelope
from voxplane.server.audit_store import AuditFilter, AuditRow, AuditStore
from voxplane.server.auth import Scope
from voxplane.server.envelope import AnchorKey
from voxplane.server.fingerprints import known_key
from voxplane.server.history import actor
from voxplane.server.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from pathlib import Path

    from pydantic import SecretStr

    from voxplane.schemas.audit import AuditAnchor, AuditCheck, AuditGlance
    from voxplane.server.auth import Principal
    from voxplane.server.database import Database
    from voxplane.server.write import Unsealed

_PAGE = 1000
_SHOWN = 20
_TAIL = 64 * 1024


class AuditLog:
    """Reads the audit log of an organization.

    Who holds audit:read sees all of it, others what they did themselves.
    """

    def __init__(
        self,
        *,
        database: Database,
        unsealed: Unsealed | None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take what it works with; `unsealed` is None while the key is missing or is another one."""
        self._database = database
        self._unsealed = unsealed
        self._clock = clock

    async def get_records(
        self, principal: Principal, wanted: AuditFilter, *, before: int | None = None, limit: int = 50
    ) -> AuditRecords:
        """Return a page of records, newest first, below number `before`."""
        found = await self._page(principal, wanted, before, limit + 1)
        shown = found[:limit]
        return AuditRecords(records=shown, next_before=shown[-1].seq if len(found) > limit else None)

    async def pages(self, principal: Principal, wanted: AuditFilter) -> AsyncGenerator[tuple[AuditRecord, ...]]:
        """Yield all records, newest first, page by page; at least one page, which may be empty.

        Each page is a transaction of its own: who reads slowly holds no connection.
        """
        before = None
        while True:
            found = await self._page(principal, wanted, before, _PAGE)
            yield found
            if len(found) < _PAGE:
                return
            before = found[-1].seq

    async def was_stored(self, principal: Principal, secret: SecretStr) -> AuditRecords:
        """Return the newest records of this very secret being stored in the principal's organization.

        A secret that was stored before marks were kept is not found.

        Raises:
            PermissionDenied: the caller lacks admin:secrets.
            KeyUnavailable: the installation is sealed.
        """
        principal.require(Scope.ADMIN_SECRETS)
        keyring = self._keys.keyring
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            key = await known_key(Store(connection, principal.tenant), principal.tenant, keyring)
            if key is None:
                return AuditRecords(records=(), next_before=None)
            mark = envelope.fingerprint(key, secret)
            rows = await AuditStore(connection, principal.tenant).storings(mark, _SHOWN)
        return AuditRecords(records=tuple(map(_record, rows)), next_before=None)

    async def anchor(self) -> AuditAnchor:
        """Return where every organization's log stands, signed. For the operator's own machine.

        Raises:
            KeyUnavailable: the installation is sealed.
        """
        return await audit_check.anchor(self._database, AnchorKey.derive(self._keys.audit_key), self._clock())

    async def check(
        self, anchors: Iterable[str] = (), progress: Callable[[int, int], None] = lambda _organizations, _rows: None
    ) -> AuditCheck:
        """Check every organization's log, and hold it against anchors, a line each. For the operator's own machine.

        Raises:
            ConfigurationError: a line is no anchor of this installation.
            KeyUnavailable: the installation is sealed.
        """
        key = self._keys.audit_key
        read = audit_check.read_anchors(AnchorKey.derive(key), anchors)
        return await audit_check.check(self._database, key, read, progress)

    async def glance(self, path: Path) -> AuditGlance | None:
        """Hold the ends of all logs against the last anchor of a file; None when there is none in it yet.

        Raises:
            ConfigurationError: the file cannot be read, or its last line is no anchor of this installation.
            KeyUnavailable: the installation is sealed.
        """
        key = AnchorKey.derive(self._keys.audit_key)
        line = await to_thread.run_sync(_last_line, path)
        return await audit_check.glance(self._database, key, line) if line else None

    @property
    def _keys(self) -> Unsealed:
        if self._unsealed is None:
            raise KeyUnavailable
        return self._unsealed

    async def _page(
        self, principal: Principal, wanted: AuditFilter, before: int | None, limit: int
    ) -> tuple[AuditRecord, ...]:
        if Scope.AUDIT_READ not in principal.scopes:
            wanted = replace(wanted, own=principal.subject)
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            rows = await AuditStore(connection, principal.tenant).page(wanted, before, limit)
        return tuple(map(_record, rows))


def _last_line(path: Path) -> str:
    """Read the last line of a file that may be long; empty when there is no file or nothing in it."""
    try:
        with path.open("rb") as file:
            begin = end = file.seek(0, SEEK_END)
            tail = b""
            while begin > 0 and b"\n" not in tail.strip():
                begin = max(0, 2 * begin - end - _TAIL)
                file.seek(begin)
                tail = file.read(end - begin)
            return tail.strip().rpartition(b"\n")[2].decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError("The file of anchors cannot be read as text.") from None


def _record(row: AuditRow) -> AuditRecord:
    return AuditRecord(
        seq=row.seq,
        at=row.at,
        actor=actor(row.actor, row.actor_name),
        action=row.action,
        target=row.target,
        outcome=row.outcome,
        request_id=row.request_id,
        detail=row.detail,
    )

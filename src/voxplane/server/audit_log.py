"""The audit log as it is read: page by page, as a whole, or to find out whether it is whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from anyio import to_thread

from voxplane.errors import KeyUnavailable
from voxplane.schemas.audit import AuditGlance, AuditRecord, AuditRecords
from voxplane.server import anchor_file, audit_check, envelope
from voxplane.server.audit_store import AuditFilter, AuditRow, AuditStore, audit_state
from voxplane.server.auth import Scope
from voxplane.server.envelope import AnchorKey
from voxplane.server.fingerprints import known_key
from voxplane.server.history import actor
from voxplane.server.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from pathlib import Path
    from uuid import UUID

    from pydantic import SecretStr

    from voxplane.schemas.audit import AuditAnchor, AuditCheck
    from voxplane.server.audit_check import Heads
    from voxplane.server.auth import Principal
    from voxplane.server.database import Database
    from voxplane.server.write import Unsealed

_PAGE = 1000
_SHOWN = 20


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
        return self.sign(self._clock(), await self.heads())

    def sign(self, at: datetime, heads: Heads, *, is_whole: bool = True) -> AuditAnchor:
        """Return an anchor that says where logs stand, of all organizations or of those whose log grew.

        Raises:
            KeyUnavailable: the installation is sealed.
        """
        return audit_check.anchor(AnchorKey.derive(self._keys.audit_key), at, heads, is_whole=is_whole)

    async def heads(self) -> Heads:
        """Return where every organization says that its log ends."""
        return await audit_check.heads(self._database)

    async def ends(self, organizations: Iterable[UUID]) -> Heads:
        """Return where the logs of organizations end by their rows, which is more than they say: a look into each."""
        return await audit_check.ends(self._database, organizations)

    async def state(self) -> tuple[int, int]:
        """Return two numbers that change when where a log ends does: PostgreSQL tells them in milliseconds."""
        async with self._database.transaction(platform=True) as connection:
            return await audit_state(connection)

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

    def newest_anchor(self, path: Path) -> AuditAnchor | None:
        """Return what the newest anchors of a file say together; None when there is none in it yet. It reads the disk.

        Raises:
            ConfigurationError: the file cannot be read, or its last line is no anchor of this installation.
            KeyUnavailable: the installation is sealed.
        """
        key = AnchorKey.derive(self._keys.audit_key)
        return audit_check.newest_anchor(key, anchor_file.read_backwards(path))

    async def glance(self, path: Path) -> AuditGlance | None:
        """Hold the ends of all logs against the newest anchors of a file; None when there is none in it yet.

        Raises:
            ConfigurationError, KeyUnavailable: as for `newest_anchor`.
        """
        newest = await to_thread.run_sync(self.newest_anchor, path, abandon_on_cancel=True)
        if newest is None:
            return None
        behind = tuple(audit_check.behind(newest.heads, await self.ends(newest.heads)))
        return AuditGlance(anchored_at=newest.at, organizations=len(newest.heads), behind=behind)

    @property
    def is_sealed(self) -> bool:
        """Whether the key is missing that the logs are chained and anchors are signed with."""
        return self._unsealed is None

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

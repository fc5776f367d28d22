"""A write: one transaction in which an organization moves from one revision to the next.

The organization's row is locked first, so that its writers queue and its revisions have no gaps. Settings or secrets,
history, an audit row and the notification are then written together or not at all.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from voxplane.errors import FieldError, Invalid, KeyUnavailable
from voxplane.server.audit import AuditEvent, chained
from voxplane.server.naming import as_id
from voxplane.server.store import ConfigRow, HistoryRow, OrganizationState, Store, add_organization

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection
    from datetime import datetime

    from voxplane.schemas import JsonObject, OrganizationCreate
    from voxplane.server.audit import ChainedEvent
    from voxplane.server.auth import Principal
    from voxplane.server.changes import Changes
    from voxplane.server.database import Connection, Database
    from voxplane.server.envelope import Envelope, Keyring


@dataclass(frozen=True)
class Unsealed:
    """The keys of a process that may open secrets and write: without them it is sealed and only reads."""

    keyring: Keyring
    audit_key: bytes = field(repr=False)


@dataclass
class Write:
    """A write under way. `state` is the organization as it was found, and follows what is written."""

    store: Store
    state: OrganizationState
    principal: Principal
    unsealed: Unsealed
    at: datetime
    changed: set[str] = field(default_factory=set[str])
    """The providers of which anything is written."""
    renewed: set[str] = field(default_factory=set[str])
    """Those of them with other settings or secrets than before: the switch and the priority are neither."""
    action: str = ""
    """What was last put on record as done: what is written then is written by it."""
    unrecorded: list[ChainedEvent] = field(default_factory=list["ChainedEvent"])
    """What is to be put on record when the write ends, in one statement."""
    mark_key: bytes | None = field(default=None, repr=False)
    """The organization's key for marks of secrets, once it was asked for."""
    has_new_secrets: bool = False
    """Whether the organization's envelopes are to be written when the write ends, which are one document."""

    @property
    def revision(self) -> int:
        """The revision that this write leads to."""
        return self.state.revision + 1

    async def audit(self, action: str, target: str, detail: JsonObject) -> AuditEvent:
        """Put on record what is about to be done. `detail` holds names and numbers, never a value that was entered."""
        event = AuditEvent(
            organization_id=self.state.id,
            seq=self.state.audit_seq + 1,
            at=self.at,
            actor=self.principal.subject,
            action=action,
            target=target,
            outcome="success",
            request_id=self.principal.request_id,
            detail=detail,
        )
        rows = chained(self.unsealed.audit_key, self.state.audit_hash, [event])
        self.unrecorded += rows
        self.state = replace(self.state, audit_seq=event.seq, audit_hash=rows[-1].hash)
        self.action = action
        return event

    async def record(self) -> None:
        """Write what is to be put on record."""
        if self.unrecorded:
            await self.store.append_audit(self.unrecorded)
            self.unrecorded = []

    async def put_config(self, provider_key: str, row: ConfigRow | None, *, restored_from: int | None = None) -> None:
        """Write one provider's settings, or remove them, and keep what they were and became.

        `restored_from` is the revision that they are taken from, if they are.
        """
        self.changed.add(provider_key)
        before = self.state.configs.get(provider_key)
        if (before.config if before else {}) != (row.config if row else {}):
            self.renewed.add(provider_key)
        configs = {key: config for key, config in self.state.configs.items() if key != provider_key}
        if row is None:
            await self.store.delete_config(provider_key)
        else:
            row = replace(row, revision=self.revision, updated_at=self.at, updated_by=self.principal.name)
            await self.store.put_config(row)
            configs[provider_key] = row
        change = HistoryRow(
            provider_key=provider_key,
            revision=self.revision,
            before=before,
            after=row,
            actor=self.principal.subject,
            actor_name=self.principal.name,
            action=self.action,
            at=self.at,
            restored_from=restored_from,
        )
        await self.store.append_history(change)
        self.state = replace(self.state, configs=configs)

    async def rename(self, name: str) -> None:
        """Give the organization another name; nothing when it has that one."""
        if name != self.state.name:
            await self.audit("organization.rename", self.state.slug, {"revision": self.revision})
            await self.store.rename(name)
            self.state = replace(self.state, name=name)

    async def put_secrets(
        self, provider_key: str, sealed: Envelope | None, users: Collection[str] = (), *, is_same: bool = False
    ) -> None:
        """Write one provider's envelope, or remove it. Either way its secrets' version moves on.

        `users` are the other providers that use these secrets: what was seen of them was seen with other ones, unless
        values and origins are the same.
        """
        self.changed.add(provider_key)
        if not is_same:
            self.renewed |= {provider_key, *users}
        secrets = {key: stored for key, stored in self.state.secrets.items() if key != provider_key}
        if sealed is not None:
            secrets[provider_key] = sealed.to_json()
        self.has_new_secrets = True
        versions = self.state.secret_versions
        versions = {**versions, provider_key: versions.get(provider_key, 0) + 1}
        self.state = replace(self.state, secrets=secrets, secret_versions=versions)

    async def advance(self) -> None:
        """End the write: the organization is at its next revision, and whoever follows it is told."""
        await self.record()
        if self.has_new_secrets:
            await self.store.put_secrets(self.state.secrets, self.at)
            self.has_new_secrets = False
        renewed = sorted(self.renewed)
        await self.store.advance(self.revision, self.state.secret_versions, sorted(self.changed), renewed)
        revisions = self.state.provider_revisions | dict.fromkeys(renewed, self.revision)
        self.state = replace(self.state, revision=self.revision, provider_revisions=revisions)


@asynccontextmanager
async def begin(
    database: Database, changes: Changes, principal: Principal, unsealed: Unsealed | None, at: datetime
) -> AsyncGenerator[Write]:
    """Begin a write to the principal's organization.

    Raises:
        KeyUnavailable: the installation is sealed: what cannot be put on record is not done.
        OrganizationNotFound: the principal is bound to none, or it is gone.
    """
    try:
        async with begin_as(database, principal, None, unsealed, at) as write:
            yield write
            await write.record()
    except asyncio.CancelledError:
        changes.note(principal.tenant)  # who is cancelled as it is committed has written it all the same
        raise
    changes.note(principal.tenant)


@asynccontextmanager
async def begin_as(
    database: Database, principal: Principal, new: OrganizationCreate | None, unsealed: Unsealed | None, at: datetime
) -> AsyncGenerator[Write]:
    """Begin a write to the principal's organization, which is created first when `new` says what it is.

    Who uses this ends the write, and tells of it: what is only to be looked at raises `TakenBack`.

    Raises:
        OrganizationExists: the slug of a new one is taken.
        KeyUnavailable, OrganizationNotFound: as for `begin`.
    """
    # Two journeys: lock and read, then all that is written.
    async with database.transaction(
        organization_id=principal.tenant, platform=new is not None, is_piped=True
    ) as connection:
        if new is None:
            yield await _continue(connection, principal, unsealed, at)
        else:
            yield await found(connection, principal, new, unsealed, at)


async def _continue(connection: Connection, principal: Principal, unsealed: Unsealed | None, at: datetime) -> Write:
    if unsealed is None:
        raise KeyUnavailable
    store = Store(connection, principal.tenant)
    return Write(store, await store.state(lock=True), principal, unsealed, at)


async def found(
    connection: Connection,
    principal: Principal,
    new: OrganizationCreate,
    unsealed: Unsealed | None,
    at: datetime,
    *,
    providers: Collection[str] = (),
) -> Write:
    """Create the principal's organization and make the first write of it, in a transaction of the platform.

    `providers` are those that it begins with, for the record.

    Raises:
        OrganizationExists: the slug, or the id, is taken.
        Invalid: the slug is written as an id, and not as its own: it could be taken for another organization.
        KeyUnavailable: the installation is sealed.
    """
    if unsealed is None:
        raise KeyUnavailable
    if as_id(new.slug) not in {None, principal.organization_id}:
        raise Invalid([FieldError("/slug", "is_an_id", "This is written as an id: a slug is a name of another form.")])
    state = await add_organization(connection, principal.tenant, new.slug, new.name)
    write = Write(Store(connection, principal.tenant), state, principal, unsealed, at)
    await write.audit("organization.create", new.slug, {"providers": sorted(providers), "revision": write.revision})
    return write


class TakenBack(Exception):
    """Ends a transaction of which nothing is to stay: it was only to be seen what would come of it."""

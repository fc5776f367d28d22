"""Organizations and their access tokens: who is let in, and as whom."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

import structlog

from voxplane.errors import (
    Conflict,
    FieldError,
    Invalid,
    KeyUnavailable,
    OrganizationNotFound,
    TokenNotFound,
    Unauthenticated,
)
from voxplane.schemas import (
    AccessToken,
    AccessTokens,
    CreatedAccessToken,
    Organization,
    Organizations,
    PlatformToken,
    PlatformTokens,
)
from voxplane.server import auth, store, token_store
from voxplane.server.auth import ORGANIZATION_SCOPES, Principal, Scope
from voxplane.server.shared_answer import SharedAnswer
from voxplane.server.store import ConfigRow
from voxplane.server.token_store import TokenRow, TokenStore
from voxplane.server.write import Unsealed, begin, found

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Mapping

    from voxplane.schemas import AccessTokenCreate, JsonObject, OrganizationCreate
    from voxplane.server.changes import Changes
    from voxplane.server.database import Connection, Database
    from voxplane.server.issuers import Issuers
    from voxplane.server.settings import Settings

log = structlog.get_logger("voxplane")
_CACHE_SIZE = 10_000
_PAGE = 1000
_NO_HASH = bytes(32)
_NOT_SHOWN = frozenset({"hash", "organization_id", "organizations"})


class AccessService:
    """Recognises callers, and keeps the organizations and tokens that they are recognised by."""

    def __init__(
        self,
        *,
        database: Database,
        issuers: Issuers,
        changes: Changes,
        unsealed: Unsealed | None,
        settings: Settings,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take what it works with; `unsealed` is None while the installation is sealed."""
        self._database = database
        self._issuers = issuers
        self._changes = changes
        self._unsealed = unsealed
        self._cache_seconds = settings.token_cache_seconds
        self._max_tokens = settings.organization_tokens
        self._clock = clock
        # By SHA-256 of the whole token: a prefix is the same for every JWT of one issuer.
        self._recognised: OrderedDict[bytes, Principal] = OrderedDict()
        self._revocations = 0
        self._asking: WeakValueDictionary[bytes, SharedAnswer[Principal]] = WeakValueDictionary()
        changes.on_doubt(self._forget_callers)
        changes.on_revocation(self._forget_callers)

    @property
    def is_sealed(self) -> bool:
        """Whether the key is missing without which nothing is written."""
        return self._unsealed is None

    async def authenticate(self, token: str) -> Principal:
        """Return who a token stands for.

        Raises:
            Unauthenticated: it is malformed, unknown, expired or revoked, or its organization is gone.
        """
        if len(token) > auth.MAX_TOKEN_LENGTH:
            raise Unauthenticated
        digest = hashlib.sha256(token.encode()).digest()
        known = self._trusted(digest)
        if known is not None:
            return known
        # A fleet that comes back with one token is looked up once.
        shared = self._asking.setdefault(digest, SharedAnswer())
        return await shared.ask(lambda: self._look_up(token, digest), lambda: self._trusted(digest))

    def _trusted(self, digest: bytes) -> Principal | None:
        known = self._recognised.get(digest)
        return known if known is not None and known.trusted_until > monotonic() else None

    async def _look_up(self, token: str, digest: bytes) -> Principal:
        revocations = self._revocations
        principal = await self._recognise(token)
        if revocations != self._revocations:
            return principal  # it may have been looked up before it was revoked: good once, but not kept
        principal = replace(principal, trusted_until=monotonic() + self._trusted_seconds(principal))
        self._recognised[digest] = principal
        self._recognised.move_to_end(digest)
        while len(self._recognised) > _CACHE_SIZE:
            self._recognised.popitem(last=False)
        return principal

    def _trusted_seconds(self, principal: Principal) -> float:
        if principal.expires_at is None:
            return self._cache_seconds
        return min(self._cache_seconds, (principal.expires_at - self._clock()).total_seconds())

    async def _recognise(self, token: str) -> Principal:
        if token.startswith("vxp_"):
            return await self._recognise_access_token(token)
        principal = await self._issuers.authenticate(token)
        async with self._database.transaction(organization_id=principal.organization_id) as connection:
            if await store.organization(connection, principal.tenant) is None:
                raise Unauthenticated
        return principal

    async def _recognise_access_token(self, token: str) -> Principal:
        token_id = auth.token_id(token)
        if token_id is None:
            raise Unauthenticated
        async with self._database.transaction(token_id=token_id) as connection:
            row = await token_store.find_token(connection, token_id)
        # An unknown id is compared too, so that it takes as long as a wrong secret.
        matches = auth.token_matches(token, row.hash if row else _NO_HASH)
        if row is None or not matches or not self._is_live(row):
            raise Unauthenticated
        return Principal(
            subject=f"token:{row.id}",
            name=row.name,
            kind="token",
            organization_id=row.organization_id,
            scopes=frozenset(Scope(scope) for scope in row.scopes),
            fleet=frozenset(row.organizations or ()),
            expires_at=row.expires_at,
        )

    def _is_live(self, row: TokenRow) -> bool:
        return row.revoked_at is None and (row.expires_at is None or row.expires_at > self._clock())

    async def authenticate_for(self, token: str, organization: str | None) -> Principal:
        """Return who a token stands for, bound to the organization that is named: `current`, an id or a slug.

        Raises:
            Unauthenticated: as for `authenticate`.
            OrganizationNotFound: the token is not bound to it.
        """
        principal = await self.authenticate(token)
        if organization is None or organization == "current":
            return principal
        if principal.organization_id is None and not principal.fleet:
            raise OrganizationNotFound
        # A slug may look like an id, so what is none of the principal's ids is looked for as a slug.
        named = _id_written_as(organization)
        if named is None or (named != principal.organization_id and named not in principal.fleet):
            named = (await self._named(principal, organization)).id
        return principal.acting_for(named)

    async def _named(self, principal: Principal, slug: str) -> Organization:
        """Find an organization by its slug among those that the principal may act for."""
        if principal.organization_id is None:
            return await self.find_organization(slug)
        own = await self.get_organization(principal)
        if own.slug != slug:
            raise OrganizationNotFound
        return own

    async def get_organization(self, principal: Principal) -> Organization:
        """Return the principal's own organization.

        Raises:
            OrganizationNotFound: it is bound to none, or it is gone.
        """
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            row = await store.organization(connection, principal.tenant)
        if row is None:
            raise OrganizationNotFound
        return Organization(**vars(row))

    async def get_organizations(self, *, after: str = "", limit: int = 100) -> Organizations:
        """Return organizations by slug, `limit` at a time from the one that follows `after`."""
        async with self._database.transaction(platform=True) as connection:
            rows = await store.organizations(connection, after, limit)
        return Organizations(organizations=tuple(Organization(**vars(row)) for row in rows))

    async def every_organization(self) -> AsyncGenerator[Organization]:
        """Yield all organizations by slug."""
        after = ""
        while found := (await self.get_organizations(after=after, limit=_PAGE)).organizations:
            for each in found:
                yield each
            after = found[-1].slug

    async def find_organization(self, slug: str) -> Organization:
        """Return one organization by its slug, for the platform's own use.

        Raises:
            OrganizationNotFound: there is none.
        """
        async with self._database.transaction(platform=True) as connection:
            row = await store.organization_by_slug(connection, slug)
        if row is None:
            raise OrganizationNotFound
        return Organization(**vars(row))

    async def create_organization(
        self,
        principal: Principal,
        new: OrganizationCreate,
        configs: Mapping[str, tuple[bool, int]] | None = None,
    ) -> Organization:
        """Create an organization; `configs` are providers to begin with, by key: enabled, priority.

        Raises:
            OrganizationExists: the slug is taken.
            KeyUnavailable: the installation is sealed.
        """
        owner = replace(principal, organization_id=uuid4())
        async with self._database.transaction(organization_id=owner.tenant, platform=True) as connection:
            write = await found(connection, owner, new, self._unsealed, self._clock(), providers=configs or {})
            for key, (is_enabled, priority) in (configs or {}).items():
                await write.put_config(key, replace(ConfigRow.nothing(key), is_enabled=is_enabled, priority=priority))
            await write.advance()
        made = write.state
        return Organization(
            id=made.id, slug=made.slug, name=made.name, revision=made.revision, created_at=made.created_at
        )

    async def get_tokens(self, principal: Principal) -> AccessTokens:
        """Return the access tokens of the principal's organization, newest first."""
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            rows = await TokenStore(connection, principal.tenant).tokens()
        return AccessTokens(tokens=tuple(AccessToken(**_shown(row)) for row in rows))

    async def create_token(self, principal: Principal, new: AccessTokenCreate) -> CreatedAccessToken:
        """Create an access token for the principal's organization, with scopes that the principal may give.

        Raises:
            Invalid: a scope does not exist, is none of an organization's, or is more than the principal may give.
            Conflict: the organization has as many live tokens as it may.
            KeyUnavailable: the installation is sealed.
        """
        scopes = _checked_scopes(new.scopes, principal.grantable() & ORGANIZATION_SCOPES)
        minted = auth.mint_token()
        row = self._row(minted, principal, new, scopes)
        async with begin(self._database, self._changes, principal, self._unsealed, row.created_at) as write:
            present = await TokenStore(write.store.connection, principal.tenant).tokens()
            if sum(map(self._is_live, present)) >= self._max_tokens:
                raise Conflict(f"An organization has at most {self._max_tokens} live tokens: revoke one first.")
            await token_store.add_token(write.store.connection, row)
            await write.audit("token.create", minted.id, {"scopes": row.scopes})
        return CreatedAccessToken(**_shown(row), value=minted.value)

    async def create_platform_token(self, principal: Principal, new: AccessTokenCreate) -> CreatedAccessToken:
        """Create a token that is bound to no organization and administers them. For the operator's own machine.

        Raises:
            Invalid: a scope is another than the platform's.
            KeyUnavailable: the installation is sealed.
        """
        if self._unsealed is None:
            raise KeyUnavailable
        scopes = _checked_scopes(new.scopes, frozenset({Scope.ADMIN_ORGANIZATIONS}))
        minted = auth.mint_token()
        row = self._row(minted, replace(principal, organization_id=None), new, scopes)
        async with self._database.transaction(platform=True) as connection:
            await token_store.add_token(connection, row)
        log.info("platform token created", id=row.id, by=principal.subject)
        return CreatedAccessToken(**_shown(row), value=minted.value)

    async def create_fleet_token(
        self, principal: Principal, new: AccessTokenCreate, organizations: Collection[UUID]
    ) -> CreatedAccessToken:
        """Create a token for workers that serve several organizations. For the operator's own machine.

        Raises:
            Invalid: a scope is another than worker:resolve.
            OrganizationNotFound: one of the organizations does not exist.
            KeyUnavailable: the installation is sealed.
        """
        if self._unsealed is None:
            raise KeyUnavailable
        scopes = _checked_scopes(new.scopes, frozenset({Scope.WORKER_RESOLVE}))
        minted = auth.mint_token()
        row = self._row(minted, replace(principal, organization_id=None), new, scopes)
        async with self._database.transaction(platform=True) as connection:
            await _require_all(connection, organizations)
            await token_store.add_token(connection, replace(row, organizations=sorted(set(organizations))))
        log.info("fleet token created", id=row.id, by=principal.subject, organizations=len(set(organizations)))
        return CreatedAccessToken(**_shown(row), value=minted.value)

    async def set_fleet(self, token_id: str, organizations: Collection[UUID]) -> None:
        """Replace the organizations that a fleet's token may act for. For the operator's own machine.

        Raises:
            TokenNotFound: there is no such live token of a fleet.
            OrganizationNotFound: one of the organizations does not exist.
        """
        async with self._database.transaction(platform=True) as connection:
            await _require_all(connection, organizations)
            if not await token_store.set_fleet(connection, token_id, sorted(set(organizations))):
                raise TokenNotFound
            await token_store.ring_for_all(connection)
        self._forget_callers()
        log.info("fleet token changed", id=token_id, organizations=len(set(organizations)))

    async def get_platform_tokens(self) -> PlatformTokens:
        """Return the access tokens that are bound to no organization, newest first. For the operator's own machine."""
        async with self._database.transaction(platform=True) as connection:
            rows = await token_store.platform_tokens(connection)
            named = {each for row in rows for each in row.organizations or ()}
            slugs = {each.id: each.slug for each in await store.organizations_named(connection, [], sorted(named))}

        def fleet(row: TokenRow) -> tuple[str, ...] | None:
            if row.organizations is None:
                return None
            return tuple(sorted(slugs[each] for each in row.organizations))

        return PlatformTokens(tokens=tuple(PlatformToken(**_shown(row), organizations=fleet(row)) for row in rows))

    async def revoke_platform_token(self, token_id: str) -> None:
        """Revoke a token that is bound to no organization. For the operator's own machine.

        Raises:
            TokenNotFound: there is no such live token.
        """
        async with self._database.transaction(platform=True) as connection:
            if not await token_store.revoke_platform_token(connection, token_id, self._clock()):
                raise TokenNotFound
            await token_store.ring_for_all(connection)
        self._forget_callers()
        log.info("platform token revoked", id=token_id)

    async def revoke_token(self, principal: Principal, token_id: str) -> None:
        """Revoke a token for good. This process forgets it at once, others when they hear of it.

        Raises:
            TokenNotFound: the organization has no such live token.
            KeyUnavailable: the installation is sealed.
        """
        if not token_id.isalnum():
            raise TokenNotFound  # not the shape of an id, and perhaps nothing that PostgreSQL can hold
        async with begin(self._database, self._changes, principal, self._unsealed, self._clock()) as write:
            if not await TokenStore(write.store.connection, principal.tenant).revoke(token_id, write.at):
                raise TokenNotFound
            await write.audit("token.revoke", token_id, {})
            await write.store.ring_of_tokens()
        self._forget_callers()
        # This process may have heard the bell while it still knew the token.
        self._changes.wake(principal.tenant)

    def _forget_callers(self) -> None:
        self._revocations += 1
        self._recognised.clear()

    def _row(self, minted: auth.NewToken, principal: Principal, new: AccessTokenCreate, scopes: list[str]) -> TokenRow:
        now = self._clock()
        return TokenRow(
            id=minted.id,
            organization_id=principal.organization_id,
            organizations=None,
            name=new.name,
            hash=minted.hash,
            scopes=scopes,
            created_at=now,
            created_by=principal.name,
            expires_at=now + timedelta(days=new.expires_in_days) if new.expires_in_days else None,
            revoked_at=None,
        )


def _id_written_as(text: str) -> UUID | None:
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None


async def _require_all(connection: Connection, organizations: Collection[UUID]) -> None:
    if len(await store.positions(connection, list(organizations))) < len(set(organizations)):
        raise OrganizationNotFound


def _checked_scopes(wanted: list[str], grantable: frozenset[Scope]) -> list[str]:
    valid = sorted(scope.value for scope in grantable)
    errors = [
        FieldError(f"/scopes/{index}", "scope", f"Scopes that you can give: {', '.join(valid) or 'none'}.")
        for index, scope in enumerate(wanted)
        if scope not in valid
    ]
    if errors:
        raise Invalid(errors)
    return sorted(set(wanted))


def _shown(row: TokenRow) -> JsonObject:
    return {name: value for name, value in vars(row).items() if name not in _NOT_SHOWN}

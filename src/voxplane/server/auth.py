"""Who calls and what they may do: scopes, principals, and the shape of an access token. No SQL, no HTTP."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

from voxplane.errors import OrganizationNotFound, PermissionDenied

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class Scope(StrEnum):
    """What a principal may do. Exact: none implies another."""

    LIVEKIT_READ = "livekit:read"
    LIVEKIT_WRITE = "livekit:write"
    ADMIN_SECRETS = "admin:secrets"
    WORKER_RESOLVE = "worker:resolve"
    AUDIT_READ = "audit:read"
    ADMIN_TOKENS = "admin:tokens"
    ADMIN_ORGANIZATIONS = "admin:organizations"


ORGANIZATION_SCOPES = frozenset(Scope) - {Scope.ADMIN_ORGANIZATIONS}
"""What a token bound to an organization can hold; platform administration is bound to none."""

ADMINISTRATOR_SCOPES = ORGANIZATION_SCOPES - {Scope.WORKER_RESOLVE}
"""What an organization's administrator holds: all but reading keys, which is for workers alone."""

PrincipalKind = Literal["token", "jwt", "local"]


@dataclass(frozen=True)
class Principal:
    """Who calls, for which organization, with which scopes.

    `subject` identifies it for good (`token:<id>`), `name` is what a person calls it. `expires_at` is when its token
    ends; until `trusted_until`, on the monotonic clock, the token need not be looked up again. A fleet's worker is
    bound to no organization; it may act for one of `fleet` at a time.
    """

    subject: str
    name: str
    kind: PrincipalKind
    organization_id: UUID | None
    scopes: frozenset[Scope]
    fleet: frozenset[UUID] = frozenset()
    request_id: str | None = None
    expires_at: datetime | None = None
    trusted_until: float = 0.0

    def require(self, scope: Scope) -> None:
        """Raise unless the principal holds the scope.

        Raises:
            PermissionDenied: it does not; the message names the scope.
        """
        if scope not in self.scopes:
            raise PermissionDenied(f"This needs the scope {scope}.")

    @property
    def tenant(self) -> UUID:
        """The organization that the principal is bound to.

        Raises:
            OrganizationNotFound: it is bound to none.
        """
        if self.organization_id is None:
            raise OrganizationNotFound
        return self.organization_id

    def acting_for(self, organization_id: UUID) -> Principal:
        """Return the principal bound to one organization of its fleet, or as it is when it is bound to that one.

        Raises:
            OrganizationNotFound: it may not act for it, which is to say that there is none.
        """
        if organization_id == self.organization_id:
            return self
        if organization_id not in self.fleet:
            raise OrganizationNotFound
        return replace(self, organization_id=organization_id, fleet=frozenset())

    def grantable(self) -> frozenset[Scope]:
        """Return the scopes that this principal may give to a new token: its own, and none beyond.

        A worker reads keys, so only who may replace keys can make a worker's token.
        """
        worker = {Scope.WORKER_RESOLVE} if Scope.ADMIN_SECRETS in self.scopes else set[Scope]()
        return frozenset(self.scopes | worker)


class NewToken(NamedTuple):
    """A token that was just made: its value is known here and nowhere else."""

    id: str
    value: str
    hash: bytes


_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz"
_TOKEN = re.compile(r"vxp_([0-9A-Za-z]{12})_([A-Za-z0-9_-]{43})_([0-9a-f]{8})")
MAX_TOKEN_LENGTH = 8192


def mint_token() -> NewToken:
    """Make a token `vxp_<id>_<secret>_<checksum>` of 256 random bits.

    The prefix and the checksum let a secret scanner find one and rule out a look-alike.
    """
    token_id = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    body = f"vxp_{token_id}_{secrets.token_urlsafe(32)}"
    value = f"{body}_{_checksum(body)}"
    return NewToken(token_id, value, hash_token(value))


def token_id(value: str) -> str | None:
    """Return the id in a token, or None when the text is not a token of ours."""
    match = _TOKEN.fullmatch(value)
    if match is None or _checksum(value.rpartition("_")[0]) != match[3]:
        return None
    return match[1]


def hash_token(value: str) -> bytes:
    """Return what is stored of a token. It is random, so a fast hash without salt is enough."""
    return hashlib.sha256(value.encode()).digest()


def token_matches(value: str, stored_hash: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(hash_token(value), stored_hash)


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"

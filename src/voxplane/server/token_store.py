"""The statements about access tokens: those of one organization, and those that are bound to none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

from psycopg.rows import class_row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from voxplane.server.database import Connection

_ROW: LiteralString = """
    SELECT id, organization_id, organizations, name, hash, scopes, created_at, created_by, expires_at, revoked_at
    FROM access_tokens
"""


@dataclass(frozen=True)
class TokenRow:
    """An access token as stored: never its value."""

    id: str
    organization_id: UUID | None
    organizations: list[UUID] | None
    name: str
    hash: bytes
    scopes: list[str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None


class TokenStore:
    """The access tokens of one organization, on one transaction that names it."""

    def __init__(self, connection: Connection, organization_id: UUID) -> None:
        """Bind to a connection whose transaction names the same organization."""
        self._connection = connection
        self._organization_id = organization_id

    async def tokens(self) -> list[TokenRow]:
        """Return the organization's access tokens, newest first."""
        cursor = self._connection.cursor(row_factory=class_row(TokenRow))
        await cursor.execute(
            _ROW + "WHERE organization_id = %(organization_id)s ORDER BY created_at DESC, id",
            {"organization_id": self._organization_id},
        )
        return await cursor.fetchall()

    async def revoke(self, token_id: str, at: datetime) -> bool:
        """Revoke a token for good; whether there was one that was not revoked."""
        cursor = await self._connection.execute(
            """
            UPDATE access_tokens SET revoked_at = %(at)s
            WHERE organization_id = %(organization_id)s AND id = %(token_id)s AND revoked_at IS NULL
            RETURNING id
            """,
            {"organization_id": self._organization_id, "token_id": token_id, "at": at},
        )
        return await cursor.fetchone() is not None


async def find_token(connection: Connection, token_id: str) -> TokenRow | None:
    """Read the token that the transaction names, whoever it belongs to: nobody has been recognised yet."""
    cursor = connection.cursor(row_factory=class_row(TokenRow))
    await cursor.execute(_ROW + "WHERE id = %(token_id)s", {"token_id": token_id})
    return await cursor.fetchone()


async def platform_tokens(connection: Connection) -> list[TokenRow]:
    """Return the tokens that are bound to no organization, newest first, in a transaction of the platform."""
    cursor = connection.cursor(row_factory=class_row(TokenRow))
    await cursor.execute(_ROW + "WHERE organization_id IS NULL ORDER BY created_at DESC, id")
    return await cursor.fetchall()


async def revoke_platform_token(connection: Connection, token_id: str, at: datetime) -> bool:
    """Revoke a token that is bound to no organization; whether there was one that was not revoked."""
    cursor = await connection.execute(
        """
        UPDATE access_tokens SET revoked_at = %(at)s
        WHERE organization_id IS NULL AND id = %(token_id)s AND revoked_at IS NULL
        """,
        {"token_id": token_id, "at": at},
    )
    return cursor.rowcount == 1


async def add_token(connection: Connection, row: TokenRow) -> None:
    """Store a new token. The transaction names its organization, or is the platform's for one without."""
    await connection.execute(
        """
        INSERT INTO access_tokens
            (id, organization_id, organizations, name, hash, scopes, created_at, created_by, expires_at, revoked_at)
        VALUES (%(id)s, %(organization_id)s, %(organizations)s::uuid[], %(name)s, %(hash)s, %(scopes)s,
                %(created_at)s, %(created_by)s, %(expires_at)s, %(revoked_at)s)
        """,
        vars(row),
    )


async def ring_for_all(connection: Connection) -> None:
    """Have every process forget who it recognised, and whoever follows an organization look whether they still may."""
    await connection.execute("SELECT pg_notify('voxplane', 'tokens')")


async def set_fleet(connection: Connection, token_id: str, organizations: Sequence[UUID]) -> bool:
    """Replace the list of organizations that a fleet's token may act for; whether there is such a live token."""
    cursor = await connection.execute(
        """
        UPDATE access_tokens SET organizations = %(organizations)s::uuid[]
        WHERE organization_id IS NULL AND organizations IS NOT NULL AND id = %(token_id)s AND revoked_at IS NULL
        """,
        {"token_id": token_id, "organizations": list(organizations)},
    )
    return cursor.rowcount == 1

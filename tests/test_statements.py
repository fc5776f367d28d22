"""What a request costs the database: its statements are counted and written down, for one organization as for many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from tests.conftest import token_for
from tests.test_door import operations, prepared, stranger  # noqa
from voxplane.schemas import OrganizationCreate
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator

# A token that is not kept costs two: naming it, and reading it. So does the organization, when the path names it.
STATEMENTS: dict[str, int] = {}


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement from here on, as it goes to the database."""
    seen: list[str] = []
    execute = psycopg.AsyncCursor[Any].execute

    async def noted(self: psycopg.AsyncCursor[Any], query: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(" ".join(str(query).split()))
        return await execute(self, query, *arguments, **options)

    monkeypatch.setattr(psycopg.AsyncCursor, "execute", noted)
    return seen


async def spent(
    plane: ControlPlane, client: httpx.AsyncClient, statements: list[str], organization: str
) -> dict[str, int]:
    """Return how many statements each operation takes when it succeeds."""
    platform = await token_for(plane, Scope.ADMIN_ORGANIZATIONS)
    administrator = await token_for(plane, *ADMINISTRATOR_SCOPES)
    counted: dict[str, int] = {}
    for operation in operations():
        token = platform if operation.scope == Scope.ADMIN_ORGANIZATIONS else administrator
        url = operation.url(organization=organization, **await prepared(plane, operation))
        statements.clear()
        headers = {"Authorization": f"Bearer {token}"}
        answer = await client.request(operation.method, url, json=operation.body(), headers=headers)
        assert answer.status_code == operation.success
        counted[str(operation)] = len(statements)
    return counted


async def test_x(plane, stranger, statements):
    for k, v in (await spent(plane, stranger, statements, "current")).items():
        print(f'    "{k}": {v},')
    for k, v in (await spent(plane, stranger, statements, "default")).items():
        print(f'    "{k}": {v},')

"""What a request costs the database: its statements are counted and written down, for one organization as for many."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.conftest import token_for
from tests.test_door import clients, good_body, operations, prepared
from voxplane.schemas import OrganizationCreate
from voxplane.server.auth import Scope
from voxplane.server.control_plane import ControlPlane, local_administrator

# Each transaction begins with the one that names its organization. Two are for a token that is not kept.
STATEMENTS = {
    "GET /api/providers": 0,
    "GET /api/providers/{key}": 0,
    "GET /api/organizations/{organization}/providers": 4,
    "PUT /api/organizations/{organization}/providers/order": 11,  # two for each provider that moves
    "GET /api/organizations/{organization}/providers/{type}/primary": 4,
    "GET /api/organizations/{organization}/notices": 4,
    "GET /api/organizations/{organization}/providers/{key}": 4,
    "GET /api/organizations/{organization}/providers/{key}/models": 6,
    "GET /api/organizations/{organization}/providers/{key}/voices": 2,
    "GET /api/organizations/{organization}/providers/{key}/voices/{voice}/preview": 2,
    "PUT /api/organizations/{organization}/providers/{key}/config": 9,
    "DELETE /api/organizations/{organization}/providers/{key}/config": 9,
    "PUT /api/organizations/{organization}/providers/{key}/secrets": 12,  # the first one makes two keys
    "DELETE /api/organizations/{organization}/providers/{key}/secrets": 8,
    "GET /api/organizations/{organization}/providers/{key}/history": 6,
    "POST /api/organizations/{organization}/providers/{key}/restore": 10,
    "GET /api/organizations/{organization}/audit": 4,
    "GET /api/organizations/{organization}/import-notice": 4,
    "DELETE /api/organizations/{organization}/import-notice": 6,
    "POST /api/organizations/{organization}/providers/{key}/verify": 4,
    "GET /api/organizations/{organization}/providers/{key}/verifications": 4,
    "GET /api/organizations/{organization}/tokens": 4,
    "POST /api/organizations/{organization}/tokens": 8,
    "DELETE /api/organizations/{organization}/tokens/{token}": 8,  # one for whoever follows with it
    "POST /api/organizations/{organization}/resolve": 8,
    "POST /api/organizations/{organization}/reports": 4,
    "GET /api/organizations": 4,
    "POST /api/organizations": 6,
    "GET /api/me": 4,
    "POST /api/sign-in": 6,
    "GET /api/sign-in/methods": 0,
}


def noted_statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return every statement from here on, on its way to the database."""
    seen: list[str] = []
    execute: Any = psycopg.AsyncCursor.execute

    async def noted(self: object, query: object, *arguments: object, **options: object) -> object:
        seen.append(" ".join(str(query).split()))
        return await execute(self, query, *arguments, **options)

    monkeypatch.setattr(psycopg.AsyncCursor, "execute", noted)
    return seen


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return noted_statements(monkeypatch)


@pytest.mark.parametrize("organizations", [1, 200])
async def test_a_request_takes_so_many_statements_however_many_organizations_there_are(
    organizations: int, plane: ControlPlane, statements: list[str]
) -> None:
    operator = local_administrator(None, "test")
    for number in range(1, organizations):
        await plane.access.create_organization(operator, OrganizationCreate(slug=f"org-{number}", name="One of many"))
    usual = {tuple(operation.scopes) for operation in operations()}
    tokens = {scopes: await token_for(plane, *scopes) for scopes in usual}
    counted: dict[str, int] = {}
    async with clients(plane) as client:
        for operation in operations():
            headers = {"Authorization": f"Bearer {tokens[tuple(operation.scopes)]}"}
            url, body = operation.url(**await prepared(plane, operation)), await good_body(plane, operation)
            statements.clear()
            answer = await client.request(operation.method, url, json=body, headers=headers)
            assert answer.status_code == operation.success
            counted[str(operation)] = len(statements)
    assert counted == STATEMENTS


async def test_what_is_refused_costs_no_more_than_finding_that_out(plane: ControlPlane, statements: list[str]) -> None:
    reader = {"Authorization": f"Bearer {await token_for(plane, Scope.LIVEKIT_READ)}"}
    writer = {"Authorization": f"Bearer {await token_for(plane, Scope.LIVEKIT_WRITE, Scope.LIVEKIT_READ)}"}
    openai = "/api/organizations/current/providers/openai"
    cases: list[tuple[str, str, object, dict[str, str], int, int]] = [
        ("GET", openai, None, {}, 401, 0),
        ("GET", openai, None, {"Authorization": "Bearer vxp_no_token"}, 401, 0),
        ("GET", "/api/none", None, reader, 404, 0),
        ("PUT", f"{openai}/config", {"priority": 1}, reader, 403, 5),
        ("PUT", f"{openai}/config", {"unknown": 1}, writer, 422, 2),
        ("PUT", f"{openai}/config", {"config": {"temperature": 9}}, writer, 422, 5),
        ("PUT", f"{openai}/config", {"isEnabled": True}, writer, 200, 5),
        ("GET", openai, None, reader, 200, 4),
        ("GET", openai.replace("current", "default"), None, reader, 200, 6),
        ("GET", openai.replace("current", "elsewhere"), None, reader, 404, 4),
    ]
    async with clients(plane) as client:
        for method, path, body, headers, status, expected in cases:
            statements.clear()
            answer = await client.request(method, path, json=body, headers=headers)
            assert (method, path, answer.status_code, len(statements)) == (method, path, status, expected)

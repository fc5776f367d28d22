"""The door: every route, every kind of caller, and what each of them may learn."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import APIRouter, Depends
from psycopg import sql

from tests.conftest import Caller, token_for
from voxplane.schemas import AccessTokenCreate, OrganizationCreate, SecretsWrite
from voxplane.server.app import create_app, openapi
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Principal, Scope, mint_token
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.door import Guarded, everybody, require
from voxplane.server.settings import Settings

PROVIDERS = "/api/organizations/current/providers"
SERVER_OWNED = (
    "organizationId", "organization", "revision", "type", "updatedAt", "updatedBy", "approvals", "approved", "id",
    "hash", "createdBy", "createdAt", "expiresAt", "revokedAt", "epoch", "isPrimary", "usable", "provider", "etag",
    "is_enabled", "providerKey", "schemaVersion", "__proto__", "constructor", "",
)  # fmt: skip
Superuser = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class Operation:
    """One method of one path, as the OpenAPI document describes it."""

    method: str
    path: str
    scope: str
    success: int
    statuses: frozenset[int]
    required_query: tuple[str, ...]
    example: dict[str, Any] | None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_of_an_organization(self) -> bool:
        return "{organization}" in self.path

    def url(self, **parts: str) -> str:
        filled = {"organization": "current", "key": "openai", "provider_type": "llm", "token": "0" * 12} | parts
        query = {"type": "llm"}
        asked = "&".join(f"{name}={query[name]}" for name in self.required_query)
        return self.path.format(**filled) + (f"?{asked}" if asked else "")

    def body(self) -> dict[str, Any] | None:
        """Return the example of the document, changed where it can be used only once or needs more scopes."""
        if self.example is None:
            return None
        if self.path == "/api/organizations":
            return self.example | {"slug": f"new-{uuid.uuid4().hex[:12]}"}
        return self.example | ({"scopes": [Scope.ADMIN_TOKENS]} if "scopes" in self.example else {})


@cache
def operations() -> tuple[Operation, ...]:
    found: list[Operation] = []
    for path, methods in openapi(create_app())["paths"].items():
        for method, described in methods.items():
            statuses = frozenset(int(status) for status in described["responses"])
            body = described.get("requestBody", {}).get("content", {}).get("application/json")
            required = [each for each in described.get("parameters", []) if each["in"] == "query" and each["required"]]
            found.append(
                Operation(
                    method=method.upper(),
                    path=path,
                    scope=described["x-scope"],
                    success=min(statuses),
                    statuses=statuses,
                    required_query=tuple(each["name"] for each in required),
                    example=body["schema"]["examples"][0] if body else None,
                )
            )
    return tuple(found)


def of_organizations() -> list[Operation]:
    return [operation for operation in operations() if operation.is_of_an_organization]


def with_body() -> list[Operation]:
    return [operation for operation in operations() if operation.example is not None]


def contents(superuser: Superuser) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table."""
    tables = superuser.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'voxplane' ORDER BY 1").fetchall()
    whole = sql.SQL("SELECT to_jsonb(each)::text FROM {} AS each ORDER BY 1")
    return {
        str(table): superuser.execute(whole.format(sql.Identifier(str(table)))).fetchall() for (table,) in tables
    }


def shown_to_a_caller(answer: httpx.Response) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return all that an answer tells, but for the id of the request and the length that comes with it."""
    body = {name: value for name, value in answer.json().items() if name != "requestId"}
    return answer.status_code, body, {name: value for name, value in answer.headers.items() if name != "x-request-id"}


@asynccontextmanager
async def clients(plane: ControlPlane) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client without a token; each request brings its own."""
    transport = httpx.ASGITransport(create_app(plane))
    async with httpx.AsyncClient(transport=transport, base_url="http://voxplane") as client:
        yield client


@pytest.fixture
async def stranger(plane: ControlPlane) -> AsyncIterator[httpx.AsyncClient]:
    async with clients(plane) as client:
        yield client


@pytest.fixture
async def elsewhere(plane: ControlPlane) -> Principal:
    """The administrator of another organization, `elsewhere`."""
    operator = local_administrator(None, "test")
    made = await plane.access.create_organization(operator, OrganizationCreate(slug="elsewhere", name="Elsewhere"))
    return local_administrator(made.id, "test")


@dataclass(frozen=True)
class Bearer:
    """Somebody at the door: what they send, and which scopes that stands for if it is recognised."""

    authorization: str | None
    scopes: frozenset[str] | None = None

    @property
    def headers(self) -> dict[bytes, bytes]:
        return {} if self.authorization is None else {b"Authorization": self.authorization.encode("latin-1")}


async def unrecognised(plane: ControlPlane, superuser: Superuser) -> dict[str, Bearer]:
    """Everything that is no valid token, and a token in places where it does not count."""
    good, revoked, expired = [await token_for(plane, *ADMINISTRATOR_SCOPES) for _ in range(3)]
    owner = local_administrator((await plane.access.find_organization("default")).id, "test")
    await plane.access.revoke_token(owner, revoked.split("_")[1])
    superuser.execute("UPDATE access_tokens SET expires_at = now() WHERE id = %s", [expired.split("_")[1]])
    other = mint_token().value
    token_id, body, checksum = good.split("_")[1], good[:-8], good[-8:]
    return {
        "nobody": Bearer(None),
        "no value": Bearer("Bearer"),
        "a blank": Bearer("Bearer  "),
        "another kind": Bearer(f"Basic {good}"),
        "no kind": Bearer(good),
        "one word": Bearer(f"Bearer{good}"),
        "never made": Bearer(f"Bearer {other}"),
        "cut short": Bearer(f"Bearer {good[:-1]}"),
        "longer": Bearer(f"Bearer {good}0"),
        "two": Bearer(f"Bearer {good} {good}"),
        "wrong checksum": Bearer(f"Bearer {body}{int(checksum, 16) ^ 1:08x}"),
        "another's secret": Bearer(f"Bearer vxp_{token_id}_{other[17:]}"),
        "another case": Bearer(f"Bearer {good.swapcase()}"),
        "revoked": Bearer(f"Bearer {revoked}"),
        "expired": Bearer(f"Bearer {expired}"),
        "huge": Bearer("Bearer " + "x" * 9000),
        "other bytes": Bearer("Bearer vxp_\x80\xff"),
        "no JWT": Bearer("Bearer a.b.c"),
        "SQL": Bearer("Bearer ' OR 1=1 --"),
    }


async def recognised(plane: ControlPlane) -> dict[str, Bearer]:
    """A token for each single scope, and one for each usual role."""
    wanted: dict[str, list[str]] = {scope.value: [scope.value] for scope in Scope}
    wanted["administrator"] = sorted(ADMINISTRATOR_SCOPES)
    return {
        name: Bearer(f"Bearer {await token_for(plane, *scopes)}", frozenset(scopes))
        for name, scopes in wanted.items()
    }


async def request_that_succeeds(plane: ControlPlane, operation: Operation, organization: str) -> dict[str, Any]:
    """Prepare what the operation needs, and return the request."""
    owner = local_administrator((await plane.access.find_organization("default")).id, "test")
    if (operation.method, operation.path.rpartition("/")[2]) == ("DELETE", "secrets"):
        await plane.providers.update_provider_secrets(owner, "openai", SecretsWrite(secrets={"apiKey": "sk-test"}))
    parts = {"organization": organization}
    if "{token}" in operation.path:
        new = AccessTokenCreate(name="to be revoked", scopes=[Scope.LIVEKIT_READ])
        parts["token"] = (await plane.access.create_token(owner, new)).id
    body = operation.body()
    return {"method": operation.method, "url": operation.url(**parts)} | ({} if body is None else {"json": body})


def by_policy(operation: Operation, who: Bearer, place: str) -> int:
    """Say what a request must be answered with, from nothing but the operation's policy."""
    if operation.scope == "everybody":
        return operation.success
    if who.scopes is None:
        return 401
    is_bound = who.scopes != {Scope.ADMIN_ORGANIZATIONS}
    if operation.is_of_an_organization and not (place == "current" or (place.startswith("own") and is_bound)):
        return 404
    return operation.success if operation.scope == "anyone" or operation.scope in who.scopes else 403


async def test_every_route_answers_every_caller_by_its_policy(
    plane: ControlPlane, superuser: Superuser, elsewhere: Principal, stranger: httpx.AsyncClient
) -> None:
    own = await plane.access.find_organization("default")
    places = {
        "current": "current",
        "own id": str(own.id),
        "own slug": own.slug,
        "foreign id": str(elsewhere.tenant),
        "foreign slug": "elsewhere",
        "no organization's id": str(uuid.uuid4()),
        "no organization's slug": "nowhere",
    }
    callers = await unrecognised(plane, superuser) | await recognised(plane)
    wrong: dict[str, tuple[int, int]] = {}
    cells = 0
    for operation in operations():
        for place, organization in places.items() if operation.is_of_an_organization else [("current", "current")]:
            for name, who in callers.items():
                expected = by_policy(operation, who, place)
                request = await request_that_succeeds(plane, operation, organization)
                answer = await stranger.request(**request, headers=who.headers)
                cells += 1
                if answer.status_code != expected:
                    wrong[f"{operation} at {place} by {name}"] = (answer.status_code, expected)
    assert wrong == {}
    assert len(callers) == 27
    assert cells == len(callers) * (len(of_organizations()) * len(places) + len(operations()) - len(of_organizations()))

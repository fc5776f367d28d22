"""Access tokens: who may make which, how often their value is seen, and that their end is their end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import combinations

import anyio
import httpx
import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.conftest import Caller, stored_rows, token_for
from tests.test_changes import following
from tests.test_door import clients
from voxplane.errors import Unauthenticated
from voxplane.schemas import AccessTokenCreate, OrganizationCreate
from voxplane.server.auth import ADMINISTRATOR_SCOPES, ORGANIZATION_SCOPES, Principal, Scope, mint_token, token_id
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.settings import Issuer, Settings

TOKENS = "/api/organizations/current/tokens"
OPENAI = "/api/organizations/current/providers/openai"
Superuser = psycopg.Connection[tuple[object, ...]]


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


@asynccontextmanager
async def caching(settings: Settings, **changed: object) -> AsyncGenerator[tuple[ControlPlane, httpx.AsyncClient]]:
    """Serve as in production: tokens and answers are kept for some seconds, and the change feed runs."""
    kept = settings.model_copy(update={"token_cache_seconds": 30.0} | changed)
    async with ControlPlane.open(kept) as plane, following(plane), clients(plane) as client:
        yield plane, client


async def test_a_token_is_shown_once_and_kept_as_a_hash(admin: httpx.AsyncClient, superuser: Superuser) -> None:
    body = {"name": "deploy", "scopes": ["livekit:write", "livekit:read"], "expiresInDays": 90}
    before = datetime.now(UTC)
    made = await admin.post(TOKENS, json=body)
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    token = made.json()
    assert token["scopes"] == ["livekit:read", "livekit:write"]
    assert token["name"] == "deploy"
    assert token["createdBy"] == "test"
    lifetime = datetime.fromisoformat(token["expiresAt"]) - datetime.fromisoformat(token["createdAt"])
    assert lifetime == timedelta(days=90)
    assert before <= datetime.fromisoformat(token["createdAt"]) <= datetime.now(UTC)
    value = token.pop("value")
    assert token_id(value) == token["id"]
    listed = await admin.get(TOKENS)
    assert listed.json()["tokens"][0] == token
    secret = value.split("_", 2)[2]
    assert secret not in listed.text
    assert secret not in str(stored_rows(superuser))
    row = superuser.execute("SELECT hash FROM access_tokens WHERE id = %s", [token["id"]]).fetchone()
    assert row == (hashlib.sha256(value.encode()).digest(),)
    me = await admin.get("/api/me", headers=bearer(value))
    assert me.json()["scopes"] == ["livekit:read", "livekit:write"]


async def test_a_token_never_has_a_scope_that_its_maker_has_not(caller: Caller) -> None:
    others = sorted(ORGANIZATION_SCOPES - {Scope.ADMIN_TOKENS})
    tried = 0
    for held in [set(several) for count in range(3) for several in combinations(others, count)]:
        maker = await caller(Scope.ADMIN_TOKENS, *held)
        grantable = {Scope.ADMIN_TOKENS, *held}
        # Who may replace the keys may also let a worker have them.
        grantable |= {Scope.WORKER_RESOLVE} if Scope.ADMIN_SECRETS in held else set()
        for scope in Scope:
            answer = await maker.post(TOKENS, json={"name": "x", "scopes": [scope]})
            assert (held, scope, answer.status_code) == (held, scope, 201 if scope in grantable else 422)
            if scope not in grantable:
                (error,) = answer.json()["errors"]
                assert (error["pointer"], error["code"]) == ("/scopes/0", "scope")
                assert error["message"] == f"Scopes that you can give: {', '.join(sorted(grantable))}."
            tried += 1
            if answer.status_code == 201:
                await maker.delete(f"{TOKENS}/{answer.json()['id']}")
        (await maker.get(TOKENS)).raise_for_status()
    assert tried == 16 * len(Scope)


@pytest.mark.parametrize(
    "scopes",
    [
        [],
        ["livekit:*"],
        ["livekit"],
        ["LIVEKIT:READ"],
        ["livekit:read "],
        [""],
        ["admin:organizations"],
        ["livekit:read"] * 17,
    ],
)
async def test_scopes_are_those_that_exist(scopes: list[str], admin: httpx.AsyncClient, superuser: Superuser) -> None:
    before = stored_rows(superuser)
    assert (await admin.post(TOKENS, json={"name": "x", "scopes": scopes})).status_code == 422
    assert stored_rows(superuser) == before


async def test_a_scope_named_twice_counts_once(admin: httpx.AsyncClient) -> None:
    answer = await admin.post(TOKENS, json={"name": "x", "scopes": ["livekit:read", "livekit:read"]})
    assert answer.json()["scopes"] == ["livekit:read"]


async def test_an_organization_has_a_limited_number_of_live_tokens(
    settings: Settings, database: str, superuser: Superuser
) -> None:
    assert database
    few = settings.model_copy(update={"organization_tokens": 5})
    async with ControlPlane.open(few) as plane, clients(plane) as client:
        client.headers.update(bearer(await token_for(plane, *ADMINISTRATOR_SCOPES)))
        body = {"name": "x", "scopes": ["livekit:read"]}
        answers: list[httpx.Response] = []

        async def create() -> None:
            answers.append(await client.post(TOKENS, json=body))

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(create)
        assert sorted(answer.status_code for answer in answers) == [201] * 4 + [409] * 4
        refused = next(answer for answer in answers if answer.status_code == 409)
        assert refused.json()["detail"] == "An organization has at most 5 live tokens: revoke one first."
        ids = [answer.json()["id"] for answer in answers if answer.status_code == 201]
        # A revoked token and an expired one make room.
        assert (await client.delete(f"{TOKENS}/{ids[0]}")).status_code == 204
        superuser.execute("UPDATE access_tokens SET expires_at = now() WHERE id = %s", [ids[1]])
        assert [(await client.post(TOKENS, json=body)).status_code for _ in range(3)] == [201, 201, 409]


async def test_revoking_is_for_good_and_only_for_ones_own(plane: ControlPlane, admin: httpx.AsyncClient) -> None:
    operator = local_administrator(None, "test")
    made = await plane.access.create_organization(operator, OrganizationCreate(slug="elsewhere", name="Elsewhere"))
    theirs = await plane.access.create_token(
        local_administrator(made.id, "test"), AccessTokenCreate(name="x", scopes=[Scope.LIVEKIT_READ])
    )
    own = (await admin.post(TOKENS, json={"name": "x", "scopes": ["livekit:read"]})).json()
    platform = await token_for(plane, Scope.ADMIN_ORGANIZATIONS)
    assert (await admin.delete(f"{TOKENS}/{own['id']}")).status_code == 204
    for token in (own["id"], theirs.id, token_id(platform), "0" * 12, "%00", "a/b", "%F0%9F%98%80", own["value"]):
        answer = await admin.delete(f"{TOKENS}/{token}")
        assert (token, answer.status_code) == (token, 404)
    listed = {token["id"]: token["revokedAt"] for token in (await admin.get(TOKENS)).json()["tokens"]}
    assert listed[own["id"]] is not None
    assert theirs.id not in listed
    assert (await admin.get("/api/me", headers=bearer(own["value"]))).status_code == 401
    assert (await admin.get("/api/me", headers=bearer(theirs.value))).status_code == 200
    assert (await admin.get("/api/organizations", headers=bearer(platform))).status_code == 200


async def test_a_platform_token_is_bound_to_no_organization(plane: ControlPlane, caller: Caller) -> None:
    platform = await caller(Scope.ADMIN_ORGANIZATIONS)
    me = (await platform.get("/api/me")).json()
    assert (me["organization"], me["scopes"]) == (None, ["admin:organizations"])
    for path in ("/api/organizations/current/providers", "/api/organizations/default/providers", TOKENS):
        assert (await platform.get(path)).status_code in {403, 404}
    operator = local_administrator(None, "test")
    for scope in ORGANIZATION_SCOPES:
        with pytest.raises(Exception, match="some values are not valid"):
            await plane.access.create_platform_token(operator, AccessTokenCreate(name="x", scopes=[scope]))


async def test_a_revoked_token_is_refused_at_once_although_it_was_kept(settings: Settings) -> None:
    async with caching(settings) as (plane, client):
        admin = bearer(await token_for(plane, *ADMINISTRATOR_SCOPES))
        value = await token_for(plane, "livekit:read")
        for _ in range(3):
            assert (await client.get(OPENAI, headers=bearer(value))).status_code == 200
            assert (await client.get("/api/me", headers=bearer(value))).status_code == 200
        assert (await client.delete(f"{TOKENS}/{token_id(value)}", headers=admin)).status_code == 204
        for path in (OPENAI, "/api/me"):
            assert (await client.get(path, headers=bearer(value))).status_code == 401
        # A token may also revoke itself.
        own = admin["Authorization"].removeprefix("Bearer ")
        assert (await client.delete(f"{TOKENS}/{token_id(own)}", headers=admin)).status_code == 204
        assert (await client.get("/api/me", headers=admin)).status_code == 401


async def test_a_token_looked_up_while_it_is_revoked_is_not_kept(settings: Settings) -> None:
    async with caching(settings) as (plane, _):
        owner = local_administrator((await plane.access.find_organization("default")).id, "test")

        async def look_up(value: str) -> None:
            try:
                await plane.access.authenticate(value)
            except Unauthenticated:
                return

        for _ in range(100):
            value = await token_for(plane, "livekit:read")
            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(look_up, value)
                group.start_soon(plane.access.revoke_token, owner, str(token_id(value)))
            with pytest.raises(Unauthenticated):
                await plane.access.authenticate(value)


async def seconds_until_refused(client: httpx.AsyncClient, headers: dict[str, str]) -> float:
    """Ask, again and again, both what is kept as an answer and what is not, until neither is answered."""
    started = time.monotonic()
    with anyio.fail_after(20):
        while any([(await client.get(path, headers=headers)).status_code == 200 for path in (OPENAI, "/api/me")]):  # noqa: ASYNC110 - time itself brings it about
            await anyio.sleep(0.02)
    return time.monotonic() - started


async def test_an_expired_token_is_not_outlived_by_what_was_kept_of_it(
    settings: Settings, superuser: Superuser
) -> None:
    async with caching(settings) as (plane, client):
        value = await token_for(plane, "livekit:read")
        superuser.execute(
            "UPDATE access_tokens SET expires_at = now() + interval '1 s' WHERE id = %s", [token_id(value)]
        )
        assert (await client.get(OPENAI, headers=bearer(value))).status_code == 200
        assert await seconds_until_refused(client, bearer(value)) < 5


async def test_an_expired_jwt_is_not_outlived_by_what_was_kept_of_it(settings: Settings) -> None:
    key = Ed25519PrivateKey.generate()
    public_key = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    issuer = Issuer(issuer="https://idp.example", audience="voxplane", algorithm="EdDSA", public_key=public_key)
    async with caching(settings, trusted_issuers=(issuer,)) as (plane, client):
        now = int(time.time())
        claims = {
            "iss": issuer.issuer,
            "aud": issuer.audience,
            "sub": "ada",
            "iat": now - 600,
            "exp": now - 28,  # of the thirty seconds by which clocks may differ, two are left
            "org_id": str((await plane.access.find_organization("default")).id),
            "scope": "livekit:read",
        }
        token = jwt.encode(claims, key, algorithm="EdDSA")
        assert (await client.get(OPENAI, headers=bearer(token))).status_code == 200
        assert await seconds_until_refused(client, bearer(token)) < 6


def test_tokens_are_random_and_found_by_a_scanner() -> None:
    made = [mint_token() for _ in range(10_000)]
    assert len({token.id for token in made}) == len({token.hash for token in made}) == len(made)
    assert all(token_id(token.value) == token.id for token in made)
    # One character changed anywhere is no token of ours: the checksum says so before the database is asked.
    value = made[0].value
    changed = [value[:at] + ("x" if value[at] != "x" else "y") + value[at + 1 :] for at in range(len(value))]
    assert {token_id(each) for each in changed} == {None}


def test_who_is_no_principal_of_an_organization_has_no_tenant() -> None:
    with pytest.raises(Exception, match="no such organization"):
        _ = Principal("local:x", "x", "local", None, frozenset()).tenant

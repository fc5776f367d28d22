"""Conditional requests (RFC 9110, 13): nothing is sent twice, and nobody overwrites what they have not seen."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import psycopg
import pytest

from tests.conftest import Caller, stored_rows, token_for
from tests.test_door import clients, operations
from tests.test_problem import check_problem
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Scope
from voxplane.server.control_plane import ControlPlane
from voxplane.server.settings import Settings

PROVIDERS = "/api/organizations/current/providers"
OPENAI = f"{PROVIDERS}/openai"
ORDER = f"{PROVIDERS}/order?type=llm"
WRITES = [
    ("PUT", f"{OPENAI}/config", {"priority": 42}),
    ("DELETE", f"{OPENAI}/config", None),
    ("PUT", f"{OPENAI}/secrets", {"secrets": {"apiKey": "sk-later"}}),
    ("DELETE", f"{OPENAI}/secrets", None),
    ("POST", f"{OPENAI}/restore", {"revision": 1}),
]
Superuser = psycopg.Connection[tuple[object, ...]]


def test_every_write_that_takes_if_match_is_tried_here() -> None:
    taking = {(operation.method, operation.url()) for operation in operations() if 412 in operation.statuses}
    # What has an ETag of its own: tests/test_import_notice.py and tests/test_order.py.
    own = {("DELETE", "/api/organizations/current/import-notice"), ("PUT", ORDER)}
    assert taking - own == {(method, path) for method, path, _ in WRITES}
    assert taking > own


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
async def test_a_write_happens_only_to_what_its_author_saw(
    method: str, path: str, body: dict[str, object] | None, admin: httpx.AsyncClient, superuser: Superuser
) -> None:
    (await admin.put(f"{OPENAI}/secrets", json={"secrets": {"apiKey": "sk-first"}})).raise_for_status()
    stale = (await admin.get(OPENAI)).headers["etag"]
    (await admin.put(f"{OPENAI}/config", json={"config": {"temperature": 0.11}})).raise_for_status()
    seen = await admin.get(OPENAI)
    present = seen.headers["etag"]
    assert present == seen.json()["etag"] != stale
    before = stored_rows(superuser)
    other = present.replace(present[1:9], "00000000")
    never = (
        stale,
        "",
        '"',
        '""',
        present.strip('"'),
        f"W/{present}",
        other,
        f"{stale}, W/{present}",
        f"{present}x",
        "null",
        "**",
    )
    for if_match in never:
        refused = await admin.request(method, path, json=body, headers={"If-Match": if_match})
        check_problem(refused, 412, "revision_conflict")
    assert stored_rows(superuser) == before
    done = await admin.request(method, path, json=body, headers={"If-Match": f'"a",{stale} , {present}'})
    assert done.status_code in {200, 204}
    assert stored_rows(superuser) != before
    # The same ETag is good for one change only.
    again = await admin.request(method, path, json=body, headers={"If-Match": present})
    check_problem(again, 412, "revision_conflict")


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
@pytest.mark.parametrize("if_match", ["*", " * ", None])
async def test_a_star_or_nothing_is_no_condition(
    if_match: str | None, method: str, path: str, body: dict[str, object] | None, admin: httpx.AsyncClient
) -> None:
    (await admin.put(f"{OPENAI}/secrets", json={"secrets": {"apiKey": "sk-first"}})).raise_for_status()
    headers = {} if if_match is None else {"If-Match": if_match}
    assert (await admin.request(method, path, json=body, headers=headers)).status_code in {200, 204}


async def test_an_etag_changes_with_settings_and_with_secrets_and_with_nothing_else(admin: httpx.AsyncClient) -> None:
    tags = [(await admin.get(OPENAI)).headers["etag"]]
    for path, body in (
        (f"{OPENAI}/config", {"config": {"temperature": 0.2}}),
        (f"{OPENAI}/config", {"isEnabled": False}),
        (f"{OPENAI}/config", {"priority": 3}),
        (f"{OPENAI}/secrets", {"secrets": {"apiKey": "sk-a"}}),
        (f"{OPENAI}/secrets", {"secrets": {"apiKey": "sk-b"}}),
        (f"{OPENAI}/secrets", {"label": "named"}),
    ):
        answer = await admin.put(path, json=body)
        tags.append(answer.headers["etag"])
        assert answer.headers["etag"] == answer.json()["etag"] == (await admin.get(OPENAI)).headers["etag"]
        assert (await admin.put(path, json=body)).headers["etag"] == tags[-1]
    assert len(set(tags)) == len(tags)
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)
    (await admin.put(f"{PROVIDERS}/groq/config", json={"priority": 5})).raise_for_status()
    (
        await admin.post("/api/organizations/current/tokens", json={"name": "x", "scopes": ["livekit:read"]})
    ).raise_for_status()
    assert (await admin.get(OPENAI)).headers["etag"] == tags[-1]


@asynccontextmanager
async def demanding(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    strict = settings.model_copy(update={"require_preconditions": True})
    async with ControlPlane.open(strict) as plane, clients(plane) as client:
        client.headers["Authorization"] = f"Bearer {await token_for(plane, *ADMINISTRATOR_SCOPES)}"
        yield client


async def test_an_installation_may_demand_a_condition(settings: Settings, superuser: Superuser) -> None:
    async with demanding(settings) as client:
        before = stored_rows(superuser)
        for method, path, body in WRITES:
            check_problem(await client.request(method, path, json=body), 428, "precondition_required")
        assert stored_rows(superuser) == before
        for method, path, body in WRITES:
            tag = (await client.get(OPENAI)).headers["etag"]
            answer = await client.request(method, path, json=body, headers={"If-Match": tag})
            assert answer.status_code in {200, 204}
        check_problem(await client.put(ORDER, json={"order": ["groq"]}), 428, "precondition_required")
        assert (await client.get(OPENAI)).status_code == 200


LISTS = [
    "/api/providers",
    "/api/providers/openai",
    PROVIDERS,
    f"{PROVIDERS}?type=llm",
    "/api/organizations/current/tokens",
]


@pytest.mark.parametrize("path", [*LISTS, "/api/organizations"])
async def test_what_the_caller_has_is_not_sent_again(path: str, admin: httpx.AsyncClient, caller: Caller) -> None:
    client = await caller(Scope.ADMIN_ORGANIZATIONS) if path == "/api/organizations" else admin
    first = await client.get(path)
    tag = first.headers["etag"]
    assert tag.startswith('"')
    for held in (tag, f"W/{tag}", f'"a", {tag}', f'{tag},W/"b"', "*"):
        again = await client.get(path, headers={"If-None-Match": held})
        assert (held, again.status_code, again.content) == (held, 304, b"")
        assert (again.headers["etag"], again.headers["cache-control"]) == (tag, first.headers["cache-control"])
    for held in ("", tag.strip('"'), '"other"', f'"{tag}'):
        again = await client.get(path, headers={"If-None-Match": held})
        assert (held, again.status_code, again.content) == (held, 200, first.content)


async def test_a_list_has_another_etag_once_anything_in_it_changed(admin: httpx.AsyncClient) -> None:
    async def tags() -> dict[str, str]:
        return {path: (await admin.get(path)).headers["etag"] for path in LISTS}

    before = await tags()
    assert await tags() == before
    (await admin.put(f"{OPENAI}/config", json={"priority": 77})).raise_for_status()
    after = await tags()
    assert {path for path in LISTS if before[path] != after[path]} == {PROVIDERS, f"{PROVIDERS}?type=llm"}
    (
        await admin.post("/api/organizations/current/tokens", json={"name": "x", "scopes": ["livekit:read"]})
    ).raise_for_status()
    last = await tags()
    assert {path for path in LISTS if last[path] != after[path]} == {"/api/organizations/current/tokens"}


async def test_the_catalogue_may_be_kept_if_it_is_asked_for_again_and_an_organizations_own_may_not(
    admin: httpx.AsyncClient,
) -> None:
    for path in LISTS[:2]:
        assert (await admin.get(path)).headers["cache-control"] == "no-cache"
    for path in (*LISTS[2:], OPENAI, f"{PROVIDERS}/llm/primary", "/api/me"):
        assert (await admin.get(path)).headers["cache-control"] == "no-store"

"""Organizations: made and listed by the platform, seen by nobody else."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import Caller
from voxplane.errors import TokenNotFound
from voxplane.server.control_plane import ControlPlane

ORGANIZATIONS = "/api/organizations"


@pytest.fixture
async def platform(caller: Caller) -> httpx.AsyncClient:
    return await caller("admin:organizations")


async def test_an_organization_is_made_once_and_begins_with_nothing_enabled(
    platform: httpx.AsyncClient, caller: Caller
) -> None:
    made = await platform.post(ORGANIZATIONS, json={"slug": "acme", "name": "Acme Inc."})
    assert made.status_code == 201
    assert (made.json()["slug"], made.json()["name"], made.json()["revision"]) == ("acme", "Acme Inc.", 1)
    again = await platform.post(ORGANIZATIONS, json={"slug": "acme", "name": "Another"})
    assert (again.status_code, again.json()["code"]) == (409, "organization_exists")
    reader = await caller("livekit:read", organization="acme")
    providers = (await reader.get(f"{ORGANIZATIONS}/acme/providers")).json()["providers"]
    assert len(providers) == 12
    assert not [each for each in providers if each["isEnabled"]]


async def test_organizations_are_listed_page_by_page(platform: httpx.AsyncClient) -> None:
    for number in range(5):
        await platform.post(ORGANIZATIONS, json={"slug": f"org-{number}", "name": f"Number {number}"})
    first = (await platform.get(f"{ORGANIZATIONS}?limit=4")).json()["organizations"]
    assert [each["slug"] for each in first] == ["default", "org-0", "org-1", "org-2"]
    rest = (await platform.get(f"{ORGANIZATIONS}?limit=4&after=org-2")).json()["organizations"]
    assert [each["slug"] for each in rest] == ["org-3", "org-4"]


@pytest.mark.parametrize("slug", ["", "Acme", "acme_inc", "-acme", "a" * 64, "../acme", "acme\n"])
async def test_a_slug_is_a_plain_word(platform: httpx.AsyncClient, slug: str) -> None:
    refused = await platform.post(ORGANIZATIONS, json={"slug": slug, "name": "Acme"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/slug")


async def test_an_organizations_administrator_administers_no_organizations(admin: httpx.AsyncClient) -> None:
    assert (await admin.get(ORGANIZATIONS)).status_code == 403
    assert (await admin.post(ORGANIZATIONS, json={"slug": "mine", "name": "Mine"})).status_code == 403


async def test_the_platform_sees_into_no_organization(platform: httpx.AsyncClient) -> None:
    for organization in ("current", "default"):
        answer = await platform.get(f"{ORGANIZATIONS}/{organization}/providers")
        assert answer.status_code in {403, 404}
        assert "providers" not in answer.json()


async def test_a_caller_is_told_who_it_is(admin: httpx.AsyncClient, platform: httpx.AsyncClient) -> None:
    me = (await admin.get("/api/me")).json()
    assert (me["kind"], me["organization"]["slug"]) == ("token", "default")
    assert me["scopes"] == sorted(me["scopes"])
    operator = (await platform.get("/api/me")).json()
    assert (operator["organization"], operator["scopes"]) == (None, ["admin:organizations"])


async def test_an_organization_may_be_named_by_slug_or_id_and_only_ones_own(admin: httpx.AsyncClient) -> None:
    own = (await admin.get("/api/me")).json()["organization"]
    for named in ("current", own["slug"], own["id"]):
        assert (await admin.get(f"{ORGANIZATIONS}/{named}/providers")).status_code == 200
    assert (await admin.get(f"{ORGANIZATIONS}/acme/providers")).json()["code"] == "organization_not_found"


async def test_a_platform_token_is_listed_and_can_be_revoked(plane: ControlPlane, caller: Caller) -> None:
    platform = await caller("admin:organizations")
    assert (await platform.get(ORGANIZATIONS)).status_code == 200
    (listed,) = (await plane.access.get_platform_tokens()).tokens
    assert listed.scopes == ("admin:organizations",)
    await plane.access.revoke_platform_token(listed.id)
    assert (await platform.get(ORGANIZATIONS)).status_code == 401
    with pytest.raises(TokenNotFound):
        await plane.access.revoke_platform_token(listed.id)

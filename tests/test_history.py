"""What settings were, and putting them back: every version is kept, shown in full, and can be had again."""

from __future__ import annotations

import json
import random
import secrets
from contextlib import suppress
from typing import Any
from uuid import UUID

import anyio
import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from tests.conftest import Caller, stored_rows
from voxplane.errors import VersionNotFound
from voxplane.schemas import ConfigWrite, OrderWrite, OrganizationCreate, ProviderType, SecretsWrite
from voxplane.schemas.history import Restoration, SettingsVersion
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.settings import Settings

PROVIDERS = "/api/organizations/current/providers"
OPENAI = f"{PROVIDERS}/openai"
Superuser = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
async def administrator(caller: Caller) -> httpx.AsyncClient:
    return await caller(*ADMINISTRATOR_SCOPES)


async def put(client: httpx.AsyncClient, url: str = f"{OPENAI}/config", **body: Any) -> dict[str, Any]:
    answer = await client.put(url, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def history(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await client.get(f"{OPENAI}/history", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_versions_are_shown_newest_first_with_what_changed_by_whom_and_through_what(
    administrator: httpx.AsyncClient,
) -> None:
    await put(administrator, config={"temperature": 0.9, "model": "gpt-4o"})
    await put(administrator, f"{OPENAI}/secrets", secrets={"apiKey": "sk-canary"})
    await put(administrator, config={"temperature": 1, "maxTokens": 50}, isEnabled=False, priority=7)
    await administrator.delete(f"{OPENAI}/config")
    found = await history(administrator)
    assert found["nextBefore"] is None
    me = (await administrator.get("/api/me")).json()
    by = {"subject": me["subject"], "name": me["name"], "kind": "token"}
    removed, changed, stored, first, seeded = found["entries"]
    assert [each["revision"] for each in found["entries"]] == [5, 4, 3, 2, 1]
    assert [each["by"] for each in found["entries"]][:4] == [by] * 4
    assert seeded["by"] == {"subject": "local:seed", "name": "seed", "kind": "local"}
    assert (seeded["action"], seeded["isEnabled"], seeded["changes"]) == ("organization.create", True, [])
    assert first["changes"] == [
        {"pointer": "/model", "kind": "added", "before": None, "after": "gpt-4o"},
        {"pointer": "/temperature", "kind": "added", "before": None, "after": 0.9},
    ]
    assert (first["action"], first["switch"], first["priorityChange"]) == ("config.put", None, None)
    assert {name: stored[name] for name in ("kind", "action", "stored", "replaced", "removed")} == {
        "kind": "secrets",
        "action": "secrets.put",
        "stored": ["apiKey"],
        "replaced": [],
        "removed": [],
    }
    assert changed["changes"] == [
        {"pointer": "/maxTokens", "kind": "added", "before": None, "after": 50},
        {"pointer": "/model", "kind": "removed", "before": "gpt-4o", "after": None},
        {"pointer": "/temperature", "kind": "changed", "before": 0.9, "after": 1},
    ]
    assert changed["switch"] == {"before": True, "after": False}
    assert changed["priorityChange"]["after"] == 7
    assert changed["overrides"] == {"temperature": 1, "maxTokens": 50}
    assert (removed["isRemoved"], removed["overrides"], removed["action"]) == (True, {}, "config.delete")
    assert [each.get("isCurrent") for each in found["entries"]] == [True, False, None, False, False]
    assert "canary" not in json.dumps(found)


async def test_an_older_version_is_put_back_as_a_new_one_and_nothing_else_changes(
    administrator: httpx.AsyncClient,
) -> None:
    await put(administrator, config={"temperature": 0.9}, priority=3)
    before = await put(administrator, config={"maxTokens": 50}, isEnabled=False, priority=7)
    answer = await administrator.post(f"{OPENAI}/restore", json={"revision": 2})
    restored = answer.json()
    assert (answer.status_code, restored["overrides"]) == (200, {"temperature": 0.9})
    assert (restored["isEnabled"], restored["priority"]) == (False, 7)
    assert restored["revision"] == before["revision"] + 1
    newest, *_ = (await history(administrator))["entries"]
    assert (newest["action"], newest["restoredFrom"], newest["isCurrent"]) == ("config.restore", 2, True)
    again = await administrator.post(
        f"{OPENAI}/restore", json={"revision": 2, "include": ["isEnabled", "priority"]}, headers={"If-Match": '"old"'}
    )
    assert again.status_code == 412
    again = await administrator.post(
        f"{OPENAI}/restore",
        json={"revision": 2, "include": ["isEnabled", "priority"]},
        headers={"If-Match": restored["etag"]},
    )
    assert (again.json()["isEnabled"], again.json()["priority"]) == (True, 3)
    twice = await administrator.post(f"{OPENAI}/restore", json={"revision": 2})
    assert twice.json()["revision"] == again.json()["revision"]
    missing = await administrator.post(f"{OPENAI}/restore", json={"revision": 99})
    assert (missing.status_code, missing.json()["code"]) == (404, "version_not_found")


async def test_a_version_that_no_longer_fits_is_refused_with_reasons_or_put_back_as_far_as_it_does(
    administrator: httpx.AsyncClient, superuser: Superuser
) -> None:
    await put(administrator, config={"temperature": 0.9, "maxTokens": 50})
    then = {"config": {"temperature": 9, "maxTokens": 50, "gone": 1}, "schemaVersion": 0}
    superuser.execute(
        "UPDATE config_history SET after = after || %s WHERE provider_key = 'openai' AND revision = 2",
        [json.dumps(then)],
    )
    await put(administrator, config={})
    refused = await administrator.post(f"{OPENAI}/restore", json={"revision": 2})
    assert (refused.status_code, refused.json()["code"]) == (422, "restore_refused")
    assert [each["pointer"] for each in refused.json()["errors"]] == ["/config/gone"]
    restored = await administrator.post(f"{OPENAI}/restore", json={"revision": 2, "validOnly": True})
    assert (restored.status_code, restored.json()["overrides"]) == (200, {"maxTokens": 50})
    records = (await administrator.get("/api/organizations/current/audit", params={"target": "openai"})).json()
    outcomes = [(each["action"], each["outcome"]) for each in records["records"]]
    assert outcomes[:2] == [("config.restore", "success"), ("config.restore", "denied")]


async def test_an_override_of_an_older_definition_is_shown_and_put_back_in_todays_terms(
    administrator: httpx.AsyncClient, plane: ControlPlane
) -> None:
    await put(administrator, config={"temperature": 0.9})
    await put(administrator, config={})
    provider = plane.registry.get_provider_by_key("openai")

    def warmer(overrides: dict[str, Any]) -> dict[str, Any]:
        return {**overrides, "temperature": 1.5}

    object.__setattr__(provider, "upgrades", (warmer,))  # a definition is frozen
    try:
        shown = (await history(administrator))["entries"][1]
        assert (shown["schemaVersion"], shown["overrides"]) == (0, {"temperature": 1.5})
        restored = await administrator.post(f"{OPENAI}/restore", json={"revision": 2})
        assert restored.json()["overrides"] == {"temperature": 1.5}
        assert (await history(administrator))["entries"][0]["schemaVersion"] == 1
    finally:
        object.__setattr__(provider, "upgrades", ())


async def test_a_restore_goes_through_the_same_gate_as_any_change_of_where_calls_go(
    administrator: httpx.AsyncClient, caller: Caller
) -> None:
    """E6: somewhere that a holder of admin:secrets once sent calls to is no place for others to send them back to."""
    await put(administrator, config={"baseUrl": "https://proxy.example/v1"})
    await put(administrator, config={})
    writer = await caller(Scope.LIVEKIT_READ, Scope.LIVEKIT_WRITE)
    refused = await writer.post(f"{OPENAI}/restore", json={"revision": 2})
    assert (refused.status_code, refused.json()["code"]) == (403, "destination_change_requires_admin_secrets")
    newest = (await administrator.get("/api/organizations/current/audit")).json()["records"][0]
    assert (newest["action"], newest["target"], newest["outcome"]) == ("config.restore", "openai", "denied")
    assert newest["detail"] == {"reason": "destination_change_requires_admin_secrets"}
    assert (await administrator.post(f"{OPENAI}/restore", json={"revision": 2})).status_code == 200


async def test_pages_of_the_history_hold_every_entry_once(administrator: httpx.AsyncClient) -> None:
    for number in range(7):
        await put(administrator, config={"maxTokens": number + 1})
        await put(administrator, f"{OPENAI}/secrets", secrets={"apiKey": f"sk-{number}"})
    whole = await history(administrator)
    paged: list[dict[str, Any]] = []
    before: dict[str, Any] | None = {}
    while before is not None:
        page = await history(administrator, limit=3, **before)
        paged += page["entries"]
        before = {"before": page["nextBefore"]} if page["nextBefore"] else None
    assert paged == whole["entries"]
    assert len(paged) == 15


WRITES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from([{}, {"temperature": 0.5}, {"temperature": 1, "maxTokens": 5}])),
        st.tuples(st.just("switch"), st.booleans()),
        st.tuples(st.just("order"), st.permutations(["openai", "groq", "google"])),
        st.tuples(st.just("delete"), st.none()),
        st.tuples(st.just("secrets"), st.integers(0, 2)),
        st.tuples(st.just("restore"), st.integers(1, 12)),
    ),
    max_size=10,
)


@pytest.mark.parametrize("examples", [15, pytest.param(200, marks=[pytest.mark.deep, pytest.mark.timeout(900)])])
def test_after_any_writes_each_version_can_be_had_again_and_the_history_replayed_is_the_table(
    settings: Settings, superuser: Superuser, examples: int
) -> None:
    @hypothesis(max_examples=examples, suppress_health_check=[HealthCheck.too_slow], deadline=None, database=None)
    @given(writes=WRITES, dice=st.randoms(use_true_random=False))
    def each(writes: list[tuple[str, Any]], dice: random.Random) -> None:
        anyio.run(checked, writes, dice)

    async def checked(writes: list[tuple[str, Any]], dice: random.Random) -> None:
        async with ControlPlane.open(settings) as plane:
            await _assert_every_version_can_be_had_again(plane, superuser, writes, dice)

    each()


async def _assert_every_version_can_be_had_again(
    plane: ControlPlane, superuser: Superuser, writes: list[tuple[str, Any]], dice: random.Random
) -> None:
    slug = f"o-{secrets.token_hex(8)}"
    made = await plane.access.create_organization(
        local_administrator(None, "test"), OrganizationCreate(slug=slug, name=slug)
    )
    who, service = local_administrator(made.id, "test"), plane.providers
    for what, value in writes:
        match what:
            case "put":
                await service.upsert_organization_provider_config(who, "openai", ConfigWrite(config=value))
            case "switch":
                await service.upsert_organization_provider_config(who, "openai", ConfigWrite(is_enabled=value))
            case "order":
                await service.order_organization_providers(who, ProviderType.LLM, OrderWrite(order=list(value)))
            case "delete":
                await service.delete_organization_provider_config(who, "openai")
            case "secrets":
                change = SecretsWrite(secrets={"apiKey": f"sk-canary-{value}"})
                await service.update_provider_secrets(who, "openai", change)
            case _:
                with suppress(VersionNotFound):
                    await service.restore_organization_provider_config(who, "openai", Restoration(revision=value))
    found = await plane.history.get_history(who, "openai", limit=200)
    assert "canary" not in found.model_dump_json()
    _assert_replayed_is_the_table(superuser, made.id)
    versions = [each for each in found.entries if isinstance(each, SettingsVersion)]
    for version in dice.sample(versions, min(3, len(versions))):
        before = await service.get_organization_provider(who, "openai")
        restored = await service.restore_organization_provider_config(
            who, "openai", Restoration(revision=version.revision), if_match=before.etag
        )
        assert restored.overrides == version.overrides
        assert (restored.is_enabled, restored.priority) == (before.is_enabled, before.priority)
        assert restored.secret_fields == before.secret_fields
    _assert_replayed_is_the_table(superuser, made.id)


def _assert_replayed_is_the_table(superuser: Superuser, organization_id: UUID) -> None:
    rows = stored_rows(superuser)
    replayed: dict[str, dict[str, Any] | None] = {}
    for row in sorted(rows["config_history"], key=lambda row: row["revision"]):
        if row["organization_id"] == str(organization_id):
            assert row["before"] == replayed.get(row["provider_key"])
            replayed[row["provider_key"]] = row["after"]
    table = {
        row["provider_key"]: {
            "config": row["config"],
            "schemaVersion": row["schema_version"],
            "isEnabled": row["is_enabled"],
            "priority": row["priority"],
        }
        for row in rows["organization_provider_configs"]
        if row["organization_id"] == str(organization_id)
    }
    assert {key: after for key, after in replayed.items() if after is not None} == table

"""What settings were, and putting them back: every version is kept, shown in full, and can be had again."""

from __future__ import annotations

import json
from typing import Any

import httpx
import psycopg
import pytest

from tests.conftest import Caller
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Scope

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
    assert {name: stored[name] for name in ("kind", "action", "stored", "removed")} == {
        "kind": "secrets",
        "action": "secrets.put",
        "stored": ["apiKey"],
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


async def test_the_audit_log_is_read_in_pages_and_as_a_file(administrator: httpx.AsyncClient, caller: Caller) -> None:
    await put(administrator, config={"temperature": 0.9})
    url = "/api/organizations/current/audit"
    found = (await administrator.get(url, params={"limit": 2})).json()
    assert [each["action"] for each in found["records"]] == ["config.put", "token.create"]
    assert found["nextBefore"] == 2
    lines = await administrator.get(url, headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line)["seq"] for line in lines.text.splitlines()] == [3, 2, 1]
    table = await administrator.get(url, params={"format": "csv", "action": "config.put"})
    assert len(table.text.splitlines()) == 2
    reader = await caller(Scope.LIVEKIT_READ)
    assert (await reader.get(url)).json()["records"] == []

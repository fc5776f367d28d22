"""An organization's settings: the seed's examples to the letter, and what a write may and may not do."""

from __future__ import annotations

import httpx
import psycopg
import pytest

from tests.conftest import Caller
from voxplane.server.control_plane import ControlPlane

PROVIDERS = "/api/organizations/current/providers"


async def test_a_fresh_default_organization_has_openai_deepgram_and_piper_enabled(
    admin: httpx.AsyncClient,
) -> None:
    answer = (await admin.get(PROVIDERS)).json()
    assert len(answer["providers"]) == 12
    enabled = {each["provider"]["key"] for each in answer["providers"] if each["isEnabled"]}
    assert enabled == {"openai", "deepgram", "piper"}


async def test_an_override_is_merged_over_the_defaults_and_stored_alone(
    admin: httpx.AsyncClient, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    defaults = (await admin.get("/api/providers/openai")).json()["defaultConfig"]
    answer = await admin.put(f"{PROVIDERS}/openai/config", json={"config": {"temperature": 0.9}})
    assert answer.status_code == 200
    shown = answer.json()
    assert shown["config"] == {**defaults, "temperature": 0.9}
    assert shown["config"] | {"model": "gpt-4o-mini", "temperature": 0.9, "maxTokens": 1000} == shown["config"]
    assert shown["overrides"] == {"temperature": 0.9}
    stored = superuser.execute(
        "SELECT config FROM organization_provider_configs WHERE provider_key = 'openai'"
    ).fetchone()
    assert stored == ({"temperature": 0.9},)


async def test_priority_then_name_decides_and_disabled_is_never_primary(admin: httpx.AsyncClient) -> None:
    for key, enabled, priority in (("openai", True, 100), ("groq", True, 50), ("google", False, 50)):
        body = {"isEnabled": enabled, "priority": priority}
        assert (await admin.put(f"{PROVIDERS}/{key}/config", json=body)).status_code == 200
    assert (await admin.get(f"{PROVIDERS}/llm/primary")).json()["provider"]["key"] == "openai"
    await admin.put(f"{PROVIDERS}/openai/config", json={"isEnabled": False})
    primary = (await admin.get(f"{PROVIDERS}/llm/primary")).json()
    assert primary["provider"]["key"] == "groq"
    assert primary["isPrimary"] is True
    await admin.put(f"{PROVIDERS}/google/config", json={"isEnabled": True})
    assert (await admin.get(f"{PROVIDERS}/llm/primary")).json()["provider"]["name"] == "Google Gemini"


@pytest.mark.parametrize(
    ("key", "config", "pointer", "code"),
    [
        ("openai", {"temperature": 3}, "/config/temperature", "less_than_equal"),
        ("openai", {"temperature": "0.9"}, "/config/temperature", "float_type"),
        ("openai", {"temperature": None}, "/config/temperature", "null"),
        ("openai", {"temprature": 0.9}, "/config", "unknown_field"),
        ("openai", {"apiKey": "sk-canary"}, "/config", "belongs_in_secrets"),
    ],
)
async def test_a_wrong_setting_is_refused_with_its_place_and_without_its_value(
    admin: httpx.AsyncClient, key: str, config: dict[str, object], pointer: str, code: str
) -> None:
    before = (await admin.get(f"{PROVIDERS}/{key}")).json()
    answer = await admin.put(f"{PROVIDERS}/{key}/config", json={"config": config})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [(pointer, code)]
    assert "canary" not in answer.text
    assert (await admin.get(f"{PROVIDERS}/{key}")).json() == before


async def test_the_same_write_again_is_no_new_revision(caller: Caller) -> None:
    writer = await caller("livekit:write", "livekit:read")
    body = {"config": {"temperature": 0.5}, "priority": 70}
    first = await writer.put(f"{PROVIDERS}/openai/config", json=body)
    again = await writer.put(f"{PROVIDERS}/openai/config", json=body)
    assert first.json() == again.json()
    assert first.headers["etag"] == again.headers["etag"]


async def test_an_override_of_an_older_schema_is_upgraded_before_it_is_stamped_as_new(
    admin: httpx.AsyncClient,
    superuser: psycopg.Connection[tuple[object, ...]],
    plane: ControlPlane,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await admin.put(f"{PROVIDERS}/openai/config", json={"config": {"temperature": 0.5}})

    def renamed(overrides: dict[str, object]) -> dict[str, object]:
        """Bring an override up to date: a newer schema keeps a tenth of the number."""
        return {name: 0.1 if name == "temperature" else value for name, value in overrides.items()}

    openai = plane.registry.get_provider_by_key("openai")
    monkeypatch.setitem(vars(openai), "upgrades", (renamed,))
    shown = await admin.put(f"{PROVIDERS}/openai/config", json={"isEnabled": True, "priority": 7})
    assert shown.json()["overrides"] == {"temperature": 0.1}
    stored = superuser.execute(
        "SELECT config, schema_version FROM organization_provider_configs WHERE provider_key = 'openai'"
    ).fetchone()
    assert stored == ({"temperature": 0.1}, 1)


@pytest.mark.parametrize(
    ("path", "pointer"), [(f"{PROVIDERS}?type=sst", "?type"), (f"{PROVIDERS}/lm/primary", "{type}")]
)
async def test_a_wrong_parameter_is_named_once(admin: httpx.AsyncClient, path: str, pointer: str) -> None:
    refused = await admin.get(path)
    assert [each["pointer"] for each in refused.json()["errors"]] == [pointer]

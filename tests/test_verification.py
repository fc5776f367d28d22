"""A saved test and a draft: what they ask, what they keep, what they say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.conftest import token_for
from tests.vendors.secure import Asked, Reply, SecureVendor
from voxplane.server.app import create_app
from voxplane.server.auth import ADMINISTRATOR_SCOPES
from voxplane.server.control_plane import ControlPlane
from voxplane.server.settings import Settings

KEY = "sk-canary-4f1e"


def openai(asked: Asked) -> Reply:
    if asked.headers.get("authorization") != f"Bearer {KEY}":
        return Reply(401, b'{"error": {"message": "Incorrect API key provided: sk-ca***", "code": "invalid_api_key"}}')
    return Reply(200, json.dumps({"id": "gpt-4o-mini", "object": "model"}).encode())


@pytest.fixture
async def vendor() -> AsyncIterator[SecureVendor]:
    async with SecureVendor(openai) as served:
        yield served


@pytest.fixture
async def plane(settings: Settings, vendor: SecureVendor) -> AsyncIterator[ControlPlane]:
    own = {"vendor_networks": "127.0.0.0/8", "vendor_ca_file": vendor.ca_file, "vendor_timeout_seconds": 30}
    changed = Settings.model_validate(settings.model_dump() | own | {"verifications_per_minute": 1000})
    async with ControlPlane.open(changed, resolve=vendor.resolve) as opened:
        yield opened


async def test_saved(admin: httpx.AsyncClient, vendor: SecureVendor) -> None:
    providers = "/api/organizations/current/providers"
    answer = await admin.post(f"{providers}/openai/verify", json={})
    assert answer.json()["outcome"] == "key_missing", answer.text
    await admin.put(f"{providers}/openai/secrets", json={"secrets": {"apiKey": KEY}})
    assert (await admin.get(f"{providers}/openai")).json()["status"] == "unverified"
    answer = await admin.post(f"{providers}/openai/verify", json={})
    print(answer.json())
    assert answer.json()["outcome"] == "verified"
    shown = (await admin.get(f"{providers}/openai")).json()
    print(shown["status"], shown["statusSince"])
    assert shown["status"] == "verified"
    await admin.put(f"{providers}/openai/config", json={"config": {"temperature": 0.1}})
    assert (await admin.get(f"{providers}/openai")).json()["status"] == "unverified"
    draft = await admin.post(f"{providers}/openai/verify", json={"secrets": {"apiKey": "sk-wrong"}})
    assert draft.json()["outcome"] == "key_rejected"
    print(draft.json())
    print((await admin.get(f"{providers}/openai/verifications")).json())

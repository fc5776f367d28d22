"""An organization's secrets: in, field by field; never out; sealed to where they may go."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import Caller
from voxplane.server.auth import Principal, Scope
from voxplane.server.control_plane import ControlPlane

PROVIDERS = "/api/organizations/current/providers"
OPENAI = f"{PROVIDERS}/openai/secrets"
SERVICE_ACCOUNT = (
    '{"type": "service_account", "project_id": "p", "private_key": "k", "client_email": "a@b.example",'
    ' "token_uri": "https://oauth2.googleapis.com/token"}'
)


def field(answer: httpx.Response, name: str) -> dict[str, object]:
    assert answer.status_code == 200, answer.text
    return next(each for each in answer.json()["secretFields"] if each["name"] == name)


async def test_what_is_shown_of_a_secret_is_everything_but_its_value(admin: httpx.AsyncClient) -> None:
    before = (await admin.get(f"{PROVIDERS}/openai")).json()
    assert (before["usable"], before["reason"]) == (False, "secrets_missing")
    stored = await admin.put(OPENAI, json={"secrets": {"apiKey": "sk-canary-1"}, "label": "EU production"})
    shown = field(stored, "apiKey")
    assert shown["isSet"] is True
    assert (shown["version"], shown["label"], shown["updatedBy"]) == (1, "EU production", "test")
    assert "canary" not in stored.text
    after = await admin.get(f"{PROVIDERS}/openai")
    assert (after.json()["usable"], after.json()["reason"]) == (True, None)
    assert "canary" not in after.text


async def test_the_same_secret_again_changes_nothing_and_a_new_one_is_a_new_version(admin: httpx.AsyncClient) -> None:
    body = {"secrets": {"apiKey": "sk-first"}}
    first, again = await admin.put(OPENAI, json=body), await admin.put(OPENAI, json=body)
    assert first.json() == again.json()
    second = await admin.put(OPENAI, json={"secrets": {"apiKey": "sk-second"}})
    assert field(second, "apiKey")["version"] == 2
    assert second.headers["etag"] != first.headers["etag"]


async def test_fields_are_merged_and_null_removes_one(admin: httpx.AsyncClient) -> None:
    google = f"{PROVIDERS}/google/secrets"
    await admin.put(google, json={"secrets": {"apiKey": "AIza-one"}})
    both = await admin.put(google, json={"secrets": {"serviceAccountJson": SERVICE_ACCOUNT}})
    assert (field(both, "apiKey")["isSet"], field(both, "serviceAccountJson")["isSet"]) == (True, True)
    assert field(both, "apiKey")["version"] == 1
    one = await admin.put(google, json={"secrets": {"serviceAccountJson": None}})
    assert (field(one, "apiKey")["isSet"], field(one, "serviceAccountJson")["isSet"]) == (True, False)


async def test_a_label_changes_alone_and_leaves_the_key(admin: httpx.AsyncClient) -> None:
    await admin.put(OPENAI, json={"secrets": {"apiKey": "sk-kept"}, "label": "old"})
    renamed = await admin.put(OPENAI, json={"label": "new"})
    assert (field(renamed, "apiKey")["label"], field(renamed, "apiKey")["version"]) == ("new", 1)
    # The same key once more is no change, so the stored one is still that key.
    again = await admin.put(OPENAI, json={"secrets": {"apiKey": "sk-kept"}})
    assert field(again, "apiKey")["version"] == 1


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "length"),
        ("x" * 8193, "length"),
        ("********", "masked_value"),
        ("••••••", "masked_value"),
        ("[REDACTED]", "masked_value"),
        (" sk-space", "not_bare"),
        ("Bearer sk-word", "not_bare"),
        ('"sk-quoted"', "not_bare"),
        ("sk-a\r\nX-Evil: 1", "not_bare"),
        ("sk-é", "not_bare"),
    ],
)
async def test_what_cannot_be_a_secret_is_refused(admin: httpx.AsyncClient, value: str, code: str) -> None:
    await admin.put(OPENAI, json={"secrets": {"apiKey": "sk-before"}})
    before = (await admin.get(f"{PROVIDERS}/openai")).json()
    refused = await admin.put(OPENAI, json={"secrets": {"apiKey": value}})
    assert refused.status_code in {400, 422}
    if refused.status_code == 422:
        assert [(each["pointer"], each["code"]) for each in refused.json()["errors"]] == [("/secrets/apiKey", code)]
    else:
        # Longer than any string that a body may hold: refused before anybody knows what it is for.
        assert (code, refused.json()["code"]) == ("length", "invalid_json")
    assert (await admin.get(f"{PROVIDERS}/openai")).json() == before


async def test_a_service_account_that_would_fetch_its_token_elsewhere_is_refused(admin: httpx.AsyncClient) -> None:
    elsewhere = SERVICE_ACCOUNT.replace("oauth2.googleapis.com", "evil.example")
    refused = await admin.put(f"{PROVIDERS}/google/secrets", json={"secrets": {"serviceAccountJson": elsewhere}})
    assert refused.status_code == 422
    assert "evil" not in refused.text


async def test_an_unknown_secret_is_refused_without_its_name(admin: httpx.AsyncClient) -> None:
    refused = await admin.put(OPENAI, json={"secrets": {"skcanary": "value", "alsocanary": None}})
    assert [each["code"] for each in refused.json()["errors"]] == ["unknown_field", "unknown_field"]
    assert "canary" not in refused.text


async def test_openai_tts_uses_the_key_of_openai_until_it_has_its_own(admin: httpx.AsyncClient) -> None:
    await admin.put(f"{PROVIDERS}/openai-tts/config", json={"isEnabled": True})
    assert (await admin.get(f"{PROVIDERS}/openai-tts")).json()["reason"] == "secrets_missing"
    await admin.put(OPENAI, json={"secrets": {"apiKey": "sk-shared"}})
    shared = await admin.get(f"{PROVIDERS}/openai-tts")
    assert shared.json()["usable"] is True
    assert field(shared, "apiKey")["sharedFrom"] == "openai"
    own = await admin.put(f"{PROVIDERS}/openai-tts/secrets", json={"secrets": {"apiKey": "sk-own"}})
    assert field(own, "apiKey")["sharedFrom"] is None


async def test_removing_secrets_and_removing_none(admin: httpx.AsyncClient) -> None:
    await admin.put(OPENAI, json={"secrets": {"apiKey": "sk-gone"}})
    assert (await admin.delete(OPENAI)).status_code == 204
    assert (await admin.get(f"{PROVIDERS}/openai")).json()["reason"] == "secrets_missing"
    again = await admin.delete(OPENAI)
    assert (again.status_code, again.json()["code"]) == (404, "secrets_not_found")


async def test_nothing_is_written_for_nothing(admin: httpx.AsyncClient) -> None:
    before = (await admin.get(PROVIDERS)).json()
    empty: list[dict[str, object]] = [{}, {"secrets": {}}, {"secrets": {"apiKey": None}}, {"label": "for nothing"}]
    for body in empty:
        assert (await admin.put(OPENAI, json=body)).status_code == 200
    assert (await admin.get(PROVIDERS)).json() == before


async def test_an_azure_key_needs_to_know_where_it_may_go(admin: httpx.AsyncClient) -> None:
    azure = f"{PROVIDERS}/azure-openai"
    alone = await admin.put(f"{azure}/secrets", json={"secrets": {"apiKey": "azure-key"}})
    assert [each["pointer"] for each in alone.json()["errors"]] == ["/approvedOrigins"]
    body = {"secrets": {"apiKey": "azure-key"}, "approvedOrigins": ["https://acme.openai.azure.com"]}
    assert (await admin.put(f"{azure}/secrets", json=body)).status_code == 200
    settings = {"endpoint": "https://acme.openai.azure.com", "deployment": "gpt-4o"}
    usable = await admin.put(f"{azure}/config", json={"config": settings, "isEnabled": True})
    assert (usable.json()["usable"], usable.json()["reason"]) == (True, None)


async def test_only_a_holder_of_admin_secrets_touches_them(caller: Caller) -> None:
    writer = await caller("livekit:read", "livekit:write", "audit:read", "admin:tokens")
    for answer in (await writer.put(OPENAI, json={"secrets": {"apiKey": "sk-no"}}), await writer.delete(OPENAI)):
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
        assert "admin:secrets" in answer.json()["detail"]


async def test_a_key_pasted_as_its_own_label_is_refused(admin: httpx.AsyncClient) -> None:
    body = {"secrets": {"apiKey": "sk-canary"}, "label": "it is sk-canary"}
    refused = await admin.put(OPENAI, json=body)
    assert [(each["pointer"], each["code"]) for each in refused.json()["errors"]] == [("/label", "holds_the_secret")]
    assert "canary" not in (await admin.get(f"{PROVIDERS}/openai")).text


async def test_the_key_that_openai_tts_shares_shows_in_its_etag(admin: httpx.AsyncClient) -> None:
    before = (await admin.get(f"{PROVIDERS}/openai-tts")).headers["etag"]
    await admin.put(OPENAI, json={"secrets": {"apiKey": "sk-shared"}})
    assert (await admin.get(f"{PROVIDERS}/openai-tts")).headers["etag"] != before


async def test_a_local_provider_back_in_process_is_usable_and_released(
    admin: httpx.AsyncClient, plane: ControlPlane
) -> None:
    whisper = f"{PROVIDERS}/whisper"
    approval = {"approvedOrigins": ["http://127.0.0.1:8000"]}
    assert (await admin.put(f"{whisper}/secrets", json=approval)).status_code == 200
    shown = await admin.put(f"{whisper}/config", json={"config": {}, "isEnabled": True})
    assert shown.json()["usable"] is True
    organization = await plane.access.find_organization("default")
    worker = Principal("token:w", "w", "token", organization.id, frozenset({Scope.WORKER_RESOLVE}))
    assert (await plane.workers.release(worker, "whisper")).secrets == {}

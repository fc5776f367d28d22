"""Tests of providers over HTTP: what is kept, who may, what followers hear, and that no key gets out of it."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import psycopg
import pytest
from prometheus_client import REGISTRY, generate_latest
from structlog.testing import capture_logs

from tests.conftest import Caller, position_of, stored_rows
from tests.vendors import tested
from tests.vendors.secure import SecureVendor
from voxplane.schemas.verification import VerificationWrite
from voxplane.server.auth import Principal
from voxplane.server.control_plane import ControlPlane
from voxplane.server.rounds import keep_testing, verify_each, verify_what_is_due
from voxplane.server.settings import Settings

URL = "/api/organizations/current/providers"
KEY = "key-good-canary-7f3a9c"
VOICE = {"voiceId": "JBFqnCBsd6RMkjVDRZzb"}
AZURE = {"endpoint": "https://acme.openai.azure.com", "deployment": "talk"}


@pytest.fixture
async def vendor() -> AsyncIterator[SecureVendor]:
    async with SecureVendor(tested.answer) as served:
        yield served


@pytest.fixture
async def plane(settings: Settings, vendor: SecureVendor, tmp_path: Path) -> AsyncIterator[ControlPlane]:
    own = {
        "vendor_networks": "127.0.0.0/8",
        "vendor_ca_file": vendor.ca_file,
        "vendor_timeout_seconds": 30,
        "verifications_per_minute": 40,
        "models_dir": tmp_path,
    }
    async with ControlPlane.open(
        Settings.model_validate(settings.model_dump() | own), resolve=vendor.resolve
    ) as opened:
        yield opened


async def verify(client: httpx.AsyncClient, key: str, **draft: Any) -> dict[str, Any]:
    answer = await client.post(f"{URL}/{key}/verify", json=draft)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def shown(client: httpx.AsyncClient, key: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"{URL}/{key}")).json()
    return found


async def set_key(client: httpx.AsyncClient, key: str, value: str = KEY, **more: object) -> None:
    answer = await client.put(f"{URL}/{key}/secrets", json={"secrets": {"apiKey": value}, **more})
    assert answer.status_code == 200, answer.text


def _approval(key: str) -> dict[str, Any]:
    return {"approvedOrigins": ["https://acme.openai.azure.com"]} if key == "azure-openai" else {}


async def test_what_a_saved_test_found_holds_until_something_changes(
    admin: httpx.AsyncClient, plane: ControlPlane
) -> None:
    assert (await verify(admin, "openai"))["outcome"] == "key_missing"
    await set_key(admin, "openai")
    before = await shown(admin, "openai")
    assert (before["status"], before["statusSince"], before["verification"]) == ("unverified", None, None)

    found = await verify(admin, "openai")
    after = await shown(admin, "openai")
    assert after["verification"] == found
    assert (after["status"], after["statusSince"], after["revision"]) == (
        "verified",
        found["checkedAt"],
        before["revision"],
    )
    assert [each["state"] for each in found["stages"]] == ["passed"] * 4
    assert (found["model"], found["origin"]) == ("gpt-4o-mini", "https://api.openai.com")

    # The same again keeps its since; what is inconclusive leaves it standing.
    await verify(admin, "openai")
    assert (await shown(admin, "openai"))["statusSince"] == found["checkedAt"]

    # The switch is no setting that a test depends on, nor is a label; a setting is, and so is a key.
    await admin.put(f"{URL}/openai/config", json={"isEnabled": False})
    await admin.put(f"{URL}/openai/secrets", json={"label": "of last year"})
    assert (await shown(admin, "openai"))["status"] == "verified"
    await admin.put(f"{URL}/openai/config", json={"config": {"temperature": 0.1}})
    assert (await shown(admin, "openai"))["status"] == "unverified"
    await verify(admin, "openai")
    await set_key(admin, "openai", "key-limited-of-another")
    assert (await shown(admin, "openai"))["status"] == "unverified"
    limited = await verify(admin, "openai")
    assert (limited["outcome"], limited["retryAfterSeconds"]) == ("rate_limited", 7)
    assert (await shown(admin, "openai"))["status"] == "unverified"
    await set_key(admin, "openai", "key-bad")
    await verify(admin, "openai")
    assert (await shown(admin, "openai"))["status"] == "failing"

    history = (await admin.get(f"{URL}/openai/verifications")).json()["verifications"]
    assert [each["outcome"] for each in history] == [
        "key_rejected", "rate_limited", "verified", "verified", "verified", "key_missing"
    ]  # fmt: skip
    for _ in range(20):
        await verify(admin, "openai")
    assert len((await admin.get(f"{URL}/openai/verifications")).json()["verifications"]) == 24
    assert plane.settings.verifications_per_minute == 40


async def test_workers_and_tests_make_one_status(admin: httpx.AsyncClient, caller: Caller, plane: ControlPlane) -> None:
    await set_key(admin, "openai")
    worker = await caller("worker:resolve")

    async def report(outcome: str, **kind: str) -> None:
        said = {"at": await position_of(plane), "reports": [{"provider": "openai", "outcome": outcome, **kind}]}
        answer = await worker.post("/api/organizations/current/reports", json=said)
        assert answer.status_code < 300, answer.text

    await verify(admin, "openai")
    await report("failed", kind="quota")
    assert (await shown(admin, "openai"))["status"] == "failing", "workers saw it later"
    await verify(admin, "openai")
    assert (await shown(admin, "openai"))["status"] == "verified", "the test was later"
    await report("failed", kind="quota")
    await report("recovered")
    assert (await shown(admin, "openai"))["status"] == "verified", "the failure is taken back"
    await set_key(admin, "openai", "key-bad")
    await verify(admin, "openai")
    await report("recovered")
    assert (await shown(admin, "openai"))["status"] == "unverified", "a call succeeded since"


async def test_a_draft_leaves_no_trace(
    admin: httpx.AsyncClient, vendor: SecureVendor, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    await set_key(admin, "openai", "key-good-stored")
    before, status = stored_rows(superuser), await shown(admin, "openai")
    found = await verify(admin, "openai", secrets={"apiKey": "key-bad-draft"})
    assert (found["outcome"], found["isDraft"]) == ("key_rejected", True)
    # Its settings never go with the stored key.
    alone = await verify(admin, "openai", config={"temperature": 0.2})
    assert (alone["outcome"], alone["sentence"]) == ("key_missing", "The draft holds no API key for OpenAI.")
    assert stored_rows(superuser) == before
    assert await shown(admin, "openai") == status
    assert [tested.key_of(asked) for asked in vendor.asked] == ["key-bad-draft"]
    elsewhere = {"config": {"baseUrl": "https://gateway.example.com/v1"}, "secrets": {"apiKey": KEY}}
    refused = await admin.post(f"{URL}/openai/verify", json=elsewhere)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/approvedOrigins")
    assert len(vendor.asked) == 1


async def test_a_saved_test_is_one_event_and_a_draft_is_none(
    admin: httpx.AsyncClient, plane: ControlPlane, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    await set_key(admin, "openai")
    superuser.execute("LISTEN voxplane")
    heard: list[str] = []
    for draft in ({"secrets": {"apiKey": "key-bad-draft"}}, {"config": {"temperature": 0.2}}, {}):
        await verify(admin, "openai", **draft)
        assert (await shown(admin, "openai"))["status"] == ("unverified" if draft else "verified")
    # Notifications come in the order of commits, so what was sent before the mark is here when it is.
    superuser.execute("NOTIFY voxplane, 'mark'")
    for notified in superuser.notifies(timeout=30):
        if notified.payload == "mark":
            break
        heard.append(notified.payload)
    organization = (await plane.access.get_organizations(after="", limit=1)).organizations[0].id
    assert [each for each in heard if ":health:" in each] == [f"{organization}:health:openai"]


async def test_who_may_test(admin: httpx.AsyncClient, caller: Caller, vendor: SecureVendor) -> None:
    await set_key(admin, "openai")
    await set_key(admin, "azure-openai", approvedOrigins=["https://acme.openai.azure.com"])
    await admin.put(f"{URL}/azure-openai/config", json={"config": AZURE})
    writer, keeper = await caller("livekit:write"), await caller("admin:secrets")
    assert (await verify(writer, "openai"))["outcome"] == "verified"
    asked = len(vendor.asked)
    assert (await writer.post(f"{URL}/openai/verify", json={"secrets": {"apiKey": "x"}})).status_code == 403
    assert (await writer.post(f"{URL}/azure-openai/verify", json={})).status_code == 403, "its address is a custom one"
    assert (await keeper.post(f"{URL}/openai/verify", json={})).status_code == 403
    assert (await (await caller("livekit:read")).post(f"{URL}/openai/verify", json={})).status_code == 403
    assert len(vendor.asked) == asked
    assert (await verify(admin, "azure-openai"))["outcome"] == "verified"


async def test_the_release_is_on_record_and_limited(
    admin: httpx.AsyncClient, plane: ControlPlane, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    await set_key(admin, "openai")
    await verify(admin, "openai")
    rows = superuser.execute("SELECT action, target, detail FROM audit_events ORDER BY seq DESC LIMIT 1").fetchall()
    (action, target, detail) = rows[0]
    assert (action, target) == ("secrets.release", "openai")
    assert isinstance(detail, dict)
    assert (detail["purpose"], detail["providers"]) == ("verification", {"openai": ["apiKey"]})
    for _ in range(plane.settings.verifications_per_minute - 1):
        await verify(admin, "openai")
    refused = await admin.post(f"{URL}/openai/verify", json={})
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 0 < int(refused.headers["Retry-After"]) <= 60


async def test_two_tests_of_an_organization_are_under_way_at_a_time(
    admin: httpx.AsyncClient,
    vendor: SecureVendor,
    plane: ControlPlane,
    administrator: Principal,
    superuser: psycopg.Connection[tuple[object, ...]],
) -> None:
    await set_key(admin, "openai")
    turns = plane.verification._allowance.turn(administrator.tenant)  # pyright: ignore[reportPrivateUsage]
    async with anyio.create_task_group() as group, turns, turns:
        group.start_soon(verify, admin, "openai")
        while not turns.statistics().tasks_waiting:
            await anyio.lowlevel.checkpoint()
        assert vendor.asked == []
        await verify_each(plane, administrator, ["openai"])
        assert len(vendor.asked) == 1, "a round waits for nothing"
    assert len(vendor.asked) == 2
    # Others wait no longer than for one answer.
    plane.verification._patience_seconds = 0.01  # pyright: ignore[reportPrivateUsage]
    released = "SELECT count(*) FROM audit_events WHERE action = 'secrets.release'"
    before = superuser.execute(released).fetchall()
    async with turns, turns:
        for draft in ({}, {"secrets": {"apiKey": KEY}}):
            refused = await admin.post(f"{URL}/openai/verify", json=draft)
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert superuser.execute(released).fetchall() == before, "what is not used is not opened"
        assert (await put_checked(admin, "openai", KEY)).json()["untested"]["reason"] == "too_often"
    assert len(vendor.asked) == 2


async def test_local_engines_are_looked_for_where_the_operator_said(
    admin: httpx.AsyncClient, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert (await verify(admin, "whisper"))["outcome"] == "model_unavailable"
    folder = tmp_path / "whisper" / "base"
    folder.mkdir(parents=True)
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt"):
        assert (await verify(admin, "whisper"))["outcome"] == "model_unavailable"
        (folder / name).write_bytes(b"x")
    found = await verify(admin, "whisper")
    assert (found["outcome"], found["sentence"]) == ("verified", "Whisper (local) is ready.")
    (folder / "model.bin").write_bytes(b"")
    assert (await verify(admin, "whisper"))["outcome"] == "model_unavailable"
    (folder / "model.bin").unlink()
    (folder / "model.bin").mkdir()
    (folder / "model.bin" / "a folder").touch()
    assert (await verify(admin, "whisper"))["outcome"] == "model_unavailable"
    (folder / "model.bin" / "a folder").unlink()
    (folder / "model.bin").rmdir()
    (tmp_path / "weights").write_bytes(b"x")
    (folder / "model.bin").symlink_to(tmp_path / "weights")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "base"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    assert (await verify(admin, "whisper"))["outcome"] == "verified", "a link is as good as a folder"
    model = tmp_path / "vosk" / "vosk-model-small-en-us-0.15"
    for name in ("am", "conf", "graph"):
        (model / name).mkdir(parents=True)
    assert (await verify(admin, "vosk"))["outcome"] == "model_unavailable", "they are empty"
    for name in ("am", "conf", "graph"):
        (model / name / "x").write_bytes(b"x")
    assert (await verify(admin, "vosk"))["outcome"] == "verified"


async def test_a_server_that_the_operator_did_not_allow_is_not_looked_for(
    settings: Settings, vendor: SecureVendor, administrator: Principal
) -> None:
    async with ControlPlane.open(settings, resolve=vendor.resolve) as closed:
        for key in ("piper", "vosk", "whisper"):
            found = await closed.verification.verify(administrator, key, VerificationWrite())
            assert found.outcome == "not_checkable"
        draft = VerificationWrite.model_validate({"secrets": {"apiKey": KEY}})
        assert (await closed.verification.verify(administrator, "openai", draft)).outcome == "blocked"
    assert vendor.asked == []


async def test_a_round_tests_all_at_once(
    admin: httpx.AsyncClient, vendor: SecureVendor, plane: ControlPlane, administrator: Principal
) -> None:
    for key in tested.HOSTS:
        await set_key(admin, key, **_approval(key))
    await admin.put(f"{URL}/azure-openai/config", json={"config": AZURE})
    await admin.put(f"{URL}/elevenlabs/config", json={"config": VOICE})
    told: list[str] = []
    keys = [each.key for each in plane.registry.get_all_providers()]
    tried = (await verify_each(plane, administrator, keys, lambda one: told.append(one.provider))).providers
    assert [each.provider for each in tried] == keys
    assert sorted(told) == sorted(keys)
    found = {each.provider: each.result.outcome for each in tried if each.result}
    assert found == dict.fromkeys(tested.HOSTS, "verified") | {
        "piper": "local_unavailable",
        "vosk": "model_unavailable",
        "whisper": "model_unavailable",
    }
    assert {tested.key_of(asked) for asked in vendor.asked if asked.host in tested.HOSTS.values()} == {KEY}

    # The schedule tests what is enabled, in the cloud and old enough, and nothing twice.
    assert await verify_what_is_due(plane, timedelta(hours=1), 0) == 0
    later = [each for each in tested.HOSTS if (await shown(admin, each))["isEnabled"]]
    plane.verification._allowance.per_minute = 0  # pyright: ignore[reportPrivateUsage] - those are people's
    before = len(vendor.asked)
    assert await verify_what_is_due(plane, timedelta(0), 0) == len(later) > 0
    assert len(vendor.asked) - before >= len(later)
    plane.verification._allowance.per_minute = 40  # pyright: ignore[reportPrivateUsage]
    await admin.delete(f"{URL}/azure-openai/config")
    (without_address,) = (await verify_each(plane, administrator, ["azure-openai"])).providers
    assert (without_address.result, without_address.problem) == (
        None,
        "The settings are not valid. endpoint: This field is required.",
    )


async def test_nothing_that_happens_in_a_round_ends_the_schedule(
    admin: httpx.AsyncClient, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("openai", "groq"):
        await set_key(admin, key)
        await admin.put(f"{URL}/{key}/config", json={"isEnabled": True})
    monkeypatch.setattr("voxplane.server.rounds._PAUSE_SECONDS", 0)
    tried: list[str] = []
    rounds = 0
    is_over = anyio.Event()

    async def verify(_who: Principal, key: str, *_: object, **__: object) -> None:
        tried.append(key)
        if rounds == 3:
            is_over.set()
        raise OverflowError(KEY)

    async def list_organizations(**asked: Any) -> object:
        nonlocal rounds
        rounds += not asked["after"]
        if rounds == 2:
            raise OSError(KEY)
        return await get_organizations(**asked)

    get_organizations = plane.access.get_organizations
    monkeypatch.setattr(plane.verification, "verify", verify)
    monkeypatch.setattr(plane.access, "get_organizations", list_organizations)
    with capture_logs() as said:
        async with anyio.create_task_group() as group:
            group.start_soon(keep_testing, plane, 1e-9)
            await is_over.wait()
            group.cancel_scope.cancel()
    first = tried.index(tried[0], 1)
    assert {"openai", "groq"} <= set(tried[:first]), "one that crashes keeps no other from being tested"
    crashes = [(each["event"], each.get("provider"), each["error"]) for each in said]
    assert crashes[:first] == [("a scheduled test crashed", each, "OverflowError") for each in tried[:first]]
    assert crashes[first] == ("a round of tests crashed", None, "OSError")
    assert all(each["where"].startswith("test_verification.py:") for each in said)
    assert KEY not in str(said)


# Where a key may end up.


async def test_no_key_and_no_word_of_a_vendor_gets_out(
    admin: httpx.AsyncClient,
    capfd: pytest.CaptureFixture[str],
    superuser: psycopg.Connection[tuple[object, ...]],
) -> None:
    answers: list[str] = []
    canaries: list[str] = []
    for situation in ("good", "bad", "restricted", "quota", "limited", "broken", "reset", "redirect", "region"):
        key = f"key-{situation}-canary-{'5d' * 8}"
        canaries.append(key)
        for draft in ({"secrets": {"apiKey": key}}, {}):
            if not draft:
                await set_key(admin, "groq", key)
            answer = await admin.post(f"{URL}/groq/verify", json=draft)
            answers += [answer.text, str(answer.headers), (await admin.get(f"{URL}/groq")).text]
    answers.append((await admin.get(f"{URL}/groq/verifications")).text)
    written = capfd.readouterr()
    places = [*answers, written.out, written.err, str(stored_rows(superuser)), generate_latest(REGISTRY).decode()]
    for place in places:
        assert tested.UPSTREAM not in place
        assert not any(canary in place for canary in canaries)


async def test_a_writer_cannot_have_a_stored_key_sent_elsewhere(
    admin: httpx.AsyncClient, caller: Caller, vendor: SecureVendor
) -> None:
    """X1 and X7, over all clouds: what the vendor hears under another name than its own is what a sink would."""
    writer = await caller("livekit:read", "livekit:write")
    for key in tested.HOSTS:
        await set_key(admin, key, "key-redirect-canary", **_approval(key))
        needed = {"azure-openai": AZURE, "elevenlabs": VOICE}.get(key, {})
        await admin.put(f"{URL}/{key}/config", json={"config": needed})
        setting = {"azure-openai": "endpoint", "google": "baseUrl"}.get(key, "baseUrl")
        evil = "https://evil.openai.azure.com" if key == "azure-openai" else "https://gateway.example.com"
        written = await writer.put(f"{URL}/{key}/config", json={"config": needed | {setting: evil}})
        assert written.status_code in {403, 422}, key
        tried = await writer.post(f"{URL}/{key}/verify", json={"config": needed | {setting: evil}})
        assert tried.status_code == 403, key
        await admin.post(f"{URL}/{key}/verify", json={})
        # A holder of admin:secrets who moves the settings and approves nothing is stopped where the key is opened.
        if setting != "endpoint" and key != "google":
            await admin.put(f"{URL}/{key}/config", json={"config": needed | {setting: evil}})
            assert (await verify(admin, key))["outcome"] == "blocked", key
    assert {asked.host for asked in vendor.asked} == set(tested.HOSTS.values())
    assert all(host not in vendor.bytes_seen.decode() for host in ("gateway", "evil"))


async def put_checked(client: httpx.AsyncClient, key: str, value: str, **more: object) -> httpx.Response:
    return await client.put(f"{URL}/{key}/secrets", json={"secrets": {"apiKey": value}, "check": True, **more})


async def test_a_key_that_is_refused_is_not_stored(admin: httpx.AsyncClient, vendor: SecureVendor) -> None:
    refused = await put_checked(admin, "openai", "key-bad-canary")
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["code"] == "secrets_refused"
    assert [(each["pointer"], each["code"]) for each in problem["errors"]] == [("/secrets/apiKey", "key_rejected")]
    assert (problem["verification"]["outcome"], problem["verification"]["isDraft"]) == ("key_rejected", True)
    assert "canary" not in refused.text
    found = await shown(admin, "openai")
    assert (found["secretFields"][0]["isSet"], found["verification"]) == (False, None)
    assert len(vendor.asked) == 1
    await set_key(admin, "openai", "key-bad-canary")
    assert (await shown(admin, "openai"))["secretFields"][0]["isSet"], "without the check it is stored"
    unknown = await admin.put(f"{URL}/openai/secrets", json={"secrets": {"nothing": "x"}, "check": True})
    assert [each["pointer"] for each in unknown.json()["errors"]] == ["/secrets"]
    assert len(vendor.asked) == 1


@pytest.mark.parametrize(
    ("value", "model", "outcome", "status"),
    [
        ("key-good-1", "gpt-4o-mini", "verified", "verified"),
        ("key-limited-1", "gpt-4o-mini", "rate_limited", "unverified"),
        ("key-broken-1", "gpt-4o-mini", "provider_error", "unverified"),
        ("key-good-1", "gpt-77", "model_unavailable", "failing"),
    ],
)
async def test_a_key_that_may_work_is_stored_with_what_was_found(
    value: str, model: str, outcome: str, status: str, admin: httpx.AsyncClient
) -> None:
    await admin.put(f"{URL}/openai/config", json={"config": {"model": model}})
    stored = (await put_checked(admin, "openai", value)).json()
    assert (stored["verification"]["outcome"], stored["status"]) == (outcome, status)
    assert stored["verification"]["isDraft"] is False
    assert await shown(admin, "openai") | {"untested": None} == stored
    assert len((await admin.get(f"{URL}/openai/verifications")).json()["verifications"]) == 1
    await admin.put(f"{URL}/openai/config", json={"config": {"temperature": 0.1}})
    assert (await shown(admin, "openai"))["verification"] is None


async def test_what_cannot_be_tested_is_stored_untested(
    admin: httpx.AsyncClient, caller: Caller, plane: ControlPlane, vendor: SecureVendor
) -> None:
    def why(stored: httpx.Response) -> str | None:
        found = stored.json()
        assert (stored.status_code, found["verification"] is None) == (200, found["untested"] is not None), stored.text
        assert found["secretFields"][0]["isSet"] or found["provider"]["key"] == "google"
        return found["untested"] and found["untested"]["reason"]

    assert why(await put_checked(admin, "azure-openai", KEY, approvedOrigins=[AZURE["endpoint"]])) == "invalid_config"
    moved = {"config": {"baseUrl": "https://gateway.example.com/v1"}}
    assert (await admin.put(f"{URL}/groq/config", json=moved)).status_code == 200
    assert why(await put_checked(admin, "groq", KEY)) == "destination_unapproved"
    # Approved for a gateway alone, it goes to no provider: not when entered, nor when settings were put back since.
    gateway = ["https://gateway.example.com/v1"]
    assert why(await put_checked(admin, "anthropic", KEY, approvedOrigins=gateway)) == "destination_unapproved"
    assert why(await put_checked(admin, "anthropic", f"{KEY}-2")) == "destination_unapproved"
    labelled = {"label": "of last year", "check": True}
    assert why(await admin.put(f"{URL}/groq/secrets", json=labelled)) == "nothing_entered"
    account = json.dumps({"type": "service_account", "token_uri": "https://oauth2.googleapis.com/token"})
    other = {"secrets": {"serviceAccountJson": account}, "check": True}
    assert why(await admin.put(f"{URL}/google/secrets", json=other)) == "secrets_missing"
    await set_key(admin, "openai")
    assert vendor.asked == []
    assert (await put_checked(await caller("livekit:write"), "openai", KEY)).status_code == 403
    plane.verification._allowance.per_minute = 1  # pyright: ignore[reportPrivateUsage]
    assert why(await put_checked(admin, "openai", KEY)) is None
    await set_key(admin, "openai", f"{KEY}-2")
    assert why(await put_checked(admin, "openai", f"{KEY}-3")) == "too_often"
    assert len(vendor.asked) == 1


async def test_a_test_of_settings_that_somebody_changed_meanwhile_is_not_kept(
    admin: httpx.AsyncClient, plane: ControlPlane, vendor: SecureVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = plane.providers.update_provider_secrets

    async def late(*arguments: Any, **named: Any) -> Any:
        await admin.put(f"{URL}/openai/config", json={"config": {"model": "gpt-9"}})
        return await store(*arguments, **named)

    monkeypatch.setattr(plane.providers, "update_provider_secrets", late)
    stored = (await put_checked(admin, "openai", KEY)).json()
    assert (stored["overrides"], stored["verification"], stored["status"]) == ({"model": "gpt-9"}, None, "unverified")
    assert stored["untested"]["reason"] == "changed"
    assert len(vendor.asked) == 1


async def test_a_key_can_be_tested_before_a_voice_is_chosen(admin: httpx.AsyncClient, vendor: SecureVendor) -> None:
    stored = (await put_checked(admin, "elevenlabs", KEY)).json()
    assert (stored["verification"]["outcome"], stored["status"]) == ("verified", "invalid_config")
    assert [each["message"] for each in stored["notices"]] == ["voiceId: This field is required."]
    saved = await verify(admin, "elevenlabs")
    for found in (stored["verification"], saved):
        assert (found["outcome"], found["advice"]) == (
            "verified",
            "No voice was tested, because none is chosen yet.",
        )
        assert [each["state"] for each in found["stages"]] == ["inconclusive", "passed", "passed", "passed"]
    assert (await shown(admin, "elevenlabs"))["verification"] == saved
    assert {asked.host for asked in vendor.asked} == {"api.elevenlabs.io"}
    whole = await admin.post(f"{URL}/elevenlabs/verify", json={"config": {}, "secrets": {"apiKey": KEY}})
    assert [each["pointer"] for each in whole.json()["errors"]] == ["/config/voiceId"], "settings are tested whole"


async def test_an_end_that_the_vendor_tells_is_a_notice(admin: httpx.AsyncClient, vendor: SecureVendor) -> None:
    vendor.say(tested.Reply(200, b'{"id": "gpt-77", "object": "model", "shutdown_date": "2031-05-06"}'))
    await set_key(admin, "openai")
    await admin.put(f"{URL}/openai/config", json={"config": {"model": "gpt-77"}, "isEnabled": True})
    assert [each["code"] for each in (await shown(admin, "openai"))["notices"]] == ["model_unknown"]
    assert (await verify(admin, "openai"))["retiresOn"] == "2031-05-06"
    (notice,) = (await shown(admin, "openai"))["notices"]
    assert (notice["code"], notice["model"], notice["retiresOn"]) == ("model_retiring", "gpt-77", "2031-05-06")
    listed = (await admin.get("/api/organizations/current/notices")).json()["notices"]
    assert "gpt-77" in [each["notice"]["model"] for each in listed]
    vendor.say(tested.Reply(200, b'{"id": "gpt-77", "shutdown_date": "2031-99-06"}'))
    assert (await verify(admin, "openai"))["retiresOn"] is None
    # A vendor that still has it after that day is late; one that says so has ended it, and keeps its entry.
    vendor.say(tested.Reply(200, b'{"id": "gpt-77", "shutdown_date": "2024-05-06"}'))
    await verify(admin, "openai")
    (notice,) = (await shown(admin, "openai"))["notices"]
    assert (notice["code"], notice["message"]) == (
        "model_retiring",
        "gpt-77 was to end on 2024-05-06, so it may end any day.",
    )
    vendor.say(tested.Reply(200, b'{"id": "claude-sonnet-4-6", "lifecycle": "retired"}'))
    found = await verify(admin, "anthropic", secrets={"apiKey": KEY}, config={"workspaceId": "wrkspc_1"})
    assert vendor.asked[-1].headers["anthropic-workspace-id"] == "wrkspc_1"
    assert (found["outcome"], found["stages"][-1]["state"]) == ("model_unavailable", "failed")


async def test_an_end_that_is_known_is_told_with_a_test(
    admin: httpx.AsyncClient, vendor: SecureVendor, plane: ControlPlane
) -> None:
    """What the vendor tells counts before what this release knows, and it is told where the test came to the model."""
    known = next(each for each in plane.registry.get_provider_by_key("openai").models if each.name == "gpt-4o-mini")
    assert known.retires_on is not None
    await set_key(admin, "openai")
    saved = await verify(admin, "openai")
    draft = await verify(admin, "openai", secrets={"apiKey": KEY})
    (kept,) = (await admin.get(f"{URL}/openai/verifications")).json()["verifications"]
    for found in (saved, draft, kept, (await shown(admin, "openai"))["verification"]):
        assert (found["outcome"], found["retiresOn"]) == ("verified", known.retires_on.isoformat())
        assert known.retires_on.isoformat() in found["advice"]
        assert f"OpenAI names {known.replacement} as its replacement." in found["advice"]
    vendor.say(tested.Reply(200, b'{"id": "gpt-4o-mini", "shutdown_date": "2031-05-06"}'))
    told = await verify(admin, "openai")
    assert told["advice"].startswith("gpt-4o-mini ends on 2031-05-06.")
    vendor.say(tested.Reply(401, b"{}"))
    refused = await verify(admin, "openai")
    assert refused["retiresOn"] == known.retires_on.isoformat()
    assert "gpt-4o-mini" not in refused["advice"]
    vendor.say(tested.Reply(404, b"model_not_found"))
    assert (await verify(admin, "openai"))["advice"].endswith("or ask the provider for access to this one.")


async def test_a_page_is_no_vosk_server(admin: httpx.AsyncClient, vendor: SecureVendor) -> None:
    moved = {"config": {"serverUrl": "wss://gateway.example.com"}}
    assert (await admin.put(f"{URL}/vosk/config", json=moved)).status_code == 200
    for reply, outcome in (
        (tested.Reply(200, b"<html>Welcome</html>"), "local_unavailable"),
        (tested.Reply(426, b"Upgrade Required"), "verified"),
        (tested.Reply(400, b"The plain HTTP request was sent to HTTPS port"), "provider_error"),
    ):
        vendor.say(reply)
        draft = {"approvedOrigins": ["wss://gateway.example.com"]}
        assert (await verify(admin, "vosk", **draft))["outcome"] == outcome


def _long(body: str) -> bytes:
    return body.encode() + b" " * 70_000


async def test_a_long_list_leaves_the_model_open_and_says_so(admin: httpx.AsyncClient, vendor: SecureVendor) -> None:
    def answer(asked: tested.Asked) -> tested.Reply:
        if asked.path.endswith("/auth/token"):
            return tested.answer(asked)
        return tested.Reply(200, _long('{"stt": [{"canonical_name": "nova-3-general"}]'))

    await set_key(admin, "deepgram")
    await admin.put(f"{URL}/deepgram/config", json={"config": {"model": "nova-99"}})
    vendor.answer = answer
    found = await verify(admin, "deepgram")
    assert found["outcome"] == "verified"
    assert [each["state"] for each in found["stages"]] == ["passed", "passed", "passed", "skipped"]


async def test_a_model_of_another_kind_is_none(admin: httpx.AsyncClient, vendor: SecureVendor) -> None:
    """Vendors list them, and have entries of them, beside those that a provider of this type can use."""
    listed = {"stt": [{"name": "general", "canonical_name": "nova-3-general"}]}
    voices = {"tts": [{"name": "asteria", "canonical_name": "aura-asteria-en"}]}

    def answer(asked: tested.Asked) -> tested.Reply:
        if asked.host == tested.HOSTS["deepgram"] and asked.path == "/v1/models":
            return tested.Reply(200, json.dumps(listed | voices).encode())
        model = asked.path.rpartition("/")[2]
        if asked.host == tested.HOSTS["openai"]:
            return tested.Reply(200, json.dumps({"id": model, "object": "model"}).encode())
        if asked.host == tested.HOSTS["google"]:
            served = ["embedContent" if "embedding" in model else "generateContent"]
            entry = {"name": f"models/{model}", "supportedGenerationMethods": served}
            return tested.Reply(200, json.dumps(entry).encode())
        return tested.answer(asked)

    vendor.answer = answer
    names: dict[str, tuple[list[str], list[str]]] = {
        "deepgram": (["nova-3"], ["general", "aura-asteria-en"]),
        "groq": ([], ["whisper-large-v3"]),
        "openai": (
            ["gpt-77", "o9", "omega", "ft:gpt-4o-mini:tts-gmbh::1"],
            ["text-embedding-3-small", "whisper-1", "tts-1", "gpt-realtime", "ft:davinci-002:a::1"],
        ),
        "openai-tts": (["tts-1-hd", "gpt-4o-mini-tts"], ["gpt-4o-mini"]),
        "google": (["gemini-77"], ["gemini-embedding-001"]),
    }
    for key, (own, others) in names.items():
        for model in (*own, *others):
            found = await verify(admin, key, config={"model": model}, secrets={"apiKey": KEY})
            outcome = "verified" if model in own else "model_unavailable"
            assert (found["outcome"], found["stages"][-1]["name"]) == (outcome, "model"), (key, model)
            assert found["stages"][-1]["state"] == ("passed" if model in own else "failed"), (key, model)


async def test_azures_list_of_a_whole_region_is_no_wrong_address(
    admin: httpx.AsyncClient, vendor: SecureVendor
) -> None:
    approved = {"approvedOrigins": [AZURE["endpoint"]]}

    for words, outcome in (
        (tested.Reply(200, b'{"choices": []}'), "verified"),
        (tested.Reply(400, b'{"error": {"message": "max_tokens or model output limit was reached"}}'), "verified"),
        (tested.Reply(400, b'{"error": {"code": "unsupported_parameter"}}'), "verified"),
        (tested.Reply(400, b'{"error": {"code": "unsupported_api_version"}}'), "provider_error"),
        (tested.Reply(400, b'{"error": {"code": "OperationNotSupported"}}'), "model_unavailable"),
        (tested.Reply(429, b"{}", {"Retry-After": "90"}), "rate_limited"),
    ):

        def answer(asked: tested.Asked, words: tested.Reply = words) -> tested.Reply:
            return tested.Reply(200, _long('{"data": [')) if asked.method == "GET" else words

        vendor.answer = answer
        found = await verify(admin, "azure-openai", config=AZURE, secrets={"apiKey": KEY}, **approved)
        assert found["outcome"] == outcome
        assert found["retryAfterSeconds"] == (90 if outcome == "rate_limited" else None)
        assert [each["state"] for each in found["stages"]][:3] == ["passed"] * 3, "what a later request leaves open"


async def test_a_server_that_has_a_list_alone_is_asked_for_it(admin: httpx.AsyncClient, vendor: SecureVendor) -> None:
    draft = {"config": {"baseUrl": "https://gateway.example.com/v1"}, "secrets": {"apiKey": KEY}}

    def answer(asked: tested.Asked) -> tested.Reply:
        if asked.path == "/v1/models":
            return tested.Reply(200, b'{"data": [{"id": "gpt-4o-mini"}]}')
        return tested.Reply(404, b'{"detail": "Not Found"}')

    vendor.answer = answer
    for model, outcome in (("gpt-4o-mini", "verified"), ("gpt-77", "model_unavailable")):
        draft["config"]["model"] = model
        found = await verify(admin, "openai", **draft, approvedOrigins=["https://gateway.example.com/v1"])
        assert (found["outcome"], found["httpStatus"]) == (outcome, 200)


async def test_a_server_that_speaks_may_have_no_list(admin: httpx.AsyncClient, vendor: SecureVendor) -> None:
    gateway = "https://gateway.example.com/v1"
    vendor.say(tested.Reply(404, b'{"detail": "Not Found"}'))
    draft = {"config": {"baseUrl": gateway}, "secrets": {"apiKey": KEY}, "approvedOrigins": [gateway]}
    found = await verify(admin, "openai-tts", **draft)
    assert (found["outcome"], found["verdict"]) == ("not_checkable", "inconclusive")
    assert (await verify(admin, "openai", **draft))["verdict"] == "fails"


async def test_an_end_that_was_told_stays_known_while_a_test_is_inconclusive(
    admin: httpx.AsyncClient, vendor: SecureVendor
) -> None:
    await set_key(admin, "openai")
    await admin.put(f"{URL}/openai/config", json={"config": {"model": "gpt-77"}})
    vendor.say(tested.Reply(200, b'{"id": "gpt-77", "shutdown_date": "2031-05-06"}'))
    await verify(admin, "openai")
    vendor.say(tested.Reply(503))
    await verify(admin, "openai")
    assert [each["retiresOn"] for each in (await shown(admin, "openai"))["notices"]] == ["2031-05-06"]


@pytest.mark.parametrize(
    ("reply", "precondition", "status"),
    [
        (tested.Reply(403, b'{"error": {"code": "unsupported_country_region_territory"}}'), None, 200),
        (tested.Reply(401, b"{}"), '"stale"', 412),
    ],
    ids=["refused for where it is tried from", "of another state"],
)
async def test_where_a_key_is_tried_from_does_not_speak_against_it(
    reply: tested.Reply, precondition: str | None, status: int, admin: httpx.AsyncClient, vendor: SecureVendor
) -> None:
    vendor.say(reply)
    headers = {"If-Match": precondition} if precondition else {}
    body = {"secrets": {"apiKey": KEY}, "check": True}
    assert (await admin.put(f"{URL}/openai/secrets", json=body, headers=headers)).status_code == status
    assert len(vendor.asked) == (1 if status == 200 else 0)


async def test_a_provider_with_a_key_of_its_own_does_not_mind_whose_it_could_have_used(
    admin: httpx.AsyncClient, caller: Caller, plane: ControlPlane
) -> None:
    worker = await caller("worker:resolve")

    async def proved() -> bool:
        found = await shown(admin, "openai-tts")
        assert (found["health"] is not None) is (found["verification"] is not None)
        return found["status"] == "verified"

    async def prove() -> None:
        await verify(admin, "openai-tts")
        seen = {"at": await position_of(plane), "reports": [{"provider": "openai-tts", "outcome": "recovered"}]}
        assert (await worker.post("/api/organizations/current/reports", json=seen)).status_code < 300
        assert await proved()

    # While it uses OpenAI's key, another one of those is another one of its; OpenAI's settings are not.
    await set_key(admin, "openai")
    await prove()
    await admin.put(f"{URL}/openai/config", json={"config": {"temperature": 0.1}})
    assert await proved()
    await set_key(admin, "openai", "key-good-2")
    assert not await proved()
    await prove()
    await set_key(admin, "openai-tts", "key-good-own")
    assert not await proved()
    await prove()
    await set_key(admin, "openai", "key-good-3")
    assert (await admin.delete(f"{URL}/openai/secrets")).status_code == 204
    assert await proved()
    await set_key(admin, "openai", "key-good-4")
    assert (await admin.delete(f"{URL}/openai-tts/secrets")).status_code == 204
    assert not await proved(), "it uses OpenAI's again"


async def test_a_stored_key_that_is_entered_again_and_refused_is_known_to_fail(
    admin: httpx.AsyncClient, vendor: SecureVendor
) -> None:
    await set_key(admin, "openai")
    await verify(admin, "openai")
    vendor.say(tested.Reply(401, b"{}"))
    assert (await put_checked(admin, "openai", "key-good-another")).status_code == 422
    assert (await shown(admin, "openai"))["status"] == "verified", "that is another key"
    assert (await put_checked(admin, "openai-tts", KEY)).status_code == 422
    assert (await shown(admin, "openai-tts"))["status"] == "failing", "it uses OpenAI's key"
    assert (await put_checked(admin, "openai", KEY)).status_code == 422
    failing = await shown(admin, "openai")
    assert (failing["status"], failing["verification"]["outcome"]) == ("failing", "key_rejected")
    assert failing["secretFields"][0]["version"] == 1


async def test_what_nobody_is_asked_about_is_not_opened(
    admin: httpx.AsyncClient, vendor: SecureVendor, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    account = {"type": "service_account", "token_uri": "https://oauth2.googleapis.com/token"}
    vertex = {"backend": "vertex", "project": "acme"}
    entra = AZURE | {
        "tenantId": "7b2f0d8e-0000-4000-8000-000000000000",
        "clientId": "0b2f0d8e-0000-4000-8000-000000000000",
    }
    addresses = ["https://us-central1-aiplatform.googleapis.com", "https://oauth2.googleapis.com"]
    sign_in = [AZURE["endpoint"], "https://login.microsoftonline.com"]
    for key, config, name, secret, approved in (
        ("google", vertex, "serviceAccountJson", json.dumps(account), addresses),
        ("azure-openai", entra, "clientSecret", "secret-canary", sign_in),
    ):
        body = {"secrets": {name: secret}, "approvedOrigins": approved}
        assert (await admin.put(f"{URL}/{key}/secrets", json=body)).status_code == 200
        written = await admin.put(f"{URL}/{key}/config", json={"config": config})
        assert written.status_code == 200, written.text
        assert (await verify(admin, key))["outcome"] == "not_checkable"
        assert (await admin.get(f"{URL}/{key}/models")).json()["reason"] == "not_offered"
    assert vendor.asked == []
    assert superuser.execute("SELECT 1 FROM audit_events WHERE action = 'secrets.release'").fetchall() == []


@pytest.mark.parametrize(
    ("key", "reply", "said", "step"),
    [
        ("openai", (401, b"mismatched_organization"), "organization or project", "check_settings"),
        ("openai", (403, b"mismatched_project"), "organization or project", "check_settings"),
        ("openai", (403, b"unsupported_country"), "from where the control plane is", "open_console"),
        ("openai", (401, b"ip_not_authorized"), "from where the control plane is", "open_console"),
        ("groq", (403, b"{}"), "from where the control plane is", "open_console"),
        ("groq", (404, b"{}"), "What answers at https://api.groq.com is not Groq", "check_settings"),
        ("elevenlabs", (401, b"detected_unusual_activity"), "from where the control plane is", "open_console"),
        ("azure-openai", (403, b"Virtual Network/Firewall rules."), "from where the control plane is", "open_console"),
        ("azure-openai", (403, b"Public access is disabled."), "from where the control plane is", "open_console"),
    ],
)
async def test_advice_fits_what_was_refused(
    key: str, reply: tuple[int, bytes], said: str, step: str, admin: httpx.AsyncClient, vendor: SecureVendor
) -> None:
    vendor.say(tested.Reply(*reply))
    needed = {"azure-openai": {"config": AZURE}, "elevenlabs": {"config": VOICE}}.get(key, {})
    found = await verify(admin, key, secrets={"apiKey": KEY}, **needed, **_approval(key))
    assert len(vendor.asked) == 1, "nothing further is asked"
    is_from_here = step == "open_console"
    assert (found["outcome"], found["verdict"], found["nextStep"]) == (
        *(("unreachable", "inconclusive") if is_from_here else ("wrong_region_or_endpoint", "fails")),
        step,
    )
    assert said in found["sentence"]
    assert (await put_checked(admin, key, KEY, **_approval(key))).status_code == 200, (
        "it does not speak against the key"
    )


async def test_a_name_that_nobody_has_is_a_wrong_address_and_no_wrong_key(
    admin: httpx.AsyncClient, vendor: SecureVendor
) -> None:
    vendor.look_up_error = socket.EAI_NONAME
    approved = {"approvedOrigins": [AZURE["endpoint"]]}
    written = await admin.put(f"{URL}/azure-openai/secrets", json={"secrets": {"apiKey": KEY}, **approved})
    assert written.status_code == 200
    assert (await admin.put(f"{URL}/azure-openai/config", json={"config": AZURE})).status_code == 200
    stored = await put_checked(admin, "azure-openai", f"{KEY}-2")
    assert stored.status_code == 200, "the key is not at fault"
    found = stored.json()["verification"]
    assert found["sentence"] == "There is no host of this name: https://acme.openai.azure.com."
    assert (found["outcome"], found["nextStep"]) == ("wrong_region_or_endpoint", "check_settings")
    vendor.look_up_error = socket.EAI_AGAIN
    unknown = await verify(admin, "azure-openai")
    assert unknown["outcome"] == "unreachable", "of the name, that says nothing"
    assert unknown["advice"].startswith("Check the address")
    # At the provider's own address, no setting is at fault.
    usual = await verify(admin, "groq", secrets={"apiKey": KEY})
    assert usual["sentence"] == "The control plane could not reach Groq at https://api.groq.com."
    assert "this network and its firewall" in usual["advice"]
    assert [unknown["nextStep"], usual["nextStep"]] == ["check_settings", "check_network"]
    assert vendor.asked == []


async def test_a_local_server_without_the_voice_answers_all_the_same(
    admin: httpx.AsyncClient, vendor: SecureVendor
) -> None:
    voice, listed = "pt_PT-tug\u00e3o-medium", json.dumps({"pt_PT-tug\u00e3o-medium": {}}).encode()
    config = {"baseUrl": "https://gateway.example.com", "voice": voice}
    assert b"\\u00e3" in listed
    for body, outcome in ((listed, "verified"), (b'{"en_US-amy-medium": {}}', "model_unavailable")):
        vendor.say(tested.Reply(200, body))
        found = await verify(admin, "piper", config=config, approvedOrigins=["https://gateway.example.com"])
        assert (found["outcome"], found["model"]) == (outcome, voice)
        assert [(each["name"], each["state"]) for each in found["stages"]] == [
            ("settings", "passed"),
            ("reachable", "passed"),
            ("model", "passed" if outcome == "verified" else "failed"),
        ], "it has no key"
    assert found["sentence"] == f"Piper (local) answers at https://gateway.example.com, but has no {voice}."


async def test_what_the_operator_has_to_set_is_named(settings: Settings, administrator: Principal) -> None:
    async with ControlPlane.open(settings) as closed:
        for key, variable in (("piper", "VOXPLANE_VENDOR_NETWORKS"), ("whisper", "VOXPLANE_MODELS_DIR")):
            found = await closed.verification.verify(administrator, key, VerificationWrite())
            assert variable in found.advice
            assert "key" not in [each.name for each in found.stages]

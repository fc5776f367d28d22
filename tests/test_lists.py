"""Lists of models and voices over HTTP: from the vendor with the organization's key, kept, and never a failure."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx
import psycopg
import pytest

from tests.conftest import Caller
from tests.test_catalogue_file import administrator_of
from tests.vendors import tested
from tests.vendors.secure import HOSTS, Asked, Reply, SecureVendor
from voxplane.listing import MAX_ITEMS, MAX_LABEL_LENGTH
from voxplane.registry import ProviderRegistry
from voxplane.resolution import ResolvedProviderConfig
from voxplane.schemas import SecretsWrite
from voxplane.server import lists
from voxplane.server.auth import Principal
from voxplane.server.control_plane import ControlPlane
from voxplane.server.settings import Settings

URL = "/api/organizations/current/providers"
KEY = "key-good-canary-7f3a9c"
SAMPLES = "storage.googleapis.com"
MP3 = b"ID3\x04" + bytes(2000)
VOICE = {"voiceId": "JBFqnCBsd6RMkjVDRZzb"}


def page(*voices: dict[str, Any], after: str | None = None) -> dict[str, Any]:
    return {"voices": list(voices), "has_more": after is not None, "next_page_token": after, "total_count": 2}


GEORGE = {"voice_id": "JBFqnCBsd6RMkjVDRZzb", "name": "George", "category": "premade"}
SARAH = {"voice_id": "EXAVITQu4vr4xnSDxMaL", "name": "Sarah"}
PREVIEW = f"https://{SAMPLES}/eleven-public-prod/premade/george.mp3"
ANSWERS: dict[tuple[str, str], Any] = {
    ("api.openai.com", "/v1/models"): {
        "object": "list",
        "data": [
            {"id": "gpt-6-luna", "object": "model", "created": 1, "owned_by": "openai", "shutdown_date": None},
            {"id": "gpt-4o-mini", "object": "model", "created": 1, "owned_by": "openai", "shutdown_date": "2027-01-15"},
            {"id": "gpt-9", "object": "model", "created": 1, "owned_by": "openai", "shutdown_date": "2030-01-01"},
            {"id": "gpt-4-0613", "object": "model", "created": 1, "owned_by": "openai", "shutdown_date": None},
            {"id": "gpt-8", "object": "model", "created": 1, "owned_by": "openai", "shutdown_date": "2024-01-01"},
            {"id": "gpt-4o-mini-tts", "object": "model", "created": 1, "owned_by": "openai"},
            {"id": "text-embedding-3-small", "object": "model", "created": 1, "owned_by": "openai"},
        ],
    },
    ("api.elevenlabs.io", "/v1/models"): [{"model_id": "eleven_v4", "name": "Eleven v4"}],
    ("api.elevenlabs.io", "/v2/voices?page_size=100"): page({**GEORGE, "preview_url": PREVIEW}, after="next_1"),
    ("api.elevenlabs.io", "/v2/voices?page_size=100&next_page_token=next_1"): page(SARAH),
    ("api.cartesia.ai", "/voices?limit=100"): {
        "data": [{"id": "f786b574-daa5-4673-aa0c-cbe3e8534c02", "name": "Katie", "language": "en"}],
        "has_more": False,
        "next_page": None,
    },
    ("generativelanguage.googleapis.com", "/v1beta/models?pageSize=1000"): {
        "models": [
            {
                "name": "models/gemini-3.8-flash",
                "displayName": "Flash",
                "supportedGenerationMethods": ["generateContent"],
            },
            {"name": "models/embedding-1", "displayName": "E", "supportedGenerationMethods": ["embedContent"]},
        ]
    },
    ("api.anthropic.com", "/v1/models?limit=1000"): {
        "data": [
            {
                "id": "claude-sonnet-4-6",
                "type": "model",
                "display_name": "Sonnet 4.6",
                "created_at": "2026-01-01T00:00:00Z",
                "retires_at": "2027-09-01T00:00:00Z",
            },
            {"id": "claude-opus-4-1", "type": "model", "lifecycle": "retired", "retires_at": "2026-08-05T00:00:00Z"},
        ],
        "has_more": False,
    },
}


class Said:
    """What the vendors answer; a test may have one of them say something else."""

    def __init__(self) -> None:
        self.instead: Reply | Callable[[Asked], Reply] | None = None

    def __call__(self, asked: Asked) -> Reply:
        """Answer one request."""
        if asked.host == SAMPLES:
            assert not {"authorization", "xi-api-key"} & asked.headers.keys()
        elif tested.key_of(asked) != KEY:
            return tested.answer(asked)
        if self.instead is not None:
            return self.instead(asked) if callable(self.instead) else self.instead
        if asked.host == SAMPLES:
            return Reply(200, MP3, {"Content-Type": "text/html"})
        found = ANSWERS.get((asked.host, asked.path))
        return tested.answer(asked) if found is None else Reply(200, json.dumps(found).encode())


class Hands:
    """A clock of which the hands are moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
async def vendor(said: Said) -> AsyncIterator[SecureVendor]:
    async with SecureVendor(said, hosts=(*HOSTS, SAMPLES)) as served:
        yield served


@pytest.fixture
async def plane(settings: Settings, vendor: SecureVendor) -> AsyncIterator[ControlPlane]:
    own = {"vendor_networks": "127.0.0.0/8", "vendor_ca_file": vendor.ca_file, "vendor_timeout_seconds": 30}
    changed = Settings.model_validate(settings.model_dump() | own | {"lists_per_minute": 30})
    async with ControlPlane.open(changed, resolve=vendor.resolve) as opened:
        yield opened


@pytest.fixture
def hands(plane: ControlPlane) -> Hands:
    hands = Hands()
    plane.lists._timer = plane.lists._allowance.timer = hands  # pyright: ignore[reportPrivateUsage]
    return hands


async def set_key(client: httpx.AsyncClient, key: str, value: str = KEY, **more: object) -> None:
    answer = await client.put(f"{URL}/{key}/secrets", json={"secrets": {"apiKey": value}, **more})
    assert answer.status_code == 200, answer.text


async def listed(client: httpx.AsyncClient, key: str, kind: str = "models", **query: Any) -> dict[str, Any]:
    answer = await client.get(f"{URL}/{key}/{kind}", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [each["name"] for each in found["items"] if each["isListed"]]


async def test_a_list_is_the_vendors_with_what_is_known_of_its_models(
    admin: httpx.AsyncClient, vendor: SecureVendor, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    await set_key(admin, "openai")
    found = await listed(admin, "openai")
    assert (found["source"], found["reason"], found["isWhole"]) == ("live", None, True)
    assert found["fetchedAt"] is not None
    assert names(found) == ["gpt-6-luna", "gpt-4o-mini", "gpt-9", "gpt-4-0613", "gpt-8"]
    items = {each["name"]: each for each in found["items"]}
    mini = items["gpt-4o-mini"]
    assert (mini["status"], mini["retiresOn"], mini["replacement"]) == ("deprecated", "2027-01-15", "gpt-6-luna")
    assert (items["gpt-9"]["status"], items["gpt-9"]["retiresOn"]) == ("deprecated", "2030-01-01")
    assert (items["gpt-8"]["status"], items["gpt-8"]["retiresOn"]) == ("deprecated", "2024-01-01"), "it is late"
    assert items["gpt-6-luna"]["status"] == "current"
    assert (items["gpt-4-0613"]["status"], items["gpt-4-0613"]["retiresOn"]) == ("retired", "2026-10-23"), "as gpt-4"
    assert (items["gpt-4.1"]["isListed"], items["gpt-4.1"]["retiresOn"]) == (False, "2027-01-14")
    statement = "SELECT action, target, detail FROM audit_events ORDER BY seq DESC LIMIT 1"
    (action, target, detail) = superuser.execute(statement).fetchall()[0]
    assert (action, target) == ("secrets.release", "openai")
    assert isinstance(detail, dict)
    assert detail["purpose"] == "list"
    assert [tested.key_of(each) for each in vendor.asked] == [KEY]


@pytest.mark.parametrize(
    ("key", "kind", "expected"),
    [
        ("openai-tts", "models", ["gpt-4o-mini-tts"]),
        ("groq", "models", ["openai/gpt-oss-120b"]),
        ("google", "models", ["gemini-3.8-flash"]),
        ("anthropic", "models", ["claude-sonnet-4-6"]),
        ("deepgram", "models", ["nova-3-general"]),
        ("azure-openai", "models", ["gpt-4o"]),
        ("elevenlabs", "models", ["eleven_v4"]),
        ("elevenlabs", "voices", ["JBFqnCBsd6RMkjVDRZzb", "EXAVITQu4vr4xnSDxMaL"]),
        ("cartesia", "voices", ["f786b574-daa5-4673-aa0c-cbe3e8534c02"]),
    ],
)
async def test_each_vendor_is_asked_in_its_own_way(
    key: str, kind: str, expected: list[str], admin: httpx.AsyncClient, vendor: SecureVendor
) -> None:
    azure = {"endpoint": "https://acme.openai.azure.com", "deployment": "talk", "apiSurface": "v1"}
    await set_key(admin, key, KEY, **({"approvedOrigins": [azure["endpoint"]]} if key == "azure-openai" else {}))
    needed = {"azure-openai": azure}.get(key, {})  # a voice is chosen from the list
    if needed:
        assert (await admin.put(f"{URL}/{key}/config", json={"config": needed})).status_code == 200
    found = await listed(admin, key, kind)
    assert (found["source"], names(found)) == ("live", expected)
    assert {each.host for each in vendor.asked} == {tested.HOSTS[key]}
    provider_registry = ProviderRegistry()
    provider_registry.initialize()
    provider = provider_registry.get_provider_by_key(key)
    setting = provider.model_setting if kind == "models" else provider.voice_setting
    assert setting is not None
    for name in expected:
        assert provider.validate({**needed, setting: name}, is_whole=False)


async def test_an_answer_is_kept_for_a_while_and_for_one_key(
    admin: httpx.AsyncClient, vendor: SecureVendor, hands: Hands, said: Said
) -> None:
    await set_key(admin, "openai")
    async with anyio.create_task_group() as readers:
        for _ in range(5):
            readers.start_soon(listed, admin, "openai")
    assert len(vendor.asked) == 1
    assert (await listed(admin, "openai"))["source"] == "cached"
    assert (await listed(admin, "openai", refresh=True))["source"] == "cached", "it was asked a moment ago"
    hands.now += 31
    assert (await listed(admin, "openai"))["source"] == "cached"
    assert (await listed(admin, "openai", refresh=True))["source"] == "live"
    hands.now += 901
    said.instead = Reply(503)
    kept = await listed(admin, "openai")
    assert (kept["source"], kept["reason"]) == ("cached", "provider_error")
    assert "gpt-9" in names(kept)
    assert (await listed(admin, "openai"))["reason"] == "provider_error"
    assert len(vendor.asked) == 3
    await set_key(admin, "openai", "key-bad-other")
    other = await listed(admin, "openai")
    assert (other["source"], other["reason"], other["fetchedAt"]) == ("built-in", "key_refused", None)
    assert names(other) == []


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(302, headers={"Location": f"https://evil.example/{tested.UPSTREAM}"}), "provider_error"),
        (Reply(429), "rate_limited"),
        (Reply(fault="reset"), "unreachable"),
        (Reply(200, b"x" * (10 << 20)), "not_understood"),
        (Reply(200, b'{"data": [' * 100_000), "not_understood"),
        (Reply(200, b"\x00\xff\xfe" * 1000), "not_understood"),
        (Reply(200, b"{}", {"Content-Encoding": "gzip"}), "not_understood"),
        (Reply(200, b'{"data": "' + tested.UPSTREAM.encode() + b'"}'), "not_understood"),
        (Reply(200, b"x" * 4096, fault="endless"), "not_understood"),
    ],
)
async def test_a_vendor_that_fails_or_is_hostile_leaves_the_built_in_list(
    reply: Reply, reason: str, admin: httpx.AsyncClient, said: Said
) -> None:
    await set_key(admin, "openai")
    said.instead = reply
    found = await listed(admin, "openai")
    assert (found["source"], found["reason"], found["fetchedAt"]) == ("built-in", reason, None)
    assert "gpt-4o-mini" in [each["name"] for each in found["items"]]
    assert tested.UPSTREAM not in json.dumps(found)


@pytest.mark.parametrize(
    ("key", "situation", "reason"),
    [
        ("google", "bad", "key_refused"),
        ("google", "region", "unreachable"),
        ("elevenlabs", "restricted", "key_restricted"),
        ("groq", "region", "unreachable"),
        ("openai", "quota", "quota"),
    ],
)
async def test_a_refusal_is_read_as_in_a_test(key: str, situation: str, reason: str, admin: httpx.AsyncClient) -> None:
    await set_key(admin, key, f"key-{situation}-x")
    assert (await listed(admin, key))["reason"] == reason


async def test_a_list_of_another_address_is_not_kept(
    admin: httpx.AsyncClient, vendor: SecureVendor, plane: ControlPlane, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ["https://api.groq.com/openai/v1", "https://gateway.example.com/v1"]
    await set_key(admin, "groq", KEY, approvedOrigins=both)

    def answer(asked: Asked) -> Reply:
        return Reply(200, json.dumps({"data": [{"id": f"of-{asked.host}"}]}).encode())

    vendor.answer = answer
    assert names(await listed(admin, "groq")) == ["of-api.groq.com"]
    hands.now += 31
    release = plane.workers.release_for_list

    async def late(who: Principal, key: str) -> ResolvedProviderConfig:
        await admin.put(f"{URL}/groq/config", json={"config": {"baseUrl": both[1]}})
        return await release(who, key)

    monkeypatch.setattr(plane.workers, "release_for_list", late)
    assert names(await listed(admin, "groq", refresh=True)) == ["of-gateway.example.com"]
    monkeypatch.setattr(plane.workers, "release_for_list", release)
    await admin.put(f"{URL}/groq/config", json={"config": {}})
    assert names(await listed(admin, "groq")) == ["of-api.groq.com"]


async def test_a_vendor_that_hangs_is_given_up(settings: Settings, vendor: SecureVendor, said: Said) -> None:
    own = {"vendor_networks": "127.0.0.0/8", "vendor_ca_file": vendor.ca_file, "vendor_timeout_seconds": 0.5}
    changed = Settings.model_validate(settings.model_dump() | own)
    said.instead = Reply(200, b"{", fault="slow")
    async with ControlPlane.open(changed, resolve=vendor.resolve) as plane:
        who = await administrator_of(plane)
        await plane.providers.update_provider_secrets(who, "openai", SecretsWrite(secrets={"apiKey": KEY}))
        found = await plane.lists.list_offers(who, "openai", "models")
        assert (found.source, found.reason) == ("built-in", "timeout")


async def test_only_names_that_a_setting_can_hold_and_clean_labels_come_through(
    admin: httpx.AsyncClient, said: Said
) -> None:
    await set_key(admin, "elevenlabs")
    await admin.put(f"{URL}/elevenlabs/config", json={"config": VOICE})
    hostile: list[Any] = [
        {"voice_id": "<script>alert(1)</script>", "name": "x"},
        {"voice_id": "a" * 500, "name": "x"},
        {"voice_id": ["no"], "name": "x"},
        "text",
        None,
        {**GEORGE, "name": "Geo\u202erge\x00 \n <b>" + "x" * 500, "preview_url": ["no"]},
        GEORGE,
        *({"voice_id": f"voice{number}", "name": 7} for number in range(MAX_ITEMS * 2)),
    ]
    said.instead = Reply(200, json.dumps(page(*hostile, after="../../evil?x=1&y")).encode())
    found = await listed(admin, "elevenlabs", "voices")
    assert len(found["items"]) <= MAX_ITEMS
    assert names(found)[0] == GEORGE["voice_id"]
    label = found["items"][0]["label"]
    assert label.startswith("Geo rge <b>xxx")
    assert len(label) == MAX_LABEL_LENGTH
    assert found["isWhole"] is False, "there is more, and no way to it"
    endless = Reply(200, json.dumps(page(GEORGE, after="again")).encode())
    said.instead = endless
    await set_key(admin, "elevenlabs", KEY, label="new")
    await set_key(admin, "elevenlabs", "key-bad")
    await set_key(admin, "elevenlabs", KEY)
    assert (await listed(admin, "elevenlabs", "voices"))["isWhole"] is False


async def test_what_repeats_the_key_is_left_out(
    admin: httpx.AsyncClient, caller: Caller, vendor: SecureVendor, plane: ControlPlane
) -> None:
    """Whoever reads a list need not be one who may have the key."""
    gateway = "https://gateway.example.com/v1"
    await set_key(admin, "openai", KEY, approvedOrigins=[gateway])
    await admin.put(f"{URL}/openai/config", json={"config": {"baseUrl": gateway}})
    await set_key(admin, "elevenlabs")
    await admin.put(f"{URL}/elevenlabs/config", json={"config": VOICE})
    models = {"data": [{"id": KEY}, {"id": f"of:{KEY}/x"}, {"id": "gpt-77"}]}
    echoes = ({**SARAH, "name": f"{'x' * (MAX_LABEL_LENGTH - 9)} {KEY}"}, {**SARAH, "voice_id": KEY})
    voices = page(*echoes, {**SARAH, "preview_url": f"{PREVIEW}?{KEY}"}, GEORGE)

    def answer(asked: Asked) -> Reply:
        return Reply(200, json.dumps(voices if "voices" in asked.path else models).encode())

    vendor.answer = answer
    reader = await caller("livekit:read")
    found = [await listed(reader, "openai"), await listed(reader, "elevenlabs", "voices")]
    assert [names(each) for each in found] == [["gpt-77"], [GEORGE["voice_id"]]]
    assert KEY[:9] not in json.dumps(found)
    (listing,) = plane.registry.get_provider_by_key("openai").lists_models
    read = listing.read({"data": [{"id": "none-of-those"}]}, ["none"])
    assert read is not None
    assert [each.name for each in read.listed] == ["none-of-those"], "a server of one's own takes any key"


@pytest.mark.parametrize(
    ("key", "kind", "answer", "listed_names"),
    [
        ("google", "models", {"models": [], "nextPageToken": "no good"}, []),
        ("anthropic", "models", {"data": [{"id": "claude-9"}], "has_more": True}, ["claude-9"]),
        ("elevenlabs", "voices", page(*({**SARAH, "voice_id": f"voice{n}"} for n in range(MAX_ITEMS + 1))), None),
        ("cartesia", "voices", {"data": [{"id": "v"}], "has_more": True, "next_page": None}, ["v"]),
    ],
)
async def test_a_list_that_goes_on_out_of_reach_is_not_whole(
    key: str, kind: str, answer: Any, listed_names: list[str] | None, admin: httpx.AsyncClient, said: Said
) -> None:
    await set_key(admin, key)
    said.instead = Reply(200, json.dumps(answer).encode())
    found = await listed(admin, key, kind)
    assert (found["source"], found["isWhole"]) == ("live", False)
    assert listed_names is None or names(found) == listed_names


def test_a_voice_may_be_called_by_a_word_of_any_language() -> None:
    registry = ProviderRegistry()
    registry.initialize()
    (voices,) = registry.get_provider_by_key("piper").lists_voices
    found = voices.read({"pt_PT-tug\u00e3o-medium": {}, "pt_PT-\u202ex-low": {}})
    assert found is not None
    assert [each.name for each in found.listed] == ["pt_PT-tug\u00e3o-medium"]


async def test_without_a_key_or_a_list_what_is_known_is_shown_with_the_reason(
    admin: httpx.AsyncClient, vendor: SecureVendor
) -> None:
    for key, kind, reason in (
        ("openai", "models", "secrets_missing"),
        ("openai-tts", "voices", "not_offered"),
        ("whisper", "models", "not_offered"),
        ("elevenlabs", "voices", "secrets_missing"),
        ("piper", "voices", "unreachable"),
    ):
        found = await listed(admin, key, kind)
        assert (found["source"], found["fetchedAt"]) == ("built-in", None)
        assert found["reason"] == reason or key == "piper", key
        assert all(each["isListed"] is None for each in found["items"])
        assert found["items"] or key == "elevenlabs"
    assert vendor.asked == [] or {each.host for each in vendor.asked} == {"127.0.0.1"}
    assert (await admin.get(f"{URL}/nobody/models")).status_code == 404
    refused = await admin.get(f"{URL}/openai/models?refresh=maybe")
    assert refused.status_code == 422


async def test_a_reader_causes_few_requests_and_a_stored_key_goes_only_where_it_was_approved(
    admin: httpx.AsyncClient, caller: Caller, vendor: SecureVendor, hands: Hands, plane: ControlPlane
) -> None:
    reader = await caller("livekit:read")
    await set_key(admin, "groq")
    for _ in range(plane.settings.lists_per_minute):
        assert (await listed(reader, "groq", refresh=True))["source"] in {"live", "cached"}
    assert len(vendor.asked) == 1
    moved = {"config": {"baseUrl": "https://gateway.example.com/v1"}}
    assert (await admin.put(f"{URL}/groq/config", json=moved)).status_code == 200
    found = await listed(reader, "groq")
    assert (found["source"], found["reason"]) == ("built-in", "destination_unapproved")
    assert {each.host for each in vendor.asked} == {"api.groq.com"}
    assert (await (await caller("livekit:write")).get(f"{URL}/groq/models")).status_code == 403
    plane.lists._allowance.per_minute = 1  # pyright: ignore[reportPrivateUsage]
    hands.now += 1000
    await set_key(admin, "openai")
    await set_key(admin, "anthropic")
    assert (await listed(reader, "openai"))["source"] == "live"
    assert (await listed(reader, "anthropic"))["reason"] == "too_often"


async def test_a_sample_is_played_through_us_from_where_the_vendor_keeps_them_alone(
    admin: httpx.AsyncClient, said: Said, vendor: SecureVendor
) -> None:
    await set_key(admin, "elevenlabs")
    await admin.put(f"{URL}/elevenlabs/config", json={"config": VOICE})
    voices = {each["name"]: each for each in (await listed(admin, "elevenlabs", "voices"))["items"]}
    assert voices[GEORGE["voice_id"]]["hasPreview"]
    assert not voices[SARAH["voice_id"]]["hasPreview"]
    assert SAMPLES not in json.dumps(voices)
    url = f"{URL}/elevenlabs/voices/{GEORGE['voice_id']}/preview"
    played = await admin.get(url)
    assert (played.status_code, played.headers["content-type"], played.content) == (200, "audio/mpeg", MP3)
    assert played.headers["x-content-type-options"] == "nosniff"
    for reply in (
        Reply(302, headers={"Location": PREVIEW}),
        Reply(200, b"<html>"),
        Reply(200, b"ID3" + bytes(lists.MAX_PREVIEW_BYTES)),
        Reply(404),
        Reply(fault="reset"),
    ):
        said.instead = reply
        refused = await admin.get(f"{url}?")
        assert (refused.status_code, refused.json()["code"]) == (404, "preview_not_found")
    said.instead = None
    for other in (f"{URL}/elevenlabs/voices/{SARAH['voice_id']}/preview", f"{URL}/openai/voices/alloy/preview"):
        assert (await admin.get(other)).status_code == 404
    assert {each.host for each in vendor.asked} == {"api.elevenlabs.io", SAMPLES}


@pytest.mark.parametrize(
    "preview",
    [
        "https://evil.example/eleven-public-prod/x.mp3",
        f"http://{SAMPLES}/eleven-public-prod/x.mp3",
        f"https://{SAMPLES}/another-bucket/x.mp3",
        f"https://{SAMPLES}/eleven-public-prod/../another-bucket/x.mp3",
        f"https://{SAMPLES}/eleven-public-prod/%2e%2e/another/x.mp3",
        f"https://{SAMPLES}:8443/eleven-public-prod/x.mp3",
        f"https://{SAMPLES}@evil.example/eleven-public-prod/x.mp3",
        "file:///etc/passwd",
        "x" * 5000,
    ],
)
async def test_a_sample_that_is_elsewhere_is_not_fetched(
    preview: str, admin: httpx.AsyncClient, said: Said, vendor: SecureVendor
) -> None:
    await set_key(admin, "elevenlabs")
    await admin.put(f"{URL}/elevenlabs/config", json={"config": VOICE})
    said.instead = Reply(200, json.dumps(page({**GEORGE, "preview_url": preview})).encode())
    answer = await admin.get(f"{URL}/elevenlabs/voices/{GEORGE['voice_id']}/preview")
    assert (answer.status_code, answer.json()["code"]) == (404, "preview_not_found")
    assert {each.host for each in vendor.asked} == {"api.elevenlabs.io"}

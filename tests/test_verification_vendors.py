"""Nine clouds in twelve situations: what a test makes of each, and that loopback answers as the real vendors do."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import httpx
import pytest
from anthropic import AsyncAnthropic
from cartesia import AsyncCartesia
from deepgram import AsyncDeepgramClient, DeepgramClientEnvironment
from elevenlabs.client import AsyncElevenLabs
from google.genai import Client as GeminiClient
from google.genai.types import HttpOptions
from groq import AsyncGroq
from openai import AsyncOpenAI

from tests.vendors import tested
from tests.vendors.secure import Asked, Reply, SecureVendor
from tests.vendors.vendor import PROXIES
from voxplane.schemas.verification import VerificationResult, VerificationWrite
from voxplane.server.auth import Principal
from voxplane.server.control_plane import ControlPlane
from voxplane.server.settings import Settings

# fmt: off
SITUATIONS = ("good", "bad", "restricted", "quota", "limited", "broken", "hang", "reset", "tls", "redirect", "region",
              "model")
_USUAL: dict[str, str] = dict(zip(SITUATIONS, (
    "verified", "key_rejected", "key_restricted", "quota", "rate_limited", "provider_error", "timeout", "unreachable",
    "tls", "wrong_region_or_endpoint", "wrong_region_or_endpoint", "model_unavailable"), strict=True))
# fmt: on
OUTCOMES: dict[str, dict[str, str]] = {key: dict(_USUAL) for key in tested.HOSTS}
# A key of another residency looks like a wrong one, and Cartesia lists no models.
OUTCOMES["elevenlabs"]["region"] = "key_rejected"
# These say by their words that they do not serve from here; to the others it is another address.
for _each in ("openai", "openai-tts", "groq", "google", "anthropic"):
    OUTCOMES[_each]["region"] = "unreachable"
OUTCOMES["cartesia"]["model"] = "verified"
NEEDED: dict[str, dict[str, Any]] = {
    "elevenlabs": {"voiceId": "JBFqnCBsd6RMkjVDRZzb"},
    "azure-openai": {"endpoint": "https://acme.openai.azure.com", "deployment": "talk"},
}
MODEL_SETTING = {"azure-openai": "deployment"}

Ask = Callable[[str, str], Awaitable[VerificationResult]]


@pytest.fixture
async def vendor() -> AsyncIterator[SecureVendor]:
    async with SecureVendor(tested.answer) as served:
        yield served


def drafted(provider: str, key: str, **settings: object) -> VerificationWrite:
    """Return a draft of a provider with its defaults and a key."""
    approved = {"approvedOrigins": ["https://acme.openai.azure.com"]} if provider == "azure-openai" else {}
    config = NEEDED.get(provider, {}) | settings
    return VerificationWrite.model_validate({"config": config, "secrets": {"apiKey": key}, **approved})


def settings_of(settings: Settings, vendor: SecureVendor, **changes: object) -> Settings:
    own = {
        "vendor_networks": "127.0.0.0/8",
        "vendor_ca_file": vendor.ca_file,
        "vendor_timeout_seconds": 30,
        "verifications_per_minute": 1000,
    }
    return Settings.model_validate(settings.model_dump() | own | changes)


@pytest.fixture
async def ask(settings: Settings, vendor: SecureVendor, administrator: Principal) -> AsyncIterator[Ask]:
    """Test a provider's draft in one of the situations."""
    async with AsyncExitStack() as stack:

        async def plane(**changes: object) -> ControlPlane:
            opened = ControlPlane.open(settings_of(settings, vendor, **changes), resolve=vendor.resolve)
            return await stack.enter_async_context(opened)

        usual = await plane()
        planes = {"hang": await plane(vendor_timeout_seconds=0.3), "tls": await plane(vendor_ca_file=None)}

        async def tested_in(provider: str, situation: str) -> VerificationResult:
            key = f"key-{situation if situation not in {'tls', 'model'} else 'good'}-{provider}"
            model = {MODEL_SETTING.get(provider, "model"): "no-such-model"} if situation == "model" else {}
            verification = planes.get(situation, usual).verification
            return await verification.verify(administrator, provider, drafted(provider, key, **model))

        yield tested_in


@pytest.mark.drill
async def test_every_cloud_in_every_situation(ask: Ask) -> None:
    found: dict[str, dict[str, str]] = {}
    for provider in OUTCOMES:
        results = await asyncio.gather(*(ask(provider, each) for each in SITUATIONS))
        found[provider] = {each: result.outcome for each, result in zip(SITUATIONS, results, strict=True)}
        for situation, result in zip(SITUATIONS, results, strict=True):
            said = result.model_dump_json()
            assert tested.UPSTREAM not in said, (provider, situation)
            assert f"key-{situation}" not in said
            assert result.sentence
            is_well = result.outcome == "verified" and result.retires_on is None
            assert (result.advice == "") is is_well, (provider, situation)
            assert "{" not in result.sentence + result.advice
            assert [each.name for each in result.stages] == ["settings", "reachable", "key", "model"]
            assert result.retry_after_seconds == (7 if situation == "limited" else None)
            assert result.verdict == "works" or any(each.state in {"failed", "inconclusive"} for each in result.stages)
    assert found == OUTCOMES


@pytest.mark.parametrize("provider", ["azure-openai", "deepgram", "elevenlabs"])
async def test_a_key_that_is_accepted_is_no_success_while_the_model_is_open(
    ask: Ask, vendor: SecureVendor, provider: str
) -> None:
    """Their first request is about the key alone, and the second about what it is to be used for."""
    expected = {401: "key_restricted", 429: "rate_limited", 503: "provider_error"}
    found: dict[int, str] = {}
    for status in expected:
        first: list[Asked] = []

        def answer(asked: Asked, status: int = status, first: list[Asked] = first) -> Reply:
            if not first:
                first.append(asked)
                return tested.answer(asked)
            return Reply(status, b"{}")

        vendor.answer = answer
        result = await ask(provider, "good")
        found[status] = result.outcome
        assert result.verdict != "works"
        assert result.http_status == status
    assert found == expected


async def test_key_goes_nowhere_but_to_its_vendor(ask: Ask, vendor: SecureVendor) -> None:
    for provider in OUTCOMES:
        await ask(provider, "redirect")
    assert {asked.host for asked in vendor.asked} == set(tested.HOSTS.values())
    assert len(vendor.asked) == len(OUTCOMES), "a redirect is followed by nothing"
    for asked in vendor.asked:
        assert tested.key_of(asked) is not None
        assert "key-" not in asked.path
        assert "cookie" not in asked.headers


def _bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(b"\0" * 10_000_000) + packer.flush()


HOSTILE: dict[str, Reply] = {
    "10 MB": Reply(body=b'{"id": "' + b"x" * 10_000_000 + b'"}'),
    "endless": Reply(body=b"x" * 65536, fault="endless"),
    "binary": Reply(body=bytes(range(256)) * 100),
    "nested": Reply(body=b"[" * 60_000),
    "nested in an error": Reply(401, b'{"error":' * 7_000),
    "bomb": Reply(body=_bomb(), headers={"Content-Encoding": "gzip"}),
    "slow": Reply(body=b"{", fault="slow"),
    "a login page": Reply(body=b"<html>Sign in</html>", headers={"Content-Type": "text/html"}),
    "nothing": Reply(body=b""),
    "odd waiting time": Reply(429, b"{}", headers={"Retry-After": "9" * 5000}),
    "an impossible date": Reply(429, b"{}", headers={"Retry-After": "1 Jan 9999999999 00:00:00 +0000"}),
}


async def test_hostile_answers_do_no_harm(
    settings: Settings, vendor: SecureVendor, administrator: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxplane.server.allowance._AT_A_TIME", len(OUTCOMES))
    changed = settings_of(settings, vendor, vendor_timeout_seconds=3)
    found: dict[str, set[str]] = {}
    async with ControlPlane.open(changed, resolve=vendor.resolve) as plane:
        for name, reply in HOSTILE.items():
            vendor.say(reply)
            turns = anyio.Semaphore(len(OUTCOMES) if name == "slow" else 1)  # what is timed out is not to be the load

            async def test(provider: str, turns: anyio.Semaphore = turns) -> str:
                async with turns:
                    draft = drafted(provider, "key-attack")
                    return (await plane.verification.verify(administrator, provider, draft)).outcome

            found[name] = set(await asyncio.gather(*map(test, OUTCOMES)))
    assert {name: "".join(outcomes) for name, outcomes in found.items()} == {
        "10 MB": "wrong_region_or_endpoint",
        "endless": "wrong_region_or_endpoint",
        "binary": "wrong_region_or_endpoint",
        "nested": "wrong_region_or_endpoint",
        "nested in an error": "key_rejected",
        "bomb": "wrong_region_or_endpoint",
        "slow": "timeout",
        "a login page": "wrong_region_or_endpoint",
        "nothing": "wrong_region_or_endpoint",
        "odd waiting time": "rate_limited",
        "an impossible date": "rate_limited",
    }


STATUSES = (
    *range(200, 207), 226, *range(300, 305), 307, 308, *range(400, 415), 418, 421, 422, 425, 426, 428, 429, 431, 451,
    *range(500, 505), 507, 520, 529, 599,
)  # fmt: skip
AT_ONCE = 8
_SPOKEN = "UPSTREAM-WORDS"


async def test_nothing_that_a_vendor_says_is_given_out(ask: Ask, vendor: SecureVendor) -> None:
    """X10, over more than 300 answers: vendors repeat keys in their errors, and put words wherever there is room."""

    def repeat(asked: Asked) -> Reply:
        status = STATUSES[int(re.findall(r"-n(\d+)n", str(asked.headers))[0])]
        words = json.dumps({"error": {"message": f"{_SPOKEN} {asked.headers}"}, "id": _SPOKEN, "data": [_SPOKEN]})
        headers = {"Location": f"https://evil.example/{_SPOKEN}", "Set-Cookie": _SPOKEN, "Retry-After": _SPOKEN}
        return Reply(status, words.encode(), headers)

    vendor.answer = repeat
    count = 0
    for provider in OUTCOMES:
        for begin in range(0, len(STATUSES), AT_ONCE):
            numbers = range(begin, min(begin + AT_ONCE, len(STATUSES)))
            results = await asyncio.gather(*(ask(provider, f"canary-n{number}n") for number in numbers))
            for number, result in zip(numbers, results, strict=True):
                said = result.model_dump_json()
                assert _SPOKEN not in said, (provider, STATUSES[number])
                assert "canary" not in said, (provider, STATUSES[number])
                assert result.http_status == STATUSES[number]
            count += len(results)
    assert count >= 300
    assert {asked.host for asked in vendor.asked} == set(tested.HOSTS.values())


@pytest.fixture
def vendors_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the SDKs nothing of the environment."""
    for name in (*PROXIES, "GOOGLE_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("vendors_own")
async def test_vendors_own_sdks_take_the_answers(vendor: SecureVendor) -> None:
    url = {key: f"{vendor.url}/{host}" for key, host in tested.HOSTS.items()}
    good = "key-good"
    async with AsyncOpenAI(api_key=good, base_url=f"{url['openai']}/v1") as openai:
        assert (await openai.models.retrieve("gpt-4o-mini")).id == "gpt-4o-mini"
        assert (await openai.models.retrieve("gpt-4o-mini-tts")).object == "model"
    azure = f"{url['azure-openai']}/openai/v1"
    async with AsyncOpenAI(api_key="x", base_url=azure, default_headers={"api-key": good}) as openai:
        assert [each.id for each in (await openai.models.list()).data] == ["gpt-4o"]
    async with AsyncGroq(api_key=good, base_url=url["groq"]) as groq:
        assert "openai/gpt-oss-120b" in [each.id for each in (await groq.models.list()).data]
    async with AsyncAnthropic(api_key=good, base_url=url["anthropic"]) as anthropic:
        assert (await anthropic.models.retrieve("claude-sonnet-4-6")).id == "claude-sonnet-4-6"
    async with httpx.AsyncClient() as client:
        options = HttpOptions(base_url=url["google"], httpx_async_client=client)
        gemini = GeminiClient(vertexai=False, api_key=good, http_options=options)
        assert (await gemini.aio.models.get(model="gemini-3.5-flash-lite")).display_name == "Flash-Lite"
        gemini.close()
        places = DeepgramClientEnvironment(base=url["deepgram"], production="", agent="", agent_rest="")
        deepgram = AsyncDeepgramClient(api_key=good, environment=places, httpx_client=client)
        listed = await deepgram.manage.v1.models.list()
        assert listed.stt is not None
        assert listed.stt[0].canonical_name == "nova-3-general"
        elevenlabs = AsyncElevenLabs(api_key=good, base_url=url["elevenlabs"], httpx_client=client)
        assert [each.model_id for each in await elevenlabs.models.list()] == ["eleven_flash_v2_5"]
    async with AsyncCartesia(api_key=good, base_url=url["cartesia"]) as cartesia:
        assert (await cartesia.voices.list(limit=1)).data[0].id == "v"
    assert {asked.host for asked in vendor.asked} == set(tested.HOSTS.values())

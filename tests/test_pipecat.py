"""Chains as Pipecat processors, in Pipecat's own pipelines: a call goes on when its providers fail.

The services are Pipecat's and the engines real ones; the vendors are on loopback and fail as they are told.
"""

# Pipecat leaves type parameters of its base classes open, and tests break things on purpose, from inside.
# pyright: reportUnknownMemberType=false, reportPrivateUsage=false

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import json
import runpy
import subprocess
import sys
import threading
import warnings
import wave
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from examples.call import machine
from examples.call.__main__ import ask_piper
from examples.call.organization import PLACEHOLDER, prepare
from examples.call.scripted_model import ScriptedModel, StandIn
from google.auth.exceptions import RefreshError
from livekit import rtc
from livekit.agents import JobContext
from livekit.plugins import silero
from loguru import logger
from typing_extensions import override

from tests.conftest import token_for
from tests.served import served
from tests.speech.fakes import Handler, PiperServer, TranscriptionServer, serving
from tests.test_call import models, piper_url, speak_from, transcript, wrong
from tests.test_failover import AT, KEY, KINDS, Fault, Loopback, hear_and_say_nothing, resolved
from tests.test_livekit import Clock, Reports
from tests.vendors.environment import canaries
from tests.vendors.llm import LLMVendor
from tests.vendors.speech import SpeechVendor, tone
from tests.vendors.vendor import PROXIES
from voxplane import Client
from voxplane.errors import ConfigurationError, DestinationUnapproved, MissingDependency, NoPrimaryProvider
from voxplane.plugin import Derive, Plugin
from voxplane.provider import AnyProvider
from voxplane.resolution import ResolvedProviderConfig
from voxplane.schemas import FailureKind, JsonObject
from voxplane.server.auth import Principal, Scope
from voxplane.server.control_plane import ControlPlane

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "'audioop' is deprecated", DeprecationWarning)  # Pipecat's to mend
    from examples import livekit_agent, pipecat_agent
    from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
    from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
    from pipecat.audio.vad.silero import SileroVADAnalyzer
    from pipecat.audio.vad.vad_analyzer import VADParams
    from pipecat.frames.frames import (
        EndFrame,
        EndWorkerFrame,
        ErrorFrame,
        Frame,
        InputAudioRawFrame,
        InterruptionFrame,
        LLMContextFrame,
        LLMFullResponseEndFrame,
        LLMFullResponseStartFrame,
        LLMRunFrame,
        LLMTextFrame,
        StartFrame,
        TranscriptionFrame,
        TTSAudioRawFrame,
        TTSSpeakFrame,
        TTSStoppedFrame,
        VADUserStartedSpeakingFrame,
        VADUserStoppedSpeakingFrame,
    )
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineParams, PipelineWorker
    from pipecat.processors.aggregators.llm_context import LLMContext
    from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
    from pipecat.processors.audio.vad_processor import VADProcessor
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup
    from pipecat.services.llm_service import FunctionCallParams
    from pipecat.services.settings import STTSettings
    from pipecat.services.stt_service import STTService
    from pipecat.transports.base_transport import BaseTransport
    from pipecat.utils.errors import ErrorCategory
    from pipecat.workers.runner import WorkerRunner

    from tests import test_llm_vendors, test_speech_vendors
    from voxplane.pipecat import Chain, Link, LLMChain, build_llm, build_stt, build_tts, follow
    from voxplane.pipecat.link import classify
    from voxplane.pipecat.work import Listening
    from voxplane.speech import pipecat_whisper
    from voxplane.speech.weights import Loaded

__all__ = ["models", "piper_url"]  # fixtures that pytest finds by their names
pytestmark = [
    # Raised by Pipecat and the vendors' SDKs, mostly where they are imported: theirs to mend.
    pytest.mark.filterwarnings("ignore:'audioop' is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:websockets.:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:ConnectionClosed.code is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`AudioContextTTSService` is deprecated:DeprecationWarning"),
]
QUESTION = "Are you open today?"
PATIENCE = 20  # seconds after which something that should happen counts as not happening


class Line(FrameProcessor):
    """What stands behind a chain in its pipeline: it keeps what comes out, and what goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[Frame] = []
        self.errors: list[ErrorFrame] = []
        self._moved = asyncio.Event()

    @override
    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.note(frame)
        await self.push_frame(frame, direction)

    def note(self, frame: Frame) -> None:
        """Keep a frame."""
        if isinstance(frame, ErrorFrame):
            self.errors.append(frame)
        else:
            self.came.append(frame)
        self._moved.set()

    async def until(self, condition: Callable[[], bool], *, at_times: bool = False) -> None:
        """Wait for what is to come; look `at_times` if it does not come along this line."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._moved.clear()
                await (asyncio.sleep(0.01) if at_times else self._moved.wait())

    def of(self, *kinds: type[Frame]) -> list[Any]:
        """Return the frames of some kinds that came."""
        return [frame for frame in self.came if isinstance(frame, kinds)]


class Watch(FrameProcessor):
    """What stands before a chain: it sees the errors that the chain did not deal with."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    @override
    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, ErrorFrame):
            self._line.note(frame)
        await self.push_frame(frame, direction)


@asynccontextmanager
async def running(processors: Sequence[FrameProcessor], line: Line) -> AsyncGenerator[PipelineWorker]:
    """Run a pipeline that ends in a line."""
    parameters = PipelineParams(audio_in_sample_rate=16000, audio_out_sample_rate=24000)
    worker = PipelineWorker(Pipeline([Watch(line), *processors, line]), params=parameters, cancel_on_idle_timeout=False)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    async with asyncio.timeout(2 * PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(runner.run())
        try:
            await line.until(lambda: bool(line.of(StartFrame)))
            yield worker
        finally:
            await worker.queue_frame(EndFrame())


@pytest.fixture(scope="module")
def registry() -> Loopback:
    registry = Loopback()
    registry.initialize()
    return registry


class Stage(ABC):
    """A chain of three in a pipeline, each before a vendor of its own."""

    keys: tuple[str, str, str]
    in_reserve: tuple[int, int, int] = (0, 0, 0)
    """How many requests each makes without being asked for anything: Pipecat opens websockets beforehand."""
    chain: Chain
    resolved: list[ResolvedProviderConfig]
    """What the chain is built from."""
    worker: PipelineWorker

    def __init__(self, registry: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
        self.registry = registry
        self._monkeypatch = monkeypatch
        self.clock = Clock()
        self.reports = Reports()
        self.vendors: tuple[LLMVendor | SpeechVendor, ...] = ()
        self.line = Line()

    @abstractmethod
    async def open(self, stack: AsyncExitStack) -> None:
        """Start the vendors and build the chain."""

    async def run(self, stack: AsyncExitStack) -> None:
        """Start the pipeline."""
        self.worker = await stack.enter_async_context(running([self.chain], self.line))

    @abstractmethod
    async def turn(self) -> bool:
        """Do what a turn of a call does; return whether the chain answered."""

    def wait(self, seconds: float) -> None:
        """Set how long a vendor may be silent."""
        self._monkeypatch.setattr("voxplane.pipecat.chain.ATTEMPT_SECONDS", seconds)
        self._monkeypatch.setattr("voxplane.pipecat.link.CONNECT_SECONDS", seconds)

    def mend(self, position: int) -> None:
        """Let a vendor answer again, however busy the machine is."""
        self.vendors[position].mend()
        self.wait(PATIENCE)

    @property
    def asked(self) -> list[int]:
        """How many requests each vendor saw."""
        return [len(vendor.requests) for vendor in self.vendors]

    @property
    def active(self) -> str:
        """Who answers."""
        return next(
            link.provider for link in self.chain._branches if link.service is self.chain.strategy.active_service
        )


class Models(Stage):
    """Language models."""

    keys = ("openai", "groq", "anthropic")

    @override
    async def open(self, stack: AsyncExitStack) -> None:
        one, two, three = [await stack.enter_async_context(LLMVendor(keys={KEY})) for _ in self.keys]
        self.vendors = (one, two, three)
        self.resolved = chain = [
            resolved(self.registry, "openai", baseUrl=f"{one.url}/v1"),
            resolved(self.registry, "groq", baseUrl=f"{two.url}/openai/v1"),
            resolved(self.registry, "anthropic", baseUrl=three.url),
        ]
        self.chain = build_llm(chain, report=self.reports.append, clock=self.clock, registry=self.registry)

    @override
    async def turn(self) -> bool:
        self.line.came.clear()
        self.line.errors.clear()
        context = LLMContext([{"role": "user", "content": "How is it?"}])
        await self.worker.queue_frame(LLMContextFrame(context))
        await self.line.until(lambda: bool(self.line.of(LLMFullResponseEndFrame)) or self.refused)
        if not self.refused:
            assert len(self.line.of(LLMFullResponseStartFrame, LLMFullResponseEndFrame)) == 2
        return "".join(frame.text for frame in self.line.of(LLMTextFrame)) == "All is well."

    @property
    def refused(self) -> bool:
        """Whether nobody was asked."""
        return any("No provider can answer" in error.error for error in self.line.errors)


class Voices(Stage):
    """Voices: one of whole texts, two of websockets."""

    keys = ("openai-tts", "cartesia", "elevenlabs")
    in_reserve = (0, 1, 1)

    @override
    async def open(self, stack: AsyncExitStack) -> None:
        one, two, three = [await stack.enter_async_context(SpeechVendor(keys={KEY})) for _ in self.keys]
        self.vendors = (one, two, three)
        self.resolved = chain = [
            resolved(self.registry, "openai-tts", baseUrl=f"{one.url}/v1"),
            resolved(self.registry, "cartesia", baseUrl=two.url),
            resolved(self.registry, "elevenlabs", baseUrl=three.url, voiceId="EXAVITQu4vr4xnSDxMaL"),
        ]
        self.chain = build_tts(chain, report=self.reports.append, clock=self.clock, registry=self.registry)
        for link in self.chain.links:
            vars(link.service)["_stop_frame_timeout_s"] = 1.0  # Pipecat's 3 s without audio, after which a text is over

    @override
    async def turn(self) -> bool:
        self.line.came.clear()
        self.line.errors.clear()
        words = [LLMTextFrame(text) for text in ("Your table ", "is booked. ", "See you.")]
        await self.worker.queue_frames([LLMFullResponseStartFrame(), *words, LLMFullResponseEndFrame()])
        await self.line.until(lambda: bool(self.line.of(LLMFullResponseEndFrame)))
        return sum(len(frame.audio) for frame in self.line.of(TTSAudioRawFrame)) > 4800


def uttered(seconds: float) -> list[Frame]:
    """Return an utterance as a room gives it, with what a VAD says of it."""
    sound = tone(16000, seconds) + bytes(16000)
    frames = [InputAudioRawFrame(sound[at : at + 640], 16000, 1) for at in range(0, len(sound), 640)]
    return [*frames[:10], VADUserStartedSpeakingFrame(), *frames[10:], VADUserStoppedSpeakingFrame()]


class Ears(Stage):
    """Engines that listen: Deepgram three times, the second with its other interface."""

    keys = ("deepgram", "deepgram-2", "deepgram-3")
    in_reserve = (1, 1, 1)

    @override
    async def open(self, stack: AsyncExitStack) -> None:
        vendors = [await stack.enter_async_context(SpeechVendor(keys={KEY}, transcript="book it")) for _ in self.keys]
        self.vendors = tuple(vendors)
        models = ("nova-3", "flux-general-en", "nova-2")
        self.resolved = chain = [
            resolved(self.registry, key, baseUrl=vendor.url, model=model)
            for key, vendor, model in zip(self.keys, vendors, models, strict=True)
        ]
        self.chain = build_stt(chain, report=self.reports.append, clock=self.clock, registry=self.registry)

    @property
    def spoken(self) -> list[Frame]:
        """What the caller says in a turn."""
        return uttered(0.6)

    @override
    async def turn(self) -> bool:
        self.line.came.clear()
        self.line.errors.clear()
        await self.worker.queue_frames(self.spoken)
        await self.line.until(lambda: bool(self.line.of(VADUserStoppedSpeakingFrame)))
        await self.line.until(lambda: bool(self.line.of(TranscriptionFrame)) or bool(self.line.errors))
        return [frame.text for frame in self.line.of(TranscriptionFrame)] == ["book it"]


@pytest.fixture
async def stage(
    request: pytest.FixtureRequest, registry: Loopback, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    stage = STAGES[request.param](registry, monkeypatch)
    # Waiting is short where a silent vendor is waited for; elsewhere a busy machine must not look like one.
    if "fault" in request.fixturenames and request.getfixturevalue("fault") == "hang":
        stage.wait(1.0)
        monkeypatch.setattr("voxplane.vendor_sdk.READ_TIMEOUT_SECONDS", 2.0)
    async with AsyncExitStack() as stack:
        await stage.open(stack)
        yield stage


STAGES: dict[str, type[Stage]] = {"llm": Models, "stt": Ears, "tts": Voices}
every_type = pytest.mark.parametrize("stage", sorted(STAGES), indirect=True)
every_fault = pytest.mark.parametrize("fault", list(KINDS))


async def book(_parameters: FunctionCallParams) -> None:
    """Do what a tool does."""


@every_type
async def test_a_change_is_used_from_the_next_turn_on(stage: Stage) -> None:
    one, _, three = stage.keys
    async with AsyncExitStack() as stack:
        await stage.run(stack)
        assert await stage.turn()
        chain, first = stage.chain, stage.chain.links[0]
        if isinstance(chain, LLMChain):
            chain.register_function("book", book)
        assert await chain.follow(stage.resolved[:2])
        assert chain.links[0] is first, "it did not change"
        assert await chain.follow(stage.resolved[2:])
        assert stage.active == one, "until the next turn"
        for _ in range(2):  # it is closed when the turn after that begins
            assert await stage.turn()
        assert stage.active == three
        asked = stage.asked[0]

        assert await chain.follow(stage.resolved[:1])
        for _ in range(2):
            assert await stage.turn()
        assert (stage.active, stage.asked[0] > asked) == (one, True)
        (only,) = chain._branches
        assert only is not first, "its service was closed"
        assert not isinstance(chain, LLMChain) or chain.llms[-1].has_function("book")
        await stage.line.until(lambda: chain.services == [only.service], at_times=True)

        assert not await chain.follow([]), "its key was taken back"
        assert await chain.follow([replace(stage.resolved[0], config={})]), "it cannot be built, and its key stays"
        assert (chain.links, stage.reports.words) == ([only], [f"{one} failed permission"])
        assert await stage.turn()
    assert stage.line.errors == []


async def test_a_provider_that_comes_while_a_call_starts_is_started_with_it(
    registry: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, following = Models(registry, monkeypatch), list[asyncio.Task[bool]]()
    async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
        await stage.open(stack)
        stage.vendors[0].fail("/", "500")
        chain = build_llm(stage.resolved[:1], report=stage.reports.append, clock=stage.clock, registry=registry)
        set_up = chain.setup

        async def setting_up(setup: FrameProcessorSetup) -> None:
            following.append(group.create_task(chain.follow(stage.resolved)))
            await set_up(setup)

        monkeypatch.setattr(chain, "setup", setting_up)
        stage.chain = chain
        await stage.run(stack)
        assert await following[0]
        assert await stage.turn()
        assert stage.active == stage.keys[1]


async def test_whoever_follows_is_done_when_the_client_is_left(plane: ControlPlane) -> None:
    token = await token_for(plane, Scope.WORKER_RESOLVE)
    async with asyncio.TaskGroup() as group, served(plane) as url, Client(url, token) as client:
        following = group.create_task(follow(client))
        await client.resolve()
        assert not following.done()


async def test_an_engine_that_is_connected_and_mute_is_passed_over_once_somebody_spoke(
    registry: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxplane.pipecat.chain.MUTE_SECONDS", 0.3)
    reports, line = Reports(), Line()
    async with (
        serving(hear_and_say_nothing) as mute,
        SpeechVendor(keys={KEY}, transcript="book it") as second,
    ):
        chain = [
            resolved(registry, "deepgram", baseUrl=f"http://{mute}", model="nova-3"),
            resolved(registry, "deepgram-2", baseUrl=second.url, model="nova-2"),
        ]
        ears = build_stt(chain, report=reports.append, registry=registry)
        async with running([ears], line) as worker:
            await worker.queue_frames(uttered(0.4))  # it may have been a cough
            await line.until(lambda: len(line.of(VADUserStoppedSpeakingFrame)) == 1)
            assert ears._deadline is None
            await worker.queue_frames(uttered(1.0))
            await line.until(lambda: bool(line.of(TranscriptionFrame)))
            assert ears._deadline is None
    assert {frame.text for frame in line.of(TranscriptionFrame)} == {"book it"}
    assert (reports.words, line.errors) == (["deepgram failed timeout"], [])


COOLING: tuple[Fault, ...] = ("429", "quota")
DROPPED: tuple[Fault, ...] = ("401", "403")
LATER = 3600.0


@pytest.mark.drill
@every_type
@every_fault
@pytest.mark.parametrize("position", [0, 1], ids=["first", "middle"])
async def test_the_next_answers_the_same_turn(stage: Stage, fault: Fault, position: int) -> None:
    # Those before it are gone for good, so that it is asked at all.
    for earlier in stage.vendors[:position]:
        earlier.fail("/", "401")
    failing, following = stage.keys[position], stage.keys[position + 1]
    stage.vendors[position].fail("/", fault)
    told = {f"{key} failed authentication" for key in stage.keys[:position]} | {f"{failing} failed {KINDS[fault]}"}
    async with AsyncExitStack() as stack:
        await stage.run(stack)
        for _ in range(2):
            assert await stage.turn()
            assert (stage.active, stage.line.errors) == (following, [])
        # What failed is not asked again, and what was not needed is not asked at all.
        assert stage.asked[: position + 1] == [1] * (position + 1)
        assert stage.asked[position + 2 :] == list(stage.in_reserve[position + 2 :])
        assert set(stage.reports.words) == told
        assert len(stage.reports) == len(told)

        stage.mend(position)
        stage.clock.now += LATER
        assert await stage.turn()
        if fault in DROPPED:
            assert (stage.active, stage.asked[position]) == (following, 1)
            assert len(stage.reports) == len(told)
        else:
            assert stage.active == failing
            assert stage.reports.words[len(told) :] == [f"{failing} recovered"]
            assert {each.at for each in stage.reports} == {AT}
        assert stage.asked[:position] == [1] * position


@pytest.mark.drill
@every_type
@every_fault
async def test_when_the_last_fails_the_error_says_so(stage: Stage, fault: Fault) -> None:
    for earlier in stage.vendors[:2]:
        earlier.fail("/", "401")
    stage.vendors[2].fail("/", fault)
    one, two, three = stage.keys
    told = {f"{one} failed authentication", f"{two} failed authentication", f"{three} failed {KINDS[fault]}"}
    async with AsyncExitStack() as stack:
        await stage.run(stack)
        assert not await stage.turn()
        assert stage.line.errors
        asked = stage.asked[2]
        assert not await stage.turn()
        assert stage.line.errors
        # With nobody else to ask, one that is merely down is asked again; one that said no is not.
        assert stage.asked[:2] == [1, 1]
        if fault in {*DROPPED, *COOLING}:
            assert stage.asked[2] == asked == 1
        else:
            async with asyncio.timeout(PATIENCE):
                while stage.asked[2] == asked:
                    assert not await stage.turn()
        assert set(stage.reports.words) == told
        assert len(stage.reports) == 3
        assert KEY not in repr(stage.line.errors)

        stage.mend(2)
        stage.clock.now += LATER
        if fault in DROPPED:
            assert not await stage.turn()
            assert (stage.asked, len(stage.reports)) == ([1, 1, 1], 3)
            failures = f"{one} (authentication), {two} (authentication), {three} ({KINDS[fault]})"
            assert stage.line.errors[-1].error == f"No provider can answer: {failures}."
            return
        async with asyncio.timeout(PATIENCE):
            while not await stage.turn():  # a line that was hung up may still be closing
                pass
        assert stage.reports.words[3:] == [f"{three} recovered"]
        assert stage.asked[:2] == [1, 1]


@every_type
@pytest.mark.parametrize(("fault", "seconds"), [("429", 2.0), ("quota", 60.0)])
async def test_a_cooling_provider_is_not_asked_until_its_time(stage: Stage, fault: Fault, seconds: float) -> None:
    stage.vendors[0].fail("/", fault)
    async with AsyncExitStack() as stack:
        await stage.run(stack)
        # Each failure in a row doubles the time; what OpenAI's header asks for, the fake's is 1 s, goes before it.
        hinted = fault == "429" and isinstance(stage, Models)
        for asked, patience in ((1, 1.0 if hinted else seconds), (2, 1.0 if hinted else 2 * seconds)):
            assert await stage.turn()
            stage.clock.now += patience * 0.9
            assert await stage.turn()
            assert (stage.active, stage.asked[0]) == (stage.keys[1], asked)
            stage.clock.now += patience * 0.1
        stage.mend(0)
        assert await stage.turn()
        assert stage.active == stage.keys[0]
        assert stage.reports.words == [f"{stage.keys[0]} failed {KINDS[fault]}", f"{stage.keys[0]} recovered"]


@every_type
async def test_nothing_fails_and_nobody_else_is_asked(stage: Stage) -> None:
    async with AsyncExitStack() as stack:
        await stage.run(stack)
        for _ in range(3):
            assert await stage.turn()
            assert (stage.active, stage.line.errors) == (stage.keys[0], [])
        assert stage.asked[1:] == list(stage.in_reserve[1:])
        assert stage.reports == []
        assert {request.key for vendor in stage.vendors for request in vendor.requests} == {KEY}


@every_type
async def test_a_report_that_is_not_taken_does_not_end_the_call(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_report: object) -> None:
        raise RuntimeError

    for link in stage.chain.links:
        link.report = refuse
    stage.vendors[0].fail("/", "500")
    async with AsyncExitStack() as stack:
        await stage.run(stack)
        assert await stage.turn()
    assert f"a report about {stage.keys[0]} was not taken" in caplog.text


@pytest.mark.parametrize("stage", ["stt"], indirect=True)
async def test_what_was_said_before_a_connection_broke_is_heard_by_the_next(stage: Stage) -> None:
    assert isinstance(stage, Ears)
    async with AsyncExitStack() as stack:
        await stage.run(stack)
        before, after = stage.spoken[:20], stage.spoken[20:]
        await stage.worker.queue_frames(before)
        (first, second, _) = stage.vendors
        assert isinstance(first, SpeechVendor)
        assert isinstance(second, SpeechVendor)
        await stage.line.until(lambda: len(stage.line.of(InputAudioRawFrame)) == 19)
        await first.__aexit__(None, None, None)
        await stage.line.until(lambda: stage.active == stage.keys[1], at_times=True)
        await stage.worker.queue_frames(after)
        await stage.line.until(lambda: bool(stage.line.of(TranscriptionFrame)))
        # The service fills half a second without audio with silence, which may end the turn twice on a busy machine.
        assert {frame.text for frame in stage.line.of(TranscriptionFrame)} == {"book it"}
        said = sum(len(frame.audio) for frame in stage.spoken if isinstance(frame, InputAudioRawFrame))
        await stage.line.until(lambda: second.requests[0].audio >= said, at_times=True)
    assert stage.reports.words == ["deepgram failed connectivity"]


@pytest.mark.parametrize("stage", ["stt"], indirect=True)
async def test_a_vendor_that_hangs_does_not_hold_up_the_call(stage: Stage) -> None:
    for vendor in stage.vendors[1:]:
        vendor.fail("/", "hang")
    stage.wait(0.5)
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(7):  # left to itself, a websocket waits for 10 s, and three times
            await stage.run(stack)
        assert await stage.turn()
        assert stage.active == stage.keys[0]
        assert set(stage.reports.words) == {"deepgram-2 failed timeout", "deepgram-3 failed timeout"}


@pytest.mark.parametrize("stage", ["stt"], indirect=True)
async def test_a_line_that_failed_is_hung_up(stage: Stage) -> None:
    # Deepgram's service would go on trying, with pauses of seconds.
    stage.vendors[0].fail("/", "500")
    async with AsyncExitStack() as stack:
        await stage.run(stack)
        await stage.line.until(lambda: vars(stage.chain.links[0].service)["_connection_task"] is None, at_times=True)
        assert stage.asked[0] == 1


class SlowToHangUp(STTService):
    """An engine whose line closes when a test says so."""

    def __init__(self) -> None:
        super().__init__(settings=STTSettings(model="m", language=None), ttfs_p99_latency=1.0)
        self.may_close = asyncio.Event()

    @override
    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        yield None

    async def _disconnect(self) -> None:
        await self.may_close.wait()


async def test_a_line_is_not_opened_before_it_is_closed() -> None:
    line, reports, service = Line(), Reports(), SlowToHangUp()
    link = Link(service, "deepgram", (TranscriptionFrame,), reports.append, Clock())
    async with running([Chain([link], Listening(), lambda _, known: [*known])], line):
        await service.push_error("The line broke.", exception=ConnectionResetError())
        assert reports.words == ["deepgram failed connectivity"]
        assert not link.may_be_asked
        service.may_close.set()
        await line.until(lambda: link.may_be_asked, at_times=True)
        assert not link.is_open


async def test_a_vendor_s_own_words_end_where_it_failed() -> None:
    """They may hold a part of the key; the second error is of a provider that rests already."""
    logged: list[str] = []
    sink = logger.add(logged.append)
    line, service = Line(), SlowToHangUp()
    service.may_close.set()
    link = Link(service, "deepgram", (TranscriptionFrame,), Reports().append, Clock())
    try:
        async with running([Chain([link], Listening(), lambda _, known: [*known])], line):
            for _ in range(2):
                await service.push_error(f"Incorrect key: {KEY}", exception=Status(f"not {KEY}", status_code=401))
            await line.until(lambda: len(line.errors) == 2, at_times=True)
    finally:
        logger.remove(sink)
    assert any("deepgram failed: authentication." in each for each in logged)
    assert KEY not in "".join(logged) + repr(line.errors)
    assert [error.exception for error in line.errors] == [None, None]


# What is begun, and what a caller interrupts


def broken_off(said: str) -> Handler:
    """Make a model that breaks off in mid-answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        choice = {"index": 0, "delta": {"role": "assistant", "content": said}, "finish_reason": None}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        assert request.transport is not None
        request.transport.abort()
        return response

    return answer


async def test_what_a_model_has_begun_no_other_begins_again(registry: Loopback) -> None:
    reports, line = Reports(), Line()
    async with serving(broken_off("We are ")) as host, LLMVendor(keys={KEY}) as vendor:
        chain = [
            resolved(registry, "openai", baseUrl=f"http://{host}/v1"),
            resolved(registry, "groq", baseUrl=f"{vendor.url}/openai/v1"),
        ]
        built = build_llm(chain, report=reports.append, registry=registry)
        context = LLMContextFrame(LLMContext([{"role": "user", "content": "Are you open?"}]))
        async with running([built], line) as worker:
            await worker.queue_frame(context)
            await line.until(lambda: bool(line.of(LLMFullResponseEndFrame)))
            assert [frame.text for frame in line.of(LLMTextFrame)] == ["We are "]
            assert vendor.requests == []
            assert reports.words == ["openai failed connectivity"]
            assert len(line.errors) == 1
            await worker.queue_frame(context)
            await line.until(lambda: len(line.of(LLMFullResponseEndFrame)) == 2)
            assert "".join(frame.text for frame in line.of(LLMTextFrame)) == "We are All is well."
    assert reports.words == ["openai failed connectivity"]


async def test_what_a_caller_interrupts_is_not_answered_by_another(
    registry: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxplane.pipecat.chain.ATTEMPT_SECONDS", 0.2)
    reports, line = Reports(), Line()
    async with LLMVendor(keys={KEY}) as hangs, LLMVendor(keys={KEY}) as vendor:
        hangs.fail("/", "hang", times=1)
        chain = [
            resolved(registry, "openai", baseUrl=f"{hangs.url}/v1"),
            resolved(registry, "groq", baseUrl=f"{vendor.url}/openai/v1"),
        ]
        built = build_llm(chain, report=reports.append, registry=registry)
        first, second = (
            LLMContextFrame(LLMContext([{"role": "user", "content": text}])) for text in ("Are you", "Are you open?")
        )
        async with running([built], line) as worker:
            await worker.queue_frame(first)
            await line.until(lambda: bool(hangs.requests), at_times=True)
            await worker.queue_frame(InterruptionFrame())
            await line.until(lambda: bool(line.of(InterruptionFrame)))
            given_up = asyncio.Event()
            asyncio.get_running_loop().call_later(0.3, given_up.set)
            await given_up.wait()  # when it would have been asked in place of the first
            await worker.queue_frame(second)
            await line.until(lambda: bool(line.of(LLMTextFrame)))
    assert len(hangs.requests) == 2
    assert (vendor.requests, reports) == ([], [])


@pytest.mark.parametrize("stage", ["tts"], indirect=True)
async def test_what_a_caller_interrupts_is_not_said_by_another(stage: Stage) -> None:
    stage.vendors[0].fail("/", "hang", times=1)
    stage.vendors[0].fail("/", "500")
    stage.wait(0.5)
    async with AsyncExitStack() as stack:
        await stage.run(stack)
        for text, number in (("One. ", 1), ("Two. ", 2)):
            words = (LLMFullResponseStartFrame(), LLMTextFrame(text), LLMFullResponseEndFrame())
            await stage.worker.queue_frames(words)
            await stage.line.until(lambda expected=number: stage.asked[0] == expected, at_times=True)
            if number == 1:
                await stage.worker.queue_frame(InterruptionFrame())
                await stage.line.until(lambda: bool(stage.line.of(InterruptionFrame)))
        await stage.line.until(lambda: bool(stage.line.of(TTSAudioRawFrame)))
        (second,) = stage.vendors[1].requests
    assert [each["transcript"] for each in vars(second)["messages"] if each["transcript"]] == ["Two."]
    assert stage.reports.words == ["openai-tts failed server"]


async def test_functions_are_registered_with_every_model(registry: Loopback) -> None:
    called: list[str] = []

    async def get_weather(parameters: FunctionCallParams) -> None:
        called.append(parameters.arguments["city"])
        await parameters.result_callback({"weather": "fine"})

    line, city = Line(), {"city": {"type": "string"}}
    tool = FunctionSchema(name="get_weather", description="The weather", properties=city, required=["city"])
    context = LLMContext([{"role": "user", "content": "How is the weather?"}], ToolsSchema(standard_tools=[tool]))
    user, assistant = LLMContextAggregatorPair(context)
    async with LLMVendor(keys=()) as dead, LLMVendor(keys={KEY}) as vendor:
        vendor.call("get_weather", city="Bern")
        chain = [
            resolved(registry, "openai", baseUrl=f"{dead.url}/v1"),
            resolved(registry, "anthropic", baseUrl=vendor.url),
        ]
        built = build_llm(chain, report=Reports().append, registry=registry)
        built.register_function("get_weather", get_weather)
        async with running([user, built, assistant], line) as worker:
            await worker.queue_frame(LLMRunFrame())
            await line.until(lambda: "All is well." in str(context.get_messages()))
    assert called == ["Bern"]
    assert (len(dead.requests), len(vendor.requests)) == (1, 2)


# What is built


def test_what_cannot_be_built_is_left_out_and_reported(registry: Loopback, caplog: pytest.LogCaptureFixture) -> None:
    reports = Reports()
    keyless = replace(resolved(registry, "deepgram"), secrets={})
    strayed = replace(resolved(registry, "deepgram-2"), origins=())
    chain = [resolved(registry, "vosk"), keyless, strayed, resolved(registry, "deepgram-3")]
    built = build_stt(chain, report=reports.append, registry=registry)
    assert [link.provider for link in built.links] == ["deepgram-3"]
    assert reports.words == [
        "vosk failed unavailable",
        "deepgram failed authentication",
        "deepgram-2 failed permission",
    ]
    assert [record.getMessage() for record in caplog.records if record.name == "voxplane.pipecat"] == [
        "vosk is left out (missing_dependency): Vosk (local) cannot be used with pipecat: it has no class for it.",
        "deepgram is left out (secrets_missing): Deepgram cannot be used without apiKey.",
        f"deepgram-2 is left out (destination_unapproved): {DestinationUnapproved().message}",
    ]


def test_when_nothing_can_be_built_the_first_reason_is_raised(registry: Loopback) -> None:
    with pytest.raises(MissingDependency, match=r"Vosk .* has no class"):
        build_stt(
            [resolved(registry, "vosk"), replace(resolved(registry, "deepgram"), secrets={})],
            report=Reports().append,
            registry=registry,
        )
    with pytest.raises(NoPrimaryProvider):
        build_llm([], report=Reports().append)


def bare_secrets(_settings: JsonObject, secrets: Mapping[str, str]) -> Mapping[str, str]:
    """Pass the secrets by their own names."""
    return secrets


def test_what_a_class_says_of_its_arguments_stays_out_of_the_error(registry: Loopback) -> None:
    # A release of Pipecat that would refuse what it is given, and say so with the key.
    (plugin,) = registry.get_provider_by_key("openai").pipecat
    broken = Loopback()
    broken.initialize()
    definition = replace(
        registry.get_provider_by_key("openai"),
        pipecat=(replace(plugin, target="builtins:int", parts={}, takes={}, derives=bare_secrets, sets=None),),
    )
    broken._providers["openai"] = definition
    with pytest.raises(ConfigurationError, match="The Pipecat class of openai cannot be made: TypeError") as raised:
        build_llm([resolved(registry, "openai")], report=Reports().append, registry=broken)
    assert KEY not in str(raised.value)


def test_it_needs_no_livekit() -> None:
    program = (
        "import sys, warnings; warnings.simplefilter('ignore'); sys.modules['livekit'] = None; import voxplane.pipecat"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True)


class Status(Exception):
    """An SDK's exception, with the status where that SDK has it."""

    def __init__(self, message: str = "", **attributes: object) -> None:
        super().__init__(message)
        vars(self).update(attributes)


@pytest.mark.parametrize(
    ("message", "exception", "category", "kind"),
    [
        ("", Status(status_code=401), None, "authentication"),
        ("", Status(code=403, status="PERMISSION_DENIED"), None, "permission"),
        ("", Status(response=Status(status=402)), None, "quota"),
        ("", Status(status_code=429, body={"code": "insufficient_quota"}), None, "quota"),
        ("", Status(response=Status(status_code=401, body=b'{"status": "quota_exceeded"}')), None, "quota"),
        ("", Status("API key not valid.", code=400), None, "authentication"),
        ("", Status(status_code=404), None, "invalid_request"),
        ("", Status("quota_exceeded", status_code=503), None, "server"),
        ("", Status(status_code=504), None, "timeout"),
        ("Error getting audio (status: 401, error: {})", None, None, "authentication"),
        ("Error: {'type': 'error', 'status_code': 429}", None, None, "rate_limit"),
        ("Deepgram refused the connection (HTTP 500)", None, None, "server"),
        ("", None, ErrorCategory.SERVER, "server"),
        ("", None, ErrorCategory.AUTHORIZATION, "permission"),
        ("", ConnectionResetError(), ErrorCategory.CONNECTIVITY, "connectivity"),
        ("", TimeoutError(), ErrorCategory.CONNECTIVITY, "timeout"),
        ("", ConnectionRefusedError(), None, "connectivity"),
        ("Unknown error occurred: Cannot connect to host", None, ErrorCategory.UNKNOWN, "connectivity"),
        ("TTS context 1 completed with no audio", None, ErrorCategory.UNKNOWN, "timeout"),
        ("received 1008 (policy violation) This request exceeds your quota of 10.", None, None, "quota"),
        ("received 1008 (policy violation) Invalid API key", None, None, "authentication"),
        ("", RefreshError("invalid_grant: No such key.", {"error": "invalid_grant"}), None, "authentication"),
        ("Something else", None, ErrorCategory.UNKNOWN, "server"),
        ("Error processing frame", ValueError("of ours"), ErrorCategory.UNKNOWN, "invalid_request"),
    ],
)
def test_what_kind_of_failure_it_is(
    message: str, exception: Exception | None, category: ErrorCategory | None, kind: FailureKind
) -> None:
    assert classify(ErrorFrame(message, exception=exception, category=category)) == kind


# Every provider, on its own key


def set_canaries(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Set what any vendor's SDK and any class of Pipecat's would look for in the environment."""
    for name, value in canaries(url).items():
        monkeypatch.setenv(name, value)
    for name in PROXIES:
        monkeypatch.setenv(name, url)


BAD_THEN_GOOD = (("vertex", "sk-wrong"), ("openai", KEY))


class Aimed(Loopback):
    """The providers, where those that have no address to set lead to a vendor on loopback all the same."""

    def __init__(self, vendor: LLMVendor) -> None:
        super().__init__()
        self._vendor = vendor
        self.initialize()

    @override
    def get_provider_by_key(self, key: str) -> AnyProvider:
        provider = super().get_provider_by_key(key)
        return replace(provider, pipecat=tuple(self._aimed(plugin) for plugin in provider.pipecat))

    def _aimed(self, plugin: Plugin) -> Plugin:
        def aimed(derive: Derive) -> Derive:
            return lambda settings, secrets: self._vendor._aimed(dict(derive(settings, secrets)))

        return replace(plugin, derives=aimed(plugin.derives), sets=plugin.sets and aimed(plugin.sets))


@pytest.mark.parametrize("name", test_llm_vendors.ONE_OF_EACH)
async def test_every_model_answers_on_its_organizations_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line, reports, case = Line(), Reports(), test_llm_vendors.CASES[name]
    async with LLMVendor(keys={KEY}) as vendor, LLMVendor(keys=()) as elsewhere:
        set_canaries(monkeypatch, elsewhere.url)
        for proxy in PROXIES if name == "vertex" else ():
            monkeypatch.delenv(proxy)
        config = test_llm_vendors.resolved(case, KEY)
        built = build_llm([config], report=reports.append, registry=Aimed(vendor))
        async with running([built], line) as worker:
            await worker.queue_frame(LLMContextFrame(LLMContext([{"role": "user", "content": "How is it?"}])))
            await line.until(lambda: bool(line.of(LLMFullResponseEndFrame)))
        assert "".join(frame.text for frame in line.of(LLMTextFrame)) == "All is well."
    assert vendor.requests[-1].path.startswith(case.path.removesuffix(":generateContent"))
    assert {request.key for request in vendor.requests} <= {KEY, f"token-of-{KEY}"}
    assert [each for each in vendor.requests if "canary" in repr(each).lower()] == []
    assert (elsewhere.requests, reports, line.errors) == ([], [], [])


async def test_a_service_account_that_google_refuses_is_told_by_google_s_word(monkeypatch: pytest.MonkeyPatch) -> None:
    line, reports = Line(), Reports()
    for proxy in PROXIES:
        monkeypatch.delenv(proxy, raising=False)
    async with LLMVendor(keys={KEY}) as vendor:
        configs = [test_llm_vendors.resolved(test_llm_vendors.CASES[name], key) for name, key in BAD_THEN_GOOD]
        built = build_llm(configs, report=reports.append, registry=Aimed(vendor))
        async with running([built], line) as worker:
            await worker.queue_frame(LLMContextFrame(LLMContext([{"role": "user", "content": "How is it?"}])))
            await line.until(lambda: bool(line.of(LLMFullResponseEndFrame)))
        assert "".join(frame.text for frame in line.of(LLMTextFrame)) == "All is well."
    assert [(each.provider, each.kind) for each in reports] == [("google", "authentication")]


@pytest.mark.parametrize("name", ["nova-3", "flux", "eleven-turbo", "eleven-v4", "sonic", "gpt"])
async def test_every_voice_and_ear_works_on_its_organizations_key(
    name: str, registry: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, reports, case = Line(), Reports(), test_speech_vendors.CASES[name]
    async with SpeechVendor(keys={KEY}) as vendor, LLMVendor(keys=()) as elsewhere:
        set_canaries(monkeypatch, elsewhere.url)
        config = test_speech_vendors.resolve(case, vendor.url, KEY)
        build = build_stt if case.provider == "deepgram" else build_tts
        async with running([build([config], report=reports.append, registry=registry)], line) as worker:
            if case.provider == "deepgram":
                # What is said, and the quiet after it.
                await worker.queue_frames([InputAudioRawFrame(each, 16000, 1) for each in (tone(16000), bytes(16000))])
                await line.until(lambda: bool(line.of(TranscriptionFrame)))
            else:
                await worker.queue_frame(TTSSpeakFrame("Hello world."))
                await line.until(lambda: bool(line.of(TTSAudioRawFrame)))
    assert [request.path for request in vendor.requests] == [case.pipecat["path"]]
    assert {request.key for request in vendor.requests} == {KEY}
    assert "canary" not in repr(vendor.requests).lower()
    assert (elsewhere.requests, reports, line.errors) == ([], [], [])


@pytest.mark.parametrize("name", ["nova-3", "flux", "eleven-turbo", "eleven-v4", "sonic"])
async def test_no_socket_is_followed_elsewhere(name: str, registry: Loopback) -> None:
    line, reports, case = Line(), Reports(), test_speech_vendors.CASES[name]
    async with SpeechVendor(keys={KEY}) as elsewhere:
        asked: list[str] = []

        async def redirect(request: web.Request) -> web.StreamResponse:
            asked.append(request.path)
            raise web.HTTPTemporaryRedirect(elsewhere.url.replace("http", "ws") + request.path_qs)

        async with serving(redirect) as vendor:
            config = test_speech_vendors.resolve(case, f"http://{vendor}", KEY)
            built = (build_stt if case.provider == "deepgram" else build_tts)(
                [config], report=reports.append, registry=registry
            )
            async with running([built], line):  # they connect before a call begins
                await line.until(lambda: built.links[0].failure is not None, at_times=True)
    assert (set(asked), elsewhere.requests) == ({case.pipecat["path"]}, [])
    assert reports.words == [f"{case.provider} failed invalid_request"]


async def test_the_servers_of_local_engines_are_asked(registry: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    line, reports, speech, ears = Line(), Reports(), PiperServer(), TranscriptionServer()
    async with serving(speech) as piper, serving(ears) as whisper, LLMVendor(keys=()) as elsewhere:
        set_canaries(monkeypatch, elsewhere.url)
        stt = build_stt(
            [resolved(registry, "whisper", baseUrl=f"http://{whisper}/v1", language="en")],
            report=reports.append,
            registry=registry,
        )
        tts = build_tts(
            [resolved(registry, "piper", baseUrl=f"http://{piper}", voice="en_US-joe-medium")],
            report=reports.append,
            registry=registry,
        )
        async with running([stt, tts], line) as worker:
            sound = InputAudioRawFrame(tone(16000, 0.5), 16000, 1)
            await worker.queue_frames([VADUserStartedSpeakingFrame(), sound, VADUserStoppedSpeakingFrame()])
            await worker.queue_frame(TTSSpeakFrame("A table for four."))
            await line.until(lambda: bool(line.of(TranscriptionFrame)) and bool(line.of(TTSAudioRawFrame)))
    assert ears.forms[0]["language"] == "en"
    assert speech.requests[0][2]["text"] == "A table for four."
    assert "canary" not in repr(ears.headers).lower()
    assert (elsewhere.requests, reports, line.errors) == ([], [], [])


@pytest.mark.usefixtures("models")
async def test_calls_share_whisper_s_weights_and_load_them_beside_the_event_loop(
    registry: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    broken = False

    class Model:
        def transcribe(self, _sound: object, **_options: object) -> tuple[list[SimpleNamespace], None]:
            return [SimpleNamespace(text="book it", no_speech_prob=0.0)], None

    def load(_path: str) -> Model:
        threads.append(threading.current_thread())
        if broken:
            raise OSError
        return Model()

    async def call() -> tuple[list[str], list[str]]:
        line, reports = Line(), Reports()
        chain = [resolved(registry, "whisper", model=machine.WHISPER)]
        ears = build_stt(chain, report=reports.append, registry=registry)
        async with running([ears], line) as worker:
            await worker.queue_frames(uttered(0.4))
            await line.until(lambda: bool(line.of(TranscriptionFrame) or line.errors))
        return [frame.text.strip() for frame in line.of(TranscriptionFrame)], reports.words

    shared = Loaded(load)
    monkeypatch.setattr(pipecat_whisper, "_MODELS", shared)
    assert [await call() for _ in range(2)] == [(["book it"], [])] * 2
    assert len(threads) == 1
    shared.clear()
    broken = True
    assert await call() == ([], ["whisper failed unavailable"])
    assert len(threads) == 2
    assert threading.main_thread() not in threads


# A whole call


@pytest.fixture
async def question(piper_url: str) -> bytes:
    """What the caller says, as 16-bit PCM at 16 kHz."""
    with wave.open(io.BytesIO(await ask_piper(QUESTION, piper_url))) as file:
        rate, sound = file.getframerate(), file.readframes(file.getnframes())
    resampler = rtc.AudioResampler(rate, 16000)
    frames = resampler.push(rtc.AudioFrame(sound, rate, 1, len(sound) // 2)) + resampler.flush()
    return bytes(rtc.combine_audio_frames(frames).data)


def hertz(frames: Sequence[TTSAudioRawFrame], path: Path) -> Path:
    """Write what was said as a wav."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(frames[0].sample_rate)
        file.writeframes(b"".join(frame.audio for frame in frames))
    return path


async def test_a_call_goes_on_when_its_first_model_and_its_first_voice_are_dead(
    registry: Loopback, piper_url: str, question: bytes, tmp_path: Path
) -> None:
    line, reports = Line(), Reports()
    async with AsyncExitStack() as stack:
        dead, mute = [await stack.enter_async_context(each(keys=())) for each in (LLMVendor, SpeechVendor)]
        vendor = await stack.enter_async_context(LLMVendor(keys={KEY}))
        vendor.say("We are open from nine to five. ")
        shared: Any = {"report": reports.append, "registry": registry}
        stt = build_stt([resolved(registry, "whisper", model=machine.WHISPER)], **shared)
        models = [
            resolved(registry, "openai", baseUrl=f"{dead.url}/v1"),
            resolved(registry, "groq", baseUrl=f"{vendor.url}/openai/v1"),
        ]
        voices = [
            resolved(registry, "openai-tts", baseUrl=f"{mute.url}/v1"),
            resolved(registry, "piper", baseUrl=piper_url, voice=machine.VOICE),
        ]
        context = LLMContext([{"role": "developer", "content": "Be brief."}])
        user, assistant = LLMContextAggregatorPair(context)
        vad = VADProcessor(vad_analyzer=SileroVADAnalyzer(params=VADParams(stop_secs=0.4)))
        steps = [vad, stt, user, build_llm(models, **shared), build_tts(voices, **shared), assistant]
        async with running(steps, line) as worker:
            for turn in (1, 2):
                await worker.queue_frames(spoken(question))
                await line.until(lambda expected=1 + 2 * turn: len(conversation(context)) == expected)
    _, *heard_and_said = conversation(context)
    assert [role for role, _ in heard_and_said] == ["user", "assistant"] * 2
    assert wrong(QUESTION, heard_and_said[0][1]) <= 0.2
    assert [text.strip() for _, text in heard_and_said[1::2]] == ["We are open from nine to five."] * 2
    answer = hertz(line.of(TTSAudioRawFrame), tmp_path / "answer.wav")
    assert wrong("We are open from nine to five. We are open from nine to five.", transcript(answer)) <= 0.3
    assert (len(dead.requests), len(mute.requests), len(vendor.requests)) == (1, 1, 2)
    assert reports.words == ["openai failed authentication", "openai-tts failed authentication"]
    assert line.errors == []


def spoken(sound: bytes) -> list[Frame]:
    """Return speech as a room gives it, with quiet before and after it."""
    whole = bytes(2 * 16000) + sound + bytes(2 * 16000)
    return [InputAudioRawFrame(whole[at : at + 640].ljust(640, b"\0"), 16000, 1) for at in range(0, len(whole), 640)]


def conversation(context: LLMContext) -> list[tuple[str, str]]:
    """Return who said what."""
    messages: list[Any] = list(context.get_messages())
    return [(message["role"], message["content"]) for message in messages]


# The examples


class Phone(BaseTransport):
    """A transport to a caller who speaks once, and hangs up after the answer."""

    def __init__(self, sound: bytes, line: Line) -> None:
        super().__init__()
        self._caller, self._line = Caller(sound), line

    @override
    def input(self) -> FrameProcessor:
        return self._caller

    @override
    def output(self) -> FrameProcessor:
        return self._line

    async def hang_up(self) -> None:
        """End the call."""
        await self._line.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)


class Caller(FrameProcessor):
    """Speaks as soon as somebody listens."""

    def __init__(self, sound: bytes) -> None:
        super().__init__()
        self._sound = sound

    @override
    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            for each in spoken(self._sound):
                await self.push_frame(each)


@dataclass
class Job:
    """What an example takes of LiveKit's context of a job, without the room."""

    userdata: dict[str, Any]
    metadata: str = ""
    id: str = "job"
    room: None = None
    ended: list[Callable[[str], Awaitable[None]]] = field(default_factory=list[Callable[[str], Awaitable[None]]])

    def __post_init__(self) -> None:
        self.job = self.proc = self
        self.add_shutdown_callback = self.ended.append

    async def connect(self) -> None:
        """Go nowhere."""

    def shutdown(self, reason: str) -> None:
        """End, which whoever runs the job does here."""


@pytest.fixture
async def worker_token(plane: ControlPlane, administrator: Principal, piper_url: str) -> AsyncIterator[str]:
    """A worker's token of an organization that is heard by Whisper, answered by OpenAI and spoken to by Piper."""
    await prepare(plane, lambda _: None)
    await speak_from(plane, administrator, piper_url)
    async with machine.access_token(plane) as token:
        yield token


async def test_the_example_for_pipecat_answers(plane: ControlPlane, worker_token: str, question: bytes) -> None:
    line = Line()
    phone = Phone(question, line)
    async with AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(LLMVendor(keys={PLACEHOLDER}))
        vendor.say("We are open from nine to five. ")
        client = await stack.enter_async_context(Client(await stack.enter_async_context(served(plane)), worker_token))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(pipecat_agent.answer(client, phone, Aimed(vendor)))
        await line.until(lambda: bool(line.of(TTSStoppedFrame)))
        await phone.hang_up()
    assert [request.key for request in vendor.requests] == [PLACEHOLDER]
    asked = vendor.requests[0].body["messages"]
    assert wrong(QUESTION, asked[-1]["content"]) <= 0.2
    assert asked[0]["content"] == "Be brief."
    assert sum(len(frame.audio) for frame in line.of(TTSAudioRawFrame)) > 24000


@pytest.mark.parametrize("taken_back", ["token", "key"])
async def test_the_example_for_pipecat_ends_when_what_it_is_on_is_taken_back(
    plane: ControlPlane, administrator: Principal, worker_token: str, question: bytes, taken_back: str
) -> None:
    line = Line()
    async with AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(LLMVendor(keys={PLACEHOLDER}))
        vendor.say("We are open from nine to five. ")
        client = await stack.enter_async_context(Client(await stack.enter_async_context(served(plane)), worker_token))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        answering = group.create_task(pipecat_agent.answer(client, Phone(question, line), Aimed(vendor)))
        await line.until(lambda: bool(line.of(TTSStoppedFrame)))
        if taken_back == "key":
            await plane.providers.remove_provider_secrets(administrator, "openai")
        else:
            for token in (await plane.access.get_tokens(administrator)).tokens:
                await plane.access.revoke_token(administrator, token.id)
        async with asyncio.timeout(30):
            await answering
    assert (client.freshness.state == "revoked") is (taken_back == "token")


async def test_the_example_for_livekit_answers(
    plane: ControlPlane, worker_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, model = Job({"vad": silero.VAD.load()}), ScriptedModel()
    async with AsyncExitStack() as stack:
        registry = StandIn({"openai": await stack.enter_async_context(model.served())})
        monkeypatch.setenv("VOXPLANE_URL", await stack.enter_async_context(served(plane)))
        monkeypatch.setenv("VOXPLANE_TOKEN", worker_token)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(livekit_agent.answer(cast("JobContext", job), registry))
        await Line().until(lambda: bool(model.requests), at_times=True)
        for end in job.ended:
            await end("the caller hung up")
    assert model.keys == [PLACEHOLDER]
    assert "Greet the caller" in str(model.requests[0]["messages"])


@pytest.mark.parametrize("example", [pipecat_agent, livekit_agent])
def test_an_example_is_thirty_lines(example: ModuleType) -> None:
    tree = ast.parse(inspect.getsource(example))
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    in_texts = {line for node in texts for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    lines = inspect.getsource(example).splitlines()
    assert sum(bool(line.strip()) for number, line in enumerate(lines, 1) if number not in in_texts) <= 30, (
        "and what runs it"
    )


def test_the_example_says_what_it_lacks() -> None:
    with pytest.raises(SystemExit, match="Bring a transport"):
        runpy.run_path(str(pipecat_agent.__file__), run_name="__main__")

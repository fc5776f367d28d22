"""The policy for a provider in a call, and the LiveKit objects that follow it: no vendor, no network.

The plugins here are small classes of LiveKit's own kind that do what a test tells them.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import aiohttp
import pytest
from livekit import rtc
from livekit.agents import (
    NOT_GIVEN,
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    llm,
    stt,
    tts,
    vad,
)
from livekit.agents.metrics import LLMMetrics, TTSMetrics
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString
from livekit.agents.voice import ConversationItemAddedEvent
from pydantic import SecretStr
from typing_extensions import override

from voxplane.errors import (
    ConfigurationError,
    DestinationUnapproved,
    MissingDependency,
    NoPrimaryProvider,
    ProviderNotFound,
    SecretsMissing,
    SnapshotExpired,
    Unauthenticated,
    VoxplaneError,
)
from voxplane.livekit import ChainFailed, ProviderFailed, build_llm, build_stt, build_tts, preload
from voxplane.livekit.link import PROBE_AFTER_SECONDS, Failure, Link, examine
from voxplane.livekit.llm import ChainLLM, LinkLLM
from voxplane.livekit.stt import ChainSTT, LinkSTT
from voxplane.livekit.tts import ChainTTS, LinkTTS
from voxplane.provider import AnyProvider
from voxplane.registry import ProviderRegistry
from voxplane.resolution import ResolvedProviderConfig
from voxplane.schemas import FailureKind, ProviderName, ProviderReport

CANARY = "sk-canary-0123456789"
ONCE = APIConnectOptions(max_retry=0, timeout=5)
Failing = Callable[[], Exception]


def status(code: int, body: object = None) -> Failing:
    """Return what raises the error of an HTTP status, with a text that must not get out."""
    return lambda: APIStatusError(f"refused {CANARY}", status_code=code, body=body)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


class Reports(list[ProviderReport]):
    """What was reported, and the same in words."""

    @property
    def words(self) -> list[str]:
        """Return who did what, and why."""
        return [f"{each.provider} {each.outcome} {each.kind or ''}".strip() for each in self]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def link(clock: Clock, reports: Reports) -> Link:
    return Link("openai", report=reports.append, clock=clock)


def ask(link: Link, failure: Failing | None = None) -> None:
    """Make one attempt that is answered, or fails."""
    with link.attempt() as answered:
        if failure is not None:
            raise failure()
        answered()


# What kind of failure it is


def caused(error: Exception, by: BaseException) -> Exception:
    error.__cause__ = by
    return error


def hidden(error: Exception, behind: BaseException) -> Exception:
    error.__context__, error.__suppress_context__ = behind, True
    return error


class Answered(Exception):
    """An exception of an HTTP client that holds its response."""

    def __init__(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__("refused")
        self.status = status
        self.headers = headers or {}


class Response:
    """What the exception holds."""

    headers: Mapping[str, str] = {"retry-after": "7"}


class Carried(Exception):
    """An exception of an SDK that holds its response, as those of the OpenAI family do."""

    response = Response()


KINDS: list[tuple[Exception, FailureKind]] = [
    (APIStatusError("", status_code=302), "invalid_request"),
    (APIStatusError("", status_code=400), "invalid_request"),
    (APIStatusError("", status_code=401), "authentication"),
    (APIStatusError("", status_code=402), "quota"),
    (APIStatusError("", status_code=403), "permission"),
    (APIStatusError("", status_code=404), "invalid_request"),
    (APIStatusError("", status_code=408), "timeout"),
    (APIStatusError("", status_code=422), "invalid_request"),
    (APIStatusError("", status_code=429), "rate_limit"),
    (APIStatusError("", status_code=500), "server"),
    (APIStatusError("", status_code=503, body={"code": "insufficient_quota"}), "server"),
    (APIStatusError("", status_code=504), "timeout"),
    (APIStatusError("", status_code=529), "server"),
    # What the body says beats a status that misleads.
    (APIStatusError("", status_code=429, body={"code": "insufficient_quota"}), "quota"),
    (APIStatusError("", status_code=401, body={"detail": {"status": "quota_exceeded"}}), "quota"),
    (APIStatusError("", status_code=401, body={"detail": {"status": "missing_permissions"}}), "permission"),
    (APIStatusError("API key not valid.", status_code=400), "authentication"),
    # Statuses that are below, and ones that are none.
    (caused(APIConnectionError(), Answered(401)), "authentication"),
    (caused(APIStatusError("closed", status_code=-1), Answered(429)), "rate_limit"),
    (hidden(APIConnectionError(), Answered(403)), "permission"),
    (APIStatusError("closed", status_code=1011), "connectivity"),
    # ElevenLabs says what is wrong with one sentence of many on a socket, and LiveKit hands it on as the cause.
    (caused(APIStatusError("Could not synthesize"), APIError("quota_exceeded")), "quota"),
    (caused(APIStatusError("Could not synthesize"), APIError("invalid_api_key")), "authentication"),
    (APIConnectionError(), "connectivity"),
    (ConnectionResetError(), "connectivity"),
    (APITimeoutError(), "timeout"),
    (TimeoutError(), "timeout"),
    (hidden(APIConnectionError("could not connect"), TimeoutError()), "timeout"),
    (APIError("no audio frames were pushed"), "server"),
    (ValueError("this model has no such option"), "invalid_request"),
]


@pytest.mark.parametrize(("error", "kind"), KINDS, ids=lambda value: repr(value)[:60])
def test_an_error_is_of_the_kind_that_its_cause_tells(error: Exception, kind: FailureKind) -> None:
    assert examine(error).kind == kind


def test_causes_that_go_in_a_circle_end() -> None:
    first, second = APIConnectionError(), APIConnectionError()
    caused(first, second)
    caused(second, first)
    assert examine(first) == Failure("connectivity", None, None)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (caused(APIStatusError("", status_code=429), Answered(429, {"retry-after": "3"})), 3.0),
        (caused(APIStatusError("", status_code=429), Answered(429, {"retry-after": "0.5"})), 0.5),
        (hidden(APIStatusError("", status_code=429), Carried()), 7.0),
        (caused(APIStatusError("", status_code=429), Answered(429, {"retry-after": "99999999"})), 3600.0),
        (caused(APIStatusError("", status_code=429), Answered(429, {"retry-after": "Sun, 22 Nov 2026"})), None),
        (caused(APIStatusError("", status_code=429), Answered(429)), None),
        (APIStatusError("", status_code=429), None),
    ],
)
def test_a_vendor_says_how_long_to_wait(error: Exception, seconds: float | None) -> None:
    assert examine(error).retry_after == seconds


# What follows from it


@pytest.mark.parametrize(("code", "kind"), [(401, "authentication"), (403, "permission")])
def test_a_refused_key_is_not_used_again(
    link: Link, clock: Clock, reports: Reports, code: int, kind: FailureKind
) -> None:
    with pytest.raises(ProviderFailed) as first:
        ask(link, status(code))
    clock.now += 1_000_000
    with pytest.raises(ProviderFailed) as second:
        ask(link)
    assert str(first.value) == f"openai failed: {kind}."
    assert str(second.value) == f"openai is not asked again in this call: {kind}."
    assert (first.value.retryable, second.value.retryable) == (False, False)
    assert (link.is_open, link.may_be_probed) == (False, False)
    assert reports.words == [f"openai failed {kind}"]


def test_a_provider_that_is_asked_too_often_cools_down_longer_each_time(
    link: Link, clock: Clock, reports: Reports
) -> None:
    cooled: list[float] = []
    for _ in range(7):
        with pytest.raises(ProviderFailed, match="failed: rate_limit") as refused:
            ask(link, status(429))
        assert refused.value.retryable
        asked = clock.now
        while not link.is_open:
            with pytest.raises(ProviderFailed, match="not asked for the moment: rate_limit"):
                ask(link)
            clock.now += 1
        cooled.append(clock.now - asked)
    assert cooled == [2, 4, 8, 16, 32, 60, 60]
    ask(link)
    assert reports.words == ["openai failed rate_limit", "openai recovered"]
    with pytest.raises(ProviderFailed):
        ask(link, status(429))
    clock.now += 2
    assert link.is_open  # an answer in between, and it begins anew


def test_the_time_that_the_vendor_names_goes_before_ours(link: Link, clock: Clock) -> None:
    with pytest.raises(ProviderFailed):
        ask(link, lambda: caused(APIStatusError("", status_code=429), Answered(429, {"retry-after": "30"})))
    clock.now += 29.9
    assert not link.is_open
    clock.now += 0.1
    assert link.is_open


def test_an_empty_account_is_left_alone_for_a_minute(link: Link, clock: Clock, reports: Reports) -> None:
    with pytest.raises(ProviderFailed) as failed:
        ask(link, status(429, {"code": "insufficient_quota"}))
    assert not failed.value.retryable  # the caller would wait for nothing
    clock.now += 59
    assert not link.is_open
    clock.now += 1
    assert link.is_open
    assert reports.words == ["openai failed quota"]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (status(500), "server"),
        (APITimeoutError, "timeout"),
        (ConnectionResetError, "connectivity"),
    ],
)
def test_an_outage_may_pass_at_any_time(
    link: Link, clock: Clock, reports: Reports, failure: Failing, kind: FailureKind
) -> None:
    with pytest.raises(ProviderFailed) as failed:
        ask(link, failure)
    assert failed.value.retryable
    assert link.is_open
    assert not link.may_be_probed
    clock.now += PROBE_AFTER_SECONDS
    assert link.may_be_probed
    ask(link)
    assert reports.words == [f"openai failed {kind}", "openai recovered"]


def test_a_request_that_is_refused_is_an_error_in_the_log(
    link: Link, reports: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ProviderFailed) as failed:
        ask(link, status(404))
    assert not failed.value.retryable
    assert link.is_open
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "openai failed: invalid_request (APIStatusError, status 404)")
    ]
    assert reports.words == ["openai failed invalid_request"]


def test_only_what_is_new_is_reported(link: Link, reports: Reports) -> None:
    for failure in (status(500), status(502), TimeoutError, status(500)):
        with pytest.raises(ProviderFailed):
            ask(link, failure)
    ask(link)
    ask(link)
    assert reports.words == [
        "openai failed server",
        "openai failed timeout",
        "openai failed server",
        "openai recovered",
    ]


def test_an_answer_to_an_older_request_does_not_undo_a_newer_failure(link: Link, clock: Clock) -> None:
    with link.attempt() as answered:
        clock.now += 1
        with pytest.raises(ProviderFailed):
            ask(link, status(429))
        answered()
    assert link.failure == "rate_limit"
    assert not link.is_open


def test_what_a_refused_key_was_refused_for_stays(link: Link, reports: Reports) -> None:
    def be_overtaken() -> None:
        with link.attempt():
            with pytest.raises(ProviderFailed):
                ask(link, status(401))
            raise ConnectionResetError

    with pytest.raises(ProviderFailed, match="openai failed: connectivity"):
        be_overtaken()
    assert (link.failure, reports.words) == ("authentication", ["openai failed authentication"])
    assert not ChainFailed([link]).retryable


def test_a_request_that_was_answered_is_not_repeated(link: Link) -> None:
    def break_off(*, resumes: bool) -> None:
        with link.attempt(resumes=resumes) as answered:
            answered()
            raise ConnectionResetError

    with pytest.raises(ProviderFailed) as failed:
        break_off(resumes=False)
    assert not failed.value.retryable
    with pytest.raises(ProviderFailed) as failed:
        break_off(resumes=True)
    assert failed.value.retryable


def test_being_interrupted_is_no_failure(link: Link, reports: Reports) -> None:
    with pytest.raises(asyncio.CancelledError), link.attempt():
        raise asyncio.CancelledError
    assert (link.failure, reports) == (None, [])


def test_nothing_of_the_vendors_text_gets_out(link: Link, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ProviderFailed) as failed:
        ask(link, status(401, {"message": CANARY}))
    assert (failed.value.__cause__, failed.value.__suppress_context__) == (None, True)
    assert CANARY not in f"{failed.value!r} {failed.value} {caplog.text}"


def test_whoever_takes_reports_cannot_end_a_call(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    def full(_report: ProviderReport) -> None:
        raise RuntimeError("no room")

    link = Link("openai", report=full, clock=clock)
    with pytest.raises(ProviderFailed):
        ask(link, status(500))
    ask(link)
    assert link.failure is None
    assert caplog.text.count("a report about openai was not taken") == 2


def test_a_chain_that_failed_says_why(clock: Clock, reports: Reports) -> None:
    links = [Link(key, report=reports.append, clock=clock) for key in ("openai", "groq")]
    for each, code in zip(links, (401, 404), strict=True):
        with pytest.raises(ProviderFailed):
            ask(each, status(code))
    error = ChainFailed(links)
    assert str(error) == "No provider answered: openai (authentication), groq (invalid_request)."
    assert error.failures == {"openai": "authentication", "groq": "invalid_request"}
    assert not error.retryable
    with pytest.raises(ProviderFailed):
        ask(links[1], status(500))
    assert ChainFailed(links).retryable


# Plugins that do what they are told


class ScriptedLLM(llm.LLM[Any]):
    """It says its words, a piece at a time; each of `failures` ends one request instead, after `said` pieces."""

    def __init__(self, words: str = "All is well.") -> None:
        super().__init__()
        self.words = words
        self.failures: list[Failing] = []
        self.said = 0
        self.pause = 0.0
        self.silence: asyncio.Event | None = None
        self.asked: list[APIConnectOptions] = []
        self.is_closed = False

    @override
    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = ONCE,
        **options: Any,
    ) -> llm.LLMStream:
        self.asked.append(conn_options)
        return ScriptedAnswer(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)

    @override
    async def aclose(self) -> None:
        self.is_closed = True
        await super().aclose()


class ScriptedAnswer(llm.LLMStream):
    """One request to it."""

    _llm: ScriptedLLM

    @override
    async def _run(self) -> None:
        plugin = self._llm
        failure = plugin.failures.pop(0) if plugin.failures else None
        pieces = plugin.words.split()
        for piece in pieces if failure is None else pieces[: plugin.said]:
            await asyncio.sleep(plugin.pause)
            self._event_ch.send_nowait(llm.ChatChunk(id="1", delta=llm.ChoiceDelta(content=f"{piece} ")))
        if plugin.silence is not None:
            await plugin.silence.wait()
        if failure is not None:
            raise failure()
        usage = llm.CompletionUsage(completion_tokens=3, prompt_tokens=5, total_tokens=8)
        self._event_ch.send_nowait(llm.ChatChunk(id="1", usage=usage))


class ScriptedTTS(tts.TTS[Any]):
    """It speaks a tenth of a second for each text; each of `failures` ends one request, after `said` of it."""

    def __init__(self, *, streaming: bool, rate: int = 16000) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=streaming), sample_rate=rate, num_channels=1)
        self.failures: list[Failing] = []
        self.said = 0
        self.silence: asyncio.Event | None = None
        self.texts: list[str] = []
        self.options: list[APIConnectOptions] = []
        self.is_closed = False

    async def speak(self, text: str, output: tts.AudioEmitter) -> None:
        """Speak one text, or fail."""
        self.texts.append(text)
        failure = self.failures.pop(0) if self.failures else None
        if self.silence is not None:
            await self.silence.wait()
        for _ in range(1 if failure is None else self.said):
            output.push_timed_transcript(TimedString(text, start_time=0.0, end_time=0.5))
            output.push(bytes(2 * (self.sample_rate // 2)))
            output.flush()
        if failure is not None:
            await settled(lambda: output.pushed_duration() > 0 or not self.said)
            raise failure()

    @override
    def synthesize(self, text: str, *, conn_options: APIConnectOptions = ONCE) -> tts.ChunkedStream:
        self.options.append(conn_options)
        return ScriptedChunks(tts=self, input_text=text, conn_options=conn_options)

    @override
    def stream(self, *, conn_options: APIConnectOptions = ONCE) -> tts.SynthesizeStream:
        self.options.append(conn_options)
        return ScriptedSpeech(tts=self, conn_options=conn_options)

    @override
    async def aclose(self) -> None:
        self.is_closed = True


class ScriptedChunks(tts.ChunkedStream):
    """One request to it."""

    _tts: ScriptedTTS

    @override
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        plugin = self._tts
        rate = plugin.sample_rate
        output_emitter.initialize(request_id="1", sample_rate=rate, num_channels=1, mime_type="audio/pcm")
        await plugin.speak(self._input_text, output_emitter)


class ScriptedSpeech(tts.SynthesizeStream):
    """One request to it."""

    _tts: ScriptedTTS

    @override
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        plugin = self._tts
        output_emitter.initialize(
            request_id="1", sample_rate=plugin.sample_rate, num_channels=1, mime_type="audio/pcm", stream=True
        )
        output_emitter.start_segment(segment_id="1")
        text = "".join([each async for each in self._input_ch if isinstance(each, str)])
        self._mark_started()
        await plugin.speak(text, output_emitter)


class ScriptedSTT(stt.STT[Any]):
    """It writes down how much it heard at each flush; each of `failures` ends one stream or request."""

    def __init__(self, *, streaming: bool) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=streaming, interim_results=False))
        self.failures: list[Failing] = []
        self.silence: asyncio.Event | None = None
        self.opened = 0
        self.is_deaf = False
        self.is_closed = False

    @override
    async def _recognize_impl(
        self, buffer: Any, *, language: Any = NOT_GIVEN, conn_options: APIConnectOptions
    ) -> stt.SpeechEvent:
        self.opened += 1
        if self.silence is not None:
            await self.silence.wait()
        fail_next(self.failures)
        return transcript(rtc.combine_audio_frames(buffer).samples_per_channel)

    @override
    def stream(self, *, language: Any = NOT_GIVEN, conn_options: APIConnectOptions = ONCE) -> stt.RecognizeStream:
        self.opened += 1
        return ScriptedHearing(stt=self, conn_options=conn_options)

    @override
    async def aclose(self) -> None:
        self.is_closed = True


class ScriptedHearing(stt.RecognizeStream):
    """One request to it."""

    _stt: ScriptedSTT

    @override
    async def _run(self) -> None:
        plugin = self._stt
        fail_next(plugin.failures)
        heard = 0
        async for each in self._input_ch:
            if isinstance(each, rtc.AudioFrame):
                heard += each.samples_per_channel
            elif heard:
                usage = stt.SpeechEvent(stt.SpeechEventType.RECOGNITION_USAGE, "1")
                usage.recognition_usage = stt.RecognitionUsage(heard / 16000)
                self._event_ch.send_nowait(usage if plugin.is_deaf else transcript(heard))
                heard = 0
                fail_next(plugin.failures)


def fail_next(failures: list[Failing]) -> None:
    if failures:
        failure = failures.pop(0)
        raise failure()


def transcript(samples: int) -> stt.SpeechEvent:
    said = stt.SpeechData(language="en", text=str(samples))  # pyright: ignore[reportArgumentType] - it makes a code of it
    return stt.SpeechEvent(stt.SpeechEventType.FINAL_TRANSCRIPT, "1", [said])


class Segments(vad.VAD):
    """A VAD that takes everything up to a flush for one utterance."""

    def __init__(self) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.1))

    @override
    def stream(self) -> vad.VADStream:
        return SegmentStream(self)


class SegmentStream(vad.VADStream):
    """It, at work."""

    @override
    async def _main_task(self) -> None:
        frames: list[rtc.AudioFrame] = []
        async for each in self._input_ch:
            if isinstance(each, rtc.AudioFrame):
                frames.append(each)
            elif frames:
                self._event_ch.send_nowait(utterance(vad.VADEventType.START_OF_SPEECH, []))
                self._event_ch.send_nowait(utterance(vad.VADEventType.END_OF_SPEECH, frames))
                frames = []


def utterance(kind: vad.VADEventType, frames: list[rtc.AudioFrame]) -> vad.VADEvent:
    return vad.VADEvent(
        type=kind, samples_index=0, timestamp=0.0, speech_duration=0.1, silence_duration=0.1, frames=frames
    )


KEYS = ("first", "middle", "last")


async def settled(condition: Callable[[], bool], *, seconds: float = 10) -> None:
    """Wait until something in the background has happened."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what happens in LiveKit sets no event
            await asyncio.sleep(0.005)


@pytest.fixture
async def nothing_left() -> AsyncIterator[None]:
    """Fail when a test leaves tasks behind."""
    yield
    await settled(lambda: [task for task in asyncio.all_tasks() if "TestRunner" not in repr(task.get_coro())] == [])


MakeLink = Callable[[str], Link]


@pytest.fixture
async def make_link(nothing_left: None, clock: Clock, reports: Reports) -> MakeLink:  # noqa: ARG001 - it looks last
    return lambda key: Link(key, report=reports.append, clock=clock)


# Language models


@pytest.fixture
def models() -> list[ScriptedLLM]:
    return [ScriptedLLM(f"{key} says so.") for key in KEYS]


@pytest.fixture
async def chain(models: list[ScriptedLLM], make_link: MakeLink) -> AsyncIterator[ChainLLM]:
    links = [LinkLLM(model, make_link(key), f"model-{key}") for key, model in zip(KEYS, models, strict=True)]
    chain = ChainLLM(links)
    yield chain
    await chain.aclose()


async def talk(model: llm.LLM[Any], options: APIConnectOptions = ONCE) -> str:
    context = llm.ChatContext()
    context.add_message(role="user", content="How is it?")
    async with asyncio.timeout(20):
        return (await model.chat(chat_ctx=context, conn_options=options).collect()).text


async def test_the_first_that_answers_is_heard(chain: ChainLLM, models: list[ScriptedLLM], reports: Reports) -> None:
    models[0].failures = [status(401)]
    models[1].failures = [status(429)]
    assert await talk(chain) == "last says so."
    assert reports.words == ["first failed authentication", "middle failed rate_limit"]
    assert await talk(chain) == "last says so."
    assert [len(model.asked) for model in models] == [1, 1, 2]


async def test_a_plugin_is_given_no_retries_of_its_own(chain: ChainLLM, models: list[ScriptedLLM]) -> None:
    await talk(chain, APIConnectOptions(max_retry=3, timeout=60))
    assert [(each.max_retry, each.timeout) for each in models[0].asked] == [(0, 5.0)]


async def test_an_outage_is_probed_later_and_the_first_comes_back(
    chain: ChainLLM, models: list[ScriptedLLM], reports: Reports, clock: Clock
) -> None:
    models[0].failures = [status(500)]
    assert await talk(chain) == "middle says so."
    assert await talk(chain) == "middle says so."
    assert len(models[0].asked) == 1  # LiveKit alone would have sent it the whole conversation again by now
    clock.now += PROBE_AFTER_SECONDS
    assert await talk(chain) == "middle says so."
    await settled(lambda: chain.provider == "first")
    assert reports.words == ["first failed server", "first recovered"]
    assert await talk(chain) == "first says so."
    assert len(models[0].asked) == 3


async def test_a_dropped_model_is_never_probed(chain: ChainLLM, models: list[ScriptedLLM], clock: Clock) -> None:
    models[0].failures = [status(403)]
    for _ in range(5):
        assert await talk(chain) == "middle says so."
        clock.now += 1000
    assert len(models[0].asked) == 1


async def test_a_cooling_model_is_left_alone_until_its_time(
    chain: ChainLLM, models: list[ScriptedLLM], clock: Clock, reports: Reports
) -> None:
    models[0].failures = [status(402)]
    for seconds in (0, 30, 29.9):
        clock.now += seconds
        assert await talk(chain) == "middle says so."
    assert len(models[0].asked) == 1
    clock.now += 0.1
    assert await talk(chain) == "middle says so."
    await settled(lambda: chain.provider == "first")
    assert reports.words == ["first failed quota", "first recovered"]
    assert await talk(chain) == "first says so."


async def test_when_all_fail_the_error_names_them(chain: ChainLLM, models: list[ScriptedLLM]) -> None:
    for model, code in zip(models, (401, 403, 400), strict=True):
        model.failures = [status(code)]
    again = APIConnectOptions(max_retry=3, retry_interval=0, timeout=5)
    with pytest.raises(ChainFailed) as failed:
        await talk(chain, again)
    assert failed.value.failures == {"first": "authentication", "middle": "permission", "last": "invalid_request"}
    assert CANARY not in repr(failed.value)
    assert [len(model.asked) for model in models] == [1, 1, 1]  # nobody can answer: LiveKit does not repeat it
    assert await talk(chain) == "last says so."


async def test_when_all_are_down_for_a_moment_livekit_asks_again(
    chain: ChainLLM, models: list[ScriptedLLM], reports: Reports
) -> None:
    for model in models:
        model.failures = [status(503)]
    assert await talk(chain, APIConnectOptions(max_retry=1, retry_interval=0, timeout=5)) == "first says so."
    assert reports.words == [
        "first failed server",
        "middle failed server",
        "last failed server",
        "first recovered",
    ]


async def test_a_silent_model_is_given_up(
    chain: ChainLLM, models: list[ScriptedLLM], reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "_attempt_timeout", 0.05)
    models[0].silence, models[0].words = asyncio.Event(), ""
    assert await talk(chain) == "middle says so."
    assert reports.words == ["first failed timeout"]


async def test_a_model_may_talk_for_longer_than_it_may_be_silent(make_link: MakeLink, reports: Reports) -> None:
    model = ScriptedLLM("one two three four five six")
    model.pause = 0.1
    alone = LinkLLM(model, make_link("only"), "m")
    assert await talk(alone, APIConnectOptions(max_retry=0, timeout=0.4)) == model.words
    assert reports == []
    await alone.aclose()


async def test_an_answer_that_breaks_off_is_not_begun_anew(
    chain: ChainLLM, models: list[ScriptedLLM], reports: Reports
) -> None:
    models[0].failures, models[0].said = [status(500)], 1
    stream = chain.chat(chat_ctx=llm.ChatContext(), conn_options=ONCE)
    chunk = await anext(stream)
    assert chunk.delta is not None
    assert chunk.delta.content == "first "
    with pytest.raises(ProviderFailed, match="first failed: server") as failed:
        await anext(stream)
    await stream.aclose()
    assert not failed.value.retryable
    assert (reports.words, len(models[1].asked)) == (["first failed server"], 0)


async def test_hanging_up_in_mid_answer_is_no_failure(
    chain: ChainLLM, models: list[ScriptedLLM], reports: Reports
) -> None:
    models[0].silence = asyncio.Event()
    async with chain.chat(chat_ctx=llm.ChatContext(), conn_options=ONCE) as stream:
        assert (await anext(stream)).delta is not None
    assert (reports.words, len(models[1].asked)) == ([], 0)


async def test_closing_ends_a_probe_and_every_plugin(chain: ChainLLM, models: list[ScriptedLLM], clock: Clock) -> None:
    models[0].failures = [status(500)]
    await talk(chain)
    clock.now += PROBE_AFTER_SECONDS
    models[0].silence = asyncio.Event()
    await talk(chain)
    await settled(lambda: len(models[0].asked) == 2)
    await chain.aclose()
    assert [task for task in asyncio.all_tasks() if "recover" in repr(task.get_coro())] == []
    assert [model.is_closed for model in models] == [True, True, True]
    # The fixture looks for what is left.


async def test_metrics_carry_our_provider_key_and_model(chain: ChainLLM, models: list[ScriptedLLM]) -> None:
    collected: list[LLMMetrics] = []
    chain.on("metrics_collected", collected.append)  # pyright: ignore[reportUnknownMemberType] - LiveKit's emitter
    models[0].failures = [status(500)]
    await talk(chain)
    (metrics,) = collected
    assert metrics.metadata is not None
    assert (metrics.label, metrics.metadata.model_provider, metrics.metadata.model_name) == (
        "middle",
        "middle",
        "model-middle",
    )
    assert (metrics.prompt_tokens, metrics.completion_tokens) == (5, 3)
    assert (chain.provider, chain.model) == ("middle", "model-middle")


async def test_a_model_alone_is_asked_again_as_livekit_does(
    make_link: MakeLink, clock: Clock, reports: Reports
) -> None:
    model = ScriptedLLM()
    model.failures = [status(500), status(429)]
    alone = LinkLLM(model, make_link("only"), "m")
    again = APIConnectOptions(max_retry=2, retry_interval=0, timeout=5)
    with pytest.raises(APIConnectionError):
        await talk(alone, again)
    assert len(model.asked) == 2  # the third time it was cooling down
    clock.now += 60
    assert await talk(alone, again) == "All is well."
    assert reports.words == ["only failed server", "only failed rate_limit", "only recovered"]
    await alone.aclose()
    assert model.is_closed


# Speech to text


def sound(samples: int = 1600) -> rtc.AudioFrame:
    return rtc.AudioFrame(bytes(2 * samples), 16000, 1, samples)


async def listen(engine: stt.STT[Any], *lengths: int, options: APIConnectOptions = ONCE) -> list[str]:
    """Say utterances of these lengths, each once the one before was written down; return what was."""
    heard: list[str] = []
    async with engine.stream(conn_options=options) as stream:
        for samples in lengths:
            stream.push_frame(sound(samples))
            stream.flush()
            heard.append(await next_transcript(stream))
        stream.end_input()
        assert [each async for each in stream if each.alternatives] == []
    return heard


async def next_transcript(stream: stt.RecognizeStream) -> str:
    async with asyncio.timeout(10):
        async for event in stream:
            if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
                return event.alternatives[0].text
    raise AssertionError


@pytest.fixture
def engines() -> list[ScriptedSTT]:
    return [ScriptedSTT(streaming=True), ScriptedSTT(streaming=True), ScriptedSTT(streaming=False)]


@pytest.fixture
async def ears(engines: list[ScriptedSTT], make_link: MakeLink) -> AsyncIterator[ChainSTT]:
    chain = ChainSTT(
        [LinkSTT(engine, make_link(key), "m") for key, engine in zip(KEYS, engines, strict=True)], vad=Segments()
    )
    yield chain
    await chain.aclose()
    assert [engine.is_closed for engine in engines] == [True, True, True]


async def test_the_next_engine_hears_on(ears: ChainSTT, engines: list[ScriptedSTT], reports: Reports) -> None:
    engines[0].failures = [status(401)]
    engines[1].failures = [status(500)]
    assert await listen(ears, 1600, 800) == ["1600", "800"]  # the batch engine, fed by the VAD
    assert reports.words == ["first failed authentication", "middle failed server"]
    # The stream of a later turn: one is dropped, the other not yet due.
    assert await listen(ears, 400) == ["400"]
    assert [engine.opened for engine in engines] == [1, 1, 3]


async def test_an_engine_that_breaks_in_mid_call_is_followed_by_the_next(
    ears: ChainSTT, engines: list[ScriptedSTT], reports: Reports
) -> None:
    fail_after_the_first: list[Failing] = [lambda: APIStatusError("gone", status_code=1011)]
    async with ears.stream(conn_options=ONCE) as stream:
        stream.push_frame(sound(1600))
        await settled(lambda: engines[0].opened == 1)
        engines[0].failures = fail_after_the_first
        stream.flush()
        assert await next_transcript(stream) == "1600"
        await settled(lambda: engines[1].opened == 1)
        stream.push_frame(sound(800))
        stream.flush()
        assert await next_transcript(stream) == "800"
    assert reports.words == ["first failed connectivity"]


async def test_an_engine_comes_back_once_a_probe_was_understood(
    ears: ChainSTT, engines: list[ScriptedSTT], reports: Reports, clock: Clock
) -> None:
    engines[0].failures = [status(500)]
    assert await listen(ears, 1600) == ["1600"]
    clock.now += PROBE_AFTER_SECONDS
    async with ears.stream(conn_options=ONCE) as stream:
        await settled(lambda: engines[0].opened == 2)
        stream.push_frame(sound(800))
        stream.flush()
        assert await next_transcript(stream) == "800"
        await settled(lambda: ears.provider == "first")
    assert reports.words == ["first failed server", "first recovered"]
    opened = engines[1].opened
    assert await listen(ears, 400) == ["400"]
    assert (engines[0].opened, engines[1].opened) == (3, opened)


async def test_when_no_engine_is_left_the_error_names_them(ears: ChainSTT, engines: list[ScriptedSTT]) -> None:
    for engine in engines:
        engine.failures = [status(401)]
    async with ears.stream(conn_options=APIConnectOptions(max_retry=3, retry_interval=0)) as stream:
        stream.push_frame(sound())
        stream.flush()
        with pytest.raises(ChainFailed, match=r"first \(authentication\), middle \(.*\), last \(auth"):
            await next_transcript(stream)
    assert [engine.opened for engine in engines] == [1, 1, 1]


async def test_whole_utterances_are_written_down_by_whoever_can(
    ears: ChainSTT, engines: list[ScriptedSTT], reports: Reports
) -> None:
    engines[0].failures = [status(403)]
    event = await ears.recognize([sound(1600)])
    assert event.alternatives[0].text == "1600"
    engines[1].failures = engines[2].failures = []
    engines[1].failures, engines[2].failures = [status(401)], [status(401)]
    with pytest.raises(ChainFailed, match="No provider answered"):
        await ears.recognize([sound(1600)])
    assert reports.words == ["first failed permission", "middle failed authentication", "last failed authentication"]


async def test_an_engine_that_takes_too_long_is_given_up(
    make_link: MakeLink, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxplane.livekit.stt.UTTERANCE_SECONDS", 0.05)
    engine = ScriptedSTT(streaming=False)
    engine.silence = asyncio.Event()
    alone = LinkSTT(engine, make_link("only"), "m")
    with pytest.raises(ProviderFailed, match="only failed: timeout"):
        await asyncio.wait_for(alone.recognize([sound()], conn_options=ONCE), 20)
    assert reports.words == ["only failed timeout"]
    await alone.aclose()


async def test_an_engine_alone_reconnects_as_livekit_does(make_link: MakeLink, reports: Reports) -> None:
    engine = ScriptedSTT(streaming=True)
    engine.failures = [status(500)]
    alone = LinkSTT(engine, make_link("only"), "m")
    again = APIConnectOptions(max_retry=1, retry_interval=0, timeout=5)
    assert await listen(alone, 1600, options=again) == ["1600"]
    assert reports.words == ["only failed server", "only recovered"]
    assert (alone.provider, alone.model, engine.opened) == ("only", "m", 2)
    await alone.aclose()


async def test_an_engine_alone_that_breaks_in_mid_call_hears_on(make_link: MakeLink, reports: Reports) -> None:
    engine = ScriptedSTT(streaming=True)
    alone = LinkSTT(engine, make_link("only"), "m")
    async with alone.stream(conn_options=APIConnectOptions(max_retry=1, retry_interval=0)) as stream:
        stream.push_frame(sound(1600))
        await settled(lambda: engine.opened == 1)
        engine.failures = [status(500)]
        stream.flush()
        assert await next_transcript(stream) == "1600"
        stream.push_frame(sound(800))
        stream.flush()
        assert await next_transcript(stream) == "800"
    assert reports.words == ["only failed server", "only recovered"]
    await alone.aclose()


async def test_what_was_said_is_kept_for_a_while_only(
    ears: ChainSTT, engines: list[ScriptedSTT], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxplane.livekit.stt.REPEATED_SECONDS", 0.25)
    async with ears.stream(conn_options=ONCE) as stream:
        for _ in range(5):
            stream.push_frame(sound(1600))
        await settled(lambda: engines[0].opened == 1)
        engines[0].failures = [status(500)]
        stream.flush()
        assert await next_transcript(stream) == "8000"
        stream.push_frame(sound(800))
        stream.flush()
        assert await next_transcript(stream) == "800"  # the next engine: what was written down is not said again
        for _ in range(5):
            stream.push_frame(sound(1600))
        engines[1].failures = [status(500)]
        engines[1].is_deaf = True
        stream.flush()
        assert await next_transcript(stream) == "3200"  # the last: two tenths of a second of the five


async def test_what_a_plugin_counts_by_itself_is_no_answer(make_link: MakeLink, reports: Reports) -> None:
    engine = ScriptedSTT(streaming=True)
    engine.failures, engine.is_deaf = [status(500)], True
    alone = LinkSTT(engine, make_link("only"), "m")
    async with alone.stream(conn_options=APIConnectOptions(max_retry=1, retry_interval=0)) as stream:
        stream.push_frame(sound())
        stream.flush()
        async with asyncio.timeout(10):
            assert (await anext(stream)).type == stt.SpeechEventType.RECOGNITION_USAGE
    assert reports.words == ["only failed server"]
    await alone.aclose()


async def test_what_a_session_tells_its_engine_reaches_every_plugin(
    ears: ChainSTT, engines: list[ScriptedSTT], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    item = ConversationItemAddedEvent(item=llm.ChatMessage(role="assistant", content=["Your table is booked."]))
    for engine in engines:
        for name in ("_update_session_keyterms", "_push_conversation_item"):
            monkeypatch.setattr(engine, name, told.append)
    monkeypatch.setattr(engines[0], "prewarm", lambda: told.append("prewarm"))
    ears._update_session_keyterms(["Voxplane"])  # pyright: ignore[reportPrivateUsage] - a session calls it
    ears._push_conversation_item(item)  # pyright: ignore[reportPrivateUsage] - as above
    ears.prewarm()
    assert told == [["Voxplane"]] * 3 + [item] * 3 + ["prewarm"]


# Text to speech


@pytest.fixture
def voices() -> list[ScriptedTTS]:
    return [ScriptedTTS(streaming=True), ScriptedTTS(streaming=False), ScriptedTTS(streaming=True, rate=24000)]


@pytest.fixture
async def mouths(voices: list[ScriptedTTS], make_link: MakeLink) -> AsyncIterator[ChainTTS]:
    chain = ChainTTS([LinkTTS(voice, make_link(key), "m") for key, voice in zip(KEYS, voices, strict=True)])
    yield chain
    await chain.aclose()
    assert [voice.is_closed for voice in voices] == [True, True, True]


TEXT = ("Your table is booked. ", "See you tomorrow.")


async def say(voice: tts.TTS[Any], *texts: str, options: APIConnectOptions = ONCE) -> float:
    """Have texts spoken as they come; return the seconds of audio."""
    async with asyncio.timeout(20), voice.stream(conn_options=options) as stream:
        for text in texts or TEXT:
            stream.push_text(text)
        stream.end_input()
        return sum([audio.frame.duration async for audio in stream])


async def test_the_next_voice_says_all_of_it(mouths: ChainTTS, voices: list[ScriptedTTS], reports: Reports) -> None:
    voices[0].failures = [status(401)]
    assert await say(mouths) == pytest.approx(1.0, abs=0.05)  # half a second for each sentence
    assert voices[1].texts == ["Your table is booked.", "See you tomorrow."]
    assert reports.words == ["first failed authentication"]
    voices[1].failures = [status(500)]
    assert await say(mouths, "Goodbye.") == pytest.approx(0.5, abs=0.05)
    assert voices[2].texts == ["Goodbye."]
    assert len(voices[0].texts) == 1
    assert reports.words == ["first failed authentication", "middle failed server"]


async def test_a_voice_gets_its_time_and_no_retries(mouths: ChainTTS, voices: list[ScriptedTTS]) -> None:
    voices[0].failures = [status(500)] * 9  # also when LiveKit looks whether it is back
    await say(mouths, "Goodbye.", options=APIConnectOptions(max_retry=3, timeout=60))
    await mouths.synthesize("Goodbye.", conn_options=APIConnectOptions(max_retry=3, timeout=60)).collect()
    options = [(each.max_retry, each.timeout) for each in (voices[0].options[0], *voices[1].options)]
    # In a stream the time is ours to count: a plugin would count how long a model takes to write on.
    assert options == [(0, 600.0), (0, 5.0), (0, 5.0)]


@pytest.mark.parametrize("streaming", [True, False])
async def test_the_times_of_words_come_through(make_link: MakeLink, *, streaming: bool) -> None:
    alone = LinkTTS(ScriptedTTS(streaming=True), make_link("only"), "m")
    speech = alone.stream(conn_options=ONCE) if streaming else alone.synthesize("Goodbye.", conn_options=ONCE)
    if isinstance(speech, tts.SynthesizeStream):
        speech.push_text("Goodbye.")
        speech.end_input()
    async with asyncio.timeout(20):
        frames = [audio.frame async for audio in speech]
    await speech.aclose()
    words = [str(word) for frame in frames for word in frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, [])]
    assert words == ["Goodbye."]
    await alone.aclose()


async def test_a_whole_text_is_said_by_whoever_can(
    mouths: ChainTTS, voices: list[ScriptedTTS], reports: Reports, clock: Clock
) -> None:
    voices[0].failures = [status(429)]
    frame = await mouths.synthesize("Goodbye.").collect()
    assert (frame.sample_rate, frame.duration) == (24000, pytest.approx(0.5, abs=0.05))
    assert [voice.texts for voice in voices] == [["Goodbye."], ["Goodbye."], []]
    clock.now += 10
    assert await mouths.synthesize("Goodbye.").collect()
    await settled(lambda: mouths.provider == "first")
    for voice, code in zip(voices, (429, 403, 403), strict=True):
        voice.failures = [status(code)]
    with pytest.raises(ChainFailed, match=r"first \(rate_limit\), middle \(permission\), last \(permission\)"):
        await mouths.synthesize("Goodbye.").collect()
    assert reports.words == [
        "first failed rate_limit",
        "first recovered",
        "first failed rate_limit",
        "middle failed permission",
        "last failed permission",
    ]


async def test_a_voice_comes_back_once_a_probe_was_spoken(
    mouths: ChainTTS, voices: list[ScriptedTTS], reports: Reports, clock: Clock
) -> None:
    voices[0].failures = [status(500)]
    await say(mouths)
    await say(mouths)
    assert len(voices[0].texts) == 1
    clock.now += PROBE_AFTER_SECONDS
    await say(mouths)
    await settled(lambda: mouths.provider == "first")
    assert reports.words == ["first failed server", "first recovered"]
    spoken = len(voices[1].texts)
    await say(mouths)
    assert (len(voices[0].texts), len(voices[1].texts)) == (3, spoken)


async def test_when_no_voice_is_left_the_error_names_them(mouths: ChainTTS, voices: list[ScriptedTTS]) -> None:
    for voice in voices:
        voice.failures = [status(401)]
    with pytest.raises(ChainFailed) as failed:
        await say(mouths, options=APIConnectOptions(max_retry=3, retry_interval=0))
    assert failed.value.failures == dict.fromkeys(KEYS, "authentication")
    assert not failed.value.retryable
    assert [len(voice.texts) for voice in voices] == [1, 1, 1]


async def test_a_speech_that_breaks_off_stays_unfinished_without_an_error(
    mouths: ChainTTS, voices: list[ScriptedTTS], reports: Reports
) -> None:
    voices[0].failures, voices[0].said = [status(500)], 1
    assert await say(mouths) == pytest.approx(0.5, abs=0.05)
    assert [len(voice.texts) for voice in voices] == [1, 0, 0]
    assert reports.words == ["first failed server"]


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_silent_voice_is_given_up(make_link: MakeLink, reports: Reports, *, streaming: bool) -> None:
    voice = ScriptedTTS(streaming=True)
    voice.silence = asyncio.Event()
    alone = LinkTTS(voice, make_link("only"), "m")
    impatient = APIConnectOptions(max_retry=0, timeout=0.05)
    speech = say(alone, options=impatient) if streaming else alone.synthesize("Hi.", conn_options=impatient).collect()
    with pytest.raises(ProviderFailed, match="only failed: timeout"):
        await asyncio.wait_for(speech, 20)
    assert reports.words == ["only failed timeout"]
    await alone.aclose()


async def test_a_voice_is_not_blamed_for_text_that_comes_slowly(make_link: MakeLink, reports: Reports) -> None:
    alone = LinkTTS(ScriptedTTS(streaming=True), make_link("only"), "m")
    async with alone.stream(conn_options=APIConnectOptions(max_retry=0, timeout=1)) as stream:
        await asyncio.sleep(1.2)
        for text in ("It", "takes", "its", "time"):
            stream.push_text(f"{text} ")
            await asyncio.sleep(0.3)
        stream.end_input()
        async with asyncio.timeout(20):
            assert [audio async for audio in stream]
    assert reports.words == []
    await alone.aclose()


async def test_a_voice_alone_is_asked_again_as_livekit_does(make_link: MakeLink, reports: Reports) -> None:
    voice = ScriptedTTS(streaming=True)
    voice.failures = [status(500), status(500)]
    alone = LinkTTS(voice, make_link("only"), "m")
    collected: list[TTSMetrics] = []
    alone.on("metrics_collected", collected.append)  # pyright: ignore[reportUnknownMemberType] - LiveKit's emitter
    again = APIConnectOptions(max_retry=1, retry_interval=0, timeout=5)
    with pytest.raises(ProviderFailed):
        await say(alone, options=again)
    assert await say(alone, options=again) > 0
    assert await alone.synthesize("Goodbye.").collect()
    assert reports.words == ["only failed server", "only recovered"]
    assert {each.label for each in collected} == {"only"}
    assert {(each.metadata.model_provider, each.metadata.model_name) for each in collected if each.metadata} == {
        ("only", "m")
    }
    await alone.aclose()


# From resolved providers to objects


def resolved(key: str, *, secrets: Mapping[str, SecretStr] | None = None, **config: Any) -> ResolvedProviderConfig:
    """Return a provider as a worker receives it."""
    registry = ProviderRegistry()
    registry.initialize()
    definition = registry.get_provider_by_key(key)
    settings = definition.validate(config)
    return ResolvedProviderConfig(
        provider=ProviderName(key=key, name=definition.name, type=definition.type),
        config=settings.effective(),
        secrets={name: SecretStr(CANARY) for name in definition.secret_names} if secrets is None else secrets,
        origins=tuple(str(origin) for origin in definition.effective_origins(settings)),
        is_enabled=True,
        priority=100,
        secret_version=1,
    )


class Lost(Mapping[str, SecretStr]):
    """Secrets that the SDK gives to nobody any more."""

    def __init__(self, error: type[VoxplaneError]) -> None:
        self._error = error

    def __getitem__(self, name: str) -> SecretStr:
        raise self._error

    def __iter__(self) -> Iterator[str]:
        raise self._error

    def __len__(self) -> int:
        raise self._error


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_chain_of_one_is_the_plugin_alone(reports: Reports, session: aiohttp.ClientSession) -> None:
    hears = build_stt([resolved("deepgram")], report=reports.append, http_session=session)
    answers = build_llm([resolved("openai", model="gpt-4.1")], report=reports.append)
    speaks = build_tts([resolved("cartesia")], report=reports.append, http_session=session)
    assert isinstance(hears, LinkSTT)
    assert isinstance(answers, LinkLLM)
    assert isinstance(speaks, LinkTTS)
    assert (answers.provider, answers.model, answers.label) == ("openai", "gpt-4.1", "openai")
    assert (hears.capabilities, speaks.sample_rate) == (hears.plugin.capabilities, speaks.plugin.sample_rate)
    for built in (hears, answers, speaks):
        await built.aclose()
    assert reports == []


async def test_plugins_call_with_the_session_that_they_are_given(
    reports: Reports, session: aiohttp.ClientSession
) -> None:
    chain = [resolved("elevenlabs", voiceId="EXAVITQu4vr4xnSDxMaL"), resolved("openai-tts"), resolved("cartesia")]
    speaks = build_tts(chain, report=reports.append, http_session=session)
    assert isinstance(speaks, ChainTTS)
    assert [getattr(link.plugin, "_session", "none of its own") for link in speaks.links] == [
        session,
        "none of its own",
        session,
    ]
    await speaks.aclose()
    assert not session.closed


async def test_a_chain_is_in_the_order_given(reports: Reports) -> None:
    answers = build_llm([resolved("groq"), resolved("anthropic"), resolved("openai")], report=reports.append)
    assert isinstance(answers, ChainLLM)
    assert [link.provider for link in answers.links] == ["groq", "anthropic", "openai"]
    await answers.aclose()


async def test_an_engine_of_whole_utterances_needs_a_vad_in_a_chain(
    reports: Reports, session: aiohttp.ClientSession
) -> None:
    chain = [resolved("deepgram"), resolved("whisper", baseUrl="http://127.0.0.1:9/v1")]
    with pytest.raises(ConfigurationError, match="Give build_stt a vad: whisper takes whole utterances only"):
        build_stt(chain, report=reports.append, http_session=session)
    hears = build_stt(chain, report=reports.append, http_session=session, vad=Segments())
    assert isinstance(hears, ChainSTT)
    assert hears.capabilities.streaming
    await hears.aclose()


# What is left out, what is reported for it, and what is raised when nothing remains.
LEFT_OUT: list[tuple[ResolvedProviderConfig, type[VoxplaneError], FailureKind]] = [
    (resolved("openai", secrets={}), SecretsMissing, "authentication"),
    (replace(resolved("openai"), origins=("https://elsewhere.example",)), DestinationUnapproved, "permission"),
    (
        replace(resolved("openai"), provider=ProviderName.model_validate({"key": "later", "name": "L", "type": "llm"})),
        ProviderNotFound,
        "unsupported",
    ),
    (replace(resolved("openai"), config={"model": 7}), VoxplaneError, "invalid_request"),
]


@pytest.mark.parametrize("lost", [SnapshotExpired, Unauthenticated])
async def test_secrets_that_the_worker_may_not_use_any_more_tell_nothing_of_the_provider(
    lost: type[VoxplaneError], reports: Reports
) -> None:
    with pytest.raises(lost):
        build_llm([resolved("openai", secrets=Lost(lost))], report=reports.append)
    assert reports.words == []


@pytest.mark.parametrize("is_failing", [True, False])
async def test_a_provider_that_failed_in_another_call_is_reported_when_it_answers(
    reports: Reports, *, is_failing: bool
) -> None:
    model = build_llm([replace(resolved("openai"), is_failing=is_failing)], report=reports.append)
    assert isinstance(model, LinkLLM)
    ask(model.link)
    ask(model.link)
    assert reports.words == (["openai recovered"] if is_failing else [])
    await model.aclose()


@pytest.mark.parametrize(("unusable", "error", "kind"), LEFT_OUT, ids=[each[1].__name__ for each in LEFT_OUT])
async def test_what_cannot_be_made_is_left_out_and_reported(
    unusable: ResolvedProviderConfig,
    error: type[VoxplaneError],
    kind: FailureKind,
    reports: Reports,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = build_llm([unusable, resolved("groq")], report=reports.append)
    assert isinstance(answers, LinkLLM)
    assert answers.provider == "groq"
    assert reports.words == [f"{unusable.provider.key} failed {kind}"]
    assert f"{unusable.provider.key} is left out (" in caplog.text
    assert CANARY not in caplog.text
    await answers.aclose()
    with pytest.raises(error):
        build_llm([unusable, unusable], report=reports.append)


async def test_a_setting_of_a_later_release_is_passed_over(reports: Reports, caplog: pytest.LogCaptureFixture) -> None:
    later = resolved("openai")
    later.config["webSearch"] = CANARY
    for _ in range(2):
        await build_llm([later], report=reports.append).aclose()
    assert caplog.messages == ["openai: this release does not know webSearch, and does without; upgrade this worker."]
    assert reports.words == []


async def test_one_that_cannot_be_closed_keeps_no_other_open(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise RuntimeError

    built = build_llm([resolved("openai"), resolved("groq")], report=reports.append)
    assert isinstance(built, ChainLLM)
    first, second = built.links
    assert isinstance(first, LinkLLM)
    monkeypatch.setattr(first.plugin, "aclose", fail)
    with pytest.raises(RuntimeError):
        await built.aclose()
    clients = [part for link in (first, second) for part in cast("Any", link)._parts if hasattr(part, "is_closed")]
    assert len(clients) >= 4
    assert all(client.is_closed() if callable(client.is_closed) else client.is_closed for client in clients)


def refuse(**_arguments: Any) -> None:
    """Stand for a plugin's class that does not like its settings, and says so in its own words."""
    raise ValueError(f"unheard of: {CANARY}")


class Refusing(ProviderRegistry):
    """A registry whose providers all have such a class."""

    @override
    def get_provider_by_key(self, key: str) -> AnyProvider:
        found = super().get_provider_by_key(key)
        plugins = tuple(replace(plugin, target=f"{__name__}:{refuse.__name__}") for plugin in found.livekit)
        return replace(found, livekit=plugins)


async def test_a_class_that_refuses_its_settings_is_left_out(
    reports: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Refusing()
    registry.initialize()
    with pytest.raises(ConfigurationError) as refused:
        build_llm([resolved("groq")], report=reports.append, registry=registry)
    assert str(refused.value) == "The LiveKit class of groq cannot be made: ValueError."
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    assert reports.words == ["groq failed invalid_request"]
    assert CANARY not in caplog.text


async def test_a_setting_that_only_the_plugin_refuses_leaves_its_provider_out_and_the_chain_goes_on(
    session: aiohttp.ClientSession, reports: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    """We take any model's name, with key terms too; LiveKit's class takes them for the models that it knows."""
    chain = [resolved("deepgram", model="nova-9", keyterms=["refund"]), resolved("deepgram", model="nova-9")]
    heard = build_stt(chain, report=reports.append, http_session=session)
    assert isinstance(heard, LinkSTT)
    assert reports.words == ["deepgram failed invalid_request"]
    assert "deepgram is left out (configuration): The LiveKit class of deepgram cannot be made: Value" in caplog.text
    await heard.aclose()


async def test_a_package_that_is_not_installed_leaves_its_provider_out(
    reports: Reports, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "livekit.plugins.groq", None)
    preload(["groq"])
    with pytest.raises(MissingDependency, match=r"livekit\.plugins\.groq"):
        build_llm([resolved("groq")], report=reports.append, http_session=session)
    assert reports.words == ["groq failed unavailable"]


@pytest.mark.parametrize("build", [build_stt, build_llm, build_tts])
def test_an_empty_chain_is_an_error_of_its_own(build: Callable[..., object], reports: Reports) -> None:
    with pytest.raises(NoPrimaryProvider):
        build([], report=reports.append)


def test_preload_knows_its_providers() -> None:
    with pytest.raises(ProviderNotFound):
        preload(["deepgram", "nobody"])


PRELOADED = """
import sys, threading
from tests.test_livekit import resolved
from voxplane.livekit import build_llm, preload

assert not any(name.startswith("livekit.plugins.groq") for name in sys.modules)
preload(sys.argv[1:] or None)
built = []

def work():
    try:
        built.append(build_llm([resolved("groq")], report=print).provider)
    except Exception as error:
        built.append(type(error).__name__)

thread = threading.Thread(target=work)
thread.start()
thread.join()
print(*built)
"""


@pytest.mark.drill
@pytest.mark.parametrize(("keys", "printed"), [([], "groq"), (["cartesia"], "ConfigurationError")])
def test_a_job_in_a_thread_finds_its_plugins_preloaded(keys: Sequence[str], printed: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PRELOADED, *keys]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.stdout.splitlines()[-1:] == [printed], ran.stderr

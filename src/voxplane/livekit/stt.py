"""Speech to text: one provider as a link, and a chain of them.

When an engine fails, the next one, or the same again, is told what the caller said since the last transcript. That an
engine is connected and mute, which is also what it should answer to silence, is noticed with a VAD: somebody spoke for
a second or longer, has stopped, and nothing came for it, neither a word nor an empty transcript.
"""

# LiveKit's event emitters and adapters leave type parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectionError, APIConnectOptions, NotGivenOr
from livekit.agents.stt import (
    STT,
    FallbackAdapter,
    RecognizeStream,
    SpeechEvent,
    SpeechEventType,
    STTCapabilities,
)
from livekit.agents.stt.fallback_adapter import DEFAULT_FALLBACK_API_CONNECT_OPTIONS, FallbackRecognizeStream
from livekit.agents.vad import VADEventType
from typing_extensions import override

from voxplane.livekit.link import ChainFailed, Link, Linked, ProviderFailed
from voxplane.plugin import close_each

if TYPE_CHECKING:
    from livekit.agents.utils import AudioBuffer
    from livekit.agents.vad import VAD
    from livekit.agents.voice import ConversationItemAddedEvent

ATTEMPT_SECONDS = 5.0
"""How long an engine of a chain may take to connect before the next one is asked."""
UTTERANCE_SECONDS = 10.0
"""How long an engine that takes whole utterances may write on one."""
MUTE_SECONDS = 5.0
"""How long an engine may write nothing once the caller stopped, before it is taken for mute."""
UNANSWERED_SECONDS = 1.0
"""How much speech has to go unanswered for that; less may have been a cough."""
REPEATED_SECONDS = 15.0
"""How much audio is kept to be told again."""


class LinkSTT(Linked, STT[Any]):
    """A plugin's engine under our policy; it goes by our provider key, and what happens to it is reported."""

    plugin: STT[Any]

    def __init__(self, plugin: STT[Any], link: Link, model: str, parts: Sequence[object] = ()) -> None:
        super().__init__(capabilities=plugin.capabilities)
        self._stand_for(plugin, link, model, parts)
        self._recognize_metrics_needed = False
        self.vad: VAD | None = None
        """What tells when its streams should have written something."""

    @property
    @override
    def capabilities(self) -> STTCapabilities:
        return self.plugin.capabilities

    @override
    async def _recognize_impl(
        self, buffer: AudioBuffer, *, language: NotGivenOr[str] = NOT_GIVEN, conn_options: APIConnectOptions
    ) -> SpeechEvent:
        with self.link.attempt() as answered:
            async with asyncio.timeout(UTTERANCE_SECONDS):
                event = await self.plugin.recognize(
                    buffer, language=language, conn_options=replace(conn_options, max_retry=0)
                )
            answered()
        return event

    @override
    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> RecognizeStream:
        stream = _LinkStream(stt=self, conn_options=conn_options)
        stream.language = language
        return stream

    @override
    def prewarm(self) -> None:
        self.plugin.prewarm()

    @override
    async def aclose(self) -> None:
        await self._let_go()

    @override
    def _update_session_keyterms(self, keyterms: list[str]) -> None:
        self.plugin._update_session_keyterms(keyterms)  # noqa: SLF001 - as LiveKit's own adapters do

    @override
    def _push_conversation_item(self, ev: ConversationItemAddedEvent) -> None:
        self.plugin._push_conversation_item(ev)  # noqa: SLF001 - as above


class _Repeats(RecognizeStream):
    """A stream that keeps what was said since the last transcript, so that it can be told to another engine."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._said: deque[tuple[rtc.AudioFrame | RecognizeStream._FlushSentinel, float]] = deque()
        self._seconds = 0.0

    @override
    def push_frame(self, frame: rtc.AudioFrame) -> None:
        super().push_frame(frame)
        self._said.append((frame, frame.duration))
        self._seconds += frame.duration
        while self._seconds > REPEATED_SECONDS:
            self._seconds -= self._said.popleft()[1]

    @override
    def flush(self) -> None:
        super().flush()
        self._said.append((self._FlushSentinel(), 0.0))

    def _repeat(self) -> None:
        """Put before whoever reads next what others have read."""
        if self._input_ch.closed or len(self._said) <= self._input_ch.qsize():
            return
        while not self._input_ch.empty():
            self._input_ch.recv_nowait()
        for each, _ in self._said:
            self._input_ch.send_nowait(each)

    @override
    async def _metrics_monitor_task(self, event_aiter: AsyncIterable[SpeechEvent]) -> None:
        async for event in event_aiter:
            if event.type == SpeechEventType.FINAL_TRANSCRIPT:
                self._said.clear()
                self._seconds = 0.0


class _LinkStream(_Repeats):
    _stt: LinkSTT
    language: NotGivenOr[str]

    @override
    async def _run(self) -> None:
        try:
            await self._listen()
        except ProviderFailed:
            self._repeat()
            raise

    async def _listen(self) -> None:
        with self._stt.link.attempt(resumes=True) as answered:
            async with (
                asyncio.timeout(None) as deadline,
                self._stt.plugin.stream(
                    language=self.language, conn_options=replace(self._conn_options, max_retry=0)
                ) as stream,
                _Expectation(self._stt.vad, deadline) as expectation,
                asyncio.TaskGroup() as tasks,
            ):
                stream.start_time_offset = self.start_time_offset
                hearing = tasks.create_task(self._feed(stream, expectation))
                expecting = tasks.create_task(expectation.run())
                async for event in stream:
                    if event.type != SpeechEventType.RECOGNITION_USAGE:  # the plugin's own count
                        answered()
                        expectation.meet()
                    self._event_ch.send_nowait(event)
                hearing.cancel()
                expecting.cancel()

    async def _feed(self, stream: RecognizeStream, expectation: _Expectation) -> None:
        # A stream that has ended takes no more audio; why it ended, its reader is told.
        with contextlib.suppress(RuntimeError):
            async for heard in self._input_ch:
                if isinstance(heard, rtc.AudioFrame):
                    stream.push_frame(heard)
                    expectation.hear(heard)
                else:
                    stream.flush()
            stream.end_input()


class _Expectation:
    """That an engine writes something of what was said: while it is due, the deadline is set."""

    def __init__(self, vad: VAD | None, deadline: asyncio.Timeout) -> None:
        self._hearing = None if vad is None else vad.stream()
        self._deadline = deadline
        self._unanswered_seconds = 0.0
        self._is_met = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._hearing is not None:
            await self._hearing.aclose()

    def hear(self, frame: rtc.AudioFrame) -> None:
        if self._hearing is not None:
            self._hearing.push_frame(frame)

    def meet(self) -> None:
        """Take notice that the engine wrote something."""
        self._is_met, self._unanswered_seconds = True, 0.0
        if not self._deadline.expired():
            self._deadline.reschedule(None)

    async def run(self) -> None:
        if self._hearing is None:
            return
        async for heard in self._hearing:
            if heard.type == VADEventType.START_OF_SPEECH:
                self._is_met = False
            elif heard.type == VADEventType.END_OF_SPEECH and not self._is_met:  # it may be quicker than the VAD
                self._unanswered_seconds += heard.speech_duration
                if self._unanswered_seconds >= UNANSWERED_SECONDS and self._deadline.when() is None:
                    self._deadline.reschedule(asyncio.get_running_loop().time() + MUTE_SECONDS)


class ChainSTT(FallbackAdapter):
    """Engines in the order in which they are asked: LiveKit's adapter, which probes none that may not be asked.

    An engine that writes down whole utterances is given them by the VAD; of one that streams it tells when it is mute.
    """

    def __init__(self, links: Sequence[LinkSTT], *, vad: VAD | None) -> None:
        super().__init__(list(links), vad=vad, attempt_timeout=ATTEMPT_SECONDS, max_retry_per_stt=0)
        self.links = links
        for link in links:
            link.vad = vad

    @override
    async def _recognize_impl(
        self, buffer: AudioBuffer, *, language: NotGivenOr[str] = NOT_GIVEN, conn_options: APIConnectOptions
    ) -> SpeechEvent:
        try:
            return await super()._recognize_impl(buffer, language=language, conn_options=conn_options)
        except APIConnectionError:
            raise ChainFailed([engine.link for engine in self.links]) from None

    @override
    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_FALLBACK_API_CONNECT_OPTIONS,
    ) -> RecognizeStream:
        return _ChainStream(stt=self, language=language, conn_options=conn_options)

    @override
    async def aclose(self) -> None:
        await close_each([super().aclose, *(link.aclose for link in self.links)])


class _ChainStream(_Repeats, FallbackRecognizeStream):
    _stt: ChainSTT

    @override
    async def _run(self) -> None:
        try:
            await super()._run()
        except APIConnectionError:
            raise ChainFailed([engine.link for engine in self._stt.links]) from None

    @override
    def _try_recovery(self, stt: STT[Any]) -> None:
        # LiveKit comes by here with each engine that failed, before it turns to the next one.
        self._repeat()
        engine: object = getattr(stt, "wrapped_stt", stt)  # one of whole utterances is in a StreamAdapter
        if isinstance(engine, LinkSTT) and engine.link.may_be_probed:
            super()._try_recovery(stt)

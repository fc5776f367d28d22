"""Speech to text: one provider as a link, and a chain of them.

When an engine fails, the next one, or the same again, is told what the caller said since the last transcript. An engine
that is connected and says nothing is not noticed, for that is what it should answer to silence.
"""

# LiveKit's event emitters and adapters leave type parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
from typing_extensions import override

from voxplane.livekit.link import ChainFailed, Link, Linked, ProviderFailed

if TYPE_CHECKING:
    from livekit.agents.utils import AudioBuffer
    from livekit.agents.vad import VAD
    from livekit.agents.voice import ConversationItemAddedEvent

ATTEMPT_SECONDS = 5.0
"""How long an engine of a chain may take to connect before the next one is asked."""
UTTERANCE_SECONDS = 10.0
"""How long an engine that takes whole utterances may write on one."""
REPEATED_SECONDS = 15.0
"""How much audio is kept to be told again."""


class LinkSTT(Linked, STT[Any]):
    """A plugin's engine under our policy; it goes by our provider key, and what happens to it is reported."""

    plugin: STT[Any]

    def __init__(self, plugin: STT[Any], link: Link, model: str, parts: Sequence[object] = ()) -> None:
        super().__init__(capabilities=plugin.capabilities)
        self._stand_for(plugin, link, model, parts)
        self._recognize_metrics_needed = False

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
                self._stt.plugin.stream(
                    language=self.language, conn_options=replace(self._conn_options, max_retry=0)
                ) as stream,
                asyncio.TaskGroup() as tasks,
            ):
                stream.start_time_offset = self.start_time_offset
                hearing = tasks.create_task(self._feed(stream))
                async for event in stream:
                    if event.type != SpeechEventType.RECOGNITION_USAGE:  # the plugin's own count
                        answered()
                    self._event_ch.send_nowait(event)
                hearing.cancel()

    async def _feed(self, stream: RecognizeStream) -> None:
        # A stream that has ended takes no more audio; why it ended, its reader is told.
        with contextlib.suppress(RuntimeError):
            async for heard in self._input_ch:
                if isinstance(heard, rtc.AudioFrame):
                    stream.push_frame(heard)
                else:
                    stream.flush()
            stream.end_input()


class ChainSTT(FallbackAdapter):
    """Engines in the order in which they are asked: LiveKit's adapter, which probes none that may not be asked.

    An engine that writes down whole utterances is given them by the VAD.
    """

    def __init__(self, links: Sequence[LinkSTT], *, vad: VAD | None) -> None:
        super().__init__(list(links), vad=vad, attempt_timeout=ATTEMPT_SECONDS, max_retry_per_stt=0)
        self.links = links

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
        await super().aclose()
        for link in self.links:
            await link.aclose()


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

"""Text to speech: one provider as a link, and a chain of them.

When a voice breaks off in mid-answer, LiveKit asks no other and raises nothing: the rest of the answer stays unspoken.
"""

# LiveKit's event emitters and adapters leave type parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, APIConnectionError, APIConnectOptions
from livekit.agents.tts import (
    TTS,
    AudioEmitter,
    ChunkedStream,
    FallbackAdapter,
    SynthesizedAudio,
    SynthesizeStream,
)
from livekit.agents.tts.fallback_adapter import (
    DEFAULT_FALLBACK_API_CONNECT_OPTIONS,
    FallbackChunkedStream,
    FallbackSynthesizeStream,
)
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, USERDATA_TTS_STARTED_TIME
from livekit.agents.utils import shortuuid
from typing_extensions import override

from voxplane.livekit.link import ChainFailed, Link, Linked
from voxplane.plugin import close_each

ATTEMPT_SECONDS = 5.0
"""How long a voice of a chain may take to begin, once it has all the text there is, before the next one is asked."""
_PLUGIN_SECONDS = 600.0
"""How long a plugin may wait in a stream: some count how long the model takes to write on as the voice's silence."""


class LinkTTS(Linked, TTS[Any]):
    """A plugin's voice under our policy; it goes by our provider key, and what happens to it is reported."""

    plugin: TTS[Any]

    def __init__(self, plugin: TTS[Any], link: Link, model: str, parts: Sequence[object] = ()) -> None:
        super().__init__(
            capabilities=plugin.capabilities, sample_rate=plugin.sample_rate, num_channels=plugin.num_channels
        )
        self._stand_for(plugin, link, model, parts)

    @override
    def synthesize(self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> ChunkedStream:
        return _LinkChunks(tts=self, input_text=text, conn_options=conn_options)

    @override
    def stream(self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> SynthesizeStream:
        return _LinkStream(tts=self, conn_options=conn_options)

    @override
    def prewarm(self) -> None:
        self.plugin.prewarm()

    @override
    async def aclose(self) -> None:
        await self._let_go()


class _LinkChunks(ChunkedStream):
    # As in LiveKit's own adapters: the plugin's stream has the spans and the metrics of the request.
    _tts_request_span_name: ClassVar[str] = "tts_link"
    _tts_attempt_span_name: ClassVar[str | None] = None

    _tts: LinkTTS

    @override
    async def _run(self, output_emitter: AudioEmitter) -> None:
        _begin(self._tts, output_emitter, stream=False)
        with self._tts.link.attempt() as answered:
            async with (
                asyncio.timeout(self._conn_options.timeout) as deadline,
                self._tts.plugin.synthesize(
                    self._input_text, conn_options=replace(self._conn_options, max_retry=0)
                ) as stream,
            ):
                async for audio in stream:
                    deadline.reschedule(None)
                    answered()
                    _pass_on(audio, output_emitter)

    @override
    async def _metrics_monitor_task(self, event_aiter: AsyncIterable[SynthesizedAudio]) -> None:
        async for _ in event_aiter:
            pass


class _LinkStream(SynthesizeStream):
    _tts_request_span_name: ClassVar[str] = "tts_link"
    _tts_attempt_span_name: ClassVar[str | None] = None

    _tts: LinkTTS

    @override
    async def _run(self, output_emitter: AudioEmitter) -> None:
        _begin(self._tts, output_emitter, stream=True)
        output_emitter.start_segment(segment_id=shortuuid())
        patience = replace(self._conn_options, max_retry=0, timeout=_PLUGIN_SECONDS)
        with self._tts.link.attempt() as answered:
            async with (
                # Without text there is nothing to wait for; every piece of it gives the voice its time again, and so
                # does every sound once there is no more to come.
                asyncio.timeout(None) as deadline,
                self._tts.plugin.stream(conn_options=patience) as stream,
                asyncio.TaskGroup() as tasks,
            ):
                reading = tasks.create_task(self._feed(stream, deadline))
                async for audio in stream:
                    deadline.reschedule(self._in_time() if reading.done() else None)
                    answered()
                    begun: float = audio.frame.userdata.get(USERDATA_TTS_STARTED_TIME, time.perf_counter())
                    self._started_time = self._started_time or begun
                    _pass_on(audio, output_emitter)
                reading.cancel()

    async def _feed(self, stream: SynthesizeStream, deadline: asyncio.Timeout) -> None:
        async for text in self._input_ch:
            if not isinstance(text, str):
                stream.flush()
                continue
            stream.push_text(text)
            if not (self._started_time or deadline.expired()):
                deadline.reschedule(self._in_time())
        stream.end_input()
        if self._started_time and not deadline.expired():
            deadline.reschedule(self._in_time())

    def _in_time(self) -> float:
        """Until when the voice may be silent from now on."""
        return asyncio.get_running_loop().time() + self._conn_options.timeout

    @override
    async def _metrics_monitor_task(self, event_aiter: AsyncIterable[SynthesizedAudio]) -> None:
        async for _ in event_aiter:
            pass


def _begin(tts: TTS[Any], output: AudioEmitter, *, stream: bool) -> None:
    output.initialize(
        request_id=shortuuid(),
        sample_rate=tts.sample_rate,
        num_channels=tts.num_channels,
        mime_type="audio/pcm",
        stream=stream,
    )


def _pass_on(audio: SynthesizedAudio, output: AudioEmitter) -> None:
    if words := audio.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT):
        output.push_timed_transcript(words)
    output.push_frame(audio.frame)


class ChainTTS(FallbackAdapter):
    """Voices in the order in which they are asked: LiveKit's adapter, which probes none that may not be asked.

    A voice that takes whole texts is given them sentence by sentence. All are brought to the highest sample rate.
    """

    def __init__(self, links: Sequence[LinkTTS]) -> None:
        super().__init__(list(links), max_retry_per_tts=0)
        self.links = links

    @override
    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_FALLBACK_API_CONNECT_OPTIONS
    ) -> FallbackChunkedStream:
        return _ChainChunks(tts=self, input_text=text, conn_options=replace(conn_options, timeout=ATTEMPT_SECONDS))

    @override
    def stream(
        self, *, conn_options: APIConnectOptions = DEFAULT_FALLBACK_API_CONNECT_OPTIONS
    ) -> FallbackSynthesizeStream:
        return _ChainStream(tts=self, conn_options=replace(conn_options, timeout=ATTEMPT_SECONDS))

    @override
    async def aclose(self) -> None:
        await close_each([super().aclose, *(link.aclose for link in self.links)])


class _ChainChunks(FallbackChunkedStream):
    _tts: ChainTTS

    @override
    async def _run(self, output_emitter: AudioEmitter) -> None:
        try:
            await super()._run(output_emitter)
        except APIConnectionError:
            raise ChainFailed([voice.link for voice in self._tts.links]) from None

    @override
    def _try_recovery(self, tts: TTS[Any]) -> None:
        if isinstance(tts, LinkTTS) and tts.link.may_be_probed:
            super()._try_recovery(tts)


class _ChainStream(FallbackSynthesizeStream):
    _tts: ChainTTS

    @override
    async def _run(self, output_emitter: AudioEmitter) -> None:
        try:
            await super()._run(output_emitter)
        except APIConnectionError:
            raise ChainFailed([voice.link for voice in self._tts.links]) from None

    @override
    def _try_recovery(self, tts: TTS[Any]) -> None:
        if isinstance(tts, LinkTTS) and tts.link.may_be_probed:
            super()._try_recovery(tts)

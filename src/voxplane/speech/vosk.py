"""Vosk as a LiveKit speech-to-text that streams: in the worker, or at a vosk-server of one's own.

vosk-server's protocol, as its websocket/asr_server.py speaks it: a `config` as JSON, then audio in binary messages.
Each of those is answered by one message, a partial or a final result. `{"reset" : 1}`, spelled just so, is answered by
what remains of the utterance. A `model` in the config would exchange the server's model for all of its clients.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import aiohttp
from livekit.agents import APIConnectionError, LanguageCode, stt
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectOptions, NotGivenOr, TimedString
from livekit.agents.utils import AudioBuffer, shortuuid
from livekit.agents.utils.audio import AudioByteStream

from voxplane.http import http_session
from voxplane.speech.failures import livekit_errors, loggable
from voxplane.speech.weights import Loaded, require, vosk_model

if TYPE_CHECKING:
    from voxplane.schemas import JsonObject

_LOG = logging.getLogger(__name__)
_THREADS = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="vosk")
_PIECES_PER_SECOND = 10
_RESET = '{"reset" : 1}'
# Pieces of audio on their way at once: a slow line must not hold back the caller's words.
_WINDOW = 20


def _load(path: str) -> Any:
    # Imported here, in a thread: it opens a large library, and not every worker has it.
    engine = import_module("vosk")
    engine.SetLogLevel(-1)
    return engine.Model(path)


_MODELS = Loaded(_load)
# A model frees itself by means of its module, and that is gone when the interpreter has ended.
atexit.register(_MODELS.clear)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The settings of the provider `vosk` that concern a stream. The sample rate is in Hz."""

    language: str
    grammar: tuple[str, ...]
    interim_results: bool
    words: bool
    partial_words: bool
    max_alternatives: int
    sample_rate: int


class STT(stt.STT[Any]):
    """Speech to text by Vosk, with interim transcripts while the caller speaks.

    The parameters are the settings of the provider `vosk`. With `server_url` that server recognises, with the model
    that it was started with, and `model` is but a name.

    Raises:
        ModelMissing: without `server_url`, the model is not in the models folder.
        MissingDependency: without `server_url`, vosk is not installed.
    """

    def __init__(  # noqa: PLR0913 - one parameter for each setting
        self,
        *,
        model: str,
        language: str = "en-us",
        grammar: list[str] | None = None,
        interim_results: bool = True,
        words: bool = True,
        partial_words: bool = False,
        max_alternatives: int = 0,
        sample_rate: int = 16_000,
        server_url: str | None = None,
    ) -> None:
        capabilities = stt.STTCapabilities(
            streaming=True, interim_results=interim_results, aligned_transcript="word" if words else False
        )
        super().__init__(capabilities=capabilities)
        self._model = model
        self._server_url = server_url
        self._options = Options(
            language=language,
            grammar=tuple(grammar or ()),
            interim_results=interim_results,
            words=words,
            partial_words=partial_words,
            max_alternatives=max_alternatives,
            sample_rate=sample_rate,
        )
        self._path = ""
        if server_url is None:
            require("vosk", "vosk")
            self._path = vosk_model(model)

    @property
    def model(self) -> str:
        """The model's name, for metrics."""
        return self._model

    @property
    def provider(self) -> str:
        """The provider's key, for metrics."""
        return "vosk"

    def prewarm(self) -> None:
        """Begin to load the model; the first stream waits for it, or says why it cannot be loaded."""
        if self._path:
            _THREADS.submit(_MODELS.get, self._path)

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,  # noqa: ARG002 - a model knows one language
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> Stream:
        """Begin to listen to one caller."""
        if self._server_url is None:
            return WorkerStream(self, self._options, conn_options, path=self._path)
        return ServerStream(self, self._options, conn_options, url=self._server_url)

    async def _recognize_impl(
        self, buffer: AudioBuffer, *, language: NotGivenOr[str] = NOT_GIVEN, conn_options: APIConnectOptions
    ) -> stt.SpeechEvent:
        # Who called this repeats what may be repeated.
        once = APIConnectOptions(max_retry=0, timeout=conn_options.timeout)
        async with self.stream(language=language, conn_options=once) as stream:
            for frame in buffer if isinstance(buffer, list) else [buffer]:
                stream.push_frame(frame)
            stream.end_input()
            finals = [event async for event in stream if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT]
        heard = [final.alternatives[0] for final in finals]
        speech = stt.SpeechData(
            language=LanguageCode(self._options.language),
            text=" ".join(part.text for part in heard),
            start_time=heard[0].start_time if heard else 0.0,
            end_time=heard[-1].end_time if heard else 0.0,
            confidence=min((part.confidence for part in heard), default=0.0),
            words=[word for part in heard for word in part.words or ()] or None,
        )
        return stt.SpeechEvent(stt.SpeechEventType.FINAL_TRANSCRIPT, request_id=shortuuid(), alternatives=[speech])


class Stream(stt.RecognizeStream):
    """One caller's speech: audio in small pieces to the recogniser, and its results as LiveKit's events."""

    def __init__(self, engine: STT, options: Options, conn_options: APIConnectOptions) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - LiveKit leaves its type parameter open
            stt=engine, conn_options=conn_options, sample_rate=options.sample_rate
        )
        self._options = options
        self._request_id = shortuuid()
        self._is_speaking = False
        self._interim = ""
        self._unreported_seconds = 0.0

    async def _pieces(self) -> AsyncIterator[bytes | None]:
        """Give the audio as it comes, and None where the utterance is to be ended."""
        rate = self._options.sample_rate
        pieces = AudioByteStream(rate, 1, samples_per_channel=rate // _PIECES_PER_SECOND)
        async for item in self._input_ch:
            is_flush = isinstance(item, self._FlushSentinel)
            for frame in pieces.flush() if is_flush else pieces.write(item.data.tobytes()):
                self._unreported_seconds += frame.duration
                yield frame.data.tobytes()
            if is_flush:
                yield None

    def _hear(self, result: JsonObject) -> None:
        """Send the events for a result of Vosk's, which has `partial`, or `text`, or `alternatives` with texts."""
        if "partial" in result:
            self._hear_partial(result)
            return
        readings = [reading for reading in result.get("alternatives") or [result] if reading.get("text")]
        if readings:
            self._start()
            self._send(stt.SpeechEventType.FINAL_TRANSCRIPT, [self._speech(reading) for reading in readings])
        if self._is_speaking:
            self._is_speaking = False
            self._send(stt.SpeechEventType.END_OF_SPEECH)
        self._interim = ""
        usage = stt.RecognitionUsage(audio_duration=self._unreported_seconds)
        self._unreported_seconds = 0.0
        self._send(stt.SpeechEventType.RECOGNITION_USAGE, usage=usage)

    def _hear_partial(self, result: JsonObject) -> None:
        text = result["partial"]
        if not text or text == self._interim:
            return
        self._interim = text
        self._start()
        if self._options.interim_results:
            reading = {"text": text, "result": result.get("partial_result")}
            self._send(stt.SpeechEventType.INTERIM_TRANSCRIPT, [self._speech(reading)])

    def _start(self) -> None:
        if not self._is_speaking:
            self._is_speaking = True
            self._send(stt.SpeechEventType.START_OF_SPEECH)

    def _send(
        self,
        type_: stt.SpeechEventType,
        alternatives: list[stt.SpeechData] | None = None,
        usage: stt.RecognitionUsage | None = None,
    ) -> None:
        event = stt.SpeechEvent(
            type_, request_id=self._request_id, alternatives=alternatives or [], recognition_usage=usage
        )
        self._event_ch.send_nowait(event)

    def _speech(self, reading: JsonObject) -> stt.SpeechData:
        words: list[JsonObject] = reading.get("result") or []
        # Alternatives have a score, which is no confidence, and their words have none.
        sure = [word["conf"] for word in words if "conf" in word]
        offset = self.start_time_offset
        return stt.SpeechData(
            language=LanguageCode(self._options.language),
            text=reading["text"].strip(),
            start_time=offset + words[0]["start"] if words else 0.0,
            end_time=offset + words[-1]["end"] if words else 0.0,
            confidence=sum(sure) / len(sure) if sure else 0.0,
            words=[
                TimedString(
                    word["word"],
                    offset + word["start"],
                    offset + word["end"],
                    word.get("conf", NOT_GIVEN),
                    start_time_offset=offset,
                )
                for word in words
            ]
            or None,
        )


class WorkerStream(Stream):
    """One caller's speech, recognised by a model in the worker."""

    def __init__(self, engine: STT, options: Options, conn_options: APIConnectOptions, *, path: str) -> None:
        super().__init__(engine, options, conn_options)
        self._path = path

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            recognizer = await loop.run_in_executor(_THREADS, self._recognizer)
            async for piece in self._pieces():
                self._hear(json.loads(await loop.run_in_executor(_THREADS, _accept, recognizer, piece)))
        except Exception as error:  # noqa: BLE001 - whatever an engine raises
            _LOG.warning("Vosk failed: %s", loggable(error))
            # Not with its cause, whose text LiveKit would add: it may name files of this machine.
            raise APIConnectionError("Vosk could not recognise this speech.", retryable=False) from None

    def _recognizer(self) -> Any:
        options = self._options
        grammar = [json.dumps(options.grammar, ensure_ascii=False)] if options.grammar else []
        model = _MODELS.get(self._path)
        recognizer = import_module("vosk").KaldiRecognizer(model, options.sample_rate, *grammar)
        recognizer.SetWords(options.words)
        recognizer.SetPartialWords(options.partial_words)
        recognizer.SetMaxAlternatives(options.max_alternatives)
        return recognizer


def _accept(recognizer: Any, piece: bytes | None) -> str:
    if piece is None:
        return recognizer.FinalResult()
    return recognizer.Result() if recognizer.AcceptWaveform(piece) else recognizer.PartialResult()


class ServerStream(Stream):
    """One caller's speech, recognised by a vosk-server."""

    def __init__(self, engine: STT, options: Options, conn_options: APIConnectOptions, *, url: str) -> None:
        super().__init__(engine, options, conn_options)
        self._url = url

    async def _run(self) -> None:
        timeout = self._conn_options.timeout
        closing = aiohttp.ClientWSTimeout(ws_close=1)  # pyright: ignore[reportCallIssue] - made by attrs
        with livekit_errors("Vosk", self._url):
            async with http_session(timeout) as session, session.ws_connect(self._url, timeout=closing) as socket:
                window = asyncio.Semaphore(_WINDOW)
                async with asyncio.TaskGroup() as tasks:
                    listening = tasks.create_task(self._listen(socket, window))
                    await self._speak(socket, window)
                    listening.cancel()

    async def _speak(self, socket: aiohttp.ClientWebSocketResponse, window: asyncio.Semaphore) -> None:
        options = self._options
        config: JsonObject = {
            "sample_rate": options.sample_rate,
            "words": options.words,
            "max_alternatives": options.max_alternatives,
        }
        if options.grammar:
            config["phrase_list"] = options.grammar
        await socket.send_json({"config": config})
        async for piece in self._pieces():
            await self._take(window)
            await (socket.send_str(_RESET) if piece is None else socket.send_bytes(piece))
        for _ in range(_WINDOW):  # until all is answered
            await self._take(window)

    async def _take(self, window: asyncio.Semaphore) -> None:
        async with asyncio.timeout(self._conn_options.timeout):
            await window.acquire()

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse, window: asyncio.Semaphore) -> None:
        """Hear the answers until this is cancelled; all along, because the server also asks whether we live."""
        async for message in socket:
            try:
                self._hear(json.loads(message.data))
            except (ValueError, TypeError, KeyError, AttributeError):
                raise APIConnectionError("The Vosk server sent what is no result.", retryable=False) from None
            window.release()
        raise APIConnectionError("The Vosk server broke off.")

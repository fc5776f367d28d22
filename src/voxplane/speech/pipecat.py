"""Piper for Pipecat: its own service, with a connection that belongs to it.

Importing Pipecat's module imports Piper (GPL-3.0-or-later) too, even though this service only speaks HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipecat.services.piper.tts import PiperHttpTTSService as Service

from voxplane.http import http_session

if TYPE_CHECKING:
    from pipecat.processors.frame_processor import FrameProcessorSetup
    from pipecat.services.piper.tts import PiperHttpTTSSettings

# As long as LiveKit waits.
_TIMEOUT_SECONDS = 10


class PiperHttpTTSService(Service):
    """Pipecat's client of Piper's server; it opens its connection when the pipeline is set up, and closes it after.

    `base_url` is the whole address that takes the text, `/synthesize` included.
    """

    def __init__(self, *, base_url: str, settings: PiperHttpTTSSettings) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - Pipecat leaves its further arguments open
            base_url=base_url,
            aiohttp_session=None,  # pyright: ignore[reportArgumentType] - a connection needs a running loop: see below
            settings=settings,
        )

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Open the connection."""
        await super().setup(setup)
        self._session = http_session(_TIMEOUT_SECONDS)

    async def cleanup(self) -> None:
        """Close the connection."""
        await super().cleanup()
        if self._session:
            await self._session.close()

"""Sockets of Pipecat's services: the key is among the headers that they begin with, and goes no further than it may.

Left to itself a socket uses a proxy of the environment and follows redirects, with a vendor's own header for keys.
"""

# Pipecat and the vendors' SDKs leave the types of what they keep open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import importlib
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from pipecat.services.websocket_service import _BoundedConnection  # pyright: ignore[reportPrivateUsage] - what its sockets are made of unless told otherwise
from typing_extensions import override
from websockets.exceptions import InvalidStatus

if TYPE_CHECKING:
    from pipecat.processors.frame_processor import FrameProcessor

_REDIRECT = range(300, 400)


def keep_straight(service: FrameProcessor) -> None:
    """Have a service's sockets follow no redirect, and use no proxy of the environment."""
    connect: Any = getattr(service, "_websocket_connect", None)
    if connect is not None:
        straight = partial(connect, proxy=None, create_connection=_Straight)
        setattr(service, "_websocket_connect", straight)  # noqa: B010 - no name of FrameProcessor's
    if type(getattr(service, "_client", None)).__module__.startswith("deepgram."):
        _keep_deepgrams_sdk_straight()


class _Straight(_BoundedConnection):
    @override
    async def handshake(self, *arguments: Any, **named: Any) -> None:
        try:
            await super().handshake(*arguments, **named)
        except InvalidStatus as error:
            if "Location" in error.response.headers:  # without it, it is a refusal like any other
                del error.response.headers["Location"]
            raise


@cache
def _keep_deepgrams_sdk_straight() -> None:
    """Do the same for Deepgram's SDK: its sockets are its own, opened by one name for all of its clients."""
    # Imported here: only this SDK uses what `websockets` calls legacy. That knows no proxies.
    from websockets.legacy.client import WebSocketClientProtocol, connect  # noqa: PLC0415
    from websockets.legacy.exceptions import InvalidStatusCode  # noqa: PLC0415

    class Straight(WebSocketClientProtocol):
        @override
        async def read_http_response(self) -> tuple[int, Any]:
            status, headers = await super().read_http_response()
            if status in _REDIRECT:
                raise InvalidStatusCode(status, headers)
            return status, headers

    opens = importlib.import_module("deepgram.listen.v1.client")
    setattr(opens, "websockets_client_connect", partial(connect, create_protocol=Straight))  # noqa: B010 - a module's

"""Connections to an engine's own server: to the address of the settings and no further."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse


def connection(timeout_seconds: float) -> aiohttp.ClientSession:
    """Open a session, which its user closes; it reads no environment and follows no redirect.

    Each wait for the server, to connect or to read on, may take `timeout_seconds`.
    """
    timeout = aiohttp.ClientTimeout(sock_connect=timeout_seconds, sock_read=timeout_seconds)
    return aiohttp.ClientSession(timeout=timeout, middlewares=(_refuse_redirect,))


async def _refuse_redirect(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    response = await handler(request)
    if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
        response.close()
        raise aiohttp.ClientResponseError(response.request_info, (), status=response.status)
    return response

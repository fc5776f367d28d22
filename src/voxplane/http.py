"""What vendors and engines are called with over aiohttp: a session that takes a key to where it may go, no further."""

from __future__ import annotations

import aiohttp

_REDIRECT = range(300, 400)


def http_session(wait_seconds: float | None = None) -> aiohttp.ClientSession:
    """Make a session that follows no redirect and uses no proxy of the environment. Whoever makes it closes it.

    With `wait_seconds`, each wait for the server, to connect or to read on, may take so long.

    aiohttp would send a vendor's own header for keys, such as `xi-api-key`, along to wherever a redirect leads.
    """
    timeout = (
        aiohttp.client.DEFAULT_TIMEOUT
        if wait_seconds is None
        else aiohttp.ClientTimeout(sock_connect=wait_seconds, sock_read=wait_seconds)
    )
    return aiohttp.ClientSession(timeout=timeout, middlewares=(_stay,), trust_env=False)


async def _stay(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    answer = await handler(request)
    if answer.status in _REDIRECT:
        answer.close()
        raise aiohttp.ClientResponseError(
            answer.request_info, answer.history, status=answer.status, message="The call is redirected."
        )
    return answer

"""What cloud plugins call with: a session that takes a key to the approved place, and nowhere else."""

from __future__ import annotations

import aiohttp

_REDIRECT = range(300, 400)


def http_session() -> aiohttp.ClientSession:
    """Make a session that follows no redirect and uses no proxy of the environment. Whoever makes it closes it.

    aiohttp would send a vendor's own header for keys, such as `xi-api-key`, along to wherever a redirect leads.
    """
    return aiohttp.ClientSession(middlewares=(_stay,), trust_env=False)


async def _stay(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    answer = await handler(request)
    if answer.status in _REDIRECT:
        answer.close()
        raise aiohttp.ClientResponseError(
            answer.request_info, answer.history, status=answer.status, message="The vendor redirects the call."
        )
    return answer

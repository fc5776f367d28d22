"""The least that an HTTP server in Python can do: a constant body, on the server that Voxplane runs on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

BODY = b"x" * int(sys.argv[1])
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def app(_scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Answer."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS, "trailers": False})
    await send({"type": "http.response.body", "body": BODY, "more_body": False})


config = uvicorn.Config(
    app,
    port=0,
    loop="uvloop",
    http="httptools",
    lifespan="off",
    ws="none",
    log_config=None,
    access_log=False,
    server_header=False,
    proxy_headers=False,
)
listening = config.bind_socket()
print(f"listens on http://127.0.0.1:{listening.getsockname()[1]}", file=sys.stderr, flush=True)
uvicorn.Server(config).run(sockets=[listening])

"""The control plane on a port of its own, as workers meet it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import uvicorn
from starlette.types import ASGIApp

from tests.test_changes import following, until
from voxplane.server.app import create_app
from voxplane.server.control_plane import ControlPlane
from voxplane.server.http_protocol import HttpProtocol


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which are the whole process's."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def served(
    plane: ControlPlane, *, port: int = 0, certificate: tuple[Path, Path] | None = None
) -> AsyncGenerator[str]:
    """Serve until left, with the change feed, and yield the address; `port` to come back where one was before.

    With a certificate and its key, of localhost, it is served over TLS.
    """
    async with following(plane), listening(create_app(plane), port=port, certificate=certificate) as address:
        try:
            yield address
        finally:
            plane.changes.end()


@asynccontextmanager
async def listening(
    app: ASGIApp, *, port: int = 0, certificate: tuple[Path, Path] | None = None
) -> AsyncGenerator[str]:
    """Serve any application until left, and yield its address."""
    scheme, files = ("https://localhost", certificate) if certificate else ("http://127.0.0.1", (None, None))
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        loop="none",
        http=HttpProtocol,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        ssl_certfile=files[0],
        ssl_keyfile=files[1],
    )
    server, taken = _Server(config), config.bind_socket()
    async with anyio.create_task_group() as serving:
        serving.start_soon(server.serve, [taken])
        await until(lambda: server.started)
        try:
            yield f"{scheme}:{taken.getsockname()[1]}"
        finally:
            server.should_exit = True

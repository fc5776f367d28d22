"""The control plane on a port of its own, as workers meet it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import uvicorn

from tests.test_changes import following, until
from voxplane.server.app import create_app
from voxplane.server.control_plane import ControlPlane


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
    scheme, files = ("https://localhost", certificate) if certificate else ("http://127.0.0.1", (None, None))
    config = uvicorn.Config(
        create_app(plane),
        host="127.0.0.1",
        port=port,
        loop="none",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        ssl_certfile=files[0],
        ssl_keyfile=files[1],
    )
    server, listening = _Server(config), config.bind_socket()
    async with following(plane), anyio.create_task_group() as serving:
        serving.start_soon(server.serve, [listening])
        await until(lambda: server.started)
        try:
            yield f"{scheme}:{listening.getsockname()[1]}"
        finally:
            plane.changes.end()
            server.should_exit = True

"""The control plane on a port of its own, as workers meet it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

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
async def served(plane: ControlPlane, *, port: int = 0) -> AsyncGenerator[str]:
    """Serve until left, with the change feed, and yield the address; `port` to come back where one was before."""
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
    )
    server, listening = _Server(config), config.bind_socket()
    async with following(plane), anyio.create_task_group() as serving:
        serving.start_soon(server.serve, [listening])
        await until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            plane.changes.end()
            server.should_exit = True

"""Serving until somebody stops it."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import uvicorn
from rich.console import Console

from voxplane.errors import ConfigurationError
from voxplane.server.app import create_app
from voxplane.server.control_plane import ControlPlane

if TYPE_CHECKING:
    from collections.abc import Generator

    from voxplane.server.settings import Settings

_DRAIN_SECONDS = 20


class _Server(uvicorn.Server):
    """uvicorn, leaving signals to us: it would end the process before the database is closed."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve(settings: Settings) -> None:
    """Serve the control plane until SIGINT or SIGTERM, then finish what is under way and close the database.

    Raises:
        ConfigurationError: the installation is set up in a way that is refused, or the port is taken.
        Unavailable: the database does not answer.
    """
    async with ControlPlane.open(settings) as plane:
        config = uvicorn.Config(
            create_app(plane),
            host=settings.host,
            port=settings.port,
            loop="none",
            http="httptools",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
        server = _Server(config)
        try:
            listening = config.bind_socket()
        except SystemExit:
            raise ConfigurationError(
                f"Port {settings.port} on {settings.host} cannot be listened on; VOXPLANE_PORT names another."
            ) from None
        host, port = listening.getsockname()[:2]
        async with anyio.create_task_group() as group:
            group.start_soon(_stop_on_signal, server)
            group.start_soon(plane.changes.follow, plane.database)
            _announce(settings, host, port)
            await server.serve(sockets=[listening])
            group.cancel_scope.cancel()


async def _stop_on_signal(server: uvicorn.Server) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        async for number in received:
            server.handle_exit(number, None)


def _announce(settings: Settings, host: str, port: int) -> None:
    """Say where it is and what to do next: to a person at a terminal, or whoever reads the first lines of a log."""
    where = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    console = Console(stderr=True, highlight=False)
    command = f"{sys.argv[0]} token create --administrator"
    stored = "VOXPLANE_DATABASE_URL" if settings.database_url else settings.data_dir.absolute()
    console.print(f"Voxplane listens on [bold]{where}[/]  (API reference: {where}/docs)", soft_wrap=True)
    console.print(f"Data: {stored}", soft_wrap=True)
    console.print(f"For a token, in another terminal: [bold]{command}[/]", soft_wrap=True)

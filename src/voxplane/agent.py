"""The agent worker: it takes a call, asks which providers answer for its organization, and lets them.

    VOXPLANE_URL=https://voxplane.example.com VOXPLANE_TOKEN=vxp_... LIVEKIT_URL=... python -m voxplane.agent start

A job names its organization in its metadata: `{"organization": "acme"}`, an id or a slug. People who have an agent of
their own use `Call` in it, or no more than `voxplane.livekit`.
"""

# LiveKit's sessions and event emitters leave type parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import logging
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from functools import partial
from importlib import import_module
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Literal, cast

import anyio
import anyio.to_thread
from livekit.agents import AgentServer, JobContext, JobProcess
from livekit.plugins import silero

from voxplane.agent_settings import AgentSettings, LiveKitSettings, check, described
from voxplane.background import background
from voxplane.call import Call
from voxplane.client import Client
from voxplane.errors import ConfigurationError, Unreachable, VoxplaneError
from voxplane.livekit import preload
from voxplane.schemas import ProviderType
from voxplane.snapshot import is_any_in
from voxplane.speech.weights import piper_in_process

if TYPE_CHECKING:
    from pathlib import Path

    from livekit.agents.vad import VAD

    from voxplane.registry import ProviderRegistry

log = logging.getLogger("voxplane.agent")
_LOAD_SECONDS = 60.0  # a cold worker imports a few hundred megabytes before it is ready
Command = Literal["start", "dev", "console"]
COMMANDS: tuple[Command, ...] = ("start", "dev", "console")


def organization_of(metadata: str, otherwise: str) -> str:
    """Return the organization that a job's metadata names: `{"organization": "acme"}`, also as `organizationId`.

    Raises:
        ConfigurationError: the metadata is something, and not a JSON object with a text there.
    """
    if not metadata.strip():
        return otherwise
    try:
        given = json.loads(metadata)
        named = given.get("organization", given.get("organizationId", otherwise))
    except (ValueError, AttributeError):
        named = None
    if not isinstance(named, str) or not named:
        raise ConfigurationError('The job\'s metadata names no organization: send {"organization": "<id or slug>"}.')
    return named


@asynccontextmanager
async def client_for(settings: AgentSettings, metadata: str) -> AsyncGenerator[Client]:
    """Open the client of the organization that a job is for.

    Raises:
        Unreachable: there is neither a control plane nor a snapshot; the sentence says what to do.
        VoxplaneError: the control plane turned this worker away.
    """
    client = _client(settings, organization_of(metadata, settings.organization))
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(client)
        except Unreachable as error:
            message = f"{error.message} Is VOXPLANE_URL right, and the control plane up?"
            if settings.snapshot_dir is None:
                message += " Set VOXPLANE_SNAPSHOT_DIR for workers that are to start without it."
            raise Unreachable(message) from error
        yield client


def _client(settings: AgentSettings, organization: str) -> Client:
    token, kept, trusted = settings.token.get_secret_value(), settings.snapshot_dir, settings.ca_file
    return Client(settings.url, token, organization=organization, snapshot_folder=kept, ca_file=trusted)


async def introduce(settings: AgentSettings, *, has_jobs: bool = True) -> None:
    """Ask the control plane once, before any call, whether it lets this worker in.

    One that does not answer is no reason not to start: it may be back for the call, or a snapshot serves. A worker
    without jobs, as `console` is, has nothing but its settings to say whose calls it takes.

    Raises:
        VoxplaneError: it does not, or the settings are none that a call can begin with; the sentence says what to do.
    """
    try:
        me = await _client(settings, settings.organization).check()
    except Unreachable as error:
        log.warning("%s Until it does, %s.", error.message, await _without_it(settings.snapshot_dir))
        return
    if me.organization is None and settings.organization == "current" and not has_jobs:
        message = "This token is a fleet's, and no job names an organization here: set VOXPLANE_ORGANIZATION."
        raise ConfigurationError(message)
    whose = "a fleet's: jobs name their organization" if me.organization is None else me.organization.slug
    log.info("the control plane lets this worker in as %s (%s)", me.name, whose)


async def _without_it(snapshot_dir: Path | None) -> str:
    if snapshot_dir is None:
        return "no call is answered, for VOXPLANE_SNAPSHOT_DIR is unset"
    if await anyio.to_thread.run_sync(is_any_in, snapshot_dir):
        return "calls are answered from the snapshots on disk"
    return "no call is answered, for there is no snapshot in VOXPLANE_SNAPSHOT_DIR yet"


async def begin_call(context: JobContext, settings: AgentSettings, *, registry: ProviderRegistry | None = None) -> Call:
    """Begin the call that a job is about, on its organization's providers; its entry point returns after this.

    LiveKit tells nobody that a job ends before its entry point has returned. The call ends with its session or with
    the job, whichever is first, and takes the other along; what it ran on is logged then.

    Raises:
        VoxplaneError: it cannot be answered; the sentence says what to do, and is logged.
    """
    begun: asyncio.Future[Call] = asyncio.get_running_loop().create_future()
    # The call outlives the entry point, and the end of the job waits for it.
    holding = asyncio.create_task(_hold(context, settings, registry, begun))  # noqa: TID251

    async def let_go(_reason: str) -> None:
        if begun.done():
            await begun.result().session.aclose()
            await holding
        else:
            holding.cancel()
            await asyncio.wait([holding])

    context.add_shutdown_callback(let_go)
    await asyncio.wait([begun, holding], return_when=asyncio.FIRST_COMPLETED)
    if not begun.done():
        holding.result()  # raises what went wrong
    return begun.result()


async def _hold(
    context: JobContext, settings: AgentSettings, registry: ProviderRegistry | None, begun: asyncio.Future[Call]
) -> None:
    """Hold a call, and all that it needs, until it has ended."""
    try:
        async with client_for(settings, context.job.metadata) as client:
            vad = cast("VAD", context.proc.userdata["vad"])
            async with Call(client, vad=vad, instructions=settings.instructions, registry=registry) as call:
                try:
                    await context.connect()
                    await call.start(context.room)
                    begun.set_result(call)
                    for notice in (each for kind in ProviderType for one in client.chain(kind) for each in one.notices):
                        log.warning("this call may use what ends: %s", notice.message)
                    await call.ended.wait()
                finally:
                    log.info("call ended: %s", json.dumps({"job": context.job.id, **asdict(call.record)}))
    except VoxplaneError as error:
        log.error("call %s cannot be answered: %s", context.job.id, error.message)  # noqa: TRY400 - the sentence says it all
        raise
    finally:
        context.shutdown("the call has ended")


async def answer(context: JobContext, registry: ProviderRegistry | None = None) -> None:
    """Take a call: LiveKit runs this in a process of its own for each job.

    `registry` knows the providers, if they are others than those that are installed.
    """
    settings = AgentSettings.read()
    call = await begin_call(context, settings, registry=registry)
    if settings.greeting:
        call.session.say(settings.greeting)


def prepare(process: JobProcess) -> None:
    """Load, once in each process, what a call would otherwise wait for."""
    preload()
    process.userdata["vad"] = silero.VAD.load()


def agent_server(
    settings: AgentSettings, takes: Callable[[JobContext], Awaitable[None]] = answer, **options: Any
) -> AgentServer:
    """Make LiveKit's worker around what takes a call. Nothing of it listens beyond this machine.

    `options` go to LiveKit's `AgentServer`.
    """
    if settings.agent_port is not None:
        options = {"port": settings.agent_port, **options}
    server = AgentServer(host="127.0.0.1", setup_fnc=prepare, initialize_process_timeout=_LOAD_SECONDS, **options)
    server.rtc_session(takes, agent_name=settings.agent_name)
    return server


def run(command: Command, takes: Callable[[JobContext], Awaitable[None]] = answer) -> None:
    """Run the worker until it is stopped: `start` in production, `dev` with LiveKit's defaults for a desk.

    `console` talks to the microphone and the loudspeaker of this machine instead of a room.

    Raises:
        ConfigurationError: settings are missing or not valid, and the message names each; or this machine has no sound.
        VoxplaneError: the control plane does not let this worker in.
    """
    check(AgentSettings, *([] if command == "console" else [LiveKitSettings]))
    piper_in_process()  # where Piper speaks is this machine's, and read when it does
    settings = AgentSettings.read()
    if settings.snapshot_dir is not None:
        _check_folder(settings.snapshot_dir)
    anyio.run(partial(introduce, settings, has_jobs=command != "console"))
    server = agent_server(settings, takes)
    if command == "console":
        _check_sound()
        from livekit.agents import cli  # noqa: PLC0415 - deprecated there, and the one that has a console

        sys.argv = [sys.argv[0], command]
        cli.run_app(server)
    else:
        anyio.run(serve, server, command == "dev")


def _check_sound() -> None:
    """See that this machine's microphone and loudspeaker can be reached: LiveKit would end in a traceback."""
    try:
        import_module("sounddevice")
    except OSError:
        message = "The console needs PortAudio, which this machine lacks. On Debian: apt-get install libportaudio2."
        raise ConfigurationError(message) from None


def _check_folder(folder: Path) -> None:
    """See that snapshots can be kept: once, where the worker starts. A call goes on with those that are there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return
    except OSError:
        message = "The worker cannot start. VOXPLANE_SNAPSHOT_DIR: name a folder that this worker may write to."
        raise ConfigurationError(message) from None


async def serve(server: AgentServer, devmode: bool) -> None:  # noqa: FBT001 - anyio passes arguments by position
    """Serve until SIGINT or SIGTERM; calls that are under way end in peace, or at once after a second signal.

    Raises:
        Unreachable: LiveKit does not let this worker in, after all its attempts.
        ConfigurationError: the port of its health check is taken.
    """
    async with background(partial(_stop_on_signal, server)):
        try:
            await server.run(devmode=devmode)
        except Exception as error:
            await server.aclose()
            if isinstance(error, RuntimeError):  # what LiveKit makes of its last attempt to connect
                message = "LiveKit cannot be reached. Are LIVEKIT_URL and its API key right?"
                raise Unreachable(message) from error
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                message = (
                    "The port of LiveKit's health check is taken on this machine, by another worker say: "
                    "VOXPLANE_AGENT_PORT names another one, and 0 any that is free."
                )
                raise ConfigurationError(message) from None
            raise


async def _stop_on_signal(server: AgentServer) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        await anext(received)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_drain, server, group.cancel_scope)
                await anext(received)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await server.aclose()


async def _drain(server: AgentServer, until: anyio.CancelScope) -> None:
    try:
        await server.drain()
    except TimeoutError:
        log.warning("calls are still under way at the end of LiveKit's drain_timeout: they are closed")
    except Exception as error:  # noqa: BLE001 - LiveKit's own, and the worker is to be closed all the same
        log.error("calls cannot be waited for (%s): they are closed", type(error).__name__)  # noqa: TRY400 - its text is LiveKit's
    until.cancel()


def main(takes: Callable[[JobContext], Awaitable[None]] = answer) -> None:
    """Run this program as a worker: its argument is `start`, `dev` or `console`, as `run` takes it."""
    logging.basicConfig(level=logging.INFO)
    parser = argparse.ArgumentParser(
        description="Run LiveKit's agent worker on the organizations' providers.",
        epilog="\n".join(["It reads the environment:", *(f"  {name:<24}{text}" for name, text in described().items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    said = "in production (start), at a desk (dev), or on this machine's microphone and loudspeaker (console)"
    parser.add_argument("command", choices=COMMANDS, help=said)
    try:
        run(parser.parse_args().command, takes)
    except VoxplaneError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()

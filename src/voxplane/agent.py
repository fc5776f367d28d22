"""The agent worker: it takes a call, asks which providers answer for its organization, and lets them.

    VOXPLANE_URL=https://voxplane.example.com VOXPLANE_TOKEN=vxp_... LIVEKIT_URL=... python -m voxplane.agent start

A job names its organization in its metadata: `{"organization": "acme"}`, an id or a slug. People who have an agent of
their own use `Call` in it, or no more than `voxplane.livekit`.
"""

# LiveKit's sessions and event emitters leave type parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, cast

import anyio
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, JobProcess
from livekit.plugins import silero

from voxplane.agent_settings import AgentSettings
from voxplane.client import Client
from voxplane.errors import ConfigurationError, Unreachable, VoxplaneError
from voxplane.livekit import build_llm, build_stt, build_tts, preload
from voxplane.livekit.http import http_session
from voxplane.schemas import ProviderType

if TYPE_CHECKING:
    from types import TracebackType

    from livekit import rtc
    from livekit.agents.llm import LLM
    from livekit.agents.stt import STT
    from livekit.agents.tts import TTS
    from livekit.agents.vad import VAD

    from voxplane.registry import ProviderRegistry
    from voxplane.resolution import ResolvedProviderConfig

log = logging.getLogger("voxplane.agent")
_LOAD_SECONDS = 60.0  # a cold worker imports a few hundred megabytes before it is ready
Command = Literal["start", "dev", "console"]
COMMANDS: tuple[Command, ...] = ("start", "dev", "console")


class Engines(NamedTuple):
    """The three objects of a call."""

    stt: STT[Any]
    llm: LLM[Any]
    tts: TTS[Any]


@dataclass
class CallRecord:
    """What a call ran on: for each revision in use the providers by type, first to answer first."""

    organization: str = ""
    revisions: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list[tuple[str, dict[str, list[str]]]])

    def note(self, client: Client) -> None:
        """Put down what is in use from now on."""
        self.organization = client.organization.slug
        used = {each.value: [link.provider.key for link in client.chain(each)] for each in ProviderType}
        self.revisions.append((client.at, used))


class Call:
    """One call on its organization's providers. A change made meanwhile is applied between two turns.

    async with Call(client, vad=vad, instructions="Be brief.") as call:
        await call.start(room)
    """

    def __init__(
        self,
        client: Client,
        *,
        vad: VAD,
        instructions: str,
        registry: ProviderRegistry | None = None,
        session_options: dict[str, Any] | None = None,
    ) -> None:
        """Take a client that has been entered.

        `registry` knows the providers, and `session_options` go to LiveKit's `AgentSession`.

        Raises:
            NoPrimaryProvider: no provider of a type can answer.
            VoxplaneError: none of a type can be made into an object.
        """
        self._client = client
        self._vad = vad
        self._http_session = http_session()
        self._registry = registry
        self._in_use = self._chains()
        self._engines = Engines(*(self._build(each) for each in (ProviderType.STT, ProviderType.LLM, ProviderType.TTS)))
        self._changed = anyio.Event()
        self._quiet = anyio.Event()
        self.record = CallRecord()
        self.record.note(client)
        self.agent = Agent(instructions=instructions, **self._engines._asdict())
        options: dict[str, Any] = {"turn_handling": {"turn_detection": "vad"}, **(session_options or {})}
        self.session: AgentSession[Any] = AgentSession(vad=vad, **options)
        self.session.on("agent_state_changed", self._on_state)
        self.session.on("user_state_changed", self._on_state)

    async def __aenter__(self) -> Self:
        """Follow the organization's changes."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            group = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(group.cancel_scope.cancel)
            group.start_soon(self._follow)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the session and close its engines."""
        await self._stack.__aexit__(kind, error, trace)

    async def _close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self.session.aclose()
            await _close(self._engines)
            await self._http_session.close()

    async def start(self, room: rtc.Room | None = None) -> None:
        """Begin, in a room or on the audio that was given to the session before."""
        if room is None:
            await self.session.start(self.agent, record=False)
        else:
            await self.session.start(self.agent, room=room, record=False)

    def _chains(self) -> dict[ProviderType, tuple[ResolvedProviderConfig, ...]]:
        return {each: self._client.chain(each) for each in ProviderType}

    def _build(self, provider_type: ProviderType) -> Any:
        shared: dict[str, Any] = {
            "report": self._client.report,
            "http_session": self._http_session,
            "registry": self._registry,
        }
        chain = self._in_use[provider_type]
        if provider_type is ProviderType.STT:
            return build_stt(chain, vad=self._vad, **shared)
        return (build_llm if provider_type is ProviderType.LLM else build_tts)(chain, **shared)

    @property
    def _is_quiet(self) -> bool:
        """Whether nobody speaks and nothing is under way: the moment between two turns."""
        return (
            self.session.agent_state in {"initializing", "idle", "listening"} and self.session.user_state != "speaking"
        )

    def _on_state(self, _event: object) -> None:
        if self._is_quiet:
            self._quiet.set()

    async def _follow(self) -> None:
        async for at in self._client.changes():
            while not self._is_quiet:
                self._quiet = anyio.Event()
                await self._quiet.wait()
            try:
                await self._change_over()
            except VoxplaneError as error:
                # Whoever changed it is told by the console; the call goes on with what it has.
                log.error("revision %s cannot be used in this call: %s", at, error.code)  # noqa: TRY400 - the code is the whole story

    async def _change_over(self) -> None:
        """Build what changed anew, hand it to the session, and close what it replaces."""
        before, self._in_use = self._in_use, self._chains()
        changed = [each for each in ProviderType if _differ(before[each], self._in_use[each])]
        try:
            built = {each.value: self._build(each) for each in changed}
        except VoxplaneError:
            self._in_use = before
            raise
        replaced = [getattr(self._engines, name) for name in built]
        self.agent.update_options(**built)
        self._engines = self._engines._replace(**built)
        self.record.note(self._client)
        log.info("the call uses revision %s: %s", self._client.at, ", ".join(built) or "nothing changed for it")
        await _close(replaced)


def _differ(one: Sequence[ResolvedProviderConfig], other: Sequence[ResolvedProviderConfig]) -> bool:
    def seen(chain: Sequence[ResolvedProviderConfig]) -> list[tuple[object, ...]]:
        return [(each.provider.key, each.config, each.origins, each.secret_version) for each in chain]

    return seen(one) != seen(other)


async def _close(engines: Sequence[Any]) -> None:
    for engine in engines:
        await engine.aclose()


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
    organization = organization_of(metadata, settings.organization)
    token = settings.token.get_secret_value()
    client = Client(settings.url, token, organization=organization, snapshot_folder=settings.snapshot_dir)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(client)
        except Unreachable as error:
            advice = (
                "There is no usable snapshot on disk either."
                if settings.snapshot_dir
                else "Set VOXPLANE_SNAPSHOT_DIR for workers that are to start without it."
            )
            message = f"{error.message} Is VOXPLANE_URL right, and the control plane up? {advice}"
            raise Unreachable(message) from error
        yield client


@asynccontextmanager
async def call_for(
    context: JobContext, settings: AgentSettings, *, registry: ProviderRegistry | None = None
) -> AsyncGenerator[Call]:
    """Make the call that a job is about, on its organization's providers; what it ran on is logged at its end.

    Raises:
        VoxplaneError: it cannot be answered; the sentence says what to do, and is logged.
    """
    try:
        async with client_for(settings, context.job.metadata) as client:
            vad = cast("VAD", context.proc.userdata["vad"])
            async with Call(client, vad=vad, instructions=settings.instructions, registry=registry) as call:
                yield call
            ran = {"job": context.job.id, "organization": call.record.organization, "revisions": call.record.revisions}
            log.info("call ended: %s", json.dumps(ran))
    except VoxplaneError as error:
        log.error("call %s cannot be answered: %s", context.job.id, error.message)  # noqa: TRY400 - the sentence says it all
        raise


async def answer(context: JobContext) -> None:
    """Take a call: LiveKit runs this in a process of its own for each job."""
    settings, ended = AgentSettings.read(), anyio.Event()

    async def end(_reason: str) -> None:
        ended.set()

    context.add_shutdown_callback(end)
    async with call_for(context, settings) as call:
        await context.connect()
        await call.start(context.room)
        if settings.greeting:
            await call.session.say(settings.greeting)
        await ended.wait()


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
    server = AgentServer(host="127.0.0.1", setup_fnc=prepare, initialize_process_timeout=_LOAD_SECONDS, **options)
    server.rtc_session(takes, agent_name=settings.agent_name)
    return server


def run(command: Command) -> None:
    """Run the worker until it is stopped: `start` in production, `dev` with LiveKit's defaults for a desk.

    `console` talks to the microphone and the loudspeaker of this machine instead of a room.

    Raises:
        ConfigurationError: a setting is missing or not valid.
    """
    server = agent_server(AgentSettings.read())
    if command == "console":
        from livekit.agents import cli  # noqa: PLC0415 - deprecated there, and the one that has a console

        sys.argv = [sys.argv[0], command]
        cli.run_app(server)
    else:
        anyio.run(serve, server, command == "dev")


async def serve(server: AgentServer, devmode: bool) -> None:  # noqa: FBT001 - anyio passes arguments by position
    """Serve until SIGINT or SIGTERM; calls that are under way are ended in peace."""
    async with anyio.create_task_group() as group:
        group.start_soon(_stop_on_signal, server)
        await server.run(devmode=devmode)
        group.cancel_scope.cancel()


async def _stop_on_signal(server: AgentServer) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        async for _ in received:
            await server.drain()
            await server.aclose()


def main() -> None:
    """Run `python -m voxplane.agent start|dev|console`."""
    logging.basicConfig(level=logging.INFO)
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:  # noqa: PLR2004 - the program and its command
        sys.exit(f"usage: python -m voxplane.agent {'|'.join(COMMANDS)}")
    try:
        run(sys.argv[1])
    except VoxplaneError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()

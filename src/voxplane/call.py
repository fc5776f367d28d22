"""One call on LiveKit: its session, on its organization's providers, and what it ran on."""

# LiveKit's sessions and event emitters leave type parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import anyio
from livekit.agents import Agent, AgentSession

from voxplane.errors import VoxplaneError
from voxplane.livekit import build_llm, build_stt, build_tts
from voxplane.livekit.http import http_session
from voxplane.schemas import ProviderType

if TYPE_CHECKING:
    from types import TracebackType

    from livekit import rtc
    from livekit.agents.vad import VAD

    from voxplane.client import Client
    from voxplane.registry import ProviderRegistry
    from voxplane.resolution import ResolvedProviderConfig

log = logging.getLogger("voxplane.agent")


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
        await call.ended.wait()
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
        """
        self._client = client
        self._vad = vad
        self._instructions = instructions
        self._registry = registry
        self._session_options = session_options or {}
        self._in_use = self._chains()
        self._quiet = anyio.Event()
        self.ended = anyio.Event()
        """Set when the session has closed, for whatever reason: the caller hung up, say."""
        self.record = CallRecord()
        self.record.note(client)

    async def __aenter__(self) -> Self:
        """Make the session and its engines, and follow the organization's changes.

        Raises:
            NoPrimaryProvider: no provider of a type can answer.
            VoxplaneError: none of a type can be made into an object.
        """
        async with AsyncExitStack() as stack:
            self._http_session = await stack.enter_async_context(http_session())
            self._engines: dict[str, Any] = {}
            stack.push_async_callback(self._close_engines)
            for each in ProviderType:
                self._engines[each.value] = self._build(each)
            self.agent = Agent(instructions=self._instructions, **self._engines)
            options: dict[str, Any] = {"turn_handling": {"turn_detection": "vad"}, **self._session_options}
            self.session: AgentSession[Any] = AgentSession(vad=self._vad, **options)
            stack.push_async_callback(self._close_session)
            self.session.on("close", self._on_close)
            self.session.on("agent_state_changed", self._on_state)
            self.session.on("user_state_changed", self._on_state)
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

    async def _close_session(self) -> None:
        with anyio.CancelScope(shield=True):
            await self.session.aclose()

    async def _close_engines(self) -> None:
        with anyio.CancelScope(shield=True):
            await _close(self._engines.values())

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

    def _on_close(self, _event: object) -> None:
        self.ended.set()

    def _on_state(self, _event: object) -> None:
        if self._is_quiet:
            self._quiet.set()

    async def _follow(self) -> None:
        async for at in self._client.changes(since=self.record.revisions[0][0]):
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
        replaced = [self._engines[name] for name in built]
        self.agent.update_options(**built)
        self._engines |= built
        self.record.note(self._client)
        log.info("the call uses revision %s: %s", self._client.at, ", ".join(built) or "nothing changed for it")
        await _close(replaced)


def _differ(one: Sequence[ResolvedProviderConfig], other: Sequence[ResolvedProviderConfig]) -> bool:
    def seen(chain: Sequence[ResolvedProviderConfig]) -> list[tuple[object, ...]]:
        return [(each.provider.key, each.config, each.origins, each.secret_version) for each in chain]

    return seen(one) != seen(other)


async def _close(engines: Iterable[Any]) -> None:
    for engine in engines:
        await engine.aclose()

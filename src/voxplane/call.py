"""One call on LiveKit: its session, on its organization's providers, and what it ran on."""

# LiveKit's sessions and event emitters leave type parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from weakref import WeakSet

import anyio
from livekit.agents import NOT_GIVEN, Agent, AgentSession
from livekit.agents.llm import AgentHandoff, ChatMessage
from livekit.agents.utils import is_given
from typing_extensions import override

from voxplane.background import background
from voxplane.errors import NoPrimaryProvider, VoxplaneError
from voxplane.http import http_session
from voxplane.livekit import Links, build_llm, build_stt, build_tts
from voxplane.resolution import identity, stored_keys, why_nobody
from voxplane.schemas import ProviderType

if TYPE_CHECKING:
    from types import TracebackType

    from livekit import rtc
    from livekit.agents import AgentStateChangedEvent, ConversationItemAddedEvent, UserStateChangedEvent
    from livekit.agents.vad import VAD

    from voxplane.client import Client
    from voxplane.registry import ProviderRegistry
    from voxplane.resolution import ResolvedProviderConfig

Chains: TypeAlias = "dict[ProviderType, tuple[ResolvedProviderConfig, ...]]"

_UNANSWERED_SECONDS = 15.0
"""After so long without an answer what the caller said is taken for dropped: it was noise, or too short."""
_LOOK_AGAIN_SECONDS = 0.05
_LAST_SECONDS = 5.0
"""How long the session of a call that has to end waits for its tools, before they are cancelled."""

log = logging.getLogger("voxplane.agent")


@dataclass
class CallRecord:
    """What a call ran on."""

    organization: str
    revisions: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list[tuple[str, dict[str, list[str]]]])
    """The providers by type for each revision that was in use, first to be asked first."""
    answered: dict[str, dict[str, int]] = field(default_factory=lambda: {each.value: {} for each in ProviderType})
    """How many turns each provider had a part in, by type: what the caller heard, whoever was to be asked first."""

    def use(self, at: str, chains: Chains) -> None:
        """Put down what is in use from now on."""
        used = {each.value: [link.provider.key for link in chain] for each, chain in chains.items()}
        if (at, used) not in self.revisions[-1:]:
            self.revisions.append((at, used))

    def hear(self, message: ChatMessage) -> None:
        """Put down who heard, or thought of and spoke, what was said."""
        is_spoken = "tts_node_ttfb" in message.metrics  # a voice is named also where a session has no sound
        for each, counted in self.answered.items():
            served: Mapping[str, str] = message.metrics.get(f"{each}_metadata", {})
            if (provider := served.get("model_provider")) and (is_spoken or each != ProviderType.TTS):
                counted[provider] = counted.get(provider, 0) + 1


class _Session(AgentSession[Any]):
    """LiveKit's session on a call's engines, which may change: an agent that has none of its own goes by them."""

    def __init__(self, engines: Mapping[ProviderType, Any], **options: Any) -> None:
        self._engines = engines
        super().__init__(**options)

    @property
    @override
    def stt(self) -> Any:
        return self._engines[ProviderType.STT]

    @property
    @override
    def llm(self) -> Any:
        return self._engines[ProviderType.LLM]

    @property
    @override
    def tts(self) -> Any:
        return self._engines[ProviderType.TTS]


class Call:
    """One call on its organization's providers. A change made meanwhile is applied between two turns.

    The agent may hand over to others: those that bring no engines of their own have the call's, in their latest state.
    A call whose worker is turned away, because its token was revoked say, ends at once: its engines hold keys.

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

        `registry` knows the providers, and `session_options` go to LiveKit's `AgentSession`: its `turn_handling` over
        ours, by which turns and interruptions are found with the VAD.
        """
        self._client = client
        self._vad = vad
        self._instructions = instructions
        self._registry = registry
        self._session_options = session_options or {}
        self._in_use = self._chains()
        self._answer_due_until = -math.inf
        self.ended = anyio.Event()
        """Set when the session has closed, for whatever reason: the caller hung up, say."""
        self.record = CallRecord(client.organization.slug)
        self.record.use(client.at, self._in_use)
        self._engines: dict[ProviderType, Any] = {}
        """What answers from now on."""
        self._open: list[Any] = []
        self._made = WeakSet[Any]()
        self._links: Links = {}
        self._context = self._running()

    async def __aenter__(self) -> Self:
        """Make the session and its engines, and follow the organization's changes.

        Raises:
            NoPrimaryProvider: no provider of a type can answer.
            VoxplaneError: none of a type can be made into an object.
        """
        await self._context.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the session and close its engines. What the block raised goes on as it was raised."""
        await self._context.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        async with http_session() as self._http_session:
            try:
                self._engines.update({each: self._build(each, chain) for each, chain in self._in_use.items()})
                self.agent = Agent(instructions=self._instructions)
                """Whoever speaks with the caller: after a handover another one."""
                options = _on_this_machine(self._session_options)
                self.session: AgentSession[Any] = _Session(self._engines, vad=self._vad, **options)
                self.session.on("close", self._on_close)
                self.session.on("conversation_item_added", self._on_item)
                self.session.on("agent_state_changed", self._on_agent_state)
                self.session.on("user_state_changed", self._on_user_state)
                try:
                    async with background(self._follow):
                        yield
                finally:
                    await self._close_session()
            finally:
                await self._close_engines()

    async def _close_session(self) -> None:
        with anyio.CancelScope(shield=True):
            await self.session.aclose()

    async def _close_engines(self, but: Sequence[Any] = ()) -> None:
        """Close what was made for this call, but what is to stay."""
        closing = [each for each in self._open if each not in but]
        self._open = [each for each in self._open if each in but]
        with anyio.CancelScope(shield=True):
            for engine in closing:
                try:
                    await engine.aclose()
                except Exception as error:  # noqa: BLE001 - a plugin's own, and the call needs it no more
                    log.error("an engine could not be closed: %s", type(error).__name__)  # noqa: TRY400 - its text may hold a key

    async def start(self, room: rtc.Room | None = None) -> None:
        """Begin, in a room or on the audio that was given to the session before."""
        if room is None:
            await self.session.start(self.agent, record=False)
        else:
            await self.session.start(self.agent, room=room, record=False)

    def _chains(self) -> Chains:
        return {each: self._client.chain(each) for each in ProviderType}

    def _build(self, provider_type: ProviderType, chain: Sequence[ResolvedProviderConfig]) -> Any:
        shared: dict[str, Any] = {
            "report": self._client.report,
            "http_session": self._http_session,
            "registry": self._registry,
            "links": self._links,
        }
        if not chain:
            raise NoPrimaryProvider(why_nobody(provider_type, self._client.skipped))
        if provider_type is ProviderType.STT:
            built = build_stt(chain, vad=self._vad, **shared)
        else:
            built = (build_llm if provider_type is ProviderType.LLM else build_tts)(chain, **shared)
        self._open.append(built)
        self._made.add(built)
        return built

    @property
    def _is_quiet(self) -> bool:
        """Whether nobody speaks, is about to, or waits for an answer: the moment between two turns."""
        return (
            self.session.agent_state not in {"thinking", "speaking"}
            and self.session.current_speech is None
            and time.monotonic() >= self._answer_due_until
        )

    @property
    def _is_revoked(self) -> bool:
        return self._client.freshness.state == "revoked"

    def _on_close(self, _event: object) -> None:
        self.ended.set()

    def _on_item(self, event: ConversationItemAddedEvent) -> None:
        if isinstance(event.item, ChatMessage):
            self.record.hear(event.item)
        elif isinstance(event.item, AgentHandoff):
            self.agent = self.session.current_agent
            for each in ProviderType:
                self._go_by_session(each)

    def _go_by_session(self, provider_type: ProviderType) -> bool:
        """Have the agent use the session's engine in place of one of ours that it was given; False for its own."""
        given = getattr(self.agent, provider_type.value)
        if given in self._made:
            # LiveKit has no call for it, and with an engine of its own the agent would be left out of later changes.
            given = NOT_GIVEN
            setattr(self.agent, f"_{provider_type.value}", given)
        return not is_given(given)

    def _on_user_state(self, event: UserStateChangedEvent) -> None:
        # When the caller falls silent, what was said is still to be transcribed.
        if event.new_state == "speaking":
            self._answer_due_until = math.inf
        elif event.old_state == "speaking":
            self._answer_due_until = time.monotonic() + _UNANSWERED_SECONDS

    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        if event.new_state in {"thinking", "speaking"} and self.session.user_state != "speaking":
            self._answer_due_until = -math.inf

    async def _follow(self) -> None:
        async for _ in self._client.changes(since=self.record.revisions[0][0]):
            while not (self._is_revoked or self._is_quiet):  # noqa: ASYNC110 - LiveKit has no one event for it
                await anyio.sleep(_LOOK_AGAIN_SECONDS)
            if self._is_revoked:
                log.error("the control plane turned this worker away: the call ends")
                await self._end()
                return
            if not await self._change_over():
                log.error("a key of this call was taken back, and nothing stands in for it: the call ends")
                await self._end()
                return

    async def _end(self) -> None:
        """End the call, the use of its keys at once: a tool that goes on holds up the end of its session."""
        for link in self._links.values():
            link.drop()
        try:
            self.agent.update_options(stt=None)  # a stream that is open would go on to hear
        except Exception as error:  # noqa: BLE001 - the agent may be anybody's, and the call ends all the same
            log.error("the agent keeps its ear until the session has ended: %s", type(error).__name__)  # noqa: TRY400 - as above
        # A session whose closing is cancelled stays half open for good.
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                group.start_soon(self._close_engines)
                group.start_soon(self._give_up_tools)
                await self.session.aclose()
                group.cancel_scope.cancel()
        self.ended.set()

    async def _give_up_tools(self) -> None:
        await anyio.sleep(_LAST_SECONDS)
        if (activity := self.session._activity) is not None:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - there is no public way
            await activity._tool_executor.aclose()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as above

    async def _change_over(self) -> bool:
        """Use what the client has now, and close what that replaces; False when it may not go on with what stays."""
        at, chains = self._client.at, self._chains()
        changed = [each for each in ProviderType if _differ(self._in_use[each], chains[each])]
        used = [each.value for each in changed if self._use(each, chains[each])]
        if used or not changed:
            self.record.use(at, self._in_use)
            log.info("the call uses revision %s: %s", at, ", ".join(used) or "nothing changed for it")
        await self._close_engines(but=list(self._engines.values()))
        return all(stored_keys(self._in_use[each]) <= stored_keys(chains[each]) for each in ProviderType)

    def _use(self, provider_type: ProviderType, chain: tuple[ResolvedProviderConfig, ...]) -> bool:
        """Build one type anew and hand it to whoever speaks; False when the call goes on with what it has."""
        try:
            built = self._build(provider_type, chain)
            if self._go_by_session(provider_type):
                self.agent.update_options(**{provider_type.value: built})
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; whoever changed it is told by the console
            code = error.code if isinstance(error, VoxplaneError) else type(error).__name__
            log.error("%s cannot be changed in this call: %s", provider_type.value, code)  # noqa: TRY400 - the code is the whole story
            return False
        self._engines[provider_type] = built
        self._go_by_session(provider_type)
        self._in_use[provider_type] = chain
        return True


def _on_this_machine(options: dict[str, Any]) -> dict[str, Any]:
    """Return session options by which turns and interruptions are found with the VAD, unless they say otherwise.

    Where LiveKit's cloud or its development mode runs the worker, its own default sends what the caller says to
    LiveKit's gateway, on whatever key the environment holds.
    """
    turns = options.get("turn_handling", {})
    interruption = {"mode": "vad", **turns.get("interruption", {})}
    return {**options, "turn_handling": {"turn_detection": "vad", **turns, "interruption": interruption}}


def _differ(one: Sequence[ResolvedProviderConfig], other: Sequence[ResolvedProviderConfig]) -> bool:
    return [identity(each) for each in one] != [identity(each) for each in other]

"""Language models: one provider as a link, and a chain of them.

When a model breaks off in mid-answer, LiveKit asks no other: what was said stays said, and the turn ends in an error.
"""

# LiveKit's event emitters and adapters leave type parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectionError, APIConnectOptions, NotGivenOr
from livekit.agents.llm import LLM, ChatChunk, ChatContext, FallbackAdapter, LLMStream, Tool, ToolChoice
from livekit.agents.llm.fallback_adapter import DEFAULT_FALLBACK_API_CONNECT_OPTIONS, FallbackLLMStream
from livekit.agents.utils import aio
from typing_extensions import override

from voxplane.livekit.link import ChainFailed, Link, Linked
from voxplane.plugin import close_each

ATTEMPT_SECONDS = 5.0
"""How long a model of a chain may be silent before the next one is asked."""


class LinkLLM(Linked, LLM[Any]):
    """A plugin's model under our policy; it goes by our provider key, and what happens to it is reported."""

    plugin: LLM[Any]

    def __init__(self, plugin: LLM[Any], link: Link, model: str, parts: Sequence[object] = ()) -> None:
        super().__init__()
        self._stand_for(plugin, link, model, parts)

    @override
    def chat(
        self,
        *,
        chat_ctx: ChatContext,
        tools: list[Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> LLMStream:
        options = {"parallel_tool_calls": parallel_tool_calls, "tool_choice": tool_choice, "extra_kwargs": extra_kwargs}
        stream = _LinkStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)
        stream.options = options
        return stream

    @override
    def prewarm(self, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.plugin.prewarm(loop=loop)

    @override
    async def aclose(self) -> None:
        await close_each([self._let_go, super().aclose])


class _LinkStream(LLMStream):
    # As in LiveKit's own adapters: the plugin's stream has the spans and the metrics of the request.
    _llm_request_span_name: ClassVar[str] = "llm_link"
    _llm_attempt_span_name: ClassVar[str | None] = None
    _genai_operation_name: ClassVar[str | None] = None

    _llm: LinkLLM
    options: dict[str, Any]

    @override
    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        patience = self._conn_options.timeout
        with self._llm.link.attempt() as answered:
            async with (
                asyncio.timeout(patience) as deadline,
                self._llm.plugin.chat(
                    chat_ctx=self._chat_ctx,
                    tools=self._tools,
                    conn_options=replace(self._conn_options, max_retry=0),
                    **self.options,
                ) as stream,
            ):
                async for chunk in stream:
                    deadline.reschedule(loop.time() + patience)
                    if chunk.has_response():
                        answered()
                    self._event_ch.send_nowait(chunk)
            answered()

    @override
    async def _metrics_monitor_task(self, event_aiter: AsyncIterable[ChatChunk]) -> None:
        async for _ in event_aiter:
            pass


class ChainLLM(FallbackAdapter):
    """Models in the order in which they are asked: LiveKit's adapter, which probes no model that may not be asked."""

    def __init__(self, links: Sequence[LinkLLM]) -> None:
        super().__init__(list(links), attempt_timeout=ATTEMPT_SECONDS, max_retry_per_llm=0)
        self.links = links

    @override
    def chat(
        self,
        *,
        chat_ctx: ChatContext,
        tools: list[Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_FALLBACK_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> LLMStream:
        return _ChainStream(
            llm=self,
            conn_options=conn_options,
            chat_ctx=chat_ctx,
            tools=tools or [],
            parallel_tool_calls=parallel_tool_calls,
            tool_choice=tool_choice,
            extra_kwargs=extra_kwargs,
        )

    @override
    async def aclose(self) -> None:
        for status in self._status:
            if status.recovering_task is not None:
                await aio.cancel_and_wait(status.recovering_task)
        await close_each([super().aclose, *(link.aclose for link in self.links)])


class _ChainStream(FallbackLLMStream):
    _llm: ChainLLM

    @override
    async def _run(self) -> None:
        try:
            await super()._run()
        except APIConnectionError:
            raise ChainFailed([model.link for model in self._llm.links]) from None

    @override
    def _try_recovery(self, llm: LLM[Any]) -> None:
        if isinstance(llm, LinkLLM) and llm.link.may_be_probed:
            super()._try_recovery(llm)

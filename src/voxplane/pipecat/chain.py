"""Services in the order in which they are asked, and what they were given, so that another can take it over.

What was begun is not begun again by another: what was said stays said. Only what nobody has answered is handed on.
"""

# Pipecat leaves type parameters of events and tasks open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from pipecat.frames.frames import (
    CancelFrame,
    ErrorFrame,
    Frame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    StartFrame,
    TranscriptionFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.llm_switcher import LLMSwitcher
from pipecat.pipeline.pipeline import Pipeline, PipelineSink, PipelineSource
from pipecat.pipeline.service_switcher import ServiceSwitcher, ServiceSwitcherStrategy, ServiceSwitcherStrategyManual
from pipecat.processors.filters.function_filter import FunctionFilter
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.stt_service import SegmentedSTTService
from typing_extensions import override

from voxplane.errors import VoxplaneError
from voxplane.plugin import close_each
from voxplane.resolution import ResolvedProviderConfig, stored_keys

if TYPE_CHECKING:
    from pipecat.processors.frame_processor import FrameProcessorSetup
    from pipecat.services.llm_service import LLMService

    from voxplane.pipecat.link import Link
    from voxplane.pipecat.work import Given, Listening, Work

Build = Callable[[Sequence[ResolvedProviderConfig], "Sequence[Link]"], "list[Link]"]
"""What makes the links of a chain, with those that are known already."""

_log = logging.getLogger("voxplane.pipecat")

ATTEMPT_SECONDS = 5.0
"""How long a model may be silent before the next one is asked."""
MUTE_SECONDS = 5.0
"""How long an engine may write nothing once the caller stopped, before it is taken for mute."""
UTTERANCE_SECONDS = 10.0
"""How long one that takes whole utterances may write on one."""
UNANSWERED_SECONDS = 1.0
"""How much speech has to go unanswered for that; less may have been a cough."""


class _Failover(ServiceSwitcherStrategyManual):
    def __init__(self, services: list[FrameProcessor]) -> None:
        super().__init__(services)
        self.silenced: set[FrameProcessor] = set()
        """Those whose work another took over: what they still say is not passed on."""
        self.chain: Chain | None = None

    @override
    async def handle_error(self, error: ErrorFrame) -> FrameProcessor | None:
        return await self.chain.fail_over() if self.chain else None

    @override
    async def _set_active_if_available(self, service: FrameProcessor) -> FrameProcessor | None:
        self.silenced.discard(service)
        return await super()._set_active_if_available(service)

    async def use(self, service: FrameProcessor) -> bool:
        """Turn to another service; return whether it can be."""
        return await self._set_active_if_available(service) is not None


class Chain(ServiceSwitcher[_Failover]):
    """Services in the order in which they are asked."""

    def __init__(self, links: Sequence[Link], work: Work, build: Build) -> None:
        super().__init__([link.service for link in links], _Failover)
        self.links = links
        self._work = work
        self._build = build
        self._refuses = False
        branches = cast("list[FrameProcessor]", self.processors)
        self._branches = dict(zip(links, branches, strict=True))
        """All that are in the pipeline: also those that another chain had, and that may still be speaking."""
        self._set_up_with: FrameProcessorSetup | None = None
        self._started_with: StartFrame | None = None
        self._has_started = asyncio.Event()
        self.strategy.chain = self

    @staticmethod
    @override
    def _make_pipeline_definitions(services: list[FrameProcessor], strategy: ServiceSwitcherStrategy) -> list[Any]:
        branches = ServiceSwitcher._make_pipeline_definitions(services, strategy)  # noqa: SLF001 - the base's
        return [[*branch, _mouth(service, strategy)] for branch, service in zip(branches, services, strict=True)]

    async def follow(self, chain: Sequence[ResolvedProviderConfig]) -> bool:
        """Ask the providers of another chain from the next turn on; return whether the call may go on.

        Those that are in both stay as they are. When none of it can be made into a service all stays as it was, and the
        call may go on as long as the keys that it is on are still the organization's.
        """
        try:
            links = self._build(chain, [*self._branches])
        except VoxplaneError as error:
            _log.error("a chain cannot be changed in this call: %s", error.code)
            used = [link.identity for link in self.links if link.identity is not None]
            in_use = {(each.provider, each.secret_version) for each in used if each.secret_version is not None}
            return in_use <= stored_keys(chain)
        for link in links:
            if link not in self._branches:
                if self._set_up_with is not None:
                    # Those that are being set up hold the frame that starts them, and this one would get none.
                    await self._has_started.wait()
                await self._add(link)
        self.links = links
        return True

    async def _add(self, link: Link) -> None:
        """Put a service beside the others, as it is done for those that were there from the beginning."""
        (steps,) = self._make_pipeline_definitions([link.service], self.strategy)
        source = PipelineSource(self._parallel_push_frame, name=f"{self}::Source of {link.service}")
        sink = PipelineSink(self._pipeline_sink_push_frame, name=f"{self}::Sink of {link.service}")
        branch = Pipeline(steps, source=source, sink=sink)
        if self._set_up_with is not None:
            await branch.setup(self._set_up_with)
        self.services.append(link.service)
        if self._started_with is not None:  # it is known to have gone through, and comes out no second time
            await branch.queue_frame(self._started_with, FrameDirection.DOWNSTREAM)
        self._pipelines.append(branch)
        self._branches[link] = branch

    def _let_go(self) -> None:
        """Close what is in the chain no more and was not asked in the turn before."""
        for link in [each for each in self._branches if each not in self.links and not self._is_busy(each)]:
            branch = self._branches.pop(link)
            self._pipelines.remove(branch)
            self.create_task(self._close(link, branch))

    def _is_busy(self, link: Link) -> bool:
        # A tool that it called may go on for longer than a turn.
        return link.service is self._active or bool(getattr(link.service, "_function_call_tasks", None))

    async def _close(self, link: Link, branch: FrameProcessor) -> None:
        cancel = getattr(link.service, "cancel", None)
        try:
            await close_each([*([partial(cancel, CancelFrame())] if cancel else []), branch.cleanup, link.close])
        except Exception as error:  # noqa: BLE001 - a service may raise anything, and its text may hold a key
            _log.warning("%s could not be closed: %s", link.provider, type(error).__name__)
        finally:
            self.services.remove(link.service)  # until here its errors are nobody's concern
            self.strategy.silenced.discard(link.service)

    @override
    async def setup(self, setup: FrameProcessorSetup) -> None:
        self._set_up_with = setup
        await super().setup(setup)

    @override
    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, InterruptionFrame):
            self._work.interrupt()
        begins = self._work.take(frame, direction)
        if begins:
            self._let_go()
            self._work.asked.clear()
        if begins or (self._work.ends_with(frame) and not (self._work.is_answered or self._active.is_usable)):
            await self._choose([*self._work.given][:-1])
            self._refuses = not (self._active.is_usable and any(each.service is self._active for each in self.links))
            if self._refuses:
                self._work.clear()
            if self._refuses and begins:
                failures = ", ".join(f"{link.provider} ({link.failure})" for link in self.links if link.failure)
                await self.push_error(f"No provider can answer: {failures}.")
        if not (self._refuses and isinstance(frame, self._work.kinds)):
            await super().process_frame(frame, direction)
        elif not isinstance(frame, self._work.ends_here):
            await self.push_frame(frame, direction)

    @override
    async def push_frame(self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        self._work.came(frame)
        if isinstance(frame, StartFrame):
            self._started_with = frame
            self._has_started.set()
        await super().push_frame(frame, direction)

    @override
    async def cleanup(self) -> None:
        await close_each([super().cleanup, *(link.close for link in self._branches)])

    async def fail_over(self) -> FrameProcessor | None:
        """Give what the active service did not answer to the next; return that, or None where there is none."""
        failed = self._active
        if failed.is_usable or self._work.is_answered:
            return None
        self._work.asked |= {link for link in self.links if link.service is failed}
        await self._choose(self._work.given)
        if self._active is failed:
            self._work.clear()
            return None
        return self._active

    @property
    def _active(self) -> FrameProcessor:
        return self.strategy.active_service

    async def _choose(self, missed: Iterable[Given]) -> None:
        """Turn to the first that may be asked, with what it has missed; if it is another, that takes the work over."""
        left = [link for link in self.links if link not in self._work.asked]
        open_ones, others = [link for link in left if link.is_open], [link for link in left if link.may_be_asked]
        if not others:
            return
        found, before = (open_ones or others)[0], self._active
        await found.reopen()
        if found.service is before or not await self.strategy.use(found.service):
            return
        given = list(missed)
        if given:
            self.strategy.silenced.add(before)
            # It may have more in its queue, and would ask for that too.
            await before.queue_frame(InterruptionFrame())
        for frame, direction in given:
            await found.service.queue_frame(frame, direction)


class STTChain(Chain):
    """Engines in the order in which they are asked. One that is connected and mute is found by what a VAD says."""

    _work: Listening
    _deadline: asyncio.TimerHandle | None = None

    @override
    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            self._expect_words()

    @override
    async def push_frame(self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        if isinstance(frame, TranscriptionFrame | InterimTranscriptionFrame):
            self._expect_nothing()
        await super().push_frame(frame, direction)

    @override
    async def fail_over(self) -> FrameProcessor | None:
        self._expect_nothing()
        found = await super().fail_over()
        self._expect_words()
        return found

    @override
    async def cleanup(self) -> None:
        self._expect_nothing()
        await super().cleanup()

    def _expect_words(self) -> None:
        if self._deadline is None and self._work.unanswered_seconds >= UNANSWERED_SECONDS:
            seconds = UTTERANCE_SECONDS if isinstance(self._active, SegmentedSTTService) else MUTE_SECONDS
            self._deadline = self.get_event_loop().call_later(seconds, self._lose_patience, self._active)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _lose_patience(self, service: FrameProcessor) -> None:
        self._deadline = None
        if service is self._active:
            self.create_task(service.push_error("It wrote nothing of what was said in time.", exception=TimeoutError()))


class LLMChain(Chain, LLMSwitcher[_Failover]):
    """Models in the order in which they are asked. Downstream an answer begins once, whoever gives it."""

    _is_answering = False

    @override
    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMContextFrame):
            self._expect_answer()

    @override
    async def push_frame(self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        if isinstance(frame, LLMFullResponseStartFrame):
            if self._is_answering:
                return
            self._is_answering = True
        elif isinstance(frame, LLMFullResponseEndFrame | InterruptionFrame):
            self._is_answering = False
        await super().push_frame(frame, direction)

    @override
    async def _add(self, link: Link) -> None:
        registered, new = (cast("LLMService[Any]", each) for each in (self.services[0], link.service))
        new._functions.update(registered._functions)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - there is no public way
        await super()._add(link)

    @override
    async def fail_over(self) -> FrameProcessor | None:
        found = await super().fail_over()
        if found:
            self._expect_answer()
        return found

    def _expect_answer(self) -> None:
        if self._work.given:
            self.get_event_loop().call_later(ATTEMPT_SECONDS, self._lose_patience, self._active, self._work.given[0])

    def _lose_patience(self, service: FrameProcessor, given: Given) -> None:
        self.create_task(self._give_up(service, given))

    async def _give_up(self, service: FrameProcessor, given: Given) -> None:
        """Ask the next model if this one is still silent. With nobody else to ask, the caller may as well wait."""
        others = [link for link in self.links if link.service is not service and link not in self._work.asked]
        is_waiting = service is self._active and given in self._work.given and not self._work.is_answered
        if is_waiting and any(link.may_be_asked for link in others):
            await service.push_error("It is silent for too long.", exception=TimeoutError())


def _mouth(service: FrameProcessor, strategy: ServiceSwitcherStrategy) -> FunctionFilter:
    async def may_speak(_frame: Frame) -> bool:
        return not (isinstance(strategy, _Failover) and service in strategy.silenced)

    return FunctionFilter(may_speak, FrameDirection.DOWNSTREAM, filter_system_frames=True, enable_direct_mode=True)

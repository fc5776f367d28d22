"""Chains of resolved providers as Pipecat processors, which answer for as long as one of their providers does.

    stt = build_stt(client.chain("stt"), report=client.report)

A chain is Pipecat's ServiceSwitcher, also if it has one service only: `link` holds the policy for a provider, and
`chain` gives what one did not answer to the next, so that the turn goes on. `follow` has a call use what the
organization changes. They need `voxplane[pipecat]`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

try:
    import_module("pipecat")
except ModuleNotFoundError as error:
    message = "voxplane.pipecat stands on Pipecat: pip install 'voxplane[pipecat]'."
    raise ModuleNotFoundError(message, name=error.name) from None

from pipecat.frames.frames import InterimTranscriptionFrame, TranscriptionFrame, TTSAudioRawFrame

from voxplane.failure import Clock, Report, leave_out, stamped, why_none
from voxplane.pipecat.chain import Chain, LLMChain, STTChain
from voxplane.pipecat.link import Frames, Link
from voxplane.pipecat.work import ANSWER, Answering, Listening, Speaking
from voxplane.registry import ProviderRegistry, installed
from voxplane.resolution import identity

if TYPE_CHECKING:
    from voxplane.client import Client
    from voxplane.errors import VoxplaneError
    from voxplane.resolution import ResolvedProviderConfig

__all__ = ["Chain", "LLMChain", "Link", "Report", "STTChain", "build_llm", "build_stt", "build_tts", "follow"]

_log = logging.getLogger("voxplane.pipecat")


def build_stt(
    chain: Sequence[ResolvedProviderConfig],
    *,
    report: Report,
    clock: Clock = time.monotonic,
    registry: ProviderRegistry | None = None,
) -> STTChain:
    """Build what hears: the first of `chain` that can, and the others behind it.

    `report` is told what happens to each provider; it must not block. `registry` knows the providers; without one,
    those that are installed. Engines that take whole utterances need a VAD before them in the pipeline, and one that is
    connected and mute is noticed by what a VAD says.

    Raises:
        VoxplaneError: no provider of the chain can be made into a service; this says why the first cannot.
    """
    build = partial(_build, (TranscriptionFrame, InterimTranscriptionFrame), report, clock, registry)
    return STTChain(build(chain, ()), Listening(), build)


def build_llm(
    chain: Sequence[ResolvedProviderConfig],
    *,
    report: Report,
    clock: Clock = time.monotonic,
    registry: ProviderRegistry | None = None,
) -> LLMChain:
    """Build what answers, as `build_stt` does; functions are registered on the whole chain.

    Raises:
        VoxplaneError: no provider of the chain can be made into a service; this says why the first cannot.
    """
    build = partial(_build, ANSWER, report, clock, registry)
    return LLMChain(build(chain, ()), Answering(), build)


def build_tts(
    chain: Sequence[ResolvedProviderConfig],
    *,
    report: Report,
    clock: Clock = time.monotonic,
    registry: ProviderRegistry | None = None,
) -> Chain:
    """Build what speaks, as `build_stt` does.

    Raises:
        VoxplaneError: no provider of the chain can be made into a service; this says why the first cannot.
    """
    build = partial(_build, (TTSAudioRawFrame,), report, clock, registry)
    return Chain(build(chain, ()), Speaking(), build)


async def follow(client: Client, **chains: Chain) -> None:
    """Have the chains of a call, by type, follow the organization; return when the call has to end.

        await follow(client, stt=stt, llm=llm, tts=tts)
        await runner.cancel()

    That is when the worker was turned away or the client was left, or when a key that the call is on was taken back and
    nothing stands in for it.
    """
    at: str | None = None
    while True:
        if client.freshness.state == "revoked":
            _log.error("the control plane turned this worker away: the call ends")
            return
        at = client.at
        if not all([await chain.follow(client.chain(each)) for each, chain in chains.items()]):
            _log.error("a key of this call was taken back, and nothing stands in for it: the call ends")
            return
        async for _ in client.changes(since=at):
            break
        else:
            return


def _build(
    answers: Frames,
    report: Report,
    clock: Clock,
    registry: ProviderRegistry | None,
    chain: Sequence[ResolvedProviderConfig],
    known: Sequence[Link],
) -> list[Link]:
    """Return a link for each provider of a chain, one that is known as it is."""
    links: list[Link] = []
    left_out: list[VoxplaneError] = []
    by_identity = {link.identity: link for link in known}
    for resolved in chain:
        key, told = resolved.provider.key, stamped(report, resolved)
        if (link := by_identity.get(identity(resolved))) is not None:
            link.report = told
            links.append(link)
            continue
        try:
            definition = (registry or installed()).get_provider_by_key(key)
            secrets = {name: secret.get_secret_value() for name, secret in resolved.secrets.items()}
            service = definition.construct("pipecat", resolved.config, secrets, resolved.origins).make()
        except Exception as error:  # noqa: BLE001 - a service may refuse its arguments with anything
            left_out.append(leave_out(key, "pipecat", error, told))
        else:
            link = Link(service, key, answers, told, clock, is_failing=resolved.is_failing)
            link.identity = identity(resolved)
            links.append(link)
    if not links:
        raise why_none(left_out)
    return links

"""Chains of resolved providers as Pipecat processors, which answer for as long as one of their providers does.

    stt = build_stt(client.chain("stt"), report=client.report)

A chain is Pipecat's ServiceSwitcher, also if it has one service only: `link` holds the policy for a provider, and
`chain` gives what one did not answer to the next, so that the turn goes on. They need `voxplane[pipecat]`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

try:
    import_module("pipecat")
except ModuleNotFoundError as error:
    message = "voxplane.pipecat stands on Pipecat: pip install 'voxplane[pipecat]'."
    raise ModuleNotFoundError(message, name=error.name) from None

from pipecat.frames.frames import InterimTranscriptionFrame, TranscriptionFrame, TTSAudioRawFrame

from voxplane.failure import Clock, Report, leave_out, stamped, why_none
from voxplane.pipecat.chain import ANSWER, Answering, Chain, Listening, LLMChain, Speaking
from voxplane.pipecat.link import Frames, Link
from voxplane.registry import ProviderRegistry, installed

if TYPE_CHECKING:
    from voxplane.errors import VoxplaneError
    from voxplane.resolution import ResolvedProviderConfig

__all__ = ["Chain", "LLMChain", "Link", "Report", "build_llm", "build_stt", "build_tts"]


def build_stt(
    chain: Sequence[ResolvedProviderConfig],
    *,
    report: Report,
    clock: Clock = time.monotonic,
    registry: ProviderRegistry | None = None,
) -> Chain:
    """Build what hears: the first of `chain` that can, and the others behind it.

    `report` is told what happens to each provider; it must not block. `registry` knows the providers; without one,
    those that are installed. Engines that take whole utterances need a VAD before them in the pipeline.

    Raises:
        VoxplaneError: no provider of the chain can be made into a service; this says why the first cannot.
    """
    return Chain(_build(chain, (TranscriptionFrame, InterimTranscriptionFrame), report, clock, registry), Listening())


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
    return LLMChain(_build(chain, ANSWER, report, clock, registry), Answering())


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
    return Chain(_build(chain, (TTSAudioRawFrame,), report, clock, registry), Speaking())


def _build(
    chain: Sequence[ResolvedProviderConfig],
    answers: Frames,
    report: Report,
    clock: Clock,
    registry: ProviderRegistry | None,
) -> list[Link]:
    links: list[Link] = []
    left_out: list[VoxplaneError] = []
    for resolved in chain:
        key, told = resolved.provider.key, stamped(report, resolved)
        try:
            definition = (registry or installed()).get_provider_by_key(key)
            secrets = {name: secret.get_secret_value() for name, secret in resolved.secrets.items()}
            service = definition.construct("pipecat", resolved.config, secrets, resolved.origins).make()
        except Exception as error:  # noqa: BLE001 - a service may refuse its arguments with anything
            left_out.append(leave_out(key, "pipecat", error, told))
        else:
            links.append(Link(service, key, answers, told, clock, is_failing=resolved.is_failing))
    if not links:
        raise why_none(left_out)
    return links

"""Chains of resolved providers as LiveKit objects, which answer for as long as one of their providers does.

    stt = build_stt(chain, report=client.report, vad=vad)

A chain of one is the plugin's own object under our policy, a longer one LiveKit's FallbackAdapter of such objects.
`link` holds the policy. Whoever builds an object closes it with `aclose`, and closes an `http_session` after that.
"""

from __future__ import annotations

import inspect
import logging
import pkgutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

try:
    import_module("livekit.agents")
except ModuleNotFoundError as error:
    message = "voxplane.livekit stands on LiveKit: pip install 'voxplane[livekit]'."
    raise ModuleNotFoundError(message, name=error.name) from None

from voxplane.errors import ConfigurationError, VoxplaneError
from voxplane.failure import Clock, Report, leave_out, stamped, why_none
from voxplane.http import http_session as make_session
from voxplane.livekit.link import ChainFailed, Link, Links, ProviderFailed
from voxplane.livekit.llm import ChainLLM, LinkLLM
from voxplane.livekit.stt import ChainSTT, LinkSTT
from voxplane.livekit.tts import ChainTTS, LinkTTS
from voxplane.registry import ProviderRegistry, installed
from voxplane.resolution import identity

if TYPE_CHECKING:
    import aiohttp
    from livekit.agents.llm import LLM
    from livekit.agents.stt import STT
    from livekit.agents.tts import TTS
    from livekit.agents.vad import VAD

    from voxplane.plugin import Construct
    from voxplane.resolution import ResolvedProviderConfig

__all__ = ["ChainFailed", "Links", "ProviderFailed", "Report", "build_llm", "build_stt", "build_tts", "preload"]

_log = logging.getLogger("voxplane.livekit")
L = TypeVar("L")


def build_stt(  # noqa: PLR0913 - all but two have a default that is right for nearly everybody
    chain: Sequence[ResolvedProviderConfig],
    *,
    report: Report,
    vad: VAD | None = None,
    http_session: aiohttp.ClientSession | None = None,
    clock: Clock = time.monotonic,
    registry: ProviderRegistry | None = None,
    links: Links | None = None,
) -> STT[Any]:
    """Build what hears: the first of `chain` that can, and the others behind it.

    `report` is told what happens to each provider; it must not block. `vad` cuts out utterances for an engine of a
    longer chain that takes only whole ones, and tells when an engine that streams should have written something.
    `http_session` is what cloud plugins call with; without one each gets one of its own, as `voxplane.http` makes them.
    `registry` knows the providers; without one, those that are installed. Who builds anew in a call hands the same
    `links` to each: a provider that did not change then stays dropped, or left to cool.

    Raises:
        VoxplaneError: no provider of the chain can be made into an object; this says why the first cannot.
        ConfigurationError: an engine needs `vad`, and there is none.
    """
    made = _build(chain, LinkSTT, report=report, http_session=http_session, clock=clock, registry=registry, links=links)
    if len(made) == 1:
        made[0].vad = vad
        return made[0]
    if vad is None and (deaf := [link.provider for link in made if not link.capabilities.streaming]):
        raise ConfigurationError(f"Give build_stt a vad: {', '.join(deaf)} takes whole utterances only.")
    return ChainSTT(made, vad=vad)


def build_llm(
    chain: Sequence[ResolvedProviderConfig],
    *,
    report: Report,
    http_session: aiohttp.ClientSession | None = None,
    clock: Clock = time.monotonic,
    registry: ProviderRegistry | None = None,
    links: Links | None = None,
) -> LLM[Any]:
    """Build what answers, as `build_stt` does.

    Raises:
        VoxplaneError: no provider of the chain can be made into an object; this says why the first cannot.
    """
    made = _build(chain, LinkLLM, report=report, http_session=http_session, clock=clock, registry=registry, links=links)
    return made[0] if len(made) == 1 else ChainLLM(made)


def build_tts(
    chain: Sequence[ResolvedProviderConfig],
    *,
    report: Report,
    http_session: aiohttp.ClientSession | None = None,
    clock: Clock = time.monotonic,
    registry: ProviderRegistry | None = None,
    links: Links | None = None,
) -> TTS[Any]:
    """Build what speaks, as `build_stt` does.

    Raises:
        VoxplaneError: no provider of the chain can be made into an object; this says why the first cannot.
    """
    made = _build(chain, LinkTTS, report=report, http_session=http_session, clock=clock, registry=registry, links=links)
    return made[0] if len(made) == 1 else ChainTTS(made)


def preload(keys: Iterable[str] | None = None) -> None:
    """Import the plugins of these providers, or of all; a worker calls this once, on its main thread.

    LiveKit registers plugins on that thread only, and a first import in mid-call would hold up the call. A package
    that is not installed is passed over: its provider is left out of a chain with a reason.

    Raises:
        ProviderNotFound: there is no provider with one of these keys.
    """
    registry = installed()
    chosen = registry.get_all_providers() if keys is None else [registry.get_provider_by_key(key) for key in keys]
    plugins = [plugin for provider in chosen for plugin in provider.livekit]
    targets = {target for plugin in plugins for target in (plugin.target, *plugin.parts.values())}
    for module in sorted({target.partition(":")[0] for target in targets}):
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            _log.info("%s is not installed; providers that need it are left out", error.name)


def _build(  # noqa: PLR0913 - what is built, and what the three hand on
    chain: Sequence[ResolvedProviderConfig],
    link_class: Callable[[Any, Link, str, Sequence[object]], L],
    *,
    report: Report,
    http_session: aiohttp.ClientSession | None,
    clock: Clock,
    registry: ProviderRegistry | None,
    links: Links | None,
) -> list[L]:
    known: Links = {} if links is None else links
    made: list[L] = []
    left_out: list[VoxplaneError] = []
    for resolved in chain:
        told = stamped(report, resolved)
        link = known.get(identity(resolved))
        if link is None:
            link = Link(resolved.provider.key, report=told, clock=clock, is_failing=resolved.is_failing)
            known[identity(resolved)] = link
        link.report = told
        try:
            plugin, parts = _make(resolved, registry or installed(), http_session)
        except Exception as error:  # noqa: BLE001 - a plugin may refuse its arguments with anything
            left_out.append(leave_out(resolved.provider.key, "livekit", error, told))
        else:
            made.append(link_class(plugin, link, str(resolved.config.get("model") or plugin.model), parts))
    if not made:
        raise why_none(left_out)
    return made


def _make(
    resolved: ResolvedProviderConfig, registry: ProviderRegistry, http_session: aiohttp.ClientSession | None
) -> tuple[Any, list[object]]:
    definition = registry.get_provider_by_key(resolved.provider.key)
    secrets = {name: secret.get_secret_value() for name, secret in resolved.secrets.items()}
    plan = definition.construct("livekit", resolved.config, secrets, resolved.origins)
    if not _takes_session(plan.target):
        return _made(plan, [])
    if http_session is not None:
        return _made(replace(plan, arguments={**plan.arguments, "http_session": http_session}), [])
    # Left to itself a plugin takes that of LiveKit's job, which follows redirects and uses the environment's proxy.
    own = make_session()
    try:
        return _made(replace(plan, arguments={**plan.arguments, "http_session": own}), [own])
    except Exception:
        own.detach()  # it has opened no connection
        raise


def _made(plan: Construct, parts: list[object]) -> tuple[Any, list[object]]:
    return plan.make(parts), parts


def _takes_session(target: str) -> bool:
    try:
        return "http_session" in inspect.signature(pkgutil.resolve_name(target)).parameters
    except ImportError:
        return False  # making it says what is missing

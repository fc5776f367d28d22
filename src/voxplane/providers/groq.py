"""Groq: open language models in the cloud, at very high speed.

Facts: vendor docs and livekit-plugins-groq 1.8.9 / pipecat-ai 1.14.0, read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from voxplane.destination import over_http
from voxplane.listing import Listing
from voxplane.plugin import Construct, Plugin
from voxplane.probe import Probe, ProbeRequest, Sign
from voxplane.provider import (
    UI,
    Destinations,
    ProviderConfig,
    ProviderDefinition,
    ProviderSecrets,
    Secret,
    ServerUrl,
    known,
)
from voxplane.rules import Forbids, Limits, Rule, When
from voxplane.schemas import JsonObject, ProviderType
from voxplane.vendor_sdk import livekit_openai, openai_client

# fmt: off
MODELS = (
    *known("openai/gpt-oss-120b", max_output_tokens=65536, note="About 500 tokens a second; always reasons."),
    *known("openai/gpt-oss-20b", max_output_tokens=65536, note="About 1000 tokens a second; always reasons."),
    *known("qwen/qwen3.8-27b", "qwen/qwen3.6-27b", status="preview"),
    *known("groq/compound", "groq/compound-mini", note="Brings its own tools and takes none of yours."),
    *known("llama-3.1-8b-instant", status="retired", retires_on=date(2026, 8, 16),
           replacement="openai/gpt-oss-20b", note="Enterprise contracts keep it."),
    *known("llama-3.3-70b-versatile",
           status="retired", retires_on=date(2026, 8, 16), note="Enterprise contracts keep it."),
    *known("qwen/qwen3-32b", "meta-llama/llama-4-scout-17b-16e-instruct",
           status="retired", retires_on=date(2026, 7, 17)),
    *known("meta-llama/llama-4-maverick-17b-128e-instruct", status="retired", retires_on=date(2026, 3, 9)),
    *known("moonshotai/kimi-k2-instruct-0905", status="unverified"),
    *known("gemma2-9b-it", status="retired", note="Ended in 2025; the date is unverified."),
)
# fmt: on


class GroqConfig(ProviderConfig):
    """How Groq's models answer."""

    model: Annotated[
        str,
        Field(max_length=200, pattern="^[A-Za-z0-9][A-Za-z0-9._:/@-]*$"),
        UI(group="Model", widget="model-picker"),
    ] = "openai/gpt-oss-120b"
    """The hosted model."""

    temperature: Annotated[float, Field(ge=0, le=2), UI(group="Sampling")] = 0.7
    """How freely words are chosen."""
    top_p: Annotated[float | None, Field(title="Top P", ge=0, le=1), UI(group="Sampling", advanced=True)] = None
    """Choose among the likeliest words up to this probability; change this or temperature, not both."""
    seed: Annotated[int | None, Field(ge=0, le=2**53 - 1), UI(group="Sampling", advanced=True)] = None
    """The same seed gives the same answer, as far as the vendor can."""

    max_tokens: Annotated[
        int, Field(title="Maximum tokens", ge=1, le=131_072), UI(group="Output", unit="tokens", costly=True)
    ] = 1000
    """The longest reply; reasoning counts, so a low ceiling can leave a reasoning model without words."""

    reasoning_effort: Annotated[
        Literal["none", "default", "low", "medium", "high"] | None, UI(group="Reasoning", costly=True)
    ] = None
    """How long to think before answering; unset, it is not sent, and gpt-oss models think a while: low suits calls."""

    parallel_tool_calls: Annotated[bool | None, UI(group="Tools", advanced=True)] = None
    """Whether several tools may be called in one turn; for agents with tools, others are refused."""

    service_tier: Annotated[
        Literal["auto", "on_demand", "flex", "performance"] | None,
        UI(group="Privacy and price", advanced=True, costly=True),
    ] = None
    """The processing class, which changes speed and price."""

    base_url: Annotated[
        ServerUrl, Field(title="Base URL"), UI(group="Connection", advanced=True, binds_secret=True)
    ] = "https://api.groq.com/openai/v1"
    """The server to use, with /openai/v1: a proxy of yours, if not the usual."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Limits(
            When("model", matches="^openai/gpt-oss-"),
            "reasoningEffort",
            "This model always reasons: set low, medium or high.",
            one_of=("low", "medium", "high"),
        ),
        Limits(
            When("model", matches=r"^qwen/qwen3(-|\.[0-7]-)"),
            "reasoningEffort",
            "This model either reasons or does not: set default or none.",
            one_of=("none", "default"),
        ),
        Forbids(
            When("model", matches="^(llama-|meta-llama/|groq/compound|gemma|moonshotai/)"),
            ("reasoningEffort",),
            "This model takes no effort; gpt-oss and qwen3 models do.",
        ),
        Forbids(
            When("model", matches="^groq/compound"),
            ("parallelToolCalls",),
            "This model takes no tools of yours; gpt-oss and qwen3 models do.",
        ),
        Limits(
            When("model", matches="^openai/gpt-oss-"),
            "maxTokens",
            "This model says at most 65536 tokens.",
            maximum=65_536,
        ),
    )


class GroqSecrets(ProviderSecrets):
    """What Groq asks for."""

    api_key: Annotated[Secret, Field(title="API key"), UI(pattern_hint=("^gsk_", "Groq keys start with gsk_."))]
    """A Groq key."""


def _client(settings: JsonObject, secrets: Mapping[str, str]) -> Construct:
    # OpenAI's client, and nothing of what the environment means for OpenAI goes to Groq.
    return openai_client(api_key=secrets["apiKey"], base_url=over_http(settings["baseUrl"]))


def _livekit_sets(settings: JsonObject, secrets: Mapping[str, str]) -> Mapping[str, Any]:
    # Unlike OpenAI's, which it is made of, the class has no parameter for what else to send.
    more = {"_opts.extra_body": {"seed": settings["seed"]}} if "seed" in settings else {}
    return {**livekit_openai(settings, secrets), **more}


LIVEKIT = (
    Plugin(
        target="livekit.plugins.groq:LLM",
        requires="livekit-plugins-groq",
        takes={
            "model": "model",
            "temperature": "temperature",
            "topP": "top_p",
            "maxTokens": "max_completion_tokens",
            "parallelToolCalls": "parallel_tool_calls",
            "serviceTier": "service_tier",
        },
        # It asks for a key although it has a client.
        derives=lambda settings, secrets: {"api_key": secrets["apiKey"], "client": _client(settings, secrets)},
        sets=_livekit_sets,
        derived_from=("baseUrl", "reasoningEffort", "seed"),
    ),
)
PIPECAT = (
    Plugin(
        target="pipecat.services.groq.llm:GroqLLMService",
        requires="pipecat-ai",
        takes={
            "model": "settings.model",
            "temperature": "settings.temperature",
            "topP": "settings.top_p",
            "seed": "settings.seed",
            "maxTokens": "settings.max_completion_tokens",
            "reasoningEffort": "settings.reasoning_effort",
            "parallelToolCalls": "settings.extra.parallel_tool_calls",
            "serviceTier": "service_tier",
        },
        parts={"settings": "pipecat.services.groq.llm:GroqLLMService.Settings"},
        derives=lambda settings, secrets: {"api_key": secrets["apiKey"], "base_url": over_http(settings["baseUrl"])},
        # The client that it makes itself reads the environment, retries and follows redirects.
        sets=lambda settings, secrets: {"_client": _client(settings, secrets)},
        derived_from=("baseUrl",),
    ),
)

PROBE = Probe(
    requests=(
        ProbeRequest(
            "{baseUrl}/models",
            {"Authorization": "Bearer {apiKey}"},
            good=r'"data"\s*:',
            lists=r'"id"\s*:\s*"{model}"',
            proves="both",
        ),
    ),
    signs=(
        Sign("key_restricted", (401, 403), "permission"),
        Sign("unreachable", (403,)),  # a network or a region that is not served
        Sign("model_unavailable", (404,), "model_not_found"),
        Sign("quota", (429,), "insufficient_quota|exceeded your current quota"),
    ),
)

LISTS_MODELS = (
    Listing(
        request=ProbeRequest("{baseUrl}/models", {"Authorization": "Bearer {apiKey}"}),
        items="data",
        keeps="^(?!.*(whisper|tts))",
    ),
)

PROVIDER = ProviderDefinition(
    key="groq",
    type=ProviderType.LLM,
    name="Groq",
    hosting="cloud",
    description="Open models on hardware that answers several times faster than usual.",
    capabilities=(
        "streaming",
        "function_calling",
        "parallel_tool_calls",
        "json_mode",
        "structured_outputs",
        "reasoning",
        "vision",
        "very_high_throughput",
    ),
    config=GroqConfig,
    secrets=GroqSecrets,
    destinations=Destinations[GroqConfig](("baseUrl",), lambda config: [config.base_url]),
    docs_url="https://console.groq.com/docs/models",
    pricing_url="https://groq.com/pricing",
    console_url="https://console.groq.com/keys",
    models=MODELS,
    probe=PROBE,
    lists_models=LISTS_MODELS,
    livekit=LIVEKIT,
    pipecat=PIPECAT,
)

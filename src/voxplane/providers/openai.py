"""OpenAI: language models in the cloud, and the interface that many compatible servers share.

Facts: vendor docs, openai 3.54.0 (ends of models) and livekit-plugins-openai 1.8.9 / pipecat-ai 1.14.0, read
2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from voxplane.destination import over_http
from voxplane.listing import Listing
from voxplane.model_version import DAY, MONTH_AND_DAY
from voxplane.plugin import Construct, Plugin
from voxplane.probe import ProbeRequest
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
from voxplane.vendor_sdk import OPENAI_PROBE, livekit_openai, openai_client

_NO_EFFORT_WITH_TOOLS = (
    "Takes no reasoningEffort beside an agent's tools: LiveKit leaves it out then, and Pipecat's request is refused."
)
# fmt: off
MODELS = (
    *known("gpt-6-luna", call_settings={"reasoningEffort": "none"},
           note="Quick and cheap; for calls, set the reasoning effort to none."),
    *known("gpt-6.1-terra", note="The middle tier; reasons as little or as much as you set."),
    *known("gpt-6.1-sol", note="A strong all-rounder; always reasons."),
    *known("gpt-6-astra", note="The flagship; always reasons."),
    *known("gpt-6-sol"),
    *known("gpt-6.2-sol", "gpt-6.2-astra", note="Details are unverified."),
    *known("gpt-5.6-sol", "gpt-5.6-terra", "gpt-5.6-luna", "gpt-5.5"),
    *known("gpt-5.4", "gpt-5.4-mini", "gpt-5.2", note=_NO_EFFORT_WITH_TOOLS),
    *known("gpt-5.4-nano", status="deprecated", retires_on=date(2027, 4, 1), note=_NO_EFFORT_WITH_TOOLS),
    *known("gpt-5.1", status="deprecated", retires_on=date(2027, 4, 1)),
    *known("gpt-5", status="deprecated", retires_on=date(2026, 12, 11), replacement="gpt-6.1-sol"),
    *known("gpt-5-mini", status="deprecated", retires_on=date(2026, 12, 11), replacement="gpt-6.1-terra"),
    *known("gpt-5-nano", status="deprecated", retires_on=date(2026, 12, 11), replacement="gpt-6-luna"),
    *known("o3", status="deprecated", retires_on=date(2026, 12, 11), note="Always reasons."),
    *known("gpt-4o-mini", "gpt-4o", "gpt-4o-2024-11-20", "gpt-4o-2024-08-06", status="deprecated",
           retires_on=date(2027, 1, 14), replacement="gpt-6-luna", max_output_tokens=16384),
    *known("gpt-4.1", "gpt-4.1-mini",
           status="deprecated", retires_on=date(2027, 1, 14), replacement="gpt-6-luna"),
    *known("gpt-4.1-nano", "o4-mini", "o3-mini", "o1", "gpt-4o-2024-05-13", "gpt-4-turbo", "gpt-4",
           "gpt-3.5-turbo", "gpt-4-1106-preview", status="retired", retires_on=date(2026, 10, 23)),
    *known("gpt-5.2-chat-latest", "gpt-5.3-chat-latest", status="retired", retires_on=date(2026, 8, 10)),
    *known("gpt-5-chat-latest", "gpt-5.1-chat-latest", "gpt-4o-search-preview", "gpt-4o-mini-search-preview",
           status="retired", retires_on=date(2026, 7, 23)),
    *known("gpt-3.5-turbo-1106", status="retired", retires_on=date(2026, 9, 28)),
    *known("gpt-4-0125-preview", "gpt-4-turbo-preview", "gpt-4-0314", status="retired", retires_on=date(2026, 3, 26)),
    *known("chatgpt-4o-latest", status="retired", retires_on=date(2026, 2, 17)),
    *known("o1-mini", status="retired", retires_on=date(2025, 10, 27)),
    *known("o1-preview", status="retired", retires_on=date(2025, 7, 28)),
    *known("gpt-4-32k", status="retired", retires_on=date(2025, 6, 6)),
    *known("gpt-4-vision-preview", status="retired", retires_on=date(2024, 12, 6)),
    *known("gpt-3.5-turbo-16k", "gpt-3.5-turbo-0613", "gpt-3.5-turbo-0301",
           status="retired", retires_on=date(2024, 9, 13)),
)
# fmt: on
_LOWEST_IS_MINIMAL = r"^gpt-5(-mini|-nano)?(-[0-9]|$)|^gpt-5(\.[0-9]+)?-(codex|pro)"
_LOWEST_IS_LOW = r"^(o[0-9]|gpt-6\.1-sol|gpt-6-astra)"
_ALWAYS_REASONS = f"{_LOWEST_IS_MINIMAL}|{_LOWEST_IS_LOW}"
_MAY_REASON = r"^gpt-(5\.|6)"
_NEVER_REASONS = "^(gpt-3|gpt-4|chatgpt-4)"


class OpenAIConfig(ProviderConfig):
    """How OpenAI's models answer."""

    model: Annotated[
        str,
        Field(max_length=200, pattern="^[A-Za-z0-9][A-Za-z0-9._:/@-]*$"),
        UI(group="Model", widget="model-picker"),
    ] = "gpt-4o-mini"
    """The chat model; what else may be set follows from it."""

    temperature: Annotated[float, Field(ge=0, le=2), UI(group="Sampling")] = 0.7
    """How freely words are chosen; not while a model reasons."""
    top_p: Annotated[float | None, Field(title="Top P", ge=0, le=1), UI(group="Sampling", advanced=True)] = None
    """Choose among the likeliest words up to this probability; change this or temperature, not both."""
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2), UI(group="Sampling", advanced=True)] = None
    """Above 0, words that were used often become less likely; not on reasoning models."""
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2), UI(group="Sampling", advanced=True)] = None
    """Above 0, words that were used at all become less likely; not on reasoning models."""
    seed: Annotated[int | None, Field(ge=0, le=2**53 - 1), UI(group="Sampling", advanced=True)] = None
    """The same seed gives the same answer, as far as the vendor can."""

    max_tokens: Annotated[
        int, Field(title="Maximum tokens", ge=1, le=128_000), UI(group="Output", unit="tokens", costly=True)
    ] = 1000
    """The longest reply; reasoning counts, so a low ceiling can leave a reasoning model without words."""
    verbosity: Annotated[Literal["low", "medium", "high"] | None, UI(group="Output")] = None
    """How much to say, on gpt-5 and later."""

    reasoning_effort: Annotated[
        Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None,
        UI(group="Reasoning", costly=True),
    ] = None
    """How long to think before answering; unset, it is not sent, and most models think for a while: callers hear it."""

    parallel_tool_calls: Annotated[bool | None, UI(group="Tools", advanced=True)] = None
    """Whether several tools may be called in one turn; for agents with tools, others are refused."""

    service_tier: Annotated[
        Literal["auto", "default", "flex", "scale", "priority", "fast"] | None,
        UI(group="Privacy and price", advanced=True, costly=True),
    ] = None
    """The processing class, which changes speed and price."""
    store: Annotated[bool, Field(title="Store at the vendor"), UI(group="Privacy and price", advanced=True)] = False
    """Keep conversations at the vendor."""
    prompt_cache_key: Annotated[
        str | None,
        Field(max_length=64, pattern=r"^[^\x00-\x1f]+$"),
        UI(group="Privacy and price", advanced=True),
    ] = None
    """Calls that share this name find each other's cached prompts, which makes them quicker and cheaper."""

    organization: Annotated[
        str | None,
        Field(max_length=100, pattern="^org-[A-Za-z0-9_-]+$"),
        UI(group="Connection", advanced=True),
    ] = None
    """The OpenAI organization to act for, org- and more, with a key that can act for several."""
    project: Annotated[
        str | None,
        Field(max_length=100, pattern="^proj_[A-Za-z0-9_-]+$"),
        UI(group="Connection", advanced=True),
    ] = None
    """The OpenAI project to act for, proj_ and more; a project key needs none."""
    base_url: Annotated[
        ServerUrl,
        Field(title="Base URL", examples=["https://eu.api.openai.com/v1"]),
        UI(group="Connection", advanced=True, binds_secret=True),
    ] = "https://api.openai.com/v1"
    """The server to use, with /v1: a regional one of OpenAI's, or any that is compatible."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Forbids(
            When("model", matches=_ALWAYS_REASONS),
            ("temperature", "topP"),
            "This model always reasons and then takes no temperature or top P; gpt-6-luna can do without.",
        ),
        Forbids(
            When(
                "model",
                matches=_MAY_REASON,
                and_=When("reasoningEffort", equals="none", otherwise=True),
            ),
            ("temperature", "topP"),
            "This model takes it only while it does not reason: set the reasoning effort to none.",
        ),
        Forbids(
            When("model", matches="^(o[0-9]|gpt-5|gpt-6)"),
            ("frequencyPenalty", "presencePenalty"),
            "Reasoning models take no penalties; gpt-4o and gpt-4.1 do.",
        ),
        Forbids(
            When("model", matches=_NEVER_REASONS),
            ("reasoningEffort", "verbosity"),
            "This model does not reason; gpt-5 and later models take it.",
        ),
        Forbids(When("model", matches="^o[0-9]"), ("verbosity",), "gpt-5 and later models take it."),
        Limits(
            When("model", matches=_LOWEST_IS_MINIMAL),
            "reasoningEffort",
            "This model always reasons: minimal is its lowest effort.",
            one_of=("minimal", "low", "medium", "high", "xhigh", "max"),
        ),
        Limits(
            When("model", matches=_LOWEST_IS_LOW),
            "reasoningEffort",
            "This model always reasons: low is its lowest effort.",
            one_of=("low", "medium", "high", "xhigh", "max"),
        ),
        Limits(
            When("model", matches="^gpt-4o(-|$)"),
            "maxTokens",
            "This model says at most 16384 tokens.",
            maximum=16_384,
        ),
    )


class OpenAISecrets(ProviderSecrets):
    """What OpenAI asks for."""

    api_key: Annotated[Secret, Field(title="API key"), UI(pattern_hint=("^sk-", "OpenAI keys start with sk-."))]
    """The key of a project or a service account; admin keys cannot run models."""


def _client(settings: JsonObject, secrets: Mapping[str, str]) -> Construct:
    return openai_client(
        api_key=secrets["apiKey"],
        base_url=over_http(settings["baseUrl"]),
        organization=settings.get("organization"),
        project=settings.get("project"),
    )


LIVEKIT = (
    Plugin(
        target="livekit.plugins.openai:LLM",
        requires="livekit-plugins-openai",
        takes={
            "model": "model",
            # Its own parameters for these are dropped for models whose effort it does not know, without a word.
            "temperature": "extra_body.temperature",
            "topP": "extra_body.top_p",
            "frequencyPenalty": "extra_body.frequency_penalty",
            "presencePenalty": "extra_body.presence_penalty",
            "seed": "extra_body.seed",
            "maxTokens": "max_completion_tokens",
            "verbosity": "verbosity",
            "parallelToolCalls": "parallel_tool_calls",
            "serviceTier": "service_tier",
            # Its parameter of that name is taken and never sent.
            "store": "extra_body.store",
            "promptCacheKey": "prompt_cache_key",
        },
        derives=lambda settings, secrets: {"client": _client(settings, secrets)},
        sets=livekit_openai,
        derived_from=("organization", "project", "baseUrl", "reasoningEffort"),
    ),
)
PIPECAT = (
    Plugin(
        target="pipecat.services.openai.llm:OpenAILLMService",
        requires="pipecat-ai",
        takes={
            "model": "settings.model",
            "temperature": "settings.temperature",
            "topP": "settings.top_p",
            "frequencyPenalty": "settings.frequency_penalty",
            "presencePenalty": "settings.presence_penalty",
            "seed": "settings.seed",
            "maxTokens": "settings.max_completion_tokens",
            "verbosity": "settings.extra.verbosity",
            "reasoningEffort": "settings.extra.reasoning_effort",
            "parallelToolCalls": "settings.extra.parallel_tool_calls",
            "serviceTier": "service_tier",
            "store": "settings.extra.store",
            "promptCacheKey": "settings.extra.prompt_cache_key",
        },
        parts={"settings": "pipecat.services.openai.llm:OpenAILLMService.Settings"},
        derives=lambda settings, secrets: {"api_key": secrets["apiKey"], "base_url": over_http(settings["baseUrl"])},
        # The client that it makes itself reads the environment, retries and follows redirects.
        sets=lambda settings, secrets: {"_client": _client(settings, secrets)},
        derived_from=("organization", "project", "baseUrl"),
    ),
)

LISTS_MODELS = (
    Listing(
        request=ProbeRequest(
            "{baseUrl}/models",
            {
                "Authorization": "Bearer {apiKey}",
                "OpenAI-Organization": "{organization}",
                "OpenAI-Project": "{project}",
            },
        ),
        items="data",
        # It also lists what makes pictures, sound and vectors. What an account calls its own model is its to choose.
        keeps=(
            r"^(?!(ft:)?[^:]*(audio|babbage|dall-e|davinci|embedding|image|instruct|moderation|realtime|search|sora"
            r"|transcribe|translate|tts|whisper))"
        ),
        retires_on="shutdown_date",
    ),
)

PROVIDER = ProviderDefinition(
    key="openai",
    type=ProviderType.LLM,
    name="OpenAI",
    hosting="cloud",
    description="The GPT models, from quick and cheap to deep thinkers, with tools, vision and structure.",
    capabilities=(
        "streaming",
        "function_calling",
        "parallel_tool_calls",
        "vision",
        "json_mode",
        "structured_outputs",
        "reasoning",
        "prompt_caching",
    ),
    config=OpenAIConfig,
    secrets=OpenAISecrets,
    destinations=Destinations[OpenAIConfig](("baseUrl",), lambda config: [config.base_url]),
    docs_url="https://developers.openai.com/api/docs/models",
    pricing_url="https://developers.openai.com/api/docs/pricing",
    console_url="https://platform.openai.com/api-keys",
    models=MODELS,
    versions=(DAY, MONTH_AND_DAY),
    probe=OPENAI_PROBE,
    lists_models=LISTS_MODELS,
    livekit=LIVEKIT,
    pipecat=PIPECAT,
)

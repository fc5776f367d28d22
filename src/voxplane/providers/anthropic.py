"""Anthropic Claude: language models in the cloud.

Facts: vendor docs, anthropic 1.17.0 (ends of models) and livekit-plugins-anthropic 1.8.9 / pipecat-ai 1.14.0, read
2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from voxplane.destination import over_http
from voxplane.listing import Listing
from voxplane.model_version import COMPACT_DAY, LATEST
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
from voxplane.rules import Forbids, Limits, NotAbove, Requires, Rule, When
from voxplane.schemas import JsonObject, ProviderType
from voxplane.vendor_sdk import anthropic_client

# fmt: off
MODELS = (
    *known("claude-haiku-5-5", max_output_tokens=128_000, note="Quick and cheap; takes no temperature."),
    *known("claude-sonnet-5-5", note="Takes no temperature."),
    *known("claude-opus-5-5", "claude-fable-5-1",
           note="Always thinks and takes no temperature: give it 4096 maxTokens or more."),
    *known("claude-mythos-5-1", "claude-mythos-5", status="restricted", note="By invitation."),
    *known("claude-sonnet-5", "claude-fable-5", status="legacy"),
    *known("claude-opus-5", status="legacy", note="Not retired before 2027-07-24."),
    *known("claude-opus-4-8", "claude-opus-4-7", status="legacy", note="Takes no temperature."),
    *known("claude-sonnet-4-6", "claude-opus-4-6", status="legacy", note="The last that take a temperature."),
    *known("claude-opus-4-5", status="legacy"),
    *known("claude-haiku-4-5", "claude-haiku-4-5-20251001",
           status="legacy", note="No retirement was announced by 2026-10-08."),
    *known("claude-sonnet-4-5",
           status="deprecated", retires_on=date(2026, 11, 30), replacement="claude-sonnet-5-5"),
    *known("claude-opus-4-1", status="retired", retires_on=date(2026, 8, 5)),
    *known("claude-mythos-preview", status="retired", retires_on=date(2026, 6, 30)),
    *known("claude-opus-4", "claude-opus-4-0", "claude-sonnet-4", "claude-sonnet-4-0",
           status="retired", retires_on=date(2026, 6, 15)),
    *known("claude-3-7-sonnet", "claude-3-5-haiku", status="retired", retires_on=date(2026, 2, 19)),
    *known("claude-3-opus", status="retired", retires_on=date(2026, 1, 5)),
    *known("claude-3-5-sonnet", status="retired", retires_on=date(2025, 10, 28)),
    *known("claude-3-sonnet", "claude-2.1", "claude-2.0", status="retired", retires_on=date(2025, 7, 21)),
    *known("claude-3-haiku", status="retired", note="The date is unverified."),
)
# fmt: on
_AFTER_4_6 = "^claude-(opus-4-[78]|(haiku|sonnet|opus|fable|mythos)-5)"
_ALWAYS_THINKS = "^claude-(opus-5-5|fable-5-1)"


class AnthropicConfig(ProviderConfig):
    """How Claude answers."""

    model: Annotated[
        str,
        Field(max_length=200, pattern="^[A-Za-z0-9][A-Za-z0-9._:/@-]*$"),
        UI(group="Model", widget="model-picker"),
    ] = "claude-sonnet-4-6"
    """The Claude model; claude-sonnet-4-6 is the last Sonnet that takes a temperature."""

    temperature: Annotated[float | None, Field(ge=0, le=1), UI(group="Sampling")] = None
    """How freely words are chosen, on models up to 4.6."""
    top_p: Annotated[float | None, Field(title="Top P", ge=0, le=1), UI(group="Sampling", advanced=True)] = None
    """Choose among the likeliest words up to this probability, up to 4.6; LiveKit cannot send it."""
    top_k: Annotated[int | None, Field(title="Top K", ge=0, le=500), UI(group="Sampling", advanced=True)] = None
    """Choose among this many of the likeliest words, on models up to 4.6."""

    max_tokens: Annotated[
        int, Field(title="Maximum tokens", ge=1, le=128_000), UI(group="Output", unit="tokens", costly=True)
    ] = 1000
    """The longest reply, thinking included: models that always think need 4096 or more to come to words."""

    effort: Annotated[Literal["low", "medium", "high", "xhigh", "max"] | None, UI(group="Reasoning", costly=True)] = (
        None
    )
    """How much work to put into an answer, on models that support it; LiveKit cannot send it."""
    thinking: Annotated[
        Literal["adaptive", "enabled", "disabled", "between_tools"] | None, UI(group="Reasoning", costly=True)
    ] = None
    """Whether to think before answering; unset, models of the 5 generation think. LiveKit cannot send it."""
    thinking_budget: Annotated[
        int | None,
        Field(ge=1024, le=127_999),
        UI(group="Reasoning", unit="tokens", advanced=True, costly=True),
    ] = None
    """How many of the maximum tokens to think, where thinking is enabled."""

    parallel_tool_calls: Annotated[bool | None, UI(group="Tools", advanced=True)] = None
    """Whether several tools may be called in one turn; for agents with tools, others are refused."""

    prompt_caching: Annotated[bool, UI(group="Privacy and price", costly=True)] = False
    """Keep instructions and tools cached at the vendor, which makes later turns quicker and cheaper."""

    workspace_id: Annotated[
        str | None,
        Field(title="Workspace", max_length=100, pattern="^wrkspc_[A-Za-z0-9_-]+$"),
        UI(group="Connection", advanced=True),
    ] = None
    """The workspace to act for, wrkspc_ and more, with credentials that span several; most keys need none."""
    base_url: Annotated[
        ServerUrl, Field(title="Base URL"), UI(group="Connection", advanced=True, binds_secret=True)
    ] = "https://api.anthropic.com"
    """The server to use, without /v1: a proxy of yours, if not the usual."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Forbids(
            When("model", matches=_AFTER_4_6),
            ("temperature", "topP", "topK"),
            "This model does its own sampling; claude-sonnet-4-6 and older models take it.",
        ),
        Forbids(
            When("model", matches="^claude-[a-z]+-4", and_=When("temperature")),
            ("topP",),
            "This model takes temperature or topP, not both.",
        ),
        Limits(
            When("model", matches=_ALWAYS_THINKS),
            "thinking",
            "This model always thinks: set adaptive or between_tools.",
            one_of=("adaptive", "between_tools"),
        ),
        Limits(
            When("model", matches=_AFTER_4_6),
            "thinking",
            "This model takes no budget: set adaptive, disabled or between_tools.",
            one_of=("adaptive", "disabled", "between_tools"),
        ),
        Requires(
            When("thinking", equals="enabled"),
            ("thinkingBudget",),
            "Say how many tokens to think, 1024 or more.",
        ),
        Forbids(
            When("thinking", equals="enabled", otherwise=True),
            ("thinkingBudget",),
            "A budget needs thinking to be enabled.",
        ),
    )
    orders: ClassVar[tuple[NotAbove, ...]] = (
        NotAbove(
            "thinkingBudget",
            "maxTokens",
            "Thinking counts as part of maxTokens: set the budget below it, or maxTokens higher.",
            strictly=True,
        ),
    )


class AnthropicSecrets(ProviderSecrets):
    """What Anthropic asks for."""

    api_key: Annotated[
        Secret,
        Field(title="API key"),
        UI(pattern_hint=("^sk-ant-", "Anthropic keys start with sk-ant-.")),
    ]
    """The key of a workspace; admin keys cannot run models."""


def _client(settings: JsonObject, secrets: Mapping[str, str]) -> Construct:
    workspace = settings.get("workspaceId")
    return anthropic_client(
        api_key=secrets["apiKey"],
        base_url=over_http(settings["baseUrl"]),
        headers={"anthropic-workspace-id": workspace} if workspace else {},
    )


def _livekit(settings: JsonObject, secrets: Mapping[str, str]) -> JsonObject:
    caching = {"caching": "ephemeral"} if settings["promptCaching"] else {}
    # It asks for a key although it has a client.
    return {"api_key": secrets["apiKey"], "client": _client(settings, secrets), **caching}


def _pipecat(settings: JsonObject, secrets: Mapping[str, str]) -> JsonObject:
    parallel = settings.get("parallelToolCalls")
    choice = {"type": "auto", "disable_parallel_tool_use": not parallel}
    return {
        "api_key": secrets["apiKey"],
        "client": _client(settings, secrets),
        # It would ask for the least thinking where nothing is set, and LiveKit's class does not.
        "settings.use_provider_thinking_default": True,
        **({} if parallel is None else {"settings.extra.tool_choice": choice}),
    }


_NOT_IN_LIVEKIT = "LiveKit's class has no parameter for it."
LIVEKIT = (
    Plugin(
        target="livekit.plugins.anthropic:LLM",
        requires="livekit-plugins-anthropic",
        takes={
            "model": "model",
            "temperature": "temperature",
            "topK": "top_k",
            "maxTokens": "max_tokens",
            "parallelToolCalls": "parallel_tool_calls",
        },
        derives=_livekit,
        derived_from=("promptCaching", "workspaceId", "baseUrl"),
        leaves_out=dict.fromkeys(("topP", "effort", "thinking", "thinkingBudget"), _NOT_IN_LIVEKIT),
    ),
)
PIPECAT = (
    Plugin(
        target="pipecat.services.anthropic.llm:AnthropicLLMService",
        requires="pipecat-ai",
        takes={
            "model": "settings.model",
            "temperature": "settings.temperature",
            "topP": "settings.top_p",
            "topK": "settings.top_k",
            "maxTokens": "settings.max_tokens",
            "effort": "settings.effort",
            "thinking": "settings.thinking.type",
            "thinkingBudget": "settings.thinking.budget_tokens",
            "promptCaching": "settings.enable_prompt_caching",
        },
        parts={
            "settings": "pipecat.services.anthropic.llm:AnthropicLLMService.Settings",
            "settings.thinking": "pipecat.services.anthropic.llm:AnthropicLLMService.ThinkingConfig",
        },
        derives=_pipecat,
        derived_from=("parallelToolCalls", "workspaceId", "baseUrl"),
    ),
)

_HEADERS = {
    "x-api-key": "{apiKey}",
    "anthropic-version": "2023-06-01",
    "anthropic-workspace-id": "{workspaceId}",
}
PROBE = Probe(
    requests=(
        ProbeRequest(
            "{baseUrl}/v1/models/{model}",
            _HEADERS,
            good=r'"id"\s*:',
            ends=r'"retires_at"\s*:\s*"(\d{4}-\d{2}-\d{2})',
            proves="both",
            # A model that has ended keeps its entry; a date that is over by itself says that its end is late
            # (anthropic/types/model_info.py of the SDK).
            signs=(Sign("model_unavailable", (200,), r'"lifecycle"\s*:\s*"retired"'),),
        ),
    ),
    signs=(
        Sign("quota", (400, 402, 403, 429), "billing_error|credit balance is too low"),
        Sign("unreachable", (403,), r'"forbidden"|request not allowed'),
        Sign("model_unavailable", (404,), "not_found_error"),
    ),
)

LISTS_MODELS = (
    Listing(
        request=ProbeRequest("{baseUrl}/v1/models?limit=1000", _HEADERS),
        items="data",
        label="display_name",
        retires_on="retires_at",
        ended=("lifecycle", "retired"),
    ),
)

PROVIDER = ProviderDefinition(
    key="anthropic",
    type=ProviderType.LLM,
    name="Anthropic Claude",
    hosting="cloud",
    description="The Claude models: careful with instructions and tools, from quick Haiku to deep Opus.",
    capabilities=(
        "streaming",
        "function_calling",
        "parallel_tool_calls",
        "vision",
        "pdf_input",
        "structured_outputs",
        "reasoning",
        "prompt_caching",
    ),
    config=AnthropicConfig,
    secrets=AnthropicSecrets,
    destinations=Destinations[AnthropicConfig](("baseUrl",), lambda config: [config.base_url]),
    docs_url="https://platform.claude.com/docs/en/about-claude/models/overview",
    pricing_url="https://platform.claude.com/docs/en/about-claude/pricing",
    console_url="https://platform.claude.com/settings/keys",
    models=MODELS,
    versions=(COMPACT_DAY, LATEST),
    probe=PROBE,
    lists_models=LISTS_MODELS,
    livekit=LIVEKIT,
    pipecat=PIPECAT,
)

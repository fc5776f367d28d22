"""Azure OpenAI: OpenAI's language models as deployments in one's own Azure resource.

Facts: vendor docs and livekit-plugins-openai 1.8.9 / pipecat-ai 1.14.0, read 2026-11-22.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from voxplane.provider import (
    UI,
    Destinations,
    ProviderConfig,
    ProviderDefinition,
    ProviderSecrets,
    Secret,
    known,
    offered,
)
from voxplane.rules import Forbids, Limits, Requires, Rule, When
from voxplane.schemas import ProviderType

_DATES = "Azure has its own retirement dates, region by region: see its page."
# fmt: off
MODELS = (
    *known("gpt-4o", "gpt-4o-mini", status="deprecated", max_output_tokens=16384, note=_DATES),
    *known("gpt-4.1", "gpt-4.1-mini", status="deprecated", note=_DATES),
    *known("gpt-6-luna", "gpt-5.4", "gpt-5.4-mini", "gpt-5.2", "gpt-5.1", "gpt-5", "gpt-5-mini",
           status="unverified", note=_DATES),
)
# fmt: on
_RESOURCE = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = r"(openai\.azure\.com|services\.ai\.azure\.com|cognitiveservices\.azure\.com|openai\.azure\.us)"
_UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_LOWEST_IS_MINIMAL = r"^gpt-5(-mini|-nano)?(-[0-9]|$)|^gpt-5(\.[0-9]+)?-(codex|pro)"
_LOWEST_IS_LOW = r"^(o[0-9]|gpt-6\.1-sol|gpt-6-astra)"
_ALWAYS_REASONS = f"{_LOWEST_IS_MINIMAL}|{_LOWEST_IS_LOW}"
_MAY_REASON = r"^gpt-(5\.|6)"
_NEVER_REASONS = "^(gpt-3|gpt-4|chatgpt-4)"


class AzureOpenAIConfig(ProviderConfig):
    """How the models of your Azure resource answer."""

    deployment: Annotated[str, Field(max_length=64, pattern="^[A-Za-z0-9][A-Za-z0-9._-]{1,63}$"), UI(group="Model")]
    """The name of the deployment, as you chose it."""
    model: Annotated[
        str,
        Field(
            title="Underlying model",
            max_length=200,
            pattern="^[A-Za-z0-9][A-Za-z0-9._:/@-]*$",
            examples=offered(MODELS),
        ),
        UI(group="Model", widget="model-picker"),
    ] = "gpt-4o"
    """The model that the deployment runs: what may be set follows from it, and nothing else does."""

    temperature: Annotated[float, Field(ge=0, le=2), UI(group="Sampling")] = 0.7
    """How freely words are chosen; not while a model reasons."""
    top_p: Annotated[float | None, Field(title="Top P", ge=0, le=1), UI(group="Sampling", advanced=True)] = None
    """Choose among the likeliest words up to this probability; change this or temperature, not both."""
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2), UI(group="Sampling", advanced=True)] = None
    """Above 0, words used often become less likely; not on reasoning models, nor with LiveKit on dated."""
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2), UI(group="Sampling", advanced=True)] = None
    """Above 0, words used at all become less likely; not on reasoning models, nor with LiveKit on dated."""
    seed: Annotated[int | None, Field(ge=0, le=2**53 - 1), UI(group="Sampling", advanced=True)] = None
    """The same seed gives the same answer, as far as the vendor can; not with LiveKit on dated."""

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
    """How long to think before answering; unset, most models think for a while, which callers hear."""

    parallel_tool_calls: Annotated[bool | None, UI(group="Tools", advanced=True)] = None
    """Whether several tools may be called in one turn."""

    endpoint: Annotated[
        str,
        Field(
            json_schema_extra={"format": "uri"},
            max_length=128,
            pattern=rf"^https://{_RESOURCE}\.{_DOMAIN}/?$",
            examples=["https://my-resource.openai.azure.com"],
        ),
        UI(group="Connection", binds_secret=True),
    ]
    """The address of your Azure resource, without a path."""
    api_surface: Annotated[
        Literal["v1", "dated"],
        Field(title="API surface"),
        UI(
            group="Connection",
            advanced=True,
            labels={"v1": "v1, without a version", "dated": "Dated versions"},
        ),
    ] = "v1"
    """Which of the resource's two interfaces to call."""
    api_version: Annotated[
        str,
        Field(
            title="API version",
            max_length=20,
            pattern="^20[0-9]{2}-[0-9]{2}-[0-9]{2}(-preview)?$",
            examples=["2024-10-21", "2025-04-01-preview"],
        ),
        UI(group="Connection", advanced=True),
    ] = "2024-10-21"
    """The version of the dated surface, 2024-09-01-preview or later."""
    tenant_id: Annotated[
        str | None,
        Field(title="Tenant", max_length=36, pattern=f"^{_UUID}$"),
        UI(group="Connection", advanced=True),
    ] = None
    """The Entra tenant to sign in to, instead of using an API key."""
    client_id: Annotated[
        str | None,
        Field(title="Client", max_length=36, pattern=f"^{_UUID}$"),
        UI(group="Connection", advanced=True, binds_secret=True),
    ] = None
    """The Entra application to sign in as; set, the client secret is used and the API key is not."""

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
            "This model takes it only while it does not reason: set reasoningEffort to none.",
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
        Forbids(
            When("apiSurface", equals="v1"),
            ("apiVersion",),
            "The v1 surface has no versions: set apiSurface to dated for them.",
        ),
        Requires(When("clientId"), ("tenantId",), "An Entra application signs in to a tenant: set tenantId too."),
        Requires(When("tenantId"), ("clientId",), "A tenant is signed in to by an application: set clientId too."),
    )


class AzureOpenAISecrets(ProviderSecrets):
    """What Azure asks for: a key of the resource, or the secret of an Entra application."""

    api_key: Annotated[
        Secret | None,
        Field(title="API key"),
        UI(
            pattern_hint=(
                "^([0-9a-f]{32}|[A-Za-z0-9]{84})$",
                "Azure keys usually are 32 hexadecimal characters, or 84 letters and digits.",
            )
        ),
    ] = None
    """Key 1 or key 2 of the resource."""
    client_secret: Annotated[Secret | None, UI()] = None
    """The secret of the Entra application whose clientId is set."""


def _urls(config: AzureOpenAIConfig) -> list[str]:
    if config.client_id is None:
        return [config.endpoint]
    cloud = "us" if config.endpoint.rstrip("/").endswith(".us") else "com"
    return [config.endpoint, f"https://login.microsoftonline.{cloud}"]


PROVIDER = ProviderDefinition(
    key="azure-openai",
    type=ProviderType.LLM,
    name="Azure OpenAI",
    hosting="cloud",
    description="OpenAI's models in your own Azure resource, with its regions, networks and sign-in.",
    capabilities=(
        "streaming",
        "function_calling",
        "parallel_tool_calls",
        "vision",
        "json_mode",
        "structured_outputs",
        "reasoning",
        "content_filtering",
        "private_networking",
        "entra_id",
    ),
    config=AzureOpenAIConfig,
    secrets=AzureOpenAISecrets,
    requires_secrets=(
        Requires(When("clientId", otherwise=True), ("apiKey",), "The resource needs one of its keys."),
        Requires(When("clientId"), ("clientSecret",), "An Entra application needs its secret."),
    ),
    destinations=Destinations[AzureOpenAIConfig](("endpoint", "clientId"), _urls),
    docs_url="https://learn.microsoft.com/azure/foundry/openai/api-version-lifecycle",
    pricing_url="https://azure.microsoft.com/pricing/details/azure-openai/",
    console_url="https://ai.azure.com",
    models=MODELS,
)

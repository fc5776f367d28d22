"""Azure OpenAI: OpenAI's language models as deployments in one's own Azure resource.

Facts: vendor docs and livekit-plugins-openai 1.8.9 / pipecat-ai 1.14.0, read 2026-11-22.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from voxplane.listing import Listing
from voxplane.model_version import DAY, MONTH_AND_DAY
from voxplane.plugin import Construct, Plugin
from voxplane.probe import Probe, ProbeRequest, Sign
from voxplane.provider import (
    UI,
    Destinations,
    ProviderConfig,
    ProviderDefinition,
    ProviderSecrets,
    Secret,
    known,
)
from voxplane.rules import Forbids, Limits, Requires, Rule, When
from voxplane.schemas import JsonObject, ProviderType
from voxplane.vendor_sdk import READ_TIMEOUT_SECONDS, livekit_openai, openai_client

_DATES = "Azure has its own retirement dates, region by region: see its page."
_NO_EFFORT_WITH_TOOLS = (
    "Takes no reasoningEffort beside an agent's tools: LiveKit leaves it out then, and Pipecat's request is refused."
)
# fmt: off
MODELS = (
    *known("gpt-4o", "gpt-4o-mini", status="deprecated", max_output_tokens=16384, note=_DATES),
    *known("gpt-4.1", "gpt-4.1-mini", status="deprecated", note=_DATES),
    *known("gpt-5.4", "gpt-5.4-mini", "gpt-5.2", status="unverified", note=f"{_NO_EFFORT_WITH_TOOLS} {_DATES}"),
    *known("gpt-6-luna", "gpt-5.1", "gpt-5", "gpt-5-mini", status="unverified", note=_DATES),
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
    """The name of the deployment, as you chose it: 2 to 64 letters, digits, dots, - and _."""
    model: Annotated[
        str,
        Field(
            title="Underlying model",
            max_length=200,
            pattern="^[A-Za-z0-9][A-Za-z0-9._:/@-]*$",
        ),
        UI(group="Model", widget="model-picker"),
    ] = "gpt-4o"
    """The model that the deployment runs: what may be set follows from it, and nothing else does."""

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
    """The id (a UUID) of the Entra tenant to sign in to, instead of using an API key."""
    client_id: Annotated[
        str | None,
        Field(title="Client", max_length=36, pattern=f"^{_UUID}$"),
        UI(group="Connection", advanced=True, binds_secret=True),
    ] = None
    """The id (a UUID) of the Entra application to sign in as: its client secret is used then, not the API key."""

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


def _sign_in(endpoint: str) -> str:
    return "https://login.microsoftonline." + ("us" if endpoint.rstrip("/").endswith(".us") else "com")


def _urls(config: AzureOpenAIConfig) -> list[str]:
    return [config.endpoint] if config.client_id is None else [config.endpoint, _sign_in(config.endpoint)]


_EARLY = 300.0  # seconds before its end at which a token is replaced


class EntraToken:
    """Entra's token for an application: fetched when it is first asked for, and again before it ends.

    OpenAI's client calls it before every request. It reads nothing from the environment and goes to `url` alone.
    """

    def __init__(self, *, url: str, client_id: str, client_secret: str, scope: str) -> None:
        """Take the tenant's token address, the application, and what the token is for."""
        self._url = url
        self._form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
            "scope": scope,
        }
        self._token = ""
        self._ends = 0.0

    async def __call__(self) -> str:
        """Return a token that is good for some minutes.

        Raises:
            openai.APIStatusError: Entra refused, as a refusal by the vendor itself would be.
            openai.APIConnectionError: Entra could not be reached.
        """
        if time.monotonic() >= self._ends - _EARLY:
            answer = await self._fetch()
            self._token, self._ends = answer["access_token"], time.monotonic() + float(answer["expires_in"])
        return self._token

    async def _fetch(self) -> JsonObject:
        import httpx2  # noqa: PLC0415 - a worker has it, the server need not
        import openai  # noqa: PLC0415 - same reason

        timeout = READ_TIMEOUT_SECONDS
        async with httpx2.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False) as client:
            try:
                response = await client.post(self._url, data=self._form)
            except httpx2.HTTPError as error:
                raise openai.APIConnectionError(message="Entra could not be reached.", request=error.request) from None
        if response.status_code == HTTPStatus.BAD_REQUEST:
            # To Entra it is bad to ask for a tenant or an application that it does not know; to a call the key is bad.
            response = httpx2.Response(HTTPStatus.UNAUTHORIZED, request=response.request)
        if not response.is_success:
            raise openai.APIStatusError("Entra gave no token.", response=response, body=None)
        answer: JsonObject = response.json()
        return answer


def _credential(settings: JsonObject, secrets: Mapping[str, str]) -> str | Construct:
    if "clientId" not in settings:
        return secrets["apiKey"]
    sign_in = _sign_in(settings["endpoint"])
    government = sign_in.endswith(".us")
    arguments = {
        "url": f"{sign_in}/{settings['tenantId']}/oauth2/v2.0/token",
        "client_id": settings["clientId"],
        "client_secret": secrets["clientSecret"],
        "scope": "https://cognitiveservices.azure.us/.default" if government else "https://ai.azure.com/.default",
    }
    return Construct("voxplane.providers.azure_openai:EntraToken", arguments)


def _v1_url(settings: JsonObject) -> str:
    return settings["endpoint"].rstrip("/") + "/openai/v1"


def _client(settings: JsonObject, secrets: Mapping[str, str], **more: str) -> Construct:
    credential = _credential(settings, secrets)
    if settings["apiSurface"] == "v1":
        return openai_client(api_key=credential, base_url=_v1_url(settings))
    return openai_client(
        "openai:AsyncAzureOpenAI",
        azure_endpoint=settings["endpoint"],
        api_version=settings["apiVersion"],
        **{("api_key" if isinstance(credential, str) else "azure_ad_token_provider"): credential},
        **more,
    )


def _pipecat(settings: JsonObject, secrets: Mapping[str, str]) -> JsonObject:
    credential = _credential(settings, secrets)
    return {
        "endpoint": _v1_url(settings) if settings["apiSurface"] == "v1" else settings["endpoint"],
        ("api_key" if isinstance(credential, str) else "token_provider"): credential,
    }


_LIVEKIT_TAKES = {
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
}
_CONNECTION = ("endpoint", "apiSurface", "tenantId", "clientId")
LIVEKIT = (
    Plugin(
        target="livekit.plugins.openai:LLM",
        requires="livekit-plugins-openai",
        when=When("apiSurface", equals="v1"),
        # LiveKit goes by the model's name in what it sends, so it gets the model, and only the vendor the deployment.
        takes={**_LIVEKIT_TAKES, "deployment": "extra_body.model"},
        derives=lambda settings, secrets: {"client": _client(settings, secrets)},
        sets=livekit_openai,
        derived_from=(*_CONNECTION, "reasoningEffort"),
        leaves_out={"apiVersion": "The v1 surface has no versions."},
    ),
    Plugin(
        target="livekit.plugins.openai:LLM",
        requires="livekit-plugins-openai",
        when=When("apiSurface", equals="dated"),
        takes=_LIVEKIT_TAKES,
        derives=lambda settings, secrets: {
            "client": _client(settings, secrets, azure_deployment=settings["deployment"])
        },
        sets=livekit_openai,
        derived_from=(*_CONNECTION, "apiVersion", "deployment", "reasoningEffort"),
    ),
)
PIPECAT = (
    Plugin(
        target="pipecat.services.azure.llm:AzureLLMService",
        requires="pipecat-ai",
        takes={
            "deployment": "settings.model",
            "temperature": "settings.temperature",
            "topP": "settings.top_p",
            "frequencyPenalty": "settings.frequency_penalty",
            "presencePenalty": "settings.presence_penalty",
            "seed": "settings.seed",
            "maxTokens": "settings.max_completion_tokens",
            "verbosity": "settings.extra.verbosity",
            "reasoningEffort": "settings.extra.reasoning_effort",
            "parallelToolCalls": "settings.extra.parallel_tool_calls",
        },
        parts={"settings": "pipecat.services.azure.llm:AzureLLMService.Settings"},
        derives=_pipecat,
        # The client that it makes itself reads the environment, retries, follows redirects and has one version.
        sets=lambda settings, secrets: {"_client": _client(settings, secrets)},
        derived_from=(*_CONNECTION, "apiVersion"),
        leaves_out={"model": "Pipecat knows a deployment by its name alone."},
    ),
)


# The first request is free and shows the key, the second costs a few tokens and alone shows the deployment. A key
# that is right for another resource is answered as a wrong one is; the list is the whole region's. Entra's sign-in is
# not tested.
_KEY = {"api-key": "{apiKey}"}
_DATED, _V1 = When("apiSurface", equals="dated"), When("apiSurface", equals="v1")
_BRIEFLY = {"messages": [{"role": "user", "content": "Say yes."}], "max_completion_tokens": 16}
_DEPLOYED = (
    Sign("model_unavailable", (404,), "deploymentnotfound|model_not_found|does not exist"),
    Sign("model_unavailable", (400,), r'"code"\s*:\s*"operationnotsupported"'),  # it is of a model that writes no words
    Sign("verified", (400,), r'"code"\s*:\s*"(unsupported_(parameter|value)|content_filter)"'),
    Sign("verified", (400,), "max_tokens or model output limit"),
    Sign("quota", (403, 429), "quota"),
)


def _asks_for_words(url: str, when: When, **more: str) -> ProbeRequest:
    return ProbeRequest(
        url,
        {**_KEY, "Content-Type": "application/json"},
        "POST",
        {**_BRIEFLY, **more},
        good=r'"choices"\s*:',
        proves="model",
        signs=_DEPLOYED,
        when=when,
    )


PROBE = Probe(
    requests=(
        ProbeRequest("{endpoint}/openai/v1/models", _KEY, good=r'"data"\s*:', is_long=True, when=_V1),
        ProbeRequest(
            "{endpoint}/openai/models?api-version={apiVersion}", _KEY, good=r'"data"\s*:', is_long=True, when=_DATED
        ),
        _asks_for_words("{endpoint}/openai/v1/chat/completions", _V1, model="{deployment}"),
        _asks_for_words("{endpoint}/openai/deployments/{deployment}/chat/completions?api-version={apiVersion}", _DATED),
    ),
    signs=(
        Sign("unreachable", (403,), "virtual network|firewall|public access is disabled|private endpoint"),
        Sign("quota", (403, 429), "quota"),
    ),
    unknown_host="wrong_region_or_endpoint",
    uncheckable=(When("clientId"),),
    model_setting="deployment",
)

# Not through Entra, which signs in first.
_V1_WITH_KEY = When("apiSurface", equals="v1", and_=When("clientId", otherwise=True))
LISTS_MODELS = (Listing(request=ProbeRequest("{endpoint}/openai/v1/models", _KEY, when=_V1_WITH_KEY), items="data"),)

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
    versions=(DAY, MONTH_AND_DAY),
    probe=PROBE,
    lists_models=LISTS_MODELS,
    livekit=LIVEKIT,
    pipecat=PIPECAT,
)

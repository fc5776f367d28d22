"""Google Gemini: language models in the cloud, by the Gemini API or by Vertex AI.

Facts: vendor docs, google-genai 3.4.0 and livekit-plugins-google 1.8.9 / pipecat-ai 1.14.0, read 2026-11-22.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from voxplane.listing import Listing
from voxplane.model_version import LATEST, NUMBER
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

# fmt: off
MODELS = (
    *known("gemini-3.5-flash-lite", note="The quickest; the usual choice for calls."),
    *known("gemini-3.8-flash", max_output_tokens=65536, note="The best quality that suits calls."),
    *known("gemini-3.7-flash", "gemini-3.6-flash", "gemini-3.5-flash"),
    *known("gemini-3.1-flash-lite", retires_on=date(2027, 5, 7)),
    *known("gemini-4-argon", note="Thinks long: give it 32768 maxTokens or more."),
    *known("gemini-3.1-pro-preview", "gemini-3-flash-preview", status="preview"),
    *known("gemini-2.5-flash", status="deprecated", retires_on=date(2026, 12, 1),
           replacement="gemini-3.5-flash-lite", note="Answered by its replacement from that day."),
    *known("gemini-2.5-pro", status="deprecated", retires_on=date(2026, 12, 1),
           replacement="gemini-3.8-flash", note="Answered by its replacement from that day."),
    *known("gemini-2.5-flash-lite"),
    *known("gemini-3-pro-preview", status="retired", retires_on=date(2026, 3, 9)),
    *known("gemini-2.0-flash", "gemini-2.0-flash-lite", "gemini-1.5-pro", "gemini-1.5-flash", "gemini-1.5-flash-8b",
           status="retired", note="The date is unverified."),
)
LOCATIONS = ["us-central1", "europe-west1", "europe-west4", "asia-northeast1", "us", "eu", "global"]
# fmt: on
_THRESHOLDS = {
    "OFF": "Off",
    "BLOCK_NONE": "Block nothing",
    "BLOCK_ONLY_HIGH": "Block what is likely harmful",
    "BLOCK_MEDIUM_AND_ABOVE": "Block what may be harmful",
    "BLOCK_LOW_AND_ABOVE": "Block the least doubt",
}
Threshold = Annotated[
    Literal["OFF", "BLOCK_NONE", "BLOCK_ONLY_HIGH", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_LOW_AND_ABOVE"] | None,
    UI(labels=_THRESHOLDS),
]


class SafetySettings(ProviderConfig):
    """What to block, by kind of harm; unset, the vendor's own threshold applies."""

    harassment: Threshold = None
    """Insults and threats."""
    hate_speech: Threshold = None
    """Attacks on who people are."""
    sexually_explicit: Threshold = None
    """Sexual content."""
    dangerous_content: Threshold = None
    """Help with doing harm."""


class GoogleConfig(ProviderConfig):
    """How Gemini answers."""

    model: Annotated[
        str,
        Field(max_length=100, pattern="^[A-Za-z0-9][A-Za-z0-9.@_-]*$"),
        UI(group="Model", widget="model-picker"),
    ] = "gemini-3.5-flash-lite"
    """The Gemini model, without models/ before its name."""

    temperature: Annotated[float, Field(ge=0, le=2), UI(group="Sampling")] = 0.7
    """How freely words are chosen; the vendor advises 1 on gemini-3, and gemini-4 does without it."""
    top_p: Annotated[float | None, Field(title="Top P", ge=0, le=1), UI(group="Sampling", advanced=True)] = None
    """Choose among the likeliest words up to this probability; not on gemini-4."""
    top_k: Annotated[int | None, Field(title="Top K", ge=1, le=1000), UI(group="Sampling", advanced=True)] = None
    """Choose among this many of the likeliest words; not on gemini-4."""
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2), UI(group="Sampling", advanced=True)] = None
    """Above 0, words that were used at all become less likely; not on every model."""
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2), UI(group="Sampling", advanced=True)] = None
    """Above 0, words that were used often become less likely; not on every model."""
    seed: Annotated[int | None, Field(ge=0, le=2**31 - 1), UI(group="Sampling", advanced=True)] = None
    """The same seed gives the same answer, as far as the vendor can."""

    max_tokens: Annotated[
        int, Field(title="Maximum tokens", ge=1, le=65_536), UI(group="Output", unit="tokens", costly=True)
    ] = 1000
    """The longest reply, thinking included: gemini-4 needs 32768 or more, or it may say nothing."""
    safety_settings: Annotated[SafetySettings | None, UI(group="Output", advanced=True)] = None
    """How strictly to block harmful text."""

    thinking_level: Annotated[
        Literal["minimal", "low", "medium", "high"] | None, UI(group="Reasoning", costly=True)
    ] = None
    """How long to think before answering, on gemini-3 and later; unset, models think as long as they see fit."""
    thinking_budget: Annotated[
        int | None,
        Field(ge=-1, le=32_768),
        UI(group="Reasoning", unit="tokens", advanced=True, costly=True),
    ] = None
    """How many tokens to think, on gemini-2.5: -1 lets the model decide, 0 is off (on pro, 128 is least)."""

    service_tier: Annotated[
        Literal["standard", "flex", "priority"] | None,
        UI(group="Privacy and price", advanced=True, costly=True),
    ] = None
    """The processing class, which changes speed and price."""

    backend: Annotated[
        Literal["gemini", "vertex"],
        UI(
            group="Connection",
            advanced=True,
            binds_secret=True,
            labels={"gemini": "Gemini API", "vertex": "Vertex AI"},
        ),
    ] = "gemini"
    """Where to call: the Gemini API takes an API key, Vertex AI a service account and a project."""
    project: Annotated[
        str | None,
        Field(title="Cloud project", max_length=63, pattern="^[a-z0-9][a-z0-9.:-]*[a-z0-9]$"),
        UI(group="Connection", advanced=True),
    ] = None
    """The id of the Google Cloud project, on Vertex AI."""
    location: Annotated[
        str,
        Field(title="Cloud location", max_length=51, pattern="^[a-z0-9][a-z0-9-]*$", examples=LOCATIONS),
        UI(group="Connection", advanced=True, binds_secret=True),
    ] = "us-central1"
    """The Google Cloud region that answers, on Vertex AI."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Forbids(
            When("model", matches="^gemini-4"),
            ("temperature", "topP", "topK"),
            "gemini-4 does its own sampling; gemini-3 models take it.",
        ),
        Forbids(
            When("model", matches="^gemini-[12]"),
            ("thinkingLevel",),
            "This model takes no level: gemini-3 and later do, gemini-2.5 takes thinkingBudget.",
        ),
        Forbids(
            When("model", matches=r"^gemini-(1|2\.0|3|4)"),
            ("thinkingBudget",),
            "Only gemini-2.5 takes a budget; gemini-3 and later take thinkingLevel.",
        ),
        Forbids(When("thinkingLevel"), ("thinkingBudget",), "Set thinkingLevel or thinkingBudget, not both."),
        Limits(
            When("model", matches=r"^gemini-3(\.[0-9]+)?-pro"),
            "thinkingLevel",
            "This model thinks at level low or high.",
            one_of=("low", "high"),
        ),
        Limits(
            When("model", matches=r"^gemini-(3\.[78]-flash|4-argon)"),
            "thinkingLevel",
            "This model thinks at level low, medium or high.",
            one_of=("low", "medium", "high"),
        ),
        Requires(
            When("backend", equals="vertex"),
            ("project",),
            "Vertex AI needs the id of a Google Cloud project.",
        ),
        Forbids(
            When("backend", equals="gemini"),
            ("project", "location"),
            "The Gemini API has no projects and locations: set backend to vertex for them.",
        ),
    )


def _service_account(secret: SecretStr) -> SecretStr:
    """Refuse a key file that would send the worker elsewhere than to Google for its token."""
    try:
        key: Any = json.loads(secret.get_secret_value())
    except (ValueError, RecursionError):
        key = None
    expected = {"type": "service_account", "token_uri": "https://oauth2.googleapis.com/token"}
    if not isinstance(key, dict) or not expected.items() <= key.items():
        raise PydanticCustomError(
            "service_account",
            "Paste the whole JSON key file of a service account: an object with type service_account and "
            "token_uri https://oauth2.googleapis.com/token.",
        )
    return secret


class GoogleSecrets(ProviderSecrets):
    """What Google asks for: a key for the Gemini API, a service account for Vertex AI."""

    api_key: Annotated[
        Secret | None,
        Field(title="API key"),
        UI(pattern_hint=(r"^(AIza|AQ\.)", "Gemini keys start with AIza or AQ.")),
    ] = None
    """A key of the Gemini API."""
    service_account_json: Annotated[
        Annotated[Secret, AfterValidator(_service_account)] | None,
        Field(title="Service account"),
        UI(widget="textarea", pattern_hint=(r"^\s*\{", "A key file is a JSON object.")),
    ] = None
    """The whole JSON key file of a service account, for Vertex AI."""


_GEMINI = "https://generativelanguage.googleapis.com"


def _vertex(location: str) -> str:
    host = {
        "global": "aiplatform.googleapis.com",
        "us": "aiplatform.us.rep.googleapis.com",
        "eu": "aiplatform.eu.rep.googleapis.com",
    }.get(location, f"{location}-aiplatform.googleapis.com")
    return f"https://{host}"


def _urls(config: GoogleConfig) -> list[str]:
    if config.backend == "gemini":
        return [_GEMINI]
    return [_vertex(config.location), "https://oauth2.googleapis.com"]


def _http_options(url: str, version: str) -> Construct:
    # With a client of httpx's given, nothing is read from the environment and no redirect followed.
    client = Construct("httpx:AsyncClient", {"follow_redirects": False, "trust_env": False})
    arguments = {"base_url": url, "api_version": version, "httpx_async_client": client}
    return Construct("google.genai.types:HttpOptions", arguments)


def _gemini_client(secrets: Mapping[str, str]) -> Construct:
    arguments = {
        "vertexai": False,
        "api_key": secrets["apiKey"],
        "http_options": _http_options(_GEMINI, "v1beta"),
    }
    return Construct("google.genai:Client", arguments)


CLOUD_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
"""What a service account signs in for."""


def _vertex_client(settings: JsonObject, secrets: Mapping[str, str]) -> Construct:
    credentials = Construct(
        "google.oauth2.service_account:Credentials.from_service_account_info",
        {
            "info": json.loads(secrets["serviceAccountJson"]),
            "scopes": CLOUD_SCOPES,
        },
    )
    arguments = {
        "vertexai": True,
        "credentials": credentials,
        "project": settings["project"],
        "location": settings["location"],
        "http_options": _http_options(_vertex(settings["location"]), "v1beta1"),
    }
    return Construct("google.genai:Client", arguments)


_HARMS = {
    "harassment": "HARM_CATEGORY_HARASSMENT",
    "hateSpeech": "HARM_CATEGORY_HATE_SPEECH",
    "sexuallyExplicit": "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "dangerousContent": "HARM_CATEGORY_DANGEROUS_CONTENT",
}


def _safety(settings: JsonObject) -> list[JsonObject]:
    thresholds = settings.get("safetySettings", {})
    return [{"category": _HARMS[harm], "threshold": threshold} for harm, threshold in thresholds.items()]


def _livekit_gemini(settings: JsonObject, secrets: Mapping[str, str]) -> JsonObject:
    safety = _safety(settings)
    return {"vertexai": False, "api_key": secrets["apiKey"], **({"safety_settings": safety} if safety else {})}


def _livekit_vertex(settings: JsonObject, _secrets: Mapping[str, str]) -> JsonObject:
    safety = _safety(settings)
    return {
        "vertexai": True,
        "project": settings["project"],
        "location": settings["location"],
        **({"safety_settings": safety} if safety else {}),
    }


def _pipecat(settings: JsonObject) -> JsonObject:
    safety = _safety(settings)
    return {
        # It would ask for the least thinking where nothing is set, and LiveKit's class does not.
        "settings.use_provider_thinking_default": True,
        **({"settings.safety_settings": safety} if safety else {}),
    }


def _pipecat_gemini(settings: JsonObject, secrets: Mapping[str, str]) -> JsonObject:
    return {"api_key": secrets["apiKey"], **_pipecat(settings)}


def _pipecat_vertex(settings: JsonObject, secrets: Mapping[str, str]) -> JsonObject:
    return {
        "credentials": secrets["serviceAccountJson"],
        "project_id": settings["project"],
        "location": settings["location"],
        "http_options": _http_options(_vertex(settings["location"]), "v1beta1"),
        **_pipecat(settings),
    }


_ON_GEMINI = When("backend", equals="gemini")
_ON_VERTEX = When("backend", equals="vertex")
_BY_CLASS = "It chooses the class and the client."
_NOT_ON_GEMINI = {
    "backend": _BY_CLASS,
    "project": "The Gemini API has no projects.",
    "location": "The Gemini API has no locations.",
}
_LIVEKIT_TAKES = {
    "model": "model",
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "seed": "seed",
    "maxTokens": "max_output_tokens",
    "thinkingLevel": "thinking_config.thinking_level",
    "thinkingBudget": "thinking_config.thinking_budget",
    "serviceTier": "service_tier",
}
_PIPECAT_TAKES = {
    "model": "settings.model",
    "temperature": "settings.temperature",
    "topP": "settings.top_p",
    "topK": "settings.top_k",
    "presencePenalty": "settings.extra.presence_penalty",
    "frequencyPenalty": "settings.extra.frequency_penalty",
    "seed": "settings.seed",
    "maxTokens": "settings.max_tokens",
    "thinkingLevel": "settings.thinking.thinking_level",
    "thinkingBudget": "settings.thinking.thinking_budget",
    "serviceTier": "settings.extra.service_tier",
}
LIVEKIT = (
    Plugin(
        target="livekit.plugins.google:LLM",
        requires="livekit-plugins-google",
        when=_ON_GEMINI,
        takes=_LIVEKIT_TAKES,
        parts={"thinking_config": "google.genai.types:ThinkingConfig"},
        derives=_livekit_gemini,
        # The client that it makes itself reads the environment's address, and follows redirects.
        sets=lambda _settings, secrets: {"_client": _gemini_client(secrets)},
        derived_from=("safetySettings",),
        leaves_out=_NOT_ON_GEMINI,
    ),
    Plugin(
        target="livekit.plugins.google:LLM",
        requires="livekit-plugins-google",
        when=_ON_VERTEX,
        takes=_LIVEKIT_TAKES,
        parts={"thinking_config": "google.genai.types:ThinkingConfig"},
        derives=_livekit_vertex,
        sets=lambda settings, secrets: {"_client": _vertex_client(settings, secrets)},
        derived_from=("safetySettings", "project", "location"),
        leaves_out={"backend": _BY_CLASS},
    ),
)
PIPECAT = (
    Plugin(
        target="pipecat.services.google.llm:GoogleLLMService",
        requires="pipecat-ai",
        when=_ON_GEMINI,
        takes=_PIPECAT_TAKES,
        parts={
            "settings": "pipecat.services.google.llm:GoogleLLMService.Settings",
            "settings.thinking": "pipecat.services.google.llm:GoogleLLMService.ThinkingConfig",
        },
        derives=_pipecat_gemini,
        sets=lambda _settings, secrets: {"_client": _gemini_client(secrets)},
        derived_from=("safetySettings",),
        leaves_out=_NOT_ON_GEMINI,
    ),
    Plugin(
        target="voxplane.pipecat.vertex:GoogleVertexLLMService",
        requires="pipecat-ai",
        when=_ON_VERTEX,
        takes=_PIPECAT_TAKES,
        parts={
            "settings": "pipecat.services.google.vertex.llm:GoogleVertexLLMService.Settings",
            "settings.thinking": "pipecat.services.google.vertex.llm:GoogleVertexLLMService.ThinkingConfig",
        },
        derives=_pipecat_vertex,
        derived_from=("safetySettings", "project", "location"),
        leaves_out={"backend": _BY_CLASS},
    ),
)

# A wrong key is answered 400. Vertex signs in with a service account, for which there is no request of this kind.
PROBE = Probe(
    requests=(
        ProbeRequest(
            f"{_GEMINI}/v1beta/models/{{model}}",
            {"x-goog-api-key": "{apiKey}"},
            good=r'"name"\s*:',
            lists='"generateContent"',  # others have entries too, such as those that make vectors
            proves="both",
        ),
    ),
    signs=(
        Sign("key_rejected", (400,), "api_key_invalid|api key not valid|api key expired"),
        Sign("key_rejected", (403,), "reported as leaked"),
        Sign("unreachable", (400, 403), "user location is not supported"),
        Sign("model_unavailable", (404,), "not_found"),
        Sign("quota", (429,), "exceeded your current quota"),
    ),
    uncheckable=(When("backend", equals="vertex"),),
)

LISTS_MODELS = (
    Listing(
        request=ProbeRequest(
            f"{_GEMINI}/v1beta/models?pageSize=1000",
            {"x-goog-api-key": "{apiKey}"},
            when=When("backend", equals="gemini"),
        ),
        items="models",
        name="name",
        prefix="models/",
        label="displayName",
        serves=("supportedGenerationMethods", "generateContent"),
        next_page=("nextPageToken", "pageToken"),
    ),
)

PROVIDER = ProviderDefinition(
    key="google",
    type=ProviderType.LLM,
    name="Google Gemini",
    hosting="cloud",
    description="Quick, inexpensive multimodal models with a long memory, on the Gemini API or Vertex AI.",
    capabilities=(
        "streaming",
        "function_calling",
        "parallel_tool_calls",
        "vision",
        "audio_input",
        "video_input",
        "json_mode",
        "structured_outputs",
        "reasoning",
        "context_caching",
        "search_grounding",
    ),
    config=GoogleConfig,
    secrets=GoogleSecrets,
    requires_secrets=(
        Requires(When("backend", equals="gemini"), ("apiKey",), "The Gemini API needs an API key."),
        Requires(When("backend", equals="vertex"), ("serviceAccountJson",), "Vertex AI needs a service account."),
    ),
    destinations=Destinations[GoogleConfig](("backend", "location"), _urls),
    docs_url="https://ai.google.dev/gemini-api/docs/models",
    pricing_url="https://ai.google.dev/gemini-api/docs/pricing",
    console_url="https://aistudio.google.com/apikey",
    models=MODELS,
    versions=(NUMBER, LATEST),
    probe=PROBE,
    lists_models=LISTS_MODELS,
    livekit=LIVEKIT,
    pipecat=PIPECAT,
)

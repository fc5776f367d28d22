"""Deepgram: streaming speech to text in the cloud.

Facts: vendor docs and livekit-plugins-deepgram 1.8.9 / pipecat-ai 1.14.0, read 2026-11-22.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from voxplane.listing import Listing
from voxplane.plugin import Plugin
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
from voxplane.rules import Forbids, Limits, NotAbove, Rule, When
from voxplane.schemas import JsonObject, ProviderType

# fmt: off
MODELS = (
    *known("nova-3", note="Language multi lets callers switch between languages."),
    *known("nova-3-general"),
    *known("nova-3-medical", note="English."),
    *known("flux-general-en", note="Decides when a turn ends; English."),
    *known("flux-general-multi", note="Decides when a turn ends; ten languages."),
    *known("nova-2", "nova-2-general", note="For languages that Nova-3 lacks."),
    *known("nova-2-meeting", "nova-2-phonecall", "nova-2-finance", "nova-2-conversationalai",
           "nova-2-voicemail", "nova-2-video", "nova-2-medical", "nova-2-drivethru", "nova-2-automotive",
           "nova-2-atc", note="English."),
    *known("nova", "nova-general", "nova-phonecall", "enhanced", "enhanced-general", "enhanced-meeting",
           "enhanced-phonecall", "enhanced-finance", "base", "meeting", "phonecall", "finance",
           "conversationalai", "voicemail", "video",
           status="legacy", note="Whether it is still served is unverified."),
    *known("whisper-tiny", "whisper-base", "whisper-small", "whisper-medium", "whisper-large",
           status="legacy", note="Too slow for live calls."),
    *known("nova-3-multilingual", status="unverified", note="Use nova-3 with language multi instead."),
)
LANGUAGES = [
    "en-US", "en-GB", "en-AU", "en-NZ", "en-IN", "en", "multi", "zh", "zh-CN", "zh-TW", "zh-HK", "da", "nl",
    "fr", "fr-CA", "de", "hi", "hi-Latn", "id", "it", "ja", "ko", "no", "pl", "pt", "pt-BR", "ru", "es",
    "es-419", "es-LATAM", "sv", "ta", "taq", "th", "tr", "uk",
]
_NOVA_ONLY = (
    "language", "interimResults", "punctuate", "smartFormat", "noDelay", "fillerWords", "dictation",
    "diarize", "endpointingMs", "utteranceEndMs", "vadEvents",
)
_FLUX_ONLY = ("eotThreshold", "eagerEotThreshold", "eotTimeoutMs", "languageHints")
# fmt: on
Language = Annotated[str, Field(max_length=35, pattern="^[A-Za-z]{2,8}(-[A-Za-z0-9]{2,8})*$")]
Phrase = Annotated[str, Field(max_length=128, pattern=r"^[^\x00-\x1f]+$")]
BoostedWord = Annotated[str, Field(max_length=128, pattern=r"^[^:\x00-\x1f]+(:-?[0-9]+(\.[0-9]+)?)?$")]

_FLUX = "^flux-"
_BEFORE_NOVA_3 = (
    "^(nova-[12]|nova(-general|-phonecall)?$|enhanced|base|whisper-"
    "|(meeting|phonecall|finance|conversationalai|voicemail|video)$)"
)


_KNOWS_ONLY_ENGLISH = (
    "^nova-2-(meeting|phonecall|finance|conversationalai|voicemail|video|medical|drivethru|automotive|atc)$"
)


class DeepgramConfig(ProviderConfig):
    """How Deepgram listens."""

    model: Annotated[
        str,
        Field(max_length=100, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        UI(group="Model", widget="model-picker"),
    ] = "nova-3"
    """Nova models transcribe; Flux models also decide when the caller's turn ends."""
    language: Annotated[Language, Field(examples=LANGUAGES), UI(group="Model", widget="language")] = "en-US"
    """The language spoken, on Nova; multi means several, and nova-2 domains know only English, en or en-US."""
    language_hints: Annotated[
        list[Language], Field(max_length=10, default_factory=list), UI(group="Model", widget="tags")
    ]
    """The languages to expect, on flux-general-multi."""

    interim_results: Annotated[bool, UI(group="Transcript")] = True
    """Send transcripts before they are final, on Nova; Flux always does."""
    punctuate: Annotated[bool, Field(title="Punctuation"), UI(group="Transcript")] = True
    """Punctuate transcripts, on Nova; it helps to tell from the text when a turn ends."""
    smart_format: Annotated[bool, UI(group="Transcript")] = False
    """Write numbers, dates and amounts in their usual form, on Nova."""
    no_delay: Annotated[bool, UI(group="Transcript", advanced=True)] = True
    """With smart format, send a number or date before it is certainly complete, on Nova."""
    numerals: Annotated[bool, UI(group="Transcript")] = False
    """Write spoken numbers as digits."""
    filler_words: Annotated[bool, UI(group="Transcript", advanced=True)] = True
    """Keep um and uh in the transcript, on Nova."""
    dictation: Annotated[bool, UI(group="Transcript", advanced=True)] = False
    """Turn spoken punctuation into marks, on Nova."""
    diarize: Annotated[bool, Field(title="Speaker labels"), UI(group="Transcript", advanced=True)] = False
    """Tell speakers apart, on Nova."""

    endpointing_ms: Annotated[int, Field(title="Endpointing", ge=0, le=10_000), UI(group="Turn taking", unit="ms")] = 25
    """The silence that makes a result final, on Nova; 0 turns it off."""
    utterance_end_ms: Annotated[
        int | None,
        Field(title="Utterance end", ge=1000, le=5000),
        UI(group="Turn taking", unit="ms", advanced=True),
    ] = None
    """The gap between words that ends an utterance, on Nova; it needs interim results."""
    vad_events: Annotated[bool, Field(title="Speech-started events"), UI(group="Turn taking", advanced=True)] = True
    """Report when speech begins, on Nova; without it callers cannot interrupt as promptly."""
    eot_threshold: Annotated[float, Field(title="End-of-turn confidence", ge=0.5, le=0.9), UI(group="Turn taking")] = (
        0.7
    )
    """How sure Flux must be that the caller has finished before it ends the turn."""
    eager_eot_threshold: Annotated[
        float | None, Field(title="Eager end-of-turn confidence", ge=0.3, le=0.9), UI(group="Turn taking")
    ] = None
    """A lower confidence at which Flux lets the reply start early; unset, it does not."""
    eot_timeout_ms: Annotated[
        int, Field(title="End-of-turn timeout", ge=500, le=60_000), UI(group="Turn taking", unit="ms")
    ] = 5000
    """The silence after which Flux ends the turn, however unsure it is."""

    keyterms: Annotated[
        list[Phrase],
        Field(title="Key terms", max_length=100, default_factory=list, examples=[["Voxplane", "order number"]]),
        UI(group="Vocabulary", widget="tags"),
    ]
    """Names and terms to recognise better, on Nova-3 and Flux."""
    keywords: Annotated[
        list[BoostedWord],
        Field(max_length=100, default_factory=list, examples=[["Voxplane:2", "refund"]]),
        UI(group="Vocabulary", widget="tags"),
    ]
    """Words to recognise better, on nova-2 and older models; a boost may follow, as in refund:2."""

    profanity_filter: Annotated[bool, UI(group="Privacy")] = False
    """Mask profanity in the transcript."""
    redact: Annotated[
        list[Literal["pci", "numbers", "aggressive_numbers", "ssn", "true"]],
        Field(title="Redaction", max_length=5, default_factory=list),
        UI(group="Privacy", widget="tags"),
    ]
    """What to remove from the transcript; Flux takes either numbers or aggressive_numbers."""
    mip_opt_out: Annotated[bool, Field(title="Opt out of model improvement"), UI(group="Privacy", costly=True)] = False
    """Keep the vendor from training on the audio, which may cost more on some plans."""

    sample_rate: Annotated[
        Literal[8000, 16000, 24000, 44100, 48000], UI(group="Connection", unit="Hz", advanced=True)
    ] = 16000
    """The rate of the audio that is sent, 16-bit PCM."""
    tags: Annotated[
        list[Phrase],
        Field(title="Usage tags", max_length=20, default_factory=list),
        UI(group="Connection", widget="tags", advanced=True),
    ]
    """Labels for the vendor's usage reports."""
    base_url: Annotated[
        ServerUrl, Field(title="Base URL"), UI(group="Connection", advanced=True, binds_secret=True)
    ] = "https://api.deepgram.com"
    """The server to use, without /v1/listen: a regional or self-hosted one, if not the usual."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Forbids(When("model", matches=_FLUX), _NOVA_ONLY, "Flux models do not take this; a Nova model does."),
        # LiveKit would ask nova-2-general instead, without a word.
        Limits(
            When("model", matches=_KNOWS_ONLY_ENGLISH),
            "language",
            "This model knows only English: set en or en-US, or take nova-2-general.",
            one_of=("en", "en-US"),
        ),
        Forbids(
            When("model", matches=_FLUX, otherwise=True),
            _FLUX_ONLY,
            "Only Flux models, such as flux-general-en, take this.",
        ),
        Forbids(
            When("model", matches="^flux-general-en"),
            ("languageHints",),
            "Of the Flux models, only flux-general-multi takes language hints.",
        ),
        Limits(
            When("model", matches=_FLUX),
            "redact",
            "Flux redacts one thing: numbers or aggressive_numbers.",
            each_of=("numbers", "aggressive_numbers"),
            max_items=1,
        ),
        Forbids(
            When("model", matches=_BEFORE_NOVA_3),
            ("keyterms",),
            "Only Nova-3 and Flux take key terms; nova-2 and older models take keywords.",
        ),
        Forbids(
            When("model", matches="^(nova-3|flux-|whisper-)"),
            ("keywords",),
            "Only nova-2 and older models take keywords; Nova-3 and Flux take key terms.",
        ),
        Forbids(
            When("interimResults", equals=False),
            ("utteranceEndMs",),
            "Utterance end is found in interim results: switch interimResults on.",
        ),
    )
    orders: ClassVar[tuple[NotAbove, ...]] = (
        NotAbove(
            "eagerEotThreshold",
            "eotThreshold",
            "The eager confidence may be at most the end-of-turn confidence.",
        ),
    )


class DeepgramSecrets(ProviderSecrets):
    """What Deepgram asks for."""

    api_key: Annotated[
        Secret,
        Field(title="API key"),
        UI(pattern_hint=("^[0-9a-f]{40}$", "Deepgram keys usually are 40 hexadecimal characters.")),
    ]
    """A project's API key; it needs the scope usage:write."""


_IS_FLUX = When("model", matches=_FLUX)
_IS_NOVA = When("model", matches=_FLUX, otherwise=True)
_ONLY_FLUX: Mapping[str, str] = dict.fromkeys(_FLUX_ONLY, "Only Flux models take this.")
_ONLY_NOVA: Mapping[str, str] = dict.fromkeys((*_NOVA_ONLY, "keywords"), "Flux models do not take this.")
_PIPELINE_RATE = "Pipecat sends the audio as its pipeline has it, and tells the vendor that rate."


def _livekit_nova(settings: JsonObject, secrets: Mapping[str, str]) -> JsonObject:
    boosted = [word.partition(":") for word in settings.get("keywords", [])]
    keywords = [(word, float(boost or 1)) for word, _, boost in boosted]
    return {
        "api_key": secrets["apiKey"],
        "base_url": settings["baseUrl"].rstrip("/") + "/v1/listen",
        **({"keywords": keywords} if keywords else {}),
    }


def _livekit_flux(settings: JsonObject, secrets: Mapping[str, str]) -> JsonObject:
    return {
        "api_key": secrets["apiKey"],
        "base_url": settings["baseUrl"].rstrip("/") + "/v2/listen",
        **({"redact": settings["redact"][0]} if settings.get("redact") else {}),
    }


LIVEKIT = (
    Plugin(
        target="livekit.plugins.deepgram:STT",
        requires="livekit-plugins-deepgram",
        when=_IS_NOVA,
        takes={
            "model": "model",
            "language": "language",
            "interimResults": "interim_results",
            "punctuate": "punctuate",
            "smartFormat": "smart_format",
            "noDelay": "no_delay",
            "numerals": "numerals",
            "fillerWords": "filler_words",
            "dictation": "dictation",
            "diarize": "enable_diarization",
            "endpointingMs": "endpointing_ms",
            "utteranceEndMs": "utterance_end_ms",
            "vadEvents": "vad_events",
            "keyterms": "keyterm",
            "profanityFilter": "profanity_filter",
            "redact": "redact",
            "mipOptOut": "mip_opt_out",
            "sampleRate": "sample_rate",
            "tags": "tags",
        },
        derives=_livekit_nova,
        derived_from=("baseUrl", "keywords"),
        leaves_out=_ONLY_FLUX,
    ),
    Plugin(
        target="livekit.plugins.deepgram:STTv2",
        requires="livekit-plugins-deepgram",
        when=_IS_FLUX,
        takes={
            "model": "model",
            "languageHints": "language_hint",
            "numerals": "numerals",
            "eotThreshold": "eot_threshold",
            "eagerEotThreshold": "eager_eot_threshold",
            "eotTimeoutMs": "eot_timeout_ms",
            "keyterms": "keyterm",
            "profanityFilter": "profanity_filter",
            "mipOptOut": "mip_opt_out",
            "sampleRate": "sample_rate",
            "tags": "tags",
        },
        derives=_livekit_flux,
        derived_from=("baseUrl", "redact"),
        leaves_out=_ONLY_NOVA,
    ),
)


def _pipecat_nova(settings: JsonObject, secrets: Mapping[str, str]) -> JsonObject:
    return {
        "api_key": secrets["apiKey"],
        "base_url": settings["baseUrl"].rstrip("/"),
        "settings.endpointing": settings["endpointingMs"] or False,
    }


def _pipecat_flux(settings: JsonObject, secrets: Mapping[str, str]) -> JsonObject:
    eager = settings.get("eagerEotThreshold")
    return {
        "api_key": secrets["apiKey"],
        "url": re.sub("^http", "ws", settings["baseUrl"]).rstrip("/") + "/v2/listen",
        # The threshold makes Flux predict the end of a turn; Pipecat answers a prediction only when told to.
        **({"settings.eager_eot_threshold": eager, "enable_eager_end_of_turn": True} if eager is not None else {}),
        **({"settings.redact": settings["redact"][0]} if settings.get("redact") else {}),
    }


PIPECAT = (
    Plugin(
        target="pipecat.services.deepgram.stt:DeepgramSTTService",
        requires="pipecat-ai",
        when=_IS_NOVA,
        takes={
            "model": "settings.model",
            "language": "settings.language",
            "interimResults": "settings.interim_results",
            "punctuate": "settings.punctuate",
            "smartFormat": "settings.smart_format",
            "numerals": "settings.numerals",
            "dictation": "settings.dictation",
            "diarize": "settings.diarize",
            "utteranceEndMs": "settings.utterance_end_ms",
            "keyterms": "settings.keyterm",
            "keywords": "settings.keywords",
            "profanityFilter": "settings.profanity_filter",
            "redact": "settings.redact",
            "mipOptOut": "mip_opt_out",
            # The parameter `tag` would write a list as one string; what is extra goes out as it is.
            "tags": "settings.extra.tag",
        },
        parts={"settings": "pipecat.services.deepgram.stt:DeepgramSTTSettings"},
        derives=_pipecat_nova,
        derived_from=("baseUrl", "endpointingMs"),
        leaves_out={
            **_ONLY_FLUX,
            "noDelay": "Pipecat connects through the vendor's SDK, which has no parameter for this.",
            "fillerWords": "Pipecat connects through the vendor's SDK, which has no parameter for this.",
            "vadEvents": "Pipecat finds the beginning of speech itself and does not read these events.",
            "sampleRate": _PIPELINE_RATE,
        },
    ),
    Plugin(
        target="pipecat.services.deepgram.flux.stt:DeepgramFluxSTTService",
        requires="pipecat-ai",
        when=_IS_FLUX,
        takes={
            "model": "settings.model",
            "languageHints": "settings.language_hints",
            "numerals": "settings.numerals",
            "eotThreshold": "settings.eot_threshold",
            "eotTimeoutMs": "settings.eot_timeout_ms",
            "keyterms": "settings.keyterm",
            "profanityFilter": "settings.profanity_filter",
            "mipOptOut": "mip_opt_out",
            "tags": "tag",
        },
        parts={"settings": "pipecat.services.deepgram.flux.stt:DeepgramFluxSTTSettings"},
        derives=_pipecat_flux,
        derived_from=("baseUrl", "eagerEotThreshold", "redact"),
        leaves_out={**_ONLY_NOVA, "sampleRate": _PIPELINE_RATE},
    ),
)

# Who the key is, then what it may use. Credit is missing only when something is transcribed.
PROBE = Probe(
    requests=(
        ProbeRequest("{baseUrl}/v1/auth/token", {"Authorization": "Token {apiKey}"}, good=r"\A\s*\{"),
        ProbeRequest(
            "{baseUrl}/v1/models",
            {"Authorization": "Token {apiKey}"},
            good=r'"stt"\s*:',
            # nova-3 is short for nova-3-general; the voices that are listed too are all called aura-.
            lists=r'"canonical_name"\s*:\s*"(?!aura-){model}(-general)?"',
            proves="model",
        ),
    ),
    signs=(
        Sign("key_restricted", (401, 403), "insufficient_permissions"),
        Sign("quota", (402, 429), "payment_required|insufficient_quota"),
    ),
)

LISTS_MODELS = (
    Listing(
        request=ProbeRequest("{baseUrl}/v1/models", {"Authorization": "Token {apiKey}"}),
        items="stt",
        name="canonical_name",
    ),
)

PROVIDER = ProviderDefinition(
    key="deepgram",
    type=ProviderType.STT,
    name="Deepgram",
    hosting="cloud",
    description="Fast streaming transcripts in many languages, and Flux models that decide when a turn ends.",
    capabilities=(
        "streaming",
        "batch",
        "interim_results",
        "word_timestamps",
        "diarization",
        "language_detection",
        "code_switching",
        "keyterm_prompting",
        "keyword_boost",
        "turn_detection",
        "redaction",
        "profanity_filter",
        "smart_format",
        "endpointing",
    ),
    config=DeepgramConfig,
    secrets=DeepgramSecrets,
    destinations=Destinations[DeepgramConfig](("baseUrl",), lambda config: [config.base_url]),
    docs_url="https://developers.deepgram.com/docs/models-languages-overview",
    pricing_url="https://deepgram.com/pricing",
    console_url="https://console.deepgram.com",
    models=MODELS,
    probe=PROBE,
    lists_models=LISTS_MODELS,
    livekit=LIVEKIT,
    pipecat=PIPECAT,
)

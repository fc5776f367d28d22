"""ElevenLabs: expressive text to speech in the cloud.

Facts: vendor docs and livekit-plugins-elevenlabs 1.8.9 / pipecat-ai 1.14.0, read 2026-11-22.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from voxplane.destination import over_http
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
from voxplane.rules import Forbids, Rule, When
from voxplane.schemas import JsonObject, ProviderType

# fmt: off
MODELS = (
    *known("eleven_flash_v2_5", note="About 75 ms, 32 languages: the usual choice for calls."),
    *known("eleven_v4_turbo", note="Quick and expressive; takes audio tags in the text."),
    *known("eleven_v4", note="The highest quality; takes audio tags in the text."),
    *known("eleven_v3_conversational", note="Takes audio tags in the text."),
    *known("eleven_v3", note="Not made for live calls."),
    *known("eleven_multilingual_v2", note="29 languages."),
    *known("eleven_flash_v2", note="English."),
    *known("eleven_turbo_v2_5", "eleven_turbo_v2",
           status="deprecated", note="Flash does the same sooner; whether it is still served is unverified."),
    *known("eleven_multilingual_v1", "eleven_monolingual_v1",
           status="legacy", note="Whether it is still served is unverified."),
)
LANGUAGES = [
    "en", "ar", "bg", "cs", "da", "de", "el", "es", "fi", "fil", "fr", "hi", "hr", "hu", "id", "it", "ja",
    "ko", "ms", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sv", "ta", "tr", "uk", "vi", "zh",
]
Format = Literal[
    "pcm_8000", "pcm_16000", "pcm_22050", "pcm_24000", "pcm_32000", "pcm_44100", "pcm_48000",
    "mp3_22050_32", "mp3_24000_48", "mp3_44100", "mp3_44100_32", "mp3_44100_64", "mp3_44100_96",
    "mp3_44100_128", "mp3_44100_192",
    "opus_48000_32", "opus_48000_64", "opus_48000_96", "opus_48000_128", "opus_48000_192",
]
_NOT_IN_DIALOGUE = (
    "similarityBoost", "style", "useSpeakerBoost", "speed", "applyLanguageTextNormalization",
    "enableSsmlParsing", "chunkLengthSchedule",
)
# fmt: on
_IS_DIALOGUE = When("model", matches="^eleven_v[34]")


class ElevenLabsConfig(ProviderConfig):
    """How ElevenLabs speaks."""

    model: Annotated[
        str,
        Field(max_length=100, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        UI(group="Voice", widget="model-picker"),
    ] = "eleven_flash_v2_5"
    """The synthesis model."""
    voice_id: Annotated[
        str,
        Field(title="Voice", max_length=32, pattern="^[A-Za-z0-9]{15,32}$"),
        UI(group="Voice", widget="voice-picker"),
    ]
    """The id of a voice of your account, 15 to 32 letters and digits; no default, as stock voices are withdrawn."""
    language: Annotated[
        str | None,
        Field(max_length=10, pattern="^[a-z]{2,3}$", examples=LANGUAGES),
        UI(group="Voice", widget="language"),
    ] = None
    """The language to force, on v2.5, v3 and v4 models; unset, it follows the text."""

    stability: Annotated[float, Field(ge=0, le=1), UI(group="Delivery")] = 0.5
    """Low is expressive, high is steady."""
    similarity_boost: Annotated[float, Field(ge=0, le=1), UI(group="Delivery")] = 0.75
    """How close to stay to the original voice; not on v3 and v4."""
    style: Annotated[float, Field(ge=0, le=1), UI(group="Delivery", advanced=True)] = 0.0
    """How much to exaggerate the voice's style, which takes time above 0; not on v3 and v4."""
    use_speaker_boost: Annotated[bool, Field(title="Speaker boost"), UI(group="Delivery", advanced=True)] = True
    """Come closer to the original voice, which takes some time; not on v3 and v4."""
    speed: Annotated[float, Field(ge=0.7, le=1.2), UI(group="Delivery")] = 1.0
    """How fast to speak; not on v3 and v4."""

    apply_text_normalization: Annotated[
        Literal["auto", "on", "off"], Field(title="Text normalisation"), UI(group="Text", advanced=True)
    ] = "auto"
    """Whether to spell out numbers and the like; on needs an enterprise plan for flash and turbo v2.5."""
    apply_language_text_normalization: Annotated[
        bool | None, Field(title="Language-specific normalisation"), UI(group="Text", advanced=True)
    ] = None
    """Improve pronunciation by the rules of the language, mostly Japanese, which is slower; not on v3, v4."""
    enable_ssml_parsing: Annotated[bool, Field(title="SSML"), UI(group="Text", advanced=True)] = False
    """Obey break tags in the text, and phoneme tags on flash and turbo v2; not on v3 and v4."""
    auto_mode: Annotated[bool, UI(group="Text", advanced=True)] = True
    """Speak whole sentences at once; switch it off to use a chunk length schedule."""
    chunk_length_schedule: Annotated[
        list[Annotated[int, Field(ge=50, le=500)]],
        Field(max_length=10, default_factory=list, examples=[[120, 160, 250, 290]]),
        UI(group="Text", unit="characters", advanced=True),
    ]
    """How much text to collect before each piece of speech, without auto mode; not on v3 and v4."""

    output_format: Annotated[Format, UI(group="Audio", advanced=True)] = "pcm_24000"
    """The encoding of the audio; high rates need higher plans."""
    sync_alignment: Annotated[bool, Field(title="Word timestamps"), UI(group="Audio", advanced=True)] = True
    """Give the time of every word."""

    inactivity_timeout: Annotated[int, Field(ge=1, le=180), UI(group="Connection", unit="s", advanced=True)] = 180
    """How long the vendor keeps a silent connection open."""
    enable_logging: Annotated[bool, Field(title="Vendor logging"), UI(group="Privacy", advanced=True)] = True
    """Let the vendor keep texts and audio; off, for zero retention, needs an enterprise plan."""
    base_url: Annotated[
        ServerUrl,
        Field(
            title="Base URL",
            examples=["https://api.us.elevenlabs.io", "https://api.eu.residency.elevenlabs.io"],
        ),
        UI(group="Connection", advanced=True, binds_secret=True),
    ] = "https://api.elevenlabs.io"
    """The server to use, without /v1; a residency server needs a key that was made there."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Forbids(
            _IS_DIALOGUE,
            _NOT_IN_DIALOGUE,
            "Models of v3 and v4 do not take this; flash and multilingual models do.",
        ),
        Forbids(
            When("autoMode", equals=True),
            ("chunkLengthSchedule",),
            "Auto mode sends whole sentences: switch autoMode off to set a schedule.",
        ),
    )


class ElevenLabsSecrets(ProviderSecrets):
    """What ElevenLabs asks for."""

    api_key: Annotated[
        Secret,
        Field(title="API key"),
        UI(pattern_hint=("^(sk_|[0-9a-f]{32}$)", "ElevenLabs keys usually start with sk_.")),
    ]
    """A key with the permission text_to_speech; with user_read it can also be verified exactly."""


def _livekit(settings: JsonObject, secrets: Mapping[str, str]) -> JsonObject:
    return {
        "api_key": secrets["apiKey"],
        "base_url": over_http(settings["baseUrl"]).rstrip("/") + "/v1",
        # VoiceSettings demands it, though models of v3 and v4 have none; None is not sent.
        "voice_settings.similarity_boost": settings.get("similarityBoost"),
    }


LIVEKIT = (
    Plugin(
        target="livekit.plugins.elevenlabs:TTS",
        requires="livekit-plugins-elevenlabs",
        takes={
            "model": "model",
            "voiceId": "voice_id",
            "language": "language",
            "stability": "voice_settings.stability",
            "style": "voice_settings.style",
            "useSpeakerBoost": "voice_settings.use_speaker_boost",
            "speed": "voice_settings.speed",
            "applyTextNormalization": "apply_text_normalization",
            "applyLanguageTextNormalization": "apply_language_text_normalization",
            "enableSsmlParsing": "enable_ssml_parsing",
            "autoMode": "auto_mode",
            "chunkLengthSchedule": "chunk_length_schedule",
            "outputFormat": "encoding",
            "syncAlignment": "sync_alignment",
            "inactivityTimeout": "inactivity_timeout",
            "enableLogging": "enable_logging",
        },
        parts={"voice_settings": "livekit.plugins.elevenlabs:VoiceSettings"},
        derives=_livekit,
        derived_from=("baseUrl", "similarityBoost"),
    ),
)


def _pipecat(settings: JsonObject, secrets: Mapping[str, str]) -> JsonObject:
    encoding, rate, *_ = settings["outputFormat"].split("_")
    return {
        "api_key": secrets["apiKey"],
        "url": re.sub("^http", "ws", settings["baseUrl"]).rstrip("/"),
        # Pipecat always asks for PCM: the rate of a compressed format may need a higher plan there.
        **({"sample_rate": int(rate)} if encoding == "pcm" else {}),
    }


_PIPECAT_DECIDES = {
    "inactivityTimeout": "Pipecat keeps the connection open itself.",
    "syncAlignment": "Pipecat always asks for word times.",
}
PIPECAT = (
    Plugin(
        target="pipecat.services.elevenlabs.dialogue.tts:ElevenLabsDialogueTTSService",
        requires="pipecat-ai",
        when=_IS_DIALOGUE,
        takes={
            "model": "settings.model",
            "voiceId": "settings.voice",
            "language": "settings.language",
            "stability": "settings.stability",
            "enableLogging": "enable_logging",
        },
        parts={"settings": "pipecat.services.elevenlabs.dialogue.tts:ElevenLabsDialogueTTSSettings"},
        derives=_pipecat,
        derived_from=("baseUrl", "outputFormat"),
        leaves_out={
            **dict.fromkeys(_NOT_IN_DIALOGUE, "Models of v3 and v4 do not take this."),
            **_PIPECAT_DECIDES,
            "applyTextNormalization": "Pipecat's class for v3 and v4 has no parameter for this.",
            "autoMode": "Pipecat's class for v3 and v4 always sends whole sentences.",
        },
    ),
    Plugin(
        target="pipecat.services.elevenlabs.tts:ElevenLabsTTSService",
        requires="pipecat-ai",
        takes={
            "model": "settings.model",
            "voiceId": "settings.voice",
            "language": "settings.language",
            "stability": "settings.stability",
            "similarityBoost": "settings.similarity_boost",
            "style": "settings.style",
            "useSpeakerBoost": "settings.use_speaker_boost",
            "speed": "settings.speed",
            "applyTextNormalization": "settings.apply_text_normalization",
            "enableSsmlParsing": "enable_ssml_parsing",
            "autoMode": "auto_mode",
            "enableLogging": "enable_logging",
        },
        parts={"settings": "pipecat.services.elevenlabs.tts:ElevenLabsTTSSettings"},
        derives=_pipecat,
        derived_from=("baseUrl", "outputFormat"),
        leaves_out={
            **_PIPECAT_DECIDES,
            "applyLanguageTextNormalization": "Pipecat's class has no parameter for this.",
            "chunkLengthSchedule": "Pipecat's class has no parameter for this.",
        },
    ),
)

# Keys with the right to speak and no other are what the vendor advises, and it answers 401 to them too: where one may
# not read its user, another list says whether it is a key at all.
PROBE = Probe(
    requests=(
        ProbeRequest(
            "{baseUrl}/v1/user",
            {"xi-api-key": "{apiKey}"},
            good=r'"subscription"\s*:',
            goes_on=(("key_restricted", 401), ("key_restricted", 403)),
        ),
        ProbeRequest(
            "{baseUrl}/v1/models",
            {"xi-api-key": "{apiKey}"},
            good=r'"model_id"\s*:',
            lists=r'"model_id"\s*:\s*"{model}"',
            proves="model",
        ),
    ),
    signs=(
        Sign("unreachable", (401, 403), "detected_unusual_activity"),  # the free tier is not served at this address
        Sign("key_restricted", (401, 403), "missing_permissions"),
        Sign("quota", (401, 402, 429), "quota_exceeded|payment_required"),
    ),
)

LISTS_MODELS = (
    Listing(
        request=ProbeRequest("{baseUrl}/v1/models", {"xi-api-key": "{apiKey}"}),
        name="model_id",
        label="name",
        keeps="^eleven_",
    ),
)
LISTS_VOICES = (
    Listing(
        request=ProbeRequest("{baseUrl}/v2/voices?page_size=100", {"xi-api-key": "{apiKey}"}),
        items="voices",
        name="voice_id",
        label="name",
        preview="preview_url",
        # No page of the docs names the place: it is the one in recorded answers of GET /v1/voices, such as
        # https://github.com/manabuaota/video-app-candidate-assessment-main/blob/main/src/data/voices.js
        preview_bases=("https://storage.googleapis.com/eleven-public-prod",),
        next_page=("next_page_token", "next_page_token"),
    ),
)

PROVIDER = ProviderDefinition(
    key="elevenlabs",
    type=ProviderType.TTS,
    name="ElevenLabs",
    hosting="cloud",
    description="Expressive voices in many languages, cloned ones too, with models quick enough for calls.",
    capabilities=(
        "streaming",
        "websocket",
        "word_timestamps",
        "voice_cloning",
        "multilingual",
        "audio_tags",
        "ssml_breaks",
        "pronunciation_dictionaries",
        "speed_control",
    ),
    config=ElevenLabsConfig,
    secrets=ElevenLabsSecrets,
    destinations=Destinations[ElevenLabsConfig](("baseUrl",), lambda config: [config.base_url]),
    docs_url="https://elevenlabs.io/docs/overview/models",
    pricing_url="https://elevenlabs.io/pricing/api",
    console_url="https://elevenlabs.io/app/settings/api-keys",
    models=MODELS,
    probe=PROBE,
    lists_models=LISTS_MODELS,
    lists_voices=LISTS_VOICES,
    livekit=LIVEKIT,
    pipecat=PIPECAT,
)

"""Cartesia: low-latency text to speech in the cloud.

Facts: vendor docs and livekit-plugins-cartesia 1.8.9 / pipecat-ai 1.14.0, read 2026-11-22.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from voxplane.destination import over_http
from voxplane.listing import Listing
from voxplane.model_version import DAY
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
from voxplane.rules import Forbids, Limits, Rule, When
from voxplane.schemas import JsonObject, ProviderType, Voice

# fmt: off
MODELS = (
    *known("sonic-3.6", "sonic-3.6-2026-08-27", note="44 languages."),
    *known("sonic-3.5", "sonic-3.5-2026-05-04"),
    *known("sonic-3", "sonic-3-2026-01-12", "sonic-3-2025-10-27"),
    *known("sonic-latest", note="Moves to the newest; LiveKit drops speed, volume and emotion on it."),
    *known("sonic-2", "sonic-2-2025-06-11", "sonic-2-2025-05-08", "sonic-2-2025-04-16",
           status="legacy", note="Eight languages."),
    *known("sonic-turbo", "sonic-turbo-2025-06-04", status="legacy", note="Nine languages."),
    *known("sonic", "sonic-english", "sonic-multilingual", "sonic-2-2025-03-07", "sonic-turbo-2025-03-07",
           status="retired", retires_on=date(2026, 6, 1)),
    *known("sonic-lite", "sonic-preview", status="unverified", note="LiveKit drops speed, volume and emotion on it."),
)
VOICES = (
    Voice(name="f786b574-daa5-4673-aa0c-cbe3e8534c02", label="Katie"),
    Voice(name="a5136bf9-224c-4d76-b823-52bd5efcffcc", label="Jameson"),
)
LANGUAGES = [
    "en", "fr", "de", "es", "pt", "zh", "ja", "hi", "it", "ko", "nl", "pl", "ru", "sv", "tr", "tl", "bg",
    "ro", "ar", "cs", "el", "fi", "hr", "ms", "sk", "da", "ta", "uk", "hu", "no", "vi", "bn", "th", "he",
    "ka", "id", "te", "gu", "kn", "ml", "mr", "pa", "or", "ur",
]
EMOTIONS = [
    "neutral", "happy", "excited", "enthusiastic", "elated", "euphoric", "triumphant", "amazed", "surprised",
    "flirtatious", "curious", "content", "peaceful", "serene", "calm", "grateful", "affectionate", "trust",
    "sympathetic", "anticipation", "mysterious", "angry", "mad", "outraged", "frustrated", "agitated",
    "threatened", "disgusted", "contempt", "envious", "sarcastic", "ironic", "sad", "dejected",
    "melancholic", "disappointed", "hurt", "guilty", "bored", "tired", "rejected", "nostalgic", "wistful",
    "apologetic", "hesitant", "insecure", "confused", "resigned", "anxious", "panicked", "alarmed", "scared",
    "proud", "confident", "distant", "skeptical", "contemplative", "determined",
]
# fmt: on
_UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_SONIC_2_LANGUAGES = ("en", "de", "es", "fr", "ja", "ko", "pt", "zh")
# What it matches is not sk_car_admin_, spelt without look-ahead.
_NO_ADMIN_KEY = "^sk_car_([^a]|a[^d]|ad[^m]|adm[^i]|admi[^n]|admin[^_])"


class CartesiaConfig(ProviderConfig):
    """How Cartesia speaks."""

    model: Annotated[
        str,
        Field(max_length=100, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        UI(group="Voice", widget="model-picker"),
    ] = "sonic-3.6"
    """The synthesis model; one with a date stays as it is."""
    voice_id: Annotated[
        str,
        Field(title="Voice", max_length=36, pattern=f"^{_UUID}$"),
        UI(group="Voice", widget="voice-picker"),
    ] = "f786b574-daa5-4673-aa0c-cbe3e8534c02"
    """The id of a voice; the default is the public voice Katie."""
    language: Annotated[
        str,
        Field(max_length=10, pattern="^[a-z]{2,3}(-[A-Za-z0-9]{2,4})?$", examples=LANGUAGES),
        UI(group="Voice", widget="language"),
    ] = "en"
    """The language of the text; older models know fewer."""
    pronunciation_dict_id: Annotated[
        str | None,
        Field(title="Pronunciation dictionary", max_length=100, pattern="^[A-Za-z0-9_-]+$"),
        UI(group="Voice", advanced=True),
    ] = None
    """The id of a dictionary of yours, on sonic-3 models: letters, digits, - and _."""

    speed: Annotated[float | None, Field(ge=0.6, le=1.5), UI(group="Delivery")] = None
    """How fast to speak, on sonic-3 models."""
    volume: Annotated[float | None, Field(ge=0.5, le=2), UI(group="Delivery")] = None
    """How loud to speak, on sonic-3 models."""
    emotion: Annotated[
        str | None, Field(max_length=40, pattern="^[A-Za-z]+$", examples=EMOTIONS), UI(group="Delivery")
    ] = None
    """The mood of the voice in one word, on sonic-3 models."""

    sample_rate: Annotated[
        Literal[8000, 16000, 22050, 24000, 44100, 48000], UI(group="Audio", unit="Hz", advanced=True)
    ] = 24000
    """The rate of the audio, 16-bit PCM."""
    word_timestamps: Annotated[bool, UI(group="Audio", advanced=True)] = True
    """Give the time of every word."""
    max_buffer_delay_ms: Annotated[
        int | None,
        Field(title="Maximum buffer delay", ge=0, le=5000),
        UI(group="Audio", unit="ms", advanced=True),
    ] = None
    """How long the vendor may wait for more text before it speaks."""

    api_version: Annotated[
        str | None,
        Field(
            title="API version",
            max_length=10,
            pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
            examples=["2026-03-01"],
        ),
        UI(group="Connection", advanced=True),
    ] = None
    """The date of the vendor's API; best left unset, because each framework is written for its own."""
    base_url: Annotated[
        ServerUrl, Field(title="Base URL"), UI(group="Connection", advanced=True, binds_secret=True)
    ] = "https://api.cartesia.ai"
    """The server to use: a proxy of yours, if not the usual."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Forbids(
            When("model", matches="^sonic($|-(2|20[0-9]{2}|turbo|english|multilingual|latest|lite|preview)(-|$))"),
            ("speed", "volume", "emotion", "pronunciationDictId"),
            "Only sonic-3 models, such as sonic-3.6, take this.",
        ),
        Limits(
            When("model", matches="^sonic-2(-|$)"),
            "language",
            "This model speaks en, de, es, fr, ja, ko, pt and zh; sonic-3.6 speaks 44 languages.",
            one_of=_SONIC_2_LANGUAGES,
        ),
        Limits(
            When("model", matches="^sonic-turbo(-|$)"),
            "language",
            "This model speaks en, de, es, fr, ja, ko, pt, zh and hi; sonic-3.6 speaks 44 languages.",
            one_of=(*_SONIC_2_LANGUAGES, "hi"),
        ),
    )


class CartesiaSecrets(ProviderSecrets):
    """What Cartesia asks for."""

    api_key: Annotated[
        Secret,
        Field(title="API key"),
        UI(pattern_hint=(_NO_ADMIN_KEY, "Cartesia keys start with sk_car_; admin keys cannot speak.")),
    ]
    """An ordinary key, not an admin key."""


def _livekit(settings: JsonObject, secrets: Mapping[str, str]) -> JsonObject:
    return {
        "api_key": secrets["apiKey"],
        "base_url": over_http(settings["baseUrl"]).rstrip("/"),
    }


LIVEKIT = (
    Plugin(
        target="livekit.plugins.cartesia:TTS",
        requires="livekit-plugins-cartesia",
        takes={
            "model": "model",
            "voiceId": "voice",
            "language": "language",
            "pronunciationDictId": "pronunciation_dict_id",
            "speed": "speed",
            "volume": "volume",
            "emotion": "emotion",
            "sampleRate": "sample_rate",
            "wordTimestamps": "word_timestamps",
            "apiVersion": "api_version",
        },
        derives=_livekit,
        derived_from=("baseUrl",),
        leaves_out={"maxBufferDelayMs": "LiveKit sends whole sentences and asks for no delay."},
    ),
)


def _pipecat(settings: JsonObject, secrets: Mapping[str, str]) -> JsonObject:
    return {
        "api_key": secrets["apiKey"],
        "url": re.sub("^http", "ws", settings["baseUrl"]).rstrip("/") + "/tts/websocket",
    }


PIPECAT = (
    Plugin(
        target="pipecat.services.cartesia.tts:CartesiaTTSService",
        requires="pipecat-ai",
        takes={
            "model": "settings.model",
            "voiceId": "settings.voice",
            "language": "settings.language",
            "pronunciationDictId": "settings.pronunciation_dict_id",
            "speed": "settings.generation_config.speed",
            "volume": "settings.generation_config.volume",
            "emotion": "settings.generation_config.emotion",
            "sampleRate": "sample_rate",
            "maxBufferDelayMs": "max_buffer_delay_ms",
        },
        parts={
            "settings": "pipecat.services.cartesia.tts:CartesiaTTSSettings",
            "settings.generation_config": "pipecat.services.cartesia.tts:GenerationConfig",
        },
        derives=_pipecat,
        derived_from=("baseUrl",),
        leaves_out={
            "wordTimestamps": "Pipecat always asks for word times.",
            "apiVersion": "Pipecat speaks one version of the vendor's API.",
        },
    ),
)

# The vendor lists voices, not models, so a model is left open.
PROBE = Probe(
    requests=(
        ProbeRequest(
            "{baseUrl}/voices?limit=1",
            {"Authorization": "Bearer {apiKey}", "Cartesia-Version": "2026-03-01"},
            good=r'"data"\s*:',
        ),
    ),
    signs=(Sign("quota", (402, 429), "quota_exceeded|credits"),),
)

# Without samples: `preview_file_url` leads to files.cartesia.ai and wants the key (cartesia 4.2.0, types/voice.py),
# which is approved for api.cartesia.ai.
LISTS_VOICES = (
    Listing(
        request=ProbeRequest(
            "{baseUrl}/voices?limit=100",
            {"Authorization": "Bearer {apiKey}", "Cartesia-Version": "2026-03-01"},
        ),
        items="data",
        label="name",
        language="language",
        next_page=("next_page", "starting_after"),
    ),
)

PROVIDER = ProviderDefinition(
    key="cartesia",
    type=ProviderType.TTS,
    name="Cartesia",
    hosting="cloud",
    description="Voices that start to speak almost at once, with control over speed, loudness and mood.",
    capabilities=(
        "streaming",
        "websocket",
        "sse",
        "word_timestamps",
        "phoneme_timestamps",
        "voice_cloning",
        "speed_control",
        "volume_control",
        "emotion_control",
        "pronunciation_dictionaries",
        "multilingual",
    ),
    config=CartesiaConfig,
    secrets=CartesiaSecrets,
    destinations=Destinations[CartesiaConfig](("baseUrl",), lambda config: [config.base_url]),
    docs_url="https://docs.cartesia.ai/build-with-cartesia/tts-models/latest",
    pricing_url="https://cartesia.ai/pricing",
    console_url="https://play.cartesia.ai/keys",
    models=MODELS,
    versions=(DAY,),
    voices=VOICES,
    probe=PROBE,
    lists_voices=LISTS_VOICES,
    livekit=LIVEKIT,
    pipecat=PIPECAT,
)

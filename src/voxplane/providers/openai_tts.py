"""OpenAI TTS: text to speech by OpenAI, whose every model on this interface ends.

Facts: vendor docs and livekit-plugins-openai 1.8.9 / pipecat-ai 1.14.0, read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from voxplane.destination import over_http
from voxplane.listing import Listing
from voxplane.model_version import DAY, MONTH_AND_DAY
from voxplane.plugin import Construct, Plugin
from voxplane.probe import ProbeRequest, Sign
from voxplane.provider import (
    UI,
    Destinations,
    ProviderConfig,
    ProviderDefinition,
    ProviderSecrets,
    Secret,
    ServerUrl,
    known,
    known_voices,
)
from voxplane.rules import Forbids, Rule, When
from voxplane.schemas import JsonObject, ProviderType
from voxplane.vendor_sdk import OPENAI_PROBE, openai_client

# fmt: off
MODELS = known(
    "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15", "tts-1", "tts-1-hd",
    status="deprecated", retires_on=date(2027, 1, 6), note="No successor on this interface is named.",
)
VOICES = known_voices(
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer",
    "verse",
)
# fmt: on


class OpenAITTSConfig(ProviderConfig):
    """How OpenAI speaks."""

    model: Annotated[
        str,
        Field(max_length=100, pattern="^[A-Za-z0-9][A-Za-z0-9._:/-]*$"),
        UI(group="Voice", widget="model-picker"),
    ] = "gpt-4o-mini-tts"
    """The speech model."""
    voice: Annotated[
        str,
        Field(max_length=100, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        UI(group="Voice", widget="voice-picker"),
    ] = "alloy"
    """The voice; ballad, cedar, marin and verse belong to gpt-4o-mini-tts."""

    instructions: Annotated[
        str | None,
        Field(max_length=4096, pattern=r"^[^\x00]+$", examples=["Speak warmly and without haste."]),
        UI(group="Delivery", widget="textarea"),
    ] = None
    """How to speak, in your own words; not on tts-1 and tts-1-hd."""
    speed: Annotated[float, Field(ge=0.25, le=4), UI(group="Delivery")] = 1.0
    """How fast to speak."""

    response_format: Annotated[
        Literal["mp3", "opus", "aac", "flac", "wav", "pcm"],
        Field(title="Format"),
        UI(group="Audio", advanced=True),
    ] = "pcm"
    """The encoding of the audio, 24 kHz mono."""

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
            When("model", matches="^tts-1"),
            ("instructions",),
            "This model takes no instructions; gpt-4o-mini-tts does.",
        ),
    )


class OpenAITTSSecrets(ProviderSecrets):
    """What OpenAI asks for."""

    api_key: Annotated[Secret, Field(title="API key"), UI(pattern_hint=("^sk-", "OpenAI keys start with sk-."))]
    """An OpenAI key; without one here, that of the provider OpenAI is used."""


def _client(settings: JsonObject, secrets: Mapping[str, str]) -> Construct:
    return openai_client(
        api_key=secrets["apiKey"],
        base_url=over_http(settings["baseUrl"]),
        organization=settings.get("organization"),
        project=settings.get("project"),
    )


LIVEKIT = (
    Plugin(
        target="livekit.plugins.openai:TTS",
        requires="livekit-plugins-openai",
        takes={
            "model": "model",
            "voice": "voice",
            "instructions": "instructions",
            "speed": "speed",
            "responseFormat": "response_format",
        },
        derives=lambda settings, secrets: {"client": _client(settings, secrets)},
        # It closes only a client that it made itself.
        sets=lambda _settings, _secrets: {"_owns_client": True},
        derived_from=("organization", "project", "baseUrl"),
    ),
)
PIPECAT = (
    Plugin(
        target="pipecat.services.openai.tts:OpenAITTSService",
        requires="pipecat-ai",
        takes={
            "model": "settings.model",
            "voice": "settings.voice",
            "instructions": "settings.instructions",
            "speed": "settings.speed",
        },
        parts={"settings": "pipecat.services.openai.tts:OpenAITTSSettings"},
        derives=lambda settings, secrets: {"api_key": secrets["apiKey"], "base_url": over_http(settings["baseUrl"])},
        # The client that it makes itself reads the environment, retries and follows redirects.
        sets=lambda settings, secrets: {"_client": _client(settings, secrets)},
        derived_from=("organization", "project", "baseUrl"),
        leaves_out={"responseFormat": "Pipecat always asks for PCM."},
    ),
)

_ENTRY, _LIST = OPENAI_PROBE.requests
# Many a server that speaks has no list of what it speaks with: then nothing but a call shows whether it works.
PROBE = replace(OPENAI_PROBE, requests=(_ENTRY, replace(_LIST, signs=(Sign("not_checkable", (404, 405)),))))

LISTS_MODELS = (
    Listing(
        request=ProbeRequest("{baseUrl}/models", {"Authorization": "Bearer {apiKey}"}),
        items="data",
        keeps="^tts-|-tts(-|$)",
        retires_on="shutdown_date",
    ),
)

PROVIDER = ProviderDefinition(
    key="openai-tts",
    type=ProviderType.TTS,
    name="OpenAI TTS",
    hosting="cloud",
    description="OpenAI's voices, which take instructions on how to speak.",
    capabilities=("http_streaming", "instructions", "speed_control"),
    config=OpenAITTSConfig,
    secrets=OpenAITTSSecrets,
    destinations=Destinations[OpenAITTSConfig](("baseUrl",), lambda config: [config.base_url]),
    docs_url="https://developers.openai.com/api/docs/guides/text-to-speech",
    pricing_url="https://developers.openai.com/api/docs/pricing",
    console_url="https://platform.openai.com/api-keys",
    models=MODELS,
    versions=(DAY, MONTH_AND_DAY),
    voices=VOICES,
    probe=PROBE,
    lists_models=LISTS_MODELS,
    livekit=LIVEKIT,
    pipecat=PIPECAT,
    shares_secrets_with="openai",
)

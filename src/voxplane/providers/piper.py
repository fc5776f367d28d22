"""Piper: fast text to speech on one's own machines.

Facts: piper-tts 1.8.0, vendor docs and pipecat-ai 1.14.0, read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from voxplane.destination import over_http
from voxplane.listing import Listing
from voxplane.plugin import Plugin
from voxplane.probe import Probe, ProbeRequest
from voxplane.provider import (
    UI,
    Destinations,
    LocalServerUrl,
    NoSecrets,
    ProviderConfig,
    ProviderDefinition,
    known_voices,
)
from voxplane.schemas import JsonObject, ProviderType

# The voice file is the model.
VOICES = known_voices("en_US-lessac-medium", "en_US-amy-medium", "en_US-ryan-high", "en_GB-alan-medium")
# Names of voices become names of files, so no dot, slash or backslash.
_VOICE = r"^[A-Za-z]{2,3}_[A-Za-z0-9]{2,4}-[^\x00-\x20./\\-]+-[^\x00-\x20./\\-]+$"


class PiperConfig(ProviderConfig):
    """How Piper speaks."""

    voice: Annotated[
        str,
        Field(max_length=100, pattern=_VOICE),
        UI(group="Voice", widget="voice-picker"),
    ] = "en_US-lessac-medium"
    """The voice, as language_REGION-name-quality; it must be present where Piper runs."""
    speaker_id: Annotated[int | None, Field(title="Speaker", ge=0, le=10_000), UI(group="Voice", advanced=True)] = None
    """The number of the speaker in a voice that has several; unset, the voice's own choice."""

    length_scale: Annotated[float, Field(ge=0.25, le=4), UI(group="Delivery")] = 1.0
    """How long the speech takes: 0.5 is twice as fast, 2 is half as fast."""
    volume: Annotated[float, Field(ge=0, le=4), UI(group="Delivery")] = 1.0
    """How loud the speech is; 1 leaves it as it is."""
    normalize_audio: Annotated[bool, Field(title="Normalise audio"), UI(group="Delivery", advanced=True)] = True
    """Bring every piece of audio to its full range, before the volume applies."""
    sentence_silence: Annotated[float, Field(ge=0, le=5), UI(group="Delivery", unit="s", advanced=True)] = 0.0
    """The pause after each sentence."""
    noise_scale: Annotated[float, Field(ge=0, le=2), UI(group="Delivery", advanced=True)] = 0.667
    """How much the voice varies."""
    noise_w_scale: Annotated[
        float, Field(title="Rhythm noise scale", ge=0, le=2), UI(group="Delivery", advanced=True)
    ] = 0.8
    """How much the length of sounds varies."""

    base_url: Annotated[
        LocalServerUrl,
        Field(title="Server URL"),
        UI(group="Connection", advanced=True, binds_secret=True),
    ] = "http://127.0.0.1:5000"
    """The Piper HTTP server, without /synthesize; plain http only on the worker's own machine."""


def _nothing_else(_settings: JsonObject, _secrets: Mapping[str, str]) -> JsonObject:
    return {}


def _pipecat(settings: JsonObject, _secrets: Mapping[str, str]) -> JsonObject:
    # Pipecat posts to the address as it stands.
    return {"base_url": over_http(settings["baseUrl"]).rstrip("/") + "/synthesize"}


LIVEKIT = (
    Plugin(
        target="voxplane.speech.piper:TTS",
        requires="livekit-agents",
        takes={
            "voice": "voice",
            "speakerId": "speaker_id",
            "lengthScale": "length_scale",
            "volume": "volume",
            "normalizeAudio": "normalize_audio",
            "sentenceSilence": "sentence_silence",
            "noiseScale": "noise_scale",
            "noiseWScale": "noise_w_scale",
            "baseUrl": "base_url",
        },
        derives=_nothing_else,
    ),
)
PIPECAT = (
    Plugin(
        target="voxplane.speech.pipecat:PiperHttpTTSService",
        requires="pipecat-ai",
        takes={"voice": "settings.voice"},
        parts={"settings": "pipecat.services.piper.tts:PiperHttpTTSSettings"},
        derives=_pipecat,
        derived_from=("baseUrl",),
        leaves_out=dict.fromkeys(
            ("speakerId", "lengthScale", "volume", "normalizeAudio", "sentenceSilence", "noiseScale", "noiseWScale"),
            "Pipecat's service sends the text and the voice, and nothing else.",
        ),
    ),
)

PROBE = Probe(
    requests=(ProbeRequest("{baseUrl}/voices", good=r"\A\s*\{", lists=r'"{model}"\s*:', proves="both"),),
    model_setting="voice",
)

LISTS_VOICES = (Listing(request=ProbeRequest("{baseUrl}/voices"), name="name"),)

PROVIDER = ProviderDefinition(
    key="piper",
    type=ProviderType.TTS,
    name="Piper (local)",
    hosting="local",
    description="Natural voices in over forty languages on your own machines, quick even without a GPU.",
    capabilities=("offline", "sentence_streaming", "multi_speaker", "phoneme_alignments", "speed_control"),
    config=PiperConfig,
    secrets=NoSecrets,
    destinations=Destinations[PiperConfig](("baseUrl",), lambda config: [config.base_url]),
    docs_url="https://github.com/OHF-Voice/piper1-gpl",
    voices=VOICES,
    probe=PROBE,
    lists_voices=LISTS_VOICES,
    livekit=LIVEKIT,
    pipecat=PIPECAT,
)

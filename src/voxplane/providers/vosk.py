"""Vosk: light streaming speech to text on one's own machines.

Facts: vosk 0.3.45 and vendor docs, read 2026-11-22; LiveKit and Pipecat have no class for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from voxplane.plugin import Plugin
from voxplane.probe import Probe, ProbeRequest, Sign
from voxplane.provider import (
    UI,
    Destinations,
    LocalServerUrl,
    NoSecrets,
    ProviderConfig,
    ProviderDefinition,
    known,
)
from voxplane.rules import When
from voxplane.schemas import JsonObject, ProviderType

MODELS = (
    *known("vosk-model-small-en-us-0.15", note="About 40 MB; takes a grammar."),
    *known("vosk-model-en-us-0.22-lgraph", note="About 130 MB; takes a grammar."),
    *known("vosk-model-en-us-0.22", note="About 1.8 GB."),
)
LANGUAGES = ["en-us", "en-in", "es", "fr", "de", "cn", "pt", "ru", "uk", "pl"]
Phrase = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]+$")]


class VoskConfig(ProviderConfig):
    """How Vosk listens."""

    model: Annotated[
        str,
        Field(max_length=100, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        UI(group="Model", widget="model-picker"),
    ] = "vosk-model-small-en-us-0.15"
    """The name of a model folder on the worker; a model knows one language."""
    language: Annotated[
        str,
        Field(max_length=20, pattern="^[a-z]{2,3}(-[a-z0-9]{2,8})*$", examples=LANGUAGES),
        UI(group="Model", widget="language"),
    ] = "en-us"
    """The language of the model in Vosk's spelling; it informs and changes nothing about the model."""
    grammar: Annotated[
        list[Phrase],
        Field(max_length=1000, default_factory=list, examples=[["yes", "no", "operator"]]),
        UI(group="Model", widget="tags", advanced=True),
    ]
    """The only phrases to expect, on small and lgraph models; other models ignore it."""

    interim_results: Annotated[bool, UI(group="Transcript")] = True
    """Send transcripts before they are final."""
    words: Annotated[bool, Field(title="Word details"), UI(group="Transcript")] = True
    """Give the time and the confidence of every word."""
    partial_words: Annotated[bool, Field(title="Partial word details"), UI(group="Transcript", advanced=True)] = False
    """Give the details of words in interim results too."""
    max_alternatives: Annotated[
        int, Field(title="Alternatives", ge=0, le=10), UI(group="Transcript", advanced=True)
    ] = 0
    """How many readings of an utterance to give; 0 gives the best one, with its word details."""

    sample_rate: Annotated[
        Literal[8000, 16000, 32000, 44100, 48000], UI(group="Connection", unit="Hz", advanced=True)
    ] = 16000
    """The rate of the audio that is sent, 16-bit mono PCM; most models are trained at 16000."""
    server_url: Annotated[
        LocalServerUrl | None,
        Field(title="Server URL", examples=["ws://localhost:2700"]),
        UI(group="Connection", advanced=True, binds_secret=True),
    ] = None
    """A vosk-server of your own; unset, the worker transcribes."""


def _nothing_else(_settings: JsonObject, _secrets: Mapping[str, str]) -> JsonObject:
    return {}


LIVEKIT = (
    Plugin(
        target="voxplane.speech.vosk:STT",
        requires="vosk",
        takes={
            "model": "model",
            "language": "language",
            "grammar": "grammar",
            "interimResults": "interim_results",
            "words": "words",
            "partialWords": "partial_words",
            "maxAlternatives": "max_alternatives",
            "sampleRate": "sample_rate",
            "serverUrl": "server_url",
        },
        derives=_nothing_else,
    ),
)

# The server speaks websocket alone, and says so to a plain request.
PROBE = Probe(
    requests=(
        # Nothing fits the pattern: what has a page to show is something else.
        ProbeRequest(
            "{serverUrl}/",
            good="(?!)",
            signs=(Sign("verified", (400, 426), "websocket|upgrade"),),
            when=When("serverUrl"),
        ),
    ),
    weights=("vosk/{model}/am/", "vosk/{model}/conf/", "vosk/{model}/graph/"),
)

PROVIDER = ProviderDefinition(
    key="vosk",
    type=ProviderType.STT,
    name="Vosk (local)",
    hosting="local",
    description="A light recogniser on your own machines that streams while the caller speaks.",
    capabilities=(
        "offline",
        "streaming",
        "interim_results",
        "word_timestamps",
        "word_confidence",
        "grammar",
        "speaker_vectors",
    ),
    config=VoskConfig,
    secrets=NoSecrets,
    destinations=Destinations[VoskConfig](
        ("serverUrl",), lambda config: [config.server_url] if config.server_url else []
    ),
    docs_url="https://alphacephei.com/vosk/",
    models=MODELS,
    probe=PROBE,
    livekit=LIVEKIT,
)

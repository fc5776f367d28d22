"""Whisper: speech to text on one's own machines, sentence by sentence.

Facts: faster-whisper 1.2.1, vendor docs and pipecat-ai 1.14.0, read 2026-11-22.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from voxplane.provider import (
    UI,
    Destinations,
    LocalServerUrl,
    NoSecrets,
    ProviderConfig,
    ProviderDefinition,
    known,
    offered,
)
from voxplane.rules import Limits, Rule, When
from voxplane.schemas import ProviderType

# fmt: off
MODELS = (
    *known("tiny", "base", "small", "medium", "large-v3", note="Larger is slower and better."),
    *known("tiny.en", "base.en", "small.en", "medium.en", note="English only."),
    *known("large", note="Another name of large-v3."),
    *known("large-v3-turbo", "turbo", note="The fastest of the large ones."),
    *known("distil-large-v3.5", "distil-large-v3", "distil-large-v2", note="Faster, and best at English."),
    *known("distil-small.en", "distil-medium.en", note="English only."),
    *known("large-v1", "large-v2", status="legacy"),
)
LANGUAGES = [
    "en", "auto", "af", "am", "ar", "as", "az", "ba", "be", "bg", "bn", "bo", "br", "bs", "ca", "cs", "cy",
    "da", "de", "el", "es", "et", "eu", "fa", "fi", "fo", "fr", "gl", "gu", "ha", "haw", "he", "hi", "hr",
    "ht", "hu", "hy", "id", "is", "it", "ja", "jw", "ka", "kk", "km", "kn", "ko", "la", "lb", "ln", "lo",
    "lt", "lv", "mg", "mi", "mk", "ml", "mn", "mr", "ms", "mt", "my", "ne", "nl", "nn", "no", "oc", "pa",
    "pl", "ps", "pt", "ro", "ru", "sa", "sd", "si", "sk", "sl", "sn", "so", "sq", "sr", "su", "sv", "sw",
    "ta", "te", "tg", "th", "tk", "tl", "tr", "tt", "uk", "ur", "uz", "vi", "yi", "yo", "yue", "zh",
]
# fmt: on
# A name or a Hugging Face repository; nothing here can spell an absolute path or climb out of a folder.
_MODEL = "^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$"
Prompt = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]+$")]


class WhisperConfig(ProviderConfig):
    """How Whisper listens."""

    model: Annotated[
        str,
        Field(max_length=100, pattern=_MODEL, examples=offered(MODELS)),
        UI(group="Model", widget="model-picker"),
    ] = "base"
    """A size, or a Hugging Face repository in CTranslate2 format; it must be present on the worker."""
    language: Annotated[
        str,
        Field(max_length=4, pattern="^([a-z]{2,3}|auto)$", examples=LANGUAGES),
        UI(group="Model", widget="language"),
    ] = "en"
    """The language spoken, without a region; auto detects it from the first 30 seconds."""
    task: Annotated[
        Literal["transcribe", "translate"],
        UI(group="Model", labels={"transcribe": "Transcribe", "translate": "Translate to English"}),
    ] = "transcribe"
    """Whether to write down what was said or to translate it to English."""

    beam_size: Annotated[int, Field(ge=1, le=10), UI(group="Decoding", advanced=True)] = 5
    """How many candidates are followed at once: more is slower and slightly better."""
    temperature: Annotated[float, Field(ge=0, le=1), UI(group="Decoding", advanced=True)] = 0.0
    """How freely words are chosen while decoding; 0 is the steadiest."""
    no_speech_threshold: Annotated[
        float, Field(title="No-speech threshold", ge=0, le=1), UI(group="Decoding", advanced=True)
    ] = 0.4
    """Segments that are more likely than this to hold no speech are dropped."""
    vad_filter: Annotated[bool, Field(title="Silence filter"), UI(group="Decoding", advanced=True)] = False
    """Cut silence out before decoding."""
    word_timestamps: Annotated[bool, UI(group="Decoding", advanced=True)] = False
    """Give the time of every word, which is slower."""

    initial_prompt: Annotated[Prompt | None, UI(group="Vocabulary", widget="textarea")] = None
    """Text that sets the style and spelling of what follows."""
    hotwords: Annotated[
        Prompt | None, Field(title="Hot words", examples=["Voxplane refund"]), UI(group="Vocabulary")
    ] = None
    """Words to favour, separated by spaces."""

    base_url: Annotated[
        LocalServerUrl | None,
        Field(title="Server URL", examples=["http://127.0.0.1:8000/v1"]),
        UI(group="Connection", advanced=True, binds_secret=True),
    ] = None
    """A transcription server of your own that is compatible with OpenAI's; unset, the worker transcribes."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Limits(
            When("model", matches=r"\.en$"),
            "language",
            "This model knows English only: set language to en or choose a model without .en.",
            one_of=("en",),
        ),
    )


PROVIDER = ProviderDefinition(
    key="whisper",
    type=ProviderType.STT,
    name="Whisper (local)",
    hosting="local",
    description="OpenAI's open speech model on your own machines: accurate in many languages.",
    capabilities=("offline", "batch", "language_detection", "translation_to_english", "word_timestamps"),
    config=WhisperConfig,
    secrets=NoSecrets,
    destinations=Destinations[WhisperConfig](("baseUrl",), lambda config: [config.base_url] if config.base_url else []),
    docs_url="https://github.com/SYSTRAN/faster-whisper",
    models=MODELS,
)

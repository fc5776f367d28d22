"""Whisper: speech to text on one's own machines, sentence by sentence.

Facts: faster-whisper 1.2.1, vendor docs, livekit-plugins-openai 1.8.9 and pipecat-ai 1.14.0, read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from voxplane.destination import over_http
from voxplane.plugin import Construct, Plugin
from voxplane.probe import Probe, ProbeRequest
from voxplane.provider import (
    UI,
    Destinations,
    LocalServerUrl,
    NoSecrets,
    ProviderConfig,
    ProviderDefinition,
    known,
)
from voxplane.rules import Limits, Rule, When
from voxplane.schemas import JsonObject, ProviderType

if TYPE_CHECKING:
    import httpx2
    import openai

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
        Field(max_length=100, pattern=_MODEL),
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


# What a request for a transcript needs; the rest of what OpenAI's SDK sends is about an account.
_SENT = {
    "host", "accept", "accept-encoding", "connection", "content-type", "content-length", "transfer-encoding",
    "user-agent",
}  # fmt: skip


def http_client() -> openai.DefaultAsyncHttpxClient:
    """Make the HTTP client for a server that knows no accounts: it sends none, follows no redirect, uses no proxy.

    OpenAI's SDK adds what OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS say on the worker.
    """
    import openai  # noqa: PLC0415 - a worker's package

    async def send_no_account(request: httpx2.Request) -> None:
        for name in list(request.headers):
            if name.lower() not in _SENT:
                del request.headers[name]

    return openai.DefaultAsyncHttpxClient(
        follow_redirects=False, trust_env=False, event_hooks={"request": [send_no_account]}
    )


def _connection(settings: JsonObject) -> JsonObject:
    # The SDK wants a key, takes one from the environment if it gets none, and this one is not sent.
    return {
        "api_key": "none",
        "base_url": over_http(settings["baseUrl"]),
        "http_client": Construct(f"{__name__}:http_client"),
    }


def _in_worker(_settings: JsonObject, _secrets: Mapping[str, str]) -> JsonObject:
    return {}


def _livekit_server(settings: JsonObject, _secrets: Mapping[str, str]) -> JsonObject:
    detect = settings["language"] == "auto"
    return {
        "client": Construct("openai:AsyncClient", {**_connection(settings), "max_retries": 0}),
        "use_realtime": False,
        "detect_language": detect,
        **({} if detect else {"language": settings["language"]}),
    }


def _pipecat_in_worker(settings: JsonObject, _secrets: Mapping[str, str]) -> JsonObject:
    return {
        # A path: given a name, Pipecat would download.
        "settings.model": Construct("voxplane.speech.weights:whisper_model", {"model": settings["model"]}),
        "settings.language": None if settings["language"] == "auto" else settings["language"],
    }


def _pipecat_server(settings: JsonObject, _secrets: Mapping[str, str]) -> JsonObject:
    return _connection(settings)


_SERVER_DECIDES = {
    "task": "The server's address for transcripts only transcribes.",
    **dict.fromkeys(
        ("beamSize", "noSpeechThreshold", "vadFilter", "wordTimestamps", "hotwords"),
        "OpenAI's protocol has no place for it: the server decides.",
    ),
}
_HAS_SERVER = When("baseUrl")
_HAS_NONE = When("baseUrl", otherwise=True)
LIVEKIT = (
    Plugin(
        target="voxplane.speech.whisper:STT",
        requires="faster-whisper",
        when=_HAS_NONE,
        takes={
            "model": "model",
            "language": "language",
            "task": "task",
            "beamSize": "beam_size",
            "temperature": "temperature",
            "noSpeechThreshold": "no_speech_threshold",
            "vadFilter": "vad_filter",
            "wordTimestamps": "word_timestamps",
            "initialPrompt": "initial_prompt",
            "hotwords": "hotwords",
        },
        derives=_in_worker,
        leaves_out={"baseUrl": "It is not set: the worker transcribes."},
    ),
    Plugin(
        target="livekit.plugins.openai:STT",
        requires="livekit-plugins-openai",
        when=_HAS_SERVER,
        takes={"model": "model", "temperature": "temperature", "initialPrompt": "prompt"},
        derives=_livekit_server,
        derived_from=("baseUrl", "language"),
        leaves_out=_SERVER_DECIDES,
    ),
)
PIPECAT = (
    Plugin(
        target="voxplane.speech.pipecat_whisper:WhisperSTTService",
        requires="pipecat-ai",
        when=_HAS_NONE,
        takes={
            "noSpeechThreshold": "settings.no_speech_prob",
            "initialPrompt": "settings.initial_prompt",
            "hotwords": "settings.hotwords",
        },
        parts={"settings": "pipecat.services.whisper.stt:WhisperSTTSettings"},
        derives=_pipecat_in_worker,
        derived_from=("model", "language"),
        leaves_out={
            "baseUrl": "It is not set: the worker transcribes.",
            **dict.fromkeys(
                ("task", "beamSize", "temperature", "vadFilter", "wordTimestamps"),
                "Pipecat's service leaves this to faster-whisper's own default.",
            ),
        },
    ),
    Plugin(
        target="pipecat.services.openai.stt:OpenAISTTService",
        requires="pipecat-ai",
        # Pipecat's service wants a language, so it cannot be told to detect one.
        when=When("baseUrl", and_=When("language", equals="auto", otherwise=True)),
        takes={
            "model": "settings.model",
            "language": "settings.language",
            "temperature": "settings.temperature",
            "initialPrompt": "settings.prompt",
        },
        parts={"settings": "pipecat.services.openai.stt:OpenAISTTSettings"},
        derives=_pipecat_server,
        derived_from=("baseUrl",),
        leaves_out=_SERVER_DECIDES,
    ),
)

PROBE = Probe(
    requests=(
        ProbeRequest(
            "{baseUrl}/models",
            good=r'"data"\s*:',
            lists=r'"id"\s*:\s*"{model}"',
            proves="both",
            when=_HAS_SERVER,
        ),
    ),
    weights=tuple(
        f"whisper/{{model}}/{each}" for each in ("model.bin", "config.json", "tokenizer.json", "vocabulary.*")
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
    probe=PROBE,
    livekit=LIVEKIT,
    pipecat=PIPECAT,
)

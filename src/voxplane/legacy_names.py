"""What the old system called things: sections, settings and keys of a blob in `org_configs`, as data.

Only `openai.chatModel`, `openai.temperature`, `stt.provider` and `stt.model` are known from the old system's own
description. The other names are what backends of this kind usually wrote; a wrong guess costs a line in the report.

Every name here is folded: in lower case, without `_`, `-`, `.` and spaces, so that `apiKey`, `api_key` and `API-KEY`
are one.
"""

from __future__ import annotations

from voxplane.schemas import ProviderType

STT, TTS, LLM = ProviderType.STT, ProviderType.TTS, ProviderType.LLM

TYPES: dict[str, ProviderType] = {
    "stt": STT,
    "asr": STT,
    "speechtotext": STT,
    "transcriber": STT,
    "transcription": STT,
    "tts": TTS,
    "texttospeech": TTS,
    "llm": LLM,
    "languagemodel": LLM,
}
"""Sections that say which provider of a type is used, and how."""

VENDORS: dict[str, str] = {
    "openai": "openai",
    "openaitts": "openai-tts",
    "groq": "groq",
    "google": "google",
    "gemini": "google",
    "googlegemini": "google",
    "vertex": "google",
    "vertexai": "google",
    "anthropic": "anthropic",
    "claude": "anthropic",
    "azure": "azure-openai",
    "azureopenai": "azure-openai",
    "deepgram": "deepgram",
    "whisper": "whisper",
    "fasterwhisper": "whisper",
    "localwhisper": "whisper",
    "vosk": "vosk",
    "piper": "piper",
    "elevenlabs": "elevenlabs",
    "eleven": "elevenlabs",
    "11labs": "elevenlabs",
    "cartesia": "cartesia",
}
"""Which provider a section, or a provider named in a section, means."""

SPEAKING: dict[str, str] = {"openai": "openai-tts"}
"""What a vendor means where text to speech is meant."""

USUAL: dict[ProviderType, str] = {STT: "deepgram", TTS: "piper", LLM: "openai"}
"""Which provider a section of a type means that names none: the default organization's."""

WRAPPERS = frozenset(
    {"providers", "integrations", "ai", "config", "settings", "voice", "agent", "assistant", "pipeline"}
)
"""Objects that only hold sections."""

KEY_RINGS = frozenset({"apikeys", "keys", "secrets", "credentials"})
"""Objects that hold one key for each vendor."""

INNER = frozenset({"config", "settings", "options", "params", "parameters", "secrets", "auth"})
"""Objects inside a section that only hold settings of it."""

SAID_TO_BE: dict[str, ProviderType] = {"voice": TTS, "speech": TTS, "model": LLM, "listener": STT}
"""Sections of a type only when they name a provider."""

CHOICE = ("provider", "vendor", "engine", "service", "name")
"""What names the provider in a section of a type; the first that is there counts."""

ENABLED = frozenset({"enabled", "isenabled", "active", "isactive"})
DISABLED = frozenset({"disabled", "isdisabled"})
PRIORITY = frozenset({"priority"})

KEYS = ("apikey", "key", "token", "apitoken", "secretkey", "secret", "accesskey", "authtoken")

_LLM: dict[str, str] = {
    "chatmodel": "model",
    "model": "model",
    "modelname": "model",
    "modelid": "model",
    "llmmodel": "model",
    "temp": "temperature",
    "maxoutputtokens": "maxTokens",
    "maxcompletiontokens": "maxTokens",
    "maxtoken": "maxTokens",
    "baseurl": "baseUrl",
    "baseuri": "baseUrl",
    "apibase": "baseUrl",
    "apiurl": "baseUrl",
    "apibaseurl": "baseUrl",
}
_OPENAI: dict[str, str] = {
    "organization": "organization",
    "organizationid": "organization",
    "orgid": "organization",
    "projectid": "project",
}
_SPEECH: dict[str, str] = {"modelid": "model", "modelname": "model", "lang": "language", "languagecode": "language"}

SETTINGS: dict[str, dict[str, str]] = {
    "openai": _LLM | _OPENAI,
    "groq": _LLM,
    "anthropic": _LLM,
    "google": _LLM | {"projectid": "project", "gcpproject": "project", "region": "location"},
    "azure-openai": _LLM
    | {
        "deploymentname": "deployment",
        "deploymentid": "deployment",
        "baseurl": "endpoint",
        "apibase": "endpoint",
        "apiurl": "endpoint",
        "resourceurl": "endpoint",
    },
    "deepgram": _SPEECH
    | {
        "endpointing": "endpointingMs",
        "utteranceend": "utteranceEndMs",
        "keyterm": "keyterms",
        "smartformatting": "smartFormat",
    },
    "whisper": _SPEECH | {"modelsize": "model", "size": "model", "prompt": "initialPrompt"},
    "vosk": _SPEECH,
    "piper": {"voiceid": "voice", "voicename": "voice", "model": "voice", "modelid": "voice", "speaker": "speakerId"},
    "elevenlabs": _SPEECH | {"voice": "voiceId", "similarity": "similarityBoost", "rate": "speed"},
    "cartesia": _SPEECH | {"voice": "voiceId", "rate": "speed"},
    "openai-tts": _OPENAI
    | {"voiceid": "voice", "voicename": "voice", "modelid": "model", "modelname": "model", "rate": "speed"},
}
"""Other names of a provider's settings, by provider; its settings go by their own names besides."""

INVERTED: dict[str, dict[str, str]] = {"piper": {"speed": "lengthScale", "rate": "lengthScale"}}
"""Settings that say how fast where the provider asks how long."""

SECRETS: dict[str, dict[str, str]] = {
    "google": dict.fromkeys(
        ("credentials", "serviceaccount", "serviceaccountkey", "keyfile", "serviceaccountjson", "credentialsjson"),
        "serviceAccountJson",
    ),
    "azure-openai": {"clientsecret": "clientSecret"},
}
"""Other names of a provider's secrets besides those of an API key."""

SPOKEN: dict[str, str] = {
    "ttsmodel": "model",
    "voicemodel": "model",
    "speechmodel": "model",
    "ttsvoice": "voice",
    "voice": "voice",
    "voiceid": "voice",
    "ttsspeed": "speed",
}
"""Settings in the section `openai` that are of its speech."""

_MACHINE = "This is a setting of the machine that runs the model: VOXPLANE_MODELS_DIR on the worker."
TRANSCRIPTION = "OpenAI's transcription is not among the providers."

LEFT: dict[str, dict[str, str]] = {
    "openai": {
        "sttmodel": TRANSCRIPTION,
        "whispermodel": TRANSCRIPTION,
        "transcriptionmodel": TRANSCRIPTION,
        "embeddingmodel": "Embeddings are not part of a call.",
        "embeddingsmodel": "Embeddings are not part of a call.",
        "imagemodel": "Images are not part of a call.",
    },
    "whisper": dict.fromkeys(("modelpath", "device", "computetype", "cputhreads", "threads"), _MACHINE),
    "vosk": dict.fromkeys(("modelpath", "device"), _MACHINE),
    "piper": dict.fromkeys(("modelpath", "piperpath", "binarypath", "device", "usecuda"), _MACHINE),
}
"""What a provider's section may hold that is known and has no place here, and why."""

_PROMPT = "The agent's own: what it says is no setting of a provider."
_CALLS = "Telephony is no setting of a provider."
FALLBACK = "Voxplane falls back by priority: enable the other provider and give it a lower one."

FALLBACKS = frozenset({"fallback", "fallbacks", "fallbackprovider", "backup", "backupprovider"})

NOT_SETTINGS: dict[str, str] = {
    **dict.fromkeys(("order", "rank"), "Which end answers first is not known: `voxplane order` sets it."),
    **dict.fromkeys(
        ("prompt", "prompts", "systemprompt", "instructions", "greeting", "firstmessage", "persona", "welcomemessage"),
        _PROMPT,
    ),
    **dict.fromkeys(("tools", "functions", "workflow", "workflows", "knowledge", "knowledgebase"), _PROMPT),
    **dict.fromkeys(
        ("telephony", "sip", "twilio", "phone", "phonenumber", "phonenumbers", "livekit", "recording", "transfer"),
        _CALLS,
    ),
    **dict.fromkeys(
        (
            "id",
            "version",
            "schemaversion",
            "createdat",
            "updatedat",
            "organizationid",
            "orgid",
            "branding",
            "theme",
            "locale",
            "timezone",
            "webhook",
            "webhooks",
            "webhookurl",
            "businesshours",
            "analytics",
            "billing",
            "metadata",
            "features",
            "featureflags",
            "notes",
        ),
        "Not a setting of a provider.",
    ),
}
"""What a blob is known to hold besides, and why it stays."""


def fold(name: str) -> str:
    """Write a name so that its spellings are one."""
    return name.lower().replace("_", "").replace("-", "").replace(" ", "").replace(".", "")

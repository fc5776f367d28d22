"""What an organization set, and nothing else, is in LiveKit's request and in Pipecat's, for every model that is known.

No network is used: the vendors' clients end in a transport that keeps what it is given.
"""

# Pipecat and the vendors' SDKs leave types open in many places.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import aiohttp
import anthropic
import httpx
import httpx2
import openai
import pytest
from google.genai import errors as genai_errors
from livekit.agents import APIConnectionError, APIConnectOptions, APIStatusError, llm, stt

from tests.test_llm_vendors import (
    AZURE,
    CONVERSATION,
    FRAMEWORKS,
    REGISTRY,
    FunctionSchema,
    LLMContext,
    ToolsSchema,
    close,
    get_weather,
)
from voxplane.errors import Invalid
from voxplane.plugin import Construct, Framework
from voxplane.provider import AnyProvider
from voxplane.schemas import JsonObject, ProviderType

pytestmark = [
    # Raised where google-genai makes its session: Google's to mend.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    # The catalogue says so too.
    pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning"),
]

# fmt: off
# What to set, as far as a model takes it beside what stands before it.
VALUES: JsonObject = {
    "temperature": 0.31, "topP": 0.52, "topK": 7, "frequencyPenalty": 0.13, "presencePenalty": -0.4, "seed": 77,
    "maxTokens": 4321, "parallelToolCalls": False, "verbosity": "high", "serviceTier": "flex", "store": True,
    "promptCacheKey": "calls", "thinking": "adaptive", "effort": "medium", "thinkingLevel": "high",
    "thinkingBudget": 1256, "safetySettings": {"harassment": "BLOCK_NONE"},
}
# An effort decides what else a model takes.
STARTS: tuple[JsonObject, ...] = ({}, {"reasoningEffort": "none"}, {"reasoningEffort": "high"})
# Settings that are no part of a body: tests of their own hold where they go.
ELSEWHERE = {"baseUrl", "endpoint", "apiSurface", "backend", "location", "promptCaching"}
CALLED: dict[str, Mapping[str, str]] = {
    "openai": {"max_tokens": "max_completion_tokens"},
    "groq": {"max_tokens": "max_completion_tokens"},
    "azure-openai": {"max_tokens": "max_completion_tokens", "deployment": "model", "model": ""},
    "anthropic": {"parallel_tool_calls": "disable_parallel_tool_use", "thinking": "type"},
    "google": {"max_tokens": "max_output_tokens", "safety_settings": "threshold", "model": ""},
}
VALUED: Mapping[str, Callable[[Any], Any]] = {
    "disable_parallel_tool_use": lambda value: not value,
    "thinking_level": str.upper,
    "threshold": lambda value: value["harassment"],
}
NO_EFFORT_WITH_TOOLS = re.compile(r"gpt-5\.[24]")
REFUSED = (APIStatusError, openai.BadRequestError, anthropic.BadRequestError, genai_errors.ClientError)
# fmt: on


class Network:
    """What the clients of a plan are connected to: it keeps what was sent, and refuses it."""

    def __init__(self) -> None:
        self.sent: list[JsonObject] = []

    def connected(self, plan: Construct) -> Construct:
        """Return a plan whose clients end here."""
        library = {"httpx:AsyncClient": httpx, "httpx2:AsyncClient": httpx2}.get(plan.target)
        more = {} if library is None else {"transport": library.MockTransport(self._refusing(library))}
        arguments, attributes = (
            {n: self._inside(v) for n, v in each.items()} for each in (plan.arguments, plan.attributes)
        )
        return Construct(plan.target, {**arguments, **more}, attributes)

    def _inside(self, value: object) -> object:
        return self.connected(value) if isinstance(value, Construct) else value

    def _refusing(self, library: Any) -> Callable[[Any], Any]:
        def refuse(request: Any) -> Any:
            self.sent.append(json.loads(request.content))
            return library.Response(400, json={"error": {"message": "No."}})

        return refuse


async def sent(provider: AnyProvider, framework: Framework, settings: JsonObject, *, tools: bool) -> JsonObject:
    """Have a framework's class ask, and return what it sent besides the conversation, by name."""
    network = Network()
    made = network.connected(provider.plugin(framework, settings).construct(settings, {"apiKey": "k"})).make()
    ask = livekit if framework == "livekit" else pipecat
    with pytest.raises(REFUSED):
        await ask(made, tools=tools)
    await close(made)
    (body,) = network.sent
    body.get("tool_choice", {}).pop("type", None)
    found = dict(leaves({name: value for name, value in body.items() if name not in CONVERSATION}))
    return {name: value for name, value in found.items() if name != "category"}  # of harm: the threshold shows it


async def livekit(plugin: llm.LLM[Any], *, tools: bool) -> None:
    context = llm.ChatContext()
    context.add_message(role="user", content="How is the weather?")
    once = APIConnectOptions(max_retry=0)
    async with plugin.chat(chat_ctx=context, tools=[get_weather] if tools else [], conn_options=once) as stream:
        async for _ in stream:
            pass


async def pipecat(service: Any, *, tools: bool) -> None:
    city = {"city": {"type": "string"}}
    tool = FunctionSchema(name="get_weather", description="The weather", properties=city, required=["city"])
    said: Any = [{"role": "user", "content": "How is the weather?"}]
    await service.run_inference(LLMContext(said, ToolsSchema(standard_tools=[tool])) if tools else LLMContext(said))


def leaves(body: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(body, dict):
        for key, value in body.items():
            yield from leaves(value, underscored(key))
    elif isinstance(body, list):
        for value in body:
            yield from leaves(value, name)
    else:
        yield name, body


def underscored(name: str) -> str:
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)


def choices(provider: AnyProvider, model: str) -> Iterator[JsonObject]:
    """Return settings in force for a model: its defaults, and all that it takes, with each effort."""
    needed = {"model": model, **(AZURE if provider.key == "azure-openai" else {})}
    yield provider.validate(needed).effective()
    for start in STARTS:
        taken: JsonObject = {}
        for name, value in {**start, **VALUES}.items():
            try:
                provider.validate({**needed, **taken, name: value})
            except Invalid:
                continue
            taken[name] = value
        if start.items() <= taken.items():
            yield provider.validate({**needed, **taken}).effective()


def expected(provider: AnyProvider, framework: Framework, settings: JsonObject) -> JsonObject:
    """Return what these settings are in a request, by name."""
    passed_over = ELSEWHERE | set(provider.plugin(framework, settings).leaves_out)
    called = CALLED[provider.key]
    given = {underscored(name): value for name, value in settings.items() if name not in passed_over}
    named = {called.get(name, name): value for name, value in given.items()}
    return {name: VALUED[name](value) if name in VALUED else value for name, value in named.items() if name}


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("key", CALLED)
async def test_all_that_is_set_and_nothing_else_is_sent_for_every_model(
    key: str, framework: Framework, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))  # most of a client's time
    provider = REGISTRY.get_provider_by_key(key)
    wrong: list[str] = []
    for model in (each.name for each in provider.models if each.status != "retired"):
        for settings in choices(provider, model):
            for tools in (True, False) if framework == "livekit" else (True,):
                due = expected(provider, framework, settings)
                if framework == "livekit" and not tools and key == "anthropic":
                    due.pop("disable_parallel_tool_use", None)  # of what is not there
                if framework == "livekit" and tools and NO_EFFORT_WITH_TOOLS.match(model):
                    due.pop("reasoning_effort", None)  # which the model's note says
                got = await sent(provider, framework, settings, tools=tools)
                odd = {name: (due.get(name), got.get(name)) for name in {*due, *got} if due.get(name) != got.get(name)}
                wrong += [f"{model}, tools {tools}: {name} is {odd[name][1]}, not {odd[name][0]}" for name in odd]
    assert wrong == []


# Speech, as LiveKit asks for it: its classes go by the model's name


# fmt: off
SPOKEN: JsonObject = {
    "language": "de", "languageHints": ["de"], "interimResults": False, "punctuate": False, "smartFormat": True,
    "noDelay": False, "numerals": True, "fillerWords": False, "dictation": True, "diarize": True, "endpointingMs": 321,
    "vadEvents": False, "eotThreshold": 0.8, "eotTimeoutMs": 4321, "keyterms": ["Voxplane"], "keywords": ["refund:2"],
    "profanityFilter": True, "redact": ["numbers"], "mipOptOut": True, "sampleRate": 24000, "tags": ["calls"],
    "stability": 0.3, "similarityBoost": 0.9, "style": 0.2, "useSpeakerBoost": False, "speed": 1.1, "volume": 0.7,
    "applyTextNormalization": "off", "applyLanguageTextNormalization": True, "outputFormat": "pcm_16000",
    "enableLogging": False, "emotion": "calm", "pronunciationDictId": "dict_1", "apiVersion": "2026-03-01",
}
# fmt: on
SPEECH = {"deepgram": "", "elevenlabs": "f786b574daa54673aa0c", "cartesia": "a5136bf9-224c-4d76-b823-52bd5efcffcc"}


class Session:
    """What stands in for LiveKit's HTTP session: it keeps what is asked for and goes nowhere."""

    def __init__(self) -> None:
        self.asked = ""

    def post(self, url: str, **named: Any) -> Any:
        """Keep a request."""
        self.asked = f"{url} {named.get('headers')} {json.dumps(named.get('json'), sort_keys=True)}"
        raise aiohttp.ClientConnectionError

    ws_connect = post


async def asked(provider: AnyProvider, settings: JsonObject) -> str:
    session = Session()
    plan = provider.plugin("livekit", settings).construct(settings, {"apiKey": "k"})
    made = Construct(plan.target, {**plan.arguments, "http_session": session}, plan.attributes).make()
    once = APIConnectOptions(max_retry=0)
    stream = (
        made.stream(conn_options=once) if isinstance(made, stt.STT) else made.synthesize("Hello.", conn_options=once)
    )
    with pytest.raises(APIConnectionError):
        async with stream:
            await anext(aiter(stream))
    await made.aclose()
    assert session.asked
    return session.asked


@pytest.mark.parametrize("key", SPEECH)
async def test_each_setting_of_speech_is_in_the_request_for_every_model(key: str) -> None:
    provider = REGISTRY.get_provider_by_key(key)
    lost: list[str] = []
    for model in (each.name for each in provider.models if each.status != "retired"):
        needed = {"model": model, **({"voiceId": SPEECH[key]} if SPEECH[key] else {})}
        for name, value in SPOKEN.items():
            try:
                with_it = provider.validate({**needed, name: value}).effective()
            except Invalid:
                continue
            without = provider.validate(needed).effective()
            if name in provider.plugin("livekit", with_it).leaves_out or with_it == without:
                continue
            request = await asked(provider, with_it)
            if model not in re.split("[^a-z0-9._-]", request) or request == await asked(provider, without):
                lost.append(f"{model} with {name}")
    assert lost == []


def test_every_language_model_is_looked_at() -> None:
    assert set(CALLED) == {each.key for each in REGISTRY.get_providers_by_type(ProviderType.LLM)}

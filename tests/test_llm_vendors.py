"""Cloud language models through the frameworks' own classes, against a vendor on loopback that the SDKs accept too."""

# The vendors' SDKs and the frameworks leave types open in many places.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import anthropic
import groq
import openai
import pytest
from aiohttp import web
from anthropic import AsyncAnthropic
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.genai import Client as GoogleClient
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from groq import AsyncGroq
from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APIStatusError, APITimeoutError, llm
from livekit.plugins import anthropic as livekit_anthropic
from livekit.plugins import google as livekit_google
from livekit.plugins import groq as livekit_groq
from livekit.plugins import openai as livekit_openai
from openai import AsyncAzureOpenAI, AsyncOpenAI
from pydantic import SecretStr
from typing_extensions import override

from tests.vendors.environment import CANARY, canary, variables_of_models
from tests.vendors.llm import LLMVendor, Recorded
from tests.vendors.vendor import PROXIES, Fault
from voxplane.errors import DestinationUnapproved, SecretsMissing
from voxplane.livekit.link import examine
from voxplane.plugin import Construct, Framework
from voxplane.registry import ProviderRegistry
from voxplane.resolution import ResolvedProviderConfig
from voxplane.schemas import JsonObject, ProviderName

with warnings.catch_warnings():
    # Raised where Pipecat is imported: Pipecat's to mend.
    warnings.filterwarnings("ignore", "'audioop' is deprecated", DeprecationWarning)
    from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
    from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
    from pipecat.processors.aggregators.llm_context import LLMContext

# Raised where google-genai makes its session: Google's to mend. Our plans give it another client.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

REGISTRY = ProviderRegistry()
REGISTRY.initialize()
PATIENCE = 20  # seconds after which something that should happen counts as not happening
KEY = "sk-organization-1"
SAID = "The table is booked for seven."
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
UUID = "f786b574-daa5-4673-aa0c-cbe3e8534c02"
AZURE = {"deployment": "calls", "endpoint": "https://voice.openai.azure.com"}


@pytest.fixture
async def vendor() -> AsyncIterator[LLMVendor]:
    async with LLMVendor(keys={KEY}) as opened:
        opened.say(SAID)
        yield opened


class Elsewhere(LLMVendor):
    """What may stand where a vendor was meant to be: it answers everything in one way."""

    def __init__(self, answer: web.HTTPException) -> None:
        super().__init__(keys=())
        self._always = answer

    @override
    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(Recorded(request.method, request.path, {}, {}, None))
        raise self._always


# The vendors' own SDKs


@dataclass
class Answer:
    """What came back: the words, and the tools that were called."""

    text: str = ""
    calls: list[tuple[str, JsonObject]] = field(default_factory=list[tuple[str, JsonObject]])


async def through_openai(client: AsyncOpenAI | AsyncGroq, *, stream: bool) -> Answer:
    create = cast("Any", client.chat.completions.create)
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
    messages = [{"role": "user", "content": "How is the weather?"}]
    async with client:
        got = await create(model="calls", messages=messages, tools=[tool], stream=stream)
        if not stream:
            message = got.choices[0].message
            calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
            return Answer(message.content or "", calls)
        answer, names, arguments = Answer(), list[str](), ""
        async for chunk in got:
            for choice in chunk.choices:
                answer.text += choice.delta.content or ""
                for call in choice.delta.tool_calls or []:
                    names += [call.function.name] if call.function.name else []
                    arguments += call.function.arguments or ""
        answer.calls = [(name, json.loads(arguments)) for name in names]
        return answer


async def through_anthropic(client: AsyncAnthropic, *, stream: bool) -> Answer:
    tool = {"name": "get_weather", "input_schema": CITY}
    request: JsonObject = {
        "model": "claude-sonnet-4-6",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "How is the weather?"}],
        "tools": [tool],
    }
    async with client:
        if stream:
            async with client.messages.stream(**request) as events:
                message = await events.get_final_message()
        else:
            message = await client.messages.create(**request)
    text = "".join(block.text for block in message.content if block.type == "text")
    return Answer(text, [(block.name, dict(block.input)) for block in message.content if block.type == "tool_use"])


async def through_google(client: GoogleClient, *, stream: bool) -> Answer:
    declared = genai_types.FunctionDeclaration(name="get_weather", parameters_json_schema=CITY)
    config = genai_types.GenerateContentConfig(tools=[genai_types.Tool(function_declarations=[declared])])
    models = client.aio.models
    ask: JsonObject = {"model": "gemini-3.5-flash-lite", "contents": "How is the weather?", "config": config}
    answer = Answer()
    try:
        if stream:
            chunks = [chunk async for chunk in await models.generate_content_stream(**ask)]
        else:
            chunks = [await models.generate_content(**ask)]
    finally:
        await client.aio.aclose()
    parts = [part for chunk in chunks for part in chunk.parts or []]
    for part in parts:
        answer.text += part.text or ""
        if part.function_call:
            answer.calls.append((part.function_call.name or "", part.function_call.args or {}))
    return answer


def google_client(key: str, url: str, version: str) -> GoogleClient:
    return GoogleClient(api_key=key, http_options=genai_types.HttpOptions(base_url=url, api_version=version))


def dated(url: str, key: str) -> AsyncAzureOpenAI:
    return AsyncAzureOpenAI(api_key=key, azure_endpoint=url, api_version="2024-10-21", max_retries=0)


SDK = Callable[[str, str, bool], Awaitable[Answer]]
SDKS: dict[str, SDK] = {
    "openai": lambda url, key, stream: through_openai(
        AsyncOpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0), stream=stream
    ),
    "azure-dated": lambda url, key, stream: through_openai(dated(url, key), stream=stream),
    "azure-v1": lambda url, key, stream: through_openai(
        AsyncOpenAI(api_key=key, base_url=f"{url}/openai/v1", max_retries=0), stream=stream
    ),
    "groq": lambda url, key, stream: through_openai(AsyncGroq(api_key=key, base_url=url, max_retries=0), stream=stream),
    "anthropic": lambda url, key, stream: through_anthropic(
        AsyncAnthropic(api_key=key, base_url=url, max_retries=0), stream=stream
    ),
    "google-v1beta": lambda url, key, stream: through_google(google_client(key, url, "v1beta"), stream=stream),
    "google-v1": lambda url, key, stream: through_google(google_client(key, url, "v1"), stream=stream),
}
every_sdk = pytest.mark.parametrize("sdk", SDKS.values(), ids=SDKS.keys())
whole_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
REFUSALS = (openai.APIStatusError, groq.APIStatusError, anthropic.APIStatusError, genai_errors.APIError)


@every_sdk
@whole_and_streamed
async def test_an_sdk_hears_what_was_said(vendor: LLMVendor, sdk: SDK, stream: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert await sdk(vendor.url, KEY, stream) == Answer(SAID)


@every_sdk
@whole_and_streamed
async def test_an_sdk_is_told_to_call_a_tool_once(vendor: LLMVendor, sdk: SDK, stream: bool) -> None:  # noqa: FBT001 - a parameter of the test
    vendor.call("get_time")
    assert await sdk(vendor.url, KEY, stream) == Answer(SAID), "a tool that was not offered is not called"
    vendor.call("get_weather", city="Oslo or Bergen")
    assert await sdk(vendor.url, KEY, stream) == Answer("", [("get_weather", {"city": "Oslo or Bergen"})])
    assert await sdk(vendor.url, KEY, stream) == Answer(SAID)


def status_of(error: BaseException) -> int:
    return error.code if isinstance(error, genai_errors.APIError) else cast("openai.APIStatusError", error).status_code


@every_sdk
async def test_an_sdk_with_a_bad_key_is_refused(vendor: LLMVendor, sdk: SDK) -> None:
    with pytest.raises(REFUSALS) as refusal:
        await sdk(vendor.url, "sk-organization-2", True)  # noqa: FBT003 - to stream
    is_gemini = isinstance(refusal.value, genai_errors.APIError)
    assert status_of(refusal.value) == (400 if is_gemini else 401)
    assert not is_gemini or "API key not valid" in str(refusal.value)


@every_sdk
@pytest.mark.parametrize("fault", ["403", "429", "quota", "500"])
async def test_an_sdk_is_failed_as_often_as_was_said(vendor: LLMVendor, sdk: SDK, fault: Fault) -> None:
    vendor.fail("/", fault, times=1)
    with pytest.raises(REFUSALS) as refusal:
        await sdk(vendor.url, KEY, False)  # noqa: FBT003 - not to stream
    is_anthropic = isinstance(refusal.value, anthropic.APIStatusError)
    assert status_of(refusal.value) == ({"quota": 402 if is_anthropic else 429}.get(fault) or int(fault))
    assert await sdk(vendor.url, KEY, False) == Answer(SAID)  # noqa: FBT003 - not to stream


async def test_faults_are_told_by_path_and_mended(vendor: LLMVendor) -> None:
    vendor.fail("/one", "reset")
    with pytest.raises(openai.APIConnectionError):
        await SDKS["openai"](f"{vendor.url}/one", KEY, False)  # noqa: FBT003 - not to stream
    assert await SDKS["openai"](f"{vendor.url}/two", KEY, False) == Answer(SAID)  # noqa: FBT003 - not to stream
    vendor.mend()
    vendor.fail("/", "hang")
    impatient = AsyncOpenAI(api_key=KEY, base_url=f"{vendor.url}/v1", max_retries=0, timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        await through_openai(impatient, stream=False)
    vendor.mend()
    assert await SDKS["openai"](f"{vendor.url}/one", KEY, False) == Answer(SAID)  # noqa: FBT003 - not to stream


async def test_the_sdks_find_models(vendor: LLMVendor) -> None:
    async with AsyncOpenAI(api_key=KEY, base_url=f"{vendor.url}/v1") as client:
        assert [model.id async for model in client.models.list()] == ["gpt-4o-mini"]
    async with AsyncGroq(api_key=KEY, base_url=vendor.url) as client:
        assert [model.id for model in (await client.models.list()).data] == ["gpt-4o-mini"]
    async with dated(vendor.url, KEY) as client:
        assert [model.id async for model in client.models.list()] == ["gpt-4o-mini"]
    async with AsyncAnthropic(api_key=KEY, base_url=vendor.url) as client:
        assert [model.id async for model in client.models.list()] == ["claude-sonnet-4-6"]
    gemini = google_client(KEY, vendor.url, "v1beta")
    assert [model.name async for model in await gemini.aio.models.list()] == ["models/gemini-3.5-flash-lite"]
    await gemini.aio.aclose()


async def test_what_a_vendor_insists_on_is_missed(vendor: LLMVendor) -> None:
    async with AsyncOpenAI(api_key=KEY, base_url=f"{vendor.url}/v1", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="calls", messages=[])
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("gpt-4o-mini")
    async with AsyncOpenAI(
        api_key=KEY, base_url=f"{vendor.url}/openai/deployments/calls", max_retries=0
    ) as without_version:
        with pytest.raises(openai.BadRequestError):
            await without_version.chat.completions.create(model="calls", messages=[{"role": "user", "content": "Hi"}])


# Both frameworks' classes, from a resolved config


@dataclass(frozen=True)
class Case:
    """An organization's settings, none of them a default, and what a request carries because of them.

    `both` is what the request's body says besides the conversation; `livekit` and `pipecat` what only one of them adds.
    """

    provider: str
    overrides: JsonObject
    path: str
    both: JsonObject
    livekit: JsonObject = field(default_factory=dict[str, Any])
    pipecat: JsonObject = field(default_factory=dict[str, Any])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    query: Mapping[str, list[str]] = field(default_factory=dict[str, list[str]])


# fmt: off
SAMPLING = {
    "temperature": 0.31, "topP": 0.52, "frequencyPenalty": 0.13, "presencePenalty": -0.4, "seed": 77,
    "maxTokens": 321, "parallelToolCalls": False,
}
SAMPLED = {
    "temperature": 0.31, "top_p": 0.52, "frequency_penalty": 0.13, "presence_penalty": -0.4, "seed": 77,
    "max_completion_tokens": 321, "parallel_tool_calls": False,
}
GEMINI = {
    "temperature": 0.31, "topP": 0.52, "topK": 7, "frequencyPenalty": 0.13, "presencePenalty": -0.4, "seed": 77,
    "maxTokens": 321, "serviceTier": "flex",
    "safetySettings": {"harassment": "BLOCK_NONE", "dangerousContent": "BLOCK_ONLY_HIGH"},
}
GENERATED = {
    "temperature": 0.31, "topP": 0.52, "topK": 7, "frequencyPenalty": 0.13, "presencePenalty": -0.4, "seed": 77,
    "maxOutputTokens": 321,
}
BLOCKED = {"serviceTier": "flex", "safetySettings": [
    {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"},
    {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "threshold": "BLOCK_ONLY_HIGH"},
]}
ONE_AT_A_TIME = {"type": "auto", "disable_parallel_tool_use": True}
CHAT, GENERATE = "/chat/completions", "generateContent"
CASES = {
    "openai": Case("openai", {
        "model": "gpt-4o", **SAMPLING, "serviceTier": "flex", "store": True, "promptCacheKey": "calls",
        "organization": "org-voice1", "project": "proj_voice1",
    }, "/api.openai.com/v1" + CHAT, {
        "model": "gpt-4o", **SAMPLED, "service_tier": "flex", "store": True, "prompt_cache_key": "calls",
    }, headers={"openai-organization": "org-voice1", "openai-project": "proj_voice1"}),
    "openai-elsewhere": Case("openai", {
        "model": "gpt-6-luna", "temperature": 0.4, "verbosity": "high", "reasoningEffort": "none",
        "baseUrl": "wss://eu.api.openai.com/v1",
    }, "/eu.api.openai.com/v1" + CHAT, {
        "model": "gpt-6-luna", "temperature": 0.4, "verbosity": "high", "reasoning_effort": "none",
        "max_completion_tokens": 1000, "store": False,
    }),
    "openai-reasoning": Case("openai", {
        "model": "o3", "reasoningEffort": "high", "maxTokens": 9000,
    }, "/api.openai.com/v1" + CHAT, {
        "model": "o3", "reasoning_effort": "high", "max_completion_tokens": 9000, "store": False,
    }),
    "groq": Case("groq", {
        "model": "qwen/qwen3.8-27b", "temperature": 0.31, "topP": 0.52, "seed": 77, "maxTokens": 321,
        "reasoningEffort": "high", "parallelToolCalls": False, "serviceTier": "performance",
    }, "/api.groq.com/openai/v1" + CHAT, {
        "model": "qwen/qwen3.8-27b", "temperature": 0.31, "top_p": 0.52, "max_completion_tokens": 321,
        "reasoning_effort": "high", "parallel_tool_calls": False, "service_tier": "performance", "seed": 77,
    }),
    "gemini": Case("google", {
        "model": "gemini-3.8-flash", **GEMINI, "thinkingLevel": "low",
    }, "/generativelanguage.googleapis.com/v1beta/models/gemini-3.8-flash:" + GENERATE, {
        **BLOCKED, "generationConfig": {**GENERATED, "thinkingConfig": {"thinking_level": "LOW"}},
    }),
    "gemini-budget": Case("google", {
        "model": "gemini-2.5-flash", "thinkingBudget": 256,
    }, "/generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:" + GENERATE, {
        "generationConfig": {"temperature": 0.7, "maxOutputTokens": 1000, "thinkingConfig": {"thinking_budget": 256}},
    }),
    "vertex": Case("google", {
        "model": "gemini-3.8-flash", **GEMINI, "thinkingLevel": "high", "backend": "vertex", "project": "calls-1",
        "location": "europe-west4",
    }, "/europe-west4-aiplatform.googleapis.com/v1beta1/projects/calls-1/locations/europe-west4/publishers/google"
       "/models/gemini-3.8-flash:" + GENERATE, {
        **BLOCKED, "generationConfig": {**GENERATED, "thinkingConfig": {"thinking_level": "HIGH"}},
    }),
    "anthropic": Case("anthropic", {
        "model": "claude-opus-4-6", "temperature": 0.31, "topK": 7, "maxTokens": 321, "parallelToolCalls": False,
        "workspaceId": "wrkspc_1",
    }, "/api.anthropic.com/v1/messages", {
        "model": "claude-opus-4-6", "temperature": 0.31, "top_k": 7, "max_tokens": 321, "tool_choice": ONE_AT_A_TIME,
    }, headers={"anthropic-workspace-id": "wrkspc_1"}),
    "anthropic-thinking": Case("anthropic", {
        "model": "claude-opus-4-5", "topP": 0.52, "maxTokens": 4000, "effort": "low", "thinking": "enabled",
        "thinkingBudget": 2048,
    }, "/api.anthropic.com/v1/messages", {
        "model": "claude-opus-4-5", "max_tokens": 4000,
    }, pipecat={
        "top_p": 0.52, "output_config": {"effort": "low"}, "thinking": {"type": "enabled", "budget_tokens": 2048},
    }),
    "azure-v1": Case("azure-openai", {
        **AZURE, "model": "gpt-4.1", **SAMPLING,
    }, "/voice.openai.azure.com/openai/v1" + CHAT, {"model": "calls", **SAMPLED}),
    "azure-reasoning": Case("azure-openai", {
        **AZURE, "model": "gpt-5.4", "verbosity": "low", "reasoningEffort": "medium", "maxTokens": 321,
    }, "/voice.openai.azure.com/openai/v1" + CHAT, {
        "model": "calls", "verbosity": "low", "max_completion_tokens": 321,
    }, pipecat={"reasoning_effort": "medium"}),  # LiveKit: this model takes no effort together with tools
    "azure-dated": Case("azure-openai", {
        **AZURE, "model": "gpt-4.1", **SAMPLING, "apiSurface": "dated", "apiVersion": "2025-04-01-preview",
    }, "/voice.openai.azure.com/openai/deployments/calls" + CHAT, SAMPLED, {"model": "gpt-4.1"}, {"model": "calls"},
        query={"api-version": ["2025-04-01-preview"]}),
    "entra-v1": Case("azure-openai", {
        **AZURE, "clientId": UUID, "tenantId": UUID, "maxTokens": 321, "temperature": 0.31,
    }, "/voice.openai.azure.com/openai/v1" + CHAT, {
        "model": "calls", "temperature": 0.31, "max_completion_tokens": 321,
    }),
    "entra-dated": Case("azure-openai", {
        **AZURE, "apiSurface": "dated", "clientId": UUID, "tenantId": UUID, "maxTokens": 321, "temperature": 0.31,
    }, "/voice.openai.azure.com/openai/deployments/calls" + CHAT, {
        "temperature": 0.31, "max_completion_tokens": 321,
    }, {"model": "gpt-4o"}, {"model": "calls"}, query={"api-version": ["2024-10-21"]}),
}
# fmt: on
SIGNS_IN = {"vertex": "/oauth2.googleapis.com/token", **dict.fromkeys(["entra-v1", "entra-dated"], "/login.")}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
ONE_OF_EACH = ["openai", "groq", "gemini", "vertex", "anthropic", "azure-v1", "azure-dated", "entra-v1"]
one_of_each = pytest.mark.parametrize("name", ONE_OF_EACH)
CONVERSATION = {"messages", "contents", "system", "systemInstruction", "tools", "stream", "stream_options"}
FRAMEWORKS: tuple[Framework, ...] = ("livekit", "pipecat")


@cache
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def secrets_of(case: Case, key: str = KEY) -> dict[str, SecretStr]:
    """Return the secrets that the settings need; every one of them is the given key to the vendor on loopback."""
    provider = REGISTRY.get_provider_by_key(case.provider)
    account = {
        "type": "service_account",
        "token_uri": "https://oauth2.googleapis.com/token",
        "client_email": "calls@calls-1.iam.gserviceaccount.com",
        "private_key_id": key,
        "private_key": private_key(),
    }
    values = {"apiKey": key, "clientSecret": key, "serviceAccountJson": json.dumps(account)}
    effective = provider.validate(case.overrides).effective()
    return {
        name: provider.validate_secret(name, values[name], at="/secrets")
        for name in provider.required_secrets(effective)
    }


def resolved(case: Case, key: str = KEY) -> ResolvedProviderConfig:
    """Resolve an organization's settings, as a worker receives them."""
    provider = REGISTRY.get_provider_by_key(case.provider)
    config = provider.validate(case.overrides)
    return ResolvedProviderConfig(
        provider=ProviderName(key=provider.key, name=provider.name, type=provider.type),
        config=config.effective(),
        secrets=secrets_of(case, key),
        origins=tuple(str(origin) for origin in provider.effective_origins(config)),
        is_enabled=True,
        priority=100,
        secret_version=1,
    )


def laid_out(framework: Framework, config: ResolvedProviderConfig) -> Construct:
    provider = REGISTRY.get_provider_by_key(config.provider.key)
    secrets = {name: secret.get_secret_value() for name, secret in config.secrets.items()}
    return provider.construct(framework, config.config, secrets, config.origins)


async def close(plugin: Any) -> None:
    client = plugin._client
    if isinstance(plugin, llm.LLM):
        await plugin.aclose()
    if isinstance(client, GoogleClient):
        await client.aio.aclose()
        # Google leaves a client that it was given to who gave it.
        ours = cast("Any", client)._api_client._http_options.httpx_async_client
        await ours.aclose() if ours else None
    else:
        await client.close()


@llm.function_tool
async def get_weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: where
    """
    raise AssertionError(city)


async def asked_livekit(plugin: llm.LLM[Any], *, patience: float = PATIENCE) -> Answer:
    context = llm.ChatContext()
    context.add_message(role="system", content="Be brief.")
    context.add_message(role="user", content="How is the weather?")
    options = APIConnectOptions(max_retry=0, timeout=patience)
    answer = Answer()
    async with plugin.chat(chat_ctx=context, tools=[get_weather], conn_options=options) as stream:
        async for chunk in stream:
            if chunk.delta is not None:
                answer.text += chunk.delta.content or ""
                answer.calls += [(call.name, json.loads(call.arguments)) for call in chunk.delta.tool_calls]
    return answer


async def asked_pipecat(service: Any) -> Answer:
    city = {"city": {"type": "string"}}
    tool = FunctionSchema(name="get_weather", description="The weather", properties=city, required=["city"])
    context = LLMContext([{"role": "user", "content": "How is the weather?"}], ToolsSchema(standard_tools=[tool]))
    return Answer(await service.run_inference(context))


async def asked(framework: Framework, plugin: Any) -> Answer:
    return await (asked_livekit(plugin) if framework == "livekit" else asked_pipecat(plugin))


@every_case
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_request_carries_what_the_organization_set_and_nothing_else(
    vendor: LLMVendor, case: Case, framework: Framework
) -> None:
    plugin = vendor.aimed(laid_out(framework, resolved(case))).make()
    try:
        assert await asked(framework, plugin) == Answer(SAID)
    finally:
        await close(plugin)
    *sign_in, request = vendor.requests
    signs_in = next((path for name, path in SIGNS_IN.items() if CASES[name] is case), None)
    assert len(sign_in) == (1 if signs_in else 0)
    assert all(each.path.startswith(signs_in or "/none") and each.key == KEY for each in sign_in)
    assert request.key == (f"token-of-{KEY}" if signs_in else KEY)
    assert request.path.replace("streamGenerate", "generate") == case.path
    sent = {name: value for name, value in request.body.items() if name not in CONVERSATION}
    assert sent == {**case.both, **(case.livekit if framework == "livekit" else case.pipecat)}
    assert {name: request.query.get(name) for name in case.query} == case.query
    account = {"openai-organization", "openai-project", "anthropic-workspace-id"}
    assert {name: value for name, value in request.headers.items() if name in account} == case.headers


@one_of_each
async def test_livekit_gets_a_tool_call(vendor: LLMVendor, name: str) -> None:
    plugin = vendor.aimed(laid_out("livekit", resolved(CASES[name]))).make()
    vendor.call("get_weather", city="Oslo")
    try:
        assert await asked_livekit(plugin) == Answer("", [("get_weather", {"city": "Oslo"})])
        assert await asked_livekit(plugin) == Answer(SAID)
    finally:
        await close(plugin)


@one_of_each
async def test_two_organizations_spend_their_own_keys(vendor: LLMVendor, name: str) -> None:
    vendor.keys.add("sk-organization-2")
    plans = [laid_out("livekit", resolved(CASES[name], key)) for key in (KEY, "sk-organization-2")]
    one, other = [vendor.aimed(plan).make() for plan in plans]
    try:
        for plugin in (one, other, one):
            assert await asked_livekit(plugin) == Answer(SAID)
    finally:
        await close(one)
        await close(other)
    spent = [each.key for each in vendor.requests if not each.path.endswith("/token")]
    prefix = "token-of-" if name in SIGNS_IN else ""
    assert spent == [f"{prefix}{KEY}", f"{prefix}sk-organization-2", f"{prefix}{KEY}"]


async def failure(plugin: llm.LLM[Any], *, patience: float = PATIENCE) -> APIError:
    with pytest.raises(APIError) as failed:
        await asked_livekit(plugin, patience=patience)
    return failed.value


@one_of_each
async def test_livekit_tells_the_kinds_of_failure_apart(vendor: LLMVendor, name: str) -> None:
    plugin = vendor.aimed(laid_out("livekit", resolved(CASES[name]))).make()
    vendors_path = "/" + CASES[name].path.split("/")[1]
    bad_key = 400 if name == "gemini" else 401
    out_of_quota = 402 if name == "anthropic" else 429
    statuses: dict[Fault, int] = {"401": bad_key, "403": 403, "429": 429, "quota": out_of_quota, "500": 500}
    try:
        for fault, status in statuses.items():
            vendor.fail(vendors_path, fault, times=1)
            error = await failure(plugin)
            assert isinstance(error, APIStatusError)
            assert error.status_code == status, fault
        vendor.fail(vendors_path, "reset", times=1)
        error = await failure(plugin)
        assert isinstance(error, APIConnectionError)
        assert not isinstance(error, APITimeoutError)
        vendor.fail(vendors_path, "hang", times=1)
        assert isinstance(await failure(plugin, patience=0.5), APIConnectionError)
        assert await asked_livekit(plugin) == Answer(SAID)
    finally:
        await close(plugin)


@pytest.mark.parametrize("name", ["entra-v1", "entra-dated"])
async def test_a_sign_in_that_entra_refuses_is_a_bad_key(vendor: LLMVendor, name: str) -> None:
    plugin = vendor.aimed(laid_out("livekit", resolved(CASES[name], "sk-wrong"))).make()
    try:
        error = await failure(plugin)
        assert isinstance(error, APIStatusError)
        assert error.status_code == 401
        assert "sk-wrong" not in str(error)
        for fault, status in {"429": 429, "500": 500}.items():
            vendor.fail("/login.", cast("Fault", fault), times=1)
            assert getattr(await failure(plugin), "status_code", None) == status
        vendor.fail("/login.", "reset", times=1)
        assert isinstance(await failure(plugin), APIConnectionError)
    finally:
        await close(plugin)
    assert {each.path.split("/")[1] for each in vendor.requests} == {"login.microsoftonline.com"}


async def test_an_application_that_entra_does_not_know_is_a_bad_key() -> None:
    async with Elsewhere(web.HTTPBadRequest()) as entra:
        plugin = entra.aimed(laid_out("livekit", resolved(CASES["entra-v1"]))).make()
        assert getattr(await failure(plugin), "status_code", None) == 401
        await close(plugin)


async def test_a_service_account_that_google_refuses_is_told_by_google_s_word(vendor: LLMVendor) -> None:
    plugin = vendor.aimed(laid_out("livekit", resolved(CASES["vertex"], "sk-wrong"))).make()
    error = await failure(plugin)
    await close(plugin)
    assert isinstance(error, APIConnectionError)  # LiveKit makes no difference between this and a lost connection
    assert examine(error).kind == "authentication"
    assert {each.path for each in vendor.requests} == {"/oauth2.googleapis.com/token"}


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_nothing_is_asked_where_a_model_is_made(vendor: LLMVendor, framework: Framework) -> None:
    """A call that changes over to it would stand still meanwhile, and all others of the process."""
    for case in CASES.values():
        plugin = vendor.aimed(laid_out(framework, resolved(case))).make()
        assert vendor.requests == []
        await close(plugin)


async def test_a_token_of_entra_serves_until_shortly_before_it_ends(
    vendor: LLMVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = laid_out("livekit", resolved(CASES["entra-v1"]))
    token = cast("Construct", cast("Construct", plan.arguments["client"]).arguments["api_key"])
    assert token.arguments["url"] == f"https://login.microsoftonline.com/{UUID}/oauth2/v2.0/token"
    ask = vendor.aimed(token).make()
    now = 1000.0
    monkeypatch.setattr("voxplane.providers.azure_openai.time", SimpleNamespace(monotonic=lambda: now))
    assert await ask() == f"token-of-{KEY}"
    now += 3599 - 301
    assert await ask() == f"token-of-{KEY}"
    assert len(vendor.requests) == 1
    now += 2
    assert await ask() == f"token-of-{KEY}"
    assert len(vendor.requests) == 2


def test_a_government_resource_signs_in_to_the_government_s_cloud() -> None:
    overrides = {**CASES["entra-v1"].overrides, "endpoint": "https://voice.openai.azure.us/"}
    plan = laid_out("pipecat", resolved(replace(CASES["entra-v1"], overrides=overrides)))
    assert plan.arguments["endpoint"] == "https://voice.openai.azure.us/openai/v1"
    token = cast("Construct", plan.arguments["token_provider"])
    assert token.arguments["url"] == f"https://login.microsoftonline.us/{UUID}/oauth2/v2.0/token"
    assert token.arguments["scope"] == "https://cognitiveservices.azure.us/.default"


# Pipecat's settings


PIPECAT_SETTINGS: dict[str, JsonObject] = {
    "openai": {"model": "gpt-4o", "temperature": 0.31, "max_completion_tokens": 321, "seed": 77},
    "groq": {"model": "qwen/qwen3.8-27b", "reasoning_effort": "high", "max_completion_tokens": 321},
    "gemini": {"model": "gemini-3.8-flash", "max_tokens": 321, "top_k": 7},
    "vertex": {"model": "gemini-3.8-flash", "max_tokens": 321, "top_k": 7},
    "anthropic": {"model": "claude-opus-4-6", "max_tokens": 321, "enable_prompt_caching": False},
    "azure-v1": {"model": "calls", "temperature": 0.31, "max_completion_tokens": 321},
    "azure-dated": {"model": "calls", "temperature": 0.31, "max_completion_tokens": 321},
    "entra-v1": {"model": "calls", "temperature": 0.31, "max_completion_tokens": 321},
}


@one_of_each
async def test_pipecat_s_services_hold_the_settings(vendor: LLMVendor, name: str) -> None:
    service = vendor.aimed(laid_out("pipecat", resolved(CASES[name]))).make()
    held = {setting: getattr(service._settings, setting) for setting in PIPECAT_SETTINGS[name]}
    assert held == PIPECAT_SETTINGS[name]
    assert isinstance(service._settings, type(service).Settings)
    await close(service)


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_prompts_are_cached_where_asked_for(vendor: LLMVendor, framework: Framework) -> None:
    case = Case("anthropic", {"promptCaching": True}, "", {})
    plugin = vendor.aimed(laid_out(framework, resolved(case))).make()
    await asked(framework, plugin)
    await close(plugin)
    assert "'cache_control': {'type': 'ephemeral'}" in str(vendor.requests[0].body)


# Nothing but what the organization set


@pytest.fixture
async def elsewhere(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LLMVendor]:
    """Set every variable of the vendors to a canary, and the addresses to a server that must not be asked."""
    async with LLMVendor(keys=()) as opened:
        for name in variables_of_models():
            monkeypatch.setenv(name, canary(name, opened.url))
        for name in PROXIES:
            monkeypatch.setenv(name, opened.url)
        yield opened


def test_the_variables_that_matter_are_found() -> None:
    assert variables_of_models() >= {
        *("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
        *("OPENAI_CUSTOM_HEADERS", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_ENDPOINT"),
        *("OPENAI_API_VERSION", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "GROQ_API_KEY"),
        *("ANTHROPIC_CUSTOM_HEADERS", "GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI"),
        *("GOOGLE_GEMINI_BASE_URL", "GOOGLE_VERTEX_BASE_URL", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"),
        "GOOGLE_APPLICATION_CREDENTIALS",
    }


async def test_left_to_themselves_the_classes_do_spend_what_the_environment_says(elsewhere: LLMVendor) -> None:
    bare = [
        livekit_openai.LLM(model="m"),
        livekit_openai.LLM(model="m", api_key=KEY, base_url=f"{elsewhere.url}/v1"),
        livekit_groq.LLM(model="m", base_url=f"{elsewhere.url}/v1"),
        livekit_anthropic.LLM(),
        livekit_google.LLM(model="m", api_key=KEY, vertexai=False),
    ]
    for plugin in bare:
        elsewhere.requests.clear()
        await failure(plugin)
        assert any(CANARY in repr(each) for each in elsewhere.requests), type(plugin)
        await close(plugin)


@every_case
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_nothing_of_the_environment_is_spent(
    vendor: LLMVendor, elsewhere: LLMVendor, case: Case, framework: Framework, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PROXIES if case is CASES["vertex"] else ():
        monkeypatch.delenv(name)
    plugin = vendor.aimed(laid_out(framework, resolved(case))).make()
    try:
        assert await asked(framework, plugin) == Answer(SAID)
        if framework == "livekit":
            await plugin._prewarm_impl()
    finally:
        await close(plugin)
    assert [each for each in vendor.requests if CANARY in repr(each).lower()] == []
    assert elsewhere.requests == []


@every_case
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_without_its_secret_or_its_origin_nothing_is_laid_out(
    elsewhere: LLMVendor, case: Case, framework: Framework
) -> None:
    config = resolved(case)
    with pytest.raises(SecretsMissing):
        laid_out(framework, replace(config, secrets={}))
    for origins in ((), ("https://elsewhere.example:443",), tuple(f"{each}/more" for each in config.origins)):
        with pytest.raises(DestinationUnapproved):
            laid_out(framework, replace(config, origins=origins))
    assert elsewhere.requests == []


@pytest.mark.parametrize("name", [name for name in ONE_OF_EACH if name not in SIGNS_IN])
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_no_redirect_is_followed_and_nothing_tried_again(
    vendor: LLMVendor, name: str, framework: Framework
) -> None:
    async with Elsewhere(web.HTTPTemporaryRedirect(vendor.url + CASES[name].path)) as redirecting:
        plugin = redirecting.aimed(laid_out(framework, resolved(CASES[name]))).make()
        with pytest.raises((APIError, *REFUSALS)):
            await asked(framework, plugin)
        await close(plugin)
        assert len(redirecting.requests) == 1
    assert vendor.requests == []


@one_of_each
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_failed_request_is_not_tried_again(vendor: LLMVendor, name: str, framework: Framework) -> None:
    plugin = vendor.aimed(laid_out(framework, resolved(CASES[name]))).make()
    vendor.fail("/" + CASES[name].path.split("/")[1], "500")
    with pytest.raises((APIError, *REFUSALS)):
        await asked(framework, plugin)
    await close(plugin)
    assert len([each for each in vendor.requests if not each.path.endswith("/token")]) == 1

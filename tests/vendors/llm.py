"""The language model clouds on loopback: OpenAI, Groq, Azure OpenAI, Anthropic and Gemini, as far as calls need them.

It says what a test tells it to, whole or as a stream. That its answers are the vendors' own is shown by the vendors'
SDKs and by both frameworks' classes, in tests/test_llm_vendors.py.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from aiohttp import web

from tests.vendors.vendor import Vendor, arrived
from voxplane.plugin import Construct
from voxplane.schemas import JsonObject

_HOSTS = re.compile(
    r"https://((?:(?:[a-z]+\.)?api\.(?:openai|groq|anthropic)\.com|(?:generativelanguage|oauth2)\.googleapis\.com"
    r"|(?:[a-z0-9-]+-)?aiplatform\.googleapis\.com|login\.microsoftonline\.com|[a-z0-9-]+\.openai\.azure\.com))"
)
# How each vendor refuses: the status, its own word for it, and its sentence, which clients have to go by where the
# rest misleads. Gemini answers 400 to a key that it does not know.
# fmt: off
_QUOTA = "You exceeded your current quota, please check your plan and billing details."
_OPENAI: Mapping[str, tuple[int, str, str]] = {
    "400": (400, "invalid_value", "Invalid request."), "401": (401, "invalid_api_key", "Incorrect API key provided."),
    "403": (403, "unsupported_country", "Country, region, or territory not supported"),
    "404": (404, "not_found", "Not found."), "429": (429, "rate_limit_exceeded", "Rate limit reached for requests."),
    "quota": (429, "insufficient_quota", _QUOTA), "500": (500, "server_error", "The server had an error."),
}
_ANTHROPIC: Mapping[str, tuple[int, str, str]] = {
    "400": (400, "invalid_request_error", "Invalid request."),
    "401": (401, "authentication_error", "invalid x-api-key"),
    "403": (403, "permission_error", "Your API key may not use this resource."),
    "404": (404, "not_found_error", "Not found."), "429": (429, "rate_limit_error", "Rate limit reached."),
    "quota": (402, "billing_error", "Your credit balance is too low."), "500": (500, "api_error", "Internal error."),
}
_GOOGLE: Mapping[str, tuple[int, str, str]] = {
    "400": (400, "INVALID_ARGUMENT", "Invalid request."),
    "401": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    "403": (403, "PERMISSION_DENIED", "This API has not been used in this project before."),
    "404": (404, "NOT_FOUND", "Not found."), "429": (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted."),
    "quota": (429, "RESOURCE_EXHAUSTED", _QUOTA), "500": (500, "INTERNAL", "An internal error has occurred."),
}
# fmt: on


@dataclass(frozen=True)
class Recorded:
    """One request as it arrived."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """By lower-case name."""
    body: Any
    """The JSON of the body, or the fields of a form."""

    @property
    def key(self) -> str | None:
        """The key that came, if it came where this vendor looks for it."""
        if self.path.endswith("/token"):
            return _secret_of_sign_in(self.body)
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        bearer = value if scheme == "Bearer" else None
        match self.vendor:
            case "anthropic":
                return self.headers.get("x-api-key")
            case "gemini":
                return self.headers.get("x-goog-api-key")
            case "azure":
                return self.headers.get("api-key", bearer)
            case _:
                return bearer

    @property
    def vendor(self) -> Literal["openai", "azure", "anthropic", "gemini", "vertex"]:
        """Whose interface was called."""
        if "anthropic-version" in self.headers:
            return "anthropic"
        if "/projects/" in self.path:
            return "vertex"
        if re.search(r"/v1(beta)?/models\b.*:|/v1beta/", self.path) or "x-goog-api-key" in self.headers:
            return "gemini"
        return "azure" if "/openai/deployments/" in self.path or "api-key" in self.headers else "openai"


@dataclass(frozen=True)
class _Call:
    tool: str
    arguments: JsonObject


class LLMVendor(Vendor[Recorded]):
    """All language model clouds behind one address; a key is good only if it is among `keys`.

    Use it as `async with LLMVendor(keys={"..."}) as vendor`. A path may stand before the vendors' own, and faults are
    told by how a path begins: with `/api.groq.com` what was `aimed` at Groq, with `/` everything.
    """

    def __init__(self, keys: Collection[str]) -> None:
        application = web.Application(client_max_size=1 << 26)
        application.router.add_route("*", "/{path:.*}", self._answer)
        super().__init__(keys, application)
        self._text = "All is well."
        self._call: _Call | None = None

    def say(self, text: str) -> None:
        """Answer with these words from now on."""
        self._text = text

    def call(self, tool: str, **arguments: Any) -> None:
        """Call a tool the next time that it is offered, and answer with words again afterwards."""
        self._call = _Call(tool, arguments)

    def aimed(self, plan: Construct) -> Construct:
        """Return what was laid out for a vendor, with the vendor's hosts behind this address, each below its name."""
        aimed: Construct = self._aimed(plan)
        return aimed

    def _aimed(self, value: Any) -> Any:
        if isinstance(value, Construct):
            return Construct(value.target, self._aimed(value.arguments), self._aimed(value.attributes))
        if isinstance(value, Mapping):
            found = cast("Mapping[str, Any]", value)
            return {name: self._aimed(each) for name, each in found.items()}
        return _HOSTS.sub(rf"{self.url}/\1", value) if isinstance(value, str) else value

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        recorded = Recorded(*await arrived(request, "application/x-www-form-urlencoded"))
        self.requests.append(recorded)
        fault = await self._fault(request)
        if fault is not None:
            return web.Response() if fault == "reset" else _refusal(recorded, fault)
        if recorded.key not in self.keys:
            return _refusal(recorded, "401")
        if recorded.path.endswith("/token"):
            return self._sign_in(recorded)
        if recorded.method == "GET":
            return (
                web.json_response(_models(recorded)) if recorded.path.endswith("/models") else _refusal(recorded, "404")
            )
        return await self._speak(request, recorded)

    def _sign_in(self, recorded: Recorded) -> web.Response:
        token = f"token-of-{recorded.key}"
        self.keys.add(token)
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": 3599})

    async def _speak(self, request: web.Request, recorded: Recorded) -> web.StreamResponse:
        spoken = _spoken(recorded, self._next_answer(recorded.body))
        if spoken is None:
            return _refusal(recorded, "400")
        return web.json_response(spoken) if isinstance(spoken, dict) else await _stream(request, spoken)

    def _next_answer(self, body: JsonObject) -> str | _Call:
        if self._call is None or self._call.tool not in _offered(body):
            return self._text
        call, self._call = self._call, None
        return call


def _secret_of_sign_in(form: Mapping[str, str]) -> str | None:
    """Return an application's secret, or the id of the service account's key that signed for it."""
    if "assertion" not in form:
        return form.get("client_secret")
    head = form["assertion"].partition(".")[0]
    signed_with: str = json.loads(base64.urlsafe_b64decode(head + "=="))["kid"]
    return signed_with


def _is_complete(recorded: Recorded, *needed: str) -> bool:
    """Whether all is there that the vendor insists on."""
    dated = "/openai/deployments/" in recorded.path
    return all(recorded.body.get(name) for name in needed) and (not dated or "api-version" in recorded.query)


def _offered(body: JsonObject) -> set[str]:
    """Return the names of the tools that a request offers."""
    names: set[str] = set()
    tools: list[JsonObject] = body.get("tools") or []
    for tool in tools:
        declared: list[JsonObject] = tool.get("functionDeclarations") or [tool.get("function", tool)]
        names |= {each["name"] for each in declared}
    return names


def _spoken(recorded: Recorded, answer: str | _Call) -> JsonObject | Iterator[str] | None:
    """Return a whole answer or the events of a stream, as asked; none if the vendor would not understand."""
    path, body = recorded.path, recorded.body
    if path.endswith("/chat/completions") and _is_complete(recorded, "model", "messages"):
        return _openai_stream(body, answer) if body.get("stream") else _openai_whole(body, answer)
    if path.endswith("/messages") and _is_complete(recorded, "model", "messages", "max_tokens"):
        return _anthropic_stream(body, answer) if body.get("stream") else _anthropic_whole(body, answer)
    if path.endswith(":streamGenerateContent") and _is_complete(recorded, "contents"):
        return _gemini_stream(answer)
    if path.endswith(":generateContent") and _is_complete(recorded, "contents"):
        return _gemini_chunk(_gemini_parts(answer), "STOP")
    return None


def _pieces(text: str) -> list[str]:
    return re.findall(r"\S+\s*", text)


async def _stream(request: web.Request, events: Iterator[str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    for event in events:
        await response.write(event.encode())
    await response.write_eof()
    return response


def _refusal(recorded: Recorded, kind: str) -> web.Response:
    vendor = recorded.vendor
    if recorded.path.endswith("/token") and kind == "401":
        by_google = "assertion" in recorded.body
        refusal = {"error": "invalid_grant" if by_google else "invalid_client", "error_description": "No such key."}
        return web.json_response(refusal, status=400 if by_google else 401)
    if vendor == "anthropic":
        status, word, message = _ANTHROPIC[kind]
        body: JsonObject = {"type": "error", "error": {"type": word, "message": message}, "request_id": "req_1"}
    elif vendor in {"gemini", "vertex"}:
        status, word, message = _GOOGLE[kind]
        if kind == "401" and vendor == "vertex":
            status, word, message = 401, "UNAUTHENTICATED", "Request had invalid authentication credentials."
        body = {"error": {"code": status, "message": message, "status": word}}
    else:
        status, word, message = _OPENAI[kind]
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": word}
        body = {"error": {"code": str(status), "message": message} if vendor == "azure" else error}
    return web.json_response(body, status=status, headers={"retry-after": "1"} if kind == "429" else {})


def _models(recorded: Recorded) -> JsonObject:
    if recorded.vendor == "anthropic":
        model = {"type": "model", "id": "claude-sonnet-4-6", "display_name": "C", "created_at": "2026-02-17T00:00:00Z"}
        return {"data": [model], "has_more": False, "first_id": model["id"], "last_id": model["id"]}
    if recorded.vendor == "gemini":
        return {"models": [{"name": "models/gemini-3.5-flash-lite", "supportedGenerationMethods": ["generateContent"]}]}
    return {"object": "list", "data": [{"id": "gpt-4o-mini", "object": "model", "created": 1, "owned_by": "system"}]}


# OpenAI, and whoever speaks like it

_USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def _openai_call(call: _Call, arguments: str) -> JsonObject:
    return {"id": "call_1", "type": "function", "function": {"name": call.tool, "arguments": arguments}}


def _openai_whole(body: JsonObject, answer: str | _Call) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": answer, "refusal": None}
    reason = "stop"
    if isinstance(answer, _Call):
        call = _openai_call(answer, json.dumps(answer.arguments))
        message, reason = {**message, "content": None, "tool_calls": [call]}, "tool_calls"
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": _USAGE,
    }


def _openai_stream(body: JsonObject, answer: str | _Call) -> Iterator[str]:
    def chunk(delta: JsonObject, reason: str | None = None) -> JsonObject:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": body["model"],
            "choices": [choice],
        }

    if isinstance(answer, _Call):
        arguments = [{"index": 0, "function": {"arguments": piece}} for piece in _pieces(json.dumps(answer.arguments))]
        calls = [{"index": 0, **_openai_call(answer, "")}, *arguments]
        said, reason = [chunk({"tool_calls": [call]}) for call in calls], "tool_calls"
    else:
        said, reason = [chunk({"content": piece}) for piece in _pieces(answer)], "stop"
    chunks = [chunk({"role": "assistant", "content": ""}), *said, chunk({}, reason)]
    options: JsonObject = body.get("stream_options") or {}
    if options.get("include_usage"):
        chunks.append({**chunk({}), "choices": [], "usage": _USAGE})
    for each in chunks:
        yield f"data: {json.dumps(each)}\n\n"
    yield "data: [DONE]\n\n"


# Anthropic


def _anthropic_message(body: JsonObject, content: list[JsonObject], reason: str | None) -> JsonObject:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 4},
    }


def _anthropic_whole(body: JsonObject, answer: str | _Call) -> JsonObject:
    if isinstance(answer, _Call):
        call = {"type": "tool_use", "id": "toolu_1", "name": answer.tool, "input": answer.arguments}
        return _anthropic_message(body, [call], "tool_use")
    return _anthropic_message(body, [{"type": "text", "text": answer}], "end_turn")


def _anthropic_stream(body: JsonObject, answer: str | _Call) -> Iterator[str]:
    block: JsonObject = {"type": "text", "text": ""}
    reason = "end_turn"
    if isinstance(answer, _Call):
        block = {"type": "tool_use", "id": "toolu_1", "name": answer.tool, "input": {}}
        reason = "tool_use"
        pieces = _pieces(json.dumps(answer.arguments))
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    else:
        deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(answer)]
    ended = {"stop_reason": reason, "stop_sequence": None}
    events: list[JsonObject] = [
        {"type": "message_start", "message": _anthropic_message(body, [], None)},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]
    for event in events:
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"


# Gemini


def _gemini_parts(answer: str | _Call) -> list[JsonObject]:
    if isinstance(answer, _Call):
        return [{"functionCall": {"name": answer.tool, "args": answer.arguments}}]
    return [{"text": answer}]


def _gemini_chunk(parts: list[JsonObject], reason: str | None) -> JsonObject:
    content = {"role": "model", "parts": parts}
    candidate = {"content": content, "index": 0, **({"finishReason": reason} if reason else {})}
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini", "responseId": "r"}


def _gemini_stream(answer: str | _Call) -> Iterator[str]:
    parts = _gemini_parts(answer) if isinstance(answer, _Call) else [{"text": piece} for piece in _pieces(answer)]
    for number, part in enumerate(parts, 1):
        chunk = _gemini_chunk([part], "STOP" if number == len(parts) else None)
        yield f"data: {json.dumps(chunk)}\r\n\r\n"

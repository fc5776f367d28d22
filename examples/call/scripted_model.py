"""A language model that follows a script, behind OpenAI's protocol: it stands in for a vendor that needs an account."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from voxplane.plugin import Plugin
from voxplane.registry import ProviderRegistry
from voxplane.schemas import ProviderType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voxplane.provider import AnyProvider
    from voxplane.schemas import JsonObject

ANSWERS = {
    "open": "We are open from nine to five, Monday to Friday.",
    "table": "Your table is booked for tomorrow evening.",
    "": "This is a scripted answer, but everything around it is real.",
}


class ScriptedModel:
    """The model: it answers by the first word of its script that the question holds, and keeps what it was asked."""

    def __init__(self, answers: Mapping[str, str] = ANSWERS) -> None:
        """Take the script: a word in the question, and the answer to it; the empty word fits every question."""
        self.requests: list[JsonObject] = []
        self.headers: list[dict[str, str]] = []
        self.keys: list[str] = []
        self.refused: set[str] = set()
        """Keys that it answers as a vendor answers a dead one."""
        self._answers = answers

    @asynccontextmanager
    async def served(self) -> AsyncGenerator[str]:
        """Serve on a free port of this machine, and yield the base URL."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()

    def answer_to(self, question: str) -> str:
        """Return what the script says."""
        return next(answer for word, answer in self._answers.items() if word in question.lower())

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.requests.append(asked)
        self.headers.append(dict(request.headers))
        self.keys.append(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if self.keys[-1] in self.refused:
            error = {
                "message": "Incorrect API key provided.",
                "type": "invalid_request_error",
                "code": "invalid_api_key",
            }
            return web.json_response({"error": error}, status=401)
        said = [_text(each["content"]) for each in asked["messages"] if each["role"] == "user"]
        words = self.answer_to(said[-1] if said else "").split(" ")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        pieces: list[JsonObject] = [
            {"role": "assistant", "content": ""},
            *({"content": f"{word} "} for word in words),
            {},
        ]
        for number, piece in enumerate(pieces):
            choice = {"index": 0, "delta": piece, "finish_reason": "stop" if number == len(pieces) - 1 else None}
            chunk = {"id": "scripted", "object": "chat.completion.chunk", "created": 0, "model": asked["model"]}
            await response.write(f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


def _text(content: Any) -> str:
    return content if isinstance(content, str) else " ".join(str(part.get("text", "")) for part in content)


class StandIn(ProviderRegistry):
    """The providers, where calls to some of them go elsewhere: for demonstrations and tests."""

    def __init__(self, base_urls: Mapping[str, str]) -> None:
        """Send what would go to a provider to the base URL that stands here under its key."""
        super().__init__()
        self.initialize()
        self._base_urls = base_urls

    def get_provider_by_key(self, key: str) -> AnyProvider:
        """Return the provider, or the one that leads elsewhere."""
        provider = super().get_provider_by_key(key)
        if key not in self._base_urls:
            return provider
        return replace(provider, livekit=tuple(_rerouted(plugin, self._base_urls[key]) for plugin in provider.livekit))


class Scripted(ProviderRegistry):
    """The providers, where a script at a base URL answers in place of every language model; it gets no real key."""

    def __init__(self, base_url: str) -> None:
        """Take where the script is served."""
        super().__init__()
        self.initialize()
        self._plugin = Plugin(
            target="livekit.plugins.openai:LLM",
            requires="livekit-plugins-openai",
            takes={},
            derives=lambda _settings, _secrets: {"model": "scripted", "api_key": "none", "base_url": base_url},
        )

    def get_provider_by_key(self, key: str) -> AnyProvider:
        """Return the provider, with the script for a model where it is one."""
        provider = super().get_provider_by_key(key)
        return replace(provider, livekit=(self._plugin,)) if provider.type is ProviderType.LLM else provider


def _rerouted(plugin: Plugin, base_url: str) -> Plugin:
    def derives(settings: JsonObject, secrets: Mapping[str, str]) -> Mapping[str, Any]:
        return plugin.derives({**settings, "baseUrl": base_url}, secrets)

    return replace(plugin, derives=derives)

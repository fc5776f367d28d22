"""Servers that stand for those of Piper, Vosk and OpenAI's protocol: as documented, or broken in a given way."""

# The engines and the model packages have no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import vosk
from aiohttp import WSMsgType, web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[str]:
    """Let a handler answer everything that comes to a free port of this machine; give its host and port."""

    async def answer(request: web.Request) -> web.StreamResponse:  # aiohttp wants a function, and not an object
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()


def broken(how: str) -> Handler:
    """Make a handler that answers with a status, or hangs, resets, redirects or sends something else."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        if how == "hang":
            await asyncio.Event().wait()
        if how == "reset" and request.transport:
            request.transport.abort()
        if how == "page":
            return web.Response(text="<html>Welcome</html>", content_type="text/html")
        return web.Response(status=int(how) if how.isdigit() else 200)

    return answer


def wav(*, sample_rate: int = 22_050, seconds: float = 0.5, channels: int = 1, level: int = 1000) -> bytes:
    """Return a wav whose samples all have one value."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(sample_rate)
        writer.writeframes(level.to_bytes(2, "little", signed=True) * int(seconds * sample_rate * channels))
    return file.getvalue()


class PiperServer:
    """What Piper 1.8's HTTP server does for a client, with a sound instead of speech, and a record of all requests."""

    def __init__(self, sound: bytes | None = None, voices: tuple[str, ...] = ("en_US-joe-medium",)) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self._sound = wav() if sound is None else sound
        self._voices = voices

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer as the real one: the wav goes by the name of text/html."""
        body = await request.read()
        self.requests.append((request.method, request.path, json.loads(body) if body else None))
        if (request.method, request.path) == ("GET", "/voices"):
            return web.json_response({voice: {} for voice in self._voices})
        if (request.method, request.path) == ("POST", "/synthesize"):
            return web.Response(body=self._sound, content_type="text/html")
        return web.Response(status=405)


class VoskServer:
    """The websocket server of the vosk-server project, as its websocket/asr_server.py speaks: with a real recogniser.

    A text message with `config` is kept and not answered; the words `{"reset" : 1}` and `{"eof" : 1}`, spelled just
    so, are answered by what remains, and all other messages by a partial or final result.
    """

    def __init__(self, model: Any, *, answers: int = 1_000_000, then: str = "close") -> None:
        self.configs: list[Any] = []
        self.sent: list[str] = []
        self._model = model
        self._answers = answers
        self._then = then

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Recognise one caller's speech."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        recognizer: Any = None
        config: dict[str, Any] = {}
        async for message in socket:
            if message.type is WSMsgType.TEXT and "config" in message.data:
                config = json.loads(message.data)["config"]
                self.configs.append(config)
                continue
            if message.type is WSMsgType.TEXT:
                self.sent.append(message.data)
            recognizer = recognizer or self._recognizer(config)
            if not self._answers:
                await self._fail(socket)
                break
            self._answers -= 1
            await socket.send_str(await asyncio.to_thread(_result, recognizer, message.data))
            if message.data == '{"eof" : 1}':
                break
        return socket

    def _recognizer(self, config: dict[str, Any]) -> Any:
        phrases = [json.dumps(config["phrase_list"], ensure_ascii=False)] if "phrase_list" in config else []
        recognizer = vosk.KaldiRecognizer(self._model, float(config["sample_rate"]), *phrases)
        recognizer.SetWords(bool(config["words"]))
        recognizer.SetMaxAlternatives(int(config["max_alternatives"]))
        return recognizer

    async def _fail(self, socket: web.WebSocketResponse) -> None:
        if self._then == "hang":
            await asyncio.Event().wait()
        if self._then == "nonsense":
            await socket.send_str("these are not the words")
        await socket.close()


def _result(recognizer: Any, message: Any) -> str:
    if message in {'{"eof" : 1}', '{"reset" : 1}'}:
        return recognizer.FinalResult()
    return recognizer.Result() if recognizer.AcceptWaveform(message) else recognizer.PartialResult()


class TranscriptionServer:
    """OpenAI's `POST /v1/audio/transcriptions`, with a record of what came."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.forms: list[dict[str, str]] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Say that something was said."""
        if (request.method, request.path) != ("POST", "/v1/audio/transcriptions"):
            return web.Response(status=404)
        form = await request.post()
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.forms.append({name: value for name, value in form.items() if isinstance(value, str)})
        return web.json_response({"text": "Please book a table."})

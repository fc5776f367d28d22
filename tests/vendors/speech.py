"""The speech clouds on loopback: Deepgram, ElevenLabs, Cartesia and OpenAI's audio, as far as calls need them.

Whatever is said, it hears one transcript; whatever the text, it speaks a tone. That its answers are the vendors' own
is shown by the vendors' SDKs and by both frameworks' classes, in tests/test_speech_vendors.py.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import json
import math
import wave
from array import array
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, cast

from aiohttp import WSMsgType, web
from pydantic import create_model

from tests.vendors.vendor import Vendor, arrived
from voxplane.provider import AnyProvider, LocalServerUrl
from voxplane.schemas import JsonObject

Answer = web.StreamResponse
Handler = Callable[[web.Request], Awaitable[Answer]]

# How each vendor refuses: the status, and its own word for it.
# fmt: off
_DEEPGRAM: Mapping[str, tuple[int, str]] = {
    "400": (400, "Bad Request"), "401": (401, "INVALID_AUTH"), "403": (403, "INSUFFICIENT_PERMISSIONS"),
    "429": (429, "TOO_MANY_REQUESTS"), "quota": (402, "ASR_PAYMENT_REQUIRED"), "500": (500, "INTERNAL_SERVER_ERROR"),
}
_ELEVENLABS: Mapping[str, tuple[int, str]] = {
    "400": (400, "invalid_parameters"), "401": (401, "invalid_api_key"), "403": (403, "forbidden"),
    "429": (429, "too_many_concurrent_requests"), "quota": (401, "quota_exceeded"), "500": (500, "internal_error"),
}
_CARTESIA: Mapping[str, tuple[int, str]] = {
    "400": (400, "bad_request"), "401": (401, "unauthorized"), "403": (403, "forbidden"),
    "429": (429, "concurrency_limited"), "quota": (402, "quota_exceeded"), "500": (500, "internal_error"),
}
_OPENAI: Mapping[str, tuple[int, str]] = {
    "400": (400, "invalid_value"), "401": (401, "invalid_api_key"), "403": (403, "insufficient_permissions"),
    "429": (429, "rate_limit_exceeded"), "quota": (429, "insufficient_quota"), "500": (500, "server_error"),
}
# fmt: on


@dataclass
class Recorded:
    """One request as it arrived, and what followed on its socket."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """By lower-case name."""
    body: Any = None
    """The JSON of the body, or the fields of a form."""
    messages: list[JsonObject] = field(default_factory=list[JsonObject])
    """What came as JSON over the websocket, in order."""
    audio: int = 0
    """How many bytes of audio came."""

    @property
    def key(self) -> str | None:
        """The key that came, if it came where this vendor looks for it."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        if self.path.endswith("/listen"):
            return value if scheme == "Token" else None
        if self.path.startswith("/v1/text-to-"):
            return self.headers.get("xi-api-key")
        bearer = value if scheme == "Bearer" else None
        return self.headers.get("x-api-key", bearer) if self.path.startswith("/tts/") else bearer

    def one(self, name: str) -> str | None:
        """Return a parameter of the query that stands there once."""
        values = self.query.get(name, [])
        assert len(values) <= 1, name
        return values[0] if values else None


_RECORDED = web.RequestKey("recorded", Recorded)


class SpeechVendor(Vendor[Recorded]):
    """All speech clouds behind one address; a key is good only if it is among `keys`.

    Use it as `async with SpeechVendor(keys={"..."}) as vendor`. Faults are told by the beginning of the path, such as
    `/v1/listen`, `/v1/text-to-speech`, `/tts`, `/v1/audio/speech`, or `/` for everything.
    """

    def __init__(self, keys: Collection[str], transcript: str = "please book a table for four") -> None:
        application = web.Application(middlewares=[self._gate], client_max_size=1 << 26)
        application.add_routes(self._routes())
        super().__init__(keys, application)
        self.transcript = transcript
        self._mistakes: list[Exception] = []

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if self._mistakes and error is None:
            raise self._mistakes[0]

    def _routes(self) -> list[web.RouteDef]:
        speech, dialogue = "/v1/text-to-speech/{voice}", "/v1/text-to-dialogue"
        return [
            web.get("/v1/listen", self._deepgram_live),
            web.post("/v1/listen", self._deepgram_recorded),
            web.get("/v2/listen", self._deepgram_flux),
            web.post(speech, self._elevenlabs_bytes),
            web.post(f"{speech}/stream", self._elevenlabs_bytes),
            web.get(f"{speech}/stream-input", self._elevenlabs_live),
            web.get(f"{speech}/multi-stream-input", self._elevenlabs_contexts),
            web.post(f"{dialogue}/stream", self._elevenlabs_bytes),
            web.get(f"{dialogue}/multi-stream-input", self._elevenlabs_contexts),
            web.post("/tts/bytes", self._cartesia_bytes),
            web.post("/tts/sse", self._cartesia_events),
            web.get("/tts/websocket", self._cartesia_live),
            web.post("/v1/audio/speech", self._openai_speech),
            web.post("/v1/audio/transcriptions", self._openai_transcription),
        ]

    @web.middleware
    async def _gate(self, request: web.Request, handler: Handler) -> Answer:
        recorded = request[_RECORDED] = Recorded(*await arrived(request, "multipart/form-data"))
        self.requests.append(recorded)
        fault = await self._fault(request)
        if fault == "reset":
            return web.Response()
        if fault is not None or recorded.key not in self.keys:
            return _refusal(request.path, fault or "401")
        try:
            return await handler(request)
        except (ConnectionError, web.HTTPException):
            raise
        except Exception as mistake:
            # It would look like the vendor's 500; it is the fake's own, and fails the test at its end.
            self._mistakes.append(mistake)
            raise

    # Deepgram

    async def _deepgram_live(self, request: web.Request) -> Answer:
        if request.query.get("model", "").startswith("flux"):
            return _refusal(request.path, "400")
        line = await _Line.open(request)
        ear = _Ear(int(request.query["sample_rate"]))
        async for message in line:
            for event in self._deepgram_events(request.query, ear, message):
                await line.send(event)
            if ear.is_closed:
                await line.send(_deepgram_metadata(ear.seconds))
                break
        return await line.close()

    def _deepgram_events(
        self, query: Mapping[str, str], ear: _Ear, message: JsonObject | bytes
    ) -> Iterator[JsonObject]:
        change = ear.hear(message)
        if change == "start" and query.get("vad_events") == "true":
            yield {"type": "SpeechStarted", "channel": [0, 1], "timestamp": ear.seconds}
        if change == "start" and query.get("interim_results") == "true":
            yield _deepgram_result(self.transcript, final=False, asked=False, seconds=ear.seconds)
        asked = not isinstance(message, bytes) and message["type"] == "Finalize"
        if change == "end" or asked:
            heard = self.transcript if change == "end" else ""
            yield _deepgram_result(heard, final=True, asked=asked, seconds=ear.seconds)

    async def _deepgram_recorded(self, request: web.Request) -> Answer:
        request[_RECORDED].audio = len(await request.read())
        alternative = {"transcript": self.transcript, "confidence": 0.99, "words": _words(self.transcript)}
        results = {"channels": [{"alternatives": [alternative]}]}
        metadata: JsonObject = {**_deepgram_metadata(1.0), "models": ["u"], "model_info": {}}
        return web.json_response({"metadata": metadata, "results": results})

    async def _deepgram_flux(self, request: web.Request) -> Answer:
        if not request.query.get("model", "").startswith("flux"):
            return _refusal(request.path, "400")
        line = await _Line.open(request)
        ear = _Ear(int(request.query["sample_rate"]))
        eager = ["EagerEndOfTurn"] if "eager_eot_threshold" in request.query else []
        turns = {"start": ["StartOfTurn", "Update"], "end": [*eager, "EndOfTurn"], None: []}
        await line.send({"type": "Connected", "request_id": "r", "sequence_id": 0})
        sent = itertools.count(1)
        async for message in line:
            for event in turns[ear.hear(message)]:
                await line.send(_flux_turn(self.transcript, event, number=next(sent), seconds=ear.seconds))
            if ear.is_closed:
                break
        return await line.close()

    # ElevenLabs

    async def _elevenlabs_bytes(self, request: web.Request) -> Answer:
        body = request[_RECORDED].body
        rate = _elevenlabs_rate(request, body.get("model_id", "eleven_multilingual_v2"))
        if rate is None:
            return _refusal(request.path, "400")
        return web.Response(body=tone(rate), content_type="audio/pcm")

    async def _elevenlabs_live(self, request: web.Request) -> Answer:
        rate = _elevenlabs_rate(request, request.query.get("model_id", "eleven_multilingual_v2"))
        if rate is None:
            return _refusal(request.path, "400")
        line = await _Line.open(request)
        text = ""
        async for message in line:
            assert not isinstance(message, bytes)
            text += message["text"]
            if message["text"] == "":
                await line.send(_elevenlabs_speech(text, rate))
                await line.send({"isFinal": True})
                break
        return await line.close()

    async def _elevenlabs_contexts(self, request: web.Request) -> Answer:
        rate = _elevenlabs_rate(request, request.query.get("model_id", ""))
        if rate is None:
            return _refusal(request.path, "400")
        line = await _Line.open(request)
        is_dialogue = "dialogue" in request.path
        name, final = ("context_id", "is_final") if is_dialogue else ("contextId", "isFinal")
        pending: dict[str, str] = {}
        async for message in line:
            assert not isinstance(message, bytes)
            if message.get("close_socket"):
                break
            context = message.get("context_id", "default")
            if is_dialogue and context not in pending and "voices" not in message:
                await line.send({"error": "context_not_registered", "context_id": context})
                continue
            inputs = "".join(each["text"] for each in message.get("inputs", []))
            text = pending[context] = pending.get(context, "") + message.get("text", "") + inputs
            closes = message.get("close_context", False)
            if text.strip() and (closes or message.get("flush")):
                pending[context] = ""
                spoken = _dialogue_speech(text, rate) if is_dialogue else _elevenlabs_speech(text, rate)
                await line.send({**spoken, name: context})
            if closes:
                del pending[context]
                await line.send({final: True, name: context})
        return await line.close()

    # Cartesia

    async def _cartesia_bytes(self, request: web.Request) -> Answer:
        if "cartesia-version" not in request.headers:
            return _refusal(request.path, "400")
        return web.Response(body=tone(_cartesia_rate(request[_RECORDED].body)), content_type="audio/pcm")

    async def _cartesia_events(self, request: web.Request) -> Answer:
        if "cartesia-version" not in request.headers:
            return _refusal(request.path, "400")
        spoken = [*_cartesia_speech(request[_RECORDED].body, "sse"), _cartesia_event("done", "sse")]
        text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in spoken)
        return web.Response(text=text, content_type="text/event-stream")

    async def _cartesia_live(self, request: web.Request) -> Answer:
        if "cartesia_version" not in request.query and "cartesia-version" not in request.headers:
            return _refusal(request.path, "400")
        line = await _Line.open(request)
        async for message in line:
            assert not isinstance(message, bytes)
            if message.get("cancel"):
                continue
            for event in _cartesia_speech(message, message["context_id"]):
                await line.send(event)
            if not message.get("continue"):
                await line.send(_cartesia_event("done", message["context_id"]))
        return await line.close()

    # OpenAI

    async def _openai_speech(self, request: web.Request) -> Answer:
        body = request[_RECORDED].body
        audio = {"pcm": tone(24000), "wav": _wav(tone(24000), 24000)}.get(body.get("response_format", "mp3"))
        as_events = body.get("stream_format") == "sse"
        if audio is None or (as_events and body["model"].startswith("tts-1")):
            return _refusal(request.path, "400")
        identified = {"x-request-id": "r"}
        if not as_events:
            return web.Response(body=audio, content_type=f"audio/{body['response_format']}", headers=identified)
        usage = {"input_tokens": 3, "output_tokens": 10, "total_tokens": 13}
        events = (
            {"type": "speech.audio.delta", "audio": base64.b64encode(audio).decode()},
            {"type": "speech.audio.done", "usage": usage},
        )
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        return web.Response(text=text, content_type="text/event-stream", headers=identified)

    async def _openai_transcription(self, request: web.Request) -> Answer:
        words = [{"word": each["word"], "start": each["start"], "end": each["end"]} for each in _words(self.transcript)]
        verbose = {"language": "english", "duration": 1.0, "words": words, "segments": []}
        more = verbose if request[_RECORDED].body.get("response_format") == "verbose_json" else {}
        return web.json_response({"text": self.transcript, **more})


def on_loopback(provider: AnyProvider) -> AnyProvider:
    """Return the provider as it is, but for an address that may be on this machine.

    No installation has such a one: a key of a cloud never goes to plain http. A test's vendor needs it.
    """
    default = provider.config.model_fields["base_url"].get_default()
    config = create_model("OnLoopback", __base__=provider.config, base_url=(LocalServerUrl, default))
    return dataclasses.replace(provider, config=config)


def tone(rate: int, seconds: float = 0.2) -> bytes:
    """Return a tone as 16-bit PCM: what every voice of the fake says."""
    samples = (int(9000 * math.sin(2 * math.pi * 440 * n / rate)) for n in range(int(rate * seconds)))
    return array("h", samples).tobytes()


class _Line:
    """The server's end of a websocket: it records what comes."""

    def __init__(self, socket: web.WebSocketResponse, recorded: Recorded) -> None:
        self._socket = socket
        self._recorded = recorded

    @classmethod
    async def open(cls, request: web.Request) -> _Line:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        return cls(socket, request[_RECORDED])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JsonObject | bytes:
        message = await self._socket.receive()
        if message.type is WSMsgType.BINARY:
            self._recorded.audio += len(message.data)
            return cast("bytes", message.data)
        if message.type is not WSMsgType.TEXT:
            raise StopAsyncIteration
        found: JsonObject = json.loads(message.data)
        self._recorded.messages.append(found)
        return found

    async def send(self, message: JsonObject) -> None:
        if not self._socket.closed:
            await self._socket.send_json(message)

    async def close(self) -> web.WebSocketResponse:
        await self._socket.close()
        return self._socket


class _Ear:
    """Where speech begins and ends in 16-bit PCM: it ends after 0.3 s of quiet, or when the other side says so."""

    def __init__(self, rate: int) -> None:
        self.seconds = 0.0
        self.is_closed = False
        self._rate = rate
        self._speaking = False
        self._quiet = 0.0

    def hear(self, message: JsonObject | bytes) -> Literal["start", "end"] | None:
        if not isinstance(message, bytes):
            self.is_closed = message["type"] == "CloseStream"
            return self._end() if message["type"] in {"CloseStream", "Finalize"} else None
        samples = array("h", message)
        seconds = len(samples) / self._rate
        self.seconds += seconds
        if max(map(abs, samples), default=0) > 500:
            begins, self._speaking, self._quiet = not self._speaking, True, 0.0
            return "start" if begins else None
        self._quiet += seconds
        return self._end() if self._quiet >= 0.3 else None

    def _end(self) -> Literal["end"] | None:
        spoke, self._speaking = self._speaking, False
        return "end" if spoke else None


def _refusal(path: str, kind: str) -> Answer:
    message = "The vendor's fake refuses this."
    if path.endswith("/listen"):
        status, word = _DEEPGRAM[kind]
        body: JsonObject = {"err_code": word, "err_msg": message, "request_id": "r"}
        return web.json_response(body, status=status, headers={"dg-error": word})
    if path.startswith("/v1/text-to-"):
        status, word = _ELEVENLABS[kind]
        return web.json_response({"detail": {"status": word, "message": message}}, status=status)
    if path.startswith("/tts/"):
        status, word = _CARTESIA[kind]
        body = {"error_code": word, "title": word, "message": message, "request_id": "r"}
        return web.json_response(body, status=status)
    status, word = _OPENAI[kind]
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": word}}
    return web.json_response(body, status=status)


def _words(text: str) -> list[JsonObject]:
    return [
        {"word": word, "punctuated_word": word, "start": n * 0.2, "end": n * 0.2 + 0.2, "confidence": 0.99}
        for n, word in enumerate(text.split())
    ]


def _deepgram_result(text: str, *, final: bool, asked: bool, seconds: float) -> JsonObject:
    return {
        "type": "Results",
        "channel_index": [0, 1],
        "start": 0.0,
        "duration": seconds,
        "is_final": final,
        "speech_final": final,
        "from_finalize": asked,
        "channel": {"alternatives": [{"transcript": text, "confidence": 0.99, "words": _words(text)}]},
        "metadata": {
            "request_id": "r",
            "model_uuid": "u",
            "model_info": {"name": "nova-3", "version": "1", "arch": "nova-3"},
        },
    }


def _flux_turn(text: str, event: str, *, number: int, seconds: float) -> JsonObject:
    return {
        "type": "TurnInfo",
        "request_id": "r",
        "sequence_id": number,
        "event": event,
        "turn_index": 0,
        "audio_window_start": 0.0,
        "audio_window_end": seconds,
        "transcript": text,
        "words": _words(text),
        "end_of_turn_confidence": 0.8,
        **({"trigger": "model"} if event == "EndOfTurn" else {}),
    }


def _deepgram_metadata(seconds: float) -> JsonObject:
    return {
        "type": "Metadata",
        "transaction_key": "deprecated",
        "request_id": "r",
        "sha256": "0",
        "created": "2026-11-22T00:00:00.000Z",
        "duration": seconds,
        "channels": 1,
    }


def _elevenlabs_rate(request: web.Request, model: str) -> int | None:
    """Return the rate asked for; none if the model is not spoken here, or the format not by this fake."""
    encoding, _, rate = request.query.get("output_format", "mp3_44100_128").partition("_")
    is_dialogue = model.startswith(("eleven_v3", "eleven_v4"))
    wrong_door = is_dialogue is not ("dialogue" in request.path)
    return None if wrong_door or encoding != "pcm" else int(rate)


def _elevenlabs_speech(text: str, rate: int) -> JsonObject:
    times = [n * 10 for n in range(len(text))]
    alignment = {"chars": list(text), "charStartTimesMs": times, "charDurationsMs": [10] * len(text)}
    audio = base64.b64encode(tone(rate)).decode()
    return {"audio": audio, "alignment": alignment, "normalizedAlignment": alignment}


def _dialogue_speech(text: str, rate: int) -> JsonObject:
    times = [n * 10 for n in range(len(text))]
    alignment = {"chars": list(text), "char_start_times_ms": times, "char_durations_ms": [10] * len(text)}
    return {"audio": base64.b64encode(tone(rate)).decode(), "alignment": alignment, "normalized_alignment": alignment}


def _cartesia_rate(body: JsonObject) -> int:
    rate: int = body["output_format"]["sample_rate"]
    return rate


def _cartesia_event(kind: str, context: str, **more: Any) -> JsonObject:
    done = kind == "done"
    return {"type": kind, "done": done, "status_code": 200 if done else 206, "context_id": context, **more}


def _cartesia_speech(body: JsonObject, context: str) -> list[JsonObject]:
    words = body["transcript"].split()
    if not words:
        return []
    data = base64.b64encode(tone(_cartesia_rate(body))).decode()
    times = {
        "words": words,
        "start": [n * 0.1 for n in range(len(words))],
        "end": [n * 0.1 + 0.1 for n in range(len(words))],
    }
    spoken = [_cartesia_event("chunk", context, data=data, step_time=1.0)]
    if body.get("add_timestamps"):
        spoken.append(_cartesia_event("timestamps", context, word_timestamps=times))
    return spoken


def _wav(audio: bytes, rate: int) -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(audio)
    return held.getvalue()

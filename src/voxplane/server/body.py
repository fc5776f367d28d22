"""Request bodies: JSON that can be read in one way only, within limits, or a clear refusal.

The usual parsers accept what PostgreSQL, other languages or the next reader understand otherwise: duplicate keys,
NaN, numbers beyond 2^53, lone surrogates, NUL. Those are refused here, before anything else looks at the body, and
no refusal repeats what was sent.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from voxplane.errors import Invalid, InvalidJson, InvalidRequest, TooLarge, UnsupportedMediaType
from voxplane.provider import pointed, unknown_field

if TYPE_CHECKING:
    from starlette.requests import Request

    from voxplane.schemas import JsonObject

MAX_DEPTH = 16
MAX_KEYS = 512
MAX_STRING = 8 * 1024
MAX_INTEGER = 2**53 - 1
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
M = TypeVar("M", bound=BaseModel)


async def read_body(request: Request, model: type[M], *, max_bytes: int, timeout_seconds: float) -> M:
    """Read a JSON body into a model.

    Raises:
        UnsupportedMediaType: it is not sent as application/json.
        TooLarge: it has more than `max_bytes`.
        InvalidRequest: it did not arrive within `timeout_seconds`.
        InvalidJson: it is not JSON, or JSON that is refused.
        Invalid: it is JSON, but not what the model takes.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType
    body = await _received(request, max_bytes, timeout_seconds)
    document = parse_object(body)
    known = [field.alias or name for name, field in model.model_fields.items()]
    unknown = [unknown_field("", name, known) for name in document if name not in known]
    if unknown:
        raise Invalid(unknown)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise Invalid(pointed(error)) from None


async def _received(request: Request, max_bytes: int, timeout_seconds: float) -> bytes:
    body = bytearray()
    try:
        # Every worker's question comes by here, and anyio's costs it four times as much.
        async with asyncio.timeout(timeout_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise TooLarge(f"The body may have at most {max_bytes} bytes.")
    except TimeoutError:
        raise InvalidRequest(f"The body did not arrive within {timeout_seconds:g} seconds.") from None
    except ClientDisconnect:
        raise InvalidRequest("The connection closed before the body was complete.") from None
    return bytes(body)


def parse_object(body: bytes) -> JsonObject:
    """Parse a JSON object strictly.

    Raises:
        InvalidJson: it is not JSON in UTF-8, not an object, or holds what is refused; the message says which.
    """
    try:
        document = json.loads(
            body.decode("utf-8", errors="strict"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_integer,
        )
    except InvalidJson:
        raise
    except (ValueError, RecursionError):
        raise InvalidJson from None
    if not isinstance(document, dict):
        raise InvalidJson("The body must be a JSON object.")
    parsed: dict[str, Any] = document  # pyright: ignore[reportUnknownVariableType]
    _measure(parsed)
    return parsed


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise InvalidJson("An object names one field twice.")
    return made


def _constant(_word: str) -> NoReturn:
    raise InvalidJson("NaN and Infinity are not JSON.")


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise InvalidJson("A number is too large.")
    return number


def _integer(digits: str) -> int:
    # Longer ones are refused unparsed: the time to read an integer grows with the square of its length.
    if len(digits) > len(str(MAX_INTEGER)) + 1 or abs(int(digits)) > MAX_INTEGER:
        raise InvalidJson("An integer is beyond what every JSON reader holds exactly (2^53 - 1).")
    return int(digits)


def _measure(document: dict[str, Any]) -> None:
    """Walk the document without recursion, level by level, and hold it to the limits."""
    level: list[Any] = [document]
    keys = 0
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                keys += len(value)  # pyright: ignore[reportUnknownArgumentType]
                _check_keys(value)  # pyright: ignore[reportUnknownArgumentType]
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str):
                _check_string(value)
        if keys > MAX_KEYS:
            raise InvalidJson(f"The body may name at most {MAX_KEYS} fields in all.")
        level = below
    if level:
        raise InvalidJson(f"The body may nest at most {MAX_DEPTH} levels deep.")


def _check_keys(value: dict[str, Any]) -> None:
    if any(_CONTROL.search(key) or len(key) > MAX_STRING for key in value):
        raise InvalidJson("A field's name holds a control character, half a surrogate pair, or is too long.")


def _check_string(value: str) -> None:
    if len(value) > MAX_STRING:
        raise InvalidJson(f"A string may have at most {MAX_STRING} characters.")
    if _UNSTORABLE.search(value):
        raise InvalidJson("A string holds NUL or half a surrogate pair.")

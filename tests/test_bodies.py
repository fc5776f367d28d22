"""Bodies that no client of ours would send: refused with a sentence, and neither stored nor repeated."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, MutableMapping
from itertools import islice
from typing import Any

import anyio
import psycopg
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.conftest import stored_rows, token_for
from tests.test_door import JSON, Operation, clients, good_body, operations, with_body
from tests.test_problem import check_problem
from voxplane.errors import InvalidJson
from voxplane.schemas import JsonObject
from voxplane.server.app import create_app
from voxplane.server.body import MAX_DEPTH, MAX_INTEGER, MAX_KEYS, MAX_STRING, parse_object
from voxplane.server.control_plane import ControlPlane
from voxplane.server.settings import Settings

CANARY = "c4n4ry"
HOLE = "@@"
KEY = f'"{CANARY}"'.encode()
CODES = {400: "invalid_json", 413: "too_large", 422: "invalid"}


def _numbers() -> Iterator[bytes]:
    yield from (b"NaN", b"-NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1e309", b"nan", b"inf", b"0x10")
    yield from (b"01", b"-01", b"+1", b".5", b"5.", b"1e", b"1e+", b"--1", b"1_000", b"1,5", b"1.2.3", b"0b1", b"1f")
    yield from (str(number).encode() for number in (MAX_INTEGER + 1, -MAX_INTEGER - 1, 2**64, 2**70))
    yield from (b"9" * digits for digits in (17, 100, 4300, 4301, 5000, 60_000))
    yield from (b"-" + b"9" * 5000, b"1" + b"0" * 400, b"1" * 400 + b".0", b"1e99999", b"1e-99999x")


def _texts() -> Iterator[bytes]:
    escapes = ("\\u0000", "\\ud800", "\\udfff", "\\udc00\\ud800", "\\ud83d", "\\x41", "\\u12", "\\u{41}", "\\a", "\\")
    yield from (f'"{CANARY}{escape}"'.encode() for escape in escapes)
    yield from (f'"{CANARY}{chr(code)}"'.encode() for code in range(0x20))
    yield from (b'"%c"' % code for code in range(0x80, 0x100))
    yield from (b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"', b"'one'")
    yield from (b'"never closed', b'"' + b"a" * (MAX_STRING + 1) + b'"', b'"' + b"\xc3\xa9" * (MAX_STRING + 1) + b'"')
    yield from (b"undefined", b"None", b"True", b"TRUE", b"nul", b"nulll", b"tru", b"function(){}", b"`a`", b"\xc2\xa0")


def _containers() -> Iterator[bytes]:
    yield from (b"[" * depth + b"]" * depth for depth in (MAX_DEPTH, MAX_DEPTH + 1, 64, 200, 1000, 30_000))
    yield from (b"{%s:" % KEY * depth + b"1" + b"}" * depth for depth in (MAX_DEPTH, MAX_DEPTH + 1, 100, 1000, 3000))
    yield from (b"[" * depth for depth in (1, 100, 30_000))
    yield from (b"[,]", b"[1,]", b"[1 2]", b"[1,,2]", b"{,}", b'{"a"}', b'{"a":}', b'{"a" 1}', b"{a:1}", b"{1:1}")
    yield from (b"{'a':1}", b'{"a":1,}', b'{"a":1 "b":2}', b'{"a"::1}', b"{%s:1,%s:2}" % (KEY, KEY))
    yield from (b'{"a":{%s:1,%s:2}}' % (KEY, KEY), b"[{%s:1,%s:1}]" % (KEY, KEY))
    yield b"{" + b",".join(b'"f%d":1' % number for number in range(MAX_KEYS)) + b"}"
    yield b"[" + b",".join(b"{%s:1}" % KEY for _ in range(MAX_KEYS)) + b"]"
    yield from (b'{"' + bytes([code]) + b'":1}' for code in (0, 7, 9, 10, 27, 31, 127))
    yield from (b'{"\\u%04x":1}' % code for code in (*range(0x20), 0x7F, 0xD800, 0xDFFF))
    yield b'{"' + b"k" * (MAX_STRING + 1) + b'":1}'
    yield from (b"/* comment */ 1", b"1 // comment", b"# comment\n1", b"1;", b"1}", b"{}{}", b"[]]", b"<!-- -->1")


def _misfits() -> Iterator[bytes]:
    """Return JSON that can be read in one way only and that no field takes."""
    yield from (b"-1", b"1e308", b"%d" % MAX_INTEGER, b"-%d" % MAX_INTEGER)
    yield from (b"[[]]", b"[null]", b"[{}]", b"[%s]" % b",".join([b"1"] * 1000), b"[%s,1,null]" % KEY)
    yield from (
        b'{"":""}',
        b"{%s:null}" % KEY,
        b"{%s:%s}" % (KEY, KEY),
        b"{%s:{%s:{}}}" % (KEY, KEY),
        b'{"apiKey ":"x"}',
    )


def _documents() -> Iterator[bytes]:
    """Return bodies that are wrong as a whole."""
    whole = b'{"isEnabled": true}'
    yield from (
        b"",
        b" ",
        b"\n",
        b"\0",
        b"null",
        b"true",
        b"false",
        b"0",
        b"1.5",
        b'""',
        b"[]",
        KEY,
        b"[%s]" % KEY,
        b"[{}]",
    )
    yield from (whole.decode().encode(name) for name in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"))
    yield from (whole[:end] for end in range(1, len(whole)))
    yield from (
        whole + tail for tail in (b"\0", b"x", b"{}", b",", b"]", whole, b"\xff", b"/**/", b"\xc2\xa0", b"\x0b")
    )
    yield from (
        head + whole for head in (b"\0", b"x", b",", b"[", b")]}',\n", b"while(1);", b"\xff\xfe", b"\x0c", b"data: ")
    )
    yield from (
        b"isEnabled=true",
        b"--boundary\r\n\r\n{}",
        b"<xml/>",
        b"\x1f\x8b\x08\x00",
        b"\x80\x04.",
        b"%7B%7D",
        b"a: 1",
    )
    names = (
        "__proto__",
        "$ref",
        "",
        " ",
        "ISENABLED",
        "is_enabled",
        "isEnabled ",
        CANARY,
        "\u202e",
        "'; DROP TABLE x; --",
    )
    yield from (json.dumps({name: {"isEnabled": True}}).encode() for name in names)
    yield from (b"{" * 10_000, b"{" * 100_000, b"[" * 100_000 + b"]" * 100_000, b"{%s:" % KEY * 100_000, b"[" * 10_000)
    yield from (b" " * 10_000_000 + b"{}", b"a" * 10_000_000, b'{"label":"' + b"a" * 10_000_000 + b'"}')


def hostile(operation: Operation) -> Iterator[bytes]:
    """Generate the bodies for one route: wrong as a whole, and with a wrong value in each place that has one."""
    yield from _documents()
    right = operation.body() or {}
    yield json.dumps(right | {CANARY: None}).encode()
    for name, value in right.items():
        yield json.dumps(right).encode()[:-1] + f', "{name}": {json.dumps(value)}}}'.encode()
    for place in _places(right):
        before, after = json.dumps(place).encode().split(json.dumps(HOLE).encode())
        for wrong in (*_numbers(), *_texts(), *_containers(), *_misfits()):
            yield before + wrong + after


def _places(right: JsonObject) -> Iterator[JsonObject]:
    for name, value in right.items():
        yield right | {name: HOLE}
        if isinstance(value, dict):
            yield right | {name: dict.fromkeys(value, HOLE)}  # pyright: ignore[reportUnknownArgumentType] - any JSON
        if isinstance(value, list):
            yield right | {name: [HOLE]}


async def headers_for(plane: ControlPlane, operation: Operation) -> dict[str, str]:
    return JSON | {"Authorization": f"Bearer {await token_for(plane, *operation.scopes)}"}


@pytest.mark.drill
@pytest.mark.parametrize("one_in", [pytest.param(6, id="some"), pytest.param(1, id="all", marks=pytest.mark.deep)])
@pytest.mark.parametrize("operation", with_body(), ids=str)
async def test_hostile_bodies_are_refused_and_change_nothing(
    operation: Operation, plane: ControlPlane, superuser: psycopg.Connection[tuple[object, ...]], one_in: int
) -> None:
    """Each route is sent the bodies from another one on, so that an ordinary run sends every kind to some route."""
    headers = await headers_for(plane, operation)
    # Any number may be a version's; most are none's.
    codes = CODES | ({404: "version_not_found"} if operation.path.endswith("/restore") else {})
    before = stored_rows(superuser)
    statuses: Counter[int] = Counter()
    seconds: list[float] = []
    async with clients(plane) as client:
        first = [str(each) for each in with_body()].index(str(operation)) % one_in
        for body in islice(hostile(operation), first, None, one_in):
            started = time.process_time()
            answer = await client.request(operation.method, operation.url(), content=body, headers=headers)
            seconds.append(time.process_time() - started)
            assert answer.status_code in codes, body[:200]
            check_problem(answer, answer.status_code, codes[answer.status_code])
            assert CANARY not in answer.text
            assert "9" * 12 not in answer.text
            statuses[answer.status_code] += 1
    assert stored_rows(superuser) == before
    assert statuses.total() >= 400 // one_in - 1
    assert set(statuses) <= set(codes)
    assert one_in > 1 or set(statuses) == set(codes)
    # Time of this process, so that what else the machine does is not counted.
    assert sorted(seconds)[int(len(seconds) * (0.99 if one_in == 1 else 0.95))] < 0.05


MEDIA_TYPES = [
    "", "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "application/jsonp", "application/problem+json", "application/vnd.api+json", "application/xml", "*/*",
    "application/*", "application", "application/json, text/plain", "application/json+x", '"application/json"',
]  # fmt: skip


async def test_a_body_that_is_not_sent_as_json_is_not_read(
    plane: ControlPlane, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    async with clients(plane) as client:
        for operation in with_body():
            headers = await headers_for(plane, operation)
            before = stored_rows(superuser)
            for media_type in MEDIA_TYPES:
                kind = headers | {"Content-Type": media_type}
                answer = await client.request(operation.method, operation.url(), json=operation.body(), headers=kind)
                check_problem(answer, 415, "unsupported_media_type")
            assert stored_rows(superuser) == before
            accepted = headers | {"Content-Type": " Application/JSON ; charset=utf-8"}
            body = await good_body(plane, operation)
            answer = await client.request(operation.method, operation.url(), json=body, headers=accepted)
            assert answer.status_code == operation.success


async def test_a_chunked_body_over_the_limit_is_refused_without_being_read_to_its_end(plane: ControlPlane) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1024
            yield b" " * 1024

    async with clients(plane) as client:
        for operation in with_body():
            limit = 16 * 1024 if operation.path.endswith(("/secrets", "/verify")) else 64 * 1024
            taken, headers = 0, await headers_for(plane, operation)
            answer = await client.request(operation.method, operation.url(), content=endless(), headers=headers)
            check_problem(answer, 413, "too_large")
            assert answer.json()["detail"] == f"The body may have at most {limit} bytes."
            assert limit < taken <= limit + 1024


async def test_a_body_of_exactly_the_limit_is_read(plane: ControlPlane) -> None:
    async with clients(plane) as client:
        for operation in with_body():
            limit = 16 * 1024 if operation.path.endswith(("/secrets", "/verify")) else 64 * 1024
            body = json.dumps(await good_body(plane, operation)).encode()
            headers = await headers_for(plane, operation)
            for size, expected in ((limit, operation.success), (limit + 1, 413)):
                padded = body + b" " * (size - len(body))
                answer = await client.request(operation.method, operation.url(), content=padded, headers=headers)
                assert answer.status_code == expected


async def test_a_body_that_arrives_too_slowly_is_refused_in_time(settings: Settings) -> None:
    async def dripping() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await anyio.sleep(0.02)

    impatient = settings.model_copy(update={"body_timeout_seconds": 0.3})
    async with ControlPlane.open(impatient) as plane, clients(plane) as client:
        for operation in with_body():
            headers = await headers_for(plane, operation)
            started = time.monotonic()
            with anyio.fail_after(10):
                answer = await client.request(operation.method, operation.url(), content=dripping(), headers=headers)
            assert time.monotonic() - started >= 0.3
            check_problem(answer, 400, "invalid_request")
            assert answer.json()["detail"] == "The body did not arrive within 0.3 seconds."


async def test_a_body_that_breaks_off_is_refused_and_changes_nothing(
    plane: ControlPlane, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    operation = next(each for each in operations() if each.path.endswith("/config") and each.method == "PUT")
    headers = await headers_for(plane, operation)
    before = stored_rows(superuser)
    sent: list[MutableMapping[str, Any]] = []
    pieces = iter([{"type": "http.request", "body": b'{"isEnabled": true}', "more_body": True}])

    async def receive() -> MutableMapping[str, Any]:
        return next(pieces, {"type": "http.disconnect"})

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": operation.method,
        "scheme": "http",
        "path": operation.url(),
        "raw_path": operation.url().encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await create_app(plane)(scope, receive, send)
    assert [message.get("status") for message in sent] == [400, None]
    assert json.loads(sent[1]["body"])["detail"] == "The connection closed before the body was complete."
    assert stored_rows(superuser) == before


def _nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def _fields(number: int) -> bytes:
    return json.dumps({f"f{each}": [] for each in range(number)}).encode()


@pytest.mark.parametrize(
    ("within", "beyond", "because"),
    [
        (_nested(MAX_DEPTH - 1), _nested(MAX_DEPTH), "at most 16 levels"),
        (_fields(MAX_KEYS), _fields(MAX_KEYS + 1), "at most 512 fields"),
        (b'{"a":[%s]}' % _fields(MAX_KEYS - 1), b'{"a":[%s]}' % _fields(MAX_KEYS), "at most 512 fields"),
        (b'{"a":"%s"}' % (b"x" * MAX_STRING), b'{"a":"%s"}' % (b"x" * (MAX_STRING + 1)), "at most 8192 characters"),
        (b'{"%s":1}' % (b"x" * MAX_STRING), b'{"%s":1}' % (b"x" * (MAX_STRING + 1)), "is too long"),
        (b'{"a":%d}' % MAX_INTEGER, b'{"a":%d}' % (MAX_INTEGER + 1), "2^53"),
        (b'{"a":-%d}' % MAX_INTEGER, b'{"a":-%d}' % (MAX_INTEGER + 1), "2^53"),
        (b'{"a":1.7e308}', b'{"a":1.8e308}', "too large"),
        ('{"a":"\U0010ffff"}'.encode(), b'{"a":"\\udbff"}', "half a surrogate"),
        (b'{"a":"\\u0001"}', b'{"a":"\\u0000"}', "NUL"),
        (b'{"a b":1}', b'{"a\\u0001b":1}', "control character"),
        (b'{"a":[{"b":1},{"b":1}]}', b'{"a":[{"b":1,"b":1}]}', "one field twice"),
        (b'{"a":null}', b'{"a":NaN}', "NaN and Infinity"),
        (b"{}", b"[]", "must be a JSON object"),
    ],
)
def test_a_limit_lets_in_what_is_within_it_and_says_what_is_beyond(within: bytes, beyond: bytes, because: str) -> None:
    assert parse_object(within) == json.loads(within)
    with pytest.raises(InvalidJson) as refused:
        parse_object(beyond)
    assert because in refused.value.message


# What PostgreSQL and every other reader understand alike; NUL, half surrogates and the like are refused elsewhere.
_plain = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(_plain, max_size=50),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_names, inner, max_size=5),
    max_leaves=30,
)
_objects = st.dictionaries(_names, _values, max_size=8)


@pytest.mark.drill
@hypothesis_settings(max_examples=200, deadline=None)
@given(_objects, st.booleans(), st.sampled_from([None, 0, 1, "\t"]))
def test_every_plain_document_is_read_as_json_reads_it(document: JsonObject, ascii_only: bool, indent: int) -> None:  # noqa: FBT001 - drawn
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    assert parse_object(body) == json.loads(body) == document


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    body = bytearray(json.dumps(draw(_objects), ensure_ascii=draw(st.booleans())).encode())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 3))] = draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"NaN", b"e9"])
        )
    return bytes(body)


@pytest.mark.drill
@hypothesis_settings(max_examples=400, deadline=None)
@given(
    _damaged() | st.binary(max_size=50) | st.text(max_size=50).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
@example(b'{"a": 1e400}')
@example(b'{"a": 1, "a": 1}')
@example(b"\xef\xbb\xbf{}")
@example('{"a": 1}'.encode("utf-16"))
def test_what_is_accepted_means_the_same_to_json_and_is_an_object(body: bytes) -> None:
    try:
        accepted = parse_object(body)
    except InvalidJson:
        return
    assert accepted == json.loads(body)
    assert json.loads(json.dumps(accepted, allow_nan=False)) == accepted
    assert isinstance(accepted, dict)
    json.dumps(accepted, ensure_ascii=False).encode("utf-8", errors="strict")

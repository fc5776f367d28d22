"""X10: whatever is written as an address and whatever a resolver says, no connection leaves for where none may go."""

from __future__ import annotations

import itertools
import sys
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address, ip_network
from socket import gaierror
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.abc
import pytest

from tests.vendors import tested
from tests.vendors.secure import Reply, SecureVendor
from voxplane.destination import Origin
from voxplane.server.allowance import Allowance
from voxplane.server.vendor_client import (
    MAX_LOOK_UPS,
    Answered,
    Unanswered,
    VendorClient,
    VendorRequest,
    is_public,
)

KEY = {"Authorization": "Bearer key-good-canary"}
# fmt: off
INSIDE = (
    "127.0.0.1", "127.1.2.3", "0.0.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "fc00::1", "fd00:ec2::254",
    "fe80::1", "fec0::1", "ff02::1", "100::1", "4000::1",
)
OUTSIDE = ("8.8.8.8", "1.1.1.1", "104.18.0.1", "2606:4700::1", "2a00:1450:4001::1")
# fmt: on
NUMBERS = (
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "017700000001",
    "0x7f.0x0.0x0.0x1",
    "0251.0376.0251.0376",
    "2852039166",
    "0xa9fea9fe",
    "00000127.0.0.1",
    "127.0.0.1.",
    "127.0.0.01",
    "1.1.1.1.1",
)  # fmt: skip
ODD = (
    "https://user@{inside}/", "https://user:pass@{inside}/", "https://api.openai.com@{inside}/",
    "https://{inside}#@api.openai.com/", "https://api.openai.com#@{inside}/", "https://{inside}\\@api.openai.com/",
    "https://api.openai.com\\@{inside}/", "//{inside}/", "https:/{inside}/", "https:{inside}", "https:///{inside}/",
    "http://{inside}/", "ftp://{inside}/", "file:///etc/passwd", "gopher://{inside}:6379/_", "data:,x", "javascript:1",
    "https://{inside}:0/", "https://{inside}:/", "https://{inside}:99999/", "https://{inside}%2f/",
    "https://{inside}%00.api.openai.com/", "https://api.openai.com%23.{inside}/", "https://{inside}\t/",
    "https://{inside}\r\nHost: evil/", " https://{inside}/", "https://{inside}/ ", "https://{inside}/../../x",
    "https://{inside}/%2e%2e/x", "https://{inside}/a%2Fb", "https://{inside}/.", "HTTPS://{inside}/", "",
    "https://", "https://[", "https://]", "https://[{inside}", "https://[::1%25lo]/", "https://[v1.x]/",
    "https://\uff11\uff12\uff17.0.0.1/", "https://127\u30020\u30020\u30021/", "https://\u2488\u2488\u2488\u2488/",
    "https://xn--/", "https://localhost/", "https://LOCALHOST/", "https://localhost./", "https://a..b/",
)  # fmt: skip

ODD_WAITS = (
    "", "soon", "1e3", "-1", "+7", "7.5", "inf", "nan", "\u0667", "\uff17", "9" * 10, "9" * 5000,
    "Wed, 99 Oct 2015 07:28:00 GMT", "1 Jan 9999999999 00:00:00 +0000", "1 Jan 2026 00:00:00 +99999999999999",
    "1 Jan 2026 99999999999:00:00",
)  # fmt: skip


def forms() -> list[str]:
    """Some hundred ways to write an address that leads inside, or nowhere."""
    written = [f"[{each}]" if ":" in each else each for each in INSIDE]
    found = [
        f"https://{each}{rest}"
        for each in written
        for rest in ("/", ":443/v1", ":8443/models?x=1", "", "/v1/models", ":80/")
    ]
    found += [f"https://{each}/v1" for each in NUMBERS]
    found += [each.format(inside=inside) for each in ODD for inside in ("127.0.0.1", "169.254.169.254")]
    return list(dict.fromkeys(found))


@contextmanager
def connections() -> Generator[list[str]]:
    """Hear of every address that this process connects to."""
    found: list[str] = []
    listening = True

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if listening and event == "socket.connect" and not isinstance(arguments[1], str | bytes):
            found.append(str(arguments[1][0]))

    sys.addaudithook(hear)  # it cannot be taken away again, so it stops listening
    try:
        yield found
    finally:
        listening = False


@pytest.fixture
async def vendor() -> AsyncIterator[SecureVendor]:
    async with SecureVendor(tested.answer) as served:
        yield served


async def test_no_form_of_an_address_leads_inside() -> None:
    written = forms()
    assert len(written) >= 300
    client = VendorClient(timeout_seconds=2)
    with connections() as made:
        for url in written:
            # Whoever is to be asked would have been approved: nothing but the client stands in the way here.
            try:
                within = frozenset({Origin.parse(url.partition("?")[0])})
            except ValueError:
                within = frozenset[Origin]()
            answer = await client.ask(VendorRequest(url, KEY), within=within)
            assert isinstance(answer, Unanswered), url
            assert answer.reason in {"blocked", "unsendable", "no_such_host", "unreachable"}, url
    assert made == []


async def test_no_answer_of_a_resolver_leads_inside(vendor: SecureVendor) -> None:
    """Names, and names that lead somewhere else each time: what was looked at is what is connected to."""
    origin = Origin.parse("https://api.openai.com")
    request = VendorRequest("https://api.openai.com/v1/models/gpt-4o-mini", KEY)
    with connections() as made:
        for inside, outside in itertools.product(INSIDE, (*OUTSIDE[:1], None)):
            # One address of several is enough to refuse them all: the order is the resolver's.
            found = [(each, 443) for each in (outside, inside) if each]

            async def resolve(_host: str, _port: int, found: list[tuple[str, int]] = found) -> list[tuple[str, int]]:
                return found

            answer = await VendorClient(timeout_seconds=2, resolve=resolve).ask(request, within=frozenset({origin}))
            assert isinstance(answer, Unanswered), inside
            assert answer.reason == "blocked", inside
    assert made == []

    asked: list[str] = []

    async def rebinding(host: str, _port: int) -> list[tuple[str, int]]:
        asked.append(host)
        return [("127.0.0.1", vendor.port)] if len(asked) == 1 else [("169.254.169.254", 80)]

    network = frozenset({origin})
    client = VendorClient(allowed=[ip_network("127.0.0.1/32")], ca_file=vendor.ca_file, resolve=rebinding)
    with connections() as made:
        first = await client.ask(request, within=network)
        second = await client.ask(request, within=network)
    assert isinstance(first, Answered)
    assert isinstance(second, Unanswered)
    assert set(made) == {"127.0.0.1"}
    assert len(asked) == 2, "a name is looked up once for each request"


@pytest.mark.parametrize("address", OUTSIDE)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


def test_no_address_inside_is_public() -> None:
    assert [each for each in INSIDE if is_public(ip_address(each))] == []


async def test_a_key_stays_within_its_origins(vendor: SecureVendor) -> None:
    client = VendorClient(allowed=[ip_network("127.0.0.1/32")], ca_file=vendor.ca_file, resolve=vendor.resolve)
    within = frozenset({Origin.parse("https://gateway.example.com/acme")})
    for url in (
        "https://gateway.example.com/other/models",
        "https://gateway.example.com/acmes/models",
        "https://gateway.example.com/acme/../other",
        "https://gateway.example.com:8443/acme/models",
        "https://api.openai.com/acme/models",
        "http://gateway.example.com/acme/models",
    ):
        answer = await client.ask(VendorRequest(url, KEY), within=within)
        assert isinstance(answer, Unanswered), url
    for query in ("\x01", "\ud800", "a\r\nHost: elsewhere", "\u00e9"):
        answer = await client.ask(VendorRequest(f"https://gateway.example.com/acme/models?{query}"), within=within)
        assert isinstance(answer, Unanswered)
        assert answer.reason == "unsendable"
    unsendable = VendorRequest("https://gateway.example.com/acme/models", {"Authorization": "Bearer a\r\nX: b"})
    answer = await client.ask(unsendable, within=within)
    assert isinstance(answer, Unanswered)
    assert answer.reason == "unsendable"
    assert vendor.asked == []
    assert "canary" not in repr(unsendable) + repr(VendorRequest("https://x", KEY))


async def test_json_is_given_out_when_it_is_sound(vendor: SecureVendor) -> None:
    client = VendorClient(allowed=[ip_network("127.0.0.1/32")], ca_file=vendor.ca_file, resolve=vendor.resolve)
    request = VendorRequest("https://api.openai.com/v1/models", KEY)
    within = frozenset({Origin.parse("https://api.openai.com")})
    sound: dict[bytes, Any] = {b'{"data": []}': {"data": []}, b"[" * 100 + b"]" * 100: None, b"\xff": None, b"{": None}
    for body, expected in sound.items():
        vendor.say(Reply(body=body))
        answer = await client.ask(request, within=within)
        assert isinstance(answer, Answered)
        assert answer.json() == expected
    vendor.say(Reply(body=b"[" + b" " * 100 + b"]"))
    short = await client.ask(request, within=within, max_bytes=50)
    assert isinstance(short, Answered)
    assert (short.json(), len(short.body), short.is_whole) == (None, 50, False)


async def test_names_that_hang_keep_nobody_else_waiting(vendor: SecureVendor) -> None:
    one, another = uuid4(), uuid4()
    hanging, running = anyio.Event(), 0

    async def resolve(host: str, port: int) -> Sequence[tuple[str, int]]:
        nonlocal running
        if host == "api.groq.com":
            running += 1
            await hanging.wait()
            raise gaierror
        return await vendor.resolve(host, port)

    client = VendorClient(allowed=[ip_network("127.0.0.1/32")], ca_file=vendor.ca_file, resolve=resolve)
    impatient = VendorClient(timeout_seconds=0.05, resolve=resolve)
    impatient._turns = client._turns  # pyright: ignore[reportPrivateUsage]

    async def ask(client: VendorClient, host: str, asker: UUID) -> Answered | Unanswered:
        within = frozenset({Origin.parse(f"https://{host}")})
        return await client.ask(VendorRequest(f"https://{host}/v1/models", KEY), within=within, asker=asker)

    async with anyio.create_task_group() as group:
        for _ in range(40):
            group.start_soon(ask, impatient, "api.groq.com", one)
    assert running == MAX_LOOK_UPS, "who gave up still holds the turn that hangs"
    late = await ask(impatient, "api.openai.com", one)
    assert isinstance(late, Unanswered)
    assert late.reason == "timeout"
    assert isinstance(await ask(client, "api.openai.com", another), Answered)
    hanging.set()
    assert isinstance(await ask(client, "api.openai.com", one), Answered), "the turns are free again"


@pytest.mark.parametrize(
    ("head", "piece", "expected"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "unreachable"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", (200, False)),
        (b"HTTP/1.1 200 OK\r\n", b"X-More: x\r\n", "unreachable"),
    ],
    ids=["announcements", "pieces", "headers"],
)
async def test_an_answer_without_end_is_not_read_to_the_end_of_the_time(
    head: bytes, piece: bytes, expected: object
) -> None:
    async def serve(connection: anyio.abc.SocketStream) -> None:
        async with connection:
            await connection.receive()
            await connection.send(head)
            with suppress(anyio.BrokenResourceError):
                while True:
                    await connection.send(piece * 2000)

    answers: list[Answered | Unanswered] = []
    client = VendorClient(allowed=[ip_network("127.0.0.1/32")], timeout_seconds=600)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - not Django's
    url = f"http://127.0.0.1:{port}"
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        within = frozenset({Origin.parse(url)})
        answers = [await client.ask(VendorRequest(f"{url}/v1"), within=within, max_bytes=1024 * 1024)]
        group.cancel_scope.cancel()
    (found,) = answers
    said = found.reason if isinstance(found, Unanswered) else (found.status, found.is_whole)
    assert said == expected


async def test_a_vendor_says_when_to_come_back_as_seconds_or_a_date(vendor: SecureVendor) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=900), usegmt=True)
    waits: dict[str, tuple[int, int] | None] = {
        soon: (300, 900),
        "Wed, 21 Oct 2015 07:28:00 GMT": (0, 0),
        "Wed, 21 Oct 2015 07:28:00 -0000": (0, 0),
        "1 Jan 1 00:00:00 +2359": (0, 0),
        "Fri, 31 Dec 9999 23:59:59 GMT": (3600, 3600),
        "7": (7, 7),
        "9" * 9: (3600, 3600),
        **dict.fromkeys(ODD_WAITS),
    }
    client = VendorClient(allowed=[ip_network("127.0.0.1/32")], ca_file=vendor.ca_file, resolve=vendor.resolve)
    request = VendorRequest("https://api.openai.com/v1/models", KEY)
    within = frozenset({Origin.parse("https://api.openai.com")})
    for header, expected in waits.items():
        vendor.say(Reply(429, b"{}", {"Retry-After": header}))
        answer = await client.ask(request, within=within)
        assert isinstance(answer, Answered)
        seconds = answer.retry_after_seconds
        if expected is None:
            assert seconds is None, header
        else:
            assert seconds is not None, header
            assert expected[0] <= seconds <= expected[1], header
    vendor.say(Reply(200, b"{}", {"Retry-After": "7"}))
    answer = await client.ask(request, within=within)
    assert isinstance(answer, Answered)
    assert answer.retry_after_seconds is None, "it was answered"


def test_an_allowance_keeps_nothing_that_is_over() -> None:
    now = 1000.0
    allowance = Allowance(2, lambda: now)
    one, *others = (uuid4() for _ in range(1000))
    assert [allowance.take(one) for _ in range(3)] == [0, 0, 60]
    for each in others:
        allowance.take(each)
    now += 45
    assert allowance.take(one) == 15
    now += 16
    assert allowance.take(one) == 0
    assert len(allowance._recent) == 1  # pyright: ignore[reportPrivateUsage]

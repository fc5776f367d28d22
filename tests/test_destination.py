"""Origins: two spellings of one place are equal, and what can be read in two ways is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxplane.destination import MAX_URL_LENGTH, Origin

ACCEPTED = {
    "https://api.openai.com/v1": ("https", "api.openai.com", 443, "/v1"),
    "https://api.openai.com": ("https", "api.openai.com", 443, ""),
    "http://localhost:8000": ("http", "localhost", 8000, ""),
    "https://127.0.0.1": ("https", "127.0.0.1", 443, ""),
    "https://[2001:db8::1]:8443/v1": ("https", "2001:db8::1", 8443, "/v1"),
    "https://xn--bcher-kva.example": ("https", "xn--bcher-kva.example", 443, ""),
    "https://a.b/~user/v1.0_x-y": ("https", "a.b", 443, "/~user/v1.0_x-y"),
    "https://1.example.com": ("https", "1.example.com", 443, ""),
    "https://a.b/...x": ("https", "a.b", 443, "/...x"),
}

SAME = [
    ("https://api.openai.com/v1", "https://api.openai.com/v1/"),
    ("https://api.openai.com", "https://api.openai.com:443"),
    ("https://api.openai.com", "https://API.OpenAI.com"),
    ("https://api.openai.com", "HTTPS://api.openai.com"),
    ("https://api.openai.com", "wss://api.openai.com/"),
    ("http://localhost", "ws://localhost:80"),
    ("https://[2001:db8::1]", "https://[2001:0DB8:0:0:0:0:0:1]:443"),
]

DIFFERENT = [
    ("https://api.openai.com", "http://api.openai.com"),
    ("https://api.openai.com", "https://api.openai.com:444"),
    ("https://api.openai.com", "https://api.openai.com.evil.example"),
    ("https://gateway.example/v1/ours", "https://gateway.example/v1/theirs"),
    ("https://gateway.example/v1", "https://gateway.example/V1"),
    ("https://gateway.example/v1", "https://gateway.example"),
]

REFUSED = [
    "https://[2001:db8::1]443",
    "https://[2001:db8::1].evil.example",
    "https://evil.example[2001:db8::1]",
    "",
    "api.openai.com",
    "//api.openai.com",
    "ftp://api.openai.com",
    "file:///etc/passwd",
    "https:api.openai.com",
    "https:///v1",
    "https://",
    "https://user@api.openai.com",
    "https://user:password@api.openai.com",
    "https://@api.openai.com",
    "https://api.openai.com.",
    "https://api..openai.com",
    "https://.api.openai.com",
    "https://-api.openai.com",
    "https://api-.openai.com",
    "https://api_openai.com",
    f"https://{'a' * 64}.com",
    f"https://{'a.' * 127}aa",
    f"https://a.b/{'a' * MAX_URL_LENGTH}",
    "https://bücher.example",
    "https://аpi.openai.com",  # noqa: RUF001 - a Cyrillic a
    "https://api。openai。com",
    "https://0x7f.1",
    "https://0x7f000001",
    "https://2130706433",
    "https://127.1",
    "https://127.0.0.01",
    "https://0177.0.0.1",
    "https://256.0.0.1",
    "https://1.2.3.4.5",
    "https://a.b.0x10",
    "https://[::ffff:127.0.0.1]",
    "https://[::ffff:7f00:1]",
    "https://[fe80::1%25eth0]",
    "https://[::1",
    "https://[v1.x]",
    "https://[127.0.0.1]",
    "https://a.b/%2f",
    "https://a.b/%2e%2e",
    "https://a%2eb",
    "https://a.b/../v1",
    "https://a.b/v1/..",
    "https://a.b/./v1",
    "https://a.b/...",
    "https://a.b//v1",
    "https://a.b/v1//",
    "https://a.b/v1;x",
    "https://a.b/v1?x=1",
    "https://a.b?",
    "https://a.b/#x",
    "https://a.b#",
    "https://a.b\\@evil.example",
    "https:\\\\a.b",
    "https://a.b/v1\\..",
    "https://a.b/\t",
    "https://a.\tb",
    "https://a.b/\n",
    "\nhttps://a.b",
    " https://a.b",
    "https://a.b ",
    "https://a.b/\x00",
    "https://a.b/\x7f",
    "https://a.b:",
    "https://a.b:/v1",
    "https://a.b:0",
    "https://a.b:65536",
    "https://a.b:-1",
    "https://a.b:+443",
    "https://a.b: 443",
    "https://a.b:٤٤٣",
    "https://a.b:x",
]


@pytest.mark.parametrize(("url", "expected"), ACCEPTED.items())
def test_an_address_is_read_as_its_four_parts(url: str, expected: tuple[str, str, int, str]) -> None:
    assert tuple(Origin.parse(url)) == expected


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_place_are_equal(one: str, other: str) -> None:
    assert Origin.parse(one) == Origin.parse(other)
    assert str(Origin.parse(one)) == str(Origin.parse(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_places_are_not_equal(one: str, other: str) -> None:
    assert Origin.parse(one) != Origin.parse(other)
    assert str(Origin.parse(one)) != str(Origin.parse(other))


@pytest.mark.parametrize("url", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(write|leave) ") as refused:
        Origin.parse(url)
    for part in ("evil", "password", "openai", "127.0.0.1", "passwd"):
        assert part not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:5000", True),
        ("http://127.0.0.1", True),
        ("http://127.8.9.10", True),
        ("ws://[::1]:2700", True),
        ("https://localhost.evil.example", False),
        ("https://127.0.0.1.evil.example", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0", False),
    ],
)
def test_loopback_is_the_own_machine_and_nothing_else(url: str, *, expected: bool) -> None:
    assert Origin.parse(url).is_loopback is expected


_label = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,8}[a-zA-Z0-9])?", fullmatch=True)
_host = st.one_of(
    st.lists(_label, min_size=1, max_size=4).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address.exploded}]"),
)
_path = st.lists(st.text("aB9._~-", min_size=1, max_size=5), max_size=3).map(lambda parts: "/".join(["", *parts]))
_address = st.tuples(
    st.sampled_from(["https://", "HTTPS://", "http://", "ws://", "wss://"]),
    _host,
    st.one_of(st.just(""), st.integers(0, 66_000).map(lambda port: f":{port}")),
    _path,
    st.sampled_from(["", "", "/"]),
).map("".join)


@given(st.one_of(_address, _address, _address, st.text(max_size=40), st.text("htps:/.@[]0x1a\\%?#", max_size=30)))
def test_the_canonical_spelling_is_the_same_origin(url: str) -> None:
    try:
        origin = Origin.parse(url)
    except ValueError:
        return
    assert Origin.parse(str(origin)) == origin
    assert str(Origin.parse(str(origin))) == str(origin)

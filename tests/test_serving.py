"""The socket of a real service: an end to what may come before a body."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.test_crash import served, token
from voxplane.server.http_protocol import MAX_HEAD_BYTES


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("served")
    with served(folder) as (_, address):
        yield address, folder


def sent_before_it_closed(address: str, pieces: list[bytes]) -> int:
    """Send pieces over one connection; return how many went out before the service closed it."""
    where = urlsplit(address)
    assert where.hostname is not None
    with socket.create_connection((where.hostname, where.port or 0), timeout=10) as line:
        for number, piece in enumerate(pieces):
            try:
                line.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                return number
    return len(pieces)


def test_headers_without_end_are_cut_off(service: tuple[str, Path]) -> None:
    address, _ = service
    # Far more than the buffers of a socket on both sides hold, so that only a closed line stops it.
    endless = [b"GET /healthz HTTP/1.1\r\nHost: voxplane\r\n", *[b"X-Padding: " + b"a" * 8000 + b"\r\n"] * 5000]
    assert sent_before_it_closed(address, endless) < len(endless)
    assert httpx.get(f"{address}/healthz").status_code == 200


def test_a_header_that_is_too_long_is_answered_431(service: tuple[str, Path]) -> None:
    address, _ = service
    where = urlsplit(address)
    assert where.hostname is not None
    with socket.create_connection((where.hostname, where.port or 0), timeout=10) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: voxplane\r\nX-Padding: " + b"a" * (MAX_HEAD_BYTES + 1))
        assert line.recv(65536).startswith(b"HTTP/1.1 431 ")
        assert line.recv(65536) == b""


def test_an_answer_comes_in_one_piece_also_to_who_has_nothing_more_to_say(service: tuple[str, Path]) -> None:
    where = urlsplit(service[0])
    assert where.hostname is not None
    for is_last in (False, True):
        with socket.create_connection((where.hostname, where.port or 0), timeout=10) as line:
            line.sendall(b"GET /healthz HTTP/1.1\r\nHost: voxplane\r\n\r\n")
            if is_last:
                line.shutdown(socket.SHUT_WR)
            answer = line.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert answer.endswith(b'{"status":"ok"}')


def test_large_bodies_and_many_requests_on_one_line_are_no_headers(service: tuple[str, Path]) -> None:
    address, folder = service
    headers = {"Authorization": f"Bearer {token(folder)}"}
    path = "/api/organizations/current/providers/openai/config"
    with httpx.Client(base_url=address, headers=headers) as client:
        for _ in range(5):
            # Near the limit of a body: refused for what it says, not for its size.
            assert client.put(path, json={"config": {"model": "m" * 8000, "a": ["x" * 8000] * 6}}).status_code == 422
        for _ in range(200):
            assert client.get("/healthz").status_code == 200


def test_an_installation_of_its_own_prints_a_link_that_signs_in_once(tmp_path: Path) -> None:
    with served(tmp_path) as (process, address):
        assert process.stderr is not None
        link = next(line for line in process.stderr if "/signin#" in line).split()[-1]
        page, _, code = link.partition("#")
        assert page == f"{address}/signin"
        first, again = (httpx.post(f"{address}/api/sign-in", json={"code": code}) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 401)
        headers = {"Authorization": f"Bearer {first.json()['value']}"}
        assert httpx.get(f"{address}/api/me", headers=headers).json()["organization"]["slug"] == "default"

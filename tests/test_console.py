"""The console's files as the service hands them out."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from voxplane.server.console import PAGES, add_console
from voxplane.server.observation import Metrics, Observation

SCRIPT = b"console.log('a script that is long enough to be worth packing')" * 20


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_bytes(b"<!doctype html><title>Voxplane</title>")
    script = tmp_path / "assets" / "index-1a2b.js"
    script.write_bytes(SCRIPT)
    script.with_name("index-1a2b.js.gz").write_bytes(gzip.compress(SCRIPT))
    return tmp_path


@pytest.fixture
async def client(built: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(built) as found:
        yield found


def serving(static: Path) -> httpx.AsyncClient:
    app = FastAPI()
    add_console(app, static)
    app.add_middleware(Observation, metrics=Metrics())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://voxplane")


async def test_every_address_of_the_console_is_the_one_page(client: httpx.AsyncClient) -> None:
    for path in (*PAGES[:-1], "/providers/openai/config"):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "Voxplane" in answer.text
        assert answer.headers["cache-control"] == "no-cache"
        policy = answer.headers.get_list("content-security-policy")
        assert len(policy) == 1
        assert {"script-src 'self'", "require-trusted-types-for 'script'"} <= set(policy[0].split("; "))


async def test_a_page_that_the_browser_has_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/")
    again = await client.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_script_is_kept_for_good_and_sent_packed_to_who_can_unpack_it(client: httpx.AsyncClient) -> None:
    for accepted, packed in (("gzip, br", "gzip"), ("br", None), ("identity", None)):
        answer = await client.get("/assets/index-1a2b.js", headers={"Accept-Encoding": accepted})
        assert answer.content == SCRIPT
        assert answer.headers.get("content-encoding") == packed
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"].startswith("text/javascript")


async def test_nothing_but_what_was_built_is_handed_out(client: httpx.AsyncClient, built: Path) -> None:
    (built / "secret.txt").write_text("not for anybody")
    for name in ("none.js", "index-1a2b.js.gz", "..%2Fsecret.txt", "../secret.txt", "%2e%2e/secret.txt"):
        answer = await client.get(f"/assets/{name}")
        assert answer.status_code == 404
        assert "not for anybody" not in answer.text


async def test_without_a_build_the_addresses_lead_to_the_reference(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        answer = await client.get("/providers")
        assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
        assert (await client.get("/assets/index-1a2b.js")).status_code == 404

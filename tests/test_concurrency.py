"""Many at once: no write is lost, none is done by half, and the same one twice is one."""

from __future__ import annotations

import anyio
import httpx
import pytest

from tests.conftest import Caller

PROVIDERS = "/api/organizations/current/providers"
OPENAI = f"{PROVIDERS}/openai"


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("clients", "increments"), [(16, 100), pytest.param(32, 1000, marks=pytest.mark.deep)], ids=["100", "1000"]
)
async def test_no_increment_is_lost_between_clients_that_write_what_they_read(
    caller: Caller, clients: int, increments: int
) -> None:
    """R5: read, add one, write under If-Match; on 412, or 503 for want of a connection, once more."""
    writer = await caller("livekit:read", "livekit:write")
    assert (await writer.put(f"{OPENAI}/config", json={"config": {"seed": 0}})).status_code == 200
    left = increments
    refused = 0

    async def increment() -> None:
        nonlocal left, refused
        while left > 0:
            left -= 1
            while True:
                seen = await writer.get(OPENAI)
                if seen.status_code == 503:
                    continue
                body = {"config": {"seed": seen.json()["config"]["seed"] + 1}}
                answer = await writer.put(f"{OPENAI}/config", json=body, headers={"If-Match": seen.headers["etag"]})
                if answer.status_code == 200:
                    break
                assert answer.status_code in {412, 503}
                refused += 1

    async with anyio.create_task_group() as group:
        for _ in range(clients):
            group.start_soon(increment)
    assert (await writer.get(OPENAI)).json()["config"]["seed"] == increments
    assert refused > 0, "the clients never met, so this has proved nothing"


async def test_two_administrators_storing_two_keys_at_once_both_succeed(admin: httpx.AsyncClient) -> None:
    keys = ("openai", "groq", "anthropic", "deepgram", "elevenlabs", "cartesia")
    answers: list[int] = []

    async def store(key: str) -> None:
        answer = await admin.put(f"{PROVIDERS}/{key}/secrets", json={"secrets": {"apiKey": f"key-of-{key}"}})
        answers.append(answer.status_code)

    async with anyio.create_task_group() as group:
        for key in keys:
            group.start_soon(store, key)
    assert answers == [200] * len(keys)
    for key in keys:
        shown = (await admin.get(f"{PROVIDERS}/{key}")).json()["secretFields"]
        assert [each["isSet"] for each in shown if each["name"] == "apiKey"] == [True]


async def test_the_same_request_twice_at_once_is_one_change(admin: httpx.AsyncClient) -> None:
    for number in range(20):
        before = (await admin.get(PROVIDERS)).json()["revision"]
        body: dict[str, object] = {"config": {"temperature": number / 100}, "isEnabled": True, "priority": number + 1}

        async def put(body: dict[str, object] = body) -> None:
            assert (await admin.put(f"{PROVIDERS}/groq/config", json=body)).status_code == 200

        async with anyio.create_task_group() as group:
            group.start_soon(put)
            group.start_soon(put)
        assert (await admin.get(PROVIDERS)).json()["revision"] == before + 1

"""The change feed and what stands on it: answers given again while they hold, and never longer."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import anyio
import httpx
import psycopg
import pytest

from tests.conftest import Caller, token_for
from voxplane.schemas import ConfigWrite, OrganizationCreate
from voxplane.server.app import create_app
from voxplane.server.auth import Principal
from voxplane.server.changes import Changes
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.settings import Settings

OPENAI = "/api/organizations/current/providers/openai"


@asynccontextmanager
async def following(plane: ControlPlane) -> AsyncGenerator[None]:
    """Keep the feed running, as `voxplane serve` does."""
    async with anyio.create_task_group() as group:
        group.start_soon(plane.changes.follow, plane.database)
        await until(lambda: plane.changes.is_live)
        yield
        group.cancel_scope.cancel()


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for a condition that another process brings about; fail when it does not come true in time."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - nothing in this process could set an event
            await anyio.sleep(0.01)


@pytest.fixture
def caching(settings: Settings) -> Settings:
    return settings.model_copy(update={"token_cache_seconds": 5.0})


@pytest.fixture
async def served(caching: Settings) -> AsyncIterator[tuple[ControlPlane, httpx.AsyncClient]]:
    async with ControlPlane.open(caching) as plane, following(plane):
        value = await token_for(plane, "livekit:read", "livekit:write", "admin:tokens")
        transport = httpx.ASGITransport(create_app(plane))
        headers = {"Authorization": f"Bearer {value}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://voxplane", headers=headers) as client:
            yield plane, client


def test_nothing_is_vouched_for_while_the_feed_is_down() -> None:
    changes, organization = Changes(), uuid4()
    mark = changes.mark()
    assert not changes.is_unchanged(organization, mark)
    changes.is_live = True
    assert changes.is_unchanged(organization, mark)


def test_a_change_ends_what_was_read_before_it_for_that_organization_only() -> None:
    changes, one, other = Changes(), uuid4(), uuid4()
    changes.is_live = True
    before = changes.mark()
    changes.note(one)
    assert not changes.is_unchanged(one, before)
    assert changes.is_unchanged(other, before)
    assert changes.is_unchanged(one, changes.mark())


async def test_an_own_write_is_seen_by_the_next_read(
    served: tuple[ControlPlane, httpx.AsyncClient],
) -> None:
    _, client = served
    for number in range(20):
        wanted = number / 100
        await client.get(OPENAI)
        await client.put(f"{OPENAI}/config", json={"config": {"temperature": wanted}})
        assert (await client.get(OPENAI)).json()["config"]["temperature"] == wanted


async def test_a_write_of_another_process_is_seen_once_its_notification_is_here(
    served: tuple[ControlPlane, httpx.AsyncClient], caching: Settings
) -> None:
    plane, client = served
    organization = await plane.access.find_organization("default")
    who = local_administrator(organization.id, "test")
    async with ControlPlane.open(caching) as elsewhere:
        await client.get(OPENAI)
        mark = plane.changes.mark()
        await elsewhere.providers.upsert_organization_provider_config(
            who, "openai", ConfigWrite(config={"temperature": 0.33})
        )
        await until(lambda: not plane.changes.is_unchanged(organization.id, mark))
        assert (await client.get(OPENAI)).json()["config"]["temperature"] == 0.33


async def test_an_answer_is_given_to_the_token_that_got_it_and_to_no_other(
    served: tuple[ControlPlane, httpx.AsyncClient],
) -> None:
    plane, client = served
    everything = Principal("local:test", "test", "local", None, frozenset())
    await plane.access.create_organization(everything, OrganizationCreate(slug="acme", name="Acme"))
    other = await token_for(plane, "livekit:read", organization="acme")
    await client.put(f"{OPENAI}/config", json={"config": {"temperature": 0.44}})
    await client.get(OPENAI)
    theirs = await client.get(OPENAI, headers={"Authorization": f"Bearer {other}"})
    assert theirs.json()["config"]["temperature"] == 0.7
    assert (await client.get(OPENAI, headers={"Authorization": "Bearer nobody"})).status_code == 401
    assert (await client.get(OPENAI)).json()["config"]["temperature"] == 0.44


async def test_a_revoked_token_gets_nothing_from_memory(served: tuple[ControlPlane, httpx.AsyncClient]) -> None:
    plane, client = served
    value = await token_for(plane, "livekit:read")
    headers = {"Authorization": f"Bearer {value}"}
    assert (await client.get(OPENAI, headers=headers)).status_code == 200
    await client.delete(f"/api/organizations/current/tokens/{value.split('_')[1]}")
    assert (await client.get(OPENAI, headers=headers)).status_code == 401


async def test_a_lost_line_is_noticed_and_made_anew(
    served: tuple[ControlPlane, httpx.AsyncClient], superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    plane, client = served
    for _ in range(3):
        mark = plane.changes.mark()
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        )
        await until(lambda seen=mark: plane.changes.is_live and plane.changes.mark() > seen)
        assert (await client.get(OPENAI)).status_code == 200


async def test_the_kept_answers_stay_within_their_memory(caching: Settings) -> None:
    tight = caching.model_copy(update={"answer_cache_bytes": 4000})
    async with ControlPlane.open(tight) as plane, following(plane):
        value = await token_for(plane, "livekit:read")
        app = create_app(plane)
        headers = {"Authorization": f"Bearer {value}"}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://voxplane", headers=headers
        ) as client:
            for provider in plane.registry.get_all_providers():
                path = f"/api/organizations/current/providers/{provider.key}"
                first, again = await client.get(path), await client.get(path)
                assert first.json() == again.json()


async def test_without_the_feed_every_read_asks_the_database(
    caller: Caller, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    reader = await caller("livekit:read")
    await reader.get(OPENAI)
    superuser.execute(
        "UPDATE voxplane.organization_provider_configs SET config = '{\"temperature\": 0.11}'"
        " WHERE provider_key = 'openai'"
    )
    assert (await reader.get(OPENAI)).json()["config"]["temperature"] == 0.11


async def test_a_notification_that_nobody_can_read_ends_nothing(
    served: tuple[ControlPlane, httpx.AsyncClient], superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    plane, client = served
    mark = plane.changes.mark()
    superuser.execute("NOTIFY voxplane, 'hello'")
    await until(lambda: plane.changes.mark() > mark)
    assert plane.changes.is_live
    assert (await client.get(OPENAI)).status_code == 200


async def test_a_line_that_hangs_is_given_up_and_what_was_written_meanwhile_is_found(
    plane: ControlPlane,
    administrator: Principal,
    superuser: psycopg.Connection[tuple[object, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection that stays open and says nothing, as behind a firewall that forgot it: PostgreSQL's side stops."""
    monkeypatch.setattr("voxplane.server.changes._ECHO_SECONDS", 0.2)
    monkeypatch.setattr("voxplane.server.changes._RETRY_SECONDS", 0.05)
    organization_id = administrator.tenant
    async with following(plane):
        with plane.changes.subscribe(organization_id) as follower:
            # The line listens, or has asked for an echo.
            ((pid,),) = superuser.execute(
                """
                SELECT pid FROM pg_stat_activity
                WHERE datname = current_database() AND (query LIKE 'LISTEN%' OR query = 'SELECT')
                """
            ).fetchall()
            assert isinstance(pid, int)
            os.kill(pid, signal.SIGSTOP)
            try:
                mark = plane.changes.mark()
                # Written as by another process, of which this one hears by the line alone.
                (revision,) = superuser.execute(
                    "UPDATE organizations SET revision = revision + 1 WHERE id = %s RETURNING revision",
                    [organization_id],
                ).fetchone() or (None,)
                await until(lambda: not plane.changes.is_live)
                assert not plane.changes.is_unchanged(organization_id, mark)
                await until(lambda: plane.changes.is_live)
                assert not plane.changes.is_unchanged(organization_id, mark)
                with anyio.fail_after(10):
                    await follower.wait(10)
                assert follower.take().revision == revision
            finally:
                os.kill(pid, signal.SIGCONT)

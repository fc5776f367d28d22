"""What a worker gets: the providers that answer, with their keys; on record first, and nothing kept of a key."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import secrets
import types
import weakref
from asyncio import AbstractEventLoop, Future
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

import anyio
import httpx
import psycopg
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from tests.conftest import Template, admin_connection, amounts, token_for, worker_of
from tests.test_audit import BROKEN, Ledger, ledger_of
from tests.test_catalogue import WithoutGroq
from tests.test_changes import following, until
from tests.test_destinations import AZURE_HOME, CLOUD, secrets_of
from tests.test_problem import check_problem
from tests.test_statements import noted_statements
from voxplane.errors import OrganizationNotFound, PermissionDenied, Unavailable, VoxplaneError
from voxplane.provider import AnyProvider
from voxplane.schemas import (
    ConfigWrite,
    OrganizationCreate,
    Resolution,
    ResolutionRequest,
    SecretsWrite,
)
from voxplane.server import envelope
from voxplane.server.app import create_app
from voxplane.server.auth import Principal, Scope
from voxplane.server.changes import Changes
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.settings import Settings

T = TypeVar("T")
Superuser = psycopg.Connection[tuple[object, ...]]
RESOLVE = "/api/organizations/current/resolve"
EVERYTHING = ResolutionRequest()


@dataclass
class Office:
    """One organization: who configures it, a worker of it, and what is on record."""

    plane: ControlPlane
    who: Principal
    worker: Principal
    client: httpx.AsyncClient
    ledger: Ledger

    async def store(self, key: str, value: str = "sk-test", **more: Any) -> None:
        """Store a provider's key."""
        await self.plane.providers.update_provider_secrets(
            self.who, key, SecretsWrite(secrets={"apiKey": value}, **more)
        )

    async def set(self, key: str, **change: Any) -> int:
        """Change a provider's settings; return the revision that this led to."""
        write = ConfigWrite(**change)
        return (await self.plane.providers.upsert_organization_provider_config(self.who, key, write)).revision

    async def heard(self, write: Awaitable[T]) -> T:
        """Write, and wait until this process noticed: by itself, and by the notification."""
        mark = self.plane.changes.mark()
        written = await write
        await until(lambda: self.plane.changes.mark() >= mark + 2)
        return written

    async def resolve(self, **wanted: Any) -> Resolution:
        """Ask as a worker does, and get something."""
        resolution = await self.plane.workers.resolve(self.worker, ResolutionRequest.model_validate(wanted))
        assert resolution is not None
        return resolution

    async def answering(self) -> dict[str, str]:
        """Return the key that each provider in the chains came with; empty where there is none."""
        chains = (await self.resolve()).chains
        return {each.provider.key: each.secrets.get("apiKey", "") for each in (*chains.stt, *chains.tts, *chains.llm)}

    async def skipped(self) -> dict[str, str]:
        """Return why who does not answer."""
        return {each.key: each.reason for each in (await self.resolve()).skipped}

    def releases(self) -> list[dict[str, Any]]:
        """Return the records of what workers got."""
        return [vars(event) for event, _, _ in self.ledger.rows(self.who.tenant) if event.action == "secrets.release"]


@asynccontextmanager
async def opened(settings: Settings, superuser: Superuser, template: Template) -> AsyncGenerator[Office]:
    async with ControlPlane.open(settings) as plane:
        organization = await plane.access.find_organization("default")
        headers = {"Authorization": f"Bearer {await token_for(plane, Scope.WORKER_RESOLVE)}"}
        transport = httpx.ASGITransport(create_app(plane))
        async with httpx.AsyncClient(transport=transport, base_url="http://voxplane", headers=headers) as client:
            who = local_administrator(organization.id, "test")
            yield Office(plane, who, worker_of(organization.id), client, ledger_of(superuser, template))


@pytest.fixture
async def office(settings: Settings, superuser: Superuser, template: Template) -> AsyncIterator[Office]:
    async with opened(settings, superuser, template) as found:
        yield found


@pytest.fixture
async def caching(settings: Settings, superuser: Superuser, template: Template) -> AsyncIterator[Office]:
    """As in production: what was read is kept while the change feed vouches for it."""
    trusting = settings.model_copy(update={"token_cache_seconds": 30.0})
    async with opened(trusting, superuser, template) as found, following(found.plane):
        yield found


async def test_who_has_no_keys_yet_gets_what_needs_none_and_the_reasons_for_the_rest(office: Office) -> None:
    answer = await office.client.post(RESOLVE, json={})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    found = answer.json()
    (piper,) = found["chains"].pop("tts")
    assert piper.pop("config")["voice"]
    assert piper == {
        "provider": {"key": "piper", "name": "Piper (local)", "type": "tts"},
        "secrets": {},
        "origins": ["http://127.0.0.1:5000"],
        "isEnabled": True,
        "priority": 100,
        "secretVersion": None,
        "isFailing": False,
        "notices": [],
    }
    assert found == {
        "organization": {"id": str(office.who.tenant), "slug": "default"},
        "at": str(await office.plane.workers.position(office.worker)),
        "chains": {"stt": [], "llm": []},
        "skipped": [
            {"key": "deepgram", "type": "stt", "reason": "secrets_missing"},
            {"key": "openai", "type": "llm", "reason": "secrets_missing"},
        ],
    }


async def test_once_its_key_is_stored_a_provider_answers_in_its_place(office: Office) -> None:
    for key in ("deepgram", "openai", "groq", "anthropic", "google"):
        await office.store(key, f"sk-{key}")
    await office.set("groq", isEnabled=True, priority=200)
    await office.set("anthropic", isEnabled=True, priority=100)
    await office.set("openai", config={"temperature": 0.25})
    found = (await office.client.post(RESOLVE, json={})).json()
    assert [each["provider"]["key"] for each in found["chains"]["llm"]] == ["groq", "anthropic", "openai"]
    assert [each["provider"]["key"] for each in found["chains"]["stt"]] == ["deepgram"]
    assert found["skipped"] == []
    openai = found["chains"]["llm"][2]
    assert (openai["secrets"], openai["secretVersion"]) == ({"apiKey": "sk-openai"}, 1)
    assert openai["origins"] == ["https://api.openai.com:443/v1"]
    assert (openai["config"]["temperature"], openai["config"]["model"]) == (0.25, "gpt-4o-mini")
    (ends,) = openai["notices"]
    assert (ends["code"], ends["model"], ends["proposal"]) == ("model_retiring", "gpt-4o-mini", None)
    assert "sk-google" not in json.dumps(found)


async def test_a_shared_key_is_used_until_there_is_an_own_one(office: Office) -> None:
    await office.store("openai", "sk-shared")
    await office.store("openai", "sk-shared-2")
    await office.set("openai-tts", isEnabled=True, priority=900)
    first, _ = (await office.resolve()).chains.tts
    assert (first.provider.key, first.secrets, first.secret_version) == ("openai-tts", {"apiKey": "sk-shared-2"}, 2)
    await office.store("openai-tts", "sk-own")
    first, _ = (await office.resolve()).chains.tts
    assert (first.secrets, first.secret_version) == ({"apiKey": "sk-own"}, 1)


@pytest.mark.parametrize("provider", CLOUD, ids=lambda provider: provider.key)
async def test_each_providers_key_comes_as_the_release_of_it_alone_gives_it(
    provider: AnyProvider, office: Office
) -> None:
    config = {"azure-openai": AZURE_HOME, "elevenlabs": {"voiceId": "aVoiceOfTheirAccount"}}.get(provider.key, {})
    origins = {} if provider.default_origins else {"approved_origins": [AZURE_HOME["endpoint"]]}
    change = SecretsWrite(secrets=secrets_of(provider), **origins)  # pyright: ignore[reportArgumentType] - any of them
    await office.plane.providers.update_provider_secrets(office.who, provider.key, change)
    await office.set(provider.key, isEnabled=True, config=config, priority=1000)
    chains = (await office.resolve(types=[provider.type])).chains
    first = getattr(chains, provider.type)[0]
    alone = await office.plane.workers.release(office.worker, provider.key)
    assert first.secrets == secrets_of(provider)
    assert first.secrets == {name: value.get_secret_value() for name, value in alone.secrets.items()}
    assert (first.config, first.origins, first.secret_version) == (alone.config, alone.origins, alone.secret_version)
    assert first.origins


async def test_only_the_wanted_types_are_opened_and_recorded(office: Office) -> None:
    for key in ("deepgram", "openai"):
        await office.store(key)
    for wanted, given in (
        (["llm"], {"openai": ["apiKey"]}),
        (["tts", "stt"], {"deepgram": ["apiKey"], "piper": []}),
        (["stt", "stt"], {"deepgram": ["apiKey"]}),
        (["llm", "tts", "stt"], {"deepgram": ["apiKey"], "openai": ["apiKey"], "piper": []}),
    ):
        chains = (await office.resolve(types=wanted)).chains
        found = [*chains.stt, *chains.tts, *chains.llm]
        assert {each.provider.key: sorted(each.secrets) for each in found} == given
        assert len(found) == len(given)
        last = office.releases()[-1]
        assert (last["detail"]["providers"], last["target"]) == (given, " ".join(sorted(set(wanted))))


@pytest.mark.parametrize("types", [[], ["video"], ["LLM"], [None], [1], "llm", {"llm": 1}, ["llm"] * 4])
async def test_types_that_are_none_are_refused(office: Office, types: object) -> None:
    check_problem(await office.client.post(RESOLVE, json={"types": types}), 422, "invalid")
    assert office.releases() == []


def noted_openings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that grows with each envelope that is opened for somebody."""
    opened: list[object] = []
    release: Callable[..., Any] = envelope.release

    def noted(*arguments: object, **options: object) -> object:
        opened.append(arguments)
        return release(*arguments, **options)

    monkeypatch.setattr(envelope, "release", noted)
    return opened


async def test_who_is_up_to_date_gets_nothing_and_nothing_is_opened_or_recorded(
    caching: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await caching.store("openai")
    opened = noted_openings(monkeypatch)
    at = (await caching.resolve()).at
    assert len(opened) == len(caching.releases()) == 1
    for types_wanted in ({}, {"types": ["llm"]}):
        answer = await caching.client.post(RESOLVE, json={"have": at, **types_wanted})
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["cache-control"] == "no-store"
    # A worker's token that is made or revoked changes nothing that a worker reads.
    await token_for(caching.plane, Scope.WORKER_RESOLVE)
    assert (await caching.client.post(RESOLVE, json={"have": at})).status_code == 204
    assert len(opened) == len(caching.releases()) == 1
    await caching.set("openai", priority=7)
    answer = await caching.client.post(RESOLVE, json={"have": at})
    assert (answer.status_code, answer.json()["chains"]["llm"][0]["priority"]) == (200, 7)
    assert len(opened) == len(caching.releases()) == 2


async def test_what_is_no_present_state_is_answered_in_full(office: Office) -> None:
    epoch, _, revision = (await office.resolve()).at.partition(".")
    others = [
        f"{epoch}.{int(revision) - 1}",
        f"{epoch}.{int(revision) + 1}",
        f"{epoch}.0{revision}",
        f"{epoch.upper()}.{revision}",
        f"{uuid4()}.{revision}",
        f"{office.who.tenant}.{revision}",
        epoch,
        "",
        "x",
    ]
    for have in others:
        assert (await office.client.post(RESOLVE, json={"have": have})).status_code == 200, have
    assert (await office.client.post(RESOLVE, json={"have": f"{epoch}.{revision}"})).status_code == 204
    assert len(office.releases()) == 1 + len(others)


async def test_only_a_worker_gets_anything(office: Office) -> None:
    with pytest.raises(PermissionDenied):
        await office.plane.workers.resolve(office.who, EVERYTHING)
    assert office.releases() == []


async def test_an_answer_is_in_the_audit_log_and_only_a_refusal_in_the_servers(office: Office) -> None:
    with capture_logs() as lines:
        answer = await office.client.post(RESOLVE, json={})
        refused = await office.client.post(RESOLVE, json={"types": ["ears"]})
    (record,) = office.releases()
    assert record["request_id"] == answer.headers["x-request-id"]
    assert [(line["status"], line["request_id"]) for line in lines] == [(422, refused.headers["x-request-id"])]


async def test_an_answer_is_on_record_with_who_got_what_by_name(office: Office) -> None:
    await office.store("openai", "sk-canary")
    answer = await office.client.post(RESOLVE, json={})
    me = (await office.client.get("/api/me")).json()
    (record,) = office.releases()
    assert (record["actor"], record["outcome"], record["target"]) == (me["subject"], "success", "llm stt tts")
    assert record["request_id"] == answer.headers["x-request-id"]
    revision = int(answer.json()["at"].rpartition(".")[2])
    assert record["detail"] == {"revision": revision, "providers": {"openai": ["apiKey"], "piper": []}}
    assert "canary" not in repr(record)
    assert office.ledger.is_whole()


@contextmanager
def held(postgres: EmbeddedPostgres, database: str) -> Generator[None]:
    """Keep everybody from writing to the audit log."""
    with admin_connection(postgres, database) as other, other.transaction():
        other.execute("LOCK TABLE audit_events IN SHARE MODE")
        yield


def waiting(superuser: Superuser) -> int:
    """Count who waits for a lock."""
    statement = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ((found,),) = superuser.execute(statement).fetchall()
    assert isinstance(found, int)
    return found


@dataclass
class Outcomes:
    """What came of several questions that were asked at once."""

    office: Office
    answers: dict[int, Resolution] = field(default_factory=dict[int, Resolution])
    errors: dict[int, BaseException] = field(default_factory=dict[int, BaseException])
    scopes: dict[int, anyio.CancelScope] = field(default_factory=dict[int, anyio.CancelScope])

    async def ask(self, number: int) -> None:
        """Ask once, as a request of that number."""
        with anyio.CancelScope() as scope:
            self.scopes[number] = scope
            worker = Principal(
                f"token:{number}", "w", "token", self.office.who.tenant, frozenset({Scope.WORKER_RESOLVE})
            )
            try:
                found = await self.office.plane.workers.resolve(worker, EVERYTHING)
                assert found is not None
                self.answers[number] = found
            except VoxplaneError as error:
                self.errors[number] = error

    def begun(self) -> int:
        """Count who is being served."""
        return self.office.plane.workers._under_way  # pyright: ignore[reportPrivateUsage] - nobody else can tell

    def recorded(self) -> set[int]:
        """Return whose release is on record."""
        return {int(each["actor"].partition(":")[2]) for each in self.office.releases()}


async def test_nothing_is_answered_before_its_record_is_committed(
    office: Office, postgres: EmbeddedPostgres, database: str, superuser: Superuser
) -> None:
    await office.store("openai")
    asked = Outcomes(office)
    async with anyio.create_task_group() as group:
        with held(postgres, database):
            group.start_soon(asked.ask, 1)
            await until(lambda: waiting(superuser) == 1)
            assert (asked.answers, office.releases()) == ({}, [])
    assert list(asked.answers) == [1]
    assert asked.recorded() == {1}


@pytest.mark.parametrize("failure", BROKEN)
async def test_what_cannot_be_put_on_record_is_not_released(failure: str, office: Office, superuser: Superuser) -> None:
    """A1: to many who ask at once; and what was broken and is mended releases again."""
    await office.store("openai", "sk-canary")
    before = len(office.releases()) if failure != "the table is gone" else 0
    superuser.execute(BROKEN[failure].encode())
    asked = Outcomes(office)
    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(asked.ask, number)
    assert asked.answers == {}
    assert len(asked.errors) == 10
    answer = await office.client.post(RESOLVE, json={})
    check_problem(answer, 503, "unavailable")
    assert "canary" not in answer.text
    if failure == "the right is gone":
        assert len(office.releases()) == before
        superuser.execute("GRANT INSERT ON audit_events TO voxplane_app")
        assert (await office.answering())["openai"] == "sk-canary"
        assert office.ledger.is_whole()


async def test_who_leaves_in_the_middle_of_the_record_takes_nobody_elses_place_with_it(
    office: Office, postgres: EmbeddedPostgres, database: str, superuser: Superuser
) -> None:
    """The first of ten writes its own row; the second would write those of all who wait, and both go away."""
    await office.store("openai")
    asked = Outcomes(office)
    async with anyio.create_task_group() as group:
        with held(postgres, database):
            group.start_soon(asked.ask, 0)
            await until(lambda: waiting(superuser) == 1)
            for number in range(1, 10):
                group.start_soon(asked.ask, number)
            await until(lambda: asked.begun() == 10)
            for number in (0, 1, 5):
                asked.scopes[number].cancel()
    assert asked.errors == {}
    assert set(asked.answers) - {0} == set(range(10)) - {0, 1, 5}
    # Who went away may be on record, and nobody else is missing from it.
    assert asked.recorded() >= set(asked.answers)
    assert office.ledger.is_whole()


async def test_who_leaves_while_the_rows_of_others_are_in_his_hands_lets_go_of_none(
    settings: Settings, superuser: Superuser, template: Template, postgres: EmbeddedPostgres, database: str
) -> None:
    """The first fails for want of a lock; the second then writes the rows of all who came meanwhile, and goes away."""
    impatient = settings.model_copy(update={"lock_timeout_seconds": 1.0})
    async with opened(impatient, superuser, template) as office:
        await office.store("openai")
        asked = Outcomes(office)
        async with anyio.create_task_group() as group:
            with held(postgres, database):
                group.start_soon(asked.ask, 0)
                await until(lambda: waiting(superuser) == 1)
                group.start_soon(asked.ask, 1)
                await until(lambda: asked.begun() == 2)
                for number in range(2, 10):
                    group.start_soon(asked.ask, number)
                await until(lambda: 0 in asked.errors and waiting(superuser) == 1)
                asked.scopes[1].cancel()
        assert set(asked.errors) == {0}
        assert set(asked.answers) >= set(range(2, 10))
        assert asked.recorded() >= set(asked.answers)
        assert office.ledger.is_whole()


async def test_a_request_that_the_server_cuts_short_releases_nothing_off_the_record(
    office: Office, postgres: EmbeddedPostgres, database: str, superuser: Superuser
) -> None:
    """At the end of its patience a stopping server cancels tasks in a way that nothing is shielded from."""
    await office.store("openai")
    asked = Outcomes(office)
    async with asyncio.TaskGroup() as group:
        with held(postgres, database):
            first = group.create_task(asked.ask(0))
            await until(lambda: waiting(superuser) == 1)
            rest = [group.create_task(asked.ask(number)) for number in range(1, 10)]
            await until(lambda: asked.begun() == 10)
            first.cancel()
            rest[3].cancel()
            await until(lambda: asked.begun() < 9)
    assert 0 not in asked.answers
    assert set(asked.answers) | set(asked.errors) == set(range(10)) - {0, 4}
    assert asked.recorded() >= set(asked.answers)
    assert (await office.answering())["openai"] == "sk-test"
    assert office.ledger.is_whole()


async def test_many_who_ask_at_once_share_one_look(caching: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """D1: a hundred workers that hear of one change; and each gets what stood when it asked, or newer."""
    await caching.heard(caching.store("openai"))
    statements, opened = noted_statements(monkeypatch), noted_openings(monkeypatch)
    # Who asks while one looks is served by that look if the feed vouches for it, and by one more if nobody does.
    for feed_is_live, looks in ((True, 1), (False, 2)):
        caching.plane.changes.is_live = feed_is_live
        revision = await caching.heard(caching.set("openai", priority=5 + feed_is_live))
        asked = Outcomes(caching)
        statements.clear()
        opened.clear()
        recorded = len(caching.releases())
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(asked.ask, number)
        # One opening for all who wait at a moment, a row for each, and nothing that is kept after the last answer.
        assert 1 <= len(opened) <= looks
        assert len(caching.releases()) == recorded + 100
        assert len(asked.answers) == 100
        assert {each.at.rpartition(".")[2] for each in asked.answers.values()} == {str(revision)}
        assert sum("AS configs" in each for each in statements) <= looks
        assert sum("INSERT INTO audit_events" in each for each in statements) <= 10
        shared = weakref.ref(asked.answers[0])
        asked.answers.clear()
        assert shared() is None


async def test_who_asks_while_one_looks_does_not_get_what_was_there_before_he_asked(
    office: Office, postgres: EmbeddedPostgres, database: str, superuser: Superuser
) -> None:
    """The look that is under way may be from before a change that whoever asks now was told of."""
    await office.store("openai")
    asked = Outcomes(office)
    async with anyio.create_task_group() as group:
        with admin_connection(postgres, database) as other, other.transaction():
            other.execute("LOCK TABLE organization_data_keys IN ACCESS EXCLUSIVE MODE")
            group.start_soon(asked.ask, 0)
            await until(lambda: waiting(superuser) == 1)  # it has read the settings, and is about to read the data key
            superuser.execute("UPDATE organization_provider_configs SET priority = 3 WHERE provider_key = 'openai'")
            group.start_soon(asked.ask, 1)
            await until(lambda: asked.begun() == 2)
    assert [asked.answers[number].chains.llm[0].priority for number in (0, 1)] == [100, 3]


async def test_an_error_reaches_all_whose_rows_were_written_together_and_no_later_one(
    settings: Settings,
    superuser: Superuser,
    template: Template,
    postgres: EmbeddedPostgres,
    database: str,
) -> None:
    impatient = settings.model_copy(update={"lock_timeout_seconds": 0.3})
    async with opened(impatient, superuser, template) as office:
        await office.store("openai")
        asked = Outcomes(office)
        with held(postgres, database):
            async with anyio.create_task_group() as group:
                group.start_soon(asked.ask, 0)
                await until(lambda: waiting(superuser) == 1)
                for number in range(1, 10):
                    group.start_soon(asked.ask, number)
        assert set(asked.errors) == set(range(10))
        assert all(isinstance(error, Unavailable) for error in asked.errors.values())
        # The first was alone; those who came while it waited failed together, by one and the same error.
        assert len(set(map(id, asked.errors.values()))) < 10
        assert asked.recorded() == set()
        await asked.ask(99)
        assert list(asked.answers) == [99]
        assert office.ledger.is_whole()


@pytest.mark.drill
@pytest.mark.parametrize("releases", amounts(400, 2000))
async def test_all_releases_to_fifty_workers_are_on_record(
    settings: Settings, superuser: Superuser, template: Template, releases: int
) -> None:
    """A2: what workers saw against what is on record, over HTTP, two organizations, with somebody configuring."""
    async with opened(settings.model_copy(update={"token_cache_seconds": 30.0}), superuser, template) as office:
        plane, operator = office.plane, local_administrator(None, "test")
        other = await plane.access.create_organization(operator, OrganizationCreate(slug="other", name="Other"))
        tokens = [
            [await token_for(plane, Scope.WORKER_RESOLVE, organization=slug) for _ in range(25)]
            for slug in ("default", "other")
        ]
        for who in (office.who, local_administrator(other.id, "test")):
            stored = SecretsWrite(secrets={"apiKey": f"sk-{who.tenant}"})
            await plane.providers.update_provider_secrets(who, "openai", stored)
            await plane.providers.upsert_organization_provider_config(who, "openai", ConfigWrite(is_enabled=True))
        seen: dict[str, tuple[str, str]] = {}
        temperatures: dict[int, float] = {}
        app = create_app(plane)
        async with following(plane), anyio.create_task_group() as group:
            group.start_soon(_keep_changing, office, temperatures)
            async with anyio.create_task_group() as workers:
                for token in (token for each in tokens for token in each):
                    workers.start_soon(_resolve_often, app, token, releases // 50, seen)
            group.cancel_scope.cancel()
        records = [
            (event.request_id, event.actor, str(event.organization_id), str(event.detail["revision"]))
            for organization_id in (office.who.tenant, other.id)
            for event, _, _ in office.ledger.rows(organization_id)
            if event.action == "secrets.release"
        ]
        assert len(records) == len(seen) == releases
        assert {(request_id, *got) for request_id, got in seen.items()} == {
            (request_id, f"{organization}.{revision}", actor) for request_id, actor, organization, revision in records
        }
        assert office.ledger.is_whole()


async def _keep_changing(office: Office, temperatures: dict[int, float]) -> None:
    """Change a setting over and over; note which revision has which value."""
    number = 0
    while True:
        number += 1
        value = number % 2000 / 1000
        temperatures[await office.set("openai", config={"temperature": value})] = value
        await anyio.sleep(0.005)


async def _resolve_often(app: FastAPI, token: str, times: int, seen: dict[str, tuple[str, str]]) -> None:
    """Resolve as one worker; note, by request, what was got and by whom."""
    transport, headers = httpx.ASGITransport(app), {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://voxplane", headers=headers) as client:
        for _ in range(times):
            answer = await client.post(RESOLVE, json={"types": ["llm"]})
            assert answer.status_code == 200, answer.text
            found = answer.json()
            organization, revision = found["organization"]["id"], found["at"].rpartition(".")[2]
            (openai,) = found["chains"]["llm"]
            assert openai["secrets"] == {"apiKey": f"sk-{organization}"}
            seen[answer.headers["x-request-id"]] = (f"{organization}.{revision}", f"token:{token.split('_')[1]}")


@pytest.mark.drill
async def test_every_answer_is_of_one_revision_and_none_is_older_than_what_was_answered_before(
    caching: Office,
) -> None:
    """Ten workers ask all the time while settings change."""
    await caching.store("openai")
    temperatures: dict[int, float] = {}
    found: list[tuple[int, float]] = []

    async def ask() -> None:
        last = 0
        for _ in range(50):
            resolution = await caching.resolve(types=["llm"])
            revision = int(resolution.at.rpartition(".")[2])
            assert revision >= last
            last = revision
            found.append((revision, resolution.chains.llm[0].config["temperature"]))

    async with anyio.create_task_group() as group:
        group.start_soon(_keep_changing, caching, temperatures)
        await until(lambda: len(temperatures) > 0)
        async with anyio.create_task_group() as workers:
            for _ in range(10):
                workers.start_soon(ask)
        group.cancel_scope.cancel()
    known = [(revision, value) for revision, value in found if revision in temperatures]
    assert len({revision for revision, _ in known}) > 5
    assert [value for _, value in known] == [temperatures[revision] for revision, _ in known]


Spoil = Callable[[Superuser], object]


def _sql(statement: str) -> Spoil:
    return lambda superuser: superuser.execute(statement.encode())


UNDECRYPTABLE: dict[str, tuple[Spoil, set[str]]] = {
    "another provider's envelope": (
        _sql("UPDATE organization_secrets SET secrets = jsonb_set(secrets, '{groq}', secrets -> 'openai')"),
        {"groq"},
    ),
    "an altered ciphertext": (
        _sql("""UPDATE organization_secrets SET secrets = jsonb_set(secrets, '{groq,ct}', to_jsonb(
                translate(secrets #>> '{groq,ct}', 'ABCDEFabcdef', 'BCDEFAbcdefa')))"""),
        {"groq"},
    ),
    "no envelope": (
        _sql("UPDATE organization_secrets SET secrets = jsonb_set(secrets, '{groq}', '\"x\"')"),
        {"groq"},
    ),
    "a version from before": (
        _sql("UPDATE organizations SET secret_versions = jsonb_set(secret_versions, '{groq}', '7')"),
        {"groq"},
    ),
    "a data key that is gone": (
        _sql("UPDATE organization_secrets SET secrets = jsonb_set(secrets, '{groq,dek}', '9')"),
        {"groq"},
    ),
    "an altered data key": (
        _sql("UPDATE organization_data_keys SET wrapped = set_byte(wrapped, 40, 1 - get_byte(wrapped, 40) % 2)"),
        {"groq", "openai", "deepgram"},
    ),
    "a data key under another key": (
        _sql("UPDATE organization_data_keys SET kek_id = '00000000'"),
        {"groq", "openai", "deepgram"},
    ),
}


@pytest.mark.parametrize("case", UNDECRYPTABLE)
async def test_what_does_not_open_is_skipped_and_the_others_answer(
    case: str, office: Office, superuser: Superuser
) -> None:
    await office.set("groq", isEnabled=True)
    keys = ("groq", "openai", "deepgram")
    providers = [office.plane.registry.get_provider_by_key(key) for key in keys]
    everywhere = [str(origin) for provider in providers for origin in provider.default_origins]
    for key in keys:
        await office.store(key, f"sk-{key}", approved_origins=everywhere)
    assert await office.answering() == {"piper": ""} | {key: f"sk-{key}" for key in keys}
    spoil, spoiled = UNDECRYPTABLE[case]
    spoil(superuser)
    assert await office.skipped() == dict.fromkeys(spoiled, "undecryptable")
    assert await office.answering() == {"piper": ""} | {key: f"sk-{key}" for key in keys if key not in spoiled}
    assert office.releases()[-1]["detail"]["providers"].keys() == {"piper", *keys} - spoiled


async def test_a_key_does_not_go_where_nobody_approved(office: Office, superuser: Superuser) -> None:
    """X: whoever writes to the database directly moves the settings, and gets no key with them."""
    await office.store("openai", "sk-canary")
    await office.store("deepgram")
    superuser.execute("UPDATE organization_provider_configs SET config = %s WHERE provider_key = 'openai'", [
        json.dumps({"baseUrl": "https://attacker.example/v1"})
    ])  # fmt: skip
    assert await office.skipped() == {"openai": "destination_unapproved"}
    assert "sk-canary" not in (await office.resolve()).model_dump_json()
    assert set(await office.answering()) == {"deepgram", "piper"}
    assert "openai" not in office.releases()[-1]["detail"]["providers"]


async def test_what_is_not_valid_or_no_longer_offered_is_skipped(
    settings: Settings, superuser: Superuser, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(settings, superuser, template) as office:
        for key in ("groq", "openai"):
            await office.store(key)
            await office.set(key, isEnabled=True)
    superuser.execute(
        "UPDATE organization_provider_configs SET config = '{\"temperature\": 99}' WHERE provider_key = 'openai'"
    )
    monkeypatch.setattr("voxplane.server.control_plane.ProviderRegistry", WithoutGroq)
    async with opened(settings, superuser, template) as office:
        assert await office.skipped() == {
            "deepgram": "secrets_missing",
            "groq": "retired",
            "openai": "invalid_config",
        }
        assert set(await office.answering()) == {"piper"}


async def test_what_is_switched_off_is_nowhere(office: Office) -> None:
    for key in ("openai", "groq", "deepgram"):
        await office.store(key, f"sk-{key}")
    for key in ("openai", "deepgram", "piper"):
        await office.set(key, isEnabled=False, priority=1000)
    found = await office.resolve()
    assert (found.chains.stt, found.chains.tts, found.chains.llm, found.skipped) == ((), (), (), ())
    assert office.releases()[-1]["detail"]["providers"] == {}


async def test_without_the_key_nothing_is_given_out_and_reading_goes_on(
    settings: Settings, superuser: Superuser, template: Template
) -> None:
    async with opened(settings, superuser, template) as office:
        await office.store("openai")
        token = office.client.headers["authorization"]
    sealed = settings.model_copy(update={"keyring_file": settings.keyring_path.with_name("gone.json")})
    async with ControlPlane.open(sealed) as plane:
        transport = httpx.ASGITransport(create_app(plane))
        async with httpx.AsyncClient(transport=transport, base_url="http://voxplane") as client:
            for body in ({}, {"have": "x"}, {"types": ["tts"]}):
                answer = await client.post(RESOLVE, json=body, headers={"Authorization": token})
                check_problem(answer, 503, "key_unavailable")
        assert str(await plane.workers.position(worker_of(office.who.tenant))).count(".") == 1
        with pytest.raises(OrganizationNotFound):
            await plane.workers.position(worker_of(uuid4()))


async def test_an_organization_that_is_gone_is_not_found_by_anybody_who_asks(office: Office) -> None:
    nobody, refused = worker_of(uuid4()), list[type[Exception]]()

    async def ask() -> None:
        try:
            await office.plane.workers.resolve(nobody, EVERYTHING)
        except OrganizationNotFound as error:
            refused.append(type(error))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(ask)
    assert len(refused) == 10
    with pytest.raises(OrganizationNotFound):
        await office.plane.workers.position(nobody)


async def test_what_was_read_is_kept_and_dropped_by_a_change_of_this_or_another_process(
    caching: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warm, a release is its record and nothing else: four statements."""
    await caching.store("openai")
    statements = noted_statements(monkeypatch)

    async def counted() -> int:
        statements.clear()
        assert (await caching.client.post(RESOLVE, json={})).status_code == 200
        return sum(each != "SELECT" for each in statements)  # which asks the line of the feed whether it is there

    assert await counted() > 6
    assert [await counted() for _ in range(5)] == [4] * 5
    assert not any("organization_secrets" in each or "organization_provider_configs" in each for each in statements)
    await caching.heard(caching.set("openai", priority=3))
    assert [await counted(), await counted()] == [7, 4]
    async with ControlPlane.open(caching.plane.settings) as elsewhere:
        mark = caching.plane.changes.mark()
        stored = SecretsWrite(secrets={"apiKey": "sk-rotated"})
        await elsewhere.providers.update_provider_secrets(caching.who, "openai", stored)
        await until(lambda: not caching.plane.changes.is_unchanged(caching.who.tenant, mark))
    assert (await caching.answering())["openai"] == "sk-rotated"
    assert await counted() == 4


async def test_without_the_feed_nothing_is_kept(office: Office, superuser: Superuser) -> None:
    await office.store("openai")
    await office.resolve()
    superuser.execute("UPDATE organization_provider_configs SET priority = 7 WHERE provider_key = 'openai'")
    assert (await office.resolve()).chains.llm[0].priority == 7


def _swallow(_self: Changes, _payload: str) -> None:
    """Hear nothing."""


async def test_who_heard_of_a_change_before_this_process_did_gets_it(
    caching: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker follows one process and asks another, whose notification is still on its way."""
    await caching.heard(caching.store("openai"))
    before = await caching.resolve()
    monkeypatch.setattr(Changes, "_hear", _swallow)
    async with ControlPlane.open(caching.plane.settings) as elsewhere:
        change = ConfigWrite(priority=9)
        await elsewhere.providers.upsert_organization_provider_config(caching.who, "openai", change)
    after = await caching.resolve(have=before.at)
    assert after.at != before.at
    assert after.chains.llm[0].priority == 9


async def test_who_has_more_than_this_process_heard_of_is_not_given_what_was_before(
    caching: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await caching.heard(caching.store("openai"))
    before = await caching.resolve()
    monkeypatch.setattr(Changes, "_hear", _swallow)
    async with ControlPlane.open(caching.plane.settings) as elsewhere:
        change = ConfigWrite(priority=9)
        await elsewhere.providers.upsert_organization_provider_config(caching.who, "openai", change)
        newer = await elsewhere.workers.resolve(caching.worker, EVERYTHING)
    assert newer is not None
    assert newer.at != before.at
    assert str(await caching.plane.workers.position(caching.worker)) == before.at  # it has not heard
    assert str(await caching.plane.workers.position(caching.worker, newer.at)) == newer.at
    assert await caching.plane.workers.resolve(caching.worker, ResolutionRequest(have=newer.at)) is None


# A walk over these would come to all that runs, and so to the test itself, which knows what it searches for.
NOT_HELD = (types.ModuleType, types.FrameType, types.CoroutineType, type, AbstractEventLoop, Future)


def held_by(root: object) -> Generator[object]:
    """Yield every object that can be reached from one."""
    seen, found = {id(root)}, [root]
    while found:
        each = found.pop()
        yield each
        inner = each.__closure__ if inspect.isfunction(each) else gc.get_referents(each)
        for other in inner or ():
            if id(other) not in seen and not isinstance(other, NOT_HELD):
                seen.add(id(other))
                found.append(other)


def holds(root: object, word: str) -> bool:
    """Whether a text or bytes with the word can be reached from an object."""
    return any(
        word in each if isinstance(each, str) else word.encode() in each
        for each in held_by(root)
        if isinstance(each, str | bytes | bytearray)
    )


async def test_no_plaintext_is_kept_between_answers(caching: Office) -> None:
    """What is kept is sealed, and opened again for each answer."""
    canary = f"sk-{secrets.token_hex(12)}"
    await caching.store("openai", canary, label="a label")
    resolution = await caching.resolve()
    answer = await caching.client.post(RESOLVE, json={})
    assert canary in answer.text
    assert holds(resolution, canary)
    del resolution, answer
    gc.collect()
    for service in (caching.plane.workers, caching.plane.providers, caching.plane.access, caching.plane.changes):
        assert not holds(service, canary)
    # The walk comes to where it would be: the sealed settings, their label, and the unwrapped key are there.
    assert holds(caching.plane.workers, "a label")
    assert any(isinstance(each, envelope.DataKey) for each in held_by(caching.plane.workers))


async def test_more_than_can_be_served_at_once_are_sent_away_for_a_moment(
    office: Office,
    postgres: EmbeddedPostgres,
    database: str,
    superuser: Superuser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voxplane.server.worker.MAX_UNDER_WAY", 3)
    await office.store("openai")
    asked, waits = Outcomes(office), Counter[str]()
    async with anyio.create_task_group() as group:
        with held(postgres, database):
            for number in range(3):
                group.start_soon(asked.ask, number)
            await until(lambda: waiting(superuser) == 1)
            await anyio.wait_all_tasks_blocked()
            for _ in range(60):
                answer = await office.client.post(RESOLVE, json={})
                check_problem(answer, 503, "unavailable")
                waits[answer.headers["retry-after"]] += 1
    assert set(waits) <= set("12345")
    assert len(waits) >= 3
    assert len(asked.answers) == 3
    # Whoever is done, well or not, makes room.
    for _ in range(5):
        assert (await office.client.post(RESOLVE, json={})).status_code == 200
        with pytest.raises(PermissionDenied):
            await office.plane.workers.resolve(office.who, EVERYTHING)
    superuser.execute("REVOKE INSERT ON audit_events FROM voxplane_app")
    for _ in range(5):
        assert "on record" in (await office.client.post(RESOLVE, json={})).json()["detail"]


@pytest.mark.drill
async def test_hundreds_of_answers_leave_nothing_behind(caching: Office) -> None:
    """Neither the queues of those who wait nor what is kept of an organization grows with the number of answers."""
    await caching.store("openai")
    async with AsyncExitStack():
        for _ in range(20):
            await caching.resolve()
        gc.collect()
        before = Counter(type(each).__name__ for each in held_by(caching.plane.workers))
        for _ in range(300):
            await caching.resolve()
        gc.collect()
        after = Counter(type(each).__name__ for each in held_by(caching.plane.workers))
    grown = {name: number - before[name] for name, number in after.items() if number - before[name] > 50}
    assert grown == {}

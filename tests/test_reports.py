"""What workers report of providers: checked, counted while it goes on, and shown to the organization that it is of."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, get_args

import anyio
import httpx
import psycopg
import pytest

from tests.conftest import Caller, position_of, stored_rows, token_for, worker_of
from tests.test_changes import following, until
from tests.test_problem import check_problem
from voxplane.errors import VoxplaneError
from voxplane.remedies import failing
from voxplane.schemas import (
    AccessTokenCreate,
    FailureKind,
    OrganizationCreate,
    ProviderHealth,
    ProviderReport,
    ReportsWrite,
)
from voxplane.server.app import create_app
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.settings import Settings

Superuser = psycopg.Connection[tuple[object, ...]]
HERE = "/api/organizations/current"
REPORTS = f"{HERE}/reports"
AT = "9e107d9d-3720-4b0c-9d0e-5d1d2b1c8f5e.7"  # of no organization
KINDS = (
    "authentication", "permission", "quota", "rate_limit", "invalid_request", "unavailable", "unsupported", "server",
    "timeout", "connectivity",
)  # fmt: skip


def said(*reports: dict[str, object], at: str = AT) -> dict[str, object]:
    return {"at": at, "reports": list(reports)}


def failed(provider: str = "openai", kind: str = "quota") -> dict[str, object]:
    return {"provider": provider, "outcome": "failed", "kind": kind}


def recovered(provider: str = "openai") -> dict[str, object]:
    return {"provider": provider, "outcome": "recovered"}


@pytest.fixture
async def at(plane: ControlPlane) -> str:
    """Where the default organization stands before the test changes it."""
    return await position_of(plane)


@pytest.fixture
async def worker(caller: Caller) -> httpx.AsyncClient:
    return await caller(Scope.WORKER_RESOLVE)


@pytest.fixture
async def reader(caller: Caller) -> httpx.AsyncClient:
    return await caller(Scope.LIVEKIT_READ)


async def health(client: httpx.AsyncClient, key: str = "openai") -> dict[str, Any] | None:
    """Return what is shown of a provider, after making sure that the list says the same."""
    shown = (await client.get(f"{HERE}/providers/{key}")).json()["health"]
    listed = (await client.get(f"{HERE}/providers")).json()["providers"]
    assert [each["health"] for each in listed if each["provider"]["key"] == key] == [shown]
    return shown


INVALID: dict[str, tuple[object, list[tuple[str, str]]]] = {
    "no position": ({"reports": []}, [("/at", "missing")]),
    "a position that is none": (said(failed(), at="x"), [("/at", "position")]),
    "a position without a number": (said(failed(), at="x."), [("/at", "position")]),
    "a position below zero": (said(failed(), at="x.-1"), [("/at", "position")]),
    "a position that no bigint holds": (said(failed(), at=f"x.{10**18}"), [("/at", "position")]),
    "a position in other digits": (said(failed(), at="x.²"), [("/at", "position")]),
    "an unknown provider": (said(failed("nothing")), [("/reports/0/provider", "unknown_provider")]),
    "a provider twice": (said(failed(), recovered("groq"), recovered()), [("/reports/2/provider", "duplicate")]),
    "a failure of no kind": (said({"provider": "openai", "outcome": "failed"}), [("/reports/0/kind", "kind")]),
    "a kind of recovery": (said(recovered() | {"kind": "quota"}), [("/reports/0/kind", "kind")]),
    "another outcome": (said({"provider": "openai", "outcome": "fine"}), [("/reports/0/outcome", "literal_error")]),
    "another kind": (said(failed(kind="boredom")), [("/reports/0/kind", "literal_error")]),
    "a kind that is null": (said(recovered() | {"kind": None}), [("/reports/0/kind", "null")]),
    "a position of its own that is none": (said(recovered() | {"at": "x"}), [("/reports/0/at", "position")]),
    "a field too many": (said(failed() | {"organization": "other"}), [("/reports/0", "unknown_field")]),
    "too many": (said(*[recovered(f"p{number}") for number in range(51)]), [("/reports", "too_long")]),
    "everything at once": (
        said(recovered() | {"kind": "quota"}, failed("nothing"), at=""),
        [("/at", "position"), ("/reports/0/kind", "kind"), ("/reports/1/provider", "unknown_provider")],
    ),
}


@pytest.mark.parametrize("case", INVALID)
async def test_what_makes_no_sense_is_refused_and_nothing_of_it_is_kept(
    case: str, worker: httpx.AsyncClient, superuser: Superuser
) -> None:
    body, expected = INVALID[case]
    before = stored_rows(superuser)
    answer = await worker.post(REPORTS, json=body)
    check_problem(answer, 422, "invalid")
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == expected
    assert stored_rows(superuser) == before


async def test_nothing_to_report_is_no_mistake_and_leaves_nothing(
    worker: httpx.AsyncClient, superuser: Superuser
) -> None:
    for body in ({"at": AT}, said()):
        assert (await worker.post(REPORTS, json=body)).status_code == 204
    assert stored_rows(superuser)["provider_reports"] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_failure_is_shown_with_its_kind_its_reporter_and_the_revision_in_use(
    at: str, kind: str, worker: httpx.AsyncClient, reader: httpx.AsyncClient
) -> None:
    assert await health(reader) is None
    answer = await worker.post(REPORTS, json=said(failed(kind=kind), at=at))
    assert (answer.status_code, answer.content) == (204, b"")
    shown = await health(reader)
    assert shown is not None
    assert shown.pop("since") == shown.pop("reportedAt")
    assert shown == {
        "status": "failing",
        "kind": kind,
        "reportedBy": "test",
        "reports": 1,
        "revision": int(at.partition(".")[2]),
    }
    assert await health(reader, "groq") is None


async def test_a_kind_that_a_newer_release_stored_is_passed_over(
    at: str, worker: httpx.AsyncClient, reader: httpx.AsyncClient, superuser: Superuser
) -> None:
    assert (await worker.post(REPORTS, json=said(failed(), at=at))).status_code == 204
    superuser.execute("UPDATE provider_reports SET kind = 'boredom'")
    shown = await health(reader)
    assert shown is not None
    assert (shown["status"], shown["kind"]) == ("failing", None)


async def test_the_same_outcome_again_is_counted_and_another_one_begins_anew(
    at: str, worker: httpx.AsyncClient, reader: httpx.AsyncClient, superuser: Superuser
) -> None:
    told: list[tuple[object, ...]] = []
    starts: list[datetime] = []
    steps = [
        failed(kind="quota"),
        failed(kind="timeout"),
        failed(kind="timeout"),
        recovered(),
        recovered(),
        failed(kind="server"),
    ]
    for step in steps:
        assert (await worker.post(REPORTS, json=said(step, at=at))).status_code == 204
        shown = await health(reader)
        assert shown is not None
        told.append((shown["status"], shown["kind"], shown["reports"]))
        starts.append(datetime.fromisoformat(shown["since"]))
        assert datetime.fromisoformat(shown["reportedAt"]) >= starts[-1]
    assert told == [
        ("failing", "quota", 1),
        ("failing", "timeout", 2),
        ("failing", "timeout", 3),
        ("recovered", None, 1),
        ("recovered", None, 2),
        ("failing", "server", 1),
    ]
    assert starts == sorted(starts)
    assert [starts.index(start) for start in starts] == [0, 0, 0, 3, 3, 5]
    assert len(stored_rows(superuser)["provider_reports"]) == 1


async def test_several_providers_are_reported_at_once_and_each_for_itself(
    at: str, worker: httpx.AsyncClient, reader: httpx.AsyncClient
) -> None:
    await worker.post(REPORTS, json=said(failed("deepgram", "server"), at=at))
    await worker.post(
        REPORTS, json=said(failed("deepgram", "server"), recovered("piper"), failed("groq", "permission"), at=at)
    )
    found = {key: await health(reader, key) for key in ("deepgram", "piper", "groq", "openai")}
    assert {key: shown and (shown["status"], shown["reports"]) for key, shown in found.items()} == {
        "deepgram": ("failing", 2),
        "piper": ("recovered", 1),
        "groq": ("failing", 1),
        "openai": None,
    }


async def test_the_reporter_is_named_by_its_token(
    at: str, plane: ControlPlane, caller: Caller, reader: httpx.AsyncClient
) -> None:
    organization = await plane.access.find_organization("default")
    administrator = local_administrator(organization.id, "test")
    client = await caller()
    for name in ("worker in Frankfurt", "worker in Oregon"):
        new = AccessTokenCreate(name=name, scopes=[Scope.WORKER_RESOLVE])
        value = (await plane.access.create_token(administrator, new)).value
        await client.post(REPORTS, json=said(failed(), at=at), headers={"Authorization": f"Bearer {value}"})
        shown = await health(reader)
        assert shown is not None
        assert shown["reportedBy"] == name


async def test_a_report_changes_no_etag_no_revision_no_order_and_is_not_on_record(
    at: str, worker: httpx.AsyncClient, reader: httpx.AsyncClient, superuser: Superuser
) -> None:
    """It is no change of anybody's settings: what was seen before it may still be written to."""

    async def seen() -> list[dict[str, Any]]:
        listed = (await reader.get(f"{HERE}/providers")).json()
        return [
            each | {"health": None, "status": None, "statusSince": None, "revision": listed["revision"]}
            for each in listed["providers"]
        ]

    before, records = await seen(), stored_rows(superuser)["audit_events"]
    await worker.post(REPORTS, json=said(failed("openai"), failed("piper", "connectivity"), recovered("vosk"), at=at))
    assert await seen() == before
    assert stored_rows(superuser)["audit_events"] == records
    # A failing provider is not taken out of the chain: whether it is tried is for the worker to say.
    chains = (await worker.post(f"{HERE}/resolve", json={})).json()["chains"]
    assert [each["provider"]["key"] for each in chains["tts"]] == ["piper"]


@pytest.fixture
def two(plane: ControlPlane) -> Callable[[], Any]:
    async def make() -> None:
        operator = local_administrator(None, "test")
        await plane.access.create_organization(operator, OrganizationCreate(slug="other", name="Other"))

    return make


@pytest.mark.parametrize("key", ["openai", "groq"], ids=["configured", "never configured"])
async def test_what_one_organization_reports_is_shown_to_no_other(
    key: str, plane: ControlPlane, caller: Caller, two: Callable[[], Any], superuser: Superuser
) -> None:
    """Also of a provider that nobody touched, which is the same to everybody and shown from one memory."""
    await two()
    readers = {slug: await caller(Scope.LIVEKIT_READ, organization=slug) for slug in ("default", "other")}
    workers = {slug: await caller(Scope.WORKER_RESOLVE, organization=slug) for slug in ("default", "other")}
    places = {slug: await position_of(plane, slug) for slug in readers}
    assert [await health(reader, key) for reader in readers.values()] == [None, None]
    for number in range(3):
        await workers["other"].post(REPORTS, json=said(failed(key, "quota"), at=places["other"]))
        theirs = await health(readers["other"], key)
        assert theirs is not None
        assert (theirs["kind"], theirs["reports"]) == ("quota", number + 1)
        assert await health(readers["default"], key) is None
    await workers["default"].post(REPORTS, json=said(recovered(key), at=places["default"]))
    mine, theirs = [await health(readers[slug], key) for slug in ("default", "other")]
    assert mine is not None
    assert theirs is not None
    assert (mine["status"], mine["reports"], theirs["status"]) == ("recovered", 1, "failing")
    superuser.execute("DELETE FROM provider_reports")
    assert [await health(reader, key) for reader in readers.values()] == [None, None]


@pytest.fixture
async def remembering(settings: Settings) -> AsyncIterator[tuple[ControlPlane, httpx.AsyncClient]]:
    """A service that gives answers again while they hold."""
    kept = settings.model_copy(update={"token_cache_seconds": 30.0})
    async with ControlPlane.open(kept) as plane, following(plane):
        value = await token_for(plane, *ADMINISTRATOR_SCOPES)
        transport, headers = httpx.ASGITransport(create_app(plane)), {"Authorization": f"Bearer {value}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://voxplane", headers=headers) as client:
            yield plane, client


async def test_an_answer_from_before_a_report_is_not_given_again(
    at: str,
    remembering: tuple[ControlPlane, httpx.AsyncClient],
) -> None:
    plane, client = remembering
    worker = {"Authorization": f"Bearer {await token_for(plane, Scope.WORKER_RESOLVE)}"}
    for number in range(1, 20):
        await health(client)
        await client.post(REPORTS, json=said(failed(), at=at), headers=worker)
        shown = await health(client)
        assert shown is not None
        assert shown["reports"] == number


async def test_a_report_to_another_process_is_seen_here(
    at: str,
    remembering: tuple[ControlPlane, httpx.AsyncClient],
) -> None:
    plane, client = remembering
    organization = await plane.access.find_organization("default")
    async with ControlPlane.open(plane.settings) as elsewhere:
        transport = httpx.ASGITransport(create_app(elsewhere))
        headers = {"Authorization": f"Bearer {await token_for(plane, Scope.WORKER_RESOLVE)}"}
        assert await health(client) is None
        mark = plane.changes.mark()
        async with httpx.AsyncClient(transport=transport, base_url="http://voxplane", headers=headers) as worker:
            assert (await worker.post(REPORTS, json=said(failed(), at=at))).status_code == 204
        await until(lambda: not plane.changes.is_unchanged(organization.id, mark))
        assert await health(client) is not None


SECRETS, CONFIG = f"{HERE}/providers/{{}}/secrets", f"{HERE}/providers/{{}}/config"
RENEWED: dict[str, tuple[str, str, object]] = {
    "another key": ("PUT", SECRETS.format("openai"), {"secrets": {"apiKey": "sk-another"}}),
    "no key": ("DELETE", SECRETS.format("openai"), None),
    "other settings": ("PUT", CONFIG.format("openai"), {"config": {"temperature": 0.1}}),
    "the defaults": ("DELETE", CONFIG.format("openai"), None),
}


@pytest.mark.parametrize("case", RENEWED)
async def test_what_was_seen_of_a_provider_before_it_changed_says_nothing_of_it_now(
    case: str, plane: ControlPlane, worker: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    """Neither what was reported before the change, nor what a call that goes on with the old key reports after it."""
    secrets = {"secrets": {"apiKey": "sk-first"}}
    assert (await admin.put(SECRETS.format("openai"), json=secrets)).is_success
    assert (await admin.put(CONFIG.format("openai"), json={"config": {"temperature": 0.9}})).is_success
    before = await position_of(plane)
    both = [failed("openai", "authentication"), failed("groq", "quota")]
    assert (await worker.post(REPORTS, json=said(*both, at=before))).status_code == 204
    assert [bool(await health(admin, key)) for key in ("openai", "groq")] == [True, True]

    method, path, body = RENEWED[case]
    assert (await admin.request(method, path, json=body)).is_success
    assert [bool(await health(admin, key)) for key in ("openai", "groq")] == [False, True]
    assert (await worker.post(REPORTS, json=said(*both, at=before))).status_code == 204
    assert [bool(await health(admin, key)) for key in ("openai", "groq")] == [False, True]

    now = await position_of(plane)
    assert (await worker.post(REPORTS, json=said(failed("openai", "quota"), at=now))).status_code == 204
    late = recovered("openai") | {"at": before}
    assert (await worker.post(REPORTS, json=said(late, failed("groq", "quota"), at=now))).status_code == 204
    seen = await health(admin, "openai")
    assert seen is not None
    assert (seen["kind"], seen["reports"], seen["since"]) == ("quota", 1, seen["reportedAt"])
    groq = await health(admin, "groq")
    assert groq is not None
    assert groq["reports"] == 3


async def test_a_shared_key_that_changes_changes_all_who_share_it(
    at: str, worker: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    await worker.post(REPORTS, json=said(failed("openai"), failed("openai-tts"), at=at))
    await admin.put(SECRETS.format("openai"), json={"secrets": {"apiKey": "sk-another"}})
    await worker.post(REPORTS, json=said(failed("openai-tts"), at=at))
    assert [await health(admin, key) for key in ("openai", "openai-tts")] == [None, None]


async def test_switch_and_place_of_a_provider_are_neither_its_settings_nor_its_key(
    at: str, plane: ControlPlane, worker: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    """A call keeps its objects when only these change, and what it sees is of the key that stands."""
    await admin.put(CONFIG.format("openai"), json={"isEnabled": True, "priority": 7})
    assert await position_of(plane) != at
    await worker.post(REPORTS, json=said(failed("openai"), at=at))
    assert await health(admin, "openai") is not None


@pytest.mark.parametrize("place", ["a life of the database that is over", "a revision that is not there yet"])
async def test_a_report_from_where_nobody_can_be_is_passed_over(
    place: str, at: str, worker: httpx.AsyncClient, superuser: Superuser
) -> None:
    epoch, _, revision = at.partition(".")
    claimed = AT if place.startswith("a life") else f"{epoch}.{int(revision) + 1}"
    assert (await worker.post(REPORTS, json=said(failed(), at=claimed))).status_code == 204
    assert stored_rows(superuser)["provider_reports"] == []


@pytest.fixture
async def paced(settings: Settings) -> AsyncIterator[tuple[ControlPlane, httpx.AsyncClient]]:
    """A service that takes what is said of a provider once a minute."""
    async with ControlPlane.open(settings.model_copy(update={"report_interval_seconds": 60.0})) as plane:
        headers = {"Authorization": f"Bearer {await token_for(plane, Scope.WORKER_RESOLVE)}"}
        transport = httpx.ASGITransport(create_app(plane))
        async with (
            following(plane),
            httpx.AsyncClient(transport=transport, base_url="http://voxplane", headers=headers) as client,
        ):
            yield plane, client


async def test_a_flood_of_reports_writes_once_and_makes_no_read_cold(
    at: str, paced: tuple[ControlPlane, httpx.AsyncClient], superuser: Superuser
) -> None:
    plane, worker = paced
    organization = await plane.access.find_organization("default")
    before = plane.changes.mark()
    assert (await worker.post(REPORTS, json=said(failed(), at=at))).status_code == 204
    await until(lambda: plane.changes.mark() == before + 2)  # it knows by itself, and is told as all others are
    kept, mark = stored_rows(superuser)["provider_reports"], plane.changes.mark()
    for _ in range(50):
        assert (await worker.post(REPORTS, json=said(failed(), at=at))).status_code == 204
        check_problem(await worker.post(REPORTS, json=said(recovered(), at=at)), 429, "rate_limited")
    assert stored_rows(superuser)["provider_reports"] == kept
    assert plane.changes.is_unchanged(organization.id, mark)
    # Of the others it is the first that is heard.
    mixed = said(recovered(), recovered("groq"), at=at)
    check_problem(await worker.post(REPORTS, json=mixed), 429, "rate_limited")
    rows = {row["provider_key"]: row["outcome"] for row in stored_rows(superuser)["provider_reports"]}
    assert rows == {"openai": "failed", "groq": "recovered"}
    assert not plane.changes.is_unchanged(organization.id, mark)


async def test_after_a_while_or_another_key_a_provider_may_be_said_to_be_otherwise(
    at: str, paced: tuple[ControlPlane, httpx.AsyncClient], admin: httpx.AsyncClient, superuser: Superuser
) -> None:
    plane, worker = paced
    await worker.post(REPORTS, json=said(failed(), at=at))
    superuser.execute("UPDATE provider_reports SET reported_at = reported_at - interval '60 seconds'")
    assert (await worker.post(REPORTS, json=said(recovered(), at=at))).status_code == 204
    await admin.put(SECRETS.format("openai"), json={"secrets": {"apiKey": "sk-another"}})
    assert (await worker.post(REPORTS, json=said(failed(), at=await position_of(plane)))).status_code == 204
    seen = await health(admin)
    assert seen is not None
    assert seen["status"] == "failing"


async def test_workers_that_report_the_same_providers_in_other_orders_do_not_wait_for_each_other(
    at: str, plane: ControlPlane, superuser: Superuser
) -> None:
    """Rows are locked one after the other; in any order, two reports could each hold what the other waits for."""
    organization = await plane.access.find_organization("default")
    keys = sorted(provider.key for provider in plane.registry.get_all_providers())
    dice = random.Random(random.getrandbits(64))  # noqa: S311 - not for keys; seeded by pytest-randomly
    refused: list[VoxplaneError] = []

    async def report_often() -> None:
        for _ in range(40):
            reports = [ProviderReport(provider=key, outcome="recovered") for key in dice.sample(keys, len(keys))]
            try:
                await plane.workers.report(worker_of(organization.id), ReportsWrite(at=at, reports=reports))
            except VoxplaneError as error:
                refused.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(report_often)
    assert refused == []
    assert {row["reports"] for row in stored_rows(superuser)["provider_reports"]} == {400}


async def test_the_status_says_what_workers_see_unless_something_is_missing(
    at: str, worker: httpx.AsyncClient, reader: httpx.AsyncClient
) -> None:
    async def status(key: str) -> str:
        return (await reader.get(f"{HERE}/providers/{key}")).json()["status"]

    assert [await status(key) for key in ("piper", "vosk", "openai")] == ["unverified", "unverified", "secrets_missing"]
    seen = [failed("openai"), failed("piper", "connectivity"), failed("vosk", "server")]
    await worker.post(REPORTS, json=said(*seen, at=at))
    assert [await status(key) for key in ("piper", "vosk", "openai")] == ["failing", "failing", "secrets_missing"]
    await worker.post(REPORTS, json=said(recovered("piper"), at=at))
    assert await status("piper") == "unverified"


@pytest.mark.parametrize("key", ["openai", "piper"])
async def test_whatever_fails_in_calls_is_said_with_what_helps(key: str, plane: ControlPlane) -> None:
    who = local_administrator((await plane.access.find_organization("default")).id, "test")
    found = await plane.providers.get_organization_provider(who, key)
    now = datetime.now(UTC)
    advice: set[str] = set()
    for kind in (*get_args(FailureKind), None):
        seen = ProviderHealth(
            status="failing", kind=kind, since=now, reported_at=now, reported_by="w", reports=2, revision=1
        )
        words = failing(found.model_copy(update={"status": "failing", "health": seen}), "acme")
        assert words.startswith("failing in calls since ")
        assert f"{kind or 'unknown to this release'} (2 reports, the last by w)" in words
        advice.add(words.partition("; ")[2])
    assert "" not in advice
    assert len(advice) >= len(KINDS)

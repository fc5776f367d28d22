"""What workers report of providers: checked, counted while it goes on, and shown to the organization that it is of."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import anyio
import httpx
import psycopg
import pytest

from tests.conftest import Caller, stored_rows, token_for, worker_of
from tests.test_changes import following, until
from tests.test_problem import check_problem
from voxplane.errors import VoxplaneError
from voxplane.schemas import AccessTokenCreate, OrganizationCreate, ProviderReport, ReportsWrite
from voxplane.server.app import create_app
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.settings import Settings

Superuser = psycopg.Connection[tuple[object, ...]]
HERE = "/api/organizations/current"
REPORTS = f"{HERE}/reports"
AT = "9e107d9d-3720-4b0c-9d0e-5d1d2b1c8f5e.7"
KINDS = (
    "authentication", "permission", "quota", "rate_limit", "invalid_request", "server", "timeout", "connectivity",
)  # fmt: skip


def said(*reports: dict[str, object], at: str = AT) -> dict[str, object]:
    return {"at": at, "reports": list(reports)}


def failed(provider: str = "openai", kind: str = "quota") -> dict[str, object]:
    return {"provider": provider, "outcome": "failed", "kind": kind}


def recovered(provider: str = "openai") -> dict[str, object]:
    return {"provider": provider, "outcome": "recovered"}


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
    kind: str, worker: httpx.AsyncClient, reader: httpx.AsyncClient
) -> None:
    assert await health(reader) is None
    answer = await worker.post(REPORTS, json=said(failed(kind=kind), at="any.123456789"))
    assert (answer.status_code, answer.content) == (204, b"")
    shown = await health(reader)
    assert shown is not None
    assert shown.pop("since") == shown.pop("reportedAt")
    assert shown == {"status": "failing", "kind": kind, "reportedBy": "test", "reports": 1, "revision": 123456789}
    assert await health(reader, "groq") is None


async def test_the_same_outcome_again_is_counted_and_another_one_begins_anew(
    worker: httpx.AsyncClient, reader: httpx.AsyncClient, superuser: Superuser
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
    for revision, step in enumerate(steps, start=1):
        assert (await worker.post(REPORTS, json=said(step, at=f"e.{revision}"))).status_code == 204
        shown = await health(reader)
        assert shown is not None
        told.append((shown["status"], shown["kind"], shown["reports"], shown["revision"]))
        starts.append(datetime.fromisoformat(shown["since"]))
        assert datetime.fromisoformat(shown["reportedAt"]) >= starts[-1]
    assert told == [
        ("failing", "quota", 1, 1),
        ("failing", "timeout", 2, 2),
        ("failing", "timeout", 3, 3),
        ("recovered", None, 1, 4),
        ("recovered", None, 2, 5),
        ("failing", "server", 1, 6),
    ]
    assert starts == sorted(starts)
    assert [starts.index(start) for start in starts] == [0, 0, 0, 3, 3, 5]
    assert len(stored_rows(superuser)["provider_reports"]) == 1


async def test_several_providers_are_reported_at_once_and_each_for_itself(
    worker: httpx.AsyncClient, reader: httpx.AsyncClient
) -> None:
    await worker.post(REPORTS, json=said(failed("deepgram", "server")))
    await worker.post(
        REPORTS, json=said(failed("deepgram", "server"), recovered("piper"), failed("groq", "permission"))
    )
    found = {key: await health(reader, key) for key in ("deepgram", "piper", "groq", "openai")}
    assert {key: shown and (shown["status"], shown["reports"]) for key, shown in found.items()} == {
        "deepgram": ("failing", 2),
        "piper": ("recovered", 1),
        "groq": ("failing", 1),
        "openai": None,
    }


async def test_the_reporter_is_named_by_its_token(
    plane: ControlPlane, caller: Caller, reader: httpx.AsyncClient
) -> None:
    organization = await plane.access.find_organization("default")
    administrator = local_administrator(organization.id, "test")
    client = await caller()
    for name in ("worker in Frankfurt", "worker in Oregon"):
        new = AccessTokenCreate(name=name, scopes=[Scope.WORKER_RESOLVE])
        value = (await plane.access.create_token(administrator, new)).value
        await client.post(REPORTS, json=said(failed()), headers={"Authorization": f"Bearer {value}"})
        shown = await health(reader)
        assert shown is not None
        assert shown["reportedBy"] == name


async def test_a_report_changes_no_etag_no_revision_no_order_and_is_not_on_record(
    worker: httpx.AsyncClient, reader: httpx.AsyncClient, superuser: Superuser
) -> None:
    """It is no change of anybody's settings: what was seen before it may still be written to."""

    async def seen() -> list[dict[str, Any]]:
        listed = (await reader.get(f"{HERE}/providers")).json()
        return [each | {"health": None, "status": None, "revision": listed["revision"]} for each in listed["providers"]]

    before, records = await seen(), stored_rows(superuser)["audit_events"]
    await worker.post(REPORTS, json=said(failed("openai"), failed("piper", "connectivity"), recovered("vosk")))
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
    key: str, caller: Caller, two: Callable[[], Any], superuser: Superuser
) -> None:
    """Also of a provider that nobody touched, which is the same to everybody and shown from one memory."""
    await two()
    readers = {slug: await caller(Scope.LIVEKIT_READ, organization=slug) for slug in ("default", "other")}
    workers = {slug: await caller(Scope.WORKER_RESOLVE, organization=slug) for slug in ("default", "other")}
    assert [await health(reader, key) for reader in readers.values()] == [None, None]
    for number in range(3):
        await workers["other"].post(REPORTS, json=said(failed(key, "quota")))
        theirs = await health(readers["other"], key)
        assert theirs is not None
        assert (theirs["kind"], theirs["reports"]) == ("quota", number + 1)
        assert await health(readers["default"], key) is None
    await workers["default"].post(REPORTS, json=said(recovered(key)))
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
    remembering: tuple[ControlPlane, httpx.AsyncClient],
) -> None:
    plane, client = remembering
    worker = {"Authorization": f"Bearer {await token_for(plane, Scope.WORKER_RESOLVE)}"}
    for number in range(1, 20):
        await health(client)
        await client.post(REPORTS, json=said(failed()), headers=worker)
        shown = await health(client)
        assert shown is not None
        assert shown["reports"] == number


async def test_a_report_to_another_process_is_seen_here(
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
            assert (await worker.post(REPORTS, json=said(failed()))).status_code == 204
        await until(lambda: not plane.changes.is_unchanged(organization.id, mark))
        assert await health(client) is not None


async def test_a_provider_that_is_put_back_to_its_defaults_keeps_what_was_seen_of_it(
    worker: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    await worker.post(REPORTS, json=said(failed("deepgram")))
    assert (await admin.delete(f"{HERE}/providers/deepgram/config")).status_code == 204
    shown = await health(admin, "deepgram")
    assert shown is not None
    assert shown["status"] == "failing"


async def test_workers_that_report_the_same_providers_in_other_orders_do_not_wait_for_each_other(
    plane: ControlPlane, superuser: Superuser
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
                await plane.workers.report(worker_of(organization.id), ReportsWrite(at="e.1", reports=reports))
            except VoxplaneError as error:
                refused.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(report_often)
    assert refused == []
    assert {row["reports"] for row in stored_rows(superuser)["provider_reports"]} == {400}


async def test_the_status_says_what_workers_see_unless_something_is_missing(
    worker: httpx.AsyncClient, reader: httpx.AsyncClient
) -> None:
    async def status(key: str) -> str:
        return (await reader.get(f"{HERE}/providers/{key}")).json()["status"]

    assert [await status(key) for key in ("piper", "vosk", "openai")] == ["unverified", "unverified", "secrets_missing"]
    await worker.post(REPORTS, json=said(failed("openai"), failed("piper", "connectivity"), failed("vosk", "server")))
    assert [await status(key) for key in ("piper", "vosk", "openai")] == ["failing", "failing", "secrets_missing"]
    await worker.post(REPORTS, json=said(recovered("piper")))
    assert await status("piper") == "unverified"

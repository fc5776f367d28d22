"""The order in which providers answer: set in one change, total, and the same for everybody."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_problem import check_problem
from voxplane.resolution import rank

PROVIDERS = "/api/organizations/current/providers"
ORDER = f"{PROVIDERS}/order?type=llm"


async def keys(client: httpx.AsyncClient) -> list[str]:
    return [each["provider"]["key"] for each in (await client.get(f"{PROVIDERS}?type=llm")).json()["providers"]]


async def test_an_order_is_one_change_and_holds(admin: httpx.AsyncClient) -> None:
    before = (await admin.get(PROVIDERS)).json()["revision"]
    answer = await admin.put(ORDER, json={"order": ["groq", "google", "openai"]})
    assert answer.status_code == 200
    assert answer.json()["revision"] == before + 1
    assert (await keys(admin))[:3] == ["groq", "google", "openai"]
    again = await admin.put(ORDER, json={"order": ["groq", "google", "openai"]})
    assert again.json()["revision"] == before + 1


async def test_who_is_not_named_follows_in_the_present_order(admin: httpx.AsyncClient) -> None:
    await admin.put(ORDER, json={"order": ["openai", "groq", "google"]})
    await admin.put(ORDER, json={"order": ["google"]})
    assert (await keys(admin))[:3] == ["google", "openai", "groq"]


async def test_a_move_happens_only_to_the_order_that_its_author_saw(admin: httpx.AsyncClient) -> None:
    async def tags() -> dict[str, str]:
        return (await admin.get(PROVIDERS)).json()["orderEtags"]

    first = await tags()
    assert list(first) == ["stt", "tts", "llm"]
    moved = await admin.put(ORDER, json={"order": ["groq", "openai"]}, headers={"If-Match": first["llm"]})
    assert moved.headers["etag"] == moved.json()["orderEtags"]["llm"] == (await tags())["llm"] != first["llm"]
    assert {**first, "llm": ""} == {**(await tags()), "llm": ""}
    late = await admin.put(ORDER, json={"order": ["google", "openai"]}, headers={"If-Match": first["llm"]})
    check_problem(late, 412, "revision_conflict")
    assert (await keys(admin))[:2] == ["groq", "openai"]
    # A priority that somebody typed is not written over unseen either; settings and switches are no part of the order.
    await admin.put(f"{PROVIDERS}/groq/config", json={"config": {"temperature": 0.3}, "isEnabled": True})
    assert (await tags())["llm"] == moved.headers["etag"]
    await admin.put(f"{PROVIDERS}/groq/config", json={"priority": 999})
    present = (await tags())["llm"]
    lists = (await admin.get(f"{PROVIDERS}?type=llm")).headers["etag"]
    for tag in ("", moved.headers["etag"], f"W/{present}", lists):
        refused = await admin.put(ORDER, json={"order": ["openai"]}, headers={"If-Match": tag})
        check_problem(refused, 412, "revision_conflict")
    for tag in (present, "*"):
        assert (await admin.put(ORDER, json={"order": ["openai"]}, headers={"If-Match": tag})).status_code == 200


async def test_an_order_switches_nothing_on(admin: httpx.AsyncClient) -> None:
    await admin.put(ORDER, json={"order": ["anthropic", "openai"]})
    assert (await admin.get(f"{PROVIDERS}/llm/primary")).json()["provider"]["key"] == "openai"


@pytest.mark.parametrize(
    ("order", "errors"),
    [
        (["openai", "openai"], [("/order/1", "duplicate")]),
        (["deepgram"], [("/order/0", "unknown_provider")]),
        (["openai", "nobody"], [("/order/1", "unknown_provider")]),
    ],
)
async def test_a_wrong_order_is_refused_and_changes_nothing(
    admin: httpx.AsyncClient, order: list[str], errors: list[tuple[str, str]]
) -> None:
    before = (await admin.get(PROVIDERS)).json()
    refused = await admin.put(ORDER, json={"order": order})
    assert [(each["pointer"], each["code"]) for each in refused.json()["errors"]] == errors
    assert (await admin.get(PROVIDERS)).json() == before


async def test_ties_are_broken_by_name_without_regard_to_case(admin: httpx.AsyncClient) -> None:
    for key in ("openai", "groq", "google", "anthropic"):
        await admin.put(f"{PROVIDERS}/{key}/config", json={"priority": 50})
    assert (await keys(admin))[:4] == ["anthropic", "google", "groq", "openai"]


async def test_a_type_without_an_enabled_provider_has_no_primary(admin: httpx.AsyncClient) -> None:
    await admin.put(f"{PROVIDERS}/deepgram/config", json={"isEnabled": False})
    none = await admin.get(f"{PROVIDERS}/stt/primary")
    assert (none.status_code, none.json()["code"]) == (404, "no_primary_provider")


Ranked = st.tuples(st.integers(0, 1000), st.text(max_size=5), st.text(max_size=5))


@given(st.lists(Ranked, unique_by=lambda each: each[2]))
def test_the_rank_is_total_and_does_not_depend_on_where_one_begins(rows: list[tuple[int, str, str]]) -> None:
    ranked = sorted(rows, key=lambda each: rank(*each))
    backwards = rows[::-1]
    backwards.sort(key=lambda each: rank(*each))
    assert ranked == backwards
    assert [each[0] for each in ranked] == sorted((each[0] for each in rows), reverse=True)


async def test_the_next_call_goes_to_the_first_that_is_enabled_and_usable(admin: httpx.AsyncClient) -> None:
    async def next_call(query: str = "") -> dict[str, str]:
        return (await admin.get(f"{PROVIDERS}{query}")).json()["nextCall"]

    assert await next_call() == {"tts": "piper"}  # openai and deepgram have no key yet
    await admin.put(f"{PROVIDERS}/groq/secrets", json={"secrets": {"apiKey": "gsk-test"}})
    assert await next_call() == {"tts": "piper"}
    await admin.put(f"{PROVIDERS}/groq/config", json={"isEnabled": True, "priority": 1})
    assert await next_call() == {"tts": "piper", "llm": "groq"}
    assert await next_call("?type=llm&enabled=false") == {"llm": "groq"}
    assert (await admin.get(f"{PROVIDERS}/llm/primary")).json()["provider"]["key"] == "openai"
    await admin.put(f"{PROVIDERS}/openai/secrets", json={"secrets": {"apiKey": "sk-test"}})
    assert (await admin.put(ORDER, json={"order": ["openai"]})).json()["nextCall"] == {"llm": "openai"}

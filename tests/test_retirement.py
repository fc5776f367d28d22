"""What ends: who is told, until when, and the one change that goes on with the successor."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import httpx
import psycopg
import pytest

from tests.test_providers import NEEDED
from voxplane import retirement
from voxplane.provider import AnyProvider
from voxplane.registry import ProviderRegistry
from voxplane.schemas import JsonObject, Model, Notice, Voice

TODAY = date(2026, 11, 28)
ORGANIZATION = "/api/organizations/current"
REGISTRY = ProviderRegistry()
REGISTRY.initialize()


def noted(provider: AnyProvider, overrides: JsonObject, today: date = TODAY) -> list[Notice]:
    effective = provider.validate(overrides).effective()
    return retirement.notices(provider, overrides, effective, today)


def of(key: str, **overrides: Any) -> Notice:
    found = noted(REGISTRY.get_provider_by_key(key), overrides)
    assert len(found) == 1
    return found[0]


def changed(notice: Notice) -> dict[str, tuple[Any, Any, bool]]:
    assert notice.proposal is not None, notice.no_proposal
    return {each.setting: (each.before, each.after, each.because is not None) for each in notice.proposal.changes}


def test_the_seeds_model_ends_and_its_successor_is_taken_without_reasoning() -> None:
    notice = of("openai", maxTokens=500, temperature=0.4)
    assert (notice.code, notice.model, notice.retires_on, notice.replacement) == (
        "model_retiring", "gpt-4o-mini", date(2027, 1, 14), "gpt-6-luna",
    )  # fmt: skip
    assert notice.proposal is not None
    kept = {"maxTokens": 500, "temperature": 0.4}
    assert notice.proposal.config == {**kept, "reasoningEffort": "none", "model": "gpt-6-luna"}
    assert changed(notice) == {
        "model": ("gpt-4o-mini", "gpt-6-luna", False),
        "reasoningEffort": (None, "none", False),
    }


def test_what_the_successor_refuses_is_left_out_and_said() -> None:
    """Also where its own value is the default of today, and where only an own value can stay."""
    notice = of("anthropic", model="claude-sonnet-4-5", temperature=0.2, maxTokens=900)
    assert notice.proposal is not None
    assert notice.proposal.config == {"model": "claude-sonnet-5-5", "maxTokens": 900}
    assert changed(notice)["temperature"] == (0.2, None, True)
    notice = of("openai", model="gpt-5", reasoningEffort="minimal", verbosity="low")
    assert notice.proposal is not None
    assert notice.proposal.config == {"model": "gpt-6.1-sol", "verbosity": "low"}
    assert changed(notice)["reasoningEffort"] == ("minimal", None, True)
    notice = of("openai", model="gpt-5-nano", reasoningEffort="low")
    assert notice.proposal is not None
    assert notice.proposal.config == {"model": "gpt-6-luna", "reasoningEffort": "low"}


def test_a_version_ends_with_its_model_unless_its_own_end_is_known() -> None:
    notice = of("openai", model="gpt-4o-mini-2024-07-18", temperature=0.4)
    assert (notice.code, notice.model, notice.retires_on) == (
        "model_retiring", "gpt-4o-mini-2024-07-18", date(2027, 1, 14),
    )  # fmt: skip
    assert notice.message == (
        "gpt-4o-mini-2024-07-18 is a version of gpt-4o-mini, which ends on 2027-01-14. "
        "OpenAI names gpt-6-luna as its replacement."
    )
    assert notice.proposal is not None
    assert notice.proposal.config == {"temperature": 0.4, "reasoningEffort": "none", "model": "gpt-6-luna"}
    ended = "claude-3-5-sonnet-20241022 claude-3-5-sonnet-latest claude-3-7-sonnet-20250219 claude-sonnet-4-20250514"
    for key, names in {
        "anthropic": ended,
        "google": "gemini-1.5-flash-001",
        "openai": "gpt-3.5-turbo-0125 gpt-4-0613 gpt-4-0314",
    }.items():
        assert {of(key, model=name).code for name in names.split()} == {"model_retired"}
    assert of("openai", model="gpt-4-0314").message.startswith("gpt-4-0314 ended on 2026-03-26.")  # before gpt-4 did
    openai = REGISTRY.get_provider_by_key("openai")
    assert not noted(openai, {"model": "gpt-5.2-2025-12-11"})  # one of a model that goes on
    assert of("openai", model="gpt-4-9999").code == "model_unknown"
    told = date(2027, 3, 1)
    named = {"model": "gpt-4-0613"}
    (notice,) = retirement.notices(openai, named, named, TODAY, told)
    assert "version" not in notice.message
    assert notice.retires_on == told
    models = (Model(name="a", status="deprecated", replacement="b-2027-01-31"), Model(name="b"))
    (notice,) = noted(replace(openai, models=models), {"model": "a-2026-01-31"})
    assert notice.proposal is not None
    assert notice.proposal.config == {"model": "b-2027-01-31"}


@pytest.mark.parametrize("provider", REGISTRY.get_all_providers(), ids=lambda provider: provider.key)
def test_every_end_that_is_known_has_a_valid_proposal_or_a_reason(provider: AnyProvider) -> None:
    needed = NEEDED.get(provider.key, {})
    for setting, offers in provider.named.items():
        for offer in offers:
            overrides = {**needed, setting: offer.name}
            notices = [each for each in noted(provider, overrides) if each.pointer == f"/config/{setting}"]
            ends = offer.has_ended(TODAY) or offer.will_end()
            assert [each.code.partition("_")[2] for each in notices] == (
                [] if not ends else ["retired" if offer.has_ended(TODAY) else "retiring"]
            )
            for notice in notices:
                assert (notice.proposal is None) is (notice.no_proposal is not None)
                assert (notice.proposal is not None) is (offer.replacement is not None)
                if notice.proposal is not None:
                    proposed = provider.validate(notice.proposal.config)
                    assert proposed.effective()[setting] == offer.replacement
                    assert provider.effective_origins(proposed) == provider.effective_origins(
                        provider.validate(overrides)
                    )


def test_where_nothing_valid_can_be_proposed_the_reason_is_said() -> None:
    openai = REGISTRY.get_provider_by_key("openai")
    first = Model(name="one", status="deprecated", replacement="two")
    other = Model(name="two", retires_on=date(2026, 11, 1))
    cases: list[tuple[tuple[Model, ...], JsonObject, str]] = [
        ((first, other, Model(name="three")), {}, "ends as well"),
        ((first, other.model_copy(update={"replacement": "one"}), Model(name="three")), {}, "ends as well"),
        ((first.model_copy(update={"replacement": None}), Model(name="two")), {}, "names no replacement"),
        ((first.model_copy(update={"replacement": None}), other), {}, "All that OpenAI is known to offer ends"),
        ((first, Model(name="two")), {"temperature": 9}, "not valid as they are"),
        ((first.model_copy(update={"replacement": "no name"}),), {}, "does not go with"),
    ]
    for models, overrides, said in cases:
        provider = replace(openai, models=models)
        (notice,) = retirement.notices(provider, {"model": "one", **overrides}, {"model": "one"}, TODAY)
        assert notice.proposal is None
        assert said in (notice.no_proposal or "")
    onward = replace(openai, models=(first, other.model_copy(update={"replacement": "three"}), Model(name="three")))
    (notice,) = noted(onward, {"model": "one"})
    assert notice.proposal is not None
    assert notice.proposal.config == {"model": "three"}


def test_a_voice_ends_like_a_model_and_an_unlisted_one_says_nothing() -> None:
    cartesia = REGISTRY.get_provider_by_key("cartesia")
    katie, jameson = cartesia.voices
    ending = katie.model_copy(update={"retires_on": date(2026, 12, 31), "replacement": jameson.name})
    provider = replace(cartesia, voices=(ending, jameson))
    (notice,) = noted(provider, {"speed": 1.1})
    assert (notice.code, notice.voice, notice.pointer) == ("voice_retiring", katie.name, "/config/voiceId")
    assert notice.message.startswith("Katie ends on 2026-12-31.")
    assert notice.proposal is not None
    assert notice.proposal.config == {"speed": 1.1, "voiceId": jameson.name}
    assert not noted(provider, {"voiceId": "00000000-0000-0000-0000-000000000000"})
    assert [each.code for each in noted(provider, {"model": "sonic-9", "voiceId": jameson.name})] == ["model_unknown"]
    assert replace(provider, voices=(Voice(name="x"),)).digest != provider.digest


async def test_the_default_organization_is_told_and_takes_the_successor_in_one_version(
    admin: httpx.AsyncClient, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    listed = (await admin.get(f"{ORGANIZATION}/notices")).json()
    assert listed["organization"]["slug"] == "default"
    (one,) = listed["notices"]
    assert (one["provider"]["key"], one["isEnabled"], one["isPrimary"]) == ("openai", True, True)
    notice = one["notice"]
    assert (notice["model"], notice["retiresOn"], notice["replacement"]) == ("gpt-4o-mini", "2027-01-14", "gpt-6-luna")

    url = f"{ORGANIZATION}/providers/openai"
    shown = (await admin.get(url)).json()
    assert shown["notices"] == [notice]
    assert shown["etag"] == one["etag"]
    change, precondition = {"config": notice["proposal"]["config"]}, {"If-Match": one["etag"]}
    written = await admin.put(f"{url}/config", json=change, headers=precondition)
    assert written.status_code == 200
    assert written.json()["revision"] == shown["revision"] + 1
    assert written.json()["config"] == {**shown["config"], "model": "gpt-6-luna", "reasoningEffort": "none"}
    assert written.json()["isEnabled"]
    assert written.json()["notices"] == []
    assert (await admin.put(f"{url}/config", json=change, headers=precondition)).status_code == 412
    assert (await admin.get(f"{ORGANIZATION}/notices")).json()["notices"] == []
    rows = superuser.execute("SELECT revision FROM config_history WHERE provider_key = 'openai' ORDER BY 1").fetchall()
    assert [revision for (revision,) in rows][-1] == written.json()["revision"]
    assert len(rows) == 2  # the seed's, and this one


async def test_notices_are_those_of_providers_in_use_and_the_most_pressing_come_first(
    admin: httpx.AsyncClient,
) -> None:
    providers = f"{ORGANIZATION}/providers"
    for key, config in {
        "anthropic": {"model": "claude-opus-4-1"},  # ended
        "google": {"model": "gemini-3.1-flash-lite"},  # 2027-05-07
        "groq": {"model": "brand-new"},
        "azure-openai": {"deployment": "calls", "endpoint": "https://voice.openai.azure.com"},  # deprecated, no date
    }.items():
        assert (await admin.put(f"{providers}/{key}/config", json={"config": config})).status_code == 200
    listed = (await admin.get(f"{ORGANIZATION}/notices")).json()["notices"]
    assert [each["provider"]["key"] for each in listed] == ["anthropic", "openai", "google", "azure-openai", "groq"]
    near = (await admin.get(f"{ORGANIZATION}/notices?withinDays=0")).json()["notices"]
    assert "anthropic" in [each["provider"]["key"] for each in near]
    assert not {"google", "azure-openai", "groq"} & {each["provider"]["key"] for each in near}
    far = (await admin.get(f"{ORGANIZATION}/notices?withinDays=3650")).json()["notices"]
    assert [each["provider"]["key"] for each in far] == ["anthropic", "openai", "google"]
    assert (await admin.get(f"{ORGANIZATION}/notices?withinDays=-1")).status_code == 422

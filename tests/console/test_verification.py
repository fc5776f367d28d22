"""Testing a provider in the console: what it finds, and what it leaves alone. The vendors are on loopback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.console.conftest import PROVIDERS, OpenConsole, Service, Watch, serving, with_vendors
from tests.vendors import tested
from voxplane.registry import ProviderRegistry
from voxplane.schemas.verification import Outcome
from voxplane.server.organization_view import shown_verification
from voxplane.server.probe_runner import Finding, Subject
from voxplane.server.settings import Settings
from voxplane.server.verdict import WORDS
from voxplane.server.verification_store import VerificationRow

GOOD = "key-good-canary-7f3a9c"
LAST = re.compile("^Last test$")


GATEWAY = "https://gateway.example.com/v1"


def answer(asked: tested.Asked) -> tested.Reply:
    """Answer as the vendor would; the gateway is OpenAI's."""
    host = tested.HOSTS["openai"] if GATEWAY.endswith(f"{asked.host}/v1") else asked.host
    return tested.answer(replace(asked, headers={**asked.headers, "host": host}))


@pytest.fixture
def service(settings: Settings, tmp_path: Path) -> Iterator[Service]:
    """The service, for which the vendors are on loopback."""
    running = with_vendors(settings, answer, verifications_per_minute=12, models_dir=tmp_path)
    with serving(running) as service:
        yield service


def drawer(page: Page) -> Locator:
    return page.get_by_role("dialog")


def row(page: Page, key: str) -> Locator:
    return page.locator(f"[data-provider={key}]")


def found(page: Page) -> Locator:
    return drawer(page).get_by_role("region", name=LAST)


def unfold(result: Locator) -> Locator:
    result.get_by_role("button", name="Details", exact=True).click()
    return result


def press_test(page: Page, name: str = "OpenAI") -> None:
    drawer(page).get_by_role("button", name=f"Test connection {name}", exact=True).click()


def test_check_40_success_shows_what_was_found_and_turns_the_status_verified(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    service.store_key("openai", GOOD)
    page = open_console()
    badge = row(page, "openai").locator("[data-status]")
    expect(badge).to_have_text("Unverified")
    assert watch.sent("POST", "/verify") == []
    # From the row, by its key.
    row(page, "openai").get_by_role("link", name="OpenAI", exact=True).focus()
    page.keyboard.press("t")
    expect(badge).to_have_text(re.compile(r"Verified\s+just now · \d+ ms"))
    page.goto("/providers/openai/config")
    expect(drawer(page).locator(".head [data-status]")).to_have_text(re.compile(r"Verified\s+just now · \d+ ms"))
    result = found(page)
    expect(result).to_contain_text("OpenAI answers and accepts the key.")
    # One line, until somebody wants to know how it went.
    expect(result.get_by_role("list")).to_have_count(0)
    unfold(result)
    expect(result).to_contain_text(re.compile(r"Tested\s+just now\s+by .+ · \d+ ms\s+· gpt-4o-mini"))
    expect(result.get_by_role("list", name="Stages of the test").get_by_role("listitem")).to_have_text(
        [re.compile(words) for words in ("Settings valid", "Reachable", "Key accepted", "Model available")]
    )
    expect(result.locator("[data-state=passed]")).to_have_count(4)
    assert len(watch.sent("POST", "/verify")) == 1, "opening a page starts no test"
    # From the drawer, and from the palette; the strip says how they went.
    press_test(page)
    expect(unfold(result)).to_contain_text("Of the last 2 tests, 2 passed, in")
    page.keyboard.press("ControlOrMeta+K")
    page.get_by_role("combobox", name="Go to a provider").fill("test openai")
    page.get_by_role("option", name="Test OpenAI", exact=True).click()
    expect(unfold(result)).to_contain_text("Of the last 3 tests, 3 passed, in")
    # What was read can be closed; the next test is shown again.
    result.get_by_role("button", name="Close what the test found").press("Enter")
    expect(result).to_have_count(0)
    # Another Enter tests nothing: the focus is on the drawer, and not on its first button.
    expect(page.get_by_role("dialog", name="OpenAI")).to_be_focused()
    press_test(page)
    expect(result).to_be_visible()


def test_check_41_and_42_and_46_each_outcome_has_its_sentence_and_its_step(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    page = open_console("/providers/openai/config")
    press_test(page)
    expect(found(page)).to_contain_text("No API key is set for OpenAI.")
    found(page).get_by_role("link", name="Set the key").click()
    expect(drawer(page).get_by_role("button", name="Set API key")).to_be_visible()
    steps = {
        "bad": ("key_rejected", "Replace the key", "Failing"),
        "restricted": ("key_restricted", "Open the provider's page", "Unverified"),
        "quota": ("quota", "Open the provider's page", "Unverified"),
        "broken": ("provider_error", None, "Unverified"),
        "reset": ("unreachable", None, "Unverified"),
        "region": ("unreachable", "Open the provider's page", "Unverified"),
        "limited": ("rate_limited", None, "Unverified"),
    }
    for situation, (outcome, step, status) in steps.items():
        key = f"key-{situation}-canary-5d5d5d"
        service.store_key("openai", key)
        expect(drawer(page).locator(".head [data-status]")).to_have_text("Unverified")
        press_test(page)
        result = found(page).locator(f"[data-outcome={outcome}]")
        expect(result).to_be_visible()
        said = service.provider("openai")["verification"]
        expect(result).to_contain_text(said["sentence"])
        if said["verdict"] != "fails":
            unfold(result)
        expect(result).to_contain_text(said["advice"])
        expect(result.locator("[data-step]")).to_have_text([step] if step else [])
        expect(drawer(page).locator(".head [data-status]")).to_have_attribute("data-status", status.lower())
        if said["verdict"] == "fails":
            unfold(result)
        expect(result.locator("code").first).to_have_text(outcome)
        shown = page.content()
        assert key not in shown
        assert tested.UPSTREAM not in shown
        if service.provider("openai")["verification"]["verdict"] == "inconclusive":
            expect(drawer(page).locator(".head [data-last-test]")).to_have_text(re.compile("last test: "))
    # What limits requests is no failure, and is left alone for as long as it asked for.
    waiting = drawer(page).get_by_role("button", name=re.compile("Wait [1-7] s to test OpenAI again"))
    expect(waiting).to_have_count(2)
    expect(waiting.first).to_be_disabled()
    assert all(each.post_data_json == {} for each in watch.sent("POST", "/verify"))


AGAIN = "Check again OpenAI"
STEPS: dict[Outcome, list[str]] = {
    "verified": [],
    "key_missing": ["Set the key"],
    "key_rejected": ["Replace the key", AGAIN],
    "key_restricted": ["Open the provider's page", AGAIN],
    "quota": ["Open the provider's page", AGAIN],
    "wrong_region_or_endpoint": ["Check the settings", AGAIN],
    "model_unavailable": ["Choose a model", AGAIN],
    "unreachable": [AGAIN],
    "tls": [AGAIN],
    "timeout": [AGAIN],
    "provider_error": [AGAIN],
    "blocked": ["Copy for your administrator", AGAIN],
    "not_checkable": [],
    "local_unavailable": ["How to start it", AGAIN],
    "rate_limited": [AGAIN],
}
PASSED = {"settings": "Settings valid", "reachable": "Reachable", "key": "Key accepted", "model": "Model available"}
NAMED = {"settings": "Settings", "reachable": "Connection", "key": "Key", "model": "Model"}


def result_of(outcome: Outcome) -> dict[str, Any]:
    """Return a test's result, as the server words it."""
    finding = Finding(outcome, {"reachable": 40, "key": 60, "model": 1}, 101, 418, origin="https://api.openai.com")
    registry = ProviderRegistry()
    registry.initialize()
    provider = registry.get_provider_by_key("openai")
    at = datetime.now(UTC)
    row = VerificationRow(
        provider_key="openai",
        checked_at=at,
        checked_by="Maria",
        outcome=outcome,
        stages=finding.stages_of(Subject(provider, {}, frozenset())),
        milliseconds=101,
        http_status=418,
        retry_after_seconds=1 if outcome == "rate_limited" else None,
        model="gpt-4o-mini",
        retires_on=None,
        origin=finding.origin,
        revision=0,
        definition="",
        verdict="",
        since=at,
        proved_at=at,
    )
    return shown_verification(row, provider, at.date()).model_dump(mode="json", by_alias=True)


def said_of(stage: dict[str, Any]) -> re.Pattern[str]:
    """Return what a stage is called: only one that passed says that it did, whatever mark stands beside it."""
    words = PASSED if stage["state"] == "passed" else NAMED
    return re.compile(rf"^\s*{words[stage['name']]}\s+(passed|failed|not known|not tested)\b")


def test_check_41_every_outcome_says_what_to_do_next(open_console: OpenConsole, service: Service) -> None:
    assert set(STEPS) == set(get_args(Outcome)) == set(WORDS)
    service.store_key("openai", GOOD)
    page = open_console("/providers/openai/config", permissions=["clipboard-read", "clipboard-write"])
    present: list[dict[str, Any]] = []

    def listed(route: Route) -> None:
        shown = route.fetch()
        body = shown.json()
        for each in body["providers"]:
            if each["provider"]["key"] == "openai":
                each["verification"] = present[-1]
        route.fulfill(response=shown, json=body)

    page.route("**/api/organizations/current/providers", listed)
    page.route("**/openai/verify", lambda route: route.fulfill(json=present[-1]))
    for outcome, steps in STEPS.items():
        present.append(result_of(outcome))
        press_test(page)
        result = found(page).locator(f"[data-outcome={outcome}]")
        expect(result).to_contain_text(present[-1]["sentence"])
        # A day has the form that all days have here.
        advice = present[-1]["advice"].replace("2027-01-14", "Jan 14, 2027")
        expect(unfold(result)).to_contain_text(advice)
        assert present[-1]["advice"] or outcome == "verified"
        buttons = result.locator(".next").locator("button:not(.fold), a.button")
        expect(buttons).to_have_count(len(steps))
        for button, name in zip(buttons.all(), steps, strict=True):
            expect(button).to_have_accessible_name(re.compile(f"^({name}|Wait 1 s to test OpenAI again)$"))
        expect(result.get_by_role("listitem")).to_have_text([said_of(stage) for stage in present[-1]["stages"]])
        if outcome == "blocked":
            result.get_by_role("button", name="Copy for your administrator").click()
            expect(page.get_by_text("What the test found is copied.")).to_be_visible()
            copied = page.evaluate("navigator.clipboard.readText()")
            assert copied.startswith(f"OpenAI: {present[-1]['sentence']} (blocked, https://api.openai.com, ")
        if outcome == "wrong_region_or_endpoint":
            result.get_by_role("button", name="Check the settings").click()
            expect(page.get_by_label("Base URL")).to_be_focused()
    page.unroute_all()


def test_check_44_a_change_after_a_test_turns_verified_into_unverified(
    open_console: OpenConsole, service: Service
) -> None:
    service.store_key("openai", GOOD)
    page = open_console("/providers/openai/config")
    press_test(page)
    status = drawer(page).locator(".head [data-status]")
    expect(status).to_contain_text("Verified")
    service.configure("openai", config={"model": "no-such-model"})
    expect(status).to_have_text("Unverified")
    expect(found(page)).to_have_count(0)
    press_test(page)
    expect(found(page)).to_contain_text("no-such-model")
    found(page).get_by_role("button", name="Choose a model").click()
    expect(page.get_by_role("combobox", name="Model", exact=True)).to_be_focused()
    page.get_by_role("button", name="Close OpenAI").click()
    expect(row(page, "openai").locator("[data-status]")).to_have_text(
        re.compile(r"Failing since .+ · model not available")
    )


def test_check_45_the_button_is_disabled_while_a_test_runs_and_counts_down_when_limited(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    watch.expected.append("429 (Too Many Requests)")
    service.store_key("openai", GOOD)
    page = open_console("/providers/openai/config")
    held: list[Route] = []
    page.route("**/verify", lambda route: held.append(route))  # noqa: PLW0108 - a method of C cannot be wrapped
    press_test(page)
    running = drawer(page).get_by_role("button", name="Testing OpenAI")
    expect(running).to_be_disabled()
    expect(running).to_be_focused()
    expect(found(page)).to_have_attribute("aria-busy", "true")
    expect(drawer(page).get_by_text("Asking OpenAI…")).to_be_visible()
    held[0].continue_()
    expect(found(page)).to_contain_text("OpenAI answers and accepts the key.")
    page.unroute("**/verify")
    for _ in range(11):
        service.admin.post(f"{PROVIDERS}/openai/verify", json={}).raise_for_status()
    press_test(page)
    limited = drawer(page).get_by_role("button", name=re.compile(r"Wait \d+ s to test OpenAI again")).first
    expect(limited).to_be_disabled()
    expect(limited).to_have_text(re.compile(r"Wait \d+ s"))
    expect(found(page)).to_contain_text("Too many requests")
    expect(found(page).locator("[data-outcome]")).to_have_count(0)
    expect(page.locator(".toast")).to_have_count(0)


def test_check_39_a_failed_check_offers_to_save_anyway_and_stores_nothing_until_chosen(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    watch.expected.append("422 (Unprocessable Entity)")
    page = open_console("/providers/openai/credentials")
    page.get_by_role("button", name="Set API key").click()
    expect(page.get_by_role("checkbox", name="Check it before saving")).to_be_checked()
    page.get_by_label("New API key").fill("key-bad-canary")
    page.get_by_role("button", name="Save API key").click()
    expect(drawer(page).get_by_role("group", name=LAST)).to_contain_text("OpenAI rejected the API key.")
    assert not service.provider("openai")["secretFields"][0]["isSet"]
    page.get_by_role("button", name="Save anyway").click()
    expect(page.locator("[data-secret=apiKey] [data-set]")).to_have_text("Set")
    assert ["check" in (each.post_data_json or {}) for each in watch.sent("PUT", "/secrets")] == [True, False]
    page.get_by_role("button", name="Replace API key").click()
    page.get_by_label("New API key").fill(GOOD)
    page.get_by_role("button", name="Save API key").click()
    expect(page.locator("[data-secret=apiKey]")).to_contain_text("v2")
    expect(found(page)).to_contain_text("OpenAI answers and accepts the key.")
    # What a check leaves open stops nobody, and is said, at the key, until a later test says more.
    unchecked = page.locator("[data-unchecked]")
    expect(unchecked).to_have_count(0)
    page.get_by_role("button", name="Replace API key").click()
    page.get_by_label("New API key").fill("key-limited-canary")
    page.get_by_role("button", name="Save API key").click()
    expect(page.locator("[data-secret=apiKey]")).to_contain_text("v3")
    expect(found(page)).to_contain_text("limits requests at the moment")
    expect(unchecked).to_have_text("Saved, not checked: OpenAI answers, but limits requests at the moment.")
    # So does one that could not be made.
    for _ in range(12):
        service.admin.post(f"{PROVIDERS}/openai/verify", json={})
    page.get_by_role("button", name="Replace API key").click()
    page.get_by_label("New API key").fill(GOOD)
    page.get_by_role("button", name="Save API key").click()
    expect(unchecked).to_contain_text("Saved, not checked: The organization tested as often as it may")
    expect(page.locator(".toast")).to_have_count(0)


def test_check_39_a_first_key_is_checked_before_a_voice_is_chosen(open_console: OpenConsole) -> None:
    page = open_console("/providers/elevenlabs/config")
    line = page.locator("[data-setting=voiceId] [data-source]")
    page.get_by_role("combobox", name="Voice", exact=True).fill("Sarah")
    page.get_by_role("button", name="Save changes").click()
    expect(page.locator("[data-setting=voiceId]")).to_contain_text("Write 15 to 32 letters and digits.")
    page.get_by_role("button", name="Discard").click()
    line.get_by_role("link", name="Store the API key to choose from your voices").click()
    page.get_by_role("button", name="Set API key").click()
    page.get_by_label("New API key").fill(GOOD)
    page.get_by_role("button", name="Save API key").click()
    expect(page.locator("[data-secret=apiKey] [data-set]")).to_have_text("Set")
    expect(found(page)).to_contain_text("ElevenLabs answers and accepts the key.")
    unfold(found(page))
    expect(found(page)).to_contain_text("No voice was tested, because none is chosen yet.")
    expect(found(page).locator("[data-stage=settings]")).to_have_text(re.compile("Settings incomplete"))
    # Nor does the test of what is saved ask for one; and a list that is empty is called none.
    press_test(page, "ElevenLabs")
    expect(found(page).locator("[data-outcome=verified]")).to_be_visible()
    page.goto("/providers/elevenlabs/config")
    expect(line).to_have_text("No list yet. Any name can be typed.")
    expect(page.locator("[data-setting=voiceId] .notice")).to_have_text("Choose one.")


def test_check_39_a_key_that_fails_at_a_new_address_leaves_all_as_it_is_until_chosen(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    """Settings without a key that may go where they lead are out of service."""
    service.store_key("openai", GOOD)
    service.configure("openai", isEnabled=True)
    before = service.provider("openai")
    page = open_console("/providers/openai/config")
    page.locator("summary", has_text="Advanced").click()
    page.locator("[data-setting=baseUrl]").get_by_label("Base URL", exact=True).fill(GATEWAY)
    key, save = page.get_by_label("New API key"), page.get_by_role("button", name="Save changes")
    key.fill("key-bad-mistyped")
    save.click()
    failed = page.get_by_role("region", name="Enter the key for the new address")
    expect(failed).to_contain_text("OpenAI rejected the API key.")
    expect(failed.get_by_role("button", name="Save anyway")).to_be_in_viewport(ratio=1)
    assert service.provider("openai") == before
    assert watch.sent("PUT") == []
    key.fill("key-good-there")
    expect(failed.locator("[data-outcome]")).to_have_count(0)
    save.click()
    expect(save).to_have_count(0)
    expect(found(page).locator("[data-outcome=verified]")).to_contain_text("OpenAI answers and accepts the key.")
    assert service.provider("openai")["status"] == "verified"
    page.locator("[data-setting=baseUrl]").get_by_label("Base URL", exact=True).fill(f"{GATEWAY}/elsewhere")
    key.fill("key-bad-on-purpose")
    save.click()
    expect(page.get_by_role("button", name="Save anyway")).to_be_visible()
    expect(found(page)).to_have_count(0)  # what was found before is no news beside a refusal
    page.get_by_role("button", name="Save anyway").click()
    expect(save).to_have_count(0)
    after = service.provider("openai")
    assert (after["usable"], after["secretFields"][0]["version"]) == (True, 3)
    assert after["overrides"] == {"baseUrl": f"{GATEWAY}/elsewhere"}


def test_check_43_testing_changes_stores_nothing(open_console: OpenConsole, service: Service, watch: Watch) -> None:
    service.store_key("openai", GOOD)
    before = service.provider("openai")
    page = open_console("/providers/openai/config")
    page.get_by_role("combobox", name="Model").fill("no-such-model")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Test with these changes").click()
    page.get_by_label("The API key for this test").fill("key-good-draft")
    page.get_by_role("button", name="Run test").click()
    test = drawer(page).get_by_role("region", name="Test these changes")
    result = test.locator("[data-outcome]")
    expect(test.get_by_role("button", name="Close", exact=True)).to_be_in_viewport(ratio=1)
    expect(result).to_contain_text("OpenAI has no no-such-model for it.")
    expect(result).to_contain_text("nothing of them was stored")
    bar = page.locator(".save-bar").bounding_box()
    lowest = test.get_by_role("button", name="Close", exact=True).bounding_box()
    assert bar is not None
    assert lowest is not None
    assert lowest["y"] + lowest["height"] <= bar["y"], "nothing lies over it"
    assert service.provider("openai") == before
    assert service.admin.get(f"{PROVIDERS}/openai/verifications").json()["verifications"] == []
    assert watch.sent("PUT") == []
    assert "key-good-draft" not in page.content()
    # It stands here, so it is said and not shown once more.
    expect(page.locator("[aria-live=polite]")).to_contain_text("OpenAI has no no-such-model for it.")
    expect(page.locator(".toast")).to_have_count(0)

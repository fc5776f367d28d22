"""Testing a provider in the console: what it finds, and what it leaves alone. The vendors are on loopback."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import Locator, Page, Route, expect

from tests.conftest import token_for
from tests.console.conftest import PROVIDERS, OpenConsole, Service, Watch
from tests.served import served
from tests.vendors import tested
from tests.vendors.secure import SecureVendor
from voxplane.server.auth import ADMINISTRATOR_SCOPES
from voxplane.server.control_plane import ControlPlane
from voxplane.server.settings import Settings

GOOD = "key-good-canary-7f3a9c"
LAST = re.compile("^Last test$")


@asynccontextmanager
async def _running(settings: Settings, models: Path) -> AsyncGenerator[tuple[ControlPlane, str]]:
    async with SecureVendor(tested.answer) as vendor:
        own: dict[str, Any] = {
            "vendor_networks": "127.0.0.0/8",
            "vendor_ca_file": vendor.ca_file,
            "vendor_timeout_seconds": 30,
            "verifications_per_minute": 12,
            "models_dir": models,
        }
        known = Settings.model_validate(settings.model_dump() | own)
        async with ControlPlane.open(known, resolve=vendor.resolve) as plane, served(plane) as address:
            yield plane, address


@pytest.fixture
def service(settings: Settings, tmp_path: Path) -> Iterator[Service]:
    """The service, for which the vendors are on loopback."""
    running = _running(settings, tmp_path)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(running) as (plane, address):
        token = portal.call(token_for, plane, *ADMINISTRATOR_SCOPES)
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}) as admin:
            yield Service(address, plane, portal, admin)


def drawer(page: Page) -> Locator:
    return page.get_by_role("dialog")


def row(page: Page, key: str) -> Locator:
    return page.locator(f"[data-provider={key}]")


def found(page: Page) -> Locator:
    return drawer(page).get_by_role("region", name=LAST)


def press_test(page: Page, name: str = "OpenAI") -> None:
    drawer(page).get_by_role("button", name=f"Test {name}", exact=True).click()


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
    expect(result).to_contain_text(re.compile(r"Tested\s+just now\s+by .+ · \d+ ms\s+· gpt-4o-mini"))
    expect(result.get_by_role("list", name="Stages of the test").get_by_role("listitem")).to_have_text(
        [re.compile(words) for words in ("Settings valid", "Reachable", "Key accepted", "Model available")]
    )
    expect(result.locator("[data-state=passed]")).to_have_count(4)
    assert len(watch.sent("POST", "/verify")) == 1, "opening a page starts no test"
    # From the drawer, and from the palette; the strip says how they went.
    press_test(page)
    expect(result.get_by_role("img", name="Of the last 2 tests, 2 passed, in")).to_be_visible()
    page.keyboard.press("ControlOrMeta+K")
    page.get_by_role("combobox", name="Go to a provider").fill("test openai")
    page.get_by_role("option", name="Test OpenAI", exact=True).click()
    expect(result.get_by_role("img", name="Of the last 3 tests, 3 passed, in")).to_be_visible()


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
        "quota": ("quota", "Open the provider's page", "Failing"),
        "broken": ("provider_error", None, "Unverified"),
        "reset": ("unreachable", None, "Unverified"),
        "region": ("wrong_region_or_endpoint", "Check the settings", "Failing"),
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
        expect(result).to_contain_text(said["advice"])
        expect(result.locator("[data-step]")).to_have_text([step] if step else [])
        expect(drawer(page).locator(".head [data-status]")).to_have_attribute("data-status", status.lower())
        result.get_by_text("Details", exact=True).click()
        expect(result.locator("code").first).to_have_text(outcome)
        shown = page.content()
        assert key not in shown
        assert tested.UPSTREAM not in shown
    # What limits requests is no failure, and is left alone for as long as it asked for.
    expect(
        drawer(page).get_by_role("button", name=re.compile("OpenAI can be tested again in [1-7] s"))
    ).to_be_disabled()
    assert all(each.post_data_json == {} for each in watch.sent("POST", "/verify"))


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
    expect(found(page).get_by_role("link", name="Choose a model")).to_be_visible()
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
    expect(found(page)).to_have_attribute("aria-busy", "true")
    expect(drawer(page).get_by_text("Asking OpenAI…")).to_be_visible()
    held[0].continue_()
    expect(found(page)).to_contain_text("OpenAI answers and accepts the key.")
    page.unroute("**/verify")
    for _ in range(11):
        service.admin.post(f"{PROVIDERS}/openai/verify", json={}).raise_for_status()
    press_test(page)
    limited = drawer(page).get_by_role("button", name=re.compile(r"OpenAI can be tested again in \d+ s"))
    expect(limited).to_be_disabled()
    expect(limited).to_have_text(re.compile(r"Wait \d+ s"))
    expect(found(page)).to_contain_text("Too many requests")


def test_check_39_a_failed_check_offers_to_save_anyway_and_stores_nothing_until_chosen(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    page = open_console("/providers/openai/credentials")
    page.get_by_role("button", name="Set API key").click()
    expect(page.get_by_role("checkbox", name="Check it before saving")).to_be_checked()
    page.get_by_label("New API key").fill("key-bad-canary")
    page.get_by_role("button", name="Save API key").click()
    expect(drawer(page).get_by_role("group", name=LAST)).to_contain_text("OpenAI rejected the API key.")
    assert watch.sent("PUT", "/secrets") == []
    assert not service.provider("openai")["secretFields"][0]["isSet"]
    page.get_by_role("button", name="Save anyway").click()
    expect(page.locator("[data-secret=apiKey] [data-set]")).to_have_text("Set")
    assert len(watch.sent("PUT", "/secrets")) == len(watch.sent("POST", "/verify")) == 1
    page.get_by_role("button", name="Replace API key").click()
    page.get_by_label("New API key").fill(GOOD)
    page.get_by_role("button", name="Save API key").click()
    expect(page.locator("[data-secret=apiKey]")).to_contain_text("v2")


def test_check_43_testing_changes_stores_nothing(open_console: OpenConsole, service: Service, watch: Watch) -> None:
    service.store_key("openai", GOOD)
    before = service.provider("openai")
    page = open_console("/providers/openai/config")
    page.get_by_role("combobox", name="Model").fill("no-such-model")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Test with these changes").click()
    page.get_by_label("The API key for this test").fill("key-good-draft")
    page.get_by_role("button", name="Run test").click()
    result = drawer(page).get_by_role("region", name="Test these changes").locator("[data-outcome]")
    expect(result).to_contain_text("OpenAI has no no-such-model for it.")
    expect(result).to_contain_text("nothing of them was stored")
    assert service.provider("openai") == before
    assert service.admin.get(f"{PROVIDERS}/openai/verifications").json()["verifications"] == []
    assert watch.sent("PUT") == []
    assert "key-good-draft" not in page.content()

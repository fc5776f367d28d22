"""The configuration of a provider: what is default, what is one's own, and what a save sends."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import OpenConsole, Service, Watch

CONFIG = "/providers/openai/config"


def setting(page: Page, name: str) -> Locator:
    """Return one setting, as the API names it."""
    return page.locator(f"[data-setting={name}]")


def standing(page: Page, name: str) -> Locator:
    return setting(page, name).locator(".standing")


def save(page: Page) -> Locator:
    return page.get_by_role("button", name="Save changes")


def written(watch: Watch, path: str = "/config") -> list[Any]:
    """Return the bodies that were sent to be written, oldest first."""
    return [request.post_data_json for request in watch.sent("PUT", path)]


def test_check_18_an_untouched_form_sends_nothing_and_offers_no_save(open_console: OpenConsole, watch: Watch) -> None:
    page = open_console(CONFIG)
    expect(setting(page, "temperature").get_by_label("Temperature", exact=True)).to_have_value("0.7")
    setting(page, "temperature").get_by_label("Temperature", exact=True).press("Tab")
    expect(save(page)).to_have_count(0)
    assert watch.sent("PUT") == []


def test_check_19_changing_one_setting_sends_exactly_that(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    page = open_console(CONFIG)
    etag = service.provider("openai")["etag"]
    setting(page, "temperature").get_by_label("Temperature", exact=True).fill("0.9")
    save(page).click()
    expect(save(page)).to_have_count(0)
    assert written(watch) == [{"config": {"temperature": 0.9}}]
    assert watch.sent("PUT")[0].headers["if-match"] == etag
    assert service.provider("openai")["overrides"] == {"temperature": 0.9}


def test_check_20_default_becomes_overridden_and_the_way_back_names_the_value(open_console: OpenConsole) -> None:
    page = open_console(CONFIG)
    expect(standing(page, "temperature")).to_have_text("Default")
    setting(page, "temperature").get_by_label("Temperature", exact=True).fill("0.9")
    expect(standing(page, "temperature")).to_have_text("Unsaved")
    save(page).click()
    expect(standing(page, "temperature")).to_have_text("Overridden")
    expect(setting(page, "temperature").get_by_text("Reset to default (0.7)")).to_be_visible()

"""The credentials tab: a key goes in and never comes out."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.console.conftest import OpenConsole, Service, Watch

KEY = "gsk_canary0123456789abcdef"


def enter(page: Page, value: str = KEY, name: str = "API key") -> None:
    page.get_by_label(f"New {name}").fill(value)
    page.get_by_role("button", name=f"Save {name}").click()


def stored(page: Page) -> Page:
    expect(page.locator("[data-secret=apiKey] [data-set=true]")).to_be_visible()
    return page


def test_check_12_enabling_without_a_key_leads_to_credentials_and_saving_turns_it_on(
    open_console: OpenConsole, service: Service
) -> None:
    page = open_console()
    page.get_by_role("switch", name="Groq on").click()
    expect(page.get_by_text("Set the API key to finish turning on Groq.")).to_be_visible()
    assert not service.provider("groq")["isEnabled"]
    enter(page)
    expect(stored(page).get_by_text("Set the API key to finish turning on Groq.")).to_have_count(0)
    expect(page.locator("[data-provider=groq]").get_by_role("switch", include_hidden=True)).to_be_checked()
    assert service.provider("groq")["usable"]


def test_check_33_only_what_was_typed_is_sent(open_console: OpenConsole, service: Service, watch: Watch) -> None:
    service.store_key("google", "AIza-0123456789")
    page = open_console("/providers/google/credentials")
    page.get_by_role("button", name="Replace API key").click()
    enter(page, "AIza-another")
    expect(page.locator("[data-secret=apiKey]")).to_contain_text("v2")
    (request,) = watch.sent("PUT", "/secrets")
    assert request.post_data_json == {"secrets": {"apiKey": "AIza-another"}}

"""The history of a provider: what was changed, any two versions side by side, and the way back to one."""

from __future__ import annotations

import json
import re
from typing import Any

import psycopg
from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import PROVIDERS, OpenConsole, Service, Watch

HISTORY = "/providers/openai/history"
Superuser = psycopg.Connection[tuple[object, ...]]


def version(page: Page, revision: int) -> Locator:
    return page.locator(f"[data-version='{revision}']")


def versions(page: Page) -> list[str]:
    return [each.get_attribute("data-version") or "" for each in page.locator("[data-version]").all()]


def open_history(open_console: OpenConsole, path: str = HISTORY, **options: Any) -> Page:
    page = open_console(path, **options)
    page.wait_for_selector("[data-version]")
    return page


def test_check_52_versions_are_listed_newest_first_and_a_restore_is_a_new_one_that_leaves_keys_alone(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    service.configure("openai", config={"temperature": 0.9})
    service.store_key("openai")
    before = service.configure("openai", config={"temperature": 0.4, "maxTokens": 800}, priority=300)
    page = open_console("/providers/openai/config")
    page.get_by_role("tab", name="History").click()
    expect(version(page, 4)).to_contain_text("now")
    assert versions(page) == ["4", "2", "1"]
    expect(version(page, 4)).to_contain_text("token “test”")
    expect(version(page, 4).locator("[data-change='/temperature']")).to_have_text(re.compile(r"Temperature\s+0.9.*0.4"))
    expect(version(page, 4).locator("[data-change=priority]")).to_contain_text("300")
    expect(page.locator("[data-keys='3']")).to_contain_text("API key set by token “test” (values are not kept here)")
    expect(version(page, 4).get_by_role("button", name="Restore")).to_have_count(0)

    version(page, 2).get_by_role("button", name="Restore v2").click()
    dialog = page.get_by_role("alertdialog")
    rows = [each.locator("th, td").all_inner_texts() for each in dialog.locator("[data-difference]").all()]
    assert rows == [["Maximum tokens", "800 tokens", "1000 tokens (default)"], ["Temperature", "0.4", "0.9"]]
    assert watch.sent("POST", "/restore") == []
    dialog.get_by_role("button", name="Restore v2").click()
    expect(version(page, 5)).to_contain_text("Restored from v2")
    after = service.provider("openai")
    assert after["overrides"] == {"temperature": 0.9}
    unchanged = ("isEnabled", "priority", "secretFields", "approvedOrigins")
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}

    page.get_by_role("button", name="Undo").press("Enter")
    expect(version(page, 6)).to_contain_text("Restored from v4")
    expect(page.get_by_role("tabpanel").locator(".tab-body")).to_be_focused()
    assert service.provider("openai")["overrides"] == before["overrides"]
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)


def test_check_53_a_version_that_no_longer_fits_is_refused_with_reasons_and_its_valid_settings_are_offered(
    open_console: OpenConsole, service: Service, superuser: Superuser, watch: Watch
) -> None:
    watch.expected.append("status of 422")
    service.configure("openai", config={"temperature": 0.9, "maxTokens": 50})
    then = {"config": {"temperature": 9, "maxTokens": 50}, "schemaVersion": 0}
    superuser.execute(
        "UPDATE config_history SET after = after || %s WHERE provider_key = 'openai' AND revision = 2",
        [json.dumps(then)],
    )
    service.configure("openai", config={})
    page = open_history(open_console, f"{HISTORY}?restore=2")
    dialog = page.get_by_role("alertdialog")
    dialog.get_by_role("button", name="Restore v2").click()
    expect(dialog.get_by_role("alert")).to_contain_text("v2 was not restored, because it no longer fits")
    expect(dialog.locator("[data-refused=temperature]")).to_contain_text("Temperature")
    assert service.provider("openai")["overrides"] == {}
    expect(dialog.locator("[data-difference]")).to_have_count(1)
    dialog.get_by_role("button", name="Restore the valid settings only").click()
    expect(version(page, 4)).to_contain_text("Restored from v2")
    assert service.provider("openai")["overrides"] == {"maxTokens": 50}


def test_any_two_versions_compare_and_both_stand_in_the_address(open_console: OpenConsole, service: Service) -> None:
    for temperature in (0.1, 0.2, 0.3):
        service.configure("openai", config={"temperature": temperature, "topP": 0.5})
    page = open_history(open_console)
    version(page, 2).get_by_role("button", name="Compare").click()
    expect(page).to_have_url(re.compile("from=2&to=4$"))
    compared = page.locator("[data-compared]")
    expect(compared.locator("[data-difference]")).to_have_text(re.compile(r"Temperature\s*0.1\s*0.3"))
    compared.get_by_role("combobox", name="To", exact=True).select_option("3")
    expect(page).to_have_url(re.compile("from=2&to=3$"))
    page.reload()
    expect(compared.locator("[data-difference]")).to_have_text(re.compile(r"Temperature\s*0.1\s*0.2"))
    compared.get_by_role("combobox", name="From", exact=True).select_option("3")
    expect(compared).to_contain_text("Both have the same settings.")
    page.get_by_role("button", name="Close the comparison").click()
    expect(page).to_have_url(re.compile("/history$"))


def test_an_open_history_follows_what_others_change_and_reads_on_when_asked(
    open_console: OpenConsole, service: Service
) -> None:
    for step in range(52):
        service.configure("openai", config={"temperature": step / 100})
    page = open_history(open_console)
    expect(page.locator("[data-version]")).to_have_count(50)
    service.configure("openai", config={"temperature": 1.5})
    expect(version(page, 54)).to_contain_text("1.5")
    page.get_by_role("button", name="Show older").click()
    expect(version(page, 1)).to_contain_text("seed")
    expect(page.get_by_role("button", name="Show older")).to_have_count(0)
    page.goto(f"{HISTORY}?from=1&to=54")
    expect(page.locator("[data-compared='1-54']")).to_be_visible()
    page.goto(f"{HISTORY}?from=99")
    expect(page.get_by_text("There is no version v99 of this provider.")).to_be_visible()


def test_a_reader_sees_the_history_and_restores_nothing(open_console: OpenConsole, service: Service) -> None:
    service.configure("openai", config={"temperature": 0.9})
    service.configure("openai", config={})
    page = open_history(open_console, f"{HISTORY}?restore=2", scopes=("livekit:read",))
    expect(version(page, 2).get_by_role("button", name="Compare")).to_be_visible()
    expect(page.get_by_role("button", name="Restore")).to_have_count(0)
    expect(page.get_by_role("alertdialog")).to_have_count(0)


def test_a_restore_that_somebody_was_faster_than_shows_what_would_change_now(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    watch.expected.append("status of 412")
    service.configure("openai", config={"temperature": 0.9})
    service.configure("openai", config={})
    page = open_console(HISTORY, wait=False)
    # It hears of no change, so that it cannot know.
    page.route("**/changes", lambda route: route.abort())
    watch.expected.append("ERR_FAILED")
    page.reload()
    version(page, 2).get_by_role("button", name="Restore v2").click()
    service.configure("openai", config={"topP": 0.5})
    dialog = page.get_by_role("alertdialog")
    dialog.get_by_role("button", name="Restore v2").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Somebody changed OpenAI in the meantime")
    expect(dialog.locator("[data-difference='/topP']")).to_be_visible()
    dialog.get_by_role("button", name="Restore v2").click()
    expect(dialog).to_have_count(0)
    assert service.provider("openai")["overrides"] == {"temperature": 0.9}
    assert service.admin.get(f"{PROVIDERS}/openai/history").json()["entries"][0]["restoredFrom"] == 2


def test_a_restore_that_leads_calls_elsewhere_is_for_a_secrets_admin(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    watch.expected.append("status of 403")
    service.configure("openai", config={"baseUrl": "https://elsewhere.example/v1"})
    service.configure("openai", config={})
    page = open_history(open_console, f"{HISTORY}?restore=2", scopes=("livekit:read", "livekit:write"))
    dialog = page.get_by_role("alertdialog")
    dialog.get_by_role("button", name="Restore v2").click()
    expect(dialog.get_by_role("alert")).to_contain_text("This decides where calls are sent. Ask a secrets admin")
    assert service.provider("openai")["overrides"] == {}

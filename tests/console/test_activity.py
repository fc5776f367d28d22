"""The activity: who did what, filtered and paged by the address, and exported by the server."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import PROVIDERS, OpenConsole, Service, Watch


def open_activity(open_console: OpenConsole, query: str = "", **options: Any) -> Page:
    page = open_console(f"/activity{query}", wait=False, **options)
    page.wait_for_selector("h1")
    return page


def records(page: Page, action: str) -> Locator:
    return page.locator(f"[data-action='{action}']")


def at_work(service: Service) -> None:
    """Have a few things done and one refused."""
    service.configure("openai", config={"temperature": 0.9}, priority=300)
    service.store_key("groq")
    service.admin.put(f"{PROVIDERS}/order", params={"type": "llm"}, json={"order": ["groq", "openai"]})
    headers = {"Authorization": f"Bearer {service.token('livekit:read')}"}
    with httpx.Client(base_url=service.address, headers=headers) as reader:
        refused = reader.put(f"{PROVIDERS}/openai/config", json={"isEnabled": False})
    assert refused.status_code == 403


def exported(page: Page, button: str, into: Path) -> str:
    with page.expect_download() as started:
        page.get_by_role("button", name=button).click()
    started.value.save_as(into / started.value.suggested_filename)
    return (into / started.value.suggested_filename).read_text()


def test_check_54_the_activity_is_filtered_paged_and_exported(
    open_console: OpenConsole, service: Service, watch: Watch, tmp_path: Path
) -> None:
    at_work(service)
    for step in range(60):
        service.configure("deepgram", priority=step)
    page = open_console()
    page.get_by_role("link", name="Activity").click()
    expect(page).to_have_title("Activity · Voxplane")
    expect(page.locator("[data-record]")).to_have_count(50)
    page.get_by_role("link", name="Older").click()
    expect(page).to_have_url(re.compile("before="))
    expect(records(page, "organization.create")).to_be_visible()
    page.reload()
    expect(records(page, "secrets.put")).to_contain_text("Stored: API key")
    expect(records(page, "order.put")).to_contain_text("Language models")
    page.go_back()
    expect(page.locator("[data-record]")).to_have_count(50)

    page.get_by_role("combobox", name="Provider", exact=True).select_option("OpenAI")
    expect(page.locator("[data-record]")).to_have_count(2)
    page.get_by_role("combobox", name="Outcome", exact=True).select_option("Refused")
    expect(page).to_have_url(re.compile(r"target=openai&outcome=denied$"))
    page.reload()
    expect(page.locator("[data-record]")).to_have_count(1)
    expect(page.locator("[data-record]")).to_contain_text("The role does not allow it")
    lines = exported(page, "Export JSON Lines", tmp_path).splitlines()
    assert [(each["target"], each["outcome"]) for each in map(json.loads, lines)] == [("openai", "denied")]
    page.get_by_role("button", name="Clear filters").click()
    expect(page).to_have_url(re.compile("/activity$"))
    table = list(csv.DictReader(exported(page, "Export CSV", tmp_path).splitlines()))
    whole = service.admin.get("/api/organizations/current/audit", params={"limit": 200}).json()["records"]
    assert [row["seq"] for row in table] == [str(each["seq"]) for each in whole]
    assert {url.split("?")[0] for url in (each.url for each in watch.requests) if "format=" in url} == {
        f"{service.address}/api/organizations/current/audit"
    }

    page.goto("/activity?since=2031-01-01")
    expect(page.get_by_text("Nothing on record is like this.")).to_be_visible()
    page.goto("/activity?until=2020-01-01")
    expect(page.get_by_text("Nothing on record is like this.")).to_be_visible()


def test_a_row_opens_on_what_changed_and_stays_open_in_the_address(open_console: OpenConsole, service: Service) -> None:
    at_work(service)
    page = open_activity(open_console, "?action=config.put&outcome=success")
    page.get_by_role("button", name="Change settings").click()
    expect(page).to_have_url(re.compile("record="))
    page.reload()
    details = page.locator("[data-details]")
    expect(details.locator("[data-change='/temperature']")).to_have_text(re.compile("Temperature.*0.7 .default.*0.9"))
    expect(details.locator("[data-change=priority]")).to_contain_text("300")
    expect(details.locator("dl")).to_contain_text("config.put")
    details.get_by_role("button", name="Only what token “test” did").click()
    expect(page).to_have_url(re.compile("actor=token"))
    page.locator("[data-record] button").first.click()
    details.get_by_role("link", name="Open v2 in the history of OpenAI").click()
    expect(page).to_have_url(re.compile(r"/providers/openai/history\?version=2$"))
    expect(page.locator("[data-version='2'].sought")).to_be_in_viewport()


def test_without_audit_read_one_sees_what_one_did_oneself(open_console: OpenConsole, service: Service) -> None:
    at_work(service)
    token = service.token("livekit:read", "livekit:write")
    with httpx.Client(base_url=service.address, headers={"Authorization": f"Bearer {token}"}) as writer:
        writer.put(f"{PROVIDERS}/openai/config", json={"config": {"temperature": 0.1}}).raise_for_status()
    page = open_activity(open_console, token=token)
    expect(page.locator("[data-record]")).to_have_count(1)
    expect(page.get_by_text("You see what you did yourself.")).to_be_visible()
    expect(page.get_by_role("combobox", name="Who", exact=True)).to_have_count(0)
    expect(page.get_by_role("combobox", name="Outcome", exact=True)).to_be_visible()


def test_the_activity_and_a_history_are_found_by_name_and_both_follow_what_others_do(
    open_console: OpenConsole, service: Service
) -> None:
    page = open_console()
    for words, path in (("activity", "/activity"), ("history of groq", "/providers/groq/history")):
        page.keyboard.press("Control+k")
        expect(page.get_by_role("combobox", name="Go to a provider")).to_be_focused()
        page.keyboard.type(words)
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(f"{path}$"))
    page.goto("/activity?action=config.put")
    expect(page.get_by_text("Nothing on record is like this.")).to_be_visible()
    service.configure("openai", config={"temperature": 0.9})
    expect(page.locator("[data-record]")).to_have_count(1)


def test_on_a_phone_rows_are_cards_within_the_screen(open_console: OpenConsole, service: Service) -> None:
    at_work(service)
    page = open_activity(open_console, viewport={"width": 320, "height": 700}, has_touch=True)
    page.locator("[data-action='config.put'] button").last.click()
    expect(page.locator("[data-change='/temperature']")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.goto("/providers/openai/history")
    page.wait_for_selector("[data-version]")
    assert page.evaluate("document.querySelector('[role=dialog]').scrollWidth") <= 320

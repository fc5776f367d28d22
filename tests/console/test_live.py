"""What the console shows while others change things, while the line is cut, and while the server says no."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.console.conftest import PROVIDERS, OpenConsole, Service, Watch
from tests.console.screens import EXPECTED, SCREENS, each_of, furnished

CHANGES = "**/organizations/current/changes"


def switch(page: Page, name: str) -> Locator:
    return page.get_by_role("switch", name=f"{name} on")


def state(page: Page) -> Locator:
    return page.locator("header [role=status]")


def cut(service: Service) -> None:
    """End every stream that is open, as a server does that stops."""
    for followers in list(service.plane.changes._subscriptions.values()):  # pyright: ignore[reportPrivateUsage]
        for each in list(followers):
            service.portal.call(each.end)


def problem(status: int, **headers: str) -> dict[str, object]:
    body = {"code": "of_the_test", "title": "No", "detail": "No.", "status": status, "requestId": "req-of-the-test"}
    return {
        "status": status,
        "content_type": "application/problem+json",
        "body": json.dumps(body),
        "headers": {"content-type": "application/problem+json", **headers},
    }


def test_check_59_a_change_in_one_window_appears_in_another(open_console: OpenConsole) -> None:
    one, other = open_console(), open_console()
    expect(state(other)).to_have_text("Live")
    switch(one, "Vosk (local)").click()
    expect(switch(other, "Vosk (local)")).to_be_checked(timeout=2_000)
    one.get_by_role("button", name="Move Vosk (local) up").click()
    expect(other.locator("[data-type=stt] .name").first).to_have_text("Vosk (local)", timeout=2_000)


def test_check_61_after_a_cut_nothing_that_changed_meanwhile_is_missed(
    page: Page, service: Service, watch: Watch
) -> None:
    watch.expected.append("ERR_FAILED")
    expect(state(page)).to_have_text("Live")
    page.route(CHANGES, lambda route: route.abort())
    with page.expect_event("requestfailed"):
        cut(service)
    service.configure("vosk", isEnabled=True)
    service.configure("whisper", isEnabled=True)
    expect(switch(page, "Vosk (local)")).not_to_be_checked()
    page.unroute(CHANGES)
    expect(switch(page, "Vosk (local)")).to_be_checked()
    expect(switch(page, "Whisper (local)")).to_be_checked()
    position = [each.headers.get("last-event-id") for each in watch.sent("GET", "/changes")]
    assert position[0] is None
    assert all(position[1:])


def test_check_62_offline_says_since_when_saves_nothing_and_recovers_by_itself(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    watch.expected += ["ERR_INTERNET_DISCONNECTED", "ERR_NETWORK_CHANGED"]
    for key in ("openai", "groq"):
        service.store_key(key)
        service.configure(key, isEnabled=True)
    page = open_console()
    expect(state(page)).to_have_text("Live")
    page.context.set_offline(offline=True)
    expect(page.get_by_text("Offline. Showing data from")).to_be_visible()
    expect(state(page)).to_have_text("Offline")
    expect(switch(page, "Vosk (local)")).to_be_disabled()
    expect(page.get_by_role("button", name="Move Groq up")).to_be_disabled()
    # A provider, and a part of the page, that nobody opened before: it comes when the network does.
    page.locator("[data-provider=groq] .name").click()
    drawer = page.get_by_role("dialog")
    expect(drawer.get_by_text("What stands here comes when the connection is back.")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator(".toast")).to_contain_text("The server did not answer.")
    service.configure("vosk", isEnabled=True)
    page.context.set_offline(offline=False)
    expect(switch(page, "Vosk (local)")).to_be_checked()
    expect(switch(page, "Vosk (local)")).to_be_enabled()
    expect(state(page)).to_have_text("Live")
    expect(page.get_by_text("Offline. Showing data from")).to_have_count(0)
    # What a key was to open does not open over what somebody does by now: it is pressed again.
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()


def refused(page: Page, pattern: str) -> None:
    page.route(pattern, lambda route: route.fulfill(status=404, body=""))


def test_a_part_that_cannot_be_loaded_says_so_and_comes_with_its_styles_when_it_can(page: Page, watch: Watch) -> None:
    watch.expected += ["status of 404"]
    # As after an upgrade: the files that the page knows of are gone.
    for name in ("ProviderDrawer", "ActivityPage"):
        refused(page, f"**/assets/{name}*")
    page.reload()
    page.locator("[data-provider=groq] .name").click()
    alert = page.get_by_role("alert").filter(has_text="This part of the page could not be loaded.")
    expect(alert).to_be_in_viewport()
    expect(page.get_by_role("button", name="Reload the page")).to_be_visible()
    page.unroute("**/assets/ProviderDrawer*")
    page.get_by_role("button", name="Retry").click()
    dialog = page.get_by_role("dialog", name="Groq")
    expect(dialog.locator(".head").first).to_have_css("display", "flex")
    expect(alert).to_have_count(0)
    page.goto("/activity")
    expect(alert).to_be_visible()
    page.unroute("**/assets/ActivityPage*")
    page.get_by_role("button", name="Reload the page").click()
    expect(page.get_by_role("heading", name="Activity")).to_be_visible()


# Press all that can be pressed, but links, and what closes something: it would take the rest out of sight.
PRESS = """async () => {
    const pressed = new Set();
    for (let round = 0; round < 3; round += 1) {
        for (const each of document.querySelectorAll("button, [role=switch], [role=menuitem]")) {
            const isOff = each.disabled || each.ariaDisabled === "true" || each.hasAttribute("data-disabled");
            const closes = each.matches("a, [data-dialog-close], [data-alert-dialog-cancel], header *");
            if (pressed.has(each) || isOff || closes || !each.isConnected) continue;
            pressed.add(each);
            each.click();
            await new Promise((resolve) => setTimeout(resolve));
        }
    }
    return pressed.size;
}"""
SENDING = (
    "statuses",
    "import-notice",
    "last",
    "menu",
    "conflict",
    "refused",
    "unchecked",
    "unopened",
    "unapproved",
    "removal",
    "restore",
)
"""Screens with what is sent: rows, a form, a menu, questions. The others are looked at in `make test-deep`."""


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize(
    "screens",
    [
        pytest.param(SENDING, id="those that send most"),
        pytest.param(SCREENS, id="all", marks=[pytest.mark.deep, pytest.mark.timeout(600)]),
    ],
)
def test_check_62_offline_nothing_that_can_be_pressed_writes(
    open_console: OpenConsole, service: Service, watch: Watch, screens: Iterable[str]
) -> None:
    watch.expected += EXPECTED
    furnished(service)
    page = open_console(reduced_motion="reduce")
    written: list[str] = []
    pressed = 0
    for name in each_of(page, [each for each in screens if not each.startswith("sign-in")]):
        page.context.set_offline(offline=True)
        page.wait_for_selector("header .offline", state="attached")
        before = len(watch.requests)
        pressed += page.evaluate(PRESS)
        sent = [each for each in watch.requests[before:] if each.method != "GET"]
        written += [f"{name}: {each.method} {each.url}" for each in sent]
    assert written == []
    assert pressed > 20


def test_a_stream_that_stays_away_says_reconnecting_after_five_seconds(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    watch.expected.append("ERR_FAILED")
    page = open_console()
    page.clock.install()
    page.reload()
    expect(state(page)).to_have_text("Live")
    page.route(CHANGES, lambda route: route.abort())
    with page.expect_event("requestfailed"):
        cut(service)
    page.clock.run_for(4_000)
    expect(state(page)).to_have_text("Live")
    page.clock.run_for(2_000)
    expect(state(page)).to_have_text("Reconnecting…")
    expect(page.get_by_text("Showing data from")).to_be_visible()
    page.unroute(CHANGES)
    page.clock.run_for(30_000)
    expect(state(page)).to_have_text("Live")
    expect(page.get_by_text("Showing data from")).to_have_count(0)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (403, "Your role does not allow this."),
        (404, "This no longer exists."),
        (429, "Too many requests: the server takes the next one in 3 s."),
        (500, "The server had an internal error."),
        (503, "The server cannot reach its database."),
    ],
)
def test_an_error_has_its_sentence_its_request_and_a_way_on(
    open_console: OpenConsole, watch: Watch, status: int, sentence: str
) -> None:
    watch.expected += [f"status of {status}", "ERR_FAILED"]
    page = open_console()
    page.clock.install()
    # News would have the list read again by itself.
    page.route(CHANGES, lambda route: route.abort())
    page.route(f"**{PROVIDERS}", lambda route: route.fulfill(**problem(status, **{"retry-after": "3"})))  # pyright: ignore[reportArgumentType]
    page.reload()
    if status >= 500:
        # It is asked twice more before anybody is told.
        for _ in range(2):
            with page.expect_response(f"**{PROVIDERS}"):
                page.clock.run_for(1_100)
    alert = page.get_by_role("alert").filter(has_text="The providers could not be loaded.")
    expect(alert).to_contain_text(sentence)
    expect(alert).to_contain_text("req-of-the-test")
    page.unroute(f"**{PROVIDERS}")
    if status == 429:
        expect(page.get_by_role("button", name="Retry in 3 s")).to_be_disabled()
        page.clock.run_for(3_100)
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.locator("[data-provider]")).to_have_count(12)
    expect(alert).to_have_count(0)


def test_what_was_loaded_stays_while_it_cannot_be_loaded_again(page: Page, service: Service, watch: Watch) -> None:
    watch.expected.append("status of 403")

    def refuse(route: Route) -> None:
        route.fulfill(**problem(403))  # pyright: ignore[reportArgumentType]

    expect(state(page)).to_have_text("Live")
    page.route(f"**{PROVIDERS}", refuse)
    service.configure("vosk", isEnabled=True)
    expect(page.get_by_role("alert").filter(has_text="could not be read again")).to_be_visible()
    expect(page.locator("[data-provider]")).to_have_count(12)
    page.unroute(f"**{PROVIDERS}")
    page.get_by_role("button", name="Retry").click()
    expect(switch(page, "Vosk (local)")).to_be_checked()

"""The overview: which provider answers the next call, and why."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.console.conftest import PROVIDERS, OpenConsole, Service, Watch
from voxplane.server.control_plane import local_administrator

UNAVAILABLE = {"code": "unavailable", "title": "Unavailable", "status": 503, "requestId": "req-of-the-test"}
NEXT = "[data-type=llm] .next strong"


def names(page: Page, provider_type: str) -> list[str]:
    return page.locator(f"[data-type={provider_type}] .name").all_inner_texts()


def ranks(page: Page, provider_type: str) -> list[str]:
    found = page.locator(f"[data-type={provider_type}] .rank").all_inner_texts()
    return [each for each in found if each]


def row(page: Page, key: str) -> Locator:
    return page.locator(f"[data-provider={key}]")


def refuse(route: Route) -> None:
    route.fulfill(status=503, content_type="application/problem+json", body=json.dumps(UNAVAILABLE))


@pytest.fixture
def chain(service: Service) -> Service:
    """Three language models that can answer: OpenAI, Anthropic Claude and Groq, in this order."""
    for key, priority in (("openai", 300), ("anthropic", 200), ("groq", 100)):
        service.store_key(key)
        service.configure(key, isEnabled=True, priority=priority)
    return service


def test_check_01_three_sections_list_every_registered_provider_of_their_type(page: Page, service: Service) -> None:
    for provider_type in ("llm", "tts", "stt"):
        listed = service.admin.get(f"/api/providers?type={provider_type}").json()["providers"]
        assert sorted(names(page, provider_type)) == sorted(each["name"] for each in listed)
    page.evaluate("document.documentElement.dir = 'rtl'")
    expect(row(page, "groq").locator(".open svg")).to_have_css("scale", "-1 1")


def test_check_02_order_is_priority_then_name_and_a_tie_says_so(open_console: OpenConsole, chain: Service) -> None:
    chain.configure("anthropic", priority=100)
    chain.configure("groq", priority=100)
    page = open_console()
    assert names(page, "llm") == ["OpenAI", "Anthropic Claude", "Groq", "Azure OpenAI", "Google Gemini"]
    expect(row(page, "groq")).to_contain_text("same priority as Anthropic Claude, ordered by name")
    expect(row(page, "anthropic")).not_to_contain_text("same priority")


def test_check_03_rank_words_follow_the_order_of_those_that_are_on(open_console: OpenConsole, chain: Service) -> None:
    page = open_console()
    assert ranks(page, "llm") == ["Primary", "Fallback 1", "Fallback 2"]
    chain.configure("openai", isEnabled=False)
    expect(row(page, "anthropic").locator(".rank")).to_have_text("Primary")
    assert ranks(page, "llm") == ["Primary", "Fallback 1"]
    expect(row(page, "openai").locator(".rank")).to_have_text("")


def test_check_04_next_call_goes_to_is_the_servers_primary(open_console: OpenConsole, chain: Service) -> None:
    page = open_console()
    primary = chain.admin.get(f"{PROVIDERS}/llm/primary").json()
    expect(page.locator("[data-type=llm] .next")).to_have_text(
        f"Next call goes to {primary['provider']['name']} / {primary['config']['model']}"
    )


def test_check_05_an_unusable_primary_shows_why_and_who_answers_instead(
    open_console: OpenConsole, chain: Service
) -> None:
    chain.configure("google", isEnabled=True, priority=900)
    page = open_console()
    expect(row(page, "google").locator(".status")).to_have_text("Key missing")
    expect(row(page, "google").locator(".unusable")).to_have_text("Cannot be used: calls go to OpenAI")
    expect(page.locator(NEXT)).to_have_text("OpenAI")
    banner = page.locator("[data-attention=google]")
    expect(banner).to_contain_text(
        "Google Gemini is primary for language models and cannot be used: API key missing. Calls go to OpenAI."
    )
    banner.get_by_role("link").click()
    expect(page).to_have_url(re.compile("/providers/google/credentials$"))


def test_one_banner_names_all_that_need_somebody_and_each_leads_to_where_it_is_mended(
    open_console: OpenConsole, service: Service
) -> None:
    service.configure("openai", isEnabled=False)
    for key in ("groq", "azure-openai", "anthropic", "elevenlabs", "cartesia"):
        service.configure(key, isEnabled=True, priority=5)
    service.configure("groq", priority=900)
    page = open_console()
    banner = page.get_by_role("region", name="need attention")
    expect(banner.get_by_role("heading")).to_have_text("6 providers need attention")
    items = banner.get_by_role("listitem")
    expect(items.first).to_contain_text("Groq is primary for language models and cannot be used")
    expect(items.first).to_contain_text("No other one can answer")
    expect(items.last).to_have_text("and 3 more")
    banner.get_by_role("button", name="Show them").click()
    expect(page).to_have_url(re.compile("status=attention"))
    expect(page.locator("[data-provider]")).to_have_count(6)


def untouched(service: Service) -> object:
    """Return what a file of the organization and its notices say of all providers but those that are on."""
    organization = service.portal.call(service.plane.access.find_organization, "default")
    file = service.portal.call(service.plane.files.export, local_administrator(organization.id, "test"))
    notices = service.admin.get("/api/organizations/current/notices").json()["notices"]
    return (
        {key: entry for key, entry in file.providers.items() if not entry.enabled},
        [each for each in notices if not each["isEnabled"]],
    )


def test_check_06_moving_up_is_one_request_and_holds(open_console: OpenConsole, chain: Service, watch: Watch) -> None:
    before = untouched(chain)
    page = open_console()
    assert names(page, "llm")[:3] == ["OpenAI", "Anthropic Claude", "Groq"]
    page.get_by_role("button", name="Move Anthropic Claude up").click()
    expect(page.locator(NEXT)).to_have_text("Anthropic Claude")
    (move,) = watch.sent("PUT")
    assert move.post_data_json == {"order": ["anthropic", "openai", "groq"]}
    # Nobody touched the others: a place of their own would have them in files and notices.
    assert untouched(chain) == before
    page.reload()
    page.wait_for_selector("[data-provider]")
    assert names(page, "llm")[:3] == ["Anthropic Claude", "OpenAI", "Groq"]
    assert chain.provider("anthropic")["isPrimary"]


def test_check_06_of_two_people_who_move_at_once_neither_is_overruled(
    open_console: OpenConsole, chain: Service, watch: Watch
) -> None:
    watch.expected.append("status of 412")
    page = open_console()

    def late(route: Route) -> None:
        order = {"order": ["groq", "openai", "anthropic"]}
        chain.admin.put(f"{PROVIDERS}/order?type=llm", json=order).raise_for_status()
        route.fallback()

    page.route("**/providers/order*", late, times=1)
    page.get_by_role("button", name="Move Anthropic Claude up").click()
    expect(page.locator("[aria-live=polite]")).to_have_text("Anthropic Claude moved to position 2 of 3")
    expect(page.locator("[data-type=llm] .name").first).to_have_text("Groq")
    assert names(page, "llm")[:3] == ["Groq", "Anthropic Claude", "OpenAI"]
    assert len(watch.sent("PUT")) == 2


def test_check_07_dragging_by_the_handle_gives_the_same_result(
    open_console: OpenConsole, chain: Service, watch: Watch
) -> None:
    page = open_console()
    handle = row(page, "groq").locator("[data-handle]")
    handle.hover()
    expect(page.locator("[data-type=llm] [data-drag=ready]")).to_be_visible()
    handle.hover()
    page.mouse.down()
    target = row(page, "openai").bounding_box()
    assert target is not None
    page.mouse.move(target["x"] + 30, target["y"] + target["height"], steps=8)
    expect(page.locator("[data-type=llm] ol .name").first).to_have_text("OpenAI")
    page.mouse.move(target["x"] + 30, target["y"] + 10, steps=8)
    expect(page.locator("[data-type=llm] ol .name").first).to_have_text("Groq")
    page.mouse.up()
    expect(page.locator(NEXT)).to_have_text("Groq")
    assert names(page, "llm")[:3] == ["Groq", "OpenAI", "Anthropic Claude"]
    assert len(watch.sent("PUT")) == 1
    assert chain.provider("groq")["isPrimary"]
    # Esc gives a move up.
    handle.hover()
    page.mouse.down()
    page.mouse.move(target["x"] + 30, target["y"] + target["height"] + 40, steps=8)
    expect(page.locator("[data-type=llm] ol .name").first).to_have_text("OpenAI")
    page.keyboard.press("Escape")
    expect(page.locator("[data-type=llm] ol .name").first).to_have_text("Groq")
    page.mouse.up()
    assert len(watch.sent("PUT")) == 1


def test_check_08_and_09_alt_up_gives_the_same_result_says_the_position_and_stays_on_the_row(
    open_console: OpenConsole, chain: Service, watch: Watch
) -> None:
    page = open_console(viewport={"width": 1280, "height": 360})
    link = row(page, "anthropic").locator(".name")
    link.focus()
    row(page, "anthropic").evaluate("(row) => row.scrollIntoView({ block: 'start' })")
    page.keyboard.press("Alt+ArrowUp")
    expect(page.locator("[aria-live=polite]")).to_have_text("Anthropic Claude moved to position 1 of 3, now primary")
    expect(link).to_be_focused()
    expect(row(page, "anthropic")).to_be_in_viewport(ratio=1)
    # The row shows where it went.
    expect(page.locator(".toast")).to_have_count(0)
    assert len(watch.sent("PUT")) == 1
    assert chain.provider("anthropic")["isPrimary"]


@pytest.mark.usefixtures("chain")
def test_check_09_the_focus_stays_on_the_row_that_a_button_moved(open_console: OpenConsole) -> None:
    page = open_console()
    page.get_by_role("button", name="Move Groq up").press("Enter")
    expect(page.locator("[data-type=llm] .name").nth(1)).to_have_text("Groq")
    expect(page.get_by_role("button", name="Move Groq up")).to_be_focused()
    page.keyboard.press("Enter")
    # At the top there is no up any more: the other button of the row has the focus.
    expect(page.get_by_role("button", name="Move Groq down")).to_be_focused()
    expect(page.locator(NEXT)).to_have_text("Groq")


@pytest.mark.usefixtures("chain")
def test_check_10_a_failed_move_goes_back_and_says_why_on_the_row(open_console: OpenConsole, watch: Watch) -> None:
    watch.expected.append("503")
    page = open_console()
    page.route("**/providers/order*", refuse)
    page.get_by_role("button", name="Move Groq up").click()
    alert = row(page, "groq").get_by_role("alert")
    expect(alert).to_contain_text("Groq was not moved. The server cannot reach its database.")
    assert names(page, "llm")[:3] == ["OpenAI", "Anthropic Claude", "Groq"]
    page.unroute("**/providers/order*")
    page.get_by_role("button", name="Move Groq up").click()
    expect(page.locator("[data-type=llm] .name").nth(1)).to_have_text("Groq")
    expect(alert).to_have_count(0)


def test_check_11_a_switch_holds_and_goes_back_when_the_server_says_no(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    watch.expected.append("503")
    page = open_console()
    switch = page.get_by_role("switch", name="Vosk (local) on")
    switch.click()
    expect(switch).to_be_checked()
    expect(page.locator("[aria-live=polite]")).to_have_text("Vosk (local) is on")
    assert service.provider("vosk")["isEnabled"]
    # Its row is in the other list now, and comes back from there: the focus goes with it.
    expect(switch).to_be_focused()
    page.route("**/providers/vosk/config", refuse)
    page.keyboard.press("Space")
    expect(row(page, "vosk").get_by_role("alert")).to_contain_text("Vosk (local) was not changed.")
    expect(switch).to_be_checked()
    expect(switch).to_be_focused()
    page.reload()
    expect(switch).to_be_checked()


def test_check_12_turning_on_without_a_key_leads_to_credentials(page: Page, service: Service) -> None:
    switch = page.get_by_role("switch", name="Groq on")
    switch.click()
    expect(page).to_have_url(re.compile("/providers/groq/credentials"))
    expect(page.get_by_text("Set the API key to finish turning on Groq.")).to_be_visible()
    assert not service.provider("groq")["isEnabled"]
    page.keyboard.press("Escape")
    expect(switch).not_to_be_checked()


def test_check_13_turning_off_the_last_one_asks_first(page: Page, service: Service) -> None:
    switch = page.get_by_role("switch", name="Deepgram on")
    switch.click()
    dialog = page.get_by_role("alertdialog", name="Turn off Deepgram?")
    # Without a key no call is answered by it anyway.
    expect(dialog).to_contain_text("Deepgram cannot be used now, and no other one is on: nothing changes for calls.")
    dialog.get_by_role("button", name="Keep it on").click()
    service.store_key("deepgram")
    expect(page.locator("[data-type=stt] .next strong")).to_have_text("Deepgram")
    switch.click()
    expect(dialog).to_contain_text("No speech to text will be available: callers will not be understood.")
    dialog.get_by_role("button", name="Keep it on").click()
    expect(dialog).to_have_count(0)
    expect(switch).to_be_checked()
    switch.click()
    dialog.get_by_role("button", name="Turn off Deepgram").click()
    expect(switch).not_to_be_checked()
    section = page.locator("[data-type=stt]")
    expect(section).to_contain_text("No speech to text is turned on.")
    expect(page.locator("[aria-live=polite]")).to_have_text("Deepgram is off")
    expect(switch).to_be_focused()
    assert not service.provider("deepgram")["isEnabled"]
    section.get_by_role("button", name="Turn on Vosk (local)").click()
    expect(section.locator(".next strong")).to_have_text("Vosk (local)")


def test_check_14_search_and_filters_work_live_in_the_address_and_survive_a_reload(page: Page) -> None:
    page.keyboard.press("/")
    search = page.get_by_role("searchbox", name="Search providers")
    expect(search).to_be_focused()
    search.fill("open")
    expect(page.locator("[data-provider] .name")).to_have_text(["OpenAI", "Azure OpenAI", "Groq", "OpenAI TTS"])
    expect(page).to_have_url(re.compile(r"/providers\?q=open$"))
    page.get_by_role("combobox", name="Status").select_option("Key missing")
    expect(page.locator("[data-provider] .name")).to_have_text(["OpenAI", "Groq", "OpenAI TTS"])
    page.reload()
    expect(page.locator("[data-provider] .name")).to_have_text(["OpenAI", "Groq", "OpenAI TTS"])
    expect(search).to_have_value("open")
    page.get_by_role("combobox", name="Status").select_option("Any status")
    page.get_by_role("combobox", name="Type").select_option("Text to speech")
    expect(page.locator("[data-provider] .name")).to_have_text(["OpenAI TTS"])
    search.fill("nobody like that")
    expect(page.get_by_text("No provider matches")).to_contain_text("nobody like that")
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("[data-provider]")).to_have_count(12)
    expect(search).to_be_focused()
    expect(page).to_have_url(re.compile("/providers$"))


def test_a_drawer_opens_over_the_overview_as_it_is_filtered_and_closes_to_it(page: Page) -> None:
    page.get_by_role("searchbox").fill("groq")
    row(page, "groq").locator(".name").click()
    expect(page).to_have_url(re.compile(r"/providers/groq/config\?q=groq$"))
    page.get_by_role("tab", name="Credentials").click()
    expect(page).to_have_url(re.compile(r"/providers/groq/credentials\?q=groq$"))
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile(r"/providers\?q=groq$"))
    expect(row(page, "groq").locator(".name")).to_be_focused()
    expect(page.locator("[data-provider]")).to_have_count(1)


STATUSES = {
    "openai": ("unverified", "Unverified"),
    "groq": ("failing", "Failing"),
    "google": ("secrets_missing", "Key missing"),
    "azure-openai": ("invalid_config", "Not configured"),
    "anthropic": ("destination_unapproved", "Address not approved"),
    "deepgram": ("undecryptable", "Key cannot be opened"),
    "vosk": ("retired", "No longer offered"),
}


def test_check_15_each_status_is_an_icon_and_a_word(open_console: OpenConsole) -> None:
    def with_every_status(route: Route) -> None:
        body: dict[str, Any] = route.fetch().json()
        for each in body["providers"]:
            each["status"] = STATUSES.get(each["provider"]["key"], (each["status"], ""))[0]
        route.fulfill(json=body)

    page = open_console(wait=False)
    page.route(f"**{PROVIDERS}", with_every_status)
    page.reload()
    for key, (status, word) in STATUSES.items():
        badge = row(page, key).locator(f"[data-status={status}]")
        expect(badge).to_have_text(word)
        expect(badge.locator("svg")).to_be_visible()


def test_a_provider_that_workers_see_fail_says_since_when_and_why(open_console: OpenConsole, chain: Service) -> None:
    headers = {"Authorization": f"Bearer {chain.token('worker:resolve')}"}
    report = {"provider": "groq", "outcome": "failed", "kind": "authentication"}
    epoch, revision, *_ = chain.provider("groq")["etag"].strip('"').split(".")
    body = {"at": f"{epoch}.{revision}", "reports": [report]}
    answer = chain.admin.post("/api/organizations/current/reports", json=body, headers=headers)
    assert answer.is_success, answer.text
    page = open_console()
    expect(row(page, "groq").locator(".status")).to_have_text(re.compile(r"Failing since \d.* · key rejected"))
    page.locator("[data-attention=groq]").get_by_role("link", name="Open credentials").click()
    expect(page).to_have_url(re.compile("/providers/groq/credentials$"))


def test_check_16_the_page_needs_no_provider(
    open_console: OpenConsole, chain: Service, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[object] = []
    look_up = socket.getaddrinfo

    def listening(host: object, *rest: Any, **options: Any) -> Any:
        looked_up.append(host)
        return look_up("127.0.0.1", *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", listening)
    page = open_console()
    expect(page.locator(NEXT)).to_have_text("OpenAI")
    assert set(looked_up) <= {"127.0.0.1", "localhost", None}
    asked = {each.url.removeprefix(chain.address) for each in watch.requests if "/api/" in each.url}
    organization = "/api/organizations/current"
    assert asked == {"/api/me", PROVIDERS, f"{organization}/changes", f"{organization}/import-notice"}
    assert {each.method for each in watch.requests} == {"GET"}

"""The console without a mouse: keys of their own, and everything by its name."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import OpenConsole, Service, Watch


def names(page: Page) -> Locator:
    return page.locator("[data-provider] .name")


def find(page: Page, words: str) -> Locator:
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Go to a provider").fill(words)
    return page.get_by_role("dialog").get_by_role("option")


def test_j_and_k_go_from_row_to_row_and_enter_opens(page: Page) -> None:
    page.keyboard.press("j")
    expect(names(page).first).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(names(page).nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name=names(page).nth(1).inner_text())).to_be_visible()


def test_a_question_mark_lists_the_keys_and_they_can_be_turned_off_for_good(page: Page) -> None:
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_contain_text("Move the provider up")
    dialog.get_by_role("switch", name="Single-letter keys").uncheck()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    for _ in range(2):
        page.keyboard.press("j")
        page.keyboard.press("/")
        page.keyboard.press("?")
        expect(page.locator("body")).to_be_focused()
        page.reload()
        names(page).first.wait_for()
    expect(find(page, "shortcuts")).to_have_text("Keyboard shortcuts")
    page.keyboard.press("Enter")
    dialog.get_by_role("switch", name="Single-letter keys").check()
    dialog.get_by_role("button", name="Close").click()
    page.keyboard.press("j")
    expect(names(page).first).to_be_focused()


def test_keys_are_letters_where_something_is_typed(page: Page) -> None:
    search = page.get_by_role("searchbox")
    search.press_sequentially("jk/?")
    expect(search).to_have_value("jk/?")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_palette_goes_to_a_provider(page: Page) -> None:
    expect(find(page, "speech eleven")).to_have_text(re.compile("ElevenLabs"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="ElevenLabs")).to_be_visible()
    expect(page).to_have_url(re.compile("/providers/elevenlabs/config$"))


def test_the_palette_makes_a_provider_primary_in_one_request(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    for key in ("openai", "anthropic", "groq"):
        service.store_key(key)
        service.configure(key, isEnabled=True)
    page = open_console()
    primary = page.locator("[data-type=llm] .name").first
    expect(primary).not_to_have_text("Groq")
    options = find(page, "groq")
    own = ("Make Groq primary for language models", "Turn off Groq", "Replace the key of Groq", "Test Groq")
    expect(options).to_have_text([re.compile("Groq"), *own, "History of Groq"])
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(primary).to_have_text("Groq")
    expect(page.get_by_text("Groq moved to position 1 of 3, now primary")).to_be_visible()
    assert len(watch.sent("PUT")) == 1
    assert service.provider("groq")["isPrimary"]


def test_the_palette_opens_the_key_that_it_names_wherever_one_is(open_console: OpenConsole, service: Service) -> None:
    service.store_key("google")
    page = open_console("/providers/google/credentials")
    for _ in range(2):
        expect(page.get_by_role("dialog")).to_have_count(1)
        expect(find(page, "key of google")).to_have_text("Replace the key of Google Gemini")
        page.keyboard.press("Enter")
        # The one that is set, and not another one that could be.
        expect(page.get_by_label("New API key")).to_be_focused()
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("form").get_by_role("button", name="Cancel")).to_have_count(0)
        expect(page).to_have_url(re.compile("/providers/google/credentials$"))


def test_the_palette_offers_what_the_role_may_do(open_console: OpenConsole, service: Service) -> None:
    for key in ("openai", "groq"):
        service.store_key(key)
        service.configure(key, isEnabled=True)
    page = open_console(scopes=("livekit:read",))
    expect(find(page, "groq")).to_have_text([re.compile("Groq"), "History of Groq"])
    page.get_by_role("combobox", name="Go to a provider").fill("nothing like it")
    expect(page.get_by_role("dialog").get_by_role("option")).to_have_count(0)
    expect(page.get_by_text("Nothing has this name.")).to_be_visible()
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_palette_switches_the_theme_and_signs_out(page: Page) -> None:
    find(page, "theme dark")
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    find(page, "sign out")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


FOCUSED = """(() => {
    const { ariaLabel, labels, innerText } = document.activeElement;
    return ariaLabel ?? labels?.[0]?.innerText ?? innerText;
})()"""


def tab_to(page: Page, name: str, key: str = "Tab") -> None:
    """Go on with the tabulator until what has this name has the focus."""
    for _ in range(60):
        page.keyboard.press(key)
        if page.evaluate(FOCUSED).partition("\n")[0] == name:
            return
    raise AssertionError(name)


def test_check_64_from_signing_in_to_making_a_provider_primary_without_a_mouse(
    open_console: OpenConsole, service: Service
) -> None:
    service.store_key("openai")
    page = open_console("/signin", signed_in=False)
    expect(page.get_by_label("Access token")).to_be_focused()
    page.keyboard.insert_text(service.token())
    page.keyboard.press("Enter")
    expect(page.locator("[data-provider=groq]")).to_be_visible()
    tab_to(page, "Groq")
    tab_to(page, "Groq on")
    page.keyboard.press("Space")
    # There is no key yet: it leads to where one is set.
    expect(page.get_by_label("New API key")).to_be_focused()
    page.keyboard.insert_text("gsk_0123456789")
    tab_to(page, "Check it before saving")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.locator("[data-secret=apiKey] [data-set=true]")).to_be_visible()
    expect(page.get_by_text("Groq is on", exact=True)).to_be_attached()
    tab_to(page, "Credentials", "Shift+Tab")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Configuration")).to_be_focused()
    tab_to(page, "Temperature")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("0.4")
    page.keyboard.press("Enter")
    expect(page.locator("[data-setting=temperature] .standing")).to_have_text("Overridden")
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Groq", exact=True)).to_be_focused()
    page.keyboard.press("Alt+ArrowUp")
    expect(page.locator("[data-type=llm] .next strong")).to_have_text("Groq")
    groq = service.provider("groq")
    assert (groq["isPrimary"], groq["usable"], groq["overrides"]) == (True, True, {"temperature": 0.4})


def test_the_same_by_mouse_from_the_printed_link(open_console: OpenConsole, service: Service) -> None:
    service.store_key("openai")
    page = open_console(f"/signin#{service.portal.call(service.plane.sign_in_code)}", signed_in=False)
    page.get_by_role("switch", name="Groq on").click()
    page.get_by_label("New API key").fill("gsk_0123456789")
    page.get_by_role("checkbox", name="Check it before saving").uncheck()
    page.get_by_role("button", name="Save API key").click()
    expect(page.locator("[data-secret=apiKey] [data-set=true]")).to_be_visible()
    page.get_by_role("tab", name="Configuration").click()
    slider = page.locator("[data-setting=temperature] input[type=range]")
    box = slider.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    chosen = float(slider.input_value())
    assert 0 < chosen < 1
    page.get_by_role("button", name="Save changes").click()
    expect(page.locator("[data-setting=temperature] .standing")).to_have_text("Overridden")
    page.get_by_role("button", name="Close Groq").click()
    page.get_by_role("button", name="Move Groq up").click()
    expect(page.locator("[data-type=llm] .next strong")).to_have_text("Groq")
    groq = service.provider("groq")
    assert (groq["isPrimary"], groq["usable"], groq["overrides"]) == (True, True, {"temperature": chosen})

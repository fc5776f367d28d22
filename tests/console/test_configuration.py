"""The configuration of a provider: what is default, what is one's own, and what a save sends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal

import pytest
from playwright.sync_api import Locator, Page, Request, Route, expect

from tests.console.conftest import PROVIDERS, OpenConsole, Service, Watch
from tests.console.reference import PROVIDER as REFERENCE

CONFIG = "/providers/openai/config"
Role = Literal["checkbox", "combobox", "radio", "slider", "switch", "textbox"]
KEY = "sk-canary-0123456789abcdef"

with_reference = pytest.mark.usefixtures("reference")


def setting(page: Page, name: str) -> Locator:
    """Return one setting, as the API names it."""
    return page.locator(f"[data-setting={name}]")


def entry(page: Page, name: str, label: str) -> Locator:
    """Return where a setting is typed in."""
    return setting(page, name).get_by_label(label, exact=True)


def temperature(page: Page) -> Locator:
    return entry(page, "temperature", "Temperature")


def standing(page: Page, name: str) -> Locator:
    return setting(page, name).locator(".standing")


def save(page: Page) -> Locator:
    return page.get_by_role("button", name="Save changes")


def saved(page: Page) -> None:
    """Save, and wait until there is nothing left to be saved."""
    save(page).click()
    expect(save(page)).to_have_count(0)


def advanced(page: Page) -> None:
    page.get_by_role("tabpanel").locator("summary").click()


def written(watch: Watch, path: str = "/config") -> list[Any]:
    """Return the bodies that were sent to be written, oldest first."""
    return [request.post_data_json for request in watch.sent("PUT", path)]


# How it is shown


@with_reference
def test_check_17_every_kind_of_setting_is_shown(open_console: OpenConsole) -> None:
    page = open_console("/providers/reference/config")
    advanced(page)
    shown = page.locator("[data-setting]").evaluate_all("all => all.map(({ dataset: d }) => [d.setting, d.kind])")
    # It does not think by default, so it is not asked how much.
    assert {name for name, _ in shown} == set(REFERENCE.config_schema["properties"]) - {"thoughts"}
    roles: dict[str, Role] = {
        "text": "textbox",
        "textarea": "textbox",
        "number": "textbox",
        "slider": "slider",
        "switch": "switch",
        "select": "combobox",
        "radio": "radio",
        "suggest": "combobox",
        "picker": "combobox",
        "tags": "textbox",
        "choices": "checkbox",
        "object": "switch",
        "variant": "radio",
        "json": "textbox",
    }
    assert {kind for _, kind in shown} == set(roles)
    for name, kind in shown:
        expect(setting(page, name).get_by_role(roles[kind]).first).to_be_visible()


def test_check_18_an_untouched_form_sends_nothing_and_offers_no_save(open_console: OpenConsole, watch: Watch) -> None:
    page = open_console(CONFIG)
    expect(temperature(page)).to_have_value("0.7")
    temperature(page).press("Tab")
    expect(save(page)).to_have_count(0)
    assert watch.sent("PUT") == []


def test_check_19_changing_one_setting_sends_exactly_that(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    page = open_console(CONFIG)
    etag = service.provider("openai")["etag"]
    temperature(page).fill("0.9")
    saved(page)
    assert written(watch) == [{"config": {"temperature": 0.9}}]
    assert watch.sent("PUT")[0].headers["if-match"] == etag
    assert service.provider("openai")["overrides"] == {"temperature": 0.9}


def test_check_20_default_becomes_overridden_and_the_way_back_names_the_value(open_console: OpenConsole) -> None:
    page = open_console(CONFIG)
    expect(standing(page, "temperature")).to_have_text("Default")
    temperature(page).fill("0.9")
    expect(standing(page, "temperature")).to_have_text("Unsaved")
    save(page).click()
    expect(standing(page, "temperature")).to_have_text("Overridden")
    expect(setting(page, "temperature").get_by_text("Reset to default (0.7)")).to_be_visible()


def test_check_21_reset_takes_the_setting_out_and_shows_the_default(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    service.configure("openai", config={"temperature": 0.9, "maxTokens": 500})
    page = open_console(CONFIG)
    page.get_by_role("button", name="Temperature: Reset to default (0.7)").press("Enter")
    expect(temperature(page)).to_have_value("0.7")
    expect(temperature(page)).to_be_focused()
    saved(page)
    assert written(watch) == [{"config": {"maxTokens": 500}}]
    expect(standing(page, "temperature")).to_have_text("Default")


def test_check_22_an_override_that_equals_the_default_is_kept(open_console: OpenConsole, service: Service) -> None:
    page = open_console(CONFIG)
    temperature(page).fill("0.70")
    saved(page)
    expect(standing(page, "temperature")).to_have_text("Overridden (same as default)")
    assert service.provider("openai")["overrides"] == {"temperature": 0.7}


def test_check_23_a_number_out_of_range_is_told_the_range(open_console: OpenConsole) -> None:
    page = open_console(CONFIG)
    temperature(page).fill("3")
    expect(temperature(page)).to_have_attribute("aria-invalid", "false")
    temperature(page).press("Tab")
    expect(temperature(page)).to_have_attribute("aria-invalid", "true")
    expect(temperature(page)).to_have_accessible_description(re.compile(r"Write a number from 0 to 2\.$"))
    temperature(page).fill("2")
    expect(temperature(page)).to_have_attribute("aria-invalid", "false")


def test_check_24_errors_are_summed_up_and_each_leads_to_its_setting(open_console: OpenConsole, watch: Watch) -> None:
    page = open_console(CONFIG)
    temperature(page).fill("3")
    entry(page, "maxTokens", "Maximum tokens").fill("none")
    save(page).click()
    expect(page.get_by_role("group", name="2 settings need attention")).to_be_focused()
    page.get_by_role("link", name="Maximum tokens").click()
    expect(entry(page, "maxTokens", "Maximum tokens")).to_be_focused()
    assert watch.sent("PUT") == []


def test_an_error_among_the_advanced_settings_unfolds_them(open_console: OpenConsole) -> None:
    page = open_console(CONFIG)
    advanced(page)
    entry(page, "topP", "Top P").fill("7")
    advanced(page)
    save(page).click()
    page.get_by_role("link", name="Top P").click()
    expect(entry(page, "topP", "Top P")).to_be_focused()


def test_check_25_what_the_server_refuses_stands_at_its_setting(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    watch.expected.append("422")
    service.configure("anthropic", config={"thinking": "enabled", "thinkingBudget": 2000, "maxTokens": 4000})
    page = open_console("/providers/anthropic/config")
    entry(page, "maxTokens", "Maximum tokens").fill("1500")
    save(page).click()
    expect(page.get_by_role("group", name="1 setting needs attention")).to_be_focused()
    expect(entry(page, "thinkingBudget", "Thinking budget")).to_have_attribute("aria-invalid", "true")
    expect(entry(page, "maxTokens", "Maximum tokens")).to_have_attribute("aria-invalid", "false")


@with_reference
def test_check_26_a_conditional_setting_appears_and_is_not_sent_while_hidden(
    open_console: OpenConsole, watch: Watch
) -> None:
    page = open_console("/providers/reference/config")
    entry(page, "name", "Name").fill("Ann")
    expect(setting(page, "thoughts")).to_have_count(0)
    entry(page, "thinks", "Thinks").check()
    entry(page, "thoughts", "Thoughts").fill("50")
    entry(page, "thinks", "Thinks").uncheck()
    expect(setting(page, "thoughts")).to_have_count(0)
    expect(page.get_by_text("Not available with these settings, and not sent: Thoughts.")).to_be_visible()
    saved(page)
    assert written(watch) == [{"config": {"name": "Ann", "thinks": False}}]


@with_reference
def test_check_27_another_of_several_objects_drops_what_the_first_one_had(
    open_console: OpenConsole, watch: Watch
) -> None:
    page = open_console("/providers/reference/config")
    entry(page, "name", "Name").fill("Ann")
    entry(page, "opening", "Fixed").check()
    entry(page, "opening", "At").fill("30")
    entry(page, "opening", "Window").check()
    expect(entry(page, "opening", "At")).to_have_count(0)
    entry(page, "opening", "Opens").fill("480")
    saved(page)
    assert written(watch) == [{"config": {"name": "Ann", "opening": {"kind": "window", "opens": 480}}}]


# Leaving


def _escape(page: Page) -> None:
    page.keyboard.press("Escape")


def _outside(page: Page) -> None:
    page.mouse.click(20, 500)


def _close(page: Page) -> None:
    page.get_by_role("button", name="Close OpenAI").click()


def _back(page: Page) -> None:
    page.evaluate("history.back()")


@pytest.mark.parametrize("leave", [_close, _escape, _outside, _back])
def test_check_28_what_is_unsaved_is_asked_about(open_console: OpenConsole, leave: Callable[[Page], None]) -> None:
    page = open_console()
    page.get_by_role("link", name="OpenAI", exact=True).click()
    temperature(page).fill("0.9")
    leave(page)
    page.get_by_role("button", name="Keep editing").click()
    expect(page).to_have_url(re.compile(f"{CONFIG}$"))
    expect(temperature(page)).to_have_value("0.9")
    leave(page)
    page.get_by_role("button", name="Discard changes").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).to_have_url(re.compile("/providers$"))
    if leave is _back:
        # It stands in the history once: what was before it is one step away.
        page.go_back()
        expect(page).to_have_url("about:blank")


def test_check_28_what_is_unsaved_is_asked_about_when_the_tab_closes(open_console: OpenConsole) -> None:
    page = open_console(CONFIG)
    temperature(page).click()
    temperature(page).fill("0.9")
    with page.expect_event("dialog") as asked:
        page.close(run_before_unload=True)
    assert asked.value.type == "beforeunload"
    asked.value.dismiss()
    page.get_by_role("button", name="Discard").click()
    expect(save(page)).to_have_count(0)


def test_another_tab_of_the_provider_keeps_what_is_unsaved(open_console: OpenConsole) -> None:
    page = open_console(CONFIG)
    temperature(page).fill("0.9")
    page.get_by_role("tab", name="Credentials").click()
    page.get_by_role("tab", name="Configuration").click()
    expect(temperature(page)).to_have_value("0.9")


# Other values


@with_reference
def test_check_29_what_no_form_has_a_field_for_is_edited_as_json(open_console: OpenConsole, service: Service) -> None:
    weights = {"a": [1, 2], "b": []}
    page = open_console("/providers/reference/config")
    entry(page, "name", "Name").fill("Ann")
    entry(page, "weights", "Weights").fill('{"a": [1,')
    save(page).click()
    expect(page.get_by_role("group", name="1 setting needs attention")).to_contain_text("Write valid JSON")
    entry(page, "weights", "Weights").fill('{"a": [1], "a": [2]}')
    expect(page.get_by_role("group", name="1 setting needs attention")).to_contain_text("names one field twice")
    entry(page, "weights", "Weights").fill(json.dumps(weights))
    saved(page)
    assert service.provider("reference")["overrides"]["weights"] == weights
    page.reload()
    assert json.loads(entry(page, "weights", "Weights").input_value()) == weights


@with_reference
def test_every_widget_gives_its_kind_of_value(open_console: OpenConsole, watch: Watch) -> None:
    page = open_console("/providers/reference/config")
    entry(page, "name", "Name").fill("Ann")
    entry(page, "voice", "Voice").fill("tto")
    page.get_by_role("option", name="otto").click()
    entry(page, "model", "Model").fill("reference-9")
    page.get_by_role("option", name="(not in the list)").click()
    setting(page, "greeting").get_by_role("button", name="Use empty value").click()
    setting(page, "beams").get_by_role("slider").press("ArrowRight")
    entry(page, "parallel", "Parallel").select_option("Off")
    entry(page, "rate", "Rate").select_option("48000")
    entry(page, "size", "Large").check()
    entry(page, "words", "Add to Words").fill("maybe")
    entry(page, "words", "Add to Words").press("Enter")
    page.get_by_role("button", name="Remove yes").click()
    entry(page, "redact", "numbers").check()
    entry(page, "sizes", "Add to Sizes").fill("120")
    entry(page, "sizes", "Add to Sizes").press("Enter")
    entry(page, "limits", "Words").check()
    entry(page, "ratio", "Ratio").fill("2,5")
    saved(page)
    assert written(watch) == [
        {
            "config": {
                "name": "Ann",
                "voice": "otto",
                "model": "reference-9",
                "greeting": "",
                "beams": 6,
                "parallel": False,
                "rate": 48000,
                "size": "large",
                "words": ["no", "maybe"],
                "redact": ["numbers"],
                "sizes": [120],
                "limits": {"words": True},
                "ratio": 2.5,
            }
        }
    ]


def test_models_are_offered_with_their_ends_and_any_other_may_be_typed(open_console: OpenConsole) -> None:
    page = open_console(CONFIG)
    page.get_by_role("button", name="Show the list for Model").click()
    expect(page.get_by_role("option", name="gpt-4o-mini").first).to_contain_text("ends Jan 14, 2027")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_visible()
    entry(page, "model", "Model").fill("my-own")
    page.keyboard.press("Tab")
    expect(entry(page, "model", "Model")).to_have_value("my-own")
    expect(standing(page, "model")).to_have_text("Unsaved")


def test_the_priority_is_saved_by_itself(open_console: OpenConsole, service: Service, watch: Watch) -> None:
    page = open_console(CONFIG)
    page.get_by_label("Priority").fill("2000")
    save(page).click()
    expect(page.get_by_role("group", name="1 setting needs attention")).to_contain_text("from 0 to 1000")
    page.get_by_label("Priority").fill("730")
    saved(page)
    assert written(watch) == [{"priority": 730}]
    assert service.provider("openai")["priority"] == 730


# Roles, and where a key is sent


def test_a_reader_reads(open_console: OpenConsole, service: Service) -> None:
    service.configure("openai", config={"temperature": 0.9})
    page = open_console(CONFIG, scopes=("livekit:read",))
    expect(setting(page, "temperature")).to_contain_text("0.9")
    expect(standing(page, "temperature")).to_have_text("Overridden")
    expect(page.get_by_role("tabpanel").get_by_role("textbox")).to_have_count(0)
    expect(page.get_by_role("button", name="Reset")).to_have_count(0)


def test_check_30_where_a_key_is_sent_is_locked_for_a_writer(open_console: OpenConsole) -> None:
    page = open_console(CONFIG, scopes=("livekit:read", "livekit:write"))
    advanced(page)
    address = entry(page, "baseUrl", "Base URL")
    expect(address).to_have_attribute("readonly", "")
    expect(address).to_have_accessible_description(re.compile("Ask a secrets admin to change it"))
    expect(temperature(page)).to_be_editable()


def test_check_30_where_a_key_is_sent_changes_with_the_key_only(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    service.store_key("openai")
    page = open_console(CONFIG)
    advanced(page)
    entry(page, "baseUrl", "Base URL").fill("https://eu.api.openai.com/v1")
    save(page).click()
    expect(page.get_by_label("New API key")).to_be_focused()
    assert watch.sent("PUT") == []
    page.get_by_label("New API key").fill(KEY)
    held: list[Route] = []
    page.route("**/verify", lambda route: held.append(route))  # noqa: PLW0108 - a method of C cannot be wrapped
    save(page).click()
    # What is on its way is not taken back from under it.
    expect(page.get_by_role("button", name="Discard")).to_be_disabled()
    page.get_by_role("button", name="Discard").click(force=True)
    expect(page.get_by_label("New API key")).to_have_attribute("readonly", "")
    held[0].continue_()
    expect(save(page)).to_have_count(0)
    expect(page.get_by_label("New API key")).to_have_count(0)
    assert written(watch) == [{"config": {"baseUrl": "https://eu.api.openai.com/v1"}}]
    destination = ["https://eu.api.openai.com:443/v1"]
    assert written(watch, "/secrets") == [{"secrets": {"apiKey": KEY}, "approvedOrigins": destination, "check": False}]
    (tested,) = watch.sent("POST", "/verify")
    assert tested.post_data_json == {
        "config": {"baseUrl": "https://eu.api.openai.com/v1"},
        "secrets": {"apiKey": KEY},
        "approvedOrigins": ["https://eu.api.openai.com/v1"],
    }, "what leaves it open is no reason not to save"
    provider = service.provider("openai")
    assert (provider["origins"], provider["approvedOrigins"]) == (destination, destination)
    assert provider["secretFields"][0]["version"] == 2
    assert KEY not in page.content()


def test_a_key_that_is_refused_is_asked_for_again(open_console: OpenConsole, service: Service, watch: Watch) -> None:
    watch.expected.append("422")
    service.store_key("openai")
    page = open_console(CONFIG)
    advanced(page)
    entry(page, "baseUrl", "Base URL").fill("https://eu.api.openai.com/v1")
    page.get_by_label("New API key").fill("***")
    before = service.provider("openai")
    save(page).click()
    expect(page.get_by_role("alert").filter(has_text="Nothing is saved.")).to_be_visible()
    assert service.provider("openai") == before
    page.get_by_role("checkbox", name="Check it before saving").uncheck()
    save(page).click()
    expect(page.get_by_role("alert").filter(has_text="The settings are saved, the key is not.")).to_be_visible()
    assert service.provider("openai")["status"] == "destination_unapproved"
    page.get_by_label("New API key").fill(KEY)
    saved(page)
    assert service.provider("openai")["status"] == "unverified"
    assert len(written(watch)) == 1


# The menu


def test_all_settings_go_back_to_their_defaults_and_forth_again(open_console: OpenConsole, service: Service) -> None:
    service.configure("openai", config={"temperature": 0.9})
    page = open_console(CONFIG)
    page.get_by_role("button", name="More for OpenAI").click()
    page.get_by_role("menuitem", name="Reset all to defaults").click()
    expect(temperature(page)).to_have_value("0.7")
    assert service.provider("openai")["overrides"] == {}
    page.get_by_role("button", name="Undo").click()
    expect(temperature(page)).to_have_value("0.9")
    expect(page.get_by_role("button", name="More for OpenAI")).to_be_focused()
    assert service.provider("openai")["overrides"] == {"temperature": 0.9}
    # What somebody else saved since would be undone with it.
    page.keyboard.press("Enter")
    page.get_by_role("menuitem", name="Reset all to defaults").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    service.configure("openai", config={"maxTokens": 777})
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)


def test_the_save_can_be_copied_as_a_call_of_the_api(open_console: OpenConsole, service: Service) -> None:
    service.store_key("openai", KEY)
    page = open_console(CONFIG, permissions=["clipboard-read", "clipboard-write"])
    # The note goes by itself after a while: not before it was closed here.
    page.clock.install()
    temperature(page).fill("0.9")
    page.get_by_role("button", name="More for OpenAI").click()
    page.get_by_role("menuitem", name="Copy as API call").click()
    toast = page.locator(".toast")
    expect(toast).to_contain_text("The API call is copied.")
    # It lies on nothing of the drawer: beside it where there is room, and on a phone below it.
    covers = """() => {
      const [toast, drawer] = [".toast", ".drawer"].map((each) => document.querySelector(each).getBoundingClientRect());
      return toast.right > drawer.left && toast.top < drawer.bottom;
    }"""
    assert not page.evaluate(covers)
    page.set_viewport_size({"width": 375, "height": 700})
    assert not page.evaluate(covers)
    # Who has read it closes it, and goes on with what is open.
    page.get_by_role("button", name="Close this note", include_hidden=True).click()
    expect(toast).to_have_count(0)
    expect(temperature(page)).to_have_value("0.9")
    copied: str = page.evaluate("navigator.clipboard.readText()")
    assert f"curl -X PUT '{service.address}{PROVIDERS}/openai/config'" in copied
    assert """--data '{"config":{"temperature":0.9}}'""" in copied
    assert KEY not in copied
    assert "vxp_" not in copied


def test_a_fallback_becomes_primary_from_its_menu(open_console: OpenConsole, service: Service) -> None:
    for key in ("openai", "groq"):
        service.store_key(key)
        service.configure(key, isEnabled=True)
    page = open_console("/providers/groq/config")
    page.get_by_role("button", name="More for Groq").click()
    page.get_by_role("menuitem", name="Set as primary").click()
    expect(page.locator("[aria-live=polite]")).to_contain_text("Groq is primary now")
    assert service.provider("groq")["isPrimary"]


# Two people at once


def deaf(page: Page, service: Service) -> None:
    """Keep what others save from a page until it saves something itself."""
    stale = service.admin.get(PROVIDERS).json()
    written: list[Request] = []
    page.on("request", lambda request: written.append(request) if request.method == "PUT" else None)
    page.route(f"**{PROVIDERS}", lambda route: route.continue_() if written else route.fulfill(json=stale))


def test_check_58_edits_of_different_settings_are_merged(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    watch.expected.append("412")
    page = open_console(CONFIG)
    deaf(page, service)
    service.configure("openai", config={"maxTokens": 2000})
    temperature(page).fill("0.9")
    saved(page)
    assert service.provider("openai")["overrides"] == {"maxTokens": 2000, "temperature": 0.9}
    expect(entry(page, "maxTokens", "Maximum tokens")).to_have_value("2000")
    expect(page.get_by_text(re.compile("Saved together with .+'s change of Maximum tokens"))).to_be_visible()


def test_check_58_edits_of_the_same_setting_are_asked_about(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    watch.expected.append("412")
    page = open_console(CONFIG)
    deaf(page, service)
    service.configure("openai", config={"maxTokens": 2000, "temperature": 0.4})
    temperature(page).fill("0.9")
    save(page).click()
    asked = page.get_by_role("group", name="Temperature", exact=True)
    expect(asked.get_by_label("Yours: 0.9")).to_be_checked()
    expect(page.get_by_text("Merged automatically: Maximum tokens.")).to_be_visible()
    asked.get_by_label("Theirs: 0.4").check()
    expect(temperature(page)).to_have_value("0.4")
    asked.get_by_label("Default: 0.7").check()
    expect(temperature(page)).to_have_value("0.7")
    assert service.provider("openai")["overrides"] == {"maxTokens": 2000, "temperature": 0.4}
    with page.expect_response("**/config") as answer:
        page.get_by_role("button", name="Save merged version").click()
    assert answer.value.ok
    expect(page.get_by_role("button", name="Save merged version")).to_have_count(0)
    assert service.provider("openai")["overrides"] == {"maxTokens": 2000}


def test_check_60_what_somebody_is_typing_is_not_overwritten(open_console: OpenConsole, service: Service) -> None:
    page = open_console(CONFIG)
    temperature(page).fill("0.9")
    service.configure("openai", config={"temperature": 0.4, "maxTokens": 2000})
    expect(entry(page, "maxTokens", "Maximum tokens")).to_have_value("2000")
    expect(setting(page, "temperature")).to_contain_text("set this to 0.4")
    expect(temperature(page)).to_have_value("0.9")
    page.get_by_role("button", name="Use theirs for Temperature").press("Enter")
    expect(temperature(page)).to_have_value("0.4")
    expect(temperature(page)).to_be_focused()
    expect(save(page)).to_have_count(0)


def test_what_was_seen_to_change_is_asked_about_before_it_is_replaced(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    page = open_console(CONFIG)
    priority = page.get_by_label("Priority", exact=True)
    priority.fill("300")
    service.configure("openai", priority=600)
    expect(page.get_by_role("button", name="Use theirs for Priority")).to_be_visible()
    save(page).click()
    asked = page.get_by_role("group", name="Priority", exact=True)
    expect(asked.get_by_label("Yours: 300")).to_be_checked()
    expect(asked.get_by_label("Theirs: 600")).to_be_visible()
    assert written(watch) == []
    save(page).focus()
    page.keyboard.press("Enter")
    expect(save(page)).to_have_count(0)
    # Another Enter does nothing: the focus is not on the drawer's first button.
    expect(page.locator("form.configuration")).to_be_focused()
    assert service.provider("openai")["priority"] == 300


def test_an_untouched_form_follows_and_says_so(open_console: OpenConsole, service: Service) -> None:
    page = open_console(CONFIG)
    service.configure("openai", config={"temperature": 0.4})
    expect(temperature(page)).to_have_value("0.4")
    expect(page.locator("[aria-live=polite]")).to_contain_text("changed Temperature.")

"""Choosing a model or a voice in the console: from the provider's own list, without waiting for it. On loopback."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.console.conftest import OpenConsole, Service, Watch, serving, with_vendors
from tests.test_lists import ANSWERS, GEORGE, PREVIEW, SAMPLES, VOICE
from tests.vendors import tested
from tests.vendors.secure import HOSTS, Asked, Reply
from voxplane.server.settings import Settings

GOOD = "key-good-canary-7f3a9c"
SOUND = (Path(__file__).parents[1] / "speech" / "korean.wav").read_bytes()


class Vendors:
    """What the vendors answer, in good days and bad."""

    def __init__(self) -> None:
        self.is_broken = False
        self.lists = 0

    def __call__(self, asked: Asked) -> Reply:
        """Answer as the vendor would."""
        if asked.host == SAMPLES:
            return Reply(200, SOUND)
        found = ANSWERS.get((asked.host, asked.path))
        if found is None:
            return tested.answer(asked)
        self.lists += 1
        return Reply(503) if self.is_broken else Reply(200, json.dumps(found).encode())


@pytest.fixture
def vendors() -> Vendors:
    return Vendors()


@pytest.fixture
def service(settings: Settings, vendors: Vendors) -> Iterator[Service]:
    """The service, for which the vendors are on loopback."""
    with serving(with_vendors(settings, vendors, hosts=(*HOSTS, SAMPLES))) as service:
        yield service


def setting(page: Page, name: str) -> Locator:
    return page.locator(f"[data-setting={name}]")


def test_check_49_the_providers_own_list_arrives_and_a_failing_one_never_blocks(
    open_console: OpenConsole, service: Service, vendors: Vendors, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.expected.append("net::ERR_FAILED")
    monkeypatch.setattr("voxplane.server.lists._REST_SECONDS", 0.0)
    page = open_console("/providers/openai/config")
    field, line = setting(page, "model").get_by_role("combobox"), setting(page, "model").locator("[data-source]")
    expect(line).to_have_text("Built-in list. Any other name can be typed.")
    assert vendors.lists == 0, "opening a page asks no provider"

    # Without a key there is nobody to ask, and the list says so.
    field.focus()
    expect(line).to_have_text(re.compile(r"Built-in list\s+·\s+no key is set"))
    service.store_key("openai", GOOD)
    expect(line).to_have_text(re.compile(r"Live list\s+·\s+fetched\s+just now"))
    assert vendors.lists == 1

    # While the vendor takes its time, the field is used: what is known is offered, and what is typed counts.
    held: list[Route] = []
    page.route("**/models?refresh=true", lambda route: held.append(route))  # noqa: PLW0108 - a method of C
    page.get_by_role("button", name="Refresh the list for Model").click()
    expect(line).to_have_attribute("aria-busy", "true")
    field.fill("gpt-4o-m")
    option = page.get_by_role("option", name="gpt-4o-mini")
    expect(option.first).to_contain_text("ends Jan 15, 2027")  # the vendor's word, where it has one
    expect(option.first).to_contain_text("successor: gpt-6-luna")
    expect(page.get_by_role("option", name="(not in the list)")).to_contain_text("gpt-4o-m")
    held[0].continue_()
    expect(line).to_have_attribute("aria-busy", "false")
    page.unroute_all()
    # What only the vendor knows is there, and what it does not list says so.
    field.fill("gpt-9")
    expect(page.get_by_role("option", name="gpt-9", exact=False).last).to_contain_text("ends Jan 1, 2030")

    # A vendor in trouble: the list of before stays, with the reason, and a name of one's own is saved.
    vendors.is_broken = True
    field.fill("my-own-model")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Refresh the list for Model").click()
    expect(line).to_have_text(re.compile(r"Cached list\s+·\s+fetched\s+.+\s+·\s+OpenAI answered with an error"))
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("OpenAI: changes saved")).to_be_visible()
    assert service.provider("openai")["overrides"]["model"] == "my-own-model"
    # Even a server that answers nothing at all.
    page.route("**/models?*", lambda route: route.abort())
    page.get_by_role("button", name="Refresh the list for Model").click()
    expect(line).to_contain_text("The list could not be loaded. Any name can be typed.")
    field.fill("another")
    expect(field).to_have_value("another")


def test_check_50_a_voice_is_heard_from_our_own_server_alone(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    service.store_key("elevenlabs", GOOD)
    service.configure("elevenlabs", config=VOICE)
    page = open_console("/providers/elevenlabs/config")
    voice = setting(page, "voiceId")
    voice.get_by_role("combobox").focus()
    play = voice.get_by_role("button", name="Preview George")
    play.click()
    expect(voice.get_by_role("button", name="Stop George")).to_be_visible()
    (heard,) = watch.sent("GET", f"/voices/{GEORGE['voice_id']}/preview")
    assert heard.url.startswith(service.address)
    voice.get_by_role("button", name="Stop George").click()
    expect(play).to_be_visible()
    # A voice is found by the name that people call it, and one without a sample offers none.
    voice.get_by_role("combobox").fill("sarah")
    page.get_by_role("option", name="Sarah", exact=False).last.click()
    expect(voice.locator(".chosen")).to_contain_text("Sarah")
    expect(play).to_have_count(0)
    assert PREVIEW not in page.content()


def test_an_open_list_is_in_sight_above_the_bar_of_what_is_unsaved(open_console: OpenConsole) -> None:
    page = open_console("/providers/openai/config")
    page.set_viewport_size({"width": 1280, "height": 620})
    setting(page, "temperature").get_by_role("textbox").fill("0.9")
    page.keyboard.press("Tab")
    expect(page.locator(".save-bar")).to_be_visible()
    setting(page, "model").locator(".opener").click()
    bottoms = "() => ['.suggestions', '.save-bar'].map(one => document.querySelector(one).getBoundingClientRect())"
    expect(page.get_by_role("listbox")).to_be_in_viewport(ratio=1)
    opened, bar = page.evaluate(f"({bottoms})().map(each => [each.top, each.bottom])")
    assert opened[1] <= bar[0]

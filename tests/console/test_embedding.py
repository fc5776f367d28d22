"""`ProvidersPage` in a Svelte app of somebody else: Vite builds it, and it mounts the page at an address of its own."""

from __future__ import annotations

import mimetypes
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.console.conftest import ROOT, Service, Watch


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("host")
    command = ["sh", "tools/npm.sh", sys.prefix, "exec", "vite", "--", "build", "ui/tests/embedding"]
    subprocess.run([*command, "--outDir", str(folder), "--logLevel", "error"], cwd=ROOT, check=True)
    return folder


@pytest.fixture
def host(browser: Browser, service: Service, watch: Watch, built: Path) -> Iterator[Page]:
    """The other app, on the service's own origin: what is not the API's is answered from its files."""

    def answer(route: Route) -> None:
        name = urlsplit(route.request.url).path.removeprefix("/settings/")
        if name == "about":
            route.fulfill(body="<!doctype html><title>About us</title>", content_type="text/html")
            return
        file = built / name if (built / name).is_file() else built / "index.html"
        route.fulfill(body=file.read_bytes(), content_type=mimetypes.guess_type(file.name)[0] or "")

    context = browser.new_context(base_url=service.address)
    watch.follow(context)
    context.route("**/settings/**", answer)
    yield context.new_page()
    context.close()


def test_another_app_mounts_the_page_at_an_address_of_its_own(host: Page, service: Service, watch: Watch) -> None:
    host.goto(f"/settings/providers#{urlencode({'token': service.token(), 'api': f'{service.address}/'})}")
    expect(host.locator("[data-provider]")).to_have_count(12)
    host.get_by_role("switch", name="Vosk (local) on").click()
    expect(host.locator("[aria-live=polite]")).to_have_text("Vosk (local) is on")
    assert service.provider("vosk")["isEnabled"]
    host.locator("[data-provider=groq] .name").click()
    expect(host).to_have_url(re.compile("/settings/providers/groq/config$"))
    expect(host.get_by_role("dialog", name="Groq")).to_be_visible()
    host.keyboard.press("Escape")
    expect(host).to_have_url(re.compile("/settings/providers$"))
    service.configure("whisper", isEnabled=True)
    expect(host.get_by_role("switch", name="Whisper (local) on")).to_be_checked()
    # What is the host's stays the host's.
    host.keyboard.press("Control+k")
    host.get_by_role("combobox", name="Go to a provider").fill("sign out")
    expect(host.get_by_text("Nothing has this name.")).to_be_visible()
    host.keyboard.press("Escape")
    host.get_by_role("link", name="a page about us").click()
    expect(host).to_have_title("About us")
    assert all(urlsplit(each.url).path.startswith(("/api/", "/settings/")) for each in watch.requests)


def opened(host: Page, service: Service, **parameters: str) -> None:
    host.goto(f"/settings/providers#{urlencode({'api': service.address} | parameters)}")


def test_the_page_asks_its_host_again_when_a_token_is_refused_or_not_given(
    host: Page, service: Service, watch: Watch
) -> None:
    watch.expected.append("status of 401")
    opened(host, service, token="vxp_of_nobody")  # noqa: S106 - nobody's
    alert = host.get_by_role("alert").filter(has_text="The providers could not be loaded.")
    expect(alert).to_be_visible()
    host.evaluate("token = null")
    host.get_by_role("button", name="Retry").click()
    expect(alert).to_contain_text("The app around this page could not sign you in.")
    host.evaluate("value => (token = value)", service.token())
    # By itself: nobody presses anything.
    expect(host.locator("[data-provider]")).to_have_count(12, timeout=20_000)
    service.configure("whisper", isEnabled=True)
    expect(host.get_by_role("switch", name="Whisper (local) on")).to_be_checked()


STYLES = """() => [document.documentElement, document.body, ...document.querySelectorAll("header, header *")].map(
    (each) => [undefined, "::before"].map((part) => {
        const style = getComputedStyle(each, part);
        // How much room there is depends on what is below.
        const looks = [...style].filter((name) => !/(block|inline)-size|height|width|origin/.test(name));
        return Object.fromEntries(looks.map((name) => [name, style.getPropertyValue(name)]));
    })
)"""


def test_the_page_leaves_the_looks_of_its_host_alone(host: Page, service: Service) -> None:
    opened(host, service, token=service.token(), dir="rtl")
    expect(host.locator("[data-provider]")).to_have_count(12)
    host.locator("[data-provider=groq] .name").click()
    drawer = host.get_by_role("dialog", name="Groq")
    drawer.get_by_role("tab", name="Credentials").wait_for()
    # It has its own colours there, and reads as the part of the app does that it is in.
    expect(drawer).to_have_css("background-color", "rgb(255, 255, 255)")
    expect(drawer).to_have_css("direction", "rtl")
    host.emulate_media(color_scheme="dark")
    expect(drawer).to_have_css("background-color", "rgb(27, 28, 32)")
    host.emulate_media(color_scheme="light")
    host.keyboard.press("Escape")
    expect(host.get_by_role("dialog")).to_have_count(0)
    shown = host.evaluate(STYLES)
    own = "sheet => [...sheet.cssRules].every((rule) => !rule.cssText.includes('voxplane'))"
    host.evaluate(f"for (const sheet of document.styleSheets) sheet.disabled = !({own})(sheet)")
    assert host.evaluate(STYLES) == shown


def test_two_pages_in_one_document_share_no_id_no_key_and_no_address(host: Page, service: Service) -> None:
    opened(host, service, token=service.token(), pages="2")
    expect(host.locator("[data-provider]")).to_have_count(24)
    names = host.locator("[data-provider=groq] .name")
    dialogs = host.get_by_role("dialog", include_hidden=True)
    # The second one keeps to itself where it is.
    names.last.click()
    expect(dialogs).to_have_count(1)
    expect(host).to_have_url(re.compile("/settings/providers(#|$)"))
    host.keyboard.press("Escape")
    expect(names.last).to_be_focused()
    # Keys are for the one that was used last.
    host.keyboard.press("k")
    host.keyboard.press("j")
    expect(names.last).to_be_focused()
    host.keyboard.press("Control+k")
    host.get_by_role("combobox", name="Go to a provider").wait_for()
    expect(dialogs).to_have_count(1)
    host.keyboard.press("Escape")
    expect(dialogs).to_have_count(0)
    names.first.click()
    expect(host).to_have_url(re.compile("/settings/providers/groq/config$"))
    expect(dialogs).to_have_count(1)
    dialogs.locator("[data-setting]").first.wait_for(state="attached")
    ids: list[str] = host.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) > 30
    assert sorted(ids) == sorted(set(ids))

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
    host.goto(f"/settings/providers#{urlencode({'token': service.token(), 'api': service.address})}")
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
    host.get_by_role("link", name="About us").click()
    expect(host).to_have_title("About us")
    assert all(urlsplit(each.url).path.startswith(("/api/", "/settings/")) for each in watch.requests)


def test_the_page_asks_its_host_for_a_token_and_says_when_that_is_refused(
    host: Page, service: Service, watch: Watch
) -> None:
    watch.expected.append("status of 401")
    host.goto(f"/settings/providers#{urlencode({'token': 'vxp_of_nobody', 'api': service.address})}")
    expect(host.get_by_role("alert").filter(has_text="The providers could not be loaded.")).to_be_visible()

"""What the import from the old system left: listed on the overview, led to from there, and hidden when it is done."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.console.conftest import OpenConsole, Service, Watch
from tests.test_import_notice import BLOB, NOTICE
from tests.test_legacy_import import KEY, imported


def test_what_an_import_left_is_listed_led_to_and_hidden_when_it_is_done(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    watch.expected.append("status of 412")
    page = open_console()
    expect(page.locator("[data-finding]")).to_have_count(0)
    service.portal.call(imported, service.plane, ("default", BLOB | {"vendor": "acme"}))
    # It comes with the change that the import is.
    expect(page.get_by_role("heading", name="The import left 6 things for you to look at")).to_be_visible()
    expect(page.locator("[data-finding]")).to_have_count(5)
    page.get_by_role("button", name="Show all 6").click()
    expect(page.locator("[data-finding='/vendor']")).to_contain_text("Not known here.")
    clamped = page.locator("[data-finding='/tts/speed']")
    expect(clamped).to_contain_text("Changed to what is allowed. speed is 1.2 now.")
    assert "`" not in "".join(page.locator("[data-finding]").all_inner_texts())
    assert KEY not in page.content()
    clamped.get_by_role("link", name="Open ElevenLabs").click()
    expect(page).to_have_url(re.compile("/providers/elevenlabs/config$"))
    page.goto("/providers")

    reader = open_console(scopes=("livekit:read",))
    expect(reader.locator("[data-finding]")).to_have_count(5)
    expect(reader.get_by_role("button", name="Done, hide this")).to_have_count(0)

    # Something that this page does not show yet is not said to be done.
    page.route(f"**{NOTICE}", lambda route: route.continue_(headers=route.request.headers | {"if-match": '"0"'}))
    page.get_by_role("button", name="Done, hide this").click()
    expect(page.get_by_text("It could not be hidden.")).to_be_visible()
    page.unroute_all()
    page.get_by_role("button", name="Done, hide this").click()
    expect(page.locator("[data-finding]")).to_have_count(0)
    expect(page.get_by_text("What the import left is done")).to_be_attached()
    page.goto("/activity")
    expect(page.locator("[data-action='legacy.import']")).to_contain_text("6 things are left to a person")
    expect(page.locator("[data-action='legacy.finish']")).to_contain_text("Finish the import")

"""What ends, in the console: said with date and replacement, replaced in one click, and brought back by the history."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Route, expect

from tests.console.conftest import PROVIDERS, OpenConsole, Service, Watch

SEED = "gpt-4o-mini"
NEXT = "gpt-6-luna"


def versions(service: Service) -> list[dict[str, Any]]:
    return service.admin.get(f"{PROVIDERS}/openai/history").raise_for_status().json()["entries"]


def test_the_default_organizations_model_is_replaced_in_one_click_and_restored(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    before, count = service.provider("openai"), len(versions(service))
    page = open_console()
    row = page.locator("[data-provider=openai]")
    expect(row).to_contain_text("ends Jan 14, 2027")
    row.get_by_role("button", name=f"Replace with {NEXT} for OpenAI").click()
    said = row.locator("[data-replaced]")
    expect(said).to_contain_text(f"{SEED} is replaced by {NEXT}, and Reasoning effort changed with it, in version ")
    after = service.provider("openai")
    assert after["config"] == before["config"] | {"model": NEXT, "reasoningEffort": "none"}
    (written,) = watch.sent("PUT")
    assert written.header_value("if-match") == before["etag"]
    assert len(versions(service)) == count + 1
    expect(said).to_contain_text(f"in version {after['revision']}.")
    expect(row.get_by_role("button", name=re.compile("^Replace with"))).to_have_count(0)
    said.get_by_role("button", name="Undo OpenAI").click()
    expect(said).to_have_count(0)
    expect(row.locator(".name")).to_be_focused()
    assert service.provider("openai")["config"] == before["config"]
    row.get_by_role("button", name=f"Replace with {NEXT} for OpenAI").click()

    # The history takes it back too, and the drawer offers it again, with all that changes.
    said.get_by_role("link", name="History").click()
    page.locator(f"[data-version='{before['revision']}']").get_by_role("button", name=re.compile("^Restore")).click()
    page.get_by_role("alertdialog").get_by_role("button", name=re.compile("^Restore")).click()
    ending = page.locator("[data-ending=model_retiring]")
    expect(ending).to_contain_text(f"{SEED} ends on Jan 14, 2027. OpenAI names {NEXT} as its replacement.")
    assert service.provider("openai")["config"] == before["config"]
    ending.get_by_text("2 settings change together").click()
    expect(ending.get_by_role("listitem")).to_have_text(
        [re.compile(rf"Model: {SEED} →\s+{NEXT}"), re.compile(r"Reasoning effort: .+ →\s+none", re.IGNORECASE)]
    )
    page.get_by_role("tab", name="Configuration").click()
    expect(page.get_by_text(f"{SEED} ends on Jan 14, 2027.")).to_have_count(1)
    ending.get_by_role("button", name=f"Replace with {NEXT}").click()
    done = page.get_by_role("dialog").locator("[data-replaced]")
    expect(done).to_be_focused()
    expect(done).to_contain_text(f"{SEED} is replaced by {NEXT}")
    expect(page.get_by_role("combobox", name="Model", exact=True)).to_have_value(NEXT)
    expect(ending).to_have_count(0)
    assert len(versions(service)) == count + 5
    done.get_by_role("button", name="Undo OpenAI").click()
    expect(ending).to_be_visible()
    expect(done).to_have_count(0)  # another version is in force: that one was replaced is no news any more
    assert len(watch.sent("PUT")) == 5


def test_a_replacement_writes_nothing_too_late_or_unseen_and_a_reader_is_only_told(
    open_console: OpenConsole, service: Service, watch: Watch
) -> None:
    watch.expected.append("412 (Precondition Failed)")
    page = open_console()
    row = page.locator("[data-provider=openai]")

    def overtaken(route: Route) -> None:
        service.configure("openai", priority=service.provider("openai")["priority"] + 1)
        route.continue_()

    page.route("**/openai/config", overtaken)
    row.get_by_role("button", name=f"Replace with {NEXT} for OpenAI").click()
    expect(row.get_by_role("alert")).to_be_visible()
    assert service.provider("openai")["config"]["model"] == SEED
    row.locator(".name").click()
    again = page.get_by_role("dialog").get_by_role("button", name=f"Replace with {NEXT}")
    again.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_be_visible()
    expect(again).to_be_focused()
    page.keyboard.press("Escape")
    page.unroute_all()

    # What the successor does not take of one's own settings is seen first, in the drawer.
    service.configure("openai", config={"model": "gpt-5", "reasoningEffort": "minimal"})
    row.get_by_role("link", name="See its replacement for OpenAI").click()
    expect(page.locator("[data-ending]").get_by_role("listitem").filter(has_text="minimal → not used")).to_be_visible()

    reader = open_console("/providers/openai/config", scopes=("livekit:read",))
    expect(reader.locator("[data-ending]")).to_contain_text("gpt-5 ends on Dec 11, 2026.")
    expect(reader.get_by_role("button", name=re.compile("^Replace with"))).to_have_count(0)

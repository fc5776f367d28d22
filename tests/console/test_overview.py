"""The overview: which provider answers the next call, and why."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.console.conftest import PROVIDERS, OpenConsole, Service, Watch


def names(page: Page, provider_type: str) -> list[str]:
    return page.locator(f"[data-type={provider_type}] .name").all_inner_texts()


def ranks(page: Page, provider_type: str) -> list[str]:
    return page.locator(f"[data-type={provider_type}] .rank").all_inner_texts()


def test_check_01_three_sections_list_every_registered_provider_of_their_type(page: Page, service: Service) -> None:
    for provider_type in ("llm", "tts", "stt"):
        listed = service.admin.get(f"/api/providers?type={provider_type}").json()["providers"]
        assert sorted(names(page, provider_type)) == sorted(each["name"] for each in listed)


def test_check_04_next_call_goes_to_is_the_servers_primary(open_console: OpenConsole, service: Service) -> None:
    service.store_key("openai")
    page = open_console()
    primary = service.admin.get(f"{PROVIDERS}/llm/primary").json()
    expect(page.locator("[data-type=llm] .next")).to_have_text(
        f"Next call goes to {primary['provider']['name']} / {primary['config']['model']}"
    )


def test_check_06_moving_up_is_one_request_and_holds(open_console: OpenConsole, service: Service, watch: Watch) -> None:
    for key in ("openai", "groq"):
        service.store_key(key)
        service.configure(key, isEnabled=True)
    page = open_console()
    assert names(page, "llm")[:2] == ["OpenAI", "Groq"]
    page.get_by_role("button", name="Move Groq up").click()
    expect(page.locator("[data-type=llm] .next strong")).to_have_text("Groq")
    assert len(watch.sent("PUT")) == 1
    assert ranks(page, "llm")[:3] == ["Primary", "Fallback 1", "Off"]
    page.reload()
    page.wait_for_selector("[data-provider]")
    assert names(page, "llm")[:2] == ["Groq", "OpenAI"]

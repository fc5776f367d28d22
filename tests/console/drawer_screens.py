"""Every screen of a provider's drawer and every state of it; see `screens.py`."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, Route

from tests.console.answers import (
    NO,
    VOICE,
    as_role,
    at,
    click,
    doctored,
    offering,
    problem,
    tested,
    type_into,
    verification,
)
from tests.console.conftest import PROVIDERS


def _config(page: Page, key: str = "openai", shows: str = "[data-setting]") -> None:
    at(page, f"/providers/{key}/config", shows)


def _credentials(page: Page, key: str = "openai", opens: str | None = None, query: str = "") -> None:
    at(page, f"/providers/{key}/credentials{query}", "[data-secret]")
    if opens is not None:
        page.locator(f"[data-opens={opens}]").first.click()


def _sealed(page: Page) -> None:
    page.route(f"**{PROVIDERS}/groq/secrets", problem(503, "key_unavailable"))
    _credentials(page, "groq", opens="label")
    page.locator("[data-secret] input[type=text]").fill("Another label")
    click(page, "[data-secret] button[type=submit]", "[data-secret] .banner.bad")


def _unsaved(page: Page) -> None:
    _config(page)
    page.locator("[role=tabpanel] summary").first.click()
    type_into(page, "temperature", "0.4")
    page.wait_for_selector(".save-bar")


def _wrong(page: Page) -> None:
    _config(page)
    type_into(page, "temperature", "3")
    type_into(page, "maxTokens", "none")
    page.keyboard.press("Enter")
    page.wait_for_selector("[aria-invalid=true]")
    page.wait_for_selector("[role=tabpanel] [role=group]:focus")


def _models(page: Page) -> None:
    _config(page)
    click(page, "[data-setting=model] button", "[role=option]")


def _menu(page: Page) -> None:
    _config(page, "groq")
    click(page, ".tab-bar button[aria-haspopup]", "[role=menuitem]")


def _leave(page: Page) -> None:
    _config(page)
    type_into(page, "temperature", "0.4")
    page.wait_for_selector(".save-bar")
    page.keyboard.press("Escape")
    page.wait_for_selector("[role=alertdialog]")


def _conflict(page: Page) -> None:
    _config(page)
    type_into(page, "temperature", "0.4")
    page.route(f"**{PROVIDERS}/openai/config", problem(412, "revision_conflict"))
    doctored(page, openai={"overrides": {"temperature": 0.2, "maxTokens": 2000}})
    click(page, ".save-bar .primary", "[role=tabpanel] fieldset:has([type=radio])")


def _key_for_address(page: Page) -> None:
    _config(page)
    page.locator("[role=tabpanel] summary").first.click()
    type_into(page, "baseUrl", "https://eu.api.openai.com/v1")
    click(page, ".save-bar .primary", "[data-needed]")


def _every_kind(page: Page) -> None:
    _config(page, "reference")
    page.locator("[role=tabpanel] summary").first.click()
    page.locator("[data-setting=limits] [role=switch]").first.check()
    page.locator("[data-setting=thinks] [role=switch]").check()
    type_into(page, "tokens", "5000")
    page.locator("[data-setting=weights] textarea").fill('{"a": ')
    page.locator("[data-setting=name] input").focus()
    page.wait_for_selector("[data-setting=weights] [aria-invalid=true]")


def _reader_config(page: Page) -> None:
    as_role(page, "livekit:read")
    _config(page)
    page.locator("[role=tabpanel] summary").first.click()


def _writer_config(page: Page) -> None:
    as_role(page, "livekit:read", "livekit:write")
    _config(page)
    page.locator("[role=tabpanel] summary").first.click()


def _stored(page: Page) -> None:
    _credentials(page)


def _replace(page: Page) -> None:
    _credentials(page, opens="value")
    field = page.locator("[data-secret] input[type=password]")
    field.fill('"Bearer of-somebody-else"')
    page.locator("[data-secret] [aria-pressed]").click()


def _refused(page: Page) -> None:
    _credentials(page, "cartesia", query="?then=on")
    page.locator("[data-secret=apiKey] button[type=submit]").click()
    page.wait_for_selector("[aria-invalid=true]")


def _document(page: Page) -> None:
    at(page, "/providers/google/credentials", "[data-secret]")
    click(page, "[data-secret=serviceAccountJson] [data-opens=value]", "textarea")


def _azure(page: Page) -> None:
    _credentials(page, "azure-openai", opens="value")


def _label(page: Page) -> None:
    _credentials(page, opens="label")


def _removal(page: Page) -> None:
    _credentials(page, opens="removal")
    page.wait_for_selector("[role=alertdialog]")


def _no_key(page: Page) -> None:
    at(page, "/providers/vosk/credentials", ".tab-body p")


def _shared(page: Page) -> None:
    _credentials(page, "openai-tts")


def _unopened(page: Page) -> None:
    doctored(page, openai={"status": "undecryptable"})
    at(page, "/providers/openai/credentials", ".tab-body .banner")


def _unapproved(page: Page) -> None:
    doctored(page, openai={"origins": ["https://proxy.example.com"], "status": "destination_unapproved"})
    _credentials(page)
    click(page, ".tab-body .banner button", "[role=alertdialog]")


def _reader_credentials(page: Page) -> None:
    as_role(page, "livekit:read")
    _credentials(page)


def _unchecked(page: Page) -> None:
    found = verification("key_rejected", isDraft=True)
    page.route(f"**{PROVIDERS}/groq/secrets", problem(422, "secrets_refused", verification=found))
    _credentials(page, "groq", opens="value")
    page.locator("[data-secret] input[type=password]").fill("gsk_typed")
    click(page, "[data-secret] button[type=submit]", "[data-secret] [data-outcome]")


def _in_force(page: Page) -> None:
    at(page, "/providers/openai/effective", "tr[data-setting]")
    click(page, ".tools button", ".toast, pre")


def _after_save(page: Page) -> None:
    _unsaved(page)
    click(page, "[role=tab]:nth-child(3)", "th:nth-child(4)")


def _unknown(page: Page) -> None:
    at(page, "/providers/nobody/config", "[role=dialog] .body")


def _retired(page: Page) -> None:
    doctored(page, vosk={"status": "retired", "isEnabled": True})
    page.route("**/api/providers/vosk", problem(404))
    at(page, "/providers/vosk/config", "[role=dialog] .banner.bad")


def _unreadable(page: Page) -> None:
    page.route("**/api/providers/openai", problem(500))
    at(page, "/providers/openai/config", "[role=dialog] .banner.bad")


def _offline_config(page: Page) -> None:
    _unsaved(page)
    page.wait_for_selector("header .live", state="attached")
    page.context.set_offline(offline=True)
    page.wait_for_selector(".save-bar .wrong")


def _again(page: Page) -> None:
    _credentials(page, "groq", opens="label")
    page.route(f"**{PROVIDERS}/groq/secrets", problem(401, "unauthenticated"))
    page.locator("[data-secret] input[type=text]").fill("Another label")
    click(page, "[data-secret] button[type=submit]", "[role=dialog] #token")


def _works(page: Page) -> None:
    tested(page, "verified")
    _config(page)
    page.locator("[data-outcome] .fold").click()


def _fails(page: Page) -> None:
    tested(page, "key_rejected")
    _config(page)
    page.wait_for_selector("[data-outcome=key_rejected]")


def _testing(page: Page) -> None:
    page.route("**/verify", lambda _: None)
    _config(page)
    click(page, ".head .test", "[aria-busy=true]")


def _limited(page: Page) -> None:
    page.route("**/verify", problem(429, "rate_limited"))
    _config(page)
    click(page, ".head .test", ".drawer .banner.bad")


def _untested(page: Page) -> None:
    errors = [{"pointer": "/config/temperature", "code": "of_the_test", "message": NO}]
    page.route("**/verify", problem(422, "invalid_config", errors=errors))
    _config(page)
    click(page, ".head .test", ".drawer .refused")


def _draft_test(page: Page) -> None:
    found = verification("verified", isDraft=True)
    page.route("**/verify", lambda route: route.fulfill(json=found))
    _unsaved(page)
    page.locator(".save-bar button:not(.primary)").last.click()
    page.locator(".draft input").fill("sk-typed")
    click(page, ".draft button", ".draft [data-outcome]")


def _voices(page: Page) -> None:
    offering(page, "live", None)
    page.route("**/preview", problem(404))
    doctored(page, elevenlabs={"overrides": {"voiceId": VOICE}})
    _config(page, "elevenlabs")
    page.locator("[data-setting=voiceId] input").focus()
    click(page, "[data-preview]", "[data-preview=failed]")
    click(page, "[data-setting=voiceId] .opener", "[role=option]")


def _models_of_before(page: Page) -> None:
    offering(page, "cached", "provider_error")
    _config(page)
    page.locator("[data-setting=model] input").focus()
    page.wait_for_selector("[data-source=cached]")
    page.unroute_all()
    page.route(re.compile("/models[?]"), problem(503))
    click(page, "[data-setting=model] .refresh", "[data-setting=model] .wrong")


def _theirs(page: Page) -> None:
    _config(page)
    type_into(page, "temperature", "0.4")
    doctored(page, openai={"overrides": {"temperature": 0.2, "maxTokens": 2000}, "etag": '"another"'})
    found = verification("verified")
    page.route("**/verify", lambda route: route.fulfill(json=found))
    click(page, ".head .test", "[data-setting=temperature] .theirs")


def _replaced(page: Page) -> None:
    def write(route: Route) -> None:
        if route.request.method == "PUT":
            answer = page.request.get(route.request.url.removesuffix("/config"), headers=route.request.headers)
            route.fulfill(json=answer.json() | {"notices": []})
        else:
            route.fallback()

    page.route("**/openai/config", write)
    _config(page)
    click(page, "[data-ending] button", ".drawer [data-replaced]")


def _history(page: Page, query: str = "", shows: str = "[data-version]") -> None:
    at(page, f"/providers/openai/history{query}", shows)


def _compared(page: Page) -> None:
    _history(page)
    page.locator("[data-version]").last.locator(".actions button").first.click()
    page.wait_for_selector("[data-compared] [data-difference]")


def _restore(page: Page) -> None:
    _history(page)
    page.locator("[data-version]").last.locator(".actions button").last.click()
    page.wait_for_selector("[role=alertdialog] [data-difference]")


def _restore_refused(page: Page) -> None:
    errors = [{"pointer": "/config/temperature", "code": "of_the_test", "message": NO}]
    page.route("**/restore", problem(422, "restore_refused", errors=errors))
    _restore(page)
    click(page, "[role=alertdialog] .primary", "[data-refused]")


def _restored(page: Page) -> None:
    def answer(route: Route) -> None:
        response = page.request.get(re.sub("/restore$", "", route.request.url), headers=route.request.headers)
        route.fulfill(json=response.json())

    page.route("**/restore", answer)
    _restore(page)
    click(page, "[role=alertdialog] .primary", ".tab-body > .banner[tabindex]")


def _no_version(page: Page) -> None:
    _history(page, "?from=9999", ".tab-body .banner.warn[role=alert]")


def _no_history(page: Page) -> None:
    page.route(f"**{PROVIDERS}/openai/history*", problem(404))
    _history(page, shows=".tab-body .banner.bad")


DRAWER: tuple[Callable[[Page], None], ...] = (
    _config,
    _unsaved,
    _wrong,
    _models,
    _models_of_before,
    _voices,
    _menu,
    _leave,
    _theirs,
    _conflict,
    _key_for_address,
    _every_kind,
    _reader_config,
    _writer_config,
    _offline_config,
    _replaced,
    _retired,
    _unreadable,
    _unknown,
    _works,
    _fails,
    _testing,
    _limited,
    _untested,
    _draft_test,
    _stored,
    _replace,
    _refused,
    _unchecked,
    _document,
    _azure,
    _label,
    _sealed,
    _removal,
    _no_key,
    _shared,
    _unopened,
    _unapproved,
    _reader_credentials,
    _in_force,
    _after_save,
    _history,
    _compared,
    _restore,
    _restore_refused,
    _restored,
    _no_version,
    _no_history,
    _again,
)

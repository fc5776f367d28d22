"""Every screen of the console and every state of it, for what is to hold on all of them.

A screen is shown by what is on it, never by its words, so that it can be shown in any language. Showing one changes
nothing on the server: what a state needs beyond `furnished` is put into the answers on their way to the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, Route

from tests.console.conftest import PROVIDERS, Service

CHANGES = "**/organizations/current/changes"
EXPECTED = ["status of 40", "status of 412", "status of 503", "ERR_INTERNET_DISCONNECTED", "ERR_NETWORK_CHANGED"]
"""What the browser says of requests that some of the screens have refused."""

STATUSES = {
    "openai": ("unverified", "Unverified"),
    "groq": ("failing", "Failing"),
    "google": ("secrets_missing", "Key missing"),
    "azure-openai": ("invalid_config", "Settings need attention"),
    "anthropic": ("destination_unapproved", "Address not approved"),
    "deepgram": ("undecryptable", "Key cannot be opened"),
    "vosk": ("retired", "No longer offered"),
}
"""For each status a provider that has it on the screen `statuses`, and the status in words."""


def furnished(service: Service) -> None:
    """Make the default organization one that has been at work for a while, with a thing or two to be mended."""
    for priority, key in enumerate(("whisper", "google", "groq", "anthropic", "openai"), start=1):
        service.configure(key, isEnabled=True, priority=priority * 100)
    for key in ("openai", "anthropic", "groq", "deepgram"):
        body = {"secrets": {"apiKey": f"sk-{key}-0123456789"}, "label": "EU production"}
        service.admin.put(f"{PROVIDERS}/{key}/secrets", json=body).raise_for_status()
    service.configure("openai", config={"temperature": 0.9, "maxTokens": 800})
    headers = {"Authorization": f"Bearer {service.token('worker:resolve')}"}
    epoch = service.provider("groq")["etag"].strip('"').partition(".")[0]
    revision = service.admin.get(PROVIDERS).json()["revision"]
    reports = [{"provider": "groq", "outcome": "failed", "kind": "authentication"}]
    body = {"at": f"{epoch}.{revision}", "reports": reports}
    service.admin.post("/api/organizations/current/reports", json=body, headers=headers).raise_for_status()


def problem(status: int, code: str = "of_the_test") -> Callable[[Route], None]:
    """Answer a request with a problem document."""
    body = {"code": code, "title": "No", "detail": "No.", "status": status, "requestId": "req-of-the-test"}

    def answer(route: Route) -> None:
        route.fulfill(status=status, content_type="application/problem+json", body=json.dumps(body))

    return answer


def doctored(page: Page, **changes: dict[str, Any]) -> None:
    """Change providers in the server's answers, by key, and who answers the next call with it."""

    def answer(route: Route) -> None:
        if route.request.method != "GET":
            route.fallback()
            return
        response = route.fetch()
        body = response.json()
        for each in body.get("providers", [body]):
            each.update(changes.get(each["provider"]["key"].replace("-", "_"), {}))
        if "nextCall" in body:
            off = {key.replace("_", "-") for key, change in changes.items() if change.get("isEnabled") is False}
            body["nextCall"] = {type_: key for type_, key in body["nextCall"].items() if key not in off}
        route.fulfill(response=response, json=body)

    page.route(re.compile(f"{PROVIDERS}(/[a-z-]+)?$"), answer)


def _as(page: Page, *scopes: str) -> None:
    def answer(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, json=response.json() | {"scopes": scopes})

    page.route("**/api/me", answer)


def _at(page: Page, path: str = "/providers", shows: str = "[data-provider]") -> None:
    page.goto(path)
    page.wait_for_selector(shows)


def _config(page: Page, key: str = "openai", shows: str = "[data-setting]") -> None:
    _at(page, f"/providers/{key}/config", shows)


def _credentials(page: Page, key: str = "openai", opens: str | None = None, query: str = "") -> None:
    _at(page, f"/providers/{key}/credentials{query}", "[data-secret]")
    if opens is not None:
        page.locator(f"[data-opens={opens}]").first.click()


def _type(page: Page, name: str, value: str) -> None:
    page.locator(f"[data-setting={name}] input[inputmode], [data-setting={name}] input[type=text]").first.fill(value)


def _open(page: Page, click: str, shows: str) -> None:
    page.locator(click).first.click()
    page.wait_for_selector(shows)


def _overview(page: Page) -> None:
    _at(page)


def _statuses(page: Page) -> None:
    doctored(page, **{key.replace("-", "_"): {"status": status} for key, (status, _) in STATUSES.items()})
    _at(page)


def _import_notice(page: Page) -> None:
    finding: dict[str, Any] = {"provider": None, "setting": None, "secret": None, "value": None, "note": None}
    places = ("/openai/topology", "/tts/speed", "/stt/apiKey", "/greeting", "/fallback", "/?")
    findings = [finding | {"at": at, "outcome": "unknown", "note": "Nothing here goes by this name."} for at in places]
    findings[1] |= {"outcome": "clamped", "provider": "elevenlabs", "setting": "speed", "value": 1.2}
    findings[2] |= {"outcome": "left", "provider": "deepgram", "secret": "apiKey", "note": "A key is a text."}
    notice = {"importedAt": "2026-11-28T09:00:00Z", "importedBy": "root", "findings": findings, "etag": '"1"'}
    page.route("**/organizations/current/import-notice", lambda route: route.fulfill(json=notice))
    _at(page)
    page.wait_for_selector("[data-finding]")


def _account(page: Page) -> None:
    page.set_viewport_size({"width": 375, "height": 800})
    _at(page)
    _open(page, "header [popovertarget]", "#account:popover-open")


def _loading(page: Page) -> None:
    page.route(f"**{PROVIDERS}", lambda _: None)
    _at(page, shows=".skeleton.seen")


def _no_match(page: Page) -> None:
    _at(page, "/providers?q=nobody", ".nothing")


def _failed(page: Page) -> None:
    page.route(f"**{PROVIDERS}", problem(403))
    _at(page, shows="[role=alert]")


def _offline(page: Page) -> None:
    _at(page)
    page.wait_for_selector("header .live")
    page.context.set_offline(offline=True)
    page.wait_for_selector("main .banner.warn[role=status]")


def _empty(page: Page) -> None:
    doctored(page, deepgram={"isEnabled": False}, whisper={"isEnabled": False})
    _at(page)


def _last(page: Page) -> None:
    doctored(page, whisper={"isEnabled": False})
    _at(page)
    _open(page, "[data-provider=deepgram] [role=switch]", "[role=alertdialog]")


def _not_moved(page: Page) -> None:
    page.route("**/providers/order*", problem(503))
    _at(page)
    _open(page, "[data-provider=groq] .moves button:not(:disabled)", "[data-provider=groq] [role=alert]")


def _reader(page: Page) -> None:
    _as(page, "livekit:read")
    _at(page)


def _palette(page: Page) -> None:
    _at(page)
    page.keyboard.press("Control+k")
    page.wait_for_selector("[role=option]")


def _palette_without(page: Page) -> None:
    _palette(page)
    page.keyboard.type("nothing like it")
    page.wait_for_selector("[role=dialog] p[role=status]")


def _shortcuts(page: Page) -> None:
    _at(page)
    page.keyboard.press("?")
    page.wait_for_selector("[role=dialog] kbd")


def _unsaved(page: Page) -> None:
    _config(page)
    page.locator("summary").click()
    _type(page, "temperature", "0.4")
    page.wait_for_selector(".save-bar")


def _wrong(page: Page) -> None:
    _config(page)
    _type(page, "temperature", "3")
    _type(page, "maxTokens", "none")
    page.keyboard.press("Enter")
    page.wait_for_selector("[aria-invalid=true]")
    page.wait_for_selector("[role=tabpanel] [role=group]:focus")


def _models(page: Page) -> None:
    _config(page)
    _open(page, "[data-setting=model] button", "[role=option]")


def _menu(page: Page) -> None:
    _config(page, "groq")
    _open(page, ".tab-bar button[aria-haspopup]", "[role=menuitem]")


def _leave(page: Page) -> None:
    _config(page)
    _type(page, "temperature", "0.4")
    page.wait_for_selector(".save-bar")
    page.keyboard.press("Escape")
    page.wait_for_selector("[role=alertdialog]")


def _conflict(page: Page) -> None:
    _config(page)
    _type(page, "temperature", "0.4")
    page.route(f"**{PROVIDERS}/openai/config", problem(412, "revision_conflict"))
    doctored(page, openai={"overrides": {"temperature": 0.2, "maxTokens": 2000}})
    _open(page, ".save-bar .primary", "[role=tabpanel] fieldset:has([type=radio])")


def _key_for_address(page: Page) -> None:
    _config(page)
    page.locator("summary").click()
    _type(page, "baseUrl", "https://eu.api.openai.com/v1")
    _open(page, ".save-bar .primary", "#again-needed")


def _every_kind(page: Page) -> None:
    _config(page, "reference")
    page.locator("summary").click()
    page.locator("[data-setting=limits] [role=switch]").first.check()
    page.locator("[data-setting=thinks] [role=switch]").check()
    _type(page, "tokens", "5000")
    page.locator("[data-setting=weights] textarea").fill('{"a": ')
    page.locator("[data-setting=name] input").focus()
    page.wait_for_selector("[data-setting=weights] [aria-invalid=true]")


def _reader_config(page: Page) -> None:
    _as(page, "livekit:read")
    _config(page)
    page.locator("summary").click()


def _writer_config(page: Page) -> None:
    _as(page, "livekit:read", "livekit:write")
    _config(page)
    page.locator("summary").click()


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
    _at(page, "/providers/google/credentials", "[data-secret]")
    _open(page, "[data-secret=serviceAccountJson] [data-opens=value]", "textarea")


def _azure(page: Page) -> None:
    _credentials(page, "azure-openai", opens="value")


def _label(page: Page) -> None:
    _credentials(page, opens="label")


def _removal(page: Page) -> None:
    _credentials(page, opens="removal")
    page.wait_for_selector("[role=alertdialog]")


def _no_key(page: Page) -> None:
    _at(page, "/providers/vosk/credentials", ".tab-body p")


def _shared(page: Page) -> None:
    _credentials(page, "openai-tts")


def _unopened(page: Page) -> None:
    doctored(page, openai={"status": "undecryptable"})
    _at(page, "/providers/openai/credentials", ".tab-body .banner")


def _unapproved(page: Page) -> None:
    doctored(page, openai={"origins": ["https://proxy.example.com"], "status": "destination_unapproved"})
    _credentials(page)
    _open(page, ".tab-body .banner button", "[role=alertdialog]")


def _reader_credentials(page: Page) -> None:
    _as(page, "livekit:read")
    _credentials(page)


def _in_force(page: Page) -> None:
    _at(page, "/providers/openai/effective", "tr[data-setting]")
    _open(page, ".tools button", ".toast, pre")


def _after_save(page: Page) -> None:
    _unsaved(page)
    _open(page, "[role=tab]:nth-child(3)", "th:nth-child(4)")


def _unknown(page: Page) -> None:
    _at(page, "/providers/nobody/config", "[role=dialog] .body")


def _again(page: Page) -> None:
    _credentials(page, "groq", opens="value")
    page.route(f"**{PROVIDERS}/groq/secrets", problem(401, "unauthenticated"))
    page.locator("[data-secret] input[type=password]").fill("gsk_typed")
    _open(page, "[data-secret] button[type=submit]", "[role=dialog] #token")


def _signed_out(page: Page, path: str = "/signin") -> None:
    _at(page)
    page.evaluate("sessionStorage.clear()")
    page.goto(path)
    page.wait_for_selector("#token")


def _sign_in(page: Page) -> None:
    _signed_out(page)


def _sign_in_refused(page: Page) -> None:
    _signed_out(page, "/signin#used-before")
    page.locator("#token").fill("vxp_nobody")
    page.keyboard.press("Enter")
    page.wait_for_selector("#token-refused")


_ALL: tuple[Callable[[Page], None], ...] = (
    _overview,
    _statuses,
    _import_notice,
    _account,
    _loading,
    _no_match,
    _failed,
    _offline,
    _empty,
    _last,
    _not_moved,
    _reader,
    _palette,
    _palette_without,
    _shortcuts,
    _config,
    _unsaved,
    _wrong,
    _models,
    _menu,
    _leave,
    _conflict,
    _key_for_address,
    _every_kind,
    _reader_config,
    _writer_config,
    _stored,
    _replace,
    _refused,
    _document,
    _azure,
    _label,
    _removal,
    _no_key,
    _shared,
    _unopened,
    _unapproved,
    _reader_credentials,
    _in_force,
    _after_save,
    _unknown,
    _again,
    _sign_in,
    _sign_in_refused,
)
SCREENS = {each.__name__.strip("_").replace("_", "-"): each for each in _ALL}


@contextmanager
def shown(page: Page, name: str) -> Generator[None]:
    """Show one screen; afterwards the page is as it was, and can show another one."""
    size = page.viewport_size
    SCREENS[name](page)
    yield
    page.unroute_all(behavior="ignoreErrors")
    page.context.set_offline(offline=False)
    if size is not None:
        page.set_viewport_size(size)
    # Where the person signed out, a new visit signs in; and what is unsaved does not ask.
    page.evaluate("window.name = ''")


def each_of(page: Page, screens: Iterable[str]) -> Iterator[str]:
    """Show one screen after the other, and yield its name."""
    for name in screens:
        with shown(page, name):
            yield name

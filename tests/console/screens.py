"""Every screen of the console and every state of it, for what is to hold on all of them.

A screen is shown by what is on it, never by its words, so that it can be shown in any language. Showing one changes
nothing on the server: what a state needs beyond `furnished` is put into the answers on their way to the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page

from tests.console.answers import LEFT, UNKNOWN, as_role, at, click, doctored, problem
from tests.console.conftest import PROVIDERS, Service
from tests.console.drawer_screens import DRAWER

CHANGES = "**/organizations/current/changes"
EXPECTED = ["status of 4", "status of 5", "ERR_INTERNET_DISCONNECTED", "ERR_NETWORK_CHANGED"]
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


def _overview(page: Page) -> None:
    at(page)


def _statuses(page: Page) -> None:
    doctored(page, **{key.replace("-", "_"): {"status": status} for key, (status, _) in STATUSES.items()})
    at(page)


def _import_notice(page: Page) -> None:
    finding: dict[str, Any] = {"provider": None, "setting": None, "secret": None, "value": None, "note": None}
    places = ("/openai/topology", "/tts/speed", "/stt/apiKey", "/greeting", "/fallback", "/?")
    findings = [finding | {"at": at, "outcome": "unknown", "note": UNKNOWN} for at in places]
    findings[1] |= {"outcome": "clamped", "provider": "elevenlabs", "setting": "speed", "value": 1.2}
    findings[2] |= {"outcome": "left", "provider": "deepgram", "secret": "apiKey", "note": LEFT}
    notice = {"importedAt": "2026-11-28T09:00:00Z", "importedBy": "root", "findings": findings, "etag": '"1"'}
    page.route("**/organizations/current/import-notice", lambda route: route.fulfill(json=notice))
    at(page)
    page.wait_for_selector("[data-finding]")


def _account(page: Page) -> None:
    page.set_viewport_size({"width": 375, "height": 800})
    at(page)
    click(page, "header [popovertarget]", "#account:popover-open")


def _loading(page: Page) -> None:
    page.route(f"**{PROVIDERS}", lambda _: None)
    at(page, shows=".skeleton.seen")


def _unloaded(page: Page) -> None:
    page.route("**/assets/ActivityPage*", problem(404))
    at(page, "/activity", ".unloaded")


def _no_match(page: Page) -> None:
    at(page, "/providers?q=nobody", ".nothing")


def _failed(page: Page) -> None:
    page.route(f"**{PROVIDERS}", problem(403))
    at(page, shows="[role=alert]")


def _broken(page: Page) -> None:
    page.route(f"**{PROVIDERS}", problem(429))
    at(page, shows="[role=alert]")


def _reconnecting(page: Page) -> None:
    page.clock.install()
    page.route(CHANGES, problem(503))
    at(page)
    page.clock.run_for(6_000)
    page.wait_for_selector("header .reconnecting")


def _offline(page: Page) -> None:
    at(page)
    page.wait_for_selector("header .live")
    page.context.set_offline(offline=True)
    page.wait_for_selector("main .banner.warn[role=status]")


def _empty(page: Page) -> None:
    doctored(page, deepgram={"isEnabled": False}, whisper={"isEnabled": False})
    at(page)


def _last(page: Page) -> None:
    doctored(page, whisper={"isEnabled": False})
    at(page)
    click(page, "[data-provider=deepgram] [role=switch]", "[role=alertdialog]")


def _not_moved(page: Page) -> None:
    page.route("**/providers/order*", problem(503))
    at(page)
    click(page, "[data-provider=groq] .moves button:not(:disabled)", "[data-provider=groq] [role=alert]")


def _reader(page: Page) -> None:
    as_role(page, "livekit:read")
    at(page)


def _palette(page: Page) -> None:
    at(page)
    page.keyboard.press("Control+k")
    page.wait_for_selector("[role=option]")


def _palette_without(page: Page) -> None:
    _palette(page)
    page.keyboard.type("nothing like it")
    page.wait_for_selector("[role=dialog] p[role=status]")


def _shortcuts(page: Page) -> None:
    at(page)
    page.keyboard.press("?")
    page.wait_for_selector("[role=dialog] kbd")


def _activity(page: Page, query: str = "", shows: str = "[data-record]") -> None:
    at(page, f"/activity{query}", shows)


def _record(page: Page) -> None:
    _activity(page, "?action=config.put&target=openai")
    click(page, "[data-record] button", "[data-details] [data-change]")


def _refusals(page: Page) -> None:
    record = {"seq": 9, "at": "2026-11-28T09:00:00Z", "action": "config.put", "target": "openai", "outcome": "denied"}
    actor = {"subject": "token:of-the-test", "name": "deploy", "kind": "token"}
    record |= {"actor": actor, "detail": {"reason": "missing_scope"}, "requestId": "req-of-the-test"}
    found = {"records": [record], "nextBefore": 9}
    page.route("**/audit?*", lambda route: route.fulfill(json=found))
    _activity(page, "?outcome=denied&record=9&before=10", "[data-details]")


def _own_activity(page: Page) -> None:
    as_role(page, "livekit:read")
    _activity(page, "?since=2031-01-01", ".nothing")


def _no_activity(page: Page) -> None:
    page.route(re.compile("/audit($|[?])"), problem(403))
    _activity(page, shows=".body .banner.bad")
    page.locator(".exports button").first.click()
    page.locator(".body .banner.bad").nth(1).wait_for()


def _activity_offline(page: Page) -> None:
    _activity(page)
    page.wait_for_selector("header .live")
    page.context.set_offline(offline=True)
    page.wait_for_selector("main .banner.warn[role=status]")


def _signed_out(page: Page, path: str = "/signin") -> None:
    at(page)
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
    _unloaded,
    _no_match,
    _failed,
    _broken,
    _reconnecting,
    _offline,
    _empty,
    _last,
    _not_moved,
    _reader,
    _palette,
    _palette_without,
    _shortcuts,
    _activity,
    _record,
    _refusals,
    _own_activity,
    _no_activity,
    _activity_offline,
    _sign_in,
    _sign_in_refused,
    *DRAWER,
)
SCREENS = {each.__name__.strip("_").replace("_", "-"): each for each in _ALL}


@contextmanager
def shown(page: Page, name: str) -> Generator[None]:
    """Show one screen; afterwards the page is as it was, and can show another one."""
    size = page.viewport_size
    SCREENS[name](page)
    yield
    # What still waits for an answer ends here, and reaches no server.
    page.evaluate("window.stop()")
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

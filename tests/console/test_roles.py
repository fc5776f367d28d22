"""What each role is offered, and that the server holds to it whatever a browser sends."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import PROVIDERS, OpenConsole, Service, Watch

READ, WRITE, SECRETS, AUDIT = "livekit:read", "livekit:write", "admin:secrets", "audit:read"
MOVES = frozenset({"Move Groq up", "Move Groq down", "Groq on", "Test Groq"})
MENU = frozenset({"Copy as API call", "Documentation", "Pricing"})
KEY = frozenset({"Replace API key", "Edit label of API key", "Remove API key"})

# The accessible names of what can be pressed, chosen or typed into: links lead only somewhere else.
CONTROLS = """(within) => [...document.querySelector(within).querySelectorAll("button, input, select, textarea")]
    .filter((each) => each.checkVisibility())
    .map((each) => each.ariaLabel ?? each.labels?.[0]?.textContent ?? each.textContent)
    .map((name) => name.trim().replace(/\\s+/g, " "))"""


def controls(page: Page, within: str) -> set[str]:
    return set(page.evaluate(CONTROLS, within))


def sent(page: Page, method: str, path: str, body: object = None) -> int:
    """Send what the page would send, in the person's name, and return the status of the answer."""
    script = """async ([method, path, body]) => {
        const headers = {"Content-Type": "application/json"};
        headers.Authorization = `Bearer ${sessionStorage.getItem("voxplane.token")}`;
        return (await fetch(path, {method, headers, ...(body === null ? {} : {body})})).status;
    }"""
    return page.evaluate(script, [method, f"{PROVIDERS}{path}", None if body is None else json.dumps(body)])


FORCED: dict[str, tuple[str, str, Any]] = {
    "switch": ("PUT", "/groq/config", {"isEnabled": False}),
    "order": ("PUT", "/order?type=llm", {"order": ["groq", "openai", "anthropic"]}),
    "address": ("PUT", "/groq/config", {"config": {"baseUrl": "https://proxy.example.com/v1"}}),
    "key": ("PUT", "/groq/secrets", {"secrets": {"apiKey": "gsk_of_nobody"}}),
    "label": ("PUT", "/groq/secrets", {"label": "of nobody"}),
    "removal": ("DELETE", "/groq/secrets", None),
    "restore": ("POST", "/groq/restore", {"revision": 1}),
    "test": ("POST", "/groq/verify", {}),
    "test of a draft": ("POST", "/groq/verify", {"config": {"temperature": 0.4}}),
}


@dataclass(frozen=True)
class Role:
    """What somebody with these scopes is offered, and which of the calls the server refuses all the same."""

    scopes: tuple[str, ...]
    row: frozenset[str]
    menu: frozenset[str]
    credentials: frozenset[str]
    refused: frozenset[str]


WRITER = MENU | {"Set as primary", "Reset all to defaults"}
NONE: frozenset[str] = frozenset()
ROLES = {
    "reader": Role((READ,), NONE, MENU, NONE, frozenset(FORCED)),
    "writer": Role(
        (READ, WRITE), MOVES, WRITER, NONE, frozenset({"address", "key", "label", "removal", "test of a draft"})
    ),
    "secrets admin": Role(
        (READ, SECRETS), NONE, MENU, KEY, frozenset({"switch", "order", "address", "restore", "test"})
    ),
    "administrator": Role((READ, WRITE, SECRETS, AUDIT), MOVES, WRITER, KEY, NONE),
}


@pytest.mark.parametrize("name", ROLES)
def test_check_55_each_role_has_its_controls_and_the_server_refuses_the_rest(
    open_console: OpenConsole, service: Service, watch: Watch, name: str
) -> None:
    role = ROLES[name]
    watch.expected.append("403")
    for priority, key in enumerate(("anthropic", "groq", "openai"), start=1):
        service.store_key(key)
        service.configure(key, isEnabled=True, priority=priority * 100)
    for temperature in (0.5, 0.6):
        service.configure("groq", config={"temperature": temperature})
    service.admin.put(f"{PROVIDERS}/groq/secrets", json={"label": "EU production"}).raise_for_status()
    page = open_console(scopes=role.scopes)
    assert controls(page, "[data-provider=groq]") == role.row
    off = page.locator("[data-provider=google]")
    expect(off.get_by_role("link", name="Set up")).to_have_count(1 if WRITE in role.scopes else 0)

    page.goto("/providers/groq/config")
    form = page.get_by_role("tabpanel")
    expect(form.locator("[data-setting=temperature]")).to_contain_text("Temperature")
    inputs = form.locator("input:visible, select:visible, textarea:visible")
    if WRITE in role.scopes:
        form.get_by_label("Temperature", exact=True).fill("0.4")
        testing = {"Test with these changes"} if SECRETS in role.scopes else NONE
        assert controls(page, ".save-bar") == {"Discard", "Save changes"} | testing
        page.get_by_role("button", name="Discard").click()
    else:
        expect(inputs).to_have_count(0)
    page.get_by_role("button", name="More for Groq").click()
    assert set(page.get_by_role("menuitem").all_inner_texts()) == role.menu
    page.keyboard.press("Escape")

    page.get_by_role("tab", name="Credentials").click()
    secret = page.locator("[data-secret=apiKey]")
    expect(secret.locator("[data-set=true]")).to_be_visible()
    assert controls(page, "[data-secret=apiKey]") == role.credentials
    is_told_who = role.scopes != (READ,)
    expect(secret.get_by_text("EU production")).to_have_count(1 if is_told_who else 0)
    expect(page.locator(".tab-body").get_by_text("ask a secrets admin")).to_have_count(0 if role.credentials else 1)

    page.get_by_role("tab", name="History").click()
    page.locator("[data-version]").first.wait_for()
    offered = {name.split()[0] for name in controls(page, "[role=tabpanel]:not([hidden])")}
    assert offered == {"Compare"} | ({"Restore"} if WRITE in role.scopes else NONE)

    page.goto("/activity")
    page.get_by_role("combobox", name="Action").wait_for()
    expect(page.get_by_role("combobox", name="Who")).to_have_count(1 if AUDIT in role.scopes else 0)

    answers = {name: sent(page, *call) for name, call in FORCED.items() if name in role.refused}
    assert answers == dict.fromkeys(role.refused, 403)

"""What each role is offered, and that the server holds to it whatever a browser sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import PROVIDERS, OpenConsole, Service, Watch

READ, WRITE, SECRETS = "livekit:read", "livekit:write", "admin:secrets"
MOVES = {"Move Groq up", "Move Groq down", "Groq on"}
MENU = {"Copy as API call", "Documentation", "Pricing"}
KEY = {"Replace API key", "Edit label of API key", "Remove API key"}

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
}


@pytest.mark.parametrize(
    ("scopes", "row", "menu", "may_edit", "credentials", "refused"),
    [
        ((READ,), set[str](), MENU, False, set[str](), set(FORCED)),
        ((READ, WRITE), MOVES, MENU | {"Set as primary"}, True, set[str](), {"address", "key", "label", "removal"}),
        ((READ, SECRETS), set[str](), MENU, False, KEY, {"switch", "order", "address"}),
        ((READ, WRITE, SECRETS), MOVES, MENU | {"Set as primary"}, True, KEY, set[str]()),
    ],
    ids=["reader", "writer", "secrets admin", "secrets admin who writes"],
)
def test_check_55_each_role_has_its_controls_and_the_server_refuses_the_rest(
    open_console: OpenConsole,
    service: Service,
    watch: Watch,
    scopes: tuple[str, ...],
    row: set[str],
    menu: set[str],
    may_edit: bool,  # noqa: FBT001 - pytest passes it by name
    credentials: set[str],
    refused: set[str],
) -> None:
    watch.expected.append("403")
    for priority, key in enumerate(("anthropic", "groq", "openai"), start=1):
        service.store_key(key)
        service.configure(key, isEnabled=True, priority=priority * 100)
    service.admin.put(f"{PROVIDERS}/groq/secrets", json={"label": "EU production"}).raise_for_status()
    page = open_console(scopes=scopes)
    assert controls(page, "[data-provider=groq]") == row
    off = page.locator("[data-provider=google]")
    expect(off.get_by_role("link", name="Set up")).to_have_count(1 if may_edit else 0)

    page.goto("/providers/groq/config")
    form = page.get_by_role("tabpanel")
    expect(form.locator("[data-setting=temperature]")).to_contain_text("Temperature")
    inputs = form.locator("input:visible, select:visible, textarea:visible")
    expect(inputs).not_to_have_count(0) if may_edit else expect(inputs).to_have_count(0)
    page.get_by_role("button", name="More for Groq").click()
    assert set(page.get_by_role("menuitem").all_inner_texts()) == menu
    page.keyboard.press("Escape")

    page.get_by_role("tab", name="Credentials").click()
    secret = page.locator("[data-secret=apiKey]")
    expect(secret.locator("[data-set=true]")).to_be_visible()
    assert controls(page, "[data-secret=apiKey]") == credentials
    is_told_who = scopes != (READ,)
    expect(secret.get_by_text("EU production")).to_have_count(1 if is_told_who else 0)
    expect(page.locator(".tab-body").get_by_text("ask a secrets admin")).to_have_count(0 if credentials else 1)

    answers = {name: sent(page, *call) for name, call in FORCED.items() if name in refused}
    assert answers == dict.fromkeys(refused, 403)

"""The effective settings: what is default, what is in force, and what a save would make of it."""

from __future__ import annotations

import json
import random
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import PROVIDERS, OpenConsole, Service

DEFAULT, IN_FORCE, AFTER_SAVE = 0, 1, 2
CASES = 5


def row(page: Page, name: str) -> Locator:
    return page.locator(f"tr[data-setting={name}]")


def cell(page: Page, name: str, column: int) -> Locator:
    return row(page, name).locator("td").nth(column)


def in_words(schema: dict[str, Any], value: object) -> str | None:
    """Write a value as the form does."""
    hints = schema.get("x-ui", {})
    if value is None:
        return "Not used"
    if hints.get("widget") == "language":
        return None
    if isinstance(value, bool):
        return "On" if value else "Off"
    if value in ("", []):
        return "empty"
    if isinstance(value, list):
        return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    plain = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    unit = f" {hints['unit']}" if "unit" in hints else ""
    return hints.get("labels", {}).get(plain, plain) + unit


def override(chance: random.Random, schema: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Draw a few settings, each with a value that its schema may take."""
    drawn: dict[str, Any] = {}
    for name, field in chance.sample(list(schema["properties"].items()), k=min(4, len(schema["properties"]))):
        if field.get("x-ui", {}).get("bindsSecret"):
            continue
        if "enum" in field:
            drawn[name] = chance.choice(field["enum"])
        elif field.get("type") in {"number", "integer"}:
            low, high = field.get("minimum", 0), field.get("maximum", 10)
            drawn[name] = chance.randint(int(low), int(high)) if field["type"] == "integer" else low + (high - low) / 4
        elif field.get("type") == "boolean":
            drawn[name] = not defaults.get(name, False)
        elif field.get("type") == "string" and "x-ui" in field and "widget" not in field["x-ui"]:
            drawn[name] = chance.choice(field.get("examples", ["word"]))
    return drawn


def configure(service: Service, chance: random.Random, definition: dict[str, Any]) -> dict[str, Any]:
    """Give a provider an override that the server accepts, and return what it is then."""
    while True:
        drawn = override(chance, definition["configSchema"], definition["defaultConfig"])
        answer: httpx.Response = service.admin.put(f"{PROVIDERS}/{definition['key']}/config", json={"config": drawn})
        if drawn and answer.is_success:
            return answer.json()


# Only these rows, each with these words; null stands for words that only the browser knows, a language's name.
IS_SHOWN = """(expected) => {
    const rows = [...document.querySelectorAll("tr[data-setting]")];
    const says = (row, column, words) => words === null || row.cells[column].textContent.trim() === words;
    return rows.length === Object.keys(expected).length && rows.every((row) => {
        const words = expected[row.dataset.setting];
        return words !== undefined && says(row, 1, words[0]) && says(row, 2, words[1]);
    });
}"""


@pytest.mark.parametrize("key", ["deepgram", "anthropic", "google", "openai"])
def test_check_47_what_is_in_force_is_the_servers_merge(open_console: OpenConsole, service: Service, key: str) -> None:
    chance = random.Random(key)  # noqa: S311 - the same cases each time
    definition = service.admin.get(f"/api/providers/{key}").json()
    schemas = definition["configSchema"]["properties"]
    page = open_console(f"/providers/{key}/effective")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for _ in range(CASES):
        provider = configure(service, chance, definition)
        columns = (definition["defaultConfig"], provider["config"])
        expected = {
            name: [in_words(schemas[name], column.get(name)) for column in columns]
            for name in {**columns[0], **columns[1]}
        }
        page.wait_for_function(IS_SHOWN, arg=expected)
        for name in provider["overrides"]:
            expect(row(page, name)).to_contain_text("Overridden")
        page.get_by_role("button", name="Copy JSON").click()
        expect(page.get_by_text("The settings in force are copied")).to_be_attached()
        assert json.loads(page.evaluate("navigator.clipboard.readText()")) == provider["config"]


def test_check_48_after_save_follows_what_is_typed(open_console: OpenConsole) -> None:
    page = open_console("/providers/openai/config")

    def type_temperature(value: str) -> None:
        page.get_by_role("tab", name="Configuration").click()
        page.locator("[data-setting=temperature]").get_by_label("Temperature", exact=True).fill(value)
        page.get_by_role("tab", name="Effective config").click()

    page.get_by_role("tab", name="Effective config").click()
    expect(page.get_by_role("columnheader", name="After save")).to_have_count(0)
    type_temperature("0.9")
    expect(page.get_by_role("columnheader", name="After save")).to_be_visible()
    expect(row(page, "temperature")).to_contain_text("Unsaved")
    assert row(page, "temperature").locator("td").all_inner_texts() == ["0.7", "0.7", "0.9"]
    type_temperature("1.1")
    expect(cell(page, "temperature", AFTER_SAVE)).to_have_text("1.1")
    page.get_by_label("Only differences").check()
    assert [each.get_attribute("data-setting") for each in page.locator("tr[data-setting]").all()] == ["temperature"]
    type_temperature("0.7")
    page.get_by_role("tab", name="Configuration").click()
    page.locator("[data-setting=temperature]").get_by_role("button", name="Reset to default (0.7)").click()
    page.get_by_role("tab", name="Effective config").click()
    expect(page.get_by_role("columnheader", name="After save")).to_have_count(0)


def test_secrets_are_listed_as_set_or_not_set(open_console: OpenConsole, service: Service) -> None:
    service.store_key("google", "AIza-0123456789")
    page = open_console("/providers/google/effective")
    expect(page.locator("dd[data-secret=apiKey]")).to_have_text("Set")
    expect(page.locator("dd[data-secret=serviceAccountJson]")).to_have_text("Not set")


def test_what_a_setting_rules_out_is_not_used(open_console: OpenConsole, service: Service) -> None:
    service.configure("openai", config={"model": "gpt-5"})
    left_out = set(service.admin.get("/api/providers/openai").json()["defaultConfig"]) - set(
        service.provider("openai")["config"]
    )
    assert left_out
    page = open_console("/providers/openai/effective")
    for name in left_out:
        expect(cell(page, name, IN_FORCE)).to_have_text("Not used")

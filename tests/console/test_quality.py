"""What holds on every screen: nobody is kept out, nothing is cut off, nothing moves unasked, and nothing is said in code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import PROVIDERS, ROOT, OpenConsole, Service, Watch
from tests.console.reference import PROVIDER as REFERENCE
from tests.console.screens import EXPECTED, SCREENS, every_screen, furnished, shown
from voxplane import registry

AXE = (ROOT / "ui" / "node_modules" / "axe-core" / "axe.min.js").read_text()
DESK = {"width": 1280, "height": 900}
WIDTHS = (320, 375, 768, 1280)


pytestmark = pytest.mark.usefixtures("reference")


@pytest.fixture
def open_furnished(open_console: OpenConsole, service: Service, watch: Watch) -> OpenConsole:
    """Open the console of an organization that has been at work."""
    furnished(service)
    watch.expected += EXPECTED
    return open_console


# What is behind a dialog was looked at by itself; in other colours only colours can be wrong.
VIOLATIONS = """async (rules) => {
    const layers = [...document.querySelectorAll("[role=dialog], [role=alertdialog]")];
    const found = await axe.run(layers.at(-1) ?? document, {
        resultTypes: ["violations"],
        runOnly: rules.length ? rules : ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    });
    return found.violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target}`));
}"""
APPEARANCES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "light": ({"color_scheme": "light", "forced_colors": "none"}, []),
    "dark": ({"color_scheme": "dark", "forced_colors": "none"}, ["color-contrast"]),
    "forced colours": ({"color_scheme": "dark", "forced_colors": "active"}, ["color-contrast"]),
}


def test_check_63_axe_finds_nothing_on_any_screen(open_furnished: OpenConsole) -> None:
    page = open_furnished(viewport=DESK, reduced_motion="reduce")
    violations: list[str] = []
    for name in every_screen(page):
        t=__import__("time").monotonic()
        page.evaluate(AXE)
        print(name, round(__import__("time").monotonic()-t,2))
        for appearance, (media, rules) in APPEARANCES.items():
            page.emulate_media(**media)
            violations += [f"{name}, {appearance}: {each}" for each in page.evaluate(VIOLATIONS, rules)]
            print("  ", round(__import__("time").monotonic()-t,2))
    assert violations == []

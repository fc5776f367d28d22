"""The pictures of docs/console.md: `pytest tests/console/screenshots.py` takes them anew, and no other run does."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.console.conftest import ROOT, OpenConsole, Service, Watch
from tests.console.screens import EXPECTED, furnished, shown

FOLDER = ROOT / "docs" / "console"
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 375, "height": 720}
PICTURES = {
    "overview-light": ("overview", DESK, "light"),
    "overview-dark": ("overview", DESK, "dark"),
    "overview-phone": ("overview", PHONE, "light"),
    "configuration-light": ("unsaved", DESK, "light"),
    "configuration-phone": ("config", PHONE, "dark"),
    "conflict-light": ("conflict", DESK, "light"),
    "credentials-dark": ("replace", DESK, "dark"),
    "removal-phone": ("removal", PHONE, "light"),
    "in-force-light": ("after-save", DESK, "light"),
    "palette-light": ("palette", DESK, "light"),
    "test-light": ("fails", DESK, "light"),
    "voices-dark": ("voices", DESK, "dark"),
    "history-light": ("compared", DESK, "light"),
    "restore-phone": ("restore", PHONE, "dark"),
    "activity-light": ("record", DESK, "light"),
    "activity-phone": ("activity", PHONE, "light"),
    "import-dark": ("import-notice", DESK, "dark"),
}
MOST_BYTES = 1_500_000


def webp(page: Page) -> bytes:
    """Return what is on screen as WebP, which Chromium writes by its own protocol only."""
    session: Any = page.context.new_cdp_session(page)
    taken = session.send("Page.captureScreenshot", {"format": "webp", "quality": 80})
    return base64.b64decode(taken["data"])


@pytest.mark.timeout(300)
def test_the_pictures_of_the_page_on_the_console(open_console: OpenConsole, service: Service, watch: Watch) -> None:
    furnished(service)
    watch.expected += EXPECTED
    taken: dict[Path, bytes] = {}
    for name, (screen, size, scheme) in PICTURES.items():
        page = open_console(viewport=size, color_scheme=scheme, device_scale_factor=1.5, reduced_motion="reduce")
        with shown(page, screen):
            taken[FOLDER / f"{name}.webp"] = webp(page)
    assert 0 < sum(map(len, taken.values())) < MOST_BYTES
    FOLDER.mkdir(exist_ok=True)
    for path, picture in taken.items():
        path.write_bytes(picture)

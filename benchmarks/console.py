"""How smooth the console stays with a hundred providers: the longest that the page answers nothing, in Chromium.

A browser tells of every task that holds the page up for 50 ms or more (Long Tasks API). What a person does is done
ten times each, on a page that is served by `voxplane serve` with providers that a package adds as any package would.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from playwright.sync_api import Page, sync_playwright

from servers import forget_settings, voxplane

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

PROVIDERS = 100
ORGANIZATIONS = 500
CHANGES = 2_000
"""What the audit log has of the organization that is looked at, beside what it has of the others."""
LIMIT_MS = 100
ROUNDS = 10
_BROWSER = Path(__file__).parents[1] / "tools" / "browser.sh"
_PACKAGE = """
from dataclasses import replace
from voxplane.providers import {modules}
SHIPPED = [{providers}]
{definitions}
"""
_OBSERVER = """
window.held = [];
new PerformanceObserver((list) => window.held.push(...list.getEntries().map((each) => each.duration)))
    .observe({type: "longtask", buffered: true});
"""


@dataclass(frozen=True)
class Measured:
    """What a person did, and for how long at most the page answered nothing; 0 where it was below 50 ms."""

    action: str
    held_ms: list[float]


def package(folder: Path, *, count: int) -> None:
    """Write an installed package that adds copies of the providers that are shipped, until there are `count`."""
    shipped = sorted(each.stem for each in (Path(__file__).parents[1] / "src/voxplane/providers").glob("[a-z]*.py"))
    names = [f"copy_{number}" for number in range(count - len(shipped))]
    definitions = "\n".join(
        f'{name} = replace(SHIPPED[{number % len(shipped)}], key="copy-{number}", name="Copy {number:02} of " + '
        f"SHIPPED[{number % len(shipped)}].name, shares_secrets_with=None)"
        for number, name in enumerate(names)
    )
    source = _PACKAGE.format(
        modules=", ".join(shipped), providers=", ".join(f"{each}.PROVIDER" for each in shipped), definitions=definitions
    )
    (folder / "many_providers.py").write_text(source)
    info = folder / "many_providers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: many-providers\nVersion: 1.0\n")
    points = "\n".join(f"{name} = many_providers:{name}" for name in names)
    (info / "entry_points.txt").write_text(f"[voxplane.providers]\n{points}\n")


@contextmanager
def opened(address: str, token: str) -> Generator[Page]:
    """Open the overview as a person who is signed in."""
    executable = subprocess.run(["sh", str(_BROWSER)], capture_output=True, text=True, check=True)  # noqa: S603, S607 - our own script
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable.stdout.strip(), args=flags)
        page = browser.new_page(base_url=address, viewport={"width": 1280, "height": 900})
        page.add_init_script(f"sessionStorage.setItem('voxplane.token', '{token}');{_OBSERVER}")
        yield page
        browser.close()


def held(page: Page) -> float:
    """Return the longest task since it was last asked, once the page is idle."""
    return page.evaluate(
        """() => new Promise((resolve) => requestIdleCallback(() => setTimeout(() => {
            resolve(Math.max(0, ...window.held));
            window.held = [];
        }, 50), {timeout: 1000}))"""
    )


def load(page: Page) -> None:
    """Open the overview as if for the first time."""
    page.goto("/providers")
    page.wait_for_selector("[data-provider]")


def scroll(page: Page) -> None:
    """Scroll down and up again."""
    for by in (900,) * 8 + (-900,) * 8:
        page.mouse.wheel(0, by)
        page.evaluate("new Promise(requestAnimationFrame)")


def search(page: Page) -> None:
    """Type some words, and take them away."""
    page.get_by_role("searchbox").press_sequentially("copy 1")
    page.get_by_role("searchbox").fill("")


def choose(page: Page) -> None:
    """Filter by a status, and not."""
    page.get_by_role("combobox", name="Status").select_option("attention")
    page.get_by_role("combobox", name="Status").select_option("")


def open_and_close(page: Page) -> None:
    """Open a provider and close it."""
    page.locator("[data-provider=openai] .name").click()
    page.wait_for_selector("[data-setting]")
    page.keyboard.press("Escape")
    page.wait_for_selector(".drawer", state="detached")


def palette(page: Page) -> None:
    """Open the palette and type into it."""
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Go to a provider").press_sequentially("copy")
    page.keyboard.press("Escape")
    page.wait_for_selector(".palette", state="detached")


def move(page: Page) -> None:
    """Move the last of all that are on, which is the one with the lowest priority."""
    page.get_by_role("button", name="Move OpenAI up").click()
    page.get_by_role("button", name="Move OpenAI down").click()


def activity(page: Page) -> None:
    """Open the activity, scroll through a page of it and go on to the one before it."""
    page.goto("/activity")
    page.wait_for_selector("[data-record]")
    for by in (900,) * 4 + (-900,) * 4:
        page.mouse.wheel(0, by)
        page.evaluate("new Promise(requestAnimationFrame)")
    page.get_by_role("link", name="Older").click()
    page.wait_for_selector("[aria-busy=false] [data-record]")


def choose_activity(page: Page) -> None:
    """Filter the activity by a provider, and not."""
    for value in ("openai", ""):
        page.get_by_role("combobox", name="Provider", exact=True).select_option(value)
        page.wait_for_selector("[aria-busy=false] [data-record]")


def open_record(page: Page) -> None:
    """Open a row of the activity on its details and close it."""
    page.locator("[data-record] button").first.click()
    page.wait_for_selector("[data-details]")
    page.locator("[data-record] button").first.click()
    page.wait_for_selector("[data-details]", state="detached")


ACTIONS: dict[str, Callable[[Page], None]] = {
    "first load": load,
    "scroll": scroll,
    "search": search,
    "filter": choose,
    "open and close a provider": open_and_close,
    "palette": palette,
    "move": move,
    "activity": activity,
    "filter the activity": choose_activity,
    "open and close a record": open_record,
}


def measure(page: Page) -> list[Measured]:
    """Do what a person does, `ROUNDS` times each."""
    found: list[Measured] = []
    for name, act in ACTIONS.items():
        times: list[float] = []
        for _ in range(ROUNDS):
            act(page)
            times.append(held(page))
        found.append(Measured(name, times))
    return found


def main() -> None:
    """Measure, and print the figures beside the limit."""
    forget_settings()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        package(folder, count=PROVIDERS)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])  # noqa: TID251 - for the server
        sys.path.insert(0, str(folder))
        with voxplane(folder, organizations=ORGANIZATIONS, with_key=1) as (server, (tenant, *_)):
            headers = {"Authorization": f"Bearer {tenant.token}"}
            with httpx.Client(base_url=server.url, headers=headers) as client:
                path = "/api/organizations/current/providers"
                keys = [each["provider"]["key"] for each in client.get(path).raise_for_status().json()["providers"]]
                for key in keys[::2]:
                    client.put(f"{path}/{key}/config", json={"isEnabled": True, "priority": 500}).raise_for_status()
                for number in range(CHANGES):
                    change = {"priority": number % 1000}
                    client.put(f"{path}/{keys[number % 7]}/config", json=change).raise_for_status()
            with opened(server.url, tenant.token) as page:
                found = measure(page)
    print(f"{ORGANIZATIONS} organizations; in the one that is looked at {CHANGES} changes on record")
    print(f"{len(keys)} providers, half of them on; {ROUNDS} rounds; the longest task in ms (0: none of 50 ms)")
    print(f"{'':26} {'median':>7} {'worst':>7}   limit {LIMIT_MS}")
    for each in found:
        worst = max(each.held_ms)
        verdict = "" if worst <= LIMIT_MS else f"missed by {worst - LIMIT_MS:.0f}"
        print(f"{each.action:26} {statistics.median(each.held_ms):7.0f} {worst:7.0f}   {verdict}")


if __name__ == "__main__":
    main()

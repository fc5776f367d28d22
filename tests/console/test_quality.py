"""What holds on every screen: nobody is kept out, nothing is cut off, and nothing moves unasked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.console.answers import SAID
from tests.console.conftest import PROVIDERS, ROOT, OpenConsole, Service, Watch
from tests.console.screens import EXPECTED, SCREENS, each_of, furnished, shown
from voxplane.server.console import STATIC

AXE = (ROOT / "ui" / "node_modules" / "axe-core" / "axe.min.js").read_text()
DESK = {"width": 1280, "height": 900}
WIDTHS = (320, 375, 768, 1280)
SCHEMES: tuple[tuple[Literal["light", "dark"], Literal["none", "active"]], ...] = (
    ("light", "none"),
    ("dark", "none"),
    ("dark", "active"),
)
FEW = (
    "statuses",
    "every-kind",
    "conflict",
    "refused",
    "restore",
    "record",
    "sign-in-refused",
    "palette",
    "fails",
)
"""One screen of each kind. The others are looked at in `make test-deep`."""
DRAWN = "new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))"


pytestmark = pytest.mark.usefixtures("reference")


@pytest.fixture
def open_furnished(open_console: OpenConsole, service: Service, watch: Watch) -> OpenConsole:
    """Open the console of an organization that has been at work."""
    furnished(service)
    watch.expected += EXPECTED
    return open_console


# What is behind a dialog is a screen of its own.
VIOLATIONS = """async () => {
    const layers = [...document.querySelectorAll("[role=dialog], [role=alertdialog]")];
    const found = await axe.run(layers.at(-1) ?? document, {
        resultTypes: ["violations"],
        preload: false,
        selectors: false,
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    });
    return found.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`));
}"""


deep = [pytest.mark.deep, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    ("screens", "schemes"),
    [
        pytest.param(FEW, 1, id="a few, each in one of the schemes"),
        pytest.param(SCREENS, len(SCHEMES), id="all, in all schemes", marks=deep),
    ],
)
def test_check_63_axe_finds_nothing_on_any_screen_in_light_dark_and_forced_colours(
    open_furnished: OpenConsole, screens: Iterable[str], schemes: int
) -> None:
    # Without motion, what is looked at has the colours that it stays in.
    page = open_furnished(viewport=DESK, reduced_motion="reduce")
    turns = cycle(SCHEMES)
    violations: list[str] = []
    for name in each_of(page, screens):
        page.evaluate(AXE)
        for scheme, forced in islice(turns, schemes):
            page.emulate_media(color_scheme=scheme, forced_colors=forced)
            found = page.evaluate(VIOLATIONS)
            violations += [f"{name} in {scheme}, forced colours {forced}: {each}" for each in found]
    assert not violations, "\n".join(violations)


ON_SCREEN = """() => {
    const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    const layers = [...document.querySelectorAll("[role=dialog], [role=alertdialog]")];
    return [wide, ...layers.map((layer) => layer.scrollWidth - layer.clientWidth)];
}"""

# The part of the text that cannot be seen: what is cut off and cannot be scrolled to.
CUT_OFF = """() => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    const isUnseen = (element) => {
        const { width, height } = element.getBoundingClientRect();
        return width <= 1 || height <= 1;
    };
    while (texts.nextNode()) {
        const node = texts.currentNode;
        if (!node.data.trim() || !node.parentElement.checkVisibility({ visibilityProperty: true })) continue;
        const range = document.createRange();
        range.selectNodeContents(node);
        const { left, right } = range.getBoundingClientRect();
        for (let each = node.parentElement; each; each = each.parentElement) {
            const { overflowX, textOverflow } = getComputedStyle(each);
            if (overflowX === "visible" && each !== document.documentElement) continue;
            // Cut on purpose, with dots; or to be scrolled to; or for those only who have the page read to them.
            if (textOverflow === "ellipsis" || ["auto", "scroll"].includes(overflowX) || isUnseen(each)) break;
            const box = each.getBoundingClientRect();
            if (left < box.left - 1 || right > box.right + 1) found.push(node.data.trim());
            break;
        }
    }
    return found;
}"""


def test_check_66_a_setting_is_changed_and_saved_at_400_percent(open_furnished: OpenConsole, service: Service) -> None:
    page = open_furnished("/providers/openai/config", viewport={"width": 320, "height": 256}, device_scale_factor=4)
    field = page.locator("[data-setting=temperature]").get_by_label("Temperature", exact=True)
    field.fill("0.4")
    button = page.get_by_role("button", name="Save changes")
    expect(button).to_be_visible()
    # Of the little there is to see, nothing stands before what is typed: a click would meet it.
    field.click()
    button.click()
    expect(button).to_have_count(0)
    assert service.provider("openai")["overrides"]["temperature"] == 0.4


# What a finger meets: a field's own label counts with it, and a link within a sentence is as high as its line.
SMALL = """() => {
    const layers = [...document.querySelectorAll("[role=dialog], [role=alertdialog], [role=menu]")];
    const within = layers.at(-1) ?? document;
    const meets = "button, select, textarea, summary, input, a.button, [role=tab], [role=menuitem], [role=option]";
    return [...within.querySelectorAll(meets)].flatMap((each) => {
        const { height, width } = (each.closest("label") ?? each).getBoundingClientRect();
        const isThere = each.checkVisibility({ visibilityProperty: true }) && width > 1;
        const what = `${each.tagName} ${each.className} ${(each.ariaLabel ?? each.textContent).trim().slice(0, 40)}`;
        return isThere && height < 43.5 ? [`${what}: ${Math.round(height)}`] : [];
    });
}"""


@pytest.mark.parametrize(
    "screens",
    [
        pytest.param(("statuses", "in-force", "models", "fails"), id="a few"),
        pytest.param(SCREENS, id="all", marks=deep),
    ],
)
def test_on_a_phone_what_can_be_pressed_is_as_high_as_a_finger(
    open_furnished: OpenConsole, screens: Iterable[str]
) -> None:
    page = open_furnished(viewport={"width": 375, "height": 800}, has_touch=True, is_mobile=True)
    assert page.evaluate("matchMedia('(pointer: coarse)').matches")
    small = {f"{name}: {each}" for name in each_of(page, screens) for each in page.evaluate(SMALL)}
    assert not small, "\n".join(sorted(small))


# What the server says is in no language of ours: names, settings, models, and what it explains.
UNTRANSLATED = """(data) => {
    const left = [];
    const said = (text, where) => {
        let depth = 0;
        let rest = "";
        for (const letter of text) {
            if (letter === "[") depth += 1;
            else if (letter === "]" && depth > 0) depth -= 1;
            else if (depth === 0) rest += letter;
        }
        rest = rest.replace(/^[^\\p{L}]+/u, "").replace(/\\s+/g, " ").trim();
        const isData = data.includes(rest) || rest.split(/,(?: and)? | and /).every((each) => data.includes(each));
        if (/\\p{L}{2}/u.test(rest) && !isData) left.push(`${where}: ${rest}`);
    };
    const texts = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const { data: text, parentElement } = texts.currentNode;
        if (!parentElement.checkVisibility()) continue;
        if (!parentElement.closest("script, style, time, code, pre")) said(text, parentElement.tagName);
    }
    for (const name of ["aria-label", "placeholder", "title", "alt", "aria-description", "aria-roledescription"]) {
        for (const element of document.querySelectorAll(`[${name}]:not(time)`)) said(element.getAttribute(name), name);
    }
    return left;
}"""


def _in_words(text: str) -> str:
    """Return a text of the server's with its days as the page writes them."""
    return re.sub(r" on ([0-9-]{10})", lambda day: f" on {date.fromisoformat(day[1]):%b %-d, %Y}", text)


def said_by_the_server(service: Service) -> str:
    """Return all strings that are in the server's answers, each on a line."""
    found: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            for name, each in cast("dict[str, Any]", value).items():
                found.append(name)
                collect(each)
        elif isinstance(value, list):
            for each in cast("list[Any]", value):
                collect(each)
        else:
            found.append(_in_words(str(value)))

    providers = service.admin.get(PROVIDERS).json()
    audit = service.admin.get("/api/organizations/current/audit").json()
    collect([providers, audit, service.admin.get("/api/me").json()])
    for each in providers["providers"]:
        collect(service.admin.get(f"/api/providers/{each['provider']['key']}").json())
    return "\n".join(found)


@pytest.mark.parametrize("screens", [pytest.param(FEW[:6], id="a few"), pytest.param(SCREENS, id="all", marks=deep)])
def test_check_66_and_70_nothing_is_cut_off_or_scrolled_sideways_in_a_longer_language_and_all_of_it_is_translated(
    open_furnished: OpenConsole, service: Service, screens: Iterable[str]
) -> None:
    page = open_furnished(locale="en-XA", viewport=DESK)
    expect(page.get_by_role("heading", level=1)).to_have_text("[Próvídérs···]")
    data = "\n".join([said_by_the_server(service), *SAID])
    wrong: list[str] = []
    for name in each_of(page, screens):
        wrong += [f"{name}: {each}" for each in page.evaluate(UNTRANSLATED, data)]
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            page.evaluate(DRAWN)
            wrong += [f"{name} at {width}: {each}" for each in page.evaluate(CUT_OFF)]
            if any(each > 0 for each in page.evaluate(ON_SCREEN)):
                wrong.append(f"{name} is wider than {width}")
    assert not wrong, "\n".join(wrong)


def picture(page: Page, of: Locator) -> bytes:
    """Return how something looks while nobody points at it."""
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    return of.screenshot(animations="disabled", caret="hide")


def stripe(page: Page, name: str) -> bytes:
    """Return how the start of a setting looks, where one's own is marked."""
    box = page.locator(f"[data-setting={name}]").bounding_box()
    assert box is not None
    return page.screenshot(clip={"x": box["x"], "y": box["y"] + 4, "width": 4, "height": 24})


def test_check_65_forced_colours_show_what_is_on_chosen_and_overridden(open_furnished: OpenConsole) -> None:
    for scheme in ("light", "dark"):
        page = open_furnished(viewport=DESK, forced_colors="active", color_scheme=scheme)
        switches = page.locator("[data-provider=openai] [role=switch], [data-provider=azure-openai] [role=switch]")
        on, off = (picture(page, each) for each in switches.all())
        assert on != off
        page.goto("/providers/openai/config")
        own, default = stripe(page, "temperature"), stripe(page, "model")
        assert own != default
        expect(page.locator("[data-setting=temperature]")).to_contain_text("Overridden")
        tab = page.get_by_role("tab", name="Configuration")
        chosen = picture(page, tab)
        page.get_by_role("tab", name="Credentials").click()
        expect(page.locator("[data-secret]")).to_be_visible()
        assert picture(page, tab) != chosen


MOVES = """() => [...document.querySelectorAll("*")].flatMap((element) =>
    [null, "::before", "::after"].map((part) => getComputedStyle(element, part)).filter(
        ({ animationName, transitionDuration, scrollBehavior }) =>
            animationName !== "none" || !/^0s(, 0s)*$/.test(transitionDuration) || scrollBehavior !== "auto",
    ).map(() => element.className || element.tagName),
)"""


def test_check_71_nothing_moves_for_who_asked_for_less_motion(open_furnished: OpenConsole) -> None:
    page = open_furnished(viewport=DESK, reduced_motion="reduce")
    moved: list[str] = []
    for name in ("overview", "palette", "menu", "unsaved", "every-kind", "replace", "removal", "in-force"):
        with shown(page, name):
            moved += page.evaluate(MOVES)
            moved += page.evaluate("document.getAnimations().map((each) => each.animationName ?? 'a transition')")
    page.goto("/providers")
    page.get_by_role("button", name="Move Groq up").click()
    moved += page.evaluate("document.getAnimations().map((each) => each.animationName ?? 'a move')")
    assert moved == []


SHIFTS = """() => new Promise((resolve) => {
    new PerformanceObserver((list, observer) => {
        observer.disconnect();
        resolve(list.getEntries().filter((each) => each.entryType === "layout-shift").map((each) => each.value));
    }).observe({ type: "layout-shift", buffered: true });
    // Where nothing was ever shifted, it is not told of anything.
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => resolve([]), 100)));
})"""


@pytest.mark.parametrize("width", [375, 1280])
def test_check_72_nothing_is_shifted_when_the_providers_come(open_furnished: OpenConsole, width: int) -> None:
    page = open_furnished(viewport={"width": width, "height": 800}, wait=False)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(f"**{PROVIDERS}", hold)
    page.route("**/changes", hold)
    page.reload()
    page.wait_for_selector(".skeleton.seen")
    before = {name: page.locator(name).bounding_box() for name in ("header", "main h1", "main [role=search]")}
    for each in held:
        each.continue_()
    page.wait_for_selector("[data-provider]")
    expect(page.locator("header").get_by_text("Live", exact=True)).to_be_visible()
    assert before == {name: page.locator(name).bounding_box() for name in before}
    assert page.evaluate(SHIFTS) == []


def test_check_69_the_first_screen_is_loaded_within_its_budget(open_console: OpenConsole, watch: Watch) -> None:
    page = open_console(wait=False)
    # What comes when the page is idle is no part of the first screen.
    page.add_init_script("window.requestIdleCallback = () => 0")
    console = page.url
    page.goto("about:blank")
    watch.requests.clear()
    page.goto(console)
    page.wait_for_selector("[data-provider]")
    loaded = {Path(urlsplit(each.url).path).name for each in watch.sent("GET") if "/assets/" in each.url}

    def zipped(suffix: str) -> int:
        return sum((STATIC / "assets" / f"{name}.gz").stat().st_size for name in loaded if name.endswith(suffix))

    expect(page.locator("[data-provider]")).to_have_count(13)
    assert 0 < zipped(".js") <= 95_000
    assert 0 < zipped(".css") <= 8_000


TRESPASSES = """async () => {
    const attempt = async (trespass) => { try { await trespass(); } catch { /* that is what is wanted */ } };
    await attempt(() => { document.body.lastElementChild.innerHTML = "<b>markup</b>"; });
    await attempt(() => document.body.append(Object.assign(document.createElement("style"), {textContent: "a {}"})));
    await attempt(() => fetch("http://127.0.0.1:9/elsewhere"));
    await attempt(() => import("/made-up.js"));
}"""


def test_check_67_and_68_no_test_passes_in_which_a_policy_is_broken_or_another_origin_is_asked(
    page: Page, watch: Watch
) -> None:
    page.evaluate(TRESPASSES)
    for words in ("TrustedHTML", "style-src", "connect-src", "404"):
        assert any(words in each for each in watch.complaints), (words, watch.complaints)
    watch.complaints.clear()

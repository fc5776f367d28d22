"""What the definitions say about LiveKit's and Pipecat's classes is true of the classes that are installed."""

# Signatures and settings of other people's classes have the types that those give them.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import inspect
import itertools
import json
import re
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from typing_extensions import override

from tests.test_providers import NEEDED, PROVIDERS, REGISTRY, UUID, at_random, every_provider, properties
from voxplane.errors import Invalid, MissingDependency
from voxplane.plugin import Construct, Derive, Framework, Plugin
from voxplane.provider import AnyProvider
from voxplane.rules import When
from voxplane.schemas import JsonObject

FRAMEWORKS: tuple[Framework, ...] = ("livekit", "pipecat")
EXTRAS: dict[str, list[str]] = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
ACCOUNT = json.dumps({"private_key": "k", "client_email": "calls@calls-1.iam.gserviceaccount.com"})
SECRETS = {"apiKey": "k", "clientSecret": "k", "serviceAccountJson": ACCOUNT}

# What a framework cannot do at all, and why.
ABSENT: dict[tuple[str, Framework], tuple[JsonObject, str]] = {
    ("vosk", "pipecat"): ({}, "Pipecat has no class for Vosk."),
    ("whisper", "pipecat"): (
        {"baseUrl": "http://127.0.0.1:8000/v1", "language": "auto"},
        "Pipecat's class for a server wants a language.",
    ),
}

# Which class a model is for: the first pattern that its name matches.
# fmt: off
LIVEKIT, PIPECAT = "livekit.plugins.", "pipecat.services."
CLASSES: dict[tuple[str, Framework], list[tuple[str, str]]] = {
    ("deepgram", "livekit"): [("^flux", LIVEKIT + "deepgram:STTv2"), ("", LIVEKIT + "deepgram:STT")],
    ("deepgram", "pipecat"): [
        ("^flux", PIPECAT + "deepgram.flux.stt:DeepgramFluxSTTService"),
        ("", PIPECAT + "deepgram.stt:DeepgramSTTService"),
    ],
    ("vosk", "livekit"): [("", "voxplane.speech.vosk:STT")],
    ("whisper", "livekit"): [("", "voxplane.speech.whisper:STT")],
    ("whisper", "pipecat"): [("", "voxplane.speech.pipecat_whisper:WhisperSTTService")],
    ("cartesia", "livekit"): [("", LIVEKIT + "cartesia:TTS")],
    ("cartesia", "pipecat"): [("", PIPECAT + "cartesia.tts:CartesiaTTSService")],
    ("elevenlabs", "livekit"): [("", LIVEKIT + "elevenlabs:TTS")],
    ("elevenlabs", "pipecat"): [
        ("^eleven_v[34]", PIPECAT + "elevenlabs.dialogue.tts:ElevenLabsDialogueTTSService"),
        ("", PIPECAT + "elevenlabs.tts:ElevenLabsTTSService"),
    ],
    ("openai-tts", "livekit"): [("", LIVEKIT + "openai:TTS")],
    ("openai-tts", "pipecat"): [("", PIPECAT + "openai.tts:OpenAITTSService")],
    ("piper", "livekit"): [("", "voxplane.speech.piper:TTS")],
    ("piper", "pipecat"): [("", "voxplane.speech.pipecat:PiperHttpTTSService")],
    ("anthropic", "livekit"): [("", LIVEKIT + "anthropic:LLM")],
    ("anthropic", "pipecat"): [("", PIPECAT + "anthropic.llm:AnthropicLLMService")],
    ("azure-openai", "livekit"): [("", LIVEKIT + "openai:LLM")],
    ("azure-openai", "pipecat"): [("", PIPECAT + "azure.llm:AzureLLMService")],
    ("google", "livekit"): [("", LIVEKIT + "google:LLM")],
    ("google", "pipecat"): [("", PIPECAT + "google.llm:GoogleLLMService")],
    ("groq", "livekit"): [("", LIVEKIT + "groq:LLM")],
    ("groq", "pipecat"): [("", PIPECAT + "groq.llm:GroqLLMService")],
    ("openai", "livekit"): [("", LIVEKIT + "openai:LLM")],
    ("openai", "pipecat"): [("", PIPECAT + "openai.llm:OpenAILLMService")],
}
# Where a class hands a dict on as it is: whose parameters the names in it are.
OPENAI_CREATE = "openai.resources.chat.completions:AsyncCompletions.create"
HANDED_ON = {
    (LIVEKIT + "openai:LLM", "extra_body"): OPENAI_CREATE,
    (PIPECAT + "openai.llm:OpenAILLMService", "settings.extra"): OPENAI_CREATE,
    (PIPECAT + "azure.llm:AzureLLMService", "settings.extra"): OPENAI_CREATE,
    (PIPECAT + "groq.llm:GroqLLMService", "settings.extra"): "groq.resources.chat.completions:AsyncCompletions.create",
    (PIPECAT + "google.llm:GoogleLLMService", "settings.extra"): "google.genai.types:GenerateContentConfig",
    ("voxplane.pipecat.vertex:GoogleVertexLLMService", "settings.extra"): "google.genai.types:GenerateContentConfig",
    (PIPECAT + "anthropic.llm:AnthropicLLMService", "settings.extra"):
        "anthropic.resources.messages:AsyncMessages.create",
    (PIPECAT + "deepgram.stt:DeepgramSTTService", "settings.extra"): "deepgram.listen.v1.client:AsyncV1Client.connect",
}
# Settings under which a plugin is taken that the defaults do not lead to.
SURFACES: dict[str, list[JsonObject]] = {
    "google": [{"backend": "vertex", "project": "calls-1"}],
    "azure-openai": [{"apiSurface": "dated"}, {"clientId": UUID, "tenantId": UUID}],
    "whisper": [{"baseUrl": "http://127.0.0.1:8000/v1"}],
    "vosk": [{"serverUrl": "ws://127.0.0.1:2700"}],
}
# fmt: on

with warnings.catch_warnings():
    # Raised where Pipecat and the vendors' SDKs are imported: theirs to mend.
    warnings.simplefilter("ignore", DeprecationWarning)
    for _target in {
        *HANDED_ON.values(),
        *(
            target
            for _p in PROVIDERS
            for _each in (*_p.livekit, *_p.pipecat)
            for target in (_each.target, *_each.parts.values())
        ),
    }:
        importlib.import_module(_target.partition(":")[0])  # LiveKit's plugins insist on the main thread


def plugins() -> Iterator[tuple[AnyProvider, Framework, Plugin]]:
    for provider in PROVIDERS:
        for framework in FRAMEWORKS:
            for plugin in getattr(provider, framework):
                yield provider, framework, plugin


every_plugin = pytest.mark.parametrize(
    ("provider", "framework", "plugin"),
    [
        pytest.param(*found, id=f"{found[0].key}-{found[1]}-{found[2].target.rpartition(':')[2]}-{number}")
        for number, found in enumerate(plugins())
    ],
)


# What a class takes


@cache
def find(target: str) -> Any:
    """Return what a target names; none if there is no such thing."""
    module, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        return None
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


@cache
def takes(target: str) -> frozenset[str]:
    """Return the names that a class or a function takes.

    What a class hands on with `**kwargs` is its parents' to know; a function's is looked for in the class it makes.
    """
    found = find(target)
    if isinstance(found, type) and issubclass(found, BaseModel):
        return frozenset(found.model_fields)
    if isinstance(found, type):
        return frozenset(_of_a_class(found))
    names, is_open = _of_a_signature(found)
    maker = getattr(found, "__self__", None)
    return frozenset(names | (_of_a_class(maker) if is_open and isinstance(maker, type) else set()))


def _of_a_class(found: type) -> set[str]:
    names: set[str] = set()
    for each in found.__mro__:
        if "__init__" in vars(each):
            own, is_open = _of_a_signature(vars(each)["__init__"])
            names |= own
            if not is_open:
                break
    return names - {"self"}


def _of_a_signature(function: Any) -> tuple[set[str], bool]:
    parameters = inspect.signature(function).parameters.values()
    named = {each.name for each in parameters if each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY}}
    return named, any(each.kind is each.VAR_KEYWORD for each in parameters)


def test_what_a_class_takes_is_read_from_its_signature() -> None:
    assert {"base_url", "settings", "service_tier"} <= takes(PIPECAT + "groq.llm:GroqLLMService"), "its parents' too"
    assert {"follow_redirects", "timeout"} <= takes("openai:DefaultAsyncHttpxClient")
    assert "scopes" in takes("google.oauth2.service_account:Credentials.from_service_account_info")
    assert "thinking_level" in takes("google.genai.types:ThinkingConfig")
    assert "self" not in takes(LIVEKIT + "openai:LLM")
    assert not {"organization", "seed"} & takes(LIVEKIT + "openai:LLM")
    assert find("livekit.plugins.openai:NoSuchClass") is None
    assert find("livekit.plugins.no_such_module:LLM") is None


# What is laid out


class Watched(dict[str, Any]):
    """Settings that remember which of them were read."""

    def __init__(self, held: JsonObject) -> None:
        super().__init__(held)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.read.add(str(name))
        return super().__contains__(name)

    @override
    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        self.read |= set(self.keys())
        return super().__iter__()


def candidates(field: JsonObject, provider: AnyProvider) -> list[Any]:
    """Return values that a setting may have: the ends of its range, each of its choices, what it names as examples."""
    if "$ref" in field:
        inner = provider.config_schema["$defs"][field["$ref"].removeprefix("#/$defs/")]["properties"]
        return [{name: candidates(each, provider)[0]} for name, each in inner.items()]
    if "enum" in field:
        return field["enum"]
    match field["type"]:
        case "boolean":
            return [True, False]
        case "array":
            return [[each] for each in candidates(field["items"], provider)] + field.get("examples", [])
        case "integer" | "number":
            return [field[end] for end in ("minimum", "maximum") if end in field]
        case _:
            known = {"^org-": "org-1", "^proj_": "proj_1", "^wrkspc_": "wrkspc_1", "^dict": "dict_1"}
            made_up = [value for start, value in known.items() if field.get("pattern", "").startswith(start)]
            return [*field.get("examples", [])[:2], *made_up, "word"]


@cache
def samples(provider: AnyProvider) -> list[JsonObject]:
    """Return settings in force: the defaults, and every setting by itself, with every model on every surface."""
    models = [model.name for model in provider.models]
    choices: list[JsonObject] = [{"model": name} for name in models if "model" in properties(provider)] or [{}]
    surfaces = [{}, *SURFACES.get(provider.key, [])]
    one_setting: list[JsonObject] = [
        {name: value}
        for name, field in properties(provider).items()
        if name != "model"
        for value in candidates(field, provider)
    ]
    found: list[JsonObject] = []
    for surface, choice, one in itertools.product(surfaces, choices, [{}, *one_setting]):
        try:
            found.append(provider.validate({**NEEDED.get(provider.key, {}), **surface, **choice, **one}).effective())
        except Invalid:
            continue
    return found


def fitting(provider: AnyProvider, framework: Framework, plugin: Plugin) -> list[JsonObject]:
    """Return the samples that a plugin is taken for."""
    of_framework: tuple[Plugin, ...] = getattr(provider, framework)
    earlier = of_framework[: of_framework.index(plugin)]

    def fits(each: Plugin, sample: JsonObject) -> bool:
        return each.when is None or each.when.holds(sample)

    return [
        s
        for s in samples(REGISTRY.get_provider_by_key(provider.key))
        if fits(plugin, s) and not any(fits(each, s) for each in earlier)
    ]


def unknown_arguments(plan: Construct, handed_on: Mapping[str, str]) -> Iterator[str]:
    """Say which arguments of a plan, at any depth, are none of the class's; `handed_on` are the dicts that it passes.

    The path of a dict is told from the plugin's own class down.
    """
    if find(plan.target) is None:
        yield f"{plan.target} does not exist"
        return
    yield from (f"{plan.target} does not take {name}" for name in plan.arguments if name not in takes(plan.target))
    for name, value in (*plan.arguments.items(), *plan.attributes.items()):
        if isinstance(value, Construct):
            inner = {path.removeprefix(f"{name}."): to for path, to in handed_on.items() if path.startswith(f"{name}.")}
            yield from unknown_arguments(value, inner)
        elif isinstance(value, dict) and name in handed_on:
            given = cast("JsonObject", value)
            yield from (
                f"{handed_on[name]} does not take {each}" for each in given if each not in takes(handed_on[name])
            )


def plain_dicts(plan: Construct, at: str = "") -> set[str]:
    """Return the paths of the dicts that a plugin's own arguments fill."""
    found: set[str] = set()
    for name, value in plan.arguments.items():
        if isinstance(value, Construct):
            found |= plain_dicts(value, f"{at}{name}.")
        elif isinstance(value, dict):
            found.add(f"{at}{name}")
    return found


def handed_on_by(plugin: Plugin) -> dict[str, str]:
    return {path: to for (target, path), to in HANDED_ON.items() if target == plugin.target}


def wrongly_listed(provider: AnyProvider, plugin: Plugin) -> list[str]:
    """Say which settings a plugin has forgotten, names twice or makes up, and which reasons are none."""
    lists = [*plugin.takes, *plugin.derived_from, *plugin.leaves_out]
    names = set(properties(provider))
    reasons = plugin.leaves_out.values()
    return [
        *(f"{name} is forgotten" for name in sorted(names - set(lists))),
        *(f"{name} is made up" for name in sorted(set(lists) - names)),
        *(f"{name} is there twice" for name in sorted({name for name in lists if lists.count(name) > 1})),
        *(
            f"{reason!r} is no sentence"
            for reason in reasons
            if not re.fullmatch(r"[A-Z][^.!?]*(\.[^ ][^.]*)*\.", reason)
        ),
    ]


def wrongly_laid_out(provider: AnyProvider, framework: Framework, plugin: Plugin) -> set[str]:
    """Say what is wrong with a plugin's arguments, over all samples that it is taken for."""
    wrong: set[str] = set()
    for sample in fitting(provider, framework, plugin):
        plan = plugin.construct(sample, SECRETS)
        wrong |= set(unknown_arguments(plan, handed_on_by(plugin)))
        paths = set(plugin.takes.values())
        wrong |= {
            f"{path} is a dict that nobody vouches for"
            for path in plain_dicts(plan)
            if any(each.startswith(f"{path}.") for each in paths) and path not in handed_on_by(plugin)
        }
    return wrong


def at(plan: Construct, path: str) -> Any:
    found: Any = plan
    for part in path.split("."):
        found = (found.arguments if isinstance(found, Construct) else found).get(part)
    return found


def not_passed_on(provider: AnyProvider, framework: Framework, plugin: Plugin) -> list[str]:
    """Say which settings that a plugin takes do not arrive where it says, or arrive without having been set."""
    sample = fitting(provider, framework, plugin)[0]
    wrong: list[str] = []
    for name, path in plugin.takes.items():
        without = {other: value for other, value in sample.items() if other != name}
        arrived = [at(plugin.construct({**sample, name: value}, SECRETS), path) for value in ("one", "two", 0, False)]
        wrong += [] if arrived == ["one", "two", 0, False] else [f"{name} does not arrive at {path}"]
        head, _, last = path.rpartition(".")
        plan = plugin.construct(without, SECRETS)
        holder = at(plan, head) if head else plan
        given = holder.arguments if isinstance(holder, Construct) else holder or {}
        wrong += [f"{path} is given though {name} is not set"] if last in given else []
    return wrong


def wrongly_read(provider: AnyProvider, framework: Framework, plugin: Plugin) -> list[str]:
    """Say which settings are read and not said to be, or said to be and never read."""
    read: set[str] = set()
    for sample in fitting(provider, framework, plugin):
        for derive in (plugin.derives, plugin.sets):
            watched = Watched(sample)
            if derive is not None:
                derive(watched, SECRETS)
            read |= watched.read
    said = set(plugin.derived_from)
    return [
        *(f"{name} is read in secret" for name in sorted(read - said)),
        *(f"{name} is never read" for name in sorted(said - read)),
    ]


# The definitions


def test_every_provider_has_a_class_in_every_framework_but_for_those_listed() -> None:
    missing = {(p.key, f) for p in PROVIDERS for f in FRAMEWORKS if not getattr(p, f)}
    assert missing == {pair for pair, (overrides, _) in ABSENT.items() if not overrides}


@pytest.mark.parametrize(("key", "framework"), ABSENT, ids=[f"{key}-{framework}" for key, framework in ABSENT])
def test_what_a_framework_cannot_do_is_said(key: str, framework: Framework) -> None:
    provider = REGISTRY.get_provider_by_key(key)
    overrides, reason = ABSENT[key, framework]
    effective = provider.validate(overrides).effective()
    with pytest.raises(MissingDependency, match=f"cannot be used with {framework}"):
        provider.plugin(framework, effective)
    assert reason.endswith(".")


@every_plugin
def test_every_setting_is_taken_derived_or_left_out_for_a_reason(
    provider: AnyProvider, framework: Framework, plugin: Plugin
) -> None:
    assert wrongly_listed(provider, plugin) == []
    assert fitting(provider, framework, plugin), "no settings lead to it"


@every_plugin
def test_the_class_exists_and_takes_all_that_is_laid_out(
    provider: AnyProvider, framework: Framework, plugin: Plugin
) -> None:
    assert wrongly_laid_out(provider, framework, plugin) == set()


@every_plugin
def test_a_setting_arrives_where_the_plugin_says(provider: AnyProvider, framework: Framework, plugin: Plugin) -> None:
    assert not_passed_on(provider, framework, plugin) == []


@every_plugin
def test_what_is_derived_is_derived_from_what_is_said(
    provider: AnyProvider, framework: Framework, plugin: Plugin
) -> None:
    assert wrongly_read(provider, framework, plugin) == []


@cache
def distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


@every_plugin
def test_the_package_is_installed_and_one_of_the_worker_s_extras(
    provider: AnyProvider, framework: Framework, plugin: Plugin
) -> None:
    assert importlib.metadata.version(plugin.requires)
    extras = (*EXTRAS[framework], *EXTRAS.get(provider.key, []))
    assert plugin.requires in {re.split(r"[\[<>=~ ]", each)[0] for each in extras}
    package = plugin.target.partition(".")[0]
    if package != "voxplane":
        assert plugin.requires in distributions()[package]


@every_provider
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_model_has_the_class_that_was_meant_for_it(provider: AnyProvider, framework: Framework) -> None:
    if (provider.key, framework) not in CLASSES:
        assert (provider.key, framework) in ABSENT
        return
    name = "model" if "model" in properties(provider) else "voice"
    for model in provider.models:
        effective = provider.validate({**NEEDED.get(provider.key, {}), name: model.name}).effective()
        meant = next(to for pattern, to in CLASSES[provider.key, framework] if re.search(pattern, model.name))
        assert provider.plugin(framework, effective).target == meant, model.name


@pytest.mark.parametrize(
    ("key", "overrides", "livekit", "pipecat"),
    [
        (
            "google",
            {"backend": "vertex", "project": "calls-1"},
            "google:LLM",
            "voxplane.pipecat.vertex:GoogleVertexLLMService",
        ),
        ("azure-openai", {"apiSurface": "dated"}, "openai:LLM", PIPECAT + "azure.llm:AzureLLMService"),
        ("whisper", {"baseUrl": "http://127.0.0.1:8000/v1"}, "openai:STT", PIPECAT + "openai.stt:OpenAISTTService"),
    ],
)
def test_a_surface_has_the_class_that_was_meant_for_it(
    key: str, overrides: JsonObject, livekit: str, pipecat: str
) -> None:
    provider = REGISTRY.get_provider_by_key(key)
    effective = provider.validate({**NEEDED.get(key, {}), **overrides}).effective()
    assert provider.plugin("livekit", effective).target == LIVEKIT + livekit
    assert provider.plugin("pipecat", effective).target == pipecat


def test_classes_of_models_are_named_for_definitions_that_exist() -> None:
    meant = {(provider.key, framework) for provider in PROVIDERS for framework in FRAMEWORKS}
    assert set(CLASSES) | {pair for pair, (overrides, _) in ABSENT.items() if not overrides} == meant
    assert {target for target, _ in HANDED_ON} <= {plugin.target for _, _, plugin in plugins()}


@every_provider
def test_settings_in_force_are_valid_and_stay_as_they_are(provider: AnyProvider) -> None:
    checked = 0

    @settings(max_examples=150, deadline=None, database=None)
    @given(at_random(provider) | st.sampled_from(samples(provider)))
    def hold(override: JsonObject) -> None:
        nonlocal checked
        try:
            effective = provider.validate(override).effective()
        except Invalid:
            return
        checked += 1
        assert provider.validate(effective).effective() == effective

    hold()
    assert checked > 20


# That these checks find what they are for


def always(arguments: JsonObject) -> Derive:
    """Return what a plugin derives when it looks at nothing."""

    def derive(_settings: JsonObject, _secrets: Mapping[str, str]) -> JsonObject:
        return arguments

    return derive


def test_a_plugin_that_is_wrong_is_found_out() -> None:
    openai = REGISTRY.get_provider_by_key("openai")
    (good,) = openai.pipecat

    def with_plugin(**changes: Any) -> tuple[AnyProvider, Plugin]:
        plugin = dataclasses.replace(good, **changes)
        return dataclasses.replace(openai, pipecat=(plugin,)), plugin

    def laid_out(**changes: Any) -> set[str]:
        provider, plugin = with_plugin(**changes)
        return wrongly_laid_out(provider, "pipecat", plugin)

    assert laid_out() == set()
    settings_class = good.parts["settings"]
    assert laid_out(takes={**good.takes, "model": "modle"}) == {f"{good.target} does not take modle"}
    assert laid_out(takes={**good.takes, "model": "settings.modle"}) == {f"{settings_class} does not take modle"}
    assert laid_out(takes={**good.takes, "store": "settings.extra.stoer"}) == {f"{OPENAI_CREATE} does not take stoer"}
    assert laid_out(takes={**good.takes, "store": "more.store"}) == {
        f"{good.target} does not take more",
        "more is a dict that nobody vouches for",
    }
    assert laid_out(parts={"settings": f"{good.target}.Setings"}) == {f"{good.target}.Setings does not exist"}
    gone = Construct("openai:AsyncOpenAI", {"api_keys": "k"})
    assert laid_out(sets=always({"_client": gone})) == {"openai:AsyncOpenAI does not take api_keys"}

    target = "pipecat.services.openai.llm:OpenAIService"
    provider, plugin = with_plugin(target=target)
    assert wrongly_laid_out(provider, "pipecat", plugin) >= {f"{target} does not exist"}

    fewer = {name: path for name, path in good.takes.items() if name != "seed"}
    assert wrongly_listed(openai, dataclasses.replace(good, takes=fewer)) == ["seed is forgotten"]
    more = dataclasses.replace(good, leaves_out={"sead": "It has none.", "seed": "no reason"})
    assert wrongly_listed(openai, more) == ["sead is made up", "seed is there twice", "'no reason' is no sentence"]

    provider, plugin = with_plugin(derives=always({"api_key": "k", "settings.seed": 1}))
    assert not_passed_on(provider, "pipecat", plugin)
    provider, plugin = with_plugin(derived_from=("organization", "baseUrl", "seed"))
    assert wrongly_read(provider, "pipecat", plugin) == ["project is read in secret", "seed is never read"]
    provider, plugin = with_plugin(when=When("model", equals="no-such-model"))
    assert fitting(provider, "pipecat", plugin) == []


def test_an_attribute_that_a_class_no_longer_has_is_refused() -> None:
    plan = Construct("openai:AsyncOpenAI", {"api_key": "k", "base_url": "http://127.0.0.1"}, {"_custom_header": {}})
    with pytest.raises(MissingDependency, match="openai:AsyncOpenAI has no _custom_header"):
        plan.make()
    plan = Construct("openai:AsyncOpenAI", {"api_key": "k", "base_url": "http://127.0.0.1"}, {"_opts.effort": "low"})
    with pytest.raises(MissingDependency, match=r"openai:AsyncOpenAI has no _opts\.effort"):
        plan.make()


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(MissingDependency, match=r"livekit\.plugins\.nowhere is not installed"):
        Construct("livekit.plugins.nowhere:LLM").make()

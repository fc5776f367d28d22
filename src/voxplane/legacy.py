"""What one blob of the old `org_configs` means here: settings, secrets, and a report of everything in it.

    converted = convert(blob, registry, today)
    converted.providers     what to write, by provider
    converted.findings      what became of every part of the blob

Nothing is read or written here. What the old system called things is in `voxplane.legacy_names`; what a provider takes
is asked of its definition. A report holds places in the blob and values that are known to us (numbers, switches, names
of models); never another text of it, because a key can stand anywhere.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from voxplane import legacy_names as names
from voxplane.errors import Invalid
from voxplane.legacy_names import fold
from voxplane.legacy_values import Refused, empty, fit, holds_keys, looks_like_a_key, within_rules
from voxplane.resolution import model_notices
from voxplane.schemas import MAX_PRIORITY, JsonObject, ProviderType, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from voxplane.provider import AnyProvider
    from voxplane.registry import ProviderRegistry

ENABLED_PRIORITY = 100
OTHER_PRIORITY = 50
MAX_FINDINGS = 1000
_MAX_DEPTH = 4
_SHOWN = re.compile(r"[A-Za-z]{1,24}(?:[_-]?[A-Za-z]{1,24}){0,3}[0-9]{0,2}|11labs", re.ASCII)
_AZURE = re.compile(r"https://[^/]+\.(?:openai|services\.ai|cognitiveservices)\.azure\.com(?:/|$)", re.IGNORECASE)


class Outcome(StrEnum):
    """What became of one part of a blob."""

    MOVED = "moved"
    CONVERTED = "converted"
    CLAMPED = "clamped"
    LEFT = "left"
    UNKNOWN = "unknown"


class Finding(Wire):
    """What became of one part of a blob."""

    at: str
    """Where it stands: a JSON Pointer in which names that could be a key are `?`."""
    outcome: Outcome
    provider: str | None = None
    setting: str | None = None
    secret: str | None = None
    value: bool | int | float | str | None = None
    """What is written, when that is a number, a switch or a name that the definition knows."""
    note: str | None = None


@dataclass(frozen=True)
class LegacyProvider:
    """What a blob says of one provider, as this system takes it."""

    key: str
    config: JsonObject
    secrets: Mapping[str, SecretStr] = field(repr=False)
    is_enabled: bool
    priority: int
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Converted:
    """One blob, read: what to write and what is said of it."""

    providers: tuple[LegacyProvider, ...]
    findings: tuple[Finding, ...]


def convert(blob: JsonObject, registry: ProviderRegistry, today: date) -> Converted:
    """Read one organization's blob.

    Every part of it is in exactly one finding, up to `MAX_FINDINGS`. The config of each provider is one that its
    definition accepts; what it does not accept is left.
    """
    reading = _Reading(registry)
    reading.read(blob, ())
    reading.settle()
    providers = tuple(_Taking(reading, provider, today).take() for provider in reading.named())
    findings = [finding for _, finding in sorted(reading.findings, key=lambda each: each[0])]
    if len(findings) > MAX_FINDINGS:
        more = Finding(at="", outcome=Outcome.LEFT, note="There is more in this blob than a report holds.")
        findings = [*findings[:MAX_FINDINGS], more]
    return Converted(tuple(each for each in providers if each is not None), tuple(findings))


@dataclass(frozen=True)
class _Entry:
    """One named value of a blob. `number` is its place in it."""

    number: int
    path: tuple[str, ...]
    name: str
    value: Any = field(repr=False)


@dataclass
class _Section:
    """A section of a type: the provider that it names, if any, and what it says of it."""

    choice: _Entry | None
    entries: list[_Entry]


class _Reading:
    """A blob taken apart into what is said of each provider."""

    def __init__(self, registry: ProviderRegistry) -> None:
        self.registry = registry
        self.findings: list[tuple[int, Finding]] = []
        self.own: dict[str, list[_Entry]] = defaultdict(list)
        self.sections: dict[ProviderType, list[_Section]] = defaultdict(list)
        self.chosen: dict[ProviderType, str] = {}
        self.vendors = {fold(each.key): each.key for each in registry.get_all_providers()} | {
            name: key for name, key in names.VENDORS.items() if _has(registry, key)
        }
        self._number = 0

    # Reading

    def read(self, members: JsonObject, path: tuple[str, ...], *, is_key_ring: bool = False) -> None:
        """Take an object apart that holds sections."""
        for entry in self._entries(members, path):
            if isinstance(entry.value, dict) and entry.value:
                self._read_object(entry, entry.value, is_key_ring=is_key_ring)
            elif isinstance(entry.value, list) and entry.name in names.WRAPPERS:
                self._read_list(entry, entry.value)
            elif not self._read_value(entry, is_key_ring=is_key_ring):
                self.rest(entry)

    def _entries(self, members: JsonObject, path: tuple[str, ...]) -> Iterator[_Entry]:
        for name, value in members.items():
            self._number += 1
            yield _Entry(self._number, (*path, name), fold(name), value)

    def _read_object(self, entry: _Entry, members: JsonObject, *, is_key_ring: bool) -> None:
        kind = names.TYPES.get(entry.name) or (
            names.SAID_TO_BE.get(entry.name) if any(fold(name) in names.CHOICE for name in members) else None
        )
        if kind is not None:
            self._read_section(kind, members, entry.path)
        elif entry.name in self.vendors:
            self.own[self.vendors[entry.name]] += self._flat(members, entry.path)
        elif entry.name in names.WRAPPERS | names.KEY_RINGS and len(entry.path) < _MAX_DEPTH:
            self.read(members, entry.path, is_key_ring=is_key_ring or entry.name in names.KEY_RINGS)
        else:
            self.rest(entry)

    def _read_list(self, entry: _Entry, members: list[Any]) -> None:
        """Take a list of providers apart; each names itself."""
        for index, member in enumerate(members):
            self._number += 1
            one = _Entry(self._number, (*entry.path, str(index)), "", member)
            given: JsonObject = member if isinstance(member, dict) else {}
            key = next(
                (self.vendors[fold(value)] for name, value in given.items() if self._names_vendor(name, value)), None
            )
            if key is None:
                self.rest(one)
                continue
            for each in self._flat(given, one.path):
                if each.name in {*names.CHOICE, "key", "type"} and not looks_like_a_key(str(each.value)):
                    self.found(each, Outcome.MOVED, note="Says which provider it is.", provider=key)
                else:
                    self.own[key].append(each)

    def _names_vendor(self, name: str, value: object) -> bool:
        return fold(name) in {*names.CHOICE, "key"} and isinstance(value, str) and fold(value) in self.vendors

    def _read_section(self, kind: ProviderType, members: JsonObject, path: tuple[str, ...]) -> None:
        section = _Section(None, [])
        found = list(self._flat(members, path))
        by_name = {each.name: each for each in found if isinstance(each.value, str)}
        choice = next((by_name[name] for name in names.CHOICE if name in by_name), None)
        section.choice = choice
        for each in found:
            vendor = self.vendor(kind, each.name)
            if each is choice:
                continue
            if vendor is not None and isinstance(each.value, dict):
                self.own[vendor] += self._flat(each.value, each.path)
            else:
                section.entries.append(each)
        self.sections[kind].append(section)

    def _flat(self, members: JsonObject, path: tuple[str, ...]) -> Iterator[_Entry]:
        """Yield what a section says, whatever objects it is sorted into."""
        for entry in self._entries(members, path):
            if isinstance(entry.value, dict) and entry.value and entry.name in names.INNER and len(path) < _MAX_DEPTH:
                yield from self._flat(entry.value, entry.path)
            else:
                yield entry

    def _read_value(self, entry: _Entry, *, is_key_ring: bool) -> bool:
        """Read what stands beside the sections: a provider's name, a key, or `openaiApiKey`; whether it was that."""
        text = entry.value if isinstance(entry.value, str) else ""
        if entry.name in names.TYPES and text:
            self.sections[names.TYPES[entry.name]].append(_Section(entry, []))
            return True
        if entry.name in self.vendors and text and (is_key_ring or looks_like_a_key(text)):
            self.own[self.vendors[entry.name]].append(replace(entry, name=names.KEYS[0]))
            return True
        return self._read_long_name(entry)

    def _read_long_name(self, entry: _Entry) -> bool:
        for prefix in sorted(self.vendors, key=len, reverse=True):
            rest = entry.name.removeprefix(prefix)
            key = self.vendors[prefix]
            if rest != entry.name and rest and self._is_said_of(key, rest):
                self.own[key].append(replace(entry, name=rest))
                return True
        for prefix, kind in names.TYPES.items():
            rest = entry.name.removeprefix(prefix)
            if rest == entry.name or not rest:
                continue
            if rest in names.CHOICE and isinstance(entry.value, str):
                self.sections[kind].append(_Section(entry, []))
                return True
            if any(self._is_said_of(each.key, rest) for each in self.registry.get_providers_by_type(kind)):
                self.sections[kind].append(_Section(None, [replace(entry, name=rest)]))
                return True
        return False

    def _is_said_of(self, key: str, name: str) -> bool:
        provider = self.registry.get_provider_by_key(key)
        return name in _settings(provider) or name in _secrets(provider) or (key == "openai" and name in names.SPOKEN)

    # Choosing

    def settle(self) -> None:
        """Decide which provider each section of a type is about."""
        self._move_to_azure()
        for kind, sections in self.sections.items():
            self._choose(kind, sections)
        self._move_speech()

    def _choose(self, kind: ProviderType, sections: list[_Section]) -> None:
        named = [section for section in sections if section.choice is not None]
        entries = [entry for section in sections for entry in section.entries]
        if not named:
            key = self._implied(kind, entries)
        else:
            choice = named[0].choice
            key = self.vendor(kind, fold(choice.value)) if choice else None
            for section in named:
                self._report_choice(kind, section.choice, key, is_first=section is named[0])
        if key is None:
            for entry in entries:
                self.found(entry, Outcome.LEFT, note="It belongs to a provider that is not offered here.")
            return
        self.chosen[kind] = key
        self.own[key] += entries

    def _report_choice(self, kind: ProviderType, choice: _Entry | None, key: str | None, *, is_first: bool) -> None:
        if choice is None:
            return
        if not is_first:
            self.found(choice, Outcome.LEFT, note="Another part of the blob says which provider is used.")
        elif key is not None:
            same = fold(choice.value) == fold(key)
            self.found(choice, Outcome.MOVED if same else Outcome.CONVERTED, provider=key, note="Answers first.")
        elif kind is names.STT and "openai" in fold(choice.value):
            self.found(choice, Outcome.LEFT, note=names.TRANSCRIPTION)
        else:
            self.found(choice, Outcome.UNKNOWN, note="There is no provider of this type by this name.")

    def _implied(self, kind: ProviderType, entries: list[_Entry]) -> str | None:
        """Say which provider is meant where none is named: the only one there is, whose model it is, or the usual."""
        of_type = [key for key in self.own if self.registry.get_provider_by_key(key).type is kind]
        if len(of_type) == 1:
            return of_type[0]
        models = {
            entry.value for entry in entries if entry.name in {"model", "chatmodel"} and isinstance(entry.value, str)
        }
        for provider in self.registry.get_providers_by_type(kind):
            if any(model.name in models for model in provider.models):
                return provider.key
        return names.USUAL[kind] if _has(self.registry, names.USUAL[kind]) else None

    def vendor(self, kind: ProviderType, name: str) -> str | None:
        """Return the provider of a type that a folded name means."""
        key = (names.SPEAKING.get(name) if kind is names.TTS else None) or self.vendors.get(name)
        return key if key and self.registry.get_provider_by_key(key).type is kind else None

    def _move_to_azure(self) -> None:
        addresses = names.SETTINGS["openai"]
        for entry in self.own.get("openai", []):
            if addresses.get(entry.name) == "baseUrl" and isinstance(entry.value, str) and _AZURE.match(entry.value):
                self.own["azure-openai"] += self.own.pop("openai")
                return

    def _move_speech(self) -> None:
        speaks = self.chosen.get(names.TTS, "openai-tts")
        kept: list[_Entry] = []
        for entry in self.own.get("openai", []):
            if entry.name not in names.SPOKEN:
                kept.append(entry)
            elif speaks == "openai-tts":
                self.own["openai-tts"].append(replace(entry, name=names.SPOKEN[entry.name]))
            else:
                self.found(entry, Outcome.LEFT, note="Another provider speaks for this organization.")
        if "openai" in self.own:
            self.own["openai"] = kept

    def named(self) -> list[AnyProvider]:
        """Return the providers that the blob says anything of."""
        said = set(self.own) | set(self.chosen.values())
        return [each for each in self.registry.get_all_providers() if each.key in said]

    def primary(self, kind: ProviderType) -> str | None:
        """Return the provider of a type that answers first; a language model also when it is the only one."""
        if kind in self.chosen or kind is not names.LLM:
            return self.chosen.get(kind)
        only = [
            key for key, entries in self.own.items() if entries and self.registry.get_provider_by_key(key).type is kind
        ]
        return only[0] if len(only) == 1 else None

    # Reporting

    def rest(self, entry: _Entry) -> None:
        """Report what is said of no provider."""
        note = names.NOT_SETTINGS.get(entry.name)
        if empty(entry.value):
            self.found(entry, Outcome.LEFT, note="It is empty.")
        elif note is not None:
            self.found(entry, Outcome.LEFT, note=_with_keys(note, entry.value))
        else:
            self.found(entry, Outcome.UNKNOWN, note=_with_keys("Nothing here goes by this name.", entry.value))

    def found(
        self,
        entry: _Entry,
        outcome: Outcome,
        *,
        note: str | None = None,
        provider: str | None = None,
        setting: str | None = None,
        secret: str | None = None,
        value: Any = None,
    ) -> None:
        """Report one entry."""
        finding = Finding(
            at=pointer(entry.path),
            outcome=outcome,
            provider=provider,
            setting=setting,
            secret=secret,
            value=value,
            note=note,
        )
        self.findings.append((entry.number, finding))


class _Taking:
    """What is said of one provider, brought into the form that its definition takes."""

    def __init__(self, reading: _Reading, provider: AnyProvider, today: date) -> None:
        self.reading = reading
        self.provider = provider
        self.today = today
        self.config: JsonObject = {}
        self.secrets: dict[str, SecretStr] = {}
        self.sources: dict[str, tuple[_Entry, Outcome, str | None]] = {}
        self.is_enabled: bool | None = None
        self.priority: int | None = None

    def take(self) -> LegacyProvider | None:
        """Take everything that is said; None when that comes to nothing."""
        entries = self.reading.own.get(self.provider.key, [])
        # As it was in the old system: chatModel wins over model.
        entries = sorted(entries, key=lambda entry: entry.name != "chatmodel")
        keys = [entry for entry in entries if entry.name in _secrets(self.provider)]
        for entry in keys:
            self._take_secret(entry, _secrets(self.provider)[entry.name])
        for entry in entries:
            if entry not in keys:
                self._take_entry(entry)
        self._derive()
        self._drop_foreign_model()
        self._fit_rules()
        self._report_settings()
        primary = self.reading.primary(self.provider.type) == self.provider.key
        is_enabled = self.is_enabled if self.is_enabled is not None else primary or bool(self.secrets)
        if not (self.config or self.secrets or primary or self.is_enabled is not None or self.priority is not None):
            return None
        priority = ENABLED_PRIORITY if primary else OTHER_PRIORITY
        effective = {**self.provider.entry.default_config, **self.config}
        notices = model_notices(self.provider, effective, self.today) if "model" in self.config else []
        return LegacyProvider(
            key=self.provider.key,
            config=self.config,
            secrets=self.secrets,
            is_enabled=is_enabled,
            priority=self.priority if self.priority is not None else priority,
            notices=tuple(notice.message for notice in notices),
        )

    def _left(self, entry: _Entry, note: str) -> None:
        self.reading.found(entry, Outcome.LEFT, provider=self.provider.key, note=_with_keys(note, entry.value))

    def _take_secret(self, entry: _Entry, name: str) -> None:
        value = entry.value
        outcome = Outcome.MOVED
        if empty(value):
            self._left(entry, "It is empty.")
            return
        if isinstance(value, dict) and name == "serviceAccountJson":
            value, outcome = _document(value), Outcome.CONVERTED
        if not isinstance(value, str):
            self._left(entry, "A key is a text.")
            return
        bare = re.sub(r"^\s*(?:bearer\s+)?|\s+$", "", value, flags=re.IGNORECASE)
        outcome = Outcome.CONVERTED if bare != value else outcome
        if name in self.secrets:
            self._left(entry, "This key was taken from another place in the blob.")
            return
        if name == "serviceAccountJson" and not bare.startswith("{"):
            self._left(entry, "This is not the content of a key file: a path cannot be moved.")
            return
        try:
            self.secrets[name] = self.provider.validate_secret(name, bare, at="")
        except Invalid as invalid:
            self._left(entry, invalid.errors[0].message)
            return
        self.reading.found(entry, outcome, provider=self.provider.key, secret=name)
        if name == "serviceAccountJson":
            self.config["backend"] = "vertex"

    def _take_entry(self, entry: _Entry) -> None:
        left = names.LEFT.get(self.provider.key, {}).get(entry.name)
        setting = _settings(self.provider).get(entry.name)
        if empty(entry.value):
            self._left(entry, "It is empty.")
        elif entry.name in names.ENABLED | names.DISABLED:
            self._take_switch(entry)
        elif entry.name in names.PRIORITY:
            self._take_priority(entry)
        elif left is not None:
            self._left(entry, left)
        elif setting is not None:
            self._take_setting(entry, setting)
        elif entry.name in names.KEYS and not self.provider.secret_names:
            self._left(entry, f"{self.provider.name} takes no key.")
        else:
            self.reading.rest(entry)

    def _take_switch(self, entry: _Entry) -> None:
        try:
            value = fit({"type": "boolean"}, entry.value)
        except Refused as refused:
            self._left(entry, str(refused))
            return
        self.is_enabled = value.value is not (entry.name in names.DISABLED)
        self.reading.found(
            entry, value.outcome(Outcome), provider=self.provider.key, setting="isEnabled", value=self.is_enabled
        )

    def _take_priority(self, entry: _Entry) -> None:
        try:
            value = fit({"type": "integer", "minimum": 0, "maximum": MAX_PRIORITY}, entry.value)
        except Refused as refused:
            self._left(entry, str(refused))
            return
        self.priority = value.value
        self.reading.found(
            entry, value.outcome(Outcome), provider=self.provider.key, setting="priority", value=self.priority
        )

    def _take_setting(self, entry: _Entry, setting: str) -> None:
        if setting in self.sources:
            self._left(entry, "This setting was taken from another place in the blob.")
            return
        known = {secret.get_secret_value() for secret in self.secrets.values()}
        texts = entry.value if isinstance(entry.value, list) else [entry.value]
        if any(
            isinstance(text, str) and (looks_like_a_key(text) or any(key in text for key in known)) for text in texts
        ):
            self._left(entry, "This looks like a key, and settings are readable.")
            return
        is_inverted = entry.name in names.INVERTED.get(self.provider.key, {})
        try:
            fitted = fit(_schema(self.provider, setting), entry.value, setting=setting, is_inverted=is_inverted)
        except Refused as refused:
            self._left(entry, str(refused))
            return
        self.config[setting] = fitted.value
        self.sources[setting] = (entry, fitted.outcome(Outcome), fitted.note)

    def _derive(self) -> None:
        """Set what follows from what was said."""
        if self.provider.key == "azure-openai" and "apiVersion" in self.config:
            self.config.setdefault("apiSurface", "dated")
        if self.provider.key == "deepgram" and "keywords" in self.config and "keyterms" not in self.config:
            model = str(self.config.get("model", self.provider.entry.default_config["model"]))
            if model.startswith(("nova-3", "flux-")):
                entry, _, _ = self.sources.pop("keywords")
                self.config["keyterms"] = [str(word).partition(":")[0] for word in self.config.pop("keywords")]
                self.sources["keyterms"] = (entry, Outcome.CONVERTED, "This model takes key terms, without boosts.")

    def _drop_foreign_model(self) -> None:
        model = self.config.get("model")
        elsewhere = set(self.config) & set(self.provider.destinations.settings)
        if not isinstance(model, str) or elsewhere or any(each.name == model for each in self.provider.models):
            return
        for other in self.reading.registry.get_all_providers():
            if other is not self.provider and any(each.name == model for each in other.models):
                self._drop("model", f"This is a model of {other.name}.")
                return

    def _fit_rules(self) -> None:
        """Clamp and drop until the definition accepts the whole."""
        for setting, limit in within_rules(self.provider, self.config):
            self.config[setting] = limit
            if setting in self.sources:
                self.sources[setting] = (self.sources[setting][0], Outcome.CLAMPED, "The most that this model takes.")
        while True:
            try:
                self.provider.validate(self.config)
            except Invalid as invalid:
                reasons = {error.pointer.split("/")[1]: error.message for error in invalid.errors}
                wrong = [name for name in reasons if name in self.config]
                if not wrong:
                    lacking = ", ".join(sorted(reasons))
                    for name in list(self.config):
                        self._drop(name, f"{self.provider.name} cannot be set without {lacking}.")
                    return
                for name in wrong:
                    self._drop(name, reasons[name])
            else:
                return

    def _drop(self, setting: str, reason: str) -> None:
        del self.config[setting]
        if setting in self.sources:
            self._left(self.sources.pop(setting)[0], reason)

    def _report_settings(self) -> None:
        for setting, (entry, outcome, note) in self.sources.items():
            self.reading.found(
                entry,
                outcome,
                provider=self.provider.key,
                setting=setting,
                value=_known(self.provider, setting, self.config[setting]),
                note=note,
            )


def pointer(path: tuple[str, ...]) -> str:
    """Write a place in a blob without anything in it that could be a key."""
    return "".join(f"/{name if (name.isdecimal() and len(name) < 6) or _is_shown(name) else '?'}" for name in path)


def _is_shown(name: str) -> bool:
    return _SHOWN.fullmatch(name) is not None and not looks_like_a_key(name)


def _with_keys(note: str, value: object) -> str:
    if not holds_keys(value):
        return note
    return f"{note} It holds what looks like a key: move it by hand, with `voxplane secrets set`."


def _known(provider: AnyProvider, setting: str, value: Any) -> bool | int | float | str | None:
    if isinstance(value, bool | int | float):
        return value
    schema = _schema(provider, setting)
    known = {*schema.get("enum", []), *(model.name for model in provider.models if setting in {"model", "voice"})}
    known |= {example for example in schema.get("examples", []) if isinstance(example, str)}
    return value if isinstance(value, str) and value in known else None


def _document(value: JsonObject) -> str:
    import json  # noqa: PLC0415

    return json.dumps(value)


def _has(registry: ProviderRegistry, key: str) -> bool:
    return any(each.key == key for each in registry.get_all_providers())


def _schema(provider: AnyProvider, setting: str) -> JsonObject:
    found: JsonObject = provider.config_schema["properties"][setting]
    return found


@lru_cache(maxsize=64)
def _settings(provider: AnyProvider) -> dict[str, str]:
    """The folded names of a provider's settings."""
    own = list(provider.config_schema["properties"])
    other = names.SETTINGS.get(provider.key, {}) | names.INVERTED.get(provider.key, {})
    return {name: setting for name, setting in other.items() if setting in own} | {fold(name): name for name in own}


@lru_cache(maxsize=64)
def _secrets(provider: AnyProvider) -> dict[str, str]:
    """The folded names of a provider's secrets."""
    keys = dict.fromkeys(names.KEYS, "apiKey") if "apiKey" in provider.secret_names else {}
    return keys | names.SECRETS.get(provider.key, {}) | {fold(name): name for name in provider.secret_names}

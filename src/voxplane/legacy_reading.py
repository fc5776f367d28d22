"""One blob of the old system taken apart: what it says of which provider, and what it says of none."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from voxplane import legacy_names as names
from voxplane.legacy_names import fold
from voxplane.legacy_values import empty, is_list, is_object, looks_like_a_key
from voxplane.schemas import JsonObject, ProviderType
from voxplane.schemas.import_notice import Finding, Outcome
from voxplane.secret_value import not_a_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from voxplane.provider import AnyProvider
    from voxplane.registry import ProviderRegistry

Path = tuple[str, ...]
"""A place in a blob."""

_HOLDS_KEYS = "It may hold a key: if it is one, store it with `voxplane secrets set {}`."
_HOLDS_FOREIGN_KEYS = "It may hold a key, of no provider that Voxplane has by this name: it stays for what uses it."
_PRIVATE_KEY = "private_key"  # what the content of a service account's key file calls it
_MAX_DEPTH = 8
_MAX_INDEX_DIGITS = 5
# A name of a few words, as `topP`, `OPENAI_API_KEY` or `openAI`. What is longer, or goes between capitals and small
# letters as no name does, may be a key that happens to have no digit.
_WORD = r"(?:[A-Z]?[a-z]{2,14}|[A-Z]{2,14})"
_JOINED = rf"(?:[_-]{_WORD}|(?<=[a-z])[A-Z][a-z]{{1,13}})"
_LAST = r"(?:[_-][A-Za-z]|(?<=[a-z])[A-Z]{1,4})"
_SHOWN = re.compile(rf"{_WORD}{_JOINED}{{0,3}}{_LAST}?[0-9]{{0,2}}|[A-Za-z]|11labs", re.ASCII)
_MAX_SHOWN = 30
_AZURE = re.compile(r"https://[^/]+\.(?:openai|services\.ai|cognitiveservices)\.azure\.com(?:/|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """One named value of a blob. `number` is its place in it."""

    number: int
    path: Path
    name: str
    value: Any = field(repr=False)


@dataclass
class _Section:
    """A section of a type: the provider that it names, if any, and what it says of it."""

    choice: Entry | None
    entries: list[Entry]


class Reading:
    """A blob taken apart into what is said of each provider."""

    def __init__(self, registry: ProviderRegistry, keys: Iterable[Path] = ()) -> None:
        """Take the places in the blob of what may be a key, as `key_places` returns them."""
        self.registry = registry
        self._holding = {path[:length] for path in keys for length in range(len(path) + 1)}
        self.findings: list[tuple[int, Finding]] = []
        self.own: dict[str, list[Entry]] = defaultdict(list)
        self.sections: dict[ProviderType, list[_Section]] = defaultdict(list)
        self.chosen: dict[ProviderType, str] = {}
        self.vendors = _vendors(registry)
        self._number = 0

    # Reading

    def read(self, members: JsonObject, path: Path, *, is_key_ring: bool = False) -> None:
        """Take an object apart that holds sections."""
        for entry in self._entries(members, path):
            if is_object(entry.value) and entry.value:
                self._read_object(entry, entry.value, is_key_ring=is_key_ring)
            elif is_list(entry.value) and entry.value and entry.name in names.WRAPPERS:
                self._read_list(entry, entry.value)
            elif not self._read_value(entry, is_key_ring=is_key_ring):
                self.rest(entry)

    def _entries(self, members: JsonObject, path: Path) -> Iterator[Entry]:
        for name, value in members.items():
            self._number += 1
            yield Entry(self._number, (*path, name), fold(name), value)

    def _read_object(self, entry: Entry, members: JsonObject, *, is_key_ring: bool) -> None:
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

    def _read_list(self, entry: Entry, members: list[Any]) -> None:
        """Take a list of providers apart; each names itself."""
        for index, member in enumerate(members):
            self._number += 1
            one = Entry(self._number, (*entry.path, str(index)), "", member)
            given = member if is_object(member) else JsonObject()
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

    def _read_section(self, kind: ProviderType, members: JsonObject, path: Path) -> None:
        section = _Section(None, [])
        found = list(self._flat(members, path))
        by_name = {each.name: each for each in found if isinstance(each.value, str)}
        choice = next((by_name[name] for name in names.CHOICE if name in by_name), None)
        section.choice = choice
        for each in found:
            vendor = self.vendor(kind, each.name)
            if each is choice:
                continue
            if each.name == names.CHOICE[0] and not empty(each.value) and not isinstance(each.value, str):
                self.found(each, Outcome.LEFT, note="A provider is named by a text.")
                continue
            if vendor is not None and is_object(each.value) and each.value:
                self.own[vendor] += self._flat(each.value, each.path)
            else:
                section.entries.append(each)
        self.sections[kind].append(section)

    def _flat(self, members: JsonObject, path: Path) -> Iterator[Entry]:
        """Yield what a section says, whatever objects it is sorted into."""
        for entry in self._entries(members, path):
            if is_object(entry.value) and entry.value and entry.name in names.INNER and len(path) < _MAX_DEPTH:
                yield from self._flat(entry.value, entry.path)
            else:
                yield entry

    def _read_value(self, entry: Entry, *, is_key_ring: bool) -> bool:
        """Read what stands beside the sections: a provider's name, a key, or `openaiApiKey`; whether it was that."""
        text = entry.value if isinstance(entry.value, str) else ""
        if entry.name in names.TYPES and text:
            self.sections[names.TYPES[entry.name]].append(_Section(entry, []))
            return True
        if entry.name in self.vendors and text and (is_key_ring or looks_like_a_key(text)):
            self.own[self.vendors[entry.name]].append(replace(entry, name=names.KEYS[0]))
            return True
        return self._read_long_name(entry)

    def _read_long_name(self, entry: Entry) -> bool:
        for prefix, key in self.vendors.items():
            rest = entry.name.removeprefix(prefix)
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
        return (
            name in settings_of(provider) or name in secrets_of(provider) or (key == "openai" and name in names.SPOKEN)
        )

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

    def _report_choice(self, kind: ProviderType, choice: Entry | None, key: str | None, *, is_first: bool) -> None:
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

    def _implied(self, kind: ProviderType, entries: list[Entry]) -> str | None:
        """Say which provider is meant where none is named: the only one there is, whose model it is, or the usual."""
        of_type = [key for key in self.own if self.registry.get_provider_by_key(key).type is kind]
        if len(of_type) == 1:
            return of_type[0]
        models = {
            entry.value for entry in entries if entry.name in {"model", "chatmodel"} and isinstance(entry.value, str)
        }
        for provider in self.registry.get_providers_by_type(kind):
            if any(provider.known_of(provider.model_setting, name) for name in models):
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
        kept: list[Entry] = []
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
            key
            for key, entries in self.own.items()
            if not all(empty(entry.value) for entry in entries) and self.registry.get_provider_by_key(key).type is kind
        ]
        return only[0] if len(only) == 1 else None

    # Reporting

    def rest(self, entry: Entry, provider: str | None = None) -> None:
        """Report what is no setting of a provider: of the one that it is said of, or of any."""
        note = names.NOT_SETTINGS.get(entry.name)
        if empty(entry.value):
            self.empty(entry, provider)
        elif entry.name in names.FALLBACKS:
            self.found(entry, Outcome.LEFT, note=names.FALLBACK, provider=provider)
        elif note is not None:
            self.found(entry, Outcome.LEFT, note=note, provider=provider, is_settled=True)
        else:
            self.found(entry, Outcome.UNKNOWN, note="Nothing here goes by this name.", provider=provider)

    def empty(self, entry: Entry, provider: str | None = None) -> None:
        """Report one that says nothing."""
        self.found(entry, Outcome.LEFT, note="It is empty.", provider=provider, is_settled=True)

    def found(  # noqa: PLR0913 - a part of a finding each, by name
        self,
        entry: Entry,
        outcome: Outcome,
        *,
        note: str | None = None,
        provider: str | None = None,
        setting: str | None = None,
        secret: str | None = None,
        value: Any = None,
        is_settled: bool = False,
    ) -> None:
        """Report one entry. Of what stays in the blob, it says when there may be a key in it: that needs a person."""
        if outcome in {Outcome.LEFT, Outcome.UNKNOWN} and entry.path in self._holding:
            has_keys = provider is not None and self.registry.get_provider_by_key(provider).secret_names
            note = f"{note} {_HOLDS_KEYS.format(provider) if has_keys else _HOLDS_FOREIGN_KEYS}"
            is_settled = False
        finding = Finding(
            at=pointer(entry.path),
            outcome=outcome,
            provider=provider,
            setting=setting,
            secret=secret,
            value=value,
            note=note,
            is_settled=is_settled,
        )
        self.findings.append((entry.number, finding))


def pointer(path: Path) -> str:
    """Write a place in a blob without anything in it that could be a key."""
    return "".join(
        f"/{name if (name.isdecimal() and len(name) <= _MAX_INDEX_DIGITS) or _is_shown(name) else '?'}" for name in path
    )


def _is_shown(name: str) -> bool:
    return len(name) <= _MAX_SHOWN and _SHOWN.fullmatch(name) is not None and not looks_like_a_key(name)


@lru_cache(maxsize=4)
def _vendors(registry: ProviderRegistry) -> dict[str, str]:
    """Return which provider each folded name of a vendor means, the longest names first."""
    found = {fold(each.key): each.key for each in registry.get_all_providers()} | {
        name: key for name, key in names.VENDORS.items() if _has(registry, key)
    }
    return dict(sorted(found.items(), key=lambda each: len(each[0]), reverse=True))


def _has(registry: ProviderRegistry, key: str) -> bool:
    return any(each.key == key for each in registry.get_all_providers())


def secret_places(blob: JsonObject, registry: ProviderRegistry) -> Iterator[tuple[Path, str]]:
    """Yield every text that stands where keys stand, and its place, whoever's it is and whether or not it is taken.

    In an object that stands where keys stand all texts do. But where one of them is called a key, what goes by the
    name of a setting is that, as the model in `{"secrets": {"deepgram": {"token": …, "model": …}}}`; and of the
    content of a key file only the private key is one.
    """
    own, settings, _ = _key_names(registry)
    waiting: list[tuple[Path, Any, bool]] = [((), blob, False)]
    while waiting:
        path, value, is_secret = waiting.pop()
        if is_object(value):
            is_key_file = isinstance(value.get(_PRIVATE_KEY), str)
            called = {name for name in value if _is_called_a_key(fold(name), own, settings)}
            for name, each in value.items():
                is_other = is_key_file or (bool(called) and fold(name) in settings)
                waiting.append(((*path, name), each, name in called or (is_secret and not is_other)))
        elif is_list(value):
            waiting += [((*path, str(index)), each, is_secret) for index, each in enumerate(value)]
        elif is_secret and isinstance(value, str) and bare(value) and not is_vendor(bare(value), registry):
            yield path, bare(value)


def _is_called_a_key(name: str, own: frozenset[str], settings: frozenset[str]) -> bool:
    return name in own or (name.endswith(("apikey", "secret", "password", "privatekey")) and name not in settings)


def is_vendor(text: str, registry: ProviderRegistry) -> bool:
    """Whether a text is what a vendor is called."""
    _, _, vendors = _key_names(registry)
    return fold(text) in vendors


def key_places(blob: JsonObject, registry: ProviderRegistry) -> set[Path]:
    """Return where there is what may be a key: a text that stands where keys stand, or that has the shape of one."""
    named = {path for path, text in secret_places(blob, registry) if not not_a_secret("", text)}
    return named | {path for path, value in leaves(blob) if _may_be_a_key(path, value)}


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield all that holds nothing else, and its place."""
    waiting: list[tuple[Path, Any]] = [(path, value)]
    while waiting:
        at, each = waiting.pop()
        if is_object(each) and each:
            waiting += [((*at, name), inner) for name, inner in each.items()]
        elif is_list(each) and each:
            waiting += [((*at, str(index)), inner) for index, inner in enumerate(each)]
        else:
            yield at, each


def _may_be_a_key(path: Path, value: Any) -> bool:
    return any(looks_like_a_key(name) for name in path) or (isinstance(value, str) and looks_like_a_key(value))


@lru_cache(maxsize=4)
def _key_names(registry: ProviderRegistry) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return the folded names of keys, of settings, and of vendors: some call the provider itself `key`."""
    providers = registry.get_all_providers()
    own = frozenset(names.KEYS).union(*(secrets_of(provider) for provider in providers)) | names.KEY_RINGS
    settings = frozenset(name for provider in providers for name in settings_of(provider))
    return own, settings, frozenset(names.VENDORS).union(fold(provider.key) for provider in providers)


def bare(text: str) -> str:
    """Take off what some put around a key."""
    return re.sub(r"^\s*(?:bearer\s+)?|\s+$", "", text, flags=re.IGNORECASE)


@lru_cache(maxsize=64)
def settings_of(provider: AnyProvider) -> dict[str, str]:
    """The folded names of a provider's settings."""
    own = list(provider.config_schema["properties"])
    other = names.SETTINGS.get(provider.key, {}) | names.INVERTED.get(provider.key, {})
    return {name: setting for name, setting in other.items() if setting in own} | {fold(name): name for name in own}


@lru_cache(maxsize=64)
def secrets_of(provider: AnyProvider) -> dict[str, str]:
    """The folded names of a provider's secrets."""
    keys = dict.fromkeys(names.KEYS, "apiKey") if "apiKey" in provider.secret_names else {}
    return keys | names.SECRETS.get(provider.key, {}) | {fold(name): name for name in provider.secret_names}

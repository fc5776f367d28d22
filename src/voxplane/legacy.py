"""What one blob of the old `org_configs` means here: settings, secrets, and a report of everything in it.

    converted = convert(blob, registry, today)
    converted.providers     what to write, by provider
    converted.findings      what became of every part of the blob

Nothing is read or written here. What the old system called things is in `voxplane.legacy_names`; what a provider takes
is asked of its definition. A report holds places in the blob and values that are known to us (numbers, switches, names
of models); never another text of it, because a key can stand anywhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from voxplane import legacy_names as names
from voxplane import retirement
from voxplane.errors import Invalid
from voxplane.legacy_reading import Reading, bare, key_places, secret_places, secrets_of, settings_of
from voxplane.legacy_values import Refused, empty, fit, is_list, is_object, looks_like_a_key, within_rules
from voxplane.schemas import MAX_PRIORITY, JsonObject
from voxplane.schemas.import_notice import Finding, Outcome
from voxplane.secret_value import not_a_secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from pydantic import SecretStr

    from voxplane.legacy_reading import Entry
    from voxplane.provider import AnyProvider
    from voxplane.registry import ProviderRegistry

ENABLED_PRIORITY = 100
OTHER_PRIORITY = 50
MAX_FINDINGS = 1000
SHORTEST_KEY = 8
"""What is shorter is no more than a word, which may stand elsewhere, or be a part of others."""
_MOST_ITEMS = 1000


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
class LegacyKey:
    """Where a key was taken from, for which secret of which provider, and its text as it is taken."""

    provider: str
    secret: str
    path: tuple[str, ...] = field(repr=False)
    text: str = field(repr=False)


@dataclass(frozen=True)
class Converted:
    """One blob, read: what to write, what is said of it, and where its keys stood."""

    providers: tuple[LegacyProvider, ...]
    findings: tuple[Finding, ...]
    keys: tuple[LegacyKey, ...]


def convert(blob: JsonObject, registry: ProviderRegistry, today: date) -> Converted:
    """Read one organization's blob.

    Every part of it is in exactly one finding, up to `MAX_FINDINGS`. The config of each provider is one that its
    definition accepts; what it does not accept is left.
    """
    reading = Reading(registry, key_places(blob, registry))
    reading.read(blob, ())
    reading.settle()
    texts = frozenset(text for _, text in secret_places(blob, registry))
    takings = [_Taking(reading, provider, today, texts) for provider in reading.named()]
    providers = tuple(taking.take() for taking in takings)
    keys = tuple(key for taking in takings for key in taking.keys)
    findings = [finding for _, finding in sorted(reading.findings, key=lambda each: each[0])]
    if len(findings) > MAX_FINDINGS:
        more = Finding(at="", outcome=Outcome.LEFT, note="There is more in this blob than a report holds.")
        findings = [*findings[:MAX_FINDINGS], more]
    return Converted(tuple(each for each in providers if each is not None), tuple(findings), keys)


class _Taking:
    """What is said of one provider, brought into the form that its definition takes."""

    def __init__(self, reading: Reading, provider: AnyProvider, today: date, texts: frozenset[str]) -> None:
        self.reading = reading
        self.provider = provider
        self.today = today
        self.texts = texts
        """What must not be in a setting."""
        self.config: JsonObject = {}
        self.secrets: dict[str, SecretStr] = {}
        self.keys: list[LegacyKey] = []
        self.sources: dict[str, tuple[Entry, Outcome, str | None]] = {}
        self.is_enabled: bool | None = None
        self.priority: int | None = None

    def take(self) -> LegacyProvider | None:
        """Take everything that is said; None when that comes to nothing."""
        entries = self.reading.own.get(self.provider.key, [])
        # As it was in the old system: chatModel wins over model.
        entries = sorted(entries, key=lambda entry: entry.name != "chatmodel")
        keys = [entry for entry in entries if entry.name in secrets_of(self.provider)]
        for entry in keys:
            self._take_secret(entry, secrets_of(self.provider)[entry.name])
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
        notices = retirement.sentences(self.provider, effective, self.today) if "model" in self.config else []
        return LegacyProvider(
            key=self.provider.key,
            config=self.config,
            secrets=self.secrets,
            is_enabled=is_enabled,
            priority=self.priority if self.priority is not None else priority,
            notices=tuple(notices),
        )

    def _left(self, entry: Entry, note: str) -> None:
        self.reading.found(entry, Outcome.LEFT, provider=self.provider.key, note=note)

    def _take_secret(self, entry: Entry, name: str) -> None:
        is_document = name == "serviceAccountJson"
        value = json.dumps(entry.value) if is_document and is_object(entry.value) else entry.value
        if empty(value):
            self.reading.empty(entry, self.provider.key)
        elif not isinstance(value, str):
            self._left(entry, "A key is a text.")
        elif name in self.secrets:
            self._left(entry, "Another place in the blob comes first for this key.")
        elif is_document and not value.strip().startswith("{"):
            self._left(entry, "This is not the content of a key file: a path cannot be moved.")
        else:
            self._take_text(entry, name, value)

    def _take_text(self, entry: Entry, name: str, value: str) -> None:
        text = bare(value)
        try:
            secret = self.provider.validate_secret(name, text, at="")
        except Invalid as invalid:
            self._left(entry, invalid.errors[0].message)
            return
        if wrong := not_a_secret("", text):
            self._left(entry, wrong[0].message)
            return
        self.secrets[name] = secret
        self.keys.append(LegacyKey(self.provider.key, name, entry.path, text))
        outcome = Outcome.MOVED if text == entry.value else Outcome.CONVERTED
        self.reading.found(entry, outcome, provider=self.provider.key, secret=name)
        if name == "serviceAccountJson":
            self.config["backend"] = "vertex"

    def _take_entry(self, entry: Entry) -> None:
        left = names.LEFT.get(self.provider.key, {}).get(entry.name)
        setting = settings_of(self.provider).get(entry.name)
        if empty(entry.value):
            self.reading.empty(entry, self.provider.key)
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
            self.reading.rest(entry, self.provider.key)

    def _take_switch(self, entry: Entry) -> None:
        try:
            value = fit({"type": "boolean"}, entry.value)
        except Refused as refused:
            self._left(entry, str(refused))
            return
        self.is_enabled = value.value is not (entry.name in names.DISABLED)
        self.reading.found(
            entry, value.outcome(Outcome), provider=self.provider.key, setting="isEnabled", value=self.is_enabled
        )

    def _take_priority(self, entry: Entry) -> None:
        try:
            value = fit({"type": "integer", "minimum": 0, "maximum": MAX_PRIORITY}, entry.value)
        except Refused as refused:
            self._left(entry, str(refused))
            return
        self.priority = value.value
        self.reading.found(
            entry, value.outcome(Outcome), provider=self.provider.key, setting="priority", value=self.priority
        )

    def _take_setting(self, entry: Entry, setting: str) -> None:
        if setting in self.sources:
            self._left(entry, "Another place in the blob comes first for this setting.")
            return
        texts = entry.value if is_list(entry.value) else [entry.value]
        if len(texts) > _MOST_ITEMS:
            self._left(entry, "No setting takes so long a list.")
            return
        if any(isinstance(text, str) and (looks_like_a_key(text) or self._holds_a_secret(text)) for text in texts):
            self._left(entry, "A key has no place in settings, which can be read.")
            return
        is_inverted = entry.name in names.INVERTED.get(self.provider.key, {})
        try:
            fitted = fit(_schema(self.provider, setting), entry.value, setting=setting, is_inverted=is_inverted)
        except Refused as refused:
            self._left(entry, str(refused))
            return
        self.config[setting] = fitted.value
        self.sources[setting] = (entry, fitted.outcome(Outcome), fitted.note)

    def _holds_a_secret(self, text: str) -> bool:
        return any(each == text or (len(each) >= SHORTEST_KEY and each in text) for each in self.texts)

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
        if not isinstance(model, str) or elsewhere or self.provider.known_of("model", model):
            return
        others = [
            other.name
            for other in self.reading.registry.get_all_providers()
            if other.known_of(other.model_setting, model)
        ]
        if others:
            self._drop("model", f"This is a model of {' and '.join(others)}.")

    def _fit_rules(self) -> None:
        """Clamp and drop until the definition accepts the whole."""
        for setting, limit in within_rules(self.provider, self.config):
            self.config[setting] = limit
            if setting in self.sources:
                self.sources[setting] = (self.sources[setting][0], Outcome.CLAMPED, "The most that this model takes.")
        while wrong := self._wrong():
            known = [name for name in wrong if name in self.config]
            for name in known or list(self.config):
                lacking = f"{self.provider.name} cannot be set without {', '.join(map(self._label, sorted(wrong)))}."
                self._drop(name, wrong[name] if known else lacking)

    def _label(self, setting: str) -> str:
        """Return what people call a setting."""
        label: str = self.provider.entry.config_schema["properties"].get(setting, {}).get("title", setting)
        return label

    def _wrong(self) -> dict[str, str]:
        """Return what is wrong, by setting; settings that are missing do not matter when there is nothing else."""
        try:
            self.provider.validate(self.config)
        except Invalid as invalid:
            return {error.pointer.split("/")[1]: error.message for error in invalid.errors} if self.config else {}
        return {}

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


def _known(provider: AnyProvider, setting: str, value: Any) -> bool | int | float | str | None:
    if isinstance(value, bool | int | float):
        return value
    schema = _schema(provider, setting)
    if not isinstance(value, str):
        return None
    is_known = value in {*schema.get("enum", []), *schema.get("examples", [])} or provider.known_of(setting, value)
    return value if is_known else None


def _schema(provider: AnyProvider, setting: str) -> JsonObject:
    found: JsonObject = provider.config_schema["properties"][setting]
    return found

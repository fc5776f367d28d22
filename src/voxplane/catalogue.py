"""Newer facts on models and voices than those of the release, from a file that the operator places.

The file holds names, states, dates and successors: no code, no settings and no addresses. An entry stands in place of
the release's entry of the same name, or beside the others when there is none. `voxplane models list --json` prints what
is in force in the same form.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, TypeVar

from pydantic import Field, ValidationError

from voxplane.errors import ConfigurationError, FieldError, Invalid
from voxplane.provider import pointed, unknown_field
from voxplane.schemas import JsonObject, Model, Voice, Wire

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from voxplane.provider import AnyProvider

FACTS_READ_ON = date(2026, 11, 22)
"""The day on which the facts of this release were read."""
MAX_FILE_BYTES = 1024 * 1024
_FILE = "The catalogue file (VOXPLANE_CATALOGUE_FILE)"
Known = TypeVar("Known", Model, Voice)


class ProviderFacts(Wire):
    """What is newly known of one provider."""

    models: tuple[Model, ...] = ()
    voices: tuple[Voice, ...] = ()


class Catalogue(Wire):
    """Facts on models and voices by provider key, and the day on which they were read."""

    as_of: date = Field(description="The day on which the facts were read, such as 2026-12-01.")
    providers: dict[str, ProviderFacts] = Field(description="By provider key.")


def read(path: Path) -> Catalogue:
    """Read a file of facts.

    Raises:
        ConfigurationError: it cannot be read, or is not of this form; the message says where, and what is valid.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError:
        raise ConfigurationError(f"{_FILE} cannot be read.") from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError(f"{_FILE} is larger than {MAX_FILE_BYTES} bytes.")
    try:
        # Only JSON's own types, as they stand: a date is a text such as 2027-01-14, and no number.
        return Catalogue.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise refusal(pointed(error)) from None


def in_force(providers: Iterable[AnyProvider], as_of: date) -> Catalogue:
    """Return what is known of all models and voices of these providers, in the form of the file."""
    facts = {each.key: ProviderFacts(models=each.models, voices=each.voices) for each in providers}
    return Catalogue(as_of=as_of, providers=facts)


def refreshed(providers: list[AnyProvider], catalogue: Catalogue) -> list[AnyProvider]:
    """Return the definitions with the facts of a file laid over their own.

    Raises:
        ConfigurationError: facts do not fit their provider; the message says where, and what is valid.
    """
    keys = [provider.key for provider in providers]
    errors = [unknown_field("/providers", key, keys) for key in catalogue.providers if key not in keys]
    found: list[AnyProvider] = []
    for provider in providers:
        facts = catalogue.providers.get(provider.key, ProviderFacts())
        newer = replace(
            provider,
            models=_laid_over(provider.models, facts.models),
            voices=_laid_over(provider.voices, facts.voices),
        )
        at = f"/providers/{provider.key}"
        errors += _wrong(newer, Model, facts.models, catalogue.as_of, f"{at}/models")
        errors += _wrong(newer, Voice, facts.voices, catalogue.as_of, f"{at}/voices")
        found.append(newer if facts.models or facts.voices else provider)
    if errors:
        raise refusal(errors)
    return found


def refusal(errors: list[FieldError]) -> ConfigurationError:
    """Say what is wrong with the file, place by place."""
    wrong = [f"  {error.pointer or '/'}: {error.message}" for error in errors]
    return ConfigurationError("\n".join([f"{_FILE} holds what is not valid:", *wrong]))


def _laid_over(known: tuple[Known, ...], newer: tuple[Known, ...]) -> tuple[Known, ...]:
    """Put each newer entry in the place of the one of its name, and those without one behind."""
    by_name = {each.name: each for each in newer}
    kept = tuple(by_name.pop(each.name, each) for each in known)
    return (*kept, *by_name.values())


def _wrong(
    provider: AnyProvider, kind: type[Known], newer: tuple[Known, ...], as_of: date, at: str
) -> list[FieldError]:
    if not newer:
        return []
    setting = provider.model_setting if kind is Model else provider.voice_setting
    if setting is None:
        noun = "model" if kind is Model else "voice"
        return [FieldError(at, "not_supported", f"{provider.name} has no setting that names a {noun}.")]
    errors: list[FieldError] = []
    names = [each.name for each in newer]
    for index, each in enumerate(newer):
        place = f"{at}/{index}"
        if each.name in names[:index]:
            errors.append(FieldError(f"{place}/name", "duplicate", "Name each one once."))
        errors += _refused(provider, {setting: each.name}, setting, f"{place}/name")
        errors += _wrong_end(provider, setting, each, as_of, place)
        if isinstance(each, Model):
            settings = {**each.call_settings, setting: each.name}
            for name in each.call_settings:
                errors += _refused(provider, settings, name, f"{place}/callSettings")
    return errors


def _wrong_end(provider: AnyProvider, setting: str, each: Model | Voice, as_of: date, place: str) -> list[FieldError]:
    errors: list[FieldError] = []
    successor = provider.known_of(setting, each.replacement)
    if each.replacement is not None and (successor is None or successor.name == each.name):
        message = "Name another one that this release knows or this file lists."
        errors.append(FieldError(f"{place}/replacement", "unknown_replacement", message))
    if each.status == "retired" and each.retires_on is not None and each.retires_on > as_of:
        message = "What is retired ended on or before asOf: call it deprecated, or mend the date."
        errors.append(FieldError(f"{place}/retiresOn", "date", message))
    return errors


def _refused(provider: AnyProvider, settings: JsonObject, setting: str, at: str) -> list[FieldError]:
    """Return what the definition says against one of these settings; that others are missing is no matter here."""
    try:
        provider.validate(settings)
    except Invalid as invalid:
        about = [
            error for error in invalid.errors if error.pointer.partition("/")[2].partition("/")[0] in {"", setting}
        ]
        return [FieldError(at, error.code, error.message) for error in about[:1]]
    return []


def schema() -> str:
    """Return the JSON Schema of the file as text."""
    described = Catalogue.model_json_schema(by_alias=True)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **described}, indent=2) + "\n"

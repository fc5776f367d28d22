"""A provider with every kind of setting that a definition may have, for the form and its tests.

Run as a module, it prints the catalogue with this provider in it, as the API shows it.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from voxplane.provider import (
    UI,
    AnyProvider,
    Destinations,
    ProviderConfig,
    ProviderDefinition,
    ProviderSecrets,
    Secret,
    ServerUrl,
    known,
)
from voxplane.registry import ProviderRegistry
from voxplane.rules import Forbids, Limits, Requires, When
from voxplane.schemas import ProviderType, Sparse

MODELS = (
    *known("reference-1"),
    *known("reference-2", status="preview", note="Quick."),
    *known("reference-0", status="deprecated", retires_on=date(2027, 3, 1), replacement="reference-2"),
    *known("reference-old", status="retired", retires_on=date(2025, 3, 1)),
)


def _is_date(text: str) -> str:
    date.fromisoformat(text)
    return text


def _has_no_twins(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        msg = "give each value once"
        raise ValueError(msg)
    return values


class Fixed(Sparse):
    """At a fixed time."""

    kind: Literal["fixed"]
    at: Annotated[int, Field(ge=0, le=1440, title="At"), UI(unit="min")] = 60
    """When."""


class Window(Sparse):
    """Between two times."""

    kind: Literal["window"]
    opens: Annotated[int, Field(ge=0, le=1440, title="Opens"), UI(unit="min")]
    """From when."""
    closes: Annotated[int, Field(ge=0, le=1440, title="Closes"), UI(unit="min")] = 1440
    """Until when."""


class Limit(Sparse):
    """What is blocked."""

    words: Annotated[bool, Field(title="Words")] = False
    """Whether words are."""
    level: Annotated[Literal["low", "high"] | None, Field(title="Level")] = None
    """How much is."""
    count: Annotated[int | None, Field(ge=1, le=100, title="Count")] = None
    """How often at most."""


class ReferenceConfig(ProviderConfig):
    """Every kind of setting."""

    rules = (
        Forbids(When("model", matches="^reference-2"), ("temperature",), "reference-2 has no temperature."),
        Limits(When("model", matches="^reference-2"), "tokens", "reference-2 gives at most 500.", maximum=500),
        Limits(When("model", matches="^reference-2"), "mode", "reference-2 is never slow.", one_of=("quick", "usual")),
        Forbids(When("thinks", equals=True, otherwise=True), ("thoughts",), "It does not think."),
        Requires(When("thinks", equals=True), ("thoughts",), "Say how much it may think."),
    )

    model: Annotated[
        str, Field(max_length=50, pattern="^[a-z][a-z0-9.-]*$", examples=["reference-1"]), UI(widget="model-picker")
    ] = "reference-1"
    """The model."""
    voice: Annotated[
        str | None, Field(max_length=50, pattern="^[a-z]+$", examples=["anna", "otto"]), UI(widget="voice-picker")
    ] = None
    """The voice."""
    language: Annotated[
        str, Field(max_length=10, pattern="^[a-z]{2}$", examples=["de", "en"]), UI(widget="language")
    ] = "en"
    """The language."""
    name: Annotated[str, Field(min_length=2, max_length=20, pattern="^[A-Za-z ]*$"), UI(group="Text")]
    """What it is called; there is no default."""
    greeting: Annotated[str, Field(max_length=40), UI(group="Text")] = "Hello"
    """What it says first, which may be nothing."""
    prompt: Annotated[str | None, Field(max_length=200), UI(group="Text", widget="textarea")] = None
    """What it is told."""
    contact: Annotated[
        str | None,
        Field(
            max_length=40,
            pattern=r"^[a-z0-9]+@[a-z0-9]+\.[a-z]{2,8}$",
            json_schema_extra={"format": "email"},
            examples=["ops@acme.com"],
        ),
        UI(group="Text"),
    ] = None
    """Whom to write to."""
    starts_on: Annotated[
        str | None,
        Field(
            max_length=10,
            pattern="^20[0-9]{2}-[0-9]{2}-[0-9]{2}$",
            json_schema_extra={"format": "date"},
            examples=["2027-01-31"],
        ),
        AfterValidator(lambda text: text and _is_date(text)),
        UI(group="Text"),
    ] = None
    """The first day."""
    patience: Annotated[
        str,
        Field(max_length=8, pattern="^PT[0-9]{1,3}S$", json_schema_extra={"format": "duration"}, examples=["PT30S"]),
        UI(group="Text", widget="duration"),
    ] = "PT30S"
    """How long it waits."""
    filter: Annotated[
        str | None,
        Field(max_length=20, pattern="^[a-z.]+$", json_schema_extra={"format": "regex"}, examples=["a.c"]),
        UI(group="Text"),
    ] = None
    """What it listens for."""

    temperature: Annotated[float, Field(ge=0, le=2), UI(group="Numbers")] = 0.7
    """How free it is."""
    tokens: Annotated[int, Field(ge=1, le=1000), UI(group="Numbers", unit="tokens", costly=True)] = 100
    """How much it says."""
    ratio: Annotated[float | None, Field(gt=0, lt=100), UI(group="Numbers", unit="%")] = None
    """How much of it."""
    step: Annotated[int, Field(ge=0, le=600, multiple_of=50), UI(group="Numbers", unit="ms")] = 100
    """How often it listens."""
    beams: Annotated[int, Field(ge=1, le=8), UI(group="Numbers")] = 5
    """How many ways it looks at."""

    streams: Annotated[bool, UI(group="Choices")] = True
    """Whether it speaks before it is done."""
    parallel: Annotated[bool | None, UI(group="Choices")] = None
    """Whether it does several things at once."""
    mode: Annotated[
        Literal["quick", "usual", "slow"], UI(group="Choices", labels={"quick": "Quick", "slow": "Slow and good"})
    ] = "usual"
    """How it works."""
    rate: Annotated[Literal[8000, 16000, 48000], UI(group="Choices", unit="Hz")] = 16000
    """How often it samples."""
    edition: Annotated[Literal["first"], UI(group="Choices")] = "first"
    """Which edition it is."""
    size: Annotated[
        str,
        Field(
            pattern="^(small|large)$",
            json_schema_extra={"oneOf": [{"const": "small", "title": "Small"}, {"const": "large", "title": "Large"}]},
        ),
        UI(group="Choices"),
    ] = "small"
    """How big it is."""
    thinks: Annotated[bool, UI(group="Choices")] = False
    """Whether it thinks."""
    thoughts: Annotated[int | None, Field(ge=1, le=5000), UI(group="Choices")] = None
    """How much it may think."""

    words: Annotated[
        list[Annotated[str, Field(max_length=10, pattern="^[a-z]+$")]],
        AfterValidator(_has_no_twins),
        Field(min_length=1, max_length=5, json_schema_extra={"uniqueItems": True}),
        UI(group="Lists", widget="tags"),
    ] = ["yes", "no"]  # noqa: RUF012 - Pydantic copies it
    """What it understands."""
    redact: Annotated[list[Literal["names", "numbers"]], Field(max_length=2, default_factory=list), UI(group="Lists")]
    """What it leaves out."""
    sizes: Annotated[
        list[Annotated[int, Field(ge=50, le=500)]] | None, Field(max_length=3), UI(group="Lists", unit="characters")
    ] = None
    """How much it reads at once."""

    limits: Annotated[Limit | None, UI(group="Parts")] = None
    """What it does not say."""
    opening: Annotated[Fixed | Window | None, Field(discriminator="kind"), UI(group="Parts")] = None
    """When it answers."""
    weights: Annotated[dict[str, list[int]] | None, UI(group="Parts")] = None
    """What no form has a field for."""

    old: Annotated[bool, Field(deprecated=True), UI(group="Others", advanced=True)] = False
    """What is on its way out."""
    fixed: Annotated[str, Field(max_length=10, json_schema_extra={"readOnly": True}), UI(group="Others")] = "as it is"
    """What cannot be changed."""
    base_url: Annotated[ServerUrl, Field(title="Base URL"), UI(group="Others", advanced=True, binds_secret=True)] = (
        "https://api.reference.example/v1"
    )
    """The server to use."""


class ReferenceSecrets(ProviderSecrets):
    """What it asks for."""

    api_key: Annotated[Secret, Field(title="API key")]
    """A key."""


PROVIDER = ProviderDefinition(
    key="reference",
    type=ProviderType.LLM,
    name="Reference",
    hosting="cloud",
    description="Has every kind of setting.",
    capabilities=("streaming",),
    config=ReferenceConfig,
    secrets=ReferenceSecrets,
    destinations=Destinations[ReferenceConfig](("baseUrl",), lambda config: [config.base_url]),
    docs_url="https://reference.example/docs",
    models=MODELS,
)


def providers() -> list[AnyProvider]:
    """Return what is in the catalogue, and the reference."""
    registry = ProviderRegistry()
    registry.initialize()
    return [*registry.get_all_providers(), PROVIDER]


def catalogue() -> dict[str, Any]:
    """Return the entries of all of them, by key."""
    return {each.key: each.entry.model_dump(mode="json", by_alias=True) for each in providers()}


if __name__ == "__main__":
    json.dump(catalogue(), sys.stdout)

"""One value of the old system in the form that a definition takes: numbers given as text, ranges, spellings."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from voxplane.rules import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import StrEnum

    from voxplane.provider import AnyProvider
    from voxplane.schemas import JsonObject

_BEYOND = 2**53
"""More than any setting takes: from here on readers of JSON differ in what a number is."""
_NUMBER = re.compile(r"[+-]?\d{1,15}(?:\.\d{1,15})?")
_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
# The shapes that vendors give their keys, and long runs that no name of a model or a voice has. What is looked ahead
# for has an end, or a text made for it would take hours.
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|gsk|pk|rk|xi|api|key|token)[-_](?=[A-Za-z0-9_-]{0,200}[0-9])[A-Za-z0-9_-]{8,}"
    r"|AIza[A-Za-z0-9_-]{8,}|AQ\.[A-Za-z0-9_-]{8,}|eyJ[A-Za-z0-9_-]{8,}|AKIA[A-Z0-9]{8,}"
    r"|-----BEGIN|(?i:bearer\s+\S)|[A-Za-z0-9+/]{33,}"
    r"|(?<![A-Za-z0-9-])(?=[0-9a-f]*[0-9])[0-9a-f]{32}(?![A-Za-z0-9-])"
)
_MAX_SCANNED = 100_000
E = TypeVar("E", bound="StrEnum")


class Refused(Exception):
    """A value cannot be brought into the form that is wanted; the message says what that is, and repeats nothing."""


@dataclass(frozen=True)
class Fitted:
    """A value in the form that is wanted, and what was done to it."""

    value: Any
    how: str = "moved"
    note: str | None = None

    def outcome(self, outcomes: type[E]) -> E:
        """Return how as a member."""
        return outcomes(self.how)


def fit(schema: JsonObject, value: object, *, setting: str = "", is_inverted: bool = False) -> Fitted:
    """Bring a value into the form that one setting's schema asks for.

    Raises:
        Refused: it cannot be.
    """
    if "enum" in schema:
        return _choice(schema["enum"], value)
    kind = schema.get("type")
    if kind in {"number", "integer"}:
        return _number(schema, value, is_inverted=is_inverted)
    if kind == "boolean":
        return _switch(value)
    if kind == "string":
        return _text(schema, value, setting)
    if kind == "array":
        return _list(value)
    if not is_object(value):
        raise Refused("An object is wanted here.")
    return Fitted(value)


def _number(schema: JsonObject, given: object, *, is_inverted: bool) -> Fitted:
    value = _read_number(given)
    is_whole = schema["type"] == "integer"
    if is_whole and given is False and schema.get("minimum") == 0:
        value = 0  # endpointing: false is 0, which switches it off
    if value is None:
        raise Refused("A number is wanted here.")
    if is_inverted:
        value = _inverted(value)
    if is_whole and value != int(value):
        raise Refused("A whole number is wanted here.")
    is_as_given = _is_number(given) and not is_inverted
    return _within(schema, int(value) if is_whole else value, "moved" if is_as_given else "converted")


def _within(schema: JsonObject, value: float, how: str) -> Fitted:
    low, high = schema.get("minimum"), schema.get("maximum")
    if high is not None and value > high:
        return Fitted(high, "clamped", "The most that it takes.")
    if low is not None and value < low:
        if schema["type"] == "integer":
            # Below the least, a whole number usually means something else, as -1 does for no limit.
            raise Refused(f"The least is {low}.")
        return Fitted(low, "clamped", "The least that it takes.")
    if abs(value) >= _BEYOND:
        raise Refused("A smaller number is wanted here.")
    return Fitted(value, how)


def _inverted(value: float) -> float:
    if value <= 0:
        raise Refused("A number above 0 is wanted here.")
    return round(1 / value, 4)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_number(given: object) -> int | float | None:
    """Return a number that is one, or that is written out; None for anything else."""
    if isinstance(given, str) and _NUMBER.fullmatch(given.strip()):
        text = given.strip()
        return float(text) if "." in text else int(text)
    # An integer of JSON may be more than any float.
    if not _is_number(given) or given != given or abs(given) == math.inf:  # noqa: PLR0124 - NaN is not itself
        return None
    return min(max(given, -_BEYOND), _BEYOND)


def _switch(value: object) -> Fitted:
    if isinstance(value, bool):
        return Fitted(value)
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    if word in _YES | _NO:
        return Fitted(word in _YES, "converted")
    raise Refused("A switch is wanted here: true or false.")


def _choice(choices: list[Any], value: object) -> Fitted:
    if value in choices and not isinstance(value, bool):
        return Fitted(value)
    word = str(value).strip().casefold() if isinstance(value, str | int | float) else ""
    for choice in choices:
        if str(choice).casefold() == word.removesuffix(".0"):
            return Fitted(choice, "converted")
    raise Refused(f"One of these is wanted here: {', '.join(str(choice) for choice in choices)}.")


def _text(schema: JsonObject, given: object, setting: str) -> Fitted:
    if not isinstance(given, str) or _UNSTORABLE.search(given):
        raise Refused("A text is wanted here.")
    for candidate in _spellings(setting, given):
        if re.search(schema.get("pattern", ""), candidate) and len(candidate) <= schema.get(
            "maxLength", len(candidate)
        ):
            return Fitted(candidate, "moved" if candidate == given else "converted")
    return Fitted(given)  # the definition says what is wrong with it


def _spellings(setting: str, given: str) -> Iterator[str]:
    yield given
    text = given.strip()
    yield text
    if setting == "language":
        yield text.lower()
        yield text.replace("_", "-")
        yield text.replace("_", "-").lower()
        yield re.split("[-_]", text.lower())[0]
    elif setting == "model":
        yield text.removeprefix("models/")
    elif setting == "endpoint":
        yield "/".join(text.split("/")[:3])


def _list(value: object) -> Fitted:
    if is_list(value):
        return Fitted(value)
    if isinstance(value, str):
        return Fitted([part.strip() for part in value.split(",") if part.strip()], "converted")
    raise Refused("A list is wanted here.")


def within_rules(provider: AnyProvider, config: JsonObject) -> list[tuple[str, float]]:
    """Return the settings that are above what the chosen model takes, with the most that it takes."""
    merged = {**provider.entry.default_config, **config}
    return [
        (rule.setting, int(rule.maximum) if isinstance(config[rule.setting], int) else rule.maximum)
        for rule in provider.config.rules
        if isinstance(rule, Limits)
        and rule.maximum is not None
        and isinstance(config.get(rule.setting), int | float)
        and config[rule.setting] > rule.maximum
        and rule.when.holds(merged)
    ]


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Whether a value of JSON is an object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether a value of JSON is a list."""
    return isinstance(value, list)


def empty(value: object) -> bool:
    """Whether there is nothing in it: null, no text, no members."""
    return value is None or value in ([], {}) or (isinstance(value, str) and not value.strip())


def looks_like_a_key(text: str) -> bool:
    """Whether a text has, anywhere in it, the shape of a vendor's key."""
    return _KEY.search(text[:_MAX_SCANNED]) is not None

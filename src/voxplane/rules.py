"""Rules between a provider's settings, as data: what a vendor refuses, needs or limits while a condition holds.

From one rule come both the check of an override and the conditional in its JSON Schema, so the two cannot differ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voxplane.schemas import JsonObject


@dataclass(frozen=True)
class When:
    """A condition on one setting: it matches a pattern, equals a value or, with neither, has a value at all.

    `otherwise` turns the condition round; `and_` adds a further one. `setting` is the name on the wire.
    The pattern is searched, so anchor it; it must mean the same to Python's `re` and to JSON Schema, which
    leaves out look-around and back-references.
    """

    setting: str
    matches: str | None = None
    equals: str | bool | None = None
    otherwise: bool = False
    and_: When | None = None

    def holds(self, effective: JsonObject) -> bool:
        """Whether the condition holds for settings in force (wire names)."""
        here = self._is_met_by(effective.get(self.setting)) is not self.otherwise
        return here and (self.and_ is None or self.and_.holds(effective))

    def _is_met_by(self, value: object) -> bool:
        if self.matches is not None:
            return isinstance(value, str) and re.search(self.matches, value) is not None
        return value is not None if self.equals is None else value == self.equals

    def branches(self, defaults: JsonObject, restriction: JsonObject) -> JsonObject:
        """Write `if` this condition, `then` (or `else`) the restriction, as JSON Schema of a sparse override.

        An absent setting has its default, so `if` must hold for an absent one just when the default meets it.
        A further condition is an `if` within the branch.
        """
        condition: JsonObject = {}
        if self.matches is not None:
            condition["properties"] = {self.setting: {"pattern": self.matches}}
        elif self.equals is not None:
            condition["properties"] = {self.setting: {"const": self.equals}}
        if not self._is_met_by(defaults.get(self.setting)):
            condition["required"] = [self.setting]
        inner = self.and_.branches(defaults, restriction) if self.and_ else restriction
        return {"if": condition, ("else" if self.otherwise else "then"): inner}


@dataclass(frozen=True)
class Forbids:
    """While the condition holds, the vendor refuses these settings: they may not be set, and defaults drop out."""

    when: When
    settings: tuple[str, ...]
    because: str

    def restriction(self) -> JsonObject:
        """The JSON Schema that an override must meet while the condition holds."""
        return {"properties": dict.fromkeys(self.settings, False)}

    def check(self, given: JsonObject, _effective: JsonObject) -> list[tuple[str, str, str]]:
        """What is wrong with an override, as `(setting, code, message)`."""
        return [(name, "not_supported", self.because) for name in self.settings if name in given]


@dataclass(frozen=True)
class Requires:
    """While the condition holds, these settings (or, in `requires_secrets`, secrets) must be present.

    A setting that has a default is never missing, so it has no place here.
    """

    when: When
    settings: tuple[str, ...]
    because: str

    def restriction(self) -> JsonObject:
        """The JSON Schema that an override must meet while the condition holds."""
        return {"required": list(self.settings)}

    def check(self, _given: JsonObject, effective: JsonObject) -> list[tuple[str, str, str]]:
        """What is wrong with an override, as `(setting, code, message)`."""
        return [(name, "missing", self.because) for name in self.settings if effective.get(name) is None]


@dataclass(frozen=True)
class Limits:
    """While the condition holds, this setting has a narrower range or fewer choices."""

    when: When
    setting: str
    because: str
    minimum: float | None = None
    maximum: float | None = None
    one_of: tuple[str, ...] = ()
    each_of: tuple[str, ...] = ()
    """The choices for every item, where the setting is a list."""
    max_items: int | None = None

    def restriction(self) -> JsonObject:
        """The JSON Schema that an override must meet while the condition holds."""
        narrowed = {
            "minimum": self.minimum,
            "maximum": self.maximum,
            "enum": list(self.one_of) or None,
            "items": {"enum": list(self.each_of)} if self.each_of else None,
            "maxItems": self.max_items,
        }
        given = {key: value for key, value in narrowed.items() if value is not None}
        return {"properties": {self.setting: given}}

    def check(self, given: JsonObject, _effective: JsonObject) -> list[tuple[str, str, str]]:
        """What is wrong with an override, as `(setting, code, message)`."""
        value = given.get(self.setting)
        if value is None:
            return []
        outside = (
            (self.minimum is not None and value < self.minimum)
            or (self.maximum is not None and value > self.maximum)
            or (bool(self.one_of) and value not in self.one_of)
            or (bool(self.each_of) and not set(value) <= set(self.each_of))
            or (self.max_items is not None and len(value) > self.max_items)
        )
        return [(self.setting, "not_supported", self.because)] if outside else []


@dataclass(frozen=True)
class NotAbove:
    """One number may not be above another. JSON Schema cannot say this, so only the server checks it."""

    lower: str
    upper: str
    because: str
    strictly: bool = False
    """Whether they may not be equal either."""

    def check(self, effective: JsonObject) -> list[tuple[str, str, str]]:
        """What is wrong with the settings in force, as `(setting, code, message)`."""
        low, high = effective.get(self.lower), effective.get(self.upper)
        if low is None or high is None or low < high or (low == high and not self.strictly):
            return []
        return [(self.lower, "out_of_range", self.because)]


Rule = Forbids | Requires | Limits

"""Where the keys of a blob stand, and the blob without those that are kept here.

What a key is, is what the import takes as one: `voxplane.legacy.convert` says where it took it from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from voxplane import legacy_text
from voxplane.legacy import SHORTEST_KEY, convert
from voxplane.legacy_reading import bare, is_vendor, key_places, leaves, pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from voxplane.legacy import LegacyKey
    from voxplane.legacy_reading import Path
    from voxplane.registry import ProviderRegistry
    from voxplane.schemas import JsonObject


@dataclass(frozen=True)
class Left:
    """A place in a blob where there still is what may be a key; `at` shows a name that could be a key as `?`."""

    at: str
    key: LegacyKey | None = field(repr=False)
    """The key that the import takes there; None for what it does not take."""
    is_within: bool
    """Whether a key that is kept here is a part of a longer text there."""


@dataclass(frozen=True)
class Scrubbed:
    """The text of a blob without the keys that are kept here, and places in it."""

    text: str = field(repr=False)
    removed: tuple[str, ...]
    left: tuple[Left, ...]


def scrub(text: str, registry: ProviderRegistry, today: date, is_kept: Callable[[LegacyKey], bool]) -> Scrubbed:
    """Take the keys out of a blob that the import takes, wherever they stand, and leave everything else as it is.

    `is_kept` says whether this system keeps that very key, so that nothing is lost. The text is one JSON object.
    """
    blob: JsonObject = json.loads(text)
    places: set[Path] = set()
    texts: set[str] = set()
    keys = convert(blob, registry, today).keys
    for key in keys:
        if is_kept(key):
            places.add(key.path)
            # What is short, as "none" is, or names a vendor may stand elsewhere for something else.
            if len(key.text) >= SHORTEST_KEY and not is_vendor(key.text, registry):
                texts.add(key.text)
    # The same key may stand elsewhere, under a name that nobody would look for.
    places |= {path for path, value in leaves(blob) if isinstance(value, str) and bare(value) in texts}
    scrubbed = legacy_text.without(text, places) if places else text
    left = _left(json.loads(scrubbed), registry, keys, texts)
    return Scrubbed(scrubbed, tuple(sorted(map(pointer, places))), tuple(sorted(left, key=lambda each: each.at)))


def _left(blob: JsonObject, registry: ProviderRegistry, keys: tuple[LegacyKey, ...], texts: set[str]) -> Iterator[Left]:
    places = key_places(blob, registry)
    values: dict[Path, Any] = {path: value for path, value in leaves(blob) if path in places}
    for path in places:
        key = next((key for key in keys if path[: len(key.path)] == key.path), None)
        value = values.get(path)
        is_within = isinstance(value, str) and any(text in value for text in texts)
        yield Left(pointer(path), key, is_within)

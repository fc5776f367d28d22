"""Where the keys of a blob stand, and the blob without those that are kept here.

What a key is, is what the import takes as one: `voxplane.legacy.convert` says where it took it from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from voxplane.legacy import convert
from voxplane.legacy_reading import bare, pointer, secret_places
from voxplane.legacy_values import is_list, is_object, looks_like_a_key
from voxplane.secret_value import not_a_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from voxplane.legacy import LegacyKey
    from voxplane.registry import ProviderRegistry
    from voxplane.schemas import JsonObject

Path = tuple[str, ...]


@dataclass(frozen=True)
class Scrubbed:
    """A blob without the keys that are kept here, and places in it, in which a name that could be a key is `?`."""

    blob: JsonObject = field(repr=False)
    removed: tuple[str, ...]
    left: tuple[str, ...]
    """Where there still is what may be a key: of nobody here, not kept here, or within another text."""


def scrub(blob: JsonObject, registry: ProviderRegistry, today: date, is_kept: Callable[[LegacyKey], bool]) -> Scrubbed:
    """Take the keys out of a blob that the import takes, wherever they stand, and leave everything else as it is.

    `is_kept` says whether this system keeps that very key, so that nothing is lost.
    """
    scrubbed: JsonObject = json.loads(json.dumps(blob))  # `deepcopy` cannot copy all that JSON may nest
    places: set[Path] = set()
    texts: set[str] = set()
    for key in convert(blob, registry, today).keys:
        if is_kept(key):
            places.add(key.path)
            texts.add(key.text)
    # The same key may stand elsewhere, under a name that nobody would look for.
    places |= {path for path, value in _leaves(blob) if isinstance(value, str) and bare(value) in texts}
    for path in places:
        _remove(scrubbed, path)
    left = {path for path, text in secret_places(scrubbed, registry) if not not_a_secret("", text)}
    left |= {path for path, value in _leaves(scrubbed) if _may_be_a_key(path, value)}
    return Scrubbed(scrubbed, _pointers(places), _pointers(left))


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
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


def _remove(blob: JsonObject, path: Path) -> None:
    """Remove a member; of a list, whose other members keep their places, null is left."""
    holder: Any = blob
    for name in path[:-1]:
        holder = holder[int(name)] if is_list(holder) else holder[name]
    if is_list(holder):
        holder[int(path[-1])] = None
    else:
        del holder[path[-1]]


def _pointers(places: set[Path]) -> tuple[str, ...]:
    return tuple(sorted(map(pointer, places)))

"""The text of a JSON document, from which members are cut out; everything else of it stays letter by letter.

What is read and written again is not what it was: a number loses digits, and of two members of one name one is gone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from voxplane.legacy_reading import Path

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


class _SecondMember(ValueError):
    """An object has two members of one name."""


def is_ambiguous(text: str) -> bool:
    """Whether an object of a JSON document has two members of one name, of which readers see only one."""
    try:
        json.loads(text, object_pairs_hook=_once)
    except _SecondMember:
        return True
    return False


def _once(members: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in members}) < len(members):
        raise _SecondMember


@dataclass
class _Holder:
    """An object or a list that is being read, and where in the text the member stands that is read now."""

    path: Path
    is_list: bool
    after: int
    """Where what parts it from the one before ends."""
    start: int = -1
    end: int = -1
    name: str | None = None
    number: int = 0
    has_kept: bool = False

    @property
    def place(self) -> Path:
        """Where the member stands in the document."""
        return (*self.path, str(self.number) if self.is_list else self.name or "")

    def begun(self, token: re.Match[str]) -> None:
        """Take a part of the member; the first text of an object's is its name."""
        self.start = token.start() if self.start < 0 else self.start
        if self.name is None and token[0].startswith('"'):
            self.name = json.loads(token[0])

    def ended(self, places: Collection[Path], following: re.Match[str]) -> Iterator[tuple[int, int, str]]:
        """Yield what to cut of the member that ends before a comma or the holder's end, and what comes instead."""
        if self.end >= 0 and self.place in places:
            if self.is_list:
                yield self.start, self.end, "null"
            elif self.has_kept:
                yield self.after - 1, self.end, ""  # with the comma before it
            else:
                yield self.after, following.end() if following[0] == "," else self.end, ""
        else:
            self.has_kept = True
        self.after, self.start, self.end, self.name = following.end(), -1, -1, None
        self.number += 1


def without(text: str, places: Collection[Path]) -> str:
    """Return a JSON document without the members at some places; of a list, null is left in a member's place."""
    cuts: list[tuple[int, int, str]] = []
    holders: list[_Holder] = []
    for token in _TOKEN.finditer(text):
        letter = token[0][0]
        if letter in ",}]":
            cuts += holders[-1].ended(places, token)
            if letter == ",":
                continue
            holders.pop()
        elif holders:
            holders[-1].begun(token)
        if letter in "{[":
            path = holders[-1].place if holders else ()
            holders.append(_Holder(path, letter == "[", token.end()))
        elif holders:
            holders[-1].end = token.end()
    return _cut_out(text, cuts)


def _cut_out(text: str, cuts: list[tuple[int, int, str]]) -> str:
    parts: list[str] = []
    done = 0
    for start, end, instead in sorted(cuts):
        if start >= done:  # not within what is cut out already
            parts += text[done:start], instead
            done = end
    return "".join([*parts, text[done:]])

"""How a vendor lists its models or voices, as data, and what of its answer is kept: names, labels and dates.

An answer is treated as hostile: what is not of the expected form is left out, text is cut and cleaned, and nothing of
it is repeated but names that the provider's own setting could hold.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from voxplane.probe import ProbeRequest

MAX_ITEMS = 2000
MAX_LABEL_LENGTH = 100
# A voice may be called by a word of any language.
_NAME = re.compile(r"[^\W_][\w.:/@-]{0,199}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PAGE = re.compile(r"[A-Za-z0-9._=-]{1,300}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8})*")
_MAX_URL_LENGTH = 2048
_SHORTEST_KEY = 8
"""What is shorter is as likely a word: many a server of one's own takes any, such as `none`."""


@dataclass(frozen=True)
class Listed:
    """One model or voice that a vendor listed."""

    name: str
    label: str | None = None
    language: str | None = None
    retires_on: date | None = None
    preview: str | None = None
    """Where the vendor says that a sample of the voice is; followed only to the listing's `preview_bases`."""


@dataclass(frozen=True)
class Page:
    """What of a vendor's list one answer holds."""

    listed: tuple[Listed, ...]
    after: str | None
    """The query parameter that asks for the page after it; None when there is none that could be asked for."""
    is_whole: bool
    """Whether it holds all that it is to hold, and says in a way that can be followed whether there is more."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One request that lists models or voices, and where in its answer they stand."""

    request: ProbeRequest
    items: str = ""
    """The member of the answer that holds them, as a list or an object by name; without it, the answer itself."""
    name: str = "id"
    """The member of an item that is its name; where items stand in an object, its key is."""
    prefix: str = ""
    """What stands before the name and is no part of it."""
    keeps: str = ""
    """The names to keep (a pattern), where a vendor lists all that it has."""
    serves: tuple[str, str] | None = None
    """A member of an item, and what its list must hold."""
    ended: tuple[str, str] | None = None
    """A member of an item, and its value where the vendor lists what it no longer offers."""
    label: str | None = None
    language: str | None = None
    retires_on: str | None = None
    preview: str | None = None
    preview_bases: tuple[str, ...] = ()
    """Where the vendor's documents say that samples of voices are: addresses with the path that they begin with."""
    next_page: tuple[str, str] | None = None
    """The member of an answer that names the next page, and the parameter that asks for it."""

    def read(self, document: Any, secrets: Collection[str] = ()) -> Page | None:
        """Return what an answer lists; None when it is not of this form.

        An item that repeats one of the `secrets` it was asked with is left out.
        """
        hidden = [each for each in secrets if len(each) >= _SHORTEST_KEY]
        found: Any = _member(document, self.items) if self.items else document
        if isinstance(found, dict):
            by_name: dict[str, Any] = found  # pyright: ignore[reportUnknownVariableType] - JSON
            found = [{**(each if isinstance(each, dict) else {}), self.name: key} for key, each in by_name.items()]
        if not isinstance(found, list):
            return None
        items: list[Any] = found  # pyright: ignore[reportUnknownVariableType] - JSON
        named: dict[str, Listed] = {}
        for each in items[:MAX_ITEMS]:
            listed = self._listed(each) if isinstance(each, dict) else None  # pyright: ignore[reportUnknownArgumentType] - JSON
            if listed is not None and not self._repeats(each, hidden):  # pyright: ignore[reportUnknownArgumentType] - JSON
                named.setdefault(listed.name, listed)
        after = self._page_after(document)
        has_more = after is None and (self._names_a_page(document) or _member(document, "has_more") is True)
        return Page(tuple(named.values()), after, is_whole=len(items) <= MAX_ITEMS and not has_more)

    def _page_after(self, document: Any) -> str | None:
        if self.next_page is None:
            return None
        member, parameter = self.next_page
        token = _member(document, member)
        return f"{parameter}={token}" if isinstance(token, str) and _PAGE.fullmatch(token) else None

    def _names_a_page(self, document: Any) -> bool:
        return self.next_page is not None and bool(_member(document, self.next_page[0]))

    def _listed(self, item: dict[str, Any]) -> Listed | None:
        name = item.get(self.name)
        if not isinstance(name, str):
            return None
        name = name.removeprefix(self.prefix)
        if not _NAME.fullmatch(name) or not re.search(self.keeps, name):
            return None
        if self.serves is not None:
            served = item.get(self.serves[0])
            if not isinstance(served, list) or self.serves[1] not in served:
                return None
        if self.ended is not None and item.get(self.ended[0]) == self.ended[1]:
            return None
        return Listed(
            name,
            label=_label(self._text(item, self.label)),
            language=_matching(_LANGUAGE, self._text(item, self.language)),
            retires_on=_day(self._text(item, self.retires_on)),
            preview=self._text(item, self.preview),
        )

    def _repeats(self, item: dict[str, Any], secrets: Collection[str]) -> bool:
        """Whether a text of an item holds a secret, before it is cut or cleaned."""
        texts = (item.get(each) for each in (self.name, self.label, self.language, self.preview) if each)
        return any(secret in text for text in texts if isinstance(text, str) for secret in secrets)

    @staticmethod
    def _text(item: dict[str, Any], member: str | None) -> str | None:
        found = item.get(member) if member else None
        return found if isinstance(found, str) and len(found) <= _MAX_URL_LENGTH else None


def _member(document: Any, name: str) -> Any:
    return document.get(name) if isinstance(document, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - JSON


def _label(text: str | None) -> str | None:
    """Keep what can be read of a label: no control, format or private characters, one line, and not too long."""
    if text is None:
        return None
    begins = text[: 2 * MAX_LABEL_LENGTH]
    plain = "".join(each if unicodedata.category(each)[0] != "C" else " " for each in begins)
    return " ".join(plain.split())[:MAX_LABEL_LENGTH] or None


def _matching(pattern: re.Pattern[str], text: str | None) -> str | None:
    return text if text is not None and pattern.fullmatch(text) else None


def _day(text: str | None) -> date | None:
    found = _DAY.match(text or "")
    try:
        return date.fromisoformat(found[0]) if found else None
    except ValueError:
        return None

"""How a provider is tested: the cheapest requests that prove its key, and what its answers mean. All of it is data.

Vendors' words are read with patterns, never parsed: an answer may be cut short, deeply nested or no JSON at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from voxplane.destination import over_http

if TYPE_CHECKING:
    from voxplane.rules import When
    from voxplane.schemas import JsonObject
    from voxplane.schemas.verification import Outcome

_NAMED = re.compile(r"\{([A-Za-z]+)\}")
_SUCCESS = range(200, 300)
_REDIRECT = range(300, 400)


@dataclass(frozen=True)
class Sign:
    """What an answer means that has one of these statuses and, if given, these words (a pattern, any case)."""

    outcome: Outcome
    statuses: tuple[int, ...]
    words: str | None = None

    def fits(self, status: int, text: str) -> bool:
        """Whether an answer is one that this speaks of."""
        return status in self.statuses and (
            self.words is None or re.search(self.words, text, re.IGNORECASE) is not None
        )


@dataclass(frozen=True)
class ProbeRequest:
    """One request of a probe. `{name}` stands for a setting in force or a secret, by its name on the wire.

    An address at the beginning of the URL is written for http and without a slash at its end; anything later in it is
    quoted. A header that names something absent is left out.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    method: Literal["GET", "POST"] = "GET"
    body: Mapping[str, object] | None = None
    good: str = ""
    """What an answer of success holds (a pattern): a login page answers 200 too."""
    lists: str | None = None
    """What an answer of success holds if the vendor has the model (a pattern; `{model}` in it is the setting)."""
    ends: str | None = None
    """What an answer of success holds about the model's end (a pattern; its group is the day)."""
    proves: Literal["key", "model", "both"] = "key"
    is_long: bool = False
    """Whether an answer of success may be longer than is read: how it begins is then enough."""
    goes_on: tuple[tuple[Outcome, int], ...] = ()
    """Outcomes besides success, with their status, that leave the last word to the next request."""
    is_fallback: bool = False
    """Whether it is asked only where the one before left it the last word."""
    signs: tuple[Sign, ...] = ()
    """What refusals mean, and answers of success that are none. The first that fits counts, before the probe's."""
    when: When | None = None
    """The settings that it is for; without it, all."""

    def is_for(self, settings: JsonObject) -> bool:
        """Whether these settings are those that it is for, and hold all that it names."""
        texts = (self.url, *(each for each in (self.body or {}).values() if isinstance(each, str)))
        is_whole = all(name in settings for text in texts for name in _NAMED.findall(text))
        return is_whole and (self.when is None or self.when.holds(settings))

    def address(self, settings: JsonObject) -> str:
        """Return the URL for these settings.

        Raises:
            KeyError: a setting that it needs is not there.
        """

        def value(match: re.Match[str]) -> str:
            found = str(settings[match[1]])
            return over_http(found).rstrip("/") if match.start() == 0 else quote(found, safe="/")

        return _NAMED.sub(value, self.url)

    def heading(self, values: Mapping[str, object]) -> dict[str, str]:
        """Return the headers for these settings and secrets."""
        return dict(self._written(values))

    def _written(self, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
        for name, template in self.headers.items():
            if all(values.get(each) is not None for each in _NAMED.findall(template)):
                yield name, _NAMED.sub(lambda match: str(values[match[1]]), template)

    def content(self, settings: JsonObject) -> bytes | None:
        """Return the body for these settings."""
        if self.body is None:
            return None
        filled = {
            name: _NAMED.sub(lambda match: str(settings[match[1]]), value) if isinstance(value, str) else value
            for name, value in self.body.items()
        }
        return json.dumps(filled).encode()

    def retires_on(self, text: str) -> date | None:
        """Return when an answer of success says that the model ends."""
        found = re.search(self.ends, text) if self.ends else None
        try:
            return date.fromisoformat(found[1]) if found else None
        except ValueError:
            return None

    def has_model(self, text: str, model: str) -> bool:
        """Whether an answer of success lists the model."""
        if self.lists is None:
            return True
        # In JSON, a letter beyond ASCII may stand as its number.
        escaped = json.dumps(model)[1:-1]
        named = f"(?:{re.escape(model)}|(?i:{re.escape(escaped)}))" if escaped != model else re.escape(model)
        return re.search(self.lists.replace("{model}", named), text) is not None


@dataclass(frozen=True)
class Probe:
    """The requests that show whether a provider works, one after the other."""

    requests: tuple[ProbeRequest, ...]
    signs: tuple[Sign, ...] = ()
    """What refusals mean, whichever request met them. What none fits is judged by its status alone."""
    unknown_host: Outcome = "unreachable"
    """What it means that the host's name does not exist."""
    uncheckable: tuple[When, ...] = ()
    """Settings with which nothing can be tested."""
    model_setting: str | None = "model"
    """The setting that names the model or voice tested for, on the wire."""
    weights: tuple[str, ...] = ()
    """For an engine in the worker itself: the files in the folder of models, without which it cannot load.

    A folder ends with a slash; a file's name may hold a `*`.
    """

    def is_checkable(self, settings: JsonObject) -> bool:
        """Whether these settings can be tested."""
        return not any(each.holds(settings) for each in self.uncheckable)

    def files(self, settings: JsonObject) -> tuple[str, ...]:
        """Return the paths of the files that must be there, below the folder of models."""
        return tuple(_NAMED.sub(lambda match: str(settings[match[1]]), each) for each in self.weights)

    def questions(self, settings: JsonObject) -> tuple[ProbeRequest, ...]:
        """Return the requests for these settings, in order; not those that need a setting which is not there."""
        return tuple(each for each in self.requests if each.is_for(settings))


def judged(probe: Probe, request: ProbeRequest, status: int, text: str) -> Outcome:
    """Return what a vendor's answer means; `text` is as much of its body as was read."""
    for sign in (*request.signs, *probe.signs, *_USUAL):
        if sign.fits(status, text):
            return sign.outcome
    if status in _SUCCESS:
        # Whatever answers 200 with something else is not this vendor's interface.
        return "verified" if re.search(request.good, text) else "wrong_region_or_endpoint"
    return "wrong_region_or_endpoint" if status in _REDIRECT else "provider_error"


_USUAL = (
    Sign("key_rejected", (401,)),
    Sign("quota", (402,)),
    Sign("key_restricted", (403,)),
    Sign("wrong_region_or_endpoint", (404, 405, 410, 421)),
    Sign("timeout", (408, 504)),
    Sign("rate_limited", (429,)),
)

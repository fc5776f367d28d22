"""How a provider becomes an object of an agent framework: which class, and which setting goes into which parameter.

All of it is data, so it can be read, documented and tested without the framework.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from voxplane.errors import MissingDependency

if TYPE_CHECKING:
    from voxplane.rules import When
    from voxplane.schemas import JsonObject

Framework = Literal["livekit", "pipecat"]
Derive = Callable[["JsonObject", Mapping[str, str]], Mapping[str, Any]]


@dataclass(frozen=True)
class Construct:
    """An object to make: `target` is a class or a function as `module:name`, called with `arguments` by name.

    An argument may be an object to make in its turn. The key is among the arguments, so they are never shown.
    """

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """What to set once the object is made, a dotted name on a part of it: what its class takes from the environment,
    makes up where nothing is given, or has no parameter for."""

    def make(self, parts: list[object] | None = None) -> Any:
        """Import the target and call it. What was made for its arguments is added to `parts`, for whoever closes it.

        Raises:
            MissingDependency: the package that holds it is not installed, or is of a release with other attributes.
        """
        module, _, name = self.target.partition(":")
        try:
            found: Any = importlib.import_module(module)
        except ImportError as error:
            missing = error.name or "A package"
            raise MissingDependency(f"{missing} is not installed, and {self.target} needs it.") from None
        for part in name.split("."):
            found = getattr(found, part)
        made = found(**_made(self.arguments, parts))
        for path, value in _made(self.attributes, parts).items():
            *holders, name = path.split(".")
            holder = made
            for part in holders:
                holder = getattr(holder, part, None)
            if not hasattr(holder, name):
                raise MissingDependency(f"{self.target} has no {path}: another release of its package is needed.")
            setattr(holder, name, value)
        return made


async def close_each(closings: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Close what was made, each whatever becomes of the others; what the first that fails raises is raised then."""
    failed: list[Exception] = []
    for closing in closings:
        try:
            await closing()
        except Exception as error:  # noqa: BLE001 - a plugin's own
            failed.append(error)
    if failed:
        raise failed[0]


def _made(values: Mapping[str, Any], parts: list[object] | None) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in values.items():
        made[name] = value.make(parts) if isinstance(value, Construct) else value
        if isinstance(value, Construct) and parts is not None:
            parts.append(made[name])
    return made


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A framework's class for a provider, and what it is made with. Only settings that have a value are passed."""

    target: str
    """The class as `module:name`."""
    requires: str
    """The distribution that holds the class."""
    takes: Mapping[str, str]
    """Which setting goes into which parameter, as it is. A dotted one goes into a part: `settings.model`."""
    parts: Mapping[str, str] = field(default_factory=dict[str, str])
    """The class of each parameter that is an object of its own; one that is not named here is a dict."""
    derives: Derive
    """The other arguments, from the settings in force and the secrets: the key and the address always."""
    sets: Derive | None = None
    """What to set on the object once it is made, from the same; see `Construct.attributes`."""
    derived_from: tuple[str, ...] = ()
    """The settings that `derives` and `sets` read."""
    leaves_out: Mapping[str, str] = field(default_factory=dict[str, str])
    """The settings that the class has no use for, and why."""
    when: When | None = None
    """For which settings this is the class; the first plugin of a provider that fits is taken."""

    def construct(self, settings: JsonObject, secrets: Mapping[str, str]) -> Construct:
        """Lay out the object for settings in force (wire names) and opened secrets."""
        # To a plugin an empty list is a value, and one that its class may refuse for the model.
        flat = {self.takes[name]: value for name, value in settings.items() if name in self.takes and value != []}
        plan = self._assemble("", {**flat, **self.derives(settings, secrets)})
        return replace(plan, attributes=self.sets(settings, secrets)) if self.sets else plan

    def _assemble(self, path: str, arguments: Mapping[str, Any]) -> Construct:
        own: dict[str, Any] = {}
        inner: dict[str, dict[str, Any]] = {}
        for name, value in arguments.items():
            head, _, rest = name.partition(".")
            if rest:
                inner.setdefault(head, {})[rest] = value
            else:
                own[name] = value
        for head, given in inner.items():
            part = self._assemble(f"{path}{head}.", given)
            own[head] = part if f"{path}{head}" in self.parts else part.arguments
        return Construct(self.parts.get(path.rstrip("."), self.target), own)

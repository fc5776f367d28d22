"""What travels about the history of one provider's settings, and about putting an older version back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from voxplane.schemas.wire import JsonObject, Sparse, Wire

RestorePart = Literal["isEnabled", "priority"]


class Actor(Wire):
    """Who did something."""

    subject: str = Field(description="What identifies it for good, such as `token:<id>`.")
    name: str = Field(description="What a person calls it.")
    kind: Literal["token", "user", "local"] = Field(
        description="Through what: an access token, a person's own sign-in, or the command line of the machine."
    )


class SettingChange(Wire):
    """One setting that is different in one version than in the one before it."""

    pointer: str = Field(description="JSON Pointer into the overrides.", examples=["/temperature"])
    kind: Literal["added", "changed", "removed"] = Field(
        description="`added`: it was the default before. `removed`: it is the default again."
    )
    before: Any = Field(description="Null when it was not set.")
    after: Any = Field(description="Null when it is no longer set.")


class SwitchChange(Wire):
    """A provider that was switched on or off."""

    before: bool
    after: bool


class PriorityChange(Wire):
    """A provider that was given another priority."""

    before: int
    after: int


class SettingsVersion(Wire):
    """What one provider's settings became at one revision."""

    kind: Literal["settings"] = "settings"
    revision: int = Field(description="The organization's revision that this change led to: the version's number.")
    at: datetime
    by: Actor
    action: str | None = Field(description="What made it, as the audit log calls it. Null when that was not kept.")
    restored_from: int | None = Field(description="The version that was put back with this one.")
    is_current: bool
    is_removed: bool = Field(description="Whether the settings were removed: all defaults, disabled.")
    changes: tuple[SettingChange, ...]
    switch: SwitchChange | None = Field(description="Null when it stayed as it was.")
    priority_change: PriorityChange | None = Field(description="Null when it stayed as it was.")
    overrides: JsonObject = Field(
        description="All that was set, brought up to the provider's present definition, so that any two compare."
    )
    is_enabled: bool
    priority: int
    schema_version: int = Field(description="The version of the definition that it was written with.")


class SecretsChange(Wire):
    """A change of one provider's secrets, by their names. Their values are kept nowhere but in the present envelope."""

    kind: Literal["secrets"] = "secrets"
    revision: int
    at: datetime
    by: Actor
    action: str
    stored: tuple[str, ...] = Field(description="The secrets that were stored or replaced.")
    replaced: tuple[str, ...] = Field(description="Those of them that had another value before.")
    removed: tuple[str, ...] = Field(description="The secrets that were removed; all that there were, when empty too.")


HistoryEntry = Annotated[SettingsVersion | SecretsChange, Field(discriminator="kind")]


class ProviderHistory(Wire):
    """What became of one provider's settings and secrets, newest first."""

    entries: tuple[HistoryEntry, ...]
    next_before: int | None = Field(description="The `before` of the next page; null when there is none.")


class Restoration(Sparse):
    """Which version of one provider's settings to put back. Secrets are never touched."""

    revision: Annotated[int, Field(ge=1, lt=2**53)] = Field(description="The version, as the history numbers it.")
    include: Annotated[list[RestorePart], Field(max_length=2)] = Field(
        default_factory=list[RestorePart],
        description="What else of that version to put back: its switch, its priority. Both stay as they are otherwise.",
    )
    valid_only: bool = Field(
        default=False,
        description="Leave out the settings that the provider's present definition no longer takes.",
    )

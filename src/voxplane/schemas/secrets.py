"""What travels back when secrets were written."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from voxplane.schemas import OrganizationProvider
from voxplane.schemas.wire import Wire

UntestedReason = Literal[
    "nothing_entered", "secrets_missing", "invalid_config", "destination_unapproved", "too_often", "changed"
]
_WHY: dict[UntestedReason, str] = {
    "nothing_entered": "No secret was entered, so there was nothing to test.",
    "secrets_missing": "These settings need other secrets with it, and only what is entered together is tested.",
    "invalid_config": "The settings are not valid as they are, so it was stored untested.",
    "destination_unapproved": "The settings send calls where it may not go, so it was stored untested.",
    "too_often": "The organization tested as often as it may in a minute, or still does, so it was stored untested.",
    "changed": "Somebody changed the provider during the test, so what it found is not of what is stored.",
}


class Untested(Wire):
    """Why secrets were stored without the test that was asked for."""

    reason: UntestedReason
    message: str = Field(description="The same in a sentence.")

    @classmethod
    def because(cls, reason: UntestedReason) -> Untested:
        """Say it."""
        return cls(reason=reason, message=_WHY[reason])


class StoredSecrets(OrganizationProvider):
    """A provider after a change of its secrets."""

    untested: Untested | None = Field(
        description="Why there was no test although `check` asked for one; null when there was, or none was asked for. "
        "With a test, `verification` is what it found."
    )

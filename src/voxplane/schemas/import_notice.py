"""What travels about the import from the old system: what became of a blob, and what of it needs a person."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from voxplane.schemas.wire import Wire


class Outcome(StrEnum):
    """What became of one part of a blob."""

    MOVED = "moved"
    CONVERTED = "converted"
    CLAMPED = "clamped"
    LEFT = "left"
    UNKNOWN = "unknown"


class Finding(Wire):
    """What became of one part of a blob."""

    at: str = Field(
        description="Where it stands: a JSON Pointer in which names that could be a key are `?`.",
        examples=["/tts/speed"],
    )
    outcome: Outcome
    provider: str | None = Field(default=None, description="The key of the provider that it is said of.")
    setting: str | None = None
    secret: str | None = None
    value: bool | int | float | str | None = Field(
        default=None,
        description="What is written, when that is a number, a switch or a name that the definition knows.",
    )
    note: str | None = None
    is_settled: bool = Field(default=False, exclude=True)
    """Whether nobody has to look although it was left: it is empty, no setting, or what is here already stays."""

    @property
    def needs_a_person(self) -> bool:
        """Whether somebody has to look: it became another value, or it did not come here at all."""
        return self.outcome in {Outcome.CLAMPED, Outcome.LEFT, Outcome.UNKNOWN} and not self.is_settled


class ImportNotice(Wire):
    """What imports from the old system left to a person; nothing when there was none or all of it is done."""

    imported_at: datetime | None = None
    imported_by: str | None = Field(default=None, description="Who imported, as a person calls them.")
    findings: tuple[Finding, ...] = Field(default=(), description="In the order of the blob.")
    etag: str | None = Field(default=None, description="For `If-Match` when saying that it is done.")

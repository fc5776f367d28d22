"""Where an organization stands: in which life of its database, and how far it has come in it."""

from __future__ import annotations

from typing import NamedTuple, Self

_DIGITS = 18  # what fits into a bigint


class Position(NamedTuple):
    """An epoch, which changes when a database is restored, and a revision in it. Outside it is `<epoch>.<revision>`."""

    epoch: str
    revision: int

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Read what a caller says of where it stands; None for anything that is no position."""
        epoch, _, number = (text or "").partition(".")
        revision = read_revision(number)
        return None if revision is None else cls(epoch, revision)

    def __str__(self) -> str:
        """Write it as callers know it."""
        return f"{self.epoch}.{self.revision}"

    def reaches(self, other: Position) -> bool:
        """Whether this is the other one, or a later one of the same epoch."""
        return self.epoch == other.epoch and self.revision >= other.revision


def read_revision(text: str) -> int | None:
    """Read a revision that came from outside; None for anything that is none."""
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else None

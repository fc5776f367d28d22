"""Where an organization stands: in which life of its database, read with which catalogue, and how far."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from uuid import UUID

_DIGITS = 18  # what fits into a bigint


class Position(NamedTuple):
    """An epoch and a revision in it. Outside it is `<epoch>.<revision>`.

    The epoch is `<life>~<catalogue>`: it changes when a database is restored, and when a release brings another
    catalogue, for a better default changes what an organization gets as much as its own hand does.
    """

    epoch: str
    revision: int

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Read what a caller says of where it stands; None for anything that is no position."""
        epoch, _, number = (text or "").partition(".")
        revision = read_revision(number)
        return None if revision is None else cls(epoch, revision)

    @classmethod
    def under(cls, catalogue: str, life: UUID, revision: int) -> Self:
        """Make one from what the database says and the digest of the catalogue that it is read with."""
        return cls(f"{life}~{catalogue}", revision)

    @property
    def life(self) -> str:
        """Which life of the database this is of, under whatever catalogue."""
        return self.epoch.partition("~")[0]

    def __str__(self) -> str:
        """Write it as callers know it."""
        return f"{self.epoch}.{self.revision}"

    def reaches(self, other: Position) -> bool:
        """Whether this is the other one, or a later one of the same epoch."""
        return self.epoch == other.epoch and self.revision >= other.revision


def read_revision(text: str) -> int | None:
    """Read a revision that came from outside; None for anything that is none."""
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else None

"""How an organization is referred to: by its slug, or by its id, which is one organization's for good."""

from __future__ import annotations

from uuid import UUID


def as_id(reference: str) -> UUID | None:
    """Return the id that a reference to an organization is, however it is written; None when it is none."""
    try:
        return UUID(reference)
    except ValueError:
        return None


def spelled_alike(reference: str) -> str:
    """Write every spelling of one reference alike: a slug in any case, an id in any form."""
    return str(as_id(reference) or reference.lower())

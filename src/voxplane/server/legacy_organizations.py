"""Which organization here a record of the old system is of: it is called there by a slug or an id, in any spelling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from voxplane.legacy_values import looks_like_a_key
from voxplane.schemas import Slug
from voxplane.server import store
from voxplane.server.naming import as_id, spelled_alike

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voxplane.server.database import Database
    from voxplane.server.store import OrganizationRow

_slug = TypeAdapter[str](Slug)
# Short ones are names, such as `api-team-2`.
_SHORTEST_KEY = 20


def slug_of(reference: str) -> str | None:
    """Return the slug that a reference of the old system gives an organization; None when it can give none."""
    try:
        return _slug.validate_python(reference.lower())
    except ValidationError:
        return None


def new_slug_of(reference: str) -> str | None:
    """Return the slug of an organization that is not here, to be shown or made; None also for what could be a key."""
    could_be_a_key = len(reference) >= _SHORTEST_KEY and as_id(reference) is None and looks_like_a_key(reference)
    return None if could_be_a_key else slug_of(reference)


async def organizations_called(database: Database, references: Sequence[str]) -> dict[str, OrganizationRow]:
    """Look up organizations by slug, or by id where a reference is one; who is not here is left out."""
    # What can be no name is in no row, and some of it could not even be asked for.
    references = [each for each in references if slug_of(each) is not None]
    ids = {reference: found for reference in references if (found := as_id(reference)) is not None}
    async with database.transaction(platform=True) as connection:
        rows = await store.organizations_named(connection, [each.lower() for each in references], list(ids.values()))
    by_slug, by_id = {row.slug: row for row in rows}, {row.id: row for row in rows}
    # An id is one organization's for good; that another has it as its slug changes nothing.
    rows_of = {
        each: (by_id.get(ids[each]) if each in ids else None) or by_slug.get(each.lower()) for each in references
    }
    return {reference: row for reference, row in rows_of.items() if row is not None}


async def names_of(database: Database, reference: str) -> tuple[str, ...]:
    """Return what records may call the organization that somebody means by a slug or an id, that name first."""
    wanted = spelled_alike(reference)
    row = (await organizations_called(database, [reference])).get(reference)
    return (wanted, *({row.slug, str(row.id)} - {wanted})) if row else (wanted,)

"""The routes of the API, a file for each subject: what comes in, who may, which service answers. No rules here."""

from __future__ import annotations

from voxplane.server.api import (
    access,
    audit,
    catalogue,
    history,
    import_notice,
    lists,
    organizations,
    providers,
    secrets,
    sign_in,
    verification,
    workers,
)
from voxplane.server.door import Guarded

_SUBJECTS = (
    catalogue,
    providers,
    secrets,
    verification,
    lists,
    history,
    audit,
    import_notice,
    workers,
    access,
    sign_in,
    organizations,
)


def routes() -> list[Guarded]:
    """Return the API's routes, each with its policy."""
    return [route for subject in _SUBJECTS for route in subject.router.routes if isinstance(route, Guarded)]

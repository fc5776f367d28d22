"""What is given out to workers of many organizations at one moment is put on record together, and by organization."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

import anyio
import psycopg
import pytest

from tests.conftest import Template, admin_connection
from tests.test_audit import Ledger, ledger_of
from tests.test_changes import until
from tests.test_resolve import held, waiting
from tests.test_statements import noted_statements
from voxplane.errors import InvalidRequest, OrganizationNotFound, Unavailable, VoxplaneError
from voxplane.schemas import OrganizationCreate
from voxplane.server import releases
from voxplane.server.auth import Principal, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.releases import Releases

Superuser = psycopg.Connection[tuple[object, ...]]
OPERATOR = local_administrator(None, "test")
SLUGS = tuple(f"org-{number}" for number in range(8))
_RELEASES = "SELECT organization_id, count(*) FROM audit_events WHERE action = 'secrets.release' GROUP BY 1"


@dataclass
class Town:
    """Several organizations, and the record of what their workers get."""

    plane: ControlPlane
    ids: dict[str, UUID]
    ledger: Ledger
    superuser: Superuser
    done: list[str] = field(default_factory=list[str])
    errors: dict[str, VoxplaneError] = field(default_factory=dict[str, VoxplaneError])

    @property
    def kept(self) -> Releases:
        """What keeps the record."""
        return self.plane.workers._releases  # pyright: ignore[reportPrivateUsage] - the way in without HTTP

    async def give(self, slug: str, subject: str = "token:x") -> None:
        """Put on record what a worker of one organization gets."""
        worker = Principal(subject, "w", "token", self.ids[slug], frozenset({Scope.WORKER_RESOLVE}))
        unsealed = self.plane.workers._keys  # pyright: ignore[reportPrivateUsage] - as above
        try:
            await self.kept.record(worker, unsealed, "llm", {"revision": 1, "providers": {}})
            self.done.append(slug)
        except VoxplaneError as error:
            self.errors[slug] = error

    def recorded(self) -> dict[str, int]:
        """Count what is on record, by slug."""
        slugs = {organization_id: slug for slug, organization_id in self.ids.items()}
        rows = self.superuser.execute(_RELEASES).fetchall()
        return {slugs[found]: count for found, count in rows if isinstance(found, UUID) and isinstance(count, int)}


@pytest.fixture
async def town(plane: ControlPlane, superuser: Superuser, template: Template) -> AsyncIterator[Town]:
    ids: dict[str, UUID] = {}
    for slug in SLUGS:
        made = await plane.access.create_organization(OPERATOR, OrganizationCreate(slug=slug, name=slug))
        ids[slug] = made.id
    found = Town(plane, ids, ledger_of(superuser, template), superuser)
    yield found
    assert found.ledger.is_whole()


async def test_those_of_many_organizations_leave_in_one_transaction(
    town: Town, postgres: EmbeddedPostgres, database: str, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = noted_statements(monkeypatch)
    async with anyio.create_task_group() as group:
        with held(postgres, database):
            group.start_soon(town.give, SLUGS[0])
            await until(lambda: waiting(superuser) == 1)
            for slug in SLUGS * 2:
                group.start_soon(town.give, slug)
            await anyio.wait_all_tasks_blocked()
            assert (town.done, town.recorded()) == ([], {})
    assert town.recorded() == dict.fromkeys(SLUGS, 2) | {SLUGS[0]: 3}
    assert len(town.done) == 1 + 2 * len(SLUGS)
    # One look at where all of them stand for the first, and one for all the others.
    assert sum("id = ANY" in each for each in statements) == 2
    assert sum("INSERT INTO audit_events" in each for each in statements) == 1 + len(SLUGS)


async def test_nobody_waits_for_the_log_of_another_organization(
    town: Town, postgres: EmbeddedPostgres, database: str, superuser: Superuser
) -> None:
    async with anyio.create_task_group() as group:
        with admin_connection(postgres, database) as other, other.transaction():
            other.execute("SELECT 1 FROM organizations WHERE slug = %s FOR UPDATE", [SLUGS[0]])
            for slug in SLUGS:
                group.start_soon(town.give, slug)
            await until(lambda: len(town.done) == len(SLUGS) - 1 and waiting(superuser) == 1)
            # Who comes later waits in the same line, and the others still do not.
            for slug in SLUGS[:2]:
                group.start_soon(town.give, slug)
            await until(lambda: len(town.done) == len(SLUGS))
            assert waiting(superuser) == 1
            assert SLUGS[0] not in town.recorded()
    assert town.recorded() == dict.fromkeys(SLUGS, 1) | dict.fromkeys(SLUGS[:2], 2)
    assert not town.errors


async def test_a_log_that_grew_since_it_was_looked_at_gets_its_row_behind(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another process was quicker."""
    await town.give(SLUGS[0])
    look, stale = releases.audit_ends, dict[UUID, tuple[int, bytes]]()

    async def as_it_was(*arguments: object) -> dict[UUID, tuple[int, bytes]]:
        stale.update(await look(*arguments) if not stale else {})  # pyright: ignore[reportArgumentType] - passed on
        return stale

    monkeypatch.setattr(releases, "audit_ends", as_it_was)
    for _ in range(3):
        await town.give(SLUGS[0])
    assert town.recorded() == {SLUGS[0]: 4}


async def test_what_one_of_them_brought_on_is_nothing_to_the_others(
    town: Town, postgres: EmbeddedPostgres, database: str, superuser: Superuser
) -> None:
    town.ids["gone"] = UUID(int=1)
    async with anyio.create_task_group() as group:
        with held(postgres, database):
            group.start_soon(town.give, SLUGS[0])
            await until(lambda: waiting(superuser) == 1)
            group.start_soon(town.give, SLUGS[1], "token:\x00")
            group.start_soon(town.give, SLUGS[2])
            group.start_soon(town.give, "gone")
            await anyio.wait_all_tasks_blocked()
    assert town.recorded() == dict.fromkeys((SLUGS[0], SLUGS[2]), 1)
    assert {slug: type(error) for slug, error in town.errors.items()} == {
        SLUGS[1]: InvalidRequest,
        "gone": OrganizationNotFound,
    }


async def test_a_log_that_somebody_tampered_with_takes_no_row_and_stops_nobody_else(
    town: Town, postgres: EmbeddedPostgres, database: str, superuser: Superuser
) -> None:
    superuser.execute("UPDATE organizations SET audit_seq = 0 WHERE slug = %s", [SLUGS[1]])
    async with anyio.create_task_group() as group:
        with held(postgres, database):
            group.start_soon(town.give, SLUGS[0])
            await until(lambda: waiting(superuser) == 1)
            for slug in SLUGS[1:3]:
                group.start_soon(town.give, slug)
            await anyio.wait_all_tasks_blocked()
    assert town.recorded() == dict.fromkeys((SLUGS[0], SLUGS[2]), 1)
    assert {slug: type(error) for slug, error in town.errors.items()} == {SLUGS[1]: Unavailable}
    superuser.execute("UPDATE organizations SET audit_seq = 1 WHERE slug = %s", [SLUGS[1]])
    await town.give(SLUGS[1])
    assert town.recorded() == dict.fromkeys(SLUGS[:3], 1)

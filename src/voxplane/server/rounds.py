"""Many tests at once: all providers of one organization now, or those of every organization from time to time."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio
import structlog

from voxplane.errors import Invalid, RateLimited, VoxplaneError
from voxplane.schemas.verification import VerificationResult, VerificationWrite
from voxplane.schemas.wire import Wire
from voxplane.server.auth import Principal, Scope
from voxplane.server.crash import crash

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from voxplane.schemas import OrganizationProvider
    from voxplane.server.control_plane import ControlPlane

MAX_PER_ROUND = 1000
"""How many providers one round of the schedule tests at most; those that were tested longest ago come first."""
_PAUSE_SECONDS = 2.0
_ORGANIZATIONS_AT_A_TIME = 100

log = structlog.get_logger("voxplane")


class Tried(Wire):
    """What came of the test of one provider: a result, or the reason why there is none."""

    provider: str
    name: str
    result: VerificationResult | None = None
    problem: str | None = None


class Round(Wire):
    """The tests of an organization's providers."""

    providers: tuple[Tried, ...]


async def verify_each(
    plane: ControlPlane, who: Principal, keys: Sequence[str], tell: Callable[[Tried], None] = lambda _tried: None
) -> Round:
    """Test these providers as they are saved, all at once, and tell of each as it ends. Raises nothing of one of them.

    A round names each provider once and takes one of the organization's tests of a minute, however many it asks:
    where none is left, it waits until there is one again.
    """
    await _allowed(plane, who)
    tried: dict[str, Tried] = {}

    async def one(key: str) -> None:
        tried[key] = await _try(plane, who, key)
        tell(tried[key])

    async with anyio.create_task_group() as group:
        for key in keys:
            group.start_soon(one, key)
    return Round(providers=tuple(tried[key] for key in keys))


async def _allowed(plane: ControlPlane, who: Principal) -> None:
    while True:
        try:
            plane.verification.allow(who.tenant)
        except RateLimited as error:
            await anyio.sleep(error.retry_after_seconds or 1)
        else:
            return


async def _try(plane: ControlPlane, who: Principal, key: str) -> Tried:
    name = plane.registry.get_provider_by_key(key).name
    try:
        result = await plane.verification.verify(who, key, VerificationWrite(), is_allowed=True)
    except Invalid as error:
        wrong = "; ".join(f"{each.pointer.rpartition('/')[2]}: {each.message}" for each in error.errors)
        return Tried(provider=key, name=name, problem=f"The settings are not valid. {wrong}")
    except VoxplaneError as error:
        return Tried(provider=key, name=name, problem=error.message)
    return Tried(provider=key, name=name, result=result)


async def keep_testing(plane: ControlPlane, hours: float) -> None:
    """Test enabled cloud providers again that were last tested longer ago than this, until cancelled.

    Rounds begin at moments of chance, so that instances and installations do not ask a vendor all at once; between
    two tests there is a pause.
    """
    while True:
        await anyio.sleep(random.uniform(0.5, 1.0) * hours * 1800)  # noqa: S311 - spreads load
        try:
            await verify_what_is_due(plane, timedelta(hours=hours), _PAUSE_SECONDS)
        except VoxplaneError as error:
            log.warning("a round of tests ended early", code=error.code)
        except Exception as error:  # noqa: BLE001 - tests beside the service are no reason to end it
            log.error("a round of tests crashed", **crash(error))  # noqa: TRY400 - a traceback can hold values


async def verify_what_is_due(plane: ControlPlane, age: timedelta, pause_seconds: float) -> int:
    """Test what was last tested longer than `age` ago, oldest first, and return how many providers that were."""
    if plane.providers.is_sealed:
        return 0
    before = datetime.now(UTC) - age
    due = [each for organization in await _organizations(plane) for each in await _due(plane, organization, before)]
    due.sort(key=lambda each: each[0])
    for _, organization, key in due[:MAX_PER_ROUND]:
        try:
            # The tests of a minute are people's: the schedule takes none of them.
            await plane.verification.verify(_scheduler(organization), key, VerificationWrite(), is_allowed=True)
        except VoxplaneError as error:
            log.info("a scheduled test was not made", provider=key, code=error.code)
        except Exception as error:  # noqa: BLE001 - one provider is not to keep the others from being tested
            log.error("a scheduled test crashed", provider=key, **crash(error))  # noqa: TRY400 - as above
        await anyio.sleep(random.uniform(0, pause_seconds))  # noqa: S311 - spreads load
    return len(due[:MAX_PER_ROUND])


async def _organizations(plane: ControlPlane) -> list[UUID]:
    found: list[UUID] = []
    after = ""
    while page := (await plane.access.get_organizations(after=after, limit=_ORGANIZATIONS_AT_A_TIME)).organizations:
        found += [each.id for each in page]
        after = page[-1].slug
    return found


async def _due(plane: ControlPlane, organization: UUID, before: datetime) -> list[tuple[datetime, UUID, str]]:
    shown = (await plane.providers.get_organization_providers(_scheduler(organization), enabled=True)).providers
    return [
        (at, organization, each.provider.key)
        for each in shown
        if each.usable and each.provider.hosting == "cloud" and (at := _tested_at(each)) < before
    ]


def _tested_at(shown: OrganizationProvider) -> datetime:
    return shown.verification.checked_at if shown.verification else datetime.min.replace(tzinfo=UTC)


def _scheduler(organization: UUID) -> Principal:
    scopes = frozenset({Scope.LIVEKIT_READ, Scope.LIVEKIT_WRITE, Scope.ADMIN_SECRETS})
    return Principal("local:schedule", "schedule", "local", organization, scopes)

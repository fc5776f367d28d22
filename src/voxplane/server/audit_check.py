"""The audit log checked from end to end: every row of every organization, its end, and what anchors say of it.

A chain shows by itself what was altered within it. That its end was cut off shows on the organization's own row, and,
against somebody who changed that as well or put back a whole database, on anchors that were kept elsewhere.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from voxplane.errors import ConfigurationError
from voxplane.schemas.audit import AuditAnchor, AuditBreak, AuditCheck
from voxplane.server.audit import Chain
from voxplane.server.audit_store import AuditHead, AuditStore, audit_heads

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
    from datetime import datetime

    from voxplane.server.database import Database
    from voxplane.server.envelope import AnchorKey

_HEADS = 1000
_ROWS = 2000
_NONE_IS_OURS = "None of the anchors is one that this installation signed."
Anchored = dict[int, set[str]]
"""What anchors say that a row's hash is, by its number: one, unless the log was put back between two of them."""
Heads = dict[UUID, tuple[int, str]]
"""By organization, the number and the hash of the last row of its log."""


def anchor(key: AnchorKey, at: datetime, heads: Heads, *, is_whole: bool = True) -> AuditAnchor:
    """Return where logs stand, signed."""
    rows = sum(seq for seq, _ in heads.values())
    unsigned = AuditAnchor(at=at, is_whole=is_whole, rows=rows, heads=heads, public_key=key.public.hex())
    return unsigned.model_copy(update={"signature": key.sign(unsigned.signed_content()).hex()})


async def heads(database: Database) -> Heads:
    """Return where every organization says that its log ends."""
    return {head.id: (head.audit_seq, head.audit_hash.hex()) async for head in _heads(database)}


async def ends(database: Database, organizations: Iterable[UUID]) -> Heads:
    """Return where the logs of organizations end by their rows, whatever the organizations say; a look into each."""
    found: Heads = {}
    for organization_id in organizations:
        async with database.transaction(organization_id=organization_id) as connection:
            row = await AuditStore(connection, organization_id).end()
        if row is not None:
            found[organization_id] = row
    return found


@dataclass(frozen=True)
class AnchorSet:
    """What anchors say together."""

    count: int
    heads: Mapping[UUID, Anchored]
    foreign: tuple[int, ...] = ()
    """The numbers of lines that are no anchors of this installation. Anybody may have added these."""


def read_anchors(key: AnchorKey, lines: Iterable[str]) -> AnchorSet:
    """Read anchors, and pass over what is none.

    Raises:
        ConfigurationError: there are lines, and none of them is an anchor of this installation.
    """
    found: defaultdict[UUID, Anchored] = defaultdict(dict)
    foreign: list[int] = []
    count = 0
    for number, line in enumerate(lines, start=1):
        each = _read_anchor(key, line)
        if each is None:
            foreign.append(number)
            continue
        count += 1
        for organization_id, (seq, row_hash) in each.heads.items():
            found[organization_id].setdefault(seq, set()).add(row_hash)
    if foreign and not count:
        raise ConfigurationError(_NONE_IS_OURS)
    return AnchorSet(count, dict(found), tuple(foreign))


def newest_anchor(key: AnchorKey, lines: Iterable[str]) -> AuditAnchor | None:
    """Put the newest anchors together, as far back as one that names all organizations; None when there is none.

    `lines` come with the newest first. What is no anchor of this installation is passed over: a line that anybody
    adds must not hide what was anchored before it.

    Raises:
        ConfigurationError: there are lines, and none of them is an anchor of this installation.
    """
    newest: AuditAnchor | None = None
    heads: Heads = {}
    is_empty = True
    for line in lines:
        is_empty = False
        each = _read_anchor(key, line)
        if each is None:
            continue
        newest = newest or each
        heads = furthest(heads, each.heads)
        if each.is_whole:
            break
    if newest is None and not is_empty:
        raise ConfigurationError(_NONE_IS_OURS)
    return newest and newest.model_copy(update={"heads": heads})


def furthest(some: Heads, others: Heads) -> Heads:
    """Return how far each log went by either; `some` say of which row where both name the same."""
    return dict(others) | {each: head for each, head in some.items() if head[0] >= others.get(each, (0, ""))[0]}


def behind(anchored: Heads, now: Heads) -> list[UUID]:
    """Return the organizations whose log ends before what was anchored, or in another row, or that are gone.

    Whoever put an older database back and had it grow past the anchor since is found by `check` alone.
    """
    return [
        organization_id
        for organization_id, (seq, row_hash) in anchored.items()
        if (found := now.get(organization_id, (0, "")))[0] < seq or (found[0] == seq > 0 and found[1] != row_hash)
    ]


def _read_anchor(key: AnchorKey, line: str) -> AuditAnchor | None:
    """Return the anchor on a line; None when it is none, or none of this installation."""
    try:
        anchored = AuditAnchor.model_validate_json(line)
        is_ours = key.is_signed(anchored.signed_content(), bytes.fromhex(anchored.signature))
    except ValueError:  # Pydantic's errors are of this kind too
        return None
    return anchored if is_ours else None


async def check(
    database: Database,
    audit_key: bytes,
    anchors: AnchorSet,
    progress: Callable[[int, int], None],
) -> AuditCheck:
    """Check every organization's log; `progress` is told how many more organizations and rows are behind."""
    anchored = anchors.heads
    breaks: list[AuditBreak] = []
    rows = 0
    seen: set[UUID] = set()
    async for head in _heads(database):
        seen.add(head.id)
        chain = Chain(audit_key)
        broken = await _broken(database, chain, head, anchored.get(head.id, {}), progress)
        breaks += [broken] if broken else []
        rows += chain.seq
        progress(1, 0)
    breaks += [
        AuditBreak(organization=str(gone), seq=1, problem="cut_off")
        for gone, heads in anchored.items()
        if gone not in seen and max(heads) > 0
    ]
    return AuditCheck(
        organizations=len(seen), rows=rows, anchors=anchors.count, foreign_lines=anchors.foreign, breaks=tuple(breaks)
    )


async def _broken(
    database: Database, chain: Chain, head: AuditHead, anchored: Anchored, progress: Callable[[int, int], None]
) -> AuditBreak | None:
    """Return the first thing that is wrong with one organization's log."""
    while True:
        async with database.transaction(organization_id=head.id) as connection:
            page = await AuditStore(connection, head.id).chain(chain.seq, _ROWS)
        for row in page:
            if not chain.take_text(*row):
                return AuditBreak(organization=head.slug, seq=chain.seq + 1, problem="altered")
            if chain.seq in anchored and anchored[chain.seq] != {chain.hash.hex()}:
                return AuditBreak(organization=head.slug, seq=chain.seq, problem="not_as_anchored")
            if chain.seq == head.audit_seq and chain.hash != head.audit_hash:
                return AuditBreak(organization=head.slug, seq=chain.seq, problem="altered")
        progress(0, len(page))
        if len(page) < _ROWS:
            break
    if chain.seq < max(head.audit_seq, *anchored, 0):
        return AuditBreak(organization=head.slug, seq=chain.seq + 1, problem="cut_off")
    return None


async def _heads(database: Database) -> AsyncGenerator[AuditHead]:
    after = UUID(int=0)
    while True:
        async with database.transaction(platform=True) as connection:
            page = await audit_heads(connection, after, _HEADS)
        for head in page:
            yield head
        if len(page) < _HEADS:
            return
        after = page[-1].id

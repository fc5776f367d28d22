"""The audit log: one chain per organization, each row sealed to the one before it.

`hash = HMAC-SHA256(audit key, previous hash + canonical row)`. The key is outside the database, so not even its
superuser can rewrite history unnoticed.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID


# Made once: json.dumps would make a new one for each row. What is read from JSON, or becomes it, has no circles.
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False).encode
_parse = json.JSONDecoder().raw_decode


@dataclass(frozen=True, kw_only=True)
class AuditEvent:
    """Who did what to what, with which outcome. Holds names and numbers, never a value of a secret."""

    organization_id: UUID
    seq: int
    at: datetime
    actor: str
    action: str
    target: str
    outcome: str
    request_id: str | None
    detail: dict[str, Any]


@dataclass(frozen=True)
class ChainedEvent:
    """An event with its place in the chain."""

    event: AuditEvent
    prev_hash: bytes
    hash: bytes


def chained(key: bytes, prev_hash: bytes, events: Sequence[AuditEvent]) -> list[ChainedEvent]:
    """Put events, in their order, behind the one with `prev_hash`."""
    rows: list[ChainedEvent] = []
    for event in events:
        event_hash = chain_hash(key, prev_hash, event)
        rows.append(ChainedEvent(event, prev_hash, event_hash))
        prev_hash = event_hash
    return rows


def chain_hash(key: bytes, prev_hash: bytes, event: AuditEvent) -> bytes:
    """Return the hash of an event that follows the one with `prev_hash`."""
    return _hash(_keyed(key), prev_hash, _text_of(event))


def _text_of(event: AuditEvent) -> str:
    columns = (event.actor, event.action, event.target, event.outcome, event.request_id)
    return row_text(str(event.organization_id), event.seq, event.at, columns, _canonical(event.detail))


def row_text(organization_id: str, seq: int, at: datetime, columns: Iterable[str | None], detail: str) -> str:
    """Return what is hashed of a row: a JSON array of its columns without spaces, `detail` with sorted names.

    `columns` are actor, action, target, outcome and request id, and `detail` is JSON already.
    """
    texts = ",".join(["null" if each is None else encode_basestring(each) for each in columns])
    return f'["{organization_id}",{seq},"{at.isoformat()}",{texts},{detail}]'


@lru_cache(maxsize=1024)
def canonical_detail(stored: str) -> str:
    """Return a stored `detail` as it is hashed. Releases, most of a log, repeat theirs."""
    return _canonical(_parse(stored)[0])


def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod="sha256")


def _hash(keyed: hmac.HMAC, prev_hash: bytes, text: str) -> bytes:
    # A copy saves the half of the work that is the key's alone.
    row = keyed.copy()
    row.update(prev_hash + text.encode())
    return row.digest()


def first_broken(key: bytes, rows: Iterable[tuple[AuditEvent, bytes, bytes]]) -> int | None:
    """Return the `seq` of the first row that does not follow from its predecessors, or None.

    `rows` are `(event, prev_hash, hash)` of one organization from its first on.
    """
    chain = Chain(key)
    return None if all(chain.take(*row) for row in rows) else chain.seq + 1


class Chain:
    """One organization's rows, checked as they come, from the first on."""

    def __init__(self, key: bytes) -> None:
        """Begin before the first row."""
        self._keyed = _keyed(key)
        self.seq = 0
        """The number of the last row that holds."""
        self.hash = b""

    def take(self, event: AuditEvent, prev_hash: bytes, stored: bytes) -> bool:
        """Return whether the next row follows from those before it."""
        return self.take_text(event.seq, _text_of(event), prev_hash, stored)

    def take_text(self, seq: int, text: str, prev_hash: bytes, stored: bytes) -> bool:
        """Return whether the next row, as `row_text` writes it, follows from those before it."""
        fits = seq == self.seq + 1 and prev_hash == self.hash
        if not fits or not hmac.compare_digest(stored, _hash(self._keyed, self.hash, text)):
            return False
        self.seq, self.hash = seq, stored
        return True

"""What travels about the audit log."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from voxplane.schemas import JsonObject, Wire
from voxplane.schemas.history import Actor


class AuditRecord(Wire):
    """One row of the audit log: who did what to what, with which outcome. No value of a secret or setting is in it."""

    seq: int = Field(description="Its place in the organization's log, from 1 on without gaps.")
    at: datetime
    actor: Actor
    action: str = Field(examples=["config.put", "secrets.release"])
    target: str = Field(description="What it was done to, such as a provider's key or a token's id.")
    outcome: str = Field(description="`success` or `denied`.")
    request_id: str | None
    detail: JsonObject


class AuditRecords(Wire):
    """A page of the audit log, newest first."""

    records: tuple[AuditRecord, ...]
    next_before: int | None = Field(description="The `before` of the next page; null when there is none.")

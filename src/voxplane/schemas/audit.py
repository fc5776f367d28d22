"""What travels about the audit log."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from voxplane.schemas.history import Actor
from voxplane.schemas.wire import JsonObject, Wire

ACTIONS = (
    *("config.put", "config.restore", "config.delete", "order.put"),
    *("secrets.put", "secrets.delete", "secrets.release"),
    *("token.create", "token.revoke", "organization.create", "organization.rename"),
    *("legacy.import", "legacy.finish", "denials.collapsed"),
)
"""What can be done. A reading that was refused is on record under its route's name besides."""


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


class AuditAnchor(Wire):
    """Where every organization's audit log stood at one moment, signed by the installation.

    Kept where whoever writes the database does not write, it shows that the end of a log, or the whole database, was
    put back.
    """

    version: Literal[1] = 1
    at: datetime
    is_whole: bool = Field(
        default=True, description="Whether it names every organization, or those whose log grew since an earlier one."
    )
    rows: int = Field(description="Of all organizations that it names together.")
    heads: dict[UUID, tuple[int, str]] = Field(
        description="By organization: the number of its last row, and that row's hash in hexadecimal digits."
    )
    public_key: str = Field(description="The installation's Ed25519 key, in hexadecimal digits.")
    signature: str = Field(default="", description="Ed25519, of all the rest; see the page on security.")

    def signed_content(self) -> bytes:
        """Return what the signature is of: everything else, as JSON with sorted names and without spaces."""
        document = self.model_dump(mode="json", by_alias=True, exclude={"signature"})
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


class AuditBreak(Wire):
    """Where the audit log of one organization no longer holds."""

    organization: str = Field(description="Its slug, or its id when there is no such organization any more.")
    seq: int = Field(description="The first row that is altered or missing.")
    problem: Literal["altered", "cut_off", "not_as_anchored"]


class AuditCheck(Wire):
    """What came of checking the audit log of every organization."""

    organizations: int
    rows: int
    anchors: int
    foreign_lines: tuple[int, ...] = Field(
        default=(),
        description="Lines among the anchors that are none of this installation; anybody may have added them.",
    )
    breaks: tuple[AuditBreak, ...] = Field(description="The first one of each organization; empty when all hold.")


class AuditGlance(Wire):
    """What came of holding the ends of all audit logs against the newest anchors, without reading the logs."""

    anchored_at: datetime
    organizations: int = Field(description="How many they name.")
    behind: tuple[UUID, ...] = Field(
        description="Organizations whose log ends before, or in another row than, what was anchored, or that are gone: "
        "the end of the log was cut off, or the whole database is an older one."
    )

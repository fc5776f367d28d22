"""The audit log as a file: JSON Lines for programs, CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from voxplane.schemas.audit import AuditRecord

JSON_LINES = "application/x-ndjson"
CSV = "text/csv"
_COLUMNS = ("seq", "at", "actor", "name", "action", "target", "outcome", "requestId", "detail")
# A spreadsheet takes a cell that begins with one of these for a formula, and runs it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


async def json_lines(pages: AsyncIterator[tuple[AuditRecord, ...]]) -> AsyncGenerator[bytes]:
    """Yield a line for each record, as the API shows it."""
    async for page in pages:
        yield "".join(f"{record.model_dump_json(by_alias=True)}\n" for record in page).encode()


async def comma_separated(pages: AsyncIterator[tuple[AuditRecord, ...]]) -> AsyncGenerator[bytes]:
    """Yield a line of names, then one for each record (RFC 4180); a cell is text to a spreadsheet, never a formula."""
    yield _lines([_COLUMNS])
    async for page in pages:
        yield _lines([_cells(record) for record in page])


def _cells(record: AuditRecord) -> tuple[str, ...]:
    return (
        str(record.seq),
        record.at.isoformat(),
        record.actor.subject,
        record.actor.name,
        record.action,
        record.target,
        record.outcome,
        record.request_id or "",
        json.dumps(record.detail, ensure_ascii=False, sort_keys=True),
    )


def _lines(rows: list[tuple[str, ...]]) -> bytes:
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows([_harmless(cell) for cell in row] for row in rows)
    return written.getvalue().encode()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell

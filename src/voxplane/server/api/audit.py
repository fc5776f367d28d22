"""The route of the audit log: pages for people, files for programs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Query
from fastapi.requests import Request
from fastapi.responses import Response, StreamingResponse
from pydantic import AwareDatetime, BeforeValidator
from pydantic.json_schema import SkipJsonSchema

from voxplane import errors
from voxplane.schemas.audit import AuditRecords
from voxplane.server import audit_export
from voxplane.server.api.route import NO_STORE, READING, OrganizationPath, answer, new_router
from voxplane.server.audit_store import AuditFilter
from voxplane.server.door import Auditor, plane_of
from voxplane.server.problem import problem_responses

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

router = new_router()


def _written_out(moment: object) -> object:
    if isinstance(moment, str) and not re.match(r"\d{4}-\d\d-\d\d", moment):
        raise ValueError("write a date and a time, such as 2026-11-28T09:00:00Z")
    return moment


# Pydantic would take a number for the seconds since 1970.
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
# PostgreSQL holds no text with a NUL in it.
_TEXT: dict[str, Any] = {"max_length": 200, "pattern": r"^[^\x00]*$"}
_FILES = {
    "jsonl": (audit_export.JSON_LINES, audit_export.json_lines),
    "csv": (audit_export.CSV, audit_export.comma_separated),
}


@router.get(
    "/organizations/{organization}/audit",
    tags=["audit"],
    summary="Read the audit log, newest first; without `audit:read`, what one did oneself",
    response_model=AuditRecords,
    responses={
        200: {
            "description": "A page, or with `format` (or `Accept`) all records as a file.",
            "content": {media_type: {"schema": {"type": "string"}} for media_type, _ in _FILES.values()},
        }
    }
    | problem_responses(*READING, errors.Invalid),
)
async def get_audit(
    request: Request,
    auditor: Auditor,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    actor: Annotated[str | SkipJsonSchema[None], Query(**_TEXT, description="Whose, by `actor.subject`.")] = None,
    action: Annotated[str | SkipJsonSchema[None], Query(**_TEXT, examples=["config.put"])] = None,
    target: Annotated[str | SkipJsonSchema[None], Query(**_TEXT, examples=["openai"])] = None,
    purpose: Annotated[
        Literal["worker", "verification", "list"] | SkipJsonSchema[None],
        Query(description="Of keys that were given out: to a worker, for a test, or for a list of models or voices."),
    ] = None,
    outcome: Annotated[Literal["success", "denied"] | SkipJsonSchema[None], Query()] = None,
    since: Annotated[Moment | SkipJsonSchema[None], Query(description="From this moment on.")] = None,
    until: Annotated[Moment | SkipJsonSchema[None], Query(description="Before this moment.")] = None,
    before: Annotated[
        int | SkipJsonSchema[None], Query(ge=1, lt=2**63, description="Of a page: only what is older than this `seq`.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Of a page: how many records at most.")] = 50,
    file_format: Annotated[
        Literal["json", "jsonl", "csv"] | SkipJsonSchema[None],
        Query(alias="format", description="`jsonl` and `csv` are all records as a file. `Accept` says it too."),
    ] = None,
) -> Response:
    log = plane_of(request).audit
    wanted = AuditFilter(
        actor=actor, action=action, target=target, purpose=purpose, outcome=outcome, since=since, until=until
    )
    wanted_file = _FILES.get(file_format or _accepted(request))
    if wanted_file is None:
        return answer(await log.get_records(auditor, wanted, before=before, limit=limit))
    media_type, written = wanted_file
    lines = written(log.pages(auditor, wanted))
    # What fails at the first page is still answered as an error.
    first = await anext(lines)
    name = f"audit.{'csv' if media_type == audit_export.CSV else 'jsonl'}"
    headers = {**NO_STORE, "Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_from(first, lines), headers=headers, media_type=media_type)


def _accepted(request: Request) -> str:
    """Return the format that the caller's Accept header asks for first; a page, unless it names a file's."""
    for part in request.headers.get("accept", "").split(","):
        media_type = part.partition(";")[0].strip().lower()
        for name, (offered, _) in _FILES.items():
            if media_type == offered:
                return name
    return "json"


async def _from(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    yield first
    async for more in rest:
        yield more

"""The routes of what the import from the old system left to a person."""

from __future__ import annotations

from fastapi.requests import Request
from fastapi.responses import Response

from voxplane import errors
from voxplane.schemas.import_notice import ImportNotice
from voxplane.server.api.route import DONE, READING, OrganizationPath, answer, new_router
from voxplane.server.door import IfMatch, Reader, Writer, plane_of
from voxplane.server.problem import problem_responses

router = new_router()


@router.get(
    "/organizations/{organization}/import-notice",
    tags=["organizations"],
    summary="Show what the import from the old system left to a person",
    response_model=ImportNotice,
    responses=problem_responses(*READING, errors.Invalid),
)
async def get_import_notice(
    request: Request,
    reader: Reader,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
) -> Response:
    notice = await plane_of(request).import_notices.get_notice(reader)
    return answer(notice, etag=notice.etag)


@router.delete(
    "/organizations/{organization}/import-notice",
    tags=["organizations"],
    summary="Say that what the import left is done: it is no longer shown",
    status_code=204,
    responses=DONE
    | problem_responses(
        *READING, errors.RevisionConflict, errors.PreconditionRequired, errors.KeyUnavailable, errors.Invalid
    ),
)
async def finish_import_notice(
    request: Request,
    writer: Writer,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    if_match: IfMatch,
) -> Response:
    await plane_of(request).import_notices.finish_notice(writer, if_match=if_match)
    return Response(status_code=204)

"""The routes of workers: resolve, follow changes, report."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

from fastapi import Header
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic.json_schema import SkipJsonSchema

from voxplane import errors
from voxplane.schemas import (
    ReportsWrite,
    Resolution,
    ResolutionRequest,
)
from voxplane.server import examples, stream
from voxplane.server.api.route import (
    DONE,
    NO_STORE,
    READING,
    WRITING,
    OrganizationPath,
    answer,
    new_router,
)
from voxplane.server.door import (
    FOLLOWING,
    Follower,
    Worker,
    body_of,
    plane_of,
    recognise,
)
from voxplane.server.problem import problem_responses

router = new_router()


@router.post(
    "/organizations/{organization}/resolve",
    tags=["workers"],
    summary="Give a worker the providers that answer, with their secrets",
    response_model=Resolution,
    responses={204: {"description": "What the worker has is what stands."}} | problem_responses(*WRITING),
    openapi_extra=examples.body(ResolutionRequest, examples.RESOLUTION),
)
async def resolve(
    request: Request,
    worker: Worker,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    wanted: Annotated[ResolutionRequest, body_of(ResolutionRequest)],
) -> Response:
    request.state.is_read = True
    found = await plane_of(request).workers.resolve(worker, wanted)
    return Response(status_code=204, headers=NO_STORE) if found is None else answer(found)


@router.get(
    "/organizations/{organization}/changes",
    tags=["workers"],
    summary="Follow the organization's changes as server-sent events: ids, never data",
    response_class=Response,
    responses={
        200: {
            "description": "Events `change`, `reset`, `health`, `heartbeat` and `bye`; see the page on workers.",
            "content": {stream.MEDIA_TYPE: {"schema": {"type": "string"}}},
        }
    }
    | problem_responses(*READING, errors.RateLimited, errors.Invalid),
)
async def changes(
    request: Request,
    follower: Follower,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    last_event_id: Annotated[
        str | SkipJsonSchema[None], Header(alias="Last-Event-ID", description="The last `id` that was received.")
    ] = None,
) -> Response:
    plane = plane_of(request)
    stack = ExitStack()
    try:
        subscription = stack.enter_context(plane.changes.subscribe(follower.tenant))
        at = await plane.workers.position(follower, last_event_id)
    except BaseException:
        stack.close()
        raise

    async def let_in() -> None:
        await recognise(request, *FOLLOWING)

    found = stream.events(subscription, at, last_event_id, let_in, plane.settings.stream_heartbeat_seconds)
    return stream.EventStream(found, stack)


@router.post(
    "/organizations/{organization}/reports",
    tags=["workers"],
    summary="Say what a worker saw of its providers",
    status_code=204,
    responses=DONE
    | problem_responses(*[error for error in WRITING if error is not errors.KeyUnavailable], errors.RateLimited),
    openapi_extra=examples.body(ReportsWrite, examples.REPORTS),
)
async def report(
    request: Request,
    worker: Worker,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    said: Annotated[ReportsWrite, body_of(ReportsWrite)],
) -> Response:
    await plane_of(request).workers.report(worker, said)
    return Response(status_code=204)

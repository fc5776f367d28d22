"""The routes of platform administration: the organizations of an installation."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic.json_schema import SkipJsonSchema

from voxplane import errors
from voxplane.schemas import (
    Organization,
    OrganizationCreate,
    Organizations,
    Slug,
)
from voxplane.server import examples
from voxplane.server.api.route import (
    NOT_MODIFIED,
    WRITING,
    answer,
    fresh,
    new_router,
)
from voxplane.server.door import (
    Platform,
    body_of,
    plane_of,
)
from voxplane.server.problem import problem_responses

router = new_router()


@router.get(
    "/organizations",
    tags=["organizations"],
    summary="List the organizations of this installation",
    response_model=Organizations,
    responses=NOT_MODIFIED
    | problem_responses(errors.Unauthenticated, errors.PermissionDenied, errors.Unavailable, errors.Invalid),
)
async def list_organizations(
    request: Request,
    platform: Platform,  # noqa: ARG001 - the guard is what it is for
    after: Annotated[Slug | SkipJsonSchema[None], Query(description="The last slug of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    found = await plane_of(request).access.get_organizations(after=after or "", limit=limit)
    return fresh(request, found)


@router.post(
    "/organizations",
    tags=["organizations"],
    summary="Create an organization",
    status_code=201,
    response_model=Organization,
    responses=problem_responses(*WRITING, errors.OrganizationExists),
    openapi_extra=examples.body(OrganizationCreate, examples.ORGANIZATION),
)
async def create_organization(
    request: Request, platform: Platform, new: Annotated[OrganizationCreate, body_of(OrganizationCreate)]
) -> Response:
    return answer(await plane_of(request).access.create_organization(platform, new), 201)

"""The routes of whoever calls: tokens, who I am."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from fastapi.requests import Request
from fastapi.responses import Response

from voxplane import errors
from voxplane.schemas import (
    AccessTokenCreate,
    AccessTokens,
    CreatedAccessToken,
    Me,
)
from voxplane.server import examples
from voxplane.server.api.route import (
    DONE,
    NOT_MODIFIED,
    READING,
    WRITING,
    OrganizationPath,
    answer,
    fresh,
    new_router,
)
from voxplane.server.door import (
    Anyone,
    TokensAdmin,
    body_of,
    plane_of,
)
from voxplane.server.problem import problem_responses

router = new_router()


@router.get(
    "/organizations/{organization}/tokens",
    tags=["tokens"],
    summary="List the organization's access tokens",
    response_model=AccessTokens,
    responses=NOT_MODIFIED | problem_responses(*READING, errors.Invalid),
)
async def list_tokens(
    request: Request,
    admin: TokensAdmin,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
) -> Response:
    return fresh(request, await plane_of(request).access.get_tokens(admin))


@router.post(
    "/organizations/{organization}/tokens",
    tags=["tokens"],
    summary="Create an access token; its value is shown this once",
    status_code=201,
    response_model=CreatedAccessToken,
    responses=problem_responses(*WRITING, errors.Conflict),
    openapi_extra=examples.body(AccessTokenCreate, examples.TOKEN),
)
async def create_token(
    request: Request,
    admin: TokensAdmin,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    new: Annotated[AccessTokenCreate, body_of(AccessTokenCreate)],
) -> Response:
    return answer(await plane_of(request).access.create_token(admin, new), 201)


@router.delete(
    "/organizations/{organization}/tokens/{token}",
    tags=["tokens"],
    summary="Revoke an access token for good",
    status_code=204,
    responses=DONE | problem_responses(*READING, errors.TokenNotFound, errors.KeyUnavailable, errors.Invalid),
)
async def revoke_token(
    request: Request,
    admin: TokensAdmin,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    token: Annotated[str, Path(description="The token's id, as the list shows it.")],
) -> Response:
    await plane_of(request).access.revoke_token(admin, token)
    return Response(status_code=204)


@router.get(
    "/me",
    tags=["tokens"],
    summary="Show who the token stands for",
    response_model=Me,
    responses=problem_responses(errors.Unauthenticated, errors.Unavailable, errors.Invalid),
)
async def me(request: Request, caller: Anyone) -> Response:
    bound = None
    if caller.organization_id is not None:
        bound = await plane_of(request).access.get_organization(caller)
    shown = Me(
        subject=caller.subject,
        name=caller.name,
        kind=caller.kind,
        organization=bound,
        scopes=tuple(sorted(caller.scopes)),
    )
    return answer(shown)

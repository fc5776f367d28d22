"""The routes of a provider's history: what its settings were, and putting an older version back."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic.json_schema import SkipJsonSchema

from voxplane import errors
from voxplane.schemas import OrganizationProvider
from voxplane.schemas.history import ProviderHistory, Restoration
from voxplane.server import examples
from voxplane.server.api.route import (
    CHANGING,
    READING,
    WRITING,
    OrganizationPath,
    ProviderPath,
    answer,
    new_router,
)
from voxplane.server.door import IfMatch, Reader, Writer, body_of, plane_of
from voxplane.server.problem import problem_responses

router = new_router()


@router.get(
    "/organizations/{organization}/providers/{key}/history",
    tags=["history"],
    summary="Show what became of a provider's settings and secrets, newest first",
    response_model=ProviderHistory,
    responses=problem_responses(*READING, errors.ProviderNotFound, errors.Invalid),
)
async def get_history(
    request: Request,
    reader: Reader,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    key: ProviderPath,
    before: Annotated[
        int | SkipJsonSchema[None], Query(ge=1, lt=2**63, description="Only what is older than this revision.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="How many entries at most.")] = 50,
) -> Response:
    return answer(await plane_of(request).history.get_history(reader, key, before=before, limit=limit))


@router.post(
    "/organizations/{organization}/providers/{key}/restore",
    tags=["history"],
    summary="Put an older version of a provider's settings back, as a new one",
    response_model=OrganizationProvider,
    responses=problem_responses(
        *WRITING, *CHANGING, errors.VersionNotFound, errors.RestoreRefused, errors.DestinationChange
    ),
    openapi_extra=examples.body(Restoration, examples.RESTORATION),
)
async def restore(
    request: Request,
    writer: Writer,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    key: ProviderPath,
    wanted: Annotated[Restoration, body_of(Restoration)],
    if_match: IfMatch,
) -> Response:
    restored = await plane_of(request).providers.restore_organization_provider_config(
        writer, key, wanted, if_match=if_match
    )
    return answer(restored, etag=restored.etag)

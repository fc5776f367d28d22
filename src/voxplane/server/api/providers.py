"""The routes of an organization's providers: list, configure, order, and who answers first."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic.json_schema import SkipJsonSchema

from voxplane import errors
from voxplane.schemas import (
    ConfigWrite,
    Notices,
    OrderWrite,
    OrganizationProvider,
    OrganizationProviders,
    ProviderType,
)
from voxplane.server import examples
from voxplane.server.api.route import (
    CHANGING,
    DONE,
    NOT_MODIFIED,
    READING,
    WRITING,
    OrganizationPath,
    ProviderPath,
    TypeFilter,
    answer,
    fresh,
    new_router,
)
from voxplane.server.door import (
    IfMatch,
    Reader,
    Writer,
    body_of,
    plane_of,
)
from voxplane.server.problem import problem_responses

router = new_router()


@router.get(
    "/organizations/{organization}/providers",
    tags=["providers"],
    summary="List the organization's providers in rank order",
    response_model=OrganizationProviders,
    responses=NOT_MODIFIED | problem_responses(*READING, errors.Invalid),
)
async def list_organization_providers(
    request: Request,
    reader: Reader,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    provider_type: TypeFilter = None,
    enabled: Annotated[bool | SkipJsonSchema[None], Query(description="Only enabled, or only disabled ones.")] = None,
) -> Response:
    found = await plane_of(request).providers.get_organization_providers(reader, provider_type, enabled=enabled)
    return fresh(request, found)


@router.put(
    "/organizations/{organization}/providers/order",
    tags=["providers"],
    summary="Set the order in which the providers of one type answer",
    response_model=OrganizationProviders,
    responses=problem_responses(*WRITING, errors.RevisionConflict, errors.PreconditionRequired),
    openapi_extra=examples.body(OrderWrite, examples.ORDER),
)
async def order_organization_providers(
    request: Request,
    writer: Writer,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    provider_type: Annotated[ProviderType, Query(alias="type", description="Which type's order.")],
    order: Annotated[OrderWrite, body_of(OrderWrite)],
    if_match: IfMatch,
) -> Response:
    ordered = await plane_of(request).providers.order_organization_providers(
        writer, provider_type, order, if_match=if_match
    )
    return answer(ordered, etag=ordered.order_etags[provider_type])


@router.get(
    "/organizations/{organization}/providers/{type}/primary",
    tags=["providers"],
    summary="Show the first enabled provider of a type",
    response_model=OrganizationProvider,
    responses=problem_responses(*READING, errors.NoPrimaryProvider, errors.Invalid),
)
async def get_primary_provider(
    request: Request,
    reader: Reader,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    provider_type: Annotated[ProviderType, Path(alias="type")],
) -> Response:
    found = await plane_of(request).providers.get_primary_provider(reader, provider_type)
    return answer(found, etag=found.etag)


@router.get(
    "/organizations/{organization}/notices",
    tags=["providers"],
    summary="List what ends or needs attention of the providers that the organization uses",
    response_model=Notices,
    responses=NOT_MODIFIED | problem_responses(*READING, errors.Invalid),
)
async def list_notices(
    request: Request,
    reader: Reader,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    within_days: Annotated[
        int | SkipJsonSchema[None],
        Query(
            alias="withinDays",
            ge=0,
            le=3650,
            description="Only what has ended, or ends within so many days.",
        ),
    ] = None,
) -> Response:
    return fresh(request, await plane_of(request).providers.get_notices(reader, within_days=within_days))


@router.get(
    "/organizations/{organization}/providers/{key}",
    tags=["providers"],
    summary="Show one provider as the organization has it",
    response_model=OrganizationProvider,
    responses=problem_responses(*READING, errors.ProviderNotFound, errors.Invalid),
)
async def get_organization_provider(
    request: Request,
    reader: Reader,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    key: ProviderPath,
) -> Response:
    found = await plane_of(request).providers.get_organization_provider(reader, key)
    return answer(found, etag=found.etag)


@router.put(
    "/organizations/{organization}/providers/{key}/config",
    tags=["providers"],
    summary="Change settings, switch or priority of a provider",
    response_model=OrganizationProvider,
    responses=problem_responses(*WRITING, *CHANGING, errors.DestinationChange),
    openapi_extra=examples.body(ConfigWrite, examples.CONFIG),
)
async def put_config(
    request: Request,
    writer: Writer,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    key: ProviderPath,
    change: Annotated[ConfigWrite, body_of(ConfigWrite)],
    if_match: IfMatch,
) -> Response:
    changed = await plane_of(request).providers.upsert_organization_provider_config(
        writer, key, change, if_match=if_match
    )
    return answer(changed, etag=changed.etag)


@router.delete(
    "/organizations/{organization}/providers/{key}/config",
    tags=["providers"],
    summary="Put a provider back to its defaults, disabled",
    status_code=204,
    responses=DONE | problem_responses(*READING, *CHANGING, errors.KeyUnavailable, errors.Invalid),
)
async def delete_config(
    request: Request,
    writer: Writer,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    key: ProviderPath,
    if_match: IfMatch,
) -> Response:
    await plane_of(request).providers.delete_organization_provider_config(writer, key, if_match=if_match)
    return Response(status_code=204)

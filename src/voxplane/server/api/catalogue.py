"""The routes of the catalogue: what can be configured."""

from __future__ import annotations

from fastapi.requests import Request
from fastapi.responses import Response

from voxplane import errors
from voxplane.schemas import (
    Provider,
    Providers,
)
from voxplane.server.api.route import (
    NOT_MODIFIED,
    ProviderPath,
    TypeFilter,
    fresh,
    new_router,
)
from voxplane.server.door import (
    everybody,
    plane_of,
)
from voxplane.server.problem import problem_responses

router = new_router()


@router.get(
    "/providers",
    tags=["catalogue"],
    summary="List the providers of the catalogue",
    dependencies=[everybody],
    response_model=Providers,
    responses=NOT_MODIFIED | problem_responses(errors.Invalid),
)
async def list_providers(request: Request, provider_type: TypeFilter = None) -> Response:
    registry = plane_of(request).registry
    found = registry.get_providers_by_type(provider_type) if provider_type else registry.get_all_providers()
    return fresh(request, Providers(providers=tuple(provider.entry for provider in found)), "no-cache")


@router.get(
    "/providers/{key}",
    tags=["catalogue"],
    summary="Show one provider of the catalogue",
    dependencies=[everybody],
    response_model=Provider,
    responses=NOT_MODIFIED | problem_responses(errors.ProviderNotFound, errors.Invalid),
)
async def get_provider(request: Request, key: ProviderPath) -> Response:
    return fresh(request, plane_of(request).registry.get_provider_by_key(key).entry, "no-cache")

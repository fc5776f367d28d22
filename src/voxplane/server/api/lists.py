"""The routes of what can be chosen: a provider's models and voices, and how a voice sounds."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query
from fastapi.requests import Request
from fastapi.responses import Response

from voxplane import errors
from voxplane.schemas.listing import OfferList
from voxplane.server.api.route import NO_STORE, READING, OrganizationPath, ProviderPath, answer, new_router
from voxplane.server.door import Reader, plane_of
from voxplane.server.problem import problem_responses

router = new_router()

Refresh = Annotated[
    bool, Query(description="Ask the vendor even if its last answer is recent; not more often than every 30 seconds.")
]
_SAMPLE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The sample.", "content": {"audio/mpeg": {}, "audio/wav": {}, "audio/ogg": {}}}
}
_LIST = problem_responses(*READING, errors.ProviderNotFound, errors.Invalid)


@router.get(
    "/organizations/{organization}/providers/{key}/models",
    tags=["lists"],
    summary="List the models that a provider offers to this organization",
    response_model=OfferList,
    responses=_LIST,
)
async def list_models(
    request: Request,
    reader: Reader,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    key: ProviderPath,
    refresh: Refresh = False,
) -> Response:
    return answer(await plane_of(request).lists.list_offers(reader, key, "models", refresh=refresh))


@router.get(
    "/organizations/{organization}/providers/{key}/voices",
    tags=["lists"],
    summary="List the voices that a provider offers to this organization",
    response_model=OfferList,
    responses=_LIST,
)
async def list_voices(
    request: Request,
    reader: Reader,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    key: ProviderPath,
    refresh: Refresh = False,
) -> Response:
    return answer(await plane_of(request).lists.list_offers(reader, key, "voices", refresh=refresh))


@router.get(
    "/organizations/{organization}/providers/{key}/voices/{voice}/preview",
    tags=["lists"],
    summary="Play a sample of a voice",
    response_class=Response,
    responses=_SAMPLE | problem_responses(*READING, errors.ProviderNotFound, errors.PreviewNotFound, errors.Invalid),
)
async def get_preview(
    request: Request,
    reader: Reader,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    key: ProviderPath,
    voice: Annotated[str, Path(description="The voice, as the list names it.", max_length=200)],
) -> Response:
    sample = await plane_of(request).lists.preview(reader, key, voice)
    # Whatever the vendor sent, a browser takes it for sound and nothing else.
    policy = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
    return Response(sample.audio, 200, NO_STORE | policy, sample.content_type)

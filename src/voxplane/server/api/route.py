"""What routes have in common: their parameters, the errors they may answer, and the shape of an answer."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic.json_schema import SkipJsonSchema

from voxplane import errors
from voxplane.schemas import ProviderType
from voxplane.server.door import Guarded

if TYPE_CHECKING:
    from pydantic import BaseModel


def new_router() -> APIRouter:
    """Make the router of one subject."""
    return APIRouter(prefix="/api", route_class=Guarded, generate_unique_id_function=lambda route: route.name)


OrganizationPath = Annotated[
    str, Path(description="`current`, or the id or slug of the organization that the token is bound to.")
]
ProviderPath = Annotated[str, Path(description="The provider's key.", examples=["openai"])]
TypeFilter = Annotated[
    ProviderType | SkipJsonSchema[None], Query(alias="type", description="Only providers of this type.")
]

READING = (errors.Unauthenticated, errors.PermissionDenied, errors.OrganizationNotFound, errors.Unavailable)
WRITING = (
    *READING,
    errors.InvalidRequest,
    errors.InvalidJson,
    errors.TooLarge,
    errors.UnsupportedMediaType,
    errors.Invalid,
    errors.KeyUnavailable,
)
CHANGING = (
    errors.ProviderNotFound,
    errors.RevisionConflict,
    errors.PreconditionRequired,
    errors.ProviderRetired,
)

NO_STORE = {"Cache-Control": "no-store"}


def answer(model: BaseModel, status: int = 200, *, etag: str | None = None) -> Response:
    """Answer with a document that nobody keeps."""
    headers = dict(NO_STORE)
    if etag is not None:
        headers["ETag"] = etag
    return Response(model.model_dump_json(by_alias=True), status, headers, "application/json")


def fresh(request: Request, model: BaseModel, cache_control: str = "no-store") -> Response:
    """Answer with a strong ETag of the content, or 304 to a caller that has it."""
    content = model.model_dump_json(by_alias=True).encode()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": cache_control}
    held = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if etag in held or held == ["*"]:
        return Response(status_code=304, headers=headers)
    return Response(content, 200, headers, "application/json")


NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "The caller has this already."}}
DONE: dict[int | str, dict[str, Any]] = {204: {"description": "Done."}}

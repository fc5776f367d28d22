"""The routes of stored secrets: they go in, and never out."""

from __future__ import annotations

from typing import Annotated

from fastapi.requests import Request
from fastapi.responses import Response

from voxplane import errors
from voxplane.schemas import SecretsWrite
from voxplane.schemas.secrets import StoredSecrets
from voxplane.server import examples
from voxplane.server.api.route import (
    CHANGING,
    DONE,
    READING,
    WRITING,
    OrganizationPath,
    ProviderPath,
    answer,
    new_router,
)
from voxplane.server.door import (
    IfMatch,
    SecretsAdmin,
    body_of,
    plane_of,
)
from voxplane.server.problem import problem_responses

router = new_router()


@router.put(
    "/organizations/{organization}/providers/{key}/secrets",
    tags=["secrets"],
    summary="Store, replace or remove secrets, field by field",
    response_model=StoredSecrets,
    responses=problem_responses(*WRITING, *CHANGING, errors.SecretsRefused, errors.SecretsUnreadable),
    openapi_extra=examples.body(SecretsWrite, examples.SECRETS),
)
async def put_secrets(
    request: Request,
    admin: SecretsAdmin,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    key: ProviderPath,
    change: Annotated[SecretsWrite, body_of(SecretsWrite, secrets=True)],
    if_match: IfMatch,
) -> Response:
    changed = await plane_of(request).verification.store_secrets(admin, key, change, if_match=if_match)
    return answer(changed, etag=changed.etag)


@router.delete(
    "/organizations/{organization}/providers/{key}/secrets",
    tags=["secrets"],
    summary="Remove all secrets of a provider",
    status_code=204,
    responses=DONE
    | problem_responses(*READING, *CHANGING, errors.SecretsNotFound, errors.KeyUnavailable, errors.Invalid),
)
async def delete_secrets(
    request: Request,
    admin: SecretsAdmin,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    key: ProviderPath,
    if_match: IfMatch,
) -> Response:
    await plane_of(request).providers.remove_provider_secrets(admin, key, if_match=if_match)
    return Response(status_code=204)

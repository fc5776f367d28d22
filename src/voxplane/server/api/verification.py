"""The routes that test whether a provider works."""

from __future__ import annotations

from typing import Annotated

from fastapi.requests import Request
from fastapi.responses import Response

from voxplane import errors
from voxplane.schemas.verification import VerificationResult, Verifications, VerificationWrite
from voxplane.server import examples
from voxplane.server.api.route import READING, WRITING, OrganizationPath, ProviderPath, answer, new_router
from voxplane.server.door import Reader, Tester, body_of, plane_of
from voxplane.server.problem import problem_responses

router = new_router()


@router.post(
    "/organizations/{organization}/providers/{key}/verify",
    tags=["verification"],
    summary="Test whether a provider works, as it is saved or as a draft has it",
    response_model=VerificationResult,
    responses=problem_responses(
        *WRITING, errors.ProviderNotFound, errors.ProviderRetired, errors.RateLimited, errors.SecretsUnreadable
    ),
    openapi_extra=examples.body(VerificationWrite, examples.VERIFICATION),
)
async def verify_provider(
    request: Request,
    tester: Tester,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    key: ProviderPath,
    wanted: Annotated[VerificationWrite, body_of(VerificationWrite, secrets=True)],
) -> Response:
    return answer(await plane_of(request).verification.verify(tester, key, wanted))


@router.get(
    "/organizations/{organization}/providers/{key}/verifications",
    tags=["verification"],
    summary="List the last tests of a provider, newest first",
    response_model=Verifications,
    responses=problem_responses(*READING, errors.ProviderNotFound, errors.Invalid),
)
async def list_verifications(
    request: Request,
    reader: Reader,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    key: ProviderPath,
) -> Response:
    return answer(await plane_of(request).verification.verifications(reader, key))

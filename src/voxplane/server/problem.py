"""Errors as `application/problem+json` (RFC 9457): rendered here, and described here for the OpenAPI document."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from voxplane.errors import Invalid, RateLimited, SecretsRefused, Unauthenticated, Unavailable, VoxplaneError

MEDIA_TYPE = "application/problem+json"


def problem(error: VoxplaneError, request_id: str) -> dict[str, Any]:
    """Return the problem document of an error."""
    document: dict[str, Any] = {
        "type": f"urn:voxplane:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "requestId": request_id,
    }
    if isinstance(error, Invalid):
        document["errors"] = [
            {"pointer": field.pointer, "code": field.code, "message": field.message} for field in error.errors
        ]
    if isinstance(error, SecretsRefused):
        document["verification"] = error.verification
    return document


def problem_response(error: VoxplaneError, request_id: str, headers: dict[str, str] | None = None) -> Response:
    """Return the response for an error."""
    headers = dict(headers or {})
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, (Unavailable, RateLimited)) and error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    content = json.dumps(problem(error, request_id)).encode()
    return Response(content, error.status, headers, MEDIA_TYPE)


def problem_responses(*errors: type[VoxplaneError]) -> dict[int | str, dict[str, Any]]:
    """Describe which errors a route answers with, by status, for the OpenAPI document."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in sorted({error.status for error in errors}):
        of_status = [error for error in errors if error.status == status]
        responses[status] = {
            "description": " ".join(f"`{error.code}`: {_sentence(error)}" for error in of_status),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return responses


def _sentence(error: type[VoxplaneError]) -> str:
    return (error.__doc__ or "").strip().split("\n")[0]

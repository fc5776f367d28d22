"""The routes of signing in: by a link, or with an identity provider. What comes of either is an access token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi.requests import Request
from fastapi.responses import Response

from voxplane import errors
from voxplane.schemas import CreatedAccessToken, SignIn
from voxplane.schemas.sign_in import OidcSignIn, SignInMethod, SignInMethods
from voxplane.server import examples
from voxplane.server.api.route import NO_STORE, NOT_MODIFIED, answer, fresh, new_router
from voxplane.server.door import body_of, everybody, plane_of
from voxplane.server.oidc import RETURN_PATH, Attempt
from voxplane.server.problem import problem_responses

if TYPE_CHECKING:
    from voxplane.server.oidc import OidcProvider

_COOKIE_SECONDS = 600
_SIGNING_IN = (
    errors.SignInExpired,
    errors.InvalidRequest,
    errors.InvalidJson,
    errors.TooLarge,
    errors.UnsupportedMediaType,
    errors.Invalid,
    errors.Conflict,
    errors.KeyUnavailable,
    errors.Unavailable,
)

router = new_router()


@router.post(
    "/sign-in",
    tags=["tokens"],
    summary="Exchange a link's code for an access token, once",
    dependencies=[everybody],
    status_code=201,
    response_model=CreatedAccessToken,
    responses=problem_responses(*_SIGNING_IN),
    openapi_extra=examples.body(SignIn, examples.SIGN_IN),
)
async def sign_in(request: Request, given: Annotated[SignIn, body_of(SignIn)]) -> Response:
    return answer(await plane_of(request).sign_in.redeem(given.code), 201)


@router.get(
    "/sign-in/methods",
    tags=["tokens"],
    summary="Show how one can sign in",
    dependencies=[everybody],
    response_model=SignInMethods,
    responses=NOT_MODIFIED | problem_responses(errors.Invalid),
)
async def sign_in_methods(request: Request) -> Response:
    oidc = plane_of(request).oidc
    return fresh(request, SignInMethods(oidc=SignInMethod(name=oidc.name) if oidc else None))


@router.get(
    "/sign-in/oidc",
    tags=["tokens"],
    summary="Send a browser to the identity provider, to sign in there",
    dependencies=[everybody],
    status_code=303,
    response_class=Response,
    responses={303: {"description": "To the identity provider; or back to the sign-in page when it does not answer."}}
    | problem_responses(errors.NotFound, errors.Invalid),
)
async def begin_oidc_sign_in(request: Request) -> Response:
    oidc, attempt = _oidc(request), Attempt.begin()
    try:
        location = await oidc.authorization_url(attempt)
    except errors.Unavailable:
        # A person looks at this answer, so it is the page's to say, in the words that the provider would use.
        location = f"{RETURN_PATH}?error=temporarily_unavailable"
        return Response(status_code=303, headers={**NO_STORE, "Location": location})
    response = Response(status_code=303, headers={**NO_STORE, "Location": location})
    _set_cookie(response, oidc, str(attempt), _COOKIE_SECONDS)
    return response


@router.post(
    "/sign-in/oidc",
    tags=["tokens"],
    summary="Exchange what the identity provider sent the browser back with for an access token, once",
    dependencies=[everybody],
    status_code=201,
    response_model=CreatedAccessToken,
    responses=problem_responses(*_SIGNING_IN, errors.Unauthenticated, errors.PermissionDenied, errors.NotFound),
    openapi_extra=examples.body(OidcSignIn, examples.OIDC_SIGN_IN),
)
async def finish_oidc_sign_in(request: Request, given: Annotated[OidcSignIn, body_of(OidcSignIn)]) -> Response:
    oidc = _oidc(request)
    attempt = Attempt.parse(request.cookies.get(_cookie(oidc), ""))
    response = answer(await oidc.finish(attempt, code=given.code, state=given.state), 201)
    _set_cookie(response, oidc, "", 0)
    return response


def _oidc(request: Request) -> OidcProvider:
    oidc = plane_of(request).oidc
    if oidc is None:
        raise errors.NotFound("No identity provider is configured to sign in with.")
    return oidc


def _cookie(oidc: OidcProvider) -> str:
    """Name the cookie so that no other host of the domain can set it, which browsers hold only over https."""
    return "__Host-voxplane-sign-in" if oidc.is_secure else "voxplane-sign-in"


def _set_cookie(response: Response, oidc: OidcProvider, value: str, seconds: int) -> None:
    response.set_cookie(
        _cookie(oidc), value, max_age=seconds, path="/", secure=oidc.is_secure, httponly=True, samesite="strict"
    )

"""The routes of the API: what comes in, who may, which service answers. No rules of its own."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Path, Query
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic.json_schema import SkipJsonSchema

from voxplane import errors
from voxplane.schemas import (
    AccessTokenCreate,
    AccessTokens,
    ConfigWrite,
    CreatedAccessToken,
    Me,
    OrderWrite,
    Organization,
    OrganizationCreate,
    OrganizationProvider,
    OrganizationProviders,
    Organizations,
    Provider,
    Providers,
    ProviderType,
    ReportsWrite,
    Resolution,
    ResolutionRequest,
    SecretsWrite,
    SignIn,
    Slug,
)
from voxplane.server import examples, stream
from voxplane.server.door import (
    FOLLOWING,
    Anyone,
    Follower,
    Guarded,
    IfMatch,
    Platform,
    Reader,
    SecretsAdmin,
    TokensAdmin,
    Worker,
    Writer,
    body_of,
    everybody,
    plane_of,
    recognise,
)
from voxplane.server.problem import problem_responses

if TYPE_CHECKING:
    from pydantic import BaseModel

router = APIRouter(prefix="/api", route_class=Guarded, generate_unique_id_function=lambda route: route.name)

OrganizationPath = Annotated[
    str, Path(description="`current`, or the id or slug of the organization that the token is bound to.")
]
ProviderPath = Annotated[str, Path(description="The provider's key.", examples=["openai"])]
TypeFilter = Annotated[
    ProviderType | SkipJsonSchema[None], Query(alias="type", description="Only providers of this type.")
]

_READING = (errors.Unauthenticated, errors.PermissionDenied, errors.OrganizationNotFound, errors.Unavailable)
_WRITING = (
    *_READING,
    errors.InvalidRequest,
    errors.InvalidJson,
    errors.TooLarge,
    errors.UnsupportedMediaType,
    errors.Invalid,
    errors.KeyUnavailable,
)
_CHANGING = (
    errors.ProviderNotFound,
    errors.RevisionConflict,
    errors.PreconditionRequired,
    errors.ProviderRetired,
)


def routes() -> list[Guarded]:
    """Return the API's routes, each with its policy."""
    return [route for route in router.routes if isinstance(route, Guarded)]


_NO_STORE = {"Cache-Control": "no-store"}


def _answer(model: BaseModel, status: int = 200, *, etag: str | None = None) -> Response:
    headers = dict(_NO_STORE)
    if etag is not None:
        headers["ETag"] = etag
    return Response(model.model_dump_json(by_alias=True), status, headers, "application/json")


def _fresh(request: Request, model: BaseModel, cache_control: str = "no-store") -> Response:
    """Answer with a strong ETag of the content, or 304 to a caller that has it."""
    content = model.model_dump_json(by_alias=True).encode()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": cache_control}
    held = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if etag in held or held == ["*"]:
        return Response(status_code=304, headers=headers)
    return Response(content, 200, headers, "application/json")


_NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "The caller has this already."}}
_DONE: dict[int | str, dict[str, Any]] = {204: {"description": "Done."}}


@router.get(
    "/providers",
    tags=["catalogue"],
    summary="List the providers of the catalogue",
    dependencies=[everybody],
    response_model=Providers,
    responses=_NOT_MODIFIED | problem_responses(errors.Invalid),
)
async def list_providers(request: Request, provider_type: TypeFilter = None) -> Response:
    registry = plane_of(request).registry
    found = registry.get_providers_by_type(provider_type) if provider_type else registry.get_all_providers()
    return _fresh(request, Providers(providers=tuple(provider.entry for provider in found)), "no-cache")


@router.get(
    "/providers/{key}",
    tags=["catalogue"],
    summary="Show one provider of the catalogue",
    dependencies=[everybody],
    response_model=Provider,
    responses=_NOT_MODIFIED | problem_responses(errors.ProviderNotFound, errors.Invalid),
)
async def get_provider(request: Request, key: ProviderPath) -> Response:
    return _fresh(request, plane_of(request).registry.get_provider_by_key(key).entry, "no-cache")


@router.get(
    "/organizations/{organization}/providers",
    tags=["providers"],
    summary="List the organization's providers in rank order",
    response_model=OrganizationProviders,
    responses=_NOT_MODIFIED | problem_responses(*_READING, errors.Invalid),
)
async def list_organization_providers(
    request: Request,
    reader: Reader,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    provider_type: TypeFilter = None,
    enabled: Annotated[bool | SkipJsonSchema[None], Query(description="Only enabled, or only disabled ones.")] = None,
) -> Response:
    found = await plane_of(request).providers.get_organization_providers(reader, provider_type, enabled=enabled)
    return _fresh(request, found)


@router.put(
    "/organizations/{organization}/providers/order",
    tags=["providers"],
    summary="Set the order in which the providers of one type answer",
    response_model=OrganizationProviders,
    responses=problem_responses(*_WRITING),
    openapi_extra=examples.body(OrderWrite, examples.ORDER),
)
async def order_organization_providers(
    request: Request,
    writer: Writer,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    provider_type: Annotated[ProviderType, Query(alias="type", description="Which type's order.")],
    order: Annotated[OrderWrite, body_of(OrderWrite)],
) -> Response:
    return _answer(await plane_of(request).providers.order_organization_providers(writer, provider_type, order))


@router.get(
    "/organizations/{organization}/providers/{type}/primary",
    tags=["providers"],
    summary="Show the first enabled provider of a type",
    response_model=OrganizationProvider,
    responses=problem_responses(*_READING, errors.NoPrimaryProvider, errors.Invalid),
)
async def get_primary_provider(
    request: Request,
    reader: Reader,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    provider_type: Annotated[ProviderType, Path(alias="type")],
) -> Response:
    found = await plane_of(request).providers.get_primary_provider(reader, provider_type)
    return _answer(found, etag=found.etag)


@router.get(
    "/organizations/{organization}/providers/{key}",
    tags=["providers"],
    summary="Show one provider as the organization has it",
    response_model=OrganizationProvider,
    responses=problem_responses(*_READING, errors.ProviderNotFound, errors.Invalid),
)
async def get_organization_provider(
    request: Request,
    reader: Reader,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    key: ProviderPath,
) -> Response:
    found = await plane_of(request).providers.get_organization_provider(reader, key)
    return _answer(found, etag=found.etag)


@router.put(
    "/organizations/{organization}/providers/{key}/config",
    tags=["providers"],
    summary="Change settings, switch or priority of a provider",
    response_model=OrganizationProvider,
    responses=problem_responses(*_WRITING, *_CHANGING, errors.DestinationChange),
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
    return _answer(changed, etag=changed.etag)


@router.delete(
    "/organizations/{organization}/providers/{key}/config",
    tags=["providers"],
    summary="Put a provider back to its defaults, disabled",
    status_code=204,
    responses=_DONE | problem_responses(*_READING, *_CHANGING, errors.KeyUnavailable, errors.Invalid),
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


@router.put(
    "/organizations/{organization}/providers/{key}/secrets",
    tags=["secrets"],
    summary="Store, replace or remove secrets, field by field",
    response_model=OrganizationProvider,
    responses=problem_responses(*_WRITING, *_CHANGING, errors.SecretsUnreadable),
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
    changed = await plane_of(request).providers.update_provider_secrets(admin, key, change, if_match=if_match)
    return _answer(changed, etag=changed.etag)


@router.delete(
    "/organizations/{organization}/providers/{key}/secrets",
    tags=["secrets"],
    summary="Remove all secrets of a provider",
    status_code=204,
    responses=_DONE
    | problem_responses(*_READING, *_CHANGING, errors.SecretsNotFound, errors.KeyUnavailable, errors.Invalid),
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


@router.post(
    "/organizations/{organization}/resolve",
    tags=["workers"],
    summary="Give a worker the providers that answer, with their secrets",
    response_model=Resolution,
    responses={204: {"description": "What the worker has is what stands."}} | problem_responses(*_WRITING),
    openapi_extra=examples.body(ResolutionRequest, examples.RESOLUTION),
)
async def resolve(
    request: Request,
    worker: Worker,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    wanted: Annotated[ResolutionRequest, body_of(ResolutionRequest)],
) -> Response:
    request.state.is_read = True
    found = await plane_of(request).workers.resolve(worker, wanted)
    return Response(status_code=204, headers=_NO_STORE) if found is None else _answer(found)


@router.get(
    "/organizations/{organization}/changes",
    tags=["workers"],
    summary="Follow the organization's changes as server-sent events: ids, never data",
    response_class=Response,
    responses={
        200: {
            "description": "Events `change`, `reset`, `health`, `heartbeat` and `bye`; see the page on workers.",
            "content": {stream.MEDIA_TYPE: {"schema": {"type": "string"}}},
        }
    }
    | problem_responses(*_READING, errors.RateLimited, errors.Invalid),
)
async def changes(
    request: Request,
    follower: Follower,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    last_event_id: Annotated[
        str | SkipJsonSchema[None], Header(alias="Last-Event-ID", description="The last `id` that was received.")
    ] = None,
) -> Response:
    plane = plane_of(request)
    stack = ExitStack()
    try:
        subscription = stack.enter_context(plane.changes.subscribe(follower.tenant))
        at = await plane.workers.position(follower, last_event_id)
    except BaseException:
        stack.close()
        raise

    async def let_in() -> None:
        await recognise(request, *FOLLOWING)

    found = stream.events(subscription, at, last_event_id, let_in, plane.settings.stream_heartbeat_seconds)
    return stream.EventStream(found, stack)


@router.post(
    "/organizations/{organization}/reports",
    tags=["workers"],
    summary="Say what a worker saw of its providers",
    status_code=204,
    responses=_DONE
    | problem_responses(*[error for error in _WRITING if error is not errors.KeyUnavailable], errors.RateLimited),
    openapi_extra=examples.body(ReportsWrite, examples.REPORTS),
)
async def report(
    request: Request,
    worker: Worker,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    said: Annotated[ReportsWrite, body_of(ReportsWrite)],
) -> Response:
    await plane_of(request).workers.report(worker, said)
    return Response(status_code=204)


@router.get(
    "/organizations/{organization}/tokens",
    tags=["tokens"],
    summary="List the organization's access tokens",
    response_model=AccessTokens,
    responses=_NOT_MODIFIED | problem_responses(*_READING, errors.Invalid),
)
async def list_tokens(
    request: Request,
    admin: TokensAdmin,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
) -> Response:
    return _fresh(request, await plane_of(request).access.get_tokens(admin))


@router.post(
    "/organizations/{organization}/tokens",
    tags=["tokens"],
    summary="Create an access token; its value is shown this once",
    status_code=201,
    response_model=CreatedAccessToken,
    responses=problem_responses(*_WRITING, errors.Conflict),
    openapi_extra=examples.body(AccessTokenCreate, examples.TOKEN),
)
async def create_token(
    request: Request,
    admin: TokensAdmin,
    organization: OrganizationPath,  # noqa: ARG001 - the guard reads it
    new: Annotated[AccessTokenCreate, body_of(AccessTokenCreate)],
) -> Response:
    return _answer(await plane_of(request).access.create_token(admin, new), 201)


@router.delete(
    "/organizations/{organization}/tokens/{token}",
    tags=["tokens"],
    summary="Revoke an access token for good",
    status_code=204,
    responses=_DONE | problem_responses(*_READING, errors.TokenNotFound, errors.KeyUnavailable, errors.Invalid),
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
    "/organizations",
    tags=["organizations"],
    summary="List the organizations of this installation",
    response_model=Organizations,
    responses=_NOT_MODIFIED
    | problem_responses(errors.Unauthenticated, errors.PermissionDenied, errors.Unavailable, errors.Invalid),
)
async def list_organizations(
    request: Request,
    platform: Platform,  # noqa: ARG001 - the guard is what it is for
    after: Annotated[Slug | SkipJsonSchema[None], Query(description="The last slug of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    found = await plane_of(request).access.get_organizations(after=after or "", limit=limit)
    return _fresh(request, found)


@router.post(
    "/organizations",
    tags=["organizations"],
    summary="Create an organization",
    status_code=201,
    response_model=Organization,
    responses=problem_responses(*_WRITING, errors.OrganizationExists),
    openapi_extra=examples.body(OrganizationCreate, examples.ORGANIZATION),
)
async def create_organization(
    request: Request, platform: Platform, new: Annotated[OrganizationCreate, body_of(OrganizationCreate)]
) -> Response:
    return _answer(await plane_of(request).access.create_organization(platform, new), 201)


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
    return _answer(shown)


@router.post(
    "/sign-in",
    tags=["tokens"],
    summary="Exchange a link's code for an access token, once",
    dependencies=[everybody],
    status_code=201,
    response_model=CreatedAccessToken,
    responses=problem_responses(
        errors.SignInExpired,
        errors.InvalidRequest,
        errors.InvalidJson,
        errors.TooLarge,
        errors.UnsupportedMediaType,
        errors.Invalid,
        errors.Conflict,
        errors.KeyUnavailable,
        errors.Unavailable,
    ),
    openapi_extra=examples.body(SignIn, examples.SIGN_IN),
)
async def sign_in(request: Request, given: Annotated[SignIn, body_of(SignIn)]) -> Response:
    return _answer(await plane_of(request).sign_in.redeem(given.code), 201)

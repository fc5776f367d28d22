"""The door: who may pass which route, and how a body comes in.

A route of the API cannot be declared without saying which scope it needs: `Guarded` refuses it at import.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from fastapi import Depends, Header
from fastapi.requests import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import SkipJsonSchema
from starlette.routing import Match
from typing_extensions import override

from voxplane.errors import (
    DestinationUnapproved,
    FieldError,
    Invalid,
    PermissionDenied,
    PreconditionRequired,
    RestoreRefused,
    Unauthenticated,
    VoxplaneError,
)
from voxplane.server.auth import Principal, Scope
from voxplane.server.body import read_body

if TYPE_CHECKING:
    from fastapi.dependencies.models import Dependant
    from starlette.types import ASGIApp, Receive, Send
    from starlette.types import Scope as ASGIScope

    from voxplane.server.control_plane import ControlPlane

M = TypeVar("M", bound=BaseModel)


def plane_of(request: Request) -> ControlPlane:
    """Return the control plane that the application was started with."""
    return cast("ControlPlane", request.app.state.plane)


async def _let_in(request: Request) -> None:
    """Ask for nothing but a request that makes sense."""
    _refuse_unknown_parameters(request)


_POLICIES: dict[Callable[..., Any] | None, str] = {_let_in: "everybody"}
everybody = Depends(_let_in)
"""The policy of a route that needs no token."""


def require(*scopes: Scope) -> Callable[[Request], Awaitable[Principal]]:
    """Return the dependency that lets in who holds one of the scopes; without any, whoever is recognised.

    The order decides what a stranger learns: first who calls (401), then whether the organization in the path is
    the caller's own (404), then what the caller may do (403), and only then the parameters and the body (4xx).
    """

    async def guard(request: Request) -> Principal:
        principal = await recognise(request, *scopes)
        _refuse_unknown_parameters(request)
        request.state.organization_id = principal.organization_id
        request.state.trusted_until = principal.trusted_until
        return replace(principal, request_id=request.state.request_id)

    _POLICIES[guard] = " or ".join(scope.value for scope in scopes) or "anyone"
    return guard


async def recognise(request: Request, *scopes: Scope) -> Principal:
    """Return who calls, bound to the organization in the path.

    Raises:
        Unauthenticated: nobody whom we know.
        OrganizationNotFound: the organization in the path is none of the caller's.
        PermissionDenied: the caller holds none of the scopes.
    """
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Unauthenticated
    named = request.path_params.get("organization")
    principal = await plane_of(request).access.authenticate_for(token.strip(), named)
    request.state.principal = principal
    if scopes and principal.scopes.isdisjoint(scopes):
        raise PermissionDenied(f"This needs the scope {' or '.join(scopes)}.")
    return principal


Anyone = Annotated[Principal, Depends(require())]
Reader = Annotated[Principal, Depends(require(Scope.LIVEKIT_READ))]
Writer = Annotated[Principal, Depends(require(Scope.LIVEKIT_WRITE))]
SecretsAdmin = Annotated[Principal, Depends(require(Scope.ADMIN_SECRETS))]
Auditor = Annotated[Principal, Depends(require(Scope.AUDIT_READ, Scope.LIVEKIT_READ))]
Tester = Annotated[Principal, Depends(require(Scope.LIVEKIT_WRITE, Scope.ADMIN_SECRETS))]
TokensAdmin = Annotated[Principal, Depends(require(Scope.ADMIN_TOKENS))]
Worker = Annotated[Principal, Depends(require(Scope.WORKER_RESOLVE))]
FOLLOWING = (Scope.LIVEKIT_READ, Scope.WORKER_RESOLVE)
Follower = Annotated[Principal, Depends(require(*FOLLOWING))]
Platform = Annotated[Principal, Depends(require(Scope.ADMIN_ORGANIZATIONS))]


def _refuse_unknown_parameters(request: Request) -> None:
    """Refuse a misspelt query parameter instead of answering as if it had not been there."""
    if not request.scope["query_string"]:
        return
    route = cast("APIRoute", request.scope["route"])
    known = [parameter.alias for parameter in route.dependant.query_params]
    if any(name not in known for name in request.query_params):
        valid = f"Valid: {', '.join(known)}." if known else "There are none here."
        raise Invalid([FieldError("?", "unknown_parameter", f"There is no such query parameter. {valid}")])


class Guarded(APIRoute):
    """A route of the API: its policy is one scope, anyone who is recognised, or everybody."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        policies = [_POLICIES[each.call] for each in self.dependant.dependencies if each.call in _POLICIES]
        if len(policies) != 1:
            raise TypeError(f"{self.path} must say once who may call it: a scope, anyone, or everybody.")
        self.policy: str = policies[0]
        last = self.path.rpartition("/")[2]
        self._end = "" if last.endswith("}") else f"/{last}"
        self.app = self._directly() or self.app

    @override
    def matches(self, scope: ASGIScope) -> tuple[Match, ASGIScope]:
        """Rule a path out by its end, where that is a word: a router tries its routes one after the other."""
        return super().matches(scope) if scope["path"].endswith(self._end) else (Match.NONE, {})

    def _directly(self) -> ASGIApp | None:
        """Return what calls the endpoint with what its dependencies make of the request, where that is all it takes.

        FastAPI looks for parameters at every request and in every dependency, and opens two stacks for what they leave
        to be closed, which takes it a good part of the time of a worker's question. Where there are parameters besides
        names in the path, it does so here too.
        """
        takes = self.dependant
        are_names = all(each.field_info.annotation is str for each in takes.path_params)
        if not are_names or _has_parameters(takes) or not all(map(_takes_the_request, takes.dependencies)):
            return None
        assert self.max_body_size is None  # noqa: S101 - it would be FastAPI's that is left out; `body_of` knows ours
        endpoint = cast("Callable[..., Awaitable[Response]]", self.endpoint)
        dependencies = [
            (each.name, cast("Callable[[Request], Awaitable[object]]", each.call)) for each in takes.dependencies
        ]
        names = [(each.name, each.alias) for each in takes.path_params]

        async def handle(scope: ASGIScope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive, send)
            given: dict[str, object] = {name: request.path_params[alias] for name, alias in names}
            for name, make in dependencies:
                made = await make(request)
                if name is not None:
                    given[name] = made
            response = await endpoint(request, **given)
            await response(scope, receive, send)

        return handle


def _has_parameters(takes: Dependant) -> bool:
    return bool(takes.query_params or takes.header_params or takes.cookie_params or takes.body_params)


def _takes_the_request(dependency: Dependant) -> bool:
    """Whether a dependency is a function of the request and nothing else."""
    has_more = dependency.path_params or dependency.dependencies or _has_parameters(dependency)
    return bool(dependency.request_param_name) and not has_more and iscoroutinefunction(dependency.call)


# What a refused request would have done, as the audit log calls it. A reading is called by its route's name.
_ACTIONS = {
    "put_config": "config.put",
    "delete_config": "config.delete",
    "restore": "config.restore",
    "order_organization_providers": "order.put",
    "put_secrets": "secrets.put",
    "delete_secrets": "secrets.delete",
    "create_token": "token.create",
    "revoke_token": "token.revoke",
    "create_organization": "organization.create",
    "finish_import_notice": "legacy.finish",
    "resolve": "secrets.release",
}


async def note_denial(request: Request, error: VoxplaneError) -> None:
    """Put on record that somebody who is known was refused what he asked for."""
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is None or not isinstance(error, PermissionDenied | DestinationUnapproved | RestoreRefused):
        return
    plane, name = plane_of(request), cast("APIRoute", request.scope["route"]).name
    key = request.path_params.get("key")
    # Anything else in the path is the caller's own text.
    target = key if key in plane.known_keys else ""
    who = replace(principal, request_id=request.state.request_id)
    await plane.denials.record(who, _ACTIONS.get(name, name), target, error.code)


def body_of(model: type[M], *, secrets: bool = False) -> Any:
    """Return the dependency that reads a body into a model, within the limit for its kind."""

    async def read(request: Request) -> M:
        settings = plane_of(request).settings
        max_bytes = settings.secrets_body_bytes if secrets else settings.config_body_bytes
        return await read_body(request, model, max_bytes=max_bytes, timeout_seconds=settings.body_timeout_seconds)

    return Depends(read)


async def _if_match(
    request: Request,
    if_match: Annotated[
        str | SkipJsonSchema[None],
        Header(
            alias="If-Match",
            description="The `etag` that the change is based on, of an order the type's in `orderEtags`; "
            "412 when it is no longer the present one.",
        ),
    ] = None,
) -> str | None:
    if if_match is None and plane_of(request).settings.require_preconditions:
        raise PreconditionRequired
    return if_match


IfMatch = Annotated[str | None, Depends(_if_match)]

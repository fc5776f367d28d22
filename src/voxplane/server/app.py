"""The HTTP application: the API, its description, health and metrics, and the last word on every error."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.requests import Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Match, Route
from typing_extensions import override

from voxplane import errors
from voxplane.errors import FieldError, InternalError, Invalid, VoxplaneError
from voxplane.schemas import Problem
from voxplane.server import api, examples, reference
from voxplane.server.admission import Admission
from voxplane.server.answers import RecentAnswers
from voxplane.server.console import add_console
from voxplane.server.door import note_denial, plane_of
from voxplane.server.observation import Metrics, Observation
from voxplane.server.problem import problem_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from voxplane.server.control_plane import ControlPlane

log = structlog.get_logger("voxplane")


class _Application(FastAPI):
    """FastAPI without its layers for crashes, telemetry and large bodies, which we have our own for."""

    @override
    def build_middleware_stack(self) -> ASGIApp:
        assert self.exception_handlers.keys().isdisjoint({500, Exception})  # noqa: S101 - a crash is `Observation`'s
        app: ASGIApp = ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers=self.exception_handlers)
        for layer, args, options in reversed(self.user_middleware):
            app = layer(app, *args, **options)
        return app


def create_app(plane: ControlPlane | None = None) -> FastAPI:
    """Build the application over an open control plane; without one it can only describe itself."""
    metrics = Metrics()
    app = _Application(
        title="Voxplane",
        version=version("voxplane"),
        description="The provider control plane for voice AI.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.plane = plane
    # Included as a router, the routes would be gone through twice for each request.
    app.router.routes.extend(api.routes())
    _add_own_pages(app, metrics)
    add_console(app)
    app.add_exception_handler(VoxplaneError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_parameter)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_middleware(Admission)
    if plane is not None:
        app.add_middleware(
            RecentAnswers,
            changes=plane.changes,
            max_bytes=plane.settings.answer_cache_bytes,
        )
    app.add_middleware(Observation, metrics=metrics)
    return app


def openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document; `docs/openapi.json` is this, committed."""
    if app.openapi_schema is None:
        document = app.openapi()
        schemas = document["components"]["schemas"]
        schemas.update(examples.schemas())
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for route in api.routes():
            operation = document["paths"][route.path][next(iter(route.methods or ())).lower()]
            operation["x-scope"] = route.policy
            operation["security"] = [] if route.policy == "everybody" else [{"token": []}]
        app.openapi_schema = document
    return app.openapi_schema


def _add_own_pages(app: FastAPI, metrics: Metrics) -> None:
    async def metrics_page(request: Request) -> Response:
        plane = plane_of(request)
        metrics.sealed.set(plane.providers.is_sealed)
        metrics.anchors_failing.set(plane.anchors.is_failing)
        metrics.audit_behind.set(plane.anchors.is_behind)
        return Response(metrics.exposition(), media_type=metrics.media_type)

    pages = {
        "/healthz": _healthz,
        "/readyz": _readyz,
        "/metrics": metrics_page,
        "/openapi.json": _openapi_document,
        "/docs": _docs,
        "/docs/style.css": _docs_style,
    }
    for path, page in pages.items():
        app.add_route(path, page, methods=["GET"], include_in_schema=False)


async def _healthz(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _readyz(request: Request) -> Response:
    plane = plane_of(request)
    answers = await plane.database.answers()
    status = {
        "status": "ready" if answers else "unavailable",
        "database": answers,
        "secrets": "sealed" if plane.providers.is_sealed else "open",
        "anchors": plane.anchors.state,
    }
    return JSONResponse(status, 200 if answers else 503)


async def _openapi_document(request: Request) -> Response:
    return JSONResponse(openapi(request.app))


async def _docs(request: Request) -> Response:
    return HTMLResponse(reference.page(openapi(request.app)))


async def _docs_style(_request: Request) -> Response:
    return Response(reference.STYLE, media_type="text/css")


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, VoxplaneError)  # noqa: S101 - what it is registered for
    if isinstance(error, InternalError):
        # The class names say where it comes from; the texts could hold row values and stay out of the log.
        log.error("internal error", error=type(error).__name__, cause=type(error.__cause__).__name__)
    await note_denial(request, error)
    return problem_response(error, request.state.request_id)


async def _on_invalid_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    # A parameter that may be left out is a union inside, and fails once for each branch: the first one explains it.
    found: dict[str, FieldError] = {}
    for item in error.errors():
        place, name = str(item["loc"][0]), str(item["loc"][1])
        pointer = f"?{name}" if place == "query" else f"{{{name}}}"
        found.setdefault(pointer, FieldError(pointer, item["type"], f"{item['msg']}."))
    return problem_response(Invalid(list(found.values())), request.state.request_id)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    if error.status_code == errors.MethodNotAllowed.status:
        allowed = ", ".join(sorted(_methods(request)))
        return problem_response(errors.MethodNotAllowed(), request.state.request_id, {"Allow": allowed})
    return problem_response(errors.NotFound(), request.state.request_id)


def _methods(request: Request) -> set[str]:
    """Return every method of this path: the routes of one path stand side by side, and each knows its own."""
    return {
        method
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }

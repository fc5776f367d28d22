"""What is seen of every request: an id, a log line, metrics, safe headers, and an answer even to a crash."""

from __future__ import annotations

import re
import time
from secrets import token_hex
from typing import TYPE_CHECKING

import structlog
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from voxplane.errors import InternalError
from voxplane.server.crash import crash
from voxplane.server.problem import problem_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger("voxplane.request")
# A caller's own id is taken in the one form that no key has: what comes in here is logged and sent back.
_REQUEST_ID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CONTENT_POLICY = (
    b"default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", _CONTENT_POLICY),
]
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
_SLOW_SECONDS = 1.0
_FAILED = 400


class Metrics:
    """The numbers of one application, in Prometheus' format. Labels are route templates, never paths."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "voxplane_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "voxplane_request_seconds",
            "Time to answer a request.",
            ["method", "route"],
            registry=self._registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
        )
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.sealed = Gauge(
            "voxplane_sealed", "1 while the key that opens secrets is missing.", registry=self._registry
        )
        self.anchors_failing = Gauge(
            "voxplane_anchors_failing", "1 while anchors of the audit log cannot be written.", registry=self._registry
        )
        self.audit_behind = Gauge(
            "voxplane_audit_behind", "1 once an audit log ended before what was anchored.", registry=self._registry
        )

    def record(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        # Looking a label set up in the client library costs more than counting it.
        key = (method, route, status)
        found = self._series.get(key)
        if found is None:
            found = (self.requests.labels(*key), self.seconds.labels(method, route))
            self._series[key] = found
        found[0].inc()
        found[1].observe(seconds)

    def exposition(self) -> bytes:
        """Return the present numbers."""
        return generate_latest(self._registry)


class Observation:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started, status, seconds = time.perf_counter(), 0, 0.0

        async def observed(message: Message) -> None:
            nonlocal status, seconds
            if message["type"] == "http.response.start":
                # A stream is answered when it begins; how long it lasts is for its follower to say.
                status, seconds = message["status"], time.perf_counter() - started
                present = {name for name, _ in message["headers"]}
                message["headers"] += [(b"x-request-id", request_id.encode())]
                message["headers"] += [header for header in _HEADERS if header[0] not in present]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception as error:  # noqa: BLE001 - the last resort: whatever it is, the caller gets an answer
            log.error("crash", **crash(error), request_id=request_id)  # noqa: TRY400 - a traceback can hold values
            if status == 0:
                await problem_response(InternalError(), request_id)(scope, receive, observed)
        self._record(scope, status, seconds, request_id)

    def _record(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = _route(scope)
        # Neither is a label of the caller's making: ASGI passes on any method, and any path.
        method = scope["method"] if route != "unknown" and scope["method"] in _METHODS else "any"
        self._metrics.record(method, route, status, seconds)
        # Reads that went well are in the metrics, and what workers got is in the audit log: a line for each would drown
        # the rest.
        is_read = method == "GET" or scope["state"].get("is_read", False)
        if is_read and status < _FAILED and seconds < _SLOW_SECONDS:
            return
        log.info(
            "request",
            method=method,
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            request_id=request_id,
        )


def _route(scope: Scope) -> str:
    """Return the route's template; a path that no route matched is the caller's own text and stays out."""
    if (route := scope.get("route")) is not None:
        return route.path
    return scope["path"] if "endpoint" in scope else "unknown"


def _request_id(scope: Scope) -> str:
    """Take the caller's id if it is a UUID; else make one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return token_hex(16)

"""How the service speaks HTTP: methods, headers, request ids, and a problem document for whatever goes wrong."""

from __future__ import annotations

import re
from collections import defaultdict

import httpx
import psycopg

from tests.conftest import Caller
from tests.test_door import operations
from voxplane.server.app import create_app
from voxplane.server.control_plane import ControlPlane

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "GET2")
OWN_PAGES = ("/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/style.css")


def check_problem(answer: httpx.Response, status: int, code: str) -> None:
    """Hold an answer to RFC 9457 and to what we promise beyond it."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    document = answer.json()
    assert {"type", "title", "status", "detail", "code", "requestId"} <= set(document)
    assert set(document) <= {"type", "title", "status", "detail", "code", "requestId", "errors"}
    assert document["type"] == f"urn:voxplane:error:{code}"
    assert (document["status"], document["code"]) == (status, code)
    assert document["requestId"] == answer.headers["x-request-id"]


def check_headers(answer: httpx.Response) -> None:
    """Hold any answer to the headers that keep a browser from making more of it than it is."""
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} <= set(policy)
    assert not any(unsafe in answer.headers["content-security-policy"] for unsafe in ("unsafe", "http:", "https:", "*"))
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.headers["x-request-id"])
    assert not [name for name in answer.headers if name.startswith("access-control-") or name == "server"]


async def test_a_method_that_a_path_does_not_have_is_405_and_allow_lists_those_it_has(caller: Caller) -> None:
    nobody = await caller()
    expected: dict[str, set[str]] = defaultdict(set)
    for operation in operations():
        expected[operation.url().partition("?")[0]].add(operation.method)
    # A path that two routes can match has the methods of both.
    expected["/api/organizations/current/providers/order"].add("GET")
    expected |= {page: {"GET", "HEAD"} for page in OWN_PAGES}
    refused = 0
    for path, allowed in expected.items():
        for method in set(METHODS) - allowed:
            answer = await nobody.request(method, path)
            check_headers(answer)
            assert answer.status_code == 405, (method, path)
            assert answer.headers["allow"] == ", ".join(sorted(allowed)), (method, path)
            if method != "HEAD":
                check_problem(answer, 405, "method_not_allowed")
            refused += 1
    assert refused == sum(len(set(METHODS) - allowed) for allowed in expected.values()) > 100


MISSING = [
    "/api",
    "/api/",
    "/api/providers/",
    "/api//providers",
    "/API/providers",
    "/api/organizations/current",
    "/api/organizations/current/",
    "/api/organizations/current/providers/",
    "/api/organizations//providers",
    "/api/organizations/current/providers/openai/",
    "/api/organizations/current/providers/openai/config/",
    "/api/organizations/current/providers/openai/secrets/apiKey",
    "/healthz/",
    "/docs/",
    "/docs/../api",
    "/.env",
    "/%00",
    "/%ff",
]


async def test_a_path_that_is_not_there_is_404_and_never_a_redirect(admin: httpx.AsyncClient) -> None:
    for path in MISSING:
        for method in ("GET", "PUT"):
            answer = await admin.request(method, path)
            assert (path, answer.status_code) == (path, 404)
            check_problem(answer, 404, "not_found")
            check_headers(answer)


async def test_every_kind_of_answer_carries_the_safe_headers(admin: httpx.AsyncClient, caller: Caller) -> None:
    nobody = await caller()
    tag = (await nobody.get("/api/providers")).headers["etag"]
    answers = {
        200: await admin.get("/api/me"),
        201: await admin.post("/api/organizations/current/tokens", json={"name": "x", "scopes": ["livekit:read"]}),
        204: await admin.delete("/api/organizations/current/providers/groq/config"),
        304: await nobody.get("/api/providers", headers={"If-None-Match": tag}),
        401: await nobody.get("/api/me"),
        403: await admin.get("/api/organizations"),
        404: await admin.get("/api/organizations/current/providers/none"),
        405: await admin.put("/api/me"),
        415: await admin.put("/api/organizations/current/providers/groq/config", content=b"{}"),
        422: await admin.get("/api/me?a=b"),
    }
    for status, answer in answers.items():
        assert answer.status_code == status
        check_headers(answer)
    for page in OWN_PAGES:
        check_headers(await nobody.get(page, headers={"Origin": "https://elsewhere.example"}))


async def test_a_request_id_that_is_a_uuid_is_kept_and_any_other_replaced(caller: Caller) -> None:
    nobody = await caller()
    for given in ("0af76519-16cd-43dd-8448-eb211c80319c", "00000000-0000-0000-0000-000000000000"):
        answer = await nobody.get("/api/me", headers={"X-Request-Id": given})
        assert (answer.headers["x-request-id"], answer.json()["requestId"]) == (given, given)
    # Thirty-two hexadecimal digits or a plain word may just as well be somebody's key.
    others = (
        "0af7651916cd43dd8448eb211c80319c",
        "sk-my-key",
        "",
        " ",
        "a b",
        "A" * 65,
        "a\tb",
        '"',
        "<script>",
        "\x1b[31m",
        "é",
        "a,b",
        "{}",
        "../..",
        "%0a",
        "a;b",
    )
    for given in others:
        answer = await nobody.get("/api/me", headers={b"X-Request-Id": given.encode("latin-1")})
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"]), given
        assert answer.json()["requestId"] == answer.headers["x-request-id"]


async def test_a_token_is_asked_for_by_name_and_a_busy_service_says_when_to_come_back(
    plane: ControlPlane, admin: httpx.AsyncClient, caller: Caller
) -> None:
    asked = await (await caller()).get("/api/me")
    check_problem(asked, 401, "unauthenticated")
    assert asked.headers["www-authenticate"] == "Bearer"
    await plane.database.close()
    for path in ("/api/me", "/api/organizations/current/providers"):
        away = await admin.get(path)
        check_problem(away, 503, "unavailable")
        assert int(away.headers["retry-after"]) > 0
    assert (await admin.get("/readyz")).status_code == 503
    assert (await admin.get("/healthz")).status_code == 200
    assert (await admin.get("/api/providers")).status_code == 200


async def test_a_defect_of_ours_is_answered_with_an_id_and_nothing_else(
    admin: httpx.AsyncClient, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    superuser.execute("ALTER TABLE organization_provider_configs RENAME TO canary_table")
    broken = await admin.get("/api/organizations/current/providers")
    check_problem(broken, 500, "internal_error")
    check_headers(broken)
    assert broken.json()["detail"] == "Something failed on our side; the request id finds it in the log."
    assert "canary" not in broken.text
    # An application without a control plane has nothing to answer from: a crash outside of every handler.
    transport = httpx.ASGITransport(create_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://voxplane") as client:
        crashed = await client.get("/api/providers")
    check_problem(crashed, 500, "internal_error")
    check_headers(crashed)
    assert set(crashed.json()) == {"type", "title", "status", "detail", "code", "requestId"}

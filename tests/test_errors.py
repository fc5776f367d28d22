"""The error tree: as it is drawn, each with a code of its own, and each that goes over the wire brought about."""

from __future__ import annotations

import importlib
import re
import sys
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import httpx
import psycopg
import pytest

from tests.conftest import token_for
from tests.test_catalogue import WithoutGroq
from tests.test_door import clients
from tests.test_problem import check_problem
from voxplane import errors
from voxplane.errors import Invalid, VoxplaneError
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Scope
from voxplane.server.control_plane import ControlPlane
from voxplane.server.settings import Settings

PROVIDERS = "/api/organizations/current/providers"
OPENAI = f"{PROVIDERS}/openai"
TOKENS = "/api/organizations/current/tokens"
Superuser = psycopg.Connection[tuple[object, ...]]
NEVER_ON_THE_WIRE = {"ConfigurationError", "MissingDependency", "DestinationUnapproved"}
IN_THE_SDK_ONLY = {"Unreachable", "SnapshotExpired", "SecretsMissing", "ModelMissing"}
ELSEWHERE = {"never on the wire": NEVER_ON_THE_WIRE, "in the SDK only": IN_THE_SDK_ONLY}


def tree(root: type[VoxplaneError] = VoxplaneError) -> Iterator[type[VoxplaneError]]:
    yield root
    for branch in root.__subclasses__():
        yield from tree(branch)


def drawn() -> Iterator[tuple[str, int, int, str]]:
    """Read the drawing: name, depth, status and code of each error in it."""
    for line in (errors.__doc__ or "").splitlines():
        if found := re.fullmatch(r"    ([│ ]*)[├└]── (\w+) +(\d{3})  (\w+)(?: +carries `errors`)?", line):
            yield found[2], 1 + len(found[1]) // 4, int(found[3]), found[4]


def test_the_drawing_is_the_tree() -> None:
    of_tree = {error.__name__: error for error in tree() if error is not VoxplaneError}
    of_drawing = {name: (depth, status, code) for name, depth, status, code in drawn()}
    assert set(of_drawing) == set(of_tree) - NEVER_ON_THE_WIRE - IN_THE_SDK_ONLY
    for name, (depth, status, code) in of_drawing.items():
        error = of_tree[name]
        assert (error.status, error.code) == (status, code)
        assert error.__mro__.index(VoxplaneError) == depth
    for where, names in ELSEWHERE.items():
        listed = ", ".join(sorted(names, key=list(of_tree).index))
        assert re.search(rf"── {where}: {listed}\n", str(errors.__doc__))


def test_every_error_of_the_module_is_in_the_tree_and_every_one_of_the_tree_in_the_module() -> None:
    of_module = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)}
    assert of_module == set(tree())


def test_codes_are_unique_and_titles_and_messages_are_sentences() -> None:
    all_of_them = [error for error in tree() if error is not VoxplaneError]
    codes = [error.code for error in all_of_them]
    assert len(set(codes)) == len(codes)
    for error in all_of_them:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
        assert 400 <= error.status < 600
        assert re.fullmatch(r"[A-Z][^.]+[^.]", error.title)
        made = error([]) if issubclass(error, Invalid) else error()
        assert re.fullmatch(r"[A-Z].+\.", made.message)
        assert str(made) == made.message
        assert isinstance(made, VoxplaneError)


def test_an_error_says_what_it_is_told_to() -> None:
    assert errors.NotFound("There is no such thing.").message == "There is no such thing."


class Installation:
    """An installation with a client of each kind, on which every error can be brought about."""

    def __init__(
        self, client: httpx.AsyncClient, tokens: dict[str, str], superuser: Superuser, plane: ControlPlane
    ) -> None:
        """Take what is open; `tokens` are by the role that they stand for."""
        self._client = client
        self._tokens = tokens
        self.superuser = superuser
        self.plane = plane

    async def ask(self, role: str | None, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request as somebody, or as nobody."""
        headers = {} if role is None else {"Authorization": f"Bearer {self._tokens[role]}"}
        return await self._client.request(method, path, headers=headers | request.pop("headers", {}), **request)

    async def store_a_key(self, key: str = "openai") -> None:
        """Have a secret stored."""
        answer = await self.ask("admin", "PUT", f"{PROVIDERS}/{key}/secrets", json={"secrets": {"apiKey": "sk-stored"}})
        assert answer.status_code == 200


Reach = Callable[[Installation], Awaitable[httpx.Response]]


async def _dripping() -> AsyncIterator[bytes]:
    while True:
        yield b" "
        await anyio.sleep(0.01)


async def _no_primary(installation: Installation) -> httpx.Response:
    await installation.ask("admin", "PUT", f"{PROVIDERS}/deepgram/config", json={"isEnabled": False})
    return await installation.ask("admin", "GET", f"{PROVIDERS}/stt/primary")


async def _too_many_tokens(installation: Installation) -> httpx.Response:
    body = {"name": "one more", "scopes": ["livekit:read"]}
    for _ in range(50):
        await installation.ask("admin", "POST", TOKENS, json=body)
    return await installation.ask("admin", "POST", TOKENS, json=body)


async def _rebinding(installation: Installation) -> httpx.Response:
    await installation.store_a_key()
    body = {"approvedOrigins": ["https://elsewhere.example"], "rebind": True}
    return await installation.ask("admin", "PUT", f"{OPENAI}/secrets", json=body)


async def _tampered(installation: Installation) -> httpx.Response:
    await installation.store_a_key()
    installation.superuser.execute(
        "UPDATE organization_secrets SET secrets = jsonb_set(secrets, '{openai,ct}', secrets -> 'openai' -> 'dek')"
    )
    return await installation.ask("admin", "PUT", f"{OPENAI}/secrets", json={"secrets": {"apiKey": "sk-new"}})


async def _outdated_version(installation: Installation) -> httpx.Response:
    # A version that the definition took once.
    installation.superuser.execute("UPDATE config_history SET after = jsonb_set(after, '{config}', '{\"gone\": 1}')")
    return await installation.ask("admin", "POST", f"{OPENAI}/restore", json={"revision": 1})


async def _one_follower_too_many(installation: Installation) -> httpx.Response:
    organization = await installation.plane.access.find_organization("default")
    with installation.plane.changes.subscribe(organization.id):
        return await installation.ask("admin", "GET", "/api/organizations/current/changes")


async def _broken_table(installation: Installation) -> httpx.Response:
    installation.superuser.execute("ALTER TABLE config_history RENAME TO gone")
    return await installation.ask("admin", "PUT", f"{OPENAI}/config", json={"priority": 1})


async def _away(installation: Installation) -> httpx.Response:
    await installation.plane.database.close()
    return await installation.ask("admin", "GET", PROVIDERS)


REACH: dict[type[VoxplaneError], Reach] = {
    errors.InvalidRequest: lambda i: i.ask("admin", "PUT", f"{OPENAI}/config", content=_dripping(), headers=_JSON),
    errors.InvalidJson: lambda i: i.ask("admin", "PUT", f"{OPENAI}/config", content=b"{", headers=_JSON),
    errors.Unauthenticated: lambda i: i.ask(None, "GET", "/api/me"),
    errors.SignInExpired: lambda i: i.ask(None, "POST", "/api/sign-in", json={"code": "used before"}),
    errors.PermissionDenied: lambda i: i.ask("writer", "GET", TOKENS),
    errors.DestinationChange: lambda i: i.ask(
        "writer", "PUT", f"{OPENAI}/config", json={"config": {"baseUrl": "https://evil.example/v1"}}
    ),
    errors.NotFound: lambda i: i.ask("admin", "GET", "/api/nothing"),
    errors.ProviderNotFound: lambda i: i.ask("admin", "GET", f"{PROVIDERS}/nothing"),
    errors.OrganizationNotFound: lambda i: i.ask("admin", "GET", "/api/organizations/elsewhere/providers"),
    errors.TokenNotFound: lambda i: i.ask("admin", "DELETE", f"{TOKENS}/000000000000"),
    errors.NoPrimaryProvider: _no_primary,
    errors.SecretsNotFound: lambda i: i.ask("admin", "DELETE", f"{OPENAI}/secrets"),
    errors.MethodNotAllowed: lambda i: i.ask("admin", "PATCH", OPENAI),
    errors.Conflict: _too_many_tokens,
    errors.OrganizationExists: lambda i: i.ask(
        "platform", "POST", "/api/organizations", json={"slug": "default", "name": "Again"}
    ),
    errors.RevisionConflict: lambda i: i.ask(
        "admin", "PUT", f"{OPENAI}/config", json={"priority": 1}, headers={"If-Match": '"stale"'}
    ),
    errors.TooLarge: lambda i: i.ask("admin", "PUT", f"{OPENAI}/config", content=b" " * 70_000, headers=_JSON),
    errors.UnsupportedMediaType: lambda i: i.ask("admin", "PUT", f"{OPENAI}/config", content=b"{}"),
    errors.Invalid: lambda i: i.ask("admin", "PUT", f"{OPENAI}/config", json={"priority": -1}),
    errors.RestoreRefused: _outdated_version,
    errors.VersionNotFound: lambda i: i.ask("admin", "POST", f"{OPENAI}/restore", json={"revision": 99}),
    errors.PreviewNotFound: lambda i: i.ask("admin", "GET", f"{OPENAI}/voices/none/preview"),
    errors.PreconditionRequired: _rebinding,
    errors.RateLimited: _one_follower_too_many,
    errors.InternalError: _broken_table,
    errors.SecretsUnreadable: _tampered,
    errors.Unavailable: _away,
}
_JSON = {"Content-Type": "application/json"}
# These need an installation that was opened in another way; the last one, with vendors, is in test_verification.py.
OPENED_OTHERWISE = {errors.ProviderRetired, errors.KeyUnavailable, errors.SecretsRefused}


def test_every_error_that_goes_over_the_wire_is_brought_about_here() -> None:
    not_on_it = NEVER_ON_THE_WIRE | IN_THE_SDK_ONLY
    on_the_wire = {error for error in tree() if error.__name__ not in not_on_it} - {VoxplaneError}
    assert set(REACH) | OPENED_OTHERWISE == on_the_wire


async def installation(plane: ControlPlane, client: httpx.AsyncClient, superuser: Superuser) -> Installation:
    tokens = {
        "admin": await token_for(plane, *ADMINISTRATOR_SCOPES),
        "writer": await token_for(plane, Scope.LIVEKIT_READ, Scope.LIVEKIT_WRITE),
        "platform": await token_for(plane, Scope.ADMIN_ORGANIZATIONS),
    }
    return Installation(client, tokens, superuser, plane)


@pytest.mark.parametrize("error", REACH, ids=lambda error: error.__name__)
async def test_an_error_reaches_who_brought_it_about(
    error: type[VoxplaneError], settings: Settings, superuser: Superuser
) -> None:
    impatient = settings.model_copy(update={"body_timeout_seconds": 0.2, "organization_streams": 1})
    async with ControlPlane.open(impatient) as plane, clients(plane) as client:
        answer = await REACH[error](await installation(plane, client, superuser))
    check_problem(answer, error.status, error.code)
    document = answer.json()
    assert document["title"] == error.title
    assert re.fullmatch(r"[A-Z].+\.", document["detail"])
    assert ("errors" in document) is issubclass(error, Invalid)


async def test_a_retired_provider_and_a_missing_key_reach_who_meets_them(
    settings: Settings, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as later:
        later.setattr("voxplane.server.control_plane.ProviderRegistry", WithoutGroq)
        async with ControlPlane.open(settings) as plane, clients(plane) as client:
            reached = await installation(plane, client, superuser)
            for part, body in (("config", {"priority": 1}), ("secrets", {"secrets": {"apiKey": "gsk_1"}})):
                retired = await reached.ask("admin", "PUT", f"{PROVIDERS}/groq/{part}", json=body)
                check_problem(retired, errors.ProviderRetired.status, errors.ProviderRetired.code)
            # Where nothing was ever set for it, it is in no list, and by its name it is still what it is.
            assert "groq" not in (await reached.ask("admin", "GET", f"{PROVIDERS}?type=llm")).text
            shown = await reached.ask("admin", "GET", f"{PROVIDERS}/groq")
            assert (shown.status_code, shown.json()["reason"]) == (200, "retired")
    async with ControlPlane.open(settings) as plane:
        token = await token_for(plane, *ADMINISTRATOR_SCOPES)
    keyless = settings.model_copy(update={"keyring_file": settings.keyring_path.with_name("another.json")})
    async with ControlPlane.open(keyless) as plane, clients(plane) as client:
        reached = Installation(client, {"admin": token}, superuser, plane)
        sealed = await reached.ask("admin", "PUT", f"{OPENAI}/config", json={"priority": 1})
        check_problem(sealed, errors.KeyUnavailable.status, errors.KeyUnavailable.code)
        assert (await reached.ask("admin", "GET", OPENAI)).status_code == 200


def test_none_of_them_carries_what_was_sent() -> None:
    """An error takes one sentence, and nothing else is ever in it but places and numbers of ours."""
    more = {
        Invalid: {"errors"},
        errors.SecretsRefused: {"verification"},
        errors.RateLimited: {"retry_after_seconds"},
        errors.Unavailable: {"retry_after_seconds"},
        errors.Unreachable: {"retry_after_seconds"},
    }
    for error in tree():
        made = Invalid([errors.FieldError("/a", "code", "Wrong.")]) if error is Invalid else error("A sentence.")
        held = {name for name in vars(made) if not isinstance(vars(made)[name], types.FunctionType)}
        assert held == {"message"}.union(*(names for base, names in more.items() if issubclass(error, base)))


@pytest.mark.parametrize(("package", "missing"), [("livekit", "livekit.agents"), ("pipecat", "pipecat")])
def test_a_framework_that_is_not_installed_is_named_with_its_extra(
    package: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, f"voxplane.{package}", raising=False)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'voxplane\[{package}\]'"):
        importlib.import_module(f"voxplane.{package}")

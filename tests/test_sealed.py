"""Sealed: the key is missing or is another one. Reading goes on, nothing is written, and no new key is made."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.conftest import Template, position_of, settings_for, stored_rows, token_for, worker_of
from tests.test_door import operations
from voxplane.errors import KeyUnavailable
from voxplane.schemas import AccessTokenCreate
from voxplane.server import examples
from voxplane.server.app import create_app
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Principal, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.envelope import Keyring
from voxplane.server.settings import Settings

PROVIDERS = "/api/organizations/current/providers"
Superuser = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class Installation:
    """An installation with stored keys, at rest; its keyring file is a copy that a test may spoil."""

    settings: Settings
    keyring: Path
    superuser: Superuser
    administrator: dict[str, str]
    """The headers of an organization's administrator."""
    platform: dict[str, str]
    """The headers of the platform's."""
    worker: dict[str, str]
    """The headers of a worker of the organization."""

    def headers(self, scope: str) -> dict[str, str]:
        """Return the headers of somebody who may do what needs this scope."""
        others = {Scope.ADMIN_ORGANIZATIONS.value: self.platform, Scope.WORKER_RESOLVE.value: self.worker}
        return others.get(scope, self.administrator)


@pytest.fixture
async def installation(
    postgres: EmbeddedPostgres, database: str, template: Template, superuser: Superuser, tmp_path: Path
) -> Installation:
    keyring = tmp_path / "keys" / "keyring.json"
    Keyring.load(template.keyring).save_new(keyring)
    settings = settings_for(postgres, database, keyring, token_cache_seconds=0)
    async with ControlPlane.open(settings) as plane:
        administrator, platform, worker = [
            {"Authorization": f"Bearer {await token_for(plane, *scopes)}"}
            for scopes in (ADMINISTRATOR_SCOPES, [Scope.ADMIN_ORGANIZATIONS], [Scope.WORKER_RESOLVE])
        ]
        async with _client(plane) as client:
            for key in ("openai", "groq"):
                body = {"secrets": {"apiKey": f"canary-{key}"}}
                answer = await client.put(f"{PROVIDERS}/{key}/secrets", json=body, headers=administrator)
                assert answer.status_code == 200
    return Installation(settings, keyring, superuser, administrator, platform, worker)


@asynccontextmanager
async def _client(plane: ControlPlane) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(plane))
    async with httpx.AsyncClient(transport=transport, base_url="http://voxplane") as client:
        yield client


def _rewrite(change: Callable[[dict[str, Any]], object]) -> Callable[[Installation], None]:
    def spoil(installation: Installation) -> None:
        document = json.loads(installation.keyring.read_text())
        installation.keyring.write_text(json.dumps(change(document)))

    return spoil


def _replace_by_another(installation: Installation) -> None:
    installation.keyring.unlink()
    Keyring.generate().save_new(installation.keyring)


def _rename_the_key(ring: dict[str, Any]) -> object:
    return {"current": "00000000", "keys": {"00000000": ring["keys"][ring["current"]]}}


def _put_another_under_its_name(ring: dict[str, Any]) -> object:
    return {**ring, "keys": {ring["current"]: base64.b64encode(b"k" * 32).decode()}}


def _swap(ring: dict[str, Any]) -> object:
    other = Keyring.generate()
    fresh = base64.b64encode(other.keys[other.current]).decode()
    (mine,) = ring["keys"]
    return {"current": mine, "keys": {mine: fresh, other.current: ring["keys"][mine]}}


def _make_a_folder(installation: Installation) -> None:
    installation.keyring.unlink()
    installation.keyring.mkdir(0o700)


def _point_nowhere(installation: Installation) -> None:
    installation.keyring.unlink()
    installation.keyring.symlink_to(installation.keyring.with_name("gone.json"))


def _sql(statement: str) -> Callable[[Installation], None]:
    def spoil(installation: Installation) -> None:
        installation.superuser.execute(statement.encode())

    return spoil


SPOILED: dict[str, Callable[[Installation], object]] = {
    "missing": lambda installation: installation.keyring.unlink(),
    "empty": lambda installation: installation.keyring.write_bytes(b""),
    "cut short": lambda installation: installation.keyring.write_bytes(installation.keyring.read_bytes()[:-20]),
    "no JSON": lambda installation: installation.keyring.write_text("the key is under the mat"),
    "another installation's": _replace_by_another,
    "readable by its group": lambda installation: installation.keyring.chmod(0o640),
    "readable by everybody": lambda installation: installation.keyring.chmod(0o604),
    "two keys swapped": _rewrite(_swap),
    "another key under its name": _rewrite(_put_another_under_its_name),
    "the key under another name": _rewrite(_rename_the_key),
    "a folder": _make_a_folder,
    "a link to nowhere": _point_nowhere,
    "the wrapped key row is altered": _sql("UPDATE installation SET audit_key = set_byte(audit_key, 70, 0)"),
    "the wrapped key row is cut short": _sql("UPDATE installation SET audit_key = substr(audit_key, 1, 60)"),
    "the wrapped key row is another organization's data key": _sql(
        "UPDATE installation SET audit_key = k.wrapped FROM organization_data_keys AS k"
    ),
    "the wrapped key row names another key": _sql("UPDATE installation SET kek_id = '00000000'"),
}


def _files(folder: Path) -> dict[str, object]:
    return {
        path.name: (path.lstat().st_mode, path.read_bytes() if path.is_file() else None) for path in folder.iterdir()
    }


async def _readings(client: httpx.AsyncClient, installation: Installation) -> dict[str, tuple[int, str]]:
    """Read everything that can be read."""
    found: dict[str, tuple[int, str]] = {}
    for operation in operations():
        if operation.method == "GET":
            answer = await client.get(operation.url(type="llm"), headers=installation.headers(operation.scope))
            assert answer.status_code == operation.success
            # A list is the vendor's where a key may be opened, and the built-in one where none can.
            is_a_vendors = operation.path.endswith(("/models", "/voices", "/preview"))
            found[operation.path] = (answer.status_code, "" if is_a_vendors else answer.text)
    return found


@pytest.mark.parametrize("case", SPOILED)
async def test_with_a_spoiled_key_reading_goes_on_and_nothing_is_written(installation: Installation, case: str) -> None:
    """C6."""
    async with ControlPlane.open(installation.settings) as plane, _client(plane) as client:
        open_readings = await _readings(client, installation)
    whole = installation.keyring.read_bytes()
    (key_row,) = stored_rows(installation.superuser)["installation"]

    SPOILED[case](installation)
    before, files = stored_rows(installation.superuser), _files(installation.keyring.parent)
    async with ControlPlane.open(installation.settings) as plane, _client(plane) as client:
        assert plane.providers.is_sealed
        assert await _readings(client, installation) == open_readings
        await _assert_no_route_writes(client, installation)
        await _assert_nothing_is_done(plane)
        assert stored_rows(installation.superuser) == before
        await _assert_workers_still_report(plane, client, installation)
    # What workers saw is nobody's setting and no secret: it is kept, and nothing beside it.
    assert {**stored_rows(installation.superuser), "provider_reports": []} == before
    assert _files(installation.keyring.parent) == files

    _mend(installation, whole, key_row)
    async with ControlPlane.open(installation.settings) as plane:
        assert not plane.providers.is_sealed
        organization = await plane.access.find_organization("default")
        for key in ("openai", "groq"):
            released = await plane.workers.release(worker_of(organization.id), key)
            assert released.secrets["apiKey"].get_secret_value() == f"canary-{key}"


WRITTEN_UNSEALED = {"POST /api/organizations/{organization}/reports"}
"""What needs no key. A change of this list is a decision: review it as one."""


async def _assert_workers_still_report(
    plane: ControlPlane, client: httpx.AsyncClient, installation: Installation
) -> None:
    (operation,) = [each for each in operations() if str(each) in WRITTEN_UNSEALED]
    said = examples.REPORTS | {"at": await position_of(plane)}
    answer = await client.post(operation.url(), json=said, headers=installation.worker)
    assert answer.status_code == 204
    assert len(stored_rows(installation.superuser)["provider_reports"]) == 1


async def _assert_no_route_writes(client: httpx.AsyncClient, installation: Installation) -> None:
    for operation in operations():
        if operation.method != "GET" and str(operation) not in WRITTEN_UNSEALED:
            answer = await client.request(
                operation.method,
                operation.url(type="llm"),
                json=operation.body(),
                headers=installation.headers(operation.scope),
            )
            assert (answer.status_code, answer.json()["code"]) == (503, "key_unavailable"), str(operation)
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["secrets"]) == (200, "sealed")
    assert "voxplane_sealed 1.0" in (await client.get("/metrics")).text


async def _assert_nothing_is_done(plane: ControlPlane) -> None:
    """Nor by the services, which the command line uses without a route."""
    organization = await plane.access.find_organization("default")
    with pytest.raises(KeyUnavailable):
        await plane.workers.release(worker_of(organization.id), "openai")
    new = AccessTokenCreate(name="x", scopes=[Scope.ADMIN_ORGANIZATIONS])
    with pytest.raises(KeyUnavailable):
        await plane.access.create_platform_token(local_administrator(None, "test"), new)
    await plane.seed()


def _mend(installation: Installation, keyring: bytes, key_row: dict[str, Any]) -> None:
    """Put the right file back, and the right row."""
    path = installation.keyring
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.write_bytes(keyring)
    path.chmod(0o600)
    installation.superuser.execute(
        "UPDATE installation SET audit_key = %s::bytea, kek_id = %s", [key_row["audit_key"], key_row["kek_id"]]
    )


async def test_the_log_says_what_is_wrong_and_where_and_no_key(
    installation: Installation, capfd: pytest.CaptureFixture[str]
) -> None:
    key = json.loads(installation.keyring.read_text())
    for case in ("missing", "cut short", "readable by its group"):
        whole = installation.keyring.read_bytes()
        SPOILED[case](installation)
        async with ControlPlane.open(installation.settings):
            pass
        said = "".join(capfd.readouterr())
        assert "sealed" in said
        assert key["current"] in said
        assert {"missing": "missing", "cut short": "damaged", "readable by its group": "chmod 600"}[case] in said
        assert key["keys"][key["current"]] not in said
        installation.keyring.write_bytes(whole)
        installation.keyring.chmod(0o600)


async def test_the_old_key_beside_a_new_one_is_enough(installation: Installation) -> None:
    old, new = Keyring.load(installation.keyring), Keyring.generate()
    installation.keyring.unlink()
    Keyring(new.current, {**old.keys, **new.keys}).save_new(installation.keyring)
    async with ControlPlane.open(installation.settings) as plane:
        assert not plane.providers.is_sealed
        organization = await plane.access.find_organization("default")
        released = await plane.workers.release(worker_of(organization.id), "openai")
    assert released.secrets["apiKey"].get_secret_value() == "canary-openai"


async def test_an_installation_without_a_database_takes_the_keyring_that_is_there(
    installation: Installation, administrator: Principal
) -> None:
    """After `db reset` the file stays as it is; a second one is never made beside or over it."""
    whole = installation.keyring.read_bytes()
    installation.superuser.execute("DROP SCHEMA voxplane CASCADE")
    async with ControlPlane.open(installation.settings) as plane:
        assert not plane.providers.is_sealed
        assert (await plane.access.find_organization("default")).id != administrator.organization_id
    assert _files(installation.keyring.parent) == {"keyring.json": (installation.keyring.stat().st_mode, whole)}

"""Migrations: from nothing to now, once, by several at a time, and never backwards."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from tests.conftest import admin_connection, settings_for
from voxplane.errors import ConfigurationError
from voxplane.server import database
from voxplane.server.control_plane import ControlPlane
from voxplane.server.database import MIGRATIONS, SCHEMA_VERSION, Location
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.settings import Settings


def test_every_revision_is_a_numbered_sql_file_with_its_entry_beside_it() -> None:
    revisions = sorted((MIGRATIONS / "versions").glob("*.sql"))
    assert [path.name[:4] for path in revisions] == [f"{number:04}" for number in range(1, len(revisions) + 1)]
    for path in revisions:
        assert re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", path.name)
        entry = path.with_suffix(".py").read_text(encoding="utf-8")
        assert f'revision = "{path.name[:4]}"' in entry


async def test_several_that_start_at_once_on_an_empty_database_agree(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    name = "test_started_at_once"
    with admin_connection(postgres) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        settings = settings_for(postgres, name, tmp_path / "keyring.json")
        found: list[tuple[object, ...]] = []

        async def start() -> None:
            async with ControlPlane.open(settings) as plane:
                default = await plane.access.find_organization("default")
                found.append((default.id, plane.providers.is_sealed))

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(start)
        assert len(found) == 4
        assert len(set(found)) == 1
        assert found[0][1] is False
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_a_newer_schema_is_left_alone(settings: Settings, superuser: psycopg.Connection[tuple[object, ...]]) -> None:
    superuser.execute("UPDATE alembic_version SET version_num = '9999'")
    with database.administration(Location.find(settings)) as connection:
        database.migrate(connection)
        assert database.schema_version(connection) == "9999" > SCHEMA_VERSION


async def test_a_database_without_schema_is_not_served_without_an_administrator(
    settings: Settings, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    superuser.execute("DROP SCHEMA voxplane CASCADE")
    alone = settings.model_copy(update={"database_admin_url": None})
    with pytest.raises(ConfigurationError, match="voxplane db upgrade"):
        async with ControlPlane.open(alone):
            pytest.fail("served from a database without a schema")


async def test_a_prepared_database_is_served_without_an_administrator(settings: Settings) -> None:
    alone = settings.model_copy(update={"database_admin_url": None})
    async with ControlPlane.open(alone) as plane:
        assert plane.providers.is_sealed is False
        assert (await plane.access.find_organization("default")).slug == "default"


def test_a_new_role_gets_the_password_of_the_address_and_one_that_exists_keeps_its_own(
    postgres: EmbeddedPostgres, settings: Settings
) -> None:
    name = "test_role_of_an_address"
    assert settings.database_url is not None
    app = settings.database_url.get_secret_value()

    def upgrade_with(password: str) -> object:
        url = make_conninfo(app, user=name, password=password)
        location = Location.find(settings.model_copy(update={"database_url": SecretStr(url)}))
        with database.administration(location):
            pass
        with admin_connection(postgres) as connection:
            return connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [name]).fetchone()

    try:
        first = upgrade_with("canary-one")
        assert str(first).startswith("('SCRAM-SHA-256$")
        assert upgrade_with("canary-two") == first
    finally:
        with admin_connection(postgres) as connection:
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))

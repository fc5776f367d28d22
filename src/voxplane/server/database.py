"""PostgreSQL: where it is, its roles and schema, and the one way to run statements on it.

Three roles. `voxplane_owner` owns the schema and logs in nowhere. An administrator (the embedded server's own
superuser, or VOXPLANE_DATABASE_ADMIN_URL) becomes the owner to migrate and to write the catalogue, then leaves.
`voxplane_app` serves: no ownership, no way around row level security, and `open_database` refuses to serve if the
role it got is more than that.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString, Self

import anyio
import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row, scalar_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from voxplane.errors import ConfigurationError, InternalError, InvalidRequest, Unavailable
from voxplane.server.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable
    from uuid import UUID

    from voxplane.schemas import Provider
    from voxplane.server.settings import Settings

MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA_VERSION = max(path.name[:4] for path in MIGRATIONS.glob("versions/*.sql"))
# Any number does, as long as every Voxplane takes the same one.
_ADVISORY_LOCK = 0x766F78706C616E65
_DATABASE = "voxplane"
_APPLICATION = "voxplane"
_RECORD = "audit_events"

log = structlog.get_logger("voxplane")

Connection = psycopg.AsyncConnection[Any]


@dataclass(frozen=True)
class Location:
    """Where the database is: connection strings for serving and for administration."""

    app: str
    admin: str | None
    embedded: EmbeddedPostgres | None = None

    @classmethod
    def find(cls, settings: Settings) -> Self:
        """Take the configured database, or start (or join) the embedded one. Blocks until it is up.

        Raises:
            ConfigurationError: an address cannot be read, or the embedded server cannot run here.
            Unavailable: the embedded server does not come up.
        """
        if settings.database_url is not None:
            admin = settings.database_admin_url
            return cls(
                _conninfo(settings.database_url.get_secret_value(), "VOXPLANE_DATABASE_URL"),
                _conninfo(admin.get_secret_value(), "VOXPLANE_DATABASE_ADMIN_URL") if admin else None,
            )
        embedded = EmbeddedPostgres.open(settings.data_dir.absolute())
        return cls(
            embedded.conninfo(user="voxplane_app", dbname=_DATABASE),
            embedded.conninfo(user="postgres", dbname=_DATABASE),
            embedded,
        )

    def close(self) -> None:
        """Leave the embedded server; the last one out stops it."""
        if self.embedded is not None:
            self.embedded.close()


def _conninfo(url: str, name: str) -> str:
    try:
        return make_conninfo(url)
    except psycopg.ProgrammingError:
        raise ConfigurationError(f"{name} is no PostgreSQL address such as postgresql://user@host/db.") from None


@contextmanager
def administration(location: Location) -> Generator[psycopg.Connection[Any]]:
    """Connect as the schema's owner, alone: a second administrator waits until the first is done.

    Raises:
        ConfigurationError: no administrator is configured, or it may not do what is needed.
        Unavailable: the database does not answer.
    """
    if location.admin is None:
        raise ConfigurationError(
            "The database needs an upgrade: set VOXPLANE_DATABASE_ADMIN_URL and run `voxplane db upgrade`."
        )
    try:
        if location.embedded is not None:
            _create_database(location.embedded.conninfo(user="postgres", dbname="postgres"))
        with psycopg.connect(location.admin, autocommit=True, options=_OPTIONS) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [_ADVISORY_LOCK])
            _create_roles(connection, location.app)
            connection.execute("CREATE SCHEMA IF NOT EXISTS voxplane AUTHORIZATION voxplane_owner")
            connection.execute("SET ROLE voxplane_owner")
            yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            "VOXPLANE_DATABASE_ADMIN_URL must be a role that may create roles and a schema."
        ) from error
    except psycopg.OperationalError as error:
        raise Unavailable("The database does not answer at VOXPLANE_DATABASE_ADMIN_URL.") from error


@contextmanager
def reading(location: Location) -> Generator[psycopg.Connection[Any]]:
    """Connect as the application for a look before serving.

    Raises:
        Unavailable: the database does not answer.
    """
    with _our_errors(), psycopg.connect(location.app, autocommit=True, options=_OPTIONS) as connection:
        yield connection


_OPTIONS = "-c search_path=voxplane -c timezone=UTC -c client_min_messages=warning"


def _create_database(server: str) -> None:
    with psycopg.connect(server, autocommit=True, row_factory=scalar_row) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_ADVISORY_LOCK])
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_DATABASE]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_DATABASE)))


def _create_roles(connection: psycopg.Connection[Any], app: str) -> None:
    login = conninfo_to_dict(app)
    _create_role(connection, "voxplane_owner", sql.SQL("NOLOGIN"))
    connection.execute("GRANT voxplane_owner TO CURRENT_USER")
    user, password = str(login.get("user") or "voxplane_app"), login.get("password")
    _create_role(connection, "voxplane_app", _login(connection, user, password, is_wanted=user == "voxplane_app"))
    if user != "voxplane_app":
        _create_role(connection, user, _login(connection, user, password, is_wanted=True))
        connection.execute(sql.SQL("GRANT voxplane_app TO {}").format(sql.Identifier(user)))


def _login(
    connection: psycopg.Connection[Any], user: str, password: object, *, is_wanted: bool
) -> sql.SQL | sql.Composed:
    """Write the options of a new role. The password goes over as its verifier: statements can end up in a log."""
    if not is_wanted:
        return sql.SQL("NOLOGIN")
    if not password:
        return sql.SQL("LOGIN")
    verifier = connection.pgconn.encrypt_password(str(password).encode(), user.encode(), b"scram-sha-256")
    return sql.SQL("LOGIN PASSWORD {}").format(sql.Literal(verifier.decode()))


def _create_role(connection: psycopg.Connection[Any], name: str, options: sql.SQL | sql.Composed) -> None:
    """Create a role unless there is one: a role that exists keeps its password and everything else."""
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    if exists:
        return
    try:
        connection.execute(sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(name), options))
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        # Roles belong to the whole server: somebody upgrading another database of it was quicker.
        return


def schema_version(connection: psycopg.Connection[Any]) -> str | None:
    """Return the revision that the database is at; None when it has no Voxplane schema."""
    if connection.execute("SELECT to_regclass('voxplane.alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT version_num FROM voxplane.alembic_version").fetchone()
    return row[0] if row else None


def migrate(connection: psycopg.Connection[Any]) -> None:
    """Bring the schema up to this release, in one transaction; a newer schema is left alone.

    `connection` is one of `administration`.
    """
    version = schema_version(connection)
    if version is not None and version >= SCHEMA_VERSION:
        return
    # Imported here: most starts have nothing to migrate, and these two cost a good part of a second.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import create_engine  # noqa: PLC0415
    from sqlalchemy.pool import StaticPool  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    engine = create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool)
    connection.autocommit = False
    with engine.connect() as wrapped:
        config.attributes["connection"] = wrapped
        command.upgrade(config, "head")
        wrapped.commit()
    connection.autocommit = True


def drop(connection: psycopg.Connection[Any]) -> None:
    """Remove the schema with everything in it. `connection` is one of `administration`."""
    connection.execute("RESET ROLE")
    connection.execute("DROP SCHEMA voxplane CASCADE")
    connection.execute("CREATE SCHEMA voxplane AUTHORIZATION voxplane_owner")
    connection.execute("SET ROLE voxplane_owner")


def holds_secrets(connection: psycopg.Connection[Any]) -> bool:
    """Whether any organization has stored secrets. `connection` is one of `administration`."""
    if schema_version(connection) is None:
        return False
    with connection.transaction():
        # The owner is under row level security too; lifting it for this question is undone with the transaction.
        connection.execute("ALTER TABLE organization_secrets NO FORCE ROW LEVEL SECURITY")
        row = connection.execute("SELECT 1 FROM organization_secrets WHERE secrets <> '{}' LIMIT 1").fetchone()
        raise psycopg.Rollback
    return row is not None


def is_in_use(connection: psycopg.Connection[Any]) -> bool:
    """Whether a control plane is open on this database. `connection` is one of `administration`."""
    statement = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s LIMIT 1"
    return connection.execute(statement, [_APPLICATION]).fetchone() is not None


def installation_key(connection: psycopg.Connection[Any]) -> tuple[str, bytes] | None:
    """Return the wrapped audit key and the id of the key that wraps it; None before the first start."""
    return connection.execute("SELECT kek_id, audit_key FROM installation").fetchone()


def install_key(connection: psycopg.Connection[Any], kek_id: str, wrapped_audit_key: bytes) -> None:
    """Keep the audit key of a new installation. `connection` is one of `administration`."""
    connection.execute("INSERT INTO installation (kek_id, audit_key) VALUES (%s, %s)", [kek_id, wrapped_audit_key])


def publish_catalogue(connection: psycopg.Connection[Any], entries: Iterable[tuple[Provider, str]]) -> None:
    """Write the definitions of this release to `providers`: upsert, and retire what is gone, never delete.

    `entries` are catalogue entries with their digests; `connection` is one of `administration`.
    """
    rows = [
        {
            "key": entry.key,
            "type": entry.type.value,
            "name": entry.name,
            "definition": json.dumps(entry.model_dump(mode="json", by_alias=True)),
            "digest": digest,
        }
        for entry, digest in entries
    ]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO providers (key, type, name, definition, digest)
            VALUES (%(key)s, %(type)s, %(name)s, %(definition)s, %(digest)s)
            ON CONFLICT (key) DO UPDATE
                SET type = excluded.type, name = excluded.name, definition = excluded.definition,
                    digest = excluded.digest, retired_at = NULL
                WHERE providers.digest <> excluded.digest OR providers.retired_at IS NOT NULL
            """,
            rows,
        )
        cursor.execute(
            "UPDATE providers SET retired_at = now() WHERE retired_at IS NULL AND NOT key = ANY(%s)",
            [[row["key"] for row in rows]],
        )


def catalogue(connection: psycopg.Connection[Any]) -> tuple[dict[str, str], str]:
    """Return what the database holds of the providers on offer: digests by key, and the entries as one document."""
    rows = connection.execute("SELECT key, digest, definition FROM providers WHERE retired_at IS NULL").fetchall()
    entries = [definition for _, _, definition in rows]
    return {key: digest for key, digest, _ in rows}, json.dumps({"providers": entries})


class Database:
    """The application's connections. Every statement runs in a transaction that names its tenant."""

    def __init__(self, pool: AsyncConnectionPool[Connection], address: str) -> None:
        """Take an open pool, and its address for the connection that listens; `open_database` makes one."""
        self._pool = pool
        self._address = address

    @asynccontextmanager
    async def transaction(
        self,
        *,
        organization_id: UUID | None = None,
        token_id: str | None = None,
        platform: bool = False,
        is_piped: bool = False,
    ) -> AsyncGenerator[Connection]:
        """Run statements for one organization; without one, tenant tables are empty.

        `token_id` lets the one access token of that id be read; `platform` lets organizations be listed and made. Where
        it `is_piped`, statements leave together, as soon as somebody wants a row of one or at the end; whether one
        failed shows then. A cancel scope around such a transaction does not end it.

        Raises:
            Unavailable: the database does not answer in time.
            InvalidRequest: a value is none that PostgreSQL can hold.
            InternalError: a statement did what the role may not; a defect of ours.
        """
        with _our_errors():
            # A pipe that is given up half sent costs the connection, and psycopg 3.3 leaves an error nobody raised.
            with anyio.CancelScope(shield=is_piped):
                async with (
                    self._pool.connection() as connection,
                    connection.pipeline() if is_piped else nullcontext(),
                    connection.transaction(),
                ):
                    await name_tenant(connection, organization_id=organization_id, token_id=token_id, platform=platform)
                    yield connection

    async def notifications(self, channel: LiteralString, *, echo_seconds: float) -> AsyncGenerator[str | None]:
        """Yield None once the channel is listened to, then the payload of every notification.

        A line that carries nothing for `echo_seconds` is asked for a sign of life, and has as long for each answer.

        Raises:
            Unavailable: the connection cannot be made, breaks, or does not answer.
        """
        with _our_errors():
            with _at_most(echo_seconds):
                connection = await psycopg.AsyncConnection.connect(self._address, autocommit=True, options=_OPTIONS)
            try:
                with _at_most(echo_seconds):
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                yield None
                while True:
                    async for notification in connection.notifies(timeout=echo_seconds, stop_after=1):
                        yield notification.payload
                    with _at_most(echo_seconds):
                        await connection.execute("SELECT")
            finally:
                # As a context it would be rolled back first, which who is cancelled does not get to the end of.
                await connection.close()

    async def answers(self) -> bool:
        """Whether a statement gets through."""
        try:
            async with self.transaction():
                return True
        except Unavailable:
            return False

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()


async def name_tenant(
    connection: Connection,
    *,
    organization_id: UUID | None = None,
    token_id: str | None = None,
    platform: bool = False,
) -> None:
    """Bind what follows in the transaction, as `Database.transaction` does, to an organization and nothing else."""
    settings = (
        "" if organization_id is None else str(organization_id),
        token_id or "",
        "on" if platform else "",
    )
    await connection.execute(_SET_TENANT, settings)


_SET_TENANT: LiteralString = """
    SELECT set_config('voxplane.organization_id', %s, true),
           set_config('voxplane.token_id', %s, true),
           set_config('voxplane.platform', %s, true)
"""


@contextmanager
def _at_most(seconds: float) -> Generator[None]:
    """Take a line that does not answer in time for one that was cut without a word."""
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        raise Unavailable from None


@contextmanager
def _our_errors() -> Generator[None]:
    """Turn the driver's errors into ours. Their text can hold row values, so it goes no further than the cause."""
    try:
        yield
    except (PoolTimeout, TooManyRequests) as error:
        raise Unavailable("All database connections are busy.") from error
    except psycopg.errors.RaiseException as error:  # nothing of ours raises it: somebody closed a table
        raise Unavailable("The database refuses this at present.") from error
    except psycopg.DataError as error:
        raise InvalidRequest("A value is not one that can be stored.") from error
    except psycopg.OperationalError as error:
        raise Unavailable("The database does not answer.") from error
    except psycopg.Error as error:
        if _keeps_from_recording(error):
            log.error("nothing can be put on record, so nothing is done", sqlstate=error.sqlstate)  # noqa: TRY400 - its text can hold row values
            raise Unavailable("Nothing can be put on record at present, so nothing is done.") from error
        raise InternalError from error


def _keeps_from_recording(error: psycopg.Error) -> bool:
    """Whether it is the audit log that refuses to be written, which says nothing against what was asked."""
    said = error.diag.message_primary or ""
    # That a row would be another organization's is a defect of ours.
    return "row-level security" not in said and _RECORD in {error.diag.table_name, *said.replace('"', " ").split()}


async def open_database(location: Location, settings: Settings, digests: dict[str, str]) -> Database:
    """Open the pool, after making sure that what it connects to is safe to serve from.

    `digests` are the definitions of this release by key: the catalogue in the database must be the same.

    Raises:
        ConfigurationError: the schema is older than this release, the catalogue is another, or the role or a
            table would void row level security.
        Unavailable: the database does not answer.
    """
    milliseconds = {
        "statement_timeout": settings.statement_timeout_seconds,
        "lock_timeout": settings.lock_timeout_seconds,
        "idle_in_transaction_session_timeout": 2 * settings.statement_timeout_seconds,
    }
    timeouts = " ".join(f"-c {name}={int(seconds * 1000)}" for name, seconds in milliseconds.items())
    with _our_errors():
        async with await psycopg.AsyncConnection.connect(location.app, options=_OPTIONS) as connection:
            await _refuse_unless_safe(connection, digests)
    pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
        location.app,
        connection_class=psycopg.AsyncConnection,
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "options": f"{_OPTIONS} {timeouts}",
            "application_name": _APPLICATION,
        },
        min_size=min(2, settings.pool_size),
        max_size=settings.pool_size,
        timeout=settings.pool_wait_seconds,
        open=False,
        name="voxplane",
    )
    await pool.open()
    return Database(pool, location.app)


async def _refuse_unless_safe(connection: Connection, digests: dict[str, str]) -> None:
    for statement, refusal in _UNSAFE:
        cursor = await connection.execute(statement)
        if await cursor.fetchone() is not None:
            raise ConfigurationError(refusal)
    cursor = await connection.execute("SELECT key, digest FROM providers WHERE retired_at IS NULL")
    if dict(await cursor.fetchall()) != digests:
        raise ConfigurationError(
            "The catalogue in the database is not the one of this release: run `voxplane db upgrade`."
        )


# Each statement finds a row when the wall that row level security is meant to be is not there.
_UNSAFE: tuple[tuple[LiteralString, str], ...] = (
    (
        """
        SELECT 1 FROM pg_roles
        WHERE pg_has_role(session_user, oid, 'MEMBER') AND (rolsuper OR rolbypassrls OR rolcreaterole)
        """,
        "VOXPLANE_DATABASE_URL names a role that is, or can become, one above row level security: use voxplane_app.",
    ),
    (
        """
        SELECT 1 FROM pg_namespace n
        WHERE n.nspname = 'voxplane' AND pg_has_role(session_user, n.nspowner, 'MEMBER')
        UNION ALL
        SELECT 1 FROM pg_class c
        WHERE c.relnamespace = 'voxplane'::regnamespace AND pg_has_role(session_user, c.relowner, 'MEMBER')
        """,
        "The application's database role owns the schema or can become its owner: give it voxplane_app only.",
    ),
    (
        """
        SELECT 1 FROM pg_class c
        WHERE c.relnamespace = 'voxplane'::regnamespace AND c.relkind IN ('r', 'p')
          AND (c.relname = 'organizations' OR EXISTS (
              SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'organization_id'))
          AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
        """,
        "A tenant table is not under forced row level security: run `voxplane db upgrade`, and find out who did it.",
    ),
    (
        """
        SELECT 1 FROM unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS p
        WHERE has_table_privilege('voxplane.providers', p) OR has_table_privilege('voxplane.installation', p)
           OR (p <> 'INSERT' AND (has_table_privilege('voxplane.audit_events', p)
                                  OR has_table_privilege('voxplane.config_history', p)))
        UNION ALL
        SELECT 1 FROM unnest(ARRAY['providers', 'installation', 'audit_events', 'config_history']) AS t
        WHERE has_any_column_privilege('voxplane.' || t, 'UPDATE')
        """,
        "The application's database role can change the catalogue, the audit log or the history: revoke that.",
    ),
)

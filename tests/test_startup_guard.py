"""What the application's role may do in the database, and the setups in which the service refuses to serve."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from tests.conftest import Template, settings_for
from tests.test_tenancy import TENANT_TABLES
from voxplane.errors import ConfigurationError
from voxplane.server.auth import Principal
from voxplane.server.control_plane import ControlPlane
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.settings import Settings

Superuser = psycopg.Connection[tuple[object, ...]]
Settle = Callable[..., Settings]
OTHER = "00000000-0000-4000-8000-000000000001"

# %(own)s is the organization that the transaction names, %(other)s is another one that exists.
REFUSED = {
    "settings for another organization": """
        INSERT INTO organization_provider_configs VALUES (%(other)s, 'groq', '{}', 0, true, 1, 1, now(), 'x')""",
    "settings moved to another organization": "UPDATE organization_provider_configs SET organization_id = %(other)s",
    "secrets for another organization": "INSERT INTO organization_secrets VALUES (%(other)s, '{}', now())",
    "secrets moved to another organization": "UPDATE organization_secrets SET organization_id = %(other)s",
    "a data key for another organization": "INSERT INTO organization_data_keys VALUES (%(other)s, 9, '', 'x')",
    "a token for another organization": """
        INSERT INTO access_tokens VALUES ('stolen', %(other)s, 'x', '', '{admin:secrets}', now(), 'x')""",
    "a token of the platform": """
        INSERT INTO access_tokens VALUES ('stolen', NULL, 'x', '', '{admin:organizations}', now(), 'x')""",
    "history for another organization": """
        INSERT INTO config_history VALUES (%(other)s, 'groq', 1, NULL, NULL, 'x', now())""",
    "audit for another organization": """
        INSERT INTO audit_events VALUES (%(other)s, 1, now(), 'x', 'x', 'x', 'x', NULL, '{}', '', '')""",
    "a report for another organization": """
        INSERT INTO provider_reports VALUES (%(other)s, 'groq', 'failed', 'quota', now(), now(), 'x', 1, 1)""",
    "a report moved to another organization": "UPDATE provider_reports SET organization_id = %(other)s",
    "a test for another organization": """
        INSERT INTO provider_verifications VALUES (%(other)s, 'groq', now(), 'x', 'verified', '[]', 1,
            200, NULL, NULL, NULL, 1, '', 'works', now(), now())""",
    "an import notice for another organization": """
        INSERT INTO import_notices VALUES (%(other)s, now(), 'x', '[]')""",
    "an import notice moved to another organization": """
        INSERT INTO import_notices VALUES (%(own)s, now(), 'x', '[]');
        UPDATE import_notices SET organization_id = %(other)s""",
    "import notices deleted": "DELETE FROM import_notices",
    "tests changed": "UPDATE provider_verifications SET verdict = 'works'",
    "reports deleted": "DELETE FROM provider_reports",
    "reports truncated": "TRUNCATE provider_reports",
    "a fleet's token": """
        INSERT INTO access_tokens (id, organizations, name, hash, scopes, created_at, created_by)
        VALUES ('stolen', ARRAY[%(own)s, %(other)s]::uuid[], 'x', '', '{worker:resolve}', now(), 'x')""",
    "a token's organization changed": "UPDATE access_tokens SET organization_id = %(other)s WHERE id = 'own'",
    "an organization": "INSERT INTO organizations (slug, name) VALUES ('new', 'New')",
    "providers inserted": "INSERT INTO providers VALUES ('evil', 'llm', 'Evil', '{}', '')",
    "providers changed": "UPDATE providers SET digest = ''",
    "providers deleted": "DELETE FROM providers",
    "providers truncated": "TRUNCATE providers CASCADE",
    "installation inserted": "INSERT INTO installation (kek_id, audit_key) VALUES ('x', '')",
    "installation changed": "UPDATE installation SET kek_id = ''",
    "installation deleted": "DELETE FROM installation",
    "audit changed": "UPDATE audit_events SET actor = 'somebody else'",
    "audit deleted": "DELETE FROM audit_events",
    "audit truncated": "TRUNCATE audit_events",
    "history changed": "UPDATE config_history SET actor = 'somebody else'",
    "history deleted": "DELETE FROM config_history",
    "history truncated": "TRUNCATE config_history",
    "organization deleted": "DELETE FROM organizations",
    "organization renamed": "UPDATE organizations SET slug = 'renamed'",
    "epoch changed": "UPDATE organizations SET epoch = gen_random_uuid()",
    "secrets deleted": "DELETE FROM organization_secrets",
    "secrets truncated": "TRUNCATE organization_secrets",
    "data keys changed": "UPDATE organization_data_keys SET kek_id = 'x'",
    "data keys deleted": "DELETE FROM organization_data_keys",
    "tokens deleted": "DELETE FROM access_tokens",
    "token's scopes changed": "UPDATE access_tokens SET scopes = '{admin:secrets}'",
    "token's end changed": "UPDATE access_tokens SET expires_at = NULL",
    "schema's version changed": "UPDATE alembic_version SET version_num = '0000'",
    "owner's role": "SET ROLE voxplane_owner",
    "superuser's role": "SET ROLE postgres",
    "superuser's session": "SET SESSION AUTHORIZATION postgres",
    "policies disabled": "ALTER TABLE organizations DISABLE ROW LEVEL SECURITY",
    "policies not forced": "ALTER TABLE organization_secrets NO FORCE ROW LEVEL SECURITY",
    "policy added": "CREATE POLICY everybody ON organization_secrets USING (true)",
    "policy altered": "ALTER POLICY tenant ON organization_secrets USING (true)",
    "policy dropped": "DROP POLICY tenant ON organization_secrets",
    "policies passed by": "SET LOCAL row_security = off; SELECT * FROM organization_secrets",
    "triggers off": "SET LOCAL session_replication_role = replica",
    "function created": "CREATE FUNCTION evil() RETURNS int LANGUAGE sql RETURN 1",
    "function replaced": """
        CREATE OR REPLACE FUNCTION current_organization() RETURNS uuid LANGUAGE sql RETURN NULL::uuid""",
    "function altered": "ALTER FUNCTION current_organization() VOLATILE",
    "table created": "CREATE TABLE evil ()",
    "table altered": "ALTER TABLE audit_events ADD COLUMN evil text",
    "table dropped": "DROP TABLE audit_events",
    "table taken": "ALTER TABLE audit_events OWNER TO voxplane_app",
    "trigger created": """
        CREATE TRIGGER evil BEFORE INSERT ON audit_events EXECUTE FUNCTION suppress_redundant_updates_trigger()""",
    "rule created": "CREATE RULE evil AS ON INSERT TO audit_events DO INSTEAD NOTHING",
    "index created": "CREATE INDEX ON audit_events (actor)",
    "schema created": "CREATE SCHEMA evil",
    "schema dropped": "DROP SCHEMA voxplane CASCADE",
    "role created": "CREATE ROLE evil SUPERUSER",
    "role altered": "ALTER ROLE voxplane_app BYPASSRLS",
    "ownership granted": "GRANT voxplane_owner TO voxplane_app",
    "passwords read": "SELECT rolpassword FROM pg_authid",
    "a file read": "SELECT pg_read_file('PG_VERSION')",
    "a file written": "COPY organizations TO '/tmp/evil'",
    "a program run": "COPY organizations TO PROGRAM 'cat'",
    "server told to read its settings": "SELECT pg_reload_conf()",
}
ALLOWED = {
    "settings": """
        INSERT INTO organization_provider_configs VALUES (%(own)s, 'groq', '{}', 0, true, 1, 1, now(), 'x')""",
    "secrets": "INSERT INTO organization_secrets VALUES (%(own)s, '{}', now()) ON CONFLICT DO NOTHING",
    "a data key": "INSERT INTO organization_data_keys VALUES (%(own)s, 9, '', 'x')",
    "a token": "INSERT INTO access_tokens VALUES ('mine', %(own)s, 'x', '', '{livekit:read}', now(), 'x')",
    "history": "INSERT INTO config_history VALUES (%(own)s, 'groq', 99, NULL, NULL, 'x', now())",
    "audit": "INSERT INTO audit_events VALUES (%(own)s, 99, now(), 'x', 'x', 'x', 'x', NULL, '{}', '', '')",
    "a report": """
        INSERT INTO provider_reports VALUES (%(own)s, 'groq', 'failed', 'quota', now(), now(), 'x', 1, 1)""",
    "a test": """
        INSERT INTO provider_verifications VALUES (%(own)s, 'groq', now(), 'x', 'verified', '[]', 1,
            200, NULL, NULL, NULL, 1, '', 'works', now(), now())""",
    "tests dropped": "DELETE FROM provider_verifications",
    "an import notice": "INSERT INTO import_notices VALUES (%(own)s, now(), 'x', '[]')",
    "an import notice done": "UPDATE import_notices SET done_at = now(), done_by = 'x'",
    "a report again": "UPDATE provider_reports SET reports = reports + 1",
    "revision": "UPDATE organizations SET revision = revision + 1",
    "revocation": "UPDATE access_tokens SET revoked_at = now()",
    "catalogue": "SELECT * FROM providers",
}


_ADD_ACCESS = """
    INSERT INTO access_tokens (id, organization_id, organizations, name, hash, scopes, created_at, created_by)
    VALUES (%s, %s, %s, 'x', '', '{worker:resolve}', now(), 'x')
"""


@pytest.fixture
def application(
    postgres: EmbeddedPostgres, database: str, superuser: Superuser
) -> Iterator[tuple[Superuser, dict[str, object]]]:
    """A connection with the application's rights, and the two organizations of the statements."""
    superuser.execute("INSERT INTO organizations (id, slug, name) VALUES (%s, 'other', 'Other')", [OTHER])
    own = superuser.execute("SELECT id FROM organizations WHERE slug = 'default'").fetchone()
    assert own is not None
    superuser.execute("INSERT INTO organization_secrets VALUES (%s, '{}', now())", own)
    superuser.execute(
        "INSERT INTO provider_reports VALUES (%s, 'piper', 'recovered', NULL, now(), now(), '', 1, 1)", own
    )
    superuser.execute(_ADD_ACCESS, ("own", own[0], None))
    superuser.execute(_ADD_ACCESS, ("fleet", None, [OTHER]))
    address = postgres.conninfo(user="voxplane_app", dbname=database)
    with psycopg.connect(address, options="-c search_path=voxplane", autocommit=True) as connection:
        yield connection, {"own": own[0], "other": OTHER}


def _run(application: tuple[Superuser, dict[str, object]], statement: str) -> str | None:
    """Run a statement in a transaction of one's own organization, undo it, and return its SQLSTATE if it failed."""
    connection, organizations = application
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SELECT set_config('voxplane.organization_id', %(own)s::text, true)", organizations)
            # Several statements at once take no parameters, hence a cursor that puts them in on this side.
            psycopg.ClientCursor(connection).execute(statement.encode(), organizations)
    except psycopg.Error as error:
        return error.sqlstate
    return None


def test_the_application_may_do_nothing_but_its_work(application: tuple[Superuser, dict[str, object]]) -> None:
    """S3: 75 statements, each refused for want of a right (SQLSTATE 42501) and for no other reason."""
    assert len(REFUSED) == 75
    outcomes = {name: _run(application, statement) for name, statement in REFUSED.items()}
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "42501"} == {}


def test_the_application_may_do_its_work(application: tuple[Superuser, dict[str, object]]) -> None:
    """The refusals above are not for want of everything."""
    outcomes = {name: _run(application, statement) for name, statement in ALLOWED.items()}
    assert {name: outcome for name, outcome in outcomes.items() if outcome is not None} == {}


def test_the_list_of_a_fleet_is_out_of_an_organizations_reach(
    application: tuple[Superuser, dict[str, object]],
) -> None:
    """The column may be written, for the platform; no row of a fleet is there for an organization to write it in."""
    connection, organizations = application
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT set_config('voxplane.organization_id', %(own)s::text, true)", organizations)
        changed = "UPDATE access_tokens SET organizations = ARRAY[%(own)s]::uuid[] WHERE id = 'fleet'"
        assert connection.execute(changed, organizations).rowcount == 0
        # Nor can a token of an organization become one of a fleet.
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(changed.replace("fleet", "own"), organizations)


def test_the_superuser_is_refused_none_of_it(
    postgres: EmbeddedPostgres, database: str, application: tuple[Superuser, dict[str, object]]
) -> None:
    """Nor for a mistake in the statement: whoever has the rights gets through. What reaches beyond is left out."""
    beyond = {"a file written", "a program run", "role created", "role altered", "ownership granted"}
    address = postgres.conninfo(user="postgres", dbname=database)
    with psycopg.connect(address, options="-c search_path=voxplane", autocommit=True) as connection:
        outcomes = {
            name: _run((connection, application[1]), statement)
            for name, statement in REFUSED.items()
            if name not in beyond
        }
    assert "42501" not in outcomes.values()
    # Constraints hold for the superuser too: the rows that are already there, and the one installation.
    assert {name for name, outcome in outcomes.items() if outcome not in {None, "23505", "23503"}} == set()


@pytest.fixture
def role(superuser: Superuser) -> Iterator[str]:
    """A role of this test alone, with the rights of the application: roles belong to the whole server."""
    name = f"guard_{secrets.token_hex(6)}"
    superuser.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE voxplane_app").format(sql.Identifier(name)))
    yield name
    _drop(superuser, name)


def _drop(superuser: Superuser, name: str) -> None:
    superuser.execute("RESET ROLE")
    for statement in ("REASSIGN OWNED BY {} TO voxplane_owner", "DROP OWNED BY {}", "DROP ROLE {}"):
        superuser.execute(sql.SQL(statement).format(sql.Identifier(name)))


@pytest.fixture
def stranger(superuser: Superuser) -> Iterator[str]:
    """A second role of this test, which the first one may be given."""
    name = f"stranger_{secrets.token_hex(6)}"
    superuser.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    yield name
    _drop(superuser, name)


@pytest.fixture
def open_as(postgres: EmbeddedPostgres, database: str, template: Template, role: str) -> Settle:
    """Make the settings of a service that runs as the test's role, with or without an administrator's address."""

    def make(*, has_admin: bool = False) -> Settings:
        changes: dict[str, object] = {
            "database_url": SecretStr(postgres.conninfo(user=role, dbname=database)),
            **({} if has_admin else {"database_admin_url": None}),
        }
        return settings_for(postgres, database, template.keyring, **changes)

    return make


async def _refusal(settings: Settings) -> str | None:
    try:
        async with ControlPlane.open(settings):
            return None
    except ConfigurationError as error:
        return error.message


ROLE = "row level security"
OWNER = "can become its owner"
WALL = "not under forced row level security"
RIGHTS = "can change the catalogue, the audit log or the history"
UNSAFE = {
    "a superuser": ("ALTER ROLE {role} SUPERUSER", ROLE),
    "bypasses policies": ("ALTER ROLE {role} BYPASSRLS", ROLE),
    "makes roles": ("ALTER ROLE {role} CREATEROLE", ROLE),
    "may become a superuser": ("ALTER ROLE {stranger} SUPERUSER; GRANT {stranger} TO {role}", ROLE),
    "may become one that bypasses policies": (
        "ALTER ROLE {stranger} BYPASSRLS; GRANT {stranger} TO {role} WITH INHERIT FALSE",
        ROLE,
    ),
    "may become the owner": ("GRANT voxplane_owner TO {role}", OWNER),
    "may become the owner in two steps": ("GRANT voxplane_owner TO {stranger}; GRANT {stranger} TO {role}", OWNER),
    "owns a table": ("ALTER TABLE organization_secrets OWNER TO {role}", OWNER),
    "owns the schema": ("ALTER SCHEMA voxplane OWNER TO {role}", OWNER),
    "providers can be added": ("GRANT INSERT ON providers TO {role}", RIGHTS),
    "providers can be changed": ("GRANT UPDATE ON providers TO {role}", RIGHTS),
    "a column of providers can be changed": ("GRANT UPDATE (definition) ON providers TO {role}", RIGHTS),
    "providers can be deleted": ("GRANT DELETE ON providers TO PUBLIC", RIGHTS),
    "the installation can be changed": ("GRANT UPDATE ON installation TO {role}", RIGHTS),
    "audit can be changed": ("GRANT UPDATE ON audit_events TO {role}", RIGHTS),
    "a column of audit can be changed": ("GRANT UPDATE (detail) ON audit_events TO {role}", RIGHTS),
    "audit can be deleted": ("GRANT DELETE ON audit_events TO {role}", RIGHTS),
    "audit can be truncated": ("GRANT TRUNCATE ON audit_events TO {role}", RIGHTS),
    "history can be changed": ("GRANT UPDATE ON config_history TO {role}", RIGHTS),
    "history can be deleted": ("GRANT DELETE ON config_history TO {stranger}; GRANT {stranger} TO {role}", RIGHTS),
}


@pytest.mark.parametrize("setup", UNSAFE)
async def test_an_unsafe_role_is_refused_at_the_start(
    superuser: Superuser, role: str, stranger: str, open_as: Settle, setup: str
) -> None:
    """S3."""
    assert await _refusal(open_as()) is None
    statement, expected = UNSAFE[setup]
    superuser.execute(statement.format(role=role, stranger=stranger).encode())
    refusal = await _refusal(open_as())
    assert refusal is not None
    assert expected in refusal


@pytest.mark.parametrize("change", ["DISABLE ROW LEVEL SECURITY", "NO FORCE ROW LEVEL SECURITY"])
async def test_a_table_without_its_wall_is_refused_at_the_start(
    superuser: Superuser, open_as: Settle, change: str
) -> None:
    """S3: each tenant table in turn, also where an administrator's address is at hand."""
    for table in TENANT_TABLES:
        superuser.execute(f"ALTER TABLE {table} {change}".encode())
        for has_admin in (False, True):
            refusal = await _refusal(open_as(has_admin=has_admin))
            assert refusal is not None, table
            assert WALL in refusal
        superuser.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY".encode())
    assert await _refusal(open_as()) is None


def test_every_table_with_an_organization_is_a_tenant_table(superuser: Superuser) -> None:
    found = superuser.execute(
        """
        SELECT table_name FROM information_schema.columns
        WHERE table_schema = 'voxplane' AND column_name = 'organization_id' UNION SELECT 'organizations'
        """
    ).fetchall()
    assert {name for (name,) in found} == set(TENANT_TABLES)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE providers SET digest = 'x' WHERE key = 'openai'",
        "UPDATE providers SET retired_at = now() WHERE key = 'openai'",
        "INSERT INTO providers SELECT 'evil', type, name, definition, 'x' FROM providers WHERE key = 'openai'",
        "UPDATE providers SET retired_at = now()",
    ],
)
async def test_another_catalogue_than_this_releases_is_refused_at_the_start(
    superuser: Superuser, open_as: Settle, statement: str
) -> None:
    """S3: an administrator's address would publish the right one again; without it there is no serving."""
    superuser.execute(statement.encode())
    refusal = await _refusal(open_as())
    assert refusal is not None
    assert "catalogue in the database" in refusal
    assert await _refusal(open_as(has_admin=True)) is None
    assert await _refusal(open_as()) is None


async def test_a_database_without_a_schema_is_refused_without_an_administrator(
    superuser: Superuser, open_as: Settle
) -> None:
    superuser.execute("DROP SCHEMA voxplane CASCADE")
    refusal = await _refusal(open_as())
    assert refusal is not None
    assert "voxplane db upgrade" in refusal


async def test_a_safe_role_of_another_name_serves(open_as: Settle, administrator: Principal) -> None:
    async with ControlPlane.open(open_as()) as plane:
        listed = await plane.providers.get_organization_providers(administrator)
    assert len(listed.providers) == 12

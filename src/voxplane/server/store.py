"""Every SQL statement of the application, beside the rows that it returns.

A `Store` is bound to one organization: its statements name it, and row level security holds them to it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, LiteralString, Self, TypeVar

from psycopg.rows import class_row
from psycopg.types.json import Json, Jsonb
from pydantic import ValidationError

from voxplane.errors import OrganizationExists, OrganizationNotFound
from voxplane.schemas import Provider
from voxplane.server.position import Position
from voxplane.server.verification_store import VerificationRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import psycopg

    from voxplane.server.audit import ChainedEvent
    from voxplane.server.database import Connection

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class ConfigRow:
    """What one organization set for one provider."""

    provider_key: str
    config: dict[str, Any]
    schema_version: int
    is_enabled: bool
    priority: int
    revision: int
    updated_at: datetime
    updated_by: str

    @classmethod
    def nothing(cls, provider_key: str) -> Self:
        """Return what stands for settings that were never written: all defaults, disabled."""
        return cls(provider_key, {}, 0, is_enabled=False, priority=0, revision=0, updated_at=_NEVER, updated_by="")


@dataclass(frozen=True)
class HistoryRow:
    """What one provider's settings were and became, by whom, and by which action of the audit log."""

    provider_key: str
    revision: int
    before: ConfigRow | None
    after: ConfigRow | None
    actor: str
    actor_name: str
    action: str
    at: datetime
    restored_from: int | None = None


@dataclass(frozen=True)
class ReportRow:
    """What workers last saw of one provider: `reports` times the same outcome, first at `since`."""

    provider_key: str
    outcome: Literal["failed", "recovered"]
    kind: str | None
    since: datetime
    reported_at: datetime
    reported_by: str
    reports: int
    revision: int


@dataclass(frozen=True)
class OfferedAudit:
    """Audit rows that were sent. In a transaction that is piped, what became of them shows when it is over."""

    _cursor: psycopg.AsyncCursor[dict[str, Any]]

    @property
    def stands(self) -> bool:
        """Whether they were added."""
        return self._cursor.rowcount > 0


@dataclass(frozen=True)
class Sighting:
    """What a worker saw of one provider, which it had in use as it was `at` a position."""

    provider_key: str
    outcome: Literal["failed", "recovered"]
    kind: str | None
    at: Position


@dataclass(frozen=True)
class OrganizationRow:
    """An organization without its settings."""

    id: UUID
    slug: str
    name: str
    revision: int
    created_at: datetime


@dataclass(frozen=True)
class OrganizationState:
    """All that one organization configured, at one revision. Secrets are sealed in it."""

    id: UUID
    slug: str
    name: str
    epoch: UUID
    revision: int
    created_at: datetime
    audit_seq: int
    audit_hash: bytes
    secret_versions: dict[str, int]
    provider_revisions: dict[str, int]
    configs: dict[str, ConfigRow]
    secrets: dict[str, Any]
    reports: dict[str, ReportRow]
    verifications: dict[str, VerificationRow]


@dataclass(frozen=True)
class DataKeyRow:
    """A wrapped key of an organization: version 0 marks secrets in the audit log, all others seal them."""

    version: int
    wrapped: bytes
    kek_id: str


class Store:
    """The statements of one organization, on one transaction."""

    def __init__(self, connection: Connection, organization_id: UUID) -> None:
        """Bind to a connection whose transaction names the same organization."""
        self.connection = connection
        self._organization_id = organization_id

    async def _run(self, statement: LiteralString, **parameters: object) -> psycopg.AsyncCursor[Any]:
        parameters["organization_id"] = self._organization_id
        return await self.connection.execute(statement, parameters)

    async def state(self, *, lock: bool = False) -> OrganizationState:
        """Read the organization whole; with `lock`, hold back its other writers until the transaction ends.

        Raises:
            OrganizationNotFound: it is gone.
        """
        if lock:
            # A statement of its own: one that both waits and reads would find its own row as the writer before it
            # left it, but settings and secrets as they were when it began to wait.
            await self._run("SELECT 1 FROM organizations WHERE id = %(organization_id)s FOR UPDATE")
        row = await (await self._run(_STATE)).fetchone()
        if row is None:
            raise OrganizationNotFound
        row["configs"] = {each["provider_key"]: _row(ConfigRow, each, "updated_at") for each in row["configs"]}
        row["reports"] = {
            each["provider_key"]: _row(ReportRow, each, "since", "reported_at") for each in row["reports"]
        }
        row["verifications"] = {
            each["provider_key"]: _row(VerificationRow, _with_day(each), "checked_at", "since", "proved_at")
            for each in row["verifications"]
        }
        return OrganizationState(**row)

    async def put_config(self, row: ConfigRow) -> None:
        """Write one provider's settings."""
        await self._run(
            """
            INSERT INTO organization_provider_configs AS configs
                (organization_id, provider_key, config, schema_version, is_enabled, priority,
                 revision, updated_at, updated_by)
            VALUES (%(organization_id)s, %(provider_key)s, %(config)s, %(schema_version)s, %(is_enabled)s,
                    %(priority)s, %(revision)s, %(updated_at)s, %(updated_by)s)
            ON CONFLICT (organization_id, provider_key) DO UPDATE
                SET config = excluded.config, schema_version = excluded.schema_version,
                    is_enabled = excluded.is_enabled, priority = excluded.priority,
                    revision = excluded.revision, updated_at = excluded.updated_at,
                    updated_by = excluded.updated_by
                WHERE configs.organization_id = %(organization_id)s
            """,
            provider_key=row.provider_key,
            config=Jsonb(row.config),
            schema_version=row.schema_version,
            is_enabled=row.is_enabled,
            priority=row.priority,
            revision=row.revision,
            updated_at=row.updated_at,
            updated_by=row.updated_by,
        )

    async def delete_config(self, provider_key: str) -> None:
        """Remove one provider's settings."""
        await self._run(
            """
            DELETE FROM organization_provider_configs
            WHERE organization_id = %(organization_id)s AND provider_key = %(provider_key)s
            """,
            provider_key=provider_key,
        )

    async def append_history(self, row: HistoryRow) -> None:
        """Keep what one provider's settings were and became."""
        await self._run(
            """
            INSERT INTO config_history
                (organization_id, provider_key, revision, before, after, actor, actor_name, action, at, restored_from)
            VALUES (%(organization_id)s, %(provider_key)s, %(revision)s, %(before)s, %(after)s, %(actor)s,
                    %(actor_name)s, %(action)s, %(at)s, %(restored_from)s)
            """,
            provider_key=row.provider_key,
            revision=row.revision,
            before=_snapshot(row.before),
            after=_snapshot(row.after),
            actor=row.actor,
            actor_name=row.actor_name,
            action=row.action,
            at=row.at,
            restored_from=row.restored_from,
        )

    async def put_secrets(self, secrets: dict[str, Any], at: datetime) -> None:
        """Write the organization's envelopes, by provider."""
        await self._run(
            """
            INSERT INTO organization_secrets AS stored (organization_id, secrets, updated_at)
            VALUES (%(organization_id)s, %(secrets)s, %(at)s)
            ON CONFLICT (organization_id) DO UPDATE
                SET secrets = excluded.secrets, updated_at = excluded.updated_at
                WHERE stored.organization_id = %(organization_id)s
            """,
            secrets=Jsonb(secrets),
            at=at,
        )

    async def data_key(self, version: int | None = None) -> DataKeyRow | None:
        """Return one wrapped key; without a version, the newest data key."""
        cursor = self.connection.cursor(row_factory=class_row(DataKeyRow))
        await cursor.execute(
            """
            SELECT version, wrapped, kek_id FROM organization_data_keys
            WHERE organization_id = %(organization_id)s
              AND (version = %(version)s::integer OR (%(version)s IS NULL AND purpose = 'data'))
            ORDER BY version DESC LIMIT 1
            """,
            {"organization_id": self._organization_id, "version": version},
        )
        return await cursor.fetchone()

    async def add_data_key(self, row: DataKeyRow) -> None:
        """Store a new wrapped key."""
        await self._run(
            """
            INSERT INTO organization_data_keys (organization_id, version, purpose, wrapped, kek_id)
            VALUES (%(organization_id)s, %(version)s, CASE WHEN %(version)s = 0 THEN 'mac' ELSE 'data' END,
                    %(wrapped)s, %(kek_id)s)
            """,
            version=row.version,
            wrapped=row.wrapped,
            kek_id=row.kek_id,
        )

    async def audit_head(self) -> tuple[int, bytes]:
        """Return number and hash of the last audit row, and hold back whoever else would add one.

        Raises:
            OrganizationNotFound: the organization is gone.
        """
        cursor = await self._run(
            "SELECT audit_seq, audit_hash FROM organizations WHERE id = %(organization_id)s FOR UPDATE"
        )
        row = await cursor.fetchone()
        if row is None:
            raise OrganizationNotFound
        return row["audit_seq"], row["audit_hash"]

    async def append_audit(self, rows: Sequence[ChainedEvent]) -> None:
        """Add rows to the audit log, whose head the transaction holds, and make the last one the head."""
        await self._add_audit(rows, "%(organization_id)s", "")

    async def offer_audit(self, rows: Sequence[ChainedEvent]) -> OfferedAudit:
        """Add rows to the audit log, unless the first one does not follow the head or somebody else holds that."""
        is_free: LiteralString = """(
            SELECT id FROM organizations WHERE id = %(organization_id)s AND audit_hash = %(prev_hash)s
            FOR UPDATE SKIP LOCKED
        )"""
        return OfferedAudit(await self._add_audit(rows, is_free, "CROSS JOIN head", prev_hash=rows[0].prev_hash))

    async def _add_audit(
        self, rows: Sequence[ChainedEvent], organization: LiteralString, only_with: LiteralString, **parameters: object
    ) -> psycopg.AsyncCursor[Any]:
        last = rows[-1]
        statement: LiteralString = f"""
            WITH head AS (
                UPDATE organizations SET audit_seq = %(head_seq)s, audit_hash = %(head_hash)s
                WHERE id = {organization}
                RETURNING id
            )
            INSERT INTO audit_events
                (organization_id, seq, at, actor, action, target, outcome, request_id, detail, prev_hash, hash)
            SELECT %(organization_id)s, seq, at, actor, action, target, outcome, request_id, detail,
                   decode(prev_hash, 'hex'), decode(hash, 'hex')
            FROM json_to_recordset(%(rows)s) AS added
                (seq bigint, at timestamptz, actor text, action text, target text, outcome text, request_id text,
                 detail jsonb, prev_hash text, hash text)
                {only_with}
        """  # noqa: S608 - both parts stand above
        return await self._run(
            statement,
            head_seq=last.event.seq,
            head_hash=last.hash,
            # One document: the driver takes several times as long to write an array for each column.
            rows=Json([_audit_row(row) for row in rows]),
            **parameters,
        )

    async def advance(
        self, revision: int, secret_versions: dict[str, int], keys: Sequence[str], renewed: Sequence[str]
    ) -> None:
        """Move the organization to its next revision and ring the doorbell of whoever follows it.

        `renewed` are the providers with other settings or secrets than before. The notification names the revision and
        the providers that changed, nothing else; it is sent at commit.
        """
        await self._run(
            """
            UPDATE organizations
            SET revision = %(revision)s, secret_versions = %(secret_versions)s,
                provider_revisions = provider_revisions || (
                    SELECT coalesce(jsonb_object_agg(key, %(revision)s::bigint), '{}')
                    FROM unnest(%(renewed)s::text[]) AS key
                )
            WHERE id = %(organization_id)s
            RETURNING pg_notify('voxplane', %(payload)s)
            """,
            revision=revision,
            secret_versions=Jsonb(secret_versions),
            renewed=list(renewed),
            payload=self._payload(revision, keys),
        )

    async def rename(self, name: str) -> None:
        """Give the organization another name."""
        await self._run("UPDATE organizations SET name = %(name)s WHERE id = %(organization_id)s", name=name)

    async def ring(self, revision: int) -> None:
        """Have whoever follows the organization look whether they still may: nothing that they read changed."""
        await self._run("SELECT pg_notify('voxplane', %(payload)s)", payload=self._payload(revision, ()))

    async def ring_of_tokens(self) -> None:
        """Have every process forget who it recognised, and the organization's followers look whether they still may."""
        await self._run("SELECT pg_notify('voxplane', %(payload)s)", payload=self._payload("tokens", ()))

    def _payload(self, what: int | Literal["health", "tokens"], keys: Sequence[str]) -> str:
        return f"{self._organization_id}:{what}:{','.join(keys)}"

    async def put_sightings(
        self, seen: Sequence[Sighting], by: str, at: datetime, interval_seconds: float
    ) -> tuple[bool, bool]:
        """Keep what a worker saw of providers, and tell whoever follows. One outcome said again is counted.

        What was seen of a provider before its settings or secrets changed, or in another life of the database, is
        passed over, and so is everything that is said of a provider within `interval_seconds` of the last. Returns
        whether anything was written, and whether what was passed over for that would have changed what is known.
        """
        cursor = await self._run(
            _PUT_SIGHTINGS,
            payload=self._payload("health", ()),
            keys=[each.provider_key for each in seen],
            outcomes=[each.outcome for each in seen],
            kinds=[each.kind for each in seen],
            lives=[each.at.life for each in seen],
            revisions=[each.at.revision for each in seen],
            by=by,
            at=at,
            interval=timedelta(seconds=interval_seconds),
        )
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - it counts
        return row["written"] > 0, row["refused"] > 0


# Rows are locked one after the other, hence the order: two reports could each hold what the other waits for.
_PUT_SIGHTINGS: LiteralString = """
    WITH said AS (
        SELECT said.*, coalesce((provider_revisions->>key)::bigint, 0) AS renewed
        FROM unnest(%(keys)s::text[], %(outcomes)s::text[], %(kinds)s::text[], %(lives)s::text[],
                    %(revisions)s::bigint[]) AS said (key, outcome, kind, of_life, seen_at)
        JOIN organizations ON id = %(organization_id)s AND epoch::text = of_life
    ), fresh AS (
        SELECT said.*, (known.outcome, known.kind) IS NOT DISTINCT FROM (said.outcome, said.kind) AS is_known,
               coalesce(known.reported_at > %(at)s - %(interval)s AND known.reported_at <= %(at)s, false) AS is_soon
        FROM said
        LEFT JOIN provider_reports AS known
            ON organization_id = %(organization_id)s AND provider_key = key AND known.revision >= renewed
        WHERE seen_at BETWEEN renewed AND (SELECT revision FROM organizations WHERE id = %(organization_id)s)
    ), written AS (
        INSERT INTO provider_reports AS known
            (organization_id, provider_key, outcome, kind, since, reported_at, reported_by, reports, revision)
        SELECT %(organization_id)s, key, outcome, kind, %(at)s, %(at)s, %(by)s, 1, seen_at
        FROM fresh WHERE NOT is_soon ORDER BY key
        ON CONFLICT (organization_id, provider_key) DO UPDATE
            SET outcome = excluded.outcome, kind = excluded.kind, reported_at = excluded.reported_at,
                reported_by = excluded.reported_by, revision = excluded.revision,
                (since, reports) = (
                    SELECT CASE WHEN goes_on THEN known.since ELSE excluded.since END,
                           CASE WHEN goes_on THEN known.reports + 1 ELSE 1 END
                    FROM (
                        SELECT known.outcome = excluded.outcome AND known.revision >= renewed AS goes_on
                        FROM said WHERE key = excluded.provider_key
                    ) AS judged
                )
            WHERE known.organization_id = %(organization_id)s
        RETURNING provider_key
    ), told AS (
        SELECT pg_notify('voxplane', %(payload)s || string_agg(provider_key, ',')) FROM written HAVING count(*) > 0
    )
    SELECT (SELECT count(*) FROM told) AS written,
           (SELECT count(*) FROM fresh WHERE is_soon AND NOT is_known) AS refused
"""

_STATE: LiteralString = """
    SELECT organizations.id, slug, name, epoch, revision, created_at, audit_seq, audit_hash, secret_versions,
           provider_revisions,
           coalesce((
               SELECT secrets FROM organization_secrets WHERE organization_id = %(organization_id)s
           ), '{}') AS secrets,
           coalesce((
               SELECT jsonb_agg(to_jsonb(configs) - 'organization_id')
               FROM organization_provider_configs AS configs
               WHERE organization_id = %(organization_id)s
           ), '[]') AS configs,
           coalesce((
               SELECT jsonb_agg(to_jsonb(seen) - 'organization_id')
               FROM provider_reports AS seen
               WHERE organization_id = %(organization_id)s
           ), '[]') AS reports,
           coalesce((
               SELECT jsonb_agg(to_jsonb(last) - 'organization_id')
               FROM (
                   SELECT DISTINCT ON (provider_key) * FROM provider_verifications
                   WHERE organization_id = %(organization_id)s
                   ORDER BY provider_key, revision DESC, checked_at DESC
               ) AS last
           ), '[]') AS verifications
    FROM organizations
    WHERE id = %(organization_id)s
"""


R = TypeVar("R", ConfigRow, ReportRow, VerificationRow)


def _row(kind: type[R], columns: dict[str, Any], *times: str) -> R:
    """Read a row that came as JSON. A newer release may have added columns: this one takes those that it knows."""
    known: dict[str, Any] = {name: columns[name] for name in kind.__dataclass_fields__}
    for name in times:
        known[name] = datetime.fromisoformat(columns[name])
    return kind(**known)


def _with_day(columns: dict[str, Any]) -> dict[str, Any]:
    day = columns["retires_on"]
    return columns | {"retires_on": day and date.fromisoformat(day)}


def _snapshot(row: ConfigRow | None) -> Jsonb | None:
    if row is None:
        return None
    return Jsonb(
        {
            "config": row.config,
            "schemaVersion": row.schema_version,
            "isEnabled": row.is_enabled,
            "priority": row.priority,
        }
    )


def _audit_row(row: ChainedEvent) -> dict[str, Any]:
    own = {name: value for name, value in vars(row.event).items() if name != "organization_id"}
    own["at"] = row.event.at.isoformat()
    return {**own, "prev_hash": row.prev_hash.hex(), "hash": row.hash.hex()}


async def positions(
    connection: Connection, organization_ids: Sequence[UUID], catalogue: str = ""
) -> dict[UUID, Position]:
    """Return where those of the organizations stand that exist and that the transaction may see."""
    cursor = await connection.execute(
        "SELECT id, epoch, revision FROM organizations WHERE id = ANY(%(ids)s)", {"ids": list(organization_ids)}
    )
    return {row["id"]: Position.under(catalogue, row["epoch"], row["revision"]) for row in await cursor.fetchall()}


async def audit_ends(connection: Connection, organization_ids: Sequence[UUID]) -> dict[UUID, tuple[int, bytes]]:
    """Return number and hash of the last audit row of those that exist, in a transaction of the platform."""
    cursor = await connection.execute(
        "SELECT id, audit_seq, audit_hash FROM organizations WHERE id = ANY(%(ids)s)", {"ids": list(organization_ids)}
    )
    return {row["id"]: (row["audit_seq"], row["audit_hash"]) for row in await cursor.fetchall()}


async def organization(connection: Connection, organization_id: UUID) -> OrganizationRow | None:
    """Read one organization that the transaction may see."""
    return await _one_organization(connection, "WHERE id = %(wanted)s", organization_id)


async def organization_by_slug(connection: Connection, slug: str) -> OrganizationRow | None:
    """Read one organization by its slug, in a transaction of the platform."""
    return await _one_organization(connection, "WHERE slug = %(wanted)s", slug)


async def _one_organization(connection: Connection, where: LiteralString, wanted: object) -> OrganizationRow | None:
    cursor = connection.cursor(row_factory=class_row(OrganizationRow))
    await cursor.execute(_ORGANIZATION + where, {"wanted": wanted})
    return await cursor.fetchone()


_ORGANIZATION: LiteralString = "SELECT id, slug, name, revision, created_at FROM organizations "


async def organizations(connection: Connection, after: str, limit: int) -> list[OrganizationRow]:
    """Read organizations by slug, in a transaction of the platform."""
    cursor = connection.cursor(row_factory=class_row(OrganizationRow))
    await cursor.execute(
        _ORGANIZATION + "WHERE slug > %(after)s ORDER BY slug LIMIT %(limit)s",
        {"after": after, "limit": limit},
    )
    return await cursor.fetchall()


async def organizations_named(
    connection: Connection, slugs: Sequence[str], ids: Sequence[UUID]
) -> list[OrganizationRow]:
    """Read the organizations that have these slugs or ids, in a transaction of the platform."""
    cursor = connection.cursor(row_factory=class_row(OrganizationRow))
    await cursor.execute(
        _ORGANIZATION + "WHERE slug = ANY(%(slugs)s) OR id = ANY(%(ids)s)", {"slugs": list(slugs), "ids": list(ids)}
    )
    return await cursor.fetchall()


async def add_organization(connection: Connection, organization_id: UUID, slug: str, name: str) -> OrganizationState:
    """Create an organization, in a transaction of the platform, and return it as it begins.

    Raises:
        OrganizationExists: the slug, or the id, is taken.
    """
    cursor = await connection.execute(
        """
        INSERT INTO organizations (id, slug, name) VALUES (%(id)s, %(slug)s, %(name)s)
        ON CONFLICT DO NOTHING
        RETURNING id, slug, name, epoch, revision, created_at, audit_seq, audit_hash, secret_versions,
                  provider_revisions
        """,
        {"id": organization_id, "slug": slug, "name": name},
    )
    row = await cursor.fetchone()
    if row is None:
        raise OrganizationExists
    return OrganizationState(**row, configs={}, secrets={}, reports={}, verifications={})


async def retired_providers(connection: Connection) -> list[Provider]:
    """Return the catalogue entries of providers that are no longer offered.

    One that an older release wrote in a form that this one cannot read is left out: nobody can use it anyway.
    """
    cursor = await connection.execute("SELECT definition, retired_at FROM providers WHERE retired_at IS NOT NULL")
    entries: list[Provider] = []
    for row in await cursor.fetchall():
        with suppress(ValidationError):
            entries.append(Provider.model_validate({**row["definition"], "retiredAt": row["retired_at"]}))
    return entries

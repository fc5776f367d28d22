"""Where blobs of the old system come from: a file, a folder of files, lines of JSON, or the table itself.

They are read one at a time. What cannot be read becomes a record that says so, in words that repeat nothing of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from voxplane.errors import ConfigurationError, Unavailable
from voxplane.legacy_names import fold
from voxplane.legacy_values import is_object
from voxplane.server.naming import spelled_alike

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from voxplane.schemas import JsonObject

MAX_BLOB_BYTES = 4 * 1024 * 1024
TABLE = "org_configs"
_ORGANIZATION = ("organization", "organizationslug", "slug", "organizationid", "orgid", "org", "tenantid", "tenant")
_BLOB = ("config", "configs", "configuration", "settings", "blob", "data", "value")
TOO_LARGE = f"It is larger than {MAX_BLOB_BYTES // 1024 // 1024} MiB."


@dataclass(frozen=True)
class Record:
    """One organization's blob, or why there is none. `organization` is what the old system calls it."""

    number: int
    organization: str
    blob: JsonObject | None = field(repr=False)
    problem: str | None = None


async def records(source: str, names: Sequence[str] = ()) -> AsyncGenerator[Record]:
    """Read a source; with names of one organization, as `naming.spelled_alike` writes them, only what is of that one.

    A `.json` file holds one blob, which is of the first of the names or of `default`, or names its organization beside
    it. A folder holds such files, called after their organizations. Every line of a `.jsonl` or `.ndjson` file names
    its organization.

    Raises:
        ConfigurationError: there is no such source, or it cannot be told what is in it.
        Unavailable: the database does not answer.
    """
    if source.startswith(("postgres://", "postgresql://")):
        async for record in _table(source):
            if not names or spelled_alike(record.organization) in names:
                yield record
        return
    for record in _files(Path(source), names[0] if names else "default"):
        if not names or spelled_alike(record.organization) in names:
            yield record


def _files(path: Path, organization: str) -> Iterator[Record]:
    try:
        if path.is_dir():
            for number, each in enumerate(sorted(path.glob("*.json")), 1):
                yield _record(number, _content(each), each.stem)
        elif path.suffix in {".jsonl", ".ndjson"}:
            yield from _lines(path)
        else:
            yield _record(1, _content(path), organization)
    except (OSError, ValueError):  # a name with NUL is a ValueError
        raise ConfigurationError(
            "The source cannot be read: give a file, a folder, or the address of a PostgreSQL database."
        ) from None


def _content(path: Path) -> bytes | None:
    with path.open("rb") as file:
        content = file.read(MAX_BLOB_BYTES + 1)
    return content if len(content) <= MAX_BLOB_BYTES else None


def _lines(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_BLOB_BYTES + 1):
            number += 1
            if len(line) > MAX_BLOB_BYTES:
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_BLOB_BYTES)
                yield Record(number, "", None, TOO_LARGE)
            elif line.strip():
                yield _record(number, line, "")


def _record(number: int, content: bytes | str | None, organization: str) -> Record:
    """Read one document: a blob, or an object that names an organization and holds its blob."""
    if content is None:
        return Record(number, organization, None, TOO_LARGE)
    document = _parsed(content)
    if not is_object(document):
        return Record(number, organization, None, "It is no JSON object.")
    members = document
    by_name = {fold(name): value for name, value in members.items()}
    named = next((str(by_name[name]) for name in _ORGANIZATION if isinstance(by_name.get(name), str | int)), None)
    inner = next((by_name[name] for name in _BLOB if name in by_name), None)
    if isinstance(inner, str):
        inner = _parsed(inner)
    if named is not None and is_object(inner):
        return Record(number, named, inner)
    if not organization:
        problem = 'The line is not of the form {"organization": "...", "config": {...}}.'
        return Record(number, organization, None, problem)
    return Record(number, organization, members)


def _parsed(content: bytes | str) -> Any:
    """Read JSON as the old system did: of two members of one name, the last counts. None when it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


async def _table(url: str) -> AsyncGenerator[Record]:
    try:
        async with await psycopg.AsyncConnection.connect(url, application_name="voxplane legacy import") as connection:
            await connection.set_read_only(True)
            statement = await _statement(connection)
            async with connection.cursor("legacy") as cursor:
                cursor.itersize = 200
                await cursor.execute(statement, [MAX_BLOB_BYTES])
                number = 0
                async for organization, content in cursor:
                    number += 1
                    if content is None:
                        yield Record(number, organization or "", None, TOO_LARGE)
                    else:
                        blob = _parsed(content)
                        if is_object(blob):
                            yield Record(number, organization or "", blob)
                        else:
                            yield Record(number, organization or "", None, "It is no JSON object.")
    except psycopg.Error as error:
        raise Unavailable(f"The table {TABLE} cannot be read at this address ({type(error).__name__}).") from None


async def _statement(connection: psycopg.AsyncConnection[Any]) -> sql.Composed:
    """Write the statement that reads the table, from the columns that it has."""
    cursor = await connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped", [TABLE]
    )
    columns = {fold(name): name for (name,) in await cursor.fetchall()}
    organization = next((columns[name] for name in _ORGANIZATION if name in columns), None)
    blob = next((columns[name] for name in _BLOB if name in columns), None)
    if organization is None or blob is None:
        raise ConfigurationError(
            f"There is no table or view {TABLE} with a column `organization` and a column `config`: "
            "make a view of that name that has them."
        )
    return sql.SQL(
        "SELECT {organization}::text, CASE WHEN octet_length({blob}::text) > %s THEN NULL "
        "ELSE coalesce({blob}::text, 'null') END "
        "FROM {table} ORDER BY 1"
    ).format(organization=sql.Identifier(organization), blob=sql.Identifier(blob), table=sql.Identifier(TABLE))

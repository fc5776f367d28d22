"""Where blobs of the old system come from: a file, a folder of files, lines of JSON, or the table itself.

They are read one at a time, and blobs of the table can be replaced. What cannot be read becomes a record that says so,
in words that repeat nothing of it.
"""

from __future__ import annotations

import json
from contextlib import aclosing
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
_ADDRESS = ("postgres://", "postgresql://")
_ORGANIZATION = ("organization", "organizationslug", "slug", "organizationid", "orgid", "org", "tenantid", "tenant")
_BLOB = ("config", "configs", "configuration", "settings", "blob", "data", "value")
# A text becomes JSON only when that is asked for.
_CASTS = {"json": sql.SQL("::json"), "jsonb": sql.SQL("::jsonb")}
NO_OBJECT = "It is no JSON object."
TOO_LARGE = f"It is larger than {MAX_BLOB_BYTES // 1024 // 1024} MiB."


@dataclass(frozen=True)
class Record:
    """One organization's blob, or why there is none. `organization` is what the old system calls it."""

    number: int
    organization: str
    blob: JsonObject | None = field(repr=False)
    problem: str | None = None
    content: str | None = field(default=None, repr=False)
    """The text that it was read from, when that is known."""


async def records(source: str, names: Sequence[str] = ()) -> AsyncGenerator[Record]:
    """Read a source; with names of one organization, as `naming.spelled_alike` writes them, only what is of that one.

    A `.json` file holds one blob, which is of the first of the names or of `default`, or names its organization beside
    it. A folder holds such files, called after their organizations. Every line of a `.jsonl` or `.ndjson` file names
    its organization.

    Raises:
        ConfigurationError: there is no such source, or it cannot be told what is in it.
        Unavailable: the database does not answer.
    """
    if not source.strip():
        raise ConfigurationError("The source is empty: see that the variable that it comes from is set.")
    if source.startswith(_ADDRESS):
        async with aclosing(table(source)) as found:
            async for record in found:
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
                yield _member(number, each)
        elif path.suffix in {".jsonl", ".ndjson"}:
            yield from _lines(path)
        else:
            yield _record(1, _content(path), organization)
    except FileNotFoundError:
        raise ConfigurationError("There is no file and no folder of this name.") from None
    except (OSError, ValueError):  # a name with NUL is a ValueError
        raise ConfigurationError(
            "The source cannot be read: give a file, a folder, or the address of a PostgreSQL database."
        ) from None


def _member(number: int, path: Path) -> Record:
    """Read one file of a folder; of one that cannot be read the others are none the worse."""
    unread = Record(number, path.stem, None, "It cannot be read as a file.")
    try:
        # What is no file, as a pipe, may never end.
        return _record(number, _content(path), path.stem) if path.is_file() else unread
    except OSError:
        return unread


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
        return Record(number, organization, None, NO_OBJECT)
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


async def table(address: str) -> AsyncGenerator[Record]:
    """Read the table at the address of a PostgreSQL.

    Raises:
        ConfigurationError: this is no such address, or there is no such table.
        Unavailable: the database does not answer.
    """
    if not address.startswith(_ADDRESS):
        raise ConfigurationError(
            f"This takes the address of the PostgreSQL that has {TABLE}, as postgresql://HOST/NAME: no file is changed."
        )
    try:
        async with await _connected(address) as connection:
            await connection.set_read_only(True)
            organization, blob, _ = await _columns(connection)
            statement = sql.SQL(
                "SELECT {organization}::text, CASE WHEN octet_length({blob}::text) > %s THEN NULL "
                "ELSE coalesce({blob}::text, 'null') END FROM {table} ORDER BY 1"
            ).format(organization=organization, blob=blob, table=sql.Identifier(TABLE))
            async with connection.cursor("legacy") as cursor:
                cursor.itersize = 200
                await cursor.execute(statement, [MAX_BLOB_BYTES])
                number = 0
                async for called, content in cursor:
                    number += 1
                    found = None if content is None else _parsed(content)
                    blob_of = found if is_object(found) else None
                    problem = TOO_LARGE if content is None else None if blob_of is not None else NO_OBJECT
                    yield Record(number, called or "", blob_of, problem, content)
    except psycopg.Error as error:
        raise Unavailable(f"The table {TABLE} cannot be read at this address ({type(error).__name__}).") from None


async def rewrite(address: str, changes: Sequence[tuple[str, str, str]]) -> set[int]:
    """Replace blobs in the table, in one transaction: what the organization is called, the text as it was, the new one.

    Returns which changes were made, by their place: a row that is no longer as it was stays as it is.

    Raises:
        ConfigurationError: the table cannot be written.
    """
    try:
        async with await _connected(address) as connection:
            organization, blob, cast = await _columns(connection)
            statement = sql.SQL(
                "UPDATE {table} AS old SET {blob} = new.after{cast} "
                "FROM unnest(%s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS new (called, before, after, place) "
                "WHERE old.{organization}::text = new.called AND old.{blob}::text = new.before RETURNING new.place"
            ).format(table=sql.Identifier(TABLE), blob=blob, cast=cast, organization=organization)
            cursor = await connection.execute(statement, [list(each) for each in zip(*changes, strict=True)])
            return {place - 1 for (place,) in await cursor.fetchall()}
    except psycopg.Error as error:
        raise ConfigurationError(
            f"{TABLE} cannot be written at this address ({type(error).__name__}): "
            "it has to be a table, or a view of one table, that this account may write."
        ) from None


async def _connected(address: str) -> psycopg.AsyncConnection[Any]:
    try:
        return await psycopg.AsyncConnection.connect(address, application_name="voxplane legacy")
    except UnicodeError:  # a name with an empty or an overlong part
        raise ConfigurationError("No host can have the name that is in this address.") from None


async def _columns(connection: psycopg.AsyncConnection[Any]) -> tuple[sql.Identifier, sql.Identifier, sql.SQL]:
    """Return which columns name an organization and hold its blob, and how a text becomes what that one holds."""
    cursor = await connection.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        [TABLE],
    )
    columns = {fold(name): (name, kind) for name, kind in await cursor.fetchall()}
    organization = next((columns[name] for name in _ORGANIZATION if name in columns), None)
    blob = next((columns[name] for name in _BLOB if name in columns), None)
    if organization is None or blob is None:
        raise ConfigurationError(
            f"There is no table or view {TABLE} with a column `organization` and a column `config`: "
            "make a view of that name that has them."
        )
    return sql.Identifier(organization[0]), sql.Identifier(blob[0]), _CASTS.get(blob[1], sql.SQL(""))

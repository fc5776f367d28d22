"""How results, errors and remarks look at a terminal, and in a pipe."""

from __future__ import annotations

import json
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from voxplane.errors import Invalid, SecretsRefused, VoxplaneError
from voxplane.remedies import failing, remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from pydantic import BaseModel

    from voxplane.schemas import OrganizationProvider, SecretField

# Into a file or a pipe, a table keeps its lines whole.
out = Console(width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False)

_SAID_EVERY = 1000

# Control characters, marks of direction, and what has no width: a text with them does not read as it is.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")

# What an error says to the caller of the API, said to somebody at a terminal.
_SAID = {
    "internal_error": "Something failed that should not: a defect of Voxplane's.",
    "invalid": "That is not valid:",
    "belongs_in_secrets": "This is named like a secret: store it with `voxplane secrets set`.",
    "provider_not_found": "No provider has this key: `voxplane providers list` lists them.",
    "organization_not_found": "No organization has this slug: `voxplane organization list` lists them.",
    "token_not_found": "There is no live token of this id: `voxplane token list` lists an organization's, and with "
    "--platform those of fleets and of the platform.",
}

# Where an error points to, as somebody at a terminal says it.
_OPTIONS = {"/approvedOrigins": "--approve-origin", "/rebind": "--rebind"}


def say(sentence: str, style: str | None = None) -> None:
    """Print a sentence for a reader; into a file or a pipe it stays one line."""
    err.print(sentence, style=style, markup=False, soft_wrap=not err.is_terminal)


def explain(error: VoxplaneError) -> None:
    """Say what went wrong, and what to do about it where there is more to do here than the API says."""
    # The class alone: the text of a database's error can hold what stands in a row.
    cause = f" ({type(error.__cause__).__name__})" if error.code == "internal_error" and error.__cause__ else ""
    say(f"{_SAID.get(error.code, error.message)}{cause}", style="red")
    if isinstance(error, Invalid):
        for field in error.errors:
            at = _OPTIONS.get(field.pointer, field.pointer.lstrip("/"))
            say(f"  {at}: {_SAID.get(field.code, field.message)}")
    if isinstance(error, SecretsRefused) and error.verification is not None:
        say(f"  {error.verification['advice']}")


def show(result: BaseModel, as_json: bool, drawn: Callable[[], Table] | None = None, empty: str = "") -> None:
    """Print a result: as a table for people, as JSON when that is asked for or there is no table.

    A table without rows is not drawn, and `empty` is said instead.
    """
    if as_json or drawn is None:
        typer.echo(json.dumps(result.model_dump(mode="json", by_alias=True), indent=2))
    elif (made := drawn()).row_count:
        out.print(made)
    elif empty:
        say(empty)


@contextmanager
def counting(what: str) -> Generator[Callable[[], None]]:
    """Show how many are done of what takes long: the function that is yielded is called for each.

    Into a file or a pipe it is a sentence now and then.
    """
    columns = (SpinnerColumn(), TextColumn("{task.completed} {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            progress.advance(task)
            if not err.is_terminal and done % _SAID_EVERY == 0:
                say(f"{done} {what}")

        yield advance


def confirm(question: str) -> None:
    """Ask somebody at the terminal whether to go on, and end if they say no or nobody is there to ask."""
    if not sys.stdin.isatty():
        say("Nobody is at a terminal to be asked: say --yes to go on without.", style="red")
        raise typer.Exit(2)
    if not typer.confirm(question, err=True):
        raise typer.Abort


def counted(number: int, noun: str) -> str:
    """Write how many there are of what a regular noun names."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def table(*columns: str, rows: Iterable[Iterable[object]]) -> Table:
    """Draw rows under columns, without lines."""
    made = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        made.add_row(*("" if cell is None else visible(str(cell)) for cell in row))
    return made


def compact(value: object) -> str:
    """Write a setting as JSON on one line; nothing for one that is not set."""
    return "" if value is None else visible(json.dumps(value, ensure_ascii=False))


def visible(text: str) -> str:
    """Write what a terminal would obey, or turn the text around by, as an escape of JSON."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say_state(one: OrganizationProvider, organization: str) -> None:
    """Say whether an organization can use a provider, what it lacks, and what is to be known of it."""
    switch = "enabled" if one.is_enabled else "disabled"
    say(f"{one.provider.name}: {switch}, priority {one.priority}, {_state(one, organization)}.")
    for field in one.secret_fields:
        say(f"  secret {field.name}: {_standing(field)}")
    if set(one.approved_origins) - set(one.origins):
        say(f"  calls may go to: {', '.join(one.approved_origins)}")
    for notice in one.notices:
        say(f"  {notice.message}", style="yellow")


def _standing(field: SecretField) -> str:
    """Say which secret it is, as far as that may be known: what was just approved for an address may be another's."""
    if not field.is_set:
        return "not set"
    shared = f"shared from {field.shared_from}; " if field.shared_from else ""
    label = f", {compact(field.label)}" if field.label else ""
    when = f"{field.updated_at:%Y-%m-%d %H:%M} UTC" if field.updated_at else ""
    return f"set ({shared}version {field.version}{label}, by {visible(field.updated_by or '')}, {when})"


def _state(one: OrganizationProvider, organization: str) -> str:
    if one.reason is None:
        return failing(one, organization).rstrip(".") or "usable"
    helps = remedy(one, organization)
    return f"not usable: {one.reason.replace('_', ' ')}{f' ({helps})' if helps else ''}"

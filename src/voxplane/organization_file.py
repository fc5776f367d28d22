"""An organization's settings as a file that a person reviews: YAML, one document for each organization.

    organization: acme
    name: Acme
    providers:
      openai:
        enabled: true
        priority: 100
        config:
          temperature: 0.3
        secrets:
          apiKey: env:ACME__OPENAI__API_KEY

A key is never in it, only where it is found.
"""

from __future__ import annotations

import re
from io import StringIO
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from voxplane import plain_yaml
from voxplane.errors import ConfigurationError, FieldError, Invalid
from voxplane.provider import escaped, pointed
from voxplane.registry import installed
from voxplane.schemas import MAX_PRIORITY, JsonObject, Name, OriginUrl, Slug, Sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
_BEGIN = re.compile(r"---(?:\s|$)")
_END = re.compile(r"\.\.\.(?:\s|$)")
_NAMED_AT = 3  # in `/0/providers/openai/config`
REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00-\x1f]+")


def _reference(text: str) -> str:
    if not REFERENCE.fullmatch(text):
        message = "Write where a key is found, as env:NAME or file:PATH, never the key."
        raise PydanticCustomError("no_reference", message)
    return text


class ProviderEntry(Sparse):
    """One provider in a file; what is left out stays as it is."""

    enabled: bool | None = None
    priority: int | None = Field(default=None, ge=0, le=MAX_PRIORITY)
    config: JsonObject | None = None
    secrets: dict[str, Annotated[str, AfterValidator(_reference)]] | None = None
    approved_origins: Annotated[list[OriginUrl], Field(max_length=16)] | None = None


class OrganizationFile(Sparse):
    """One organization in a file."""

    organization: Slug
    name: Name | None = None
    providers: dict[Annotated[str, StringConstraints(max_length=100)], ProviderEntry] = Field(
        default_factory=dict[str, ProviderEntry]
    )


def read(text: str | TextIO, progress: Callable[[], None] = lambda: None) -> list[OrganizationFile]:
    """Read a file, a document at a time; `progress` is told of each.

    Raises:
        ConfigurationError: it is no YAML that is taken here; the message says where.
        Invalid: a document is not of this form.
    """
    files: list[OrganizationFile] = []
    wrong: list[FieldError] = []
    number = 0
    for first_line, part in _documents(StringIO(text) if isinstance(text, str) else text):
        for document in plain_yaml.read_all(part, first_line):
            try:
                files.append(OrganizationFile.model_validate(document))
            except ValidationError as error:
                # A name in the file may be anything, a key too: only what stands before such a name is told.
                wrong += [_above_names(each, document) for each in pointed(error, f"/{number}")]
            number += 1
            progress()
    if wrong:
        raise Invalid(list(dict.fromkeys(wrong)))
    slugs: set[str] = set()
    for number, file in enumerate(files):
        if file.organization in slugs:
            raise Invalid([FieldError(f"/{number}/organization", "duplicate", "Name each organization once.")])
        slugs.add(file.organization)
    return files


def _documents(stream: TextIO) -> Iterator[tuple[int, str]]:
    """Yield the documents of a stream, each with how many lines are before it.

    Nothing within a document can begin as the lines that part documents do, not even a text of several lines.
    """
    before, size, has_begun = 0, 0, False
    lines: list[str] = []
    while line := stream.readline(MAX_DOCUMENT_BYTES + 1):
        if has_begun and (_BEGIN.match(line) or _END.match(lines[-1])):
            yield before, "".join(lines)
            before, size, has_begun, lines = before + len(lines), 0, False, []
        lines.append(line)
        size += len(line.encode("utf-8", "replace"))
        if size > MAX_DOCUMENT_BYTES:
            raise ConfigurationError(f"A document may have at most {MAX_DOCUMENT_BYTES // 1024 // 1024} MiB.")
        # Directives and remarks may stand before the line that begins a document.
        has_begun = has_begun or (bool(line.strip()) and not line.startswith(("#", "%")))
    yield before, "".join(lines)


def _above_names(error: FieldError, document: Any) -> FieldError:
    """Point to what is of this form, and to a provider that nobody knows by where it stands."""
    parts = error.pointer.split("/")
    known = {provider.key for provider in installed().get_all_providers()}
    if parts[2:3] != ["providers"] or len(parts) == _NAMED_AT or parts[_NAMED_AT] in known:
        return FieldError("/".join(parts[:5]), error.code, error.message)
    number = [escaped(name) for name in document["providers"]].index(parts[_NAMED_AT]) + 1
    pointer = "/".join([*parts[:_NAMED_AT], "?", *parts[_NAMED_AT + 1 : 5]])
    return FieldError(pointer, error.code, f"{unknown_provider(number)} {error.message}")


def unknown_provider(number: int) -> str:
    """Say of a provider in a file, by its place there, that it is unknown: its name may be anything, a key too."""
    return f"Provider {number} of this organization is none of those that `voxplane providers list` lists."


def written(file: OrganizationFile, types: dict[str, str]) -> str:
    """Write one document. `types` are the types of the providers, by key; the providers come in the file's order."""
    head: JsonObject = {"organization": file.organization}
    if file.name is not None and file.name != file.organization:
        head["name"] = file.name
    lines = [plain_yaml.written(head)]
    if file.providers:
        lines.append("providers:\n")
    before = None
    for key, entry in file.providers.items():
        if types.get(key) != before:
            before = types.get(key)
            lines.append(f"  # {before}\n")
        lines.append(plain_yaml.written({key: entry.model_dump(mode="json", by_alias=True, exclude_none=True)}, 2))
    return "".join(lines)


def references(file: OrganizationFile) -> Iterator[tuple[str, str, str]]:
    """Yield provider, secret and reference of every key that a file names."""
    for key, entry in file.providers.items():
        for name, reference in (entry.secrets or {}).items():
            yield key, name, reference


def suggested(slug: str, key: str, secret: str) -> str:
    """Return the reference that an export writes for a stored key, which is nowhere but here.

    No two keys have the same: from the end, `__` parts the secret from the provider and that from the organization,
    because only an organization's slug can have two hyphens in a row, and none begins or ends with one.
    """
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", secret)
    name = "__".join(re.sub(r"[^A-Za-z0-9]", "_", part) for part in (slug, key, words)).upper()
    return f"env:{'_' if name[0].isdigit() else ''}{name}"

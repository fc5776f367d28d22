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
          apiKey: env:ACME_OPENAI_API_KEY

A key is never in it, only where it is found.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from voxplane import plain_yaml
from voxplane.errors import ConfigurationError, FieldError, Invalid
from voxplane.provider import pointed
from voxplane.registry import installed
from voxplane.schemas import MAX_PRIORITY, JsonObject, Name, OriginUrl, Slug, Sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FILE_BYTES = 4 * 1024 * 1024
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00-\x1f]+")


def _reference(text: str) -> str:
    if not _REFERENCE.fullmatch(text):
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


def read(text: str) -> list[OrganizationFile]:
    """Read a file.

    Raises:
        ConfigurationError: it is no YAML that is taken here; the message says where.
        Invalid: a document is not of this form.
    """
    if len(text.encode("utf-8", "replace")) > MAX_FILE_BYTES:
        raise ConfigurationError(f"A file may have at most {MAX_FILE_BYTES // 1024 // 1024} MiB.")
    files: list[OrganizationFile] = []
    wrong: list[FieldError] = []
    for number, document in enumerate(plain_yaml.read_all(text)):
        try:
            files.append(OrganizationFile.model_validate(document))
        except ValidationError as error:
            # A name in the file may be anything, a key too: of a place, only what stands before such a name is told.
            wrong += [_above_names(each) for each in pointed(error, f"/{number}")]
    if wrong:
        raise Invalid(list(dict.fromkeys(wrong)))
    slugs = [file.organization for file in files]
    twice = [number for number, slug in enumerate(slugs) if slug in slugs[:number]]
    if twice:
        raise Invalid([FieldError(f"/{twice[0]}/organization", "duplicate", "Name each organization once.")])
    return files


def _above_names(error: FieldError) -> FieldError:
    parts = error.pointer.split("/")
    known = {provider.key for provider in installed().get_all_providers()}
    is_inside = parts[2:3] == ["providers"] and not known.intersection(parts[3:4])
    return FieldError("/".join(parts[:3] if is_inside else parts[:5]), error.code, error.message)


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
    """Return the reference that an export writes for a stored key, which is nowhere but here."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", f"{slug}-{key}-{secret}")
    name = re.sub(r"[^A-Za-z0-9]+", "_", words).upper()
    return f"env:{'_' if name[0].isdigit() else ''}{name}"

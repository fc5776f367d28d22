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

A key is never in it, only where it is found. What is read is the JSON part of YAML 1.2: no anchors, no tags, no second
member of one name, and `no` and `2024-10-21` are the texts that they look like.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import Field, StringConstraints, ValidationError

from voxplane.errors import ConfigurationError, FieldError, Invalid
from voxplane.provider import pointed
from voxplane.registry import installed
from voxplane.schemas import MAX_PRIORITY, JsonObject, Name, OriginUrl, Slug, Sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 16
REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00-\x1f]+")


class ProviderEntry(Sparse):
    """One provider in a file; what is left out stays as it is."""

    enabled: bool | None = None
    priority: int | None = Field(default=None, ge=0, le=MAX_PRIORITY)
    config: JsonObject | None = None
    secrets: dict[str, str] | None = None
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
    try:
        documents = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        because = f": {error.problem}" if isinstance(error, _NotTaken) else ""
        raise ConfigurationError(f"The file cannot be read as YAML{where}{because}.") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise ConfigurationError("The file cannot be read as YAML.") from None
    files = [_validated(number, document) for number, document in enumerate(documents)]
    slugs = [file.organization for file in files]
    twice = [number for number, slug in enumerate(slugs) if slug in slugs[:number]]
    if twice:
        raise Invalid([FieldError(f"/{twice[0]}/organization", "duplicate", "Name each organization once.")])
    return files


def _validated(number: int, document: object) -> OrganizationFile:
    try:
        file = OrganizationFile.model_validate(document)
    except ValidationError as error:
        # A name in the file may be anything, a key too: of a place, only what stands before such a name is told.
        raise Invalid([_above_names(each) for each in pointed(error, f"/{number}")]) from None
    errors = [
        FieldError(
            f"/{number}/providers/{key}/secrets",
            "no_reference",
            "Write where a key is found, as env:NAME or file:PATH, never the key.",
        )
        for key, entry in file.providers.items()
        if not all(REFERENCE.fullmatch(reference) for reference in (entry.secrets or {}).values())
    ]
    if errors:
        raise Invalid([_above_names(each) for each in errors])
    return file


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
    lines = [_dumped(head, 0)]
    if file.providers:
        lines.append("providers:\n")
    before = None
    for key, entry in file.providers.items():
        if types.get(key) != before:
            before = types.get(key)
            lines.append(f"  # {before}\n")
        lines.append(_dumped({key: entry.model_dump(mode="json", by_alias=True, exclude_none=True)}, 2))
    return "".join(lines)


def _dumped(value: JsonObject, indent: int) -> str:
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, default_flow_style=False)
    return "".join(f"{' ' * indent}{line}" if line.strip() else line for line in text.splitlines(keepends=True))


class _NotTaken(yaml.MarkedYAMLError):
    """YAML that is more than JSON."""


class _Dumper(yaml.SafeDumper):
    """Quotes what an older YAML would not read as a text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - PyYAML's signature
        super().increase_indent(flow, False)  # noqa: FBT003 - PyYAML's signature


def _text(dumper: _Dumper, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text.strip() else None)


_Dumper.add_representer(str, _text)


class _Loader(yaml.SafeLoader):
    """Makes texts, numbers, switches, lists and objects of the JSON part of YAML 1.2, and refuses the rest."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's attribute

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse anchors and depth before anything is made of them."""
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _NotTaken(problem="anchors and aliases are not taken", problem_mark=event.start_mark)
        if getattr(event, "tag", None):
            raise _NotTaken(problem="tags are not taken", problem_mark=event.start_mark)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _NotTaken(problem=f"it is more than {MAX_DEPTH} deep", problem_mark=event.start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:  # noqa: ARG002, FBT001, FBT002 - PyYAML's signature
        """Refuse a second member of one name, and names that are no text."""
        made: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key: Any = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _NotTaken(problem="a name is a text: put it in quotes", problem_mark=key_node.start_mark)
            if key in made:
                raise _NotTaken(problem="a name stands here a second time", problem_mark=key_node.start_mark)
            made[key] = self.construct_object(value_node, deep=True)
        return made


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False|TRUE|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def _integer(loader: _Loader, node: Any) -> int:
    text: str = loader.construct_scalar(node)
    if len(text) > 18:  # noqa: PLR2004 - what fits into a bigint
        raise _NotTaken(problem="the number is too large", problem_mark=node.start_mark)
    return int(text)


def _float(loader: _Loader, node: Any) -> float:
    return float(loader.construct_scalar(node))


# YAML 1.1 reads 010 as eight and 1:30 as ninety.
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


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

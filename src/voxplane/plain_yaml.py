"""YAML as files of ours are written: the JSON part of YAML 1.2, and nothing else.

No anchors, no tags, no second member of one name; `no` and `2024-10-21` are the texts that they look like. What is
written reads the same under the older YAML 1.1.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# PyYAML has no types.

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from voxplane.errors import ConfigurationError

MAX_DEPTH = 16
_MAX_DIGITS = 18  # what fits into a bigint
# What is no text when it stands without quotes (YAML 1.2, 10.3.2), and what it can begin with.
_RESOLVED = (
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"^(?:true|false|True|False|TRUE|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")),
    (
        "float",
        re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
        list("-+.0123456789"),
    ),
)
# Where a reader would break a line, what it takes only as an escape, and what would make a text read as another one.
_UNSEEN = r"\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f"
_ESCAPED = re.compile(rf"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029{_UNSEEN}]")


def read_all(text: str, first_line: int = 0) -> list[Any]:
    """Read the documents of a text, which may be a part of one: `first_line` is how many lines are before it.

    Raises:
        ConfigurationError: it is no YAML that is taken here; the message says where, and repeats nothing of it.
    """
    try:
        return [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {first_line + mark.line + 1}, column {mark.column + 1}" if mark else ""
        because = f": {error.problem}" if isinstance(error, _NotTaken) else ""
        raise ConfigurationError(f"The file cannot be read as YAML{where}{because}.") from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):
        raise ConfigurationError("The file cannot be read as YAML.") from None


def written(value: dict[str, Any], indent: int = 0) -> str:
    """Write an object, as the members of one that it stands in at this indent."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, default_flow_style=False
    )
    # Such a text is in double quotes, and there is nothing but texts that could hold one.
    text = re.sub(f"[{_UNSEEN}]", lambda found: f"\\u{ord(found[0]):04x}", text)
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
    style = "|" if "\n" in text.strip() else None
    if any(pattern.match(text) for _, pattern, _ in _RESOLVED):
        style = "'"  # read here, it would be something else
    if _ESCAPED.search(text):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


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


for _tag, _pattern, _first in _RESOLVED:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)


def _integer(loader: _Loader, node: Any) -> int:
    text: str = loader.construct_scalar(node)
    if len(text.lstrip("+-")) > _MAX_DIGITS:
        raise _NotTaken(problem="the number is too large", problem_mark=node.start_mark)
    return int(text)


def _float(loader: _Loader, node: Any) -> float:
    return float(loader.construct_scalar(node))


# YAML 1.1 reads 010 as eight and 1:30 as ninety.
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)

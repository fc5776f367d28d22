"""Write what is derived from the code: docs/openapi.json and the pages of docs/reference.

python tools/generate.py            writes them
python tools/generate.py --check    writes nothing; shows what differs, and fails if anything does
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import pkgutil
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import voxplane.providers
from voxplane import catalogue, cli, errors
from voxplane.agent_settings import AgentSettings
from voxplane.destination import Origin
from voxplane.errors import VoxplaneError
from voxplane.registry import rank_by_name
from voxplane.rules import Forbids, Limits, Requires
from voxplane.server.app import create_app, openapi
from voxplane.server.settings import Issuer, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from voxplane.provider import AnyProvider
    from voxplane.rules import NotAbove, Rule, When

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent

# Beside the API, the application has a few pages of its own, which the OpenAPI document leaves out.
OWN_PAGES = {
    "/healthz": "200 while the process answers; it asks nobody else",
    "/readyz": "200 while the database answers, 503 otherwise; says whether secrets are sealed and anchors kept",
    "/metrics": "numbers in Prometheus' text format",
    "/openapi.json": "the OpenAPI document, the same as [docs/openapi.json](../openapi.json)",
    "/docs": "this reference as a page, without scripts",
    "/docs/style.css": "its style",
    "/": "the console; it leads to `/docs` where the console was not built",
    "/signin": "the console's page to sign in",
    "/activity": "the console",
    "/providers": "the console's overview",
    "/providers/{rest:path}": "the console's page of one provider",
    "/assets/{name}": "the console's scripts and styles, under names that change with what is in them",
}


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or compare them. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Write what is derived from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    if parser.parse_args(arguments).check:
        return check(ROOT)
    for name, text in documents().items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


def check(root: Path) -> int:
    """Compare the files under `root` with what would be written, and show the differences on standard error."""
    differing = 0
    for name, text in documents().items():
        path = root / name
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        if found != text:
            differing += 1
            lines = difflib.unified_diff(
                found.splitlines(), text.splitlines(), name, f"{name}, as it should be", "", ""
            )
            sys.stderr.write("\n".join([f"{name} differs; `make generate` writes it.", *lines, ""]))
    return 1 if differing else 0


def documents() -> dict[str, str]:
    """Return every derived file: its path from the repository's root, and its text."""
    document = openapi(create_app())
    return {
        "docs/openapi.json": json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n",
        "docs/reference/api.md": _page("src/voxplane/server/api", api_page(document)),
        "docs/reference/settings.md": _page("src/voxplane/server/settings.py", settings_page()),
        "docs/reference/errors.md": _page("src/voxplane/errors.py", errors_page()),
        "docs/reference/providers.md": _page("src/voxplane/providers/", providers_page(shipped_providers())),
        "docs/reference/catalogue.schema.json": catalogue.schema(),
        "docs/reference/cli.md": _page("src/voxplane/cli.py", cli_page()),
    }


def _page(source: str, lines: Iterable[str]) -> str:
    text = "\n".join([f"<!-- Written by `make generate` from {source}: change that. -->", "", *lines])
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


# Markdown


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    columns = list(columns)
    yield ""
    yield _row(columns)
    yield _row(["---"] * len(columns))
    for row in rows:
        yield _row(row)
    yield ""


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def _code(text: object) -> str:
    return f"`{text}`"


def _codes(texts: Iterable[object], last: str = " or ") -> str:
    *first, end = [_code(text) for text in texts]
    return f"{', '.join(first)}{last}{end}" if first else end


def _value(value: object) -> str:
    return "" if value is None else _code(json.dumps(value, ensure_ascii=False))


# JSON Schema in words


def _resolved(schema: Json, definitions: Json) -> Json:
    if "$ref" in schema:
        return definitions[schema["$ref"].rpartition("/")[2]]
    branches = [branch for branch in schema.get("anyOf", []) if branch != {"type": "null"}]
    return _resolved(branches[0], definitions) if len(branches) == 1 else schema


def _kind(schema: Json, definitions: Json) -> str:
    """Say in a few words what a schema takes."""
    schema = _resolved(schema, definitions)
    if "enum" in schema:
        return _codes(schema["enum"])
    if schema.get("type") == "array":
        most = f"up to {schema['maxItems']}: " if "maxItems" in schema else ""
        return f"list of {most}{_kind(schema['items'], definitions)}"
    name = {"uri": "address", "path": "path"}.get(schema.get("format", ""), schema.get("type", "object"))
    if "maxLength" in schema and name == "string":
        return f"string, up to {schema['maxLength']} characters"
    return " ".join(filter(None, [name, _range(schema)]))


def _range(schema: Json) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}"
    if "exclusiveMinimum" in schema:
        return f"above {_number(schema['exclusiveMinimum'])}"
    return f"from {_number(low)}" if low is not None else ""


def _number(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


# The settings


def settings_page() -> Iterator[str]:
    """Every environment variable."""
    schema = Settings.model_json_schema()
    yield "# Settings"
    yield ""
    yield "Read from the environment once, at start. What each is for: [operating](../operating.md)."
    yield from _table(
        ["Variable", "Takes", "Default", "What it sets"],
        [
            (_code(f"VOXPLANE_{name.upper()}"), _kind(field, schema["$defs"]), _default(field), field["description"])
            for name, field in schema["properties"].items()
        ],
    )
    yield "## Agent workers"
    yield ""
    yield "Read by `voxplane agent`, beside LiveKit's own `LIVEKIT_URL`, `LIVEKIT_API_KEY` and `LIVEKIT_API_SECRET`."
    yield "The engines of its machine read `VOXPLANE_MODELS_DIR` and `VOXPLANE_PIPER` ([speech](../speech.md))."
    yield "What each is for: [worker](../worker.md)."
    agent = AgentSettings.model_json_schema()
    yield from _table(
        ["Variable", "Takes", "Default", "What it sets"],
        [
            (
                _code(f"VOXPLANE_{name.upper()}"),
                _kind(field, {}),
                "required" if name in agent["required"] else _default(field),
                field["description"],
            )
            for name, field in agent["properties"].items()
        ],
    )
    yield "## An issuer"
    yield ""
    yield "`VOXPLANE_TRUSTED_ISSUERS` is a JSON array of objects with these fields:"
    issuer = Issuer.model_json_schema()
    yield from _table(
        ["Field", "Takes", "Default", "What it is"],
        [
            (
                _code(name),
                _kind(field, {}),
                "required" if name in issuer["required"] else _default(field),
                field["description"],
            )
            for name, field in issuer["properties"].items()
        ],
    )


def _default(field: Json) -> str:
    default = field.get("default")
    return _code(default) if isinstance(default, str) else _value(default) or "unset"


# The errors


def errors_page() -> Iterator[str]:
    """Every error, and what an answer with one looks like."""
    local = _never_on_the_wire()
    tree = list(_subclasses(VoxplaneError))
    yield "# Errors"
    yield ""
    yield "An error is answered as `application/problem+json` (RFC 9457):"
    yield from _table(
        ["Field", "What it holds"],
        [
            ("`type`", "`urn:voxplane:error:` and the code"),
            ("`title`", "the error's name in words"),
            ("`status`", "the HTTP status again"),
            ("`detail`", "a sentence for a reader; it repeats nothing that was sent"),
            ("`code`", "what a program compares"),
            ("`requestId`", "finds the request in the log; also in the header `X-Request-Id`"),
            ("`errors`", "of `invalid`: a JSON Pointer (or `?name` of a query parameter), a code and a sentence each"),
        ],
    )
    yield "Each code is a class of `voxplane.errors`, which the Python services raise."
    yield ""
    yield "## On the wire"
    yield from _error_table(error for error in tree if error.__name__ not in local)
    yield "## Never on the wire"
    yield ""
    yield "Raised by the Python services and explained by the command line."
    yield from _error_table((error for error in tree if error.__name__ in local), with_status=False)


def _never_on_the_wire() -> set[str]:
    """Return the names that the drawing of the tree in errors.py puts there."""
    drawn = re.search(r"never on the wire: (.*)", errors.__doc__ or "")
    return set(drawn[1].split(", ")) if drawn else set()


def _subclasses(error: type[VoxplaneError]) -> Iterator[type[VoxplaneError]]:
    for below in error.__subclasses__():
        if below.__module__ == errors.__name__:
            yield below
            yield from _subclasses(below)


def _error_table(found: Iterable[type[VoxplaneError]], *, with_status: bool = True) -> Iterator[str]:
    columns = ["Code", "Status", "Class", "What it says"] if with_status else ["Code", "Class", "What it says"]
    rows: list[list[str]] = []
    for error in found:
        sentence = (error.__doc__ or "").strip().split("\n")[0]
        status = [str(error.status)] if with_status else []
        rows.append([_code(error.code), *status, _code(error.__name__), sentence])
    yield from _table(columns, rows)


# The API


def api_page(document: Json) -> Iterator[str]:
    """Every route, by what it is about, and every shape that is answered."""
    operations = list(_operations(document))
    yield "# API"
    yield ""
    yield f"{document['info']['description']} Version {document['info']['version']};"
    yield "the OpenAPI 3.1 document is [openapi.json](../openapi.json), and a running service shows it at `/docs`."
    yield ""
    yield "Send `Authorization: Bearer <token>`. A scope is exact: none implies another. `everybody` needs no token,"
    yield "`anyone` a token of any scope. `{organization}` is `current`, or the id or slug of the organization that the"
    yield "token is bound to. [Errors](errors.md) are problem documents."
    yield from _table(
        ["Route", "Scope", "What it does"],
        [(_code(route), _code(each["x-scope"]), each["summary"]) for route, each in operations],
    )
    for tag in dict.fromkeys(each["tags"][0] for _, each in operations):
        yield f"## {tag.capitalize()}"
        for route, each in operations:
            if each["tags"] == [tag]:
                yield from _operation(route, each, document["components"]["schemas"])
    yield "## Beside the API"
    yield from _table(["Path", "Answer"], [(_code(path), OWN_PAGES[path]) for path in own_pages()])
    yield "## What is sent and answered"
    for name, schema in document["components"]["schemas"].items():
        yield from _shape(name, schema, document["components"]["schemas"])


def own_pages() -> list[str]:
    """Return the paths that the OpenAPI document leaves out."""
    return [route.path for route in create_app().routes if not getattr(route, "include_in_schema", True)]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - all of them have a path


def _operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _operation(route: str, operation: Json, schemas: Json) -> Iterator[str]:
    yield ""
    yield f"### {operation['summary']}"
    yield ""
    yield f"{_code(route)}, scope {_code(operation['x-scope'])}."
    parameters = operation.get("parameters", [])
    if parameters:
        yield from _table(
            ["Parameter", "In", "Takes", "Meaning"],
            [
                (_code(each["name"]), each["in"], _kind(each["schema"], schemas), each.get("description", ""))
                for each in parameters
            ],
        )
    if "requestBody" in operation:
        yield from _body(operation["requestBody"]["content"]["application/json"], schemas)
    yield from _table(
        ["Status", "Answer"],
        [(status, _answer(answer)) for status, answer in operation["responses"].items()],
    )


def _body(body: Json, schemas: Json) -> Iterator[str]:
    schema = schemas[body["schema"]["$ref"].rpartition("/")[2]]
    required = schema.get("required", [])
    yield from _table(
        ["Body", "Takes", "Meaning"],
        [
            (
                _code(name) + (" (required)" if name in required else ""),
                _kind(field, schemas),
                field.get("description", ""),
            )
            for name, field in schema["properties"].items()
        ],
    )
    yield "```json"
    yield json.dumps(body["example"], ensure_ascii=False)
    yield "```"


def _answer(answer: Json) -> str:
    reference = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref")
    if reference is None:
        return answer["description"]
    name = reference.rpartition("/")[2]
    return f"[{name}](#{name.lower()})"


def _shape(name: str, schema: Json, schemas: Json) -> Iterator[str]:
    yield ""
    yield f"### {name}"
    yield ""
    yield schema.get("description", "")
    if "enum" in schema:
        yield ""
        yield f"{_codes(schema['enum'])}."
    if "properties" in schema:
        yield from _table(
            ["Field", "Holds", "Meaning"],
            [
                (_code(field), _held(held, schemas), held.get("description", ""))
                for field, held in schema["properties"].items()
            ],
        )


def _held(schema: Json, schemas: Json) -> str:
    """Say what a field of an answer holds; another shape by its name."""
    branches = schema.get("anyOf")
    if branches:
        return " or ".join(_held(branch, schemas) for branch in branches)
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if schema.get("type") == "array":
        return f"list of {_held(schema['items'], schemas)}"
    return _kind(schema, schemas)


# The providers


def shipped_providers() -> list[AnyProvider]:
    """Return the providers of this repository, whatever else is installed beside it."""
    modules = pkgutil.iter_modules(voxplane.providers.__path__, "voxplane.providers.")
    return sorted((importlib.import_module(module.name).PROVIDER for module in modules), key=rank_by_name)


def providers_page(found: list[AnyProvider]) -> Iterator[str]:
    """Every provider with its settings, secrets, destinations and models."""
    yield "# Providers"
    yield ""
    yield "What a provider's settings mean, and what is known of its models. The same is in `GET /api/providers/{key}`,"
    yield "as JSON Schema, and `voxplane providers show` prints it. A setting without a default is unset."
    yield from _table(
        ["Key", "Provider", "Type", "Hosting"],
        [(_code(each.key), f"[{each.name}](#{_anchor(each)})", each.type.value, each.hosting) for each in found],
    )
    for each in found:
        yield from _provider(each)


def _heading(provider: AnyProvider) -> str:
    return f"{provider.name}: {_code(provider.key)}"


def _anchor(provider: AnyProvider) -> str:
    return re.sub(r"[^\w\- ]", "", _heading(provider).lower()).replace(" ", "-")


def _provider(provider: AnyProvider) -> Iterator[str]:
    yield ""
    yield f"## {_heading(provider)}"
    yield ""
    yield provider.description
    yield ""
    links = {"Documentation": provider.docs_url, "prices": provider.pricing_url, "keys": provider.console_url}
    yield f"{provider.type.upper()}, {provider.hosting}. " + ", ".join(
        f"[{name}]({url})" for name, url in links.items() if url
    )
    yield ""
    yield f"Can do: {', '.join(each.replace('_', ' ') for each in provider.capabilities)}."
    yield from _config(provider)
    yield from _rules(provider)
    yield from _secrets(provider)
    yield from _destinations(provider)
    yield from _models(provider)


def _config(provider: AnyProvider) -> Iterator[str]:
    schema = provider.config_schema
    required = schema.get("required", [])
    yield from _table(
        ["Setting", "Takes", "Default", "Unit", "What it does"],
        [
            (
                _code(name),
                _kind(field, schema.get("$defs", {})),
                "required" if name in required else _value(field.get("default")),
                field.get("x-ui", {}).get("unit", ""),
                field.get("description", ""),
            )
            for name, field in schema["properties"].items()
        ],
    )


def _rules(provider: AnyProvider) -> Iterator[str]:
    sentences = [
        *(_rule(rule) for rule in provider.config.rules),
        *(_order(order) for order in provider.config.orders),
    ]
    if sentences:
        yield "Between settings:"
        yield ""
        yield from (f"- {sentence}" for sentence in sentences)


def _rule(rule: Rule) -> str:
    while_ = f"while {_condition(rule.when)}. {rule.because}"
    if isinstance(rule, Forbids):
        return f"{_codes(rule.settings)} cannot be set {while_}"
    if isinstance(rule, Requires):
        return f"{_codes(rule.settings, ' and ')} must be set {while_}"
    return f"{_code(rule.setting)} takes {_narrowed(rule)} {while_}"


def _narrowed(limits: Limits) -> str:
    schema = limits.restriction()["properties"][limits.setting]
    if "maxItems" in schema:
        return f"a list of at most {schema['maxItems']}"
    if "enum" in schema:
        return f"only {_codes(schema['enum'])}"
    if "items" in schema:
        return f"only items among {_codes(schema['items']['enum'])}"
    if "minimum" not in schema:
        return f"at most {_number(schema['maximum'])}"
    return f"only {_range(schema)}"


def _condition(when: When) -> str:
    if when.matches is not None:
        text = f"{_code(when.setting)} {'does not match' if when.otherwise else 'matches'} {_code(when.matches)}"
    elif when.equals is not None:
        text = f"{_code(when.setting)} is {'not ' if when.otherwise else ''}{_value(when.equals)}"
    else:
        text = f"{_code(when.setting)} is {'not ' if when.otherwise else ''}set"
    return f"{text} and {_condition(when.and_)}" if when.and_ else text


def _order(order: NotAbove) -> str:
    return (
        f"{_code(order.lower)} must be {'below' if order.strictly else 'at most'} {_code(order.upper)}. {order.because}"
    )


def _secrets(provider: AnyProvider) -> Iterator[str]:
    yield ""
    if not provider.secret_names:
        yield "It needs no secrets."
        return
    required = provider.secrets_schema.get("required", [])
    needed = {name: f"while {_condition(rule.when)}" for rule in provider.requires_secrets for name in rule.settings}
    yield from _table(
        ["Secret", "Needed", "What it is"],
        [
            (_code(name), "always" if name in required else needed.get(name, "no"), field.get("description", ""))
            for name, field in provider.secrets_schema["properties"].items()
        ],
    )
    if provider.shares_secrets_with:
        yield f"While it has none of its own, it uses those of {_code(provider.shares_secrets_with)}."


def _destinations(provider: AnyProvider) -> Iterator[str]:
    origins = sorted(provider.default_origins, key=str)
    yield ""
    where = _codes((_address(origin) for origin in origins), " and ") if origins else ""
    if not provider.destinations.settings:
        yield f"Calls go to {where}."
        return
    deciding = _codes(provider.destinations.settings, " and ")
    if origins:
        yield f"Calls go to {where}, unless {deciding} says otherwise."
    else:
        yield f"Where calls go is decided by {deciding}; there is no address of its own."


def _address(origin: Origin) -> str:
    """Write an origin the way people do: without the port that its scheme implies."""
    short = str(origin).replace(f":{origin.port}", "", 1)
    return short if Origin.parse(short) == origin else str(origin)


def _models(provider: AnyProvider) -> Iterator[str]:
    for noun, offers in (("Model", provider.models), ("Voice", provider.voices)):
        if not offers:
            continue
        yield from _table(
            [noun, "Status", "Ends on", "Replacement", "Note"],
            [
                (
                    _code(each.name),
                    each.status,
                    each.retires_on.isoformat() if each.retires_on else "",
                    _code(each.replacement) if each.replacement else "",
                    each.note or getattr(each, "label", None) or "",
                )
                for each in offers
            ],
        )


# The command line


def cli_page() -> Iterator[str]:
    """Every command with its arguments and options."""
    yield "# Command line"
    yield ""
    yield "Commands work on the database directly, as the administrator of the machine they run on, and read the same"
    yield "[settings](settings.md) as the service. Results go to standard output, everything else to standard error."
    yield "Exit code 1 is an error that was explained, 2 a wrong use."
    for path, command in commands():
        yield ""
        yield f"## {path}"
        yield ""
        yield command.help or ""
        yield ""
        yield from _command(path, command)


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, under its full name."""
    yield from _commands("voxplane", typer.main.get_command(cli.app))


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    below: dict[str, Any] = getattr(command, "commands", {})
    if not below or command.params:
        yield path, command
    for name in sorted(below):
        yield from _commands(f"{path} {name}", below[name])


def _command(path: str, command: Any) -> Iterator[str]:
    context = typer.Context(command)
    yield "```"
    yield " ".join([path, *command.collect_usage_pieces(context)])
    yield "```"
    rows = [each.get_help_record(context) for each in command.params]
    if rows:
        yield from _table(["Argument or option", "What it is"], [(_code(spelled), text) for spelled, text in rows])


if __name__ == "__main__":
    sys.exit(main())

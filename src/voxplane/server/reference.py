"""The API reference as one static page, drawn from the OpenAPI document: no script, nothing from elsewhere."""

from __future__ import annotations

import json
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 3rem; text-transform: capitalize; }
details { border: 1px solid var(--line); border-radius: 8px; margin: .5rem 0; padding: .5rem .75rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700; }
.what { display: block; opacity: .8; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; }
th, td { padding: .3rem .5rem .3rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
pre { overflow: auto; padding: .75rem; border: 1px solid var(--line); border-radius: 8px; }
""".strip()


def page(document: dict[str, Any]) -> str:
    """Return the page as HTML."""
    operations: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            operations.setdefault(operation["tags"][0], []).append(
                _operation(method, path, operation, document["components"]["schemas"])
            )
    sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(items)}" for tag, items in operations.items())
    title = f"{escape(document['info']['title'])} API {escape(document['info']['version'])}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f'<link rel="stylesheet" href="/docs/style.css"></head><body><main><h1>{title}</h1>'
        f"<p>{escape(document['info']['description'])} Send <code>Authorization: Bearer &lt;token&gt;</code>; "
        'errors are problem documents (RFC 9457). <a href="/openapi.json">OpenAPI 3.1 document</a></p>'
        f"{sections}</main></body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    parameters = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}</td>"
        f"<td>{escape(each.get('description', ''))}</td></tr>"
        for each in operation.get("parameters", [])
    )
    answers = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    return (
        f'<details><summary><span class="method">{method.upper()}</span> <code>{escape(path)}</code>'
        f'<span class="what">{escape(operation["summary"])}</span></summary>'
        f"<p>Who may: <code>{escape(operation['x-scope'])}</code></p>"
        + (f"<table><tr><th>Parameter</th><th>In</th><th>Meaning</th></tr>{parameters}</table>" if parameters else "")
        + _body(operation, schemas)
        + f"<table><tr><th>Status</th><th>Meaning</th></tr>{answers}</table></details>"
    )


def _body(operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    body = operation["requestBody"]["content"]["application/json"]
    schema = schemas[body["schema"]["$ref"].rpartition("/")[2]]
    fields = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(field.get('description', ''))}</td></tr>"
        for name, field in schema["properties"].items()
    )
    example = escape(json.dumps(body["example"], indent=2))
    return f"<table><tr><th>Body</th><th>Meaning</th></tr>{fields}</table><pre>{example}</pre>"

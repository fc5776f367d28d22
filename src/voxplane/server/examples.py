"""Request bodies as the OpenAPI document describes them, each with an example that the tests send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

CONFIG = {"config": {"temperature": 0.9}, "isEnabled": True, "priority": 100}
ORDER = {"order": ["groq", "openai"]}
SECRETS = {"secrets": {"apiKey": "the key as the provider shows it"}, "label": "EU production"}
TOKEN = {"name": "deploy", "scopes": ["livekit:read", "livekit:write"], "expiresInDays": 90}
RESOLUTION = {"types": ["stt", "llm", "tts"]}
REPORTS = {
    "at": "9e107d9d-3720-4b0c-9d0e-5d1d2b1c8f5e.7",
    "reports": [{"provider": "deepgram", "outcome": "failed", "kind": "authentication"}],
}
OIDC_SIGN_IN = {"code": "the code of the address", "state": "its state"}
SIGN_IN = {"code": "the part of the link after #"}
ORGANIZATION = {"slug": "acme", "name": "Acme Inc."}


_REF = "#/components/schemas/{model}"
_bodies: dict[str, type[BaseModel]] = {}


def body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Describe a body that the door reads itself, which FastAPI therefore does not see."""
    _bodies[model.__name__] = model
    content = {"schema": {"$ref": _REF.format(model=model.__name__)}, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def schemas() -> dict[str, Any]:
    """Return the JSON Schemas of all bodies described so far, and of what they refer to."""
    found: dict[str, Any] = {}
    for name, model in _bodies.items():
        schema = model.model_json_schema(by_alias=True, ref_template=_REF)
        found |= schema.pop("$defs", {})
        found[name] = schema
    return found

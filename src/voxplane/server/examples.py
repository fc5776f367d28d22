"""Request bodies as the OpenAPI document describes them, each with an example that the tests send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

CONFIG = {"config": {"temperature": 0.9}, "isEnabled": True, "priority": 100}
ORDER = {"order": ["groq", "openai"]}
SECRETS = {"secrets": {"apiKey": "the key as the provider shows it"}, "label": "EU production"}
TOKEN = {"name": "deploy", "scopes": ["livekit:read", "livekit:write"], "expiresInDays": 90}
ORGANIZATION = {"slug": "acme", "name": "Acme Inc."}


def body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Describe a body that the door reads itself, which FastAPI therefore does not see."""
    schema = {**model.model_json_schema(by_alias=True), "examples": [example]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}

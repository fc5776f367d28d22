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
ORGANIZATION = {"slug": "acme", "name": "Acme Inc."}


def body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Describe a body that the door reads itself, which FastAPI therefore does not see."""
    schema = {**model.model_json_schema(by_alias=True), "examples": [example]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}

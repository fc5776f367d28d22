"""What the nine clouds answer to the requests that test a key, in twelve situations.

Which situation it is, a key says itself: `good`, `bad` and so on stand in it. Where no vendor's document says what it
answers (no vendor refuses for credit when models are listed), it is what the vendor says in that case elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.vendors.secure import Asked, Reply

HOSTS: Mapping[str, str] = {
    "deepgram": "api.deepgram.com",
    "elevenlabs": "api.elevenlabs.io",
    "cartesia": "api.cartesia.ai",
    "openai-tts": "api.openai.com",
    "openai": "api.openai.com",
    "groq": "api.groq.com",
    "google": "generativelanguage.googleapis.com",
    "anthropic": "api.anthropic.com",
    "azure-openai": "acme.openai.azure.com",
}
_VENDORS = {host: key for key, host in HOSTS.items()}
UPSTREAM = "UPSTREAM-WORDS"
"""Stands in every refusal, and so must stand in no answer of ours."""
_KEY = re.compile("key-(good|bad|restricted|quota|limited|broken|hang|reset|redirect|region|attack)")


def key_of(asked: Asked) -> str | None:
    """Return the key, if it came where this vendor looks for it."""
    vendor, headers = _VENDORS[asked.host], asked.headers
    own = {
        "elevenlabs": "xi-api-key",
        "google": "x-goog-api-key",
        "azure-openai": "api-key",
        "anthropic": "x-api-key" if "anthropic-version" in headers else "",
    }
    if vendor in own:
        return headers.get(own[vendor])
    if vendor == "cartesia" and "cartesia-version" not in headers:
        return None
    return _after("Token " if vendor == "deepgram" else "Bearer ", headers)


def _after(scheme: str, headers: Mapping[str, str]) -> str | None:
    found = headers.get("authorization", "")
    return found.removeprefix(scheme) if found.startswith(scheme) else None


def answer(asked: Asked) -> Reply:
    """Answer as the vendor would."""
    vendor, key = _VENDORS[asked.host], key_of(asked)
    found = _KEY.search(key or "")
    situation = found[1] if found else "bad"
    if situation in {"hang", "reset"}:
        return Reply(fault=situation)
    if situation == "redirect":
        return Reply(302, headers={"Location": f"https://evil.example/{UPSTREAM}"})
    if situation == "broken":
        return _json(503, {"error": {"message": UPSTREAM}})
    if situation == "good":
        return _good(vendor, asked)
    status, body = _REFUSALS[situation][vendor]
    return _json(status, body, {"Retry-After": "7"} if situation == "limited" else {})


def _json(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(body).encode(), dict(headers or {}))


def _good(vendor: str, asked: Asked) -> Reply:
    path = asked.path.partition("?")[0]
    known = _GOOD.get((vendor, asked.method, path))
    if known is not None:
        return _json(200, known)
    missing: dict[str, Any] = {
        "openai": {"error": {"message": UPSTREAM, "type": "invalid_request_error", "code": "model_not_found"}},
        "google": {"error": {"code": 404, "message": UPSTREAM, "status": "NOT_FOUND"}},
        "anthropic": {"type": "error", "error": {"type": "not_found_error", "message": UPSTREAM}},
        "azure-openai": {"error": {"code": "DeploymentNotFound", "message": UPSTREAM}},
    }
    missing["openai-tts"] = missing["openai"]
    if vendor == "azure-openai" and "/chat/completions" in path and json.loads(asked.body).get("model") == "talk":
        return _json(200, {"id": "c", "object": "chat.completion", "choices": [{"index": 0}]})
    return _json(404, missing.get(vendor, {"detail": UPSTREAM}))


def _listed(*names: str) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [{"id": each, "object": "model", "created": 1, "owned_by": "v"} for each in names],
    }


_GOOD: Mapping[tuple[str, str, str], Any] = {
    ("deepgram", "GET", "/v1/auth/token"): {"api_key_id": "1", "scopes": ["usage:write"], "created": "2026-01-01"},
    ("deepgram", "GET", "/v1/models"): {
        "stt": [
            {
                "name": "general",
                "canonical_name": "nova-3-general",
                "architecture": "nova-3",
                "languages": ["en"],
                "version": "1",
                "uuid": "0",
                "batch": True,
                "streaming": True,
                "formatted_output": True,
            }
        ],
        "tts": [],
    },
    ("elevenlabs", "GET", "/v1/user"): {"user_id": "u", "subscription": {"tier": "free", "character_count": 1}},
    ("elevenlabs", "GET", "/v1/models"): [{"model_id": "eleven_flash_v2_5", "name": "Flash"}],
    ("cartesia", "GET", "/voices"): {"data": [{"id": "v", "name": "Katie"}], "has_more": False, "next_page": None},
    ("openai", "GET", "/v1/models/gpt-4o-mini"): _listed("gpt-4o-mini")["data"][0],
    ("openai", "GET", "/v1/models/gpt-4o-mini-tts"): _listed("gpt-4o-mini-tts")["data"][0],
    ("groq", "GET", "/openai/v1/models"): _listed("openai/gpt-oss-120b", "whisper-large-v3"),
    ("google", "GET", "/v1beta/models/gemini-3.5-flash-lite"): {
        "name": "models/gemini-3.5-flash-lite",
        "displayName": "Flash-Lite",
        "supportedGenerationMethods": ["generateContent"],
    },
    ("anthropic", "GET", "/v1/models/claude-sonnet-4-6"): {
        "id": "claude-sonnet-4-6",
        "type": "model",
        "display_name": "Sonnet",
        "created_at": "2026-01-01T00:00:00Z",
    },
    ("azure-openai", "GET", "/openai/v1/models"): _listed("gpt-4o"),
}


def _openai(status: int, code: str, kind: str = "invalid_request_error") -> tuple[int, Any]:
    return status, {"error": {"message": UPSTREAM, "type": kind, "param": None, "code": code}}


def _google(status: int, word: str, reason: str = "", message: str = UPSTREAM) -> tuple[int, Any]:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}]
    return status, {"error": {"code": status, "message": message, "status": word, "details": details}}


def _anthropic(status: int, kind: str) -> tuple[int, Any]:
    return status, {"type": "error", "error": {"type": kind, "message": UPSTREAM}, "request_id": "req_1"}


def _elevenlabs(status: int, word: str) -> tuple[int, Any]:
    return status, {"detail": {"status": word, "message": UPSTREAM}}


def _deepgram(status: int, code: str) -> tuple[int, Any]:
    return status, {"err_code": code, "err_msg": UPSTREAM, "request_id": "1"}


def _cartesia(status: int, code: str) -> tuple[int, Any]:
    return status, {"error_code": code, "title": UPSTREAM, "message": UPSTREAM, "request_id": "1"}


def _azure(status: int, code: str, message: str = UPSTREAM) -> tuple[int, Any]:
    return status, {"error": {"code": code, "message": message}}


_NOT_HERE = (404, UPSTREAM)
_SCOPES = (401, {"error": {"message": f"{UPSTREAM} Missing scopes: api.model.read", "code": None}})
_REFUSALS: Mapping[str, Mapping[str, tuple[int, Any]]] = {
    "bad": {
        "deepgram": _deepgram(401, "INVALID_AUTH"),
        "elevenlabs": _elevenlabs(401, "invalid_api_key"),
        "cartesia": _cartesia(401, "unauthorized"),
        "openai-tts": _openai(401, "invalid_api_key"),
        "openai": _openai(401, "invalid_api_key"),
        "groq": _openai(401, "invalid_api_key"),
        "google": _google(400, "INVALID_ARGUMENT", "API_KEY_INVALID", "API key not valid."),
        "anthropic": _anthropic(401, "authentication_error"),
        "azure-openai": _azure(401, "401", "Access denied due to invalid subscription key or wrong API endpoint."),
    },
    "restricted": {
        "deepgram": _deepgram(401, "INSUFFICIENT_PERMISSIONS"),
        "elevenlabs": _elevenlabs(401, "missing_permissions"),
        "cartesia": _cartesia(403, "forbidden"),
        "openai-tts": _SCOPES,
        "openai": _SCOPES,
        "groq": _openai(403, "model_permission_blocked_project", "permissions_error"),
        "google": _google(403, "PERMISSION_DENIED", "API_KEY_SERVICE_BLOCKED"),
        "anthropic": _anthropic(403, "permission_error"),
        "azure-openai": _azure(403, "403"),
    },
    "quota": {
        "deepgram": _deepgram(402, "ASR_PAYMENT_REQUIRED"),
        "elevenlabs": _elevenlabs(401, "quota_exceeded"),
        "cartesia": _cartesia(402, "quota_exceeded"),
        "openai-tts": _openai(429, "insufficient_quota", "insufficient_quota"),
        "openai": _openai(429, "credit_balance_exhausted", "insufficient_quota"),
        "groq": _openai(429, "insufficient_quota"),
        "google": _google(429, "RESOURCE_EXHAUSTED", message="You exceeded your current quota."),
        "anthropic": _anthropic(402, "billing_error"),
        "azure-openai": _azure(403, "403", "Out of call volume quota."),
    },
    "limited": {
        "deepgram": _deepgram(429, "TOO_MANY_REQUESTS"),
        "elevenlabs": _elevenlabs(429, "too_many_concurrent_requests"),
        "cartesia": _cartesia(429, "concurrency_limited"),
        "openai-tts": _openai(429, "rate_limit_exceeded"),
        "openai": _openai(429, "rate_limit_exceeded"),
        "groq": _openai(429, "rate_limit_exceeded"),
        "google": _google(429, "RESOURCE_EXHAUSTED"),
        "anthropic": _anthropic(429, "rate_limit_error"),
        "azure-openai": _azure(429, "429"),
    },
    "region": {
        "deepgram": _NOT_HERE,
        # A key of another residency is no key to it.
        "elevenlabs": _elevenlabs(401, "invalid_api_key"),
        "cartesia": _NOT_HERE,
        "openai-tts": _openai(401, "incorrect_hostname"),
        "openai": _openai(403, "unsupported_country_region_territory"),
        "groq": (403, {"error": {"message": UPSTREAM}}),
        "google": _google(400, "FAILED_PRECONDITION", message="User location is not supported for the API use."),
        "anthropic": _anthropic(403, "forbidden"),
        "azure-openai": _azure(404, "404", "Resource not found"),
    },
}

"""What providers of one vendor share. Clients of its SDK: no retries, no redirects, nothing from the environment.

Failover decides what is asked again, a key goes to the place that was approved for it, and whose account pays is in an
organization's settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from voxplane.plugin import Construct
from voxplane.probe import Probe, ProbeRequest, Sign

if TYPE_CHECKING:
    from voxplane.schemas import JsonObject

READ_TIMEOUT_SECONDS = 30.0
"""The silence after which a caller has given up too."""

# https://platform.openai.com/docs/guides/error-codes, and of ip_not_authorized the guide on IP allowlists.
_ELSEWHERE = "incorrect_hostname|mismatched_(organization|project)|must be a member of an organization"
_NOT_FROM_HERE = "unsupported_country|ip_not_authorized"

_OPENAI_HEADERS = {
    "Authorization": "Bearer {apiKey}",
    "OpenAI-Organization": "{organization}",
    "OpenAI-Project": "{project}",
}

# The model's own entry is free and shows key and model at once. Lack of credit shows only when words are asked for.
OPENAI_PROBE = Probe(
    requests=(
        ProbeRequest(
            url="{baseUrl}/models/{model}",
            headers=_OPENAI_HEADERS,
            good=r'"id"\s*:',
            ends=r'"shutdown_date"\s*:\s*"(\d{4}-\d{2}-\d{2})',
            proves="both",
            goes_on=(("wrong_region_or_endpoint", 404),),
        ),
        # Many a server that speaks OpenAI's language has a list alone.
        ProbeRequest(
            url="{baseUrl}/models",
            headers=_OPENAI_HEADERS,
            good=r'"data"\s*:',
            lists=r'"id"\s*:\s*"{model}"',
            proves="both",
            is_fallback=True,
        ),
    ),
    signs=(
        Sign("unreachable", (401, 403), _NOT_FROM_HERE),
        Sign("wrong_region_or_endpoint", (401, 403), _ELSEWHERE),
        Sign("key_restricted", (401, 403), "missing scopes|insufficient permissions"),
        Sign("model_unavailable", (403, 404), "model_not_found"),
        Sign("quota", (402, 429), "insufficient_quota|credit_balance_exhausted|exceeded your current quota"),
    ),
)


def openai_client(
    target: str = "openai:AsyncOpenAI", *, organization: str | None = None, project: str | None = None, **arguments: Any
) -> Construct:
    """Lay out a client of OpenAI's SDK, with its key and address in `arguments`.

    Left to itself, it acts for whom the environment names and sends the headers that the environment lists.
    """
    return Construct(
        target,
        {**_calm(), **arguments},
        {"organization": organization, "project": project, "_custom_headers": {}},
    )


def livekit_openai(settings: JsonObject, _secrets: Mapping[str, str]) -> Mapping[str, Any]:
    """Set on LiveKit's classes for OpenAI's interface what they would decide by themselves.

    They close only a client that they made, and pick an effort for some models where none is given: unset means that
    nothing is sent, as on Pipecat. With tools they leave it out for models that refuse it then.
    """
    effort = settings.get("reasoningEffort", Construct("livekit.agents.types:NotGiven"))
    return {"_owns_client": True, "_opts.reasoning_effort": effort}


def anthropic_client(*, headers: dict[str, str], **arguments: Any) -> Construct:
    """Lay out a client of Anthropic's SDK, with its key and address in `arguments`.

    `headers` are sent in the place of those that the environment lists.
    """
    return Construct("anthropic:AsyncAnthropic", {**_calm(), **arguments}, {"_custom_headers": headers})


def _calm() -> dict[str, Any]:
    return {
        "max_retries": 0,
        "timeout": READ_TIMEOUT_SECONDS,
        # Not the SDK's own: Anthropic's looks for proxies whatever it is told.
        "http_client": Construct("httpx2:AsyncClient", {"follow_redirects": False, "trust_env": False}),
    }

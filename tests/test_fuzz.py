"""Schemathesis: whatever the OpenAPI document allows, and much that it does not, is answered as the document says."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
import schemathesis
from anyio import to_thread
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import StopReason, from_schema
from schemathesis.engine.events import EngineFinished, FatalError, NonFatalError, ScenarioFinished
from schemathesis.engine.recorder import ScenarioRecorder
from schemathesis.python.asgi import shutdown_lifespans

from tests.conftest import token_for
from tests.test_door import documented
from voxplane.server.app import create_app
from voxplane.server.auth import ORGANIZATION_SCOPES, Scope
from voxplane.server.control_plane import ControlPlane
from voxplane.server.settings import Issuer, Settings

# What a provider takes, which keys a type has and which revision is the present one is no matter of the schema.
ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "412", "422", "428"]
# A stale If-Match is refused before the provider looks at what was sent, and some bodies are too large to look at.
REFUSED = ["400", "401", "403", "404", "405", "409", "412", "413", "415", "422"]
OPERATIONS = [
    # `config` is any object in the document; names with control characters and the like are refused in every body.
    *(
        {
            "include-path": f"/api/organizations/{{organization}}/providers/{{key}}/{named}",
            "checks": {"positive_data_acceptance": {"expected-statuses": [*ACCEPTED, "400", *also]}},
        }
        # Tests of providers are limited to ten a minute.
        for named, also in (("config", ()), ("verify", ("429",)))
    ),
    # GET .../providers/{key} takes the path .../providers/order too, so Allow names GET beside the documented PUT.
    {
        "include-path": "/api/organizations/{organization}/providers/order",
        "checks": {"allow_header_conformance": {"enabled": False}},
    },
    # An answer that ends when its reader leaves, and this one reads to the end; tests/test_stream.py is for it.
    {"include-path": "/api/organizations/{organization}/changes", "enabled": False},
]
REQUIRED_CHECKS = {
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
}


class Served:
    """The application as a server runs it: its control plane is opened in the event loop of the requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, or the lifespan that all of them stand in."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        async with ControlPlane.open(self._settings) as plane:
            self._app = create_app(plane)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


@dataclass
class Findings:
    """What a run did, and what it found wrong."""

    phases: Counter[str] = field(default_factory=Counter[str])
    answered: Counter[str] = field(default_factory=Counter[str])
    statuses: Counter[int] = field(default_factory=Counter[int])
    checks: set[str] = field(default_factory=set[str])
    wrong: dict[str, str] = field(default_factory=dict[str, str])
    stopped: StopReason | None = None

    def take(self, phase: str, recorder: ScenarioRecorder) -> None:
        """Take note of one scenario: its requests, their answers, and the checks that failed on them."""
        self.phases[phase] += len(recorder.cases)
        for interaction in recorder.interactions.values():
            assert interaction.response is not None
            self.statuses[interaction.response.status_code] += 1
        for case_id, checks in recorder.checks.items():
            operation: str = recorder.cases[case_id].value.operation.label  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - generic there
            self.answered[operation] += 1
            for check in checks:
                self.checks.add(check.name)
                if check.failure_info is not None:
                    failure, response = check.failure_info, recorder.interactions[case_id].response
                    answer = f"{response.status_code} {response.text}" if response else "no answer"
                    how = f"{failure.failure.message}\n{failure.code_sample}\n{answer}"
                    self.wrong[f"{check.name}: {operation}"] = how


def examine(app: Served, config: SchemathesisConfig) -> Findings:
    found = Findings()
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    for event in from_schema(schema).execute():
        match event:
            case ScenarioFinished():
                found.take(event.phase.name, event.recorder)
            case NonFatalError():
                found.wrong[f"{event.label}: {event.value!r}"] = str(event.info.traceback)
            case FatalError():
                raise event.exception
            case EngineFinished():
                found.stopped = event.stop_reason
            case _:
                pass
    return found


def configuration(plane: ControlPlane, examples: int, administrator: str, platform: str) -> SchemathesisConfig:
    keys = [provider.key for provider in plane.registry.get_all_providers()]
    return SchemathesisConfig.from_dict(  # pyright: ignore[reportUnknownMemberType] - its dict is untyped
        {
            "seed": random.getrandbits(32),  # from pytest-randomly's seed, which repeats a run
            "headers": {"Authorization": f"Bearer {administrator}"},
            "continue-on-failure": True,
            # No body may hold NUL, which the document does not say at each of its strings.
            "generation": {"max-examples": examples, "no-shrink": True, "database": "none", "allow-x00": False},
            "checks": {
                "positive_data_acceptance": {"expected-statuses": ACCEPTED},
                "negative_data_rejection": {"expected-statuses": REFUSED},
            },
            "dictionaries": {"organizations": {"values": ["current"]}, "keys": {"values": keys}},
            # A made-up organization is 404 and no more; most requests are to get past that.
            "parameters": {
                "path.organization": {"dictionary": "organizations", "probability": 0.95},
                "path.key": {"dictionary": "keys", "probability": 0.9},
            },
            "operations": [
                {"include-path": "/api/organizations", "headers": {"Authorization": f"Bearer {platform}"}},
                *OPERATIONS,
            ],
        }
    )


@pytest.mark.drill
@pytest.mark.parametrize(
    ("examples", "at_least"),
    [
        pytest.param(2, 300, id="300"),
        pytest.param(300, 5_000, id="5000", marks=[pytest.mark.deep, pytest.mark.timeout(1200)]),
    ],
)
async def test_every_answer_is_one_that_the_document_promises(
    examples: int, at_least: int, settings: Settings, plane: ControlPlane
) -> None:
    # A JWT, because one of the things that are tried is to revoke every access token that there is.
    key = Ed25519PrivateKey.generate()
    public_key = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    issuer = Issuer(issuer="https://idp.example", audience="voxplane", algorithm="EdDSA", public_key=public_key)
    claims = {
        "iss": issuer.issuer,
        "aud": issuer.audience,
        "sub": "fuzz",
        "iat": int(time.time()),
        "exp": int(time.time()) + 3600,
        "org_id": str((await plane.access.find_organization("default")).id),
        "scope": " ".join(sorted(ORGANIZATION_SCOPES)),
    }
    administrator = jwt.encode(claims, key, algorithm="EdDSA")
    config = configuration(plane, examples, administrator, await token_for(plane, Scope.ADMIN_ORGANIZATIONS))
    app = Served(settings.model_copy(update={"trusted_issuers": (issuer,)}))
    try:
        found = await to_thread.run_sync(examine, app, config)
    finally:
        await to_thread.run_sync(shutdown_lifespans)
    if found.wrong:
        pytest.fail("\n\n".join(f"{what}\n{how}" for what, how in found.wrong.items()))
    assert found.stopped is StopReason.COMPLETED
    assert found.phases.total() >= at_least
    assert max(found.statuses) < 500
    # It came past the door, into every operation, and to every check.
    assert found.statuses[200] + found.statuses[201] + found.statuses[204] > found.statuses.total() // 20
    assert set(found.answered) == {str(operation) for operation in documented() if not operation.is_a_stream}
    assert set(found.phases) == {"EXAMPLES", "COVERAGE", "FUZZING", "STATEFUL_TESTING"}
    assert found.checks >= REQUIRED_CHECKS

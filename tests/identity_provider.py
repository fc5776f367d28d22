"""An identity provider that lets everybody in as one person: OpenID Connect's discovery, authorization and token."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.served import listening
from tests.test_jwt import Signer
from voxplane.schemas import JsonObject
from voxplane.server.settings import Issuer

CLIENT, SECRET = "voxplane-console", "s3cret:with/signs"


@dataclass
class IdentityProvider:
    """What it says can be changed, as an attacker or a mistake would."""

    return_url: str
    address: str = ""
    claims: JsonObject = field(default_factory=dict[str, object])
    """Claims of its ID tokens beside or instead of the right ones."""
    metadata: JsonObject = field(default_factory=dict[str, object])
    """Entries of its discovery document, likewise."""
    signer: Signer = field(default_factory=lambda: Signer("ES256"))
    status: int = 200
    """With which status it answers where a code is exchanged."""
    exchanged: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    """The forms of codes that were brought to be exchanged."""
    _codes: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[IdentityProvider]:
        """Serve on a port of its own."""
        routes = [
            Route("/.well-known/openid-configuration", self._discovery),
            Route("/authorize", self._authorize),
            Route("/token", self._token, methods=["POST"]),
        ]
        async with listening(Starlette(routes=routes)) as self.address:
            yield self

    def issuer(self) -> Issuer:
        """Return it as an operator trusts it."""
        return Issuer(issuer=self.address, audience="voxplane-api", public_key=self.signer.pem.decode())

    def settings(self, secret_file: object = None) -> dict[str, object]:
        """Return the settings of a service that people sign in to with it."""
        return {
            "trusted_issuers": (self.issuer(),),
            "public_url": self.return_url.removesuffix("/signin"),
            "oidc_issuer": self.address,
            "oidc_client_id": CLIENT,
            "oidc_client_secret_file": secret_file,
            "oidc_name": "Acme",
        }

    async def _discovery(self, _request: Request) -> Response:
        right = {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize?prompt=login",
            "token_endpoint": f"{self.address}/token",
        }
        return JSONResponse(right | self.metadata)

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        right = {
            "response_type": "code",
            "client_id": CLIENT,
            "redirect_uri": self.return_url,
            "code_challenge_method": "S256",
        }
        if any(asked.get(name) != value for name, value in right.items()) or "openid" not in asked["scope"].split():
            return Response("This is no question of the client's.", 400)
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        return RedirectResponse(f"{self.return_url}?{urlencode({'code': code, 'state': asked['state']})}", 302)

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        self.exchanged.append(form)
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        is_right = asked is not None and (
            asked["code_challenge"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            and form["redirect_uri"] == asked["redirect_uri"]
            and form["grant_type"] == "authorization_code"
            and self._is_client(request.headers.get("authorization"), form)
        )
        if asked is None or not is_right or self.status != 200:
            return JSONResponse({"error": "invalid_grant"}, self.status if is_right else 400)
        now = int(time.time())
        right = {
            "iss": self.address, "aud": CLIENT, "sub": "ada", "name": "Ada", "iat": now, "exp": now + 300,
            "nonce": asked["nonce"], "scope": "livekit:read livekit:write",
        }  # fmt: skip
        claims = {name: value for name, value in (right | self.claims).items() if value is not None}
        return JSONResponse({"id_token": self.signer.token(claims), "token_type": "Bearer", "access_token": "unused"})

    def _is_client(self, authorization: str | None, form: dict[str, str]) -> bool:
        if authorization is None:  # a public client, or one that says its secret in the form
            return (form.get("client_id"), form.get("client_secret", SECRET)) == (CLIENT, SECRET)
        basic = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        return basic == "voxplane-console:s3cret%3Awith%2Fsigns"

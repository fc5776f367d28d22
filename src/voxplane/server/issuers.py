"""JWTs of the identity providers that an operator trusts.

A token says who issued it; that only selects the configured issuer, whose one algorithm and whose own keys are then
used. Nothing in a token's header can bring a key of its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import anyio
import httpx
import jwt
from jwt import PyJWK, PyJWTError

from voxplane.errors import ConfigurationError, Unauthenticated
from voxplane.server.auth import ORGANIZATION_SCOPES, Principal, Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxplane.server.settings import Issuer

_JWT_PARTS = 3
_HEADER_FIELDS = {"alg", "kid", "typ"}
_TYPES = {None, "JWT", "at+jwt"}
_REQUIRED = ["exp", "iat", "sub", "aud", "iss"]
_LEEWAY_SECONDS = 30
_MAX_LIFETIME_SECONDS = 24 * 3600
_MAX_KID = 128
_MAX_JWKS_BYTES = 1024 * 1024
_JWKS_FRESH_SECONDS = 600
_JWKS_RETRY_SECONDS = 60
_JWKS_KEEP_SECONDS = 24 * 3600


class Issuers:
    """The trusted issuers, with their keys."""

    def __init__(
        self,
        issuers: tuple[Issuer, ...],
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the configured issuers.

        Raises:
            ConfigurationError: two have one name, or a public key cannot be read or is of another kind.
        """
        self._issuers = {issuer.issuer: _Keys(issuer, transport, clock) for issuer in issuers}
        if len(self._issuers) != len(issuers):
            raise ConfigurationError("VOXPLANE_TRUSTED_ISSUERS names one issuer twice.")

    async def authenticate(self, token: str) -> Principal:
        """Check a JWT and return who it stands for.

        Raises:
            Unauthenticated: for every reason alike, so that a forger learns nothing.
        """
        header, claims = _unverified(token)
        keys = self._issuers.get(str(claims.get("iss")))
        if keys is None:
            raise Unauthenticated
        _check_header(header, keys.issuer)
        key = await keys.find(header.get("kid"))
        try:
            verified: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[keys.issuer.algorithm],
                audience=keys.issuer.audience,
                issuer=keys.issuer.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": _REQUIRED, "strict_aud": False},
            )
        except (PyJWTError, ValueError, TypeError):
            raise Unauthenticated from None
        return _principal(verified, keys.issuer)


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = token.split(".")
    try:
        header, claims = (json.loads(_decoded(part)) for part in parts[:2])
    except (ValueError, RecursionError):
        raise Unauthenticated from None
    if len(parts) != _JWT_PARTS or not isinstance(header, dict) or not isinstance(claims, dict):
        raise Unauthenticated
    return header, claims  # pyright: ignore[reportUnknownVariableType]


def _decoded(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


def _check_header(header: dict[str, Any], issuer: Issuer) -> None:
    # `crit`, `jku`, `jwk`, `x5u`, `x5c`: a header that says more than these three is not one of ours.
    kid = header.get("kid")
    acceptable = (
        set(header) <= _HEADER_FIELDS
        and header.get("alg") == issuer.algorithm
        and header.get("typ") in _TYPES
        and (kid is None or (isinstance(kid, str) and len(kid) <= _MAX_KID))
    )
    if not acceptable:
        raise Unauthenticated


def _principal(claims: dict[str, Any], issuer: Issuer) -> Principal:
    issued, expires = claims["iat"], claims["exp"]
    if expires - issued > _MAX_LIFETIME_SECONDS or not isinstance(claims["sub"], str) or not claims["sub"]:
        raise Unauthenticated
    try:
        organization_id = UUID(claims[issuer.organization_claim])
    except (KeyError, ValueError, TypeError, AttributeError):
        raise Unauthenticated from None
    granted = claims.get("permissions", claims.get("scope", ""))
    words = granted.split(" ") if isinstance(granted, str) else granted
    if not isinstance(words, list):
        raise Unauthenticated
    name = claims.get("name")
    return Principal(
        subject=f"user:{hashlib.sha256(issuer.issuer.encode()).hexdigest()[:8]}:{claims['sub']}"[:200],
        name=(name if isinstance(name, str) and name else claims["sub"])[:100],
        kind="jwt",
        organization_id=organization_id,
        scopes=frozenset(scope for scope in ORGANIZATION_SCOPES - {Scope.WORKER_RESOLVE} if scope in words),
    )


@dataclass
class _Fetched:
    keys: dict[str | None, PyJWK]
    at: float


class _Keys:
    """The public keys of one issuer: given, or fetched and kept."""

    def __init__(self, issuer: Issuer, transport: httpx.AsyncBaseTransport | None, clock: Callable[[], float]) -> None:
        self.issuer = issuer
        self._transport = transport
        self._clock = clock
        self._fetched: _Fetched | None = None
        self._tried_at = float("-inf")
        self._lock = anyio.Lock()
        self._given = _public_key(issuer) if issuer.public_key else None

    async def find(self, kid: str | None) -> PyJWK:
        if self._given is not None:
            return self._given
        key = self._known(kid)
        if key is None or self._is_stale():
            await self._refresh()
            key = self._known(kid)
        if key is None:
            raise Unauthenticated
        return key

    def _known(self, kid: str | None) -> PyJWK | None:
        if self._fetched is None or self._clock() - self._fetched.at > _JWKS_KEEP_SECONDS:
            return None
        if kid is None and len(self._fetched.keys) == 1:
            return next(iter(self._fetched.keys.values()))
        return self._fetched.keys.get(kid)

    def _is_stale(self) -> bool:
        return self._fetched is None or self._clock() - self._fetched.at > _JWKS_FRESH_SECONDS

    async def _refresh(self) -> None:
        """Fetch the key set, at most once a minute however many unknown key ids arrive."""
        async with self._lock:
            if self._clock() - self._tried_at < _JWKS_RETRY_SECONDS:
                return
            self._tried_at = self._clock()
            try:
                keys = _key_set(await self._download(), self.issuer)
            except (httpx.HTTPError, ValueError, PyJWTError):
                return  # what was fetched before serves on, for a day
            self._fetched = _Fetched(keys, self._clock())

    async def _download(self) -> bytes:
        body = bytearray()
        async with (
            httpx.AsyncClient(
                transport=self._transport, follow_redirects=False, trust_env=False, timeout=5.0
            ) as client,
            client.stream("GET", self.issuer.jwks_url or "") as response,
        ):
            response.raise_for_status()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_JWKS_BYTES:
                    raise ValueError("the key set is too large")
        return bytes(body)


def _key_set(document: bytes, issuer: Issuer) -> dict[str | None, PyJWK]:
    """Take the keys that are of the issuer's one algorithm; a set may hold others."""
    parsed = json.loads(document)
    items = cast("list[Any]", parsed.get("keys", [])) if isinstance(parsed, dict) else []  # pyright: ignore[reportUnknownMemberType]
    keys: dict[str | None, PyJWK] = {}
    for item in items:
        try:
            key = PyJWK(item, algorithm=issuer.algorithm)
        except PyJWTError:
            continue
        if key.key_type != "oct":
            keys[key.key_id] = key
    return keys


_KEY_TYPES = {"ES256": "EC", "EdDSA": "OKP", "RS256": "RSA", "PS256": "RSA"}


def _public_key(issuer: Issuer) -> PyJWK:
    algorithm = jwt.get_algorithm_by_name(issuer.algorithm)
    try:
        key = algorithm.prepare_key(issuer.public_key)
        document = algorithm.to_jwk(key, as_dict=True)
    except (PyJWTError, ValueError, TypeError):
        raise ConfigurationError(f"A trusted issuer's public_key is no {issuer.algorithm} key in PEM.") from None
    if document.get("kty") != _KEY_TYPES[issuer.algorithm] or "d" in document:
        raise ConfigurationError(f"A trusted issuer's public_key must be public and of kind {issuer.algorithm}.")
    return PyJWK(document, algorithm=issuer.algorithm)

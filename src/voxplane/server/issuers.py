"""JWTs of the identity providers that an operator trusts.

A token says who issued it; that only selects the configured issuer, whose one algorithm and whose own keys are then
used. Nothing in a token's header can bring a key of its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import httpx
import jwt
from jwt import PyJWK, PyJWTError

from voxplane.errors import ConfigurationError, InvalidJson, Unauthenticated
from voxplane.server.auth import ORGANIZATION_SCOPES, Principal, Scope
from voxplane.server.body import parse_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxplane.server.settings import Issuer

_JWT_PARTS = 3
_HEADER_FIELDS = {"alg", "kid", "typ"}
_TYPES = (None, "JWT", "at+jwt")
_REQUIRED = ["exp", "iat", "sub", "aud", "iss"]
_LEEWAY_SECONDS = 30
_MAX_LIFETIME_SECONDS = 24 * 3600
_MAX_KID = 128
_MAX_SUBJECT = 255  # OpenID Connect's own limit; a longer one is refused, because two cut ones could be the same
_MAX_DOCUMENT_BYTES = 1024 * 1024
_JWKS_FRESH_SECONDS = 600
_JWKS_RETRY_SECONDS = 60
_JWKS_KEEP_SECONDS = 24 * 3600
_TIMEOUT_SECONDS = 5


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
        return _principal(await _verified(token, header, keys, keys.issuer.audience), keys.issuer)

    async def identify(self, token: str, *, issuer: str, client_id: str, nonce: str) -> Principal:
        """Check an ID token that `issuer` gave to this client in the sign-in of `nonce`, and return who it is of.

        What holds for a JWT holds for it (OpenID Connect Core 1.0, 3.1.3.7 asks for less); its audience is the client.

        Raises:
            Unauthenticated: for every reason alike.
        """
        header, claims = _unverified(token)
        keys = self._issuers[issuer]
        if claims.get("iss") != issuer or claims.get("azp", client_id) != client_id:
            raise Unauthenticated
        verified = await _verified(token, header, keys, client_id)
        said = verified.get("nonce")
        if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
            raise Unauthenticated
        if verified["aud"] not in (client_id, [client_id]) and "azp" not in verified:
            raise Unauthenticated
        return _principal(verified, keys.issuer)


async def _verified(token: str, header: dict[str, Any], keys: _Keys, audience: str) -> dict[str, Any]:
    _check_header(header, keys.issuer)
    key = await keys.find(header.get("kid"))
    try:
        return jwt.decode(
            token,
            key.key,
            algorithms=[keys.issuer.algorithm],
            audience=audience,
            issuer=keys.issuer.issuer,
            leeway=_LEEWAY_SECONDS,
            options={"require": _REQUIRED, "strict_aud": False},
        )
    except (PyJWTError, ValueError, TypeError):
        raise Unauthenticated from None


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = token.split(".")
    if len(parts) != _JWT_PARTS:
        raise Unauthenticated
    try:
        header, claims, _signature = (_decoded(part) for part in parts)
        return parse_object(header), parse_object(claims)
    except (ValueError, InvalidJson):
        raise Unauthenticated from None


def _decoded(part: str) -> bytes:
    """Decode base64url in its one spelling: no padding, no other alphabet, no stray bits."""
    decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != part.encode():
        raise ValueError
    return decoded


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
    issued, expires, subject = claims["iat"], claims["exp"], claims["sub"]
    # PyJWT takes "1" and true for numbers.
    if type(issued) not in {int, float} or type(expires) not in {int, float}:
        raise Unauthenticated
    if expires - issued > _MAX_LIFETIME_SECONDS or not 0 < len(subject) <= _MAX_SUBJECT:
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
        subject=f"user:{hashlib.sha256(issuer.issuer.encode()).hexdigest()[:8]}:{subject}",
        name=(name if isinstance(name, str) and name else subject)[:100],
        kind="jwt",
        organization_id=organization_id,
        scopes=frozenset(scope for scope in ORGANIZATION_SCOPES - {Scope.WORKER_RESOLVE} if scope in words),
        expires_at=datetime.fromtimestamp(expires, UTC) + timedelta(seconds=_LEEWAY_SECONDS),
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
        self._given = None if issuer.public_key is None else _public_key(issuer)

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
                with anyio.fail_after(_TIMEOUT_SECONDS):
                    keys = _key_set(await download("GET", self.issuer.jwks_url or "", self._transport), self.issuer)
            except (httpx.HTTPError, TimeoutError, ValueError, RecursionError):
                return  # what was fetched before serves on, for a day
            self._fetched = _Fetched(keys, self._clock())


async def download(method: str, url: str, transport: httpx.AsyncBaseTransport | None = None, **content: Any) -> bytes:
    """Ask an identity provider, and nobody that it points to, for a document of at most one megabyte.

    Raises:
        httpx.HTTPError: it does not answer, or not with success.
        ValueError: it answers at too great a length.
    """
    body = bytearray()
    auth = content.pop("auth", None)
    async with (
        httpx.AsyncClient(
            transport=transport, follow_redirects=False, trust_env=False, timeout=_TIMEOUT_SECONDS, auth=auth
        ) as client,
        client.stream(method, url, **content) as response,
    ):
        response.raise_for_status()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _MAX_DOCUMENT_BYTES:
                raise ValueError("the document is too large")
    return bytes(body)


def _key_set(document: bytes, issuer: Issuer) -> dict[str | None, PyJWK]:
    """Take the public keys that are meant for signatures of the issuer's one algorithm; a set may hold others."""
    parsed = json.loads(document)
    if not isinstance(parsed, dict) or not isinstance(parsed.get("keys"), list):  # pyright: ignore[reportUnknownMemberType]
        raise ValueError("not a key set")  # noqa: TRY004 - a wrong document, not a wrong argument
    keys: dict[str | None, PyJWK] = {}
    for item in parsed["keys"]:  # pyright: ignore[reportUnknownVariableType]
        with suppress(PyJWTError, ValueError, TypeError, AttributeError):
            if _is_usable(item, issuer):  # pyright: ignore[reportUnknownArgumentType]
                keys[item.get("kid")] = PyJWK(item, algorithm=issuer.algorithm)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    return keys


def _is_usable(item: dict[str, Any], issuer: Issuer) -> bool:
    is_for_signatures = item.get("use", "sig") == "sig" and item.get("alg", issuer.algorithm) == issuer.algorithm
    return item.get("kty") == _KEY_TYPES[issuer.algorithm] and is_for_signatures and "d" not in item


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

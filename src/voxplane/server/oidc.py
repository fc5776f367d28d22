"""Signing in with an identity provider: OpenID Connect's authorization code flow, with PKCE, state and nonce.

    browser    GET /api/sign-in/oidc           gets a cookie with state, nonce and verifier, and is sent to the provider
    provider   /signin?code=...&state=...      sends it back to the console, which takes both out of its address
    browser    POST /api/sign-in/oidc          gives both, with the cookie; the code is exchanged, and who it is of gets
                                               an access token of ours, as who came by a link does

Nothing is kept here in between: any process finishes what another one began. The cookie lets nobody in; without it a
code is worth nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote_plus, urlencode, urlsplit

import anyio
import httpx

from voxplane.destination import Origin
from voxplane.errors import (
    ConfigurationError,
    InvalidJson,
    KeyUnavailable,
    OrganizationNotFound,
    PermissionDenied,
    SignInExpired,
    Unauthenticated,
    Unavailable,
)
from voxplane.server.body import parse_object
from voxplane.server.issuers import download
from voxplane.server.sign_in import console_token

if TYPE_CHECKING:
    from pathlib import Path

    from voxplane.schemas import CreatedAccessToken
    from voxplane.server.access import AccessService
    from voxplane.server.issuers import Issuers
    from voxplane.server.settings import Settings

RETURN_PATH = "/signin"
_METADATA_FRESH_SECONDS = 600
_TIMEOUT_SECONDS = 5
_BASIC, _POST = "client_secret_basic", "client_secret_post"

_ELSEWHERE = "This sign-in was begun in another browser, is too old, or was finished before: begin again."
_NO_ANSWER = "The identity provider does not answer as one."


@dataclass(frozen=True)
class Attempt:
    """What binds the end of a sign-in to the browser that began it."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def begin(cls) -> Self:
        """Make one of three times 256 random bits."""
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))

    @classmethod
    def parse(cls, cookie: str) -> Self | None:
        """Read it as the browser gives it back; None for anything else."""
        parts = cookie.split(".")
        return cls(*parts) if len(parts) == len(cls.__dataclass_fields__) and all(parts) else None

    def __str__(self) -> str:
        """Write it for a cookie."""
        return f"{self.state}.{self.nonce}.{self.verifier}"

    @property
    def challenge(self) -> str:
        """What the provider is told of the verifier (RFC 7636, S256)."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()


@dataclass(frozen=True)
class _Provider:
    """What a provider's discovery document says."""

    authorization_url: str
    token_url: str
    authentication: str


class OidcProvider:
    """The identity provider that people sign in with: one of the trusted issuers."""

    def __init__(
        self,
        settings: Settings,
        issuers: Issuers,
        access: AccessService,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Take what the settings say of it.

        Raises:
            ConfigurationError: a setting that this needs is missing or cannot be used; the message names it.
        """
        self._issuer = settings.oidc_issuer or ""
        if self._issuer not in {each.issuer for each in settings.trusted_issuers}:
            raise ConfigurationError("VOXPLANE_OIDC_ISSUER must be the `issuer` of one of VOXPLANE_TRUSTED_ISSUERS.")
        _check_address(self._issuer, "VOXPLANE_OIDC_ISSUER")
        if settings.oidc_client_id is None or settings.public_url is None:
            raise ConfigurationError("VOXPLANE_OIDC_ISSUER needs VOXPLANE_OIDC_CLIENT_ID and VOXPLANE_PUBLIC_URL.")
        _check_address(settings.public_url, "VOXPLANE_PUBLIC_URL")
        self.name = settings.oidc_name
        self.is_secure = settings.public_url.startswith("https://")
        self._client_id = settings.oidc_client_id
        self._secret = _secret(settings.oidc_client_secret_file)
        self._return_url = settings.public_url.rstrip("/") + RETURN_PATH
        self._issuers = issuers
        self._access = access
        self._transport = transport
        self._asking = anyio.Lock()
        self._found: tuple[_Provider, float] | None = None

    @classmethod
    def configured(cls, settings: Settings, issuers: Issuers, access: AccessService) -> Self | None:
        """Return the provider of the settings, or None when they name none. Raises as the constructor does."""
        return None if settings.oidc_issuer is None else cls(settings, issuers, access)

    async def authorization_url(self, attempt: Attempt) -> str:
        """Return where a browser is sent to sign in.

        Raises:
            Unavailable: the provider does not say where, or does not answer.
        """
        question = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._return_url,
            "scope": "openid profile",
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        base = (await self._provider()).authorization_url
        return f"{base}{'&' if '?' in base else '?'}{urlencode(question)}"

    async def finish(self, attempt: Attempt | None, *, code: str, state: str) -> CreatedAccessToken:
        """Exchange what the provider gave the browser for an access token of one day.

        Raises:
            SignInExpired: the browser did not begin this, or the code was used before or is too old.
            Unauthenticated: what the provider says is not signed by it, not for us, or not of this attempt.
            PermissionDenied: who signed in has no scope, or no organization, here.
            KeyUnavailable: the installation is sealed.
            Unavailable: the provider does not answer.
        """
        if self._access.is_sealed:
            raise KeyUnavailable
        if attempt is None or not hmac.compare_digest(attempt.state.encode(), state.encode()):
            raise SignInExpired(_ELSEWHERE)
        token = await self._exchange(code, attempt.verifier)
        principal = await self._issuers.identify(
            token, issuer=self._issuer, client_id=self._client_id, nonce=attempt.nonce
        )
        if not principal.scopes:
            raise PermissionDenied("The identity provider knows you, but gives you no scope here.")
        try:
            return await console_token(self._access, principal)
        except OrganizationNotFound:
            raise PermissionDenied("The identity provider names an organization that is none of those here.") from None

    async def _exchange(self, code: str, verifier: str) -> str:
        """Take the authorization code to the provider, once, and return the ID token."""
        provider = await self._provider()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._return_url,
            "code_verifier": verifier,
        }
        authorization = None
        if self._secret is not None and provider.authentication == _BASIC:
            # RFC 6749, 2.3.1: both are written as in a form before they are joined.
            authorization = httpx.BasicAuth(quote_plus(self._client_id), quote_plus(self._secret))
        else:
            form["client_id"] = self._client_id
            if self._secret is not None:
                form["client_secret"] = self._secret
        try:
            answer = await self._ask("POST", provider.token_url, data=form, auth=authorization)
        except httpx.HTTPStatusError as error:
            if error.response.is_client_error:
                raise SignInExpired(_ELSEWHERE) from None
            raise Unavailable(_NO_ANSWER) from None
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise Unauthenticated
        return token

    async def _provider(self) -> _Provider:
        async with self._asking:
            if self._found is None or monotonic() - self._found[1] > _METADATA_FRESH_SECONDS:
                self._found = (await self._discover(), monotonic())
            return self._found[0]

    async def _discover(self) -> _Provider:
        try:
            said = await self._ask("GET", f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            addresses = [str(said[name]) for name in ("authorization_endpoint", "token_endpoint")]
            for each in addresses:
                _check_address(each, "An address of the provider")
            if said["issuer"] != self._issuer:
                raise Unavailable(_NO_ANSWER)
        except (httpx.HTTPStatusError, KeyError, ConfigurationError):
            raise Unavailable(_NO_ANSWER) from None
        methods = said.get("token_endpoint_auth_methods_supported") or [_BASIC]
        return _Provider(*addresses, authentication=_BASIC if _BASIC in methods else _POST)

    async def _ask(self, method: str, url: str, **content: Any) -> dict[str, Any]:
        try:
            with anyio.fail_after(_TIMEOUT_SECONDS):
                return parse_object(await download(method, url, self._transport, **content))
        except httpx.HTTPStatusError:
            raise
        except (httpx.HTTPError, TimeoutError, ValueError, InvalidJson):
            raise Unavailable(_NO_ANSWER) from None


def _check_address(url: str, name: str) -> None:
    """Refuse an address over which a code or a secret would travel in the open."""
    try:
        parts = urlsplit(url)  # an authorization endpoint may have a query of its own
        origin = Origin.parse(f"{parts.scheme}://{parts.netloc}{parts.path}")
    except ValueError:
        raise ConfigurationError(f"{name} cannot be read as an address.") from None
    if origin.scheme != "https" and not origin.is_loopback:
        raise ConfigurationError(f"{name} must begin with https://, except on this machine.")


def _secret(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        raise ConfigurationError("VOXPLANE_OIDC_CLIENT_SECRET_FILE cannot be read by this account.") from None
    if not secret:
        raise ConfigurationError("VOXPLANE_OIDC_CLIENT_SECRET_FILE is empty.")
    return secret

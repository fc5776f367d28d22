"""Codes that sign the local administrator in: good once, for a few minutes, in the process that gave them out."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING

from voxplane.errors import KeyUnavailable, SignInExpired
from voxplane.schemas import AccessTokenCreate, CreatedAccessToken

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxplane.server.access import AccessService
    from voxplane.server.auth import Principal

_GOOD_FOR_SECONDS = 600
_MOST = 100
_TOKEN_DAYS = 1


class SignInCodes:
    """What a link may carry instead of a token: once used or a few minutes old it is worth nothing."""

    def __init__(self, access: AccessService, *, clock: Callable[[], float] = monotonic) -> None:
        """Give out codes for tokens that `access` creates; `clock` counts seconds."""
        self._access = access
        self._clock = clock
        # By SHA-256: what is kept opens nothing, and looking it up takes as long for every guess.
        self._issued: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    def issue(self, principal: Principal) -> str:
        """Return a code that signs in as `principal`, within ten minutes."""
        code = secrets.token_urlsafe(32)
        self._issued[_digest(code)] = (principal, self._clock() + _GOOD_FOR_SECONDS)
        while len(self._issued) > _MOST:
            self._issued.popitem(last=False)
        return code

    async def redeem(self, code: str) -> CreatedAccessToken:
        """Take a code and return an access token of one day for it.

        Raises:
            SignInExpired: it is none of ours, was used, or is too old.
            KeyUnavailable: the installation is sealed.
        """
        if self._access.is_sealed:
            raise KeyUnavailable
        principal, until = self._issued.pop(_digest(code), (None, 0.0))
        if principal is None or until < self._clock():
            raise SignInExpired
        return await console_token(self._access, principal)


async def console_token(access: AccessService, principal: Principal) -> CreatedAccessToken:
    """Create the access token of one day that a person's console works with. Raises as `create_token` does."""
    scopes = [scope.value for scope in sorted(principal.scopes)]
    new = AccessTokenCreate(name=f"Console of {principal.name}"[:100], scopes=scopes, expires_in_days=_TOKEN_DAYS)
    return await access.create_token(principal, new)


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()

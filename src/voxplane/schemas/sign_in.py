"""What travels when somebody signs in."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from voxplane.schemas import Sparse, Wire


class SignInMethod(Wire):
    """A way to sign in beside a token."""

    name: str = Field(description="What people call the identity provider.")


class SignInMethods(Wire):
    """How one can sign in here; a token is always one way."""

    oidc: SignInMethod | None = Field(description="With an identity provider; null when none is configured.")


class OidcSignIn(Sparse):
    """What the identity provider sent the browser back with."""

    code: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    state: Annotated[str, StringConstraints(min_length=1, max_length=200)]

"""Every error that Voxplane raises, on the server and in the SDK.

    VoxplaneError
    ├── InvalidRequest            400  invalid_request
    │   └── InvalidJson           400  invalid_json
    ├── Unauthenticated           401  unauthenticated
    ├── SignInExpired             401  sign_in_expired
    ├── PermissionDenied          403  permission_denied
    │   └── DestinationChange     403  destination_change_requires_admin_secrets
    ├── NotFound                  404  not_found
    │   ├── ProviderNotFound      404  provider_not_found
    │   ├── OrganizationNotFound  404  organization_not_found
    │   ├── TokenNotFound         404  token_not_found
    │   ├── VersionNotFound       404  version_not_found
    │   ├── NoPrimaryProvider     404  no_primary_provider
    │   ├── PreviewNotFound       404  preview_not_found
    │   └── SecretsNotFound       404  secrets_not_found
    ├── MethodNotAllowed          405  method_not_allowed
    ├── Conflict                  409  conflict
    │   ├── OrganizationExists    409  organization_exists
    │   └── ProviderRetired       409  provider_retired
    ├── RevisionConflict          412  revision_conflict
    ├── TooLarge                  413  too_large
    ├── UnsupportedMediaType      415  unsupported_media_type
    ├── Invalid                   422  invalid              carries `errors`
    │   ├── RestoreRefused        422  restore_refused
    │   └── SecretsRefused        422  secrets_refused
    ├── PreconditionRequired      428  precondition_required
    ├── RateLimited               429  rate_limited
    ├── InternalError             500  internal_error
    │   └── SecretsUnreadable     500  secrets_unreadable
    ├── Unavailable               503  unavailable
    │   └── KeyUnavailable        503  key_unavailable
    ├── never on the wire: ConfigurationError, MissingDependency, DestinationUnapproved
    └── in the SDK only: Unreachable, SnapshotExpired, SecretsMissing, ModelMissing

No message holds a secret or anything the caller sent: a message is written here, not assembled from input.
The one variable part is what we name ourselves: a field of a definition, a scope, a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with a request, and where.

    `pointer` is a JSON Pointer (RFC 6901) into the body, or `?name` for a query parameter and
    `{name}` for one in the path.
    """

    pointer: str
    code: str
    message: str


class VoxplaneError(Exception):
    """Something went wrong in Voxplane."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, message: str | None = None) -> None:
        """Take the sentence for the reader; without one, the class's own docstring is it."""
        self.message = message or (type(self).__doc__ or "").strip().split("\n")[0]
        super().__init__(self.message)


class InvalidRequest(VoxplaneError):
    """The request is not one that this service understands."""

    code = "invalid_request"
    status = 400
    title = "Invalid request"


class InvalidJson(InvalidRequest):
    """The body is not JSON that this service accepts."""

    code = "invalid_json"
    title = "Invalid JSON"


class Unauthenticated(VoxplaneError):
    """Send a valid token: `Authorization: Bearer <token>`."""

    code = "unauthenticated"
    status = 401
    title = "Not authenticated"


class SignInExpired(VoxplaneError):
    """This link was used before or is too old: `voxplane token create --administrator` prints a token instead."""

    code = "sign_in_expired"
    status = 401
    title = "Sign-in link expired"


class PermissionDenied(VoxplaneError):
    """This token may not do that."""

    code = "permission_denied"
    status = 403
    title = "Permission denied"


class DestinationChange(PermissionDenied):
    """This change would send calls or keys to a host that nobody with admin:secrets has approved."""

    code = "destination_change_requires_admin_secrets"
    title = "Changing the destination needs admin:secrets"


class NotFound(VoxplaneError):
    """There is nothing here."""

    code = "not_found"
    status = 404
    title = "Not found"


class ProviderNotFound(NotFound):
    """No provider has this key. GET /api/providers lists them."""

    code = "provider_not_found"
    title = "Provider not found"


class OrganizationNotFound(NotFound):
    """There is no such organization for this token."""

    code = "organization_not_found"
    title = "Organization not found"


class TokenNotFound(NotFound):
    """This organization has no such token."""

    code = "token_not_found"
    title = "Token not found"


class VersionNotFound(NotFound):
    """This provider's history has no version of this revision."""

    code = "version_not_found"
    title = "Version not found"


class NoPrimaryProvider(NotFound):
    """No provider of this type can answer: none is enabled, or none of those that are can be used."""

    code = "no_primary_provider"
    title = "No primary provider"


class PreviewNotFound(NotFound):
    """There is no sample of this voice, or none that can be had now."""

    code = "preview_not_found"
    title = "Preview not found"


class SecretsNotFound(NotFound):
    """This provider has no stored secrets."""

    code = "secrets_not_found"
    title = "Secrets not found"


class MethodNotAllowed(VoxplaneError):
    """This resource does not have that method; the Allow header lists what it has."""

    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"


class Conflict(VoxplaneError):
    """This does not fit what is there."""

    code = "conflict"
    status = 409
    title = "Conflict"


class OrganizationExists(Conflict):
    """An organization with this slug exists already."""

    code = "organization_exists"
    title = "Organization exists"


class ProviderRetired(Conflict):
    """This provider is no longer offered: its stored settings can be read and removed, not changed."""

    code = "provider_retired"
    title = "Provider retired"


class RevisionConflict(VoxplaneError):
    """Somebody changed this since you read it: read it again, then repeat the change."""

    code = "revision_conflict"
    status = 412
    title = "Revision conflict"


class TooLarge(VoxplaneError):
    """The body is larger than this route accepts."""

    code = "too_large"
    status = 413
    title = "Body too large"


class UnsupportedMediaType(VoxplaneError):
    """Send the body as `Content-Type: application/json`."""

    code = "unsupported_media_type"
    status = 415
    title = "Unsupported media type"


class Invalid(VoxplaneError):
    """The request is well formed but some values are not valid."""

    code = "invalid"
    status = 422
    title = "Invalid values"

    def __init__(self, errors: list[FieldError]) -> None:
        """Take what is wrong, field by field; there is at least one."""
        self.errors = errors
        super().__init__()


class RestoreRefused(Invalid):
    """The provider's present definition no longer takes these settings: ask for the valid ones only."""

    code = "restore_refused"
    title = "Restore refused"


class SecretsRefused(Invalid):
    """The provider does not accept these secrets, so they were not stored; without the check they are."""

    code = "secrets_refused"
    title = "Secrets refused"

    def __init__(self, errors: list[FieldError], verification: Mapping[str, Any] | None = None) -> None:
        """Take the secrets that were tested, and the test's result as it travels."""
        super().__init__(errors)
        self.verification = verification


class PreconditionRequired(VoxplaneError):
    """Send If-Match with the ETag that you last read."""

    code = "precondition_required"
    status = 428
    title = "Precondition required"


class RateLimited(VoxplaneError):
    """There is more of this than one caller may have at a time."""

    code = "rate_limited"
    status = 429
    title = "Too many"

    def __init__(self, message: str | None = None, *, retry_after_seconds: int | None = None) -> None:
        """Take the sentence for the reader, and when it is worth asking again, if that is known."""
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class InternalError(VoxplaneError):
    """Something failed on our side; the request id finds it in the log."""


class SecretsUnreadable(InternalError):
    """A stored secret does not open: it was altered, or sealed for another place or version."""

    code = "secrets_unreadable"
    title = "Secrets unreadable"


class Unavailable(VoxplaneError):
    """The service cannot answer at the moment; try again shortly."""

    code = "unavailable"
    status = 503
    title = "Unavailable"

    def __init__(self, message: str | None = None, *, retry_after_seconds: int = 1) -> None:
        """Take the sentence for the reader, and when it is worth asking again."""
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class KeyUnavailable(Unavailable):
    """The key that seals this installation's secrets is missing or is another one, so nothing that needs it is done."""

    code = "key_unavailable"
    title = "Sealed: key unavailable"


class ConfigurationError(VoxplaneError):
    """Voxplane is set up in a way that it refuses to run with."""

    code = "configuration"
    title = "Configuration error"


class MissingDependency(ConfigurationError):
    """A package of an optional extra is not installed."""

    code = "missing_dependency"
    title = "Missing dependency"


class DestinationUnapproved(VoxplaneError):
    """The configuration sends this key to a host that nobody with admin:secrets has approved for it."""

    code = "destination_unapproved"
    status = 403
    title = "Destination not approved"


class Unreachable(VoxplaneError):
    """The control plane does not answer, and nothing is kept from an earlier answer."""

    code = "unreachable"
    status = 503
    title = "Control plane unreachable"

    def __init__(self, message: str | None = None, *, retry_after_seconds: float | None = None) -> None:
        """Take the sentence for the reader, and when the control plane asked to come back, if it did."""
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class SnapshotExpired(VoxplaneError):
    """The control plane has not been reached for so long that the keys it gave may no longer be used."""

    code = "snapshot_expired"
    status = 503
    title = "Snapshot expired"


class SecretsMissing(VoxplaneError):
    """A secret that this provider cannot do without is not there."""

    code = "secrets_missing"
    status = 503
    title = "Secrets missing"


class ModelMissing(VoxplaneError):
    """A local engine's model is not in the models folder of this machine, or cannot be loaded."""

    code = "model_missing"
    status = 503
    title = "Model missing"


def from_problem(document: Mapping[str, Any]) -> VoxplaneError:
    """Return the error that a problem document of the API stands for.

    Raises:
        KeyError: it has no code of ours; it may be a gateway's.
    """
    found = _by_code(VoxplaneError)[document["code"]]
    if issubclass(found, Invalid):
        return found([FieldError(each["pointer"], each["code"], each["message"]) for each in document["errors"]])
    return found(str(document.get("detail") or "") or None)


def _by_code(error: type[VoxplaneError]) -> dict[str, type[VoxplaneError]]:
    known = {error.code: error}
    for more in error.__subclasses__():
        known |= {code: found for code, found in _by_code(more).items() if code not in known}
    return known

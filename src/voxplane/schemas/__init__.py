"""What travels over the API: request and response models, shared by the server and the SDK.

On the wire every name is camelCase; in Python it is snake_case. One base class, in `wire`, does the renaming. Here
stands what the catalogue, configuration and workers need; other subjects have a file each beside it.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from voxplane.schemas.verification import VerificationResult
from voxplane.schemas.wire import JsonObject as JsonObject
from voxplane.schemas.wire import OriginUrl, Sparse, Wire
from voxplane.schemas.wire import field_errors as field_errors
from voxplane.schemas.wire import without_null as without_null

MAX_PRIORITY = 1000
MAX_REPORTS = 50


class ProviderType(StrEnum):
    """What a provider does in a call."""

    STT = "stt"
    TTS = "tts"
    LLM = "llm"


Hosting = Literal["cloud", "local"]
ModelStatus = Literal["current", "preview", "restricted", "legacy", "deprecated", "retired", "unverified"]
Unusable = Literal[
    "disabled", "retired", "secrets_missing", "invalid_config", "destination_unapproved", "undecryptable"
]
ProviderStatus = Literal[
    "verified",
    "unverified",
    "failing",
    "retired",
    "secrets_missing",
    "invalid_config",
    "destination_unapproved",
    "undecryptable",
]
_SLUG = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def _slug(text: str) -> str:
    if not re.fullmatch(_SLUG, text):
        message = "Write 1 to 63 of a-z, 0-9 and hyphens, with no hyphen at either end, such as acme-corp"
        raise PydanticCustomError("slug", message)
    return text


Slug = Annotated[str, AfterValidator(_slug), WithJsonSchema({"type": "string", "pattern": f"^{_SLUG}$"})]
# These describe what is looked up or parsed later, by whoever can say better what is wrong with it.
ProviderKey = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[a-z0-9-]+$"})]
ScopeName = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[a-z]+:[a-z]+$"})]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Offer(Wire):
    """What is known of something that a vendor offers by name."""

    name: str = Field(description="What the vendor calls it; the value of the setting.")
    status: ModelStatus = "current"
    retires_on: date | None = Field(default=None, description="The vendor's own date of its end.")
    replacement: str | None = Field(default=None, description="What the vendor names as its successor.")
    note: str | None = None

    def has_ended(self, today: date) -> bool:
        """Whether the vendor no longer offers it."""
        return self.status == "retired" or (self.retires_on is not None and self.retires_on <= today)

    def will_end(self) -> bool:
        """Whether its end is announced, with a date or without."""
        return self.status == "deprecated" or self.retires_on is not None


class Model(Offer):
    """A model that a vendor is known to offer, or to have offered."""

    max_output_tokens: int | None = None
    call_settings: JsonObject = Field(
        default_factory=dict, description="What to set with it in calls, where the vendor's own defaults do not suit."
    )


class Voice(Offer):
    """A voice that a vendor is known to offer to everybody, or to have offered."""

    label: str | None = Field(default=None, description="What people call it, where its name is an id.")
    language: str | None = None


class Metadata(Wire):
    """Where to read on about a provider."""

    docs_url: str
    pricing_url: str | None = None
    console_url: str | None = Field(default=None, description="Where a person makes an API key.")


class Destination(Wire):
    """Which settings decide where calls, and the key with them, are sent."""

    fields: tuple[str, ...]
    default_origins: tuple[str, ...] = Field(description="Where calls go without any override.")


class ProviderSummary(Wire):
    """A provider, without its schemas."""

    key: str
    name: str
    type: ProviderType
    hosting: Hosting
    description: str
    capabilities: tuple[str, ...]
    metadata: Metadata


class Provider(ProviderSummary):
    """A provider of the catalogue: all that there is to know before configuring it."""

    config_schema: JsonObject = Field(description="JSON Schema 2020-12 of an override.")
    secrets_schema: JsonObject = Field(description="JSON Schema 2020-12 of its secrets.")
    default_config: JsonObject
    models: tuple[Model, ...]
    voices: tuple[Voice, ...]
    destination: Destination
    shares_secrets_with: str | None = Field(
        default=None, description="The provider whose key this one uses while it has none of its own."
    )
    retired_at: datetime | None = Field(default=None, description="Since when this provider is no longer offered.")


class Providers(Wire):
    """The catalogue."""

    providers: tuple[Provider, ...]


class SecretField(Wire):
    """What may be known of one stored secret: everything but its value."""

    name: str
    required: bool
    is_set: bool
    version: int | None = None
    label: str | None = None
    updated_at: datetime | None = None
    updated_by: str | None = None
    shared_from: str | None = Field(default=None, description="The provider whose stored secret is used here.")


class ProviderName(Wire):
    """Which provider."""

    key: str
    name: str
    type: ProviderType


class OrganizationName(Wire):
    """Which organization."""

    id: UUID
    slug: str


class ProposedChange(Wire):
    """What a proposal changes of the settings in force; null is a setting that is not used."""

    setting: str
    title: str = Field(description="What people call the setting.")
    before: Any
    after: Any
    because: str | None = Field(default=None, description="Why the setting cannot stay as the organization set it.")


class Proposal(Wire):
    """A way to go on when something ends: one ordinary change of settings."""

    config: JsonObject = Field(
        description="The whole override, valid as it is: send it as `config` to `PUT .../config`, with If-Match."
    )
    changes: tuple[ProposedChange, ...]


class Notice(Wire):
    """Something that an organization should know about its settings."""

    code: str
    pointer: str = Field(description="JSON Pointer into this answer: what the notice is about.")
    message: str
    model: str | None = None
    voice: str | None = None
    retires_on: date | None = None
    replacement: str | None = None
    proposal: Proposal | None = Field(default=None, description="The change to a successor, where one is known.")
    no_proposal: str | None = Field(default=None, description="Why there is none, for something that ends.")


class ProviderNotice(Wire):
    """A notice, and the provider that it is about."""

    provider: ProviderName
    is_enabled: bool
    is_primary: bool
    etag: str = Field(description="For If-Match on the write of the notice's proposal.")
    notice: Notice


class Notices(Wire):
    """What an organization should know about the providers that it uses, most pressing first."""

    organization: OrganizationName
    as_of: date = Field(description="The day on which this was said; UTC.")
    notices: tuple[ProviderNotice, ...]


FailureKind = Literal[
    "authentication",
    "permission",
    "quota",
    "rate_limit",
    "invalid_request",
    "unavailable",
    "unsupported",
    "server",
    "timeout",
    "connectivity",
]


class ProviderHealth(Wire):
    """What workers last saw of a provider in calls."""

    status: Literal["failing", "recovered"]
    kind: FailureKind | None = Field(
        description="What kind of failure it is; null also where a newer release stored one that this does not know."
    )
    since: datetime = Field(description="Since when this is reported.")
    reported_at: datetime = Field(description="When it was last reported.")
    reported_by: str = Field(description="The worker, by the name of its token.")
    reports: int = Field(description="How often this status was reported in a row, counted about once a second.")
    revision: int = Field(description="The organization's revision that the worker had in use.")


class OrganizationProvider(Wire):
    """One provider as one organization has it."""

    provider: ProviderSummary
    config: JsonObject = Field(description="The settings in force: defaults with the overrides on top.")
    overrides: JsonObject = Field(description="What the organization itself set.")
    is_configured: bool
    is_enabled: bool
    priority: int
    is_primary: bool = Field(description="Whether it is the first enabled provider of its type.")
    usable: bool = Field(description="Whether a call can be answered by it now.")
    reason: Unusable | None = Field(description="Why it is not usable.")
    status: ProviderStatus = Field(
        description="What is known of it, on or off: what it lacks, that a test or workers showed it to work or to "
        "fail, or that nobody tried it since it was changed."
    )
    status_since: datetime | None = Field(description="Since when a test or workers show it; null for other states.")
    secret_fields: tuple[SecretField, ...]
    origins: tuple[str, ...] = Field(description="Where calls go with these settings.")
    approved_origins: tuple[str, ...] = Field(description="Where its stored key may be sent.")
    notices: tuple[Notice, ...]
    revision: int
    etag: str = Field(description="For If-Match on a write: the settings and secrets as they stand here.")
    updated_at: datetime | None
    updated_by: str | None
    health: ProviderHealth | None = Field(description="What workers saw of it; null while none reported anything.")
    verification: VerificationResult | None = Field(
        description="The last test of it; null when there was none since its settings, secrets or definition changed."
    )


class OrganizationProviders(Wire):
    """The providers of an organization, in the order in which they would answer."""

    revision: int
    next_call: dict[ProviderType, str] = Field(
        description="The provider that answers the next call, by type. A listed type that is absent has none that can."
    )
    order_etags: dict[ProviderType, str] = Field(
        description="What to send as If-Match with a new order, by listed type. Covers the order and its priorities."
    )
    providers: tuple[OrganizationProvider, ...]


class ConfigWrite(Sparse):
    """A change of one provider's settings; what is absent stays as it is."""

    config: JsonObject | None = Field(
        default=None, description="The override as a whole; replaces the stored one. An empty object is all defaults."
    )
    is_enabled: bool | None = None
    priority: int | None = Field(default=None, ge=0, le=MAX_PRIORITY)


class OrderWrite(Sparse):
    """The order in which the providers of one type answer."""

    order: Annotated[list[ProviderKey], Field(min_length=1, max_length=200)] = Field(
        description="Provider keys, first to answer first. Those left out follow in their present order."
    )


class SecretsWrite(Sparse):
    """A change of one provider's secrets; a field that is absent stays, null removes it."""

    secrets: dict[str, str | None] = Field(
        default_factory=dict, json_schema_extra={"propertyNames": {"pattern": "^[A-Za-z][A-Za-z0-9]*$"}}
    )
    approved_origins: Annotated[list[OriginUrl], Field(max_length=16)] | None = Field(
        default=None,
        description="Where else than to the provider's own origins these secrets may be sent. "
        "Replaces the approved list; absent leaves it.",
    )
    label: Annotated[str, StringConstraints(max_length=100)] | None = Field(
        default=None,
        description="A name for the person who looks later: which key is this? "
        "It goes to the secrets of this request, or to all stored ones when it has none.",
    )
    rebind: bool = Field(
        default=False, description="Approve new origins for stored secrets that are not entered again."
    )
    check: bool = Field(
        default=False,
        description="Test the secrets first, and store nothing if the provider does not accept them. "
        "Where the test is inconclusive they are stored.",
    )

    @field_validator("secrets", mode="before")
    @classmethod
    def _name_no_field(cls, secrets: object) -> object:
        # Pydantic's own finding would end in the field's name, and that may be a key pasted into the wrong place.
        if isinstance(secrets, dict) and not all(isinstance(value, str | None) for value in secrets.values()):  # pyright: ignore[reportUnknownVariableType]
            raise PydanticCustomError("secret_value", "give every secret as a string, or null to remove it")
        return secrets  # pyright: ignore[reportUnknownVariableType]


class ResolvedProvider(Wire):
    """One provider as a worker uses it: its settings in force and its opened secrets."""

    provider: ProviderName
    config: JsonObject = Field(description="The settings in force, without those that its rules forbid.")
    secrets: dict[str, str] = Field(repr=False, description="The opened secrets, by field.")
    origins: tuple[str, ...] = Field(description="Where its calls go: the only places that these secrets may be sent.")
    is_enabled: bool
    priority: int
    secret_version: int | None = Field(description="Which version of its secrets this is; null when it uses none.")
    is_failing: bool = Field(
        default=False, description="Whether workers saw it fail last: when it answers, that is worth a report."
    )
    notices: tuple[Notice, ...] = Field(default=(), description="What ends of what its settings name; no proposals.")


class Chains(Wire):
    """The providers that answer, by type, in the order in which they are tried."""

    stt: tuple[ResolvedProvider, ...] = ()
    tts: tuple[ResolvedProvider, ...] = ()
    llm: tuple[ResolvedProvider, ...] = ()


class SkippedProvider(Wire):
    """An enabled provider that cannot answer, and why.

    A newer control plane may add words to both: read them as text, or one would keep a worker from its keys.
    """

    key: str
    type: Annotated[str, WithJsonSchema({"type": "string", "enum": [*ProviderType]})]
    reason: Annotated[str, WithJsonSchema({"type": "string", "enum": [*get_args(Unusable)]})]


class Resolution(Wire):
    """All that a worker needs for an organization's calls, at one revision."""

    organization: OrganizationName
    at: str = Field(description="Which state this is, as `<epoch>.<revision>`.")
    chains: Chains
    skipped: tuple[SkippedProvider, ...]


class ResolutionRequest(Sparse):
    """What a worker wants, and what it has."""

    types: Annotated[list[Annotated[ProviderType, Field(strict=False)]], Field(min_length=1, max_length=3)] | None = (
        Field(default=None, description="Only chains of these types; absent: all.")
    )
    have: Annotated[str, StringConstraints(max_length=80)] | None = Field(
        default=None, description="The `at` of the resolution that the worker holds; 204 when it still is the state."
    )


class ProviderReport(Sparse):
    """What a worker saw of one provider."""

    provider: ProviderKey
    outcome: Literal["failed", "recovered"]
    kind: FailureKind | None = Field(default=None, description="What kind of failure; only with `failed`.")
    at: Annotated[str, StringConstraints(max_length=80)] | None = Field(
        default=None, description="The state that its settings and key came from, if another than that of the others."
    )


class ReportsWrite(Sparse):
    """What a worker saw of the providers of its organization since it last reported."""

    at: Annotated[str, StringConstraints(max_length=80)] = Field(
        description="The state in use, as `<epoch>.<revision>`."
    )
    reports: Annotated[list[ProviderReport], Field(max_length=MAX_REPORTS)] = Field(
        default_factory=list[ProviderReport]
    )


class Organization(Wire):
    """A customer of the platform: the owner of configuration and keys."""

    id: UUID
    slug: str
    name: str
    revision: int
    created_at: datetime


class Organizations(Wire):
    """The organizations of this installation."""

    organizations: tuple[Organization, ...]


class OrganizationCreate(Sparse):
    """A new organization."""

    slug: Slug
    name: Name


class AccessToken(Wire):
    """An access token, without its value."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None


class AccessTokens(Wire):
    """The access tokens of an organization."""

    tokens: tuple[AccessToken, ...]


class PlatformToken(AccessToken):
    """An access token that is bound to no organization, without its value."""

    organizations: tuple[str, ...] | None
    """The slugs of those that a fleet's token may act for; None for a token of the platform."""


class PlatformTokens(Wire):
    """The access tokens that are bound to no organization."""

    tokens: tuple[PlatformToken, ...]


class AccessTokenCreate(Sparse):
    """A new access token."""

    name: Name
    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=16)]
    expires_in_days: int | None = Field(default=None, ge=1, le=3650, description="Absent: it does not expire.")


class CreatedAccessToken(AccessToken):
    """A new access token with its value, which is shown this once."""

    value: str


class SignIn(Sparse):
    """A code that signs in once."""

    code: Annotated[str, StringConstraints(max_length=100)]


class Me(Wire):
    """Who is asking."""

    subject: str
    name: str
    kind: str
    organization: Organization | None
    scopes: tuple[str, ...]


class Problem(BaseModel):
    """An error, as application/problem+json (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    requestId: str  # noqa: N815 - the wire name; this model is documentation, never built
    errors: list[ProblemField] | None = None
    verification: VerificationResult | None = None


class ProblemField(BaseModel):
    """One invalid value, and where it stands."""

    pointer: str
    code: str
    message: str

"""Everything that an operator can set, read from the environment once and frozen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, IPvAnyNetwork, SecretStr, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Issuer(BaseModel):
    """An identity provider whose JWTs are accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(min_length=1, description="The exact `iss` claim.")
    audience: str = Field(min_length=1, description="The `aud` claim that must be present.")
    algorithm: Literal["ES256", "EdDSA", "RS256", "PS256"] = Field(
        default="ES256", description="The one algorithm that its tokens are signed with."
    )
    jwks_url: str | None = Field(default=None, pattern=r"^https://", description="Where its public keys are published.")
    public_key: str | None = Field(default=None, description="Its public key as PEM, instead of a JWKS.")
    organization_claim: str = Field(default="org_id", description="The claim with the organization's UUID.")

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> Issuer:
        if (self.jwks_url is None) == (self.public_key is None):
            raise PydanticCustomError("keys", "give either jwks_url or public_key")
        return self


def _from_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise PydanticCustomError("json", "write it as JSON") from None


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Settings(BaseSettings):
    """The settings of a server or of a command, each from `VOXPLANE_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="VOXPLANE_", frozen=True, hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=5005, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(
        default=Path(".voxplane"),
        description="Where the embedded database and the keyring live, unless set elsewhere.",
    )
    database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL >= 15 as the application's own role; unset runs an embedded server."
    )
    database_admin_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL as a role that may create roles and the schema; used to upgrade, then closed.",
    )
    keyring_file: Path | None = Field(
        default=None,
        description="The file with the key that seals all secrets; default: keyring.json in the data directory.",
    )
    anchors_file: Path | None = Field(
        default=None,
        description="The file that the service adds signed anchors of all audit logs to, and holds these against at "
        "start; `-` adds them to standard output.",
    )
    anchor_seconds: float = Field(
        default=60.0,
        ge=0,
        le=24 * 3600,
        description="How often an anchor is added when a log grew, besides the one at the end; 0 adds none.",
    )
    catalogue_file: Path | None = Field(
        default=None,
        description="A JSON file with newer facts on models and voices than those of the release; read at start.",
    )
    # Left to itself, pydantic-settings decodes JSON outside of validation and fails with an error of another kind.
    trusted_issuers: Annotated[tuple[Issuer, ...], NoDecode, BeforeValidator(_from_json)] = Field(
        default=(), description="Identity providers whose JWTs are accepted, as a JSON array."
    )
    public_url: str | None = Field(
        default=None,
        description="Where browsers reach this service, such as https://voxplane.example.com; "
        "an identity provider sends people back there.",
    )
    oidc_issuer: str | None = Field(
        default=None, description="The trusted issuer that people sign in to the console with; unset, with tokens only."
    )
    oidc_client_id: str | None = Field(default=None, description="What Voxplane is called at that identity provider.")
    oidc_client_secret_file: Path | None = Field(
        default=None, description="The file with the secret of that client; unset for a public client."
    )
    oidc_name: str = Field(
        default="single sign-on", max_length=60, description="What people call it: `Sign in with <name>`."
    )
    require_preconditions: bool = Field(
        default=False, description="Answer 428 to a write of one provider without If-Match, instead of accepting it."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="Log lines as JSON, or for reading; auto is console on a terminal."
    )
    pool_size: Annotated[int, Field(ge=1, le=100)] = Field(
        default=10, description="Database connections of this process."
    )
    pool_wait_seconds: float = Field(
        default=1.0, gt=0, description="How long a request waits for one of them before 503."
    )
    statement_timeout_seconds: float = Field(default=5.0, gt=0, description="The longest a statement may run.")
    lock_timeout_seconds: float = Field(default=2.0, gt=0, description="The longest a statement may wait for a lock.")
    config_body_bytes: int = Field(default=64 * 1024, ge=1024, description="Largest body of a configuration request.")
    secrets_body_bytes: int = Field(default=16 * 1024, ge=1024, description="Largest body of a secrets request.")
    body_timeout_seconds: float = Field(default=10.0, gt=0, description="The longest a body may take to arrive.")
    token_cache_seconds: float = Field(
        default=5.0, ge=0, le=30, description="How long a checked token is trusted before it is looked up again."
    )
    answer_cache_bytes: int = Field(
        default=32 * 1024 * 1024, ge=0, description="Memory for answers that are given again while they hold."
    )
    organization_streams: int = Field(
        default=1000, ge=1, description="Most change streams of one organization on this process."
    )
    stream_heartbeat_seconds: float = Field(
        default=15.0,
        gt=0,
        le=15,  # a worker leaves a stream that was silent for 24 seconds, and opening it and the look may take a few
        description="How often a silent change stream is used, and its token looked at again.",
    )
    report_interval_seconds: float = Field(
        default=1.0,
        ge=0,
        le=60,
        description="How long what workers reported of a provider stands before their next report may change it.",
    )
    vendor_timeout_seconds: float = Field(
        default=5.0, gt=0, le=30, description="The longest that a question to a provider may take, all of it."
    )
    vendor_networks: Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=(),
        description="Networks that are not public and that providers may be called in all the same, such as "
        "10.1.0.0/16, with commas between them. Only in these is a local speech server tested.",
    )
    vendor_ca_file: Path | None = Field(
        default=None,
        description="Certificates (PEM) by which providers are trusted besides those that public authorities signed.",
    )
    verifications_per_minute: int = Field(
        default=10, ge=1, le=10_000, description="Most tests of providers in a minute for one organization."
    )
    lists_per_minute: int = Field(
        default=20,
        ge=1,
        le=10_000,
        description="Most questions to providers for models, voices and samples in a minute for one organization.",
    )
    reverify_hours: float = Field(
        default=0.0,
        ge=0,
        le=24 * 30,
        description="Test enabled cloud providers again that were last tested so many hours ago; 0 tests none. "
        "Each test is a request or two to the provider.",
    )
    models_dir: Path | None = Field(
        default=None,
        description="The speech models of workers that run on this machine; a test of a local engine looks there.",
    )
    organization_tokens: int = Field(default=50, ge=1, description="Most live tokens of one organization.")

    @property
    def keyring_path(self) -> Path:
        """The keyring's file."""
        return self.keyring_file or self.data_dir / "keyring.json"

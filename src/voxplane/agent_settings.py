"""What an agent worker is told by its environment, read once and frozen."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from voxplane.errors import ConfigurationError
from voxplane.provider import pointed


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def read(cls) -> Self:
        """Read the environment.

        Raises:
            ConfigurationError: a setting is missing or not valid; the message names each.
        """
        check(cls)
        return cls()

    @classmethod
    def wrong(cls) -> list[str]:
        """Return what is missing in the environment or not valid, a sentence for each."""
        try:
            cls()
        except ValidationError as error:
            prefix = cls.model_config.get("env_prefix", "")
            return [f"{prefix}{each.pointer.lstrip('/').upper()}: {each.message}" for each in pointed(error)]
        return []


def check(*wanted: type[_Settings]) -> None:
    """Look whether all that is wanted can be read.

    Raises:
        ConfigurationError: a setting is missing or not valid; the message names each, of all that is wanted.
    """
    if wrong := [sentence for each in wanted for sentence in each.wrong()]:
        raise ConfigurationError(f"The worker cannot start. {' '.join(wrong)}")


# A worker does not start with what its client would refuse at the first call. The client's file is imported when a
# worker reads its settings: whoever else imports this one can do without aiohttp.


def _control_plane(url: str) -> str:
    from voxplane.channel import checked_url  # noqa: PLC0415 - see above

    with _as_a_finding():
        return checked_url(url)


def _token(token: SecretStr) -> SecretStr:
    from voxplane.channel import bare_token  # noqa: PLC0415 - see above

    with _as_a_finding():
        return SecretStr(bare_token(token.get_secret_value()))


@contextmanager
def _as_a_finding() -> Generator[None]:
    try:
        yield
    except ConfigurationError as error:
        raise PydanticCustomError("control_plane", "{why}", {"why": error.message}) from None


class AgentSettings(_Settings):
    """What a worker is told, each from `VOXPLANE_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="VOXPLANE_")

    url: Annotated[str, AfterValidator(_control_plane)] = Field(
        default="http://127.0.0.1:5005", description="The control plane: its address without /api."
    )
    token: Annotated[SecretStr, AfterValidator(_token)] = Field(
        description="A token with worker:resolve, of one organization or of a fleet."
    )
    organization: str = Field(
        default="current", description="The organization of calls whose job names none; by default the token's own."
    )
    snapshot_dir: Path | None = Field(
        default=None, description="Where the last snapshot is kept, encrypted, to start without the control plane."
    )
    ca_file: Path | None = Field(
        default=None,
        description="Certificates (PEM) by which the control plane's own is trusted, if no public authority signed it.",
    )
    agent_name: str = Field(default="voxplane", description="The name that LiveKit dispatches jobs by.")
    agent_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="The port of LiveKit's health check on this machine, each worker's own: 8081 unless set, and with "
        "`dev` any that is free, as with 0.",
    )
    instructions: str = Field(
        default="You are a helpful voice assistant. Answer in one or two short sentences, without lists or symbols.",
        description="What the language model is told before the call.",
    )
    greeting: str = Field(default="", description="What is said when the call begins; nothing when empty.")


def _livekit_address(url: str) -> str:
    if urlsplit(url).scheme not in {"wss", "ws", "https", "http"} or not urlsplit(url).hostname:
        raise PydanticCustomError("livekit_url", "write an address such as wss://livekit.example.com")
    return url


class LiveKitSettings(_Settings):
    """Where LiveKit is, each from `LIVEKIT_<NAME>`: LiveKit reads these itself, and would miss them in a traceback."""

    model_config = SettingsConfigDict(env_prefix="LIVEKIT_")

    url: Annotated[str, AfterValidator(_livekit_address)] = Field(description="LiveKit; not for `console`.")
    api_key: Annotated[str, Field(min_length=1)] = Field(description="Its API key.")
    api_secret: Annotated[SecretStr, Field(min_length=1)] = Field(description="The API key's secret.")


def described() -> dict[str, str]:
    """Return the variables that a worker reads, and what each is for."""
    lines: dict[str, str] = {}
    for each in (AgentSettings, LiveKitSettings):
        for name, field in each.model_fields.items():
            needed = " Needed." if field.is_required() else ""
            lines[f"{each.model_config.get('env_prefix', '')}{name.upper()}"] = f"{field.description}{needed}"
    return lines

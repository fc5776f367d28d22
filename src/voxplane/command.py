"""What commands stand on: settings from the environment, a control plane while they run, and a request of arguments."""

from __future__ import annotations

import getpass
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, TypeVar

import anyio
import typer
from pydantic import BaseModel, ValidationError

from voxplane.errors import ConfigurationError, FieldError, Invalid
from voxplane.provider import pointed
from voxplane.registry import ProviderRegistry
from voxplane.server import doctor, logs
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from voxplane.server.auth import Principal

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
Key = Annotated[str, typer.Argument(help="The provider's key, such as openai.", metavar="PROVIDER")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Organization = Annotated[str, typer.Option("--organization", "-o", help="The organization's slug.")]


def read_settings() -> Settings:
    """Read the environment, and have logs written as it says.

    Raises:
        ConfigurationError: it holds what is not valid; the message names each variable.
    """
    try:
        present = Settings()
    except ValidationError as error:
        wrong = [f"  {_variable(field)}" for field in pointed(error)]
        raise ConfigurationError("\n".join(["The environment holds what is not valid:", *wrong])) from None
    logs.configure(present.log_format)
    return present


def _variable(field: FieldError) -> str:
    name, _, inside = field.pointer.lstrip("/").partition("/")
    return f"VOXPLANE_{name.upper()}{f', at {inside}' if inside else ''}: {field.message}"


def installed_catalogue() -> ProviderRegistry:
    """Return the providers of this installation, with the operator's facts on models and voices.

    Raises:
        ConfigurationError: the operator's file is not valid.
    """
    registry = ProviderRegistry()
    registry.initialize(read_settings().catalogue_file)
    return registry


def read_text(path: Path, most: int = -1) -> str:
    """Read a file that an option names, or standard input for `-`; at most so many characters.

    Raises:
        ConfigurationError: there is none, or it is no text. The message does not repeat the name: some give a key.
    """
    try:
        if str(path) == "-":
            return sys.stdin.read(most)
        with path.open(encoding="utf-8") as file:
            return file.read(most)
    except FileNotFoundError:
        raise ConfigurationError("There is no file of this name.") from None
    except (OSError, ValueError):  # a name with NUL is a ValueError, and so is what is no text
        raise ConfigurationError("The file cannot be read as text.") from None


def account() -> str:
    """Return who is at the terminal, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that no account has
        return f"uid {os.getuid()}"


@asynccontextmanager
async def plane() -> AsyncGenerator[ControlPlane]:
    """Open this machine's control plane for as long as a command takes."""
    present = read_settings()
    doctor.require_installation(present)
    async with ControlPlane.open(present) as opened:
        yield opened


def run(work: Callable[[ControlPlane], Awaitable[T]]) -> T:
    """Do something with this machine's control plane."""

    async def with_plane() -> T:
        async with plane() as opened:
            return await work(opened)

    return anyio.run(with_plane, backend_options={"use_uvloop": sys.platform != "win32"})


def run_for(slug: str, work: Callable[[ControlPlane, Principal], Awaitable[T]]) -> T:
    """Do something as this machine's administrator of one organization."""

    async def with_principal(opened: ControlPlane) -> T:
        found = await opened.access.find_organization(slug)
        return await work(opened, local_administrator(found.id, account()))

    return run(with_principal)


def model(kind: type[M], **fields: object) -> M:
    """Build a request as the API would read it, with its errors."""
    try:
        return kind.model_validate({name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        raise Invalid(pointed(error)) from None

"""Which providers there are: the files in `voxplane.providers` and what installed packages add.

A package adds providers by an entry point in the group `voxplane.providers` that names a `ProviderDefinition`,
or a module that has one as `PROVIDER`. The files of this package need no entry point.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import TYPE_CHECKING, cast

import voxplane.providers
from voxplane.errors import ConfigurationError, ProviderNotFound
from voxplane.provider import AnyProvider, ProviderDefinition
from voxplane.schemas import ProviderType

if TYPE_CHECKING:
    from collections.abc import Iterable

ENTRY_POINT_GROUP = "voxplane.providers"


class ProviderRegistry:
    """The catalogue in memory: what the definitions say, by key and by type."""

    def __init__(self) -> None:
        """Start empty; `initialize` fills it."""
        self._providers: dict[str, AnyProvider] = {}

    def initialize(self) -> None:
        """Find every definition.

        Raises:
            ConfigurationError: two definitions have one key, an entry point names something else, or a
                definition shares the secrets of a provider that does not exist.
        """
        self._providers = {}
        for provider in sorted([*_shipped(), *_installed()], key=rank_by_name):
            if provider.key in self._providers:
                raise ConfigurationError(f"Two providers are called {provider.key}: give one another key.")
            self._providers[provider.key] = provider
        for provider in self._providers.values():
            if provider.shares_secrets_with not in {None, *self._providers}:
                raise ConfigurationError(f"Provider {provider.key} shares the secrets of an unknown provider.")

    def get_all_providers(self) -> list[AnyProvider]:
        """Return every provider, by type and name."""
        return list(self._providers.values())

    def get_providers_by_type(self, provider_type: ProviderType) -> list[AnyProvider]:
        """Return the providers of one type, by name."""
        return [provider for provider in self._providers.values() if provider.type is provider_type]

    def get_provider_by_key(self, key: str) -> AnyProvider:
        """Return one provider.

        Raises:
            ProviderNotFound: there is none with this key.
        """
        provider = self._providers.get(key)
        if provider is None:
            raise ProviderNotFound
        return provider

    @property
    def digest(self) -> str:
        """Eight hex digits of the whole catalogue: other ones when anything about any provider is another."""
        every = "".join(sorted(provider.digest for provider in self._providers.values()))
        return hashlib.sha256(every.encode()).hexdigest()[:8]


@cache
def installed() -> ProviderRegistry:
    """Return the providers of this installation, found once."""
    registry = ProviderRegistry()
    registry.initialize()
    return registry


def rank_by_name(provider: AnyProvider) -> tuple[int, str, str]:
    """Order the catalogue: speech to text, text to speech, language models, each by name."""
    return (list(ProviderType).index(provider.type), provider.name.casefold(), provider.key)


def _shipped() -> Iterable[AnyProvider]:
    for module in pkgutil.iter_modules(voxplane.providers.__path__, "voxplane.providers."):
        yield _definition(importlib.import_module(module.name), module.name)


def _installed() -> Iterable[AnyProvider]:
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        yield _definition(entry_point.load(), entry_point.value)


def _definition(found: object, source: str) -> AnyProvider:
    if isinstance(found, ModuleType):
        found = getattr(found, "PROVIDER", None)
    if not isinstance(found, ProviderDefinition):
        raise ConfigurationError(f"{source} is no ProviderDefinition and has no PROVIDER that is one.")
    return cast("AnyProvider", found)

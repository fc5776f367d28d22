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
from voxplane import catalogue
from voxplane.errors import ConfigurationError, ProviderNotFound
from voxplane.provider import AnyProvider, ProviderDefinition
from voxplane.schemas import ProviderType

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from voxplane.catalogue import Catalogue

ENTRY_POINT_GROUP = "voxplane.providers"


class ProviderRegistry:
    """The catalogue in memory: what the definitions say, by key and by type."""

    def __init__(self) -> None:
        """Start empty; `initialize` fills it."""
        self._providers: dict[str, AnyProvider] = {}
        self._released: dict[str, AnyProvider] = {}
        self.facts: Catalogue | None = None
        """The operator's facts on models and voices, which stand over those of the release."""

    def initialize(self, catalogue_file: Path | None = None) -> None:
        """Find every definition, and lay the facts of a file over what they say of models and voices.

        Raises:
            ConfigurationError: two definitions have one key, an entry point names something else, a definition
                shares the secrets of a provider that does not exist, or the file is not valid.
        """
        self._providers = {}
        for provider in sorted([*_shipped(), *_installed()], key=rank_by_name):
            if provider.key in self._providers:
                raise ConfigurationError(f"Two providers are called {provider.key}: give one another key.")
            self._providers[provider.key] = provider
        for provider in self._providers.values():
            if provider.shares_secrets_with not in {None, *self._providers}:
                raise ConfigurationError(f"Provider {provider.key} shares the secrets of an unknown provider.")
        if catalogue_file is not None:
            self.facts = catalogue.read(catalogue_file)
            self._released = self._providers
            self._providers = {
                each.key: each for each in catalogue.refreshed(list(self._released.values()), self.facts)
            }

    def get_released_providers(self) -> list[AnyProvider]:
        """Return every provider as the release knows it, which is what stands in the database."""
        return [self._released.get(key, provider) for key, provider in self._providers.items()]

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


@cache
def _installed() -> tuple[AnyProvider, ...]:
    # Kept, because looking through every installed package takes longer than opening the database.
    found = entry_points(group=ENTRY_POINT_GROUP)
    return tuple(_definition(entry_point.load(), entry_point.value) for entry_point in found)


def _definition(found: object, source: str) -> AnyProvider:
    if isinstance(found, ModuleType):
        found = getattr(found, "PROVIDER", None)
    if not isinstance(found, ProviderDefinition):
        raise ConfigurationError(f"{source} is no ProviderDefinition and has no PROVIDER that is one.")
    return cast("AnyProvider", found)

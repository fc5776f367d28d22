"""A `Client` for code without an event loop: one runs in a thread of its own, and reading is the same.

with SyncClient("https://voxplane.example.com", token) as client:
    client.primary("llm")
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, aclosing
from typing import TYPE_CHECKING, Any, Self

from anyio.from_thread import start_blocking_portal

from voxplane.client import Client

if TYPE_CHECKING:
    from types import TracebackType

    from voxplane.client import Freshness
    from voxplane.resolution import ResolvedProviderConfig
    from voxplane.schemas import OrganizationName, ProviderReport, ProviderType, Resolution, SkippedProvider


class SyncClient:
    """An organization's providers, for a worker of it that is not asynchronous."""

    def __init__(self, url: str, token: str, **options: Any) -> None:
        """Take what `Client` takes."""
        self._made_with = (url, token, options)
        self._stack = ExitStack()
        self._has_left = False

    def __enter__(self) -> Self:
        """Read the organization's providers, and begin to follow them. Raises what entering a `Client` raises."""
        url, token, options = self._made_with
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal())
            client = self._portal.call(lambda: Client(url, token, **options))
            self._client = stack.enter_context(self._portal.wrap_async_context_manager(client))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop following, which ends `changes` in whatever thread waits there."""
        self._has_left = True
        self._stack.__exit__(kind, error, trace)

    def primary(self, provider_type: ProviderType | str) -> ResolvedProviderConfig:
        """Return the provider of a type that answers first; as `Client.primary`."""
        return self._client.primary(provider_type)

    def chain(self, provider_type: ProviderType | str) -> tuple[ResolvedProviderConfig, ...]:
        """Return the providers of a type in the order in which they are tried; as `Client.chain`."""
        return self._client.chain(provider_type)

    @property
    def at(self) -> str:
        """Which state the snapshot is of, as `<epoch>.<revision>`."""
        return self._client.at

    @property
    def organization(self) -> OrganizationName:
        """Whose providers these are."""
        return self._client.organization

    @property
    def skipped(self) -> tuple[SkippedProvider, ...]:
        """The enabled providers that cannot answer, with the reasons."""
        return self._client.skipped

    @property
    def freshness(self) -> Freshness:
        """How far the snapshot can be trusted now."""
        return self._client.freshness

    def resolve(self) -> Resolution:
        """Ask the control plane now, and return what stands; as `Client.resolve`."""
        return self._portal.call(self._client.resolve)

    def changes(self, since: str | None = None) -> Generator[str]:
        """Yield each new state, and wait in this thread for the next; as `Client.changes`."""
        while not self._has_left and (at := self._portal.call(_next, self._client, since)) is not None:
            yield at
            since = at

    def report(self, report: ProviderReport) -> None:
        """Say what was seen of a provider; as `Client.report`."""
        self._portal.call(self._client.report, report)


async def _next(client: Client, since: str | None) -> str | None:
    async with aclosing(client.changes(since)) as changes:
        return await anext(changes, None)

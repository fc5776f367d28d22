"""The worker's side of Voxplane: an organization's providers in memory, kept up to date, and there when we are not.

    async with Client("https://voxplane.example.com", token) as client:
        stt, llm, tts = (client.primary(each) for each in ("stt", "llm", "tts"))

`primary` and `chain` read a snapshot in memory and never wait. A change made in the control plane arrives by itself,
within a fraction of a second. While the control plane is away the last snapshot goes on to serve: its settings without
limit, its secrets for 24 hours; a token that is revoked ends their use at once.
"""

from __future__ import annotations

import logging
import random
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import quote

import anyio
import httpx
from httpx_sse import EventSource
from pydantic import SecretStr, ValidationError

from voxplane.destination import Origin
from voxplane.errors import (
    ConfigurationError,
    MissingDependency,
    NoPrimaryProvider,
    OrganizationNotFound,
    PermissionDenied,
    RateLimited,
    SnapshotExpired,
    Unauthenticated,
    Unreachable,
    VoxplaneError,
    from_problem,
)
from voxplane.resolution import ResolvedProviderConfig
from voxplane.schemas import ProviderReport, ProviderType, ReportsWrite, Resolution, ResolvedProvider

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from voxplane.schemas import JsonObject, OrganizationName, SkippedProvider
    from voxplane.snapshot import SnapshotFile

MAX_STALE = timedelta(hours=24)
_REQUEST_SECONDS = 5.0
_SILENCE_SECONDS = 45.0  # three heartbeats of the stream
_RETRY_SECONDS = 0.5
_RETRY_AT_MOST_SECONDS = 30.0
_START_SECONDS = 8.0  # a caller is waiting
_SAVES_IN_MAX_STALE = 24
# What the control plane says to a worker that is no longer let in, as opposed to one that it cannot serve now.
_TURNED_AWAY = (Unauthenticated, PermissionDenied, OrganizationNotFound)

_FORGOTTEN = "The control plane turned this worker away, so these secrets may no longer be used."

log = logging.getLogger("voxplane")


@dataclass(frozen=True)
class Freshness:
    """How far the snapshot can be trusted to be what the control plane would say now.

    `current` while changes arrive; `stale` while they do not; `expired` when its secrets may no longer be used because
    they did not for too long; `revoked` when the control plane turned this worker away. `since` is the moment of the
    last contact, on the wall clock.
    """

    state: Literal["current", "stale", "expired", "revoked"]
    since: datetime


class _Lease:
    """How long secrets may be used: from the last contact with the control plane, unless it turned us away."""

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._ends = 0.0
        self.is_revoked = False

    def renew(self, age_seconds: float = 0.0) -> None:
        self._ends = self._monotonic() + self._seconds - age_seconds
        self.is_revoked = False

    @property
    def has_ended(self) -> bool:
        return self._monotonic() >= self._ends

    def check(self) -> None:
        if self.is_revoked:
            raise Unauthenticated(_FORGOTTEN)
        if self.has_ended:
            raise SnapshotExpired


class _LeasedSecrets(Mapping[str, SecretStr]):
    """Secrets that can be read as long as the lease holds, and never again once they were forgotten."""

    def __init__(self, secrets: Mapping[str, str], lease: _Lease) -> None:
        self._secrets: dict[str, SecretStr | None] = {name: SecretStr(value) for name, value in secrets.items()}
        self._lease = lease

    def __getitem__(self, name: str) -> SecretStr:
        self._lease.check()
        secret = self._secrets[name]
        if secret is None:
            raise Unauthenticated(_FORGOTTEN)
        return secret

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets)

    def __len__(self) -> int:
        return len(self._secrets)

    def forget(self) -> None:
        self._secrets = dict.fromkeys(self._secrets)


class Client:
    """An organization's providers, for a worker of it.

    Used as an asynchronous context manager: entering reads them once, and they are followed until it is left.
    """

    def __init__(  # noqa: PLR0913 - all but the first two have a default that is right for nearly everybody
        self,
        url: str,
        token: str,
        *,
        organization: str = "current",
        snapshot_folder: Path | None = None,
        max_stale: timedelta = MAX_STALE,
        ca_file: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the control plane's address and a token with worker:resolve.

        `organization` is an id or a slug where the token is a fleet's. With `snapshot_folder` the last snapshot is
        kept there, encrypted, and a worker can start while the control plane is away. `max_stale` is how long secrets
        are used without contact. `ca_file` holds certificates (PEM) that the control plane's own is trusted by, in the
        place of the public ones.

        Raises:
            ConfigurationError: the address is no https address, nor one of this machine; or `ca_file` holds none.
            MissingDependency: a snapshot folder needs the extra `snapshot`.
        """
        self._url = _checked(url)
        home = f"{self._url}/api/organizations/{quote(organization, safe='')}"
        # Read once: to parse an address takes as long as all else that makes a request.
        self._addresses = {path: httpx.URL(f"{home}/{path}") for path in ("resolve", "changes", "reports")}
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": f"voxplane-python/{version('voxplane')}"}
        # A transport, not a client of httpx: there are no redirects, cookies or proxies, and what could follow or send
        # them makes a refresh a fifth dearer.
        self._transport = transport or httpx.AsyncHTTPTransport(
            verify=_tls(ca_file) if self._url.startswith("https") else False, trust_env=False
        )
        self._file = _snapshot_file(snapshot_folder, self._url, organization, token) if snapshot_folder else None
        self._max_stale = max_stale
        self._monotonic = monotonic
        self._lease = _Lease(max_stale.total_seconds(), monotonic)
        self._resolution: Resolution | None = None
        self._chains: dict[str, tuple[ResolvedProviderConfig, ...]] = {}
        self._contact = _now()
        self._is_following = False
        self._saved = float("-inf")
        self._moved = anyio.Event()
        self._asking = anyio.Lock()
        self._reports: dict[str, ProviderReport] = {}
        self._reported = anyio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Read the organization's providers, and begin to follow them.

        Raises:
            Unauthenticated, PermissionDenied, OrganizationNotFound: the control plane turned this worker away.
            Unreachable: it does not answer, and there is no snapshot on disk that may be used.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._transport.aclose)
            await self._start()
            group = await stack.enter_async_context(anyio.create_task_group())
            group.start_soon(self._follow)
            group.start_soon(self._send_reports)
            stack.callback(group.cancel_scope.cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop following, after what is left to report was said."""
        try:
            with anyio.move_on_after(_REQUEST_SECONDS):
                await self._flush_reports()
        finally:
            await self._stack.__aexit__(kind, error, trace)

    def primary(self, provider_type: ProviderType | str) -> ResolvedProviderConfig:
        """Return the provider of a type that answers first.

        Raises:
            NoPrimaryProvider: none can answer; `skipped` says why.
        """
        found = self._chains.get(provider_type)
        if not found:
            raise NoPrimaryProvider("No provider of this type is enabled and can answer.")
        return found[0]

    def chain(self, provider_type: ProviderType | str) -> tuple[ResolvedProviderConfig, ...]:
        """Return the providers of a type in the order in which they are tried; empty when none can answer."""
        return self._chains.get(provider_type, ())

    @property
    def at(self) -> str:
        """Which state the snapshot is of, as `<epoch>.<revision>`."""
        return self._present.at

    @property
    def organization(self) -> OrganizationName:
        """Whose providers these are."""
        return self._present.organization

    @property
    def skipped(self) -> tuple[SkippedProvider, ...]:
        """The enabled providers that cannot answer, with the reasons."""
        return self._present.skipped

    @property
    def freshness(self) -> Freshness:
        """How far the snapshot can be trusted now."""
        if self._lease.is_revoked:
            return Freshness("revoked", self._contact)
        if self._lease.has_ended:
            return Freshness("expired", self._contact)
        return Freshness("current" if self._is_following else "stale", self._contact)

    async def resolve(self) -> Resolution:
        """Ask the control plane now, and return what stands.

        Raises:
            Unauthenticated, PermissionDenied, OrganizationNotFound: it turned this worker away.
            Unreachable: it does not answer.
        """
        async with self._asking:  # one after the other, or an older answer could come last
            body = {} if self._resolution is None else {"have": self._resolution.at}
            answer = await self._ask("resolve", body)
            if answer.content:
                try:
                    self._take(Resolution.model_validate_json(answer.content))
                except ValidationError:
                    # Its findings would repeat what came, and that are keys.
                    raise Unreachable("The control plane's answer is not one that this release understands.") from None
            await self._in_contact()
            return self._present

    async def changes(self, since: str | None = None) -> AsyncGenerator[str]:
        """Yield the new state, as `<epoch>.<revision>`, each time that the snapshot is another than the one before.

        The first one before is `since`, an `at`, or what stands when this is first asked. What changes while nobody
        asks is yielded as one. A worker that is turned away is at `0.0`, and `freshness` says `revoked`.
        """
        seen = self.at if since is None else since
        while True:
            while self.at == seen:
                await self._moved.wait()
            seen = self.at
            yield seen

    def report(self, report: ProviderReport) -> None:
        """Say what was seen of a provider. Returns at once; it is sent when it can be, the newest of each provider.

        Without an `at` of its own it is about the provider as the snapshot has it now.
        """
        if report.at is None and self._resolution is not None:
            report = report.model_copy(update={"at": self.at})
        self._reports[report.provider] = report
        self._reported.set()
        self._chains = {each: tuple(_seen(link, report) for link in chain) for each, chain in self._chains.items()}

    @property
    def _present(self) -> Resolution:
        if self._resolution is None:
            raise Unreachable("Enter the client first: async with Client(...) as client.")
        return self._resolution

    async def _start(self) -> None:
        """Read what stands: from the control plane, from the disk, or from the control plane once it can answer."""
        waited = 0.0
        while True:
            try:
                await self.resolve()
            except _TURNED_AWAY:
                self._turned_away()
                raise
            except Unreachable as error:
                if await self._start_from_disk():
                    log.warning("the control plane does not answer: starting from the snapshot on disk")
                    return
                if error.retry_after_seconds is None:
                    raise
                pause = error.retry_after_seconds + random.uniform(0, _RETRY_SECONDS)  # noqa: S311 - spreads a fleet
                waited += pause
                if waited > _START_SECONDS:
                    raise
                await anyio.sleep(pause)
            else:
                return

    async def _start_from_disk(self) -> bool:
        if self._file is None:
            return False
        now = _now()
        found = await anyio.to_thread.run_sync(self._file.load, now, self._max_stale)
        if found is None:
            return False
        resolution, saved_at = found
        self._take(resolution)
        self._contact = saved_at
        self._lease.renew(max(0.0, (now - saved_at).total_seconds()))
        return True

    def _take(self, resolution: Resolution) -> None:
        """Put a whole snapshot in the place of the one before."""
        self._chains = {
            each.value: tuple(self._leased(link, resolution.at) for link in getattr(resolution.chains, each.value))
            for each in ProviderType
        }
        self._resolution = resolution
        self._ring()
        self._saved = float("-inf")

    def _ring(self) -> None:
        moved, self._moved = self._moved, anyio.Event()
        moved.set()

    def _leased(self, resolved: ResolvedProvider, at: str) -> ResolvedProviderConfig:
        return ResolvedProviderConfig(
            provider=resolved.provider,
            config=resolved.config,
            secrets=_LeasedSecrets(resolved.secrets, self._lease),
            origins=resolved.origins,
            is_enabled=resolved.is_enabled,
            priority=resolved.priority,
            secret_version=resolved.secret_version,
            is_failing=resolved.is_failing,
            at=at,
        )

    async def _in_contact(self) -> None:
        """Take notice that the control plane answered, and now and then put on disk that it did."""
        self._contact = _now()
        self._lease.renew()
        if (
            self._file is None
            or self._monotonic() < self._saved + self._max_stale.total_seconds() / _SAVES_IN_MAX_STALE
        ):
            return
        self._saved = self._monotonic()
        try:
            await anyio.to_thread.run_sync(self._file.save, self._present, self._contact)
        except OSError as error:
            log.warning("the snapshot could not be saved: %s", type(error).__name__)

    def _turned_away(self) -> None:
        """Drop the secrets, here and on disk: whoever revoked the token meant now."""
        self._lease.is_revoked = True
        for chain in self._chains.values():
            for each in chain:
                if isinstance(each.secrets, _LeasedSecrets):
                    each.secrets.forget()
        if self._resolution is not None:
            self._resolution = _without_secrets(self._resolution)
        self._ring()
        if self._file is not None:
            try:
                self._file.remove()
            except OSError as error:
                log.warning("the snapshot could not be removed: %s", type(error).__name__)

    async def _follow(self) -> None:
        delay = _RETRY_SECONDS
        while True:
            try:
                async with self._stream() as events, aclosing(events):
                    async for kind in events:
                        await self._on_event(kind)
                        delay = _RETRY_SECONDS
            except _TURNED_AWAY as error:
                if not self._lease.is_revoked:
                    log.error("turned away by the control plane (%s): secrets are dropped", error.code)  # noqa: TRY400 - the reason is the whole story
                self._turned_away()
                delay = _RETRY_AT_MOST_SECONDS
            except VoxplaneError as error:
                log.warning("changes do not arrive (%s): retrying", error.code)
            finally:
                self._is_following = False
            await anyio.sleep(random.uniform(0, delay))  # noqa: S311 - spreads a fleet that lost us at one moment
            delay = min(2 * delay, _RETRY_AT_MOST_SECONDS)

    async def _on_event(self, kind: str) -> None:
        if kind in {"change", "reset"} or self._lease.is_revoked:
            await self.resolve()
        else:
            await self._in_contact()

    @asynccontextmanager
    async def _stream(self) -> AsyncGenerator[AsyncGenerator[str]]:
        """Open the stream of changes; its events are kinds, for what changed is then asked for."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": self.at}
        answer = await self._send("GET", "changes", headers=headers, silence_seconds=_SILENCE_SECONDS)
        try:
            yield self._kinds(answer)
        finally:
            await answer.aclose()

    async def _kinds(self, answer: httpx.Response) -> AsyncGenerator[str]:
        self._is_following = True
        yield "heartbeat"
        try:
            async for event in EventSource(answer).aiter_sse():
                yield event.event
        except httpx.HTTPError as error:
            raise Unreachable("The stream of changes broke.") from error

    async def _ask(self, path: str, body: JsonObject) -> httpx.Response:
        answer = await self._send("POST", path, json=body)
        try:
            await answer.aread()
        except httpx.HTTPError as error:
            raise self._unanswered(error) from error
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: JsonObject | None = None,
        silence_seconds: float = _REQUEST_SECONDS,
    ) -> httpx.Response:
        """Send a request; of its answer the body is still to be read.

        Raises:
            Unreachable: there is no answer, or one that is not ours.
            VoxplaneError: what the control plane answered instead.
        """
        timeout = dict.fromkeys(("connect", "write", "pool"), _REQUEST_SECONDS) | {"read": silence_seconds}
        request = httpx.Request(
            method,
            self._addresses[path],
            headers={**self._headers, **(headers or {})},
            json=json,
            extensions={"timeout": timeout},
        )
        try:
            answer = await self._transport.handle_async_request(request)
            if answer.is_success:
                return answer
            await answer.aread()
        except httpx.HTTPError as error:
            raise self._unanswered(error) from error
        try:
            error = from_problem(answer.json())
        except (ValueError, KeyError, TypeError, AttributeError):
            message = f"{self._url} answered with status {answer.status_code}, and not as Voxplane."
            raise Unreachable(message, retry_after_seconds=_retry_after(answer)) from None
        finally:
            await answer.aclose()
        if answer.is_server_error or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            message = f"{self._url} cannot answer now: {error.message}"
            raise Unreachable(message, retry_after_seconds=_retry_after(answer))
        raise error

    def _unanswered(self, error: httpx.HTTPError) -> Unreachable:
        return Unreachable(f"No answer from {self._url} ({type(error).__name__}).")

    async def _send_reports(self) -> None:
        while True:
            await self._reported.wait()
            self._reported = anyio.Event()
            if not await self._flush_reports():
                await anyio.sleep(_RETRY_AT_MOST_SECONDS)
                self._reported.set()

    async def _flush_reports(self) -> bool:
        """Send what is to be reported; whether there is nothing left to send."""
        if not self._reports or self._resolution is None:
            return True
        sending, self._reports = self._reports, {}
        said = ReportsWrite(at=self.at, reports=list(sending.values()))
        try:
            await self._ask("reports", said.model_dump(mode="json", by_alias=True, exclude_none=True))
        except VoxplaneError as error:
            log.warning("reports could not be sent (%s)", error.code)
            if isinstance(error, Unreachable | RateLimited):
                self._reports = sending | self._reports
                return False
        return True


def _retry_after(answer: httpx.Response) -> float | None:
    seconds = answer.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdecimal() else None


@cache
def _tls(ca_file: Path | None) -> ssl.SSLContext:
    """Read the certificates that are trusted, once: it takes longer than a resolution."""
    if ca_file is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError:  # also what ssl makes of a file that holds none
        raise ConfigurationError("The file with the control plane's certificates cannot be read as PEM.") from None


def _checked(url: str) -> str:
    """Refuse an address over which a token and keys would travel in the open."""
    try:
        origin = Origin.parse(url)
    except ValueError as error:
        raise ConfigurationError(f"The control plane's address cannot be read: {error}.") from None
    if origin.scheme != "https" and not origin.is_loopback:
        raise ConfigurationError("The control plane's address must begin with https://, except on this machine.")
    return url.rstrip("/")


def _snapshot_file(folder: Path, url: str, organization: str, token: str) -> SnapshotFile:
    try:
        from voxplane.snapshot import SnapshotFile  # noqa: PLC0415 - only who keeps a snapshot has `cryptography`
    except ModuleNotFoundError:
        raise MissingDependency("A snapshot on disk needs the extra: pip install 'voxplane[snapshot]'.") from None
    return SnapshotFile(folder, url, organization, token)


def _seen(resolved: ResolvedProviderConfig, report: ProviderReport) -> ResolvedProviderConfig:
    """Return a provider as a report leaves it, for the calls that are built from now on."""
    if resolved.provider.key != report.provider:
        return resolved
    return replace(resolved, is_failing=report.outcome == "failed")


def _without_secrets(resolution: Resolution) -> Resolution:
    chains = {
        each.value: tuple(link.model_copy(update={"secrets": {}}) for link in getattr(resolution.chains, each.value))
        for each in ProviderType
    }
    # Not the state that it was: whoever is let in again asks for all of it.
    return resolution.model_copy(update={"chains": resolution.chains.model_copy(update=chains), "at": "0.0"})


def _now() -> datetime:
    return datetime.now(UTC)

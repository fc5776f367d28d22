"""The worker's side of Voxplane: an organization's providers in memory, kept up to date, and there when we are not.

    async with Client("https://voxplane.example.com", token) as client:
        stt, llm, tts = (client.primary(each) for each in ("stt", "llm", "tts"))

`primary` and `chain` read a snapshot in memory and never wait. A change made in the control plane arrives by itself,
within a fraction of a second. While the control plane is away the last snapshot goes on to serve: its settings without
limit, its secrets for 24 hours; a token that is revoked ends their use at once.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import anyio
from pydantic import ValidationError

from voxplane.background import background
from voxplane.channel import LACKS_SCOPE, REQUEST_SECONDS, Channel, Event
from voxplane.errors import (
    ConfigurationError,
    MissingDependency,
    NoPrimaryProvider,
    OrganizationNotFound,
    PermissionDenied,
    Unauthenticated,
    Unreachable,
    VoxplaneError,
)
from voxplane.lease import Lease, LeasedSecrets
from voxplane.reports import Reports
from voxplane.resolution import ResolvedProviderConfig, why_nobody
from voxplane.schemas import ProviderReport, ProviderType, ReportsWrite, Resolution, ResolvedProvider

if TYPE_CHECKING:
    from types import TracebackType

    from voxplane.schemas import JsonObject, Me, OrganizationName, SkippedProvider
    from voxplane.snapshot import SnapshotFile

MAX_STALE = timedelta(hours=24)
FIRST_RETRY_SECONDS = 0.5
RETRY_AT_MOST_SECONDS = 18.0
"""The longest pause. A worker without a stream learns by its next question that its token was revoked: with a stream
that is not answered before the pause and a slow answer after it within 30 seconds, whatever a gateway asks for."""
_LASTED_SECONDS = 15.0  # less than the silence after which a stream is taken for cut
_START_SECONDS = 8.0  # a caller is waiting
_SAVES_IN_MAX_STALE = 24
_ANY_AGE = timedelta(days=36_500)
_SCOPE = "worker:resolve"
_NOWHERE = "0.0"
"""Where a worker is that has nothing."""
# What the control plane says to a worker that is no longer let in, as opposed to one that it cannot serve now.
_TURNED_AWAY = (Unauthenticated, PermissionDenied, OrganizationNotFound)

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
        snapshot_folder: str | Path | None = None,
        max_stale: timedelta = MAX_STALE,
        ca_file: str | Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the control plane's address and a token with worker:resolve.

        `organization` is an id or a slug where the token is a fleet's. With `snapshot_folder` the last snapshot is
        kept there, encrypted, and a worker can start while the control plane is away. `max_stale` is how long secrets
        are used without contact. `ca_file` holds certificates (PEM) that the control plane's own is trusted by, in the
        place of the public ones.

        Raises:
            ConfigurationError: the address is no https address, nor one of this machine; what is given cannot be a
                token; `ca_file` holds no certificates; or `max_stale` is no timedelta.
            MissingDependency: a snapshot folder needs the extra `snapshot`.
        """
        if not isinstance(max_stale, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance] - not everybody checks types
            raise ConfigurationError("max_stale is a timedelta, such as timedelta(hours=24).")
        self._channel = Channel(url, token, organization=organization, ca_file=ca_file)
        self._file = (
            _snapshot_file(Path(snapshot_folder), self._channel.url, organization, token) if snapshot_folder else None
        )
        self._named = organization
        self._max_stale = max_stale
        self._monotonic = monotonic
        self._lease = self._new_lease()
        self._resolution: Resolution | None = None
        self._chains: dict[str, tuple[ResolvedProviderConfig, ...]] = {}
        self._contact = _now()
        self._is_following = self._has_begun = self._has_left = False
        self._refusal: VoxplaneError = Unauthenticated()
        self._saved = float("-inf")
        self._moved = anyio.Event()
        self._asking = anyio.Lock()
        self._writing = anyio.Lock()
        self._reports = Reports(self._send_reports)
        self._context = self._running()

    async def __aenter__(self) -> Self:
        """Read the organization's providers, and begin to follow them.

        Raises:
            Unauthenticated, PermissionDenied, OrganizationNotFound: the control plane turned this worker away.
            Unreachable: it does not answer, and there is no snapshot on disk that may be used.
            ConfigurationError: it was entered before.
        """
        if self._has_begun:
            raise ConfigurationError("A client is entered once: make another one.")
        self._has_begun = True
        await self._context.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop following, after what is left to report was said. What the block raised goes on as it was raised."""
        await self._context.__aexit__(kind, error, trace)

    async def check(self) -> Me:
        """Ask the control plane whether it lets this worker in, without entering; for a worker that starts.

        Raises:
            Unauthenticated, PermissionDenied, OrganizationNotFound: it does not; the sentence says what to do.
            Unreachable: it does not answer.
        """
        try:
            me = await self._channel.me()
            if me.organization is None and self._named != "current" and _SCOPE in me.scopes:
                # Its list of organizations is looked at by the stream, which needs no secret to be released.
                with suppress(Unreachable):
                    async with self._channel.events(_NOWHERE):
                        pass
        except _TURNED_AWAY as error:
            await self._turned_away(error)
            raise
        finally:
            if self._resolution is None:  # else its stream is open
                await self._channel.aclose()
        if _SCOPE not in me.scopes:
            raise PermissionDenied(LACKS_SCOPE)
        if me.organization is not None and self._named not in {
            "current",
            me.organization.slug,
            str(me.organization.id),
        }:
            raise OrganizationNotFound(
                "This token is of another organization than the one that is named: leave the name out, which is the "
                "client's `organization` or the agent's VOXPLANE_ORGANIZATION, or use a token of that one."
            )
        return me

    def primary(self, provider_type: ProviderType | str) -> ResolvedProviderConfig:
        """Return the provider of a type that answers first.

        Raises:
            NoPrimaryProvider: none can answer; the sentence says why, and so does `skipped`.
        """
        if found := self._chains.get(provider_type):
            return found[0]
        if provider_type not in list(ProviderType):
            raise NoPrimaryProvider(f"There is no such type of provider: ask for {', '.join(ProviderType)}.")
        raise NoPrimaryProvider(why_nobody(ProviderType(provider_type), self.skipped))

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
            asked_under = self._lease
            was_revoked = asked_under.is_revoked
            content = await self._ask("resolve", {} if self._resolution is None else {"have": self._resolution.at})
            if asked_under.is_revoked and not was_revoked:
                raise self._refusal  # the answer set out before this worker was turned away
            if content is not None:
                try:
                    # A newer control plane may say more than this release knows of.
                    resolution = Resolution.model_validate_json(content, extra="ignore")
                except ValidationError:
                    # Its findings would repeat what came, and that are keys.
                    raise Unreachable("The control plane's answer is not one that this release understands.") from None
                if was_revoked:
                    self._lease = self._new_lease()
                self._take(resolution)
            await self._in_contact()
            return self._present

    async def changes(self, since: str | None = None) -> AsyncGenerator[str]:
        """Yield the new state, as `<epoch>.<revision>`, each time that the snapshot is another than the one before.

        The first one before is `since`, an `at`, or what stands when this is first asked. What changes while nobody
        asks is yielded as one. A worker that is turned away is at `0.0`, and `freshness` says `revoked`; whoever
        first asks then is told so. It ends when the client is left.
        """
        seen = self.at if since is None and not self._lease.is_revoked else since
        while True:
            while self.at == seen:
                if self._has_left:
                    return
                await self._moved.wait()
            seen = self.at
            yield seen

    def report(self, report: ProviderReport) -> None:
        """Say what was seen of a provider. Returns at once; it is sent when it can be, the newest of each provider.

        Without an `at` of its own it is about the provider as the snapshot has it now.
        """
        if report.at is None and self._resolution is not None:
            report = report.model_copy(update={"at": self.at})
        self._reports.add(report)
        self._chains = {each: tuple(_seen(link, report) for link in chain) for each, chain in self._chains.items()}

    @property
    def _present(self) -> Resolution:
        if self._resolution is None:
            raise Unreachable("Enter the client first: async with Client(...) as client.")
        return self._resolution

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        # Not an AsyncExitStack: given a cancellation that a callback raised, it makes it its own context,
        # and whoever walks that chain, as anyio does, never comes to its end.
        try:
            await self._start()
            async with background(self._follow, self._reports.run):
                try:
                    yield
                finally:
                    with anyio.move_on_after(REQUEST_SECONDS, shield=True), suppress(Unreachable):
                        await self._reports.flush()
        finally:
            self._has_left = True
            self._ring()
            await self._channel.aclose()
        await anyio.lowlevel.checkpoint()  # whoever was cancelled while the rest was reported ends here

    async def _start(self) -> None:
        """Read what stands: from the control plane, from the disk, or from the control plane once it can answer."""
        waited = 0.0
        while True:
            try:
                await self.resolve()
            except Unreachable as error:
                if await self._start_from_disk():
                    log.warning("%s Starting from the snapshot on disk.", error.message)
                    return
                if error.retry_after_seconds is None:
                    raise Unreachable(f"{error.message}{await self._why_not_from_disk()}") from None
                pause = error.retry_after_seconds + random.uniform(0, FIRST_RETRY_SECONDS)  # noqa: S311 - spreads a fleet
                waited += pause
                if waited > _START_SECONDS:
                    raise Unreachable(f"{error.message}{await self._why_not_from_disk()}") from None
                await anyio.sleep(pause)
            else:
                self._is_following = True  # nothing is older than this answer, and the stream is about to be opened
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

    async def _why_not_from_disk(self) -> str:
        """Say what is wrong with the snapshot, with a space before it; nothing where none is kept."""
        if self._file is None:
            return ""
        found = await anyio.to_thread.run_sync(self._file.load, _now(), _ANY_AGE)
        if found is None:
            return " There is no usable snapshot on disk either."
        hours = self._max_stale / timedelta(hours=1)
        return f" The snapshot on disk is of {found[1]:%Y-%m-%d %H:%M} UTC, longer ago than max_stale ({hours:g} h)."

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
            secrets=LeasedSecrets(resolved.secrets, self._lease),
            origins=resolved.origins,
            is_enabled=resolved.is_enabled,
            priority=resolved.priority,
            secret_version=resolved.secret_version,
            is_failing=resolved.is_failing,
            notices=resolved.notices,
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
        async with self._writing:
            if self._lease.is_revoked:
                return
            try:
                await anyio.to_thread.run_sync(self._file.save, self._present, self._contact)
            except OSError as error:
                log.warning("the snapshot could not be saved: %s", type(error).__name__)

    async def _turned_away(self, error: VoxplaneError) -> None:
        """Drop the secrets, here and on disk: whoever revoked the token meant now.

        A fleet's token that is no longer one leaves nothing of any of its organizations.
        """
        if self._resolution is not None and not self._lease.is_revoked:
            log.error("%s: turned away by the control plane (%s): secrets are dropped", self._named, error.code)
        self._refusal = error
        self._lease.revoke()
        for chain in self._chains.values():
            for each in chain:
                if isinstance(each.secrets, LeasedSecrets):
                    each.secrets.forget()
        if self._resolution is not None:
            self._resolution = _without_secrets(self._resolution)
        self._ring()
        if self._file is None:
            return
        with anyio.CancelScope(shield=True):  # it is a moment's work, and who closes the client would stop it
            async with self._writing:
                try:
                    is_of_all = isinstance(error, Unauthenticated)
                    await anyio.to_thread.run_sync(self._file.remove_all if is_of_all else self._file.remove)
                except OSError as failed:
                    log.warning("the snapshot could not be removed: %s", type(failed).__name__)

    async def _follow(self) -> None:
        delay, is_heard = FIRST_RETRY_SECONDS, True
        while True:
            wait, opened = 0.0, math.inf
            try:
                if not is_heard:  # a proxy keeps the stream back, say, or there are too many: whoever has none asks
                    await self.resolve()
                is_heard = False
                async with self._channel.events(self.at) as events, aclosing(events):
                    opened, self._is_following = self._monotonic(), True
                    async for event in events:
                        await self._on_event(event)
                        is_heard = is_heard or event.kind != "open"
            except _TURNED_AWAY as error:
                await self._turned_away(error)
                delay, opened = RETRY_AT_MOST_SECONDS, math.inf
            except VoxplaneError as error:
                log.warning("changes do not arrive (%s): retrying%s", error.code, self._expiry)
                wait = (error.retry_after_seconds or 0.0) if isinstance(error, Unreachable) else 0.0
            finally:
                self._is_following = False
            # One that ends sooner than it was waited for is no reason to come back faster; one that was cut is.
            lasted = max(0.0, self._monotonic() - opened)
            if lasted > min(delay, _LASTED_SECONDS):
                delay = FIRST_RETRY_SECONDS
            # It may have been dead for as long as it lasted.
            rest = max(FIRST_RETRY_SECONDS, RETRY_AT_MOST_SECONDS - lasted)
            await anyio.sleep(pause_seconds(wait, min(delay, rest)))
            delay = min(2 * delay, RETRY_AT_MOST_SECONDS)

    @property
    def _expiry(self) -> str:
        """What to say of secrets that have expired, and nothing before that."""
        if not self._lease.has_ended:
            return ""
        return "; its secrets have expired: no call that needs one can begin, those under way go on with theirs"

    async def _on_event(self, event: Event) -> None:
        if event.kind in {"change", "reset"} or self._lease.is_revoked:
            await self.resolve()
        else:
            self._chains = {
                each: tuple(_in_doubt(link, event.keys) for link in chain) for each, chain in self._chains.items()
            }
            await self._in_contact()

    async def _ask(self, path: str, body: JsonObject) -> bytes | None:
        try:
            return await self._channel.ask(path, body)
        except _TURNED_AWAY as error:
            await self._turned_away(error)
            raise

    async def _send_reports(self, reports: Sequence[ProviderReport]) -> None:
        said = ReportsWrite(at=self.at, reports=list(reports))
        await self._ask("reports", said.model_dump(mode="json", by_alias=True, exclude_none=True))

    def _new_lease(self) -> Lease:
        return Lease(self._max_stale.total_seconds(), self._monotonic)


def pause_seconds(asked_for: float, delay: float) -> float:
    """Return how long to wait before the next attempt: what was asked for, within reason, and up to `delay` more."""
    asked_for = min(asked_for, RETRY_AT_MOST_SECONDS / 2)
    more = min(delay, RETRY_AT_MOST_SECONDS - asked_for)
    return asked_for + random.uniform(0, more)  # noqa: S311 - spreads a fleet that lost us at one moment


def _snapshot_file(folder: Path, url: str, organization: str, token: str) -> SnapshotFile:
    try:
        from voxplane.snapshot import SnapshotFile  # noqa: PLC0415 - only who keeps a snapshot has `cryptography`
    except ModuleNotFoundError:
        raise MissingDependency("A snapshot on disk needs the extra: pip install 'voxplane[snapshot]'.") from None
    return SnapshotFile(folder, url, organization, token)


def _seen(resolved: ResolvedProviderConfig, report: ProviderReport) -> ResolvedProviderConfig:
    """Return a provider as a report leaves it, for the calls that are built from now on.

    What was seen of an earlier state may be of another key: the control plane knows, and says so by an event.
    """
    if (resolved.provider.key, resolved.at) != (report.provider, report.at):
        return resolved
    return replace(resolved, is_failing=report.outcome == "failed")


def _in_doubt(resolved: ResolvedProviderConfig, keys: Sequence[str]) -> ResolvedProviderConfig:
    """Return a provider as the news that somebody reported it leaves it: should it answer, that is worth a report."""
    return replace(resolved, is_failing=True) if resolved.provider.key in keys else resolved


def _without_secrets(resolution: Resolution) -> Resolution:
    chains = {
        each.value: tuple(link.model_copy(update={"secrets": {}}) for link in getattr(resolution.chains, each.value))
        for each in ProviderType
    }
    # Not the state that it was: whoever is let in again asks for all of it.
    return resolution.model_copy(update={"chains": resolution.chains.model_copy(update=chains), "at": _NOWHERE})


def _now() -> datetime:
    return datetime.now(UTC)

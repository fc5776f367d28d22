"""Lists of models and voices from the vendor, with the organization's own key, and samples of voices through us.

Reading a list needs no right to write, so a reader may cause a request to a vendor, but seldom: an answer is kept, a
failure is not tried again at once, and an organization has only so many requests a minute. The key leaves by the rule
that workers' keys leave by, on record. A list never fails because a vendor does: what is known is shown instead.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Literal
from weakref import WeakValueDictionary

import anyio

from voxplane.destination import Origin
from voxplane.errors import (
    DestinationUnapproved,
    Invalid,
    KeyUnavailable,
    PreviewNotFound,
    SecretsNotFound,
    SecretsUnreadable,
    VoxplaneError,
)
from voxplane.probe import Probe, judged
from voxplane.schemas.listing import ListedOffer, NotListed, OfferList
from voxplane.server.allowance import Allowance
from voxplane.server.organization_view import OrganizationView
from voxplane.server.store import Store
from voxplane.server.vendor_client import MAX_ANSWER_BYTES, Unanswered, VendorRequest, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date
    from uuid import UUID

    from voxplane.listing import Listed, Listing
    from voxplane.provider import AnyProvider
    from voxplane.registry import ProviderRegistry
    from voxplane.resolution import ResolvedProviderConfig
    from voxplane.schemas import JsonObject, Model, Provider, Voice
    from voxplane.schemas.verification import Outcome
    from voxplane.server.auth import Principal
    from voxplane.server.database import Database
    from voxplane.server.vendor_client import VendorClient
    from voxplane.server.worker import WorkerService

Kind = Literal["models", "voices"]
MAX_LIST_BYTES = 1024 * 1024
MAX_PREVIEW_BYTES = 1024 * 1024
MAX_PAGES = 5
_KEPT_LISTS = 1000
_FRESH_SECONDS = 900.0
_REST_SECONDS = 30.0
"""How long a list is not asked for again, whoever wants it and whatever came of it."""
_MOST_SECONDS = 5.0
"""How long pages are asked for, beyond the first; the last that was asked for may take as long again."""
_UNRELEASED: tuple[tuple[type[VoxplaneError], NotListed], ...] = (
    (KeyUnavailable, "sealed"),
    (Invalid, "invalid_config"),
    (SecretsNotFound, "secrets_missing"),
    (DestinationUnapproved, "destination_unapproved"),
    (SecretsUnreadable, "undecryptable"),
)
_UNANSWERED: dict[str, NotListed] = {
    "blocked": "blocked",
    "no_such_host": "unreachable",
    "unreachable": "unreachable",
    "tls": "tls",
    "timeout": "timeout",
    "unsendable": "key_refused",
}
_REFUSED: dict[Outcome, NotListed] = {
    "key_rejected": "key_refused",
    "key_restricted": "key_restricted",
    "quota": "quota",
    "rate_limited": "rate_limited",
    "unreachable": "unreachable",
    "timeout": "timeout",
}
_OK = 200
# What a sample of a voice begins with, and the content type that we then say it has.
_AUDIO: tuple[tuple[bytes, str], ...] = (
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
    (b"RIFF", "audio/wav"),
    (b"OggS", "audio/ogg"),
)


@dataclass(frozen=True)
class Preview:
    """A sample of a voice."""

    audio: bytes = field(repr=False)
    content_type: str


@dataclass
class _Kept:
    """What a vendor listed for one organization with one key, and when it was last asked."""

    basis: object
    """The key's version: with another nothing of this holds."""
    asked: object = None
    """The requests of the settings: as for the key."""
    asked_at: float = float("-inf")
    listed: tuple[Listed, ...] | None = None
    listed_at: float = float("-inf")
    fetched_at: datetime | None = None
    is_whole: bool = True
    reason: NotListed | None = None


class ListService:
    """Lists what an organization can choose of its providers."""

    def __init__(  # noqa: PLR0913 - what a service stands on, each named
        self,
        *,
        registry: ProviderRegistry,
        retired: Mapping[str, Provider],
        database: Database,
        workers: WorkerService,
        client: VendorClient,
        per_minute: int,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        timer: Callable[[], float] = monotonic,
    ) -> None:
        """Take what it works with; vendors are asked at most `per_minute` times for one organization."""
        self._registry = registry
        self._retired = retired
        self._database = database
        self._workers = workers
        self._client = client
        self._allowance = Allowance(per_minute, timer)
        self._clock = clock
        self._timer = timer
        self._kept: OrderedDict[tuple[UUID, str, Kind], _Kept] = OrderedDict()
        self._turns: WeakValueDictionary[tuple[UUID, str, Kind], anyio.Lock] = WeakValueDictionary()

    async def list_offers(self, principal: Principal, key: str, kind: Kind, *, refresh: bool = False) -> OfferList:
        """Return the models or voices of a provider: the vendor's list if it can be had, else what is known.

        Raises:
            ProviderNotFound: there is no such provider.
        """
        if (gone := self._retired.get(key)) is not None:
            known = gone.models if kind == "models" else gone.voices
            return _merged(known, _Kept(None, reason="retired"), self._clock().date(), lambda _: None, is_live=False)
        provider = self._registry.get_provider_by_key(key)
        kept, is_live = await self._listed(principal, provider, kind, refresh=refresh)
        known = provider.models if kind == "models" else provider.voices
        setting = provider.model_setting if kind == "models" else provider.voice_setting
        known_of = partial(provider.known_of, setting)
        return _merged(known, kept, self._clock().date(), known_of, is_live=is_live)

    async def preview(self, principal: Principal, key: str, voice: str) -> Preview:
        """Return a sample of a voice, fetched from where the definition says that the vendor keeps them.

        Raises:
            ProviderNotFound: there is no such provider.
            PreviewNotFound: the vendor has none of this voice, or it cannot be had now.
        """
        if key in self._retired:
            raise PreviewNotFound
        provider = self._registry.get_provider_by_key(key)
        kept, _ = await self._listed(principal, provider, "voices", refresh=False)
        url = next((each.preview for each in kept.listed or () if each.name == voice), None)
        place = _preview_place(provider, url)
        if url is None or place is None or self._allowance.take(principal.tenant):
            raise PreviewNotFound
        async with self._allowance.turn(principal.tenant):
            answer = await self._client.ask(
                VendorRequest(url, {"accept": "audio/*"}),
                within=frozenset({place}),
                asker=principal.tenant,
                max_bytes=MAX_PREVIEW_BYTES,
            )
        if isinstance(answer, Unanswered) or answer.status != _OK or not answer.is_whole:
            raise PreviewNotFound
        for start, content_type in _AUDIO:
            if answer.body.startswith(start):
                return Preview(answer.body, content_type)
        raise PreviewNotFound

    async def _listed(
        self, principal: Principal, provider: AnyProvider, kind: Kind, *, refresh: bool
    ) -> tuple[_Kept, bool]:
        """Return what is kept of a list, asking the vendor first if that is due; and whether it was asked."""
        listings = provider.lists_models if kind == "models" else provider.lists_voices
        if not listings:
            return _Kept(None, reason="not_offered"), False
        place = (principal.tenant, provider.key, kind)
        turn = self._turns.setdefault(place, anyio.Lock())
        async with turn:
            basis, asked = await self._basis(principal, provider, listings)
            if asked == []:  # nobody is asked, so no secret is opened
                return _Kept(None, reason="not_offered"), False
            kept = self._kept.get(place)
            if kept is None or (kept.basis, kept.asked) != (basis, asked):
                kept = self._kept[place] = _Kept(basis, asked)
            self._kept.move_to_end(place)
            while len(self._kept) > _KEPT_LISTS:
                self._kept.popitem(last=False)
            now = self._timer()
            is_due = refresh or now - kept.listed_at > _FRESH_SECONDS
            if not is_due or now - kept.asked_at < _REST_SECONDS:
                return kept, False
            if self._allowance.take(principal.tenant):
                return replace(kept, reason="too_often"), False
            kept.asked_at = now
            async with self._allowance.turn(principal.tenant):
                kept.reason = await self._ask(principal, provider, listings, kept)
            return kept, kept.reason is None

    async def _basis(
        self, principal: Principal, provider: AnyProvider, listings: tuple[Listing, ...]
    ) -> tuple[object, object]:
        """Return what a list of now rests on: the version of the key, and the requests that it is sent with."""
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            state = await Store(connection, principal.tenant).state()
        view = OrganizationView(state, self._registry, self._retired, self._clock().date())
        source = view.secret_source(provider)
        try:
            settings = provider.validate(view.overrides(provider), is_whole=False).effective()
        except Invalid:
            asked = None
        else:
            asked = _requests(listings, settings)
        return (state.epoch, source, state.secret_versions.get(source, 0)), asked

    async def _ask(
        self, principal: Principal, provider: AnyProvider, listings: tuple[Listing, ...], kept: _Kept
    ) -> NotListed | None:
        """Ask the vendor, page by page, and keep what it lists; return why there is nothing new, if so."""
        try:
            resolved = await self._workers.release_for_list(principal, provider.key)
        except tuple(error for error, _ in _UNRELEASED) as error:
            return next(reason for kind, reason in _UNRELEASED if isinstance(error, kind))
        asked = _requests(listings, resolved.config)
        if asked != kept.asked:
            # Somebody changed the settings since the look: what comes of these is no list of those.
            kept.asked, kept.listed, kept.listed_at, kept.fetched_at = asked, None, float("-inf"), None
        listing = _listing_for(provider, listings, resolved)
        if listing is None:
            return "not_offered"
        found = await self._read(provider.probe or Probe(()), listing, resolved, principal.tenant)
        if isinstance(found, str):
            return found
        kept.listed, kept.is_whole = found
        kept.listed_at, kept.fetched_at = self._timer(), self._clock()
        return None

    async def _read(
        self, probe: Probe, listing: Listing, resolved: ResolvedProviderConfig, asker: UUID
    ) -> tuple[tuple[Listed, ...], bool] | NotListed:
        """Read a vendor's list, and whether to its end; or say why it cannot be read."""
        secrets = {name: value.get_secret_value() for name, value in resolved.secrets.items()}
        values = {**resolved.config, **secrets}
        first, headers = listing.request.address(resolved.config), listing.request.heading(values)
        within = frozenset(Origin.parse(each) for each in resolved.origins)
        found: dict[str, Listed] = {}
        url: str | None = first
        is_whole = True
        began, asked = self._timer(), 0
        # Beyond the first page, what came in time is better than nothing: somebody is waiting.
        while url is not None and (asked == 0 or (asked < MAX_PAGES and self._timer() - began < _MOST_SECONDS)):
            asked += 1
            answer = await self._client.ask(
                VendorRequest(url, headers), within=within, asker=asker, max_bytes=MAX_LIST_BYTES
            )
            if isinstance(answer, Unanswered):
                return _UNANSWERED[answer.reason]
            if answer.status != _OK:
                text = answer.body[:MAX_ANSWER_BYTES].decode("utf-8", errors="replace")
                return _REFUSED.get(judged(probe, listing.request, answer.status, text), "provider_error")
            page = listing.read(answer.json(), secrets.values())
            if page is None:
                return "not_understood"
            found |= {each.name: each for each in page.listed if each.name not in found}
            is_whole = is_whole and page.is_whole
            url = f"{first}{'&' if '?' in first else '?'}{page.after}" if page.after else None
        return tuple(found.values()), is_whole and url is None


def _requests(listings: tuple[Listing, ...], settings: JsonObject) -> object:
    return [
        (each.request.address(settings), sorted(each.request.heading(settings).items()))
        for each in listings
        if each.request.is_for(settings)
    ]


def _listing_for(
    provider: AnyProvider, listings: tuple[Listing, ...], resolved: ResolvedProviderConfig
) -> Listing | None:
    for each in listings:
        if each.request.is_for(resolved.config):
            is_own = set(resolved.origins) <= {str(origin) for origin in provider.default_origins}
            # A compatible server has names of its own, and no others than those that it serves.
            return each if is_own else replace(each, keeps="")
    return None


def _preview_place(provider: AnyProvider, url: str | None) -> Origin | None:
    """Return the place among those for samples that a URL leads to, or None."""
    try:
        wanted = origin_of(url or "")
    except ValueError:
        return None
    bases = [Origin.parse(base) for listing in provider.lists_voices for base in listing.preview_bases]
    return next(
        (base for base in bases if wanted[:3] == base[:3] and wanted.path.startswith(f"{base.path}/")),
        None,
    )


def _merged(
    known: tuple[Model, ...] | tuple[Voice, ...],
    kept: _Kept,
    today: date,
    known_of: Callable[[str], Model | Voice | None],
    *,
    is_live: bool,
) -> OfferList:
    """Lay the vendor's list and what is known of its names together: those that it lists come first."""
    listed = {each.name: each for each in kept.listed or ()}
    was_asked = kept.listed is not None
    items = [_shown(each.name, known_of(each.name), each, today, is_listed=True) for each in listed.values()]
    items += [
        _shown(each.name, each, None, today, is_listed=False if was_asked else None)
        for each in known
        if each.name not in listed
    ]
    return OfferList(
        items=tuple(items),
        source="live" if is_live else ("cached" if was_asked else "built-in"),
        fetched_at=kept.fetched_at,
        reason=kept.reason,
        is_whole=kept.is_whole,
    )


def _shown(
    name: str, known: Model | Voice | None, listed: Listed | None, today: date, *, is_listed: bool | None
) -> ListedOffer:
    told = listed.retires_on if listed else None
    ends = told or (known.retires_on if known else None)
    status = known.status if known else "current"
    if ends is not None:
        # What the vendor still lists after the day that it tells ends late.
        has_ended = told is None and ends <= today
        status = "retired" if has_ended else ("deprecated" if status == "current" else status)
    return ListedOffer(
        name=name,
        label=(listed.label if listed else None) or getattr(known, "label", None),
        language=(listed.language if listed else None) or getattr(known, "language", None),
        status=status,
        retires_on=ends,
        replacement=known.replacement if known else None,
        note=known.note if known else None,
        is_listed=is_listed,
        has_preview=listed is not None and listed.preview is not None,
    )

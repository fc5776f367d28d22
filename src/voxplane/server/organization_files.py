"""Files of organizations: what is written out, what applying one would change, and applying it.

A plan is made by applying the file and taking that back, so it is what happens. It names the position that it was made
at; applying it to an organization that has moved on since is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

from pydantic import SecretStr

from voxplane.errors import FieldError, Invalid, ProviderNotFound, ProviderRetired, RevisionConflict, SecretsUnreadable
from voxplane.organization_file import OrganizationFile, ProviderEntry, references, suggested, unknown_provider
from voxplane.provider import unknown_field
from voxplane.schemas import ConfigWrite, OrganizationCreate, ProviderType, SecretsWrite, Wire
from voxplane.server import store
from voxplane.server.naming import as_id
from voxplane.server.organization_view import OrganizationView
from voxplane.server.position import Position
from voxplane.server.provider_write import Catalogue, ProviderWrite, secret_values
from voxplane.server.store import Store
from voxplane.server.write import TakenBack, begin_as

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from voxplane.provider import AnyProvider
    from voxplane.schemas import OrganizationProvider
    from voxplane.server.auth import Principal
    from voxplane.server.changes import Changes
    from voxplane.server.database import Database
    from voxplane.server.store import OrganizationRow, OrganizationState
    from voxplane.server.write import Unsealed, Write

Keys = dict[tuple[str, str], SecretStr]
"""The keys that a file's references lead to, by provider and secret."""


class Change(Wire):
    """One thing that is set, changed or removed."""

    provider: str
    """Empty for what is of the organization itself."""
    what: str
    """`enabled`, `priority`, `approvedOrigins`, `config.<setting>`, `secrets.<secret>`, or `name`."""
    kind: Literal["set", "changed", "removed"]
    before: Any = None
    after: Any = None


class OrganizationPlan(Wire):
    """What a file changes of one organization."""

    organization: str
    is_new: bool
    at: str | None
    """The position that it was made at; null for an organization that is not there yet."""
    changes: tuple[Change, ...]
    effects: tuple[Change, ...]
    """What becomes different in a call: settings in force, whether a provider is usable, and which answers first."""


class Plan(Wire):
    """What files change."""

    organizations: tuple[OrganizationPlan, ...]


@dataclass(frozen=True)
class Apply:
    """What to apply to one organization."""

    file: OrganizationFile
    keys: Keys = field(default_factory=Keys, repr=False)
    prune: bool = False
    """Whether providers that the file does not name go back to their defaults, disabled.

    Their keys stay, and so does what is stored of providers that are no longer offered, which no export names.
    """


class OrganizationFiles:
    """Writes organizations out as files, and takes them in."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        database: Database,
        changes: Changes,
        unsealed: Unsealed | None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take what it works with; `unsealed` is None while the installation is sealed."""
        self._catalogue = catalogue
        self._database = database
        self._changes = changes
        self._unsealed = unsealed
        self._clock = clock

    async def export(self, principal: Principal) -> OrganizationFile:
        """Return an organization's overrides, switches, order, and references for its keys, which are not in it.

        Raises:
            OrganizationNotFound: the principal's organization is gone.
        """
        async with self._database.transaction(organization_id=principal.tenant) as connection:
            state = await Store(connection, principal.tenant).state()
        view = self._view(state)
        ranked = [each.provider.key for kind in ProviderType for each in view.ranked(kind)]
        entries = {key: entry for key in ranked if (entry := self._entry(view, key)) is not None}
        return OrganizationFile(organization=state.slug, name=state.name, providers=entries)

    def _entry(self, view: OrganizationView, key: str) -> ProviderEntry | None:
        if key in self._catalogue.retired or (key not in view.state.configs and key not in view.state.secrets):
            return None
        provider = self._catalogue.offered(key)
        given: dict[str, Any] = {}
        if key in view.state.configs:
            row = view.config_row(key)
            given |= {"enabled": row.is_enabled, "priority": row.priority, "config": view.overrides(provider)}
        try:
            sealed = view.own_envelope(key)
        except SecretsUnreadable:
            sealed = None
        if sealed is not None and sealed.fields:
            given["secrets"] = {name: suggested(view.state.slug, key, name) for name in sorted(sealed.fields)}
        if sealed is not None and sealed.origins != provider.default_origins:
            given["approvedOrigins"] = sorted(str(origin) for origin in sealed.origins)
        return ProviderEntry.model_validate(given)

    async def missing(self, files: list[OrganizationFile], keys: Mapping[str, Keys]) -> list[tuple[str, str, str]]:
        """Return organization, provider and secret of every key that neither its reference nor the database has."""
        lacking: list[tuple[str, str, str]] = []
        for file in files:
            row = await self._find(file.organization)
            stored: dict[str, frozenset[str]] = {}
            if row is not None:
                async with self._database.transaction(organization_id=row.id) as connection:
                    stored = _stored_secrets(self._view(await Store(connection, row.id).state()))
            lacking += [
                (file.organization, key, name)
                for key, name, _ in references(file)
                if (key, name) not in keys[file.organization]
                and name not in stored.get(key, ())
                and self._takes(key, name)
            ]
        return lacking

    def _takes(self, key: str, secret: str) -> bool:
        """Whether there is such a secret; of one that is not, `plan` says so."""
        offered = (each for each in self._catalogue.registry.get_all_providers() if each.key == key)
        return any(secret in each.secret_names for each in offered)

    async def plan(self, operator: Principal, wanted: Apply) -> OrganizationPlan:
        """Return what applying would change; nothing is written.

        Raises:
            Invalid: what the file says is not valid; it has all that is wrong.
            KeyUnavailable: the installation is sealed.
        """
        return await self._run(operator, wanted, None, keep=False)

    async def apply(self, operator: Principal, wanted: Apply, planned: OrganizationPlan) -> OrganizationPlan:
        """Apply a file to the organization that its plan was made for, in one transaction.

        Raises:
            RevisionConflict: the organization has changed since the plan was made.
            OrganizationExists: it was new then and is there now.
            Invalid, KeyUnavailable: as for `plan`.
        """
        return await self._run(operator, wanted, planned, keep=True)

    async def _find(self, slug: str) -> OrganizationRow | None:
        async with self._database.transaction(platform=True) as connection:
            return await store.organization_by_slug(connection, slug)

    async def _run(
        self, operator: Principal, wanted: Apply, planned: OrganizationPlan | None, *, keep: bool
    ) -> OrganizationPlan:
        file = wanted.file
        row = None if planned is not None and planned.is_new else await self._find(file.organization)
        if planned is not None and not planned.is_new and row is None:
            raise RevisionConflict
        organization_id: UUID = row.id if row else as_id(file.organization) or uuid4()
        who = replace(operator, organization_id=organization_id)
        plans: list[OrganizationPlan] = []
        try:
            new = None if row else OrganizationCreate(slug=file.organization, name=file.name or file.organization)
            async with begin_as(self._database, who, new, self._unsealed, self._clock()) as write:
                before = write.state
                at = None if row is None else str(Position(str(before.epoch), before.revision))
                if planned is not None and planned.at != at:
                    raise RevisionConflict
                await write.rename(file.name or before.name)
                await self._take(write, wanted)
                plans.append(self._compared(before, write.state, at))
                if row is None or plans[0].changes:
                    await write.advance()
                if not keep:
                    raise TakenBack  # noqa: TRY301 - that is how a transaction ends
        except TakenBack:
            return plans[0]
        self._changes.note(organization_id)
        return plans[0]

    async def _take(self, write: Write, wanted: Apply) -> None:
        """Write what the file says. Its errors, all of them, point into it."""
        changing = ProviderWrite(write, self._catalogue, self._clock().date())
        at = f"/{wanted.file.organization}"
        wrong: list[FieldError] = []
        for number, (key, entry) in enumerate(wanted.file.providers.items(), 1):
            try:
                await self._take_provider(changing, key, entry, wanted.keys)
            except Invalid as invalid:
                wrong += [FieldError(f"{at}/{key}{each.pointer}", each.code, each.message) for each in invalid.errors]
            except ProviderRetired as error:
                wrong.append(FieldError(f"{at}/{key}", error.code, error.message))
            except ProviderNotFound:
                wrong.append(FieldError(f"{at}/?", "unknown_provider", unknown_provider(number)))
        if wrong:
            raise Invalid(wrong)
        if wanted.prune:
            # Of what is no longer offered an export says nothing, so that it is not in a file says nothing either.
            offered = {provider.key for provider in self._catalogue.registry.get_all_providers()}
            for key in sorted(set(write.state.configs) & offered - set(wanted.file.providers)):
                await changing.delete_config(key)

    async def _take_provider(self, changing: ProviderWrite, key: str, entry: ProviderEntry, given: Keys) -> None:
        provider = self._catalogue.offered(key)
        names = provider.secret_names
        wrong = [unknown_field("/secrets", name, names) for name in entry.secrets or {} if name not in names]
        keys = {name: key_of.get_secret_value() for (of, name), key_of in given.items() if of == key and name in names}
        try:
            await _put_config(changing, provider, entry)
        except Invalid as invalid:
            wrong += invalid.errors
        try:
            await _put_secrets(changing, provider, entry, keys)
        except Invalid as invalid:
            wrong += invalid.errors
        if wrong:
            raise Invalid(wrong)

    def _view(self, state: OrganizationState) -> OrganizationView:
        return OrganizationView(state, self._catalogue.registry, self._catalogue.retired, self._clock().date())

    def _compared(self, before: OrganizationState, after: OrganizationState, at: str | None) -> OrganizationPlan:
        old, new = self._view(before), self._view(after)
        return OrganizationPlan(
            organization=after.slug,
            is_new=at is None,
            at=at,
            changes=tuple(_changes(old, new)),
            effects=tuple(_effects(old, new)),
        )


async def _put_config(changing: ProviderWrite, provider: AnyProvider, entry: ProviderEntry) -> None:
    said = {"config": entry.config, "isEnabled": entry.enabled, "priority": entry.priority}
    change = ConfigWrite.model_validate({name: value for name, value in said.items() if value is not None})
    if change.model_fields_set:
        await changing.put_config(provider, change)


async def _put_secrets(
    changing: ProviderWrite, provider: AnyProvider, entry: ProviderEntry, keys: Mapping[str, str]
) -> None:
    if not keys and entry.approved_origins is None:
        return
    said: dict[str, Any] = {"secrets": keys, "rebind": entry.approved_origins is not None}
    if entry.approved_origins is not None:
        said["approvedOrigins"] = entry.approved_origins
    new = SecretsWrite.model_validate(said)
    await changing.put_secrets(provider, new, secret_values(provider, new.secrets, new.label), is_precise=True)


def _changes(before: OrganizationView, after: OrganizationView) -> Iterator[Change]:
    if before.state.name != after.state.name:
        names = {"before": before.state.name, "after": after.state.name}
        yield Change(provider="", what="name", kind="changed", **names)
    keys = set(before.state.configs) | set(after.state.configs) | set(before.state.secrets) | set(after.state.secrets)
    for key in sorted(keys):
        yield from compared(key, _said(before, key), _said(after, key))
        old, new = _secrets(before, key), _secrets(after, key)
        for name in sorted(set(old) | set(new)):
            if old.get(name) != new.get(name):
                yield Change(provider=key, what=f"secrets.{name}", kind=_kind(old.get(name), new.get(name)))


def compared(key: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    """Yield what is different between two states of one provider."""
    for what in sorted(set(old) | set(new)):
        was, becomes = old.get(what), new.get(what)
        if was != becomes:
            yield Change(provider=key, what=what, kind=_kind(was, becomes), before=was, after=becomes)


def _kind(before: object, after: object) -> Literal["set", "changed", "removed"]:
    if before is None:
        return "set"
    return "removed" if after is None else "changed"


def _said(view: OrganizationView, key: str) -> dict[str, Any]:
    said: dict[str, Any] = {}
    row = view.state.configs.get(key)
    if row is not None:
        said = {"enabled": row.is_enabled, "priority": row.priority}
        said |= {f"config.{name}": value for name, value in row.config.items()}
    try:
        sealed = view.own_envelope(key)
    except SecretsUnreadable:
        return said
    if sealed is not None:
        said["approvedOrigins"] = sorted(str(origin) for origin in sealed.origins)
    return said


def _secrets(view: OrganizationView, key: str) -> dict[str, int]:
    try:
        sealed = view.own_envelope(key)
    except SecretsUnreadable:
        return {}
    return {name: info.version for name, info in sealed.fields.items()} if sealed else {}


def _stored_secrets(view: OrganizationView) -> dict[str, frozenset[str]]:
    return {key: frozenset(_secrets(view, key)) for key in view.state.secrets}


def _effects(before: OrganizationView, after: OrganizationView) -> Iterator[Change]:
    old, new = before.listed(list(ProviderType)), after.listed(list(ProviderType))
    shown = {each.provider.key: each for each in old.providers}
    for each in new.providers:
        was = shown.get(each.provider.key)
        if was is None or was.is_enabled != each.is_enabled:
            then = {"enabled": each.is_enabled, "usable": each.usable} if each.is_enabled else {"enabled": False}
            yield from compared(each.provider.key, {"enabled": was is not None and was.is_enabled}, then)
        elif each.is_enabled:
            yield from compared(each.provider.key, _in_force(was), _in_force(each))
    for kind in ProviderType:
        first, then = old.next_call.get(kind), new.next_call.get(kind)
        if first != then:
            what = f"answers {kind.value}"
            yield Change(provider=then or first or "", what=what, kind=_kind(first, then), before=first, after=then)


def _in_force(provider: OrganizationProvider) -> dict[str, Any]:
    return {"usable": provider.usable} | {f"config.{name}": value for name, value in provider.config.items()}

"""A control plane put together from its settings: what the HTTP service and the command line both stand on.

async with ControlPlane.open(Settings()) as plane:
    await plane.providers.get_organization_providers(principal)
"""

from __future__ import annotations

import json
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from anyio import to_thread

from voxplane.errors import (
    ConfigurationError,
    KeyUnavailable,
    OrganizationExists,
    OrganizationNotFound,
    SecretsUnreadable,
)
from voxplane.registry import ProviderRegistry
from voxplane.schemas import OrganizationCreate
from voxplane.server import database, store
from voxplane.server.access import AccessService
from voxplane.server.anchors import Anchors
from voxplane.server.audit_log import AuditLog
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Principal
from voxplane.server.changes import Changes
from voxplane.server.database import Database, Location
from voxplane.server.denials import Denials
from voxplane.server.envelope import Keyring
from voxplane.server.history import HistoryService
from voxplane.server.import_notice import ImportNotices
from voxplane.server.issuers import Issuers
from voxplane.server.legacy_import import LegacyImport
from voxplane.server.legacy_scrub import LegacyScrub
from voxplane.server.lists import ListService
from voxplane.server.oidc import OidcProvider
from voxplane.server.organization_files import OrganizationFiles
from voxplane.server.probe_runner import ProbeRunner
from voxplane.server.provider_write import Catalogue
from voxplane.server.service import ProviderService
from voxplane.server.sign_in import SignInCodes
from voxplane.server.vendor_client import Resolve, VendorClient
from voxplane.server.verification import VerificationService
from voxplane.server.worker import WorkerService
from voxplane.server.write import Unsealed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from voxplane.server.settings import Settings

SEED = Path(__file__).parent / "seeds" / "provider_configs.json"
_AUDIT_KEY = "audit"

log = structlog.get_logger("voxplane")


@dataclass(frozen=True)
class ControlPlane:
    """The services of one installation, and what they stand on."""

    settings: Settings
    registry: ProviderRegistry
    database: Database
    changes: Changes
    providers: ProviderService
    history: HistoryService
    audit: AuditLog
    anchors: Anchors
    denials: Denials
    workers: WorkerService
    verification: VerificationService
    lists: ListService
    access: AccessService
    legacy: LegacyImport
    legacy_scrub: LegacyScrub
    import_notices: ImportNotices
    files: OrganizationFiles
    sign_in: SignInCodes
    oidc: OidcProvider | None
    """The identity provider that people sign in with, when one is configured."""

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, *, resolve: Resolve | None = None) -> AsyncGenerator[ControlPlane]:
        """Bring the database up to date, find the keys, and open the services.

        `resolve` finds the addresses of providers in place of the system's resolver; no setting can name it.

        Safe to do in several processes at once. A missing or wrong key does not stop it: the services are then
        sealed, which means that they read and neither write nor open secrets.

        Raises:
            ConfigurationError: the installation is set up in a way that is refused.
            Unavailable: the database does not answer.
        """
        registry = ProviderRegistry()
        registry.initialize(settings.catalogue_file)
        location = await to_thread.run_sync(Location.find, settings)
        try:
            unsealed = await to_thread.run_sync(upgrade, location, settings, registry)
            digests = {provider.key: provider.digest for provider in registry.get_released_providers()}
            connections = await database.open_database(location, settings, digests)
            try:
                client = VendorClient(
                    allowed=settings.vendor_networks,
                    ca_file=settings.vendor_ca_file,
                    timeout_seconds=settings.vendor_timeout_seconds,
                    resolve=resolve,
                )
                plane = await cls._assemble(settings, registry, connections, unsealed, client)
                await plane.seed()
                try:
                    yield plane
                finally:
                    await plane.denials.end()
            finally:
                await connections.close()
        finally:
            await to_thread.run_sync(location.close)

    @classmethod
    async def _assemble(
        cls,
        settings: Settings,
        registry: ProviderRegistry,
        connections: Database,
        unsealed: Unsealed | None,
        client: VendorClient,
    ) -> ControlPlane:
        async with connections.transaction() as connection:
            retired = {provider.key: provider for provider in await store.retired_providers(connection)}
        changes = Changes(catalogue=registry.digest, max_subscriptions=settings.organization_streams)
        issuers = Issuers(settings.trusted_issuers)
        denials = Denials(connections, unsealed, lambda: datetime.now(UTC))
        catalogue = Catalogue(registry, retired)
        access = AccessService(
            database=connections,
            changes=changes,
            issuers=issuers,
            unsealed=unsealed,
            settings=settings,
        )
        workers = WorkerService(
            registry=registry,
            retired=retired,
            database=connections,
            changes=changes,
            unsealed=unsealed,
            denials=denials,
            report_interval_seconds=settings.report_interval_seconds,
        )
        providers = ProviderService(
            registry=registry, retired=retired, database=connections, changes=changes, unsealed=unsealed
        )
        audit = AuditLog(database=connections, unsealed=unsealed)
        return cls(
            settings=settings,
            registry=registry,
            database=connections,
            changes=changes,
            providers=providers,
            history=HistoryService(registry=registry, retired=retired, database=connections),
            audit=audit,
            anchors=Anchors(audit, settings.anchors_file, every_seconds=settings.anchor_seconds),
            denials=denials,
            workers=workers,
            verification=VerificationService(
                registry=registry,
                retired=retired,
                database=connections,
                changes=changes,
                workers=workers,
                providers=providers,
                runner=ProbeRunner(client, settings.models_dir),
                per_minute=settings.verifications_per_minute,
                patience_seconds=settings.vendor_timeout_seconds,
            ),
            lists=ListService(
                registry=registry,
                retired=retired,
                database=connections,
                workers=workers,
                client=client,
                per_minute=settings.lists_per_minute,
            ),
            access=access,
            legacy=LegacyImport(catalogue=catalogue, database=connections, changes=changes, unsealed=unsealed),
            legacy_scrub=LegacyScrub(catalogue=catalogue, database=connections, unsealed=unsealed),
            import_notices=ImportNotices(database=connections, changes=changes, unsealed=unsealed),
            files=OrganizationFiles(catalogue=catalogue, database=connections, changes=changes, unsealed=unsealed),
            sign_in=SignInCodes(access),
            oidc=OidcProvider.configured(settings, issuers, access),
        )

    @cached_property
    def known_keys(self) -> frozenset[str]:
        """The keys of all providers that this installation offers."""
        return frozenset(provider.key for provider in self.registry.get_all_providers())

    async def sign_in_code(self) -> str | None:
        """Return a code that signs the default organization's administrator in once, unless the plane is sealed."""
        if self.providers.is_sealed:
            return None
        try:
            organization = await self.access.find_organization(json.loads(SEED.read_bytes())["slug"])
        except OrganizationNotFound:
            return None
        return self.sign_in.issue(local_administrator(organization.id, "local administrator"))

    async def seed(self) -> None:
        """Create the default organization, with its providers enabled, in an installation that has none."""
        if self.providers.is_sealed or (await self.access.get_organizations(limit=1)).organizations:
            return
        document = json.loads(SEED.read_bytes())
        configs = {key: (each["isEnabled"], each["priority"]) for key, each in document["providers"].items()}
        new = OrganizationCreate(slug=document["slug"], name=document["name"])
        try:
            await self.access.create_organization(local_administrator(None, "seed"), new, configs)
        except OrganizationExists:
            return  # another process was quicker
        log.info("organization created", slug=new.slug, enabled=sorted(configs))


def local_administrator(organization_id: UUID | None, name: str) -> Principal:
    """Return the principal of whoever administers this installation on its own machine."""
    return Principal(
        subject=f"local:{name}",
        name=name,
        kind="local",
        organization_id=organization_id,
        scopes=frozenset(ADMINISTRATOR_SCOPES),
    )


def upgrade(location: Location, settings: Settings, registry: ProviderRegistry) -> Unsealed | None:
    """Migrate, publish the catalogue, and return the keys; None when the installation is sealed.

    Without an administrator's address the database is taken as it is, and only the keys are found.
    """
    if location.admin is None:
        with database.reading(location) as connection:
            if (database.schema_version(connection) or "") < database.SCHEMA_VERSION:
                raise ConfigurationError("The database is older than this release: run `voxplane db upgrade`.")
            return _unseal(database.installation_key(connection), settings.keyring_path)
    with database.administration(location) as connection:
        database.migrate(connection)
        database.publish_catalogue(
            connection, [(provider.entry, provider.digest) for provider in registry.get_released_providers()]
        )
        installed = database.installation_key(connection)
        if installed is None:
            installed = _install(settings.keyring_path)
            database.install_key(connection, *installed)
        return _unseal(installed, settings.keyring_path)


def _install(path: Path) -> tuple[str, bytes]:
    """Make the audit key of a new installation, and the keyring that wraps it unless there is one."""
    try:
        keyring = Keyring.load(path)
    except FileNotFoundError:
        keyring = Keyring.generate()
        keyring.save_new(path)
        log.warning(
            "keyring created: back this file up, apart from the database; "
            "without it no stored secret can be opened again",
            path=str(path.absolute()),
        )
    return keyring.wrap(secrets.token_bytes(32), purpose=_AUDIT_KEY)


def _unseal(installed: tuple[str, bytes] | None, path: Path) -> Unsealed | None:
    """Prove the keyring on the installation's audit key."""
    if installed is None:
        raise ConfigurationError("The database has no installation key yet: run `voxplane db upgrade`.")
    kek_id, wrapped = installed
    try:
        keyring = Keyring.load(path)
        return Unsealed(keyring, keyring.unwrap(kek_id, wrapped, purpose=_AUDIT_KEY))
    except FileNotFoundError:
        reason = "the keyring file is missing: restore it from its backup"
    except ConfigurationError as error:
        reason = error.message
    except (KeyUnavailable, SecretsUnreadable):
        reason = "the keyring file holds another key than the one in use"
    log.error("sealed: reading goes on, nothing is written and no secret is opened", reason=reason, key=kek_id)
    return None

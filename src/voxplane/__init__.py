"""Voxplane: the provider control plane for voice AI."""

from typing import TYPE_CHECKING

from voxplane.errors import VoxplaneError
from voxplane.resolution import ResolvedProviderConfig
from voxplane.schemas import ProviderType

if TYPE_CHECKING:
    from voxplane.client import Client
    from voxplane.sync_client import SyncClient

__all__ = ["Client", "ProviderType", "ResolvedProviderConfig", "SyncClient", "VoxplaneError"]


def __getattr__(name: str) -> object:
    """Import the clients when they are first asked for: a command or a server needs none of what they stand on."""
    if name == "Client":
        from voxplane.client import Client  # noqa: PLC0415 - see above

        return Client
    if name == "SyncClient":
        from voxplane.sync_client import SyncClient  # noqa: PLC0415 - see above

        return SyncClient
    raise AttributeError(name)

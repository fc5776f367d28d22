"""Voxplane: the provider control plane for voice AI."""

from voxplane.client import Client
from voxplane.errors import VoxplaneError
from voxplane.resolution import ResolvedProviderConfig
from voxplane.schemas import ProviderType
from voxplane.sync_client import SyncClient

__all__ = ["Client", "ProviderType", "ResolvedProviderConfig", "SyncClient", "VoxplaneError"]

"""Voxplane, the provider control plane for voice AI."""

from voxplane.errors import VoxplaneError
from voxplane.resolution import ResolvedProviderConfig
from voxplane.schemas import ProviderType

__all__ = ["ProviderType", "ResolvedProviderConfig", "VoxplaneError"]

"""Voxplane, the provider control plane for voice AI."""

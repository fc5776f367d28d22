"""Vendors on loopback: what stands for them in tests, and must satisfy their own SDKs."""

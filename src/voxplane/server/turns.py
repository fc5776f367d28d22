"""Turns: of many who want the same thing at one moment, one goes and the others wait for what it brings."""

from __future__ import annotations

from typing import Generic, TypeVar
from weakref import WeakValueDictionary

import anyio

K = TypeVar("K")


class Turns(Generic[K]):
    """A lock for each key, kept for as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._locks: WeakValueDictionary[K, anyio.Lock] = WeakValueDictionary()

    def of(self, key: K) -> anyio.Lock:
        """Return the lock of a key."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = anyio.Lock()
        return lock

"""Marks of secrets for the audit log: they tell whether a value was ever stored, and nothing of it to anybody else.

The key that they are made with belongs to one organization, so that equal secrets of two organizations have different
marks, and is wrapped like a data key. It is made with the organization's first secret and never changed: a new one
would know nothing of what the old one marked.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from voxplane.server import envelope
from voxplane.server.store import DataKeyRow, Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from pydantic import SecretStr

    from voxplane.server.envelope import Keyring
    from voxplane.server.write import Write

_VERSION = 0
_PURPOSE = "mac"


async def fingerprints(write: Write, values: Mapping[str, SecretStr | None]) -> dict[str, str]:
    """Return the marks of the secrets that a write stores, by their names."""
    stored = {name: value for name, value in values.items() if value is not None}
    if not stored:
        return {}
    key = await _key(write)
    return {name: envelope.fingerprint(key, value) for name, value in sorted(stored.items())}


async def _key(write: Write) -> bytes:
    """Return the organization's key for marks, made if there is none yet. A write asks for it once."""
    if write.mark_key is None:
        keyring = write.unsealed.keyring
        # An organization that is being made has none.
        key = await known_key(write.store, write.state.id, keyring) if write.state.revision else None
        if key is None:
            key = secrets.token_bytes(32)
            kek_id, wrapped = keyring.wrap(key, purpose=_PURPOSE, owner=write.state.id, version=_VERSION)
            await write.store.add_data_key(DataKeyRow(_VERSION, wrapped, kek_id))
        write.mark_key = key
    return write.mark_key


async def known_key(store: Store, organization_id: UUID, keyring: Keyring) -> bytes | None:
    """Return the organization's key for marks; None before its first secret.

    Raises:
        KeyUnavailable, SecretsUnreadable: it does not unwrap.
    """
    row = await store.data_key(_VERSION)
    if row is None:
        return None
    return keyring.unwrap(row.kek_id, row.wrapped, purpose=_PURPOSE, owner=organization_id, version=_VERSION)

"""The box that secrets are kept in. The only file that imports `cryptography`.

    key-encryption key (keyring file, outside the database)
     └ data key of an organization, version 1..n          wrapped, in organization_data_keys
        └ record key = HKDF-SHA256(data key, random salt)  32 bytes for AES-256-GCM, 32 bytes that commit to the key

One envelope holds all secrets of one provider as one JSON document. What it must not be separated from is
authenticated with it: organization, provider, data key version, secret version, approved origins, field names.
Move, roll back or edit any of them and it does not open. `release` is the one way to a plaintext, and it asks where
the plaintext is going.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets as random
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from voxplane.destination import Origin
from voxplane.errors import ConfigurationError, DestinationUnapproved, KeyUnavailable, SecretsUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from uuid import UUID

ALGORITHM = "A256GCM-HKDF-SHA256-C32"
_FORMAT = 1
_KEY, _SALT, _COMMITMENT, _NONCE, _TAG = 32, 16, 32, 12, 16
_OVERHEAD = 1 + _SALT + _COMMITMENT + _NONCE + _TAG


def _derive(key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    derived = HKDF(algorithm=SHA256(), length=64, salt=salt, info=b"vxp/secret/v1").derive(key)
    return derived[:32], derived[32:]


def _encrypt(key: bytes, plaintext: bytes, bound_to: bytes) -> bytes:
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    record_key, commitment = _derive(key, salt)
    head = bytes([_FORMAT]) + salt + commitment + nonce
    return head + AESGCM(record_key).encrypt(nonce, plaintext, bound_to)


def _decrypt(key: bytes, box: bytes, bound_to: bytes) -> bytes:
    if len(box) < _OVERHEAD or box[0] != _FORMAT:
        raise SecretsUnreadable
    salt, rest = box[1 : 1 + _SALT], box[1 + _SALT :]
    record_key, commitment = _derive(key, salt)
    # Checked before GCM runs: one ciphertext opens under exactly one key, which GCM alone does not promise.
    if not hmac.compare_digest(commitment, rest[:_COMMITMENT]):
        raise SecretsUnreadable
    nonce, ciphertext = rest[_COMMITMENT : _COMMITMENT + _NONCE], rest[_COMMITMENT + _NONCE :]
    try:
        return AESGCM(record_key).decrypt(nonce, ciphertext, bound_to)
    except InvalidTag:
        raise SecretsUnreadable from None


def _joined(*parts: bytes) -> bytes:
    """Join parts so that no two different lists give the same bytes: each with its length before it."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@dataclass(frozen=True)
class DataKey:
    """The key of one organization's envelopes, unwrapped."""

    version: int
    key: bytes = field(repr=False)

    @classmethod
    def generate(cls, version: int) -> Self:
        """Make a new random one."""
        return cls(version, random.token_bytes(32))


@dataclass(frozen=True)
class Keyring:
    """The key-encryption keys that this process holds, by id; `current` wraps what is new."""

    current: str
    keys: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        """Make a keyring with one new random key."""
        key = random.token_bytes(32)
        return cls(_key_id(key), {_key_id(key): key})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a keyring file.

        Raises:
            FileNotFoundError: there is none.
            ConfigurationError: it can be read by others, cannot be read by us, or is not a keyring.
        """
        try:
            mode, content = path.stat().st_mode, path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError:
            raise ConfigurationError("The keyring file cannot be read by this account.") from None
        if mode & 0o077:
            raise ConfigurationError("The keyring file can be read by other accounts: chmod 600 it.")
        try:
            document = json.loads(content)
            keys = {str(name): base64.b64decode(key, validate=True) for name, key in document["keys"].items()}
            current = str(document["current"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ConfigurationError("The keyring file is damaged: restore it from its backup.") from None
        # The id is derived from the key, so a key that was altered or swapped no longer has its name.
        if current not in keys or any(len(key) != _KEY or _key_id(key) != name for name, key in keys.items()):
            raise ConfigurationError("The keyring file is damaged: restore it from its backup.")
        return cls(current, keys)

    def save_new(self, path: Path) -> None:
        """Write the keyring to a new file that only its owner can read.

        Raises:
            FileExistsError: there is a file; a keyring is never overwritten.
        """
        keys = {name: base64.b64encode(key).decode() for name, key in self.keys.items()}
        document = json.dumps({"current": self.current, "keys": keys}, indent=2) + "\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written beside and linked: the name never stands for half a file, and link refuses to replace one.
        draft = path.with_name(f"{path.name}.{random.token_hex(6)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(document)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        finally:
            draft.unlink()
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def wrap(self, key: bytes, *, purpose: str, owner: UUID | None = None, version: int = 0) -> tuple[str, bytes]:
        """Encrypt a key for storage, bound to what it is for. Returns the wrapping key's id and the box."""
        return self.current, _encrypt(self.keys[self.current], key, _key_context(purpose, owner, version))

    def unwrap(self, kek_id: str, box: bytes, *, purpose: str, owner: UUID | None = None, version: int = 0) -> bytes:
        """Decrypt a stored key.

        Raises:
            KeyUnavailable: it was wrapped with a key that this keyring does not have.
            SecretsUnreadable: it was altered, or belongs to another owner, purpose or version.
        """
        if kek_id not in self.keys:
            raise KeyUnavailable
        return _decrypt(self.keys[kek_id], box, _key_context(purpose, owner, version))

    def data_key(self, owner: UUID, version: int, kek_id: str, wrapped: bytes) -> DataKey:
        """Decrypt a data key of an organization, as it is stored.

        Raises:
            KeyUnavailable, SecretsUnreadable: as for `unwrap`.
        """
        return DataKey(version, self.unwrap(kek_id, wrapped, purpose="data", owner=owner, version=version))


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"vxp/key-id" + key).hexdigest()[:8]


def _key_context(purpose: str, owner: UUID | None, version: int) -> bytes:
    return _joined(b"vxp-key", purpose.encode(), owner.bytes if owner else b"", str(version).encode())


@dataclass(frozen=True)
class SecretContext:
    """Whose secrets: an envelope opens here and nowhere else."""

    organization_id: UUID
    provider_key: str


@dataclass(frozen=True)
class SealedField:
    """What is kept in the open about one secret in an envelope."""

    version: int
    label: str | None
    updated_at: str
    updated_by: str

    @classmethod
    def parse(cls, stored: Any) -> Self:
        """Read what is stored; ValueError or TypeError when it is something else.

        Only a field's name is under the seal, so what is said of it is not trusted to be what it was.
        """
        version, label = _whole(stored["version"]), stored["label"]
        at, by = stored["updatedAt"], stored["updatedBy"]
        datetime.fromisoformat(at)
        if not isinstance(label, str | None) or not isinstance(by, str):
            raise TypeError
        return cls(version, label, at, by)


def _whole(stored: object) -> int:
    if not isinstance(stored, int) or not 0 < stored < 2**31:
        raise ValueError
    return stored


@dataclass(frozen=True)
class Envelope:
    """The secrets of one provider of one organization, sealed.

    `version` counts the changes of this provider's secrets; `origins` are the only places they may be sent to.
    """

    data_key: int
    version: int
    origins: frozenset[Origin]
    fields: Mapping[str, SealedField]
    box: bytes = field(repr=False)

    def is_same(self, after: Envelope) -> bool:
        """Whether the one that follows it holds the same values for the same places: a label is neither."""
        versions = [{name: info.version for name, info in each.fields.items()} for each in (self, after)]
        return self.origins == after.origins and versions[0] == versions[1]

    def to_json(self) -> dict[str, Any]:
        """Return what is stored in `organization_secrets`."""
        return {
            "v": _FORMAT,
            "alg": ALGORITHM,
            "dek": self.data_key,
            "sv": self.version,
            "origins": sorted(str(origin) for origin in self.origins),
            "fields": {
                name: {
                    "version": info.version,
                    "label": info.label,
                    "updatedAt": info.updated_at,
                    "updatedBy": info.updated_by,
                }
                for name, info in self.fields.items()
            },
            "ct": base64.b64encode(self.box).decode(),
        }

    @classmethod
    def from_json(cls, stored: object) -> Self:
        """Read what is stored.

        Raises:
            SecretsUnreadable: it is not an envelope of this format.
        """
        try:
            return cls._parse(stored)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SecretsUnreadable from None

    @classmethod
    def _parse(cls, stored: Any) -> Self:
        if stored["v"] != _FORMAT or stored["alg"] != ALGORITHM:
            raise SecretsUnreadable
        return cls(
            data_key=_whole(stored["dek"]),
            version=_whole(stored["sv"]),
            origins=frozenset(Origin.parse(origin) for origin in stored["origins"]),
            fields={str(name): SealedField.parse(info) for name, info in stored["fields"].items()},
            box=base64.b64decode(stored["ct"], validate=True),
        )

    def bound_to(self, context: SecretContext) -> bytes:
        """Return what is authenticated with the secrets: all of this envelope but the box and the labels."""
        return _joined(
            b"vxp-secret",
            str(_FORMAT).encode(),
            context.organization_id.bytes,
            context.provider_key.encode(),
            str(self.data_key).encode(),
            str(self.version).encode(),
            _joined(*(str(origin).encode() for origin in sorted(self.origins))),
            _joined(*(name.encode() for name in sorted(self.fields))),
        )


@dataclass(frozen=True)
class SecretChange:
    """What a holder of admin:secrets changes: a value replaces, None removes, what is absent stays.

    The label goes to the secrets that are named, or to all when none is.
    """

    values: Mapping[str, SecretStr | None]
    origins: frozenset[Origin]
    label: str | None
    at: str
    by: str


def seal(
    data_key: DataKey,
    context: SecretContext,
    change: SecretChange,
    *,
    present: Envelope | None,
    version: int,
) -> Envelope | None:
    """Make the envelope that follows `present` under this change; None when nothing would differ.

    What stays is carried over inside this function: no plaintext leaves it. `version` is one above what the
    organization's own row says, so that an older envelope put back in place is not taken for the present one.

    Raises:
        SecretsUnreadable: the present envelope does not open, or is out of date.
    """
    if present and present.version != version - 1:
        raise SecretsUnreadable
    before = _open(data_key, context, present) if present else {}
    after = dict(before)
    for name, value in change.values.items():
        if value is None:
            after.pop(name, None)
        else:
            after[name] = value.get_secret_value()
    fields = {
        name: _field_after(name, change, present, version=version, is_same=before.get(name) == value)
        for name, value in after.items()
    }
    if present and fields == dict(present.fields) and change.origins == present.origins:
        return None
    unsealed = Envelope(data_key.version, version, change.origins, fields, b"")
    box = _encrypt(data_key.key, json.dumps(after).encode(), unsealed.bound_to(context))
    return replace(unsealed, box=box)


def holds(data_key: DataKey, context: SecretContext, envelope: Envelope, values: Mapping[str, SecretStr]) -> bool:
    """Return whether an envelope holds these very values. No plaintext leaves this function.

    Raises:
        SecretsUnreadable: the envelope does not open.
    """
    opened = _open(data_key, context, envelope)
    return all(
        hmac.compare_digest(opened.get(name, "").encode(), value.get_secret_value().encode())
        for name, value in values.items()
    )


def _field_after(
    name: str, change: SecretChange, present: Envelope | None, *, version: int, is_same: bool
) -> SealedField:
    """Describe one secret after the change: its version moves with its value, its label with either."""
    known = present.fields.get(name) if present else None
    named = change.label is not None and (name in change.values or not change.values)
    if known is None or not is_same:
        return SealedField(version, change.label if named else None, change.at, change.by)
    if named and change.label != known.label:
        return SealedField(known.version, change.label, change.at, change.by)
    return known


def release(
    data_key: DataKey,
    context: SecretContext,
    envelope: Envelope,
    *,
    version: int,
    destinations: Iterable[Origin],
) -> dict[str, SecretStr]:
    """Open an envelope for a call that connects to `destinations`. The one way to a plaintext.

    `version` is what the organization's own row says this provider's secrets are at.

    Raises:
        DestinationUnapproved: a destination is not among the origins that the envelope is sealed with.
        SecretsUnreadable: the envelope is altered, out of date, or belongs elsewhere.
    """
    destinations = frozenset(destinations)
    if not destinations or not destinations <= envelope.origins:
        raise DestinationUnapproved
    if envelope.version != version:
        raise SecretsUnreadable
    return {name: SecretStr(value) for name, value in _open(data_key, context, envelope).items()}


def _open(data_key: DataKey, context: SecretContext, envelope: Envelope) -> dict[str, str]:
    if data_key.version != envelope.data_key:
        raise SecretsUnreadable
    plaintext = _decrypt(data_key.key, envelope.box, envelope.bound_to(context))
    opened: dict[str, str] = json.loads(plaintext)
    return opened


def fingerprint(mac_key: bytes, secret: SecretStr) -> str:
    """Return the mark that the audit log keeps of a secret: 128 bits that only the organization's key can compute."""
    return hmac.digest(mac_key, b"vxp/fingerprint" + secret.get_secret_value().encode(), "sha256").hex()[:32]


@dataclass(frozen=True)
class AnchorKey:
    """What an installation signs the state of its audit log with; derived, so that it needs no place of its own."""

    public: bytes
    _private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def derive(cls, audit_key: bytes) -> Self:
        """Derive it from the installation's audit key, which who holds could forge the log with anyway."""
        seed = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"vxp/anchor/v1").derive(audit_key)
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(private.public_key().public_bytes_raw(), private)

    def sign(self, content: bytes) -> bytes:
        """Return the signature of a content."""
        return self._private.sign(content)

    def is_signed(self, content: bytes, signature: bytes) -> bool:
        """Whether a signature is this key's, of this content."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, content)
        except InvalidSignature:
            return False
        return True

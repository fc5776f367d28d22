"""How long a worker may use its secrets: for a day without contact, and only as long as it is let in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pydantic import SecretStr

from voxplane.errors import SnapshotExpired, Unauthenticated

_REVOKED = "The control plane turned this worker away, so these secrets may no longer be used."


class Lease:
    """One admission of a worker: its secrets may be used so long after the last contact, until it is turned away.

    A lease that was revoked stays so. Whoever is let in again gets another one, for secrets that are given anew.
    """

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        """Take how long it lasts without contact."""
        self._seconds = seconds
        self._monotonic = monotonic
        self._ends = 0.0
        self.is_revoked = False

    def renew(self, age_seconds: float = 0.0) -> None:
        """Count from a contact that was so long ago."""
        self._ends = self._monotonic() + self._seconds - age_seconds

    def revoke(self) -> None:
        """End it at once and for good."""
        self.is_revoked = True

    @property
    def has_ended(self) -> bool:
        """Whether the last contact was too long ago."""
        return self._monotonic() >= self._ends

    def check(self) -> None:
        """Let secrets be read.

        Raises:
            Unauthenticated: it was revoked.
            SnapshotExpired: the last contact was too long ago.
        """
        if self.is_revoked:
            raise Unauthenticated(_REVOKED)
        if self.has_ended:
            raise SnapshotExpired


class LeasedSecrets(Mapping[str, SecretStr]):
    """Secrets that can be read as long as their lease holds; their names always."""

    def __init__(self, secrets: Mapping[str, str], lease: Lease) -> None:
        """Take the secrets of one provider, and the admission that they were given under."""
        self._secrets = {name: SecretStr(value) for name, value in secrets.items()}
        self._lease = lease

    def __getitem__(self, name: str) -> SecretStr:
        self._lease.check()
        return self._secrets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets)

    def __len__(self) -> int:
        return len(self._secrets)

    def forget(self) -> None:
        """Let go of the values of a lease that was revoked."""
        self._secrets = {name: SecretStr("") for name in self._secrets}

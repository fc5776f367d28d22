"""What a worker has to say of its providers, until the control plane has taken it."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import anyio

from voxplane.errors import Invalid, Unreachable, VoxplaneError
from voxplane.schemas import MAX_REPORTS, ProviderReport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

RETRY_SECONDS = 30.0
"""How long reports wait that could not be sent, unless the control plane says when to come back."""
_INDEX = re.compile(r"/reports/([0-9]+)(/|$)")

log = logging.getLogger("voxplane")


class Reports:
    """The newest report of each provider that is still to be sent."""

    def __init__(self, send: Callable[[Sequence[ProviderReport]], Awaitable[object]]) -> None:
        """Take what sends at most `MAX_REPORTS` at once."""
        self._send = send
        self._waiting: dict[str, ProviderReport] = {}
        self._arrived = anyio.Event()
        self._sending = anyio.Lock()

    def add(self, report: ProviderReport) -> None:
        """Have a report sent in place of the one of its provider that waits."""
        self._waiting[report.provider] = report
        self._arrived.set()

    async def run(self) -> None:
        """Send what arrives, for as long as the caller lets it."""
        while True:
            await self._arrived.wait()
            self._arrived = anyio.Event()
            try:
                await self.flush()
            except Unreachable as error:
                seconds = RETRY_SECONDS if error.retry_after_seconds is None else error.retry_after_seconds
                await anyio.sleep(seconds)
                self._arrived.set()

    async def flush(self) -> None:
        """Send all that waits, after what is being sent.

        Raises:
            Unreachable: it could not be; what was not taken waits on.
        """
        async with self._sending:
            while self._waiting:
                batch = dict(list(self._waiting.items())[:MAX_REPORTS])
                self._waiting = {key: each for key, each in self._waiting.items() if key not in batch}
                try:
                    await self._send(list(batch.values()))
                except Invalid as error:
                    wrong = _wrong(batch, error)
                    log.warning("the control plane refused reports, which are dropped: %s", wrong)
                    self._put_back({key: each for key, each in batch.items() if key not in wrong})
                except Unreachable:
                    log.warning("reports could not be sent")
                    self._put_back(batch)
                    raise
                except VoxplaneError as error:
                    log.warning("reports are dropped (%s)", error.code)
                except BaseException:  # the client closes: what may have been sent is sent once more, or lost with it
                    self._put_back(batch)
                    raise

    def _put_back(self, batch: dict[str, ProviderReport]) -> None:
        self._waiting = batch | self._waiting


def _wrong(batch: dict[str, ProviderReport], error: Invalid) -> dict[str, str]:
    """Return the codes of what is wrong, by provider; of all where it is in none of them."""
    keys = dict(enumerate(batch))
    found: dict[str, str] = {}
    for each in error.errors:
        if (at := _INDEX.match(each.pointer)) and (key := keys.get(int(at[1]))):
            found[key] = each.code
    return found or dict.fromkeys(batch, ", ".join(each.code for each in error.errors))

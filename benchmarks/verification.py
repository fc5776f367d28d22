"""How long `voxplane verify --all` takes: every provider of the catalogue at once, vendors over TLS on loopback.

python -m benchmarks.verification [--rounds 5]

Exit code 1 means that a vendor did not answer as it should, and so nothing was measured; a missed goal is a result.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import structlog
from tests.vendors import tested
from tests.vendors.secure import SecureVendor

from voxplane.schemas import ConfigWrite, SecretsWrite
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.rounds import verify_each
from voxplane.server.settings import Settings

if TYPE_CHECKING:
    from voxplane.server.auth import Principal

GOAL_SECONDS = 2.0
_NEEDED = {
    "azure-openai": {"endpoint": "https://acme.openai.azure.com", "deployment": "talk"},
    "elevenlabs": {"voiceId": "JBFqnCBsd6RMkjVDRZzb"},
}


async def _set_up(plane: ControlPlane, who: Principal) -> None:
    for key in tested.HOSTS:
        approved = {"approvedOrigins": ["https://acme.openai.azure.com"]} if key == "azure-openai" else {}
        secrets = SecretsWrite.model_validate({"secrets": {"apiKey": "key-good-bench"}, **approved})
        await plane.providers.update_provider_secrets(who, key, secrets)
        if key in _NEEDED:
            await plane.providers.upsert_organization_provider_config(who, key, ConfigWrite(config=_NEEDED[key]))


async def _measure(rounds: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with SecureVendor(tested.answer) as vendor:
            settings = Settings.model_validate(
                {
                    "data_dir": Path(folder) / "data",
                    "vendor_networks": "127.0.0.0/8",
                    "vendor_ca_file": vendor.ca_file,
                    "models_dir": Path(folder),
                }
            )
            async with ControlPlane.open(settings, resolve=vendor.resolve) as plane:
                first = (await plane.access.get_organizations(after="", limit=1)).organizations[0]
                who = local_administrator(first.id, "bench")
                await _set_up(plane, who)
            began = time.perf_counter()
            async with ControlPlane.open(settings, resolve=vendor.resolve) as plane:
                opened = time.perf_counter() - began
                keys = [each.key for each in plane.registry.get_all_providers()]
                took: list[float] = []
                for _ in range(rounds):
                    began = time.perf_counter()
                    found = await verify_each(plane, who, keys)
                    took.append(time.perf_counter() - began)
                    good = {each.provider for each in found.providers if each.result and each.result.verdict == "works"}
                    if good != set(tested.HOSTS):
                        print(f"these did not answer as they should: {sorted(set(tested.HOSTS) ^ good)}")
                        return 1
    verdict = "met" if max(took) <= GOAL_SECONDS else "missed"
    print(
        f"verify --all: {len(keys)} providers in {statistics.median(took):.2f} s, {min(took):.2f} to {max(took):.2f} s"
        f" in {rounds} rounds (goal {GOAL_SECONDS:g} s: {verdict}); opening the database before it took {opened:.2f} s"
    )
    return 0


def main() -> int:
    """Measure. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Test every provider at once.")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 11))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    return anyio.run(_measure, parser.parse_args().rounds)


if __name__ == "__main__":
    sys.exit(main())

"""The catalogue: the twelve, a thirteenth from elsewhere, and one that is taken away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.conftest import token_for
from voxplane.errors import ConfigurationError, ProviderNotFound
from voxplane.registry import ProviderRegistry
from voxplane.schemas import ProviderType
from voxplane.server.app import create_app
from voxplane.server.control_plane import ControlPlane
from voxplane.server.settings import Settings

ROOT = Path(__file__).parent.parent
PROVIDERS = "/api/organizations/current/providers"
ACME = '''
"""A thirteenth provider, as another package would bring it."""

from typing import Annotated

from pydantic import Field

from voxplane.provider import UI, Destinations, ProviderConfig, ProviderDefinition, ProviderSecrets, Secret
from voxplane.schemas import ProviderType


class AcmeConfig(ProviderConfig):
    """How Acme answers."""

    model: Annotated[str, Field(max_length=50)] = "acme-1"
    """The model."""
    warmth: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How warm an answer is."""


class AcmeSecrets(ProviderSecrets):
    """What Acme asks for."""

    api_key: Secret
    """An Acme key."""


PROVIDER = ProviderDefinition(
    key="acme",
    type=ProviderType.LLM,
    name="Acme",
    hosting="cloud",
    description="Answers from Acme.",
    capabilities=("streaming",),
    config=AcmeConfig,
    secrets=AcmeSecrets,
    destinations=Destinations[AcmeConfig]((), lambda config: ["https://api.acme.example/v1"]),
    docs_url="https://acme.example/docs",
)
'''


def installed_package(folder: Path) -> dict[str, str]:
    """Make a package with an entry point, and return the environment in which it is installed."""
    (folder / "acme_voxplane.py").write_text(ACME, encoding="utf-8")
    metadata = folder / "acme_voxplane-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-voxplane\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[voxplane.providers]\nacme = acme_voxplane\n", encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(folder)}  # noqa: TID251 - for a process of our own


def dropped_file(folder: Path) -> dict[str, str]:
    """Copy the package, put one file into its providers, and return the environment that uses the copy."""
    package = folder / "voxplane"
    subprocess.run(["cp", "-r", str(ROOT / "src" / "voxplane"), str(package)], check=True)
    (package / "providers" / "acme.py").write_text(ACME, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(folder)}  # noqa: TID251 - for a process of our own


def run(environment: dict[str, str], *command: str) -> str:
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


async def test_twelve_providers_three_four_and_five(admin: httpx.AsyncClient) -> None:
    found = (await admin.get("/api/providers")).json()["providers"]
    assert Counter(each["type"] for each in found) == {"stt": 3, "tts": 4, "llm": 5}
    assert {each["key"] for each in found} == {
        *("deepgram", "whisper", "vosk", "piper", "elevenlabs", "cartesia", "openai-tts"),
        *("openai", "groq", "google", "anthropic", "azure-openai"),
    }
    only = (await admin.get("/api/providers?type=tts")).json()["providers"]
    assert [each["key"] for each in only] == ["cartesia", "elevenlabs", "openai-tts", "piper"]


async def test_one_provider_can_be_asked_for_and_an_unknown_one_is_404(admin: httpx.AsyncClient) -> None:
    one = await admin.get("/api/providers/openai")
    assert one.json()["defaultConfig"]["model"] == "gpt-4o-mini"
    assert (await admin.get("/api/providers/openai", headers={"If-None-Match": one.headers["etag"]})).status_code == 304
    assert (await admin.get("/api/providers/nobody")).json()["code"] == "provider_not_found"


def test_the_registry_answers_as_the_seed_names_it() -> None:
    registry = ProviderRegistry()
    registry.initialize()
    assert len(registry.get_all_providers()) == 12
    assert {each.type for each in registry.get_providers_by_type(ProviderType.STT)} == {ProviderType.STT}
    assert registry.get_provider_by_key("groq").name == "Groq"
    with pytest.raises(ProviderNotFound):
        registry.get_provider_by_key("nobody")


@pytest.mark.drill
@pytest.mark.parametrize("bring", [installed_package, pytest.param(dropped_file, marks=pytest.mark.deep)])
def test_a_thirteenth_provider_is_in_catalogue_validation_api_cli_and_docs(
    tmp_path: Path, settings: Settings, bring: Callable[[Path], dict[str, str]]
) -> None:
    environment = bring(tmp_path)
    assert settings.database_url is not None
    assert settings.database_admin_url is not None
    environment |= {
        "VOXPLANE_DATABASE_URL": settings.database_url.get_secret_value(),
        "VOXPLANE_DATABASE_ADMIN_URL": settings.database_admin_url.get_secret_value(),
        "VOXPLANE_KEYRING_FILE": str(settings.keyring_path),
    }
    voxplane = (sys.executable, "-m", "voxplane")
    listed = json.loads(run(environment, *voxplane, "providers", "list", "--json"))["providers"]
    assert [each["key"] for each in listed].count("acme") == 1
    assert len(listed) == 13
    assert "How warm an answer is." in run(environment, *voxplane, "providers", "show", "acme")
    changed = json.loads(run(environment, *voxplane, "config", "set", "acme", "warmth=0.9", "--enable", "--json"))
    assert changed["config"] == {"model": "acme-1", "warmth": 0.9}
    assert changed["reason"] == "secrets_missing"
    refused = subprocess.run(
        [*voxplane, "config", "set", "acme", "warmth=2"], env=environment, capture_output=True, text=True, check=False
    )
    assert (refused.returncode, "config/warmth" in refused.stderr) == (1, True)
    over_http = """
import anyio, httpx
from voxplane.server.app import create_app
from voxplane.server.control_plane import ControlPlane
from voxplane.server.settings import Settings

async def main():
    async with ControlPlane.open(Settings()) as plane:
        transport = httpx.ASGITransport(create_app(plane))
        async with httpx.AsyncClient(transport=transport, base_url="http://voxplane") as client:
            print((await client.get("/api/providers/acme")).json()["configSchema"]["properties"]["warmth"]["maximum"])

anyio.run(main)
"""
    assert run(environment, sys.executable, "-c", over_http).strip() == "1"
    if bring is dropped_file:
        page = "import sys; sys.path.insert(0, 'tools'); import generate; print(generate.documents())"
        ran = subprocess.run(
            [sys.executable, "-c", page], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert "How warm an answer is." in ran.stdout, ran.stderr


def test_two_definitions_of_one_key_are_refused(tmp_path: Path) -> None:
    environment = installed_package(tmp_path)
    (tmp_path / "acme_voxplane.py").write_text(ACME.replace('key="acme"', 'key="openai"'), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "voxplane", "providers", "list"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, "openai" in ran.stderr, "Traceback" in ran.stderr) == (1, True, False)


class WithoutGroq(ProviderRegistry):
    """The catalogue of a release that no longer offers one provider."""

    def initialize(self, catalogue_file: Path | None = None) -> None:
        """Find every definition but one."""
        super().initialize(catalogue_file)
        del self._providers["groq"]


async def test_a_definition_that_is_gone_is_retired_and_what_was_stored_for_it_can_be_removed(
    settings: Settings, superuser: psycopg.Connection[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes = ("livekit:read", "livekit:write", "admin:secrets")

    def connect(plane: ControlPlane, value: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {value}"}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(plane)), base_url="http://voxplane", headers=headers
        )

    async with ControlPlane.open(settings) as plane, connect(plane, await token_for(plane, *scopes)) as client:
        await client.put(f"{PROVIDERS}/groq/config", json={"config": {"temperature": 0.2}, "isEnabled": True})
        await client.put(f"{PROVIDERS}/groq/secrets", json={"secrets": {"apiKey": "gsk_for_later"}})
    with monkeypatch.context() as later:
        later.setattr("voxplane.server.control_plane.ProviderRegistry", WithoutGroq)
        async with ControlPlane.open(settings) as plane, connect(plane, await token_for(plane, *scopes)) as client:
            assert len((await client.get("/api/providers")).json()["providers"]) == 11
            assert superuser.execute("SELECT retired_at IS NOT NULL FROM providers WHERE key = 'groq'").fetchone() == (
                True,
            )
            shown = (await client.get(f"{PROVIDERS}/groq")).json()
            assert (shown["usable"], shown["reason"]) == (False, "retired")
            assert shown["overrides"] == {"temperature": 0.2}
            assert "groq" in [
                each["provider"]["key"] for each in (await client.get(f"{PROVIDERS}?type=llm")).json()["providers"]
            ]
            refused = await client.put(f"{PROVIDERS}/groq/config", json={"priority": 5})
            assert (refused.status_code, refused.json()["code"]) == (409, "provider_retired")
            assert (await client.delete(f"{PROVIDERS}/groq/secrets")).status_code == 204
            assert (await client.delete(f"{PROVIDERS}/groq/config")).status_code == 204
            assert "groq" not in (await client.get(f"{PROVIDERS}?type=llm")).text
    async with ControlPlane.open(settings):
        assert superuser.execute("SELECT retired_at FROM providers WHERE key = 'groq'").fetchone() == (None,)


def test_a_definition_that_shares_the_secrets_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = ProviderRegistry()
    shipped.initialize()
    alone = [each for each in shipped.get_all_providers() if each.key != "openai"]
    monkeypatch.setattr("voxplane.registry._shipped", lambda: alone)
    with pytest.raises(ConfigurationError, match="openai-tts"):
        ProviderRegistry().initialize()

"""Facts on models and voices from the operator's file: laid over the release's, checked like them, refused whole."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from voxplane import catalogue
from voxplane.errors import ConfigurationError
from voxplane.registry import ProviderRegistry
from voxplane.schemas import ConfigWrite
from voxplane.server import doctor
from voxplane.server.auth import Principal
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.settings import Settings

LUNA = {"name": "gpt-6-luna", "status": "deprecated", "retiresOn": "2027-06-01", "replacement": "gpt-7-luna"}
NEW = {"name": "gpt-7-luna", "callSettings": {"reasoningEffort": "none"}}
KATIE = {"name": "f786b574-daa5-4673-aa0c-cbe3e8534c02", "label": "Katie", "status": "retired"}
GOOD = {
    "asOf": "2026-12-01",
    "providers": {"openai": {"models": [LUNA, NEW]}, "cartesia": {"voices": [KATIE]}},
}
CANARY = "canary-4411"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "catalogue.json"
    path.write_text(json.dumps(GOOD))
    return path


def with_(**entry: Any) -> dict[str, Any]:
    return {"asOf": "2026-12-01", "providers": {"openai": {"models": [entry]}}}


def test_an_entry_stands_in_place_of_its_namesake_or_behind_the_others(file: Path) -> None:
    released, registry = ProviderRegistry(), ProviderRegistry()
    released.initialize()
    registry.initialize(file)
    before, after = (each.get_provider_by_key("openai") for each in (released, registry))
    assert [each.name for each in after.models] == [*(each.name for each in before.models), "gpt-7-luna"]
    changed = [each for each in after.models if each not in before.models]
    assert [each.model_dump(mode="json", by_alias=True, exclude_defaults=True) for each in changed] == [LUNA, NEW]
    assert after.config_schema["properties"]["model"]["examples"][-1] == "gpt-7-luna"
    voice = registry.get_provider_by_key("cartesia").config_schema["properties"]["voiceId"]
    assert voice["examples"] == ["a5136bf9-224c-4d76-b823-52bd5efcffcc"]
    assert registry.get_provider_by_key("groq") is not before
    assert [each.digest for each in registry.get_released_providers()] == [
        each.digest for each in released.get_all_providers()
    ]


def test_what_is_in_force_can_be_placed_as_a_file(file: Path, tmp_path: Path) -> None:
    registry, again = ProviderRegistry(), ProviderRegistry()
    registry.initialize(file)
    written = tmp_path / "again.json"
    in_force = catalogue.in_force(registry.get_all_providers(), date(2026, 12, 1))
    written.write_text(in_force.model_dump_json(by_alias=True))
    again.initialize(written)
    assert catalogue.in_force(again.get_all_providers(), date(2026, 12, 1)) == in_force


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("no json", "/: "),
        ("[" * 100_000, "/: "),
        ("\x00\xff", "/: "),
        ({"providers": {}}, "/asOf: This field is required"),
        ({"asOf": 20261201, "providers": {}}, "/asOf: "),
        ({"asOf": "2026-12-01", "providers": {CANARY: {}}}, "/providers: There is no such field. Valid: deepgram"),
        ({"asOf": "2026-12-01", "providers": {"openai": {CANARY: 1}}}, "There is a field here that does not exist"),
        ({"asOf": "2026-12-01", "providers": {"groq": {"voices": [{"name": "x"}]}}}, "/groq/voices: Groq has"),
        (with_(name=f"{CANARY} with a space"), "/providers/openai/models/0/name: Write it in the form of "),
        (with_(name=CANARY, status=CANARY), "/providers/openai/models/0/status: Input should be 'current'"),
        (with_(name=CANARY, retiresOn="31.12.2026"), "/models/0/retiresOn: "),
        (with_(name=CANARY, status="retired", retiresOn="2027-01-01"), "/retiresOn: What is retired ended"),
        (with_(name=CANARY, replacement=CANARY), "/models/0/replacement: Name another one"),
        (with_(name="gpt-4o", replacement="gpt-4o-2026-01-31"), "/models/0/replacement: Name another one"),
        (with_(name="gpt-6-luna", callSettings={"reasoningEffort": CANARY}), "/models/0/callSettings: Input"),
        (with_(name="gpt-4o", callSettings={CANARY: 1}), "/models/0/callSettings: There is no such field."),
        (with_(name="gpt-4o", callSettings={"baseUrl": "http://169.254.169.254"}), "/models/0/callSettings: "),
        ({"asOf": "2026-12-01", "providers": {"openai": {"models": [NEW, NEW]}}}, "/models/1/name: Name each one once"),
        (" " * (catalogue.MAX_FILE_BYTES + 1), "larger than"),
    ],
)  # fmt: skip
def test_what_is_not_valid_is_refused_with_its_place_and_without_what_stands_there(
    document: Any, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "catalogue.json"
    path.write_bytes(document.encode("latin-1") if isinstance(document, str) else json.dumps(document).encode())
    with pytest.raises(ConfigurationError) as refused:
        ProviderRegistry().initialize(path)
    assert said in refused.value.message
    assert "VOXPLANE_CATALOGUE_FILE" in refused.value.message
    assert CANARY not in refused.value.message


async def test_a_control_plane_has_the_files_facts_and_another_without_it_serves_beside_it(
    settings: Settings, file: Path
) -> None:
    refreshed = settings.model_copy(update={"catalogue_file": file})
    async with ControlPlane.open(refreshed) as plane, ControlPlane.open(settings) as other:
        who = await administrator_of(plane)
        change = ConfigWrite(config={"model": "gpt-6-luna", "reasoningEffort": "none"})
        shown = await plane.providers.upsert_organization_provider_config(who, "openai", change)
        (notice,) = shown.notices
        assert (notice.retires_on, notice.replacement) == (date(2027, 6, 1), "gpt-7-luna")
        assert notice.proposal is not None
        assert notice.proposal.config == {"model": "gpt-7-luna", "reasoningEffort": "none"}
        assert (await other.providers.get_organization_provider(who, "openai")).notices == ()
        version = ConfigWrite(config={"model": "gpt-6-luna-2026-06-30", "reasoningEffort": "none"})
        shown = await plane.providers.upsert_organization_provider_config(who, "openai", version)
        assert [each.replacement for each in shown.notices] == ["gpt-7-luna"]
    report = await doctor.examine(refreshed)
    finding = next(each for each in report.findings if each.subject == "catalogue file")
    assert (finding.verdict, "3 facts" in finding.finding, str(file) in finding.finding) == ("good", True, True)


async def administrator_of(plane: ControlPlane) -> Principal:
    return local_administrator((await plane.access.find_organization("default")).id, "test")


async def test_a_bad_file_is_refused_at_start_and_by_the_doctor(settings: Settings, tmp_path: Path) -> None:
    broken = settings.model_copy(update={"catalogue_file": tmp_path / "missing.json"})
    with pytest.raises(ConfigurationError, match="VOXPLANE_CATALOGUE_FILE"):
        async with ControlPlane.open(broken):
            pass
    report = await doctor.examine(broken)
    assert not report.is_healthy
    assert "VOXPLANE_CATALOGUE_FILE" in report.findings[-1].finding

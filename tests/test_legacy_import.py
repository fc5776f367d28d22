"""What the old system kept is brought here: from files and from its table, once, and without a key in sight."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.conftest import stored_rows, worker_of
from tests.test_docs import DOCS, blocks, environment, ran
from tests.test_files import Typed, typed
from tests.test_legacy import BLOBS, CANARIES
from voxplane import terminal
from voxplane.errors import ConfigurationError, Invalid, KeyUnavailable, SecretsNotFound, Unavailable
from voxplane.schemas import ConfigWrite, OrganizationCreate, SecretsWrite
from voxplane.schemas.import_notice import Outcome
from voxplane.server import legacy_source
from voxplane.server.auth import Principal
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.legacy_import import ImportOptions, OrganizationReport, Status
from voxplane.server.legacy_source import Record, records
from voxplane.server.settings import Settings

VOXPLANE = Path(sys.executable).with_name("voxplane")
Superuser = psycopg.Connection[tuple[object, ...]]
SEED = {"openai": {"chatModel": "gpt-4o-mini", "temperature": 0.3}, "stt": {"provider": "deepgram", "model": "nova-2"}}
KEY = "sk-canary-7f3a9c51e8"
OPERATOR = local_administrator(None, "test")

__all__ = ["typed"]  # a fixture


async def each(*blobs: tuple[str, dict[str, Any]]) -> AsyncGenerator[Record]:
    for number, (organization, blob) in enumerate(blobs, 1):
        yield Record(number, organization, blob)


async def imported(
    plane: ControlPlane, *blobs: tuple[str, dict[str, Any]], **options: bool
) -> list[OrganizationReport]:
    wanted = ImportOptions(**{"apply": True, "create_organizations": True} | options)
    return [report async for report in plane.legacy.run(OPERATOR, each(*blobs), wanted)]


async def principal_of(plane: ControlPlane, slug: str) -> Principal:
    return local_administrator((await plane.access.find_organization(slug)).id, "test")


async def configured(plane: ControlPlane, slug: str) -> dict[str, tuple[Any, ...]]:
    found = await plane.providers.get_organization_providers(await principal_of(plane, slug))
    return {
        each.provider.key: (each.overrides, each.is_enabled, each.priority)
        for each in found.providers
        if each.is_configured
    }


async def test_the_blob_of_the_seed_comes_to_its_two_providers_and_nothing_else(
    plane: ControlPlane, superuser: Superuser
) -> None:
    before = stored_rows(superuser)
    [looked_at] = await imported(plane, ("default", SEED), apply=False)
    assert stored_rows(superuser) == before
    [report] = await imported(plane, ("default", SEED))
    assert looked_at == report
    assert await configured(plane, "default") == {
        "deepgram": ({"model": "nova-2"}, True, 100),
        "openai": ({"model": "gpt-4o-mini", "temperature": 0.3}, True, 100),
        "piper": ({}, True, 100),  # from the installation's first start
    }
    after = stored_rows(superuser)
    changed = {table for table in after if after[table] != before[table]}
    assert changed == {"audit_events", "config_history", "organization_provider_configs", "organizations"}
    [again] = await imported(plane, ("default", SEED))
    assert (again.status, stored_rows(superuser)) == (Status.UNCHANGED, after)
    assert {finding.outcome for finding in again.findings} == {Outcome.MOVED}


async def test_where_a_blob_does_not_say_who_is_first_the_report_and_the_notice_do(plane: ControlPlane) -> None:
    azure = {"endpoint": "https://acme.openai.azure.com", "deployment": "chat", "apiKey": KEY}
    blob = {"openai": {"apiKey": KEY, "temperature": 0.3}, "azureOpenai": azure}
    note = "It does not say which answers first: Azure OpenAI, OpenAI. Here it is Azure OpenAI: see that this is right."
    [report] = await imported(plane, ("acme", blob), approve_origins=True)
    assert report.next_call == {"llm": "azure-openai"}
    assert [each.note for each in report.findings if each.at == ""] == [note]
    notice = await plane.import_notices.get_notice(await principal_of(plane, "acme"))
    assert [(each.provider, each.setting, each.note) for each in notice.findings] == [
        ("azure-openai", "priority", note)
    ]
    for slug, said in (("b", {"llm": {"provider": "openai"}}), ("c", {"openai": {**blob["openai"], "priority": 60}})):
        [report] = await imported(plane, (slug, blob | said), approve_origins=True)
        assert (report.next_call, [each for each in report.findings if each.at == ""]) == ({"llm": "openai"}, [])


async def test_the_whole_corpus_is_imported_once_and_no_key_is_in_a_report_or_a_row(
    plane: ControlPlane, superuser: Superuser, capfd: pytest.CaptureFixture[str]
) -> None:
    blobs = [(path.stem, json.loads(path.read_text())) for path in BLOBS]
    options = {"approve_origins": True}
    reports = await imported(plane, *blobs, **options)
    assert [report.organization for report in reports] == [slug for slug, _ in blobs]
    assert {report.status for report in reports} == {Status.IMPORTED}
    stored = stored_rows(superuser)
    again = await imported(plane, *blobs, **options)
    assert {report.status for report in again} == {Status.UNCHANGED}
    assert stored_rows(superuser) == stored
    shown = "".join(report.model_dump_json() for report in [*reports, *again])
    rows = json.dumps(stored, default=str)
    said = "".join(capfd.readouterr())
    for canary in CANARIES:
        assert (canary in shown, canary in rows, canary in said) == (False, False, False), canary
    slugs = [report.organization for report in reports if any(each.secrets for each in report.providers)]
    assert len(slugs) > 15
    released = await plane.workers.release(worker_of((await principal_of(plane, "camel-case")).tenant), "openai")
    assert released.secrets["apiKey"].get_secret_value() == KEY
    azure = await plane.workers.release(worker_of((await principal_of(plane, "azure")).tenant), "azure-openai")
    assert azure.origins == ("https://acme.openai.azure.com:443",)


async def test_what_is_here_already_wins_and_a_removed_key_does_not_come_back(
    plane: ControlPlane, administrator: Principal
) -> None:
    await plane.providers.upsert_organization_provider_config(
        administrator, "openai", ConfigWrite(config={"temperature": 0.9, "model": "gpt-4o-mini"})
    )
    blob = {**SEED, "openai": {**SEED["openai"], "apiKey": KEY}}
    [report] = await imported(plane, ("default", blob))
    assert (await configured(plane, "default"))["openai"][0] == {"temperature": 0.9, "model": "gpt-4o-mini"}
    outcomes = {finding.at: finding.outcome for finding in report.findings}
    assert outcomes["/openai/temperature"] is Outcome.LEFT
    assert outcomes["/openai/chatModel"] is Outcome.MOVED  # it says the same
    assert outcomes["/openai/apiKey"] is Outcome.MOVED
    await plane.providers.remove_provider_secrets(administrator, "openai")
    [report] = await imported(plane, ("default", blob))
    assert (report.status, report.findings[2].outcome) == (Status.UNCHANGED, Outcome.LEFT)
    with pytest.raises(SecretsNotFound):
        await plane.providers.remove_provider_secrets(administrator, "openai")


async def test_a_key_goes_elsewhere_only_when_that_is_approved(plane: ControlPlane) -> None:
    blob = {"openai": {"baseUrl": "https://llm.acme.example/v1", "apiKey": KEY}}
    [report] = await imported(plane, ("acme", blob))
    assert report.findings[1].outcome is Outcome.LEFT
    assert report.providers[0].origins == ("https://llm.acme.example:443/v1",)
    who = await principal_of(plane, "acme")
    assert (await plane.providers.get_organization_provider(who, "openai")).reason == "secrets_missing"
    [report] = await imported(plane, ("acme", blob), approve_origins=True)
    assert report.providers[0].secrets == ("apiKey",)
    assert (await plane.providers.get_organization_provider(who, "openai")).reason is None
    incomplete = {"azure": {"apiKey": "0123456789abcdef0123456789abcdef"}}
    [report] = await imported(plane, ("beta", incomplete), approve_origins=True)
    assert "is not known" in str(report.findings[0].note)


async def test_what_somebody_reset_stays_reset(plane: ControlPlane, administrator: Principal) -> None:
    await imported(plane, ("default", SEED))
    await plane.providers.delete_organization_provider_config(administrator, "deepgram")
    before = await configured(plane, "default")
    [again] = await imported(plane, ("default", SEED))
    assert (again.status, await configured(plane, "default")) == (Status.UNCHANGED, before)


async def test_names_that_nobody_can_have_are_refused_and_so_is_an_organization_that_comes_twice(
    plane: ControlPlane, superuser: Superuser
) -> None:
    one, upper = uuid4(), "ACME"
    unfit = ["a\x00b", "\ud800", "sk-in-the-wrong-column-1"]
    fit = ["api-team-2", str(one), one.hex, upper, *(f"org-{n}" for n in range(40))]
    names = [*unfit, *fit, upper.lower()]
    looked_at = await imported(plane, *((name, SEED) for name in names), apply=False)
    reports = await imported(plane, *((name, SEED) for name in names))
    assert looked_at == reports
    refused, imported_ = Status.REFUSED, Status.IMPORTED
    assert [each.status for each in reports] == [refused] * 3 + [imported_] * 2 + [refused] + [imported_] * 41 + [
        refused
    ]
    assert [each.organization for each in (*reports[:3], reports[5], reports[-1])] == [
        *("record 1", "record 2", "record 3"),
        *(one.hex, "acme"),
    ]
    # By its slug and by its id, and in another run once again.
    default = superuser.execute("SELECT id::text FROM organizations WHERE slug = 'default'").fetchone()
    assert default is not None
    reports = await imported(plane, ("DEFAULT", SEED), (str(default[0]).upper(), SEED), ("api-team-2", SEED))
    assert [each.status for each in reports] == [Status.IMPORTED, Status.REFUSED, Status.UNCHANGED]


async def test_a_slug_that_is_anothers_id_gets_nothing_of_it(
    plane: ControlPlane, administrator: Principal, superuser: Superuser
) -> None:
    theirs = str(administrator.tenant)
    for slug in (theirs, administrator.tenant.hex, str(uuid4())):
        with pytest.raises(Invalid) as refused:
            await plane.access.create_organization(OPERATOR, OrganizationCreate(slug=slug, name="squat"))
        assert [each.pointer for each in refused.value.errors] == ["/slug"]
    # One that was made before that was refused.
    superuser.execute("INSERT INTO organizations (id, slug, name) VALUES (gen_random_uuid(), %s, 'squat')", [theirs])
    [report] = await imported(plane, (theirs, {"openai": {"apiKey": KEY}}))
    assert report.organization == "default"
    assert (await plane.workers.release(worker_of(administrator.tenant), "openai")).secrets


async def test_an_account_called_seed_is_a_person(plane: ControlPlane, administrator: Principal) -> None:
    seed = local_administrator(administrator.tenant, "seed")
    change = ConfigWrite(config={"temperature": 0.9}, priority=7)
    await plane.providers.upsert_organization_provider_config(seed, "openai", change)
    await imported(plane, ("default", SEED))
    assert (await configured(plane, "default"))["openai"] == ({"temperature": 0.9}, True, 7)


async def test_organizations_are_found_by_slug_or_id_and_made_only_when_asked(
    plane: ControlPlane, administrator: Principal
) -> None:
    other = "2f0c1f5e-0000-4000-8000-00000000000a"
    blobs = ((str(administrator.tenant), SEED), (other, SEED), ("No Slug!", SEED))
    reports = await imported(plane, *blobs, create_organizations=False)
    assert [report.status for report in reports] == [Status.IMPORTED, Status.MISSING, Status.REFUSED]
    assert reports[0].organization == "default"
    reports = await imported(plane, *blobs)
    assert [(report.status, report.is_new) for report in reports] == [
        (Status.UNCHANGED, False),
        (Status.IMPORTED, True),
        (Status.REFUSED, False),
    ]
    for spelling in (other.upper(), other.replace("-", "")):
        [report] = await imported(plane, (spelling, SEED))
        assert (report.organization, report.status) == (other, Status.UNCHANGED)
    # It keeps the id that identity providers know it by.
    assert str((await principal_of(plane, other)).tenant) == other


async def test_nothing_is_imported_while_sealed(settings: Settings, tmp_path: Path) -> None:
    elsewhere = settings.model_copy(update={"keyring_file": tmp_path / "none.json"})
    async with ControlPlane.open(elsewhere) as plane:
        with pytest.raises(KeyUnavailable):
            await imported(plane, ("default", SEED))


async def read(source: object, *names: str) -> list[tuple[str, object]]:
    found = [record async for record in records(str(source), names)]
    return [(record.organization, record.blob if record.problem is None else record.problem) for record in found]


async def test_files_folders_and_lines_are_read_and_what_is_unreadable_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legacy_source, "MAX_BLOB_BYTES", 200)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "acme.json").write_text('{"stt": "deepgram"}')
    (folder / "beta.json").write_text(f'{{"broken": "{KEY}"')
    (folder / "gamma.json").write_text('{"big": "' + "x" * 300 + '"}')
    (folder / "delta.json").mkdir()
    (folder / "epsilon.json").symlink_to(tmp_path / "nowhere")
    (folder / "memory.json").symlink_to("/proc/self/mem")
    os.mkfifo(folder / "pipe.json")
    assert await read(folder) == [
        ("acme", {"stt": "deepgram"}),
        ("beta", "It is no JSON object."),
        ("delta", "It cannot be read as a file."),
        ("epsilon", "It cannot be read as a file."),
        ("gamma", legacy_source.TOO_LARGE),
        ("memory", "It cannot be read as a file."),
        ("pipe", "It cannot be read as a file."),
    ]
    assert await read(folder, "acme") == [("acme", {"stt": "deepgram"})]
    one = folder / "acme.json"
    assert await read(one) == [("default", {"stt": "deepgram"})]
    assert await read(one, "beta") == [("beta", {"stt": "deepgram"})]
    lines = tmp_path / "all.jsonl"
    lines.write_text(
        '{"organization": "acme", "config": {"stt": "deepgram"}}\n\n'
        '{"org_id": 7, "config": "{\\"llm\\": \\"groq\\"}"}\n'
        f'{{"config": {{"a": "{KEY}"}}}}\n' + "x" * 500 + '\n[1]\n{"slug": "last", "settings": {}}'
    )
    form = 'The line is not of the form {"organization": "...", "config": {...}}.'
    assert await read(lines) == [
        ("acme", {"stt": "deepgram"}),
        ("7", {"llm": "groq"}),
        ("", form),
        ("", legacy_source.TOO_LARGE),
        ("", "It is no JSON object."),
        ("last", {}),
    ]
    deep = tmp_path / "deep.json"
    monkeypatch.setattr(legacy_source, "MAX_BLOB_BYTES", 10**6)
    deep.write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    assert await read(deep) == [("default", "It is no JSON object.")]
    unnameable = ("postgresql://a..b/x", f"postgresql://{'a' * 70}/x")
    for nothing in (tmp_path / "none.json", tmp_path / "none.jsonl", "\x00", "", *unnameable):
        with pytest.raises(ConfigurationError):
            await read(nothing)


async def test_the_table_is_read_by_its_address(
    superuser: Superuser, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = address_of(superuser)
    with pytest.raises(ConfigurationError, match="make a view"):
        await read(url)
    superuser.execute("CREATE TABLE public.org_configs (id serial, org_id text, config jsonb)")
    insert = sql.SQL("INSERT INTO public.org_configs (org_id, config) VALUES (%s, %s)")
    blobs: list[tuple[str, Any]] = [("acme", SEED), ("big", {"a": "x" * 300}), ("none", None), ("odd", ["x"])]
    for slug, blob in blobs:
        superuser.execute(insert, [slug, None if blob is None else Jsonb(blob)])
    monkeypatch.setattr(legacy_source, "MAX_BLOB_BYTES", 200)
    no_object = "It is no JSON object."
    assert await read(url) == [
        ("acme", SEED),
        ("big", legacy_source.TOO_LARGE),
        ("none", no_object),
        ("odd", no_object),
    ]
    found = records(url, ["acme"])
    reports = [
        report
        async for report in plane.legacy.run(OPERATOR, found, ImportOptions(apply=True, create_organizations=True))
    ]
    assert [(report.organization, report.status) for report in reports] == [("acme", Status.IMPORTED)]
    with pytest.raises(Unavailable) as refused:
        await read("postgresql://nobody:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in str(refused.value)


def test_at_the_terminal_it_looks_first_and_prints_text_or_json(typed: Typed, tmp_path: Path) -> None:
    source = tmp_path / "org_configs.jsonl"
    blob = {**SEED, "tts": {"provider": "elevenlabs", "voiceId": "21m00Tcm4TlvDq8ikWAM", "speed": 9, "apiKey": KEY}}
    lines = [{"organization": f"org-{number}", "config": blob} for number in range(3)]
    source.write_text("\n".join(json.dumps(line) for line in lines))
    command = ("legacy", "import", source, "--create-organizations")
    code, text, _ = typed(*command)
    assert code == 0
    assert "clamped /tts/speed to elevenlabs speed (1.2)" in text
    assert text.count("  next call: stt nobody, tts elevenlabs, llm nobody\n") == 3
    assert text.splitlines()[0] == "org-0: would be imported (new)"
    assert "3 organizations: 3 would be imported; 3 keys would be sealed; " in text
    assert text.rstrip().endswith("Nothing was written: this is what --apply does.")
    document = json.loads(typed(*command, "--apply", "--json")[1])
    assert document["totals"] | {"isApplied": True, "created": 3, "secrets": 3} == document["totals"]
    assert len(document["organizations"]) == 3
    _, again, _ = typed(*command, "--apply")
    assert "3 unchanged" in again
    assert KEY not in text + json.dumps(document) + again
    # A slug in any case, or an id, of the organization that records call by either; and one that is in none of them.
    own = json.loads(typed("organization", "list", "--json")[1])["organizations"]
    ids = {each["slug"]: each["id"] for each in own}
    for name in ("ORG-1", ids["org-1"], ids["org-1"].upper()):
        code, text, _ = typed(*command, "--organization", name)
        assert (code, text.splitlines()[0]) == (0, "org-1: unchanged")
    for name in ("org-9", "org"):
        code, text, said = typed(*command, "--organization", name, "--json")
        assert (code, json.loads(text)["totals"]["organizations"], "nothing in the source" in said) == (1, 0, True)
    (tmp_path / "empty").mkdir()
    assert typed("legacy", "import", tmp_path / "empty")[0] == 1
    (tmp_path / "missing.jsonl").write_text('{"organization": "org-9", "config": {}}')
    code, missing, _ = typed("legacy", "import", tmp_path / "missing.jsonl")
    assert (code, missing.splitlines()[0][:15]) == (1, "org-9: missing.")


def test_no_command_shows_a_key_of_the_corpus(typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports, progress, exports, plans, history and the audit log, as they are printed."""
    monkeypatch.setattr(terminal, "_SAID_EVERY", 1)
    source, file = tmp_path / "org_configs.jsonl", tmp_path / "all.yaml"
    lines = [json.dumps({"organization": path.stem, "config": json.loads(path.read_text())}) for path in BLOBS]
    source.write_text("\n".join(lines))
    command = ("legacy", "import", source, "--create-organizations")
    said: list[str] = []
    for words in (command, (*command, "--json"), (*command, "--apply", "--approve-origins"), ("export", "--all")):
        code, out, err = typed(*words)
        assert code == 0, words
        said += out, err
    assert f"{len(BLOBS)} organizations\n" in said[1]
    file.write_text(said[-2])
    changed = tmp_path / "changed.yaml"
    changed.write_text(said[-2].replace("temperature: 0.3", "temperature: 0.4"))
    of = ("--organization", "keys-in-odd-places")
    for words in (
        ("apply", "-f", file, "--plan"),
        ("apply", "-f", changed, "--yes"),
        ("preview", "-f", file),
        ("history", "list", "openai", *of),
        ("audit", "list", *of),
        ("audit", "export", *of),
    ):
        code, out, err = typed(*words)
        assert (code, bool(out)) == (0, True), words
        said += out, err
    assert [canary for canary in CANARIES if canary in "".join(said)] == []


def killed_and_run_again(source: Path, after_lines: int) -> None:
    """Kill an import once it has reported some organizations, then run it to its end."""
    command = [
        sys.executable,
        "-u",
        str(VOXPLANE),
        "legacy",
        "import",
        str(source),
        "--create-organizations",
        "--apply",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for _ in range(after_lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
    ran(*command)


@pytest.mark.drill
@pytest.mark.parametrize(
    "after_lines", [1, *(pytest.param(lines, marks=pytest.mark.deep) for lines in (0, 100, 200, 300, 400))]
)
async def test_killed_anywhere_and_run_again_it_ends_in_the_same_state(
    settings: Settings, superuser: Superuser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, after_lines: int
) -> None:
    environment(monkeypatch, settings)
    source = tmp_path / "org_configs.jsonl"
    blob = {**SEED, "openai": {**SEED["openai"], "apiKey": KEY}}
    lines = [{"organization": f"org-{number:03}", "config": blob} for number in range(120)]
    source.write_text("\n".join(json.dumps(line) for line in lines))
    killed_and_run_again(source, after_lines)
    async with ControlPlane.open(settings) as plane:
        for number in (0, 31, 32, 60, 119):
            slug = f"org-{number:03}"
            assert await configured(plane, slug) == {
                "deepgram": ({"model": "nova-2"}, True, 100),
                "openai": ({"model": "gpt-4o-mini", "temperature": 0.3}, True, 100),
            }
            released = await plane.workers.release(worker_of((await principal_of(plane, slug)).tenant), "openai")
            assert released.secrets["apiKey"].get_secret_value() == KEY
        organizations = (await plane.access.get_organizations(limit=1000)).organizations
        assert {each.revision for each in organizations} == {1}
        assert len(organizations) == 121
    counted = superuser.execute(
        "SELECT count(*), count(DISTINCT (organization_id, provider_key)) FROM config_history"
    ).fetchone()
    assert counted == (243, 243)  # two for each, and the three of the first start: nothing was written twice


async def test_a_stored_key_is_never_replaced(plane: ControlPlane, administrator: Principal) -> None:
    own = SecretsWrite(secrets={"apiKey": "sk-my-own-key-123"})
    await plane.providers.update_provider_secrets(administrator, "openai", own)
    await imported(plane, ("default", {"openai": {"apiKey": KEY}}))
    released = await plane.workers.release(worker_of(administrator.tenant), "openai")
    assert released.secrets["apiKey"].get_secret_value() == "sk-my-own-key-123"


@pytest.mark.drill
def test_a_team_is_taken_from_the_table_to_voxplane_as_the_page_says(
    settings: Settings, superuser: Superuser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = {block.info: block.text for name in ("migrating", "files") for block in blocks(DOCS / f"{name}.md")}
    environment(monkeypatch, settings)
    monkeypatch.setenv("PATH", str(VOXPLANE.parent), prepend=":")
    monkeypatch.setenv("OLD_DATABASE", address_of(superuser))
    blob: dict[str, Any] = json.loads(page["json"].replace("sk-…", KEY))
    superuser.execute("SET search_path = public")
    superuser.execute("CREATE TABLE blobs (id int, body jsonb); CREATE TABLE customers (id int, slug text)")
    superuser.execute("INSERT INTO customers VALUES (1, 'acme')")
    superuser.execute(sql.SQL("INSERT INTO blobs VALUES (1, {})").format(sql.Literal(json.dumps(blob))))
    superuser.execute(sql.SQL(page["sql"]))  # pyright: ignore[reportArgumentType] - the page's own

    def shell(block: str) -> str:
        return ran("sh", "-eu", "-c", page[block], cwd=tmp_path)

    looked = shell("sh look")
    assert "1 organization: 1 would be imported; 1 key would be sealed; 4 moved, 1 converted, 1 left." in looked
    [report] = json.loads((tmp_path / "report.json").read_text())["organizations"]
    assert [(each["at"], each["outcome"]) for each in report["findings"]][-1] == ("/prompts", "left")
    assert "Written." in shell("sh import")
    assert "apiKey: env:ACME__OPENAI__API_KEY" in shell("sh check")
    shell("sh export")
    assert (tmp_path / "all.yaml").read_text().count("organization: ") == 2
    assert shell("sh apply") + shell("sh planned") + shell("sh preview") + shell("sh since") == ""
    removed = shell("sh old")
    assert removed.count("/openai/apiKey\n") == 2
    assert "left:" not in removed
    del blob["openai"]["apiKey"]
    assert superuser.execute("SELECT config FROM org_configs").fetchall() == [(blob,)]
    assert KEY not in looked + json.dumps(report) + removed


def address_of(superuser: Superuser) -> str:
    info = superuser.info
    return f"postgresql://{info.user}@/{info.dbname}?host={info.host}&port={info.port}"

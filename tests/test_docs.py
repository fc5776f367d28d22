"""The documentation: what is derived is up to date, links lead somewhere, and what can be run is run."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import anyio
import httpx
import psycopg
import pytest
import typer
from psycopg import sql
from pydantic import SecretStr
from tools import generate

from tests.conftest import admin_connection, settings_for, stored_rows, token_for, worker_of
from voxplane import cli, registry
from voxplane.agent_settings import AgentSettings
from voxplane.errors import Invalid, VoxplaneError
from voxplane.provider import AnyProvider
from voxplane.registry import ProviderRegistry
from voxplane.resolution import ResolvedProviderConfig
from voxplane.schemas import ConfigWrite, SecretsWrite
from voxplane.server import body, embedded
from voxplane.server.api import routes
from voxplane.server.app import create_app, openapi
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Principal
from voxplane.server.control_plane import ControlPlane, local_administrator
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.settings import Issuer, Settings

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
VOXPLANE = Path(sys.executable).with_name("voxplane")
Superuser = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its words after the fence, and its text."""

    page: Path
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path, text: str | None = None) -> Iterator[Block]:
    text = page.read_text() if text is None else text
    for found in re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(page, text[: found.start()].count("\n") + 1, found[1].strip(), found[2])


def reference(name: str) -> str:
    return (DOCS / "reference" / f"{name}.md").read_text()


def environment(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        monkeypatch.setenv(f"VOXPLANE_{name.upper()}", text)


def ran(*command: object, **options: Any) -> str:
    """Run a program that must succeed, and return what it printed."""
    done = subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, check=False, timeout=100, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# What is derived


def test_what_is_derived_is_as_committed(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0, capsys.readouterr().err


def test_what_is_derived_is_the_same_on_every_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    surroundings = {
        "PYTHONHASHSEED": "12345",
        "COLUMNS": "41",
        "FORCE_COLOR": "1",
        "TERM": "xterm-256color",
        "LC_ALL": "C",
        "TZ": "Asia/Tokyo",
        "HOME": str(tmp_path),
        "VOXPLANE_PORT": "7777",
        "VOXPLANE_DATA_DIR": str(tmp_path),
        "VOXPLANE_DATABASE_URL": "postgresql://nobody@192.0.2.1/x",
    }
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    assert ran(sys.executable, ROOT / "tools" / "generate.py", "--check", cwd=tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_difference_is_shown_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    page = tmp_path / "docs" / "reference" / "settings.md"
    page.write_text(page.read_text().replace("`5005`", "`5006`"))
    (tmp_path / "docs" / "openapi.json").unlink()
    capsys.readouterr()
    assert generate.main(["--check"]) == 1
    shown = capsys.readouterr().err
    assert "docs/reference/settings.md differs; `make generate` writes it." in shown
    assert "-| `VOXPLANE_PORT` | integer 0 to 65535 | `5006` | Port to listen on; 0 takes a free one. |" in shown
    assert "docs/openapi.json differs" in shown
    assert "errors.md" not in shown


def test_every_setting_is_documented() -> None:
    page = reference("settings")
    for name, field in Settings.model_fields.items():
        assert re.search(
            rf"^\| `VOXPLANE_{name.upper()}` \| .* \| {re.escape(field.description or '-')} \|$", page, re.MULTILINE
        )
    for name in Issuer.model_fields:
        assert f"| `{name}` |" in page


def test_every_error_is_documented() -> None:
    page = reference("errors")
    classes = list(_subclasses(VoxplaneError))
    assert len(classes) > 20
    for error in classes:
        rows = [line for line in page.splitlines() if f"| `{error.__name__}` |" in line]
        assert len(rows) == 1
        assert f"| `{error.code}` |" in rows[0]


def test_what_a_route_answers_with_is_among_the_errors_on_the_wire() -> None:
    on_the_wire = reference("errors").partition("## Never on the wire")[0]
    described = json.dumps(openapi(create_app())["paths"])
    codes = {error.code for error in _subclasses(VoxplaneError)}
    answered = {code for code in codes if f"`{code}`" in described}
    assert "key_unavailable" in answered
    assert [code for code in sorted(answered) if f"| `{code}` |" not in on_the_wire] == []


def _subclasses(error: type[VoxplaneError]) -> Iterator[type[VoxplaneError]]:
    for below in error.__subclasses__():
        if below.__module__.startswith("voxplane."):
            yield below
            yield from _subclasses(below)


def test_every_route_is_documented_with_its_scope() -> None:
    page = reference("api")
    for route in routes():
        method = next(iter(route.methods or ()))
        assert f"| `{method} {route.path}` | `{route.policy}` | {route.summary} |" in page
        assert f"\n### {route.summary}\n\n`{method} {route.path}`, scope `{route.policy}`.\n" in page
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        assert f"| `{path}` |" in page


def test_every_setting_secret_model_and_rule_of_every_provider_is_documented() -> None:
    sections = {
        found[1]: section
        for section in re.split(r"^## ", reference("providers"), flags=re.MULTILINE)[1:]
        if (found := re.match(r".*: `(.*)`\n", section))
    }
    found = ProviderRegistry()
    found.initialize()
    assert list(sections) == [provider.key for provider in found.get_all_providers()]
    for provider in found.get_all_providers():
        section = sections[provider.key]
        cells = re.findall(r"^\| `([^`]*)` \|", section, re.MULTILINE)
        settings = list(provider.config_schema["properties"])
        assert cells == [
            *settings,
            *provider.secret_names,
            *(each.name for each in (*provider.models, *provider.voices)),
        ]
        for rule in (*provider.config.rules, *provider.config.orders):
            assert rule.because in section
        for model in provider.models:
            assert model.retires_on is None or f"| `{model.name}` | {model.status} | {model.retires_on} |" in section


def test_every_command_is_documented_with_its_options() -> None:
    page = reference("cli")
    documented = {part.split("\n")[0]: part for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]}
    commands = dict(_commands("voxplane", typer.main.get_command(cli.app)))
    assert set(documented) == {*commands, "voxplane"}
    for name, command in commands.items():
        assert (command.help or "-") in documented[name]
        for option in (option for each in command.params for option in each.opts if option.startswith("-")):
            assert option in documented[name]


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    below: dict[str, Any] = getattr(command, "commands", {})
    if not below:
        yield name, command
    for word, each in below.items():
        yield from _commands(f"{name} {word}", each)


def test_no_page_holds_colours_or_what_only_one_machine_has() -> None:
    for name, text in generate.documents().items():
        assert "\x1b" not in text, name
        assert str(ROOT) not in text, name
        assert not re.search(r"[─│╭╰]", text), name


# Links and mentions


def _prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    anchors: set[str] = set()
    for title in re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = sum(re.sub(r"-\d+$", "", each) == slug for each in anchors)
        anchors.add(f"{slug}-{number}" if number else slug)
    return anchors


def _broken_links(page: Path) -> list[str]:
    broken: list[str] = []
    for link in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        to = (page.parent / target).resolve() if target else page
        if not to.exists() or (anchor and anchor not in _anchors(to)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert _broken_links(page) == []


def test_the_link_check_finds_what_is_broken(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`: three\n## Same\n## Same\n```\n# no heading\n```\n")
    assert _anchors(page) == {"one-two-three", "same", "same-1"}
    page.write_text("[a](missing.md) [b](page.md#nowhere) [c](#here) [d](https://x.example)\n# Here\n")
    assert _broken_links(page) == ["missing.md", "page.md#nowhere"]


def test_settings_and_commands_that_are_mentioned_exist() -> None:
    known_here = [*Settings.model_fields, *AgentSettings.model_fields, "models_dir", "piper"]
    settings = {f"VOXPLANE_{name.upper()}" for name in known_here}
    commands = {name for name, _ in _commands("voxplane", typer.main.get_command(cli.app))}
    groups = {name.rpartition(" ")[0] for name in commands}
    mentions = 0
    for page in PAGES:
        text = page.read_text()
        assert set(re.findall(r"VOXPLANE_[A-Z]+(?:_[A-Z]+)*", text)) <= settings, page
        for words in re.findall(r"(?:`|^|bin/)voxplane ([a-z]+(?: [a-z]+)?)\b(?!=)", text, re.MULTILINE):
            first = words.split()[0]
            known = {f"voxplane {words}", f"voxplane {first}"} & (commands | groups - {"voxplane"})
            assert known, f"{page.name}: voxplane {words}"
            mentions += 1
    assert mentions > 10


def test_the_limits_are_those_of_the_code() -> None:
    table = (DOCS / "operating.md").read_text().partition("## Limits")[2]
    defaults = Settings.model_fields
    named = 0
    for limit, settings in re.findall(r"^\| [^|]* \| ([^|]*) \| ([^|]*) \|$", table, re.MULTILINE):
        for setting in re.findall("VOXPLANE_([A-Z_]+)", settings):
            value = defaults[setting.lower()].default
            unit = {"BYTES": f"{value // 1024 if isinstance(value, int) else value} KiB", "SECONDS": f"{value:g} s"}
            assert unit.get(setting.rpartition("_")[2], str(value)) in limit, setting
            named += 1
    assert named == 9
    assert f"{body.MAX_STRING} characters" in table
    assert f"{body.MAX_DEPTH} levels; {body.MAX_KEYS}" in table


# What can be run


@pytest.mark.parametrize(
    "block", [block for page in PAGES for block in blocks(page) if block.info.startswith("python")], ids=str
)
def test_python_blocks_run(block: Block, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment(monkeypatch, settings)
    script = tmp_path / "block.py"
    script.write_text(block.text)
    ran(sys.executable, "-W", "error", script, cwd=tmp_path)


def test_there_are_python_blocks() -> None:
    assert {block.page.name for page in PAGES for block in blocks(page) if block.info == "python"} >= {
        "concepts.md",
        "extending.md",
    }


def test_a_backup_is_made_and_restored_as_written(
    postgres: EmbeddedPostgres,
    settings: Settings,
    superuser: Superuser,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    written = {block.info: block.text for block in blocks(DOCS / "operating.md")}
    programs = embedded._find_package() / "pginstall" / "bin"  # pyright: ignore[reportPrivateUsage] - the wheel's
    monkeypatch.setenv("PATH", f"{VOXPLANE.parent}:{programs}", prepend=":")
    environment(monkeypatch, settings)

    async def prepare() -> None:
        async with ControlPlane.open(settings) as plane:
            who = local_administrator((await plane.access.find_organization("default")).id, "test")
            await plane.providers.upsert_organization_provider_config(who, "openai", ConfigWrite(priority=77))
            await plane.providers.update_provider_secrets(
                who, "openai", SecretsWrite(secrets={"apiKey": "sk-backed-up"})
            )

    anyio.run(prepare)
    before = stored_rows(superuser)
    monkeypatch.setenv("SUPERUSER_URL", superuser.info.dsn)
    ran("sh", "-eu", "-c", written["sh backup"], cwd=tmp_path)
    assert b"sk-backed-up" not in (tmp_path / "voxplane.dump").read_bytes()

    other, keyring = f"{superuser.info.dbname}_restored", tmp_path / "elsewhere" / "keyring.json"
    keyring.parent.mkdir()
    identifier = sql.Identifier(other)
    with admin_connection(postgres) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
        try:
            environment(monkeypatch, settings_for(postgres, other, keyring))
            monkeypatch.setenv("SUPERUSER_URL", postgres.conninfo(user="postgres", dbname=other))
            assert "keep a backup" in ran("sh", "-eu", "-c", written["sh restore"], cwd=tmp_path)
            with admin_connection(postgres, other) as restored:
                assert stored_rows(restored) == before
            worker = worker_of(UUID(str(before["organizations"][0]["id"])))
            released = anyio.run(_release, settings_for(postgres, other, keyring), worker)
            assert (released.secrets["apiKey"].get_secret_value(), released.priority) == ("sk-backed-up", 77)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


async def _release(settings: Settings, worker: Principal) -> ResolvedProviderConfig:
    async with ControlPlane.open(settings) as plane:
        return await plane.workers.release(worker, "openai")


# A thirteenth provider


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of docs/extending.md, installed: its file, and its entry point as an installer writes it."""
    written = {block.info: block.text for block in blocks(DOCS / "extending.md")}
    points = tomllib.loads(written["toml"])["project"]["entry-points"]
    folder = tmp_path / "site"
    metadata = folder / "voxplane_murmur-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "voxplane_murmur.py").write_text(written["python"])
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: voxplane-murmur\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in each.items()) for group, each in points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(folder)  # pyright: ignore[reportUnknownMemberType] - untyped in pytest; for this process
    monkeypatch.setenv("PYTHONPATH", str(folder))  # for those that it starts
    return folder


@pytest.fixture
def murmur(package: Path, monkeypatch: pytest.MonkeyPatch) -> AnyProvider:
    # Loaded by hand, so that no test after this one finds it among the imported modules.
    spec = importlib.util.spec_from_file_location("voxplane_murmur", package / "voxplane_murmur.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "voxplane_murmur", module)
    # What is installed is looked up once in a process; this process has looked.
    monkeypatch.setattr(registry, "_installed", registry._installed.__wrapped__)  # pyright: ignore[reportPrivateUsage]
    spec.loader.exec_module(module)
    return module.PROVIDER


def test_the_example_of_a_definition_means_what_the_page_says(murmur: AnyProvider) -> None:
    config = murmur.validate({"voice": "ada"})
    assert config.effective() == {
        "model": "murmur-2",
        "voice": "ada",
        "speed": 1.0,
        "pause": 0,
        "baseUrl": "https://api.murmur.example",
    }
    assert {str(origin) for origin in murmur.default_origins} == {"https://api.murmur.example:443"}
    assert murmur.required_secrets(config.effective()) == {"apiKey"}
    for wrong, pointer, code in (
        ({}, "/voice", "missing"),
        ({"voice": "ada", "model": "murmur-1", "mood": "calm"}, "/mood", "not_supported"),
        ({"voice": "ada", "speed": 3}, "/speed", "less_than_equal"),
    ):
        with pytest.raises(Invalid) as refused:
            murmur.validate(wrong)
        assert [(error.pointer, error.code) for error in refused.value.errors] == [(pointer, code)]
    assert all(field["description"] for field in murmur.config_schema["properties"].values())


def test_a_thirteenth_provider_appears_everywhere_with_no_other_change(
    murmur: AnyProvider, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ProviderRegistry()
    found.initialize()
    assert len(found.get_all_providers()) == 13
    assert found.get_provider_by_key("murmur") is murmur

    async def over_http() -> None:
        async with ControlPlane.open(settings) as plane:
            token = await token_for(plane, *ADMINISTRATOR_SCOPES)
            transport = httpx.ASGITransport(create_app(plane))
            headers = {"Authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(transport=transport, base_url="http://voxplane", headers=headers) as client:
                catalogue = (await client.get("/api/providers?type=tts")).json()["providers"]
                assert "murmur" in [each["key"] for each in catalogue]
                at = "/api/organizations/current/providers/murmur"
                wrong = await client.put(f"{at}/config", json={"config": {"mood": "loud"}})
                assert {error["pointer"] for error in wrong.json()["errors"]} == {"/config/mood", "/config/voice"}
                await client.put(f"{at}/config", json={"config": {"voice": "ada"}, "isEnabled": True})
                await client.put(f"{at}/secrets", json={"secrets": {"apiKey": "mm_1"}})
                shown = (await client.get(at)).json()
                assert (shown["usable"], shown["config"]["voice"]) == (True, "ada")

    anyio.run(over_http)

    environment(monkeypatch, settings)
    assert "The synthesis model." in ran(VOXPLANE, "providers", "show", "murmur")
    changed = json.loads(ran(VOXPLANE, "config", "set", "murmur", "voice=bea", "--json"))
    assert (changed["config"]["voice"], changed["isEnabled"]) == ("bea", True)

    page = "\n".join(generate.providers_page([murmur]))
    assert "## Murmur: `murmur`" in page
    assert "| `pause` | integer 0 to 5000 | `0` | ms | The silence after each sentence. |" in page
    assert '- `mood` cannot be set while `model` is `"murmur-1"`. Only murmur-2 takes a mood.' in page
    assert "| `murmur-1` | deprecated | 2027-06-30 | `murmur-2` |  |" in page
    assert generate.main(["--check"]) == 0, f"only what is shipped is in the reference\n{capsys.readouterr().err}"


# Five minutes

CURL = f"""#!{sys.executable}
# Stands in for curl where there is none: the few options that the README uses.
import sys, urllib.error, urllib.request
arguments, method, headers, data, urls = sys.argv[1:], None, {{}}, None, []
while arguments:
    word = arguments.pop(0)
    if word in ("-s", "--silent"):
        continue
    elif word in ("-X", "--request"):
        method = arguments.pop(0)
    elif word in ("-H", "--header"):
        name, _, value = arguments.pop(0).partition(":")
        headers[name] = value.strip()
    elif word in ("-d", "--data"):
        data = arguments.pop(0).encode()
    elif word == "--json":
        data = arguments.pop(0).encode()
        headers |= {{"Content-Type": "application/json", "Accept": "application/json"}}
    elif word.startswith("-"):
        sys.exit(f"This stand-in for curl does not know {{word}}.")
    else:
        urls.append(word)
for url in urls:
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        answer = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        answer = error
    sys.stdout.buffer.write(answer.read())
"""
KEY = "sk-my-first-key"


@dataclass(frozen=True)
class Newcomer:
    """Somebody's folder after `make run` in one terminal: where the service listens, and what it logs."""

    folder: Path
    port: int
    log: Path

    @property
    def data(self) -> Path:
        """Where everything is stored."""
        return self.folder / "data"


@pytest.fixture(scope="module")
def newcomer() -> Iterator[Newcomer]:
    with tempfile.TemporaryDirectory(prefix="voxplane-tests-") as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        (folder / ".venv" / "bin").mkdir(parents=True)
        (folder / ".venv" / "bin" / "voxplane").symlink_to(VOXPLANE)
        for setting in Settings.model_fields:
            patch.delenv(f"VOXPLANE_{setting.upper()}", raising=False)
        patch.setenv("VOXPLANE_DATA_DIR", str(folder / "data"))
        patch.setenv("VOXPLANE_PORT", "0")
        log = folder / "log"
        with log.open("w") as stderr, subprocess.Popen([VOXPLANE, "serve"], cwd=folder, stderr=stderr) as service:
            try:
                yield Newcomer(folder, _port(service, log), log)
                service.terminate()
                service.wait(30)
            finally:
                if service.poll() is None:
                    service.kill()
        assert service.returncode == 0


def _port(service: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := re.search(r"Voxplane listens on http://127\.0\.0\.1:(\d+)", log.read_text()):
            return int(found[1])
        assert service.poll() is None, log.read_text()
        time.sleep(0.05)
    pytest.fail(f"The service does not come up.\n{log.read_text()}")


def _five_minutes() -> str:
    return (ROOT / "README.md").read_text().partition("\n## Five minutes\n")[2].partition("\n## ")[0]


def walk(newcomer: Newcomer, section: str) -> list[str]:
    """Type what a section says into one shell, and return what each of its blocks printed."""
    typed = [block.text for block in blocks(ROOT / "README.md", section) if block.info == "sh"]
    script = "printf '\\036'\n".join(text.replace(":5005", f":{newcomer.port}") for text in typed)
    return ran("sh", "-eu", "-c", script, cwd=newcomer.folder).split("\x1e")


def bring_curl(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a stand-in for curl before the machine's own, if it has one."""
    curl = folder / "bin" / "curl"
    curl.parent.mkdir()
    curl.write_text(CURL)
    curl.chmod(0o755)
    monkeypatch.setenv("PATH", str(curl.parent), prepend=":")


# Where there is no curl, the stand-in walks alone; where there is one, both walk.
HAS_CURL = shutil.which("curl") is not None


@pytest.mark.parametrize("with_stand_in", [True, *([False] if HAS_CURL else [])])
def test_the_five_minutes_of_the_readme(
    newcomer: Newcomer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, with_stand_in: bool
) -> None:
    if with_stand_in:
        bring_curl(tmp_path, monkeypatch)
    monkeypatch.setenv("VOXPLANE_DATA_DIR", str(newcomer.data))
    section = _five_minutes()
    printed = walk(newcomer, section)
    assert len(printed) == 6
    catalogue, listed, changed, stored, primary, shown = (json.loads(each) for each in printed)

    # As it says: three for speech to text, four for text to speech, five language models.
    assert Counter(each["type"] for each in catalogue["providers"]) == {"stt": 3, "tts": 4, "llm": 5}
    # Of the three that are enabled at the beginning, one is for speech to text.
    assert [each["provider"]["key"] for each in listed["providers"] if each["isEnabled"]] == ["deepgram"]
    # What is in force is merged over the defaults; the overrides are what is stored.
    expected = {"model": "gpt-4o-mini", "temperature": 0.9, "maxTokens": 1000}
    assert changed["config"] | expected == changed["config"]
    assert changed["overrides"] == {"temperature": 0.9}
    # The default model retires in January 2027.
    assert [(each["pointer"], each["retiresOn"][:7]) for each in changed["notices"]] == [("/config/model", "2027-01")]
    # OpenAI answers the next call, and can.
    assert (primary["provider"]["key"], primary["isPrimary"], primary["usable"]) == ("openai", True, True)
    # What is shown is whether the key is set, since when, by whom, and the label.
    for answer in (stored, primary, shown):
        [field] = answer["secretFields"]
        assert (field["name"], field["isSet"], field["label"]) == ("apiKey", True, "first try")
        assert field["updatedAt"]
        assert field["updatedBy"]

    # No answer, log line or database row holds it.
    assert all(KEY in block.text for block in blocks(ROOT / "README.md", section) if "/secrets" in block.text)
    assert all(KEY not in each for each in [*printed, newcomer.log.read_text()])
    files = [path for path in newcomer.data.rglob("*") if path.is_file()]
    assert any(b"first try" in path.read_bytes() for path in files), "the label is there, so this looks where it should"
    assert not any(KEY.encode() in path.read_bytes() for path in files)


@pytest.mark.drill
def test_the_same_at_the_terminal(newcomer: Newcomer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXPLANE_DATA_DIR", str(newcomer.data))
    sentence = _five_minutes().partition("The same at the terminal: `.venv/bin/voxplane ")[2].partition(". ")[0]
    commands = re.findall(r"(?:^|`)((?:config|order|secrets|doctor)[^`]*)`", sentence)
    assert commands == [
        "config get",
        "config set openai temperature=0.9",
        "secrets set openai",
        "config set groq --enable",
        "order llm openai groq",
        "doctor",
    ]
    said: dict[str, str] = {}
    for command in commands:
        to_be_asked = ["--file", "-"] if command.startswith("secrets") else []
        words = [newcomer.folder / ".venv/bin/voxplane", *command.split(), *to_be_asked]
        said[command] = ran(*words, cwd=newcomer.folder, input=f"{KEY}\n")
    assert "The next call goes to OpenAI." in said["doctor"]
    # As it began: with OpenAI, Deepgram and Piper enabled.
    lines = [line.split() for line in said["config get"].splitlines()[1:]]
    assert {line[1] for line in lines if line[2] != "off"} == {"openai", "deepgram", "piper"}
    assert all(KEY not in each for each in said.values())


@pytest.mark.drill
def test_a_worker_gets_a_token_and_what_answers_the_next_call_as_the_page_says(
    newcomer: Newcomer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The shell of docs/worker.md; `make call` and the agent have tests of their own."""
    bring_curl(tmp_path, monkeypatch)
    monkeypatch.setenv("VOXPLANE_DATA_DIR", str(newcomer.data))
    monkeypatch.setenv("VOXPLANE_URL", f"http://127.0.0.1:{newcomer.port}")
    typed = [block.text for block in blocks(DOCS / "worker.md") if block.info == "sh"]
    made, resolve = ([text for text in typed if word in text] for word in ("voxplane token", "curl"))
    assert (len(made), len(resolve)) == (2, 1)
    for text in made:
        monkeypatch.setenv("VOXPLANE_TOKEN", ran("sh", "-eu", "-c", text, cwd=newcomer.folder).split()[-1])
        by_whom = resolve[0].replace("/current/", "/default/")
        answer = json.loads(ran("sh", "-eu", "-c", by_whom, cwd=newcomer.folder))
        assert "piper" in [each["provider"]["key"] for each in answer["chains"]["tts"]]
        unchanged = by_whom.replace("'{}'", f"'{json.dumps({'have': answer['at']})}'")
        assert unchanged != by_whom
        assert ran("sh", "-eu", "-c", unchanged, cwd=newcomer.folder) == ""

"""The command line: what it prints where, its exit codes, and that no secret passes through what others can see."""

from __future__ import annotations

import getpass
import io
import json
import logging
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import httpx
import psycopg
import pytest
import structlog
from pydantic import SecretStr

from tests.conftest import Template, admin_connection, position_of, stored_rows, worker_of
from voxplane import cli
from voxplane.schemas import ProviderReport, ReportsWrite
from voxplane.schemas.audit import ACTIONS
from voxplane.schemas.verification import Outcome
from voxplane.server.auth import ADMINISTRATOR_SCOPES, Principal
from voxplane.server.control_plane import ControlPlane
from voxplane.server.embedded import EmbeddedPostgres
from voxplane.server.probe_runner import Finding, ProbeRunner, Subject
from voxplane.server.settings import Settings

Superuser = psycopg.Connection[tuple[object, ...]]
VOXPLANE = Path(sys.executable).with_name("voxplane")
CANARY = "sk-canary-7f3a9c51e8"


@dataclass(frozen=True)
class Ran:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The answer of a command with --json: nothing else is on standard output."""
        return json.loads(self.out)


Run = Callable[..., Ran]


class Terminal(io.StringIO):
    """What somebody types at a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Put back what a command does to the logging of its process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run commands in an empty folder, with nothing set in the environment."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: str = "", typed: str | None = None) -> Ran:
        monkeypatch.setattr(sys, "argv", ["voxplane", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin) if typed is None else Terminal(typed))
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        said = capsys.readouterr()
        assert isinstance(exit_.value.code, int)
        return Ran(exit_.value.code, said.out, said.err)

    return run


@pytest.fixture
def run(anywhere: Run, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Run:
    """Run commands on a database of the test's own."""
    set_environment(monkeypatch, settings)
    return anywhere


def set_environment(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        monkeypatch.setenv(f"VOXPLANE_{name.upper()}", text)


@contextmanager
def started(*arguments: str, **options: Any) -> Generator[subprocess.Popen[str]]:
    """Run a command beside the test; a test that fails leaves no process."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([VOXPLANE, *arguments], text=True, **pipes, **options) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def authenticate(settings: Settings, token: str) -> Principal:
    async def ask() -> Principal:
        async with ControlPlane.open(settings) as plane:
            return await plane.access.authenticate(token)

    return anyio.run(ask)


# The catalogue


def test_the_catalogue_is_listed_without_any_database(anywhere: Run, tmp_path: Path) -> None:
    table = anywhere("providers", "list")
    assert table.code == 0
    assert [line.split()[0] for line in table.out.splitlines()] == [
        *("Key", "deepgram", "vosk", "whisper", "cartesia", "elevenlabs", "openai-tts", "piper"),
        *("anthropic", "azure-openai", "google", "groq", "openai"),
    ]
    listed = anywhere("providers", "list", "--type", "stt", "--json").json
    assert [each["key"] for each in listed["providers"]] == ["deepgram", "vosk", "whisper"]
    assert list(tmp_path.iterdir()) == []


def test_a_provider_is_shown_with_its_settings_secrets_and_models(anywhere: Run) -> None:
    shown = anywhere("providers", "show", "openai")
    rows = {line.split()[0]: line for line in shown.out.splitlines() if line.strip()}
    assert re.match(r"temperature +number +0\.7 +How freely", rows["temperature"])
    assert re.match(r"topP +number +Choose among", rows["topP"]), "what has no default is empty, not null"
    assert re.match(r"apiKey +secret ", rows["apiKey"])
    assert re.match(r"gpt-4o-mini +deprecated +2027-01-14 +gpt-6-luna", rows["gpt-4o-mini"])
    assert anywhere("providers", "show", "openai", "--json").json["defaultConfig"]["maxTokens"] == 1000


def test_an_unknown_provider_is_explained_with_the_command_that_lists_them(anywhere: Run) -> None:
    answer = anywhere("providers", "show", CANARY)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == "No provider has this key: `voxplane providers list` lists them.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["order"], "Missing argument 'TYPE'"),
        (["order", "vision", "openai"], "'vision' is not one of 'stt', 'tts'"),
        (["config", "set", "openai"], "Give settings as NAME=VALUE"),
        (["config", "set", "openai", "temperature"], "Write settings as NAME=VALUE"),
        (["token", "create"], "Give --scope"),
        (["token", "create", "--scope", "everything"], "'everything' is not one of"),
        (["token", "create", "--administrator", "--expires-in-days", "0"], "greater than or equal to 1"),
        (["no-such-command"], "No such command"),
    ],
)
def test_a_wrong_use_is_exit_code_2_and_says_what_is_right(anywhere: Run, arguments: list[str], said: str) -> None:
    answer = anywhere(*arguments)
    assert (answer.code, answer.out) == (2, "")
    # The frame is typer's; it comes in colours where somebody set GITHUB_ACTIONS.
    unframed = re.sub(r"\x1b\[[0-9;]*m|│", " ", answer.err)
    assert said in " ".join(unframed.split())


def test_the_version_is_printed(anywhere: Run) -> None:
    answer = anywhere("--version")
    assert (answer.code, answer.err) == (0, "")
    assert re.fullmatch(r"voxplane \d+\.\d+\.\d+\n", answer.out)


# Settings


def test_settings_are_set_one_by_one_and_read_back(run: Run) -> None:
    first = run("config", "set", "openai", "temperature=0.9", "--json").json
    assert first["overrides"] == {"temperature": 0.9}
    assert first["config"] | {"model": "gpt-4o-mini", "temperature": 0.9, "maxTokens": 1000} == first["config"]
    second = run("config", "set", "openai", "maxTokens=200", "--priority", "70")
    assert second.code == 0
    table = {line.split()[0]: line.split()[1:] for line in second.out.splitlines()}
    assert table["temperature"] == ["0.9", "overridden"]
    assert table["maxTokens"] == ["200", "overridden"]
    assert table["store"] == ["false", "default"]
    assert "OpenAI: enabled, priority 70, not usable: secrets missing (`voxplane secrets set openai` stores one)." in (
        second.err.splitlines()
    )
    assert run("config", "get", "openai", "--json").json["overrides"] == {"temperature": 0.9, "maxTokens": 200}


def test_where_text_is_wanted_a_number_is_text(run: Run) -> None:
    run("config", "set", "azure-openai", "deployment=2024", 'endpoint="https://a.openai.azure.com"')
    overrides = run("config", "get", "azure-openai", "--json").json["overrides"]
    assert overrides == {"deployment": "2024", "endpoint": "https://a.openai.azure.com"}


def test_a_list_is_written_as_json(run: Run) -> None:
    answer = run("config", "set", "deepgram", 'keyterms=["Voxplane", "refund"]', "--json")
    assert answer.json["overrides"] == {"keyterms": ["Voxplane", "refund"]}


@pytest.mark.parametrize(
    ("key", "assignment", "said"),
    [
        ("openai", "temperature=99.125", "  config/temperature: Input should be less than or equal to 2."),
        ("openai", "maxToken=99.125", "Did you mean maxTokens? Valid: model, temperature"),
        ("openai", f"apiKey={CANARY}", "  config: This is named like a secret: store it with `voxplane secrets set`."),
        ("google", f"serviceAccountJson={CANARY}", "  config: This is named like a secret: store it with"),
    ],
)
def test_a_wrong_setting_is_explained_with_its_place_and_without_its_value(
    run: Run, superuser: Superuser, key: str, assignment: str, said: str
) -> None:
    before = stored_rows(superuser)
    answer = run("config", "set", key, assignment)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("That is not valid:\n")
    assert said in answer.err
    assert assignment.partition("=")[2] not in answer.err
    assert stored_rows(superuser) == before


def test_settings_go_back_to_their_defaults_by_name_or_together(run: Run) -> None:
    run("config", "set", "openai", "temperature=0.9", "maxTokens=200")
    misspelt = run("config", "reset", "openai", "maxToken")
    assert misspelt.code == 1
    assert "Did you mean maxTokens?" in misspelt.err
    assert run("config", "reset", "openai", "temperature").err == "Back to the defaults.\n"
    kept = run("config", "get", "openai", "--json").json
    assert (kept["overrides"], kept["isEnabled"]) == ({"maxTokens": 200}, True)
    assert run("config", "reset", "openai").err == "Back to the defaults, and disabled.\n"
    gone = run("config", "get", "openai", "--json").json
    assert (gone["overrides"], gone["isEnabled"], gone["isConfigured"]) == ({}, False, False)


def test_the_ranking_shows_who_answers_and_why_the_others_do_not(run: Run) -> None:
    lines = [line.split() for line in run("config", "get").out.splitlines()]
    assert lines[0] == ["Type", "Provider", "Rank", "Priority", "State", "Model", "Notices"]
    assert ["tts", "piper", "primary", "100", "usable", "(next", "call)", "en_US-lessac-medium"] in lines
    assert ["llm", "groq", "off", "0", "disabled", "openai/gpt-oss-120b"] in lines
    assert ["llm", "openai", "primary", "100", "secrets", "missing", "gpt-4o-mini"] in [line[:7] for line in lines]
    assert len(run("config", "get", "--json").json["providers"]) == 12
    run("config", "set", "whisper", "--enable")
    ranks = {line[1]: line[2:6] for line in map(str.split, run("config", "get").out.splitlines())}
    assert ranks["deepgram"] == ["primary", "100", "secrets", "missing"]
    assert ranks["whisper"] == ["fallback", "1", "0", "usable"]


def test_the_order_of_a_type_is_set_in_one_command(run: Run) -> None:
    hint = "groq is off: `voxplane config set groq --enable`\n"
    assert run("order", "llm", "openai", "groq").err == hint
    run("config", "set", "groq", "--enable")
    ordered = run("order", "llm", "groq", "openai", "--json").json["providers"]
    assert [each["provider"]["key"] for each in ordered][:2] == ["groq", "openai"]
    assert run("config", "get", "groq", "--json").json["isPrimary"]
    assert run("order", "llm", "openai", "groq").out.splitlines()[1].split()[:3] == ["llm", "openai", "primary"]
    wrong = run("order", "llm", "deepgram")
    assert wrong.code == 1
    assert "  order/0: Name providers of this type: " in wrong.err


def test_commands_work_on_the_organization_that_is_named(run: Run) -> None:
    assert run("organization", "create", "acme").code == 0
    assert run("config", "set", "openai", "temperature=0.1", "-o", "acme").code == 0
    assert run("config", "get", "openai", "--organization", "acme", "--json").json["overrides"] == {"temperature": 0.1}
    assert run("config", "get", "openai", "--json").json["overrides"] == {}
    unknown = run("config", "get", "-o", "nobody")
    assert unknown.code == 1
    assert unknown.err == "No organization has this slug: `voxplane organization list` lists them.\n"


def test_organizations_are_created_once_and_listed(run: Run) -> None:
    made = run("organization", "create", "acme", "--name", "Acme Inc.", "--json").json
    assert (made["slug"], made["name"]) == ("acme", "Acme Inc.")
    again = run("organization", "create", "acme")
    assert (again.code, again.err) == (1, "An organization with this slug exists already.\n")
    assert "slug: Write 1 to 63 of a-z, 0-9 and hyphens" in run("organization", "create", "Not A Slug").err
    listed = run("organization", "list", "--json").json["organizations"]
    assert [each["slug"] for each in listed] == ["acme", "default"]
    assert [line.split()[0] for line in run("organization", "list").out.splitlines()] == ["Slug", "acme", "default"]
    assert [
        each["slug"] for each in run("organization", "list", "--after", "acme", "--json").json["organizations"]
    ] == ["default"]


# Secrets


@pytest.mark.parametrize("source", ["standard input", "file"])
@pytest.mark.parametrize("as_json", [False, True], ids=["human", "json"])
def test_a_secret_goes_in_and_is_in_no_output_nor_row(
    run: Run, superuser: Superuser, tmp_path: Path, source: str, *, as_json: bool
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{CANARY}\n")
    place, stdin = ("-", f"{CANARY}\n") if source == "standard input" else (str(file), "")
    json_ = ["--json"] if as_json else []
    answer = run("secrets", "set", "openai", "--file", place, "--label", "first", *json_, stdin=stdin)
    assert answer.code == 0
    later = run("config", "get", "openai", "--json")
    assert later.json["usable"]
    assert later.json["secretFields"][0] | {"isSet": True, "label": "first"} == later.json["secretFields"][0]
    everything = [answer, later, run("config", "get"), run("doctor"), run("secrets", "remove", "openai")]
    assert all(ran.code == 0 and CANARY not in ran.out + ran.err for ran in everything)
    assert CANARY not in json.dumps(stored_rows(superuser), default=str)
    assert "usable" in answer.out + answer.err


def test_a_secret_is_asked_for_at_a_terminal_and_not_shown(run: Run, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    with (
        open(ours, "r+b", buffering=0) as terminal,  # noqa: PTH123 - a descriptor has no path
        open(theirs, "rb", buffering=0) as other_end,  # noqa: PTH123 - the same
        # In a session of its own, so that there is no other terminal to ask at.
        started("secrets", "set", "openai", cwd=tmp_path, stdin=other_end, start_new_session=True) as process,
    ):
        # From the prompt on, nothing that is typed is shown.
        assert process.stderr is not None
        assert process.stderr.read(len("apiKey: ")) == "apiKey: "
        terminal.write(f"{CANARY}\n".encode())
        out, err = process.communicate(timeout=60)
        os.set_blocking(ours, False)
        shown = terminal.read(10_000) or b""
    assert process.returncode == 0
    assert "secret apiKey: set" in err
    assert CANARY not in out + err + shown.decode()
    assert run("config", "get", "openai", "--json").json["usable"]


def test_without_a_terminal_no_secret_is_asked_for(run: Run, superuser: Superuser) -> None:
    before = stored_rows(superuser)
    answer = run("secrets", "set", "openai", stdin=f"{CANARY}\n")
    assert answer.code == 2
    assert "There is no terminal to ask at" in answer.err
    assert CANARY not in answer.out + answer.err
    assert stored_rows(superuser) == before


@pytest.mark.parametrize("arguments", [["apiKey", CANARY], [CANARY], ["apiKey", "--value", CANARY]])
def test_a_secret_given_as_an_argument_is_refused_and_not_repeated(
    run: Run, superuser: Superuser, arguments: list[str]
) -> None:
    before = stored_rows(superuser)
    answer = run("secrets", "set", "openai", *arguments, stdin="something else")
    assert answer.code in {1, 2}
    assert CANARY not in answer.out + answer.err
    assert "never an argument" in answer.err or "Valid: apiKey." in answer.err or "No such option" in answer.err
    assert stored_rows(superuser) == before


APPROVING = ("--approve-origin", "http://127.0.0.1:5999")


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["openai", "--file", "missing"], "", "There is no file of this name."),
        (["openai", "--file", "-"], "\n", "secrets/apiKey: Give 1 to 8192 characters."),
        (["openai", "--file", "-"], "***", "secrets/apiKey: This is a placeholder, not a secret"),
        (["openai", "--file", "-", "--approve-origin", "ftp://x"], "k", "approvedOrigins/0: To approve an origin"),
        (["openai", "clientSecret"], "", "secrets: There is no such field. Valid: apiKey."),
        (["piper"], "", "Piper (local) needs no secrets. Where its calls may go is approved with --approve-origin"),
        (["piper", "apiKey", *APPROVING], "", "Piper (local) needs no secrets."),
        (["piper", "--file", "-", *APPROVING], "k", "Piper (local) needs no secrets."),
        (["piper", "--label", "mine", *APPROVING], "", "Piper (local) needs no secrets."),
        (["piper", "--approve-origin", "http://speech.example"], "", "write one that starts with https://"),
        (["nobody"], "", "No provider has this key"),
    ],
)
def test_what_cannot_be_a_secret_is_explained(
    run: Run, superuser: Superuser, arguments: list[str], stdin: str, said: str
) -> None:
    before = stored_rows(superuser)
    answer = run("secrets", "set", *arguments, stdin=stdin)
    assert answer.code == 1
    assert said in answer.err
    assert stored_rows(superuser) == before


def test_what_is_no_bare_key_or_looks_unlike_one_is_said(run: Run) -> None:
    quoted = run("secrets", "set", "groq", "--file", "-", stdin='"gsk_quoted"')
    assert (quoted.code, "no space or quotes around it" in quoted.err) == (1, True)
    assert "Groq keys start with gsk_. Check that" in run("secrets", "set", "groq", "--file", "-", stdin="sk-other").err
    assert "start with" not in run("secrets", "set", "groq", "--file", "-", stdin="gsk_own").err
    assert "start with" not in run("secrets", "set", "groq", "--file", "-").err, "it is refused anyway"
    nowhere = run("secrets", "set", "azure-openai", "--file", "-", "--check", stdin=CANARY).err
    assert "--approve-origin: Name where" in nowhere


def test_a_secret_is_approved_for_the_named_address_alone(run: Run) -> None:
    address = "https://gateway.example/v1"
    run("config", "set", "openai", f"baseUrl={address}")
    assert run("secrets", "set", "openai", "--file", "-", stdin=CANARY).code == 0
    assert "not usable: destination unapproved" in run("config", "get", "openai").err
    run("secrets", "set", "openai", "--file", "-", "--approve-origin", address, stdin=CANARY)
    approved = run("config", "get", "openai", "--json").json
    assert approved["usable"]
    assert approved["approvedOrigins"] == ["https://gateway.example:443/v1"]


def advised(run: Run, key: str) -> list[str]:
    """Return the arguments of the command that is to help a provider whose address is not approved."""
    said = run("config", "get", key, "--organization", "acme").err
    found = re.search(r"not usable: destination unapproved \(`voxplane (.*?)`", said)
    assert found is not None, said
    return shlex.split(found[1])


def shown(run: Run, key: str) -> dict[str, Any]:
    return run("config", "get", key, "--organization", "acme", "--json").json


def test_the_address_of_a_provider_without_secrets_is_approved_as_advised(run: Run) -> None:
    here = ("--organization", "acme")
    run("organization", "create", "acme")
    run("config", "set", "piper", "baseUrl=http://127.0.0.1:5999", "--enable", *here)
    set_it = ["secrets", "set", "piper", *here]
    usual, other = ("--approve-origin", "http://127.0.0.1:5000"), ("--approve-origin", "http://127.0.0.1:5999")
    assert advised(run, "piper") == [*set_it, *usual, *other], "what is approved already stays"
    assert "`voxplane secrets set piper --organization acme --approve-origin http" in run("doctor", "--all").out
    answer = run(*advised(run, "piper"))
    places = "  calls may go to: http://127.0.0.1:5000, http://127.0.0.1:5999\n"
    assert (answer.code, answer.err) == (0, "Piper (local): enabled, priority 0, usable.\n" + places)
    assert shown(run, "piper")["approvedOrigins"] == ["http://127.0.0.1:5000", "http://127.0.0.1:5999"]
    both = (*other, "--approve-origin", "https://speech.example")
    assert run(*set_it, *both, "--json").json["approvedOrigins"] == [
        "http://127.0.0.1:5999",
        "https://speech.example:443",
    ]
    # The default address gave way to those that were named, and comes back as advised, or with the removal.
    run("config", "set", "piper", "--unset", "baseUrl", *here)
    assert advised(run, "piper")[-1] == "http://127.0.0.1:5000"
    assert run(*advised(run, "piper")).code == 0
    assert shown(run, "piper")["usable"]
    run("config", "set", "piper", "baseUrl=http://[::1]:5999", *here)
    assert "--approve-origin 'http://[::1]:5999'`" in run("config", "get", "piper", *here).err
    assert run(*advised(run, "piper")).code == 0
    removed = run("secrets", "remove", "piper", *here).err
    assert removed.startswith("The approved addresses are removed.\nPiper (local): enabled, priority 0, not usable: ")
    assert shown(run, "piper")["approvedOrigins"] == ["http://127.0.0.1:5000"]


def test_a_stored_secret_is_approved_for_another_address_as_advised_without_being_entered_again(run: Run) -> None:
    run("organization", "create", "acme")
    label = ("--label", "the team's \u202e")
    stored = run("secrets", "set", "openai", "--file", "-", *label, "--organization", "acme", stdin=CANARY)
    assert stored.code == 0
    run("config", "set", "openai", "baseUrl=https://gateway.example/v1", "--enable", "--organization", "acme")
    run("config", "set", "openai-tts", "--enable", "--organization", "acme")
    answer = run(*advised(run, "openai"))
    assert (answer.code, "usable" in answer.err) == (0, True)
    # Whose secret it was that is approved now: a colleague may have stored another.
    assert re.search(r'secret apiKey: set \(version 1, "the team\'s \\u202e", by \S.*, 20\S+ \S+ UTC\)', answer.err)
    one = shown(run, "openai")
    usual, gateway = "https://api.openai.com:443/v1", "https://gateway.example:443/v1"
    assert (one["usable"], one["approvedOrigins"]) == (True, [usual, gateway])
    assert one["secretFields"][0]["version"] == 1
    assert shown(run, "openai-tts")["usable"], "who uses the same key at the usual address goes on"
    here = ("--organization", "acme")
    assert (
        run("secrets", "set", "openai", "--approve-origin", "https://gateway.example/v1", "--rebind", *here).code == 0
    )
    # One that uses another's key is told to have its own, and makes itself none that is empty.
    tts = ("openai-tts", "--organization", "acme")
    assert advised(run, "openai-tts") == ["secrets", "set", *tts, "--approve-origin", "https://api.openai.com/v1"]
    assert (
        "secret apiKey: set (shared from openai; version 1" in run("config", "set", "openai-tts", "speed=2", *here).err
    )
    refused = run(*advised(run, "openai-tts"), "--rebind")
    assert (refused.code, "OpenAI TTS uses the secrets of openai" in refused.err) == (1, True)
    assert run(*advised(run, "openai-tts"), "--file", "-", stdin=CANARY).code == 0
    assert shown(run, "openai-tts")["usable"]


@pytest.mark.parametrize("key", ["groq", "openai-tts"])
def test_where_nothing_is_stored_no_address_is_approved_by_itself(run: Run, key: str) -> None:
    """A key that is stored later would go there unasked, or be none for who shares another's."""
    answer = run("secrets", "set", key, "--approve-origin", "https://gateway.example", "--rebind")
    assert (answer.code, "has no stored secrets: store one, and approve the address with it." in answer.err) == (
        1,
        True,
    )


def test_other_secrets_of_a_provider_move_to_a_new_address_only_when_told(run: Run) -> None:
    first, second = "https://one.openai.azure.com", "https://two.openai.azure.com"
    assert run("secrets", "set", "azure-openai", "--file", "-", "--approve-origin", first, stdin=CANARY).code == 0
    more = ("secrets", "set", "azure-openai", "clientSecret", "--file", "-", "--approve-origin", second)
    refused = run(*more, stdin=CANARY)
    assert refused.code == 1
    assert "say rebind: apiKey." in refused.err
    assert run(*more, "--rebind", "--json", stdin=CANARY).json["approvedOrigins"] == [f"{second}:443"]
    nowhere = run("secrets", "set", "azure-openai", "--rebind")
    assert (nowhere.code, "give it with --approve-origin" in nowhere.err) == (2, True)


def test_secrets_are_removed_one_by_one_or_together(run: Run) -> None:
    origin = ("--approve-origin", "https://one.openai.azure.com")
    run("secrets", "set", "azure-openai", "--file", "-", *origin, stdin=CANARY)
    run("secrets", "set", "azure-openai", "clientSecret", "--file", "-", stdin=CANARY)
    assert run("secrets", "remove", "azure-openai", "apiKey").err == "Removed.\n"
    fields = run("config", "get", "azure-openai", "--json").json["secretFields"]
    assert {each["name"]: each["isSet"] for each in fields} == {"apiKey": False, "clientSecret": True}
    assert run("secrets", "remove", "azure-openai").code == 0
    again = run("secrets", "remove", "azure-openai")
    assert (again.code, again.err) == (1, "This provider has no stored secrets.\n")


# Tokens


def test_a_token_is_printed_alone_and_usable_at_once(run: Run, settings: Settings) -> None:
    scopes = ["--scope", "livekit:read", "--scope", "livekit:write"]
    answer = run("token", "create", "--organization", "default", *scopes)
    assert (answer.code, answer.err) == (0, "")
    assert re.fullmatch(r"vxp_[0-9A-Za-z]{12}_[A-Za-z0-9_-]{43}_[0-9a-f]{8}\n", answer.out)
    principal = authenticate(settings, answer.out.strip())
    assert principal.scopes == {"livekit:read", "livekit:write"}
    assert principal.organization_id is not None


def test_a_token_of_an_administrator_of_a_worker_and_of_the_platform(run: Run, settings: Settings) -> None:
    administrator = authenticate(settings, run("token", "create", "--administrator").out.strip())
    assert administrator.scopes == ADMINISTRATOR_SCOPES
    worker = authenticate(settings, run("token", "create", "--scope", "worker:resolve").out.strip())
    assert worker.scopes == {"worker:resolve"}
    platform = authenticate(settings, run("token", "create", "--platform").out.strip())
    assert (platform.scopes, platform.organization_id) == ({"admin:organizations"}, None)
    both = run("token", "create", "--platform", "--administrator")
    assert both.code == 1
    assert "Scopes that you can give: admin:organizations." in both.err


def test_tokens_are_listed_without_their_values_and_revoked(run: Run) -> None:
    made = run("token", "create", "--administrator", "--name", "deploy", "--expires-in-days", "7", "--json").json
    assert made["value"].startswith(f"vxp_{made['id']}_")
    assert made["expiresAt"] is not None
    listed, table = run("token", "list", "--json"), run("token", "list")
    assert [each["name"] for each in listed.json["tokens"]] == ["deploy"]
    assert made["id"] in table.out
    assert made["value"] not in listed.out + table.out
    assert run("token", "revoke", made["id"]).err == "Revoked.\n"
    assert run("token", "list").err == "No token is in force: --all lists those that were revoked.\n"
    assert run("token", "list", "--all", "--json").json["tokens"][0]["revokedAt"] is not None
    again = run("token", "revoke", made["id"])
    assert again.code == 1
    assert "`voxplane token list` lists an organization's, and with --platform those of fleets" in again.err


def test_a_fleets_token_is_listed_with_its_organizations(run: Run) -> None:
    assert run("token", "fleet", "default", "--name", "machine 7").code == 0
    run("token", "create", "--platform", "--name", "setup")
    (fleet,) = (one for one in run("token", "list", "--platform", "--json").json["tokens"] if one["organizations"])
    for option in (("--name", "other"), ("--expires-in-days", "3")):
        refused = run("token", "fleet", "default", "--change", fleet["id"], *option)
        assert (refused.code, "replaces the organizations only" in refused.err) == (2, True)
    assert run("token", "fleet", "default", "--change", fleet["id"]).err.endswith("Changed.\n")
    listed = run("token", "list", "--platform", "--json").json["tokens"]
    assert {each["name"]: each["organizations"] for each in listed} == {"machine 7": ["default"], "setup": None}
    assert "default" in run("token", "list", "--platform").out
    assert "Organizations" not in run("token", "list").out


def test_an_account_without_a_name_can_work_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 123456")

    monkeypatch.setattr(getpass, "getuser", nobody)
    made = run("token", "create", "--administrator", "--json").json
    assert made["createdBy"] == f"uid {os.getuid()}"


# The database


def test_a_reset_is_refused_while_secrets_are_stored(run: Run, superuser: Superuser) -> None:
    run("secrets", "set", "openai", "--file", "-", stdin=CANARY)
    before = stored_rows(superuser)
    refused = run("db", "reset", "--yes")
    assert (refused.code, refused.out) == (1, "")
    assert "say --yes-destroy-secrets if that is what you want" in refused.err
    assert stored_rows(superuser) == before
    assert run("db", "reset", "--yes-destroy-secrets").code == 0
    shown = run("config", "get", "openai", "--json").json
    assert (shown["isEnabled"], shown["secretFields"][0]["isSet"]) == (True, False)


@pytest.mark.parametrize(("said", "code"), [("n\n", 1), (None, 2), ("y\n", 0)], ids=["no", "nobody", "yes"])
def test_a_reset_asks_first(run: Run, superuser: Superuser, said: str | None, code: int) -> None:
    run("config", "set", "openai", "temperature=0.9")
    before = stored_rows(superuser)
    answer = run("db", "reset", typed=said)
    assert (answer.code, answer.out.strip()) == (code, "")
    asked = "This removes all organizations and their settings. Go on? [y/N]"
    assert (asked if said else "Nobody is at a terminal to be asked: say --yes to go on without.\n") in answer.err
    assert (asked in answer.err) is (said is not None)
    assert (stored_rows(superuser) == before) is (code > 0)
    assert run("config", "get", "openai", "--json").json["overrides"] == ({"temperature": 0.9} if code else {})


def test_a_reset_is_refused_while_a_server_is_at_work(run: Run, settings: Settings, superuser: Superuser) -> None:
    before = stored_rows(superuser)
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(ControlPlane.open(settings)),
    ):
        answer = run("db", "reset", "--yes-destroy-secrets")
    assert (answer.code, answer.err) == (1, "A Voxplane is working on this database: stop it first.\n")
    assert stored_rows(superuser) == before


def test_seeding_makes_the_default_organization_in_an_installation_that_has_none(
    run: Run, superuser: Superuser
) -> None:
    assert run("db", "seed").err == "The default organization is there.\n"
    superuser.execute("UPDATE organizations SET slug = 'acme'")
    assert run("db", "seed").err == "This installation has other organizations, so none was created.\n"
    superuser.execute("TRUNCATE organizations CASCADE")
    seeded = run("db", "seed")
    assert (seeded.code, seeded.err.splitlines()[-1]) == (0, "The default organization is there.")
    listed = run("organization", "list", "--json").json["organizations"]
    assert [each["slug"] for each in listed] == ["default"]


@pytest.mark.parametrize("command", [["db", "upgrade"], ["db", "reset", "--yes"]])
def test_without_an_administrators_address_the_schema_is_left_alone(
    run: Run, superuser: Superuser, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    before = stored_rows(superuser)
    monkeypatch.delenv("VOXPLANE_DATABASE_ADMIN_URL")
    answer = run(*command)
    assert answer.code == 1
    assert answer.err.startswith("This takes VOXPLANE_DATABASE_ADMIN_URL,")
    assert stored_rows(superuser) == before
    assert run("config", "get").code == 0, "serving needs no administrator"


def test_a_server_of_ones_own_is_set_up_by_an_ordinary_administrator(
    anywhere: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A server of its own, because roles belong to the whole server and this is about who may make them.
    with (
        tempfile.TemporaryDirectory(prefix="voxplane-tests-") as folder,
        EmbeddedPostgres.open(Path(folder) / "data", durable=False) as server,
    ):
        with admin_connection(server) as connection:
            connection.execute("CREATE ROLE operator LOGIN CREATEROLE")
            connection.execute("CREATE ROLE bystander LOGIN")
            connection.execute("CREATE DATABASE platform OWNER operator")
        monkeypatch.setenv("VOXPLANE_KEYRING_FILE", f"{folder}/keyring.json")
        monkeypatch.setenv("VOXPLANE_DATABASE_URL", server.conninfo(user="voxplane_app", dbname="platform"))
        monkeypatch.setenv("VOXPLANE_DATABASE_ADMIN_URL", server.conninfo(user="bystander", dbname="platform"))
        refused = anywhere("db", "upgrade")
        assert (refused.code, refused.err) == (
            1,
            "VOXPLANE_DATABASE_ADMIN_URL must be a role that may create roles and a schema.\n",
        )
        monkeypatch.setenv("VOXPLANE_DATABASE_ADMIN_URL", server.conninfo(user="operator", dbname="platform"))
        first = anywhere("db", "upgrade")
        assert (first.code, first.err.splitlines()[-1]) == (0, "The database is up to date.")
        assert "keyring created: back this file up" in first.err
        assert anywhere("db", "upgrade").err == "The database is up to date.\n"
        monkeypatch.delenv("VOXPLANE_DATABASE_ADMIN_URL")
        assert anywhere("doctor").code == 0
        monkeypatch.setenv("VOXPLANE_DATABASE_URL", server.conninfo(user="operator", dbname="platform"))
        unsafe = anywhere("doctor")
        assert unsafe.code == 1
        assert re.search("VOXPLANE_DATABASE_URL names a role .*: use voxplane_app", unsafe.out)


# An installation and its surroundings


def test_the_doctor_says_that_all_is_well_and_who_answers_next(run: Run) -> None:
    report = run("doctor", "--json")
    assert (report.code, report.err) == (0, "")
    found = {each["subject"]: each for each in report.json["findings"]}
    assert list(found) == [
        *("python", "database", "catalogue", "keyring", "anchors"),
        *("default: stt", "default: tts", "default: llm"),
    ]
    assert found["default: tts"] == {
        "subject": "default: tts",
        "verdict": "good",
        "finding": "The next call goes to Piper (local).",
    }
    assert found["default: stt"]["verdict"] == "note"
    assert found["default: stt"]["finding"].startswith("Nobody answers. Deepgram is enabled but not usable: secrets")
    assert found["default: stt"]["finding"].endswith("missing. `voxplane secrets set deepgram` stores one.")
    run("secrets", "set", "openai", "--file", "-", stdin=CANARY)
    run("config", "set", "anthropic", "--enable")
    later = run("doctor")
    assert (later.code, later.err) == (0, "")
    assert "The next call goes to OpenAI. gpt-4o-mini end" in later.out
    assert "Anthropic Claude is enabled but not usable: secrets missing." in later.out
    run("organization", "create", "acme")
    enabled = run("config", "set", "groq", "--enable", "--organization", "acme")
    assert "`voxplane secrets set groq --organization acme` stores one" in enabled.err
    [others] = [each for each in run("doctor", "--json").json["findings"] if each["subject"] == "organizations"]
    assert others["finding"] == "2, of which this looks at default: `voxplane doctor --all` looks at all"
    found = {each["subject"]: each["finding"] for each in run("doctor", "--all", "--json").json["findings"]}
    assert "`voxplane secrets set groq --organization acme` stores one" in found["acme: llm"]
    assert ("default: llm" in found, "organizations" in found) == (True, False)
    voiceless = run("config", "set", "elevenlabs", "--enable", "--organization", "acme").err
    assert "`voxplane config set elevenlabs --organization acme voiceId=…` mends it" in voiceless


def test_what_workers_report_is_in_every_table_with_what_to_do(run: Run, settings: Settings) -> None:
    async def reported() -> None:
        async with ControlPlane.open(settings) as plane:
            worker = worker_of((await plane.access.find_organization("default")).id)
            seen = [ProviderReport(provider="piper", outcome="failed", kind="unavailable")]
            at = await position_of(plane)
            await plane.workers.report(worker, ReportsWrite(at=at, reports=seen))

    anyio.run(reported)
    [line] = [each for each in run("config", "get").out.splitlines() if "piper" in each]
    assert line.split()[:6] == ["tts", "piper", "primary", "100", "failing:", "unavailable"]
    what = r"failing in calls since [0-9: -]+ UTC: unavailable \(1 report, the last by worker\); its package, "
    assert re.search(what, run("config", "get", "piper").err)
    [found] = [each for each in run("doctor", "--json").json["findings"] if each["subject"] == "default: tts"]
    assert found["verdict"] == "note"
    assert re.match(rf"The next call goes to Piper \(local\)\. Piper \(local\) is {what}", found["finding"])


def test_verify_tells_of_each_provider_what_keeps_it_from_working(run: Run) -> None:
    found = run("verify", "--all", "--json")
    assert (found.code, found.err) == (1, "")
    tried = {
        each["provider"]: each["result"]["outcome"] if each["result"] else each for each in found.json["providers"]
    }
    invalid = {"azure-openai"}
    assert tried["azure-openai"]["problem"] == "The settings are not valid. endpoint: This field is required."
    assert {key for key, outcome in tried.items() if outcome == "not_checkable"} == {"piper", "vosk", "whisper"}
    assert {key for key, outcome in tried.items() if outcome == "key_missing"} == set(tried) - invalid - {
        *("piper", "vosk", "whisper")
    }
    assert "azure-openai  not tested" in run("verify", "azure-openai").out
    drawn = run("verify")
    assert drawn.code == 1
    assert "No API key is set for OpenAI. Set the key, then check again." in drawn.out
    assert run("verify", "piper").code == 0
    assert run("verify", "openai", "--all").code == 2
    assert (run("verify", "nobody").code, run("verify", "nobody").out) == (1, "")
    for key in ("openai", "deepgram", "piper"):
        run("config", "set", key, "--disable")
    nothing = run("verify")
    assert (nothing.code, nothing.err) == (0, "No provider is enabled: name one, or say --all.\n")


def test_a_key_that_is_checked_first_is_answered_in_full(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Outcome] = ["key_rejected", "key_rejected", "rate_limited"]

    async def answered(_runner: ProbeRunner, _subject: Subject, _asker: UUID) -> Finding:
        return Finding(found.pop(0))

    monkeypatch.setattr(ProbeRunner, "run", answered)
    check = ("secrets", "set", "openai", "--file", "-", "--check")
    refused = run(*check, stdin=CANARY)
    assert (refused.code, refused.out) == (1, "")
    assert "OpenAI rejected the API key." in refused.err
    assert "Replace the key, then check again." in refused.err
    told = run(*check, "--json", stdin=CANARY)
    assert (told.code, told.json["outcome"], told.json["nextStep"]) == (1, "key_rejected", "replace_key")
    stored = run(*check, stdin=CANARY)
    assert (stored.code, "Check again in 30 s." in stored.err) == (0, True)
    untested = run("secrets", "set", "azure-openai", *check[3:], "--approve-origin", "https://a.example", stdin=CANARY)
    assert "Saved, not checked: The settings are not valid as they are" in untested.err


def test_the_doctor_tests_providers_when_told_to(run: Run) -> None:
    run("secrets", "set", "openai", "--file", "-", stdin=CANARY)
    run("config", "set", "openai", "--disable")
    report = run("doctor", "--verify", "--json")
    finding = next(each for each in report.json["findings"] if each["subject"] == "default: piper")
    assert (report.code, finding["verdict"]) == (0, "note")
    assert finding["finding"].startswith("Piper (local) was not looked for at http://127.0.0.1:5000")


def test_the_doctor_tells_a_sealed_installation(
    run: Run, template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, superuser: Superuser
) -> None:
    run("secrets", "set", "openai", "--file", "-", stdin=CANARY)
    before = stored_rows(superuser)
    monkeypatch.setenv("VOXPLANE_KEYRING_FILE", str(tmp_path / "gone.json"))
    report = run("doctor", "--json")
    assert report.code == 1
    keyring = next(each for each in report.json["findings"] if each["subject"] == "keyring")
    assert keyring["verdict"] == "bad"
    assert keyring["finding"] == f"missing, damaged or another one: restore {tmp_path / 'gone.json'}"
    assert run("config", "get", "openai", "--json").json["secretFields"][0]["isSet"], "reading goes on"
    for command in (
        ["config", "set", "openai", "temperature=1"],
        ["token", "create", "--administrator"],
        ["db", "seed"],
    ):
        refused = run(*command)
        assert (refused.code, refused.out) == (1, "")
        assert refused.err.splitlines()[-1].startswith("The key that seals this installation's secrets is missing")
    assert not (tmp_path / "gone.json").exists(), "no new key is made over old data"
    assert stored_rows(superuser) == before
    shutil.copy(template.keyring, tmp_path / "gone.json")
    assert run("doctor").code == 0


def test_the_doctor_shows_an_error_of_several_lines_line_by_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "facts.json").write_text("{}")
    monkeypatch.setenv("VOXPLANE_CATALOGUE_FILE", str(tmp_path / "facts.json"))
    report = run("doctor")
    assert (report.code, "\\u000a" in report.out) == (1, False)
    assert re.search("CATALOGUE_FILE.* not valid: *\n +/asOf: This field is required", report.out)


def test_a_database_that_does_not_answer_is_said(anywhere: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXPLANE_DATABASE_URL", f"postgresql://voxplane_app:{CANARY}@127.0.0.1:1/voxplane")
    report = anywhere("doctor", "--json")
    assert report.code == 1
    assert (
        report.json["findings"][-1] | {"verdict": "bad", "finding": "The database does not answer."}
        == (report.json["findings"][-1])
    )
    other = anywhere("config", "get")
    assert (other.code, other.err) == (1, "The database does not answer.\n")
    assert CANARY not in report.out + report.err


@pytest.mark.parametrize(
    "command",
    [
        ["config", "get"],
        ["config", "set", "openai", "temperature=1"],
        ["secrets", "set", "openai", "--file", "-"],
        ["token", "create", "--administrator"],
        ["db", "seed"],
        ["doctor"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("is_there", [False, True], ids=["no folder", "empty folder"])
def test_in_a_folder_without_data_a_command_explains_and_creates_nothing(
    anywhere: Run, tmp_path: Path, command: list[str], *, is_there: bool
) -> None:
    folder = tmp_path / ".voxplane"
    if is_there:
        folder.mkdir()
    answer = anywhere(*command, stdin=CANARY)
    assert answer.code == 1
    assert f"There is no Voxplane in {folder}: `voxplane serve` starts one there;" in answer.out + answer.err
    assert list(tmp_path.rglob("*")) == ([folder] if is_there else [])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", CANARY, "  VOXPLANE_PORT: Input should be a valid integer"),
        ("LOG_FORMAT", CANARY, "  VOXPLANE_LOG_FORMAT: Input should be 'auto', 'json' or 'console'."),
        ("POOL_SIZE", "77777", "  VOXPLANE_POOL_SIZE: Input should be less than or equal to 100."),
        ("TRUSTED_ISSUERS", CANARY, "  VOXPLANE_TRUSTED_ISSUERS: write it as JSON."),
        (
            "TRUSTED_ISSUERS",
            f'[{{"issuer": "{CANARY}"}}]',
            "VOXPLANE_TRUSTED_ISSUERS, at 0/audience: This field is req",
        ),
        (
            "TRUSTED_ISSUERS",
            f'[{{"issuer": "{CANARY}", "audience": "a", "{CANARY}": 1}}]',
            "  VOXPLANE_TRUSTED_ISSUERS, at 0: There is a field here that does not exist.",
        ),
        ("TRUSTED_ISSUERS", '[{"issuer": "a", "audience": "b"}]', "at 0: give either jwks_url or public_key."),
        ("DATABASE_URL", CANARY, "VOXPLANE_DATABASE_URL is no PostgreSQL address such as postgresql://user@host/db."),
    ],
)
def test_a_setting_that_is_not_valid_is_named_without_its_value(
    anywhere: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"VOXPLANE_{name}", value)
    answer = anywhere("config", "get")
    assert (answer.code, answer.out) == (1, "")
    assert said in answer.err
    assert CANARY not in answer.err
    assert "77777" not in answer.err


# Serving


def test_a_port_that_is_taken_is_said_before_anything_is_started(
    anywhere: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("VOXPLANE_PORT", str(port))
        answer = anywhere("serve")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == f"Port {port} of 127.0.0.1 is taken: VOXPLANE_PORT names another.\n"
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_another_machine_is_said(anywhere: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXPLANE_HOST", "192.0.2.1")
    answer = anywhere("serve")
    assert (answer.code, answer.err) == (
        1,
        "192.0.2.1 is no address of this machine: VOXPLANE_HOST names another.\n",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_says_where_and_stops_when_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
) -> None:
    monkeypatch.setenv("VOXPLANE_PORT", "0")
    with started("serve", cwd=tmp_path) as process:
        assert process.stderr is not None
        first, _, command = (process.stderr.readline() for _ in range(3))
        found = re.match(r"Voxplane listens on (http://127\.0\.0\.1:\d+)  \(API reference: \1/docs\)\n", first)
        assert found, first
        assert httpx.get(f"{found[1]}/healthz").json() == {"status": "ok"}
        token = run("token", "create", "--scope", "livekit:read").out.strip()
        me = httpx.get(f"{found[1]}/api/me", headers={"Authorization": f"Bearer {token}"})
        assert me.json()["scopes"] == ["livekit:read"]
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert command.endswith("token create --administrator\n")
    assert token not in err


def test_history_is_listed_shown_and_put_back(run: Run) -> None:
    run("config", "set", "openai", "temperature=0.9", "--priority", "3")
    run("secrets", "set", "openai", "--file", "-", stdin=CANARY)
    run("config", "set", "openai", "temperature=0.2", "maxTokens=9", "--disable", "--priority", "4")
    found = run("history", "list", "openai", "--json").json
    assert [each["revision"] for each in found["entries"]] == [4, 3, 2, 1]
    listed = run("history", "list", "openai")
    assert "temperature: 0.9 -> 0.2" in listed.out
    assert "maxTokens: default -> 9" in listed.out
    assert "switched off; priority 3 -> 4" in listed.out
    assert "apiKey stored" in listed.out
    assert CANARY not in listed.out
    assert "There is more: --before 4" in run("history", "list", "openai", "--limit", "1").err
    shown = run("history", "show", "openai", "2")
    assert ("temperature" in shown.out, "enabled, priority 3" in shown.err) == (True, True)
    refused = run("history", "show", "openai", "3")
    assert (refused.code, "This revision changed secrets" in refused.err) == (1, True)
    restored = run("history", "restore", "openai", "2", "--with-switch", "--with-priority", "--json").json
    assert (restored["overrides"], restored["isEnabled"], restored["priority"]) == ({"temperature": 0.9}, True, 3)
    assert "version 2 put back" in run("history", "list", "openai").out
    assert run("history", "restore", "openai", "77").code == 1
    run("secrets", "set", "openai", "--rebind", "--approve-origin", "https://gateway.example/v1")
    assert "label or approved addresses changed" in run("history", "list", "openai").out
    assert "calls may go to: https://gateway.example:443/v1" in run("config", "set", "openai", "temperature=1").err
    run("secrets", "remove", "openai")
    assert "all secrets, and the approved addresses, removed" in run("history", "list", "openai").out


def test_the_audit_log_is_listed_written_out_anchored_and_checked(
    run: Run, superuser: Superuser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("secrets", "set", "openai", "--file", "-", stdin=CANARY)
    run("config", "set", "openai", "temperature=0.9")
    listed = run("audit", "list")
    assert ("config.put" in listed.out, "secrets.put" in listed.out) == (True, True)
    assert [each["action"] for each in run("audit", "list", "--action", "secrets.put", "--json").json["records"]] == [
        "secrets.put"
    ]
    assert "called that. Actions: config.put, " in run("audit", "list", "--action", "nope").err
    assert run("audit", "list", "--action", "token.revoke").err == "Nothing like that is on record.\n"
    text = Path(__file__).parents[1].joinpath("docs/history.md").read_text(encoding="utf-8")
    assert all(f"`{each}`" in text for each in ACTIONS)
    assert "There is more: --before" in run("audit", "list", "--limit", "1", "--since", "2026-01-01").err
    lines = run("audit", "export").out.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [3, 2, 1]
    assert len(run("audit", "export", "--format", "csv", "--outcome", "success").out.splitlines()) == 4
    assert len(run("secrets", "was-stored", "--file", "-", "--json", stdin=CANARY).json["records"]) == 1
    never = run("secrets", "was-stored", "--file", "-", stdin="sk-another")
    assert (never.code, "never stored" in never.err) == (0, True)
    assert run("secrets", "was-stored", CANARY).code == 2
    anchors = tmp_path / "anchors.jsonl"
    assert run("audit", "anchor", "--to", str(anchors)).code == 0
    assert json.loads(run("audit", "anchor").out)["rows"] == 3
    assert run("audit", "anchor", "--to", str(tmp_path)).code == 1
    whole = run("audit", "verify", "--anchors", str(anchors))
    assert (whole.code, "3 rows and 1 anchor, is whole" in whole.err) == (0, True)
    superuser.execute("DELETE FROM audit_events WHERE seq > 1")
    superuser.execute("UPDATE organizations SET audit_seq = 1, audit_hash = (SELECT hash FROM audit_events)")
    assert (run("audit", "verify").code, run("audit", "verify").out) == (0, "")
    cut = run("audit", "verify", "--anchors", str(anchors))
    assert (cut.code, "cut off" in cut.out, "does not hold in 1" in cut.err) == (1, True, True)
    assert "begin a new file of anchors" in cut.err
    # The older log is the right one: it is held against a new file from here on, whatever the old one says.
    anew = tmp_path / "anew.jsonl"
    for path in (anchors, anew):
        assert run("audit", "anchor", "--to", str(path)).code == 0
    kept = run("audit", "verify", "--anchors", str(anew))
    assert (kept.code, "begin a new file" in kept.err) == (0, False)
    assert run("audit", "verify", "--anchors", str(tmp_path / "none")).code == 1
    for path, code in ((anchors, 1), (tmp_path / "none", 0)):
        monkeypatch.setenv("VOXPLANE_ANCHORS_FILE", str(path))
        assert run("audit", "verify").code == code


# Models


def test_what_ends_is_listed_for_one_organization_or_all_and_replaced_in_one_command(run: Run) -> None:
    assert run("organization", "create", "acme").code == 0
    assert run("config", "set", "anthropic", "model=claude-sonnet-4-5-20250929", "-o", "acme").code == 0
    listed = run("models", "retiring")
    assert "gpt-4o-mini" in listed.out
    assert "2027-01-14" in listed.out
    assert re.search("voxplane models replace openai$", listed.out.rstrip())
    assert "Nothing in use ends in 1 day, or has ended" in run("models", "retiring", "--within", "1d").err
    others = run("models", "retiring", "--all").out
    assert "voxplane models replace anthropic --organization acme" in others
    everybody = run("models", "retiring", "--all", "--within", "60d", "--json").json["organizations"]
    found = {each["organization"]["slug"]: [one["notice"]["model"] for one in each["notices"]] for each in everybody}
    assert found["acme"] == ["claude-sonnet-4-5-20250929"]
    assert run("config", "set", "anthropic", "model=claude-opus-4-1", "-o", "acme").code == 0
    assert run("models", "retiring", "--within", "soon").code == 2

    assert run("models", "replace", "anthropic", "--organization", "acme").code == 1  # nobody names one
    assert run("models", "replace", "deepgram").code == 0
    assert run("models", "replace", "openai", typed="n\n").code == 1
    unasked = run("models", "replace", "openai", stdin="y\n")
    assert (unasked.code, unasked.err.splitlines()[-1]) == (
        2, "Nobody is at a terminal to be asked: say --yes to go on without.",
    )  # fmt: skip
    assert run("config", "get", "openai", "--json").json["config"]["model"] == "gpt-4o-mini"
    replaced = run("models", "replace", "openai", typed="y\n")
    assert (replaced.code, replaced.out.strip()) == (0, "")  # the answer's echo is the terminal's
    assert "reasoningEffort" in replaced.err
    assert run("config", "get", "openai", "--json").json["overrides"] == {
        "model": "gpt-6-luna",
        "reasoningEffort": "none",
    }
    nothing = run("models", "retiring")
    assert (nothing.out, nothing.err) == ("", "Nothing in use ends, as far as is known.\n")
    assert run("models", "replace", "openai", "--yes", "--json").code == 0
    # And back, in one write: the model that was takes no effort, and its successor no temperature without one.
    assert run("config", "set", "openai", "temperature=0.3").code == 0
    assert run("config", "set", "openai", "model=gpt-4o-mini").code == 1
    assert run("config", "set", "openai", "--unset", "reasoningEffort").code == 1
    assert "Did you mean reasoningEffort?" in run("config", "set", "openai", "--unset", "reasoningEfort").err
    assert run("config", "set", "openai", "model=x", "--unset", "model").code == 2
    before = run("config", "get", "openai", "--json").json["revision"]
    back = run("config", "set", "openai", "model=gpt-4o-mini", "--unset", "reasoningEffort", "--json").json
    assert (back["overrides"], back["revision"]) == ({"model": "gpt-4o-mini", "temperature": 0.3}, before + 1)


def test_what_is_known_of_models_is_listed_in_the_form_of_the_operators_file(
    anywhere: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = anywhere("models", "list", "openai", "--json").json
    assert {"name": "gpt-4o-mini", "replacement": "gpt-6-luna"}.items() <= next(
        each for each in known["providers"]["openai"]["models"] if each["name"] == "gpt-4o-mini"
    ).items()
    known["providers"]["openai"]["models"][0]["note"] = "Ours."
    (tmp_path / "facts.json").write_text(json.dumps(known))
    monkeypatch.setenv("VOXPLANE_CATALOGUE_FILE", str(tmp_path / "facts.json"))
    assert re.search(r"gpt-6-luna .*file", anywhere("models", "list").out)
    (tmp_path / "facts.json").write_text("{")
    assert "VOXPLANE_CATALOGUE_FILE" in anywhere("models", "list").err

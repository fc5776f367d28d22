"""What `make call` needs on a machine, and what it adds to the default organization: no more than is missing."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import httpx
import pytest
from aiohttp import web
from examples.call import machine
from examples.call.__main__ import ScriptedClient, ask_piper, main
from examples.call.organization import PLACEHOLDER, prepare

from tests.served import served
from tests.test_cli import set_environment
from voxplane.errors import Unauthenticated, Unavailable
from voxplane.schemas import ConfigWrite, JsonObject, ProviderReport, SecretsWrite
from voxplane.server.auth import Principal, Scope
from voxplane.server.control_plane import ControlPlane
from voxplane.server.settings import Settings

pytestmark = pytest.mark.timeout(120)
ELSEWHERE = "https://piper.example"


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with the models that `make call` brings."""
    monkeypatch.setenv("VOXPLANE_MODELS_DIR", str(tmp_path / "models"))
    machine.place_models()
    return tmp_path / "models"


class Desk:
    """The default organization, before and after."""

    def __init__(self, plane: ControlPlane, administrator: Principal) -> None:
        """Take who administers it."""
        self.plane, self.administrator = plane, administrator
        self.said: list[str] = []

    async def prepare(self, **options: bool) -> list[str]:
        """Add what is missing, and return what is said of it, each without the command that undoes it."""
        self.said.clear()
        await prepare(self.plane, self.said.append, **options)
        return [each.partition(" (undo: ")[0].removeprefix("default organization, ") for each in self.said]

    async def set(self, key: str, *, is_enabled: bool, **config: object) -> None:
        """Override settings of a provider, all of them."""
        change = ConfigWrite(config=config, is_enabled=is_enabled)
        await self.plane.providers.upsert_organization_provider_config(self.administrator, key, change)

    async def store(self, key: str, secret: str, *origins: str) -> None:
        """Store a key."""
        approved: dict[str, Any] = {"approved_origins": list(origins)} if origins else {}
        write = SecretsWrite(secrets={"apiKey": secret}, label="mine", **approved)
        await self.plane.providers.update_provider_secrets(self.administrator, key, write)

    async def standing(self) -> dict[str, tuple[bool, JsonObject, list[str | None]]]:
        """Return what is set: switches, overrides, and the labels of keys."""
        shown = await self.plane.providers.get_organization_providers(self.administrator)
        return {
            each.provider.key: (
                each.is_enabled,
                each.overrides,
                [one.label for one in each.secret_fields if one.is_set],
            )
            for each in shown.providers
        }

    async def undo(self) -> None:
        """Run the commands that were said to undo it, as somebody at a terminal does."""
        for line in self.said:
            found = re.search(r"\(undo: (.*)\)$", line)
            assert found, line
            await anyio.run_process(found[1].split())


@pytest.fixture
def desk(plane: ControlPlane, administrator: Principal, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Desk:
    set_environment(monkeypatch, settings)
    return Desk(plane, administrator)


async def test_what_is_missing_is_added_and_undone_by_the_commands_that_are_said(desk: Desk) -> None:
    before = await desk.standing()
    assert await desk.prepare() == [
        "whisper: is on, model is tiny.en",
        "openai: has a placeholder for a key",
        "piper: voice is en_US-joe-medium",
    ]
    during = await desk.standing()
    assert during["whisper"] == (True, {"model": "tiny.en"}, [])
    assert during["openai"] == (True, {}, ["stands for a script on this machine"])
    said = [*desk.said]
    assert await desk.prepare() == [], "it is complete"
    desk.said = said
    await desk.undo()
    assert await desk.standing() == before


async def test_what_is_off_is_switched_on_with_its_own_settings_and_off_again(desk: Desk) -> None:
    await desk.set("whisper", is_enabled=False, model="small", language="de")
    await desk.set("piper", is_enabled=False, voice="de_DE-thorsten-medium")
    await desk.set("openai", is_enabled=False, maxTokens=300)
    before = await desk.standing()
    assert await desk.prepare() == [
        "whisper: is on",
        "openai: has a placeholder for a key",
        "openai: is on",
        "piper: is on",
    ]
    during = await desk.standing()
    assert during["whisper"] == (True, {"model": "small", "language": "de"}, [])
    assert during["piper"] == (True, {"voice": "de_DE-thorsten-medium"}, [])
    await desk.undo()
    assert await desk.standing() == before


@pytest.mark.parametrize(
    ("is_enabled", "approved", "said"),
    [(False, (), ["openai: is on"]), (False, (ELSEWHERE,), []), (True, (ELSEWHERE,), [])],
)
async def test_a_key_of_ones_own_is_not_replaced(
    desk: Desk,
    is_enabled: bool,  # noqa: FBT001 - a case
    approved: tuple[str, ...],
    said: list[str],
) -> None:
    await desk.store("openai", "sk-real", *approved)
    await desk.set("openai", is_enabled=is_enabled)
    before = await desk.standing()
    assert [each for each in await desk.prepare() if "openai" in each] == said
    assert (await desk.standing())["openai"] == (is_enabled or bool(said), {}, ["mine"])
    await desk.undo()
    assert await desk.standing() == before


async def test_an_organization_that_can_take_a_call_is_left_alone(desk: Desk) -> None:
    await desk.store("deepgram", "dg-real")
    await desk.store("openai", "sk-real")
    await desk.set("piper", is_enabled=True, voice="en_GB-alan-medium")
    before = await desk.plane.providers.get_organization_providers(desk.administrator)
    assert await desk.prepare() == []
    assert await desk.plane.providers.get_organization_providers(desk.administrator) == before


async def test_a_piper_that_does_not_speak_or_is_elsewhere_keeps_its_voice(desk: Desk) -> None:
    write = SecretsWrite(approved_origins=[ELSEWHERE])
    await desk.plane.providers.update_provider_secrets(desk.administrator, "piper", write)
    await desk.set("piper", is_enabled=True, baseUrl=ELSEWHERE)
    assert [each for each in await desk.prepare() if "piper" in each] == []
    await desk.set("piper", is_enabled=True)
    await desk.store("openai", "sk-real")  # which speaks too
    await desk.set("openai-tts", is_enabled=True)
    await desk.plane.providers.upsert_organization_provider_config(
        desk.administrator, "openai-tts", ConfigWrite(is_enabled=True, priority=900)
    )
    assert await desk.prepare() == []


async def test_a_whisper_without_a_model_of_its_own_gets_the_one_that_is_there(desk: Desk, models: Path) -> None:
    """Its default is not what this machine has; what an organization chose itself is left alone."""
    await desk.set("whisper", is_enabled=True)
    assert (await desk.prepare())[0] == "whisper: model is tiny.en"
    await desk.set("whisper", is_enabled=True, model="small")
    assert await desk.prepare() == []
    await desk.set("whisper", is_enabled=True)
    (models / "whisper" / "base").mkdir()
    for name in ("model.bin", "tokenizer.json"):
        (models / "whisper" / "base" / name).touch()
    assert await desk.prepare() == []


async def test_what_a_placeholder_does_not_help_gets_none(desk: Desk) -> None:
    """A key is wanted at an address that nobody approved; one that is approved already stays so."""
    await desk.set("openai", is_enabled=True, baseUrl="https://gateway.example/v1")
    assert [each for each in await desk.prepare() if "openai" in each] == []
    write = SecretsWrite(approved_origins=["https://gateway.example/v1"])
    await desk.plane.providers.update_provider_secrets(desk.administrator, "openai", write)
    assert [each for each in await desk.prepare() if "openai" in each] == ["openai: has a placeholder for a key"]
    await desk.undo()
    shown = await desk.plane.providers.get_organization_provider(desk.administrator, "openai")
    assert (shown.reason, shown.approved_origins) == ("secrets_missing", ("https://gateway.example:443/v1",))


async def test_nobody_speaks_on_a_placeholder(desk: Desk) -> None:
    """OpenAI's voices use the key of its models."""
    await desk.plane.providers.upsert_organization_provider_config(
        desk.administrator, "openai-tts", ConfigWrite(is_enabled=True, priority=900)
    )
    before = await desk.standing()
    assert (await desk.prepare())[1:3] == ["groq: has a placeholder for a key", "groq: is on"]
    shown = await desk.plane.providers.get_organization_providers(desk.administrator)
    assert dict(shown.next_call) == {"stt": "whisper", "tts": "piper", "llm": "groq"}
    await desk.undo()
    assert await desk.standing() == before


async def test_a_key_that_is_stored_is_used_and_no_placeholder_beside_it(desk: Desk) -> None:
    """Also where OpenAI's voices are on."""
    own = SecretsWrite(secrets={"apiKey": "sk-own-1234567890"})
    await desk.plane.providers.update_provider_secrets(desk.administrator, "openai", own)
    for key, is_enabled in (("openai", False), ("openai-tts", True)):
        write = ConfigWrite(is_enabled=is_enabled)
        await desk.plane.providers.upsert_organization_provider_config(desk.administrator, key, write)
    assert "openai: is on" in await desk.prepare()
    shown = await desk.plane.providers.get_organization_provider(desk.administrator, "groq")
    assert (shown.is_enabled, shown.secret_fields[0].is_set) == (False, False)


async def test_a_whisper_elsewhere_keeps_its_model(desk: Desk) -> None:
    write = SecretsWrite(approved_origins=[ELSEWHERE])
    await desk.plane.providers.update_provider_secrets(desk.administrator, "whisper", write)
    await desk.set("whisper", is_enabled=True, baseUrl=ELSEWHERE)
    assert [each for each in await desk.prepare() if "whisper" in each] == []


async def test_no_placeholder_stands_in_where_the_vendors_own_model_is_to_answer(desk: Desk) -> None:
    assert [each.split(":")[0] for each in await desk.prepare(is_vendors=True)] == ["whisper", "piper"]
    assert PLACEHOLDER not in str(await desk.standing())


async def test_a_workers_token_lasts_as_long_as_the_call(plane: ControlPlane) -> None:
    async with machine.access_token(plane) as token:
        assert (await plane.access.authenticate(token)).scopes == {Scope.WORKER_RESOLVE}
    with pytest.raises(Unauthenticated):
        await plane.access.authenticate(token)


async def test_the_control_plane_is_found_or_started_as_the_environment_has_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What answers on its port may be of another data folder, and does not know the token."""
    asked, shown = list[str](), list[str]()
    another = {"id": str(uuid4()), "slug": "default", "name": "Default"}

    async def other(request: web.Request) -> web.Response:
        asked.append(request.path)
        shown.append(request.headers["Authorization"].partition(" ")[2])
        return web.json_response({"subject": "x", "name": "x", "kind": "token", "organization": another, "scopes": []})

    app = web.Application()
    app.router.add_get("/{path:.*}", other)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port: int = runner.addresses[0][1]
    set_environment(monkeypatch, settings)
    try:
        theirs = settings.model_copy(update={"port": port})
        async with (
            machine.control_plane(theirs, tmp_path / "log") as (url, token, plane),
            httpx.AsyncClient() as client,
        ):
            assert asked == ["/api/me"]
            assert token not in shown, "a stranger gets no worker's token"
            with pytest.raises(Unauthenticated):
                await plane.access.authenticate(shown[0])
            assert not url.endswith(f":{port}")
            ready: Any = (await client.get(f"{url}/readyz")).json()
            assert ready["secrets"] == "open", "it has the keyring that is named"
            ours = settings.model_copy(update={"host": "0.0.0.0", "port": httpx.URL(url).port})  # noqa: S104 - nothing binds it
            async with machine.control_plane(ours, tmp_path / "log") as (found, _, _):
                assert found == url
            for host in ("192.0.2.1", "voxplane.example"):  # a worker would not go there without TLS
                away = settings.model_copy(update={"host": host, "port": httpx.URL(url).port})
                assert machine._address(away) is None  # pyright: ignore[reportPrivateUsage] - what would be started takes seconds
            me = await client.get(f"{url}/api/me", headers={"Authorization": f"Bearer {token}"})
            assert me.json()["name"] == "make call"
    finally:
        await runner.cleanup()


async def test_what_listens_in_pipers_place_is_not_taken_for_it(tmp_path: Path) -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port: int = runner.addresses[0][1]
        with pytest.raises(Unavailable, match=f"What listens on port {port} is not Piper: stop it"):
            async with machine.piper(tmp_path / "log", f"http://127.0.0.1:{port}"):
                raise AssertionError("it is")
    finally:
        await runner.cleanup()


async def test_nothing_is_reported_of_a_model_that_a_script_stood_in_for(desk: Desk) -> None:
    await desk.prepare()
    seen = [ProviderReport(provider=each, outcome="failed", kind="server") for each in ("openai", "piper")]
    async with served(desk.plane) as url, machine.access_token(desk.plane) as token:
        async with ScriptedClient(url, token) as client:
            for each in seen:
                client.report(each)
        shown = await desk.plane.providers.get_organization_providers(desk.administrator)
    assert [each.provider.key for each in shown.providers if each.health is not None] == ["piper"]


async def test_what_does_not_start_or_speak_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOXPLANE_MODELS_DIR", str(tmp_path / "none"))  # so there is no voice to start with
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    log = tmp_path / "call.log"
    with pytest.raises(Unavailable, match=r"Piper did not start\. What it said is at the end of .*call\.log\."):
        async with machine.piper(log, nobody):
            raise AssertionError("it did")
    assert log.read_text()
    with pytest.raises(Unavailable, match=r"Piper at http://127\.0\.0\.1:\d+ did not speak the question \(Conn"):
        await ask_piper("Hello.", nobody)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--question", " "], "there is nothing to say"), (["--answer", "nowhere/answer.wav"], "a folder that exists")],
)
def test_what_no_call_can_be_made_of_is_refused_at_once(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["call", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err

"""The worker: LiveKit's own `AgentServer` takes jobs from a loopback dispatcher and answers calls in processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL
from typing import Any, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from aiohttp import web
from anyio.abc import Process
from examples.call import machine
from examples.call.__main__ import ask_piper
from examples.call.scripted_model import ScriptedModel
from livekit.agents import AgentServer

from tests.conftest import token_for
from tests.dispatcher import KEY, SECRET, Dispatcher
from tests.served import served
from tests.speech.fakes import serving
from tests.test_call import QUESTION, models, piper_url, speak_from
from tests.test_changes import until
from tests.vendors.environment import CANARY, canaries
from voxplane import Client
from voxplane.agent import agent_server, answer, introduce, main, organization_of, serve
from voxplane.agent_settings import AgentSettings, LiveKitSettings
from voxplane.errors import ConfigurationError, Unreachable
from voxplane.schemas import (
    AccessTokenCreate,
    ConfigWrite,
    OrderWrite,
    OrganizationCreate,
    ProviderHealth,
    ProviderType,
    SecretsWrite,
)
from voxplane.server.auth import Principal, Scope
from voxplane.server.control_plane import ControlPlane, local_administrator

__all__ = ["models", "piper_url"]  # fixtures that pytest finds by their names
pytestmark = pytest.mark.timeout(480)  # a worker that starts imports a lot, on whatever the machine has left


@dataclass
class Fleet:
    """A worker of a fleet, and what it needs: two organizations, a model, a voice, and somebody who hands out jobs."""

    dispatcher: Dispatcher
    folder: Path
    model: ScriptedModel
    environment: dict[str, str]
    log: Path

    @asynccontextmanager
    async def worker(self, **environment: str) -> AsyncGenerator[Process]:
        """Run the worker until left."""
        self.dispatcher.registered = anyio.Event()
        with self.log.open("wb") as log:
            process = await anyio.open_process(
                [sys.executable, "-m", "tests.worker_job"],
                env=self.environment | environment,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
            )
        async with process:
            try:
                with anyio.fail_after(90):
                    await self.dispatcher.registered.wait()
                yield process
            finally:
                with suppress(ProcessLookupError):  # it may have ended
                    process.terminate()
                with anyio.CancelScope(shield=True), anyio.move_on_after(30):
                    await process.wait()

    def result(self, job: str) -> dict[str, Any]:
        """Return what a job left behind."""
        return json.loads((self.folder / f"{job}.json").read_text())

    async def answered(self, job: str) -> None:
        """Wait until a job's caller has an answer."""
        await until((self.folder / f"{job}.json").exists, seconds=60)

    def logged(self) -> str:
        """Return what the worker wrote."""
        return self.log.read_text()

    def ended(self) -> dict[str, Any]:
        """Return what each call ran on, as it was logged at its end."""
        assert "did not exit in time" not in self.logged()
        records = [
            json.loads(line.partition("call ended: ")[2]) for line in self.logged().splitlines() if "call ended" in line
        ]
        return {record["job"]: record for record in records}


def answered_by(model: str) -> dict[str, dict[str, int]]:
    """Return who answers in a call of one turn."""
    return {"stt": {"whisper": 1}, "tts": {"piper": 1}, "llm": {model: 1}}


async def add_organization(plane: ControlPlane, slug: str, key: str, piper_url: str) -> Principal:
    """Make an organization that can take calls here, with a key of its own."""
    operator = local_administrator(None, "test")
    made = await plane.access.create_organization(operator, OrganizationCreate(slug=slug, name=slug.title()))
    admin = local_administrator(made.id, "test")
    on = ConfigWrite(is_enabled=True)
    for provider, config in (("whisper", {"model": machine.WHISPER}), ("piper", {"voice": machine.VOICE})):
        write = ConfigWrite(config=config, is_enabled=True)
        await plane.providers.upsert_organization_provider_config(admin, provider, write)
    await speak_from(plane, admin, piper_url)
    for provider in ("openai", "groq"):
        secrets = SecretsWrite(secrets={"apiKey": f"{key}-{provider}"})
        await plane.providers.update_provider_secrets(admin, provider, secrets)
        await plane.providers.upsert_organization_provider_config(admin, provider, on)
    order = OrderWrite(order=["openai", "groq"])
    await plane.providers.order_organization_providers(admin, ProviderType.LLM, order)
    return admin


@pytest.fixture
async def fleet(models: Path, piper_url: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        (tmp_path / "question.wav").write_bytes(await ask_piper(QUESTION, piper_url))
        model = ScriptedModel()
        base_url = await stack.enter_async_context(model.served())
        dispatcher = await stack.enter_async_context(Dispatcher().served())
        arrived: list[str] = []

        async def listen(request: web.Request) -> web.Response:
            arrived.append(request.path)
            return web.Response(status=500)

        gateway = await stack.enter_async_context(serving(listen))
        # Somebody else's account with every vendor, where a plugin left to itself would find it.
        elsewhere = canaries(base_url)
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("VOXPLANE_", "LIVEKIT_"))  # noqa: TID251 - what a worker's process inherits
        } | {
            "VOXPLANE_MODELS_DIR": str(models),
            "VOXPLANE_SNAPSHOT_DIR": str(tmp_path / "snapshots"),
            "CALL_FOLDER": str(tmp_path),
            "CALL_STAND_INS": json.dumps({"openai": base_url, "groq": base_url}),
            "LIVEKIT_URL": dispatcher.url,
            "LIVEKIT_API_KEY": KEY,
            "LIVEKIT_API_SECRET": SECRET,
            # LiveKit's development mode, in which its own defaults would send what is said to its gateway.
            "LIVEKIT_DEV_MODE": "1",
            "LIVEKIT_INFERENCE_URL": f"http://{gateway}",
        } | {name: value for name, value in elsewhere.items() if not name.startswith("LIVEKIT_")}  # fmt: skip
        yield Fleet(dispatcher, tmp_path, model, environment, tmp_path / "worker.log")
        assert arrived == []


async def health(plane: ControlPlane, admin: Principal, status: str) -> ProviderHealth:
    """Wait until workers have reported this of openai."""
    with anyio.fail_after(20):
        while True:
            seen = (await plane.providers.get_organization_provider(admin, "openai")).health
            if seen is not None and seen.status == status:
                return seen
            await anyio.sleep(0.1)  # the worker is another process


async def test_a_fleet_answers_each_organization_on_its_own_providers_and_keys(
    fleet: Fleet, plane: ControlPlane, piper_url: str
) -> None:
    """Two organizations on one worker; the first one's key is dead, so its call goes on with the next provider.

    In the next call it answers, and is well again. Nobody hangs up in that one, so it ends with the worker's token.
    """
    acme = await add_organization(plane, "acme", "acme", piper_url)
    beta = await add_organization(plane, "beta", "beta", piper_url)
    fleet.model.refused = {"acme-openai"}
    operator = local_administrator(None, "test")
    new = AccessTokenCreate(name="fleet", scopes=[Scope.WORKER_RESOLVE])
    token = await plane.access.create_fleet_token(operator, new, [acme.tenant, beta.tenant])
    async with served(plane) as url, fleet.worker(VOXPLANE_URL=url, VOXPLANE_TOKEN=token.value):
        endings: dict[str, str] = {}

        async def dispatch(job: str, metadata: object) -> None:
            endings[job] = await fleet.dispatcher.dispatch(job, metadata)

        with anyio.fail_after(240):
            async with anyio.create_task_group() as group:
                group.start_soon(dispatch, "one", {"organization": "acme", "hangs_up": "room"})
                group.start_soon(dispatch, "two", {"organizationId": str(beta.tenant), "hangs_up": "job"})
                group.start_soon(dispatch, "three", {"organization": "default"})
        assert endings["one"] == endings["two"] == "success", fleet.logged()

        failing = await health(plane, acme, "failing")
        assert (failing.kind, failing.reported_by) == ("authentication", "fleet")
        fleet.model.refused = set()
        with anyio.fail_after(90):
            async with anyio.create_task_group() as group:
                group.start_soon(dispatch, "four", {"organization": "acme", "hangs_up": "nobody"})
                await fleet.answered("four")
                await health(plane, acme, "recovered")
                await plane.access.revoke_platform_token(token.id)
    one, two = fleet.result("one"), fleet.result("two")
    for result in (one, two):
        assert "open" in result["heard"].lower()
        assert result["answered"].strip() == fleet.model.answer_to("open")
        assert result["revisions"][0][1] == {"stt": ["whisper"], "tts": ["piper"], "llm": ["openai", "groq"]}
    assert one["process"] != two["process"]
    assert set(fleet.model.keys) == {"acme-openai", "acme-groq", "beta-openai"}
    assert CANARY not in repr((fleet.model.requests, fleet.model.headers)).lower()
    assert fleet.model.keys.count("acme-openai") == 2
    assert (await plane.providers.get_organization_provider(beta, "openai")).health is None
    # The third organization is none of the fleet's.
    assert not (fleet.folder / "three.json").exists()
    assert "call three cannot be answered: There is no such organization for this token." in fleet.logged()
    assert fleet.ended() == {
        "one": {"job": "one", "organization": "acme", "revisions": one["revisions"], "answered": answered_by("groq")},
        "two": {"job": "two", "organization": "beta", "revisions": two["revisions"], "answered": answered_by("openai")},
        "four": {
            "job": "four",
            "organization": "acme",
            "revisions": one["revisions"],
            "answered": answered_by("openai"),
        },
    }


@pytest.mark.drill
async def test_a_job_starts_from_the_snapshot_on_disk_and_fails_at_once_without_one(
    fleet: Fleet, plane: ControlPlane, piper_url: str
) -> None:
    acme = await add_organization(plane, "acme", "acme", piper_url)
    new = AccessTokenCreate(name="worker", scopes=[Scope.WORKER_RESOLVE])
    token = (await plane.access.create_token(_granting(acme), new)).value
    # An earlier call of this worker left its snapshot; the control plane is gone since.
    async with served(plane) as url, Client(url, token, snapshot_folder=fleet.folder / "snapshots"):
        pass
    async with fleet.worker(VOXPLANE_URL=url, VOXPLANE_TOKEN=token):
        with anyio.fail_after(90):
            assert await fleet.dispatcher.dispatch("away", "") == "success", fleet.logged()
        for file in (fleet.folder / "snapshots").iterdir():
            file.unlink()
        with anyio.fail_after(60):
            await fleet.dispatcher.dispatch("nothing", "")
        await until(lambda: "call nothing cannot be answered" in fleet.logged())
    assert fleet.result("away")["answered"].strip() == fleet.model.answer_to("open")
    assert "Starting from the snapshot on disk" in fleet.logged()
    revisions = fleet.result("away")["revisions"]
    answered = answered_by("openai")
    assert fleet.ended() == {
        "away": {"job": "away", "organization": "acme", "revisions": revisions, "answered": answered}
    }
    said = "There is no usable snapshot on disk either. Is VOXPLANE_URL right, and the control plane up?"
    assert said in fleet.logged()
    assert not (fleet.folder / "nothing.json").exists()
    assert set(fleet.model.keys) == {"acme-openai"}


def _granting(admin: Principal) -> Principal:
    return Principal("local:test", "test", "local", admin.tenant, frozenset({*admin.scopes, Scope.WORKER_RESOLVE}))


@pytest.mark.parametrize(
    ("metadata", "organization"),
    [
        ("", "current"),
        ('{"organization": "acme"}', "acme"),
        ('{"organizationId": "7"}', "7"),
        ('{"caller": "+1"}', "current"),
    ],
)
def test_the_organization_comes_from_the_jobs_metadata(metadata: str, organization: str) -> None:
    assert organization_of(metadata, "current") == organization


@pytest.mark.parametrize("metadata", ["acme", "[]", '{"organization": 7}', '{"organization": ""}', "null"])
def test_metadata_that_names_no_organization_is_refused(metadata: str) -> None:
    with pytest.raises(ConfigurationError, match="names no organization"):
        organization_of(metadata, "current")


@pytest.mark.drill
async def test_a_second_signal_ends_the_calls_that_are_under_way_on_record(
    fleet: Fleet, plane: ControlPlane, piper_url: str
) -> None:
    acme = await add_organization(plane, "acme", "acme", piper_url)
    new = AccessTokenCreate(name="worker", scopes=[Scope.WORKER_RESOLVE])
    token = (await plane.access.create_token(_granting(acme), new)).value
    async with (
        served(plane) as url,
        fleet.worker(VOXPLANE_URL=url, VOXPLANE_TOKEN=token) as worker,
        anyio.create_task_group() as group,
    ):
        group.start_soon(fleet.dispatcher.dispatch, "one", {"hangs_up": "nobody"})
        await fleet.answered("one")
        worker.terminate()
        await until(lambda: "draining worker" in fleet.logged())
        worker.terminate()
        with anyio.fail_after(30):
            assert await worker.wait() == 0
        group.cancel_scope.cancel()
    assert list(fleet.ended()) == ["one"]


async def test_calls_that_go_on_for_too_long_do_not_keep_a_worker_from_closing() -> None:
    class Server:
        """Drains in vain, and runs until it is closed."""

        def __init__(self) -> None:
            self.closed = anyio.Event()

        async def run(self, *, devmode: bool) -> None:
            """Be signalled at once."""
            assert not devmode
            await anyio.lowlevel.checkpoint()
            os.kill(os.getpid(), signal.SIGTERM)
            await self.closed.wait()

        async def drain(self) -> None:
            """Take too long."""
            raise TimeoutError

        async def aclose(self) -> None:
            """Close."""
            self.closed.set()

    server = Server()
    with anyio.fail_after(10):
        await serve(cast("AgentServer", server), False)  # noqa: FBT003 - not the development mode
    assert server.closed.is_set()


@pytest.mark.parametrize("command", ["start", "dev", "console"])
def test_a_worker_is_told_all_that_is_missing(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here with an agent of one's own."""
    monkeypatch.delenv("VOXPLANE_TOKEN", raising=False)
    monkeypatch.setenv("LIVEKIT_API_SECRET", "secret")
    monkeypatch.setenv("LIVEKIT_API_KEY", "")
    monkeypatch.delenv("LIVEKIT_URL", raising=False)
    monkeypatch.setattr(sys, "argv", ["livekit_agent.py", command])
    with pytest.raises(SystemExit) as told:
        main(answer)
    sentences = "The worker cannot start. VOXPLANE_TOKEN: This field is required."
    if command != "console":
        sentences += " LIVEKIT_URL: This field is required. LIVEKIT_API_KEY: "
    assert str(told.value).startswith(sentences)


def test_a_worker_says_how_to_run_and_what_it_reads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, code in (([], 2), (["stop"], 2), (["--help"], 0), (["start", "--help"], 0)):
        monkeypatch.setattr(sys, "argv", ["livekit_agent.py", *arguments])
        with pytest.raises(SystemExit) as told:
            main(answer)
        said = capsys.readouterr()
        assert (told.value.code, "{start,dev,console}" in said.out + said.err) == (code, True)
    assert re.search(r"VOXPLANE_TOKEN +A token with worker:resolve", said.out)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("URL", "http://far.example", "VOXPLANE_URL: The control plane's address must begin with https://"),
        ("URL", "voxplane", "VOXPLANE_URL: The control plane's address cannot be read: write an address that"),
        ("TOKEN", "vxp_a\nb", "VOXPLANE_TOKEN: This cannot be a token"),
        ("PIPER", "inprocess", "VOXPLANE_PIPER is neither http nor in-process."),
        ("SNAPSHOT_DIR", "/dev/null/snapshots", "VOXPLANE_SNAPSHOT_DIR: name a folder that this worker may write to"),
        ("AGENT_PORT", "70000", "VOXPLANE_AGENT_PORT: Input should be less than or equal to 65535"),
        ("TOKEN", "vxp_unknown", "The control plane does not know this token: it was revoked, has ended, or never"),
    ],
)
async def test_a_worker_does_not_start_with_what_no_call_can_begin_with(
    name: str, value: str, said: str, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(plane) as url:
        for variable, given in (("URL", url), ("TOKEN", "vxp_a"), (name, value)):
            monkeypatch.setenv(f"VOXPLANE_{variable}", given)
        monkeypatch.setattr(sys, "argv", ["livekit_agent.py", "console"])
        with pytest.raises(SystemExit) as ended:
            await anyio.to_thread.run_sync(main, answer)
    assert said in str(ended.value)


async def test_a_machine_without_sound_is_told_what_a_console_needs(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "argv", ["livekit_agent.py", "console"])
    monkeypatch.setenv("VOXPLANE_TOKEN", await token_for(plane, Scope.WORKER_RESOLVE))
    async with served(plane) as url:
        monkeypatch.setenv("VOXPLANE_URL", url)
        with pytest.raises(SystemExit) as ended:
            await anyio.to_thread.run_sync(main, answer)
    assert "The console needs PortAudio" in str(ended.value)


def test_a_folder_of_snapshots_is_looked_at_where_a_worker_starts_and_by_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that has become full, or read-only, has the last snapshots all the same."""
    monkeypatch.setenv("VOXPLANE_TOKEN", "vxp_token")
    for place in ("/dev/null/snapshots", str(tmp_path / "snapshots")):
        monkeypatch.setenv("VOXPLANE_SNAPSHOT_DIR", place)
        assert str(AgentSettings.read().snapshot_dir) == place
    assert not (tmp_path / "snapshots").exists()


async def test_a_control_plane_that_is_away_is_said_and_no_reason_not_to_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("VOXPLANE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("VOXPLANE_TOKEN", "vxp_token")
    await introduce(AgentSettings.read())
    assert "No answer from http://127.0.0.1:9 (ClientConnectorError). Until it does, no call is" in caplog.text
    monkeypatch.setenv("VOXPLANE_SNAPSHOT_DIR", str(tmp_path))
    await introduce(AgentSettings.read())
    assert "no call is answered, for there is no snapshot in VOXPLANE_SNAPSHOT_DIR yet" in caplog.text
    (tmp_path / "token-organization.snapshot").touch()
    await introduce(AgentSettings.read())
    assert "Until it does, calls are answered from the snapshots on disk." in caplog.text


async def test_a_fleets_worker_without_jobs_has_to_be_told_whose_calls_it_takes(
    plane: ControlPlane, administrator: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = AccessTokenCreate(name="fleet", scopes=[Scope.WORKER_RESOLVE])
    token = await plane.access.create_fleet_token(local_administrator(None, "test"), new, [administrator.tenant])
    monkeypatch.setenv("VOXPLANE_TOKEN", token.value)
    async with served(plane) as url:
        monkeypatch.setenv("VOXPLANE_URL", url)
        await introduce(AgentSettings.read())
        with pytest.raises(ConfigurationError, match="set VOXPLANE_ORGANIZATION"):
            await introduce(AgentSettings.read(), has_jobs=False)
        monkeypatch.setenv("VOXPLANE_ORGANIZATION", "default")
        await introduce(AgentSettings.read(), has_jobs=False)


@pytest.mark.parametrize("address", ["livekit.example.com", "ftp://livekit.example.com", "wss://"])
def test_an_address_that_is_none_of_a_livekit_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("URL", address), ("API_KEY", "key"), ("API_SECRET", "secret")):
        monkeypatch.setenv(f"LIVEKIT_{name}", value)
    with pytest.raises(ConfigurationError, match="LIVEKIT_URL: write an address such as wss://"):
        LiveKitSettings.read()


async def test_a_livekit_that_cannot_be_reached_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("URL", "ws://127.0.0.1:9"), ("API_KEY", KEY), ("API_SECRET", SECRET)):
        monkeypatch.setenv(f"LIVEKIT_{name}", value)
    monkeypatch.setenv("VOXPLANE_TOKEN", "vxp_token")
    server = agent_server(AgentSettings.read(), max_retry=0, port=0, num_idle_processes=0)
    with anyio.fail_after(60), pytest.raises(Unreachable, match="LiveKit cannot be reached"):
        await serve(server, False)  # noqa: FBT003 - not the development mode


async def test_a_worker_beside_another_says_which_setting_gives_it_a_port_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("URL", "ws://127.0.0.1:9"), ("API_KEY", KEY), ("API_SECRET", SECRET)):
        monkeypatch.setenv(f"LIVEKIT_{name}", value)
    monkeypatch.setenv("VOXPLANE_TOKEN", "vxp_token")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("VOXPLANE_AGENT_PORT", str(other.getsockname()[1]))
        server = agent_server(AgentSettings.read(), max_retry=0, num_idle_processes=0)
        with anyio.fail_after(60), pytest.raises(ConfigurationError, match="VOXPLANE_AGENT_PORT names another one"):
            await serve(server, False)  # noqa: FBT003 - not the development mode

"""`make call`, and what a call does when its organization changes something in the middle of it."""

from __future__ import annotations

import io
import socket
import wave
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import jiwer
import pytest
from aiohttp import ClientResponseError, web
from anyio.from_thread import start_blocking_portal
from examples.call import machine
from examples.call.__main__ import Outcome, ask_piper, call, why_unanswered
from examples.call.audio import Caller, Ear
from examples.call.organization import PLACEHOLDER, prepare
from examples.call.scripted_model import ScriptedModel, StandIn
from livekit.agents import Agent, function_tool
from livekit.agents.language import LanguageCode
from livekit.agents.llm import ChatChunk, ChatContext, ChoiceDelta, FunctionToolCall
from livekit.agents.stt import SpeechData, SpeechEvent, SpeechEventType
from livekit.plugins import silero
from typing_extensions import override

from tests.served import served
from tests.test_changes import until
from tests.vendors.vendor import PROXIES
from voxplane import Client
from voxplane import call as call_module
from voxplane.call import Call
from voxplane.errors import NoPrimaryProvider
from voxplane.http import http_session
from voxplane.livekit import preload
from voxplane.livekit.llm import LinkLLM
from voxplane.livekit.stt import LinkSTT
from voxplane.livekit.tts import LinkTTS
from voxplane.schemas import ConfigWrite, OrderWrite, OrganizationProvider, ProviderType, SecretsWrite
from voxplane.server.auth import Principal
from voxplane.server.control_plane import ControlPlane
from voxplane.speech import weights

pytestmark = pytest.mark.timeout(180)
QUESTION = "Hello. Are you open today?"
WORDS = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.RemovePunctuation(),
        jiwer.SubstituteWords({"9": "nine", "5": "five"}),  # Whisper writes either
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
        jiwer.ReduceToListOfListOfWords(),
    ]
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The models folder of this machine, and every plugin imported on the main thread."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("models")
        patch.setenv("VOXPLANE_MODELS_DIR", str(folder))
        machine.place_models()
        preload()
        yield folder


@pytest.fixture(scope="module")
def piper_url(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a Piper server answers: one for a file, because it takes seconds to load its voice."""
    assert models.name
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    running = machine.piper(tmp_path_factory.mktemp("piper") / "piper.log", url)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(running):
        yield url


async def change(plane: ControlPlane, admin: Principal, key: str, **config: object) -> OrganizationProvider:
    """Change settings of a provider and leave its others as they are."""
    before = await plane.providers.get_organization_provider(admin, key)
    write = ConfigWrite(config={**before.overrides, **config})
    return await plane.providers.upsert_organization_provider_config(admin, key, write)


async def speak_from(plane: ControlPlane, admin: Principal, piper_url: str) -> None:
    """Have an organization's Piper be the server at an address, which a holder of admin:secrets has to approve."""
    await plane.providers.update_provider_secrets(admin, "piper", SecretsWrite(approved_origins=[piper_url]))
    # Without the noise that it adds by chance, the same words always sound the same, and are heard as the same.
    await change(plane, admin, "piper", baseUrl=piper_url, noiseScale=0.0, noiseWScale=0.0)


class Desk:
    """Everything that a call without an account needs."""

    def __init__(self, client: Client, model: ScriptedModel, registry: StandIn, question: bytes) -> None:
        """Take what is running."""
        self.client, self.model, self.registry, self.question = client, model, registry, question

    async def call(self, answer: Path) -> Outcome:
        """Make a call."""
        return await call(self.client, question=self.question, answer=answer, registry=self.registry)


@pytest.fixture
async def desk(plane: ControlPlane, administrator: Principal, piper_url: str) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(plane))
        said: list[str] = []
        await prepare(plane, said.append)
        token = await stack.enter_async_context(machine.access_token(plane))
        assert len(said) == 3
        await speak_from(plane, administrator, piper_url)
        model = ScriptedModel()
        registry = StandIn(dict.fromkeys(("openai", "groq"), await stack.enter_async_context(model.served())))
        client = await stack.enter_async_context(Client(url, token))
        yield Desk(client, model, registry, await ask_piper(QUESTION, piper_url))


def transcript(wav: Path) -> str:
    """Write down what a wav says, with nothing of ours in between."""
    from faster_whisper import WhisperModel  # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs] - it takes a second

    model: Any = WhisperModel(weights.whisper_model(machine.WHISPER), device="cpu", compute_type="int8")
    segments, _ = model.transcribe(str(wav), language="en")
    return " ".join(segment.text.strip() for segment in segments)


def wrong(expected: str, heard: str) -> float:
    """Return the word error rate."""
    return float(jiwer.wer(expected, heard, reference_transform=WORDS, hypothesis_transform=WORDS))


def seconds(wav: Path) -> float:
    """Return how long a wav is."""
    with wave.open(str(wav)) as file:
        return file.getnframes() / file.getframerate()


async def test_a_call_is_heard_answered_and_spoken_on_the_organizations_settings(
    desk: Desk, plane: ControlPlane, administrator: Principal, tmp_path: Path
) -> None:
    outcome = await desk.call(tmp_path / "first.wav")
    assert wrong(QUESTION, outcome.heard) <= 0.2
    assert outcome.answered.strip() == desk.model.answer_to("are you open")
    assert wrong(outcome.answered, transcript(tmp_path / "first.wav")) <= 0.2
    assert outcome.providers == {"stt": ["whisper"], "tts": ["piper"], "llm": ["openai"]}
    assert outcome.at == desk.client.at
    assert desk.model.keys == [PLACEHOLDER]
    assert desk.model.requests[0]["model"] == "gpt-4o-mini"
    before = desk.client.at
    await change(plane, administrator, "piper", lengthScale=2.0)
    await change(plane, administrator, "openai", temperature=0.1)
    await until(lambda: int(desk.client.at.split(".")[1]) == int(before.split(".")[1]) + 2)
    slower = await desk.call(tmp_path / "second.wav")
    assert slower.answered == outcome.answered
    assert seconds(tmp_path / "second.wav") > 1.5 * seconds(tmp_path / "first.wav")
    assert [each["temperature"] for each in desk.model.requests] == [0.7, 0.1]


async def test_a_call_without_its_voice_names_who_failed_and_the_voices_that_are_there(
    desk: Desk, plane: ControlPlane, administrator: Principal, tmp_path: Path
) -> None:
    before = desk.client.at
    await change(plane, administrator, "piper", voice="en_US-lessac-medium")
    await until(lambda: desk.client.at != before)
    outcome = await desk.call(tmp_path / "unspoken.wav")
    missing = f"does not have the voice en_US-lessac-medium. It has: {machine.VOICE}."
    assert f"answered: piper failed: unavailable. The Piper server {missing}" in why_unanswered(outcome)
    assert not (tmp_path / "unspoken.wav").exists()
    assert desk.client.chain("tts")[0].is_failing, "and it was reported"


class Talk:
    """A call that goes on for as long as a test wants."""

    def __init__(self, desk: Desk) -> None:
        """Take what is running."""
        with wave.open(io.BytesIO(desk.question)) as file:
            self.caller = Caller(file.getframerate())
        self.ear, self.desk = Ear(), desk
        self.heard: list[str] = []
        self.answers: list[str] = []
        self.call = Call(
            desk.client,
            vad=silero.VAD.load(min_silence_duration=0.4),
            instructions="Be brief.",
            registry=desk.registry,
            session_options={"aec_warmup_duration": None},
        )

    @asynccontextmanager
    async def going(self) -> AsyncGenerator[Talk]:
        """Be in the call."""
        async with self.call:
            self.session.on("conversation_item_added", self._added)
            self.session.on("user_input_transcribed", self._transcribed)
            self.session.input.audio, self.session.output.audio = self.caller, self.ear
            await self.call.start()
            yield self

    @property
    def session(self) -> Any:
        """LiveKit's session, whose parameters are open."""
        return self.call.session

    @property
    def agent(self) -> Any:
        """LiveKit's agent, likewise."""
        return self.call.agent

    async def turn(self) -> None:
        """Ask, and wait for the answer."""
        answers = len(self.answers)
        self.caller.say(self.desk.question)
        await until(lambda: len(self.answers) == answers + 1, seconds=60)

    async def moves_on(self) -> None:
        """Wait until the call uses another revision."""
        revisions = len(self.call.record.revisions)
        await until(lambda: len(self.call.record.revisions) > revisions, seconds=30)

    def _added(self, event: Any) -> None:
        if getattr(event.item, "role", "") == "assistant":
            self.answers.append(event.item.text_content)

    def _transcribed(self, event: Any) -> None:
        if event.is_final:
            self.heard.append(event.transcript)


@pytest.fixture
async def talk(desk: Desk) -> AsyncIterator[Talk]:
    async with Talk(desk).going() as talk:
        yield talk


async def rotate(plane: ControlPlane, admin: Principal) -> None:
    """Give the model another key."""
    secrets = SecretsWrite(secrets={"apiKey": "sk-rotated"})
    await plane.providers.update_provider_secrets(admin, "openai", secrets)


async def test_a_change_in_mid_call_is_used_from_the_next_turn_on(
    talk: Talk, plane: ControlPlane, administrator: Principal
) -> None:
    await talk.turn()
    stt = talk.session.stt
    async with anyio.create_task_group() as group:
        group.start_soon(talk.moves_on)
        await rotate(plane, administrator)
    await talk.turn()
    assert talk.desk.model.keys == [PLACEHOLDER, "sk-rotated"]
    assert talk.session.stt is stt


async def test_a_change_while_the_caller_speaks_loses_nothing_of_what_is_said(
    talk: Talk, plane: ControlPlane, administrator: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engines are all replaced, and none before the turn that had begun is answered."""
    await talk.turn()
    closed: list[int] = []
    for engine in (LinkSTT, LinkLLM, LinkTTS):
        close = engine.aclose

        async def aclose(self: Any, close: Any = close) -> None:
            closed.append(len(talk.answers))
            await close(self)

        monkeypatch.setattr(engine, "aclose", aclose)
    talk.caller.say(talk.desk.question)
    await until(lambda: talk.session.user_state == "speaking", seconds=20)
    await change(plane, administrator, "whisper", beamSize=2)
    await change(plane, administrator, "piper", lengthScale=1.2)
    await rotate(plane, administrator)
    async with anyio.create_task_group() as group:
        group.start_soon(talk.moves_on)
        await until(lambda: len(talk.answers) == 2, seconds=60)
    assert [wrong(QUESTION, heard) <= 0.2 for heard in talk.heard] == [True, True]
    assert closed == [2, 2, 2]
    await talk.turn()
    assert talk.desk.model.keys == [PLACEHOLDER, PLACEHOLDER, "sk-rotated"]


async def test_what_nobody_answers_holds_up_a_change_for_a_while_only(
    talk: Talk, plane: ControlPlane, administrator: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hear_nothing(*_: object, **__: object) -> SpeechEvent:
        return SpeechEvent(SpeechEventType.FINAL_TRANSCRIPT, alternatives=[SpeechData(LanguageCode("en"), "")])

    monkeypatch.setattr(call_module, "_UNANSWERED_SECONDS", 1.0)
    monkeypatch.setattr(LinkSTT, "recognize", hear_nothing)
    talk.caller.say(talk.desk.question)
    await until(lambda: talk.session.user_state == "speaking", seconds=20)
    async with anyio.create_task_group() as group:
        group.start_soon(talk.moves_on)
        await rotate(plane, administrator)
    assert talk.session.user_state == "listening"
    assert talk.answers == []


async def test_what_cannot_be_built_leaves_the_call_on_what_it_has_and_holds_up_nothing_else(
    talk: Talk, plane: ControlPlane, administrator: Principal, caplog: pytest.LogCaptureFixture
) -> None:
    voice, model = talk.session.tts, talk.session.llm
    await plane.providers.upsert_organization_provider_config(administrator, "piper", ConfigWrite(is_enabled=False))
    await until(lambda: "tts cannot be changed in this call: no_primary_provider" in caplog.text)
    async with anyio.create_task_group() as group:
        group.start_soon(talk.moves_on)
        await rotate(plane, administrator)
    await talk.turn()
    assert talk.desk.model.keys == ["sk-rotated"]
    assert talk.session.tts is voice
    assert talk.session.llm is not model
    at, used = talk.call.record.revisions[-1]
    assert (at, used) == (talk.desk.client.at, {"stt": ["whisper"], "tts": ["piper"], "llm": ["openai"]})


async def test_a_plugin_that_fails_as_it_is_replaced_does_not_end_the_call(
    talk: Talk, plane: ControlPlane, administrator: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Any] = []
    close = LinkLLM.aclose

    async def fail(engine: LinkLLM) -> None:
        await close(engine)
        closed.append(engine)
        raise RuntimeError

    def refuse(**_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(LinkLLM, "aclose", fail)
    first = talk.session.llm
    await rotate(plane, administrator)
    await until(lambda: closed == [first])
    with monkeypatch.context() as patch:
        patch.setattr(talk.agent, "update_options", refuse)
        await change(plane, administrator, "openai", temperature=0.1)
        await until(lambda: len(closed) == 2)
    assert talk.session.llm not in closed
    await talk.turn()
    assert talk.desk.model.keys == ["sk-rotated"]


async def test_a_revoked_token_ends_a_call_in_the_middle_of_a_turn(
    talk: Talk, plane: ControlPlane, administrator: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await talk.turn()
    closed: set[str] = set()
    for engine in (LinkSTT, LinkLLM, LinkTTS):
        close = engine.aclose

        async def aclose(self: Any, close: Any = close) -> None:
            await close(self)
            closed.add(self.provider)

        monkeypatch.setattr(engine, "aclose", aclose)
    talk.caller.say(talk.desk.question)
    await until(lambda: talk.session.user_state == "speaking", seconds=20)
    for token in (await plane.access.get_tokens(administrator)).tokens:
        await plane.access.revoke_token(administrator, token.id)
    with anyio.fail_after(30):
        await talk.call.ended.wait()
    await until(lambda: closed == {"whisper", "openai", "piper"})
    assert len(talk.answers) == len(talk.desk.model.keys) == 1
    assert len(talk.call.record.revisions) == 1


def note(monkeypatch: pytest.MonkeyPatch, whose: Any, name: str) -> list[str]:
    """Have the calls of a method of an object put down, and made."""
    made, method = list[str](), getattr(whose, name)

    async def noted(*arguments: Any, **options: Any) -> Any:
        made.append(name)
        return await method(*arguments, **options)

    monkeypatch.setattr(whose, name, noted)
    return made


async def test_a_revoked_token_ends_a_call_whose_tool_goes_on(
    talk: Talk, plane: ControlPlane, administrator: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiveKit waits for tools before it closes a session, and would let the caller be heard meanwhile."""
    monkeypatch.setattr("voxplane.call._LAST_SECONDS", 2.0)
    engines = [talk.session.stt, talk.session.llm, talk.session.tts]
    closed = [note(monkeypatch, each, "aclose") for each in engines]
    heard = note(monkeypatch, engines[0].plugin, "recognize")
    began, is_over, closings = anyio.Event(), anyio.Event(), list[object]()
    talk.session.on("close", closings.append)

    class Slow(Agent):
        @function_tool
        async def look_up(self) -> str:
            """Look something up in a slow system."""
            began.set()
            try:
                await anyio.sleep_forever()
            finally:
                is_over.set()
            return "done"

        @override
        async def llm_node(self, chat_ctx: Any, tools: Any, model_settings: Any) -> AsyncGenerator[ChatChunk]:
            wanted = FunctionToolCall(name="look_up", arguments="{}", call_id="1")
            yield ChatChunk(id="1", delta=ChoiceDelta(role="assistant", tool_calls=[wanted]))

    agent = Slow(instructions="Look it up.")
    talk.session.update_agent(agent)
    await until(lambda: talk.agent is agent)
    talk.session.generate_reply()
    with anyio.fail_after(20):
        await began.wait()
    for token in (await plane.access.get_tokens(administrator)).tokens:
        await plane.access.revoke_token(administrator, token.id)
    await until(lambda: all(closed))
    assert not is_over.is_set()
    talk.caller.say(talk.desk.question)
    with anyio.fail_after(10):
        await talk.call.ended.wait()
    assert (is_over.is_set(), len(closings)) == (True, 1)
    await anyio.sleep(1)
    assert heard == []
    assert talk.agent.stt is None
    assert [each.link.is_open for each in engines] == [False] * 3


async def test_a_revoked_token_ends_a_call_whose_agent_keeps_its_ear(
    talk: Talk, plane: ControlPlane, administrator: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(talk.agent, "update_options", refuse)
    engines = [talk.session.stt, talk.session.llm, talk.session.tts]
    closed = [note(monkeypatch, each, "aclose") for each in engines]
    for token in (await plane.access.get_tokens(administrator)).tokens:
        await plane.access.revoke_token(administrator, token.id)
    with anyio.fail_after(20):
        await talk.call.ended.wait()
    await until(lambda: all(closed))


async def test_whoever_the_agent_hands_over_to_has_the_providers_and_follows_their_changes(
    talk: Talk, plane: ControlPlane, administrator: Principal
) -> None:
    """One that takes an engine along is in the same case; what it brings itself, here no ear, it keeps."""

    async def ask_after(handover: Agent | None = None) -> None:
        if handover is not None:
            talk.session.update_agent(handover)
            await until(lambda: talk.agent is handover)
            await talk.session.wait_for_idle()
        with anyio.fail_after(30):
            await talk.session.run(user_input=QUESTION)

    talk.session.output.set_audio_enabled(False)
    first = talk.agent
    await ask_after()
    await ask_after(Agent(instructions="You know what is owed.", llm=talk.session.llm, stt=None))
    async with anyio.create_task_group() as group:
        group.start_soon(talk.moves_on)
        await rotate(plane, administrator)
    await ask_after()
    async with anyio.create_task_group() as group:
        group.start_soon(talk.moves_on)
        await change(plane, administrator, "whisper", beamSize=2)
    assert talk.agent.stt is None
    await ask_after(first)
    await ask_after(Agent(instructions="You know nothing."))
    assert talk.desk.model.keys == [PLACEHOLDER] * 2 + ["sk-rotated"] * 3
    assert talk.call.record.answered == {"stt": {}, "tts": {}, "llm": {"openai": 5}}


async def test_a_dead_key_stays_dropped_while_its_chain_changes(
    desk: Desk, plane: ControlPlane, administrator: Principal
) -> None:
    secrets = SecretsWrite(secrets={"apiKey": "sk-groq"})
    await plane.providers.update_provider_secrets(administrator, "groq", secrets)
    on = ConfigWrite(is_enabled=True)
    await plane.providers.upsert_organization_provider_config(administrator, "groq", on)
    order = OrderWrite(order=["openai", "groq"])
    await plane.providers.order_organization_providers(administrator, ProviderType.LLM, order)
    await until(lambda: [each.provider.key for each in desk.client.chain("llm")] == order.order)
    desk.model.refused = {PLACEHOLDER}

    async def asked() -> list[str]:
        desk.model.keys.clear()
        context = ChatContext.empty()
        context.add_message(role="user", content=QUESTION)
        async with talk.session.llm.chat(chat_ctx=context) as answer:
            assert [chunk async for chunk in answer]
        return desk.model.keys

    async with Talk(desk).going() as talk:
        assert talk.session.interruption_detection == "vad", "LiveKit's own would send what is said to LiveKit"
        assert await asked() == [PLACEHOLDER, "sk-groq"]
        async with anyio.create_task_group() as group:
            group.start_soon(talk.moves_on)
            await change(plane, administrator, "groq", temperature=0.1)
        assert await asked() == ["sk-groq"]
        async with anyio.create_task_group() as group:
            group.start_soon(talk.moves_on)
            await rotate(plane, administrator)
        assert await asked() == ["sk-rotated"]


async def test_a_call_that_nobody_can_answer_says_why(
    desk: Desk, plane: ControlPlane, administrator: Principal
) -> None:
    await plane.providers.remove_provider_secrets(administrator, "openai")
    await until(lambda: desk.client.chain("llm") == ())
    with pytest.raises(NoPrimaryProvider, match=r"No llm provider can answer\. .*: openai \(secrets missing\)\."):
        await Talk(desk).call.__aenter__()
    await plane.providers.upsert_organization_provider_config(administrator, "openai", ConfigWrite(is_enabled=False))
    await until(lambda: "openai" not in [each.key for each in desk.client.skipped])
    with pytest.raises(NoPrimaryProvider, match="has no llm provider enabled"):
        await Talk(desk).call.__aenter__()


async def test_what_is_raised_in_mid_call_goes_on_as_it_was_raised(desk: Desk) -> None:
    own = LookupError("its own")
    with pytest.raises(LookupError) as found:
        async with Talk(desk).call:
            raise own
    assert found.value is own


async def test_a_key_that_is_taken_back_ends_a_call_for_which_nothing_stands_in(
    talk: Talk, plane: ControlPlane, administrator: Principal
) -> None:
    await plane.providers.remove_provider_secrets(administrator, "openai")
    with anyio.fail_after(30):
        await talk.call.ended.wait()
    assert len(talk.call.record.revisions) == 1, "there was nothing to go on with"


async def test_neither_a_redirect_nor_a_proxy_gets_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """E7: the headers that vendors have for keys are not among those that an HTTP client holds back by itself."""
    for name in PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    asked: list[str] = []

    async def vendor(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", vendor)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with http_session() as session:
            with pytest.raises(ClientResponseError, match="redirected"):
                await session.post(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", headers={"xi-api-key": "k"})
    finally:
        await runner.cleanup()
    assert asked == ["/v1"]

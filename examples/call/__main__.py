"""A call without any account, on the default organization's own settings.

    make call            or: python -m examples.call [--question "Are you open today?"] [--answer answer.wav]

A question is spoken, heard (VAD, Whisper), answered (by a script in place of a vendor's model, or with --vendor by the
model itself), spoken again (Piper), and kept as a wav. Change a provider, a voice or a speed of the organization and
call again: nothing is restarted.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
from examples.call import machine
from examples.call.audio import Caller, Ear
from examples.call.organization import prepare
from examples.call.scripted_model import Scripted, ScriptedModel
from livekit.plugins import silero
from rich.console import Console

from voxplane import Client
from voxplane.call import Call
from voxplane.errors import NoPrimaryProvider, Unavailable, VoxplaneError
from voxplane.livekit import preload
from voxplane.server import logs
from voxplane.server.settings import Settings

if TYPE_CHECKING:
    from voxplane.registry import ProviderRegistry
    from voxplane.schemas import ProviderReport

QUESTION = "Hello. Are you open today?"
# Short, because the caller waits. LiveKit's own turn detector is under another licence than this, and would send what
# the caller says to LiveKit, as its detector of interruptions would.
_TURNS = {
    "turn_detection": "vad",
    "interruption": {"mode": "vad", "resume_false_interruption": False},
    "endpointing": {"min_delay": 0.2, "max_delay": 1.0},
}
_ANSWER_SECONDS = 60.0


@dataclass
class Outcome:
    """What came of a call."""

    heard: str = ""
    answered: str = ""
    failed: str = ""
    """Who failed, and why, in a sentence, if the call ended by that."""
    at: str = ""
    providers: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    timeline: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    """What happened, in seconds from the end of the question."""
    answer_seconds: float = 0.0


async def call(client: Client, *, question: bytes, answer: Path, registry: ProviderRegistry | None = None) -> Outcome:
    """Make one call: play a question (a wav), and write what is said to it to `answer`.

    Where nothing is within a minute, `answered` stays empty and no file is written.
    """
    caller, ear, outcome, over = Caller(), Ear(), Outcome(), anyio.Event()
    moments: dict[str, float] = {}
    vad = silero.VAD.load(min_silence_duration=0.4)
    async with AsyncExitStack() as stack:
        options = {"turn_handling": _TURNS, "aec_warmup_duration": None, "user_away_timeout": None}
        made = Call(client, vad=vad, instructions="Be brief.", registry=registry, session_options=options)
        under_way = await stack.enter_async_context(made)
        session: Any = under_way.session

        def heard(event: Any) -> None:
            if event.is_final:
                outcome.heard = f"{outcome.heard} {event.transcript}".strip()
                moments["heard"] = time.monotonic()

        def added(event: Any) -> None:
            if getattr(event.item, "role", "") == "assistant":  # a handover has none
                outcome.answered = event.item.text_content
                moments["answered"] = time.monotonic()
                over.set()

        def failed(event: Any) -> None:
            if not event.error.recoverable:
                outcome.failed = getattr(event.error.error, "message", "")
                over.set()

        session.on("user_input_transcribed", heard)
        session.on("conversation_item_added", added)
        session.on("error", failed)
        session.on("close", partial(_end, over))
        session.input.audio, session.output.audio = caller, ear
        await under_way.start()
        caller.say(question)
        with anyio.move_on_after(_ANSWER_SECONDS):
            await over.wait()
        outcome.at, outcome.providers = under_way.record.revisions[-1]
        if not outcome.answered:
            return outcome
        moments["first sound"] = ear.first_at
        marks = sorted(moments.items(), key=lambda each: each[1])
        outcome.timeline = [("spoke", caller.began - caller.ended), *((what, at - caller.ended) for what, at in marks)]
        outcome.answer_seconds = ear.save(answer)
    return outcome


def _end(over: anyio.Event, _event: object) -> None:
    over.set()


async def ask_piper(text: str, base_url: str = machine.PIPER) -> bytes:
    """Have a text spoken, as a wav.

    Raises:
        Unavailable: the Piper server did not do it.
    """
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        try:
            answer = await client.post(f"{base_url}/synthesize", json={"text": text})
            return answer.raise_for_status().content
        except httpx.HTTPError as error:
            message = f"Piper at {base_url} did not speak the question ({type(error).__name__})."
            raise Unavailable(message) from None


class ScriptedClient(Client):
    """A worker that reports nothing of language models, for none of them was asked: a script answered."""

    def report(self, report: ProviderReport) -> None:
        """Report what was seen of a provider that was asked."""
        if report.provider not in {each.provider.key for each in self.chain("llm")}:
            super().report(report)


async def demonstrate(question: str, answer: Path, *, is_vendors: bool) -> bool:
    """Start what is needed, call, and tell what happened; whether there was an answer.

    With `is_vendors` the organization's language model is called; else a script answers in its place.
    """
    console = Console(highlight=False)
    settings = Settings()
    logs.configure(settings.log_format)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    log = settings.data_dir / "call.log"
    log.touch(0o600)  # the service says there how to sign in

    def say(said: str) -> None:
        console.print(f"[dim]{said}[/]", soft_wrap=True)

    say("Loading the plugins…")
    machine.place_models()
    preload()
    async with AsyncExitStack() as stack:
        say("Looking for Piper, or starting it…")
        await stack.enter_async_context(machine.piper(log))
        say("Looking for the control plane, or starting it…")
        url, token, plane = await stack.enter_async_context(machine.control_plane(settings, log))
        await prepare(plane, say, is_vendors=is_vendors)
        model = ScriptedModel()
        scripted = await stack.enter_async_context(model.served())
        wav = await ask_piper(question)
        client = await stack.enter_async_context(Client(url, token) if is_vendors else ScriptedClient(url, token))
        before = anyio.Path(answer)
        if await before.is_file() and not await before.is_symlink():
            await before.unlink()  # else that of another call is taken for this one's
        say("Calling…")
        registry = None if is_vendors else Scripted(scripted)
        outcome = await call(client, question=wav, answer=answer, registry=registry)
    if not is_vendors:
        outcome.providers["llm"] = [f"a script, in place of {' > '.join(outcome.providers['llm'])}"]
    if not outcome.answered:
        console.print(why_unanswered(outcome), markup=False, soft_wrap=True)
        return False
    show(console, outcome, answer)
    return True


def why_unanswered(outcome: Outcome) -> str:
    """Say how far a call came, who failed, and where to look."""
    asked = " > ".join(outcome.providers["llm" if outcome.heard else "stt"])
    what = "The question was heard, and not answered" if outcome.heard else "The question was not heard"
    return f"{what}: {outcome.failed or f'{asked} did not.'} `voxplane doctor` tells what was reported."


def show(console: Console, outcome: Outcome, answer: Path) -> None:
    """Print what happened, and when."""
    console.print(f"heard      {outcome.heard}")
    console.print(f"answered   {outcome.answered}")
    console.print("[dim]seconds from the end of the question:[/]")
    start, end = outcome.timeline[0][1], outcome.timeline[-1][1] + outcome.answer_seconds
    scale = 48 / (end - start)
    for what, at in outcome.timeline:
        until = {"spoke": 0.0, "first sound": at + outcome.answer_seconds}.get(what, at)
        bar = " " * round((at - start) * scale) + "█" * max(1, round((until - at) * scale))
        console.print(f"{what:<12}{at:+6.2f} s  [cyan]{bar}[/]")
    chains = "   ".join(f"{kind}: {' > '.join(keys)}" for kind, keys in outcome.providers.items())
    console.print(f"providers  {chains}")
    console.print(f"revision   {outcome.at}")
    console.print(f"answer     {answer} ({outcome.answer_seconds:.1f} s)")


def main() -> None:
    """Read the command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--question", default=QUESTION, help="what the caller says")
    options.add_argument("--answer", type=Path, default=Path("answer.wav"), help="where the answer is written")
    options.add_argument("--vendor", action="store_true", help="have the organization's own language model answer")
    chosen = options.parse_args()
    if not chosen.question.strip():
        options.error("--question: there is nothing to say.")
    if not chosen.answer.parent.is_dir() or chosen.answer.is_dir():
        options.error("--answer: name a file in a folder that exists.")
    made = partial(demonstrate, chosen.question, chosen.answer, is_vendors=chosen.vendor)
    try:
        sys.exit(not anyio.run(made))
    except NoPrimaryProvider as error:
        sys.exit(f"{error.message} `voxplane doctor` tells what to do.")
    except VoxplaneError as error:  # a model that is not here, say
        sys.exit(error.message)


if __name__ == "__main__":
    main()

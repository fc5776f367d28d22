"""A worker whose callers are files: all of `voxplane.agent` but the room, which needs a LiveKit server.

Run as a program with the environment of a worker, and in CALL_FOLDER the caller's question and a place for results.
A job's metadata may say how it ends: `hangs_up` is the caller, the room, the job or nobody.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from examples.call.audio import Caller, Ear
from examples.call.scripted_model import StandIn
from livekit import rtc
from livekit.agents import JobContext
from typing_extensions import override

from voxplane import agent
from voxplane.agent_settings import AgentSettings
from voxplane.call import Call


async def answer_a_file(context: JobContext) -> None:
    """Have the agent take a call: the caller asks once, hears the answer, and what came of it is written down."""
    environment = dict(os.environ)  # noqa: TID251 - a job's process is told by its environment
    folder, registry = Path(environment["CALL_FOLDER"]), StandIn(json.loads(environment["CALL_STAND_INS"]))
    given: Any = context
    result: dict[str, Any] = {"process": os.getpid(), "heard": "", "answered": ""}

    class FileCall(Call):
        """A call whose room is the folder."""

        @override
        async def start(self, room: rtc.Room | None = None) -> None:
            assert room is context.room
            session: Any = self.session
            caller = Caller()
            session.on("user_input_transcribed", heard)
            session.on("conversation_item_added", self.added)
            session.input.audio, session.output.audio = caller, Ear()
            await super().start()
            caller.say((folder / "question.wav").read_bytes())

        def added(self, event: Any) -> None:
            """Hang up after the answer."""
            if getattr(event.item, "role", "") == "assistant":
                result.update(answered=event.item.text_content, revisions=self.record.revisions)
                (folder / f"{context.job.id}.json").write_text(json.dumps(result))
                ends[_who_hangs_up(context.job.metadata)](self)

    def heard(event: Any) -> None:
        result["heard"] += event.transcript if event.is_final else ""

    ends: dict[str, Callable[[Call], None]] = {
        "caller": lambda call: call.session.shutdown(drain=False),
        "room": lambda _: given.room.emit("disconnected", rtc.DisconnectReason.ROOM_DELETED),
        "nobody": lambda _: None,
        "job": lambda _: context.shutdown("answered"),
    }
    given.connect = _stay
    agent.Call = FileCall
    await agent.answer(context, registry)


async def _stay() -> None:
    """Connect to no room."""


def _who_hangs_up(metadata: str) -> str:
    return json.loads(metadata or "{}").get("hangs_up", "caller")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    server = agent.agent_server(
        AgentSettings.read(), answer_a_file, port=0, num_idle_processes=1, load_threshold=1.01, load_fnc=lambda: 0.0
    )
    anyio.run(agent.serve, server, False)  # noqa: FBT003 - not the development mode

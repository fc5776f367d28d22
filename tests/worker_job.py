"""A worker whose callers are files: all of `voxplane.agent` but the room, which needs a LiveKit server.

Run as a program with the environment of a worker, and in CALL_FOLDER the caller's question and a place for results.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import anyio
from examples.call.audio import Caller, Ear
from examples.call.scripted_model import StandIn
from livekit.agents import JobContext

from voxplane.agent import agent_server, call_for, serve
from voxplane.agent_settings import AgentSettings


async def answer_a_file(context: JobContext) -> None:
    """Take a call: the caller asks once, and what came of it is written beside the question."""
    environment = dict(os.environ)  # noqa: TID251 - a job's process is told by its environment
    folder, registry = Path(environment["CALL_FOLDER"]), StandIn(json.loads(environment["CALL_STAND_INS"]))
    caller, ear, spoken = Caller(), Ear(), anyio.Event()
    result: dict[str, Any] = {"process": os.getpid(), "heard": "", "answered": ""}
    async with call_for(context, AgentSettings.read(), registry=registry) as call:

        def heard(event: Any) -> None:
            result["heard"] += event.transcript if event.is_final else ""

        def added(event: Any) -> None:
            if getattr(event.item, "role", "") == "assistant":
                result["answered"] = event.item.text_content
                spoken.set()

        session: Any = call.session
        session.on("user_input_transcribed", heard)
        session.on("conversation_item_added", added)
        session.input.audio, session.output.audio = caller, ear
        await call.start()
        caller.say((folder / "question.wav").read_bytes())
        with anyio.fail_after(60):
            await spoken.wait()
        result["revisions"] = call.record.revisions
    (folder / f"{context.job.id}.json").write_text(json.dumps(result))
    context.shutdown("answered")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    server = agent_server(
        AgentSettings.read(), answer_a_file, port=0, num_idle_processes=1, load_threshold=1.01, load_fnc=lambda: 0.0
    )
    anyio.run(serve, server, False)  # noqa: FBT003 - not the development mode

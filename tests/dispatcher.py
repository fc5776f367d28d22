"""The part of a LiveKit server that hands out jobs, on loopback: it speaks the worker's side of the agent protocol.

The messages are those of the package `livekit-protocol`, and the worker that it must satisfy is LiveKit's own
`AgentServer`. There are no rooms behind it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import jwt
from aiohttp import WSMsgType, web
from livekit.protocol import agent, models

_ASK_AGAIN_SECONDS = 0.5
KEY, SECRET = "devkey", "a-secret-of-a-dispatcher-for-tests-alone"


@dataclass
class Dispatcher:
    """Hands jobs to the worker that registers, and keeps what it says of them."""

    url: str = ""
    agent_name: str = ""
    statuses: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    registered: anyio.Event = field(default_factory=anyio.Event)
    _socket: web.WebSocketResponse | None = None
    _ended: dict[str, anyio.Event] = field(default_factory=dict[str, anyio.Event])

    async def dispatch(self, job_id: str, metadata: object) -> str:
        """Offer a job to the worker, and return how it ended: success or failed."""
        self._ended[job_id] = anyio.Event()
        job = agent.Job(
            id=job_id,
            room=models.Room(sid=f"RM_{job_id}", name=job_id),
            type=agent.JobType.JT_ROOM,
            agent_name=self.agent_name,
            metadata=metadata if isinstance(metadata, str) else json.dumps(metadata),
        )
        self._jobs[job_id] = job
        await self._send(availability=agent.AvailabilityRequest(job=job))
        await self._ended[job_id].wait()
        return self.statuses[job_id][-1]

    def __post_init__(self) -> None:
        self._jobs: dict[str, Any] = {}

    @asynccontextmanager
    async def served(self) -> AsyncGenerator[Dispatcher]:
        """Listen on a free port of this machine."""
        app = web.Application()
        app.router.add_get("/agent", self._worker)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    async def _worker(self, request: web.Request) -> web.WebSocketResponse:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_aud": False})
        self._socket = socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type == WSMsgType.BINARY:
                said = agent.WorkerMessage()
                said.ParseFromString(message.data)
                await self._hear(said)
        return socket

    async def _hear(self, said: Any) -> None:
        match said.WhichOneof("message"):
            case "register":
                self.agent_name = said.register.agent_name
                info = models.ServerInfo(version="1.9.0")
                await self._send(register=agent.RegisterWorkerResponse(worker_id="W_1", server_info=info))
                self.registered.set()
            case "availability":
                job = self._jobs[said.availability.job_id]
                if not said.availability.available:  # too busy at the moment: a LiveKit server asks again, too
                    await anyio.sleep(_ASK_AGAIN_SECONDS)
                    await self._send(availability=agent.AvailabilityRequest(job=job))
                    return
                await self._send(assignment=agent.JobAssignment(job=job, token="nowhere"))  # noqa: S106 - it opens no room
            case "update_job":
                status = agent.JobStatus.Name(said.update_job.status).removeprefix("JS_").lower()
                self.statuses.setdefault(said.update_job.job_id, []).append(status)
                if status in {"success", "failed"}:
                    self._ended[said.update_job.job_id].set()
            case _:
                pass

    async def _send(self, **message: Any) -> None:
        assert self._socket is not None
        await self._socket.send_bytes(agent.ServerMessage(**message).SerializeToString())

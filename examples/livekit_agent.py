"""A LiveKit agent of your own, on the providers of the organization that a job is for.

    VOXPLANE_URL=https://voxplane.example.com VOXPLANE_TOKEN=vxp_... LIVEKIT_URL=... python examples/livekit_agent.py

`call.session` is LiveKit's AgentSession, and `call.agent` its Agent: what they can do, your agent can.
"""

import asyncio

from livekit.agents import JobContext

from voxplane.agent import agent_server, call_for, serve
from voxplane.agent_settings import AgentSettings
from voxplane.registry import ProviderRegistry


async def answer(context: JobContext, registry: ProviderRegistry | None = None) -> None:
    """Answer a call; `registry` knows the providers, if they are others than those that are installed."""
    ended = asyncio.Event()

    async def end(_reason: str) -> None:
        ended.set()

    context.add_shutdown_callback(end)
    async with call_for(context, AgentSettings.read(), registry=registry) as call:
        await context.connect()
        await call.start(context.room)
        await call.session.generate_reply(instructions="Greet the caller, and ask how you can help.")
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(serve(agent_server(AgentSettings.read(), answer), devmode=True))

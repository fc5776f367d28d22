"""A LiveKit agent of your own, on the providers of the organization that a job is for.

    VOXPLANE_URL=https://... VOXPLANE_TOKEN=vxp_... LIVEKIT_URL=... python examples/livekit_agent.py dev

`call.session` is LiveKit's AgentSession, and `call.agent` its Agent: what they can do, your agent can. Whoever it hands
over to speaks by the same providers.
"""

from livekit.agents import JobContext

from voxplane.agent import begin_call, main
from voxplane.agent_settings import AgentSettings
from voxplane.registry import ProviderRegistry


async def answer(context: JobContext, registry: ProviderRegistry | None = None) -> None:
    """Answer a call; `registry` knows the providers, if they are others than those that are installed."""
    call = await begin_call(context, AgentSettings.read(), registry=registry)
    call.session.generate_reply(instructions="Greet the caller, and ask how you can help.")


if __name__ == "__main__":
    main(answer)

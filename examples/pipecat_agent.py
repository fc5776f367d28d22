"""A Pipecat agent of your own, on the providers of an organization: three lines of it are Voxplane's.

Call `answer` where you have a transport, with a client that was entered: `async with Client(url, token) as client`.
A change of the organization is used from the next turn on.
"""

import asyncio

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from voxplane import Client
from voxplane.pipecat import Chain, build_llm, build_stt, build_tts, follow
from voxplane.registry import ProviderRegistry


async def answer(client: Client, transport: BaseTransport, registry: ProviderRegistry | None = None) -> None:
    """Answer a call; `registry` knows the providers, if they are others than those that are installed."""
    stt = build_stt(client.chain("stt"), report=client.report, registry=registry)
    llm = build_llm(client.chain("llm"), report=client.report, registry=registry)
    tts = build_tts(client.chain("tts"), report=client.report, registry=registry)
    vad = VADProcessor(vad_analyzer=SileroVADAnalyzer())
    caller, agent = LLMContextAggregatorPair(LLMContext([{"role": "developer", "content": "Be brief."}]))
    steps = [transport.input(), vad, stt, caller, llm, tts, transport.output(), agent]
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(PipelineWorker(Pipeline(steps)))
    async with asyncio.TaskGroup() as group:
        following = group.create_task(end_when_due(client, runner, stt=stt, llm=llm, tts=tts))
        await runner.run()
        following.cancel()


async def end_when_due(client: Client, runner: WorkerRunner, **chains: Chain) -> None:
    """Follow the organization, and end the call when the keys that it is on may not be used any more."""
    await follow(client, **chains)
    await runner.cancel()


if __name__ == "__main__":
    raise SystemExit("Bring a transport of Pipecat's, for a room or a telephone, and call `answer` with it.")

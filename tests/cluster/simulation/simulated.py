"""Builders of small simulated fleets, and workloads to put on them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import strategies as st

from cluster.routing import policies
from cluster.simulation.fleet import simulate
from cluster.simulation.fleet_plan import EngineKind, FleetPlan
from cluster.simulation.job import Job
from cluster.simulation.records import Run
from cluster.simulation.scheduler import EngineLimits
from cluster.simulation.step_time import Fitted, StepTime
from cluster.simulation.workload import Names, Request, Workload
from cluster.types import BlockHash

UNIT_STEPS = Fitted(base_s=1.0)


def limits(
    kv_blocks: int = 100, block_tokens: int = 4, batched: int = 1000, seqs: int = 100
) -> EngineLimits:
    return EngineLimits(
        kv_blocks=kv_blocks,
        block_tokens=block_tokens,
        max_num_batched_tokens=batched,
        max_num_seqs=seqs,
    )


def job(name: int, prompt: int, output: int, blocks: Sequence[int]) -> Job:
    """Its blocks named by small numbers."""
    return Job(
        id=name,
        prompt_tokens=prompt,
        output_tokens=output,
        names=[BlockHash(block) for block in blocks],
    )


def plan(
    engines: int = 1,
    size: EngineLimits | None = None,
    step_time: StepTime = UNIT_STEPS,
    *,
    gateways: int = 1,
    report_every_s: float = 0.25,
    jump: bool = True,
) -> FleetPlan:
    kind = EngineKind(limits=size or limits(), step_time=step_time)
    return FleetPlan(
        engines=[kind] * engines, gateways=gateways, report_every_s=report_every_s, jump=jump
    )


def run(
    work: Workload, fleet: FleetPlan, policy: str = "round_robin", until_s: float = float("inf")
) -> Run:
    routers = [policies.router(policy) for _ in range(fleet.gateways)]
    rngs = [Random(f"gateway {number}") for number in range(fleet.gateways)]
    return simulate(work, fleet, routers, rngs, until_s=until_s)


def unshared(
    arrivals_s: Sequence[float],
    prompts: Sequence[int],
    outputs: Sequence[int],
    block_tokens: int = 4,
) -> Workload:
    """Requests that have nothing in common."""
    names = Names()
    return Workload(
        requests=[
            Request(
                arrival_s=at_s,
                prompt_tokens=prompt,
                output_tokens=output,
                runs=(names.take((prompt + output) // block_tokens),),
            )
            for at_s, prompt, output in zip(arrivals_s, prompts, outputs, strict=True)
        ],
        block_tokens=block_tokens,
        max_output_tokens=max(outputs),
    )


@st.composite
def workloads(draw: st.DrawFn, block_tokens: int = 4) -> Workload:
    """A few requests, some with a shared prefix, some that follow others, some too long."""
    names = Names()
    shared = [names.take(draw(st.integers(0, 5))) for _ in range(2)]
    requests = []
    at_s = 0.0
    for place in range(draw(st.integers(1, 14))):
        at_s += draw(st.sampled_from([0.0, 0.3, 1.0, 7.5]))
        prefix = draw(st.sampled_from(shared))
        prompt = len(prefix) * block_tokens + draw(st.integers(1, 30))
        output = draw(st.integers(1, 25))
        follows = draw(st.sampled_from([None, None, place - 1])) if place else None
        own = names.take((prompt + output) // block_tokens - len(prefix))
        requests.append(
            Request(
                arrival_s=at_s if follows is None else 0.7,
                prompt_tokens=prompt,
                output_tokens=output,
                runs=(prefix, own),
                follows=follows,
            )
        )
    return Workload(requests=requests, block_tokens=block_tokens, max_output_tokens=25)

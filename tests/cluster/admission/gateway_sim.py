"""One simulated gateway with admission before simulated vLLM engines, as the live one is wired.

Engines report four times a second; tokens and requests travel in no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from cluster.admission.admission import Admission
from cluster.admission.boundary import Admitted, Offer, Served
from cluster.admission.engine_room import EngineState
from cluster.admission.refusal import Refused
from cluster.admission.tenants import Tenant
from cluster.routing.fleet_view import FleetView
from cluster.routing.predicted_cost import PredictedCost
from cluster.simulation.engine import Engine
from cluster.simulation.job import Job
from cluster.simulation.scheduler import EngineLimits
from cluster.simulation.step_time import Fitted
from cluster.simulation.workload import Names
from cluster.types import ReplicaId, RouteRequest

LIMITS = EngineLimits(kv_blocks=16_000, max_num_batched_tokens=2048, max_num_seqs=128)
STEPS = Fitted(base_s=0.01, prefill_token_s=50e-6, decode_request_s=50e-6)
REPORT_EVERY_S = 0.25

NOTHING_ASKED = RouteRequest(prompt_tokens=0, max_output_tokens=0)


@dataclass(slots=True, kw_only=True)
class Arrival:
    """A request, and what became of it."""

    at_s: float
    tenant: Tenant
    prompt_tokens: int
    output_tokens: int
    sent_s: float | None = None
    first_token_s: float | None = None
    done_s: float | None = None
    refused: Refused | None = None
    refused_s: float | None = None

    @property
    def ttft_s(self) -> float:
        assert self.first_token_s is not None
        return self.first_token_s - self.at_s


def poisson(
    rng: Random, tenant: Tenant, per_s: float, until_s: float, prompt: int, output: int
) -> list[Arrival]:
    """Requests of about so many tokens: from half to one and a half times."""
    arrivals, at_s = [], 0.0
    while (at_s := at_s + rng.expovariate(per_s)) < until_s:
        arrivals.append(
            Arrival(
                at_s=at_s,
                tenant=tenant,
                prompt_tokens=rng.randint(prompt // 2, prompt * 3 // 2),
                output_tokens=rng.randint(output // 2, output * 3 // 2),
            )
        )
    return arrivals


class GatewaySim:
    def __init__(self, admission: Admission, engines: int, limits: EngineLimits = LIMITS) -> None:
        self.admission = admission
        self._limits = limits
        self._view = FleetView()
        self._router, self._rng = PredictedCost(), Random(1)
        self._ids = [ReplicaId(f"e{number}") for number in range(engines)]
        self._engines = {name: Engine(limits, STEPS) for name in self._ids}
        self._received = dict.fromkeys(self._ids, 0)
        self._reported_s = dict.fromkeys(self._ids, 0.0)
        self._reported_tokens = dict.fromkeys(self._ids, 0)
        self._begun_tokens = dict.fromkeys(self._ids, 0)
        self._names = Names()
        self._arrivals: list[Arrival] = []
        for name in self._ids:
            self._view.joined(
                name, kv_total_tokens=limits.kv_tokens, block_tokens=limits.block_tokens
            )

    def run(self, arrivals: Sequence[Arrival], until_s: float) -> None:
        """Fills in what becomes of `arrivals`, until then."""
        self._arrivals = sorted(arrivals, key=lambda each: each.at_s)
        place, report_s, now_s = 0, 0.0, 0.0
        while now_s <= until_s:
            arrival_s = self._arrivals[place].at_s if place < len(self._arrivals) else until_s + 1
            due = [(e.due_s, name) for name, e in self._engines.items() if e.due_s is not None]
            step_s, stepping = min(due, default=(until_s + 1, self._ids[0]))
            deadline_s = self.admission.next_deadline_s
            soonest = min(arrival_s, step_s, report_s)
            now_s = max(now_s, soonest if deadline_s is None else min(soonest, deadline_s))
            if arrival_s <= now_s:
                self._arrive(place, now_s)
                place += 1
            elif step_s <= now_s:
                self._step(stepping, now_s)
            elif report_s <= now_s:
                self._report(now_s)
                report_s += REPORT_EVERY_S
            self._release(now_s)

    def _arrive(self, place: int, now_s: float) -> None:
        arrival = self._arrivals[place]
        answer = self.admission.offer(
            Offer(
                request_id=str(place),
                tenant=arrival.tenant,
                model="m",
                prompt_tokens=arrival.prompt_tokens,
                max_output_tokens=4 * arrival.output_tokens,
            ),
            now_s,
        )
        if isinstance(answer, Refused):
            arrival.refused, arrival.refused_s = answer, now_s
        elif isinstance(answer, Admitted):
            self._send(place, now_s)

    def _send(self, place: int, now_s: float) -> None:
        arrival = self._arrivals[place]
        request = RouteRequest(
            prompt_tokens=arrival.prompt_tokens, max_output_tokens=arrival.output_tokens
        )
        replicas = self._view.snapshots(request, self._ids)
        picked = self._router.choose(request, replicas, self._rng).replica_id
        self._view.sent(picked, str(place), request, 0)
        self._received[picked] += 1
        tokens = arrival.prompt_tokens + arrival.output_tokens
        job = Job(
            id=place,
            prompt_tokens=arrival.prompt_tokens,
            output_tokens=arrival.output_tokens,
            names=list(self._names.take(tokens // self._limits.block_tokens + 1)),
        )
        self._engines[picked].add(job, now_s)
        arrival.sent_s = now_s
        self.admission.sent(str(place))

    def _step(self, name: ReplicaId, now_s: float) -> None:
        outcome = self._engines[name].step()
        for job in outcome.began:
            self._arrivals[job.id].first_token_s = now_s
            self._view.began(str(job.id))
            sent_s = self._arrivals[job.id].sent_s
            assert sent_s is not None
            if sent_s < self._reported_s[name]:
                self._begun_tokens[name] += job.prompt_tokens
        for job in outcome.done:
            arrival = self._arrivals[job.id]
            arrival.done_s = now_s
            self._view.ended(str(job.id))
            served = Served(
                prompt_tokens=arrival.prompt_tokens, output_tokens=arrival.output_tokens
            )
            self.admission.ended(str(job.id), served, now_s)

    def _report(self, now_s: float) -> None:
        for name, engine in self._engines.items():
            engine.sync(now_s)
            load = engine.load(self._received[name])
            self._view.reported(name, load)
            self._reported_tokens[name] = load.queued_prefill_tokens
            self._begun_tokens[name] = 0
            self._reported_s[name] = now_s

    def _release(self, now_s: float) -> None:
        states = [
            EngineState(
                snapshot=snapshot,
                report_age_s=now_s - self._reported_s[snapshot.id],
                reported_prefill_tokens=self._reported_tokens[snapshot.id],
                begun_prefill_tokens=self._begun_tokens[snapshot.id],
                max_num_seqs=self._limits.max_num_seqs,
                max_num_batched_tokens=self._limits.max_num_batched_tokens,
            )
            for snapshot in self._view.snapshots(NOTHING_ASKED, self._ids)
        ]
        released = self.admission.release("m", states, now_s)
        for request_id in released.send:
            self._send(int(request_id), now_s)
        for request_id, refused in released.refused:
            arrival = self._arrivals[int(request_id)]
            arrival.refused, arrival.refused_s = refused, now_s

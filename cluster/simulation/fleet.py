"""The fleet's event loop: requests arrive at gateways, which route them to engines.

What an engine tells gateways (tokens, changes of its cache with every step, its load every
`report_every_s`) arrives `delay_s` later; a request reaches its engine at once. Arrivals go to the
gateways in turn. Engines report at instants spread over the period, as nothing lines them up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from cluster.routing import Router
from cluster.simulation.engine import Engine
from cluster.simulation.events import ARRIVAL, LOOK, STEP, Action, EventQueue
from cluster.simulation.fleet_plan import FleetPlan
from cluster.simulation.gateway import Gateway
from cluster.simulation.job import Job
from cluster.simulation.records import Record, Run, Sample
from cluster.simulation.scheduler import Outcome
from cluster.simulation.workload import Request, Workload
from cluster.types import ReplicaId, Rng, RouteRequest

SAMPLES = 200
LEAST_SAMPLE_S = 0.25

Progress = Callable[[int, int], None]
"""Is told how many of how many requests are over."""


def simulate(
    workload: Workload,
    plan: FleetPlan,
    routers: Sequence[Router],
    rngs: Sequence[Rng],
    *,
    until_s: float = float("inf"),
    progress: Progress = lambda over, total: None,
) -> Run:
    """Runs until every request is over, or until `until_s`.

    `routers` and `rngs` have one entry each a gateway, none of them used before. Raises ValueError
    for another number of them, and where the workload's blocks are not the engines'.
    """
    return _Fleet(workload, plan, routers, rngs, progress).run(until_s)


class _Fleet:
    def __init__(
        self,
        workload: Workload,
        plan: FleetPlan,
        routers: Sequence[Router],
        rngs: Sequence[Rng],
        progress: Progress,
    ) -> None:
        _check(workload, plan, routers, rngs)
        self._workload = workload
        self._plan = plan
        self._progress = progress
        self._queue = EventQueue()
        self._engines = [Engine(k.limits, k.step_time, jump=plan.jump) for k in plan.engines]
        self._ids = [ReplicaId(f"engine-{number}") for number in range(len(self._engines))]
        self._number = {name: number for number, name in enumerate(self._ids)}
        self._due = [0] * len(self._engines)  # which of an engine's `step` events is the valid one
        self._gateways = [Gateway(*pair) for pair in zip(routers, rngs, strict=True)]
        self._received = [[0] * plan.gateways for _ in self._engines]
        self._records: dict[int, Record] = {}  # by place in the workload
        self._samples: list[Sample] = []
        self._over = 0
        self._followers: dict[int, list[int]] = defaultdict(list)

    def run(self, until_s: float) -> Run:
        self._prepare()
        total = len(self._workload.requests)
        queue = self._queue
        while self._over < total and queue.next_s <= until_s:
            queue.run_next()
        for engine in self._engines:
            engine.sync(queue.now_s)
        self._samples.append(self._sample_now())
        return Run(records=list(self._records.values()), samples=self._samples)

    def _prepare(self) -> None:
        for gateway in self._gateways:
            for name, kind in zip(self._ids, self._plan.engines, strict=True):
                gateway.joined(name, kind.limits.kv_tokens, kind.limits.block_tokens)
        for place, request in enumerate(self._workload.requests):
            if request.follows is None:
                self._queue.at(request.arrival_s, ARRIVAL, self._arrive, place)
            else:
                self._followers[request.follows].append(place)
        period_s = self._plan.report_every_s
        for number in range(len(self._engines)):
            first_s = period_s * (number + 1) / len(self._engines)
            self._queue.at(first_s, LOOK, self._report, number)
        sample_s = max(LEAST_SAMPLE_S, self._workload.span_s / SAMPLES)
        self._queue.at(0.0, LOOK, self._sample, sample_s)

    # Requests

    def _arrive(self, place: int) -> None:
        request = self._workload.requests[place]
        job = Job(
            id=place,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            names=request.blocks(),
        )
        turn = len(self._records) % len(self._gateways)
        routed = self._gateways[turn].route(str(place), self._route_request(request, job))
        number = self._number[routed]
        self._received[number][turn] += 1
        self._records[place] = Record(
            arrival_s=self._queue.now_s,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            engine=number,
            gateway=turn,
        )
        try:
            self._engines[number].add(job, self._queue.now_s)
        except ValueError as error:
            self._fail(place, str(error))
        else:
            self._wake_when_due(number)

    def _route_request(self, request: Request, job: Job) -> RouteRequest:
        return RouteRequest(
            prompt_tokens=request.prompt_tokens,
            max_output_tokens=self._workload.max_output_tokens,
            blocks=job.names[: request.prompt_tokens // self._workload.block_tokens],
            affinity_key=request.session,
        )

    def _fail(self, place: int, why: str) -> None:
        record = self._records[place]
        record.failed = why
        self._tell(self._gateways[record.gateway].answered, (), (str(place),))
        self._end(place)

    def _end(self, place: int) -> None:
        self._over += 1
        self._progress(self._over, len(self._workload.requests))
        for follower in self._followers.pop(place, ()):
            pause_s = self._workload.requests[follower].arrival_s
            self._queue.at(self._queue.now_s + pause_s, ARRIVAL, self._arrive, follower)

    # Engines

    def _wake_when_due(self, number: int) -> None:
        self._due[number] += 1
        due_s = self._engines[number].due_s
        if due_s is not None:
            self._queue.at(due_s, STEP, self._step, number, self._due[number])

    def _step(self, number: int, due: int) -> None:
        if due != self._due[number]:
            return  # a request arrived since, and the engine's jump was cut
        outcome = self._engines[number].step()
        self._publish(number, with_load=False)
        self._note(outcome)
        self._wake_when_due(number)

    def _note(self, outcome: Outcome) -> None:
        """First tokens and ends, for the records and for the gateways that sent the requests."""
        began: dict[int, list[str]] = defaultdict(list)
        ended: dict[int, list[str]] = defaultdict(list)
        for job in outcome.began:
            record = self._records[job.id]
            record.first_token_s = self._queue.now_s
            record.cached_tokens = job.cached_tokens or 0
            began[record.gateway].append(str(job.id))
        for job in outcome.done:
            record = self._records[job.id]
            record.end_s = self._queue.now_s
            record.preemptions = job.preemptions
            ended[record.gateway].append(str(job.id))
        for turn in sorted(began.keys() | ended.keys()):
            self._tell(self._gateways[turn].answered, began[turn], ended[turn])
        for job in outcome.done:
            self._end(job.id)

    def _report(self, number: int) -> None:
        self._engines[number].sync(self._queue.now_s)
        self._publish(number, with_load=True)
        next_s = self._queue.now_s + self._plan.report_every_s
        self._queue.at(next_s, LOOK, self._report, number)

    def _publish(self, number: int, *, with_load: bool) -> None:
        engine, name = self._engines[number], self._ids[number]
        stored, removed = engine.cache_changes()
        if not (stored or removed or with_load):
            return
        for turn, gateway in enumerate(self._gateways):
            load = engine.load(self._received[number][turn]) if with_load else None
            self._tell(gateway.heard, name, stored, removed, load)

    def _tell(self, hear: Action, *arguments: object) -> None:
        if self._plan.delay_s:
            self._queue.at(self._queue.now_s + self._plan.delay_s, ARRIVAL, hear, *arguments)
        else:
            hear(*arguments)

    # Samples

    def _sample(self, every_s: float) -> None:
        for engine in self._engines:
            engine.sync(self._queue.now_s)
        self._samples.append(self._sample_now())
        self._queue.at(self._queue.now_s + every_s, LOOK, self._sample, every_s)

    def _sample_now(self) -> Sample:
        done = [engine.done for engine in self._engines]
        return Sample(
            at_s=self._queue.now_s,
            tokens=tuple(each.tokens for each in done),
            prefill_tokens=tuple(each.prefill_tokens for each in done),
            busy_s=tuple(each.busy_s for each in done),
        )


def _check(
    workload: Workload, plan: FleetPlan, routers: Sequence[Router], rngs: Sequence[Rng]
) -> None:
    for name, given in (("routers", len(routers)), ("rngs", len(rngs))):
        if given != plan.gateways:
            raise ValueError(f"{given} {name} for {plan.gateways} gateways")
    for kind in plan.engines:
        if kind.limits.block_tokens != workload.block_tokens:
            raise ValueError(
                f"engines with blocks of {kind.limits.block_tokens} tokens, a workload with "
                f"blocks of {workload.block_tokens}"
            )

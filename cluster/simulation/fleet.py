"""The fleet's event loop: requests arrive at gateways, which route them to engines.

What an engine tells gateways (tokens, changes of its cache with every step, its load every
`report_every_s`) arrives `delay_s` later; a request reaches its engine at once. Arrivals go to the
gateways in turn. Engines report at instants spread over the period, as nothing lines them up.

An elastic fleet begins with the plan's engines, and its scaler adds and removes some. While none is
ready, gateways hold what arrives, and send it on in order when the first one is.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from cluster.routing import Router
from cluster.scaling import Scaler
from cluster.scaling.limits import Slo
from cluster.simulation.autoscaling import Autoscaling
from cluster.simulation.events import ARRIVAL, LOOK, Action, EventQueue
from cluster.simulation.fleet_plan import Elasticity, FleetPlan
from cluster.simulation.gateway import Gateway
from cluster.simulation.job import Job
from cluster.simulation.records import Record, Run, Sample
from cluster.simulation.replicas import Replicas
from cluster.simulation.scheduler import Outcome
from cluster.simulation.workload import Request, Workload
from cluster.types import Rng, RouteRequest

SAMPLES = 200
LEAST_SAMPLE_S = 0.25

Progress = Callable[[int, int], None]
"""Is told how many of how many requests are over."""

Elastic = tuple[Scaler, Elasticity]


def simulate(
    workload: Workload,
    plan: FleetPlan,
    routers: Sequence[Router],
    rngs: Sequence[Rng],
    *,
    elastic: Elastic | None = None,
    until_s: float = float("inf"),
    progress: Progress = lambda over, total: None,
) -> Run:
    """Runs until every request is over, or until `until_s`.

    `routers` and `rngs` have one entry each a gateway, none of them used before, and so has a
    scaler not been. Raises ValueError for another number of them, and where the workload's blocks
    are not the engines'.
    """
    return _Fleet(workload, plan, routers, rngs, elastic, progress).run(until_s)


class _Fleet:
    def __init__(
        self,
        workload: Workload,
        plan: FleetPlan,
        routers: Sequence[Router],
        rngs: Sequence[Rng],
        elastic: Elastic | None,
        progress: Progress,
    ) -> None:
        _check(workload, plan, routers, rngs)
        self._workload = workload
        self._plan = plan
        self._progress = progress
        self._queue = EventQueue()
        slo = elastic[1].slo if elastic else Slo()
        self._gateways = [Gateway(*pair, slo) for pair in zip(routers, rngs, strict=True)]
        self._replicas = Replicas(
            plan, self._gateways, self._queue, self._tell, self._note, self._release
        )
        self._autoscaling = (
            Autoscaling(*elastic, self._replicas, self._gateways, self._queue) if elastic else None
        )
        self._records: dict[int, Record] = {}  # by place in the workload
        self._held: deque[int] = deque()  # places
        self._samples: list[Sample] = []
        self._over = 0
        self._followers: dict[int, list[int]] = defaultdict(list)

    def run(self, until_s: float) -> Run:
        self._prepare()
        total = len(self._workload.requests)
        queue = self._queue
        while self._over < total and queue.next_s <= until_s:
            queue.run_next()
        self._sample_now()
        return Run(
            records=list(self._records.values()),
            samples=self._samples,
            lives=self._replicas.lives(),
            decided=self._autoscaling.decided if self._autoscaling else [],
        )

    def _prepare(self) -> None:
        self._replicas.begin(len(self._plan.engines))
        for place, request in enumerate(self._workload.requests):
            if request.follows is None:
                self._queue.at(request.arrival_s, ARRIVAL, self._arrive, place)
            else:
                self._followers[request.follows].append(place)
        sample_s = max(LEAST_SAMPLE_S, self._workload.span_s / SAMPLES)
        self._queue.at(0.0, LOOK, self._sample, sample_s)
        if self._autoscaling:
            self._queue.at(0.0, LOOK, self._autoscaling.look)

    # Requests

    def _arrive(self, place: int) -> None:
        request = self._workload.requests[place]
        turn = len(self._records) % len(self._gateways)
        self._records[place] = Record(
            arrival_s=self._queue.now_s,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            engine=None,
            gateway=turn,
        )
        gateway = self._gateways[turn]
        cached_tokens = 0
        if self._replicas.routable:
            cached_tokens = self._send(place)
        else:
            gateway.held_requests += 1
            self._held.append(place)
        gateway.counts.arrived(request.prompt_tokens)
        gateway.counts.sent(request.prompt_tokens - cached_tokens)

    def _release(self) -> None:
        """There is an engine: what is held goes there."""
        while self._held:
            place = self._held.popleft()
            self._gateways[self._records[place].gateway].held_requests -= 1
            self._send(place)

    def _send(self, place: int) -> int:
        """Routes a request; how much of its prompt is expected to be cached."""
        request, record = self._workload.requests[place], self._records[place]
        job = Job(
            id=place,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            names=request.blocks(),
        )
        gateway = self._gateways[record.gateway]
        routed = gateway.route(str(place), self._route_request(request, job))
        record.engine = self._replicas.number(routed.replica)
        try:
            self._replicas.add(routed.replica, job, record.gateway)
        except ValueError as error:
            self._fail(place, str(error))
        return routed.cached_tokens

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
        gateway = self._gateways[record.gateway]
        gateway.counts.failed()
        self._tell(gateway.answered, (), (str(place),))
        self._end(place)

    def _end(self, place: int) -> None:
        self._over += 1
        self._progress(self._over, len(self._workload.requests))
        for follower in self._followers.pop(place, ()):
            pause_s = self._workload.requests[follower].arrival_s
            self._queue.at(self._queue.now_s + pause_s, ARRIVAL, self._arrive, follower)

    def _note(self, outcome: Outcome) -> None:
        """First tokens and ends, for the records and for the gateways that sent the requests."""
        began: dict[int, list[str]] = defaultdict(list)
        ended: dict[int, list[str]] = defaultdict(list)
        for job in outcome.began:
            record = self._records[job.id]
            record.first_token_s = self._queue.now_s
            record.cached_tokens = job.cached_tokens or 0
            self._gateways[record.gateway].counts.began(record.first_token_s - record.arrival_s)
            began[record.gateway].append(str(job.id))
        for job in outcome.done:
            record = self._records[job.id]
            record.end_s = self._queue.now_s
            record.preemptions = job.preemptions
            assert record.first_token_s is not None
            decode_s = record.end_s - record.first_token_s
            self._gateways[record.gateway].counts.ended(record.output_tokens, decode_s)
            ended[record.gateway].append(str(job.id))
        for turn in sorted(began.keys() | ended.keys()):
            self._tell(self._gateways[turn].answered, began[turn], ended[turn])
        for job in outcome.done:
            self._end(job.id)

    def _tell(self, hear: Action, *arguments: object) -> None:
        if self._plan.delay_s:
            self._queue.at(self._queue.now_s + self._plan.delay_s, ARRIVAL, hear, *arguments)
        else:
            hear(*arguments)

    # Samples

    def _sample(self, every_s: float) -> None:
        self._sample_now()
        self._queue.at(self._queue.now_s + every_s, LOOK, self._sample, every_s)

    def _sample_now(self) -> None:
        self._replicas.sync()
        self._samples.append(self._replicas.sample())


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

"""The chaos test, in order.

1. take the truth, twice                       (which warms everything up)
2. load and faults at once, for `duration_s`
3. no new requests; let those in flight end
4. wait until the fleet is whole and idle again
5. look for what is left: flights, processes, memory
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from time import monotonic

from loadtest.chaos import truth
from loadtest.chaos.faults import Deploy, Faults, MissedError
from loadtest.chaos.kinds import Kind
from loadtest.chaos.outcome import Outcome
from loadtest.chaos.plan import Fault, Plan
from loadtest.chaos.processes import growth
from loadtest.chaos.records import EndRow, FaultRow, RequestRow, Row
from loadtest.chaos.traffic import asker, steady
from loadtest.chaos.truth import SetUpError, Truth
from loadtest.chaos.watch import Watch
from loadtest.client import Endpoint

LOOK_EVERY_S = 1.0
WHOLE_WITHIN_S = 300.0
IDLE_WITHIN_S = 10.0
GONE_WITHIN_S = 60.0  # the host of a dead core is Serve's to take down


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked of the cluster, and what is done to it."""

    kinds: tuple[Kind, ...]
    streams: int
    faults: tuple[Fault, ...]
    duration_s: float
    kill_every_s: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The cluster. `local`: its processes are of this machine. `engines` may change."""

    endpoint: Endpoint
    model: str
    local: bool
    engines: Callable[[], int]
    gateways: int
    deploy: Deploy


class ChaosTest:
    """One chaos test; `emit` gets its rows as they come, `say` its progress."""

    def __init__(
        self, subject: Subject, load: Load, emit: Callable[[Row], None], say: Callable[[str], None]
    ) -> None:
        self._subject, self._load = subject, load
        self._emit, self._say = emit, say
        self._watch = Watch(subject.endpoint, subject.model, local=subject.local)
        self._faults = Faults(subject.deploy)
        self._began_s = 0.0

    async def run(self) -> EndRow:
        """Returns the last row. Raises SetUpError where the load cannot begin; what goes wrong
        later is in the rows."""
        ask = asker(self._subject.endpoint, self._subject.model)
        view = await self._watch.look()
        if not view.ready:
            raise SetUpError(f"no engine of {self._subject.model!r} is ready")
        self._say(f"taking the truth of {len(self._load.kinds)} kinds, twice")
        known = await truth.taken(ask, self._load.kinds, self._load.streams)
        memory = await self._watch.rss_bytes()
        moved, failed = self._watch.counted
        self._began_s = monotonic()
        await self._load_and_faults(known)
        loaded_s = self._now_s
        self._say("no more requests; waiting for a whole fleet")
        whole_after_s = await self._whole()
        leaked = await self._leaked()
        view = await self._watch.look()
        orphans = await asyncio.to_thread(self._watch.herd.orphans, view.listed, GONE_WITHIN_S)
        moved_then, failed_then = self._watch.counted
        return EndRow(
            duration_s=loaded_s,
            moved=moved_then - moved,
            failed_flights=failed_then - failed,
            whole_after_s=whole_after_s,
            leaked_flights=leaked,
            orphans=[str(process) for process in orphans],
            memory=growth(memory, await self._watch.rss_bytes()),
        )

    @property
    def _now_s(self) -> float:
        return monotonic() - self._began_s

    async def _load_and_faults(self, known: Truth) -> None:
        stop = asyncio.Event()
        ask = asker(self._subject.endpoint, self._subject.model)
        rng = Random(f"traffic {self._load.seed}")
        async with asyncio.TaskGroup() as group:
            group.create_task(
                steady(ask, known.kinds, self._load.streams, rng, self._taker(known), stop)
            )
            try:
                await self._do_faults()
            finally:
                stop.set()

    def _taker(self, known: Truth) -> Callable[[Outcome], None]:
        def take(outcome: Outcome) -> None:
            row = RequestRow(
                kind=outcome.kind,
                began_s=outcome.began_s - self._began_s,
                ended_s=outcome.ended_s - self._began_s,
                error=outcome.error,
                wrong=known.wrong(outcome),
                cut=outcome.cut,
                longest_gap_s=outcome.longest_gap_s,
            )
            self._emit(row)
            if bad := row.error or row.wrong:
                self._tell(f"{row.kind}, begun at {row.began_s:.0f} s: {bad}")

        return take

    async def _do_faults(self) -> None:
        plan = self._plan()
        while self._now_s < self._load.duration_s:
            view = await self._watch.look()
            state = self._faults.left(view, self._subject.engines(), self._subject.gateways)
            action = plan.next(state, self._now_s)
            if action is None:
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            at_s, missed = self._now_s, False
            self._tell(f"{action.fault} {action.victim}")
            try:
                what = await self._faults.do(action, view)
            except MissedError as error:
                what, missed = str(error), True
            self._tell(f"  {what}")
            self._emit(FaultRow(at_s=at_s, fault=action.fault, what=what, missed=missed))

    def _plan(self) -> Plan:
        load = self._load
        return Plan(
            load.faults,
            engines=self._subject.engines(),
            kill_every_s=load.kill_every_s,
            duration_s=load.duration_s,
            rng=Random(f"faults {load.seed}"),
        )

    async def _whole(self) -> float | None:
        """How long it took until every engine and gateway was there; None where it did not."""
        began_s = monotonic()
        while (waited_s := monotonic() - began_s) < WHOLE_WITHIN_S:
            await self._watch.find_gateways()
            view = await self._watch.look()
            if view.is_whole(self._subject.engines(), self._subject.gateways):
                return waited_s
            await asyncio.sleep(LOOK_EVERY_S)
        return None

    async def _leaked(self) -> int:
        """Requests in flight although no client waits."""
        began_s = monotonic()
        while active := (await self._watch.look()).active:
            if monotonic() > began_s + IDLE_WITHIN_S:
                break
            await asyncio.sleep(LOOK_EVERY_S)
        return active

    def _tell(self, what: str) -> None:
        self._say(f"{self._now_s:6.1f} s  {what}")

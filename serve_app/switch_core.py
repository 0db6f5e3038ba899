"""The switch without its sockets: which engine has which request, and what happens when it goes.

Every input is a method call with the time as an argument, every output a call on `Ports`; so the
whole life of requests and engines is tested over arbitrary interleavings, without a socket.

Invariants (tests/serve_app/test_switch_core.py holds them over random interleavings):
- a flight ends exactly once: finished, aborted or failed;
- its tokens reach the API server once each, in order, whatever attempts they came from;
- an engine's outstanding load is the sum over the flights it has, and zero when it has none.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, EngineCoreRequest, FinishReason
from vllm.v1.metrics.stats import SchedulerStats

from cluster.failover import (
    FailoverLimits,
    FailReason,
    LossCause,
    MoveDecision,
    ResumeKind,
    decide_move,
    resume_kind,
    worth_hedging,
)
from cluster.lifecycle import FlightEvent, FlightState
from cluster.routing import Router
from cluster.routing.explain import Explanation
from cluster.routing.fleet_view import FleetView
from cluster.routing.kv_stream import Accepted, KvChanges, KvSnapshot, KvSubscriber
from cluster.scaling.limits import Slo
from cluster.scaling.request_counts import RequestCounts
from cluster.types import ReplicaId, Rng
from serve_app import resume
from serve_app.engine_choice import EngineChoice, OnDecision
from serve_app.failures import Failure, error_output
from serve_app.flight_news import Expected, FlightNewsBox, RunningFlight
from serve_app.flights import Flight, ReplayDivergedError
from serve_app.switch_engines import Engine, Loss, Move, load_report
from serve_app.switch_measures import SwitchMeasures
from serve_app.utility_calls import UtilityCalls
from serve_app.wire import Load, Ready, Result, Utility, WireError

logger = logging.getLogger("tokenfleet.switch")

REMEMBERED_LOSSES = 100
REMEMBERED_MOVES = 20

REMEMBERED_FAILURES = 4096
"""Failures kept for the API server to ask about; it asks at once, so this is far more than used."""


class Ports(Protocol):
    """Where the core's outputs go."""

    def add(self, engine_id: ReplicaId, request: EngineCoreRequest) -> None:
        """Raises WireError where the request cannot be sent to any engine."""

    def abort(self, engine_id: ReplicaId, attempt_ids: list[str]) -> None: ...

    def ask(self, engine_id: ReplicaId, call: Utility) -> None: ...

    def ask_cache(self, engine_id: ReplicaId) -> None: ...

    def outputs(self, outputs: EngineCoreOutputs) -> None: ...

    def answer(self, result: Result) -> None: ...


@dataclass(slots=True)
class Counters:
    """Since the switch started, in requests (`moved`: in moves, `stale_outputs`: in outputs)."""

    finished: int = 0
    aborted: int = 0
    moved: int = 0
    failed: int = 0
    stale_outputs: int = 0
    output_tokens: int = 0


class SwitchCore:
    """One model's requests over that model's engines, for one API server.

    `session` makes attempt ids unique among all switches that share an engine. `slo` is what
    counts as in time; default: the spec's.
    """

    def __init__(
        self,
        *,
        router: Router,
        rng: Rng,
        limits: FailoverLimits,
        max_flights: int,
        ports: Ports,
        session: str,
        on_decision: OnDecision | None = None,
        slo: Slo | None = None,
    ) -> None:
        self.counts = RequestCounts(slo or Slo())
        self.engines: dict[ReplicaId, Engine] = {}
        self.view = FleetView()
        self.flights: dict[str, Flight] = {}  # by the API server's request id
        self.held: dict[str, Flight] = {}  # those with no engine now, oldest first
        self.counters = Counters()
        self.measures = SwitchMeasures()
        self.losses: deque[Loss] = deque(maxlen=REMEMBERED_LOSSES)  # newest last
        self.moves: deque[Move] = deque(maxlen=REMEMBERED_MOVES)  # newest last
        self.failures: OrderedDict[str, Failure] = OrderedDict()  # by the API server's name
        self.news = FlightNewsBox()
        self.expected: dict[str, Expected] = {}  # by the API server's name
        self._pausable: dict[str, Flight] = {}  # by the API server's name, at an engine or paused
        self.utilities = UtilityCalls(ports.ask, ports.answer, limits.hold_timeout_s)
        self._choice = EngineChoice(self.view, router, rng, on_decision, self.measures)
        self._limits, self._ports = limits, ports
        self._session, self._max_flights = session, max_flights

    # Requests, from the API server

    def request(self, request: EngineCoreRequest, now_s: float) -> None:
        """A request, or the next piece of a streamed input."""
        resume.drop_reserved(request)
        known = self.flights.get(request.request_id)
        if known is not None:
            self._continue_input(known, request, now_s)
            return
        flight = Flight(request, resume.traits(request))
        expected = self.expected.get(flight.name)
        if expected is None:
            flight.arrived_at_s = now_s
            self.counts.arrived(resume.prompt_tokens(request))
        else:
            flight.arrived_at_s = expected.offered_at_s
            flight.pausable = expected.pausable and flight.traits.resumable
        if flight.pausable:
            self._pausable[flight.name] = flight
        self.flights[request.request_id] = flight
        self.news.arrived(flight)
        if len(self.flights) > self._max_flights:
            self._fail(flight, FailReason.OVERLOADED, now_s)
            return
        self._dispatch(flight, now_s)

    def _continue_input(self, flight: Flight, request: EngineCoreRequest, now_s: float) -> None:
        if flight.engine_id is None or flight.attempt_id is None:
            self._fail(flight, FailReason.NOT_RESUMABLE, now_s)
            return
        attempt_id, engine_id = flight.attempt_id, flight.engine_id
        piece = resume.attempt_request(request, attempt_id, ResumeKind.RESEND, [])
        if not self._send(flight, piece, now_s):
            self._ports.abort(engine_id, [attempt_id])

    def abort(self, request_ids: list[str], now_s: float) -> None:
        """The API server no longer wants these. Unknown (already ended) ids are ignored."""
        by_engine: dict[ReplicaId, list[str]] = {}
        for request_id in request_ids:
            flight = self.flights.get(request_id)
            if flight is None:
                continue
            if flight.engine_id is not None and flight.attempt_id is not None:
                by_engine.setdefault(flight.engine_id, []).append(flight.attempt_id)
            self._count_end(flight, now_s)
            self._end(flight, FlightEvent.ABORTED, now_s)
            self.counters.aborted += 1
        for engine_id, attempt_ids in by_engine.items():
            self._ports.abort(engine_id, attempt_ids)

    def pause(self, names: Iterable[str], now_s: float) -> None:
        """Take these from their engines, with the tokens that they have, until they are resumed.
        Those that are over, or have no engine now, are passed over."""
        for name in names:
            flight = self._pausable.get(name)
            if flight is None or flight.state is not FlightState.RUNNING:
                continue
            assert flight.engine_id is not None
            assert flight.attempt_id is not None
            self._ports.abort(flight.engine_id, [flight.attempt_id])
            self._detach(flight, LossCause.PAUSED, now_s)
            self.counters.moved += 1
            self.news.paused(flight, now_s)

    def resume(self, names: Iterable[str], now_s: float) -> None:
        """They are to go on. Those that are over are passed over."""
        for name in names:
            flight = self._pausable.get(name)
            if flight is not None and flight.state is FlightState.HELD:
                self._dispatch(flight, now_s)

    def running_batch(self) -> list[RunningFlight]:
        """What may be paused."""
        return [
            RunningFlight(flight.name, flight.engine_id, flight.held_tokens, flight.left_tokens)
            for flight in self._pausable.values()
            if flight.engine_id is not None
        ]

    def utility(self, call_id: int, method: str, args: list[Any], now_s: float) -> None:
        """A utility call from the API server."""
        self.utilities.start(call_id, method, args, self.engines.keys(), now_s)

    # Engines

    def engine_joined(self, engine_id: ReplicaId, ready: Ready, now_s: float) -> None:
        """An engine is connected and its core runs. If it was lost before, it had not died."""
        for flight in self.flights.values():
            flight.died_on.discard(engine_id)
        self.view.joined(
            engine_id, kv_total_tokens=ready.kv_total_tokens, block_tokens=ready.block_tokens
        )
        cache = KvSubscriber(engine_id, self.view.index)
        self.engines[engine_id] = Engine(engine_id, ready, now_s - ready.clock_s, cache)
        self.utilities.engine_joined(engine_id, self.engines.keys())
        self._dispatch_held(now_s)
        self._shed(now_s)
        self.news.others = True

    def engine_leaving(self, engine_id: ReplicaId, leaving: bool, now_s: float) -> None:
        """An engine is to be removed, or (`leaving` false) not after all. Unknown ones are ignored.

        What runs there goes on there until another engine can take it.
        """
        engine = self.engines.get(engine_id)
        if engine is None or engine.leaving == leaving:
            return
        engine.leaving = leaving
        self.news.others = True
        self._shed(now_s)
        if not leaving:
            self._dispatch_held(now_s)

    def engine_lost(self, engine_id: ReplicaId, cause: LossCause, now_s: float) -> None:
        """An engine is gone: its flights move. Unknown engines are ignored."""
        engine = self.engines.pop(engine_id, None)
        if engine is None:
            return
        self.news.others = True
        if not cause.is_planned:
            self.losses.append(Loss(now_s, engine_id, cause))
            self.measures.losses[cause.value] += 1
        self.utilities.engine_lost(engine_id, self.engines.keys())
        flights = list(engine.flights.values())
        self.view.left(engine_id)
        for flight in flights:
            self._move(flight, cause, now_s)
        if flights:
            still_held = sum(flight.request_id in self.held for flight in flights)
            logger.warning(
                "engine %s lost (%s): %d requests in flight, %d of them wait for an engine",
                engine_id, cause.value, len(flights), still_held,
            )  # fmt: skip

    def load(self, engine_id: ReplicaId, load: Load, now_s: float) -> None:
        """An engine's load report."""
        engine = self.engines.get(engine_id)
        if engine is not None:
            engine.load, engine.load_at_s = load, now_s
            self.news.changed = True
            self.view.reported(engine_id, load_report(load))

    def cache(self, engine_id: ReplicaId, said: KvChanges | KvSnapshot) -> None:
        """What has changed in an engine's KV cache, or all there is in it."""
        engine = self.engines.get(engine_id)
        if engine is None:
            return
        accept = engine.cache.restore if isinstance(said, KvSnapshot) else engine.cache.accept
        if accept(said) is Accepted.GAP:  # type: ignore[arg-type]
            self._ports.ask_cache(engine_id)

    def result(self, engine_id: ReplicaId, result: Result) -> None:
        """An engine's answer to a utility call."""
        self.utilities.result(engine_id, result)

    def step(self, engine_id: ReplicaId, outputs: EngineCoreOutputs, now_s: float) -> None:
        """One engine step: pass on what belongs to live attempts."""
        engine = self.engines.get(engine_id)
        if engine is None:
            self.counters.stale_outputs += len(outputs.outputs)
            return
        passed = [
            accepted
            for output in outputs.outputs
            if (accepted := self._accept(engine, output, now_s)) is not None
        ]
        if passed:
            self.counters.output_tokens += sum(len(output.new_token_ids) for output in passed)
            outputs.outputs = passed
            outputs.finished_requests = None  # names attempts; only a DP coordinator reads it
            outputs.timestamp += engine.clock_shift_s
            self._ports.outputs(outputs)

    def _accept(
        self, engine: Engine, output: EngineCoreOutput, now_s: float
    ) -> EngineCoreOutput | None:
        flight = engine.flights.get(output.request_id)
        if flight is None:
            self.counters.stale_outputs += 1
            return None
        if output.finish_reason is FinishReason.ABORT and not self.utilities.journal.holds_requests:
            # Nobody here asked for it: the engine is shutting down under the request.
            self._move(flight, LossCause.ABORTED, now_s)
            return None
        is_first = flight.first_step_at_s is None
        if is_first:
            self.view.began(output.request_id)
            self.news.changed = True
        try:
            accepted = flight.accept(output, engine.clock_shift_s, now_s)
        except ReplayDivergedError as error:
            logger.error("%s (engine %s)", error, engine.id)
            self._ports.abort(engine.id, [output.request_id])
            self._fail(flight, FailReason.DIVERGED, now_s)
            return None
        if accepted is not None:
            if is_first and flight.emitted and flight.lost is not None:
                self.measures.gap(now_s - flight.lost_at_s)
            self._count_answer(flight, accepted, now_s)
        return accepted

    def _count_answer(self, flight: Flight, output: EngineCoreOutput, now_s: float) -> None:
        if flight.began_at_s is None:
            flight.began_at_s = now_s
            self.counts.began(now_s - flight.arrived_at_s)
        if output.finish_reason is not None:
            self._count_end(flight, now_s)
            self._end(flight, FlightEvent.FINISHED, now_s)
            self.counters.finished += 1

    def _count_end(self, flight: Flight, now_s: float) -> None:
        """An abort too is an end, where the answer had begun: vLLM's API server finds stop strings
        itself, and aborts what has come to one."""
        if flight.began_at_s is not None:
            self.counts.ended(len(flight.emitted), now_s - flight.began_at_s)

    # Time

    def tick(self, now_s: float) -> None:
        """Fail what waited for an engine too long; move what should have ended on a leaving one,
        or begun on another."""
        self._shed(now_s)
        if self._limits.hedge_after_s is not None:
            self._hedge(now_s)
        for flight in list(self.held.values()):
            assert flight.held_since_s is not None
            if now_s - flight.held_since_s >= self._limits.hold_timeout_s:
                self._fail(flight, FailReason.NO_ENGINE, now_s)
        self.utilities.tick(now_s)

    def stats(self) -> EngineCoreOutputs:
        """The engines' loads as one engine's scheduler statistics, for the API server's gauges."""
        loads = [engine.load for engine in self.engines.values()]
        return EngineCoreOutputs(
            scheduler_stats=SchedulerStats(
                num_running_reqs=sum(load.running_requests for load in loads),
                num_waiting_reqs=sum(load.waiting_requests for load in loads) + len(self.held),
                kv_cache_usage=max((load.kv_use_frac for load in loads), default=0.0),
            )
        )

    # The life of a flight

    @property
    def open_engines(self) -> int:
        """How many engines can take a new request."""
        return sum(not engine.leaving for engine in self.engines.values())

    def _dispatch_held(self, now_s: float) -> None:
        for flight in list(self.held.values()):
            self._dispatch(flight, now_s)

    def _shed(self, now_s: float) -> None:
        """Move what leaving engines run, where it need not stay: see `_stays`."""
        for engine in [each for each in self.engines.values() if each.leaving]:
            for attempt_id, flight in list(engine.flights.items()):
                if not self._stays(flight, now_s):
                    self._ports.abort(engine.id, [attempt_id])
                    self._move(flight, LossCause.REMOVED, now_s)

    def _stays(self, flight: Flight, now_s: float) -> bool:
        """Whether a flight ends on its leaving engine: nobody can take it over, or it ends soon."""
        return (
            self._decide(flight, LossCause.REMOVED).fail is not None
            or not self._able(flight)
            or flight.ends_soon(now_s, self._limits)
        )

    def _hedge(self, now_s: float) -> None:
        """Give what waits long for its first token to an engine with less to do, once."""
        for flight in list(self.flights.values()):
            if flight.state is FlightState.RUNNING and not flight.emitted and not flight.hedged:
                self._hedge_one(flight, now_s)

    def _hedge_one(self, flight: Flight, now_s: float) -> None:
        assert flight.engine_id is not None
        assert flight.attempt_id is not None
        here = self.engines[flight.engine_id]
        able = self._less_busy(flight, here, now_s)
        if able and flight.traits.resumable:
            self._ports.abort(here.id, [flight.attempt_id])
            self._detach(flight, LossCause.HEDGED, now_s)
            self.counters.moved += 1
            self._start(flight, able, now_s)

    def _less_busy(self, flight: Flight, here: Engine, now_s: float) -> list[Engine]:
        """The engines where a flight that waits `here` may expect its first token sooner.

        Asked at every tick for everything that waits, so without the router and the prompt's
        blocks: a router remembers what it was asked, and blocks take time to name.
        """
        waited_s, after_s = now_s - flight.sent_at_s, self._limits.hedge_after_s
        if after_s is None or waited_s < after_s:
            return []
        able = [engine for engine in self._able(flight) if engine is not here]
        outstanding = self._choice.outstanding_tokens([here, *able])
        here_tokens = outstanding[here.id] - resume.expected_tokens(flight.request)
        return [
            engine
            for engine in able
            if worth_hedging(
                waited_s=waited_s,
                here_tokens=here_tokens,
                there_tokens=outstanding[engine.id],
                limits=self._limits,
            )
        ]

    def _allowed(self, flight: Flight) -> list[Engine]:
        """The engines that may have the flight."""
        return [engine for engine in self.engines.values() if engine.may_take(flight)]

    def _able(self, flight: Flight) -> list[Engine]:
        """Those of them that can go on with it exactly."""
        kind = resume_kind(flight.traits, len(flight.emitted))
        return [engine for engine in self._allowed(flight) if engine.can_resume(kind)]

    def _dispatch(self, flight: Flight, now_s: float) -> None:
        """Send the flight to an engine, or hold it until there is one."""
        if able := self._able(flight):
            self._start(flight, able, now_s)
        elif self._allowed(flight):
            self._fail(flight, FailReason.NOT_RESUMABLE, now_s)
        else:
            self._hold(flight, now_s)

    def last_decisions(self) -> list[Explanation]:
        """Where the last requests went and why, newest last."""
        return self._choice.last_decisions()

    def explain(self, request: EngineCoreRequest) -> Explanation | None:
        """Where the request would go now, and why; None where no engine is open."""
        able = [engine for engine in self.engines.values() if not engine.leaving]
        return self._choice.explain(request, able) if able else None

    def _start(self, flight: Flight, able: list[Engine], now_s: float) -> None:
        """Send the flight to one of these."""
        size, picked = self._choice.choose(flight, able)
        engine = self.engines[picked.id]
        self.held.pop(flight.request_id, None)
        attempt_id = f"{flight.request_id}#{self._session}{flight.attempts + 1}"
        kind = resume_kind(flight.traits, len(flight.emitted))
        flight.start_attempt(attempt_id, engine.id, kind, now_s)
        if flight.lost is not None:
            before, cause = flight.lost
            self.measures.moves[cause.value] += 1
            move = Move(now_s, flight.name, before, engine.id, cause, len(flight.emitted))
            self.moves.append(move)
        if flight.attempts == 1:
            self.counts.sent(max(size.prompt_tokens - picked.cached_tokens, 0))
        engine.take(flight, attempt_id)
        attempt = resume.attempt_request(flight.request, attempt_id, kind, flight.emitted)
        if self._send(flight, attempt, now_s):
            # What is not sent must not count: the engine reports how many it has received.
            self.view.sent(engine.id, attempt_id, size, picked.cached_tokens)

    def _send(self, flight: Flight, attempt: EngineCoreRequest, now_s: float) -> bool:
        """Send it to the flight's engine; where that cannot be, fail the flight."""
        assert flight.engine_id is not None
        try:
            self._ports.add(flight.engine_id, attempt)
        except WireError as error:
            logger.error("request %s cannot be sent: %s", flight.request_id, error)
            self._fail(flight, FailReason.TOO_LARGE, now_s)
            return False
        return True

    def _hold(self, flight: Flight, now_s: float) -> None:
        if flight.held_since_s is None:
            flight.held_since_s = now_s
        self.held[flight.request_id] = flight

    def _move(self, flight: Flight, cause: LossCause, now_s: float) -> None:
        """The flight's engine is lost to it: go on elsewhere, or fail."""
        self._detach(flight, cause, now_s)
        decision = self._decide(flight, cause)
        if decision.fail is not None:
            self._fail(flight, decision.fail, now_s)
            return
        self.counters.moved += 1
        self._dispatch(flight, now_s)

    def _decide(self, flight: Flight, cause: LossCause) -> MoveDecision:
        return decide_move(
            cause=cause,
            traits=flight.traits,
            emitted_tokens=len(flight.emitted),
            losses=flight.losses,
            deaths=len(flight.died_on),
            limits=self._limits,
        )

    def _fail(self, flight: Flight, reason: FailReason, now_s: float) -> None:
        """End the flight with an error that says why."""
        failure = Failure.of(reason, flight, self._limits)
        self.failures[flight.name] = failure
        if len(self.failures) > REMEMBERED_FAILURES:
            self.failures.popitem(last=False)
        if flight.began_at_s is None:
            self.counts.failed()
        self._end(flight, FlightEvent.FAILED, now_s)
        self.counters.failed += 1
        self.measures.failures[reason.value] += 1
        logger.error("request %s failed: %s", flight.request_id, failure.message)
        if reason is FailReason.POISON:
            logger.error("the suspect has %s", resume.described(flight.request))
        self._ports.outputs(EngineCoreOutputs(outputs=[error_output(flight)]))

    def _end(self, flight: Flight, how: FlightEvent, now_s: float) -> None:
        """The one place where a flight ends."""
        flight.advance(how)
        self._release(flight, now_s)
        self.held.pop(flight.request_id, None)
        del self.flights[flight.request_id]
        if flight.pausable:
            del self._pausable[flight.name]
        self.news.over(flight, now_s, failed=how is FlightEvent.FAILED)

    def _detach(self, flight: Flight, cause: LossCause, now_s: float) -> None:
        """Take the flight from its engine, for the next."""
        flight.lose(cause, now_s)
        self._release(flight, now_s)

    def _release(self, flight: Flight, now_s: float) -> None:
        """The one place where an engine's load is released."""
        if flight.attempt_id is not None:
            self.view.ended(flight.attempt_id)
            if flight.engine_id in self.engines:
                self.engines[flight.engine_id].flights.pop(flight.attempt_id, None)
        flight.detach(now_s)

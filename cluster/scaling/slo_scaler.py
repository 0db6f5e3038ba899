"""The scaler: engines for the load that is offered, at the SLO, by the engines' measured rates.

For each interval of a TTFT it works out what is needed (`capacity`) for what may be offered by the
time an engine decided on now is up (`offered_load`, `cold_start`), and makes of it a whole number
that goes up at once and down late (`stabilized`). Beside that it goes up

- for a backlog that the engines cannot work off within the TTFT, if there will be something left of
  it when more of them could be there;
- from none to one for the first request;
- where the SLO is missed though it should be met (`attainment`).

Where no engine's step cost is known yet it goes by what they have: more where requests wait for a
place in an engine, otherwise as many as there are. The reason says so.

KV use is no signal: it stays low while prompts queue, and stays high when nothing is left to do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from cluster.scaling.attainment import Attainment
from cluster.scaling.capacity import (
    EngineCapacity,
    drain_s,
    engine_capacity,
    engines_for_backlog,
    engines_needed,
)
from cluster.scaling.cold_start import ColdStart
from cluster.scaling.counting import Counted, Counting
from cluster.scaling.decision import ScalingDecision, ScalingReason, bounded
from cluster.scaling.known_rates import KnownRates
from cluster.scaling.limits import ScalingLimits, Slo
from cluster.scaling.offered_load import Load, OfferedLoad
from cluster.scaling.signals import EngineState, Signals
from cluster.scaling.stabilized import Stabilized
from cluster.types import StepCost

MOST_INTERVAL_S = 5.0
"""With a long TTFT the level would be known too coarsely."""


@dataclass(frozen=True, slots=True)
class _Need:
    """So many engines for the load, for that reason, which `why` puts in words."""

    engines: float
    reason: ScalingReason
    why: str


class SloScaler:
    """A `cluster.scaling.Scaler`."""

    def __init__(self, limits: ScalingLimits, slo: Slo, cold_start_default_s: float = 60.0) -> None:
        self._limits = limits
        self._slo = slo
        self._interval_s = min(slo.ttft_s, MOST_INTERVAL_S)
        self._counting = Counting()
        self._counted = Counted()  # in the interval under way
        self._interval_at_s: float | None = None
        self._cold_start = ColdStart(cold_start_default_s)
        self._rates = KnownRates()
        self._offered = OfferedLoad()
        self._attainment = Attainment(slo)
        self._stabilized = Stabilized()
        self._active_at_s: float | None = None
        self._missed = False

    def decide(self, signals: Signals, now_s: float) -> ScalingDecision:
        counted = self._counting.since_last(signals.gateways)
        self._cold_start.observe((engine.id for engine in signals.ready), now_s)
        self._observe(counted, signals, now_s)
        active = self._is_active(counted, signals, now_s)
        need = self._need(signals, now_s)
        cold_start_s = self._cold_start.expected_s
        standby = self._limits.standby
        own = signals.target - standby  # for the load
        smooth, wait_s = self._stabilized.engines(need.engines, own, now_s, cold_start_s)
        wanted, reason, why = self._step(own, need, smooth, wait_s)
        why += f"; {standby} more to stand by" if standby else ""
        wanted, reason, why = self._at_zero(signals, active, wanted + standby, reason, why)
        target, reason = bounded(wanted, reason, self._limits, signals.placeable)
        self._cold_start.decided(target - signals.target, now_s)
        return ScalingDecision(
            target=target,
            reason=reason,
            sentence=f"{_change(signals.target, target)}: {_bound(wanted, target)}{why}",
            needed=need.engines + standby,
            cold_start_s=cold_start_s,
        )

    # What is known

    def _observe(self, counted: Counted, signals: Signals, now_s: float) -> None:
        if self._interval_at_s is None:
            self._interval_at_s = now_s
            return
        self._counted += counted
        lasted_s = now_s - self._interval_at_s
        if lasted_s < self._interval_s:
            return
        cold_start_s = self._cold_start.expected_s
        self._rates.observe(signals.ready, now_s, lasted_s, cold_start_s)
        if self._rates.cost is not None:
            self._offered.observe(self._counted, self._rates.cost, now_s, lasted_s, cold_start_s)
        up = len(signals.ready)
        self._attainment.fade(lasted_s, cold_start_s)
        self._missed = self._attainment.observe(self._counted, up, all_up=up >= signals.target)
        self._counted, self._interval_at_s = Counted(), now_s

    def _is_active(self, counted: Counted, signals: Signals, now_s: float) -> bool:
        """Whether there was, or is, a request within `idle_s`."""
        if self._active_at_s is None or counted.requests or signals.ongoing_requests:
            self._active_at_s = now_s
        return now_s - self._active_at_s < self._limits.idle_s

    # What is needed

    def _need(self, signals: Signals, now_s: float) -> _Need:
        cost = self._rates.cost
        if cost is None:
            need = self._need_unmeasured(signals)  # in all; of these some stand by
            return replace(need, engines=need.engines - self._limits.standby)
        cold_start_s = self._cold_start.expected_s
        load = self._offered.load(cost, now_s, cold_start_s)
        if load is None:
            return _Need(0.0, ScalingReason.LOAD, "nothing is offered")
        engine = engine_capacity(load, cost, self._rates.kv_tokens, self._slo)
        more = (1.0 + self._limits.headroom_frac) * self._attainment.factor
        engines = engines_needed(load, engine, cost, self._slo) * more
        backlog = self._need_for_backlog(signals, load, engine, cost, cold_start_s)
        if backlog is not None and backlog.engines > engines:
            return backlog
        reason = ScalingReason.SLO_MISSED if self._missed else ScalingReason.LOAD
        return _Need(engines, reason, _load_words(engines, load, engine, cold_start_s))

    def _need_for_backlog(
        self,
        signals: Signals,
        load: Load,
        engine: EngineCapacity,
        cost: StepCost,
        cold_start_s: float,
    ) -> _Need | None:
        ready = len(signals.ready)
        queued = sum(each.queued_prefill_tokens for each in signals.ready)
        held = signals.held_requests * load.prompt_tokens
        seconds = drain_s(queued + held, ready, engine, cost)
        if seconds <= self._slo.ttft_s:
            return None
        coming = ready + sum(each.state is EngineState.STARTING for each in signals.engines)
        coming = max(coming, signals.target)
        engines = engines_for_backlog(queued + held, coming, load, engine, cost, cold_start_s)
        why = (
            f"{queued + held:.0f} queued prompt tokens take {ready} engines {seconds:.1f} s, more "
            f"than the TTFT of {self._slo.ttft_s:g} s; {engines:.2f} are needed"
        )
        return _Need(engines, ScalingReason.BACKLOG, why)

    def _need_unmeasured(self, signals: Signals) -> _Need:
        """Where more wait than run, the others have no place in an engine; in proportion more
        engines have one. (Some always wait, for the step under way.)"""
        running = sum(engine.running_requests for engine in signals.ready)
        waiting = sum(engine.waiting_requests for engine in signals.ready)
        if waiting > running > 0:
            engines = len(signals.ready) * (running + waiting) / running
            why = (
                f"step costs are not known yet, and {waiting} requests wait beside {running} that "
                f"run on {len(signals.ready)} engines"
            )
            return _Need(engines, ScalingReason.QUEUED, why)
        if self._missed and len(signals.ready) >= signals.target:
            why = "step costs are not known yet, and the SLO is missed"
            return _Need(signals.target + 1.0, ScalingReason.SLO_MISSED, why)
        why = "step costs are not known yet, and few requests wait"
        return _Need(float(signals.target), ScalingReason.UNMEASURED, why)

    # What is to be done

    def _step(
        self, target: int, need: _Need, smooth: int, wait_s: float
    ) -> tuple[int, ScalingReason, str]:
        """From `target`, without those that stand by."""
        if smooth > target:
            return smooth, need.reason, need.why
        if smooth < target:
            return smooth, ScalingReason.SURPLUS, need.why
        if need.reason is ScalingReason.UNMEASURED:
            return smooth, need.reason, need.why
        if ceil(need.engines) < target and wait_s > 0.0:
            why = f"{need.why}; fewer if that lasts for {wait_s:.0f} s more"
            return smooth, ScalingReason.COOLING, why
        return smooth, ScalingReason.STEADY, need.why

    def _at_zero(
        self, signals: Signals, active: bool, wanted: int, reason: ScalingReason, why: str
    ) -> tuple[int, ScalingReason, str]:
        """The step between none and one has rules of its own, where none is allowed."""
        if self._limits.least > 0:
            return max(1, wanted), reason, why
        if not active:
            return 0, ScalingReason.IDLE, f"no request for {self._limits.idle_s:g} s"
        if signals.target == 0:
            if not signals.ongoing_requests:
                return 0, ScalingReason.IDLE, "nobody asks"
            held = signals.held_requests
            return max(1, wanted), ScalingReason.HELD, f"{held} requests wait for an engine"
        return max(1, wanted), reason, why


def _load_words(engines: float, load: Load, engine: EngineCapacity, cold_start_s: float) -> str:
    unreachable = "" if engine.reachable else "; a step alone takes longer than the TPOT"
    return (
        f"{engines:.2f} engines are needed for {load.level:.2f} engines' work, "
        f"{load.forecast:.2f} in a cold start of {cold_start_s:.0f} s, +- {load.error:.2f}, with "
        f"{engine.most_work:.2f} of an engine's time for work at the SLO{unreachable}"
    )


def _change(target: int, new: int) -> str:
    return f"{target} engines" if new == target else f"{target} to {new} engines"


def _bound(wanted: int, target: int) -> str:
    return "" if wanted == target else f"{wanted} are wanted, {target} can be; "

"""An ideal fleet for a scaler: it serves all at once, and follows after a cold start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from cluster.scaling import Scaler
from cluster.scaling.decision import ScalingDecision
from cluster.scaling.signals import EngineSignals, EngineState, GatewaySignals, Signals
from cluster.types import ReplicaId, StepCost

COST = StepCost(base_s=0.02, prefill_token_s=1e-4, decode_request_s=5e-4)
PROMPT_TOKENS, OUTPUT_TOKENS = 1000, 200
WORK_S = 0.2  # of a request, under COST


def engine(name: str, state: EngineState = EngineState.READY, **more: object) -> EngineSignals:
    return EngineSignals(id=ReplicaId(name), state=state, **more)  # type: ignore[arg-type]


def gateway(requests: int = 0, name: str = "g", **more: object) -> GatewaySignals:
    """All of its requests answered, in time, and alike."""
    counts = {
        "requests": requests,
        "prompt_tokens": requests * PROMPT_TOKENS,
        "uncached_prompt_tokens": requests * PROMPT_TOKENS,
        "answered_requests": requests,
        "output_tokens": requests * OUTPUT_TOKENS,
        "ttft_total": requests,
        "ttft_good": requests,
        "tpot_total": requests,
        "tpot_good": requests,
    }
    return GatewaySignals(id=name, **(counts | more))  # type: ignore[arg-type]


@dataclass
class Ideal:
    """`cost` None: engines whose rates are not known."""

    scaler: Scaler
    engines: int = 1
    cold_start_s: float = 60.0
    cost: StepCost | None = COST
    placeable: int | None = None
    requests: int = 0
    targets: list[int] = field(default_factory=list)
    now_s: float = 0.0
    _ready_at_s: list[float] = field(default_factory=list)
    _started: int = 0

    def __post_init__(self) -> None:
        self._ready_at_s = [0.0] * self.engines
        self._names = [f"e{number}" for number in range(self.engines)]
        self._started = self.engines

    def second(self, arrivals: int, **counted: object) -> ScalingDecision:
        """`arrivals` come in it, and are held where no engine is ready."""
        self.now_s += 1.0
        self.requests += arrivals
        ready = [at_s <= self.now_s for at_s in self._ready_at_s]
        held = arrivals if not any(ready) else 0
        engines = [
            engine(name, EngineState.READY if up else EngineState.STARTING,
                   step_cost=self.cost if up else None)
            for name, up in zip(self._names, ready, strict=True)
        ]  # fmt: skip
        signals = Signals(
            engines=engines,
            gateways=[gateway(self.requests, **({"held_requests": held} | counted))],
            target=len(engines),
            placeable=self.placeable,
        )
        decision = self.scaler.decide(signals, self.now_s)
        self._follow(decision.target)
        return decision

    def play(self, arrivals: Iterable[int]) -> list[int]:
        """The targets."""
        return [self.second(each).target for each in arrivals]

    def _follow(self, target: int) -> None:
        while len(self._names) < target:
            self._names.append(f"e{self._started}")
            self._started += 1
            self._ready_at_s.append(self.now_s + self.cold_start_s)
        del self._names[target:], self._ready_at_s[target:]


def turns(targets: list[int]) -> int:
    """How often the target turned from rising to falling, or back."""
    steps = [late - early for early, late in pairwise(targets)]
    signs = [step > 0 for step in steps if step]
    return sum(one != other for one, other in pairwise(signs))

"""Which fault comes next, and when: pure, seeded, the same for the same states.

A fault is due `kill_every_s` after the last one. It waits until the fleet is whole enough: for
every fault that takes an engine away, another must be ready and untouched; for every fault that
takes a gateway away, another gateway. Of the faults that may be done now, one that was done least
is chosen, so that all get their turn.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

REDEPLOY_AFTER_FRAC = 0.3
"""The one redeploy is not due before: until then there is what it meets, after it time to end."""


class Fault(StrEnum):
    """What is done to the cluster."""

    KILL_HOST = "kill-host"  # SIGKILL of an engine's host process
    TERMINATE_HOST = "terminate-host"  # SIGTERM, as a node that goes sends: it hands over and ends
    KILL_CORE = "kill-core"  # of its EngineCore
    KILL_WORKER = "kill-worker"  # of a worker; of the EngineCore where that runs the model itself
    STALL_CORE = "stall-core"  # SIGSTOP of its EngineCore, for good
    PAUSE_CORE = "pause-core"  # SIGSTOP of its EngineCore for less than a stall
    PAUSE_HOST = "pause-host"  # SIGSTOP of its host for longer than its heartbeat may take
    SCALE_UP = "scale-up"  # one engine more
    DRAIN = "drain"  # one engine less: Serve removes one, which hands its streams over
    REDEPLOY = "redeploy"  # a new version: Serve replaces every engine and every gateway
    KILL_GATEWAY = "kill-gateway"  # SIGKILL of a gateway, whose streams are lost


ON_ENGINES = (
    Fault.KILL_HOST,
    Fault.TERMINATE_HOST,
    Fault.KILL_CORE,
    Fault.KILL_WORKER,
    Fault.STALL_CORE,
    Fault.PAUSE_CORE,
    Fault.PAUSE_HOST,
)
BY_SERVE = (Fault.SCALE_UP, Fault.DRAIN, Fault.REDEPLOY)
"""Done by deploying another spec."""

BY_SIGNAL = (*ON_ENGINES, Fault.KILL_GATEWAY)
"""Done to processes of this machine; all that is not done by Serve."""

TAKES_GATEWAYS = (Fault.REDEPLOY, Fault.KILL_GATEWAY)


def impossible(fault: Fault, engines: int, gateways: int) -> str | None:
    """Why a fault cannot be done to a fleet of that size; None where it can."""
    if fault in TAKES_GATEWAYS and gateways < 2:
        return f"needs 2 gateways, one is lost at a time; there is {gateways}"
    if fault in ON_ENGINES and engines < 2:
        return f"needs 2 engines, one is lost at a time; there is {engines}"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """What the plan may know of the cluster at one instant."""

    ready: tuple[str, ...]  # engines that can take requests and have no fault under way
    target: int  # engines that Serve is to keep
    gateways: tuple[str, ...]  # those that answer
    gateways_target: int


@dataclass(frozen=True, slots=True)
class Action:
    """One fault. `victim` is an engine or a gateway; empty where Serve chooses."""

    fault: Fault
    victim: str = ""


class Plan:
    """Ask `next` again and again; what it returns is to be done."""

    def __init__(
        self,
        faults: Sequence[Fault],
        *,
        engines: int,
        kill_every_s: float,
        duration_s: float,
        rng: Random,
    ) -> None:
        self._faults, self._engines, self._rng = tuple(faults), engines, rng
        self._kill_every_s, self._duration_s = kill_every_s, duration_s
        self._done: Counter[Fault] = Counter()
        self._due_s = kill_every_s

    def next(self, state: FleetState, now_s: float) -> Action | None:
        """What to do now, `now_s` seconds into the test; None: nothing is due, or can be done."""
        if now_s < self._due_s or now_s >= self._duration_s:
            return None
        possible = [fault for fault in self._faults if self._may(fault, state, now_s)]
        if not possible:
            return None
        least = min(self._done[fault] for fault in possible)
        fault = self._rng.choice([each for each in possible if self._done[each] == least])
        self._done[fault] += 1
        self._due_s = now_s + self._kill_every_s
        return Action(fault, self._victim(fault, state))

    def _may(self, fault: Fault, state: FleetState, now_s: float) -> bool:
        rules: dict[Fault, Callable[[], bool]] = {
            Fault.SCALE_UP: lambda: state.target <= self._engines,
            Fault.DRAIN: lambda: state.target > self._engines and _spare_engine(state),
            Fault.REDEPLOY: lambda: (
                now_s >= self._duration_s * REDEPLOY_AFTER_FRAC
                and not self._done[Fault.REDEPLOY]
                and _spare_engine(state)
                and _spare_gateway(state)
            ),
            Fault.KILL_GATEWAY: lambda: _spare_gateway(state),
        }
        return rules.get(fault, lambda: _spare_engine(state))()

    def _victim(self, fault: Fault, state: FleetState) -> str:
        if fault is Fault.KILL_GATEWAY:
            return self._rng.choice(sorted(state.gateways))
        return self._rng.choice(sorted(state.ready)) if fault in ON_ENGINES else ""


def _spare_engine(state: FleetState) -> bool:
    return len(state.ready) >= 2


def _spare_gateway(state: FleetState) -> bool:
    """Another one, and none that is being replaced."""
    return len(state.gateways) >= max(2, state.gateways_target)

"""What a switch tells its gateway's admission desk: which requests have come, what those that are
over used, and how the engines are.

Written on the switch's thread, and handed over whole, so that a look at the engines and the list of
requests that are in it belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from cluster.admission.engine_room import EngineState
from cluster.admission.usage import Usage
from cluster.routing.fleet_view import FleetView
from cluster.types import ReplicaId
from serve_app.flights import Attempt, Flight
from serve_app.switch_engines import Engine


@dataclass(frozen=True, slots=True)
class FlightOver:
    """`name` is what the API server calls its request: several answers to one have one name.
    `ttft_s`: None where it never began; `decode_s`: from then to its end."""

    name: str
    usage: Usage
    failed: bool
    ttft_s: float | None = None
    decode_s: float = 0.0
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class RunningFlight:
    """One that may be paused; see `cluster.admission.pausing.RunningBatch`."""

    name: str
    engine_id: ReplicaId
    held_tokens: int
    left_tokens: int


@dataclass(frozen=True, slots=True)
class Expected:
    """A request that will come, and is counted already: it was offered at that time."""

    offered_at_s: float
    pausable: bool


@dataclass(slots=True)
class FlightNews:
    """`arrived`: names of flights that the switch has got since the last news. `paused`: of those
    that wait for their next turn, what they used so far. `engines`: those that may take a new
    request, with all of these counted; None where nobody asked. `batch` goes with it."""

    arrived: list[str] = field(default_factory=list)
    over: list[FlightOver] = field(default_factory=list)
    paused: list[tuple[str, Usage]] = field(default_factory=list)
    engines: Sequence[EngineState] | None = None
    batch: Sequence[RunningFlight] = ()


OnNews = Callable[[FlightNews], None]


class FlightNewsBox:
    """Collects until it is emptied. `changed`: there may be more room than when the engines were
    last looked at; `others`: they are not the same ones."""

    def __init__(self) -> None:
        self.changed = self.others = False
        self._news = FlightNews()

    @property
    def has_ended(self) -> bool:
        return bool(self._news.over)

    def arrived(self, flight: Flight) -> None:
        self._news.arrived.append(flight.name)

    def over(self, flight: Flight, now_s: float, *, failed: bool) -> None:
        self.changed = True
        began_at_s = flight.began_at_s
        over = FlightOver(
            flight.name,
            flight.account.usage(now_s),
            failed,
            None if began_at_s is None else began_at_s - flight.arrived_at_s,
            0.0 if began_at_s is None else now_s - began_at_s,
            tuple(flight.tried),
        )
        self._news.over.append(over)

    def paused(self, flight: Flight, now_s: float) -> None:
        self.changed = True
        self._news.paused.append((flight.name, flight.account.usage(now_s)))

    def take(
        self, engines: Sequence[EngineState] | None, batch: Sequence[RunningFlight] = ()
    ) -> FlightNews:
        """All that has come, with this look at the engines."""
        news, self._news = self._news, FlightNews()
        news.engines, news.batch = engines, batch
        if engines is not None:
            self.changed = self.others = False
        return news


def engine_states(engines: Iterable[Engine], view: FleetView, now_s: float) -> list[EngineState]:
    """Those that may take a new request, as admission sees them."""
    states = []
    for engine in engines:
        if engine.leaving:
            continue
        snapshot, report, begun_prefill_tokens = view.now(engine.id)
        state = EngineState(
            snapshot=snapshot,
            report_age_s=max(0.0, now_s - engine.load_at_s),
            reported_prefill_tokens=report.queued_prefill_tokens,
            begun_prefill_tokens=begun_prefill_tokens,
            max_num_seqs=engine.ready.max_num_seqs,
            max_num_batched_tokens=engine.ready.max_num_batched_tokens,
        )
        states.append(state)
    return states

"""The highest open-loop rate under an SLO: which rate to try next, and when it is found.

Pure: `next_step` looks at all trials so far and says what to do; whoever runs them keeps the list.

1. From the start rate the rate doubles until one fails (halves, if the first fails).
2. Between the highest rate that passed and the lowest that failed, the geometric middle is tried
   until the two are within the precision.
3. The two are tried again where it is not certain that they passed and failed. Where one changes
   sides, the search goes on.

A rate passes when its attainment, good / offered, is at least the target. That is certain once
Wilson's interval leaves the target out. All trials of a rate count together, so trying again is a
longer trial; after `attempts` the point estimate decides, and the result says that it did. A rate
that over-saturates the server fails for certain, whatever its attainment: in a longer trial its
queue would grow without end.

A trial that the client sent late (client-limited) says nothing of the server and counts for
nothing. On a shared machine that is often chance, so it is made again; where the client cannot keep
up with a rate in any of `CLIENT_TRIALS`, that rate fails, and the search goes on below it. If it is
the lowest that fails, the limit found is the client's: the server's is higher, nobody knows by how
much.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from loadtest.intervals import Interval, wilson
from loadtest.metrics import RequestSample
from loadtest.run_records import RequestRecord, measured
from loadtest.slo import DEFAULT_ATTAINMENT, Slo, attainment

CLIENT_TRIALS = 2
"""So many trials of one rate must be client-limited, and none other, for the client to be what
limits it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """Rates are requests a second. Raises ValueError for values out of range."""

    start_per_s: float = 1.0
    target: float = DEFAULT_ATTAINMENT  # share of offered requests that must be good
    precision: float = 0.05  # how far apart, of the lower, the two rates may stay
    max_per_s: float = 10_000.0  # tried last; if it passes, the search ends there
    min_per_s: float = 0.01  # tried last; if it fails, nothing passes
    attempts: int = 3  # trials of one rate, at most
    max_trials: int = 40
    growth: float = 0.05  # of what is offered, that may pile up before it is over-saturation

    def __post_init__(self) -> None:
        if not 0 < self.min_per_s <= self.start_per_s <= self.max_per_s:
            raise ValueError(
                f"rates must be 0 < min {self.min_per_s:g} <= start {self.start_per_s:g} <= "
                f"max {self.max_per_s:g}"
            )
        if not 0.001 <= self.precision <= 1:
            raise ValueError(f"precision must be in [0.001, 1], not {self.precision:g}")
        if not 0 < self.target <= 1:
            raise ValueError(f"target must be in (0, 1], not {self.target:g}")
        if self.attempts < 1 or self.max_trials < 1:
            raise ValueError("attempts and max_trials must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one trial at `rate_per_s` gave. In flight are requests that are due and have not ended;
    `late_offered` came in the second half. Of a `client_limited` one the rest says nothing."""

    rate_per_s: float
    offered: int
    good: int
    missed: int
    late_offered: int
    in_flight_midway: int
    in_flight_at_end: int
    client_limited: bool = False

    def over_saturated(self, growth: float) -> bool:
        """Arrivals were missed; or over the second half the requests in flight grew by more than
        `growth` of those that came, on top of three times what chance does to such a number."""
        grown = self.in_flight_at_end - self.in_flight_midway
        chance = sqrt(2 * max(1, self.in_flight_midway))  # of the difference of two Poisson counts
        return self.missed > 0 or grown > growth * self.late_offered + 3 * chance


def trial_of(
    records: Iterable[RequestRecord],
    slo: Slo,
    rate_per_s: float,
    duration_s: float,
    *,
    client_limited: bool = False,
) -> Trial:
    """From a trial's records; `duration_s` is how long requests were sent for, from 0 on."""
    offered = measured(records)
    sent = [record.sample for record in offered if not record.missed]
    midway_s = duration_s / 2
    return Trial(
        rate_per_s=rate_per_s,
        offered=len(offered),
        good=attainment(offered, slo).good,
        missed=len(offered) - len(sent),
        late_offered=sum(midway_s <= s.t_sched_s < duration_s for s in sent),
        in_flight_midway=_in_flight(sent, midway_s),
        in_flight_at_end=_in_flight(sent, duration_s),
        client_limited=client_limited,
    )


def _in_flight(samples: Iterable[RequestSample], at_s: float) -> int:
    # A reply without content ends when it was sent, as far as its sample says.
    return sum(s.t_sched_s < at_s <= (s.t0_s if s.tn_s is None else s.tn_s) for s in samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """All trials of one rate together; those that were client-limited only in their number."""

    rate_per_s: float
    trials: int
    client_limited_trials: int
    offered: int
    good: int
    over_saturated: bool
    target: float

    @property
    def interval(self) -> Interval:
        """Of the attainment."""
        return wilson(self.good, self.offered)

    @property
    def unknown(self) -> bool:
        """It was not measured yet, and it is not yet clear that it cannot be."""
        return self.trials == self.client_limited_trials < CLIENT_TRIALS

    @property
    def client_limited(self) -> bool:
        return self.trials == self.client_limited_trials >= CLIENT_TRIALS

    @property
    def passes(self) -> bool:
        enough = self.offered == 0 or self.good / self.offered >= self.target
        return enough and not self.over_saturated and not self.client_limited

    @property
    def certain(self) -> bool:
        if self.over_saturated or self.client_limited:
            return True
        return not self.interval.low < self.target <= self.interval.high


@dataclass(frozen=True, slots=True)
class Try:
    """Run a trial at this rate."""

    rate_per_s: float


Why = Literal["within precision", "max_per_s passes", "min_per_s fails", "max_trials"]


@dataclass(frozen=True, slots=True)
class Found:
    """The end. `best` is the highest rate that passed below every rate that failed, `beyond` the
    lowest that failed; None where there is none. `tried` has every rate, rising."""

    best: Tried | None
    beyond: Tried | None
    why: Why
    tried: tuple[Tried, ...]

    @property
    def limited_by(self) -> Literal["server", "client"] | None:
        """Whose limit was found; None where no rate failed."""
        if self.beyond is None:
            return None
        return "client" if self.beyond.client_limited else "server"


def next_step(settings: SearchSettings, trials: Sequence[Trial]) -> Try | Found:
    """What to do after `trials`, in any order. A `Trial` has the very rate of its `Try`."""
    tried = _by_rate(settings, trials)
    known = [t for t in tried if not t.unknown]
    beyond = next((t for t in known if not t.passes), None)
    best = next((t for t in reversed(known) if t.passes and _is_below(t, beyond)), None)
    if len(trials) >= settings.max_trials:
        return Found(best, beyond, "max_trials", tried)
    if again := next((t for t in tried if t.unknown), None):
        return Try(again.rate_per_s)
    if (rate_per_s := _untried_rate(settings, best, beyond)) is not None:
        return Try(rate_per_s)
    for end in (beyond, best):
        if end and not end.certain and end.trials < settings.attempts:
            return Try(end.rate_per_s)
    return Found(best, beyond, _why(best, beyond), tried)


def _by_rate(settings: SearchSettings, trials: Sequence[Trial]) -> tuple[Tried, ...]:
    rates = sorted({trial.rate_per_s for trial in trials})
    return tuple(_together(settings, [t for t in trials if t.rate_per_s == rate]) for rate in rates)


def _together(settings: SearchSettings, trials: Sequence[Trial]) -> Tried:
    of_server = [trial for trial in trials if not trial.client_limited]
    return Tried(
        rate_per_s=trials[0].rate_per_s,
        trials=len(trials),
        client_limited_trials=len(trials) - len(of_server),
        offered=sum(trial.offered for trial in of_server),
        good=sum(trial.good for trial in of_server),
        over_saturated=any(trial.over_saturated(settings.growth) for trial in of_server),
        target=settings.target,
    )


def _is_below(tried: Tried, beyond: Tried | None) -> bool:
    return beyond is None or tried.rate_per_s < beyond.rate_per_s


def _untried_rate(
    settings: SearchSettings, best: Tried | None, beyond: Tried | None
) -> float | None:
    """None where the two ends are as close as asked for, or the range ends."""
    if best and beyond:
        low, high = best.rate_per_s, beyond.rate_per_s
        # Five digits are enough for any precision that is allowed, and read well.
        return float(f"{sqrt(low * high):.5g}") if high > low * (1 + settings.precision) else None
    if best:
        return _unless_same(min(best.rate_per_s * 2, settings.max_per_s), best)
    if beyond:
        return _unless_same(max(beyond.rate_per_s / 2, settings.min_per_s), beyond)
    return settings.start_per_s


def _unless_same(rate_per_s: float, tried: Tried) -> float | None:
    return None if rate_per_s == tried.rate_per_s else rate_per_s


def _why(best: Tried | None, beyond: Tried | None) -> Why:
    if best is None:
        return "min_per_s fails"
    return "within precision" if beyond else "max_per_s passes"

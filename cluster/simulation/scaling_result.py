"""What a run's engines cost, and what of the SLO they kept.

good                 requests that met the SLO: TTFT and TPOT, and did not fail
attainment_frac      good / requests that came
goodput_rps          good / time from the first arrival to the run's end
replica_s            engines' seconds, each from the decision to start it (or the run's begin)
                     until it is gone (or the run's end): starting and draining count
good_per_replica_s   good / replica_s
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.scaling.limits import Slo
from cluster.simulation.records import Life, Record, Run

TIMELINE_POINTS = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeTimeline:
    """At each instant: engines that were paid for, and those of them that took requests or ended
    what they had."""

    at_s: Sequence[float]
    engines: Sequence[int]
    up: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """The target became `target`, from `engines`."""

    at_s: float
    engines: int
    target: int
    reason: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingResult:
    """None where nothing came, or nothing that has a TPOT."""

    slo: Slo
    good: int
    attainment_frac: float | None
    ttft_good_frac: float | None
    tpot_good_frac: float | None
    goodput_rps: float
    replica_s: float
    good_per_replica_s: float
    most_engines: int
    mean_engines: float
    starts: int
    timeline: SizeTimeline
    decisions: Sequence[DecisionRecord]


def scaling_result(run: Run, slo: Slo) -> ScalingResult:
    end_s = run.samples[-1].at_s
    over = [r for r in run.records if r.end_s is not None or r.failed is not None]
    tpots_s = [r.tpot_s for r in over if r.tpot_s is not None]
    good = sum(_is_good(r, slo) for r in over)
    paid_s = replica_s(run.lives, end_s)
    span_s = end_s - min((r.arrival_s for r in run.records), default=0.0)
    timeline = _timeline(run.lives, end_s)
    return ScalingResult(
        slo=slo,
        good=good,
        attainment_frac=_frac(good, len(over)),
        ttft_good_frac=_frac(sum(slo.met_by(r.ttft_s, None) for r in over), len(over)),
        tpot_good_frac=_frac(sum(tpot_s <= slo.tpot_s for tpot_s in tpots_s), len(tpots_s)),
        goodput_rps=good / span_s if span_s else 0.0,
        replica_s=paid_s,
        good_per_replica_s=good / paid_s if paid_s else 0.0,
        most_engines=max(timeline.engines),
        mean_engines=paid_s / end_s if end_s else 0.0,
        starts=sum(life.decided_s > 0.0 for life in run.lives),
        timeline=timeline,
        decisions=_decisions(run),
    )


def replica_s(lives: Sequence[Life], end_s: float) -> float:
    """What all engines were paid for."""
    return sum(_gone_s(life, end_s) - life.decided_s for life in lives)


def _is_good(record: Record, slo: Slo) -> bool:
    return record.failed is None and slo.met_by(record.ttft_s, record.tpot_s)


def _frac(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _gone_s(life: Life, end_s: float) -> float:
    return end_s if life.gone_s is None else life.gone_s


def _timeline(lives: Sequence[Life], end_s: float) -> SizeTimeline:
    at_s = [end_s * point / TIMELINE_POINTS for point in range(TIMELINE_POINTS)]
    paid = [[life for life in lives if life.decided_s <= t < _gone_s(life, end_s)] for t in at_s]
    return SizeTimeline(
        at_s=at_s,
        engines=[len(there) for there in paid],
        up=[
            sum(life.ready_s is not None and life.ready_s <= t for life in there)
            for t, there in zip(at_s, paid, strict=True)
        ],
    )


def _decisions(run: Run) -> list[DecisionRecord]:
    return [
        DecisionRecord(
            at_s=each.at_s,
            engines=each.engines,
            target=each.decision.target,
            reason=each.decision.reason.value,
            sentence=each.decision.sentence,
        )
        for each in run.decided
    ]

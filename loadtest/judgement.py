"""Whether a run met its SLO, and whether it can be judged at all.

What the SLO says is in `loadtest/slo.py`; what makes a run invalid in `loadtest/validity.py`. An
invalid run is neither a pass nor a breach: it measured something else than the server.
"""

from collections.abc import Callable
from dataclasses import dataclass

from loadtest.latencies import LATENCIES
from loadtest.number_text import NONE, ms, per_s, percent
from loadtest.run_folder import RunFolder, RunFolderError
from loadtest.slo import Clause, Slo, evaluate, parse_slo
from loadtest.summary_schema import ClauseResult, Verdict
from loadtest.validity import invalid_reasons

OTHERS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "error_rate": ("error rate ≤", percent),
    "attainment_min": ("SLO attainment ≥", percent),
    "goodput_per_s_min": ("goodput ≥", lambda value: per_s(value, "req")),
}
TITLES = {latency.name: latency.title for latency in LATENCIES}


@dataclass(frozen=True, slots=True)
class Judgement:
    """`reasons` say why it is not a pass."""

    verdict: Verdict
    reasons: list[str]
    clauses: list[ClauseResult]


def slo_of(folder: RunFolder) -> Slo | None:
    """The SLO of the run's scenario, if it has one. Raises RunFolderError for a wrong one."""
    scenario = folder.config.get("scenario")
    written = scenario.get("slo") if isinstance(scenario, dict) else None
    if not written:
        return None
    try:
        return parse_slo(written)
    except (TypeError, ValueError) as error:
        raise RunFolderError(f"{folder.path} has a wrong scenario.slo: {error}") from error


def judge(folder: RunFolder, slo: Slo | None, wall_s: float) -> Judgement:
    """`wall_s` is how long the measured load took."""
    clauses = [] if slo is None else evaluate(folder.records, slo, wall_s)
    results = [_result(clause) for clause in clauses]
    breaches = [f"{r.text}: measured {r.measured_text}" for r in results if not r.met]
    if invalid := invalid_reasons(folder.records, slo):
        reasons = [f"{reason.kind}: {reason.text}" for reason in invalid]
        return Judgement(Verdict.INVALID, reasons + breaches, results)
    if breaches:
        return Judgement(Verdict.BREACH, breaches, results)
    return Judgement(Verdict.NO_SLO if slo is None else Verdict.PASS, [], results)


def _result(clause: Clause) -> ClauseResult:
    what, written = _words(clause.name)
    return ClauseResult(
        name=clause.name,
        text=f"{what} {written(clause.bound)}",
        bound=clause.bound,
        measured=clause.value,
        measured_text=NONE if clause.value is None else written(clause.value),
        n=clause.n,
        met=clause.met,
    )


def _words(name: str) -> tuple[str, Callable[[float | None], str]]:
    """How a clause is written, and how its numbers are."""
    if name in OTHERS:
        return OTHERS[name]
    metric, _, percentile = name.partition("_")
    return f"{TITLES[metric]} {percentile} ≤", ms

"""Whether a run met its SLO, and whether it can be judged at all.

What the SLO says is in `loadtest/slo.py`; what makes a run invalid in `loadtest/validity.py`. An
invalid run is neither a pass nor a breach: it measured something else than the server.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest.latencies import LATENCIES
from loadtest.number_text import ms, per_s, percent
from loadtest.run_folder import RunFolder, RunFolderError
from loadtest.slo import Clause, Slo, evaluate, parse_slo
from loadtest.summary_schema import ClauseResult, Verdict
from loadtest.validity import Reason, invalid_reasons


@dataclass(frozen=True, slots=True)
class _Words:
    """How a clause is written, how its bound, and how what was measured."""

    what: str
    bound: Callable[[float], str]
    measured: Callable[[float | None], str]


def _percent(frac: float) -> str:
    return f"{100 * frac:g} %"


OTHERS = {
    "error_rate": _Words("error rate ≤", _percent, percent),
    "attainment_min": _Words("SLO attainment ≥", _percent, percent),
    "goodput_per_s_min": _Words("goodput ≥", "{:g} req/s".format, lambda v: per_s(v, "req")),
}
TITLES = {latency.name: latency.title for latency in LATENCIES}


@dataclass(frozen=True, slots=True)
class Judgement:
    """`invalid` says why the run cannot be judged, `breaches` which clauses were not met."""

    verdict: Verdict
    invalid: list[str]
    breaches: list[str]
    clauses: list[ClauseResult]

    @property
    def reasons(self) -> list[str]:
        """Why it is not a pass."""
        return self.invalid + self.breaches


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
    # 0 where nothing was answered and all was due at once: over any time, goodput is 0 then.
    clauses = [] if slo is None else evaluate(folder.records, slo, wall_s or 1.0)
    results = [_result(clause) for clause in clauses]
    breaches = [f"{r.text}: measured {r.measured_text}" for r in results if not r.met]
    invalid = [f"{reason.kind}: {reason.text}" for reason in why_invalid(folder, slo)]
    return Judgement(_verdict(slo, invalid, breaches), invalid, breaches, results)


def why_invalid(folder: RunFolder, slo: Slo | None) -> list[Reason]:
    """What the load generator says of its own run, and what its records show."""
    problems = folder.environment.get("problems", ())
    told = [Reason("load generator", str(problem)) for problem in problems]
    return told + _undisturbed(folder) + invalid_reasons(folder.records, slo)


def _undisturbed(folder: RunFolder) -> list[Reason]:
    """A load with faults that saw none says nothing of what it is for."""
    scenario = folder.config.get("scenario")
    asked = scenario.get("faults") if isinstance(scenario, dict) else None
    if not asked or folder.marks:
        return []
    return [Reason("no faults", "the scenario has faults, and none was done")]


def _verdict(slo: Slo | None, invalid: Sequence[str], breaches: Sequence[str]) -> Verdict:
    if invalid:
        return Verdict.INVALID
    if slo is None:
        return Verdict.NO_SLO
    return Verdict.BREACH if breaches else Verdict.PASS


def _result(clause: Clause) -> ClauseResult:
    words = _words(clause.name)
    return ClauseResult(
        name=clause.name,
        text=f"{words.what} {words.bound(clause.bound)}",
        bound=clause.bound,
        measured=clause.value,
        measured_text=words.measured(clause.value),
        n=clause.n,
        met=clause.met,
    )


def _words(name: str) -> _Words:
    if name in OTHERS:
        return OTHERS[name]
    metric, _, percentile = name.partition("_")
    return _Words(f"{TITLES[metric]} {percentile} ≤", lambda v: f"{v * 1e3:,.10g} ms", ms)

"""A run's summary: the numbers of `summary.json`, a pure function of the run's folder.

Latencies and tokens are of successful requests. The schedule lag is of every request that was sent.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from statistics import fmean

import numpy as np

from loadtest import run_records
from loadtest.error_classes import errors_by_class
from loadtest.intervals import wilson
from loadtest.judgement import judge, slo_of
from loadtest.latencies import LAG, LATENCIES
from loadtest.metrics import RequestSample, output_tokens, percentile_of_sorted, succeeded
from loadtest.run_folder import RunFolder
from loadtest.run_records import RequestRecord
from loadtest.slo import Slo, good_under
from loadtest.summary_schema import Distribution, Group, Load, Share, Summary, Tokens

Records = Sequence[RequestRecord]
GoodIds = Set[int] | None
"""`id` of each record within the SLO, worked out once for all groups; None without an SLO."""


def summary(folder: RunFolder, slo: Slo | None = None) -> Summary:
    """Held against `slo`, else the scenario's own. Raises RunFolderError where that is wrong."""
    slo = slo or slo_of(folder)
    measured = folder.measured
    good = good_ids(measured, slo)
    whole = group(measured, good)
    judged = judge(folder, slo, whole.load.wall_s)
    return Summary(
        **dict(whole),
        scenario=scenario_name(folder),
        verdict=judged.verdict,
        reasons=judged.reasons,
        slo=judged.clauses,
        errors=errors_by_class(measured),
        warm_up_requests=len(folder.records) - len(measured),
        faults=folder.faults,
        kinds=groups_by(lambda record: record.kind, measured, good),
        tenants=groups_by(lambda record: record.tenant, measured, good),
    )


def write(folder: RunFolder, found: Summary) -> None:
    """`summary.json` in the run's folder."""
    text = found.model_dump_json(indent=2) + "\n"
    (folder.path / run_records.SUMMARY).write_text(text, encoding="utf-8")


def scenario_name(folder: RunFolder) -> str:
    scenario = folder.config.get("scenario")
    return str(scenario.get("name", "unnamed") if isinstance(scenario, dict) else scenario)


def good_ids(records: Records, slo: Slo | None) -> GoodIds:
    if slo is None:
        return None
    is_good = good_under(slo)
    return {id(record) for record in records if is_good(record.sample)}


def group(records: Records, good_ids: GoodIds) -> Group:
    """What some requests of a run came to; `records` must not be empty."""
    samples = [record.sample for record in records]
    sent = [record.sample for record in records if not record.missed]
    load = load_of(records)
    good = None if good_ids is None else sum(id(record) in good_ids for record in records)
    return Group(
        load=load,
        tokens=_tokens(samples, load.wall_s),
        latency={
            latency.name: distribution(latency.values_s(sent if latency is LAG else samples))
            for latency in LATENCIES
        },
        good=None if good is None else share(good, len(records)),
        goodput_per_s=None if good is None else rate(good, load.wall_s),
        right=_right(records),
        prefix_hit_frac=_prefix_hit_frac(samples),
    )


def load_of(records: Records) -> Load:
    due_s = [record.sample.t_sched_s for record in records]
    ends_s = [s.tn_s for record in records if (s := record.sample).tn_s is not None]
    span_s = max(due_s) - min(due_s)
    wall_s = max([*due_s, *ends_s]) - min(due_s)
    answered = len(succeeded(record.sample for record in records))
    missed = sum(record.missed for record in records)
    return Load(
        span_s=span_s,
        wall_s=wall_s,
        offered=len(records),
        missed=missed,
        succeeded=answered,
        failed=len(records) - missed - answered,
        offered_per_s=rate(len(records), span_s),
        achieved_per_s=rate(answered, wall_s),
        in_flight_max=_in_flight_max(record.sample for record in records),
    )


def rate(count: float, window_s: float) -> float | None:
    return count / window_s if window_s > 0 else None


def _in_flight_max(samples: Iterable[RequestSample]) -> int:
    """Of requests with content: the record of another does not say when it ended."""
    spans = [(s.t0_s, s.tn_s) for s in samples if s.tn_s is not None]
    steps = sorted([(begun_s, 1) for begun_s, _ in spans] + [(ended_s, -1) for _, ended_s in spans])
    most = now = 0
    for _, step in steps:  # at the same instant an end comes before a beginning
        now += step
        most = max(most, now)
    return most


def _tokens(samples: Sequence[RequestSample], wall_s: float) -> Tokens:
    output = output_tokens(samples)
    prompt = sum(sample.prompt_tokens or 0 for sample in succeeded(samples))
    return Tokens(
        output=output,
        prompt=prompt,
        output_per_s=rate(output, wall_s),
        prompt_per_s=rate(prompt, wall_s),
    )


def distribution(values_s: Sequence[float]) -> Distribution | None:
    if not values_s:
        return None
    ordered = np.sort(values_s).tolist()  # a long run has millions of gaps
    found = {f"p{p}_s": percentile_of_sorted(ordered, p) for p in (50, 90, 95, 99)}
    return Distribution(
        n=len(ordered),
        mean_s=fmean(ordered),
        max_s=ordered[-1],
        **{name: value.value for name, value in found.items() if value is not None},
    )


def share(count: int, n: int) -> Share:
    interval = wilson(count, n)
    known = n > 0
    return Share(
        count=count,
        n=n,
        frac=count / n if known else None,
        low=interval.low if known else None,
        high=interval.high if known else None,
    )


def _right(records: Records) -> Share | None:
    checked = [record.right for record in records if record.right is not None]
    return share(sum(checked), len(checked)) if checked else None


def _prefix_hit_frac(samples: Iterable[RequestSample]) -> float | None:
    told = [
        (sample.cached_tokens, sample.prompt_tokens)
        for sample in succeeded(samples)
        if sample.cached_tokens is not None and sample.prompt_tokens
    ]
    prompt = sum(prompt for _, prompt in told)
    return sum(cached for cached, _ in told) / prompt if prompt else None


def groups_by(
    key: Callable[[RequestRecord], str | None], records: Records, good_ids: GoodIds
) -> dict[str, Group]:
    """By name; requests without one are in none."""
    by_name: dict[str, list[RequestRecord]] = {}
    for record in records:
        if (name := key(record)) is not None:
            by_name.setdefault(name, []).append(record)
    return {name: group(found, good_ids) for name, found in sorted(by_name.items())}

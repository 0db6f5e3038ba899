"""Run folders with plausible content, drawn from a seed: for tests, and for a look at the report.

    python -m tests.loadtest.made_up_run FOLDER [REQUESTS]

Every number is rounded to what a file holds, so that the same options give the same bytes anywhere.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from loadtest import run_records
from loadtest.metrics import RequestSample
from loadtest.run_records import RequestRecord

STARTED_AT = "2026-03-02T09:30:00+00:00"
KINDS = ("chat", "rag")
TENANTS = ("gold", "free")
WARM_UP_REQUESTS = 5
WARM_UP_S = 2.0
RECOVERY_S = 6.0  # how long latencies stay high after an engine was killed
FAILURES = (
    "http 503: no engine is ready, try again in 2 s",
    "timeout after 30 s",
    "disconnected: end of stream",
    "error event: engine 7f3a died",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeUp:
    """What the run looks like. The rate goes in a straight line from `rate_per_s` to
    `last_rate_per_s`; latencies are at the median, and rise with the rate above `knee_per_s`."""

    seed: int = 1
    requests: int = 400
    rate_per_s: float = 8.0
    last_rate_per_s: float | None = None
    knee_per_s: float = 20.0
    ttft_s: float = 0.12
    tpot_s: float = 0.02
    lag_s: float = 0.0004
    failed_frac: float = 0.01
    missed_frac: float = 0.0
    kills_at_s: tuple[float, ...] = ()
    engines: int = 3  # 0: the server has no metrics
    slo: str = "ttft_p99=1s,tpot_p99=50ms"
    scenario: str = "chat"
    answers: bool = True  # whether replies are compared with expected ones


def made_up_run(path: Path, **options: Any) -> Path:
    """Writes the folder of a run with the options of `MadeUp`; returns `path`."""
    how = MadeUp(**options)
    path.mkdir(parents=True, exist_ok=True)
    records = made_up_records(**options)
    end_s = max(record.sample.t_sched_s for record in records)
    (path / run_records.CONFIG).write_text(json.dumps(_config(how), indent=2))
    (path / run_records.ENVIRONMENT).write_text(json.dumps(_environment(), indent=2))
    _write_lines(path / run_records.REQUESTS, map(run_records.to_json, records))
    if how.engines:
        _write_lines(path / run_records.SERVER, map(json.dumps, _server(how, end_s)))
    if how.kills_at_s:
        marks = [
            {"at_s": at_s, "kind": "kill-host", "what": "host 7 of engine a"}
            for at_s in how.kills_at_s
        ]
        _write_lines(path / run_records.MARKS, map(json.dumps, marks))
    return path


def made_up_records(**options: Any) -> list[RequestRecord]:
    """The records of the run, in the order in which they ended."""
    how = MadeUp(**options)
    rng = Random(how.seed)
    arrivals = list(_arrivals(how, rng))
    records = [_warm_up(index, how) for index in range(WARM_UP_REQUESTS)]
    for index, (at_s, rate_per_s) in enumerate(arrivals, WARM_UP_REQUESTS):
        records.append(_request(index, at_s, rate_per_s, how, rng))
    return sorted(records, key=_ended_s)


def _ended_s(record: RequestRecord) -> float:
    return record.sample.tn_s or record.sample.t0_s


def _arrivals(how: MadeUp, rng: Random) -> Iterator[tuple[float, float]]:
    """Poisson: (instant, rate at it)."""
    last_rate_per_s = how.last_rate_per_s or how.rate_per_s
    at_s = 0.0
    for index in range(how.requests):
        done_frac = index / how.requests
        rate_per_s = how.rate_per_s + (last_rate_per_s - how.rate_per_s) * done_frac
        at_s += rng.expovariate(rate_per_s)
        yield at_s, rate_per_s


def _warm_up(index: int, how: MadeUp) -> RequestRecord:
    at_s = round(index * WARM_UP_S / WARM_UP_REQUESTS - WARM_UP_S, 6)
    sample = _answered(at_s, at_s, how.ttft_s * 10, (how.tpot_s,) * 9, 100)
    return RequestRecord(session=index, turn=0, kind="chat", sample=sample, warm_up=True)


def _request(index: int, at_s: float, rate_per_s: float, how: MadeUp, rng: Random) -> RequestRecord:
    rag = rng.random() < 0.25
    sample = _sample(at_s, rate_per_s, rag, how, rng)
    missed = rng.random() < how.missed_frac
    if missed:
        sample = _unanswered(at_s, at_s, "missed: 256 requests were in flight")
    elif rng.random() < how.failed_frac:
        sample = _unanswered(at_s, sample.t0_s, rng.choice(FAILURES))
    checked = how.answers and not rag and sample.error is None
    return RequestRecord(
        session=index,
        turn=0,
        kind=KINDS[rag],
        sample=sample,
        tenant=TENANTS[rng.random() < 0.5],
        missed=missed,
        right=rng.random() < 0.97 if checked else None,
        planned_prompt_tokens=sample.prompt_tokens,
    )


def _sample(at_s: float, rate_per_s: float, rag: bool, how: MadeUp, rng: Random) -> RequestSample:
    over = max(0.0, rate_per_s / how.knee_per_s - 1)
    disturbed = any(0 <= at_s - kill_s < RECOVERY_S for kill_s in how.kills_at_s)
    slowdown = (1 + 8 * over**2) * (3 if disturbed else 1)
    prompt_tokens = rng.randint(1500, 3000) if rag else rng.randint(60, 400)
    ttft_s = how.ttft_s * slowdown * (2 if rag else 1) * rng.lognormvariate(0, 0.35)
    gaps_s = [
        how.tpot_s * (1 + over) * rng.lognormvariate(0, 0.25) for _ in range(rng.randint(8, 40))
    ]
    t0_s = at_s + rng.expovariate(1 / how.lag_s)
    sample = _answered(at_s, t0_s, ttft_s, gaps_s, prompt_tokens)
    return replace(sample, cached_tokens=prompt_tokens // 16 * 16 // rng.choice((1, 2, 4)))


def _answered(
    at_s: float, t0_s: float, ttft_s: float, gaps_s: Iterable[float], prompt_tokens: int
) -> RequestSample:
    itl_us = tuple(round(gap_s * 1e6) for gap_s in gaps_s)
    t1_s = round(t0_s + ttft_s, 6)
    return RequestSample(
        t_sched_s=round(at_s, 6),
        t0_s=round(t0_s, 6),
        t1_s=t1_s,
        tn_s=round(t1_s + sum(itl_us) / 1e6, 6),
        itl_us=itl_us,
        output_tokens=len(itl_us) + 1,
        prompt_tokens=prompt_tokens,
    )


def _unanswered(at_s: float, t0_s: float, error: str) -> RequestSample:
    return RequestSample(t_sched_s=round(at_s, 6), t0_s=round(t0_s, 6), error=error)


def _config(how: MadeUp) -> dict[str, Any]:
    return {
        "scenario": {"name": how.scenario, "seed": how.seed, "slo": how.slo},
        "target": "http://127.0.0.1:8000",
        "model": "demo",
        "command": f"tokenfleet loadtest run {how.scenario} --host http://127.0.0.1:8000",
    }


def _environment() -> dict[str, Any]:
    return {
        "started_at": STARTED_AT,
        "machine": {"CPU": "Example 9000", "cores": "2", "memory": "8 GiB"},
        "versions": {"python": "3.11.2", "tokenfleet": "0.1.0"},
    }


def _server(how: MadeUp, end_s: float) -> Iterator[dict[str, Any]]:
    """Each engine's counters once a second; one that was killed is back after `RECOVERY_S`."""
    rng = Random(how.seed)
    totals = [[0, 0, 0] for _ in range(how.engines)]
    for second in range(int(end_s) + 2):
        metrics: dict[str, float] = {}
        for engine, total in enumerate(totals):
            gone = engine == 0 and any(0 <= second - k < RECOVERY_S for k in how.kills_at_s)
            if not gone:
                metrics |= _scrape(engine, total, how, rng)
        yield {"at_s": float(second), "metrics": metrics}


def _scrape(engine: int, total: list[int], how: MadeUp, rng: Random) -> dict[str, float]:
    queries = rng.randint(1000, 3000)
    total[0] += queries
    total[1] += queries * rng.randint(4, 7) // 10
    total[2] += rng.randint(80, 120) * (2 if engine == 1 else 1)
    labels = f'{{engine="{engine}",model_name="demo"}}'
    return {
        f"vllm:num_requests_running{labels}": rng.randint(1, 6),
        f"vllm:num_requests_waiting{labels}": rng.randint(0, 2),
        f"vllm:prefix_cache_queries_total{labels}": total[0],
        f"vllm:prefix_cache_hits_total{labels}": total[1],
        f"vllm:generation_tokens_total{labels}": total[2],
    }


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 400
    made_up_run(Path(sys.argv[1]), requests=count, kills_at_s=(20.0, 35.0))

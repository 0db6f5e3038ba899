"""The summary: one run worked out by hand, and a whole one against a golden file.

After a wanted change: python -m tests.loadtest.test_summary
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from loadtest import summary
from loadtest.metrics import RequestSample
from loadtest.run_folder import RunFolder, RunFolderError
from loadtest.run_records import RequestRecord
from loadtest.slo import parse_slo
from loadtest.summary_schema import Summary, Verdict
from tests.loadtest.made_up_run import made_up_run

GOLDEN = Path(__file__).parent / "golden" / "summary.json"
OPTIONS: dict[str, Any] = {"requests": 300, "failed_frac": 0.03, "missed_frac": 0.02, "seed": 5}


def record(at_s: float, **more: Any) -> RequestRecord:
    """Due at `at_s`, sent 0.125 s late, content from 0.5 s to 1 s after that, 5 tokens."""
    sample = RequestSample(
        t_sched_s=at_s,
        t0_s=at_s + 0.125,
        t1_s=at_s + 0.625,
        tn_s=at_s + 1.125,
        itl_us=(500_000,),
        output_tokens=5,
        prompt_tokens=100,
        cached_tokens=64,
    )
    fields = {"session": 0, "turn": 0, "kind": "chat", "sample": sample} | more
    return RequestRecord(**fields)


def unanswered(at_s: float, error: str, **more: Any) -> RequestRecord:
    return record(at_s, sample=RequestSample(t_sched_s=at_s, t0_s=at_s, error=error), **more)


RECORDS = [
    record(-5, warm_up=True, right=False),
    record(0, right=True, tenant="gold"),
    record(1, right=False, tenant="free", kind="rag"),
    unanswered(1.5, "missed: 256 requests were in flight", missed=True),
    unanswered(2, "http 503: busy"),
]


def folder(records: list[RequestRecord], slo: Any = None, **environment: Any) -> RunFolder:
    config = {"scenario": {"name": "chat", "slo": slo}}
    return RunFolder(path=Path("run"), config=config, environment=environment, records=records)


def test_a_run_worked_out_by_hand() -> None:
    found = summary.summary(folder(RECORDS), parse_slo("ttft_p50=400ms,error_rate=60%"))
    load = found.load
    assert (load.offered, load.missed, load.succeeded, load.failed) == (4, 1, 2, 1)
    assert (load.span_s, load.wall_s) == (2.0, 2.125)
    assert (load.offered_per_s, load.achieved_per_s) == (4 / 2.0, 2 / 2.125)
    assert load.in_flight_max == 1  # one ends as the next begins
    assert (found.tokens.output, found.tokens.prompt) == (10, 200)
    assert found.tokens.output_per_s == 10 / 2.125
    ttft, due, lag = (found.latency[n] for n in ("ttft", "ttft_from_due", "schedule_lag"))
    assert ttft is not None
    assert due is not None
    assert lag is not None
    assert (ttft.n, ttft.p50_s, ttft.p99_s, ttft.mean_s) == (2, 0.5, 0.5, 0.5)
    assert due.p50_s == 0.625
    assert (lag.n, lag.max_s) == (3, 0.125)  # the request that failed was sent, the missed one not
    assert found.errors == {"http 503": 1, "missed": 1}
    assert found.good is not None
    assert (found.good.count, found.good.n, found.goodput_per_s) == (0, 4, 0.0)
    assert found.right is not None
    assert (found.right.count, found.right.n) == (1, 2)
    assert found.prefix_hit_frac == 0.64
    assert found.warm_up_requests == 1
    assert {name: group.load.offered for name, group in found.kinds.items()} == {
        "chat": 3,
        "rag": 1,
    }
    assert list(found.tenants) == ["free", "gold"]
    assert [clause.met for clause in found.slo] == [False, True]


def test_requests_in_flight_at_once() -> None:
    records = [record(0.0), record(0.5), record(0.75), unanswered(0.8, "timeout after 1 s")]
    assert summary.load_of(records).in_flight_max == 3


def test_clauses_are_written_for_people() -> None:
    slo = parse_slo("ttft_p99=1.5s,error_rate=0.5%,attainment_min=99.9%,goodput_per_s_min=2.5")
    found = summary.summary(folder(RECORDS), slo)
    assert [(clause.text, clause.measured_text) for clause in found.slo] == [
        ("TTFT p99 ≤ 1,500 ms", "500 ms"),
        ("error rate ≤ 0.5 %", "50.00 %"),
        ("SLO attainment ≥ 99.9 %", "50.00 %"),
        ("goodput ≥ 2.5 req/s", "0.94 req/s"),
    ]


ENOUGH = [record(float(second)) for second in range(100)]


@pytest.mark.parametrize(
    ("slo", "verdict", "reason"),
    [
        ("ttft_p99=3s", Verdict.PASS, None),
        ("ttft_p99=2600ms,tpot_p99=100ms", Verdict.BREACH, "TPOT p99 ≤ 100 ms: measured 125 ms"),
        ("ttft_p99=500ms", Verdict.INVALID, "client-limited: schedule lag p99 125.0 ms"),
        ("ttft_p99.9=3s", Verdict.INVALID, "too few samples: ttft_p99.9 needs at least 1000"),
        (None, Verdict.INVALID, "client-limited"),
    ],
)
def test_verdicts(slo: str | None, verdict: Verdict, reason: str | None) -> None:
    found = summary.summary(folder(ENOUGH, slo))
    assert found.verdict == verdict
    if reason is None:
        assert found.reasons == []
    else:
        assert found.reasons[0].startswith(reason)


def test_a_run_without_an_slo_has_nothing_to_be_good_by(tmp_path: Path) -> None:
    found = summary.summary(RunFolder.read(made_up_run(tmp_path, slo="", requests=200)))
    assert (found.verdict, found.good, found.goodput_per_s) == (Verdict.NO_SLO, None, None)


def test_a_run_in_which_all_failed_at_once_is_summed_up() -> None:
    records = [unanswered(1.0, "timeout after 1 s") for _ in range(100)]
    found = summary.summary(folder(records, "ttft_p99=1s,goodput_per_s_min=1"))
    assert found.verdict == Verdict.BREACH
    assert found.latency["ttft"] is None
    assert (found.load.offered_per_s, found.goodput_per_s) == (None, None)
    assert found.slo[1].measured == 0


def test_a_wrong_slo_in_the_folder_is_named() -> None:
    with pytest.raises(RunFolderError, match=r"run has a wrong scenario.slo: ttft: is no clause"):
        summary.summary(folder(ENOUGH, "ttft=1s"))


def test_what_the_load_generator_complained_of_makes_the_run_invalid() -> None:
    found = summary.summary(folder(ENOUGH, problems=["a worker was lost"]))
    assert found.verdict == "invalid"
    assert "load generator: a worker was lost" in found.reasons


def golden_summary(path: Path) -> str:
    run = RunFolder.read(made_up_run(path, **OPTIONS))
    summary.write(run, summary.summary(run))
    return (path / "summary.json").read_text(encoding="utf-8")


def test_the_summary_of_a_whole_run_is_the_golden_one(tmp_path: Path) -> None:
    written = golden_summary(tmp_path)
    assert json.loads(written) == json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert Summary.model_validate_json(written).version == 1


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        GOLDEN.write_text(golden_summary(Path(temporary)), encoding="utf-8")

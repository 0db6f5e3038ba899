"""The table and the verdict, from rows."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.chaos.processes import Growth, growth
from loadtest.chaos.records import EndRow, FaultRow, RequestRow, Row, RunRow, row_file
from loadtest.chaos.report import GATEWAY_GONE_S, render, summary
from loadtest.procstat import Role

RUN = RunRow(started_at="2026-01-01T00:00:00+00:00", settings={"faults": ["kill-host"]})
KILL = FaultRow(at_s=20.0, fault="kill-host", what="host 1 of engine a")
GATEWAY_KILL = FaultRow(at_s=50.0, fault="kill-gateway", what="gateway process 2")
GOOD = RequestRow(kind="chat", began_s=15.0, ended_s=25.0, longest_gap_s=0.5)
END = EndRow(
    duration_s=60.0,
    moved=7,
    failed_flights=0,
    whole_after_s=12.0,
    leaked_flights=0,
    orphans=[],
    memory={"gateway": Growth(2, 500_000_000, 512_000_000)},
)


def rows(*more: Row, end: EndRow = END) -> list[Row]:
    return [RUN, KILL, GATEWAY_KILL, GOOD, *more, end]


def failed(began_s: float, ended_s: float, cut: bool = True) -> RequestRow:
    return RequestRow(kind="chat", began_s=began_s, ended_s=ended_s, error="gone", cut=cut)


def test_a_clean_run_passes_and_says_what_it_saw() -> None:
    found = summary(rows())
    assert found.problems == []
    assert render(found) == (
        "|  |  |\n"
        "| --- | --- |\n"
        "| requests | 1 in 60 s |\n"
        "| faults | 2: kill-host 1, kill-gateway 1 |\n"
        "| moved | 7 |\n"
        "| failed | 0 |\n"
        "| lost with a killed gateway | 0 |\n"
        "| wrong | 0 |\n"
        "| longest gap of a stream that met a fault"
        " | p50 0.50 s, p99 0.50 s, max 0.50 s (n = 1) |\n"
        "| orphan processes | 0 |\n"
        "| leaked flights | 0 |\n"
        "| fleet whole again | 12 s after the last answer |\n"
        "| memory of gateway | +12 MB on 500 MB (2 that lived throughout) |\n"
        "\n"
        "passed\n"
    )


@pytest.mark.parametrize(
    ("more", "end", "problem"),
    [
        (failed(1, 2), END, "1 requests failed"),
        (replace(GOOD, wrong="token 3 of 9 is 1, not 2"), END, "1 answers are wrong"),
        (GOOD, replace(END, leaked_flights=2), "2 flights leaked"),
        (GOOD, replace(END, orphans=["pid 7"]), "1 processes outlived their engine"),
        (GOOD, replace(END, whole_after_s=None), "the fleet did not become whole again"),
    ],
)
def test_whatever_went_wrong_fails_it(more: RequestRow, end: EndRow, problem: str) -> None:
    found = summary(rows(more, end=end))
    assert found.problems == [problem]
    assert render(found).endswith(f"FAILED: {problem}\n")


def test_nothing_done_is_no_success() -> None:
    found = summary([RUN, replace(KILL, missed=True), END])
    assert found.problems == ["no request ended", "no fault could be done"]


@pytest.mark.parametrize(
    ("request_row", "excused"),
    [
        (failed(40, 50.1), True),
        (failed(50 + GATEWAY_GONE_S, 70), True),
        (failed(51 + GATEWAY_GONE_S, 70), False),
        (failed(40, 49), False),
        (failed(40, 50.1, cut=False), False),
    ],
    ids=["under way", "sent to it still", "begun later", "ended before", "the fleet said so"],
)
def test_only_what_a_gateways_kill_cut_is_counted_apart(
    request_row: RequestRow, excused: bool
) -> None:
    found = summary(rows(request_row))
    assert found.lost_with_gateway == ([request_row] if excused else [])
    assert found.failed == ([] if excused else [request_row])


def test_a_wrong_answer_is_never_excused() -> None:
    wrong = RequestRow(kind="chat", began_s=40, ended_s=55, wrong="text", longest_gap_s=1)
    assert summary(rows(wrong)).wrong == [wrong]


def test_gaps_are_those_of_streams_that_a_fault_met() -> None:
    before = RequestRow(kind="chat", began_s=1, ended_s=19, longest_gap_s=9)
    whole = RequestRow(kind="not streamed", began_s=15, ended_s=25)
    assert summary(rows(before, whole)).gaps_s == [0.5]


def test_many_failures_are_not_all_listed() -> None:
    printed = render(summary(rows(*[failed(at_s, at_s + 1, cut=False) for at_s in range(9)])))
    assert printed.count("chat at") == 5
    assert "and 4 more" in printed


def test_memory_grows_in_processes_that_are_there_before_and_after() -> None:
    before = {(Role.GATEWAY, 1): 10, (Role.GATEWAY, 2): 20, (Role.ENGINE_HOST, 3): 30}
    after = {(Role.GATEWAY, 1): 15, (Role.GATEWAY, 4): 90, (Role.RAY, 5): 1}
    assert growth(before, after) == {"gateway": Growth(1, 10, 15)}


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    with row_file(path) as write:
        write(KILL)
        (line,) = path.read_text().splitlines()
        assert json.loads(line)["row"] == "fault"
        write(END)
    assert json.loads(path.read_text().splitlines()[1])["memory"]["gateway"]["processes"] == 2

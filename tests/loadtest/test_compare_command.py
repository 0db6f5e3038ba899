"""Two runs compared: what is said of a change, and which runs are not compared at all."""

import json
from pathlib import Path

import pytest

from loadtest import compare_command, comparison_text
from loadtest.comparison import Change
from loadtest.exit_status import PASS, USAGE
from loadtest.intervals import Interval
from tests.loadtest.commands import status_of
from tests.loadtest.made_up_run import made_up_run

METRIC = {"metric": "ttft_p99_s", "n_a": 1200, "n_b": 1100}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same load on a server, on one with slower prefills, and on the first one again."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "before": made_up_run(folder / "before", requests=600),
        "slower": made_up_run(folder / "slower", requests=600, ttft_s=0.18),
        "again": made_up_run(folder / "again", requests=600),
    }


def verdicts(capsys: pytest.CaptureFixture[str], a: Path, b: Path) -> dict[str, str]:
    assert status_of(compare_command, a, b, "--json") == PASS
    changes = json.loads(capsys.readouterr().out)["changes"]
    return {change["metric"]: change["verdict"] for change in changes}


def test_a_slower_prefill_is_worse_in_ttft_only(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = verdicts(capsys, runs["before"], runs["slower"])
    assert (found["ttft_p50_s"], found["tpot_p50_s"]) == ("worse", "noise")
    back = verdicts(capsys, runs["slower"], runs["before"])
    assert (back["ttft_p50_s"], back["tpot_p50_s"]) == ("better", "noise")


def test_the_same_run_again_is_noise(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(verdicts(capsys, runs["before"], runs["again"]).values()) == {"noise"}


def test_the_table_has_a_line_for_each_metric(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(compare_command, runs["before"], runs["slower"]) == PASS
    text = capsys.readouterr().out
    assert f"A: {runs['before']}, demo, http://127.0.0.1:8000" in text
    header, *lines = text.split("\n\n")[1].splitlines()
    assert header.split() == ["metric", "A", "B", "change", "95", "%", "interval", "verdict"]
    assert {len(line) for line in lines if line.endswith("worse")} == {len(header)}
    assert "TTFT p99, ms" in text


def test_the_markdown_is_one_table(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(compare_command, runs["before"], runs["slower"], "--markdown") == PASS
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in table} == {5}


def test_runs_of_different_scenarios_are_refused(
    tmp_path: Path, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    other = made_up_run(tmp_path, requests=600, seed=2)
    assert status_of(compare_command, runs["before"], other) == USAGE
    assert "scenario.seed: 1 in A, 2 in B" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_wrong_usage(tmp_path: Path, runs: dict[str, Path]) -> None:
    assert status_of(compare_command, runs["before"], tmp_path / "none") == USAGE


def test_an_invalid_run_is_compared_with_a_warning(
    tmp_path: Path, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    late = made_up_run(tmp_path, requests=600, lag_s=0.2)
    assert status_of(compare_command, runs["before"], late) == PASS
    assert "B is invalid, client-limited: schedule lag p99" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {"a": 0.4, "b": 0.5, "interval": Interval(0.05, 0.15), "verdict": "worse"},
            ["TTFT p99, ms", "400.0 (n=1,200)", "500.0 (n=1,100)", "+100.0 (+25.0 %)",
             "+50.0 to +150.0", "worse"],
            id="a latency in ms, with n",
        ),
        pytest.param(
            {"a": 0.4, "b": None, "interval": None, "verdict": "unknown"},
            ["TTFT p99, ms", "400.0 (n=1,200)", "-", "-", "-", "unknown"],
            id="nothing measured on one side",
        ),
        pytest.param(
            {"metric": "error_rate", "a": 0.0, "b": 0.015, "interval": Interval(0.005, 0.02),
             "verdict": "worse"},
            ["error rate, %", "0.00", "1.50", "+1.50", "+0.50 to +2.00", "worse"],
            id="a share in percent, from nothing",
        ),
        pytest.param(
            {"metric": "output_tokens_per_s", "a": 1500.0, "b": 1200.0,
             "interval": Interval(-400.0, -200.0), "verdict": "worse"},
            ["output tokens, per s", "1,500", "1,200", "-300 (-20.0 %)", "-400 to -200", "worse"],
            id="a rate",
        ),
    ],
)  # fmt: skip
def test_how_a_change_is_written(fields: dict[str, object], expected: list[str]) -> None:
    change = Change(**{**METRIC, **fields})  # type: ignore[arg-type]
    assert comparison_text.line(change) == expected

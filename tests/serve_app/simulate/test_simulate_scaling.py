"""`tokenfleet simulate --autoscale`, as users call it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from serve_app import cli
from tests.loadtest.report.test_report_page import Page

MADE_UP = """
duration_s: 40
arrivals: {kind: poisson, rate_per_s: 4}
groups: {groups: 1, question_tokens: 100, output_tokens: 20}
"""


def scaled(folder: Path, names: str, *more: str) -> tuple[dict[str, Any], Page]:
    trace, out = folder / "made.yaml", folder / "out"
    trace.write_text(MADE_UP, encoding="utf-8")
    command = ["simulate", str(trace), "--policy", "least_load", "--engines", "2", "--gpu", "L4",
               "--kv-tokens", "20000", "--autoscale", names, "--out", str(out), *more]  # fmt: skip
    assert cli.main(command) == 0
    text = (out / "report.html").read_text(encoding="utf-8")
    return json.loads((out / "result.json").read_text(encoding="utf-8")), Page(text)


def test_scalers_and_fixed_sizes_come_beside_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = "peak,fixed,slo,ongoing_requests,ttft_threshold"
    found, page = scaled(tmp_path, names, "--max", "6", "--target-ongoing", "4", "--days", "1")
    results = found["results"]
    assert [each["policy"] for each in results] == [
        "peak", "fixed", "slo", "ongoing_requests 4", "ttft_threshold"
    ]  # fmt: skip
    assert {each["in_flight"] for each in results} == {0}
    fixed = results[1]["scaling"]
    assert (fixed["starts"], fixed["most_engines"], fixed["decisions"]) == (0, 2, [])
    assert fixed["replica_s"] == pytest.approx(2 * found_end(fixed))
    assert results[2]["scaling"]["decisions"][0]["sentence"]
    assert "days and nights" in found["notes"][-1]
    printed = capsys.readouterr().out
    assert "fixed at peak: 1 engines" in printed
    assert "of peak's" in printed
    figure = json.loads(page.scripts["figures"])["time-engines"]
    assert len(go.Figure(figure).data) == 5
    assert "size" in page.ids


def found_end(scaling: dict[str, Any]) -> float:
    """The timeline's points are at equal steps from 0 to before the end."""
    at_s = scaling["timeline"]["at_s"]
    return float(at_s[1] * len(at_s))


def test_the_slo_is_what_was_asked_for(tmp_path: Path) -> None:
    found, _page = scaled(tmp_path, "fixed", "--slo", "ttft=0.001,tpot=5")
    scaling = found["results"][0]["scaling"]
    assert scaling["slo"] == {"ttft_s": 0.001, "tpot_s": 5.0, "attainment_frac": 0.99}
    assert (scaling["attainment_frac"], scaling["tpot_good_frac"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--autoscale", "best"], "no 'best'; there are slo"),
        (["--slo", "itl=1"], "no 'itl'; there are ttft"),
        (["--slo", "ttft=fast"], "ttft: 'fast' is no number"),
        (["--slo", "tpot=0"], "tpot_s must be above 0"),
    ],
)
def test_a_wrong_command_line_exits_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        cli.main(["simulate", "trace.jsonl", *arguments])
    assert error.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--autoscale", "slo", "--min", "5", "--max", "2"], "from 5 to 2 engines is no range"),
        (["--autoscale", "peak", "--max", "1", "--slo", "ttft=0.001"], "1 engines keep the SLO"),
        (["--autoscale", "slo", "--cold-start-s", "-1"], "cold_start_s must be at least 0"),
    ],
)
def test_what_cannot_be_simulated_exits_2(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "made.yaml"
    trace.write_text(MADE_UP, encoding="utf-8")
    assert cli.main(["simulate", str(trace), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err

"""`tokenfleet simulate`, as users call it, on small files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from serve_app import cli, examples
from serve_app.simulate.reading import read_workload
from tests.loadtest.report.test_report_page import Page

MADE_UP = """
duration_s: 20
arrivals: {kind: poisson, rate_per_s: 4}
groups: {groups: 3, prefix_tokens: 640, question_tokens: 100, output_tokens: 20}
"""
FAST = ("--kv-tokens", "20000", "--engines", "2")


def mooncake(folder: Path, requests: int = 30) -> Path:
    lines = [
        {
            "timestamp": 3000 * (place // 10),
            "input_length": 1100,
            "output_length": 20,
            "hash_ids": [0, 1 + place % 3, 10 + place],
        }
        for place in range(requests)
    ]
    path = folder / "trace.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def simulated(folder: Path, trace: Path, *more: str) -> dict[str, Any]:
    out = folder / "out"
    assert cli.main(["simulate", str(trace), *FAST, "--out", str(out), *more]) == 0
    found: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return found


def test_policies_come_in_one_table_and_one_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = simulated(tmp_path, mooncake(tmp_path), "--policy", "round_robin,least_load")
    assert [each["policy"] for each in found["results"]] == ["round_robin", "least_load"]
    assert [each["done"] for each in found["results"]] == [30, 30]
    assert "spread" in found["notes"][0]
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[:3]] == ["policy", "round_robin", "least_load"]


def test_the_same_command_gives_the_same_result_and_another_seed_another(tmp_path: Path) -> None:
    trace = mooncake(tmp_path)
    first, again, other = (simulated(tmp_path, trace, "--seed", seed) for seed in "112")
    assert first == again
    assert first["results"] != other["results"]


def test_a_load_is_a_part_of_the_rate_at_saturation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "made.yaml"
    trace.write_text(MADE_UP, encoding="utf-8")
    found = simulated(tmp_path, trace, "--load", "0.5", "--max-num-seqs", "2", "--gpu", "L4",
                      "--kv-tokens", "4000")  # fmt: skip
    assert found["offered_rps"] == pytest.approx(found["saturation_rps"] / 2)
    assert "saturation with least_load" in capsys.readouterr().out


def test_a_made_up_workload_shares_its_prefixes(tmp_path: Path) -> None:
    trace = tmp_path / "made.yaml"
    trace.write_text(MADE_UP, encoding="utf-8")
    found = simulated(tmp_path, trace)
    assert found["results"][0]["hit_frac"] > 0.5


def test_a_measured_engine_stands_for_gpu_and_model(tmp_path: Path) -> None:
    engine = tmp_path / "engine.json"
    engine.write_text('{"base_s": 0.5}', encoding="utf-8")
    found = simulated(tmp_path, mooncake(tmp_path), "--step-time", str(engine), "--requests", "1")
    assert found["results"][0]["ttft_s"]["p50"] == pytest.approx(0.5)
    assert found["results"][0]["tpot_s"]["p50"] == pytest.approx(0.5)


FLEET = """{"models": [{"name": "demo", "engines": [
  {"id": "a", "kv_total_tokens": 4096, "step_cost_s":
    {"base": 0.5, "prefill_token": 0.0, "decode_request": 0.0}},
  {"id": "b", "kv_total_tokens": 4096, "step_cost_s":
    {"base": 1.5, "prefill_token": 0.0, "decode_request": 0.0}},
  {"id": "c", "kv_total_tokens": 4096, "step_cost_s": null}]}]}"""

STARTED = """{"models": [{"name": "demo", "engines": [
  {"id": "a", "kv_total_tokens": 4096, "step_cost_s": null}]}]}"""


def test_a_running_cluster_tells_what_its_engines_are(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.json"
    fleet.write_text(FLEET, encoding="utf-8")
    trace = str(mooncake(tmp_path))
    command = ["simulate", trace, "--step-time", str(fleet), "--requests", "1"]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert found["results"][0]["ttft_s"]["p50"] == pytest.approx(1.0)  # the mean of both


def test_the_page_holds_all_it_needs_and_figures_that_plotly_draws(tmp_path: Path) -> None:
    simulated(tmp_path, mooncake(tmp_path), "--policy", "round_robin,least_load,random")
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    figures = json.loads(page.scripts["figures"])
    assert list(figures) == ["cdf-ttft", "time-hits", "time-imbalance", "time-rate"]
    for figure in figures.values():
        assert [each.name for each in go.Figure(figure).data] == [
            "round_robin", "least_load", "random"
        ]  # fmt: skip
    assert {"policies", "ttft", "timeline", "configuration"} <= set(page.ids)
    assert not [name for name, _ in page.attributes if name in ("src", "href")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "best"], "no 'best'; there are predicted_cost"),
        (["--gpu", "H100,TPU"], "no 'TPU'; there are H100"),
        (["--engines", "0"], "0 must be at least 1"),
        (["--speed", "0"], "0 must be above 0"),
        (["--speed", "2", "--load", "0.5"], "not allowed with"),
    ],
    ids=["policy", "gpu", "engines", "speed", "speed and load"],
)
def test_a_wrong_command_line_exits_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        cli.main(["simulate", "trace.jsonl", *arguments])
    assert error.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("no.jsonl", None, "No such file"),
        ("a.txt", "", "a.txt: '.txt' is none of .jsonl, .csv, .yaml"),
        ("a.jsonl", '{"timestamp": 0, "input_length": 0, "output_length": 1}',
         "a.jsonl:1: input_length 0: "),
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\nnow,1,1\n", "a.csv:2: TIMESTAMP 'now'"),
        ("a.yaml", "duration_s: 1", "a.yaml: arrivals: Field required"),
        ("a.yaml", MADE_UP.replace("groups: 3", "groups: 3, hot: 1"), "a.yaml: groups.hot: "),
        ("a.yaml", "[", "a.yaml: not YAML"),
    ],
    ids=["no file", "no format", "Mooncake", "Azure", "no arrivals", "unknown key", "no YAML"],
)  # fmt: skip
def test_a_wrong_file_exits_2_and_names_file_line_and_field(
    tmp_path: Path, name: str, text: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert cli.main(["simulate", str(path), *FAST]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"base_s": -1}', "base_s: "),
        ('{"steps": []}', "steps: "),
        ('{"bass_s": 1}', "base_s: Field required"),
        ("{", "not JSON"),
        ('{"models": []}', "models: leave one in it, not 0 ()"),
        (STARTED, "step_cost_s: no engine knows yet"),
    ],
    ids=["below 0", "no step", "unknown key", "no JSON", "no model", "nothing learnt"],
)
def test_a_wrong_measured_engine_exits_2(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = tmp_path / "engine.json"
    engine.write_text(text, encoding="utf-8")
    trace = str(mooncake(tmp_path))
    assert cli.main(["simulate", trace, *FAST, "--step-time", str(engine)]) == 2
    assert f"engine.json: {message}" in capsys.readouterr().err


def test_azures_trace_is_read(tmp_path: Path) -> None:
    trace = tmp_path / "azure.csv"
    trace.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
        encoding="utf-8",
    )
    found = simulated(tmp_path, trace)
    assert found["results"][0]["done"] == 2
    assert found["offered_rps"] == pytest.approx(2 / 4.314579)


def test_exact_instants_of_a_mooncake_trace_stay_as_they_are(tmp_path: Path) -> None:
    trace = mooncake(tmp_path)
    recorded = [json.loads(line)["timestamp"] / 1e3 for line in trace.read_text().splitlines()]
    exact = read_workload(trace, 64, seed=0, requests=None, tick_s=0.0)
    assert [each.arrival_s for each in exact.requests] == pytest.approx(recorded)
    assert not exact.notes
    assert read_workload(trace, 64, seed=0, requests=None).notes


WORKLOADS = sorted(Path(examples.__file__).parent.glob("workload-*.yaml"))


@pytest.mark.parametrize("path", WORKLOADS, ids=lambda path: path.stem)
def test_every_example_of_a_workload_can_be_read(path: Path) -> None:
    assert read_workload(path, 64, seed=0, requests=9).requests


def test_the_shared_prefixes_are_those_of_their_comment() -> None:
    path = Path(examples.__file__).with_name("workload-shared-prefixes.yaml")
    requests = read_workload(path, 64, seed=0, requests=None).requests
    assert {(each.prompt_tokens, each.output_tokens) for each in requests} == {(7200, 1000)}
    prefixes = Counter(each.blocks()[6000 // 64 - 1] for each in requests)
    assert len(prefixes) == 150

"""The trace that real and simulated engines are given, and the table of what came of it."""

import json
from pathlib import Path

import pytest

from loadtest.bench.validation import Found, made_up, merged, parser, table
from loadtest.traces import read_trace


def trace(*options: str) -> list[dict[str, object]]:
    return list(made_up(parser().parse_args(options)))


def test_the_trace_is_one_that_is_read_as_mooncakes(tmp_path: Path) -> None:
    lines = trace("--rate", "5", "--duration-s", "200")
    file = tmp_path / "trace.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    requests = read_trace(file, "mooncake")
    assert len(requests) == pytest.approx(1000, rel=0.15)
    assert {len(request.block_ids) for request in requests} == {4}
    assert len({request.block_ids[0] for request in requests}) == 20
    assert len({request.block_ids[3] for request in requests}) == len(requests)


def test_a_seed_makes_one_trace() -> None:
    assert trace("--seed", "1") == trace("--seed", "1") != trace("--seed", "2")


def test_what_the_engines_of_all_policies_said_is_read_as_one_fleet(tmp_path: Path) -> None:
    for policy, ids in {"random": ["a"], "least_load": ["b", "c"]}.items():
        (tmp_path / policy).mkdir()
        said = {"models": [{"name": "demo", "engines": [{"id": name} for name in ids]}]}
        (tmp_path / policy / "fleet.json").write_text(json.dumps(said), encoding="utf-8")
    fleet = json.loads(merged(tmp_path, ["random", "least_load"]).read_text(encoding="utf-8"))
    assert [engine["id"] for engine in fleet["models"][0]["engines"]] == ["a", "b", "c"]


def test_the_table_has_real_and_simulated_side_by_side() -> None:
    real = Found(
        hit_frac=0.5, ttft_mean_s=0.2, ttft_p90_s=1.5, tpot_mean_s=0.0101, requests_per_s=2
    )
    simulated = Found(
        hit_frac=0.25, ttft_mean_s=0.1, ttft_p90_s=1.0, tpot_mean_s=0.02, requests_per_s=1.5
    )
    row = table({"random": real}, {"random": simulated}).splitlines()[2]
    assert (
        row == "| `random` | 50.0 · 25.0 | 200 · 100 | 1,500 · 1,000 | 10.1 · 20.0 | 2.00 · 1.50 |"
    )

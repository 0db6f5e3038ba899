"""`tokenfleet plan`, from the command line to a spec."""

from __future__ import annotations

import json

import pytest

from cluster import spec as cluster_spec
from serve_app import cli
from tests.cluster.planning.configs import LLAMA_70B, QWEN3_32B

LOAD = "rate=20,in=2000,out=300"


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "qwen"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN3_32B))
    return folder


def plan(model, *more: str) -> int:
    arguments = ["--gpus", "H100:16", "--slo", "ttft=500ms,tpot=50ms", "--load", LOAD]
    return cli.main(["plan", str(model), *arguments, *more])


def test_plans_and_the_memory_of_the_first_are_shown(model, capsys):
    assert plan(model) == 0
    shown = capsys.readouterr().out
    assert "qwen3: 32.8 billion parameters" in shown
    assert "   12        3   4   1    870,758" in shown
    assert "weights 15.3, KV cache 53.1" in shown


def test_the_cheapest_is_written_as_a_spec_that_is_valid(model, tmp_path, capsys):
    target = tmp_path / "spec.yaml"
    assert plan(model / "config.json", "--write", str(target), "--kv-cache-dtype", "fp8") == 0
    (planned,) = cluster_spec.load(target).models
    assert (planned.name, planned.source) == ("qwen", str(model))
    assert planned.engine["kv_cache_dtype"] == "fp8"
    assert planned.engine["tensor_parallel_size"] in (1, 2, 4, 8)
    assert planned.slo.ttft_s == 0.5


def test_no_plan_says_why(tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA_70B))
    assert cli.main(["plan", str(path), "--gpus", "L4:1", "--load", LOAD]) == 1
    assert "no plan. memory: 131.4 GiB of weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "Expecting"), ("[]", "is no JSON object"), ('{"model_type": "x"}', "hidden_size")],
)
def test_a_config_that_is_none_is_refused(tmp_path, capsys, text, said):
    path = tmp_path / "config.json"
    path.write_text(text)
    assert plan(path) == 2
    assert said in capsys.readouterr().err


def test_a_path_that_is_not_there_is_no_hub_id(capsys):
    assert plan("/not/there/config.json") == 2
    assert "no folder, no file, and no hub id" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpus", "H100"], "no number of GPUs"),
        (["--gpus", "TPU:4"], "'TPU' is none of H100"),
        (["--slo", "ttft=5"], "'5' is no time"),
        (["--slo", "p99=5s"], "p99 is none of"),
        (["--slo", "ttft=0s"], "ttft_s must be above 0"),
        (["--load", "rate=1,in=5"], "lacks out"),
        (["--load", "rate=1,in=5,out=x"], "invalid literal"),
        (["--load", "rate=0,in=5,out=1"], "above 0"),
    ],
)
def test_wrong_arguments_are_named(model, capsys, arguments, said):
    with pytest.raises(SystemExit) as caught:
        plan(model, *arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err

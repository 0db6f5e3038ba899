"""`tokenfleet accelerate compare`: what it runs, in which order, and what it writes. No engine is
started here."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.acceleration import command, items
from loadtest.acceleration.measured import Measured
from serve_app import cli
from tests.loadtest.acceleration.test_verdict import result

SPEC = {"models": [{"name": "demo", "source": "demo", "engine": {"dtype": "float32"}}]}
TOKENS_PER_S = {"base": 1000, "base again": 1010, "int8": 1500, "ngram": 900, "compile": 1200}


class Runs:
    """Stands where engines would be started."""

    def __init__(self) -> None:
        self.done: list[tuple[str, dict, object]] = []
        self.failing: dict[str, str] = {}

    def measure(self, variant, spec, folder, load, asked, base):
        self.done.append((variant, spec["models"][0], base))
        found = result(variant, TOKENS_PER_S[variant], 98)
        if variant in self.failing:
            return Measured(variant=variant, source="", engine={}, failure="no kernel"), []
        return replace(found, variant=variant), [f"readings of {variant}"]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    fake = Runs()
    monkeypatch.setattr(command, "measure", fake.measure)
    monkeypatch.setattr(command, "resolved_spec", lambda path: SPEC)
    monkeypatch.setattr(subprocess, "run", lambda *args, **more: None)  # compress
    return fake


def compare(out: Path, variants: str, *more: str) -> int:
    line = ["accelerate", "compare", "--base", "s.yaml", "--variants", variants]
    return cli.main([*line, "--out", str(out), *more])


def test_the_base_is_first_and_last_and_the_others_are_held_against_it(runs, tmp_path, capsys):
    assert compare(tmp_path, "int8,ngram") == 0
    assert [variant for variant, _, _ in runs.done] == ["base", "int8", "ngram", "base again"]
    assert [base for _, _, base in runs.done] == [None] + 3 * [["readings of base"]]
    assert runs.done[1][1]["source"] == str(tmp_path / "models" / "int8")
    told = json.loads((tmp_path / "result.json").read_text())
    assert told["verdict"]["chosen"] == "int8"
    assert "int8: 1.50 times" in (tmp_path / "report.html").read_text()
    assert "| int8 | 1,500 |" in capsys.readouterr().out


def test_a_variant_that_does_not_start_ends_nothing(runs, tmp_path, capsys):
    runs.failing = {"int8": "no kernel"}
    assert compare(tmp_path, "int8,compile") == 0
    printed = capsys.readouterr()
    assert "int8: no kernel" in printed.out
    assert json.loads((tmp_path / "result.json").read_text())["verdict"]["chosen"] == "compile"


def test_without_a_base_there_is_no_comparison(runs, tmp_path, capsys):
    runs.failing = {"base": "no kernel"}
    assert compare(tmp_path, "int8") == 1
    assert len(runs.done) == 1
    assert "base: no kernel" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variants", "more", "said"),
    [
        ("int3", [], "no variant 'int3'"),
        ("ngram", ["--items", "missing.jsonl"], "No such file"),
    ],
)
def test_a_wrong_input_is_said_before_anything_is_started(
    runs, tmp_path, capsys, variants, more, said
):
    assert compare(tmp_path, variants, *more) == 2
    assert runs.done == []
    assert said in capsys.readouterr().err


def test_another_model_needs_questions(runs, tmp_path, capsys, monkeypatch):
    spec = {"models": [{**SPEC["models"][0], "source": "org/model"}]}
    monkeypatch.setattr(command, "resolved_spec", lambda path: spec)
    assert compare(tmp_path, "ngram") == 2
    assert "what org/model is to answer is not known: --items FILE" in capsys.readouterr().err


def test_items_are_read_line_by_line(tmp_path):
    file = tmp_path / "items.jsonl"
    file.write_text('{"task": "a", "prompt": "He", "answer": " sings"}\n{"task": "a"}\n')
    with pytest.raises(items.ItemsError, match=r"items.jsonl:2: answer: Field required"):
        items.read(file)
    file.write_text('{"task": "a", "prompt": "He", "answer": " sings"}\n')
    assert [item.text for item in items.read(file)] == ["He sings"]


def test_the_demo_s_items_are_of_its_three_kinds():
    found = items.of_the_demo(seed=0, per_task=5)
    assert {item.task for item in found} == {"generation", "translation", "question answering"}
    assert len(found) == 5 * 9
    assert any(item.text for item in found)
    assert found == items.of_the_demo(seed=0, per_task=5)


@pytest.mark.parametrize("share", ["2%", "0.02"])
def test_a_share_is_written_either_way(runs, tmp_path, share):
    assert compare(tmp_path, "int8", "--max-quality-loss", share) == 0
    assert "at most 2.0% fewer" in (tmp_path / "result.json").read_text()

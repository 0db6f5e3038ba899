"""The larger model: made as the demo is, in another size."""

from pathlib import Path

import torch
from transformers import AutoTokenizer

from serve_app.demo import MODEL_PATH, larger, model_files

TINY = {**larger.SHAPE, "num_hidden_layers": 1, "intermediate_size": 64}


def make(folder: Path, seed: int = 0) -> int:
    return larger.main(["--out", str(folder), "--seed", str(seed)])


def test_it_loads_and_reads_as_the_demo_does(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(larger, "SHAPE", TINY)
    assert make(tmp_path / "one") == 0
    model = model_files.load(tmp_path / "one")
    assert (model.config.hidden_size, model.config.num_hidden_layers) == (640, 1)
    assert model.config.dtype == torch.float32
    text = "Once upon a time"
    here, demo = (AutoTokenizer.from_pretrained(path) for path in (tmp_path / "one", MODEL_PATH))
    assert here(text).input_ids == demo(text).input_ids
    assert here.chat_template == demo.chat_template


def test_the_seed_decides_and_nothing_is_overwritten(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(larger, "SHAPE", TINY)
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        assert make(tmp_path / name, seed) == 0
    one, same, other = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "same", "other")
    )
    assert one == same != other
    assert make(tmp_path / "one") == 1
    assert "exists" in capsys.readouterr().err

"""`tokenfleet compress`: what is refused, before anything is made or installed."""

import json
from pathlib import Path

import pytest

from serve_app import cli, settings
from serve_app.compress import environment


@pytest.fixture(autouse=True)
def _nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> Path:
        raise environment.NotMadeError("it was tried")

    monkeypatch.setattr(environment, "python", refused)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"hidden_size": 4096}))
    return folder


def compress(model: object, recipe: str, out: Path, *more: str) -> int:
    return cli.main(["compress", str(model), "--recipe", recipe, "--out", str(out), *more])


def test_what_only_gpus_serve_says_so_before_any_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(settings, "gpu_build", lambda: False)
    assert compress("demo", "fp8", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "compute capability 8.9" in said
    assert "--for-gpu" in said


def test_on_a_gpu_s_machine_it_is_made(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(settings, "gpu_build", lambda: True)
    assert compress("demo", "fp8", tmp_path / "out") == 1
    assert "it was tried" in capsys.readouterr().err


def test_another_model_wants_texts(model, tmp_path, capsys):
    assert compress(model, "int8", tmp_path / "out") == 2
    assert "--calibration FILE" in capsys.readouterr().err


def test_a_model_that_is_quantized_is_refused(model, tmp_path, capsys):
    (model / "config.json").write_text(json.dumps({"quantization_config": {}}))
    assert compress(model, "fp8", tmp_path / "out", "--for-gpu") == 2
    assert "quantized already" in capsys.readouterr().err


def test_a_shape_that_does_not_fit_is_refused(model, tmp_path, capsys):
    (model / "config.json").write_text(json.dumps({"hidden_size": 4100}))
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "Once"}\n')
    assert compress(model, "w4a16", tmp_path / "out", "--calibration", str(texts)) == 2
    assert "groups of 128 inputs, which do not divide its hidden_size 4100" in (
        capsys.readouterr().err
    )


def test_a_folder_that_is_not_there_is_no_hub_id(tmp_path, capsys):
    assert compress(tmp_path / "none", "fp8", tmp_path / "out", "--for-gpu") == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_a_folder_is_written_as_in_a_spec(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HERE", str(tmp_path))
    assert compress("$HERE/none", "fp8", tmp_path / "out", "--for-gpu") == 2
    assert "there is no such folder" in capsys.readouterr().err
    monkeypatch.delenv("HERE")
    assert compress("$HERE/none", "fp8", tmp_path / "out", "--for-gpu") == 2
    assert "$HERE is not set here" in capsys.readouterr().err


def test_without_uv_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv(environment.FOLDER_ENV, str(tmp_path / "env"))
    monkeypatch.setattr(environment.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(environment.NotMadeError, match=r"tokenfleet\[compress\]"):
        environment.python()


def test_an_environment_that_is_there_is_taken(tmp_path, monkeypatch):
    monkeypatch.undo()
    (tmp_path / environment.READY).touch()
    monkeypatch.setenv(environment.FOLDER_ENV, str(tmp_path))
    assert environment.python() == tmp_path / "bin" / "python"

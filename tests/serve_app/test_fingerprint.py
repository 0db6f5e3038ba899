"""Fingerprints: equal for engines that may continue each other's streams, and for no others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from vllm.config import VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs

from serve_app.demo import MODEL_PATH
from serve_app.fingerprint import fingerprint

EDGE_BYTES = 1 << 16  # of each end of a file


def config_of(folder: Path, **engine) -> VllmConfig:
    args = AsyncEngineArgs(**{"model": str(folder), "dtype": "float32", "block_size": 32, **engine})
    return args.create_engine_config()


def of(folder: Path, **engine) -> str:
    """The fingerprint of an engine that serves `folder` with these engine arguments."""
    return fingerprint(config_of(folder, **engine))


@pytest.fixture(scope="module")
def original() -> str:
    return of(MODEL_PATH)


@pytest.fixture
def model(tmp_path) -> Path:
    """A copy of the demo model."""
    return Path(shutil.copytree(MODEL_PATH, tmp_path / "model"))


@pytest.fixture(scope="module")
def config() -> VllmConfig:
    return config_of(MODEL_PATH)


def with_files_of(config: VllmConfig, folder: Path) -> str:
    """The fingerprint when nothing but the files differs (vLLM itself reads them too early)."""
    config.model_config.model = str(folder)
    return fingerprint(config)


def test_it_is_short_and_repeats(original):
    assert len(bytes.fromhex(original)) == 8
    assert of(MODEL_PATH) == original


def test_the_same_model_in_another_folder_is_the_same(model, original):
    assert of(model) == original


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param({"max_model_len": 128}, id="the longest context"),
        pytest.param({"max_num_seqs": 3}, id="how many at once"),
        pytest.param({"enforce_eager": True}, id="compiled or not"),
        pytest.param({"gpu_memory_utilization": 0.5}, id="memory"),
        pytest.param({"served_model_name": "other"}, id="its name"),
    ],
)
def test_where_and_how_fast_it_runs_does_not_matter(engine, original):
    assert of(MODEL_PATH, **engine) == original


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param({"dtype": "bfloat16"}, id="the precision"),
        pytest.param({"load_format": "dummy"}, id="weights that are not read"),
        pytest.param({"seed": 5}, id="the seed of unseeded sampling"),
        pytest.param({"hf_overrides": {"rms_norm_eps": 0.5}}, id="an override of its config"),
    ],
)
def test_what_decides_the_next_token_does(engine, original):
    assert of(MODEL_PATH, **engine) != original


@pytest.mark.parametrize("place", [0, EDGE_BYTES - 1, -EDGE_BYTES, -1])
def test_other_weights_are_seen_at_both_ends(model, config, original, place):
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[place] ^= 1
    weights.write_bytes(content)
    assert with_files_of(config, model) != original


def test_weights_of_another_size_are_seen(model, config, original):
    weights = model / "model.safetensors"
    content = weights.read_bytes()
    middle = len(content) // 2
    assert middle > EDGE_BYTES
    weights.write_bytes(content[:middle] + bytes(64) + content[middle:])
    assert with_files_of(config, model) != original


@pytest.mark.parametrize("name", ["extra.safetensors", "a.bin", "b.pt", "c.gguf"])
def test_one_more_file_of_weights_is_seen(model, config, original, name):
    (model / name).write_bytes(b"x")  # smaller than an end
    assert with_files_of(config, model) != original


def test_weights_under_another_name_are_seen(model, config, original):
    (model / "model.safetensors").rename(model / "renamed.safetensors")
    assert with_files_of(config, model) != original


def test_files_that_are_no_weights_do_not_matter(model, config, original):
    (model / "README.md").write_text("about this model")
    assert with_files_of(config, model) == original


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("org/model", "abc"), ("org/model", "abc"), True),
        (("org/model", "abc"), ("org/model", "def"), False),
        (("org/model", "abc"), ("org/other", "abc"), False),
    ],
    ids=["the same", "another revision", "another model"],
)
def test_a_hub_id_counts_with_its_revision(config, monkeypatch, one, other, same):
    def of_hub(name: str, commit: str) -> str:
        monkeypatch.setattr(config.model_config, "model", name)
        monkeypatch.setattr(config.model_config.hf_config, "_commit_hash", commit, raising=False)
        return fingerprint(config)

    assert (of_hub(*one) == of_hub(*other)) is same

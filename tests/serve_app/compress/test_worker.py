"""What llm-compressor really makes of the demo model. Skipped where nobody has used `tokenfleet
compress` yet, which makes its environment (1.5 GB)."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from serve_app import cli
from serve_app.compress import environment, manifest
from serve_app.demo import MODEL_PATH

pytestmark = pytest.mark.skipif(
    not environment.is_made(),
    reason="llm-compressor's environment is not made; `tokenfleet compress` makes it",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pruned, then rounded."""
    out = tmp_path_factory.mktemp("compressed") / "model"
    command = ["compress", "demo", "--recipe", "sparse24-int8", "--out", str(out)]
    assert cli.main([*command, "--samples", "32", "--max-seq-tokens", "256"]) == 0
    return out


def test_two_of_four_weights_are_zero_and_all_of_them_are_bytes(made: Path):
    seen = 0
    with safe_open(made / "model.safetensors", "pt") as tensors:
        for name in tensors.keys():  # noqa: SIM118  # it is no mapping
            tensor = tensors.get_tensor(name)
            if name.endswith("proj.weight"):
                seen += 1
                assert str(tensor.dtype) == "torch.int8"
                fours = (tensor.reshape(-1, 4) != 0).sum(1)
                assert int(fours.max()) <= 2
    assert seen == 4 * 7


def test_the_embedding_stays_as_it_was(made: Path):
    name = "model.embed_tokens.weight"
    files = [folder / "model.safetensors" for folder in (MODEL_PATH, made)]
    before, after = (safe_open(file, "pt").get_tensor(name) for file in files)
    assert before.dtype == after.dtype
    assert bool((before == after).all())


def test_its_files_say_what_it_is(made: Path):
    config = json.loads((made / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    assert config["dtype"] == "bfloat16"
    told = manifest.read(made)
    assert told is not None
    assert told.zero_frac == pytest.approx(0.5, abs=0.01)
    assert told.kept == ("lm_head",)
    assert told.bytes_after < 0.65 * told.bytes_before
    assert (made / "chat_template.jinja").read_text() == (
        MODEL_PATH / "chat_template.jinja"
    ).read_text()

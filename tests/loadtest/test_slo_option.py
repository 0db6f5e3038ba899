"""The `--slo` of a command line."""

from pathlib import Path

import pytest

from loadtest.slo import PRESETS, parse_slo
from loadtest.slo_option import read_slo


def test_text_preset_and_file_mean_the_same(tmp_path: Path) -> None:
    file = tmp_path / "slo.yml"
    file.write_text("ttft_p99: 2000ms\ntpot_p99_ms: 200\n")
    text = PRESETS["llama-2-70b"]
    assert read_slo(str(file)) == read_slo("llama-2-70b") == read_slo(text) == parse_slo(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", r"slo.yaml is not YAML"),
        ("- ttft", r"slo.yaml must hold an SLO as a mapping, not \['ttft'\]"),
        ("ttft: 1s", r"slo.yaml: ttft: is no clause"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "slo.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_slo(str(file))

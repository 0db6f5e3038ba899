"""The `tokenfleet` command, as users call it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.spec import load, parse, resolve_devices
from serve_app import cli, examples


@pytest.mark.parametrize("name", examples.names())
def test_every_example_is_valid(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", name]) == 0
    printed = parse(yaml.safe_load(capsys.readouterr().out))
    assert printed == resolve_devices(load(examples.find(name)), gpu_build=False)


def test_the_totals_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["check", "spec-8gpu-node.yaml"])
    assert "# total: 8 GPUs, 18 CPUs" in capsys.readouterr().out


def test_what_follows_the_load_is_counted_at_its_most(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["check", "spec-autoscale.yaml"])
    printed = capsys.readouterr().out
    assert "# demo: 0 to 2 engines x 0 GPUs, 0.5 CPUs" in printed
    assert "# total, at most: 0 GPUs, 1.5 CPUs" in printed


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "models: [{name: m, source: demo, replicas: 0}, {name: m, source: demo}]",
            ["models[0].replicas: 0 is below the minimum 1", "models[1].name: 'm' is already"],
        ),
        (
            "models: [{name: m, source: demo, engine: {dtyp: x, seed: y}}]",
            ["models[0].engine.dtyp: unknown key; did you mean dtype?", "models[0].engine.seed: "],
        ),
    ],
    ids=["the spec's own violations", "vLLM's violations"],
)
def test_a_wrong_spec_exits_2_with_every_violation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, messages: list[str]
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    assert cli.main(["check", str(file)]) == cli.WRONG_INPUT
    output = capsys.readouterr()
    assert output.out == ""
    assert all(message in output.err for message in messages)


def test_a_missing_spec_names_the_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "spec-nowhere.yaml"]) == cli.WRONG_INPUT
    assert "spec-local-one.yaml" in capsys.readouterr().err


def test_a_file_wins_over_an_example_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert examples.find(examples.DEFAULT).parent != tmp_path
    (tmp_path / examples.DEFAULT).touch()
    assert examples.find(examples.DEFAULT).absolute().parent == tmp_path


def test_a_wrong_command_line_exits_2() -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["chek"])
    assert caught.value.code == cli.WRONG_INPUT


WITHOUT_AN_EXTRA = """
import sys
sys.modules["httptools"] = None  # as where it is not installed
from serve_app import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def test_chaos_without_its_extra_names_it() -> None:
    command = [sys.executable, "-c", WITHOUT_AN_EXTRA, "chaos", "--duration", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == cli.WRONG_INPUT
    assert done.stderr.rstrip().endswith("pip install 'tokenfleet[loadtest]'")


def test_without_an_extra_the_rest_works() -> None:
    command = [sys.executable, "-c", WITHOUT_AN_EXTRA, "chaos", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--kill-every" in done.stdout

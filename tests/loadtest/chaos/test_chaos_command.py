"""The command line: what is asked for, and what is refused before anything starts."""

import argparse
import subprocess
import sys

import pytest

from loadtest.chaos import command, options
from loadtest.chaos.command import WRONG_INPUT, WrongInputError
from loadtest.chaos.plan import BY_SERVE, ON_ENGINES, Fault
from tests.loadtest.fake_server import FakeServer, saying, serving

SPEC = {
    "models": [{"name": "a", "replicas": 2}, {"name": "b", "replicas": 1}],
    "gateway": {"replicas": 1},
}


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--faults", "kill-host,kill-cat"),
        ("--kinds", "chat,poem"),
        ("--duration", "0"),
        ("--kill-every", "-1"),
        ("--streams", "0"),
        ("--tokens", "300-200"),
        ("--tokens", "1-20"),
        ("--url", "https://host"),
        ("--url", "http://host", "--spec", "x.yaml"),
    ],
)
def test_wrong_values_are_refused(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(*arguments)
    assert caught.value.code == WRONG_INPUT
    assert arguments[-2] in capsys.readouterr().err


def test_what_is_given_is_read() -> None:
    args = parsed("--faults", "kill-host,drain", "--tokens", "20-90", "--kinds", "seeded,chat")
    assert [kind.name for kind in args.kinds] == ["chat", "seeded"]
    assert args.faults == (Fault.KILL_HOST, Fault.DRAIN)
    assert args.tokens == (20, 90)


def test_an_admins_key_comes_from_the_environment_or_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(options, "environ", {"TOKENFLEET_API_KEY": "seen by nobody"})
    assert parsed().api_key == "seen by nobody"
    assert parsed("--api-key", "given").api_key == "given"
    monkeypatch.setattr(options, "environ", {})
    assert parsed().api_key is None


def test_all_faults_by_default_but_those_that_the_cluster_is_too_small_for() -> None:
    assert command._checked(None, engines=3, gateways=2) == tuple(Fault)
    one_gateway = command._checked(None, engines=3, gateways=1)
    assert set(Fault) - set(one_gateway) == {Fault.REDEPLOY, Fault.KILL_GATEWAY}
    running = command._checked(None, engines=2, gateways=1, serve=False)
    assert running == ON_ENGINES


@pytest.mark.parametrize(
    ("fault", "engines", "gateways", "serve", "reason"),
    [
        (Fault.KILL_HOST, 1, 2, True, "needs 2 engines"),
        (Fault.KILL_GATEWAY, 2, 1, True, "needs 2 gateways"),
        (Fault.REDEPLOY, 2, 1, True, "needs 2 gateways"),
        *((fault, 2, 2, False, "without --url") for fault in BY_SERVE),
    ],
)
def test_a_fault_that_cannot_be_done_is_refused(
    fault: Fault, engines: int, gateways: int, serve: bool, reason: str
) -> None:
    with pytest.raises(WrongInputError, match=f"--faults {fault}: .*{reason}"):
        command._checked((fault,), engines, gateways, serve=serve)


def test_the_model_that_is_asked_comes_first_in_the_size_that_is_asked_for() -> None:
    args = parsed("--model", "b", "--engines", "4", "--gateways", "2")
    sized = command._sized(SPEC, args)
    assert sized["models"] == [{"name": "b", "replicas": 4}, {"name": "a", "replicas": 2}]
    assert sized["gateway"] == {"replicas": 2}
    with pytest.raises(WrongInputError, match="--model c: the spec has a, b"):
        command._sized(SPEC, parsed("--model", "c"))


def test_a_url_where_no_engine_is_ready_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(FakeServer(saying())) as endpoint:
        url = f"http://{endpoint.host}:{endpoint.port}"
        assert command.run(parsed("--url", url)) == command.FAILED
    assert "no engine of 'fake' is ready" in capsys.readouterr().err


def test_a_url_where_nobody_listens_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(parsed("--url", "http://127.0.0.1:1")) == command.FAILED
    assert "nobody lists models at 127.0.0.1:1" in capsys.readouterr().err


def test_a_wrong_spec_is_refused_before_anything_starts(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert command.run(parsed("--spec", "nowhere.yaml")) == WRONG_INPUT
    assert "no file 'nowhere.yaml'" in capfd.readouterr().err


def test_it_imports_nothing_of_its_subject() -> None:
    code = "import sys; from loadtest.chaos import command; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.decode().split()}
    assert "loadtest" in loaded
    assert not loaded & {"serve_app", "cluster", "ray", "vllm"}

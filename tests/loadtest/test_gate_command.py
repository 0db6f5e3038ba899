"""The gate: its exit status for every case, and the files that CI systems read."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from loadtest import gate_command, run_records
from loadtest.exit_status import BREACH, INVALID, PASS, USAGE
from tests.loadtest.commands import status_of
from tests.loadtest.made_up_run import made_up_run

MET, BROKEN = "ttft_p99=5s,tpot_p99=1s", "ttft_p99=5s,tpot_p99=1ms"


@pytest.fixture(scope="module")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_run(tmp_path_factory.mktemp("good"), requests=200, failed_frac=0.03)


@pytest.fixture(scope="module")
def disturbed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_run(tmp_path_factory.mktemp("disturbed"), requests=200, kills_at_s=(3.0, 12.0))


@pytest.mark.parametrize(
    ("slo", "status"),
    [
        pytest.param(MET, PASS, id="every clause is met"),
        pytest.param(BROKEN, BREACH, id="one clause is not"),
        pytest.param("error_rate=0.1%", BREACH, id="too many errors"),
        pytest.param("llama-2-70b", PASS, id="a preset"),
        pytest.param("ttft_p99.9=5s", INVALID, id="too few samples for the percentile"),
        pytest.param("ttft_p99=20ms", INVALID, id="the client is too late for so strict a bound"),
        pytest.param("ttft_p99=fast", USAGE, id="not an SLO"),
        pytest.param("no-such-preset", USAGE, id="no such preset"),
        pytest.param("missing.yaml", USAGE, id="no such file"),
    ],
)
def test_exit_status(good_run: Path, slo: str, status: int) -> None:
    assert status_of(gate_command, good_run, "--slo", slo) == status


def test_a_late_client_makes_the_run_invalid(tmp_path: Path) -> None:
    run = made_up_run(tmp_path, requests=200, lag_s=0.2)
    assert status_of(gate_command, run, "--slo", "ttft_p99=1s") == INVALID


def test_the_scenario_has_an_slo_of_its_own(tmp_path: Path, good_run: Path) -> None:
    assert status_of(gate_command, good_run) == PASS
    without = made_up_run(tmp_path, requests=200, slo="")
    assert status_of(gate_command, without) == USAGE


def test_the_slo_may_be_a_file(tmp_path: Path, good_run: Path) -> None:
    slo = tmp_path / "slo.yaml"
    slo.write_text("preset: llama-2-70b\ntpot_p99_ms: 1\n")
    assert status_of(gate_command, good_run, "--slo", slo) == BREACH


def test_no_run_is_wrong_usage_and_an_empty_one_invalid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(gate_command, tmp_path / "none", "--slo", MET) == USAGE
    assert "no such folder" in capsys.readouterr().err
    run = made_up_run(tmp_path, requests=5)
    (run / run_records.REQUESTS).write_text("")
    assert status_of(gate_command, run, "--slo", MET) == INVALID
    assert "no measured request" in capsys.readouterr().err


def test_a_wrong_command_line_is_told_from_an_invalid_run(good_run: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        status_of(gate_command, good_run, "--no-such-option")
    assert ended.value.code == USAGE


def junit_of(tmp_path: Path, run: Path, slo: str) -> ET.Element:
    file = tmp_path / "junit.xml"
    status_of(gate_command, run, "--slo", slo, "--junit", file)
    suite = ET.parse(file).getroot().find("testsuite")
    assert suite is not None
    return suite


def test_junit_has_a_case_for_each_clause(tmp_path: Path, good_run: Path) -> None:
    suite = junit_of(tmp_path, good_run, BROKEN)
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "0")
    failed = {case.get("name"): case.find("failure") is not None for case in suite}
    assert failed == {
        "the run is valid": False,
        "TTFT p99 ≤ 5,000 ms": False,
        "TPOT p99 ≤ 1 ms": True,
    }


def test_junit_of_an_invalid_run_skips_the_clauses(tmp_path: Path, good_run: Path) -> None:
    suite = junit_of(tmp_path, good_run, "ttft_p99.9=1ms")
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("0", "1", "1")
    assert [[part.tag for part in case] for case in suite] == [["error"], ["skipped"]]


def test_the_markdown_says_what_was_measured(
    tmp_path: Path, good_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gate.md"
    status_of(gate_command, good_run, "--slo", BROKEN, "--markdown", file)
    text = file.read_text(encoding="utf-8")
    assert capsys.readouterr().out == text
    assert text.startswith("**chat: breach**\n\n- TPOT p99 ≤ 1 ms: measured ")
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == ["clause", "measured", "n", "verdict"]
    assert [line[0] for line in lines[2:]] == ["TTFT p99 ≤ 5,000 ms", "TPOT p99 ≤ 1 ms"]
    assert [line[3] for line in lines[2:]] == ["met", "breach"]


def test_what_was_done_to_the_server_is_in_the_markdown(
    good_run: Path, disturbed_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status_of(gate_command, disturbed_run, "--slo", MET)
    text = capsys.readouterr().out
    assert text.startswith("**chat: pass**\n\nWith 2 faults: 2 kill-host.\n\n| clause |")
    status_of(gate_command, good_run, "--slo", MET)
    assert "fault" not in capsys.readouterr().out


def test_junit_tells_the_faults_and_when_each_was_done(
    tmp_path: Path, good_run: Path, disturbed_run: Path
) -> None:
    suite = junit_of(tmp_path, disturbed_run, MET)
    found = {part.get("name"): part.get("value") for part in suite.iter("property")}
    assert found == {"faults": "2 faults: 2 kill-host"}
    lines = (suite.findtext("system-out") or "").splitlines()
    assert lines == [f"{at} s: kill-host: host 7 of engine a" for at in ("3.0", "12.0")]
    assert [part.tag for part in suite] == ["properties", *["testcase"] * 3, "system-out"]
    assert {part.tag for part in junit_of(tmp_path, good_run, MET)} == {"testcase"}

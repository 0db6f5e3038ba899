"""A run rendered again from its records."""

import json
from pathlib import Path

import pytest

from loadtest import report_command, run_records
from loadtest.exit_status import PASS, USAGE
from tests.loadtest.commands import status_of
from tests.loadtest.made_up_run import made_up_run


def test_a_run_is_rendered_against_another_slo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_up_run(tmp_path, requests=200)
    assert status_of(report_command, run) == PASS
    before = json.loads((run / run_records.SUMMARY).read_text())
    assert status_of(report_command, run, "--slo", "tpot_p99=1ms") == PASS
    after = json.loads((run / run_records.SUMMARY).read_text())
    assert (before["verdict"], after["verdict"]) == ("pass", "breach")
    assert before["latency"] == after["latency"]
    assert f"{run / run_records.REPORT}\n" in capsys.readouterr().out


@pytest.mark.parametrize("slo", ["", "tpot_p99=soon"])
def test_what_cannot_be_rendered_is_wrong_usage(tmp_path: Path, slo: str) -> None:
    run = made_up_run(tmp_path, requests=5) if slo else tmp_path
    assert status_of(report_command, run, *(["--slo", slo] if slo else [])) == USAGE

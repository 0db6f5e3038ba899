"""The faults of a scenario: what may be asked for, and what a run without its faults is worth."""

from pathlib import Path
from typing import Any

import pytest

from loadtest.chaos.plan import BY_SERVE, BY_SIGNAL, Fault
from loadtest.judgement import why_invalid
from loadtest.number_text import faults
from loadtest.run_folder import Mark, RunFolder
from loadtest.scenario import ScenarioError, load_scenario
from loadtest.scenario_layers import settings
from loadtest.settings import differences


def asked(value: Any) -> dict[str, str]:
    """Key path to message of what is wrong with it."""
    with pytest.raises(ScenarioError) as caught:
        load_scenario("smoke", "cpu", {"faults": value})
    return {path.removeprefix("--set "): said for path, said in caught.value.violations}


def test_every_fault_is_done_by_signals_or_by_serve() -> None:
    assert {*BY_SIGNAL, *BY_SERVE} == set(Fault)
    assert not {*BY_SIGNAL} & {*BY_SERVE}


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_the_chaos_scenario_has_faults_that_no_request_may_fail_for(variant: str) -> None:
    found = load_scenario("chaos", variant)
    assert found.faults is not None
    assert set(found.faults.kinds or ()) == {*BY_SIGNAL} - {Fault.KILL_GATEWAY}
    assert found.slo.error_rate == 0
    assert load_scenario("chaos", variant, settings(["faults=null"])).faults is None


def test_without_names_all_are_asked_for() -> None:
    found = load_scenario("smoke", "cpu", {"faults": {}}).faults
    assert found is not None
    assert (found.kinds, found.every_s) == (None, 10.0)


def test_what_is_deployed_is_no_fault_of_a_load() -> None:
    found = asked({"kinds": ["kill-host", "drain"], "every_s": 0})
    assert found.keys() == {"faults.kinds[1]", "faults.every_s"}
    assert found["faults.kinds[1]"].startswith("'drain' is not one of kill-host, ")
    assert "names no fault" in asked({"kinds": []})["faults.kinds"]


def folder(asked: Any, *marks: Mark) -> RunFolder:
    config = {"scenario": {"name": "chaos", "faults": asked}}
    return RunFolder(path=Path("run"), config=config, environment={}, records=[], marks=[*marks])


def test_a_run_without_the_faults_of_its_scenario_is_invalid() -> None:
    kinds = [reason.kind for reason in why_invalid(folder({"every_s": 10.0}), None)]
    assert "no faults" in kinds
    for fine in (folder({"every_s": 10.0}, Mark(1.0, "kill-host", "host 7")), folder(None)):
        assert "no faults" not in [reason.kind for reason in why_invalid(fine, None)]


def test_faults_are_counted_in_words() -> None:
    assert faults({"kill-host": 2, "pause-core": 1}) == "3 faults: 2 kill-host, 1 pause-core"
    assert faults({"kill-host": 1}) == "1 fault: 1 kill-host"


def test_a_setting_of_which_an_older_run_knew_nothing_is_no_difference() -> None:
    assert differences({"seed": 1}, {"seed": 1, "faults": None}) == []
    assert differences({"seed": 1}, {"faults": {"every_s": 2}}) == [
        "seed: 1 in A, not set in B",
        "faults.every_s: not set in A, 2 in B",
    ]

"""A recorded load asked again: instants, lengths, and what prompts share."""

from pathlib import Path
from typing import Any

import pytest

from loadtest.scenario import Scenario, ScenarioError, load_scenario
from loadtest.sessions import Session
from loadtest.workloads import build_sessions
from tests.loadtest.demo_target import demo_target, first_prompt, token_ids
from tests.loadtest.trace_files import LINES, azure_file, mooncake_file

ROOMY = 32768
BLOCK = 512


def scenario_of(path: Path | None, **workload: Any) -> Scenario:
    asked = {"path": path and str(path), **workload}
    return load_scenario("trace", "cpu", {"workload": asked})


def shared_tokens(a: Session, b: Session) -> int:
    """How many tokens two prompts have in common at their beginning."""
    pairs = zip(token_ids(first_prompt(a)), token_ids(first_prompt(b)), strict=False)
    return next((place for place, (x, y) in enumerate(pairs) if x != y), -1)


@pytest.mark.parametrize("chat", [True, False])
def test_lengths_are_the_traces_where_they_fit(tmp_path: Path, chat: bool) -> None:
    scenario = scenario_of(mooncake_file(tmp_path), tick_s=0.0, chat=chat)
    sessions = build_sessions(scenario, demo_target(ROOMY))
    assert [session.at_s for session in sessions] == [line[0] / 1000 for line in LINES]
    assert [len(token_ids(first_prompt(s))) for s in sessions] == [line[1] for line in LINES]
    assert [session.turns[0].max_tokens for session in sessions] == [line[2] for line in LINES]


@pytest.mark.parametrize("chat", [True, False])
def test_equal_blocks_give_equal_prefixes(tmp_path: Path, chat: bool) -> None:
    scenario = scenario_of(mooncake_file(tmp_path), tick_s=0.0, chat=chat)
    first, other, later, _, again, _ = build_sessions(scenario, demo_target(ROOMY))
    around = demo_target().counting()[1].chat_tokens if chat else 0
    for blocks, tokens in ((13, shared_tokens(first, later)), (2, shared_tokens(other, again))):
        assert blocks * BLOCK - around <= tokens < blocks * BLOCK + 3
    assert shared_tokens(first, other) < around + 3


def test_lengths_are_scaled_to_the_model_and_shared_parts_with_them(tmp_path: Path) -> None:
    sessions = build_sessions(scenario_of(mooncake_file(tmp_path), tick_s=0.0), demo_target(1024))
    prompts = [len(token_ids(first_prompt(session))) for session in sessions]
    totals = [p + s.turns[0].max_tokens for p, s in zip(prompts, sessions, strict=True)]
    assert 1020 <= max(totals) <= 1024
    scale = 1023 / (7000 + 490)
    ratios = [p / line[1] for p, line in zip(prompts, LINES, strict=True) if line[1] * scale > 50]
    assert ratios == pytest.approx([scale] * len(ratios), rel=0.01)
    assert shared_tokens(sessions[0], sessions[2]) == pytest.approx(13 * BLOCK * scale, abs=10)


def test_requests_of_one_tick_are_spread_over_it(tmp_path: Path) -> None:
    scenario = scenario_of(mooncake_file(tmp_path))
    starts = [s.at_s or 0.0 for s in build_sessions(scenario, demo_target())]
    assert len(set(starts)) == len(LINES)
    assert [int(at // 3) for at in starts] == [line[0] // 3000 for line in LINES]


def test_a_trace_is_asked_faster_and_only_as_long_as_the_load(tmp_path: Path) -> None:
    path = mooncake_file(tmp_path)
    fast = build_sessions(scenario_of(path, tick_s=0.0, speed_up=3.0), demo_target())
    assert [session.at_s for session in fast] == [line[0] / 3000 for line in LINES]
    short = load_scenario(
        "trace", "cpu", {"duration_s": 6.0, "workload": {"path": str(path), "tick_s": 0.0}}
    )
    assert len(build_sessions(short, demo_target())) == 3


def test_arrivals_replace_the_traces_instants(tmp_path: Path) -> None:
    path = mooncake_file(tmp_path)
    changes = {
        "arrivals": {"kind": "constant", "rate_per_s": 1},
        "duration_s": 6.0,
        "workload": {"path": str(path)},
    }
    sessions = build_sessions(load_scenario("trace", "cpu", changes), demo_target(ROOMY))
    assert [session.at_s for session in sessions] == [0, 1, 2, 3, 4, 5]
    assert [session.turns[0].max_tokens for session in sessions][3:] == [1, 80, 900]


def test_a_trace_without_blocks_shares_nothing(tmp_path: Path) -> None:
    scenario = scenario_of(azure_file(tmp_path), format="azure", chat=False)
    sessions = build_sessions(scenario, demo_target())
    assert [session.at_s for session in sessions] == pytest.approx([0, 4.314579, 4.541977])
    assert [session.turns[0].prompt_tokens for session in sessions] == [374, 396, 879]
    assert all(shared_tokens(sessions[0], other) < 6 for other in sessions[1:])


def test_what_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    path = mooncake_file(tmp_path)
    many = {
        "arrivals": {"kind": "constant", "rate_per_s": 1},
        "workload": {"path": str(path)},
    }
    for scenario, message in [
        (scenario_of(None), "trace: workload.path: no trace is given; --set workload.path=FILE"),
        (scenario_of(tmp_path / "x"), "workload.path: cannot read the trace: .*No such file"),
        (scenario_of(path, format="azure"), "cannot read the trace: .*:1: no column"),
        (scenario_of(path, scale=0.5), "workload.scale: a prompt of .* is longer than the 2048"),
        (load_scenario("trace", "cpu", many), "workload.path: .* has 6 requests, not 120"),
    ]:
        with pytest.raises(ScenarioError, match=message):
            build_sessions(scenario, demo_target())

"""Every scenario of the package, in both sizes: it loads, and its sessions are what they say."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from loadtest.scenario import Scenario, known_scenarios, load_scenario
from loadtest.sessions import Session
from loadtest.target import Target
from loadtest.workloads import build_sessions
from tests.loadtest.demo_target import MAX_MODEL_LEN, demo_target, first_prompt, token_ids
from tests.loadtest.trace_files import mooncake_file

GPU_MODEL_LEN = 32768
TASKS = ("qa", "translate")
EVENLY, CLOSED = "smoke", ("saturated", "steps")
EVERY = [(name, variant) for name in known_scenarios() for variant in ("cpu", "gpu")]


def target_of(variant: str) -> Target:
    return demo_target(MAX_MODEL_LEN if variant == "cpu" else GPU_MODEL_LEN)


@cache
def shortened(name: str, variant: str, **changes: Any) -> Scenario:
    """Its first seconds: the size of the whole is not the point."""
    whole = load_scenario(name, variant)
    less: dict[str, Any] = {"duration_s": min(whole.duration_s, 12.0), "warm_up_s": 0.0}
    if whole.mode == "closed":
        less["sessions"] = 60
    if whole.stages:
        less["stages"] = [whole.stages[0].model_dump()]
    return load_scenario(name, variant, less | changes)


@cache
def sessions_of(name: str, variant: str, folder: Path, seed: int = 0) -> list[Session]:
    scenario = shortened(name, variant, seed=seed)
    if name == "trace":
        workload = scenario.workload.model_copy(update={"path": str(mooncake_file(folder))})
        scenario = scenario.model_copy(update={"workload": workload})
    return build_sessions(scenario, target_of(variant))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces")


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_first_prompts_have_exactly_their_tokens(name: str, variant: str, folder: Path) -> None:
    sessions = sessions_of(name, variant, folder)
    planned = [session.turns[0].prompt_tokens for session in sessions]
    counted = [len(token_ids(first_prompt(session))) for session in sessions]
    known = [(p, c) for p, c in zip(planned, counted, strict=True) if p is not None]
    assert all(plan == count for plan, count in known)
    checked = [session for session in sessions if session.turns[0].expected is not None]
    assert len(known) + len(checked) == len(sessions)


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_sessions_start_in_order_within_the_load(name: str, variant: str, folder: Path) -> None:
    scenario, sessions = shortened(name, variant), sessions_of(name, variant, folder)
    assert len(sessions) >= 5
    assert [session.index for session in sessions] == list(range(len(sessions)))
    starts = [session.at_s for session in sessions if session.at_s is not None]
    assert len(starts) == (len(sessions) if scenario.mode == "open" else 0)
    assert starts == sorted(starts)
    assert all(0 <= at_s < scenario.duration_s for at_s in starts)
    assert {s.tenant for s in sessions} <= {t.name for t in scenario.tenants} | {None}
    assert bool(scenario.tenants) == all(session.tenant for session in sessions)


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_every_turn_fits_into_the_context(name: str, variant: str, folder: Path) -> None:
    limit = target_of(variant).max_model_len or 0
    for session in sessions_of(name, variant, folder):
        said = sum(len(token_ids(t.user)) + t.max_tokens for t in session.turns)
        assert said + len(token_ids(session.system or "")) < limit
        assert all(t.min_tokens in (None, t.max_tokens) for t in session.turns)


@pytest.mark.parametrize("name", known_scenarios())
def test_the_same_seed_is_the_same_load_and_another_is_another(name: str, folder: Path) -> None:
    sessions = sessions_of(name, "cpu", folder)
    sessions_of.cache_clear()
    assert sessions_of(name, "cpu", folder) == sessions
    other = sessions_of(name, "cpu", folder, seed=1)
    same_starts = [s.at_s for s in other] == [s.at_s for s in sessions]
    assert same_starts == (name in (EVENLY, *CLOSED))
    prompts = [[turn.user for turn in session.turns] for session in sessions]
    assert [[turn.user for turn in session.turns] for session in other] != prompts


@pytest.mark.parametrize("name", [n for n in known_scenarios() if n not in (*TASKS, "rag_long")])
def test_prompts_that_share_nothing_differ_from_their_first_words(name: str, folder: Path) -> None:
    sessions = [
        session
        for session in sessions_of(name, "cpu", folder)
        if session.kind in ("chat", "completion", "conversation")
    ]
    messages = [turn.user for session in sessions for turn in session.turns]
    assert len({tuple(text.split()[:6]) for text in messages}) == len(messages)


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_the_stages_of_steps_rise_and_fill_the_load(variant: str) -> None:
    scenario = load_scenario("steps", variant)
    assert scenario.stages is not None
    users = [stage.users for stage in scenario.stages]
    assert users == sorted(set(users))
    assert users[0] == 1
    assert sum(stage.duration_s for stage in scenario.stages) == scenario.duration_s
    named = scenario.description.partition(" users")[0].replace(" and ", ", ").split(", ")
    assert list(map(int, named)) == users

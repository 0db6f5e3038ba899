"""How answers of many engines become one, and what an engine that joins late must be told."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.lora.request import LoRARequest

from serve_app.utilities import Journal, Scope, rule_of

LORA_7 = ["seven", 7, "/path"]


@pytest.mark.parametrize(
    ("method", "answers", "one"),
    [
        pytest.param("add_lora", [True, True], True, id="added everywhere"),
        pytest.param("add_lora", [True, False], False, id="not added somewhere"),
        pytest.param("remove_lora", [False, True], True, id="removed where it was"),
        pytest.param("remove_lora", [False, False], False, id="it was nowhere"),
        pytest.param("list_loras", [[3, 1], [1, 2, 3]], [1, 3], id="adapters that all have"),
        pytest.param("list_loras", [[]], [], id="no adapter"),
        pytest.param("is_sleeping", [True, False], False, id="one is awake"),
        pytest.param("wake_up", [True, False], False, id="one is not fully awake"),
        pytest.param("is_scheduler_paused", [True, True], True, id="all are paused"),
        pytest.param("reset_prefix_cache", [True, False], False, id="one could not reset"),
        pytest.param("collective_rpc", [[1, 2], [3]], [1, 2, 3], id="every worker's answer"),
        pytest.param("get_supported_tasks", [["generate"]], ["generate"], id="one was asked"),
        pytest.param("sleep", [None, None], None, id="nothing to say"),
        pytest.param("a_method_of_tomorrow", ["x", "y"], "x", id="the first, where unknown"),
    ],
)
def test_answers_become_one(method, answers, one):
    assert rule_of(method).reduce(answers) == one


@pytest.mark.parametrize("method", ["get_supported_tasks", "get_weight_version"])
def test_any_engine_can_answer_what_all_would_say(method):
    assert rule_of(method).scope is Scope.ANY


@pytest.mark.parametrize(
    "method", ["add_lora", "sleep", "reset_prefix_cache", "profile", "a_method_of_tomorrow"]
)
def test_what_may_change_an_engine_goes_to_all(method):
    assert rule_of(method).scope is Scope.ALL


def told(*calls) -> list[tuple[str, list]]:
    """What a joining engine is told after these calls, given as (method, *args)."""
    journal = Journal()
    for method, *args in calls:
        journal.record(method, args)
    return list(journal)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        pytest.param([("is_sleeping",), ("reset_prefix_cache", True)], [], id="no lasting state"),
        pytest.param(
            [("add_lora", LORA_7), ("add_lora", ["one", 1, "/one"])],
            [("add_lora", [LORA_7]), ("add_lora", [["one", 1, "/one"]])],
            id="adapters in the order they came",
        ),
        pytest.param([("add_lora", LORA_7), ("remove_lora", 7)], [], id="added and removed"),
        pytest.param(
            [("add_lora", LORA_7), ("remove_lora", 1)],
            [("add_lora", [LORA_7])],
            id="another one removed",
        ),
        pytest.param(
            [("add_lora", LORA_7), ("pin_lora", 7), ("remove_lora", 7)],
            [],
            id="removing an adapter unpins it",
        ),
        pytest.param(
            [("add_lora", LORA_7), ("pin_lora", 7), ("add_lora", ["seven", 7, "/new"])],
            [("add_lora", [["seven", 7, "/new"]]), ("pin_lora", [7])],
            id="an adapter loaded again is still pinned after it",
        ),
        pytest.param([("sleep", 1), ("sleep", 2)], [("sleep", [2])], id="only the last sleep"),
        pytest.param([("sleep", 1), ("wake_up",)], [], id="slept and woken"),
        pytest.param(
            [("pause_scheduler", "keep"), ("resume_scheduler",)], [], id="paused and resumed"
        ),
        pytest.param(
            [("pause_scheduler", "keep"), ("wake_up",)], [], id="a full wake-up resumes as well"
        ),
        pytest.param(
            [("sleep", 1), ("resume_scheduler",)], [("sleep", [1])], id="resuming wakes nobody"
        ),
        pytest.param(
            [("set_weight_version", "1"), ("set_weight_version", "2")],
            [("set_weight_version", ["2"])],
            id="the last version of the weights",
        ),
    ],
)
def test_the_journal_holds_what_still_matters(calls, expected):
    assert told(*calls) == expected


@pytest.mark.parametrize(
    ("calls", "holds"),
    [
        ([], False),
        ([("add_lora", LORA_7)], False),
        ([("sleep", 1)], True),
        ([("pause_scheduler", "abort")], True),
        ([("sleep", 1), ("wake_up",)], False),
    ],
)
def test_whether_an_operator_stopped_the_engines(calls, holds):
    journal = Journal()
    for method, *args in calls:
        journal.record(method, args)
    assert journal.holds_requests is holds


def test_an_engine_woken_in_part_is_still_asleep():
    journal = Journal()
    journal.record("sleep", [1])
    journal.record("wake_up", [["weights"]], False)
    assert list(journal) == [("sleep", [1]), ("wake_up", [["weights"]])]
    assert journal.holds_requests

    again = Journal(dict(journal.calls))
    again.record("sleep", [2])
    assert list(again) == [("sleep", [2])]

    journal.record("wake_up", [["kv_cache"]], True)
    assert list(journal) == []


def test_an_adapter_is_known_by_the_id_that_vllm_sends():
    wire_form = msgspec.msgpack.decode(
        msgspec.msgpack.encode(LoRARequest(lora_name="seven", lora_int_id=7, lora_path="/path"))
    )
    assert told(("add_lora", wire_form), ("remove_lora", 7)) == []


def test_reading_the_journal_while_it_changes_is_safe():
    journal = Journal()
    journal.record("add_lora", [LORA_7])
    for _ in journal:
        journal.record("add_lora", [["one", 1, "/one"]])
    assert len(list(journal)) == 2


adapters = st.integers(1, 3)
lora_calls = st.lists(
    st.tuples(st.sampled_from(["add_lora", "remove_lora", "pin_lora"]), adapters), max_size=20
)


def apply(state: dict[int, bool], method: str, adapter: int) -> None:
    """An engine's adapters: id -> pinned. As in vLLM one cannot pin what is not there."""
    if method == "add_lora":
        state.setdefault(adapter, False)
    elif method == "remove_lora":
        state.pop(adapter, None)
    elif adapter in state:
        state[adapter] = True


@settings(deadline=None)
@given(lora_calls)
def test_a_late_engine_ends_in_the_state_of_one_that_saw_everything(calls):
    journal, veteran = Journal(), {}
    for method, adapter in calls:
        if method == "pin_lora" and adapter not in veteran:
            continue  # refused by the engine, so not recorded
        apply(veteran, method, adapter)
        journal.record(method, [[f"a{adapter}", adapter] if method == "add_lora" else adapter])
    late: dict[int, bool] = {}
    for method, (argument,) in journal:
        apply(late, method, argument[1] if method == "add_lora" else argument)
    assert late == veteran

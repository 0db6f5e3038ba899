"""Utility calls in progress, while engines come and go: answered exactly once each."""

from __future__ import annotations

import pytest

from cluster.types import ReplicaId
from serve_app.wire import Result
from tests.serve_app.asked_engines import engines

A, B, C = ReplicaId("a"), ReplicaId("b"), ReplicaId("c")
LORA = ["seven", 7, "/path"]


def test_one_engine_answers_what_any_would():
    fleet = engines(A, B)
    fleet.call(1, "get_supported_tasks")
    assert len(fleet.asked) == 1
    fleet.reply(fleet.asked[0][0], ["generate"])
    assert fleet.answers == [Result(1, None, ["generate"])]


def test_all_are_asked_and_the_last_answer_completes_it():
    fleet = engines(A, B)
    fleet.call(1, "list_loras")
    fleet.reply(A, [1, 2])
    assert fleet.answers == []
    fleet.reply(B, [2, 3])
    assert fleet.answers == [Result(1, None, [2])]


def test_calls_in_progress_at_once_keep_their_own_answers():
    fleet = engines(A)
    fleet.call(5, "list_loras")
    fleet.call(6, "is_sleeping")
    first, second = fleet.open[A]
    fleet.calls.result(A, Result(second.call_id, None, False))
    fleet.calls.result(A, Result(first.call_id, None, [7]))
    assert fleet.answers == [Result(6, None, False), Result(5, None, [7])]


def test_an_engine_s_failure_is_the_answer_in_its_words():
    fleet = engines(A, B)
    fleet.call(1, "add_lora", LORA)
    fleet.reply(A, failure="rank 64 is above the limit of 16")
    fleet.reply(B, True)
    assert fleet.answers == [Result(1, "rank 64 is above the limit of 16", None)]
    assert list(fleet.calls.journal) == []  # what failed is not told to others


@pytest.mark.parametrize(
    ("method", "answers"),
    [
        pytest.param("list_loras", ([7], None), id="no list"),
        pytest.param("list_loras", ([7, "x"], ["x", 7]), id="no order"),
        pytest.param("collective_rpc", ([1], 5), id="no list of workers"),
    ],
)
def test_answers_that_do_not_combine_are_a_failure_that_says_so(method, answers):
    fleet = engines(A, B)
    fleet.call(1, method)
    for engine, value in zip((A, B), answers, strict=True):
        fleet.reply(engine, value)
    (answer,) = fleet.answers
    assert answer.failure.startswith(f"the engines' answers to {method} do not combine: ")


def test_a_call_that_only_a_lost_engine_had_goes_to_another():
    fleet = engines(A, B)
    fleet.call(1, "get_supported_tasks")
    asked = fleet.asked[0][0]
    fleet.lose(asked)
    (left,) = fleet.ready
    fleet.reply(left, ["generate"])
    assert fleet.answers == [Result(1, None, ["generate"])]


def test_a_call_to_all_goes_on_without_a_lost_engine_that_had_not_answered():
    fleet = engines(A, B)
    fleet.call(1, "list_loras")
    fleet.reply(A, [1, 2])
    fleet.lose(B)
    assert fleet.answers == [Result(1, None, [1, 2])]


def test_a_call_to_all_keeps_the_answer_of_an_engine_lost_later():
    fleet = engines(A, B)
    fleet.call(1, "add_lora", LORA)
    fleet.reply(A, failure="no memory")
    fleet.lose(A)
    fleet.reply(B, True)
    assert fleet.answers == [Result(1, "no memory", None)]


def test_a_call_that_failed_where_it_was_answered_is_not_tried_again():
    fleet = engines(A, B)
    fleet.call(1, "add_lora", LORA)
    fleet.reply(A, failure="no memory")
    fleet.lose(B)
    assert fleet.answers == [Result(1, "no memory", None)]


def test_a_call_whose_engines_are_all_lost_waits_for_the_next():
    fleet = engines(A, B)
    fleet.call(1, "add_lora", LORA)
    fleet.lose(A)
    fleet.lose(B)
    assert fleet.answers == []
    fleet.join(C)
    fleet.reply(C, True)
    assert fleet.answers == [Result(1, None, True)]


def test_late_and_unknown_answers_are_ignored():
    fleet = engines(A, B)
    fleet.call(1, "list_loras")
    late = fleet.open[B][0]
    fleet.lose(B)
    fleet.calls.result(B, Result(late.call_id, None, []))
    fleet.calls.result(A, Result(99, None, []))
    fleet.reply(A, [7])
    assert fleet.answers == [Result(1, None, [7])]


def test_an_engine_that_answers_twice_counts_once():
    fleet = engines(A, B)
    fleet.call(1, "list_loras")
    call = fleet.open[A][0]
    fleet.reply(A, [1, 7])
    fleet.calls.result(A, Result(call.call_id, None, [2]))
    fleet.reply(B, [7])
    assert fleet.answers == [Result(1, None, [7])]


def test_without_an_engine_calls_are_held_until_one_joins():
    fleet = engines()
    fleet.call(1, "get_supported_tasks")
    fleet.call(2, "list_loras")
    assert fleet.asked == []
    fleet.join(A)
    assert fleet.asked == [(A, "get_supported_tasks"), (A, "list_loras")]


def test_a_held_call_fails_at_the_limit_and_says_so():
    fleet = engines()
    fleet.call(1, "get_supported_tasks", now_s=10.0)
    fleet.call(2, "get_supported_tasks", now_s=20.0)
    fleet.calls.tick(39.9)
    assert fleet.answers == []
    fleet.calls.tick(40.0)
    assert fleet.answers == [Result(1, "no engine became available within 30 s", None)]
    fleet.join(A)
    assert len(fleet.asked) == 1  # the one that still waits


def test_a_call_that_engines_are_working_on_has_no_limit():
    fleet = engines(A)
    fleet.call(1, "collective_rpc", now_s=0.0)
    fleet.calls.tick(1000.0)
    assert fleet.answers == []


def test_a_new_engine_is_told_what_the_others_were_before_it_gets_anything_else():
    fleet = engines(A)
    fleet.call(1, "add_lora", LORA)
    fleet.reply(A, True)
    fleet.lose(A)
    fleet.call(2, "list_loras")
    fleet.join(B)
    assert fleet.asked[1:] == [(B, "add_lora"), (B, "list_loras")]
    fleet.reply(B, True)  # of the journal: nobody waits for it
    fleet.reply(B, [7])
    assert fleet.answers == [Result(1, None, True), Result(2, None, [7])]


def test_an_engine_that_joins_while_the_others_change_changes_with_them():
    fleet = engines(A)
    fleet.call(1, "add_lora", LORA)
    fleet.call(2, "get_supported_tasks")
    fleet.join(B)
    assert fleet.asked[2:] == [(B, "add_lora")]
    fleet.reply(A, True)
    assert fleet.answers == []
    fleet.reply(B, True)
    assert fleet.answers == [Result(1, None, True)]

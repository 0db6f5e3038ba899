"""What a policy reads from Serve's context: the newest word of those that are still heard."""

from __future__ import annotations

from serve_app.scaling_context import SILENT_S, Newest
from serve_app.scaling_stats import PREFIX
from tests.serve_app.scaling_contexts import context

A, B = PREFIX + "a", PREFIX + "b"


def test_the_newest_value_counts_and_not_an_older_one():
    seen = Newest().of(context(1, {"one": {A: 7.0}}, older={"one": {A: 3.0}}), 0.0)
    assert seen == {"one": {A: 7.0}}


def test_what_a_replica_has_stopped_saying_is_not_said_for_it():
    seen = Newest().of(context(1, {"one": {A: 7.0}}, older={"one": {A: 3.0, B: 4.0}}), 0.0)
    assert seen == {"one": {A: 7.0}}


def test_what_serve_measures_itself_is_left_to_it():
    assert Newest().of(context(1, {"one": {"running_requests": 5.0}}), 0.0) == {"one": {}}


def test_a_new_replica_has_said_nothing_yet():
    assert Newest().of(context(1, {"new": {}}), 0.0) == {"new": {}}


def test_a_replica_that_falls_silent_is_left_out_until_it_speaks_again():
    newest = Newest()
    old = context(2, {"hung": {A: 1.0}, "new": {}}, at_s=1000.0)
    assert newest.of(old, 0.0) == {"hung": {A: 1.0}, "new": {}}
    assert newest.of(old, SILENT_S) == {"hung": {A: 1.0}, "new": {}}
    assert newest.of(old, SILENT_S + 0.1) == {"new": {}}
    again = context(2, {"hung": {A: 2.0}, "new": {}}, at_s=1001.0)
    assert newest.of(again, SILENT_S + 0.2) == {"hung": {A: 2.0}, "new": {}}


def test_another_clock_at_the_replica_makes_it_neither_silent_nor_heard():
    newest = Newest()
    for now_s in (0.0, SILENT_S, 2 * SILENT_S):
        behind = context(1, {"one": {A: 1.0}}, at_s=now_s - 1e6)
        assert newest.of(behind, now_s) == {"one": {A: 1.0}}


def test_what_a_replica_said_that_runs_no_more_is_not_heard():
    assert Newest().of(context(0, {}, older={"gone": {A: 1.0}}), 0.0) == {}

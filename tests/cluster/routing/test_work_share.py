"""Shares of the work given lately."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing.work_share import MEMORY_REQUESTS, WorkShare
from cluster.types import ReplicaId

A, B, C = ReplicaId("a"), ReplicaId("b"), ReplicaId("c")


def test_nobody_is_above_the_mean_before_there_is_work():
    assert WorkShare().shares([A, B]) == [1.0, 1.0]


def test_shares_are_multiples_of_the_mean():
    work = WorkShare()
    work.add(A, 3.0, [A, B])
    work.add(B, 1.0, [A, B])
    assert work.shares([B, A]) == pytest.approx([0.5, 1.5], rel=0.01)  # the later counts more


def test_a_new_one_counts_as_having_had_the_mean():
    work = WorkShare()
    work.add(A, 6.0, [A, B])
    assert work.shares([A, B, C]) == pytest.approx([2.0, 0.0, 1.0])
    work.add(C, 3.0, [A, B, C])
    assert work.shares([A, B, C]) == pytest.approx([1.5, 0.0, 1.5], rel=0.01)


def test_old_work_fades():
    work = WorkShare()
    work.add(A, 100.0, [A, B])
    for _ in range(10 * MEMORY_REQUESTS):
        work.add(A, 1.0, [A, B])
        work.add(B, 1.0, [A, B])
    assert work.shares([A, B]) == pytest.approx([1.0, 1.0], abs=0.02)


def test_shares_outlast_the_growth_of_the_unit():
    work = WorkShare()
    for _ in range(30 * MEMORY_REQUESTS):  # e^30 is beyond the largest unit
        work.add(A, 3.0, [A])
        work.add(A, 3.0, [A, B])
        work.add(B, 2.0, [A, B])
    assert work.shares([A, B]) == pytest.approx([1.5, 0.5], rel=0.02)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.floats(0.01, 100)), max_size=20))
def test_shares_add_up_to_the_number_of_replicas(given_work):
    work = WorkShare()
    for replica, amount in given_work:
        work.add(replica, amount, [A, B, C])
    shares = work.shares([A, B, C])
    assert sum(shares) == pytest.approx(3.0)
    assert min(shares) >= 0.0

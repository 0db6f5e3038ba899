"""The two classes: batch goes only where no interactive request waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.admission.class_queue import ClassQueue
from tests.cluster.admission.admission_cases import tenant

PEOPLE = [tenant("a"), tenant("b", weight=2.0)]
NIGHTLY = tenant("n", priority="batch")


@given(st.lists(st.sampled_from([*PEOPLE, NIGHTLY, None]), max_size=60))
def test_no_batch_request_goes_while_an_interactive_one_waits(steps: list[object]) -> None:
    queue, batch = ClassQueue(), set()
    for number, of in enumerate(steps):
        name = str(number)
        if of is not None:
            queue.add(name, of, 10)  # type: ignore[arg-type]
            batch |= {name} if of is NIGHTLY else set()
        elif len(queue):
            interactive = queue.waiting("interactive")
            head = queue.head()
            assert queue.pop() == head
            assert (head in batch) == (interactive == 0)


def test_batch_has_all_interactive_requests_ahead_of_it() -> None:
    queue = ClassQueue()
    queue.add("1", PEOPLE[0], 10)
    queue.add("2", NIGHTLY, 5)
    assert queue.cost_ahead(NIGHTLY) == 15
    assert queue.cost_ahead(PEOPLE[0]) == 10
    assert queue.cost_ahead(PEOPLE[1]) == pytest.approx(0)
    assert queue.waiting_cost("batch") == 5


def test_a_request_leaves_the_class_it_is_in() -> None:
    queue = ClassQueue()
    queue.add("1", NIGHTLY, 10)
    queue.add("2", PEOPLE[0], 10)
    assert queue.waiting_of(NIGHTLY) == 1
    queue.remove("1")
    assert "1" not in queue
    assert "2" in queue
    queue.correct("2", 20)
    assert queue.pop() == "2"
    queue.settle("2", 20)
    assert queue.head() is None

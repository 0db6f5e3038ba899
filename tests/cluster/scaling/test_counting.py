"""What gateways count between two looks: nothing twice, nothing lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.scaling.counting import REMEMBERED, Counting
from cluster.scaling.signals import GatewaySignals
from tests.cluster.scaling.scaled import gateway

LOOKS = [
    ("what is there at the first look is from before", [{"a": 9}], [0]),
    ("it counts what came since", [{"a": 9}, {"a": 12}, {"a": 12}], [0, 3, 0]),
    ("a new one counts from 0", [{"a": 9}, {"a": 9, "b": 5}], [0, 5]),
    ("one that began anew counts from 0", [{"a": 9}, {"a": 2}], [0, 2]),
    ("one that was missing goes on", [{"a": 9, "b": 5}, {"a": 9}, {"a": 9, "b": 6}], [0, 0, 1]),
    ("no gateway at first", [{}, {"a": 4}], [0, 4]),
]


@pytest.mark.parametrize(
    ("looks", "counted"), [case[1:] for case in LOOKS], ids=[case[0] for case in LOOKS]
)
def test_requests_between_looks(looks: list[dict[str, int]], counted: list[int]) -> None:
    counting = Counting()
    found = [
        counting.since_last([gateway(number, name) for name, number in look.items()])
        for look in looks
    ]
    assert [each.requests for each in found] == counted
    assert [each.output_tokens for each in found] == [200 * number for number in counted]


@settings(max_examples=50, deadline=None)
@given(
    steps=st.lists(
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=3), max_size=12
    )
)
def test_all_that_was_ever_counted_adds_up(steps: list[dict[str, int]]) -> None:
    """Whoever is missing from a look, as long as it is there in the last."""
    counting, totals = Counting(), dict.fromkeys("abc", 0)
    counting.since_last([GatewaySignals(id=name) for name in totals])
    seen = 0.0
    for step in [*steps, dict.fromkeys("abc", 1)]:
        for name, more in step.items():
            totals[name] += more
        seen += counting.since_last([gateway(totals[name], name) for name in step]).requests
    assert seen == sum(totals.values())


def test_what_is_remembered_has_a_bound() -> None:
    counting = Counting()
    for number in range(REMEMBERED + 1):
        counting.since_last([gateway(5, f"g{number}")])
    assert counting.since_last([gateway(5, f"g{REMEMBERED}")]).requests == 0
    assert counting.since_last([gateway(5, "g1")]).requests == 0
    assert counting.since_last([gateway(5, "g0")]).requests == 5

"""The correction for an SLO that is missed though it should be met."""

from __future__ import annotations

import pytest

from cluster.scaling.attainment import FADES_STARTS, MOST, Attainment
from cluster.scaling.counting import Counted
from cluster.scaling.limits import Slo


def counted(requests: int, missed: int) -> Counted:
    return Counted(ttft_total=requests, ttft_good=requests - missed)


CASES = [
    ("none missed", 1000, 0, True, False),
    ("as many as allowed", 1000, 10, True, False),
    ("more, but by chance", 1000, 15, True, False),
    ("more than chance", 1000, 30, True, True),
    ("too few to tell", 10, 4, True, False),
    ("engines are still to come", 1000, 500, False, False),
]


@pytest.mark.parametrize(
    ("requests", "missed", "all_up", "rises"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_it_rises_by_one_engines_share(
    requests: int, missed: int, all_up: bool, rises: bool
) -> None:
    found = Attainment(Slo())
    assert found.observe(counted(requests, missed), 5, all_up=all_up) is rises
    assert found.factor == (1.2 if rises else 1.0)


def test_it_has_a_bound_and_fades() -> None:
    found = Attainment(Slo())
    rose = [found.observe(counted(100, 100), 5, all_up=True) for _ in range(9)]
    assert rose == [True, True, *[False] * 7]
    assert found.factor == pytest.approx(MOST)
    found.fade(FADES_STARTS * 60.0, 60.0)
    assert 1.1 < found.factor < 1.13

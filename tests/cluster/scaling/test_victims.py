"""Who goes first."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from cluster.scaling.signals import EngineState
from cluster.scaling.victims import victims
from tests.cluster.scaling.scaled import engine

ENGINES = [
    engine("starts", EngineState.STARTING),
    engine("idle and empty"),
    engine("idle", cached_blocks=9),
    engine("waits", waiting_requests=1),
    engine("runs", running_requests=2),
    engine("runs and holds", running_requests=2, cached_blocks=1),
]


@given(seed=st.integers(0, 1000))
def test_the_least_to_lose_goes_first_whatever_the_order(seed: int) -> None:
    leaving = engine("drains", EngineState.DRAINING)
    shuffled = [*ENGINES, leaving]
    Random(seed).shuffle(shuffled)
    assert victims(shuffled) == ENGINES

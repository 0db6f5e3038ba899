"""Which batch requests make room: the fewest that suffice, and what loses least."""

from hypothesis import given
from hypothesis import strategies as st

from cluster.admission.engine_room import Lacking
from cluster.admission.pausing import MOST_PAUSES, SOON_TOKENS, RunningBatch, to_pause
from cluster.types import ReplicaId

E, F = ReplicaId("e"), ReplicaId("f")
PLACE = {E: Lacking(requests=1, kv_tokens=0)}


def running(
    name: str, held: int, at: ReplicaId = E, left: int = 500, pauses: int = 0
) -> RunningBatch:
    return RunningBatch(
        request_id=name, replica_id=at, held_tokens=held, left_tokens=left, pauses=pauses
    )


def names(chosen: list[RunningBatch]) -> list[str]:
    return [each.request_id for each in chosen]


def test_the_one_that_loses_least_goes() -> None:
    assert names(to_pause([running("a", 900), running("b", 100)], PLACE)) == ["b"]


def test_of_equals_the_one_paused_least_often() -> None:
    assert names(to_pause([running("a", 100, pauses=1), running("b", 100)], PLACE)) == ["b"]


def test_one_that_is_about_to_end_or_was_paused_often_stays() -> None:
    stay = [running("a", 1, left=SOON_TOKENS - 1), running("b", 1, pauses=MOST_PAUSES)]
    assert to_pause(stay, PLACE) == []
    assert names(to_pause([*stay, running("c", 900)], PLACE)) == ["c"]


def test_none_goes_where_all_together_are_not_enough() -> None:
    assert to_pause([running("a", 100)], {E: Lacking(requests=0, kv_tokens=101)}) == []
    assert to_pause([running("a", 100, at=F)], PLACE) == []


def test_it_is_the_engine_where_least_is_lost() -> None:
    lacking = {E: Lacking(requests=1, kv_tokens=0), F: Lacking(requests=2, kv_tokens=0)}
    there = [running("a", 300), running("b", 100, at=F), running("c", 150, at=F)]
    assert names(to_pause(there, lacking)) == ["b", "c"]


@given(
    st.lists(st.tuples(st.integers(1, 500), st.sampled_from([E, F])), max_size=12),
    st.integers(0, 4),
    st.integers(0, 900),
)
def test_it_is_enough_and_without_the_last_it_would_not_be(
    there: list[tuple[int, ReplicaId]], requests: int, kv_tokens: int
) -> None:
    all_of_them = [running(str(n), held, at) for n, (held, at) in enumerate(there)]
    lack = Lacking(requests=requests, kv_tokens=kv_tokens)
    chosen = to_pause(all_of_them, {E: lack, F: lack})

    def enough(some: list[RunningBatch]) -> bool:
        return len(some) >= requests and sum(each.held_tokens for each in some) >= kv_tokens

    if chosen:
        assert enough(chosen)
        assert not enough(chosen[:-1])
        assert len({each.replica_id for each in chosen}) == 1
    elif requests or kv_tokens:
        assert not any(enough([x for x in all_of_them if x.replica_id == at]) for at in (E, F))

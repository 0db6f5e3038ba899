"""A load, and how it is split."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.metrics import RequestSample
from loadtest.run_records import RequestRecord
from loadtest.runtime.load import Load, LoadError, PlainAim, share_of
from loadtest.sessions import Session, Turn

ONE = (Turn(user="a", max_tokens=1),)
AIM = PlainAim("http://h", "demo", {"Authorization": "Bearer a", "X": "1"})


def load(**fields: object) -> Load:
    given = {"name": "n", "mode": "open", "duration_s": 1, "timeout_s": 1} | fields
    return Load(find=lambda _: AIM, build=lambda _: [], **given)  # type: ignore[arg-type]


@given(st.lists(st.floats(0, 100)), st.integers(1, 5))
def test_every_session_is_in_one_share_and_each_share_in_order(
    instants_s: list[float], workers: int
) -> None:
    sessions = [Session(index=n, turns=ONE, at_s=at_s) for n, at_s in enumerate(instants_s)]
    shares = [share_of(sessions, rank, workers) for rank in range(workers)]
    indices = sorted(session.index for share in shares for session in share)
    assert indices == list(range(len(sessions)))
    for share in shares:
        at_s = [session.at_s or 0 for session in share]
        assert at_s == sorted(at_s)


def test_an_index_that_comes_twice_is_refused() -> None:
    with pytest.raises(LoadError, match="same index"):
        share_of([Session(index=1, turns=ONE), Session(index=1, turns=ONE)], 0, 2)


def test_a_tenants_headers_are_laid_over_the_loads() -> None:
    both = load(tenant_headers={"gold": {"Authorization": "Bearer g"}})
    gold, free = (Session(index=0, turns=ONE, tenant=name) for name in ("gold", "free"))
    assert both.headers(AIM, gold) == {"Authorization": "Bearer g", "X": "1"}
    assert both.headers(AIM, free) == AIM.headers


def test_connections_are_for_what_a_worker_may_have_in_flight() -> None:
    assert load(max_in_flight=5).connections(2) == 3
    assert load(mode="closed", users=4).connections(2) == 2


def test_the_warm_up_meets_no_objective() -> None:
    sample = RequestSample(t_sched_s=0, t0_s=0)
    measured = RequestRecord(session=0, turn=0, kind="chat", sample=sample)
    judging = load(is_good=lambda found: found is sample)
    assert judging.good(measured) is True
    assert judging.good(replace(measured, warm_up=True)) is None
    assert load().good(measured) is None

"""One engine in time: what it reports, and what others learn of it."""

from __future__ import annotations

import pytest

from cluster.simulation.engine import Engine
from cluster.simulation.step_time import Fitted
from cluster.types import LoadReport, StepCost
from tests.cluster.simulation.simulated import UNIT_STEPS, job, limits

STEPS = Fitted(base_s=0.01, prefill_token_s=1e-4, decode_request_s=1e-3)


def busy(jobs: int, *, jump: bool) -> Engine:
    """An engine that has done so many jobs, two of them at a time or so."""
    engine = Engine(limits(kv_blocks=1000), STEPS, jump=jump)
    waiting = [
        (0.2 * n, job(n, 9 + n % 50, 30, range(100 * n + 1, 100 * n + 30))) for n in range(jobs)
    ]
    while waiting or engine.due_s is not None:
        if waiting and (engine.due_s is None or waiting[0][0] <= engine.due_s):
            at_s, next_job = waiting.pop(0)
            engine.add(next_job, at_s)
        else:
            engine.step()
    return engine


def test_a_look_in_between_sees_the_step_under_way() -> None:
    engine = Engine(limits(batched=10), UNIT_STEPS)
    engine.add(job(1, 4, 20, range(1, 7)), 0.0)
    engine.add(job(2, 14, 5, range(11, 16)), 0.5)
    assert engine.load(received=2) == LoadReport(
        running_requests=1,
        waiting_requests=1,
        queued_prefill_tokens=18,
        kv_use_frac=pytest.approx(0.01),
        received=2,
    )
    engine.step()
    assert engine.load(2).queued_prefill_tokens == 14  # admitted, its first chunk not over
    engine.step()
    engine.sync(2.5)
    assert (engine.load(2).decode_requests, engine.load(2).queued_prefill_tokens) == (1, 5)
    engine.step()
    assert engine.load(2).decode_requests == 2
    engine.sync(5.5)
    assert engine.done.decode_tokens == 2 + 2 * 2


def test_what_waits_and_is_cached_is_not_queued() -> None:
    engine = Engine(limits(seqs=1), UNIT_STEPS)
    engine.add(job(1, 9, 5, [1, 2]), 0.0)
    engine.add(job(2, 9, 5, [1, 2]), 0.5)
    assert engine.load(0).queued_prefill_tokens == 9 + 1


def test_its_cost_is_learnt_and_jumps_do_not_change_it() -> None:
    for jump in (True, False):
        cost = busy(120, jump=jump).load(0).step_cost
        assert isinstance(cost, StepCost)
        assert cost.base_s == pytest.approx(STEPS.base_s, rel=1e-4)
        assert cost.prefill_token_s == pytest.approx(STEPS.prefill_token_s, rel=1e-4)
        assert cost.decode_request_s == pytest.approx(STEPS.decode_request_s, rel=1e-4)


def test_what_its_cache_stores_is_told_once() -> None:
    engine = Engine(limits(), UNIT_STEPS)
    engine.add(job(1, 9, 1, [1, 2]), 0.0)
    assert engine.cache_changes() == ([1, 2], [])
    assert engine.cache_changes() == ([], [])

"""Small traces worked out by hand from vLLM's rules, and invariants over random ones."""

from __future__ import annotations

from hypothesis import given, settings

from cluster.simulation.job import Job
from cluster.simulation.scheduler import Plan, Scheduler
from cluster.simulation.step_time import StepWork
from cluster.simulation.workload import Workload
from tests.cluster.simulation.simulated import job, limits, workloads


def step(scheduler: Scheduler) -> list[tuple[int, int]]:
    """Takes a step: which request computed how many tokens."""
    plan = planned(scheduler)
    scheduler.complete(plan, 1)
    return [(each.id, new) for each, new in plan.chunks]


def planned(scheduler: Scheduler) -> Plan:
    plan = scheduler.plan()
    assert plan is not None
    return plan


def scheduler_with(scheduler: Scheduler, *jobs: Job) -> Scheduler:
    for each in jobs:
        scheduler.add(each)
    return scheduler


def test_a_long_prompt_is_prefilled_in_chunks_beside_decodes_which_come_first() -> None:
    short, long = job(1, 4, 3, range(1)), job(2, 18, 2, range(10, 15))
    scheduler = scheduler_with(Scheduler(limits(batched=10)), short, long)
    assert step(scheduler) == [(1, 4), (2, 6)]
    assert step(scheduler) == [(1, 1), (2, 9)]
    assert step(scheduler) == [(1, 1), (2, 3)]  # the first ends here, the second begins to answer
    assert step(scheduler) == [(2, 1)]
    assert scheduler.plan() is None


def test_a_cached_prefix_is_not_computed_but_the_last_token_always_is() -> None:
    scheduler = scheduler_with(Scheduler(limits()), job(1, 12, 1, [1, 2, 3]))
    assert step(scheduler) == [(1, 12)]
    same, longer = job(2, 12, 1, [1, 2, 3]), job(3, 14, 1, [1, 2, 3])
    scheduler_with(scheduler, same, longer)
    # Of 12 tokens only two blocks may be found: the third has the last token in it.
    assert step(scheduler) == [(2, 4), (3, 2)]
    assert (same.cached_tokens, longer.cached_tokens) == (8, 12)


def test_a_prefix_is_found_by_a_request_of_the_same_step() -> None:
    pair = [job(1, 9, 1, [1, 2]), job(2, 9, 1, [1, 2])]
    assert step(scheduler_with(Scheduler(limits()), *pair)) == [(1, 9), (2, 1)]


def test_the_last_that_runs_is_preempted_where_no_block_is_free_and_is_first_to_come_back() -> None:
    first, second = job(1, 4, 5, [1, 2]), job(2, 4, 6, [11, 12])
    third = job(3, 4, 1, [21])
    scheduler = scheduler_with(Scheduler(limits(kv_blocks=3)), first, second, third)
    assert step(scheduler) == [(1, 4), (2, 4), (3, 4)]  # all three blocks; the third ends
    # Each needs a second block now: one is free, so the first takes it and the second must go.
    assert step(scheduler) == [(1, 1)]
    assert (second.preemptions, list(scheduler.waiting)) == (1, [second])
    # Its block is free but still findable. Its 5 tokens need two: not before the first has ended.
    assert [step(scheduler) for _ in range(3)] == [[(1, 1)]] * 3
    assert step(scheduler) == [(2, 1)]  # block 11 is still there, one token is not
    assert second.cached_tokens == 0  # as first admitted


def test_a_request_waits_until_all_of_its_tokens_fit() -> None:
    running, waiting = job(1, 8, 3, [1, 2]), job(2, 12, 1, [11, 12, 13])
    scheduler = scheduler_with(Scheduler(limits(kv_blocks=5, batched=8)), running, waiting)
    assert step(scheduler) == [(1, 8)]
    assert step(scheduler) == [(1, 1)]  # two blocks are free, three are needed
    assert step(scheduler) == [(1, 1)]
    assert step(scheduler) == [(2, 8)]


def test_no_more_than_max_num_seqs_run() -> None:
    jobs = [job(number, 1, 1, []) for number in range(3)]
    scheduler = scheduler_with(Scheduler(limits(seqs=2)), *jobs)
    assert step(scheduler) == [(0, 1), (1, 1)]
    assert step(scheduler) == [(2, 1)]


def test_the_work_of_a_step_is_counted_as_the_step_time_model_needs_it() -> None:
    scheduler = scheduler_with(Scheduler(limits(batched=9)), job(1, 4, 9, range(3)))
    step(scheduler)
    scheduler_with(scheduler, job(2, 12, 1, range(10, 13)))
    assert planned(scheduler).work == StepWork(
        prefill_requests=1,
        prefill_tokens=8,
        prefill_pairs=36.0,
        prefill_context_tokens=8,
        decode_requests=1,
        context_tokens=5,
    )


@settings(max_examples=80, deadline=None)
@given(work=workloads())
def test_every_request_ends_and_no_block_is_lost(work: Workload) -> None:
    scheduler = Scheduler(limits(kv_blocks=20, batched=16, seqs=4))
    jobs = [
        Job(
            id=place,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            names=request.blocks(),
        )
        for place, request in enumerate(work.requests)
        if request.prompt_tokens + request.output_tokens <= 80
    ]
    scheduler_with(scheduler, *jobs)
    done: list[Job] = []
    while plan := scheduler.plan():
        assert sum(new for _job, new in plan.chunks) <= 16
        assert len(scheduler.running) <= 4
        scheduler.cache.check()
        done += scheduler.complete(plan, 1).done
    assert sorted(each.id for each in done) == [each.id for each in jobs]
    assert all(each.tokens == each.end_tokens for each in done)
    assert scheduler.cache.free_blocks == 20

"""When an engine's scheduler statistics are recorded, and that none of vLLM's is forgotten."""

from __future__ import annotations

from dataclasses import fields

import pytest
from vllm.v1.metrics.stats import PrefixCacheStats, SchedulerStats

from serve_app.engine_metrics import NOTHING_NEW, EngineMetrics

QUERIES = PrefixCacheStats(requests=1, queries=100, hits=64)


class Recorded:
    """In place of vLLM's logger."""

    def __init__(self) -> None:
        self.running: list[int] = []
        self.queries = 0

    def record(self, scheduler_stats: SchedulerStats, iteration_stats: None) -> None:
        self.running.append(scheduler_stats.num_running_reqs)
        self.queries += scheduler_stats.prefix_cache_stats.queries


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
def metrics(recorded: Recorded) -> EngineMetrics:
    return EngineMetrics(recorded)


def test_what_adds_to_a_counter_is_recorded_at_once_and_once(metrics, recorded):
    for running in (1, 2):
        metrics.step(SchedulerStats(num_running_reqs=running, prefix_cache_stats=QUERIES))
    assert (recorded.running, recorded.queries) == ([1, 2], 200)
    metrics.refresh(is_idle=False)
    assert (recorded.running, recorded.queries) == ([1, 2, 2], 200)


def test_of_other_steps_the_last_is_recorded_every_time_lest_ray_forgets_it(metrics, recorded):
    for running in (1, 2, 3):
        metrics.step(SchedulerStats(num_running_reqs=running))
    assert recorded.running == []
    for _ in range(2):
        metrics.refresh(is_idle=False)
    assert recorded.running == [3, 3]


def test_an_idle_engine_runs_nothing_whatever_its_last_step_said(metrics, recorded):
    metrics.refresh(is_idle=True)
    metrics.step(SchedulerStats(num_running_reqs=3))
    metrics.refresh(is_idle=False)
    metrics.refresh(is_idle=True)
    assert recorded.running == [0, 3, 0]


def test_vllm_has_no_other_statistic_that_adds_to_a_counter():
    """A new one has to be looked at: is the last of it enough, or does each count?"""
    last_is_enough = {
        "num_running_reqs", "num_waiting_reqs", "num_skipped_waiting_reqs",
        "num_kv_fetch_reqs_by_stage", "step_counter", "current_wave", "kv_cache_usage",
        "iteration_details", "waiting_lora_adapters", "running_lora_adapters",
    }  # fmt: skip
    assert {field.name for field in fields(SchedulerStats)} == last_is_enough | NOTHING_NEW.keys()
    nothing = SchedulerStats()
    assert {name: getattr(nothing, name) for name in NOTHING_NEW} == NOTHING_NEW

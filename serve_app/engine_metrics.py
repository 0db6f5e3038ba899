"""vLLM's own metrics of an engine's scheduler, through Ray's pipeline.

They are recorded where the engine is, so that they have its replica as a label, and reach its
node's endpoint for Prometheus: `ray_vllm_num_requests_running`, `ray_vllm_prefix_cache_hits_total`
and so on.

What vLLM measures of requests (TTFT and the like) is at gateways, where requests begin and end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from vllm.v1.metrics.stats import PrefixCacheStats, SchedulerStats


class StatLogger(Protocol):
    """The part of vLLM's Ray stat logger that is used."""

    def record(self, scheduler_stats: SchedulerStats | None, iteration_stats: None) -> None: ...


NOTHING_NEW: dict[str, Any] = {
    "prefix_cache_stats": PrefixCacheStats(),
    "connector_prefix_cache_stats": None,
    "kv_cache_eviction_events": [],
    "spec_decoding_stats": None,
    "kv_connector_stats": None,
    "ec_connector_stats": None,
    "cudagraph_stats": None,
    "perf_stats": None,
}
"""The statistics that are of one step, and add to what was counted before."""


class EngineMetrics:
    """A step is recorded at once only where it adds to what is counted: most do not, and recording
    one takes as long as passing on the output of many requests."""

    def __init__(self, logger: StatLogger) -> None:
        self._logger = logger
        self._last = SchedulerStats()

    def step(self, stats: SchedulerStats) -> None:
        """The scheduler's account of a step."""
        self._last = stats
        if any(getattr(stats, name) != nothing for name, nothing in NOTHING_NEW.items()):
            self._logger.record(stats, None)

    def refresh(self, *, is_idle: bool) -> None:
        """To be called every second or so: Ray forgets a gauge that is not set again. `is_idle`:
        nothing runs, whatever the last step said."""
        last = SchedulerStats() if is_idle else self._last
        self._logger.record(replace(last, **NOTHING_NEW), None)

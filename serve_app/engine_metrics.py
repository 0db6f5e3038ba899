"""vLLM's own metrics of an engine's scheduler, through Ray's pipeline.

They are recorded where the engine is, so that they have its replica as a label, and reach its
node's endpoint for Prometheus (`ray_vllm_num_requests_running`, `ray_vllm_prefix_cache_hits` ...).

What vLLM measures of requests (TTFT and the like) is at gateways, where requests begin and end.
"""

from __future__ import annotations

from typing import Protocol

from vllm.v1.metrics.stats import SchedulerStats


class StatLogger(Protocol):
    """The part of vLLM's Ray stat logger that is used."""

    def record(self, scheduler_stats: SchedulerStats | None, iteration_stats: None) -> None: ...


class EngineMetrics:
    """A step is recorded at once only where it has something to add to a counter: most have not,
    and recording one takes as long as passing on the output of many requests."""

    def __init__(self, logger: StatLogger) -> None:
        self._logger = logger
        self._last: SchedulerStats | None = SchedulerStats()  # not recorded yet
        self._says_idle = False

    def step(self, stats: SchedulerStats) -> None:
        """The scheduler's account of a step."""
        self._last, self._says_idle = stats, False
        if _adds(stats):
            self._record(stats)

    def refresh(self, *, is_idle: bool) -> None:
        """To be called now and then. `is_idle`: nothing runs, whatever the last step said."""
        if is_idle and not self._says_idle:
            self._says_idle = True
            self._last = SchedulerStats()
        if self._last is not None:
            self._record(self._last)

    def _record(self, stats: SchedulerStats) -> None:
        self._last = None
        self._logger.record(stats, None)


def _adds(stats: SchedulerStats) -> bool:
    return bool(
        stats.prefix_cache_stats.queries
        or stats.connector_prefix_cache_stats
        or stats.kv_cache_eviction_events
        or stats.spec_decoding_stats
        or stats.kv_connector_stats
        or stats.ec_connector_stats
        or stats.cudagraph_stats
        or stats.perf_stats
    )

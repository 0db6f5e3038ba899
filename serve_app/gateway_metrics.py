"""Records the metrics of `metric_table` at one gateway: each request's when it is over, all others'
once a second from what the switches, the desk and the store say. Nothing is done for a token.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter as Count
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from ray.serve import metrics as ray_metrics

from cluster.scaling.gateway_scaler import GatewayLoad
from serve_app import metric_table as table
from serve_app.metric_table import METRICS, MetricKind, MetricSpec
from serve_app.route_access import INFERENCE_PATHS
from serve_app.scaling_record import Scaled
from serve_app.served_request import ServedRequest
from serve_app.switch_measures import Measured

logger = logging.getLogger("tokenfleet.gateway")

EVERY_S = 1.0
"""Ray sends them on every few seconds."""

ITL_BUCKETS = "vllm:inter_token_latency_seconds_bucket"
"""vLLM's, which counts every token anyway."""


class Metric(Protocol):
    """One of Ray's."""

    def record(self, value: float, labels: dict[str, str]) -> None: ...


class _Counter:
    def __init__(self, spec: MetricSpec) -> None:
        self._metric = ray_metrics.Counter(spec.name, spec.help, tag_keys=spec.labels)

    def record(self, value: float, labels: dict[str, str]) -> None:
        self._metric.inc(value, tags=labels)


class _Gauge:
    def __init__(self, spec: MetricSpec) -> None:
        self._metric = ray_metrics.Gauge(spec.name, spec.help, tag_keys=spec.labels)

    def record(self, value: float, labels: dict[str, str]) -> None:
        self._metric.set(value, tags=labels)


class _Histogram:
    def __init__(self, spec: MetricSpec) -> None:
        self._metric = ray_metrics.Histogram(
            spec.name, spec.help, boundaries=list(spec.buckets), tag_keys=spec.labels
        )

    def record(self, value: float, labels: dict[str, str]) -> None:
        self._metric.observe(value, tags=labels)


_KINDS: dict[MetricKind, Callable[[MetricSpec], Metric]] = {
    MetricKind.COUNTER: _Counter,
    MetricKind.GAUGE: _Gauge,
    MetricKind.HISTOGRAM: _Histogram,
}


def ray_metric(spec: MetricSpec) -> Metric:
    """In Ray's pipeline, with the labels that Serve adds in a replica."""
    return _KINDS[spec.kind](spec)


class MeasuredModel(Protocol):
    """A model, as its metrics need it."""

    name: str
    scaled: Scaled | None
    registry: CollectorRegistry

    @property
    def held(self) -> int: ...

    def measured(self) -> Measured: ...


class GatewayMetrics:
    """`make` gives the metric of a line of the table."""

    def __init__(self, make: Callable[[MetricSpec], Metric] = ray_metric) -> None:
        self._metrics = {spec.name: make(spec) for spec in METRICS}
        self._before: dict[tuple[str, ...], float] = defaultdict(float)
        self._shown: dict[str, set[str]] = {}  # by model, its engines
        self._changes_at_s: dict[str, float] = {}

    # Each request

    def served(self, served: ServedRequest) -> None:
        """It is over, or refused."""
        model, tenant = {"model": served.model}, served.tenant
        if served.outcome == "refused":
            self._record(table.REFUSED, 1, model, tenant=tenant, reason=served.reason)
            return
        self._record(table.REQUESTS, 1, model, tenant=tenant, outcome=served.outcome)
        usage = served.usage
        for spec, amount in (
            (table.PROMPT_TOKENS, usage.prompt_tokens),
            (table.CACHED_TOKENS, usage.cached_tokens),
            (table.OUTPUT_TOKENS, usage.output_tokens),
            (table.ENGINE_SECONDS, usage.engine_s),
        ):
            if amount:
                self._record(spec, amount, model, tenant=tenant)
        for spec, seconds in (
            (table.TTFT, served.ttft_s),
            (table.TPOT, served.tpot_s),
            (table.LENGTH, served.took_s),
            (table.QUEUE, served.waited_s),
        ):
            if seconds is not None:
                self._record(spec, seconds, model)

    def answered(self, model: str, path: str, status: int) -> None:
        """An HTTP answer has begun."""
        route = path if path in INFERENCE_PATHS else "other"
        labels = {"model": model, "route": route}
        self._record(table.RESPONSES, 1, labels, status=str(status))

    # Once a second

    async def watch(
        self,
        models: Iterable[MeasuredModel],
        queue: Callable[[str], Mapping[str, Any]],
        load: Callable[[], GatewayLoad],
    ) -> None:
        """For ever. `queue`: a model's row at the desk; `load`: the gateway's."""
        models = tuple(models)
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                measured = [await asyncio.to_thread(model.measured) for model in models]
            except TimeoutError:
                logger.warning("a switch does not say what it has measured")
                continue
            for model, each in zip(models, measured, strict=True):
                self.look(model, each, queue(model.name))
            now = load()
            self._record(table.STREAMS, now.streams, {})
            if now.loop_lag_s is not None:
                self._record(table.LOOP_LAG, now.loop_lag_s, {})

    def look(self, model: MeasuredModel, measured: Measured, queue: Mapping[str, Any]) -> None:
        """What one model's parts say now."""
        labels = {"model": model.name}
        self._counts(labels, measured)
        for gap_s in measured.gaps_s:
            self._record(table.RESUME_GAP, gap_s, labels)
        self._record(table.FLIGHTS, measured.flights, labels)
        self._record(table.HELD, model.held, labels)
        self._record(table.DRAIN, queue["drain_tokens_per_s"] or 0.0, labels)
        for priority, waiting in queue["waiting"].items():
            self._record(table.QUEUED, waiting, labels, priority=priority)
        self._itl(labels, model.registry)
        self._engines(labels, measured.engines)
        self._scaling(labels, model.scaled)

    def _counts(self, labels: dict[str, str], measured: Measured) -> None:
        for spec, label, counts in (
            (table.MOVES, "cause", measured.moves),
            (table.FAILURES, "reason", measured.failures),
            (table.LOST_ENGINES, "cause", measured.losses),
            (table.DECISIONS, "reason", measured.decisions),
        ):
            for value, count in counts.items():
                self._grown(spec, count, labels, **{label: value})
        for spec, amount in (
            (table.IN_TIME, measured.ttft_total),
            (table.IN_TIME_GOOD, measured.ttft_good),
            (table.DECISION_SECONDS, measured.decision_s),
            (table.ROUTED_TOKENS, measured.routed_tokens),
            (table.HIT_TOKENS, measured.hit_tokens),
        ):
            self._grown(spec, amount, labels)

    def _itl(self, labels: dict[str, str], registry: CollectorRegistry) -> None:
        for family in registry.restricted_registry([ITL_BUCKETS]).collect():
            for sample in family.samples:
                self._grown(table.ITL, sample.value, labels, le=sample.labels["le"])

    def _engines(self, labels: dict[str, str], rows: Iterable[Mapping[str, Any]]) -> None:
        rows = list(rows)
        states = Count(row["state"] for row in rows)
        for state in table.ENGINE_STATES:
            self._record(table.ENGINES, states[state], labels, state=state)
        for row in rows:
            for spec, value in _engine_values(row):
                self._record(spec, value, labels, engine=row["id"])
        shown = {row["id"] for row in rows}
        for gone in self._shown.get(labels["model"], set()) - shown:
            for spec in table.OF_ENGINES:  # Ray goes on showing a gauge's last value
                self._record(spec, 0.0, labels, engine=gone)
        self._shown[labels["model"]] = shown

    def _scaling(self, labels: dict[str, str], scaled: Scaled | None) -> None:
        if scaled is None:
            return
        self._record(table.SCALING_TARGET, scaled.target, labels)
        since_s = self._changes_at_s.setdefault(labels["model"], scaled.at_s)
        for change in scaled.changes:
            if change.at_s > since_s:
                self._record(table.SCALING_CHANGES, 1, labels, reason=change.reason)
                self._changes_at_s[labels["model"]] = change.at_s

    def _grown(self, spec: MetricSpec, now: float, labels: dict[str, str], **more: str) -> None:
        key = (spec.name, *labels.values(), *more.values())
        grown = now - self._before[key]
        if grown > 0:
            self._record(spec, grown, labels, **more)
            self._before[key] = now

    def _record(self, spec: MetricSpec, value: float, labels: dict[str, str], **more: str) -> None:
        self._metrics[spec.name].record(value, {**labels, **more})


def _engine_values(row: Mapping[str, Any]) -> list[tuple[MetricSpec, float]]:
    cost = row["step_cost_s"] or {}
    values = [
        (table.RUNNING, row["running"]),
        (table.WAITING, row["waiting"]),
        (table.KV_USE, row["kv_use_frac"]),
        (table.PREFILL_QUEUE, row["queued_prefill_tokens"]),
        (table.STEP_BASE, cost.get("base")),
        (table.STEP_PREFILL, cost.get("prefill_token")),
        (table.STEP_DECODE, cost.get("decode_request")),
    ]
    return [(spec, float(value)) for spec, value in values if value is not None]

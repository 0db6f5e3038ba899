"""Every metric of Tokenfleet's own, defined once: what is recorded (`gateway_metrics`), what the
README's table, Grafana's dashboards and Prometheus' rules (`k8s/observability`) are made from.

Ray's metrics pipeline carries them: every node has an endpoint for its Prometheus, where their
names begin with `ray_`, and have the labels that Serve adds (application, deployment, replica).
vLLM's own of a model's API server (tokens, latencies, preemptions ...) are at the endpoint's
`GET /metrics`, of the gateway that answers; those of an engine's scheduler come the same way as
ours (`serve_app.engine_metrics`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MetricKind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


TTFT_BUCKETS_S = (
    0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5,
    10.0, 20.0, 40.0, 80.0, 160.0,
)  # fmt: skip
TPOT_BUCKETS_S = (
    0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2,
    0.3, 0.5, 1.0,
)  # fmt: skip
LENGTH_BUCKETS_S = (
    0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    1800.0,
)  # fmt: skip
GAP_BUCKETS_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """`labels` beside Serve's; `LABEL_VALUES` bounds them."""

    name: str
    kind: MetricKind
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


def _counter(name: str, help: str, *labels: str) -> MetricSpec:
    return MetricSpec(f"tokenfleet_{name}_total", MetricKind.COUNTER, labels, help)


def _gauge(name: str, help: str, *labels: str) -> MetricSpec:
    return MetricSpec(f"tokenfleet_{name}", MetricKind.GAUGE, labels, help)


def _histogram(name: str, buckets: tuple[float, ...], help: str, *labels: str) -> MetricSpec:
    return MetricSpec(f"tokenfleet_{name}", MetricKind.HISTOGRAM, labels, help, buckets)


LABEL_VALUES = {
    "model": "the spec's models",
    "tenant": "the configured tenants, or `open`",
    "outcome": "served, cancelled, failed",
    "reason": "of a refusal, a failure, a decision: see the enumerations that the code names",
    "cause": "why an engine lost a request (`cluster.failover.LossCause`)",
    "priority": "interactive, batch",
    "state": "connecting, ready, leaving, refused",
    "engine": "replica ids of the engines that are there",
    "route": "the routes of inference (`serve_app.route_access`), or `other`",
    "status": "HTTP statuses",
    "le": "upper bounds of vLLM's buckets, in seconds",
}
"""What the labels' values can be: none grows without bound."""

REQUESTS = _counter("requests", "Requests that are over", "model", "tenant", "outcome")
REFUSED = _counter(
    "refused_requests", "Requests that admission refused", "model", "tenant", "reason"
)
RESPONSES = _counter("responses", "HTTP answers", "model", "route", "status")
PROMPT_TOKENS = _counter("prompt_tokens", "Prompt tokens, each once", "model", "tenant")
CACHED_TOKENS = _counter("cached_tokens", "Of these, found in a cache", "model", "tenant")
OUTPUT_TOKENS = _counter("output_tokens", "Output tokens, each once", "model", "tenant")
ENGINE_SECONDS = _counter("engine_seconds", "Seconds at engines", "model", "tenant")
TTFT = _histogram(
    "ttft_seconds", TTFT_BUCKETS_S, "From a request's arrival to its first token", "model"
)
TPOT = _histogram("tpot_seconds", TPOT_BUCKETS_S, "Per token after the first", "model")
ITL = _counter("itl_seconds_bucket", "Times between a stream's tokens, up to `le`", "model", "le")
LENGTH = _histogram(
    "request_seconds", LENGTH_BUCKETS_S, "From a request's arrival to its end", "model"
)
QUEUE = _histogram("queue_seconds", TTFT_BUCKETS_S, "In the gateway's queue", "model")
IN_TIME = _counter("slo_requests", "Requests that had a TTFT to meet", "model")
IN_TIME_GOOD = _counter("slo_good_requests", "Of these, those that met it", "model")
MOVES = _counter("moves", "Requests that went on with another engine", "model", "cause")
FAILURES = _counter("failures", "Answers that ended in an error", "model", "reason")
RESUME_GAP = _histogram(
    "resume_gap_seconds", GAP_BUCKETS_S, "From a lost engine to the next token", "model"
)
DECISIONS = _counter("routing_decisions", "Requests given to an engine", "model", "reason")
DECISION_SECONDS = _counter("routing_seconds", "Seconds that took", "model")
ROUTED_TOKENS = _counter("routed_tokens", "Prompt tokens of these", "model")
HIT_TOKENS = _counter("routed_hit_tokens", "Of these, held by the engine's cache", "model")
FLIGHTS = _gauge("flights", "Requests between this gateway and engines", "model")
QUEUED = _gauge("queued_requests", "Requests in the gateway's queue", "model", "priority")
HELD = _gauge("held_requests", "Requests that wait for an engine to be there", "model")
DRAIN = _gauge("queue_drain_tokens_per_second", "What the queue gives to engines", "model")
ENGINES = _gauge("engines", "Engines, as this gateway sees them", "model", "state")
LOST_ENGINES = _counter("lost_engines", "Engines that died or got out of reach", "model", "cause")
RUNNING = _gauge("engine_running_requests", "Requests that an engine runs", "model", "engine")
WAITING = _gauge("engine_waiting_requests", "Requests that wait there", "model", "engine")
KV_USE = _gauge("engine_kv_use_ratio", "KV cache in use, 0 to 1", "model", "engine")
PREFILL_QUEUE = _gauge(
    "engine_queued_prefill_tokens", "Prompt tokens to compute", "model", "engine"
)
STEP_BASE = _gauge("engine_step_base_seconds", "Of a step with nothing in it", "model", "engine")
STEP_PREFILL = _gauge(
    "engine_step_prefill_token_seconds", "A step's for each prompt token", "model", "engine"
)
STEP_DECODE = _gauge(
    "engine_step_decode_request_seconds", "A step's for each decoding request", "model", "engine"
)
SCALING_TARGET = _gauge("scaling_target", "Engines that there are to be", "model")
SCALING_CHANGES = _counter("scaling_changes", "Changes of that number", "model", "reason")
LOOP_LAG = _gauge("gateway_loop_lag_seconds", "How late the event loop runs, median")
STREAMS = _gauge("gateway_streams", "Answers that the gateway gives now")

ENGINE_STATES = ("connecting", "ready", "leaving", "refused")
OF_ENGINES = (RUNNING, WAITING, KV_USE, PREFILL_QUEUE, STEP_BASE, STEP_PREFILL, STEP_DECODE)

METRICS: tuple[MetricSpec, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, MetricSpec)
)

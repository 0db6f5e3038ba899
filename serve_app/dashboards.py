"""Grafana's dashboards for Tokenfleet's metrics (`k8s/observability/dashboards`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serve_app import metric_table as table
from serve_app.alerts import name, rate
from serve_app.metric_table import MetricKind, MetricSpec

COLUMNS, HEIGHT = 2, 8
GRID = 24
"""Columns of Grafana's grid."""


Queries = tuple[tuple[str, str], ...]
"""Expressions, each with the legend of its lines."""


@dataclass(frozen=True, slots=True)
class Panel:
    """`unit`: Grafana's."""

    title: str
    unit: str
    queries: Queries
    says: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    slug: str
    title: str
    panels: tuple[Panel, ...]


def _rate(spec: MetricSpec, by: str) -> str:
    return rate(spec, "$__rate_interval", by)


def _quantile(spec: MetricSpec, frac: float) -> str:
    part = "_bucket" if spec.kind is MetricKind.HISTOGRAM else ""  # else its counts are buckets
    buckets = rate(spec, "$__rate_interval", "model, le", part)
    return f"histogram_quantile({frac}, {buckets})"


def _quantiles(spec: MetricSpec) -> Queries:
    return tuple(
        (_quantile(spec, frac), f"{{{{model}}}} p{frac * 100:g}") for frac in (0.5, 0.95, 0.99)
    )


def _by(expression: str, by: str) -> Queries:
    """A line for each value of `by`, and called by it."""
    return ((expression, " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))),)


def _lines(spec: MetricSpec, by: str) -> Queries:
    return _by(_rate(spec, by), by)


def _sums(spec: MetricSpec, by: str) -> Queries:
    return _by(f"sum by ({by}) ({name(spec)})", by)


def _most(spec: MetricSpec, by: str) -> Queries:
    """Every gateway says the same of an engine: the most that one says."""
    return _by(f"max by ({by}) ({name(spec)})", by)


def _part(part: MetricSpec, whole: MetricSpec, by: str) -> Queries:
    return _by(f"{_rate(part, by)} / {_rate(whole, by)}", by)


OVERVIEW = Dashboard(
    "overview",
    "Tokenfleet: overview",
    (
        Panel("First tokens in time", "percentunit",
              _part(table.IN_TIME_GOOD, table.IN_TIME, "model")),
        Panel("Requests", "reqps", _lines(table.REQUESTS, "model, outcome")),
        Panel("Time to first token", "s", _quantiles(table.TTFT)),
        Panel("Time per output token", "s", _quantiles(table.TPOT)),
        Panel("Time between tokens", "s", _quantiles(table.ITL)),
        Panel("Output tokens", "short", _lines(table.OUTPUT_TOKENS, "model"), "A second."),
        Panel("Refused", "reqps", _lines(table.REFUSED, "model, reason")),
        Panel("Waiting in gateways", "short", _sums(table.QUEUED, "model, priority")),
        Panel("Streams and lag of gateways", "short", (
            (f"max by (replica) ({name(table.STREAMS)})", "{{replica}} streams"),
            (f"1000 * max by (replica) ({name(table.LOOP_LAG)})", "{{replica}} lag, ms"),
        )),
        Panel("Engines", "short", _most(table.ENGINES, "model, state")),
        Panel("Engines wanted", "short", _most(table.SCALING_TARGET, "model")),
        Panel("Changes of that", "short", _lines(table.SCALING_CHANGES, "model, reason")),
        Panel("HTTP answers", "reqps", _lines(table.RESPONSES, "route, status")),
    ),
)  # fmt: skip
ENGINES = Dashboard(
    "engines",
    "Tokenfleet: engines",
    (
        Panel("Running", "short", _most(table.RUNNING, "model, engine")),
        Panel("Waiting", "short", _most(table.WAITING, "model, engine")),
        Panel("KV cache in use", "percentunit", _most(table.KV_USE, "model, engine")),
        Panel("Prompt tokens to compute", "short", _most(table.PREFILL_QUEUE, "model, engine")),
        Panel("A step's base", "s", _most(table.STEP_BASE, "model, engine")),
        Panel("For each prompt token", "s", _most(table.STEP_PREFILL, "model, engine")),
        Panel("For each decoding request", "s", _most(table.STEP_DECODE, "model, engine")),
        Panel("Held for want of an engine", "short", _sums(table.HELD, "model")),
    ),
)
ROUTING = Dashboard(
    "routing",
    "Tokenfleet: routing",
    (
        Panel("Decisions", "reqps", _lines(table.DECISIONS, "model, reason")),
        Panel("A decision takes", "s", _part(table.DECISION_SECONDS, table.DECISIONS, "model")),
        Panel("Prompt tokens found in the chosen cache, as foreseen", "percentunit",
              _part(table.HIT_TOKENS, table.ROUTED_TOKENS, "model")),
        Panel("And as it was", "percentunit",
              _part(table.CACHED_TOKENS, table.PROMPT_TOKENS, "model")),
    ),
)  # fmt: skip
TENANTS = Dashboard(
    "tenants",
    "Tokenfleet: tenants",
    (
        Panel("Requests", "reqps", _lines(table.REQUESTS, "tenant")),
        Panel("Refused", "reqps", _lines(table.REFUSED, "tenant, reason")),
        Panel("Prompt tokens", "short", _lines(table.PROMPT_TOKENS, "tenant"), "A second."),
        Panel("Output tokens", "short", _lines(table.OUTPUT_TOKENS, "tenant"), "A second."),
        Panel("Engines' time", "short", _lines(table.ENGINE_SECONDS, "tenant"),
              "Seconds of requests at engines, a second."),
        Panel("In the queue", "s", _quantiles(table.QUEUE)),
        Panel("The queue gives to engines", "short", _sums(table.DRAIN, "model"),
              "Tokens a second."),
    ),
)  # fmt: skip
FAILOVER = Dashboard(
    "failover",
    "Tokenfleet: failover",
    (
        Panel("Moves", "short", _lines(table.MOVES, "model, cause"), "A second."),
        Panel("Engines lost", "short", _lines(table.LOST_ENGINES, "model, cause"), "A second."),
        Panel("Answers that failed", "short", _lines(table.FAILURES, "model, reason"), "A second."),
        Panel("From a lost engine to the next token", "s", _quantiles(table.RESUME_GAP)),
        Panel("Between gateways and engines", "short", _sums(table.FLIGHTS, "model")),
        Panel("Whole requests take", "s", _quantiles(table.LENGTH)),
    ),
)
DASHBOARDS = (OVERVIEW, ENGINES, ROUTING, TENANTS, FAILOVER)


def grafana(dashboard: Dashboard) -> dict[str, Any]:
    """As Grafana imports it; its reader picks the Prometheus."""
    return {
        "uid": f"tokenfleet-{dashboard.slug}",
        "title": dashboard.title,
        "tags": ["tokenfleet"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus"}],
        },
        "panels": [_grafana_panel(at, panel) for at, panel in enumerate(dashboard.panels)],
    }


def _grafana_panel(at: int, panel: Panel) -> dict[str, Any]:
    width = GRID // COLUMNS
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": at + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.says,
        "datasource": source,
        "gridPos": {
            "x": at % COLUMNS * width,
            "y": at // COLUMNS * HEIGHT,
            "w": width,
            "h": HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": expr, "legendFormat": legend,
             "datasource": source}
            for number, (expr, legend) in enumerate(panel.queries)
        ],
    }  # fmt: skip

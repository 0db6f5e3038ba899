"""Prometheus' rules for Tokenfleet's metrics: what wakes somebody, and what to do then.

`k8s/observability/rules.yaml` is made of it (`python -m serve_app.observability`). Every expression
names metrics of `metric_table` alone. Levels: `page` where clients are failed now, `ticket` where
they soon will be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serve_app import metric_table as table
from serve_app.metric_table import MetricSpec

RUNBOOKS = "k8s/observability/runbooks.md"
"""Where the chapters are, in this repository."""

SLO_FRAC = 0.99
"""Of the TTFTs that are to be in time: the spec's default `slo.attainment_frac`."""


def name(spec: MetricSpec, part: str = "") -> str:
    """As Prometheus has it; `part` of a histogram: _bucket, _sum or _count."""
    return f"ray_{spec.name}{part}"


def rate(spec: MetricSpec, window: str, by: str = "model", part: str = "") -> str:
    return f"sum by ({by}) (rate({name(spec, part)}[{window}]))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """`expression` is true for as long as `lasting` before somebody is told. `runbook`: what it
    means, and what to do, in Markdown."""

    name: str
    expression: str
    lasting: str
    level: str
    summary: str
    runbook: str


def _missed_frac(window: str) -> str:
    good, total = rate(table.IN_TIME_GOOD, window), rate(table.IN_TIME, window)
    return f"(1 - {good} / {total})"


def _burns(times: float, long: str, short: str) -> str:
    """The error budget goes `times` as fast as it may: over a long window, and still over a short
    one. (Multiwindow burn rates; the SRE Workbook, chapter 5.)"""
    bound = round(times * (1 - SLO_FRAC), 4)
    return f"{_missed_frac(long)} > {bound} and {_missed_frac(short)} > {bound}"


ALERTS: tuple[Alert, ...] = (
    Alert(
        name="TokenfleetSloBurnsFast",
        expression=_burns(14.4, "1h", "5m"),
        lasting="2m",
        level="page",
        summary="Model {{ $labels.model }} misses its TTFT so often that a month's budget is gone "
        "in two days.",
        runbook="First tokens are late, or do not come. See on the overview whether requests wait "
        "in the gateways' queues (then there are too few engines: does `GET /fleet` say that more "
        "are wanted, and do they start?) or at the engines (`POST /fleet/explain` with a request "
        "says what each has to do). A tenant that floods is seen in `tokenfleet_queued_requests` "
        "and in refusals; give it a limit. `gateway.admission` and `max_wait_s` keep what is "
        "accepted in time.",
    ),
    Alert(
        name="TokenfleetSloBurnsSlowly",
        expression=_burns(3.0, "6h", "30m"),
        lasting="15m",
        level="ticket",
        summary="Model {{ $labels.model }} misses its TTFT so often that a month's budget is gone "
        "in ten days.",
        runbook="As above, with time to look: mostly the highest number of engines "
        "(`scaling.max`), or nodes for them, are too few at the busiest hour.",
    ),
    Alert(
        name="TokenfleetNoReadyEngine",
        expression=f'max by (model) ({name(table.ENGINES)}{{state="ready"}}) == 0 and '
        f"max by (model) ({name(table.HELD)}) > 0",
        lasting="2m",
        level="page",
        summary="Requests for model {{ $labels.model }} wait, and no engine is ready.",
        runbook="`GET /ready` has the reason under `failures`, `GET /fleet` what Serve says of the "
        "deployment and which engines back off after dying young. Common: no node with the "
        "accelerator is there, the model cannot be loaded (see the engine replica's log), it does "
        "not fit (`kv_cache_memory_bytes`, `max_model_len`). Held requests are answered when an "
        "engine is up, or end with 503 at `failover.hold_timeout_s`.",
    ),
    Alert(
        name="TokenfleetMovesFail",
        expression=f"{rate(table.FAILURES, '5m')} > 0",
        lasting="1m",
        level="page",
        summary="Answers of model {{ $labels.model }} end in errors.",
        runbook="The label `reason` of `tokenfleet_failures_total` says why: `poison` (engines die "
        "of one request: its digest is in the gateway's log), `max_attempts` (engines die faster "
        "than requests end: find out why they do), `no_engine` (see above), `not_resumable` "
        "(streamed input), `overloaded` (`gateway.max_flights`), `diverged` (engines of one model "
        "that answer differently: other hardware, or weights that are not the same).",
    ),
    Alert(
        name="TokenfleetEnginesCrash",
        expression=f"sum by (model) (increase({name(table.LOST_ENGINES)}[10m])) >= 3",
        lasting="0m",
        level="page",
        summary="Three engines of model {{ $labels.model }} were lost within ten minutes.",
        runbook="`GET /fleet` has the last losses with their cause. `core_dead`: vLLM's engine "
        "process ended (out of memory, a CUDA error: see the replica's log); `disconnected`: host "
        "or network. Streams move as long as one engine lives. Crash loops back off by "
        "themselves, up to `failover.restart_backoff_max_s`.",
    ),
    Alert(
        name="TokenfleetKvExhausted",
        expression=f"avg by (model) ({name(table.KV_USE)}) > 0.95 and "
        f"sum by (model) ({name(table.WAITING)}) > 0",
        lasting="10m",
        level="ticket",
        summary="The KV caches of model {{ $labels.model }} are full, and requests wait for them.",
        runbook="Longer prompts or answers than planned: engines preempt, and compute twice. More "
        "engines, `kv_cache_dtype: fp8`, a smaller `max_model_len`, or fewer requests at a time "
        "(`max_num_seqs`).",
    ),
    Alert(
        name="TokenfleetGatewayLags",
        expression=f"max by (replica) ({name(table.LOOP_LAG)}) > 0.1",
        lasting="5m",
        level="ticket",
        summary="The event loop of gateway {{ $labels.replica }} is late by more than 0.1 s.",
        runbook="It passes on more tokens than one core can (about 10,000 a second): "
        "`gateway.replicas`, or `gateway.scaling`, which follows this very number.",
    ),
    Alert(
        name="TokenfleetRefuses",
        expression=f'sum by (model) (rate({name(table.REFUSED)}{{reason=~"would_wait|waited|'
        f'queue_full"}}[5m])) > 0.05 * {rate(table.REQUESTS, "5m")}',
        lasting="10m",
        level="ticket",
        summary="The fleet is full: more than one in twenty requests for model "
        "{{ $labels.model }} is refused.",
        runbook="Clients are told with `Retry-After` when to come again. More engines "
        "(`scaling.max`, `replicas`), or limits for the tenants that ask most "
        "(`tokenfleet_requests_total` by tenant).",
    ),
)


def rules() -> dict[str, Any]:
    """A PrometheusRule's `spec`, and with `groups` alone what Prometheus itself reads."""
    return {
        "groups": [
            {
                "name": "tokenfleet",
                "rules": [
                    {
                        "alert": alert.name,
                        "expr": alert.expression,
                        "for": alert.lasting,
                        "labels": {"severity": alert.level},
                        "annotations": {
                            "summary": alert.summary,
                            "runbook_url": f"{RUNBOOKS}#{alert.name.lower()}",
                        },
                    }
                    for alert in ALERTS
                ],
            }
        ]
    }


def runbook() -> str:
    """One chapter for each alert, in Markdown."""
    chapters = [f"## {alert.name}\n\n{alert.summary}\n\n{alert.runbook}\n" for alert in ALERTS]
    return "\n".join(["# What to do when an alert comes\n", *chapters])

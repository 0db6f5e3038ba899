"""Contexts as Serve's controller makes them, and gateways' words, for policies to be tested on."""

from __future__ import annotations

from collections.abc import Mapping

from ray.serve._private.common import DeploymentID, ReplicaID, TimeStampedValue
from ray.serve.config import AutoscalingContext

from cluster.scaling.gateway_scaler import GatewayLoad
from cluster.scaling.signals import GatewaySignals
from serve_app.scaling_stats import GatewayStats, ModelStats, Stats

APP, MODEL, ENGINES = "app", "demo", "Engine:demo"


def context(
    target: int,
    running: Mapping[str, Stats],
    *,
    at_s: float = 1000.0,
    deployment: str = ENGINES,
    older: Mapping[str, Stats] | None = None,
) -> AutoscalingContext:
    """`running` replicas, and what each said at `at_s` by its clock; `older` is from before."""
    name = DeploymentID(name=deployment, app_name=APP)
    raw: dict[str, dict[ReplicaID, list[TimeStampedValue]]] = {}
    for said_at_s, reports in ((at_s - 1.0, older or {}), (at_s, running)):
        for replica, stats in reports.items():
            for key, value in stats.items():
                points = raw.setdefault(key, {}).setdefault(ReplicaID(replica, name), [])
                points.append(TimeStampedValue(said_at_s, value))
    return AutoscalingContext(
        deployment_id=name,
        deployment_name=deployment,
        app_name=APP,
        current_num_replicas=len(running),
        target_num_replicas=target,
        running_replicas=[ReplicaID(replica, name) for replica in running],
        total_num_requests=0.0,
        total_queued_requests=0.0,
        aggregated_metrics={},
        raw_metrics=lambda: raw,  # as Serve gives it
        capacity_adjusted_min_replicas=0,
        capacity_adjusted_max_replicas=10,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=at_s,
        config=None,
    )


def gateway(
    *, held: int = 0, requests: int = 0, built: bool = True, streams: int = 0, lag_s: float = 0.0
) -> GatewayStats:
    """A gateway that serves MODEL alone."""
    signals = GatewaySignals(id="g", held_requests=held, requests=requests)
    return GatewayStats(
        load=GatewayLoad(streams=streams, loop_lag_s=lag_s),
        models={MODEL: ModelStats(signals=signals, built=built)},
    )

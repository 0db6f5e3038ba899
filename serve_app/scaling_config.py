"""How Serve is told to scale: by our policies alone, on fresh reports, at once.

Serve's own delays, factors and averages are off: the scaler has its own, by what was measured.
`metrics_interval_s` is what its replicas go by in Ray 2.60.0, though it calls that deprecated for
two environment variables, which nothing reads yet.
"""

from __future__ import annotations

from typing import Any

from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from cluster.spec import GatewaySpec, ModelSpec

POLICIES = "serve_app.scaling_policies"

ENGINES_REPORT_EVERY_S = 1.0
GATEWAYS_REPORT_EVERY_S = 0.5
"""A held request waits for its gateway's next report, then for Serve's loop."""

KEPT_REPORTS = 5
"""Serve takes a report every fifth of its look-back period."""


def of_engines(model: ModelSpec) -> AutoscalingConfig:
    """Of a model whose spec has `scaling`.

    Not with `initial_replicas`: Serve goes back to those at every deploy that changes anything. How
    many there are at first is the policy's to say.
    """
    assert model.scaling is not None
    arguments = {
        "model": model.name,
        "scaling": model.scaling.model_dump(mode="json"),
        "slo": model.slo.model_dump(mode="json"),
        "first": max(model.first_replicas, 1),
    }
    bounds = model.scaling.min, model.scaling.max
    return _config("EnginesPolicy", arguments, bounds, ENGINES_REPORT_EVERY_S)


def of_gateways(gateway: GatewaySpec) -> AutoscalingConfig:
    """Of every cluster: where the number of gateways is fixed, the scalers of the engines still
    learn from their policy what is asked for."""
    scaling = gateway.scaling
    given = None if scaling is None else scaling.model_dump(mode="json")
    fixed = gateway.replicas, gateway.replicas
    bounds = fixed if scaling is None else (scaling.min, scaling.max)
    return _config("GatewaysPolicy", {"scaling": given}, bounds, GATEWAYS_REPORT_EVERY_S)


def _config(
    policy: str, arguments: dict[str, Any], bounds: tuple[int, int], report_every_s: float
) -> AutoscalingConfig:
    return AutoscalingConfig(
        min_replicas=bounds[0],
        max_replicas=bounds[1],
        upscale_delay_s=0.0,
        downscale_delay_s=0.0,
        downscale_to_zero_delay_s=0.0,
        metrics_interval_s=report_every_s,
        look_back_period_s=KEPT_REPORTS * report_every_s,
        policy=AutoscalingPolicy(policy_function=f"{POLICIES}:{policy}", policy_kwargs=arguments),
    )

"""Writes `k8s/observability`: rules, runbooks and dashboards, from the code that has them.

python -m serve_app.observability k8s/observability
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from serve_app import made_files
from serve_app.alerts import rules, runbook
from serve_app.dashboards import DASHBOARDS, grafana
from serve_app.metric_table import METRICS

MADE = "made by python -m serve_app.observability"


README = """<!-- {made} -->

# Watching a fleet

Every node of the Ray cluster serves its metrics to Prometheus: at the port `metrics` of KubeRay's
pods (`podmonitor.yaml`), elsewhere at `--metrics-export-port` of `ray start`; Ray writes a
discovery file for them, `/tmp/ray/prom_metrics_service_discovery.json`. Names begin with `ray_`
there, and a gateway's metrics have the labels `application`, `deployment` and `replica`. Requests
count when they are over; everything else is recorded once a second.

- `rules.yaml`: alerts, for Prometheus itself; `prometheusrule.yaml`: the same for its operator.
  What to do when one comes: [`runbooks.md`](runbooks.md).
- `dashboards/`: for Grafana, which asks for the Prometheus when one is imported.
- vLLM's own metrics of an engine's scheduler come the same way, as `ray_vllm_num_requests_running`
  and so on, with the engine's `ReplicaId` (and `model_name`).
- vLLM's own metrics of a model's API server are at the endpoint's `GET /metrics`, of the gateway
  that answers (with tenants, for an admin's key).

{metrics}
"""


def files() -> Mapping[str, str]:
    """The text of each file, by its place."""
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "tokenfleet", "labels": {"app.kubernetes.io/name": "tokenfleet"}},
        "spec": rules(),
    }
    return {
        "rules.yaml": _yaml(rules()),
        "prometheusrule.yaml": _yaml(rule),
        "podmonitor.yaml": _yaml(_pod_monitor()),
        "runbooks.md": f"<!-- {MADE} -->\n\n{runbook()}",
        "README.md": README.format(made=MADE, metrics=metrics_text()),
        **{
            f"dashboards/{each.slug}.json": json.dumps(grafana(each), indent=1) + "\n"
            for each in DASHBOARDS
        },
    }


def metrics_text() -> str:
    """README's table."""
    lines = ["| metric | kind | labels | what |", "|---|---|---|---|"]
    lines += [
        f"| `{spec.name}` | {spec.kind.value} | {', '.join(spec.labels)} | {spec.help} |"
        for spec in METRICS
    ]
    return "\n".join(lines)


def _pod_monitor() -> dict[str, object]:
    """Every node of the Ray cluster has its metrics at the port that KubeRay calls `metrics`."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": "tokenfleet", "labels": {"app.kubernetes.io/name": "tokenfleet"}},
        "spec": {
            "selector": {"matchExpressions": [{"key": "ray.io/node-type", "operator": "Exists"}]},
            "podMetricsEndpoints": [{"port": "metrics", "interval": "10s"}],
        },
    }


def _yaml(data: object) -> str:
    return f"# {MADE}\n{yaml.safe_dump(data, sort_keys=False, width=100)}"


def main() -> None:
    made_files.write(Path(sys.argv[1]), files())


if __name__ == "__main__":
    main()

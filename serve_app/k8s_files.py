"""Writes `k8s`: base and overlays, each from the spec that stands beside it.

    python -m serve_app.k8s_files k8s

Kustomize puts them together; nothing in them is written by hand but the specs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.spec import ClusterSpec, load, resolve_devices
from serve_app import made_files
from serve_app.k8s_render import (
    CONTAINER_SECURITY,
    IMAGE,
    METRICS_PORT,
    MODELS_CLAIM,
    NAME,
    PART_OF,
    POD_SECURITY,
    USER,
    from_secret,
    render,
    text,
)

MADE = "made by python -m serve_app.k8s_files"
BASE = "base"
RENDERED = ("single-gpu", "multi-gpu", "dev-cpu")
"""Overlays with a spec of their own."""

SERVICE = {"group": "ray.io", "version": "v1", "kind": "RayService", "name": NAME}
REDIS = "tokenfleet-redis"
REDIS_PASSWORD = "redis-password"
"""Its key in the secret."""

SPOT_TAINT = "tokenfleet/spot"


def files(folder: Path) -> Mapping[str, str]:
    """The text of each file, by its place in `folder`, whose specs are read."""
    base = _spec(folder / BASE)
    made = {
        f"{BASE}/rayservice.yaml": render(base),
        f"{BASE}/network-policy.yaml": _network_policy(base),
        f"{BASE}/models-volume.yaml": _models_volume(),
        f"{BASE}/kustomization.yaml": _kustomization(
            "rayservice.yaml",
            "network-policy.yaml",
            "disruption-budgets.yaml",
            "models-volume.yaml",
        ),
        "overlays/ha/kustomization.yaml": _kustomization("../../base", "redis.yaml", patch=_ha()),
        "overlays/spot/kustomization.yaml": _kustomization("../../base", patch=_spot(base)),
        "loadtest/job.yaml": _load_test(base),
    }
    for name in RENDERED:
        rendered = render(_spec(folder / "overlays" / name))
        whole = [{"op": "replace", "path": "/spec", "value": rendered["spec"]}]
        made[f"overlays/{name}/kustomization.yaml"] = _kustomization("../../base", patch=whole)
    texts = {place: _text(each) for place, each in made.items()}
    several = {
        f"{BASE}/disruption-budgets.yaml": [_budget("gateway"), _budget("engine")],
        "overlays/ha/redis.yaml": [_redis_service(), _redis()],
    }
    return texts | {place: _documents(each) for place, each in several.items()}


def _spec(folder: Path) -> ClusterSpec:
    """Its models run on GPUs, unless they say otherwise."""
    return resolve_devices(load(folder / "spec.yaml"), gpu_build=True)


def _text(data: dict[str, Any]) -> str:
    return f"# {MADE}\n{text(data)}"


def _documents(each: list[dict[str, Any]]) -> str:
    return f"# {MADE}\n" + "---\n".join(text(one) for one in each)


def _kustomization(*resources: str, patch: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(resources),
    }
    if patch is not None:
        made["patches"] = [{"target": SERVICE, "patch": text(patch)}]  # type: ignore[arg-type]
    return made


def _metadata(name: str) -> dict[str, Any]:
    return {"name": name, "labels": PART_OF}


# Base


def _network_policy(spec: ClusterSpec) -> dict[str, Any]:
    """From outside the endpoint alone; wire, Ray and its dashboard between our pods, and for
    KubeRay's operator."""
    ours = {"podSelector": {"matchLabels": PART_OF}}
    operator = {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
    }
    monitoring = {"namespaceSelector": {"matchLabels": {"tokenfleet/monitoring": "true"}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(NAME),
        "spec": {
            "podSelector": {"matchLabels": PART_OF},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": [{"protocol": "TCP", "port": spec.ports.http}]},
                {"from": [ours, operator]},
                {"from": [monitoring], "ports": [{"protocol": "TCP", "port": METRICS_PORT}]},
            ],
        },
    }


def _budget(component: str) -> dict[str, Any]:
    labels = {**PART_OF, "app.kubernetes.io/component": component}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(f"{NAME}-{component}s"),
        "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}},
    }


def _models_volume() -> dict[str, Any]:
    """Weights and compiled graphs, for all nodes; its storage class is yours to name."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(MODELS_CLAIM),
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "500Gi"}},
        },
    }


# Overlays


def _ha() -> list[dict[str, Any]]:
    """What Ray's control store knows outlives its head."""
    options = {"redisAddress": f"{REDIS}:6379", "redisPassword": from_secret(REDIS_PASSWORD)}
    path = "/spec/rayClusterConfig/gcsFaultToleranceOptions"
    return [{"op": "add", "path": path, "value": options}]


def _redis_service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(REDIS),
        "spec": {
            "clusterIP": "None",
            "selector": {"app.kubernetes.io/name": REDIS},
            "ports": [{"port": 6379, "name": "redis"}],
        },
    }


def _redis() -> dict[str, Any]:
    labels = {**PART_OF, "app.kubernetes.io/name": REDIS}
    container = {
        "name": "redis",
        "image": "redis:7.4",
        "args": ["--appendonly", "yes", "--dir", "/data", "--requirepass", "$(REDIS_PASSWORD)"],
        "env": [{"name": "REDIS_PASSWORD", **from_secret(REDIS_PASSWORD)}],
        "ports": [{"name": "redis", "containerPort": 6379}],
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"memory": "256Mi"},
        },
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": _metadata(REDIS),
        "spec": {
            "serviceName": REDIS,
            "replicas": 1,
            "selector": {"matchLabels": {"app.kubernetes.io/name": REDIS}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "securityContext": POD_SECURITY,
                    "containers": [container],
                },
            },
            "volumeClaimTemplates": [claim],
        },
    }


def _spot(base: ClusterSpec) -> list[dict[str, Any]]:
    """Engines may run on nodes that are taken away: Ray drains such a node, and its streams move.
    Gateways, whose clients would be cut, stay on others."""
    toleration = {"key": SPOT_TAINT, "operator": "Exists", "effect": "NoSchedule"}
    groups = "/spec/rayClusterConfig/workerGroupSpecs"
    return [
        {"op": "add", "path": f"{groups}/{index}/template/spec/tolerations/-", "value": toleration}
        for index, _ in enumerate(base.models, start=1)
    ]


def _load_test(spec: ClusterSpec) -> dict[str, Any]:
    """Locust, a master and workers in one pod; its folder is gone with it, so the report's summary
    goes to the log."""
    run = (
        f"tokenfleet loadtest run chat --variant gpu --processes 4 --out /tmp/run "
        f"--host http://{NAME}-serve-svc:{spec.ports.http}"
    )
    key = {"name": "OPENAI_API_KEY", **from_secret("loadtest-key", optional=True)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata("tokenfleet-loadtest"),
        "spec": {
            "backoffLimit": 0,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "securityContext": {"runAsNonRoot": True, "runAsUser": USER},
                    "containers": [
                        {
                            "name": "locust",
                            "image": IMAGE,
                            "command": ["sh", "-c", run],
                            "env": [key],
                            "resources": {
                                "requests": {"cpu": "5", "memory": "4Gi"},
                                "limits": {"memory": "4Gi"},
                            },
                        }
                    ],
                }
            },
        },
    }


def main() -> None:
    folder = Path(sys.argv[1])
    made_files.write(folder, files(folder))


if __name__ == "__main__":
    main()

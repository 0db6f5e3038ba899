"""`tokenfleet k8s render SPEC`: the spec as a KubeRay RayService.

Everything that the spec, or `make serve`, says once is taken from there: ports, resources, numbers
of replicas, the environment of Ray's processes, and how long a replica may drain. Pods:

- the head: Ray's control store, Serve's controller, no workload (`num-cpus: "0"`);
- `gateways`: as many as there may be gateways, one in each, spread over nodes;
- a group for each model, one engine in each pod, with its GPUs: what Ray's autoscaler adds and
  removes is then one engine.

How long things may take to end (`Times`), each longer than what it waits for:

    failover.drain_timeout_s             streams that nobody can take over
    + STOP_S                             Serve's graceful_shutdown_timeout_s of a replica
    + RAY_MARGIN_S                       RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S of a node
    + POD_MARGIN_S                       terminationGracePeriodSeconds of its pod
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import yaml

from cluster.admission.keyless import OPEN_BY_ACCIDENT
from cluster.spec import ClusterSpec, ModelSpec, SpecError
from serve_app import ingress
from serve_app.app import STOP_S
from serve_app.launch import RAY_ENVIRONMENT
from serve_app.settings import HAPROXY_BINARY_ENV, WIRE_SECRET_ENV

RAY_VERSION = "2.60.0"
IMAGE = "tokenfleet:latest"
"""What `k8s/Dockerfile` makes; a registry's name in your overlay."""

NAME = "tokenfleet"
PART_OF = {"app.kubernetes.io/part-of": NAME}
SECRET = "tokenfleet"
MODELS_CLAIM = "tokenfleet-models"
HAPROXY = "/opt/tokenfleet/bin/tokenfleet-haproxy"
"""In the image."""

MODELS_FOLDER = "/models"
TENANTS_FOLDER = "/etc/tokenfleet"
USER = 1000

POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

RAY_MARGIN_S = 10
POD_MARGIN_S = 20
METRICS_PORT = 8080
HEAD_CPUS, HEAD_MEMORY = "2", "8Gi"
GATEWAY_MEMORY = "4Gi"
ENGINE_MEMORY_GIB = 16
"""Of an engine on CPUs, and for each GPU: weights pass through it while they are loaded."""

SHM = "8Gi"
"""PyTorch's and NCCL's exchange between an engine's processes."""


@dataclass(frozen=True, slots=True)
class Times:
    """See the module's docstring; in whole seconds."""

    drain_s: int
    replica_s: int
    node_s: int
    pod_s: int

    @classmethod
    def of(cls, spec: ClusterSpec) -> Times:
        drain_s = ceil(spec.failover.drain_timeout_s)
        replica_s = drain_s + ceil(STOP_S)
        node_s = replica_s + RAY_MARGIN_S
        return cls(drain_s, replica_s, node_s, node_s + POD_MARGIN_S)


def render(spec: ClusterSpec, *, image: str = IMAGE, name: str = NAME) -> dict[str, Any]:
    """The RayService. Raises SpecError where the endpoint would be open by accident."""
    if not (spec.has_tenants or spec.gateway.open):
        raise SpecError([("gateway.open", f"pods listen at 0.0.0.0: {OPEN_BY_ACCIDENT}")])
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": name, "labels": PART_OF},
        "spec": _service(spec, image),
    }


def text(service: dict[str, Any]) -> str:
    """As YAML, the Serve config as a block of it."""
    return yaml.dump(service, Dumper=_Dumper, sort_keys=False, width=100)


class _Dumper(yaml.SafeDumper):
    """Long texts as blocks, and no anchors for what stands twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _string)


def _service(spec: ClusterSpec, image: str) -> dict[str, Any]:
    times = Times.of(spec)
    scales = spec.gateway.scaling is not None or any(model.scaling for model in spec.models)
    return {
        # A change of pods (an image, a GPU) starts a second cluster beside the first; one of the
        # Serve config is taken in by the one that runs, replica by replica.
        "upgradeStrategy": {"type": "NewCluster"},
        # The old one's longest streams end before it does.
        "rayClusterDeletionDelaySeconds": ingress.LONGEST_STREAM_S,
        # An engine that has not started by then is Serve's to start again, and no reason for
        # another cluster.
        "serviceUnhealthySecondThreshold": 3600,
        "deploymentUnhealthySecondThreshold": 3600,
        "serveConfigV2": serve_config(spec),
        "rayClusterConfig": {
            "rayVersion": RAY_VERSION,
            **(_AUTOSCALER if scales else {}),
            "headGroupSpec": {
                "rayStartParams": {"num-cpus": "0", **_START},
                "template": _pod(
                    spec, image, times, _resources(HEAD_CPUS, HEAD_MEMORY), component="head"
                ),
            },
            "workerGroupSpecs": [_gateways(spec, image, times)]
            + [_engines(spec, model, image, times) for model in spec.models],
        },
    }


_AUTOSCALER: dict[str, Any] = {
    "enableInTreeAutoscaling": True,
    "autoscalerOptions": {"version": "v2", "idleTimeoutSeconds": 120},
}
_START = {"dashboard-host": "0.0.0.0", "metrics-export-port": str(METRICS_PORT)}


def serve_config(spec: ClusterSpec) -> str:
    """For `serveConfigV2`, and for `serve deploy`: the spec itself is in it, listening at all of a
    pod's addresses."""
    raw = spec.model_dump(mode="json", exclude_defaults=True)
    raw["ports"] = {**raw.get("ports", {}), "host": "0.0.0.0"}
    config = {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": spec.ports.http},
        "applications": [
            {
                "name": "default",
                "route_prefix": "/",
                "import_path": "serve_app:build",
                "args": {"spec": raw},
            }
        ],
    }
    return yaml.safe_dump(config, sort_keys=False, width=100)


# Pods


def _gateways(spec: ClusterSpec, image: str, times: Times) -> dict[str, Any]:
    gateway = spec.gateway
    least = gateway.replicas if gateway.scaling is None else gateway.scaling.min
    cpus = max(1.0, gateway.cpus)
    pod = _pod(spec, image, times, _resources(f"{cpus:g}", GATEWAY_MEMORY), component="gateway")
    pod["spec"]["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "gateway"}},
        }
    ]
    return _group("gateways", least, gateway.most_replicas, _start(gateway.cpus), pod)


def _engines(spec: ClusterSpec, model: ModelSpec, image: str, times: Times) -> dict[str, Any]:
    scaling, gpus = model.scaling, model.gpus_per_replica
    least, most = (model.replicas,) * 2 if scaling is None else (scaling.min, scaling.max)
    memory = f"{ENGINE_MEMORY_GIB * max(1, gpus)}Gi"
    cpus = f"{max(1.0, model.resources.cpus):g}"
    pod = _pod(spec, image, times, _resources(cpus, memory, gpus), component="engine")
    pod["metadata"]["labels"]["tokenfleet/model"] = _label(model.name)
    if gpus:
        pod["spec"]["tolerations"] = [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        ]
    if model.resources.accelerator_type is not None:
        # Your nodes' own label for it goes into an overlay; this one is what the README sets.
        pod["spec"]["nodeSelector"] = {"tokenfleet/accelerator": model.resources.accelerator_type}
    pod["spec"]["containers"][0]["env"] += _variables(model.env)
    group = _group(f"engines-{_label(model.name)}", least, most, _start(model.resources.cpus), pod)
    return group | {"replicas": model.first_replicas}


def _start(cpus: float) -> dict[str, str]:
    return {**_START, "num-cpus": str(max(1, ceil(cpus)))}


def _group(
    name: str, least: int, most: int, start: dict[str, str], pod: dict[str, Any]
) -> dict[str, Any]:
    return {
        "groupName": name,
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": most,
        "rayStartParams": start,
        "template": pod,
    }


def _pod(
    spec: ClusterSpec, image: str, times: Times, resources: dict[str, Any], *, component: str
) -> dict[str, Any]:
    volumes: dict[str, tuple[str, dict[str, Any]]] = {
        "tmp": ("/tmp", {"emptyDir": {}}),
        "shm": ("/dev/shm", {"emptyDir": {"medium": "Memory", "sizeLimit": SHM}}),
        "models": (MODELS_FOLDER, {"persistentVolumeClaim": {"claimName": MODELS_CLAIM}}),
    }
    if spec.tenants_file is not None:
        secret = {"secret": {"secretName": "tokenfleet-tenants"}}
        volumes["tenants"] = (TENANTS_FOLDER, secret)
    ports = {"metrics": METRICS_PORT, "serve": spec.ports.http}
    if component == "head":
        ports |= {"gcs-server": 6379, "dashboard": 8265, "client": 10001}
    container = {
        "name": "ray-head" if component == "head" else "ray-worker",
        "image": image,
        "ports": [{"name": key, "containerPort": port} for key, port in ports.items()],
        "env": _environment(times),
        "resources": resources,
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": name, "mountPath": at, **({"readOnly": True} if name == "tenants" else {})}
            for name, (at, _) in volumes.items()
        ],
    }
    return {
        "metadata": {"labels": {**PART_OF, "app.kubernetes.io/component": component}},
        "spec": {
            "terminationGracePeriodSeconds": times.pod_s,
            "automountServiceAccountToken": component == "head",
            "securityContext": POD_SECURITY,
            "containers": [container],
            "volumes": [{"name": name, **volume} for name, (_, volume) in volumes.items()],
        },
    }


def _environment(times: Times) -> list[dict[str, Any]]:
    plain = {
        **ingress.haproxy_mode(),
        **RAY_ENVIRONMENT,
        HAPROXY_BINARY_ENV: HAPROXY,
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(times.node_s),
        "HOME": "/tmp",
        "HF_HOME": f"{MODELS_FOLDER}/huggingface",  # weights are downloaded once
        "VLLM_CACHE_ROOT": f"{MODELS_FOLDER}/vllm",  # and compiled once
    }
    secret = {WIRE_SECRET_ENV: "wire-secret", "HF_TOKEN": "hf-token"}
    return _variables(plain) + [
        {"name": name, **from_secret(key, optional=True)} for name, key in secret.items()
    ]


def _variables(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def from_secret(key: str, *, optional: bool = False) -> dict[str, Any]:
    """A value that is one of the secret's."""
    ref: dict[str, Any] = {"name": SECRET, "key": key}
    return {"valueFrom": {"secretKeyRef": {**ref, "optional": True} if optional else ref}}


def _resources(cpus: str, memory: str, gpus: int = 0) -> dict[str, Any]:
    """Limits are the requests: an engine that is throttled or evicted is a lost engine."""
    amounts: dict[str, Any] = {"cpu": cpus, "memory": memory}
    if gpus:
        amounts["nvidia.com/gpu"] = gpus
    return {"requests": amounts, "limits": amounts}


def _label(name: str) -> str:
    """A model's name as Kubernetes takes it."""
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:40] or "model"

"""Manifests: those in the repository are what the code makes of the specs beside them, they fit
KubeRay's and Ray Serve's schemas, and what stands in several places agrees."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from cluster.spec import SpecError, parse, resolve_devices
from serve_app import cli, ingress
from serve_app.app import STOP_S
from serve_app.k8s_files import BASE, RENDERED, files
from serve_app.k8s_render import RAY_VERSION, Times, render, serve_config, text
from serve_app.launch import RAY_ENVIRONMENT

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "k8s"
SCHEMA = ROOT.parent / "shared" / "k8s" / "rayservice_v1.schema.json"
KUBERNETES = "1.33"
KUBECTL = shutil.which("kubectl")
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())

SPEC = {
    "models": [
        {
            "name": "Meta/llama_3.1",
            "source": "a/b",
            "engine": {"tensor_parallel_size": 2},
            "resources": {"device": "gpu", "cpus": 3.5, "accelerator_type": "H100"},
            "scaling": {"min": 0, "max": 3},
            "replicas": 2,
            "env": {"A": "1"},
        },
        {"name": "small", "source": "c/d", "resources": {"device": "cpu"}, "replicas": 4},
    ],
    "gateway": {"replicas": 3, "cpus": 2, "open": True},
    "failover": {"drain_timeout_s": 100},
    "ports": {"http": 9000},
}


def rendered(**change: Any) -> dict[str, Any]:
    return render(resolve_devices(parse({**SPEC, **change}), gpu_build=True))


def cluster_of(service: dict[str, Any]) -> dict[str, Any]:
    return service["spec"]["rayClusterConfig"]


def pods(service: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = cluster_of(service)
    return [group["template"] for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["spec"]["containers"]
    return only


def environment(pod: dict[str, Any]) -> dict[str, str | None]:
    return {each["name"]: each.get("value") for each in container(pod)["env"]}


def overlay(name: str) -> dict[str, Any]:
    """The RayService that an overlay makes, by what of Kustomize it uses: operations on it."""
    service = yaml.safe_load((FOLDER / BASE / "rayservice.yaml").read_text())
    kustomization = yaml.safe_load((FOLDER / "overlays" / name / "kustomization.yaml").read_text())
    for patch in kustomization["patches"]:
        for operation in yaml.safe_load(patch["patch"]):
            _apply(service, operation)
    return service


def _apply(data: Any, operation: dict[str, Any]) -> None:
    *way, last = operation["path"].strip("/").split("/")
    for part in way:
        data = data[int(part)] if isinstance(data, list) else data[part]
    if isinstance(data, list):
        assert (operation["op"], last) == ("add", "-")
        data.append(operation["value"])
    else:
        assert operation["op"] in ("add", "replace")
        data[last] = operation["value"]


def test_what_is_in_the_repository_is_what_the_code_makes():
    for place, made in files(FOLDER).items():
        assert (FOLDER / place).read_text() == made, "run: python -m serve_app.k8s_files k8s"


@pytest.mark.skipif(not SCHEMA.exists(), reason="KubeRay's schema is not in the repository")
@pytest.mark.parametrize("name", [*OVERLAYS, None])
def test_kuberay_takes_them(name):
    service = rendered() if name is None else overlay(name)
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    assert [error.message for error in validator.iter_errors(service)] == []


@pytest.mark.skipif(not SCHEMA.exists(), reason="KubeRay's schema is not in the repository")
def test_the_check_against_the_schema_finds_what_is_wrong():
    service = copy.deepcopy(rendered())
    cluster_of(service)["workerGroupSpecs"][0]["minReplicas"] = "many"
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    assert list(validator.iter_errors(service))


@pytest.mark.parametrize("name", [*OVERLAYS, None])
def test_ray_serve_takes_the_config_and_knows_all_of_it(name):
    service = rendered() if name is None else overlay(name)
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    taken = ServeDeploySchema.model_validate(config).model_dump(exclude_unset=True)
    assert taken.keys() == config.keys()
    assert taken["applications"][0].keys() == config["applications"][0].keys()
    parse(config["applications"][0]["args"]["spec"])


@pytest.mark.parametrize("name", [name for name in OVERLAYS if name in RENDERED])
def test_an_overlay_with_a_spec_is_that_spec(name):
    from cluster.spec import load

    spec = resolve_devices(load(FOLDER / "overlays" / name / "spec.yaml"), gpu_build=True)
    assert overlay(name)["spec"] == yaml.safe_load(text(render(spec)))["spec"]


@pytest.mark.skipif(KUBECTL is None, reason="needs kubectl")
@pytest.mark.parametrize("name", OVERLAYS)
def test_kustomize_makes_the_same(name):
    made = subprocess.run(
        [str(KUBECTL), "kustomize", str(FOLDER / "overlays" / name)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (service,) = [each for each in yaml.safe_load_all(made) if each["kind"] == "RayService"]
    assert service == overlay(name)


def test_an_engine_is_a_pod_with_its_gpus():
    _, engines, small = cluster_of(rendered())["workerGroupSpecs"]
    assert engines["groupName"] == "engines-meta-llama-3-1"
    assert (engines["minReplicas"], engines["replicas"], engines["maxReplicas"]) == (0, 2, 3)
    resources = container(engines["template"])["resources"]
    assert resources["limits"] == resources["requests"]
    assert resources["limits"]["nvidia.com/gpu"] == 2
    assert resources["limits"]["memory"] == "32Gi"
    assert engines["rayStartParams"]["num-cpus"] == "4"
    assert engines["template"]["spec"]["nodeSelector"] == {"tokenfleet/accelerator": "H100"}
    assert environment(engines["template"])["A"] == "1"
    assert (small["minReplicas"], small["maxReplicas"]) == (4, 4)
    assert "nvidia.com/gpu" not in container(small["template"])["resources"]["limits"]


def test_gateways_are_spread_and_the_head_works_for_nobody():
    cluster = cluster_of(rendered())
    gateways = cluster["workerGroupSpecs"][0]
    assert (gateways["minReplicas"], gateways["maxReplicas"]) == (3, 3)
    assert gateways["template"]["spec"]["topologySpreadConstraints"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_the_autoscaler_runs_where_something_scales():
    assert cluster_of(rendered())["autoscalerOptions"]["version"] == "v2"
    assert "enableInTreeAutoscaling" not in cluster_of(rendered(models=SPEC["models"][1:]))


def test_ports_agree():
    service = rendered()
    assert yaml.safe_load(service["spec"]["serveConfigV2"])["http_options"]["port"] == 9000
    for pod in pods(service):
        named = {each["name"]: each["containerPort"] for each in container(pod)["ports"]}
        assert (named["serve"], named["metrics"]) == (9000, 8080)


def test_every_pod_has_the_environment_of_make_serve():
    for pod in pods(rendered()):
        env = environment(pod)
        assert {**ingress.haproxy_mode(), **RAY_ENVIRONMENT}.items() <= env.items()
        assert env["TOKENFLEET_WIRE_SECRET"] is None, "from the secret"


def test_each_end_waits_longer_than_what_it_waits_for():
    spec = parse(SPEC)
    times = Times.of(spec)
    assert spec.failover.drain_timeout_s <= times.drain_s
    assert times.drain_s + STOP_S <= times.replica_s < times.node_s < times.pod_s
    for pod in pods(rendered()):
        assert pod["spec"]["terminationGracePeriodSeconds"] == times.pod_s
        assert environment(pod)["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == str(times.node_s)
    assert rendered()["spec"]["rayClusterDeletionDelaySeconds"] >= ingress.LONGEST_STREAM_S


def test_no_pod_runs_as_root_or_writes_where_it_need_not():
    for pod in pods(rendered()):
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        security = container(pod)["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_tenants_come_from_a_secret_in_every_pod():
    service = rendered(tenants_file="/etc/tokenfleet/tenants.yaml", gateway={"replicas": 3})
    for pod in pods(service):
        mounts = {each["mountPath"]: each for each in container(pod)["volumeMounts"]}
        assert mounts["/etc/tokenfleet"]["readOnly"] is True


def test_an_endpoint_is_not_opened_by_accident():
    with pytest.raises(SpecError, match=r"gateway\.open"):
        rendered(gateway={"replicas": 1})


def test_ray_is_the_one_that_is_installed():
    import ray

    assert ray.__version__ == RAY_VERSION
    assert f"ray[serve]=={RAY_VERSION}" in (ROOT / "pyproject.toml").read_text()


def test_only_the_endpoint_is_reached_from_outside():
    policy = yaml.safe_load((FOLDER / BASE / "network-policy.yaml").read_text())
    open_to_all = [rule for rule in policy["spec"]["ingress"] if "from" not in rule]
    assert open_to_all == [{"ports": [{"protocol": "TCP", "port": 8000}]}]
    service = yaml.safe_load((FOLDER / BASE / "rayservice.yaml").read_text())
    chosen = policy["spec"]["podSelector"]["matchLabels"].items()
    assert all(chosen <= pod["metadata"]["labels"].items() for pod in pods(service))


def test_budgets_name_pods_that_there_are():
    service = yaml.safe_load((FOLDER / BASE / "rayservice.yaml").read_text())
    for budget in yaml.safe_load_all((FOLDER / BASE / "disruption-budgets.yaml").read_text()):
        chosen = budget["spec"]["selector"]["matchLabels"].items()
        assert any(chosen <= pod["metadata"]["labels"].items() for pod in pods(service))
        assert type(budget["spec"]["minAvailable"]) is int


def test_engines_on_spot_nodes_and_gateways_elsewhere():
    gateways, *engines = cluster_of(overlay("spot"))["workerGroupSpecs"]
    assert "tolerations" not in gateways["template"]["spec"]
    for group in engines:
        keys = {each["key"] for each in group["template"]["spec"]["tolerations"]}
        assert keys == {"nvidia.com/gpu", "tokenfleet/spot"}


def test_ha_keeps_the_control_store_in_redis():
    options = cluster_of(overlay("ha"))["gcsFaultToleranceOptions"]
    service, _ = yaml.safe_load_all((FOLDER / "overlays" / "ha" / "redis.yaml").read_text())
    host, _, port = options["redisAddress"].partition(":")
    assert (service["metadata"]["name"], service["spec"]["ports"][0]["port"]) == (host, int(port))


OWN_KINDS = ("RayService", "Kustomization", "PodMonitor", "PrometheusRule")
CORE = [
    (f"{path.relative_to(FOLDER)}: {each['kind']} {each['metadata']['name']}", each)
    for path in sorted(FOLDER.rglob("*.yaml"))
    for each in yaml.safe_load_all(path.read_text())
    if each.get("kind") not in (*OWN_KINDS, None)
]


@pytest.mark.parametrize("manifest", [pytest.param(each, id=where) for where, each in CORE])
def test_kubernetes_takes_its_own_kinds(manifest):
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("component", [0, 1, 2])
def test_kubernetes_takes_the_pods(component):
    pod = pods(rendered(tenants_file="/etc/tokenfleet/tenants.yaml", gateway={}))[component]
    pod = {"apiVersion": "v1", "kind": "Pod", **pod}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_the_check_of_pods_finds_what_is_wrong():
    pod = {"apiVersion": "v1", "kind": "Pod", **pods(rendered())[0]}
    pod["spec"]["restart"] = "Never"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_every_resource_that_a_kustomization_names_is_there():
    for path in FOLDER.rglob("kustomization.yaml"):
        for resource in yaml.safe_load(path.read_text())["resources"]:
            assert (path.parent / resource).exists(), f"{path}: {resource}"


def test_the_command_prints_what_is_rendered(capsys):
    assert cli.main(["k8s", "render", str(FOLDER / BASE / "spec.yaml"), "--image", "mine:1"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert {container(pod)["image"] for pod in pods(printed)} == {"mine:1"}


def test_the_image_has_what_the_manifests_name():
    dockerfile = (FOLDER / "Dockerfile").read_text()
    env = environment(pods(rendered())[0])
    assert os.path.dirname(env["RAY_SERVE_HAPROXY_BINARY_PATH"]) in dockerfile
    assert re.search(r"^USER 1000", dockerfile, re.MULTILINE)


def test_a_config_for_serve_deploy_is_the_same():
    spec = resolve_devices(parse(SPEC), gpu_build=True)
    assert render(spec)["spec"]["serveConfigV2"] == serve_config(spec)

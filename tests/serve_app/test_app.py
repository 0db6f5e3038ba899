"""The Serve application of a spec: what Serve is asked to start, without starting it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from ray.serve.deployment import Application, Deployment

from cluster import spec as cluster_spec
from cluster.spec import ClusterSpec, SpecError, load, resolve_devices
from serve_app import app, engine_args, examples, ingress
from serve_app.app import application
from serve_app.logs import LEAVE_HANDLERS_ENV
from serve_app.membership import MODEL_KEY
from serve_app.settings import HAPROXY_BINARY_ENV, WIRE_SECRET_ENV


def example(name: str, *, gpu_build: bool = False) -> ClusterSpec:
    return resolve_devices(load(examples.find(name)), gpu_build=gpu_build)


def spec_of(*models: dict, **more) -> ClusterSpec:
    return resolve_devices(cluster_spec.parse({"models": models, **more}), gpu_build=False)


DEMO = {"name": "demo", "source": "demo"}
TENANTS = [{"name": "a", "key_hashes": ["0" * 64]}]


def deployment_of(bound: Application) -> Deployment:
    return bound._bound_deployment


def gateway(spec: ClusterSpec) -> Deployment:
    return deployment_of(application(spec))


def engines(spec: ClusterSpec) -> list[Deployment]:
    """One per model, in the spec's order."""
    bound = gateway(spec).init_kwargs
    return [deployment_of(bound[f"engines_{index}"]) for index in range(len(spec.models))]


def size(deployment: Deployment) -> tuple[int, int]:
    """The fewest and the most replicas."""
    scaling = deployment._deployment_config.autoscaling_config
    if scaling is None:
        return deployment.num_replicas, deployment.num_replicas
    return scaling.min_replicas, scaling.max_replicas


def environment(deployment: Deployment) -> dict[str, str]:
    return deployment.ray_actor_options["runtime_env"]["env_vars"]


@pytest.mark.parametrize("name", examples.names())
@pytest.mark.parametrize("gpu_build", [False, True], ids=["CPU build", "CUDA build"])
def test_every_example_is_engines_behind_gateways(name, gpu_build):
    spec = example(name, gpu_build=gpu_build)
    for engine, model in zip(engines(spec), spec.models, strict=True):
        scaling = model.scaling
        fixed = (model.replicas, model.replicas)
        assert size(engine) == (fixed if scaling is None else (scaling.min, scaling.max))
        assert engine.ray_actor_options["num_cpus"] == model.resources.cpus
        assert engine.ray_actor_options["num_gpus"] == model.gpus_per_replica
    front = gateway(spec)
    assert size(front) == (spec.gateway.replicas, spec.gateway.replicas)
    assert front.ray_actor_options["num_cpus"] == spec.gateway.cpus
    assert not front.ray_actor_options.get("num_gpus")


@pytest.mark.parametrize(
    ("name", "gpu_build", "gpus"),
    [
        pytest.param("spec-local-one.yaml", False, [0], id="the CPU build uses none"),
        pytest.param("spec-local-two.yaml", True, [1], id="the CUDA build one each"),
        pytest.param("spec-two-models.yaml", True, [1, 1], id="each of two models"),
        pytest.param("spec-8gpu-node.yaml", True, [4, 2], id="one per tensor-parallel rank"),
        pytest.param("spec-8gpu-node.yaml", False, [4, 2], id="as the spec says, not the build"),
    ],
)
def test_gpus_of_the_examples(name, gpu_build, gpus):
    spec = example(name, gpu_build=gpu_build)
    assert [engine.ray_actor_options["num_gpus"] for engine in engines(spec)] == gpus


def test_the_8_gpu_example_fills_its_node():
    spec = example("spec-8gpu-node.yaml", gpu_build=True)
    assert sum(e.num_replicas * e.ray_actor_options["num_gpus"] for e in engines(spec)) == 8


def test_a_device_left_to_the_installation_must_be_resolved_first():
    with pytest.raises(ValueError, match="resolve_devices"):
        application(cluster_spec.parse({"models": [DEMO]}))


@pytest.mark.parametrize(
    ("resources", "expected"),
    [({"accelerator_type": "H100"}, {"accelerator_type": "H100"}), ({}, {})],
    ids=["named", "any"],
)
def test_an_accelerator_is_asked_for_where_the_spec_names_one(resources, expected):
    (engine,) = engines(spec_of({**DEMO, "resources": resources}))
    options = engine.ray_actor_options
    assert {k: v for k, v in options.items() if k == "accelerator_type"} == expected


def test_each_engine_has_its_model_s_environment_and_the_gateway_its_own():
    spec = spec_of(
        {**DEMO, "env": {"MINE": "1"}},
        {**DEMO, "name": "other"},
        gateway={"env": {"FRONT": "2", "VLLM_CPU_KVCACHE_SPACE": "3"}},
    )
    one, other = engines(spec)
    assert environment(one)["MINE"] == "1"
    assert "MINE" not in environment(other)
    assert "MINE" not in environment(gateway(spec))
    assert environment(gateway(spec))["FRONT"] == "2"
    assert environment(gateway(spec))["VLLM_CPU_KVCACHE_SPACE"] == "3"  # the spec's word is last
    assert "FRONT" not in environment(one)


def test_the_demo_s_threads_reach_its_engine():
    (engine,) = engines(example("spec-local-one.yaml"))
    assert environment(engine).items() >= {"OMP_NUM_THREADS": "1"}.items()


def test_a_gateway_needs_no_gpu_where_vllm_s_cuda_build_is_installed():
    assert environment(gateway(spec_of(DEMO)))["VLLM_TARGET_DEVICE"] == "cpu"


def test_vllm_configures_no_logging_in_any_replica():
    spec = spec_of(DEMO)
    for deployment in (gateway(spec), *engines(spec)):
        assert environment(deployment).items() >= LEAVE_HANDLERS_ENV.items()


def test_every_engine_is_followed_under_its_own_model_s_name():
    spec = spec_of(DEMO, {**DEMO, "name": "org/other"})
    for engine, model in zip(engines(spec), spec.models, strict=True):
        router = engine._deployment_config.request_router_config
        assert router.request_router_class == "serve_app.membership:MembershipRouter"
        assert router.request_router_kwargs == {MODEL_KEY: model.name}


def test_deployments_have_names_that_serve_and_urls_can_carry():
    spec = spec_of(DEMO, {**DEMO, "name": "meta-llama/Llama-3.1-8B"})
    assert [engine.name for engine in engines(spec)] == [
        "Engine:demo",
        "Engine:meta-llama--Llama-3.1-8B",
    ]
    assert gateway(spec).name == "Gateway"


OTHER = {**DEMO, "name": "other"}


def test_every_replica_is_given_the_models_it_serves_and_all_limits():
    spec = spec_of(DEMO, OTHER, failover={"max_attempts": 7})
    for engine, model in zip(engines(spec), spec.models, strict=True):
        raw, name = engine.init_args
        assert cluster_spec.parse(raw) == spec.model_copy(update={"models": (model,)})
        assert name == model.name
    (raw,) = gateway(spec).init_args
    assert cluster_spec.parse(raw) == spec


@pytest.mark.parametrize(
    ("changed", "replaced"),
    [
        ([{**DEMO, "replicas": 3}, OTHER], [False, False, False]),
        ([{**DEMO, "engine": {"max_model_len": 512}}, OTHER], [True, True, False]),
        ([{**DEMO, "routing": {"policy": "random"}}, OTHER], [True, False, False]),
        ([{**DEMO, "routing": {"decision_log": "log.jsonl"}}, OTHER], [True, False, False]),
        ([{**DEMO, "scaling": {"min": 0, "max": 9}}, OTHER], [False, False, False]),
        ([{**DEMO, "slo": {"ttft_s": 0.5}}, OTHER], [True, False, False]),
    ],
    ids=[
        "more replicas",
        "an engine argument",
        "another policy",
        "a decision log",
        "limits of scaling",
        "an SLO",
    ],
)
def test_a_changed_spec_replaces_only_the_replicas_that_read_what_changed(changed, replaced):
    before, after = (
        [deployment.init_args for deployment in (gateway(spec), *engines(spec))]
        for spec in (spec_of(DEMO, OTHER), spec_of(*changed))
    )
    assert [a != b for a, b in zip(before, after, strict=True)] == replaced


def test_the_gateway_holds_as_many_streams_as_the_spec_allows():
    spec = spec_of(DEMO, gateway={"max_ongoing_requests": 99, "replicas": 3})
    assert (gateway(spec).max_ongoing_requests, size(gateway(spec))) == (99, (3, 3))


def test_serve_looks_often_for_dead_cores_and_waits_for_streams_to_move():
    spec = spec_of(DEMO, failover={"drain_timeout_s": 600})
    (engine,) = engines(spec)
    assert engine._deployment_config.health_check_period_s == app.ENGINE_HEALTH_PERIOD_S
    for deployment in (engine, gateway(spec)):
        assert deployment._deployment_config.graceful_shutdown_timeout_s == 600 + app.STOP_S


def test_the_number_of_gateways_may_change_and_replaces_nothing():
    fixed, scaled = spec_of(DEMO), spec_of(DEMO, gateway={"scaling": {"min": 2, "max": 5}})
    assert size(gateway(scaled)) == (2, 5)
    assert gateway(fixed).init_args == gateway(scaled).init_args


def test_serve_scales_by_our_policies_alone_at_once_on_fresh_reports():
    spec = spec_of({**DEMO, "replicas": 3, "scaling": {"min": 0, "max": 4, "idle_s": 7}}, OTHER)
    front, (engine, other) = gateway(spec), engines(spec)
    assert other._deployment_config.autoscaling_config is None
    for deployment in (front, engine):
        config = deployment._deployment_config.autoscaling_config
        assert config.upscale_delay_s == config.downscale_delay_s == 0
        assert config.downscale_to_zero_delay_s == 0
        assert config.get_upscaling_factor() == config.get_downscaling_factor() == 1
        assert config.initial_replicas is None, "Serve would go back to it at every deploy"
        assert config.metrics_interval_s <= 1
    arguments = engine._deployment_config.autoscaling_config.policy.policy_kwargs
    assert (arguments["model"], arguments["first"]) == ("demo", 3)
    assert arguments["scaling"]["idle_s"] == 7


@contextmanager
def checking_here(spec: ClusterSpec) -> Iterator[Callable[[], None]]:
    """vLLM's check in this process, which has imported vLLM already."""
    yield lambda: engine_args.check(spec)


@pytest.fixture
def _checked_alone(monkeypatch):
    """A spec is checked, and Serve is not started."""
    monkeypatch.setattr(app, "checking", checking_here)
    monkeypatch.setattr(app, "start_http", lambda spec, checked: checked())


@pytest.fixture
def _nothing_starts(monkeypatch):
    monkeypatch.setattr(app, "start_http", lambda *given: pytest.fail("Serve was started"))


@pytest.mark.usefixtures("_nothing_starts")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param({"spec": "spec-local-one.yaml", "prot": "1"}, "prot", id="a misspelt one"),
        pytest.param({"spec": "spec-nowhere.yaml"}, "spec-nowhere", id="no such spec"),
        pytest.param({"port": "http"}, "ports.http", id="a port that is none"),
    ],
)
def test_a_wrong_argument_is_reported_before_anything_starts(arguments, complaint):
    with pytest.raises(SpecError, match=complaint):
        app.build(arguments)


@pytest.mark.usefixtures("_checked_alone")
def test_a_spec_may_be_among_the_arguments_itself():
    inline = {"models": [{"name": "mine", "source": "demo", "replicas": 2}]}
    built = app.build({"spec": inline, "port": 9000})
    engine = deployment_of(built).init_kwargs["engines_0"]
    assert deployment_of(engine).num_replicas == 2
    with pytest.raises(SpecError, match="sauce: unknown key"):
        app.build({"spec": {"models": [{"name": "mine", "sauce": "demo"}]}})


def test_what_vllm_refuses_is_reported_before_anything_starts_that_stays(tmp_path, monkeypatch):
    """In a process of its own, as for a user."""
    started = []
    monkeypatch.setattr(ingress.ray, "is_initialized", lambda: True)  # another's
    monkeypatch.setattr(ingress.serve, "start", lambda **options: started.append(options))
    file = tmp_path / "spec.yaml"
    file.write_text("models: [{name: demo, source: demo, engine: {max_model_length: 5}}]")
    with pytest.raises(SpecError, match=r"models\[0\].engine.max_model_length"):
        app.build({"spec": str(file)})
    assert not started


@pytest.mark.parametrize("ours", [True, False])
def test_serve_starts_before_a_spec_is_checked_only_where_ray_is_this_process_s(ours, monkeypatch):
    happened = []
    monkeypatch.setattr(ingress.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ingress, "_ray_ends_with_us", lambda: ours)
    monkeypatch.setattr(ingress.serve, "start", lambda **options: happened.append("serve"))
    ingress.start_http(spec_of(DEMO), lambda: happened.append("checked"))
    assert happened[:2] == (["serve", "checked"] if ours else ["checked", "serve"])


@pytest.mark.usefixtures("_nothing_starts")
def test_a_bad_wire_secret_is_reported_before_anything_starts(monkeypatch):
    monkeypatch.setenv(WIRE_SECRET_ENV, "hunter2")
    with pytest.raises(ValueError, match="secret 1 of 1 has 7 characters"):
        app.build({"spec": examples.DEFAULT})


@pytest.mark.parametrize(
    ("environment", "warning"),
    [
        ({}, "Python proxy is the ingress"),
        ({"RAY_SERVE_ENABLE_HA_PROXY": "1"}, "a client that leaves"),
        ({"RAY_SERVE_ENABLE_HA_PROXY": "1", HAPROXY_BINARY_ENV: "/usr/sbin/haproxy"}, None),
    ],
    ids=["Python proxy", "HAProxy as Serve starts it", "the user's HAProxy"],
)
@pytest.mark.usefixtures("_checked_alone")
def test_the_log_says_what_the_ingress_costs(environment, warning, monkeypatch, caplog):
    for name in ("RAY_SERVE_ENABLE_HA_PROXY", HAPROXY_BINARY_ENV):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level("WARNING", "ray.serve"):
        app.build({"spec": {"models": [DEMO], "tenants": TENANTS}})
    assert [warning is not None and warning in message for message in caplog.messages] == [True] * (
        warning is not None
    )


@pytest.mark.parametrize("tenants", [{"tenants": TENANTS}, {"tenants_file": "/t.yaml"}])
def test_where_there_are_tenants_one_small_deployment_divides_their_limits(tenants):
    front = gateway(spec_of(DEMO, **tenants))
    limits = deployment_of(front.init_kwargs["limits"])
    assert (limits.name, limits.num_replicas) == ("Limits", 1)
    assert limits.ray_actor_options["num_cpus"] == 0
    assert environment(limits).items() >= LEAVE_HANDLERS_ENV.items()


def test_without_tenants_there_is_none():
    assert "limits" not in gateway(spec_of(DEMO)).init_kwargs


def test_other_tenants_replace_gateways_and_no_engine():
    def versions(**more) -> tuple[str, str]:
        front = gateway(spec_of(DEMO, **more))
        return front._version, deployment_of(front.init_kwargs["engines_0"])._version

    before, after = versions(), versions(tenants=TENANTS)
    assert before[0] != after[0]
    assert before[1] == after[1]


@pytest.mark.usefixtures("_checked_alone")
def test_an_open_cluster_is_warned_about(caplog):
    caplog.set_level("WARNING", "ray.serve")
    app.build({})
    assert "no tenants: everyone who reaches 127.0.0.1:8000" in caplog.text
    caplog.clear()
    app.build({"spec": {"models": [DEMO], "tenants": TENANTS}})
    assert "no tenants" not in caplog.text


@pytest.mark.usefixtures("_nothing_starts")
def test_vllm_s_own_key_is_refused_before_anything_is_started(monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "k")
    with pytest.raises(SpecError, match="VLLM_API_KEY"):
        app.build({})

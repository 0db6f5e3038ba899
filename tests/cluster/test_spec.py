"""The spec: what it accepts, what it says about what it does not, and that nothing gets lost."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from cluster import demo_defaults
from cluster.routing.policies import POLICIES
from cluster.scaling.limits import ScalingLimits, Slo
from cluster.spec import (
    ClusterSpec,
    FailoverSpec,
    GatewaySpec,
    ModelSpec,
    PortsSpec,
    ResourceSpec,
    RoutingSpec,
    SpecError,
    dump,
    load,
    parse,
    resolve_devices,
)


def model(**changes: Any) -> dict[str, Any]:
    return {"name": "m", "source": "org/m", **changes}


def violations(data: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse(data)
    return dict(caught.value.violations)


WRONG = {
    "fewer engines at most than at least": (
        {"models": [model(scaling={"min": 3, "max": 2})]},
        {"models[0].scaling.max": "2 is below min (3)"},
    ),
    "scaling without a bound": (
        {"models": [model(scaling={"min": 0})]},
        {"models[0].scaling.max": "required"},
    ),
    "fewer than no engines": (
        {"models": [model(scaling={"min": -1, "max": 0})]},
        {
            "models[0].scaling.min": "-1 is below the minimum 0",
            "models[0].scaling.max": "0 is below the minimum 1",
        },
    ),
    "an SLO that all requests meet": (
        {"models": [model(slo={"ttft_s": 0, "attainment_frac": 1})]},
        {
            "models[0].slo.ttft_s": "0 must be above 0",
            "models[0].slo.attainment_frac": "1 must be below 1",
        },
    ),
    "zero replicas": (
        {"models": [model(replicas=0)]},
        {"models[0].replicas": "0 is below the minimum 1"},
    ),
    "a number in quotes": (
        {"models": [model()], "gateway": {"replicas": "2"}},
        {"gateway.replicas": "'2': Input should be a valid integer"},
    ),
    "a bool for a number": (
        {"models": [model(replicas=True)]},
        {"models[0].replicas": "True: Input should be a valid integer"},
    ),
    "a typo of a key": (
        {"models": [model(replica=2)]},
        {"models[0].replica": "unknown key; did you mean replicas?"},
    ),
    "a typo at the top": (
        {"models": [model()], "gatway": {}},
        {"gatway": "unknown key; did you mean gateway?"},
    ),
    "a key like no other": (
        {"models": [model(resources={"zzz": 1})]},
        {"models[0].resources.zzz": "unknown key"},
    ),
    "no name": (
        {"models": [{"source": "x"}]},
        {"models[0].name": "required, and not given"},
    ),
    "no models": ({"models": []}, {"models": "at least one model is needed"}),
    "a name that is no URL": (
        {"models": [model(name="a b")]},
        {"models[0].name": "'a b' does not match"},
    ),
    "a device there is not": (
        {"models": [model(resources={"device": "tpu"})]},
        {"models[0].resources.device": "'tpu' is not one of 'auto', 'cpu' or 'gpu'"},
    ),
    "a policy there is not": (
        {"models": [model(routing={"policy": "fastest"})]},
        {"models[0].routing.policy": "'fastest' is not one of 'predicted_cost', 'least_load', "},
    ),
    "more than every decision": (
        {"models": [model(routing={"decision_log_frac": 1.5})]},
        {"models[0].routing.decision_log_frac": "1.5 is above the maximum 1"},
    ),
    "not a number": (
        {"models": [model(resources={"cpus": float("nan")})]},
        {"models[0].resources.cpus": "nan: Input should be a finite number"},
    ),
    "a variable name with a digit first": (
        {"models": [model(env={"1X": "a"})]},
        {"models[0].env.1X": "'1X' does not match"},
    ),
    "a bool in the environment": (
        {"models": [model(env={"X": True})]},
        {"models[0].env.X": "True: Input should be a valid string"},
    ),
    "two models of one name": (
        {"models": [model(), model()]},
        {"models[1].name": "'m' is already models[0]"},
    ),
    "two models of one name, one of them wrong": (
        {"models": [model(replicas=0), model()]},
        {
            "models[0].replicas": "0 is below the minimum 1",
            "models[1].name": "'m' is already models[0]",
        },
    ),
    "a timeout within the interval": (
        {"models": [model()], "failover": {"heartbeat_interval_s": 1, "heartbeat_timeout_s": 1}},
        {"failover.heartbeat_timeout_s": "1.0 must be above heartbeat_interval_s (1.0)"},
    ),
    "an interval above the default timeout": (
        {"models": [model()], "failover": {"heartbeat_interval_s": 2.5}},
        {"failover.heartbeat_timeout_s": "1.5 must be above heartbeat_interval_s (2.5)"},
    ),
    "half a port range": (
        {"models": [model()], "ports": {"engine_min": 9000}},
        {"ports.engine_max": "set both engine_min and engine_max, or neither"},
    ),
    "a port range backwards": (
        {"models": [model()], "ports": {"engine_min": 9000, "engine_max": 8000}},
        {"ports.engine_max": "8000 is below engine_min (9000)"},
    ),
    "a key that Tokenfleet sets": (
        {"models": [model(engine={"served_model_name": "x"})]},
        {"models[0].engine.served_model_name": "not yours to set: set name"},
    ),
    "data parallelism": (
        {"models": [model(engine={"data_parallel_size": 2})]},
        {"models[0].engine.data_parallel_size": "must be 1: set replicas"},
    ),
    "a parallel size that is no number": (
        {"models": [model(engine={"tensor_parallel_size": "2"})]},
        {"models[0].engine.tensor_parallel_size": "'2' is not an integer of at least 1"},
    ),
    "a server option of vLLM's": (
        {"models": [model(api={"port": 1, "ssl_keyfile": "k"})]},
        {
            "models[0].api.port": "not yours to set: the cluster has one endpoint",
            "models[0].api.ssl_keyfile": "not yours to set: end TLS",
        },
    ),
    "a forgotten value": (
        {"models": [model(engine={"max_model_len": None})]},
        {"models[0].engine.max_model_len": "has no value"},
    ),
    "an empty file": (None, {"": "None: "}),
}


@pytest.mark.parametrize(("data", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_violation_is_reported_at_its_key(data: Any, expected: dict[str, str]) -> None:
    found = violations(data)
    assert found.keys() == expected.keys()
    for path, start in expected.items():
        assert found[path].startswith(start)


def test_all_violations_are_reported_at_once() -> None:
    data = {
        "models": [
            model(replicas=0, engine={"model": "x", "data_parallel_size": 2}, api={"port": 1}),
            model(resources={"device": "tpu"}),
        ],
        "gateway": {"replicas": 0},
        "ports": {"http": 0},
        "what": 1,
    }
    assert set(violations(data)) == {
        "models[0].replicas",
        "models[0].engine.model",
        "models[0].engine.data_parallel_size",
        "models[0].api.port",
        "models[1].name",
        "models[1].resources.device",
        "gateway.replicas",
        "ports.http",
        "what",
    }


def test_an_error_prints_one_line_per_violation() -> None:
    error = SpecError([("a.b", "wrong"), ("", "the file is missing")])
    assert str(error) == "a.b: wrong\nthe file is missing"


def test_defaults_need_only_a_model() -> None:
    spec = parse({"models": [model()]})
    assert spec == ClusterSpec(models=(ModelSpec(name="m", source="org/m"),))
    assert spec.model("m") is spec.models[0]


def test_the_policies_are_those_there_are() -> None:
    policy = RoutingSpec.model_fields["policy"]
    assert get_args(policy.annotation) == tuple(POLICIES)
    assert policy.default == "predicted_cost"


def test_numbers_in_the_environment_become_text() -> None:
    assert parse({"models": [model(env={"THREADS": 2})]}).models[0].env == {"THREADS": "2"}


def test_logits_processors_of_the_user_pass_through() -> None:
    engine = {"logits_processors": ["package:Processor"]}
    assert parse({"models": [model(engine=engine)]}).models[0].engine == engine


def test_the_demo_brings_its_own_settings() -> None:
    demo = parse({"models": [model(source="demo")]}).models[0]
    assert demo.engine == {**demo_defaults.ENGINE, **demo_defaults.ONE_WORKER}
    assert demo.api == demo_defaults.API
    assert demo.env == demo_defaults.ENV


@pytest.mark.parametrize(
    ("given", "gpu_build", "expected"),
    [
        ({}, False, 2**30),
        ({"engine": {"kv_cache_memory_bytes": 2**27}}, False, 2**27),
        ({"preset": "memory"}, False, 2**28),
        ({"env": {"VLLM_CPU_KVCACHE_SPACE": "3"}}, False, None),
        ({}, True, None),
    ],
)
def test_the_demo_s_cache_is_small_on_a_cpu_unless_somebody_says_otherwise(
    given: dict[str, Any], gpu_build: bool, expected: int | None
) -> None:
    spec = resolve_devices(parse({"models": [model(source="demo", **given)]}), gpu_build=gpu_build)
    demo = spec.models[0]
    assert demo.engine.get("kv_cache_memory_bytes") == expected
    assert demo.env == {**demo_defaults.ENV, **given.get("env", {})}


def test_two_sizes_of_one_cache_are_refused() -> None:
    both = model(engine={"kv_cache_memory_bytes": 2**27}, env={"VLLM_CPU_KVCACHE_SPACE": "1"})
    (told,) = violations({"models": [both]}).values()
    assert "VLLM_CPU_KVCACHE_SPACE (1 GiB)" in told
    assert "engine.kv_cache_memory_bytes is 134217728" in told


def test_explicit_settings_win_over_the_demos() -> None:
    given_engine = {"max_model_len": 4096, "seed": 7}
    demo = parse({"models": [model(source="demo", engine=given_engine)]}).models[0]
    assert demo.engine == {**demo_defaults.ENGINE, **demo_defaults.ONE_WORKER, **given_engine}


@pytest.mark.parametrize("key", demo_defaults.PARALLEL_SIZES)
def test_a_demo_that_is_split_gets_the_workers_vllm_gives_it(key: str) -> None:
    demo = parse({"models": [model(source="demo", engine={key: 2})]}).models[0]
    assert demo.engine == {**demo_defaults.ENGINE, key: 2}


def test_wrong_types_are_reported_for_the_demo_too() -> None:
    assert set(violations({"models": [model(source="demo", engine=3)]})) == {"models[0].engine"}


@pytest.mark.parametrize(
    ("device", "gpu_build", "gpus"),
    [("auto", True, 8), ("auto", False, 0), ("cpu", True, 0), ("gpu", False, 8)],
)
def test_gpus_follow_from_the_parallel_sizes(device: str, gpu_build: bool, gpus: int) -> None:
    engine = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}
    spec = parse({"models": [model(engine=engine, resources={"device": device})]})
    assert resolve_devices(spec, gpu_build=gpu_build).models[0].gpus_per_replica == gpus


def test_gpus_are_not_guessed_while_the_device_is_open() -> None:
    with pytest.raises(ValueError, match="resolve_devices"):
        _ = parse({"models": [model()]}).models[0].gpus_per_replica


def test_a_file_is_loaded_and_its_relative_sources_resolved(tmp_path: Path) -> None:
    file = tmp_path / "specs" / "s.yaml"
    file.parent.mkdir()
    file.write_text("models: [{name: a, source: ../weights}, {name: b, source: org/b}]")
    assert [m.source for m in load(file).models] == [str(tmp_path / "weights"), "org/b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read"), (b"models: [", "not valid YAML"), (b"\xff\xfe\x00", "not valid YAML")],
    ids=["missing", "broken", "binary"],
)
def test_a_file_that_is_no_yaml_is_a_spec_error(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "s.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SpecError, match=message):
        load(file)


@pytest.mark.parametrize(
    "spec_class",
    [ClusterSpec, ModelSpec, ResourceSpec, RoutingSpec, GatewaySpec, FailoverSpec, PortsSpec],
)
def test_every_field_is_documented(spec_class: type[BaseModel]) -> None:
    missing = [n for n, field in spec_class.model_fields.items() if not field.description]
    assert missing == []


# --- properties -------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
JSON = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=3,
)
NAMES = st.from_regex(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}(/[A-Za-z0-9][A-Za-z0-9._-]{0,8})?", fullmatch=True
)
ENV = st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,6}", fullmatch=True), TEXT, max_size=2)
PASSED_THROUGH = st.dictionaries(st.sampled_from(["max_model_len", "seed", "dtype"]), JSON)
CPUS = st.floats(0, 64)

MODELS = st.fixed_dictionaries(
    {"name": NAMES, "source": st.sampled_from(["demo", "org/m", "/models/m"])},
    optional={
        "engine": PASSED_THROUGH,
        "api": PASSED_THROUGH,
        "replicas": st.integers(1, 9),
        "scaling": st.fixed_dictionaries(
            {"min": st.integers(0, 3), "max": st.integers(3, 9), "idle_s": st.floats(0, 1e6)}
        ),
        "slo": st.fixed_dictionaries({"ttft_s": st.floats(0.01, 60)}),
        "resources": st.fixed_dictionaries(
            {"device": st.sampled_from(["auto", "cpu", "gpu"]), "cpus": CPUS}
        ),
        "env": ENV,
        "routing": st.fixed_dictionaries(
            {"policy": st.sampled_from(sorted(POLICIES)), "decision_log_frac": st.floats(0, 1)}
        ),
    },
)
SPECS = st.fixed_dictionaries(
    {"models": st.lists(MODELS, min_size=1, max_size=3, unique_by=lambda m: m["name"])},
    optional={
        "gateway": st.fixed_dictionaries({"replicas": st.integers(1, 4), "cpus": CPUS, "env": ENV}),
        "failover": st.fixed_dictionaries({"hold_timeout_s": st.floats(0, 600)}),
        "ports": st.fixed_dictionaries({"http": st.integers(1, 65535)}),
    },
)


@settings(deadline=None)  # the machine may be busy
@given(SPECS)
def test_a_dumped_spec_reads_back_the_same(data: dict[str, Any]) -> None:
    spec = parse(data)
    assert parse(yaml.safe_load(dump(spec))) == spec


Path_ = tuple[str | int, ...]


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Paths of the typed fields of a dumped spec; what engine and api hold is vLLM's to type."""
    if isinstance(value, dict) and path[-1:] not in [("engine",), ("api",), ("env",)]:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path


def text_of(path: Path_) -> str:
    parts = [f"[{p}]" if isinstance(p, int) else f".{p}" for p in path]
    return "".join(parts).removeprefix(".")


@settings(deadline=None)  # the machine may be busy
@given(SPECS, st.data())
def test_a_corrupted_field_is_reported_at_its_own_path(
    raw: dict[str, Any], data: st.DataObject
) -> None:
    corrupted = copy.deepcopy(parse(raw).model_dump(mode="json"))
    path = data.draw(st.sampled_from(list(leaves(corrupted))))
    target: Any = corrupted
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = object()
    assert list(violations(corrupted)) == [text_of(path)]


@pytest.mark.parametrize(
    ("replicas", "scaling", "first"),
    [(4, None, 4), (1, {"min": 2, "max": 5}, 2), (9, {"min": 0, "max": 5}, 5),
     (3, {"min": 0, "max": 5}, 3)],
    ids=["fixed", "below the least", "above the most", "between"],
)  # fmt: skip
def test_a_model_starts_with_its_replicas_within_the_bounds_of_its_scaling(
    replicas: int, scaling: dict[str, Any] | None, first: int
) -> None:
    spec = parse({"models": [model(replicas=replicas, scaling=scaling)]})
    assert spec.models[0].first_replicas == first


def test_what_the_scaler_gets_is_what_the_spec_says() -> None:
    found = parse(
        {
            "models": [
                model(
                    scaling={"min": 0, "max": 5, "idle_s": 7.0, "standby": 1}, slo={"ttft_s": 0.5}
                )
            ]
        }
    ).models[0]
    assert found.scaling is not None
    assert found.scaling.limits == ScalingLimits(least=0, most=5, idle_s=7.0, standby=1)
    assert found.slo.slo == Slo(ttft_s=0.5)
    assert parse({"models": [model()]}).models[0].slo.slo == Slo()

"""Scenario files: what they may say, and what is said about what they may not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtest.scenario import Scenario, ScenarioError, known_scenarios, load_scenario
from loadtest.scenario_layers import settings

TEXT = {"kind": "text", "prompt_tokens": 200, "output_tokens": 64}
OPEN: dict[str, Any] = {
    "description": "people who chat",
    "mode": "open",
    "workload": TEXT,
    "arrivals": {"kind": "poisson", "rate_per_s": 4},
    "duration_s": 60,
    "slo": {"ttft_p99_ms": 500},
}
CLOSED = {**OPEN, "mode": "closed", "arrivals": None, "users": 8, "sessions": 100}


def written(folder: Path, data: object, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(yaml.safe_dump(data))
    return str(path)


def violations(folder: Path, data: object, variant: str = "cpu") -> dict[str, str]:
    """Key path to message of every violation; each must name the file."""
    path = written(folder, data)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path, variant)
    assert all(line.startswith(f"{path}: ") for line in str(caught.value).splitlines())
    return dict(caught.value.violations)


def test_a_file_has_the_name_of_its_scenario(tmp_path: Path) -> None:
    scenario = load_scenario(written(tmp_path, OPEN), "gpu")
    assert (scenario.name, scenario.variant, scenario.measured_s) == ("mine", "gpu", 60)
    assert load_scenario(written(tmp_path, OPEN | {"name": "ours"}), "cpu").name == "ours"


def test_a_variant_is_laid_over_the_file(tmp_path: Path) -> None:
    variants = {
        "cpu": None,
        "gpu": {
            "arrivals": {"rate_per_s": 40},
            "workload": {"prompt_tokens": {"min": 1, "max": 9}},
        },
    }
    path = written(tmp_path, OPEN | {"variants": variants})
    cpu, gpu = load_scenario(path, "cpu"), load_scenario(path, "gpu")
    assert (cpu.arrivals.rate_per_s, gpu.arrivals.rate_per_s) == (4, 40)
    assert (cpu.workload.prompt_tokens.max, gpu.workload.prompt_tokens.max) == (200, 9)
    assert cpu.workload.output_tokens == gpu.workload.output_tokens


def test_another_kind_replaces_the_whole_part(tmp_path: Path) -> None:
    variants = {"cpu": {"arrivals": {"kind": "ramp", "from_per_s": 1, "to_per_s": 3}}}
    scenario = load_scenario(written(tmp_path, OPEN | {"variants": variants}), "cpu")
    assert scenario.arrivals is not None
    assert scenario.arrivals.kind == "ramp"


def test_the_command_line_is_laid_over_both(tmp_path: Path) -> None:
    path = written(tmp_path, OPEN | {"variants": {"cpu": {"seed": 1}}})
    set_ = settings(["seed=2", "arrivals.rate_per_s=7", "workload.prompt_tokens={min: 3, max: 5}"])
    scenario = load_scenario(path, "cpu", set_)
    assert scenario.seed == 2
    assert scenario.arrivals.rate_per_s == 7
    assert (scenario.workload.prompt_tokens.min, scenario.workload.prompt_tokens.max) == (3, 5)


def test_an_open_loop_is_made_a_closed_one(tmp_path: Path) -> None:
    set_ = settings(["mode=closed", "arrivals=null", "users=8", "sessions=100"])
    opened, closed = written(tmp_path, OPEN), written(tmp_path, CLOSED, "closed.yaml")
    scenario = load_scenario(opened, "cpu", set_)
    assert scenario == load_scenario(closed, "cpu").model_copy(update={"name": "mine"})


def test_what_is_dumped_is_read_again(tmp_path: Path) -> None:
    scenario = load_scenario("mixed_tenants", "cpu")
    assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario


def test_every_violation_is_reported_at_once(tmp_path: Path) -> None:
    data = {
        "mode": "open",
        "workload": {"kind": "conversation", "turnss": 3, "user_tokens": 0, "output_tokens": "x"},
        "arrivals": {"kind": "poisson", "rate_per_s": -1, "cv": 2},
        "users": 3,
        "duration_s": 10,
        "warm_up_s": 10,
        "slo": {"ttft_p99": "500"},
        "seeds": 4,
        "tenants": [{"name": "a", "share": 0}, {"name": "b", "share": 1, "api_key_env": "a b"}],
        "variants": {"cpu": {}, "tpu": {}},
    }
    found = violations(tmp_path, data)
    slo = found.pop("slo")
    assert "ttft_p99" in slo
    assert found == {
        "description": "required, and not given",
        "workload.turns": "required, and not given",
        "workload.turnss": "unknown key; did you mean turns?",
        "workload.user_tokens": "0 is below the minimum 1",
        "workload.output_tokens": "'x' is neither a number nor a spread: {min: 50, max: 400}",
        "arrivals.rate_per_s": "-1 must be above 0",
        "arrivals.cv": "unknown key",
        "users": "has no meaning in mode open",
        "warm_up_s": "10.0 must be below duration_s (10.0)",
        "seeds": "unknown key; did you mean seed?",
        "tenants[0].share": "0 must be above 0",
        "tenants[1].api_key_env": "'a b' does not match ^[A-Za-z_][A-Za-z0-9_]*$",
        "variants.tpu": "no such variant; there are cpu, gpu",
    }


def test_a_violation_names_the_layer_it_is_written_in(tmp_path: Path) -> None:
    variants = {"cpu": {"workload": {"prompt_tokens": -1, "chatty": True}}}
    path = written(tmp_path, OPEN | {"timeout_s": 0, "variants": variants})
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path, "cpu", settings(["arrivals.rate_per_s=0"]))
    assert dict(caught.value.violations) == {
        "variants.cpu.workload.prompt_tokens": "-1 is below the minimum 1",
        "variants.cpu.workload.chatty": "unknown key; did you mean chat?",
        "--set arrivals.rate_per_s": "0 must be above 0",
        "timeout_s": "0 must be above 0",
    }


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"arrivals": None}, {"arrivals": "required in mode open, and not given"}),
        ({"mode": "clsed"}, {"mode": "'clsed' is not one of 'open' or 'closed'"}),
        ({"workload": {"prompt_tokens": 3}}, {"workload": "needs a kind"}),
        (
            {"variant": "cpu"},
            {"variant": "is chosen when a scenario is run, not written in its file"},
        ),
        ({"variants": {"gpu": {}}}, {"variants": "has no cpu"}),
        ({"variants": {"cpu": 3}}, {"variants.cpu": "3 is not a mapping"}),
        ({"variants": [1]}, {"variants": "[1] is not a mapping of cpu, gpu"}),
        (
            {"mode": "closed", "arrivals": None},
            {
                "users": "required in mode closed, and not given",
                "sessions": "required in mode closed, and not given",
            },
        ),
        (
            {"tenants": [{"name": "a", "share": 1}, {"name": "a", "share": 2}]},
            {"tenants": "'a' names two tenants"},
        ),
        (
            {"workload": {"kind": "trace"}, "tenants": [{"name": "a", "share": 1}]},
            {"tenants": "a trace cannot be split among tenants: its requests share prefixes"},
        ),
        (
            {
                "tenants": [
                    {"name": "a", "share": 1, "workload": {"kind": "text", "promt_tokens": 1}}
                ]
            },
            {
                "tenants[0].workload.prompt_tokens": "required, and not given",
                "tenants[0].workload.output_tokens": "required, and not given",
                "tenants[0].workload.promt_tokens": "unknown key; did you mean prompt_tokens?",
            },
        ),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, change: dict[str, Any], found: dict[str, str]
) -> None:
    assert violations(tmp_path, OPEN | change) == found


def test_an_unknown_kind_is_told_the_known_ones(tmp_path: Path) -> None:
    found = violations(tmp_path, OPEN | {"workload": {"kind": "txt"}})
    assert found["workload"].startswith("kind: 'txt' is not one of 'text', 'conversation'")


def test_a_trace_needs_no_arrivals(tmp_path: Path) -> None:
    data = OPEN | {"workload": {"kind": "trace"}, "arrivals": None}
    assert load_scenario(written(tmp_path, data), "cpu").arrivals is None


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ScenarioError, match="variants: has no tpu"):
        load_scenario("smoke", "tpu")


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(ScenarioError, match="multiturn: no such scenario; did you mean multi_turn"):
        load_scenario("multiturn", "cpu")
    with pytest.raises(ScenarioError, match="there are burst, chaos, chat"):
        load_scenario("x", "cpu")


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "not valid YAML"), ("- a", r"\['a'\] is not a mapping"), ("", "None is not")],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=message):
        load_scenario(str(path), "cpu")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none\.yaml: cannot read it: No such file"):
        load_scenario(str(tmp_path / "none.yaml"), "cpu")


@pytest.mark.parametrize("text", ["seed", "=3", "a..b=1", "a=[1"])
def test_a_setting_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--set "):
        settings([text])


def test_a_tenants_key_comes_from_the_environment() -> None:
    (tenant,) = Scenario.model_validate(
        OPEN
        | {
            "name": "x",
            "variant": "cpu",
            "tenants": [{"name": "a", "share": 1, "api_key_env": "A_KEY", "headers": {"x-a": "1"}}],
        }
    ).tenants
    assert tenant.request_headers({"A_KEY": "k"}) == {"x-a": "1", "Authorization": "Bearer k"}
    with pytest.raises(ValueError, match="tenant a: the environment variable A_KEY"):
        tenant.request_headers({})


def test_the_scenarios_of_the_package_are_listed() -> None:
    assert known_scenarios() == [
        "burst", "chaos", "chat", "mixed_tenants", "multi_turn", "qa", "rag_long", "ramp",
        "saturated", "smoke", "soak", "steps", "trace", "translate",
    ]  # fmt: skip


STAGED = {**CLOSED, "users": None, "stages": [{"users": 2, "duration_s": 30}]}


def test_a_closed_loop_has_users_or_stages(tmp_path: Path) -> None:
    ramp = {"users": 16, "duration_s": 40, "spawn_rate_per_s": 1}
    staged = STAGED | {"stages": [*STAGED["stages"], ramp]}
    scenario = load_scenario(written(tmp_path, staged), "cpu")
    assert scenario.users is None
    assert [stage.users for stage in scenario.stages or ()] == [2, 16]
    assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario
    assert violations(tmp_path, CLOSED | {"users": None}) == {
        "users": "required in mode closed, and not given"
    }
    assert violations(tmp_path, STAGED | {"users": 8}) == {
        "users": "is what the stages say; give one of the two"
    }
    assert "stages" in violations(tmp_path, OPEN | {"stages": STAGED["stages"]})


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([], "there is no stage"),
        ([{"users": 1, "duration_s": 9, "spawn_rate_per_s": 1}], "[0].spawn_rate_per_s has no"),
        ([{"users": 1, "duration_s": 60}] * 2, "[1] would begin at 60 s, not within duration_s"),
        (
            [{"users": 1, "duration_s": 9}, {"users": 9, "duration_s": 3, "spawn_rate_per_s": 2}],
            "[1]: 8 users come or go in 4 s, and it lasts 3",
        ),
    ],
)
def test_stages_that_cannot_be_held_are_refused(
    tmp_path: Path, stages: list[dict[str, float]], said: str
) -> None:
    found = violations(tmp_path, STAGED | {"stages": stages})
    assert found.keys() == {"stages"}
    assert said in found["stages"]

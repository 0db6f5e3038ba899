"""vLLM's own opinion of `engine:` and `api:`, at the key it is about."""

import json
from typing import Any

import pytest
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

from cluster import reserved
from cluster.spec import ModelSpec, SpecError, parse, resolve_devices
from serve_app import engine_args
from serve_app.demo import MODEL_PATH


def model(**changes: Any) -> ModelSpec:
    return ModelSpec(name="m", source="org/m", **changes)


def violations(spec_model: ModelSpec) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        engine_args.engine_args(spec_model)
    return dict(caught.value.violations)


WRONG = {
    "a typo": (
        {"engine": {"max_modellen": 1}},
        {"engine.max_modellen": "unknown key; did you mean max_model_len?"},
    ),
    "a typo in api": (
        {"api": {"tool_parser": "hermes"}},
        {"api.tool_parser": "unknown key; did you mean tool_call_parser?"},
    ),
    "an api key under engine": (
        {"engine": {"tool_call_parser": "hermes"}},
        {"engine.tool_call_parser": "belongs under api:"},
    ),
    "an engine key under api": (
        {"api": {"max_model_len": 1}},
        {"api.max_model_len": "belongs under engine:"},
    ),
    "text for a number": (
        {"engine": {"max_num_seqs": "many"}},
        {"engine.max_num_seqs": "invalid int value: 'many'"},
    ),
    "a bool for a number": (
        {"engine": {"seed": True}},
        {"engine.seed": "invalid int value: 'true'"},
    ),
    "no for a number": (
        {"engine": {"seed": False}},
        {"engine.seed": "invalid int value: 'false'"},
    ),
    "text for a bool": (
        {"engine": {"enforce_eager": "yes"}},
        {"engine.enforce_eager": "ignored explicit argument 'yes'"},
    ),
    "a list for text": (
        {"engine": {"tokenizer": ["a"]}},
        {"engine.tokenizer": "expects text, got ['a']"},
    ),
    "a choice there is not": (
        {"engine": {"dtype": "float31"}},
        {"engine.dtype": "invalid choice: 'float31'"},
    ),
    "a number out of bounds": (
        {"engine": {"gpu_memory_utilization": 90}},
        {"engine.gpu_memory_utilization": "90.0: Input should be less than or equal to 1"},
    ),
    "a typo in a nested config": (
        {"engine": {"compilation_config": {"levle": 3}}},
        {"engine.compilation_config": "1 validation error for CompilationConfig: levle"},
    ),
    "a typo in a config without an option": (
        {"engine": {"mamba_config": {"zz": 1}}},
        {"engine": "1 validation error for MambaConfig: zz"},
    ),
    "tools without a parser": (
        {"api": {"enable_auto_tool_choice": True}},
        {"api": "--enable-auto-tool-choice requires --tool-call-parser"},
    ),
    "a tool parser there is not": (
        {"api": {"enable_auto_tool_choice": True, "tool_call_parser": "x"}},
        {"api": "invalid tool call parser: x"},
    ),
    "a reasoning parser there is not": (
        {"engine": {"reasoning_parser": "x"}},
        {"api": "Reasoning parser 'x' not found"},
    ),
    "a template that is missing": (
        {"api": {"chat_template": "/nowhere/x.jinja"}},
        {"api": "The supplied chat template string (/nowhere/x.jinja) appears path-like"},
    ),
}


@pytest.mark.parametrize(("changes", "expected"), WRONG.values(), ids=WRONG.keys())
def test_vllms_complaint_is_reported_at_the_key(
    changes: dict[str, Any], expected: dict[str, str]
) -> None:
    found = violations(model(**changes))
    assert found.keys() == expected.keys()
    for path, start in expected.items():
        assert found[path].startswith(start)


RIGHT = {
    "a flag": ("enforce_eager", True, True),
    "a flag's absence": ("enforce_eager", False, False),
    "a flag that is on by default": ("disable_log_stats", False, False),
    "a choice of three": ("enable_prefix_caching", False, False),
    "a number": ("max_model_len", 2048, 2048),
    "a number as people write it": ("max_model_len", "32k", 32000),
    "a fraction": ("gpu_memory_utilization", 0.5, 0.5),
    "text with spaces": ("tokenizer", "a b", "a b"),
    "text like an option": ("tokenizer", "--x", "--x"),
    "a list": ("logits_processors", ["a:B", "c:D"], ["a:B", "c:D"]),
    "a mapping": ("limit_mm_per_prompt", {"image": 2}, {"image": 2}),
    "text or a mapping": ("hf_overrides", {"a": {"b": 1}}, {"a": {"b": 1}}),
    "a mapping that the command line leaves as text": (
        "model_loader_extra_config",
        {"a": 1},
        {"a": 1},
    ),
    "a number that the command line leaves as text": ("optimization_level", 1, 1),
    "a token or a flag": ("hf_token", True, True),
    "a config of dicts": (
        "speculative_config",
        {"method": "ngram", "num_speculative_tokens": 3},
        {"method": "ngram", "num_speculative_tokens": 3},
    ),
}


@pytest.mark.parametrize(("key", "value", "expected"), RIGHT.values(), ids=RIGHT.keys())
def test_a_value_reaches_vllm_as_it_is(key: str, value: Any, expected: Any) -> None:
    assert getattr(engine_args.engine_args(model(engine={key: value})), key) == expected


def test_nested_configs_become_vllms_own() -> None:
    nested = {"kv_connector": "ExampleConnector", "kv_role": "kv_both"}
    args = engine_args.engine_args(model(engine={"kv_transfer_config": nested}))
    assert args.kv_transfer_config.kv_connector == "ExampleConnector"


def defaults() -> dict[str, Any]:
    """Every default of vLLM's command line that YAML could say, by key."""
    found = vars(make_arg_parser(FlexibleArgumentParser(add_help=False)).parse_args([]))
    skipped = {*reserved.ENGINE, *reserved.API, "tokens_only"}
    return {
        key: value
        for key, value in found.items()
        if key not in skipped and value not in (None, [], "") and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except TypeError:
        return False


def test_vllms_own_defaults_are_accepted_and_change_nothing() -> None:
    engine_keys = AsyncEngineArgs.__dataclass_fields__.keys()
    given = defaults()
    engine = {k: v for k, v in given.items() if k in engine_keys}
    api = {k: v for k, v in given.items() if k not in engine_keys}
    args = vars(engine_args.api_server_args(model(engine=engine, api=api)))
    assert len(engine) > 100
    assert {k: args[k] for k in given} == given


def test_the_namespace_is_what_vllms_server_reads() -> None:
    args = engine_args.api_server_args(model(api={"response_role": "bot"}))
    assert (args.model, args.served_model_name) == ("org/m", ["m"])
    assert (args.response_role, args.enable_log_requests) == ("bot", False)


def test_the_demo_is_served_from_its_folder() -> None:
    demo = parse({"models": [{"name": "demo", "source": "demo"}]}).models[0]
    args = engine_args.engine_args(demo)
    assert (args.model, args.dtype, args.block_size) == (str(MODEL_PATH), "float32", 32)


def test_paths_are_expanded_on_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("MODELS", "/models")
    assert engine_args.resolve_source("~/m") == "/home/me/m"
    assert engine_args.resolve_source("${MODELS}/m") == "/models/m"
    assert engine_args.resolve_source("org/m") == "org/m"


def test_a_variable_that_is_not_set_is_a_violation() -> None:
    with pytest.raises(SpecError, match=r"source: '\$NOT_SET/m': \$NOT_SET is not set here"):
        engine_args.resolve_source("$NOT_SET/m")


def test_every_model_of_a_spec_is_checked() -> None:
    wrong = {"engine": {"dtype": "x"}}
    models = [{"name": n, "source": "s", **wrong} for n in ("a", "b")]
    with pytest.raises(SpecError) as caught:
        engine_args.check(parse({"models": models}))
    paths = [path for path, _ in caught.value.violations]
    assert paths == ["models[0].engine.dtype", "models[1].engine.dtype"]


def test_reserved_keys_are_vllms() -> None:
    """A key that vLLM renames must not stay in our tables, where it would guard nothing."""
    known = vars(make_arg_parser(FlexibleArgumentParser(add_help=False)).parse_args([])).keys()
    known |= AsyncEngineArgs.__dataclass_fields__.keys()
    assert reserved.ENGINE.keys() - known == set()
    assert reserved.API.keys() - known == set()


@pytest.mark.parametrize("preset", ["latency", "throughput", "memory"])
@pytest.mark.parametrize("gpu_build", [True, False])
def test_presets_are_fields_that_vllm_has(preset, gpu_build):
    raw = {"models": [{"name": "demo", "source": "demo", "preset": preset}]}
    engine_args.check(resolve_devices(parse(raw), gpu_build=gpu_build))

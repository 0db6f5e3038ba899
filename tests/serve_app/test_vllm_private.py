"""Pins the shape of every private name of vLLM that `serve_app/vllm_private.py` leans on.

A failure here means that vLLM changed: its message says what to look at there.
"""

from __future__ import annotations

import inspect
from dataclasses import fields
from multiprocessing import get_context

import msgspec
import prometheus_client
import pytest
from prometheus_client import REGISTRY, CollectorRegistry
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.v1.engine import EngineCoreReadyResponse, utils
from vllm.v1.engine.core_client import AsyncMPClient, MPClient
from vllm.v1.metrics.loggers import PrometheusStatLogger
from vllm.version import __version__

from serve_app.demo import MODEL_PATH
from serve_app.fleet_llm import frontend_config
from serve_app.vllm_private import (
    CoreClient,
    _processes_of,
    prometheus_logger,
    structured_regex,
)
from tests.serve_app.model_fleet import core_ready

TESTED = "0.32.0"


def changed(what: str) -> str:
    """What to say when a pin does not hold."""
    return f"vLLM {__version__} changed {what}; vllm_private.py was written against {TESTED}"


def parameters(function) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_core_client_still_hands_every_ready_message_to_one_method():
    assert parameters(MPClient._apply_ready_response) == ["self", "payload"], changed(
        "MPClient._apply_ready_response, through which CoreClient sees the core's ready message"
    )
    assert "self._apply_ready_response(payload)" in inspect.getsource(MPClient.__init__), changed(
        "MPClient.__init__: it no longer passes the ready message to _apply_ready_response"
    )
    assert "_apply_ready_response" not in vars(AsyncMPClient), changed(
        "AsyncMPClient: it overrides _apply_ready_response itself"
    )


def test_the_core_client_is_still_made_of_a_config_and_an_executor():
    names = parameters(AsyncMPClient.__init__)[1:4]
    assert names == ["vllm_config", "executor_class", "log_stats"], changed(
        "AsyncMPClient's constructor arguments, which CoreClient passes"
    )


class Unstarted(CoreClient):
    """A core client without a core: only its handling of the ready message."""

    def __init__(self, config) -> None:
        self.vllm_config = config
        self._effective_attention_block_sizes = set()
        self.stats_update_address = None


@pytest.fixture(scope="module")
def config():
    return frontend_config(AsyncEngineArgs(model=str(MODEL_PATH), served_model_name="demo"))


def test_a_core_client_remembers_the_ready_message_and_still_obeys_it(config):
    client, message = Unstarted(config), core_ready(128)
    client._apply_ready_response(message)
    assert client.core_ready == message
    assert config.model_config.max_model_len == 128, changed(
        "_apply_ready_response: it no longer takes max_model_len from the message"
    )


def test_the_ready_message_is_still_msgpack_of_a_dataclass():
    names = {field.name for field in fields(EngineCoreReadyResponse)}
    assert {"max_model_len", "num_gpu_blocks", "block_size", "supports_lora"} <= names, changed(
        "EngineCoreReadyResponse, which the switch passes on unread"
    )
    decoded = msgspec.msgpack.decode(core_ready(128), type=EngineCoreReadyResponse)
    assert decoded.max_model_len == 128


@pytest.mark.parametrize(
    ("backend", "used"), [("auto", "xgrammar"), ("guidance", "guidance"), ("outlines", "outlines")]
)
def test_a_regex_names_the_backend_that_vllm_would_choose(config, backend, used):
    assert "_backend" in {field.name for field in fields(StructuredOutputsParams)}, changed(
        "StructuredOutputsParams._backend, which its API server sets and the warm-up must"
    )
    config.structured_outputs_config.backend = backend
    params = structured_regex("[a-z]+", config)
    assert (params.regex, params._backend) == ("[a-z]+", used)


def test_auto_still_means_xgrammar_to_vllm(config):
    config.structured_outputs_config.backend = "auto"
    params = SamplingParams(structured_outputs=StructuredOutputsParams(regex="[a-z]+"))
    tokenizer = cached_tokenizer_from_config(config.model_config)
    params.verify(config.model_config, None, config.structured_outputs_config, tokenizer)
    assert params.structured_outputs._backend == "xgrammar", changed(
        "the grammar backend that `auto` stands for, which structured_regex must name"
    )


METRIC_CLASSES = {
    "_gauge_cls": prometheus_client.Gauge,
    "_counter_cls": prometheus_client.Counter,
    "_histogram_cls": prometheus_client.Histogram,
}
NESTED = ["_spec_decoding_cls", "_kv_connector_cls", "_ec_connector_cls", "_perf_metrics_cls"]


@pytest.mark.parametrize("name", METRIC_CLASSES)
def test_metric_classes_are_still_attributes(name):
    assert getattr(PrometheusStatLogger, name, None) is METRIC_CLASSES[name], changed(
        f"PrometheusStatLogger.{name}, through which its metrics get a registry of their own"
    )


@pytest.mark.parametrize("name", NESTED)
def test_nested_metric_groups_are_still_attributes_with_attributes_of_their_own(name):
    nested = getattr(PrometheusStatLogger, name, None)
    assert nested is not None, changed(f"PrometheusStatLogger.{name}")
    assert any(hasattr(nested, metric) for metric in METRIC_CLASSES), changed(
        f"PrometheusStatLogger.{name}: its metrics would go to the process's registry"
    )


def test_no_group_of_metrics_is_new():
    known = {*METRIC_CLASSES, *NESTED}
    found = {name for name in vars(PrometheusStatLogger) if name.endswith("_cls")}
    assert found == known, changed(f"PrometheusStatLogger's metric classes: {found ^ known}")


def vllm_names(registry: CollectorRegistry) -> set[str]:
    return {family.name for family in registry.collect() if family.name.startswith("vllm:")}


@pytest.fixture
def loggers(config):
    """Two models' stat loggers, each with its registry."""
    registries = CollectorRegistry(), CollectorRegistry()
    made = [prometheus_logger(registry)(config, [0]) for registry in registries]
    return list(zip(made, registries, strict=True))


def test_all_metrics_of_a_logger_are_in_its_registry(loggers):
    for _, registry in loggers:
        assert "vllm:num_requests_running" in vllm_names(registry)
    assert vllm_names(loggers[0][1]) == vllm_names(loggers[1][1])
    assert vllm_names(REGISTRY) == set(), changed(
        "PrometheusStatLogger: some metrics go around the classes that vllm_private.py replaces"
    )


def test_a_second_logger_takes_nothing_from_the_first(loggers):
    (first, registry), (second, _) = loggers
    first.record(scheduler_stats=None, iteration_stats=None)
    second.log_engine_initialized()
    assert "vllm:num_requests_running" in vllm_names(registry)


def test_the_core_s_process_is_still_of_the_context_that_one_function_gives():
    start = inspect.getsource(utils.CoreEngineProcManager.__init__)
    assert "context = get_mp_context()" in start, changed("where the core's process comes from")
    assert "context.Process(" in start, changed("how the core's process is made")
    words = ("target=EngineCoreProc.run_engine_core", "name=", "kwargs=")
    assert all(word in start for word in words), changed("what a core's process is made of")
    theirs = utils.get_mp_context
    context = get_context("spawn")
    with _processes_of(context):
        assert utils.get_mp_context() is context
    assert utils.get_mp_context is theirs

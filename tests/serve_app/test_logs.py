"""Logging inside Serve's replicas: one log, which vLLM leaves alone."""

from __future__ import annotations

import logging
from logging.handlers import MemoryHandler

import pytest
from vllm.engine.arg_utils import AsyncEngineArgs

from cluster import spec as cluster_spec
from cluster.spec import resolve_devices
from serve_app import logs
from serve_app.demo import MODEL_PATH
from serve_app.engine import engine_config
from serve_app.errors import NoEngineError
from serve_app.fleet_llm import frontend_config


@pytest.fixture
def serves_log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What reaches a log like Serve's: a handler that hands on to another, which closing undoes."""
    lines: list[str] = []
    target = logging.Handler()
    target.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    handler = MemoryHandler(1, target=target)
    for name, value in (logs.LEAVE_HANDLERS_ENV | {"VLLM_LOGGING_LEVEL": "INFO"}).items():
        monkeypatch.setenv(name, value)
    serve, ours = logging.getLogger("ray.serve"), logging.getLogger("tokenfleet")
    vllms = logging.getLogger("vllm")
    for logger in (serve, ours, vllms):
        monkeypatch.setattr(logger, "handlers", list(logger.handlers))
        monkeypatch.setattr(logger, "propagate", logger.propagate)
        monkeypatch.setattr(logger, "level", logger.level)
    serve.handlers = [handler]
    return lines


def test_ours_and_vllms_go_where_serves_goes(serves_log):
    logs.configure_logging()
    logging.getLogger("tokenfleet.switch").info("moved")
    logging.getLogger("vllm.config").info("resolved")
    assert serves_log == ["moved", "resolved"]


def test_a_refusal_leaves_no_traceback_and_other_errors_do(serves_log):
    logs.configure_logging()
    logs.configure_logging()
    assert len(logging.getLogger("ray.serve").handlers[0].filters) == 1
    for cause in (NoEngineError("full"), ValueError("broken")):
        try:
            raise RuntimeError from cause
        except RuntimeError:
            logging.getLogger("vllm.entrypoints").exception("of %s", cause)
    assert serves_log == ["of broken"]


def config_with(**engine):
    raw = {"models": [{"name": "demo", "source": "demo", "engine": engine}]}
    return engine_config(resolve_devices(cluster_spec.parse(raw), gpu_build=False).models[0])


@pytest.mark.parametrize(
    ("engine", "level", "configured"),
    [
        pytest.param({}, "INFO", True, id="vLLM's defaults"),
        pytest.param({"logging_config": {"log_level": "DEBUG"}}, "DEBUG", True, id="a level"),
        pytest.param({"log_level": "ERROR"}, "ERROR", True, id="vLLM's older way"),
        pytest.param({"logging_config": {"configure_logging": False}}, "INFO", False, id="none"),
    ],
)
def test_an_engine_s_config_leaves_it_open_and_its_processes_log_as_asked(
    serves_log, engine, level, configured
):
    processes = config_with(**engine).logging_config
    logging.getLogger("ray.serve").info("still here")
    assert serves_log == ["still here"]
    assert (processes.log_level, processes.configure_logging) == (level, configured)


def test_a_gateway_s_config_leaves_it_open(serves_log):
    frontend_config(AsyncEngineArgs(model=str(MODEL_PATH)))
    logging.getLogger("ray.serve").info("still here")
    assert serves_log == ["still here"]

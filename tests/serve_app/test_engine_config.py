"""What an engine replica makes of vLLM's configuration."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.usage.usage_lib import UsageContext

from cluster import spec as cluster_spec
from cluster.spec import resolve_devices
from serve_app.engine import _block_tokens, engine_config
from serve_app.kv_events import KvEvents


@pytest.mark.parametrize(
    ("configured", "started", "tokens"),
    [
        pytest.param(16, 16, 16, id="as configured"),
        pytest.param(16, 528, 528, id="aligned to recurrent states"),
        pytest.param(16, 32, 32, id="two ranks share a context"),
        pytest.param(16, None, 16, id="no attention, or of several sizes"),
    ],
)
def test_blocks_have_the_size_that_the_started_core_says(configured, started, tokens):
    cache = SimpleNamespace(block_size=configured, effective_attention_block_size=started)
    assert _block_tokens(SimpleNamespace(cache_config=cache)) == tokens


@pytest.mark.parametrize("caching", [True, False])
def test_an_engine_publishes_what_it_caches_and_accounts_for_its_steps(caching):
    raw = {
        "models": [{"name": "demo", "source": "demo", "engine": {"enable_prefix_caching": caching}}]
    }
    spec = resolve_devices(cluster_spec.parse(raw), gpu_build=False)
    config = engine_config(spec.models[0])
    assert (config.kv_events_config is not None) == caching
    assert config.observability_config.enable_logging_iteration_details
    assert hasattr(config.cache_config, "effective_attention_block_size")
    if caching:
        assert config.kv_events_config.endpoint.startswith("ipc://@tokenfleet-")
    else:
        assert KvEvents.of(config.kv_events_config) is None


def test_batches_are_as_large_as_vllms_own_server_makes_them(monkeypatch):
    defaults = [{UsageContext.LLM_CLASS: 1, UsageContext.OPENAI_API_SERVER: at} for at in (96, 64)]
    monkeypatch.setattr(AsyncEngineArgs, "get_batch_defaults", lambda self, world_size: defaults)
    raw = {"models": [{"name": "demo", "source": "demo"}]}
    spec = resolve_devices(cluster_spec.parse(raw), gpu_build=False)
    scheduler = engine_config(spec.models[0]).scheduler_config
    assert (scheduler.max_num_batched_tokens, scheduler.max_num_seqs) == (96, 64)

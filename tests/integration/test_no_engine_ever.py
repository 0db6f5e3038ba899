"""vLLM's real API server over a switch without an engine: 503, and when to try again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import msgspec
import pytest
from vllm.v1.engine import EngineCoreReadyResponse

from cluster.spec import ClusterSpec, parse
from serve_app import membership
from serve_app.engine_host import EngineHost, HostIdentity
from serve_app.gateway import Shell
from serve_app.model_app import ModelApp
from tests.integration.test_bad_input import assert_openai_error
from tests.serve_app.fake_core import HEARTBEAT, HostThread

HOLD_S = 0.5
BODY = {"model": "demo", "prompt": "Hello", "max_tokens": 50}


class DemoHost(HostThread):
    """An engine host over a fake core that says it runs the demo model."""

    def _make(self) -> EngineHost:
        ready = EngineCoreReadyResponse(
            max_model_len=512,
            num_gpu_blocks=64,
            block_size=32,
            dp_stats_address=None,
            dtype="torch.float32",
            vllm_version="0",
            world_size=1,
            data_parallel_size=1,
            tensor_parallel_size=1,
            pipeline_parallel_size=1,
            decode_context_parallel_size=1,
            data_parallel_rank=0,
            max_num_seqs=8,
            max_num_batched_tokens=512,
            instance_id="i",
            supports_lora=False,
            max_loras=0,
        )
        identity = HostIdentity(
            engine_id=self.engine_id,
            node="node",
            fingerprint="weights",
            can_replay=True,
            core_ready=msgspec.msgpack.encode(ready),
        )
        host = EngineHost(self.core, identity, HEARTBEAT)
        host.start("127.0.0.1")
        return host


@pytest.fixture
def spec() -> ClusterSpec:
    model = {"name": "demo", "source": "demo", "engine": {"max_model_len": 512}}
    return parse({"models": [model], "failover": {"hold_timeout_s": HOLD_S}})


@asynccontextmanager
async def gateway(model: ModelApp) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a gateway of this one model."""
    transport = httpx2.ASGITransport(Shell({model.name: model}, max_body_bytes=1_000_000))
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as http:
            yield http
    finally:
        await model.close()


def test_a_request_is_refused_when_no_engine_ever_came(spec: ClusterSpec) -> None:
    async def scenario() -> list[httpx2.Response]:
        async with gateway(ModelApp(spec, spec.models[0])) as http:
            return [await http.post("/v1/completions", json=BODY), await http.get("/ready")]

    refused, ready = asyncio.run(scenario())
    assert_says_try_again(refused)
    assert (ready.status_code, ready.json()) == (503, {"ready": False, "engines": {"demo": 0}})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_request_is_refused_when_the_last_engine_has_left(
    spec: ClusterSpec, stream: bool
) -> None:
    async def scenario() -> httpx2.Response:
        model = ModelApp(spec, spec.models[0])
        async with gateway(model) as http, host(model) as engine:
            engine.leave()
            membership.publish("demo", {})
            return await http.post("/v1/completions", json={**BODY, "stream": stream})

    assert_says_try_again(asyncio.run(scenario()))


def test_a_stream_whose_engine_is_not_replaced_ends_with_the_reason(spec: ClusterSpec) -> None:
    async def scenario() -> httpx2.Response:
        model = ModelApp(spec, spec.models[0])
        async with gateway(model) as http, host(model, steps_allowed=3) as engine:
            request = asyncio.create_task(
                http.post("/v1/completions", json={**BODY, "stream": True})
            )
            while not any(len(tokens) == 3 for _, tokens in engine.core.running.values()):
                await asyncio.sleep(0)
            engine.kill()
            return await request

    response = asyncio.run(scenario())
    assert response.text.count('"text"') >= 1
    assert_ends_with_a_503(response)


@asynccontextmanager
async def host(model: ModelApp, steps_allowed: int | None = None) -> AsyncIterator[DemoHost]:
    """An engine of the model; inside, the model's app is up."""
    engine = DemoHost("engine", steps_allowed=steps_allowed)
    membership.publish(model.name, {"engine": engine.endpoint})
    try:
        await model.run()
        yield engine
    finally:
        engine.close()


def assert_says_try_again(response: httpx2.Response) -> None:
    assert_openai_error(response, 503)
    assert int(response.headers["retry-after"]) > 0
    assert "try again later" in response.json()["error"]["message"]


def assert_ends_with_a_503(response: httpx2.Response) -> None:
    *_, error, done = [line for line in response.text.splitlines() if line]
    assert done == "data: [DONE]"
    assert '"code": 503' in error or '"code":503' in error
    assert "try again later" in error

"""The routes that the cluster has of its own, and several models behind one endpoint."""

import asyncio
import json
import re

import httpx2
import psutil
import pytest

from cluster.planning.model_shape import shape_of
from loadtest.chaos.kinds import KINDS
from loadtest.chaos.processes import processes_of
from serve_app.demo import MODEL_PATH
from serve_app.metric_table import DECISIONS, ITL, KV_USE, METRICS, OUTPUT_TOKENS, REQUESTS, TTFT
from tests.integration.fleet import Fleet
from tests.integration.playing import play_all
from tests.waiting import until

GENERATING = ("demo", "demo-tp2")
MODELS = (*GENERATING, "demo-embed")
FLOAT32_BYTES = 4
ROW_KEYS = {
    *("name", "deployment", "backing_off", "scaling", "held", "queue", "engines", "flights"),
    *("losses", "moves", "decisions", "counts"),
}
ENGINE_KEYS = {"id", "state", "node", "pid", "endpoint", "running", "waiting", "kv_use_frac",
               "kv_total_tokens", "queued_prefill_tokens", "step_cost_s",
               "bad_messages_received", "bad_messages_sent"}  # fmt: skip


def test_health_is_the_gateways_own(fleet: Fleet) -> None:
    response = fleet.http.get("/health")
    assert (response.status_code, response.content) == (200, b"")


def test_ready_counts_the_engines_of_every_model(two_engines: Fleet) -> None:
    response = two_engines.http.get("/ready")
    assert response.status_code == 200
    assert response.json()["ready"] is True
    assert response.json()["engines"] == {"demo": 2, "demo-tp2": 1, "demo-embed": 1}


def idle(fleet: Fleet) -> dict | None:
    """What the fleet says once its last reports are of after the last request."""
    body = fleet.http.get("/fleet").json()
    engines = [engine for row in body["models"] for engine in row["engines"]]
    return None if any(engine["queued_prefill_tokens"] for engine in engines) else body


def test_fleet_shows_every_engine_and_the_flights(two_engines: Fleet) -> None:
    body = until(lambda: idle(two_engines), what="the engines report that nothing is left to do")
    assert body.keys() == {"gateway", "models"}
    assert [row["name"] for row in body["models"]] == list(MODELS)
    for row in body["models"]:
        assert row.keys() == ROW_KEYS
        assert row["flights"].keys() == {"active", "moved", "failed"}
        assert all(type(count) is int for count in row["flights"].values())
        for engine in row["engines"]:
            assert_is_engine(engine)


def assert_is_engine(engine: dict) -> None:
    assert engine.keys() == ENGINE_KEYS
    assert engine["state"] == "ready"
    assert psutil.pid_exists(engine["pid"])
    assert engine["endpoint"].startswith("tcp://")
    assert (engine["running"], engine["waiting"]) == (0, 0)
    assert (engine["bad_messages_received"], engine["bad_messages_sent"]) == (0, 0)
    assert 0.0 <= engine["kv_use_frac"] <= 1.0
    assert engine["kv_total_tokens"] > 10_000
    assert engine["queued_prefill_tokens"] == 0


@pytest.mark.parametrize("name", GENERATING)
def test_the_cache_is_as_large_as_the_plan_says(two_engines: Fleet, name: str) -> None:
    """Of each worker: with two of them each token's KV is split."""
    model = two_engines.spec.model(name)
    shape = shape_of(json.loads((MODEL_PATH / "config.json").read_text()))
    token_bytes = shape.kv_elements(1.0) * FLOAT32_BYTES / model.workers_per_replica
    planned = model.engine["kv_cache_memory_bytes"] / token_bytes
    for engine in two_engines.engines(name):
        assert engine["kv_total_tokens"] == pytest.approx(planned, rel=0.05)


def test_every_engine_has_processes_and_an_id_of_its_own(two_engines: Fleet) -> None:
    engines = [e for model in MODELS for e in two_engines.engines(model)]
    for key in ("id", "pid", "endpoint"):
        assert len({engine[key] for engine in engines}) == 4
    workers = [len(processes_of(engine["pid"])["Worker"]) for engine in engines]
    assert workers == [0, 0, 2, 0]


def test_models_lists_every_model(fleet: Fleet) -> None:
    async def listed() -> list[str]:
        async with fleet.client() as client:
            return [model.id async for model in client.models.list()]

    assert asyncio.run(listed()) == list(MODELS)


def test_one_model_can_be_retrieved(fleet: Fleet) -> None:
    async def retrieved() -> str:
        async with fleet.client() as client:
            return (await client.models.retrieve("demo-tp2")).id

    assert asyncio.run(retrieved()) == "demo-tp2"


@pytest.mark.parametrize("model", GENERATING)
def test_metrics_have_every_models_series(fleet: Fleet, model: str) -> None:
    asyncio.run(play_all(fleet, KINDS[:1], model))
    text = fleet.http.get("/metrics").text
    for name in ("vllm:generation_tokens_total", "vllm:time_to_first_token_seconds_count"):
        line = re.search(rf'^{name}{{[^}}]*model_name="{model}"[^}}]*}} (\S+)$', text, re.MULTILINE)
        assert line is not None, f"no {name} of {model}"
        assert float(line[1]) > 0


def test_metrics_do_not_repeat_a_series(fleet: Fleet) -> None:
    text = fleet.http.get("/metrics").text
    series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))


def test_messages_answers_as_anthropic_does(fleet: Fleet) -> None:
    body = {"model": "demo", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}
    answer = fleet.http.post("/v1/messages", json=body).raise_for_status().json()
    assert (answer["type"], answer["role"], answer["model"]) == ("message", "assistant", "demo")
    assert answer["content"][0]["type"] == "text"
    assert answer["usage"]["output_tokens"] <= 8


def test_responses_answers_as_the_sdk_expects(fleet: Fleet) -> None:
    async def answered():
        async with fleet.client() as client:
            return await client.responses.create(
                model="demo", input="Hi", max_output_tokens=8, temperature=0
            )

    response = asyncio.run(answered())
    assert response.model == "demo"
    assert response.usage is not None
    assert response.usage.output_tokens <= 8


def test_the_page_is_there_and_runs_nothing_but_its_own(fleet: Fleet) -> None:
    page = fleet.http.get("/fleet/ui")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_metrics_reach_the_node_s_prometheus_endpoint(fleet: Fleet) -> None:
    """As a Prometheus finds it: by the file that Ray writes."""
    fleet.http.post("/v1/completions", json={"model": "demo", "prompt": "x", "max_tokens": 2})
    found = fleet.folder / "ray" / "prom_metrics_service_discovery.json"
    parts = ("", "_bucket", "_sum", "_count")
    ours = {f"ray_{spec.name}{part}" for spec in METRICS for part in parts}

    def lines() -> list[str]:
        targets = [target for row in json.loads(found.read_text()) for target in row["targets"]]
        texts = [httpx2.get(f"http://{each}/metrics", trust_env=False).text for each in targets]
        return [line for text in texts for line in text.splitlines()]

    def exported() -> set[str]:
        return {
            line.partition("{")[0]
            for line in lines()
            if line.startswith("ray_tokenfleet_") and 'model="demo"' in line
        }

    for spec in (REQUESTS, OUTPUT_TOKENS, ITL, KV_USE, DECISIONS):
        until(lambda spec=spec: f"ray_{spec.name}" in exported(), what=f"{spec.name} is exported")
    assert f"ray_{TTFT.name}_bucket" in exported()
    assert exported() <= ours

    engines = {row["id"] for row in fleet.engines()}
    for name in ("num_requests_running", "prefix_cache_queries"):
        of_engines = re.compile(f'^ray_vllm_{name}(?:_total)?{{.*ReplicaId="([^"]+)"')
        until(
            lambda found=of_engines: (
                engines <= {match[1] for line in lines() if (match := found.match(line))}
            ),
            what=f"every engine's {name} is exported",
        )

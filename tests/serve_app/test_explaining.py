"""`POST /fleet/explain`: through the Shell and vLLM's real apps, with fake engines under them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serve_app.errors import RETRY_AFTER_S, NotExplainedError
from serve_app.explaining import EXPLAIN_PATH, EXPLAINED_PATHS, asked_scope, question
from tests.serve_app.asgi_call import AsgiCall
from tests.serve_app.fake_core import HostThread
from tests.serve_app.model_fleet import CHAT, ModelFleet, built_fleet
from tests.serve_app.stub_models import StubModel, ask, shell
from tests.waiting import eventually

BLOCK_TOKENS = 4
CACHING = {"block_tokens": BLOCK_TOKENS, "cache_blocks": 1000}
MESSAGES = [{"role": "user", "content": "hello"}]
CHAT_BODY = {"model": "demo", "messages": MESSAGES, "temperature": 0, "max_tokens": 20}


# Which route a body is for


def path_of(body: bytes, query: bytes = b"") -> str:
    return asked_scope({"type": "http", "query_string": query}, body)["path"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"messages": []}, CHAT),
        ({"prompt": "x"}, "/v1/completions"),
        ({"input": "x"}, "/v1/embeddings"),
        ({"model": "demo"}, CHAT),
        ({}, CHAT),
        ([1], CHAT),
    ],
)
def test_a_body_s_route_is_seen_from_its_fields(body, path):
    assert path_of(json.dumps(body).encode()) == path


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_is_for_vllm_to_refuse(body):
    assert path_of(body) == CHAT


@pytest.mark.parametrize("path", EXPLAINED_PATHS)
def test_the_query_may_say_the_route(path):
    assert path_of(b'{"messages": []}', b"path=" + path.encode()) == path


@pytest.mark.parametrize("path", ["/sleep", "/v1/load_lora_adapter", "/v1/models", "x", "/fleet"])
def test_a_route_that_does_something_else_is_not_run(path):
    with pytest.raises(NotExplainedError, match=path):
        path_of(b"{}", b"path=" + path.encode())
    response = ask(shell(StubModel("one")), "POST", f"{EXPLAIN_PATH}?path={path}", json={})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "path"


def test_without_a_question_every_request_is_meant():
    assert question() is None


def test_what_is_answered_without_an_engine_is_passed_on():
    response = ask(shell(StubModel("one", status=503)), "POST", EXPLAIN_PATH, json={"prompt": "x"})
    assert (response.status_code, response.json()["path"]) == (503, "/v1/completions")
    assert response.headers["retry-after"] == str(RETRY_AFTER_S)


# vLLM's own apps


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def built():
    async with built_fleet("demo", "embedder") as fleet:
        yield fleet


@pytest.fixture
async def fleet(built):
    yield built
    for model in built.models:
        await built.remove(model)


async def explained(fleet: ModelFleet, body: Any, query: str = "") -> AsgiCall:
    return await AsgiCall(fleet.shell, EXPLAIN_PATH + query, body).finish()


def nothing_was_sent(fleet: ModelFleet, *hosts: HostThread) -> None:
    """No engine got a request, and no part of the way to it keeps one."""
    assert all(host.core.added == [] for host in hosts)
    for model in fleet.models.values():
        assert model.switch.snapshot()["flights"]["active"] == 0
        llm = model._state.engine_client
        assert not llm.output_processor.request_states
        assert not llm.output_processor.parent_requests


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "query"),
    [
        pytest.param(CHAT_BODY, "", id="chat"),
        pytest.param({**CHAT_BODY, "stream": True}, "", id="a stream"),
        pytest.param({**CHAT_BODY, "n": 2, "temperature": 1}, "", id="two answers"),
        pytest.param(
            {**CHAT_BODY, "n": 3, "temperature": 1, "stream": True}, "", id="three in a stream"
        ),
        pytest.param({"model": "demo", "prompt": "hello", "max_tokens": 20}, "", id="completion"),
        pytest.param(
            {"model": "demo", "prompt": ["hello", "you"], "max_tokens": 20}, "", id="two prompts"
        ),
        pytest.param(
            {"model": "demo", "input": "hello", "max_output_tokens": 20},
            "?path=/v1/responses",
            id="responses",
        ),
        pytest.param({"model": "embedder", "input": "hello"}, "", id="embeddings"),
        pytest.param({"model": "embedder", "input": ["hello", "you"]}, "", id="two embeddings"),
    ],
)
async def test_a_request_is_explained_and_not_sent(fleet, body, query):
    hosts = await fleet.start(body["model"], 2, **CACHING)
    call = await explained(fleet, body, query)
    assert call.status == 200, call.content
    assert set(call.json) == {
        "winner", "reason", "sentence", "prompt_tokens", "max_output_tokens", "engines",
    }  # fmt: skip
    assert {engine["replica_id"] for engine in call.json["engines"]} == {
        host.engine_id for host in hosts
    }
    for engine in call.json["engines"]:
        assert set(engine) == {
            "replica_id", "cached_tokens", "outstanding_tokens", "running_requests",
            "waiting_requests", "queued_prefill_tokens", "kv_use_frac", "predicted_ttft_s",
            "predicted_cost_s",
        }  # fmt: skip
        assert (engine["cached_tokens"], engine["outstanding_tokens"]) == (0, 0)
    assert call.json["winner"] in {host.engine_id for host in hosts}
    assert call.json["winner"] in call.json["sentence"]
    assert call.json["prompt_tokens"] > 0
    assert call.json["max_output_tokens"] == (0 if body["model"] == "embedder" else 20)
    nothing_was_sent(fleet, *hosts)


@pytest.mark.anyio
async def test_what_is_explained_is_what_is_then_done(fleet):
    hosts = await fleet.start("demo", 2, **CACHING)
    await (fleet.chat()).finish()
    holder = next(host for host in hosts if host.core.added)
    tokens = len(holder.core.added[0].prompt_token_ids)
    held = (tokens - 1) // BLOCK_TOKENS * BLOCK_TOKENS

    async def seen() -> dict[str, int]:
        found = (await explained(fleet, CHAT_BODY)).json
        assert found["prompt_tokens"] == tokens
        return {each["replica_id"]: each["cached_tokens"] for each in found["engines"]}

    while (await seen())[holder.engine_id] != held:  # until the engine's events are here
        pass
    assert sum((await seen()).values()) == held


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        pytest.param({**CHAT_BODY, "max_tokens": "many"}, id="a mistyped field"),
        pytest.param({**CHAT_BODY, "max_tokens": 100_000}, id="more than the model can"),
        pytest.param({"model": "demo", "messages": []}, id="no messages"),
        pytest.param(b"{", id="no JSON"),
    ],
)
async def test_a_bad_body_gets_vllm_s_own_answer(fleet, body):
    (host,) = await fleet.start("demo")
    vllms = await AsgiCall(fleet.models["demo"].app, CHAT, body).finish()
    ours = await explained(fleet, body)
    assert ours.status == vllms.status == 400
    assert ours.json == vllms.json
    nothing_was_sent(fleet, host)


@pytest.mark.anyio
async def test_an_unknown_model_is_not_found(fleet):
    call = await explained(fleet, {**CHAT_BODY, "model": "nobody"})
    assert (call.status, call.json["error"]["param"]) == (404, "model")


@pytest.mark.anyio
async def test_where_no_engine_can_take_it_the_client_is_told_at_once_and_none_is_woken(fleet):
    call = await explained(fleet, CHAT_BODY)  # none is there
    assert (call.status, call.headers["retry-after"]) == (503, str(RETRY_AFTER_S))
    assert call.json["error"]["message"] == "no engine of model 'demo' can take a request now"


@pytest.mark.anyio
async def test_nor_can_one_take_it_that_is_about_to_leave(fleet):
    (host,) = await fleet.start("demo")
    host.drain()
    await eventually(lambda: fleet.models["demo"].switch.ready_engines() == 0)
    call = await explained(fleet, CHAT_BODY)
    assert (call.status, call.headers["retry-after"]) == (503, str(RETRY_AFTER_S))
    assert call.json["error"]["message"] == "no engine of model 'demo' can take a request now"
    nothing_was_sent(fleet, host)


@pytest.mark.anyio
async def test_a_request_beside_one_that_is_explained_is_sent(fleet):
    (host,) = await fleet.start("demo")
    asking = AsgiCall(fleet.shell, EXPLAIN_PATH, CHAT_BODY)
    chat = fleet.chat()
    await asking.finish()
    await chat.finish()
    assert (asking.status, chat.status, len(host.core.added)) == (200, 200, 1)
    assert "winner" in asking.json

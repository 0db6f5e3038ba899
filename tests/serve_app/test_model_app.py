"""vLLM's real API server over a switch and fake engines: several models in one process.

Building the apps takes seconds, so they are built once; engines come and go with every test, as
they may in life.
"""

from __future__ import annotations

import time

import msgspec
import pytest
from prometheus_client import generate_latest

from serve_app import wire
from serve_app.engine_history import Wait
from serve_app.errors import RETRY_AFTER_S, UnknownModelError
from serve_app.scaling_record import Change, Scaled
from tests.serve_app.asgi_call import AsgiCall
from tests.serve_app.fake_core import EMBEDDING, HostThread
from tests.serve_app.model_fleet import CHAT, built_fleet
from tests.serve_app.prometheus_text import comments, samples
from tests.serve_app.stub_models import send
from tests.waiting import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def built():
    async with built_fleet() as fleet:
        yield fleet


@pytest.fixture
async def fleet(built):
    yield built
    for model in built.models:
        await built.remove(model)


async def undisturbed(fleet, **request) -> str:
    """What a request is answered when nothing happens."""
    (host,) = await fleet.start("demo")
    call = await fleet.chat(**request).finish()
    await fleet.remove("demo", host)
    return call.text


def let_go(*hosts: HostThread) -> None:
    for host in hosts:
        host.call(lambda host=host: host.core.allow(None))


async def test_a_chat_is_streamed_as_the_engine_steps(fleet):
    (host,) = await fleet.start("demo", steps_allowed=10)  # a single token may be half a letter
    call = fleet.chat()
    await call.events(2)  # the role, then some text, while the engine has half its tokens to go
    assert host.core.running
    let_go(host)
    await call.finish()
    assert call.status == 200
    assert call.headers["content-type"].startswith("text/event-stream")
    assert call.chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_streamed_or_whole_the_text_is_the_same(fleet):
    streamed = await undisturbed(fleet)
    assert streamed
    assert await undisturbed(fleet, stream=False) == streamed


@pytest.mark.parametrize(
    "sampling",
    [
        pytest.param({}, id="prefill"),
        pytest.param({"presence_penalty": 0.5}, id="replay"),
        pytest.param({"temperature": 1, "seed": 7}, id="seeded"),
    ],
)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_killed_engine_does_not_show_in_the_answer(fleet, sampling, stream):
    expected = await undisturbed(fleet, **sampling)
    hosts = await fleet.start("demo", 2, steps_allowed=5)
    call = fleet.chat(stream=stream, **sampling)
    await eventually(lambda: any(host.core.steps == 5 for host in hosts))
    lost = fleet.running("demo")
    lost.kill()
    let_go(*(host for host in hosts if host is not lost))
    await call.finish()
    assert (call.status, call.text) == (200, expected)


async def kill_twice(fleet, **request) -> AsgiCall:
    """A request that two engines die of, one after the other."""
    (first,) = await fleet.start("demo", steps_allowed=2)
    call = fleet.chat(**request)
    await eventually(lambda: first.core.steps == 2)
    (second,) = await fleet.start("demo", steps_allowed=2)
    first.kill()
    await eventually(lambda: second.core.steps == 2)
    second.kill()
    return await call.finish()


POISON = "engine_lost: 2 engines died while they ran this request, so it is not given to another"


@pytest.mark.parametrize("n", [1, 2], ids=["one answer", "two answers of one request"])
async def test_a_request_that_kills_engines_is_an_error_of_the_server(fleet, n):
    call = await kill_twice(fleet, stream=False, n=n, temperature=1)
    assert call.status == 500
    error = call.json["error"]
    assert (error["message"], error["type"], error["code"]) == (POISON, "InternalServerError", 500)
    assert "retry-after" not in call.headers


@pytest.mark.parametrize("n", [1, 2], ids=["one answer", "two answers of one request"])
async def test_a_stream_that_kills_engines_ends_in_an_error_that_says_so(fleet, n):
    call = await kill_twice(fleet, n=n, temperature=1)
    assert call.status == 200  # the headers were out
    assert call.chunks[-1]["error"]["message"] == POISON


@pytest.mark.parametrize("deaths", [0, 1])
async def test_an_embedding_survives_its_engine(fleet, deaths):
    (first,) = await fleet.start("embedder", steps_allowed=0)
    call = fleet.embed()
    await eventually(lambda: first.core.running)
    (second,) = await fleet.start("embedder")
    first.kill() if deaths else let_go(first)
    await call.finish()
    assert (call.status, call.json["data"][0]["embedding"]) == (200, EMBEDDING.tolist())
    assert len(second.core.added) == deaths


async def test_an_embedding_that_kills_engines_is_an_error_of_the_server(fleet):
    (first,) = await fleet.start("embedder", steps_allowed=0)
    call = fleet.embed()
    await eventually(lambda: first.core.running)
    (second,) = await fleet.start("embedder", steps_allowed=0)
    first.kill()
    await eventually(lambda: second.core.running)
    second.kill()
    await call.finish()
    assert (call.status, call.json["error"]["message"]) == (500, POISON)


async def test_a_request_that_no_engine_is_left_for_may_be_tried_again(fleet):
    (host,) = await fleet.start("demo", steps_allowed=2)
    call = fleet.chat(stream=False)
    await eventually(lambda: host.core.steps == 2)
    host.kill()
    await call.finish()
    assert call.status == 503
    assert call.headers["retry-after"] == str(RETRY_AFTER_S)
    assert call.json["error"]["type"] == "ServiceUnavailableError"
    assert "no engine of this model became available within 1 s" in call.json["error"]["message"]


async def test_a_request_that_no_engine_can_be_sent_is_the_callers_fault(fleet, monkeypatch):
    await fleet.start("demo")
    monkeypatch.setattr(wire, "MAX_FRAME_BYTES", 100)
    call = await fleet.chat(stream=False).finish()
    assert call.status == 400
    assert "more than an engine is sent in one piece" in call.json["error"]["message"]


async def test_a_request_without_any_engine_may_be_tried_again(fleet):
    call = await fleet.chat().finish()
    assert call.status == 503
    assert call.headers["retry-after"] == str(RETRY_AFTER_S)


async def test_a_request_waits_for_an_engine_that_comes_in_time(fleet):
    call = fleet.chat()
    await fleet.start("demo")
    assert (await call.finish()).status == 200


async def test_a_stop_string_ends_the_request_at_the_engine(fleet):
    text = await undisturbed(fleet)
    stop = text[len(text) // 2 :][:4]
    (host,) = await fleet.start("demo", steps_allowed=20)
    call = await fleet.chat(stop=[stop], max_tokens=1000).finish()
    assert call.text == text[: text.index(stop)]
    assert call.chunks[-1]["choices"][0]["finish_reason"] == "stop"
    await eventually(lambda: host.core.aborted and not host.core.running)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_client_that_leaves_ends_the_request_at_the_engine(fleet, stream):
    (host,) = await fleet.start("demo", steps_allowed=3)
    call = fleet.chat(stream=stream)
    await eventually(lambda: host.core.steps == 3)
    call.leave()
    await eventually(lambda: host.core.aborted and not host.core.running)
    await call.finish()
    flights = (await send(fleet.shell, "GET", "/fleet")).json()["models"][0]["flights"]
    assert flights["active"] == 0


async def test_each_model_s_requests_go_to_its_own_engines(fleet):
    (demo,), (short,) = await fleet.start("demo"), await fleet.start("short")
    await fleet.chat("short").finish()
    assert (len(demo.core.added), len(short.core.added)) == (0, 1)
    cards = (await send(fleet.shell, "GET", "/v1/models")).json()["data"]
    assert [(card["id"], card["max_model_len"]) for card in cards] == [
        ("demo", 2048),
        ("short", 512),
        ("embedder", 2048),
    ]


async def test_two_models_metrics_do_not_fight(fleet):
    for model in ("demo", "short"):
        await fleet.start(model)
        await fleet.chat(model).finish()
    for model in ("demo", "short"):
        own = generate_latest(fleet.models[model].registry).decode()
        assert set(samples(own)["vllm:generation_tokens_total"]) == {model}
    text = (await send(fleet.shell, "GET", "/metrics")).text
    tokens = samples(text)["vllm:generation_tokens_total"]
    assert min(tokens["demo"], tokens["short"]) >= 20  # of this test and those before it
    assert set(comments(text).values()) == {1}


async def test_an_unknown_model_is_refused_as_vllm_would(fleet):
    """The gateway refuses it before any of vLLM's apps sees it, in vLLM's own words."""
    await fleet.start("demo")
    body = {"model": "nobody", "messages": [{"role": "user", "content": "x"}]}
    vllms = await AsgiCall(fleet.models["demo"].app, CHAT, body).finish()
    ours = await AsgiCall(fleet.shell, CHAT, body).finish()
    for answer, aliases in ((vllms, "demo"), (ours, "demo, short, embedder")):
        message = f"The model `nobody` does not exist. Valid aliases: {aliases}."
        assert (answer.status, answer.json) == (404, UnknownModelError(message).body())


async def test_fleet_shows_what_runs_where(fleet, monkeypatch):
    (host,) = await fleet.start("demo", steps_allowed=10)
    call = fleet.chat()
    await call.events(2)

    async def fleet_of_demo():
        return (await send(fleet.shell, "GET", "/fleet")).json()["models"][0]

    shown = await fleet_of_demo()
    while shown["engines"][0]["running"] != 1:  # until the engine's next load report
        shown = await fleet_of_demo()
    assert set(shown) == {
        "name", "deployment", "backing_off", "scaling", "held", "queue", "engines", "flights",
        "losses", "moves", "decisions", "counts",
    }  # fmt: skip
    assert (shown["scaling"], shown["held"]) == (None, 0)
    assert (shown["name"], shown["flights"]["active"]) == ("demo", 1)
    (engine,) = shown["engines"]
    assert set(engine) == {
        "id", "state", "node", "pid", "endpoint", "running", "waiting", "kv_use_frac",
        "kv_total_tokens", "queued_prefill_tokens", "step_cost_s",
        "bad_messages_received", "bad_messages_sent",
    }  # fmt: skip
    assert (engine["state"], engine["endpoint"]) == ("ready", host.address.endpoint)
    assert shown["backing_off"] == []
    waits = [
        Wait(engine_id="next", until_s=time.time() + seconds, young_deaths=5)
        for seconds in (-1.0, 1000.0)
    ]
    monkeypatch.setattr(fleet.models["demo"], "backing_off", waits)
    (wait,) = (await fleet_of_demo())["backing_off"]
    assert wait.keys() == {"engine", "waits_s", "young_deaths"}
    assert (wait["engine"], wait["young_deaths"]) == ("next", 5)
    assert 900 < wait["waits_s"] <= 1000
    change = Change(at_s=5.0, before=0, after=1, reason="held", sentence="why")
    one = Scaled(target=1, ready=1, reason="steady", sentence="as is", at_s=6.0, changes=(change,))
    monkeypatch.setattr(fleet.models["demo"], "scaled", one)
    scaling = (await fleet_of_demo())["scaling"]
    assert (scaling["target"], scaling["reason"], scaling["sentence"]) == (1, "steady", "as is")
    assert scaling["changes"] == [msgspec.to_builtins(change)]
    let_go(host)
    await call.finish()


def held(fleet) -> int:
    return fleet.models["demo"].stats("g").signals.held_requests


async def test_requests_that_wait_for_an_engine_are_held_and_counted(fleet):
    before = fleet.models["demo"].stats("g").signals
    calls = [fleet.chat(), fleet.chat(stream=False)]
    await eventually(lambda: held(fleet) == 2)
    await fleet.start("demo")
    for call in calls:
        assert (await call.finish()).status == 200
    after = fleet.models["demo"].stats("g")
    assert after.built
    assert after.signals.held_requests == 0
    assert after.signals.requests - before.requests == 2
    assert after.signals.answered_requests - before.answered_requests == 2
    assert after.signals.output_tokens - before.output_tokens == 40
    assert after.signals.ttft_total - before.ttft_total == 2


async def test_what_needs_no_engine_is_answered_without_one_and_not_held(fleet):
    answer = await send(fleet.shell, "GET", "/version")
    assert answer.status_code == 200
    assert held(fleet) == 0


@pytest.mark.parametrize(
    ("start_s", "advice_s"),
    [(None, RETRY_AFTER_S), (40.4, 40), (2.0, RETRY_AFTER_S), (0.5, RETRY_AFTER_S)],
    ids=["not known", "what is left of it", "hardly anything left", "it should be up: another"],
)
async def test_who_waited_in_vain_is_told_when_a_start_will_be_over(
    fleet, monkeypatch, start_s, advice_s
):
    monkeypatch.setattr(fleet.models["demo"], "start_s", start_s)
    call = await fleet.chat(stream=False).finish()
    assert (call.status, call.headers["retry-after"]) == (503, str(advice_s))
    assert held(fleet) == 0


async def test_the_loss_of_the_last_engine_is_told_once(fleet):
    first, second = await fleet.start("demo", 2)
    fleet.emptied.clear()
    await fleet.remove("demo", first)
    await eventually(lambda: fleet.models["demo"].ready)
    assert fleet.emptied == []
    await fleet.remove("demo", second)
    await eventually(lambda: fleet.emptied == ["demo"])

"""Requests that wait, are refused, are paused and are counted: vLLM's real API server over a switch
and fake engines, of which each runs one request at a time."""

from __future__ import annotations

import pytest

from cluster.admission.tenants import Tenant
from serve_app import admitted_answer
from serve_app.served_request import ServedRequest
from tests.serve_app.asgi_call import AsgiCall
from tests.serve_app.fake_core import HostThread
from tests.serve_app.model_fleet import SPEC, ModelFleet, built_fleet
from tests.serve_app.tenants import bearer, tenant
from tests.waiting import eventually

pytestmark = pytest.mark.anyio

CHAT, BATCH = tenant("chat"), tenant("nightly", priority="batch")
SLOW = tenant("slow", requests_per_min=1)
SINGLE = tenant("single", max_concurrent=1)
HASTY = tenant("hasty", max_wait_s=0.05)
TENANTS = (CHAT, BATCH, SLOW, SINGLE, HASTY)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def built():
    models = [{**model, "max_wait_s": 60.0} for model in SPEC["models"] if model["name"] == "demo"]
    async with built_fleet(models=models, tenants=TENANTS) as fleet:
        yield fleet


@pytest.fixture
async def fleet(built):
    built.desk.have_tenants([])  # what they used before is forgotten
    built.desk.have_tenants(TENANTS)
    built.served.clear()
    yield built
    await built.remove("demo")


async def one_engine(fleet: ModelFleet, steps_allowed: int | None = None) -> HostThread:
    (host,) = await fleet.start("demo", max_num_seqs=1, steps_allowed=steps_allowed)
    return host


def chat(fleet: ModelFleet, who: Tenant = CHAT, **request) -> AsgiCall:
    return fleet.chat(headers=bearer(who.name), **request)


def waiting(fleet: ModelFleet) -> int:
    return sum(fleet.desk.row("demo")["waiting"].values())


async def until_waiting(fleet: ModelFleet, count: int) -> None:
    await eventually(lambda: waiting(fleet) == count)


async def until_running(host: HostThread, count: int = 1) -> None:
    await eventually(lambda: len(host.core.running) == count)


def over(fleet: ModelFleet) -> list[ServedRequest]:
    """What was told of requests that had been taken in."""
    return [told for told in fleet.served if told.outcome != "refused"]


async def until_told(fleet: ModelFleet, count: int) -> None:
    await eventually(lambda: len(over(fleet)) == count)


def go(host: HostThread, steps: int | None = None) -> None:
    host.call(lambda: host.core.allow(steps))


async def test_what_exceeds_an_engine_s_room_waits_for_its_turn(fleet):
    host = await one_engine(fleet, steps_allowed=0)
    first = chat(fleet)
    await until_running(host)
    second = chat(fleet, stream=False)
    await until_waiting(fleet, 1)
    assert len(host.core.added) == 1
    assert fleet.models["demo"].stats("g").signals.held_requests == 1
    go(host)
    assert (await first.finish()).status == (await second.finish()).status == 200
    assert first.text == second.text
    await until_told(fleet, 2)
    assert [each.outcome for each in fleet.served] == ["served", "served"]
    assert fleet.served[0].waited_s == 0.0 < fleet.served[1].waited_s
    assert (waiting(fleet), len(host.core.added)) == (0, 2)


async def test_no_batch_request_goes_before_an_interactive_one(fleet):
    host = await one_engine(fleet, steps_allowed=0)
    calls = [chat(fleet)]
    await until_running(host)
    calls.append(chat(fleet, BATCH, max_tokens=7))
    await until_waiting(fleet, 1)
    calls.append(chat(fleet, max_tokens=8))
    await until_waiting(fleet, 2)
    go(host)
    for call in calls:
        await call.finish()
    most = [request.sampling_params.max_tokens for request in host.core.added]
    assert most == [20, 8, 7]


@pytest.mark.parametrize("stream", [True, False])
async def test_who_waited_too_long_is_told_so_before_the_answer_begins(fleet, stream):
    host = await one_engine(fleet, steps_allowed=0)
    running = chat(fleet)
    await until_running(host)
    late = await chat(fleet, HASTY, stream=stream).finish()
    assert late.status == 503
    assert int(late.headers["retry-after"]) >= 1
    assert late.headers["content-type"] == "application/json"
    assert late.json["error"]["code"] == "overloaded"
    assert "may wait 0.05 s" in late.json["error"]["message"]
    (told,) = fleet.served
    assert (told.outcome, told.reason, told.usage.requests) == ("refused", "waited", 0)
    assert told.waited_s > 0.05
    assert fleet.desk.row("demo")["refused"]["waited"] >= 1
    go(host)
    assert (await running.finish()).status == 200
    await until_told(fleet, 1)


@pytest.mark.parametrize("stream", [True, False])
async def test_who_is_over_a_limit_is_told_when_to_come_again(fleet, stream):
    await one_engine(fleet)
    assert (await chat(fleet, SLOW).finish()).status == 200
    over = await chat(fleet, SLOW, stream=stream).finish()
    assert over.status == 429
    assert 1 <= int(over.headers["retry-after"]) <= 60
    assert (over.json["error"]["type"], over.json["error"]["code"]) == (
        "requests",
        "rate_limit_exceeded",
    )
    assert "requests_per_min is 1" in over.json["error"]["message"]


async def test_a_client_that_leaves_frees_its_place(fleet):
    host = await one_engine(fleet, steps_allowed=3)
    left = chat(fleet, SINGLE)
    await left.events(2)
    assert (await chat(fleet, SINGLE).finish()).status == 429
    left.leave()
    await left.finish()
    await until_told(fleet, 1)
    (told,) = over(fleet)
    assert (told.outcome, told.tenant, told.usage.requests) == ("cancelled", "single", 1)
    assert told.usage.output_tokens == 3
    go(host)
    assert (await chat(fleet, SINGLE).finish()).status == 200


async def test_a_client_that_leaves_the_queue_is_gone_from_it(fleet):
    host = await one_engine(fleet, steps_allowed=0)
    running = chat(fleet)
    await until_running(host)
    left = chat(fleet)
    await until_waiting(fleet, 1)
    left.leave()
    await left.finish()
    await until_waiting(fleet, 0)
    go(host)
    await running.finish()
    await until_told(fleet, 2)
    cancelled = next(each for each in fleet.served if each.outcome == "cancelled")
    assert (cancelled.usage.output_tokens, cancelled.usage.prompt_tokens) == (0, 0)
    assert len(host.core.added) == 1


async def test_a_long_wait_s_headers_go_out_and_comments_follow(fleet, monkeypatch):
    monkeypatch.setattr(admitted_answer, "PATIENCE_S", 0.01)
    monkeypatch.setattr(admitted_answer, "COMMENT_EVERY_S", 0.01)
    host = await one_engine(fleet, steps_allowed=0)
    first = chat(fleet)
    await until_running(host)
    second = chat(fleet)
    await eventually(lambda: second.content.count(b": waiting") >= 3)
    assert second.status == 200
    go(host)
    await first.finish()
    await second.finish()
    assert second.content.endswith(b"data: [DONE]\n\n")
    await until_told(fleet, 2)


async def test_once_its_headers_are_out_a_refusal_is_an_event(fleet, monkeypatch):
    monkeypatch.setattr(admitted_answer, "PATIENCE_S", 0.01)
    host = await one_engine(fleet, steps_allowed=0)
    running = chat(fleet)
    await until_running(host)
    late = await chat(fleet, HASTY).finish()
    assert late.status == 200
    assert b"may wait 0.05 s" in late.content
    go(host)
    await running.finish()
    await until_told(fleet, 1)


async def test_several_answers_are_one_request_and_their_prompt_counts_once(fleet):
    (host,) = await fleet.start("demo")
    call = await chat(fleet, stream=False, n=3, max_tokens=5, temperature=1).finish()
    await until_told(fleet, 1)
    (told,) = fleet.served
    assert len(host.core.added) == 3
    assert told.usage.requests == 1
    assert told.usage.output_tokens == call.json["usage"]["completion_tokens"] == 15
    assert told.usage.prompt_tokens == call.json["usage"]["prompt_tokens"]
    assert told.usage.attempts == 3


async def test_a_list_of_prompts_is_one_request(fleet):
    (host,) = await fleet.start("demo")
    body = {"model": "demo", "prompt": [[1, 2, 3], [4, 5]], "max_tokens": 4}
    call = await AsgiCall(fleet.shell, "/v1/completions", body, bearer("slow")).finish()
    assert call.status == 200
    await until_told(fleet, 1)
    (told,) = fleet.served
    assert (len(host.core.added), told.usage.prompt_tokens, told.usage.output_tokens) == (2, 5, 8)


async def test_requests_of_one_chosen_id_are_told_apart(fleet):
    host = await one_engine(fleet, steps_allowed=0)
    same = bearer(CHAT.name) | {"x-request-id": "mine"}
    first = fleet.chat(headers=same)
    await until_running(host)
    second = fleet.chat(headers=same)
    await until_waiting(fleet, 1)
    go(host)
    assert (await first.finish()).text == (await second.finish()).text
    await until_told(fleet, 2)
    assert all(each.usage.output_tokens == 20 for each in fleet.served)


async def test_a_batch_request_makes_room_and_goes_on_with_its_tokens(fleet):
    (alone,) = await fleet.start("demo")
    undisturbed = (await chat(fleet, BATCH, max_tokens=60).finish()).text
    await fleet.remove("demo", alone)
    host = await one_engine(fleet, steps_allowed=10)
    batch = chat(fleet, BATCH, max_tokens=60)
    await batch.events(2)  # the role and some text: tokens that wait are one event
    interactive = chat(fleet, max_tokens=30)  # more than the engine may make now
    await eventually(lambda: len(host.core.added) == 2)
    assert len(host.core.aborted) == 1
    assert waiting(fleet) == 1
    go(host)
    assert (await interactive.finish()).status == 200
    assert not batch.content.endswith(b"[DONE]\n\n")
    assert (await batch.finish()).text == undisturbed
    await until_told(fleet, 3)
    told = fleet.served[-1]
    assert (told.tenant, told.outcome) == ("nightly", "served")
    assert (told.usage.output_tokens, told.usage.attempts) == (60, 2)


async def test_a_paused_request_whose_client_leaves_is_over(fleet):
    host = await one_engine(fleet, steps_allowed=10)
    batch = chat(fleet, BATCH, max_tokens=60)
    await batch.events(2)  # the role and some text: tokens that wait are one event
    interactive = chat(fleet, max_tokens=30)  # more than the engine may make now
    await eventually(lambda: len(host.core.added) == 2)
    batch.leave()
    await batch.finish()
    await until_waiting(fleet, 0)
    go(host)
    await interactive.finish()
    await until_told(fleet, 2)
    assert {each.tenant: each.outcome for each in fleet.served} == {
        "nightly": "cancelled",
        "chat": "served",
    }


async def test_a_tenant_that_is_gone_is_let_in_no_more(fleet):
    await one_engine(fleet)
    fleet.desk.have_tenants([])
    refused = await chat(fleet).finish()  # whose key was right a moment ago
    assert refused.status == 401
    assert refused.json["error"]["code"] == "invalid_api_key"


async def test_what_no_engine_serves_needs_no_turn(fleet):
    host = await one_engine(fleet, steps_allowed=0)
    running = chat(fleet)
    await until_running(host)
    body = {"model": "demo", "prompt": "hello"}
    tokenized = await AsgiCall(fleet.shell, "/tokenize", body, bearer("chat")).finish()
    assert tokenized.status == 200
    go(host)
    await running.finish()
    await until_told(fleet, 1)


async def test_a_request_moves_to_another_engine_and_is_counted_once(fleet):
    first = await one_engine(fleet, steps_allowed=5)
    call = chat(fleet)
    await call.events(2)
    await eventually(lambda: first.core.steps == 5)
    await fleet.start("demo", max_num_seqs=1)
    await fleet.remove("demo", first)
    assert (await call.finish()).status == 200
    await until_told(fleet, 1)
    (told,) = fleet.served
    assert (told.outcome, told.usage.output_tokens, told.usage.attempts) == ("served", 20, 2)

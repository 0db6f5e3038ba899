"""A bad request is refused in the OpenAI error shape, and nobody else notices it."""

import asyncio
from collections.abc import Iterator

import httpx2
import pytest

from loadtest.chaos.kinds import KINDS
from tests.integration.calls import BAD, NO_ROUTE, PROMPT, Call
from tests.integration.fleet import Fleet
from tests.integration.playing import Played, play_all
from tests.integration.test_failover_matrix import assert_same
from tests.waiting import eventually

MAX_BODY_BYTES = 200_000
LARGE = {"model": "demo", "prompt": "a" * MAX_BODY_BYTES}


def assert_openai_error(response: httpx2.Response, status: int) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == status
    assert error["message"]
    assert isinstance(error["type"], str)
    assert error["param"] is None or isinstance(error["param"], str)


@pytest.mark.parametrize("call", BAD, ids=lambda call: call.name)
def test_a_bad_request_is_refused_with_its_reason(fleet: Fleet, call: Call) -> None:
    response = call.send(fleet.http)
    assert_openai_error(response, call.status)


@pytest.mark.parametrize("call", NO_ROUTE, ids=lambda call: call.name)
def test_a_route_that_the_model_has_not_is_not_found(fleet: Fleet, call: Call) -> None:
    response = call.send(fleet.http)
    assert response.status_code == call.status
    assert response.json().keys() == {"detail"}


def test_an_unknown_model_is_named(fleet: Fleet) -> None:
    error = BAD[0].send(fleet.http).json()["error"]
    assert error["message"].startswith("The model `nobody` does not exist. Valid aliases: demo")
    assert (error["type"], error["param"]) == ("NotFoundError", "model")


def test_a_body_over_the_limit_is_refused(fleet: Fleet) -> None:
    response = fleet.http.post("/v1/completions", json=LARGE)
    assert_openai_error(response, 413)
    assert "gateway.max_body_mb" in response.json()["error"]["message"]


def test_a_body_over_the_limit_is_refused_without_a_declared_length(fleet: Fleet) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"model": "demo", "prompt": "'
        for _ in range(MAX_BODY_BYTES // 1000):
            yield b"a" * 1000
        yield b'"}'

    headers = {"content-type": "application/json"}
    response = fleet.http.post("/v1/completions", content=chunks(), headers=headers)
    assert_openai_error(response, 413)


def test_no_bad_request_disturbs_a_running_stream_or_an_engine(two_engines: Fleet) -> None:
    kinds = [kind for kind in KINDS if kind.name in ("chat", "penalties")]
    undisturbed = asyncio.run(play_all(two_engines, kinds))
    pids = {engine["pid"] for engine in two_engines.engines()}
    for played, expected in zip(
        asyncio.run(_play_among_bad_requests(two_engines, kinds)), undisturbed, strict=True
    ):
        assert_same(played.answer, expected.answer)
    assert {engine["pid"] for engine in two_engines.engines()} == pids
    assert two_engines.flights()["active"] == 0


async def _play_among_bad_requests(fleet: Fleet, kinds: list) -> list[Played]:
    played = [Played(kind) for kind in kinds]
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        for each in played:
            group.create_task(each.play(client))
        await eventually(lambda: all(each.parts for each in played), what="every stream flows")
        await asyncio.gather(*(asyncio.to_thread(call.send, fleet.http) for call in BAD + NO_ROUTE))
    return played


def test_a_client_cannot_force_tokens_upon_an_engine(two_engines: Fleet) -> None:
    """`tokenfleet_forced_token_ids` is the switch's own; bad values in it would end an engine."""
    pids = {engine["pid"] for engine in two_engines.engines()}
    for tokens in ([999_999], ["a"], "a", [5, 6, 7]):
        body = {
            "model": "demo",
            "prompt": PROMPT,
            "max_tokens": 4,
            "temperature": 0,
            "vllm_xargs": {"tokenfleet_forced_token_ids": tokens},
        }
        response = two_engines.http.post("/v1/completions", json=body)
        assert response.status_code in (200, 400), response.text
    assert {engine["pid"] for engine in two_engines.engines()} == pids

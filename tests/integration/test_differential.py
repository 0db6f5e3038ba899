"""The cluster answers what a bare vLLM server answers: every route, good requests and bad ones."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from loadtest.chaos.answers import Answer, folded
from tests.integration.bare import BareServer
from tests.integration.calls import BAD, NO_ROUTE, SINGLE, STREAMABLE, Call
from tests.integration.fleet import Fleet

OWN = {"id", "created", "created_at", "system_fingerprint", "completed_at", "item_id"}
"""Different for every answer of one server too."""
NAMES_MODELS = {"no body", "unknown model", "unknown model of a completion"}
REFUSED = [call for call in BAD + NO_ROUTE if call.name not in NAMES_MODELS]
"""The refusals that name the models differ: of an unknown model, and of none among several."""


@pytest.fixture(scope="module")
def bare(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    server = BareServer(fleet.spec.model("demo"), tmp_path_factory.mktemp("bare") / "log")
    try:
        server.wait_until_ready()
        yield server.http
    finally:
        server.stop()


def both(call: Call, fleet: Fleet, bare: httpx2.Client) -> list[httpx2.Response]:
    """The responses of the cluster and of the bare server, asked at the same time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(call.send, (fleet.http, bare)))


def comparable(value: Any) -> Any:
    """JSON without what is new in every answer, floats rounded to what float32 sums repeat."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items() if key not in OWN}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value


@pytest.mark.parametrize("call", STREAMABLE + SINGLE, ids=lambda call: call.name)
def test_the_answer_is_the_bare_servers(call: Call, fleet: Fleet, bare: httpx2.Client) -> None:
    ours, theirs = both(call, fleet, bare)
    assert ours.status_code == theirs.status_code == call.status, (ours.text, theirs.text)
    assert comparable(ours.json()) == comparable(theirs.json())


@pytest.mark.parametrize("call", STREAMABLE, ids=lambda call: call.name)
def test_the_stream_adds_up_to_the_bare_servers(
    call: Call, fleet: Fleet, bare: httpx2.Client
) -> None:
    ours, theirs = both(streamed(call), fleet, bare)
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    assert comparable_answer(events(ours)) == comparable_answer(events(theirs))


def streamed(call: Call) -> Call:
    body = {**(call.body or {}), "stream": True, "stream_options": {"include_usage": True}}
    return Call(call.name, call.path, body)


def events(response: httpx2.Response) -> list[dict[str, Any]]:
    """The chunks of a stream, which must end as OpenAI's do."""
    assert response.status_code == 200, response.text
    lines = [line for line in response.text.splitlines() if line]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def comparable_answer(chunks: list[dict[str, Any]]) -> Answer:
    answer = folded(chunks)
    for choice in answer.choices.values():
        choice.logprobs = [(token, comparable(value)) for token, value in choice.logprobs]
    return answer


@pytest.mark.parametrize("call", REFUSED, ids=lambda call: call.name)
def test_the_refusal_is_the_bare_servers(call: Call, fleet: Fleet, bare: httpx2.Client) -> None:
    ours, theirs = both(call, fleet, bare)
    assert (ours.status_code, ours.json()) == (theirs.status_code, theirs.json())


def test_the_model_card_is_the_bare_servers(fleet: Fleet, bare: httpx2.Client) -> None:
    ours, theirs = (http.get("/v1/models").json() for http in (fleet.http, bare))
    assert ours.keys() == theirs.keys()
    assert comparable(ours["data"][0]) == comparable(theirs["data"][0])

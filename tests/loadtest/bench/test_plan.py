"""What is asked: the same of both sides, and never the same twice."""

import json

from loadtest.bench.plan import Plan, Subject, load_of, order
from loadtest.client import Endpoint

BARE = Subject("bare", Endpoint("a", 1))
FLEET = Subject("fleet", Endpoint("b", 2))


def plan(**fields: object) -> Plan:
    defaults: dict[str, object] = {
        "model": "demo",
        "pairs": 2,
        "streams": (1, 4),
        "requests_per_stream": 3,
        "prompt_tokens": 200,
        "output_tokens": 128,
        "timeout_s": 5.0,
        "idle_s": 0.0,
        "seed": 0,
    }
    return Plan(**{**defaults, **fields})  # type: ignore[arg-type]


def bodies(subject: Subject, pair: int = 0, streams: int = 4) -> list[bytes]:
    """Request bodies of a cell, warm-up first."""
    load = load_of(plan(), subject, pair, streams, words=20)
    requests = [*load.warm_up, *(r for of_stream in load.requests for r in of_stream)]
    return [request.partition(b"\r\n\r\n")[2] for request in requests]


def test_both_sides_of_a_pair_get_the_same_requests() -> None:
    assert bodies(BARE) == bodies(FLEET)


def test_no_prompt_of_a_run_comes_twice() -> None:
    asked = [
        json.loads(body)["messages"][0]["content"]
        for pair in range(2)
        for streams in (1, 4)
        for body in bodies(BARE, pair, streams)
    ]
    assert len(set(asked)) == len(asked) == 2 * (1 + 4) * (1 + 3)


def test_one_server_as_both_sides_gets_different_prompts() -> None:
    again = Subject("fleet", BARE.endpoint, salt="again")
    assert not set(bodies(BARE)) & set(bodies(again))


def test_replies_have_a_fixed_length_and_a_short_warm_up() -> None:
    asked = [json.loads(body) for body in bodies(BARE)]
    assert [body["max_tokens"] for body in asked] == [32] * 4 + [128] * 12
    assert all(body["ignore_eos"] and body["stream_options"]["include_usage"] for body in asked)


def test_sides_take_turns_to_be_first() -> None:
    assert [order(pair) for pair in range(3)] == [
        ("bare", "fleet"),
        ("fleet", "bare"),
        ("bare", "fleet"),
    ]


def test_fewer_streams_send_more_requests_each_unless_told() -> None:
    assert [plan(requests_per_stream=None).requests(n) for n in (1, 8, 32, 128)] == [24, 8, 4, 3]
    assert [plan().requests(n) for n in (1, 128)] == [3, 3]

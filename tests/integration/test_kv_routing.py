"""What the gateway believes the engines' caches hold is what they hold: each answer says how much
of its prompt was found, and the gateway said so before."""

import random
from typing import Any

import pytest

from tests.integration.fleet import Fleet
from tests.waiting import until

BLOCK_TOKENS = 32  # the demo's
PREFIXES, PREFIX_BLOCKS = 6, 24
REQUESTS = 60  # their prompts do not fit into the two caches of the test's engines together
SEED = 5


class Prompts:
    """Prompts of token ids that share beginnings of whole blocks, and some that share nothing."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._prefixes = [self._tokens(PREFIX_BLOCKS * BLOCK_TOKENS) for _ in range(PREFIXES)]

    def _tokens(self, count: int) -> list[int]:
        return [self._rng.randrange(300, 2000) for _ in range(count)]

    def next(self) -> list[int]:
        shared = self._rng.choice([*self._prefixes, []])
        cut = self._rng.randrange(len(shared) + 1)
        return shared[:cut] + self._tokens(self._rng.randrange(1, 1500))


def explained(fleet: Fleet, prompt: list[int]) -> dict[str, Any]:
    body = {"model": "demo", "prompt": prompt, "max_tokens": 1}
    answer = fleet.http.post("/fleet/explain", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def held(explanation: dict[str, Any]) -> dict[str, int]:
    """The cached tokens of the prompt, by engine."""
    return {engine["replica_id"]: engine["cached_tokens"] for engine in explanation["engines"]}


def found(fleet: Fleet, prompt: list[int]) -> int:
    """How many tokens of the prompt the engine that took it found in its cache."""
    body = {"model": "demo", "prompt": prompt, "max_tokens": 1}
    usage = fleet.http.post("/v1/completions", json=body).raise_for_status().json()["usage"]
    assert usage["prompt_tokens"] == len(prompt)
    return usage["prompt_tokens_details"]["cached_tokens"]


def test_every_prompt_finds_what_the_gateway_said_it_would(two_engines: Fleet) -> None:
    prompts = Prompts(SEED)
    hits = 0
    for _ in range(REQUESTS):
        prompt = prompts.next()
        before = explained(two_engines, prompt)
        cached = found(two_engines, prompt)
        if before["reason"] == "tie":
            assert cached in held(before).values()
        else:
            assert cached == held(before)[before["winner"]], before
        hits += cached > 0
        usable = (len(prompt) - 1) // BLOCK_TOKENS * BLOCK_TOKENS
        until(
            lambda prompt=prompt, usable=usable: (
                max(held(explained(two_engines, prompt)).values()) == usable
            ),
            what="the engine's own events say that it holds the prompt",
        )
    assert hits > REQUESTS // 4


def test_a_prompt_goes_where_its_beginning_is(two_engines: Fleet) -> None:
    prompt = Prompts(SEED + 1)._tokens(40 * BLOCK_TOKENS)
    found(two_engines, prompt)
    until(lambda: max(held(explained(two_engines, prompt)).values()) > 0)
    answer = explained(two_engines, [*prompt, *range(400, 440)])
    assert answer["reason"] == "cached", answer
    assert held(answer)[answer["winner"]] == len(prompt)
    assert answer["sentence"].startswith(f"{answer['winner']} holds {len(prompt)} of the ")


def test_a_question_is_no_request(two_engines: Fleet) -> None:
    before = two_engines.flights()
    explained(two_engines, [5] * 100)
    assert two_engines.flights() == before


@pytest.mark.parametrize(
    ("body", "status"),
    [({"model": "none", "prompt": "x"}, 404), ({"model": "demo", "prompt": "x", "n": -1}, 400)],
)
def test_a_question_that_is_no_good_request_is_refused_as_that_is(
    two_engines: Fleet, body: dict[str, Any], status: int
) -> None:
    answer = two_engines.http.post("/fleet/explain", json=body)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == status

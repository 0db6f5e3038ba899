"""What the gateway believes the engines' caches hold is what they hold: each answer says how much
of its prompt was found, and the gateway said so before."""

import random
from collections import Counter
from typing import Any

import pytest

from tests.integration.fleet import Fleet
from tests.serve_app.prometheus_text import samples
from tests.waiting import until

BLOCK_TOKENS = 32  # the demo's
PREFIXES, PREFIX_BLOCKS = 6, 24
MOST_BEGINNINGS = 24
BEGINNING_BLOCKS = 100  # of the 128 that a prompt can have: it takes a while to compute
REQUESTS = 60  # their prompts do not fit into the two caches of the test's engines together
SEED = 5


class Prompts:
    """Prompts of token ids that share beginnings of whole blocks, and some that share nothing."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._prefixes = [self.of_blocks(PREFIX_BLOCKS) for _ in range(PREFIXES)]

    def of_blocks(self, count: int) -> list[int]:
        return self._tokens(count * BLOCK_TOKENS)

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
    total, cached = counted(fleet)
    fleet.http.post("/v1/completions", json=body).raise_for_status()
    until(lambda: counted(fleet)[0] == total + len(prompt), what="the request is counted")
    return counted(fleet)[1] - cached


def counted(fleet: Fleet) -> tuple[int, int]:
    """vLLM's own counts: all prompt tokens so far, and those of them found in caches."""
    metrics = samples(fleet.http.get("/metrics").text)
    total, cached = (
        metrics[f"vllm:{name}_total"]["demo"] for name in ("prompt_tokens", "prompt_tokens_cached")
    )
    return int(total), int(cached)


def test_every_prompt_finds_what_the_gateway_said_it_would(two_engines: Fleet) -> None:
    prompts = Prompts(SEED)
    hits = 0
    for _ in range(REQUESTS):
        prompt = prompts.next()
        before = explained(two_engines, prompt)
        cached = found(two_engines, prompt)
        then = two_engines.last_decision()
        said = {replica.id: replica.cached_tokens for replica in then.replicas}
        assert said == held(before)
        assert cached == said[then.decision.replica_id], then
        hits += cached > 0
        usable = (len(prompt) - 1) // BLOCK_TOKENS * BLOCK_TOKENS
        until(
            lambda prompt=prompt, usable=usable: (
                max(held(explained(two_engines, prompt)).values()) == usable
            ),
            what="the engine's own events say that it holds the prompt",
        )
    assert hits > REQUESTS // 4


def learnt(fleet: Fleet) -> bool:
    """Whether every engine says what its steps cost; asks for some more of them."""
    prompts = [[start] * (BLOCK_TOKENS - 1) for start in range(300, 308)]
    body = {"model": "demo", "prompt": prompts, "max_tokens": 16, "ignore_eos": True}
    fleet.http.post("/v1/completions", json=body).raise_for_status()
    return all(engine["step_cost_s"] is not None for engine in fleet.engines())


def test_prompts_go_where_their_beginnings_are(two_engines: Fleet) -> None:
    until(lambda: learnt(two_engines), what="the engines know what their steps cost")
    prompts = Prompts(SEED + 1)
    cached_tokens = BEGINNING_BLOCKS * BLOCK_TOKENS
    reasons: Counter[str] = Counter()
    for _ in range(MOST_BEGINNINGS):
        beginning = prompts.of_blocks(BEGINNING_BLOCKS)
        again = [*beginning, *range(400, 440)]
        found(two_engines, beginning)
        until(lambda again=again: max(held(explained(two_engines, again)).values()) > 0)
        answer = explained(two_engines, again)
        found(two_engines, again)
        if answer["reason"] == "spilled":
            continue  # an engine that was given more than its share gets no credit for a while
        assert held(answer)[answer["winner"]] == cached_tokens
        if answer["reason"] == "cached":
            assert answer["sentence"].startswith(f"{answer['winner']} holds {cached_tokens} of ")
        reasons[answer["reason"]] += 1
        if reasons.total() == 3:
            break
    assert reasons.total() == 3, reasons


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

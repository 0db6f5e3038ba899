"""The predicted cost against the formula read aloud, and against an engine run step by step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing.added_latency import CHUNK_TOKENS, DISPLACED, AddedLatency
from cluster.routing.fleet_step_costs import step_costs
from cluster.types import ReplicaSnapshot, RouteRequest, StepCost
from tests.cluster.builders import replica, route_request
from tests.cluster.routing_cases import GPU, SLOW_GPU, fleets, requests


def predict(
    request: RouteRequest, replicas: list[ReplicaSnapshot], typical_output_tokens: float
) -> list[tuple[float, float]]:
    replicas = [replace(each, step_cost=each.step_cost or GPU) for each in replicas]
    added = AddedLatency(request, replicas, step_costs(replicas), typical_output_tokens)
    ttfts_s, costs_s = added.predict(added.uncached_tokens)
    return list(zip(ttfts_s.tolist(), costs_s.tolist(), strict=True))


def one(request: RouteRequest, each: ReplicaSnapshot) -> tuple[float, float]:
    return predict(request, [each], float(request.max_output_tokens))[0]


# --- the formula ------------------------------------------------------------------------------


def there(each: ReplicaSnapshot) -> int:
    return max(each.inflight_requests, each.running_requests + each.waiting_requests)


def by_hand(
    request: RouteRequest, replicas: list[ReplicaSnapshot], typical: float
) -> list[tuple[float, float]]:
    """The formula of the docstring, one number at a time."""
    costs = [each.step_cost or GPU for each in replicas]
    speeds = sum(1 / cost.prefill_token_s for cost in costs)
    everyone = sum(there(each) for each in replicas)
    found = []
    for each, cost in zip(replicas, costs, strict=True):
        uncached = max(1, request.prompt_tokens - each.cached_tokens)
        queued, decoding, output = (
            each.queued_prefill_tokens,
            each.decode_requests,
            request.max_output_tokens,
        )
        step_s = cost.base_s + cost.decode_request_s * decoding
        passed = queued / CHUNK_TOKENS / typical
        beside = decoding * max(0, 1 - passed)
        beside += max(0, there(each) - decoding) / max(1, passed)
        delayed = max(beside, everyone / cost.prefill_token_s / speeds)
        wait_s = again = 0.0
        if each.kv_total_tokens:
            growing = output + decoding * typical / 2
            used = each.kv_use_frac * each.kv_total_tokens
            short = max(0, used + queued + uncached + growing - each.kv_total_tokens)
            wait_s = short / each.kv_total_tokens * typical * step_s
            again = min(short, growing)
        ttft_s = step_s + (queued + uncached) * (cost.prefill_token_s + step_s / CHUNK_TOKENS)
        ttft_s += wait_s + again * cost.prefill_token_s
        own_s = ttft_s + output * (cost.base_s + cost.decode_request_s * (beside + 1))
        others_s = delayed * cost.prefill_token_s * (uncached + again)
        others_s += beside * cost.decode_request_s * output
        found.append((ttft_s, own_s + others_s))
    return found


@settings(deadline=None)
@given(requests, fleets(), st.sampled_from([1.0, 30.0, 700.0]))
def test_it_is_the_formula(request, replicas, typical):
    expected = by_hand(request, replicas, typical)
    assert np.allclose(predict(request, replicas, typical), expected, rtol=1e-9)


@settings(deadline=None)
@given(requests, fleets())
def test_what_is_displaced_is_computed_again_while_a_fair_share_waits(request, replicas):
    replicas = [replace(each, step_cost=each.step_cost or GPU) for each in replicas]
    added = AddedLatency(request, replicas, step_costs(replicas), 30.0)
    tokens_s = [each.step_cost.prefill_token_s for each in replicas]
    speeds = sum(1 / token_s for token_s in tokens_s)
    everyone = sum(there(each) for each in replicas)
    expected = [
        DISPLACED * uncached * (token_s + everyone / speeds)
        for uncached, token_s in zip(added.uncached_tokens, tokens_s, strict=True)
    ]
    assert np.allclose(added.displaced(added.uncached_tokens), expected, rtol=1e-9)


# --- the engine -------------------------------------------------------------------------------


def latencies(
    cost: StepCost, decoding: list[int], prompts: list[tuple[int, int]]
) -> tuple[list[float], list[float]]:
    """When each request ends, those decoding first, then those with prompts; and the TTFT of each
    prompt. One step after another, as vLLM schedules them: all that decode, then prompt tokens up
    to the budget, first come first served. All arrive at 0, between two steps.

    `decoding`: tokens that each still has to emit. `prompts`: prompt and output tokens of each.
    """
    left = dict(enumerate(decoding))
    waiting = [(len(decoding) + i, *sizes) for i, sizes in enumerate(prompts)]
    ended: dict[int, float] = {}
    first: dict[int, float] = {}
    now_s = 0.0
    while left or waiting:
        room, prefilled, started = CHUNK_TOKENS - len(left), 0, []
        while waiting and room:
            name, tokens, output = waiting[0]
            chunk = min(tokens, room)
            prefilled, room = prefilled + chunk, room - chunk
            waiting[0] = (name, tokens - chunk, output)
            if chunk == tokens:
                started.append(waiting.pop(0))
        now_s += cost.base_s + cost.prefill_token_s * prefilled + cost.decode_request_s * len(left)
        left = {name: tokens - 1 for name, tokens in left.items()}
        for name, _, output in started:
            first[name] = now_s
            left[name] = output - 1
        ended |= {name: now_s for name, tokens in left.items() if tokens <= 0}
        left = {name: tokens for name, tokens in left.items() if tokens > 0}
    return [ended[name] for name in sorted(ended)], [first[name] for name in sorted(first)]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 40),
    st.lists(st.integers(100, 4000), max_size=4),
    st.integers(50, 8000),
    st.integers(60, 300),
    st.sampled_from([GPU, SLOW_GPU]),
)
def test_the_cost_is_what_an_engine_shows_all_requests_together(
    decode_requests, queue, prompt_tokens, output_tokens, cost
):
    """Run it with and without the request: the difference, summed over all requests, is the cost.

    Those that decode go on for longer than it; the queued ones have outputs like its own.
    """
    decoding = [3 * output_tokens] * decode_requests
    before = [(tokens, output_tokens) for tokens in queue]
    without, _ = latencies(cost, decoding, before)
    with_it, ttfts_s = latencies(cost, decoding, [*before, (prompt_tokens, output_tokens)])
    cost_s = sum(with_it) - sum(without)
    ttft_s, predicted_s = one(
        RouteRequest(prompt_tokens=prompt_tokens, max_output_tokens=output_tokens),
        replica(
            "a",
            running_requests=decode_requests,
            waiting_requests=len(queue),
            decode_requests=decode_requests,
            queued_prefill_tokens=sum(queue),
            step_cost=cost,
        ),
    )
    step_s = cost.base_s + cost.decode_request_s * decode_requests
    assert predicted_s == pytest.approx(cost_s, rel=0.15)
    assert ttft_s == pytest.approx(ttfts_s[-1], rel=0.1, abs=1.1 * step_s)


# --- what follows from it ---------------------------------------------------------------------

BUSY = replica(
    "a",
    running_requests=20,
    waiting_requests=2,
    decode_requests=18,
    queued_prefill_tokens=3000,
    kv_use_frac=0.5,
    kv_total_tokens=100_000,
    step_cost=GPU,
)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"queued_prefill_tokens": 4000}, id="a longer queue"),
        pytest.param({"waiting_requests": 9}, id="more waiting requests"),
        pytest.param({"decode_requests": 20, "running_requests": 22}, id="more decoding ones"),
        pytest.param({"step_cost": SLOW_GPU}, id="a slower engine"),
        pytest.param({"kv_use_frac": 0.96}, id="hardly any KV left"),
    ],
)
def test_more_load_costs_more(change):
    assert one(route_request(1000), BUSY)[1] < one(route_request(1000), replace(BUSY, **change))[1]


def test_what_is_cached_costs_nothing_but_the_last_token():
    full, half, none = (
        one(route_request(1000), replace(BUSY, cached_tokens=cached))[1]
        for cached in (1000, 500, 0)
    )
    assert half - full == pytest.approx((none - half) * 499 / 500)


def test_kv_costs_nothing_while_there_is_room():
    costs = {
        one(route_request(1000), replace(BUSY, kv_use_frac=used))[1] for used in (0.0, 0.5, 0.9)
    }
    assert len(costs) == 1


def test_where_a_size_is_unknown_there_is_always_room():
    full = replace(BUSY, kv_use_frac=1.0)
    assert one(route_request(1000), replace(full, kv_total_tokens=0)) < one(
        route_request(1000), full
    )

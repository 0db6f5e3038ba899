"""The simulator against queues whose answer is known.

An engine that takes one request at a time, in one step as long as its prompt, is a single server;
prompts of exponential length arriving as a Poisson stream make it M/M/1. Several of them, each
request sent where the least work is left, are M/M/c with one queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial, inf
from random import Random
from statistics import mean, stdev

import pytest

from cluster.routing import Router
from cluster.simulation.fleet import simulate
from cluster.simulation.step_time import Fitted
from cluster.simulation.workload import Workload
from cluster.types import ReplicaSnapshot, Rng, RouteDecision, RouteReason, RouteRequest
from tests.cluster.simulation.simulated import limits, plan, unshared

SERVICE_S = 1.0
TOKEN_S = SERVICE_S / 10_000
PER_TOKEN = Fitted(base_s=0.0, prefill_token_s=TOKEN_S)
N = 8_000


def stream(load: float, servers: int, seed: int, *, constant: bool = False) -> Workload:
    rng = Random(seed)
    at_s, arrivals_s, prompts = 0.0, [], []
    for _ in range(N):
        at_s += rng.expovariate(load * servers / SERVICE_S)
        arrivals_s.append(at_s)
        mean_tokens = SERVICE_S / TOKEN_S
        prompts.append(
            round(mean_tokens) if constant else max(1, round(rng.expovariate(1 / mean_tokens)))
        )
    return unshared(arrivals_s, prompts, [1] * N, block_tokens=10**6)  # no block is ever full


class LeastWorkLeft:
    """Knows the workload: sends each request to the engine that will be free first, which is what
    one queue for all would do."""

    def __init__(self, work: Workload, servers: int) -> None:
        self._requests = iter(work.requests)
        self._free_s = [0.0] * servers

    def choose(
        self, request: RouteRequest, replicas: Sequence[ReplicaSnapshot], rng: Rng
    ) -> RouteDecision:
        del rng
        picked = self._free_s.index(min(self._free_s))
        begin_s = max(self._free_s[picked], next(self._requests).arrival_s)
        self._free_s[picked] = begin_s + request.prompt_tokens * TOKEN_S
        return RouteDecision(
            replica_id=replicas[picked].id,
            reason=RouteReason.LEAST_COST,
            candidates=len(replicas),
            outstanding_tokens=replicas[picked].outstanding_tokens,
        )


def waits_s(work: Workload, servers: int) -> list[float]:
    router: Router = LeastWorkLeft(work, servers)
    size = limits(kv_blocks=10, block_tokens=10**6, batched=10**7, seqs=1)
    found = simulate(
        work, plan(servers, size, PER_TOKEN, report_every_s=1e6), [router], [Random(0)]
    )
    return [(r.e2e_s or inf) - r.prompt_tokens * TOKEN_S for r in found.records]


def erlang_c(load: float, servers: int) -> float:
    """The share of requests that wait in M/M/c."""
    offered = load * servers
    last = offered**servers / factorial(servers) / (1 - load)
    return last / (sum(offered**k / factorial(k) for k in range(servers)) + last)


def assert_mean(values: Sequence[float], expected: float) -> None:
    """Within 3.5 standard errors, by the means of 20 batches, and small enough ones to tell."""
    size = len(values) // 20
    batches = [mean(values[place : place + size]) for place in range(0, len(values), size)]
    error = stdev(batches) / len(batches) ** 0.5
    assert error < 0.15 * expected
    assert abs(mean(values) - expected) < 3.5 * error


@pytest.mark.parametrize(("load", "servers"), [(0.5, 1), (0.7, 1), (0.7, 3), (0.7, 5)])
def test_exponential_service_waits_as_long_as_erlang_says(load: float, servers: int) -> None:
    expected_s = erlang_c(load, servers) * SERVICE_S / (servers * (1 - load))
    assert_mean(waits_s(stream(load, servers, 1), servers), expected_s)


def test_constant_service_waits_half_as_long() -> None:
    """M/D/1, by Pollaczek and Khinchine: load / (2 (1 - load)) services."""
    found = waits_s(stream(0.7, 1, 3, constant=True), 1)
    assert_mean(found, 0.7 / (2 * 0.3) * SERVICE_S)


@pytest.mark.parametrize("servers", [1, 4])
def test_every_single_wait_is_the_one_of_the_recursion(servers: int) -> None:
    """Lindley's, and for several servers Kiefer and Wolfowitz's."""
    work = stream(0.9, servers, 4)
    expected_s, free_s = [], [0.0] * servers
    for request in work.requests:
        begin_s = max(request.arrival_s, free_s[0])
        free_s = sorted([begin_s + request.prompt_tokens * TOKEN_S, *free_s[1:]])
        expected_s.append(begin_s - request.arrival_s)
    assert waits_s(work, servers) == pytest.approx(expected_s, abs=1e-6)

"""What a request would cost all requests together, in seconds, on one replica.

The engine works in steps of `base_s + prefill_token_s * (prompt tokens in it) + decode_request_s *
(requests it decodes)`; vLLM puts decoding requests into every step and fills up with prompt tokens.
For a request of O output tokens, of whose prompt u tokens are not cached, on an engine with Q
prompt tokens queued and D requests decoding:

    step     = base_s + decode_request_s * D
    ttft     = step + (Q + u) * (prefill_token_s + step / CHUNK_TOKENS) + kv_wait
    decoding = O * (base_s + decode_request_s * (beside + 1))
    others   = beside * (prefill_token_s * (u + again) + decode_request_s * O)
    cost     = ttft + decoding + others

ttft: on average half the running step, and half the last chunk's, have to be waited for; then the
queue and this prompt are worked off, one step for each chunk. decoding, others: `beside` requests
decode while this one does. Each of their steps with some of this prompt in it is longer by those
tokens, and each of its own O steps is longer by one decoding request.

beside: requests that decode now or are queued. But while a long queue is worked off, which takes
Q / CHUNK_TOKENS steps, those decoding now end, and so do the first of the queued. With typical
outputs of T tokens, `passed` = Q / CHUNK_TOKENS / T of them do:

    beside   = D * max(0, 1 - passed) + queued_requests / max(1, passed)

KV: `short` tokens are missing once the queue, this request, and half an output for each request
that decodes (`growing`, the last two's outputs) are added to what is in use. Until they are free it
waits: an engine full of requests frees all its KV in T steps. And where the decoding outgrow what
is left, vLLM preempts, and as many tokens are computed again:

    kv_wait  = short / kv_total_tokens * T * step
    again    = min(short, growing), in `ttft` too

Everything is an expectation, in seconds that someone waits, so that nothing has to be weighed
against anything, and a slow engine is dear by its own step cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cluster.types import ReplicaSnapshot, RouteRequest, StepCost

CHUNK_TOKENS = 2048
"""Prompt tokens in a step with a long queue: vLLM's least default `max_num_batched_tokens` (0.32).
With a larger budget fewer steps carry the base; that is a few percent of a chunk's time."""


class AddedLatency(NamedTuple):
    """A request's predicted TTFT and cost on one replica, and what changes the cost."""

    ttft_s: float
    cost_s: float
    uncached_token_s: float  # each more of them adds so much, where KV is not short
    like_s: float  # a request like this one, ahead of it, adds so much


def uncached(request: RouteRequest, cached_tokens: int) -> int:
    """Prompt tokens to compute: one at least, since an engine needs the last one's logits."""
    return max(1, request.prompt_tokens - cached_tokens)


def requests_there(replica: ReplicaSnapshot) -> int:
    """Requests on the replica, as far as its engine or this gateway knows."""
    return max(replica.inflight_requests, replica.running_requests + replica.waiting_requests)


def added_latency(
    replica: ReplicaSnapshot,
    step_cost: StepCost,
    uncached_tokens: int,
    output_tokens: int,
    typical_output_tokens: float,
) -> AddedLatency:
    """See the module's docstring. `typical_output_tokens`: T, at least 1."""
    decoding, queued_tokens = replica.decode_requests, replica.queued_prefill_tokens
    token_s, decode_s = step_cost.prefill_token_s, step_cost.decode_request_s
    step_s = step_cost.base_s + decode_s * decoding
    ttft_token_s = token_s + step_s / CHUNK_TOKENS
    passed = queued_tokens / CHUNK_TOKENS / typical_output_tokens
    queued_requests = max(0, requests_there(replica) - decoding)
    beside = decoding * max(0.0, 1.0 - passed) + queued_requests / max(1.0, passed)
    ttft_s = step_s + (queued_tokens + uncached_tokens) * ttft_token_s
    again_s = 0.0
    if replica.kv_total_tokens:
        growing = output_tokens + decoding * typical_output_tokens / 2
        free = (1.0 - replica.kv_use_frac) * replica.kv_total_tokens
        short = queued_tokens + uncached_tokens + growing - free
        if short > 0.0:
            again_s = min(short, growing) * token_s
            kv_wait_s = short / replica.kv_total_tokens * typical_output_tokens * step_s
            ttft_s += kv_wait_s + again_s
    decode_steps_s = output_tokens * (step_cost.base_s + decode_s * (2.0 * beside + 1.0))
    return AddedLatency(
        ttft_s,
        ttft_s + decode_steps_s + beside * (token_s * uncached_tokens + again_s),
        ttft_token_s + beside * token_s,
        uncached_tokens * (ttft_token_s + token_s) + 2.0 * output_tokens * decode_s,
    )


def known_step_cost(replicas: Sequence[ReplicaSnapshot]) -> StepCost | None:
    """The mean of the step costs that are known; None where none is."""
    known = [replica.step_cost for replica in replicas if replica.step_cost is not None]
    if not known:
        return None
    return StepCost(
        base_s=sum(cost.base_s for cost in known) / len(known),
        prefill_token_s=sum(cost.prefill_token_s for cost in known) / len(known),
        decode_request_s=sum(cost.decode_request_s for cost in known) / len(known),
    )

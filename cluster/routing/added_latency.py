"""What a request would cost all requests together, in seconds, on one replica.

The engine works in steps of `base_s + prefill_token_s * (prompt tokens in it) + decode_request_s *
(requests it decodes)`; vLLM puts decoding requests into every step and fills up with prompt tokens.
For a request of O output tokens, of whose prompt u tokens are not cached, on an engine with Q
prompt tokens queued and D requests decoding:

    step     = base_s + decode_request_s * D
    ttft     = step + (Q + u) * (prefill_token_s + step / CHUNK_TOKENS) + kv_wait
    decoding = O * (base_s + decode_request_s * (beside + 1))
    others   = delayed * prefill_token_s * (u + again) + beside * decode_request_s * O
    cost     = ttft + decoding + others

ttft: on average half the running step, and half the last chunk's, have to be waited for; then the
queue and this prompt are worked off, one step for each chunk. decoding, others: `beside` requests
decode while this one does. Each of its O steps is longer by one decoding request for each of them.
This prompt makes the steps of the `delayed` requests longer by all its tokens.

beside: requests that decode now or are queued. But while a long queue is worked off, which takes
Q / CHUNK_TOKENS steps, those decoding now end, and so do the first of the queued. With typical
outputs of T tokens, `passed` = Q / CHUNK_TOKENS / T of them do:

    beside   = D * max(0, 1 - passed) + queued_requests / max(1, passed)

delayed: those beside it, but no fewer than the replica's share, by the speed of its prefill, of all
requests on all replicas: one that has fewer now is about to get more, and they wait for this prompt
too. (Without this, long prompts all go to where few decode, and wait there for each other: near
saturation, the 99th percentile of the TTFT was above that of least load in simulation.)

KV: `short` tokens are missing once the queue, this request, and half an output for each request
that decodes (`growing`, the last two's outputs) are added to what is in use. Until they are free it
waits: an engine full of requests frees all its KV in T steps. And where the decoding outgrow what
is left, vLLM preempts, and as many tokens are computed again:

    kv_wait  = short / kv_total_tokens * T * step
    again    = min(short, growing), in `ttft` too

Sums over replicas are exact ones (`fsum`), so that their order changes no cost.

Later requests: a full cache drops as many tokens as are computed. What one engine computes that
another holds already takes the room of something that neither will have, and whose next request
computes it again while a fair share of all requests waits. Where nothing is cached, this is the
same on all alike:

    displaced = DISPLACED * u * prefill_token_s * (1 + fair share)

Everything is an expectation, in seconds that someone waits, so that nothing has to be weighed
against anything, and a slow engine is dear by its own step cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from operator import attrgetter

import numpy as np

from cluster.routing.fleet_step_costs import Floats, StepCosts, columns
from cluster.types import ReplicaSnapshot, RouteRequest

CHUNK_TOKENS = 2048
"""Prompt tokens in a step with a long queue: vLLM's least default `max_num_batched_tokens` (0.32).
With a larger budget fewer steps carry the base; that is a few percent of a chunk's time."""

DISPLACED = 2.0
"""How often a token is computed again that was displaced. From 1 to 3 on the conversations of
Mooncake's trace, whose caches are full: below, prefixes are computed on too many engines; above,
the engines that hold the long ones get more than their share."""

LEAST_TOKEN_S = 1e-9
"""Below any engine's time for a prompt token; a fitted 0 must not make its speed infinite."""

_LOADS = attrgetter(
    *("inflight_requests", "running_requests", "waiting_requests", "decode_requests"),
    *("queued_prefill_tokens", "kv_use_frac", "kv_total_tokens", "cached_tokens"),
)


class AddedLatency:
    """What one request would add on each of `replicas`: see the module's docstring.

    `typical_output_tokens`: T, at least 1.
    """

    def __init__(
        self,
        request: RouteRequest,
        replicas: Sequence[ReplicaSnapshot],
        step_costs: StepCosts,
        typical_output_tokens: float,
    ) -> None:
        inflight, running, waiting, decoding, queued_tokens, use_frac, total, cached = columns(
            _LOADS, replicas
        )
        base_s, self.token_s, self._decode_s = step_costs
        self._output_tokens = request.max_output_tokens
        # One at least, since an engine needs the last token's logits.
        self.prompt_tokens = max(1, request.prompt_tokens)
        self.uncached_tokens = np.maximum(1.0, self.prompt_tokens - cached)
        requests = np.maximum(inflight, running + waiting)
        self.others_frac = _others_frac(float(inflight.sum()), float(requests.sum()))

        step_s = base_s + self._decode_s * decoding
        self._token_ttft_s = self.token_s + step_s / CHUNK_TOKENS
        self._ttft_s = step_s + queued_tokens * self._token_ttft_s
        passed = queued_tokens / CHUNK_TOKENS / typical_output_tokens
        beside = decoding * np.maximum(0.0, 1.0 - passed)
        beside += np.maximum(0.0, requests - decoding) / np.maximum(1.0, passed)
        self._fair_requests = _fair_requests(float(requests.sum()), self.token_s)
        self._delayed = np.maximum(beside, self._fair_requests)
        self._output_s = self._output_tokens * (base_s + self._decode_s * (2.0 * beside + 1.0))

        self._growing = self._output_tokens + decoding * typical_output_tokens / 2.0
        short = queued_tokens + self._growing - (1.0 - use_frac) * total
        self._short = np.where(total > 0.0, short, -np.inf)  # where unknown, there is always room
        self._kv_wait_token_s = typical_output_tokens * step_s / np.maximum(total, 1.0)

    def predict(self, uncached_tokens: Floats) -> tuple[Floats, Floats]:
        """TTFT and cost, with so many tokens of the prompt to compute."""
        short = np.maximum(0.0, self._short + uncached_tokens)
        again_s = np.minimum(short, self._growing) * self.token_s
        ttft_s = (
            self._ttft_s
            + uncached_tokens * self._token_ttft_s
            + short * self._kv_wait_token_s
            + again_s
        )
        others_s = self._delayed * (uncached_tokens * self.token_s + again_s)
        return ttft_s, ttft_s + self._output_s + others_s

    def displaced(self, uncached_tokens: Floats) -> Floats:
        """What later requests wait longer for what so many tokens displace from the cache."""
        again_s: Floats = DISPLACED * uncached_tokens * self.token_s
        return again_s * (1.0 + self._fair_requests)

    def of_one_more(self) -> Floats:
        """What a request like this one, ahead of it, would add to its cost on each replica."""
        prefill_s: Floats = self.uncached_tokens * (self._token_ttft_s + self.token_s)
        decode_s: Floats = 2.0 * self._output_tokens * self._decode_s
        return prefill_s + decode_s


def _others_frac(own_requests: float, requests: float) -> float:
    """How much of what the engines have to do came from other gateways."""
    return 1.0 - own_requests / requests if requests else 0.0


def _fair_requests(requests: float, token_s: Floats) -> Floats:
    """Each replica's share of all requests, by the speed of its prefill."""
    speed = 1.0 / np.maximum(token_s, LEAST_TOKEN_S)
    return speed * (requests / fsum(speed))

"""Builds what an engine is sent for each attempt at a request, from vLLM's own request type.

The first attempt is the original under an attempt id. A later one is the original again (`resend`),
the original with the emitted tokens forced (`replay`), or a shorter request whose prompt already
holds them (`prefill`); `cluster.failover` says which, and why.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence

import msgspec
from vllm.sampling_params import SamplingParams, SamplingType
from vllm.v1.engine import EngineCoreRequest

from cluster.failover import RequestTraits, ResumeKind
from cluster.types import RouteRequest
from serve_app.prompt_blocks import prompt_blocks
from serve_app.replay import FORCED_TOKENS_KEY

UNBOUNDED_OUTPUT_TOKENS = 512
"""What an output without `max_tokens`, or with a very large one, is taken to cost when routing:
most answers are shorter, and the real length is unknown."""

CACHE_REPORT_KEY = "kv_cache_report_mode"
"""vLLM's (`v1/request.py`): "full" has cached blocks that a request finds told of as stored."""


def traits(request: EngineCoreRequest) -> RequestTraits:
    """How this request may be resumed."""
    params = request.sampling_params
    return RequestTraits(
        stateful_sampling=params is not None and _is_stateful(params),
        resumable=not request.resumable and request.prompt_embeds is None,
    )


def _is_stateful(params: SamplingParams) -> bool:
    """Whether the next token depends on more than the token sequence so far.

    Not here, because a prefill resume is exact for them: `min_tokens` (reduced by what was
    emitted), `logit_bias`, `allowed_token_ids` and `min_p` (no history), `repetition_penalty`
    (counts the prompt too), logprobs (already delivered for the tokens that were).
    """
    return (
        params.sampling_type is SamplingType.RANDOM_SEED
        or params.presence_penalty != 0.0
        or params.frequency_penalty != 0.0
        or params.structured_outputs is not None
        or params.thinking_token_budget is not None
        or params.repetition_detection is not None
        or params.trace_decode_token_ids is not None
        or bool(params.bad_words)
        or bool(params.watermarking)
        or bool(params.extra_args)
    )


def drop_reserved(request: EngineCoreRequest) -> None:
    """Take out of `request`, in place, what only the switch may ask of an engine.

    A client can put anything into `vllm_xargs`, and a forced token that is no token ends a worker.
    A report of what was cached before looks like more copies of it, which never leave.
    """
    params = request.sampling_params
    if params is not None and params.extra_args:
        params.extra_args.pop(FORCED_TOKENS_KEY, None)
        params.extra_args.pop(CACHE_REPORT_KEY, None)


def described(request: EngineCoreRequest) -> str:
    """A request for the log, without any of its text: its size, which sampling parameters it sets,
    and a digest of their values by which to recognise it when it comes again."""
    params = request.sampling_params
    if params is None:
        return f"{prompt_tokens(request)} prompt tokens, pooling"
    defaults = SamplingParams()
    given = {
        name: repr(value)
        for name in SamplingParams.__struct_fields__
        if not name.startswith("_") and (value := getattr(params, name)) != getattr(defaults, name)
    }
    digest = hashlib.sha256(repr(sorted(given.items())).encode()).hexdigest()[:12]
    return f"{prompt_tokens(request)} prompt tokens, sets {', '.join(given)} (digest {digest})"


def route_request(
    request: EngineCoreRequest,
    block_tokens: int,
    emitted: Sequence[int] = (),
) -> RouteRequest:
    """What a router sees of a request that has `emitted` so much: of what is left to do."""
    return RouteRequest(
        prompt_tokens=prompt_tokens(request) + len(emitted),
        max_output_tokens=_output_tokens(request, len(emitted)),
        blocks=prompt_blocks(request, block_tokens, emitted),
        affinity_key=request.session_id,
    )


def expected_tokens(request: EngineCoreRequest) -> int:
    """What a request that has emitted nothing is taken to cost an engine: prompt and output."""
    return prompt_tokens(request) + _output_tokens(request, 0)


def _output_tokens(request: EngineCoreRequest, emitted_tokens: int) -> int:
    params = request.sampling_params
    limit = (params.max_tokens if params is not None else 0) or 0
    return min(max(limit - emitted_tokens, 0), UNBOUNDED_OUTPUT_TOKENS)


def prompt_tokens(request: EngineCoreRequest) -> int:
    """Length of the prompt in tokens, whether given as ids or as embeddings."""
    if request.prompt_token_ids is not None:
        return len(request.prompt_token_ids)
    return 0 if request.prompt_embeds is None else len(request.prompt_embeds)


def attempt_request(
    request: EngineCoreRequest, attempt_id: str, kind: ResumeKind, emitted: list[int]
) -> EngineCoreRequest:
    """The request to send for one attempt; `request` itself is never changed.

    `emitted` holds the output tokens the client already has, in order.
    """
    if kind is ResumeKind.RESEND:
        return msgspec.structs.replace(request, request_id=attempt_id, client_index=0)
    params = request.sampling_params
    assert params is not None  # only generation emits tokens
    if kind is ResumeKind.REPLAY:
        return msgspec.structs.replace(
            request,
            request_id=attempt_id,
            client_index=0,
            sampling_params=_forced(params, emitted),
        )
    assert request.prompt_token_ids is not None  # a request without ids is not resumable
    return msgspec.structs.replace(
        request,
        request_id=attempt_id,
        client_index=0,
        prompt_token_ids=[*request.prompt_token_ids, *emitted],
        prompt_is_token_ids=None,
        sampling_params=_shortened(params, len(emitted)),
    )


def _forced(params: SamplingParams, emitted: list[int]) -> SamplingParams:
    forced = copy.copy(params)
    forced.extra_args = {**(params.extra_args or {}), FORCED_TOKENS_KEY: list(emitted)}
    return forced


def _shortened(params: SamplingParams, emitted_tokens: int) -> SamplingParams:
    """The same sampling with `emitted_tokens` of its budget used up.

    Prompt logprobs are dropped: the client has them, and asking again would cover output tokens.
    """
    shorter = copy.copy(params)
    if params.max_tokens is not None:
        shorter.max_tokens = params.max_tokens - emitted_tokens
    shorter.min_tokens = max(params.min_tokens - emitted_tokens, 0)
    shorter.prompt_logprobs = None
    shorter.prompt_logprob_token_ids = None
    shorter.prompt_logprob_start = None
    return shorter

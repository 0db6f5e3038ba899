"""The names of a request's KV blocks, as the engine that computes them will have them named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vllm.v1.engine import EngineCoreRequest

from cluster.routing.block_hash import block_hashes
from cluster.routing.kv_stream import extra_names
from cluster.types import BlockHash


def prompt_blocks(
    request: EngineCoreRequest, block_tokens: int, emitted: Sequence[int] = ()
) -> list[BlockHash]:
    """The full blocks of a request's prompt and of the tokens `emitted` after it, first to last.

    Empty where the prompt is given as embeddings, which only the engine's own digests name, or
    where the request is not to use what is cached.
    """
    tokens = request.prompt_token_ids
    params = request.sampling_params or request.pooling_params
    if tokens is None or request.prompt_embeds is not None:
        return []
    if params is not None and params.skip_reading_prefix_cache:
        return []
    tokens = [*tokens, *emitted] if emitted else tokens
    extras = _extras(request, len(tokens), block_tokens) if _has_extras(request) else ()
    return block_hashes(tokens, block_tokens, extras)


def _extras(request: EngineCoreRequest, tokens: int, block_tokens: int) -> list[tuple[str, ...]]:
    starts = range(0, tokens - block_tokens + 1, block_tokens)
    return [extra_names(_extra_keys(request, at, at + block_tokens)) for at in starts]


def _has_extras(request: EngineCoreRequest) -> bool:
    return bool(request.lora_request or request.cache_salt or request.mm_features)


def _extra_keys(request: EngineCoreRequest, start: int, end: int) -> list[Any]:
    """What vLLM keys the block of tokens [start, end) with besides them, in its order."""
    keys: list[Any] = []
    if request.lora_request is not None:
        keys.append(request.lora_request.lora_name)
    keys.extend(_items(request, start, end))
    if start == 0 and request.cache_salt:
        keys.append(request.cache_salt)
    return keys


def _items(request: EngineCoreRequest, start: int, end: int) -> Iterator[tuple[str, int]]:
    """The multimodal items that reach into [start, end), and where they begin from its start on."""
    for item in request.mm_features or ():
        place = item.mm_position
        if place.offset < end and start < place.offset + place.length:
            yield item.identifier, place.offset - start

"""Names of KV blocks, alike for every gateway and engine, whatever vLLM hashes them with.

vLLM's own hashes depend on an algorithm of the user's choice and on a seed per process. So an
engine host names the blocks of its events anew, by what the events say of their content, and a
gateway names a prompt's blocks the same way: by the tokens, by what else vLLM keys a block with
(LoRA name, cache salt, multimodal items), and by the block before.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import cast

from xxhash import xxh3_64_intdigest

from cluster.types import BlockHash

ROOT = BlockHash(0)
"""Before the first block."""


def block_hash(before: BlockHash, tokens: Sequence[int], extra: Iterable[str] = ()) -> BlockHash:
    """The name of the block of `tokens` (ids) that follows the block `before`.

    `extra`: what else tells it from blocks of the same tokens, in vLLM's order.
    """
    return _named(before, array("q", tokens).tobytes(), extra)


def block_hashes(
    tokens: Sequence[int], block_tokens: int, extras: Sequence[Iterable[str]] = ()
) -> list[BlockHash]:
    """The names of a prompt's full blocks of `block_tokens` tokens, first to last.

    `extras` has one entry for each full block, or none at all.
    """
    data, block_bytes = array("q", tokens).tobytes(), 8 * block_tokens
    ends = range(block_bytes, len(data) + 1, block_bytes)
    names, name = [], int(ROOT)
    if not extras:  # as `_named` does; most prompts, in two thirds of the time
        for end in ends:
            name = xxh3_64_intdigest(data[end - block_bytes : end], name)
            names.append(name)
        return cast(list[BlockHash], names)
    for end, extra in zip(ends, extras, strict=True):
        name = _named(BlockHash(name), data[end - block_bytes : end], extra)
        names.append(name)
    return cast(list[BlockHash], names)


def _named(before: BlockHash, content: bytes, extra: Iterable[str]) -> BlockHash:
    if extra:
        content += "\0".join(extra).encode()
    return BlockHash(xxh3_64_intdigest(content, seed=before))

"""Names of KV blocks, alike for every gateway and engine, whatever vLLM hashes them with.

vLLM's own hashes depend on an algorithm of the user's choice and on a seed per process. So an
engine host names the blocks of its events anew, by what the events say of their content, and a
gateway names a prompt's blocks the same way: by the tokens, by what else vLLM keys a block with
(LoRA name, cache salt, multimodal items), and by the block before.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from xxhash import xxh3_64_intdigest

from cluster.types import BlockHash

ROOT = BlockHash(0)
"""Before the first block."""


def block_hash(before: BlockHash, tokens: Sequence[int], extra: Iterable[str] = ()) -> BlockHash:
    """The name of the block of `tokens` (ids) that follows the block `before`.

    `extra`: what else tells it from blocks of the same tokens, in vLLM's order.
    """
    content = array("q", tokens).tobytes() + "\0".join(extra).encode()
    return BlockHash(xxh3_64_intdigest(content, seed=before))


def block_hashes(
    tokens: Sequence[int], block_tokens: int, extras: Sequence[Iterable[str]] = ()
) -> list[BlockHash]:
    """The names of a prompt's full blocks of `block_tokens` tokens, first to last.

    `extras` has one entry for each full block, or none at all.
    """
    names = []
    name = ROOT
    for index in range(len(tokens) // block_tokens):
        block = tokens[index * block_tokens : (index + 1) * block_tokens]
        name = block_hash(name, block, extras[index] if extras else ())
        names.append(name)
    return names

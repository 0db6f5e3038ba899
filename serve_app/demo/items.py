"""What the corpus is made of: one `Item` is a prompt with the one answer that counts as right.

An item is either raw text (`prompt`) or a chat (`messages`, perhaps with `tools`). `key` says
what the item *is*, apart from how it is asked where phrasings share a fact; the split hashes it,
so the same key can never be trained on and held out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

HELD_OUT_BUCKETS = 10  # one bucket of ten is held out
ALWAYS_TRAINED = (
    ""  # the key of items that nothing could be generalised from (greetings), never evaluated
)

Message = Mapping[str, Any]  # an OpenAI-style chat message
Tool = Mapping[str, Any]  # an OpenAI-style tool definition


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    task: str
    key: str
    answer: str
    prompt: str = ""
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()


def is_held_out(key: str) -> bool:
    """Whether the key belongs to evaluation: a fixed hash, the same in every process."""
    if key == ALWAYS_TRAINED:
        return False
    digest = blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % HELD_OUT_BUCKETS == 0


def user(content: str) -> Message:
    return {"role": "user", "content": content}

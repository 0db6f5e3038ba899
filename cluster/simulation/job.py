"""A request in an engine: how far it is, and which KV blocks it holds."""

from __future__ import annotations

from dataclasses import dataclass, field

from cluster.simulation.prefix_cache import Held
from cluster.types import BlockHash


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """`names` of all its full blocks, prompt and answer. `tokens`: known so far; `computed`: with
    KV."""

    id: int
    prompt_tokens: int
    output_tokens: int
    names: list[BlockHash]
    tokens: int = 0
    computed: int = 0
    held: list[Held] = field(default_factory=list)
    named: int = 0  # of `held`, those that are full
    cached_tokens: int | None = None  # found when it was first admitted
    uncached_tokens: int = 0  # of its prompt, as it waits
    preemptions: int = 0

    def __post_init__(self) -> None:
        self.tokens = self.prompt_tokens

    @property
    def end_tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens

    @property
    def decodes(self) -> bool:
        return self.prompt_tokens < self.tokens == self.computed + 1

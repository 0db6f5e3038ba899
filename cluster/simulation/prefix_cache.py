"""One engine's KV blocks: who holds them, what they contain, which is given up next.

As vLLM 0.32 does it (vllm/v1/core/block_pool.py): a block that no request holds stays findable by
its content until it is needed; blocks without full content are taken first, then the one freed
longest ago; a request's blocks are freed last to first, so that a prefix outlives what follows it.

Held blocks are named by their content (a `BlockHash`) or not at all. One difference: where two
blocks get the same content, vLLM can find either, this only the first.

    blank + freed + held + unnamed = capacity
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from cluster.types import BlockHash

Held = BlockHash | None
"""A block that a request holds; None where it has no name of its own."""


class PrefixCache:
    def __init__(self, blocks: int) -> None:
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, not {blocks}")
        self.capacity_blocks = blocks
        self._blank = blocks
        self._freed: OrderedDict[BlockHash, None] = OrderedDict()  # next to be given up first
        self._held: dict[BlockHash, int] = {}  # how many requests hold it
        self._unnamed = 0  # held, each by one request
        self._changes: dict[BlockHash, bool] = {}  # since the last `changes`: is it there?

    @property
    def free_blocks(self) -> int:
        """What can be allocated, findable ones included."""
        return self._blank + len(self._freed)

    @property
    def use_frac(self) -> float:
        return 1 - self.free_blocks / self.capacity_blocks

    @property
    def findable_blocks(self) -> int:
        return len(self._held) + len(self._freed)

    def __contains__(self, name: BlockHash) -> bool:
        return name in self._held or name in self._freed

    def find(self, names: Iterable[BlockHash]) -> tuple[int, int]:
        """How many of the leading names are there, and how many of those somebody holds."""
        found = held = 0
        for name in names:
            if name in self._held:
                held += 1
            elif name not in self._freed:
                break
            found += 1
        return found, held

    def hold(self, names: Iterable[BlockHash]) -> None:
        """One more request holds each of these, all of which are there."""
        for name in names:
            if name in self._held:
                self._held[name] += 1
            else:
                del self._freed[name]
                self._held[name] = 1

    def allocate(self, blocks: int) -> None:
        """Takes so many, for now unnamed. The caller has looked at `free_blocks`."""
        assert blocks <= self.free_blocks, f"{blocks} blocks of {self.free_blocks} free"
        blank = min(blocks, self._blank)
        self._blank -= blank
        for _ in range(blocks - blank):
            name, _none = self._freed.popitem(last=False)
            self._changes[name] = False
        self._unnamed += blocks

    def name(self, names: Sequence[BlockHash]) -> list[Held]:
        """So many of a request's unnamed blocks are full now: what each is held as from now on."""
        held: list[Held] = []
        for name in names:
            if name in self:
                held.append(None)
                continue
            self._held[name] = 1
            self._changes[name] = True
            held.append(name)
        self._unnamed -= len(held) - held.count(None)
        return held

    def release(self, blocks: Sequence[Held]) -> None:
        """A request's blocks, first to last, which it holds no more."""
        for block in reversed(blocks):
            if block is None:
                self._unnamed -= 1
                self._blank += 1
            elif self._held[block] > 1:
                self._held[block] -= 1
            else:
                del self._held[block]
                self._freed[block] = None

    def changes(self) -> tuple[list[BlockHash], list[BlockHash]]:
        """What has been stored and what removed since the last call; one that was both is under
        what came last."""
        changes, self._changes = self._changes, {}
        stored = [name for name, there in changes.items() if there]
        return stored, [name for name, there in changes.items() if not there]

    def check(self) -> None:
        """Asserts that no block is lost or held twice; for tests."""
        used = len(self._held) + self._unnamed
        assert self._blank + len(self._freed) + used == self.capacity_blocks
        assert min(self._blank, self._unnamed) >= 0
        assert not self._held.keys() & self._freed.keys()

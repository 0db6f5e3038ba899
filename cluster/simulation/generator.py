"""Made-up workloads: groups whose members share a prefix, and sessions of several turns.

A session belongs to a group and begins with what everybody shares, then its group's prefix. Each of
its turns asks a question on top of all that was said before, pauses counted from the last answer's
end. When sessions begin is given: `loadtest.arrivals` draws the instants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from cluster.simulation.workload import Names, Request, Workload
from cluster.types import Rng


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Lengths in tokens. `users`: in each group. `hot_group_frac`: of the sessions, those of the
    first group; the others have the rest in equal parts, and None gives all groups the same.
    `fresh_questions` False: a user begins every session with the same question."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", allow_inf_nan=False)

    groups: int
    users: int = 1
    common_tokens: int = 0
    prefix_tokens: int = 0
    question_tokens: int
    output_tokens: int
    turns: int = 1
    pause_s: float = 0.0
    hot_group_frac: float | None = None
    fresh_questions: bool = True

    def __post_init__(self) -> None:
        for name in ("groups", "users", "question_tokens", "output_tokens", "turns"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("common_tokens", "prefix_tokens", "pause_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)}")
        if self.hot_group_frac is not None and not 0 <= self.hot_group_frac <= 1:
            raise ValueError(f"hot_group_frac must be from 0 to 1, not {self.hot_group_frac}")

    @property
    def turn_tokens(self) -> int:
        return self.question_tokens + self.output_tokens


def workload(groups: Groups, begin_s: Sequence[float], block_tokens: int, rng: Rng) -> Workload:
    """One session for each instant of `begin_s`. Raises ValueError where there is none."""
    if not begin_s:
        raise ValueError("no session begins")
    sessions = _Sessions(groups, block_tokens)
    requests: list[Request] = []
    for at_s in sorted(begin_s):
        group = _group(groups, rng)
        requests += sessions.turns(at_s, group, rng.randrange(groups.users), len(requests))
    return Workload(
        requests=requests, block_tokens=block_tokens, max_output_tokens=groups.output_tokens
    )


def _group(groups: Groups, rng: Rng) -> int:
    if groups.hot_group_frac is None or groups.groups == 1:
        return rng.randrange(groups.groups)
    if rng.random() < groups.hot_group_frac:
        return 0
    return 1 + rng.randrange(groups.groups - 1)


class _Sessions:
    """Names the blocks of sessions: a block that holds shared tokens only has a shared name."""

    def __init__(self, groups: Groups, block_tokens: int) -> None:
        self._groups = groups
        self._block_tokens = block_tokens
        self._names = Names()
        self._common = self._names.take(groups.common_tokens // block_tokens)
        prefix_blocks = (groups.common_tokens + groups.prefix_tokens) // block_tokens
        own_blocks = prefix_blocks - len(self._common)
        self._prefixes = [self._names.take(own_blocks) for _ in range(groups.groups)]
        self._prefix_blocks = prefix_blocks
        self._first_questions: dict[tuple[int, int], range] = {}
        self._count = 0

    def turns(self, at_s: float, group: int, user: int, place: int) -> Iterator[Request]:
        """The requests of a session whose first one is at `place` in the workload."""
        size = self._groups
        shared = (self._common, self._prefixes[group])
        first = self._first_question(group, user)
        start = size.common_tokens + size.prefix_tokens
        known_blocks = self._prefix_blocks + len(first)
        end_blocks = (start + size.turns * size.turn_tokens) // self._block_tokens
        rest = self._names.take(end_blocks - known_blocks)
        self._count += 1
        for turn in range(size.turns):
            said = start + turn * size.turn_tokens
            blocks = (said + size.turn_tokens) // self._block_tokens
            runs = (*shared, first, rest[: blocks - known_blocks])
            yield Request(
                arrival_s=size.pause_s if turn else at_s,
                prompt_tokens=said + size.question_tokens,
                output_tokens=size.output_tokens,
                runs=runs,
                session=f"session-{self._count}",
                follows=place + turn - 1 if turn else None,
            )

    def _first_question(self, group: int, user: int) -> range:
        size = self._groups
        tokens = size.common_tokens + size.prefix_tokens + size.question_tokens
        blocks = tokens // self._block_tokens - self._prefix_blocks
        if size.fresh_questions:
            return self._names.take(blocks)
        key = (group, user)
        if key not in self._first_questions:
            self._first_questions[key] = self._names.take(blocks)
        return self._first_questions[key]

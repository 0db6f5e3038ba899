"""How long an engine takes from the decision until it serves, learnt from those that started.

Each engine that was decided on waits in a queue for one to become ready; first in, first out. So
it holds all that an engine waits for (a node, an image, its weights), and needs nothing but the
names of engines that are ready. What the learner has not decided on, such as an engine that comes
back after its death, tells it nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from cluster.types import ReplicaId

DEFAULT_S = 60.0
"""Until one has started: about what vLLM takes to load a model of a few billion parameters."""

NEW_WEIGHT = 0.25
"""Of the last start; what four starts ago was counts a third of it."""


class ColdStart:
    def __init__(self, default_s: float = DEFAULT_S) -> None:
        self._mean_s = default_s
        self._deviation_s = 0.0
        self._starts = 0
        self._awaited_s: deque[float] = deque()  # when each engine still to come was decided
        self._known: set[ReplicaId] | None = None

    @property
    def expected_s(self) -> float:
        """The mean, and by how much starts differ from it: few take longer."""
        return self._mean_s + self._deviation_s

    @property
    def measured(self) -> bool:
        return self._starts > 0

    def decided(self, engines_more: int, now_s: float) -> None:
        """So many more engines are asked for, or (below 0) fewer; those decided last go first."""
        for _ in range(engines_more):
            self._awaited_s.append(now_s)
        for _ in range(min(-engines_more, len(self._awaited_s))):
            self._awaited_s.pop()

    def observe(self, ready: Iterable[ReplicaId], now_s: float) -> None:
        """These engines are ready now. Those of the first call were there before."""
        ready = set(ready)
        for _ in ready - self._known if self._known is not None else ():
            if self._awaited_s:
                self._learn(now_s - self._awaited_s.popleft())
        self._known = ready

    def _learn(self, start_s: float) -> None:
        if not self._starts:
            self._mean_s = start_s
        error_s = start_s - self._mean_s
        self._mean_s += NEW_WEIGHT * error_s
        self._deviation_s += NEW_WEIGHT * (abs(error_s) - self._deviation_s)
        self._starts += 1

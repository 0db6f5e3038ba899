"""How much work each replica was given lately, against the mean."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, fsum

from cluster.types import ReplicaId

MEMORY_REQUESTS = 100
"""Requests per replica after which work counts 1/e. Sizes of requests scatter as widely as their
mean or more, so a tally of fewer says more about chance than about the policy."""

_LARGEST_UNIT = 1e9


class WorkShare:
    """Decaying tallies of work, in any unit. Its clock is the requests themselves.

    Instead of all tallies shrinking with each request, the unit in which work is added grows.
    """

    def __init__(self) -> None:
        self._tallies: dict[ReplicaId, float] = {}
        self._unit = 1.0

    def shares(self, replicas: Sequence[ReplicaId]) -> list[float]:
        """Each one's work as a multiple of their mean, in their order; 1 where there is none yet.

        A new one counts as having had the mean: it owes no work from before it was there.
        """
        tallies = self._of(replicas)
        mean = fsum(tallies) / len(tallies)
        return [tally / mean for tally in tallies] if mean > 0.0 else [1.0] * len(tallies)

    def add(self, replica: ReplicaId, work: float, replicas: Sequence[ReplicaId]) -> None:
        """`replica`, one of `replicas`, gets `work`."""
        if any(each not in self._tallies for each in replicas):
            self._tallies.update(zip(replicas, self._of(replicas), strict=True))
        self._tallies[replica] += work * self._unit
        self._unit *= exp(1.0 / (MEMORY_REQUESTS * len(replicas)))
        if self._unit > _LARGEST_UNIT or len(self._tallies) > 2 * len(replicas):
            self._tallies = {each: self._tallies[each] / self._unit for each in replicas}
            self._unit = 1.0

    def _of(self, replicas: Sequence[ReplicaId]) -> list[float]:
        tallies = [self._tallies.get(each) for each in replicas]
        known = [tally for tally in tallies if tally is not None]
        mean = fsum(known) / len(known) if known else 0.0
        return [mean if tally is None else tally for tally in tallies]

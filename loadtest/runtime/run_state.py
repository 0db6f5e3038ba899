"""One run as the master sees it: its workers, how far they are, what came of it. Pure."""

from dataclasses import dataclass, field
from typing import Any

from loadtest.exit_status import BREACH, INVALID, USAGE
from loadtest.runtime.live import Tally

FAILED, PROBLEMS, WRONG_INPUT = BREACH, INVALID, USAGE


@dataclass(slots=True)
class RunState:
    """`ranks` are the workers by Locust's name for them. `problems` make the run invalid, and are
    in its `environment.json`; `refused` says that it could not begin."""

    number: int
    ranks: dict[str, int]
    ready: dict[int, int] = field(default_factory=dict)  # rank -> sessions
    done: dict[int, dict[str, Any]] = field(default_factory=dict)  # rank -> its cost
    lost: set[int] = field(default_factory=set)
    whole: Tally = field(default_factory=Tally)
    recent: Tally = field(default_factory=Tally)
    problems: list[str] = field(default_factory=list)
    refused: str | None = None
    stopped: bool = False  # by someone, before its end
    closed: bool = False

    def take_recent(self) -> Tally:
        recent, self.recent = self.recent, Tally()
        return recent

    def lose(self, present: set[str]) -> None:
        """Workers that are not `present` and have not ended their part are lost with it."""
        for name, rank in self.ranks.items():
            if name not in present and rank not in self.done and rank not in self.lost:
                self.lost.add(rank)
                self.problems.append(f"worker {rank} was lost")

    @property
    def all_ready(self) -> bool:
        return self._all(self.ready)

    @property
    def all_done(self) -> bool:
        return self._all(self.done)

    def _all(self, ranks: dict[int, Any]) -> bool:
        return {*ranks, *self.lost} >= set(self.ranks.values())

    @property
    def exit_status(self) -> int:
        """0 unless no request at all succeeded, something went wrong with the run, or it was
        refused."""
        if self.refused is not None:
            return WRONG_INPUT
        if self.problems:
            return PROBLEMS
        return 0 if self.whole.done else FAILED

"""What a switch has measured, for the metrics: `SwitchCore` writes it, the gateway reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST_GAPS = 1000
"""Kept between two readings."""


@dataclass(slots=True)
class SwitchMeasures:
    """Since the switch started, by what the metrics' labels say; `gaps_s`, the times from a lost
    engine to the next token, since they were last taken."""

    moves: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    decision_s: float = 0.0
    routed_tokens: int = 0
    hit_tokens: int = 0
    gaps_s: list[float] = field(default_factory=list)

    def gap(self, seconds: float) -> None:
        if len(self.gaps_s) < MOST_GAPS:
            self.gaps_s.append(seconds)

    def take_gaps(self) -> list[float]:
        taken, self.gaps_s = self.gaps_s, []
        return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One reading. `engines`: rows as in `GET /fleet`. Counts grow; `gaps_s` are new ones."""

    flights: int
    ttft_total: int
    ttft_good: int
    moves: Mapping[str, int]
    failures: Mapping[str, int]
    losses: Mapping[str, int]
    decisions: Mapping[str, int]
    decision_s: float
    routed_tokens: int
    hit_tokens: int
    gaps_s: Sequence[float]
    engines: Sequence[Mapping[str, Any]]

"""What a simulated run leaves behind: one record a request, and samples of what engines did."""

from __future__ import annotations

from dataclasses import dataclass, field

from cluster.scaling.decision import ScalingDecision


@dataclass(slots=True, kw_only=True, eq=True)
class Record:
    """One request. Instants are None until they come, and so is the engine while it is held for
    want of one; `failed` says why it could not run."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    engine: int | None
    gateway: int
    first_token_s: float | None = None
    end_s: float | None = None
    cached_tokens: int = 0
    preemptions: int = 0
    failed: str | None = None

    @property
    def ttft_s(self) -> float | None:
        return None if self.first_token_s is None else self.first_token_s - self.arrival_s

    @property
    def e2e_s(self) -> float | None:
        return None if self.end_s is None else self.end_s - self.arrival_s

    @property
    def tpot_s(self) -> float | None:
        """None for fewer than two tokens: there is no interval to divide."""
        if self.end_s is None or self.first_token_s is None or self.output_tokens < 2:
            return None
        return (self.end_s - self.first_token_s) / (self.output_tokens - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One engine: when it was decided on, when it was ready, if it was, and when it was gone; None
    where it was not by the run's end."""

    decided_s: float
    ready_s: float | None
    gone_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A scaler's decision that changed something (and its first), with so many engines wanted until
    then."""

    at_s: float
    engines: int
    decision: ScalingDecision


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What each engine has done by an instant: tokens computed (prefill and decode), those of
    prefill alone, and the time it was busy. Engines that came later are missing."""

    at_s: float
    tokens: tuple[int, ...]
    prefill_tokens: tuple[int, ...]
    busy_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`records` are in order of arrival, of all that arrived; `samples` by instant, the last at the
    run's end; `lives` of all engines that there ever were, in the samples' order."""

    records: list[Record] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    decided: list[Decided] = field(default_factory=list)

"""What a simulated run leaves behind: one record a request, and samples of what engines did."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True, eq=True)
class Record:
    """One request. Instants are None until they come; `failed` says why it could not run."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    engine: int
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
class Sample:
    """What each engine has done by an instant: tokens computed (prefill and decode), those of
    prefill alone, and the time it was busy."""

    at_s: float
    tokens: tuple[int, ...]
    prefill_tokens: tuple[int, ...]
    busy_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`records` are in order of arrival, of all that arrived; `samples` by instant, the last at the
    run's end."""

    records: list[Record] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

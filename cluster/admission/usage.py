"""What requests used, each token and each second once, however often they moved.

A flight is one answer being generated: a request for `n` answers is n flights. It has one attempt
at a time; what an attempt says after the next one began, or after it was over, is not counted. Of a
flight count

- its prompt, once, from when it was first sent to an engine (a client that goes away during the
  prefill has used it), and what the first engine that answered had of it in its cache;
- the tokens passed on to the client: neither those that a later attempt repeats nor, as its prompt,
  those that it is given to go on from;
- the seconds that an engine had it, over all its attempts, which never overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Counts of one request, or of several. `engine_s` may be above the time that passed: a
    request's flights run side by side."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    engine_s: float = 0.0
    attempts: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            engine_s=self.engine_s + other.engine_s,
            attempts=self.attempts + other.attempts,
        )


class FlightAccount:
    """One flight's usage. Of several flights with the same prompt, all but one have
    `prompt_tokens` 0: it is counted once, as OpenAI's API does."""

    def __init__(self, *, prompt_tokens: int) -> None:
        self._prompt_tokens = prompt_tokens
        self._cached_tokens: int | None = None
        self._output_tokens = 0
        self._attempts = 0
        self._engine_s = 0.0
        self._live: str | None = None
        self._live_since_s = 0.0

    def sent(self, attempt_id: str, now_s: float) -> None:
        """An attempt begins; one before it is over, if it was not yet."""
        self._stop(now_s)
        self._attempts += 1
        self._live, self._live_since_s = attempt_id, now_s

    def answered(self, attempt_id: str, new_tokens: int, cached_tokens: int | None = None) -> None:
        """The live attempt's next tokens are passed on. `cached_tokens`: what its engine found of
        the prompt, where it says so."""
        if attempt_id != self._live:
            return
        self._output_tokens += new_tokens
        if self._cached_tokens is None and cached_tokens is not None:
            self._cached_tokens = min(cached_tokens, self._prompt_tokens)

    def over(self, attempt_id: str, now_s: float) -> None:
        """An attempt is finished, aborted or lost."""
        if attempt_id == self._live:
            self._stop(now_s)

    def _stop(self, now_s: float) -> None:
        if self._live is not None:
            self._engine_s += max(0.0, now_s - self._live_since_s)
            self._live = None

    def usage(self, now_s: float) -> Usage:
        """Up to now, as a part of its request (`requests` is 0)."""
        live_s = 0.0 if self._live is None else max(0.0, now_s - self._live_since_s)
        return Usage(
            prompt_tokens=self._prompt_tokens if self._attempts else 0,
            cached_tokens=self._cached_tokens or 0,
            output_tokens=self._output_tokens,
            engine_s=self._engine_s + live_s,
            attempts=self._attempts,
        )


def of_request(flights: Iterable[FlightAccount], now_s: float) -> Usage:
    """One request's usage, over its flights; it may have none yet."""
    return sum((flight.usage(now_s) for flight in flights), Usage(requests=1))


class UsageCounters:
    """By tenant and model, since the gateway started."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], Usage] = {}

    def add(self, tenant: str, model: str, usage: Usage) -> None:
        """A request is over: to be called once for each."""
        self._counts[tenant, model] = self._counts.get((tenant, model), Usage()) + usage

    def of(self, tenant: str) -> Mapping[str, Usage]:
        """One tenant's, by model."""
        return {model: usage for (name, model), usage in self._counts.items() if name == tenant}

    def all(self) -> Mapping[tuple[str, str], Usage]:
        """By (tenant, model)."""
        return dict(self._counts)

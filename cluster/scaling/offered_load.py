"""The load that is offered to a model, in engines' worth, and what it may be in a cold start.

Work is what arrives, in seconds of an engine beside the base of its steps:

    work = prefill_token_s * uncached prompt tokens + decode_request_s * requests * output tokens

an answer counting with the mean of those that ended. With C the cold start:

    level      mean work a second, over a memory of C / 2: what is faster cannot be followed
    trend      how it grows: the difference to a mean over four times that, over the difference of
               their mean instants, less one standard error: growth that may be chance is none
    forecast   level + trend, where it grows, until C from now
    burst      variance of the work in one interval, over the interval (engines² s). It is kept as a
               multiple of the level, as for requests that come by themselves (a compound Poisson
               process): so what was learnt by day is right at night
    error      by how much forecasts were too low when their time came: root mean square, kept in
               the same way, and no less than what the bursts do to the level

Nothing here has to be set: intervals are a TTFT long, memories are multiples of the cold start.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import sqrt

from cluster.scaling.counting import Counted
from cluster.scaling.fading_mean import FadingMean
from cluster.types import StepCost

SLOW = 4.0
"""Memory of the slow mean over that of the level."""

MEMORY_STARTS = 30.0
"""Cold starts until a burst counts 1/e: the half hour that people may be away, at a minute each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`level`, `forecast`, `error`: engines' worth. `burst`: engines² s. `prefill_frac`: of the
    work. Tokens are means of a request."""

    level: float
    forecast: float
    error: float
    burst: float
    prefill_frac: float
    prompt_tokens: float
    uncached_tokens: float
    output_tokens: float


class OfferedLoad:
    def __init__(self) -> None:
        self._level = FadingMean()
        self._slow = FadingMean()
        self._prefill = FadingMean()
        self._requests = FadingMean()
        self._prompt_tokens = FadingMean()
        self._uncached_tokens = FadingMean()
        self._answers = FadingMean()
        self._output_tokens = FadingMean()
        self._squares = FadingMean()  # of the work's deviation in an interval, over its length
        self._levels = FadingMean()  # that those go with
        self._error_squares = FadingMean()
        self._judged_levels = FadingMean()  # that those go with
        self._foreseen: deque[tuple[float, float]] = deque()  # due_s, forecast

    def observe(
        self, counted: Counted, cost: StepCost, now_s: float, lasted_s: float, cold_start_s: float
    ) -> None:
        """`counted` came in the `lasted_s` until now."""
        memory_s, long_s = cold_start_s / 2.0, cold_start_s * MEMORY_STARTS
        at_s = now_s - lasted_s / 2.0
        self._observe_sizes(counted, at_s, lasted_s, SLOW * memory_s)
        prefill = cost.prefill_token_s * counted.uncached_prompt_tokens / lasted_s
        decode = cost.decode_request_s * counted.requests * self.output_tokens / lasted_s
        work = prefill + decode
        if self._level.known:
            deviation = work - self._level.value
            self._squares.add(deviation**2 * lasted_s, at_s, lasted_s, long_s)
            self._levels.add(self._level.value, at_s, lasted_s, long_s)
        self._prefill.add(prefill, at_s, lasted_s, memory_s)
        self._level.add(work, at_s, lasted_s, memory_s)
        self._slow.add(work, at_s, lasted_s, SLOW * memory_s)
        self._judge_forecasts(now_s, lasted_s, long_s)
        self._foreseen.append((now_s + cold_start_s, self._forecast(now_s, cold_start_s)))

    @property
    def output_tokens(self) -> float:
        """Of an answer; 0 before the first has ended."""
        answers = self._answers.value
        return self._output_tokens.value / answers if answers else 0.0

    def load(self, cost: StepCost, now_s: float, cold_start_s: float) -> Load | None:
        """None before anything came."""
        requests = self._requests.value
        if not requests:
            return None
        level = self._level.value
        forecast = self._forecast(now_s, cold_start_s)
        noise = self._burst(level) / self._level.window_s(cold_start_s / 2.0)
        known = _ratio(self._error_squares, self._judged_levels)
        return Load(
            level=level,
            forecast=forecast,
            error=sqrt(max(known * forecast, noise)),
            burst=max(self._burst(forecast), forecast * self._request_work(cost)),
            prefill_frac=self._prefill.value / level if level else 1.0,
            prompt_tokens=self._prompt_tokens.value / requests,
            uncached_tokens=self._uncached_tokens.value / requests,
            output_tokens=self.output_tokens,
        )

    def _observe_sizes(
        self, counted: Counted, at_s: float, lasted_s: float, memory_s: float
    ) -> None:
        for mean, amount in (
            (self._requests, counted.requests),
            (self._prompt_tokens, counted.prompt_tokens),
            (self._uncached_tokens, counted.uncached_prompt_tokens),
        ):
            mean.add(amount / lasted_s, at_s, lasted_s, memory_s)
        if counted.answered_requests:  # what no answer tells of is not forgotten
            self._answers.add(counted.answered_requests / lasted_s, at_s, lasted_s, memory_s)
            self._output_tokens.add(counted.output_tokens / lasted_s, at_s, lasted_s, memory_s)

    def _request_work(self, cost: StepCost) -> float:
        """The least that comes at once, in engine seconds."""
        tokens = self._uncached_tokens.value / self._requests.value
        return cost.prefill_token_s * tokens + cost.decode_request_s * self.output_tokens

    def _burst(self, level: float) -> float:
        return _ratio(self._squares, self._levels) * level

    def _forecast(self, now_s: float, cold_start_s: float) -> float:
        memory_s = cold_start_s / 2.0
        apart_s = self._level.at_s - self._slow.at_s
        if apart_s < memory_s / 2.0:
            return self._level.value  # too little seen for a line
        grown = self._level.value - self._slow.value
        # The error of the slow mean makes that of the difference smaller, as both see the same.
        error = sqrt(self._burst(self._level.value) / self._level.window_s(memory_s))
        trend = max(0.0, grown - error) / apart_s
        return self._level.value + trend * (now_s + cold_start_s - self._level.at_s)

    def _judge_forecasts(self, now_s: float, lasted_s: float, long_s: float) -> None:
        """Those that are due by now, as one where there are several. Where none is, nothing is
        known of how good they are."""
        errors: list[float] = []
        while self._foreseen and self._foreseen[0][0] <= now_s:
            errors.append(max(0.0, self._level.value - self._foreseen.popleft()[1]))
        if errors:
            mean_square = sum(error**2 for error in errors) / len(errors)
            self._error_squares.add(mean_square, now_s, lasted_s, long_s)
            self._judged_levels.add(self._level.value, now_s, lasted_s, long_s)


def _ratio(squares: FadingMean, levels: FadingMean) -> float:
    """What is kept as a multiple of the level; 0 before anything is known."""
    return squares.value / levels.value if levels.value else 0.0

"""How many tokens a second the fleet takes out of a queue, learnt while something waits in it.

Only time during which requests waited tells what the fleet can do: else they go as they come. The
rate is per engine, so that it holds as soon as one comes or goes.
"""

from __future__ import annotations

from cluster.admission.decaying_sum import DecayingSum

TIME_CONSTANT_S = 10.0
"""Of the rate: several turns of a batch of medium answers, and a change of load within a minute."""

LEAST_ENGINE_S = 2.0
"""Engine-seconds that are watched before a rate is given: less is the noise of single requests."""


class DrainRate:
    def __init__(self, now_s: float) -> None:
        self._tokens = DecayingSum(time_constant_s=TIME_CONSTANT_S, now_s=now_s)
        self._engine_s = DecayingSum(time_constant_s=TIME_CONSTANT_S, now_s=now_s)
        self._watched_s = 0.0
        self._waits_since_s: float | None = None
        self._engines = 0

    def went(self, tokens: float, engines: int, now_s: float, *, waits: bool) -> None:
        """So many tokens have gone since the last call, to so many engines; `waits`: there are
        requests still waiting. What had not waited before does not count."""
        if self._waits_since_s is not None and self._engines:
            engine_s = (now_s - self._waits_since_s) * self._engines
            self._tokens.add(tokens, now_s)
            self._engine_s.add(engine_s, now_s)
            self._watched_s += engine_s
        self._waits_since_s = now_s if waits else None
        self._engines = engines

    @property
    def engines(self) -> int:
        """As last seen."""
        return self._engines

    def per_s(self, now_s: float) -> float | None:
        """Tokens a second that the engines now there take; None while that is not known: before
        enough was seen, and without engines."""
        engine_s = self._engine_s.value(now_s)
        if self._watched_s < LEAST_ENGINE_S or engine_s <= 0.0 or not self._engines:
            return None
        return self._engines * self._tokens.value(now_s) / engine_s

"""Whether a request would wait too long, and when another may come.

    wait = tokens that go before it / tokens a second that the fleet takes

Tokens before it are known (its place by its tenant's fair share); those of requests that are yet to
come and go before it are not, and the rate is the last seconds'. Refusing what would have been
served in time is the worse error: what waits in vain is refused at its deadline all the same, and
no engine has worked for it. So a request is refused early only where the prediction, less a margin,
is above what it may wait, and never where nothing is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

LEAST_RETRY_S = 1
MOST_RETRY_S = 3600
"""`Retry-After` is in whole seconds; beyond an hour no prediction is worth its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """`wait_s` is None where no rate is known."""

    wait_s: float | None
    max_wait_s: float
    margin_frac: float

    @property
    def is_too_long(self) -> bool:
        return self.wait_s is not None and self.wait_s * (1.0 - self.margin_frac) > self.max_wait_s

    @property
    def retry_after_s(self) -> int:
        """Until the wait is down to what it may be, if no other comes."""
        return whole_seconds((self.wait_s or 0.0) - self.max_wait_s)


def wait_s(tokens_ahead: float, tokens_per_s: float | None) -> float | None:
    """The formula above. 0 where nothing is ahead; None where the rate is unknown or 0."""
    if tokens_ahead <= 0.0:
        return 0.0
    return tokens_ahead / tokens_per_s if tokens_per_s else None


def whole_seconds(wait_s: float) -> int:
    """For `Retry-After`: no less than the wait, within the bounds above."""
    return max(LEAST_RETRY_S, ceil(min(wait_s, MOST_RETRY_S)))

"""Whether one tenant is within its own limits at this gateway, and if not, when it will be.

Tokens are *reserved* when a request is admitted (prompt and max_tokens) and *settled* at its end:
what was not used is given back, what was used beyond (where the client set no max_tokens, and an
estimate was reserved) is taken then. So reserved = settled + released + still open, at any time.

A gateway has a share of each limit (`cluster.admission.reconciler`): of the two rates a fraction,
and of the concurrent requests a whole number.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import floor, inf, isinf

from cluster.admission.decaying_sum import DecayingSum
from cluster.admission.tenants import Tenant
from cluster.admission.token_bucket import TokenBucket

MINUTE_S = 60.0

DEMAND_TIME_CONSTANT_S = 10.0
"""What was asked for in about so many seconds decides the share: longer than the gaps between the
requests of a tenant that matters, short beside the minute that limits are for."""

UNKNOWN_DURATION_S = 1.0
"""Of a request, before one has ended."""

WITHOUT_SHARE_S = 2.0
"""Where this gateway has no share of a limit: by then the reconciler knows that it needs one, and
has it back from others."""

WHOLE = 1e-6
"""Shares of whole numbers come as floats."""


class Limit(StrEnum):
    """A tenant's limits, by their names in the spec."""

    REQUESTS = "requests_per_min"
    TOKENS = "tokens_per_min"
    CONCURRENT = "max_concurrent"


@dataclass(frozen=True, slots=True, kw_only=True)
class OverLimit:
    """Which limit a request is over, and the seconds until it is within; the longest of several.

    Infinite where it never is: it asks for more than a whole minute's tokens.
    """

    limit: Limit
    wait_s: float

    @property
    def is_never_within(self) -> bool:
        return isinf(self.wait_s)


@dataclass(slots=True)
class TokenCount:
    """Tokens over all requests: `reserved` = `settled` + `released` + `open`; and `overdrawn`,
    used beyond what was reserved."""

    reserved: int = 0
    settled: int = 0
    released: int = 0
    open: int = 0
    overdrawn: int = 0


class TenantLimits:
    """One tenant's requests at one gateway, which starts with `share` (0 to 1) of each limit."""

    def __init__(self, tenant: Tenant, *, share: float, now_s: float) -> None:
        self.tenant = tenant
        self.tokens = TokenCount()
        self.concurrent = 0
        self._rate_share = self._concurrent_share = share
        self._asked_requests = DecayingSum(time_constant_s=DEMAND_TIME_CONSTANT_S, now_s=now_s)
        self._asked_tokens = DecayingSum(time_constant_s=DEMAND_TIME_CONSTANT_S, now_s=now_s)
        self._refused = DecayingSum(time_constant_s=DEMAND_TIME_CONSTANT_S, now_s=now_s)
        self._mean_duration_s: float | None = None
        self._spilled = 0.0
        self._requests_bucket = self._bucket(tenant.requests_per_min, now_s)
        self._tokens_bucket = self._bucket(tenant.tokens_per_min, now_s)

    def _bucket(self, per_min: int | None, now_s: float) -> TokenBucket | None:
        if per_min is None:
            return None
        burst = per_min * self._rate_share
        return TokenBucket(per_s=burst / MINUTE_S, burst=burst, now_s=now_s)

    # Requests

    def over(self, tokens: int, now_s: float) -> OverLimit | None:
        """What keeps a request of so many tokens from being admitted now; None where nothing does.
        Counts as demand."""
        self._asked_requests.add(1, now_s)
        self._asked_tokens.add(tokens, now_s)
        waits = (
            OverLimit(limit=Limit.REQUESTS, wait_s=_wait_s(self._requests_bucket, 1, now_s)),
            OverLimit(limit=Limit.TOKENS, wait_s=self._tokens_wait_s(tokens, now_s)),
            OverLimit(limit=Limit.CONCURRENT, wait_s=self._concurrent_wait_s()),
        )
        longest = max(waits, key=lambda each: each.wait_s)
        if longest.wait_s <= 0.0:
            return None
        if self._concurrent_wait_s() > 0.0:
            self._refused.add(1, now_s)
        return longest

    def _tokens_wait_s(self, tokens: int, now_s: float) -> float:
        limit = self.tenant.tokens_per_min
        if limit is not None and tokens > limit:
            return inf
        return _wait_s(self._tokens_bucket, tokens, now_s)

    def _concurrent_wait_s(self) -> float:
        """Until the next of those that run ends, if they end independently of each other."""
        if self.concurrent < self.concurrent_allowed:
            return 0.0
        return (self._mean_duration_s or UNKNOWN_DURATION_S) / max(1, self.concurrent)

    @property
    def concurrent_allowed(self) -> float:
        """Requests at a time, at this gateway."""
        limit = self.tenant.max_concurrent
        return inf if limit is None else floor(limit * self._concurrent_share + WHOLE)

    def reserve(self, tokens: int, now_s: float) -> None:
        """A request is admitted."""
        self.concurrent += 1
        if self._requests_bucket is not None:
            self._requests_bucket.take(1, now_s)
        self._take(tokens, now_s)

    def resized(self, reserved_tokens: int, tokens: int, now_s: float) -> None:
        """An admitted request turns out to need another reservation."""
        if tokens > reserved_tokens:
            self._take(tokens - reserved_tokens, now_s)
        else:
            self._release(reserved_tokens - tokens, now_s)

    def settle(
        self, reserved_tokens: int, used_tokens: int, now_s: float, duration_s: float | None = None
    ) -> None:
        """An admitted request is over. `duration_s`: since it was admitted; None where it was never
        answered, which says nothing of how long others take."""
        self.concurrent -= 1
        settled = min(reserved_tokens, used_tokens)
        self.tokens.settled += settled
        self.tokens.open -= settled
        self._release(reserved_tokens - settled, now_s)
        overdrawn = used_tokens - settled
        self.tokens.overdrawn += overdrawn
        if self._tokens_bucket is not None and overdrawn:
            self._tokens_bucket.take(overdrawn, now_s)
        if duration_s is not None:
            before_s = duration_s if self._mean_duration_s is None else self._mean_duration_s
            self._mean_duration_s = before_s + (duration_s - before_s) / 8

    def uncount_request(self, now_s: float) -> None:
        """An admitted request was refused after all, so it does not count among the minute's."""
        if self._requests_bucket is not None:
            self._requests_bucket.give_back(1, now_s)

    def _take(self, tokens: int, now_s: float) -> None:
        self.tokens.reserved += tokens
        self.tokens.open += tokens
        if self._tokens_bucket is not None:
            self._tokens_bucket.take(tokens, now_s)

    def _release(self, tokens: int, now_s: float) -> None:
        self.tokens.released += tokens
        self.tokens.open -= tokens
        if self._tokens_bucket is not None and tokens:
            self._tokens_bucket.give_back(tokens, now_s)

    # Shares and changes

    def rate_demand_frac(self, now_s: float) -> float:
        """What its clients ask of this gateway, as a part of the limit that is asked most of."""
        asked = (
            (self._asked_requests, self.tenant.requests_per_min),
            (self._asked_tokens, self.tenant.tokens_per_min),
        )
        return max(
            (MINUTE_S * each.per_s(now_s) / limit for each, limit in asked if limit), default=0.0
        )

    def concurrent_demand(self, now_s: float) -> float:
        """Requests at a time that its clients would have here: those there are, and as many more as
        were lately refused."""
        return self.concurrent + self._refused.value(now_s)

    @property
    def concurrent_share_held(self) -> float:
        """What others cannot have: the share, and more while requests admitted before still run."""
        limit = self.tenant.max_concurrent
        return (
            self._concurrent_share
            if limit is None
            else max(self._concurrent_share, self.concurrent / limit)
        )

    @property
    def concurrent_share(self) -> float:
        return self._concurrent_share

    @property
    def rate_share(self) -> float:
        return self._rate_share

    def have_shares(
        self, *, rate: float, concurrent: float, now_s: float, carried: float = 0.0
    ) -> None:
        """From now on this gateway may let through such fractions of the limits. `carried`: the
        part of a minute's limit that comes with the rate's share."""
        before = self._saved(now_s)
        self._rate_share, self._concurrent_share = rate, concurrent
        self._resize(now_s)
        self._spilled += max(0.0, before - self._saved(now_s))
        for bucket, limit in self._buckets():
            bucket.give_back(carried * limit, now_s)

    def take_spilled(self) -> float:
        """What the rates' buckets lost by smaller shares since the last call, as a part of a
        minute's limit."""
        spilled, self._spilled = self._spilled, 0.0
        return spilled

    def _saved(self, now_s: float) -> float:
        """What is in each of the rates' buckets at least, as a part of a minute's limit."""
        return max(
            0.0,
            min((bucket.level(now_s) / limit for bucket, limit in self._buckets()), default=0.0),
        )

    def _buckets(self) -> list[tuple[TokenBucket, int]]:
        """Those of the rates that are limited, and the limits."""
        pairs = (
            (self._requests_bucket, self.tenant.requests_per_min),
            (self._tokens_bucket, self.tenant.tokens_per_min),
        )
        return [(bucket, limit) for bucket, limit in pairs if bucket is not None and limit]

    def change(self, tenant: Tenant, now_s: float) -> None:
        """Other limits for the same tenant; what runs and what was used goes on counting."""
        self.tenant = tenant
        self._resize(now_s)

    def _resize(self, now_s: float) -> None:
        self._requests_bucket = self._resized(
            self._requests_bucket, self.tenant.requests_per_min, now_s
        )
        self._tokens_bucket = self._resized(self._tokens_bucket, self.tenant.tokens_per_min, now_s)

    def _resized(
        self, bucket: TokenBucket | None, per_min: int | None, now_s: float
    ) -> TokenBucket | None:
        if bucket is None or per_min is None:
            return self._bucket(per_min, now_s)
        burst = per_min * self._rate_share
        bucket.resize(per_s=burst / MINUTE_S, burst=burst, now_s=now_s)
        return bucket


def _wait_s(bucket: TokenBucket | None, amount: int, now_s: float) -> float:
    wait_s = 0.0 if bucket is None else bucket.wait_s(amount, now_s)
    return WITHOUT_SHARE_S if isinf(wait_s) else wait_s

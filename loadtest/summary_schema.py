"""`summary.json`: what a run came to, version 1. Times are seconds, fractions 0 to 1.

What is None was not measured, or there was nothing to measure it on. The warm-up counts for
nothing in any number but its own. `Summary.model_json_schema()` is the schema in JSON Schema.
"""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Verdict(StrEnum):
    """What a run says about its SLO."""

    PASS = "pass"
    BREACH = "breach"
    INVALID = "invalid"
    """The run measured something else than the server: see the reasons."""
    NO_SLO = "no SLO"
    """There was nothing to hold it against."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Share(_Part):
    """`count` of `n`, with a Wilson 95 % interval; `frac`, `low` and `high` are None for n = 0."""

    count: int
    n: int
    frac: float | None
    low: float | None
    high: float | None


class ClauseResult(_Part):
    """One clause of the SLO, and what was measured."""

    name: str
    """Its key in the SLO: `ttft_p99`, `error_rate` …"""
    text: str
    """For people: `TTFT p99 ≤ 500 ms`."""
    bound: float
    """In s for a latency, a fraction for a share, requests per s for goodput; so is `measured`."""
    measured: float | None
    measured_text: str
    n: int
    """Samples behind `measured`."""
    met: bool


class Distribution(_Part):
    """A latency: nearest-rank percentiles of `n` raw samples, and their mean."""

    n: int
    mean_s: float
    p50_s: float
    p90_s: float
    p95_s: float
    p99_s: float
    max_s: float


class Load(_Part):
    """What was asked of the server, and what it answered."""

    span_s: float
    """From the first request's due time to the last one's."""
    wall_s: float
    """From the first request's due time to the end of the last answer."""
    offered: int
    """Requests that were due, missed ones among them."""
    missed: int
    """Never sent: as many as allowed were in flight."""
    succeeded: int
    failed: int
    """Sent, without a complete answer."""
    offered_per_s: float | None
    """`offered` / `span_s`; None where all were due at one instant."""
    achieved_per_s: float | None
    """`succeeded` / `wall_s`."""
    in_flight_max: int


class Tokens(_Part):
    """Of successful requests, over `Load.wall_s`."""

    output: int
    prompt: int
    output_per_s: float | None
    prompt_per_s: float | None


class Group(_Part):
    """The requests of one kind, or of one tenant."""

    load: Load
    tokens: Tokens
    latency: dict[str, Distribution | None]
    good: Share | None
    """Requests that met every bound on a single request, of those offered; None without an SLO."""
    goodput_per_s: float | None
    """Good requests / `Load.wall_s`; None without an SLO."""
    right: Share | None
    """Answers that were the expected one, of those that could be checked; None where none could."""
    prefix_hit_frac: float | None
    """Cached prompt tokens / prompt tokens, over all requests whose `usage` tells both."""


class Summary(Group):
    """The whole run."""

    version: Literal[1] = 1
    scenario: str
    verdict: Verdict
    reasons: list[str]
    """Why it is not a pass."""
    slo: list[ClauseResult]
    errors: dict[str, int]
    """Requests by class of error, the most frequent first."""
    warm_up_requests: int
    faults: dict[str, int] = {}
    """What was done to the server, by kind, the most frequent first; empty where nothing was."""
    kinds: dict[str, Group]
    tenants: dict[str, Group]

"""The metric definitions, once. Pure functions over raw samples; reports only format what is here.

Instants are seconds on the client's monotonic clock.

| metric | formula | unit | where it comes from |
|---|---|---|---|
| `t_sched` | intended start; equals `t0` in a closed loop | s | the arrival process |
| `t0` | request written to an open connection | s | client |
| `t1`, `tn` | first and last chunk with content (text, reasoning or tool call) | s | client |
| `N` | output tokens | tokens | the server's `usage`, never a client's tokenizer |
| TTFT | t1 - t0 | s | a role-only first chunk does not count |
| TPOT | (tn - t1) / (N - 1), for N >= 2 | s | one value per request; none for N < 2 |
| ITL | gaps between consecutive content chunks, pooled | s | inter-*chunk*: see below |
| E2E | tn - t0 | s | |
| schedule lag | t0 - t_sched | s | how late the client itself was |
| output rate | sum of N / (latest tn - earliest t0) | tokens/s | failed requests add nothing to N |
| prefix hit | cached prompt tokens / prompt tokens | 0-1 | `usage`, if the server reports them |

ITL is of chunks because that is what a client sees: a chunk may hold several tokens, and two chunks
that one read brought have a gap of 0. A failed or cut request has an `error` and belongs to no
latency metric. Percentiles are nearest-rank: the smallest sample with at least p % of the samples
at or below it, so always a value that was measured. Names differ between tools: GuideLLM and AIPerf
call our TPOT "ITL", and GuideLLM's "TPOT" divides the whole E2E by all tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSample:
    """One request as the client saw it; the schema of a request in every JSONL result file.

    `t1_s` and `tn_s` are None without content, `output_tokens` and the rest of `usage` None where
    the server did not say. `itl_us` holds one gap per content chunk but the first, in whole
    microseconds (a third of the file size of seconds). `text_crc32` tells two replies with the same
    text apart from different ones without storing either.
    """

    t_sched_s: float
    t0_s: float
    t1_s: float | None = None
    tn_s: float | None = None
    itl_us: tuple[int, ...] = ()
    output_tokens: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    text_crc32: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Percentile:
    """A percentile with the number of raw samples behind it."""

    value: float
    n: int


def percentile(samples: Iterable[float], percent: float) -> Percentile | None:
    """Nearest-rank percentile, 0 < percent <= 100; None where there are no samples."""
    return percentile_of_sorted(sorted(samples), percent)


def percentile_of_sorted(ordered: Sequence[float], percent: float) -> Percentile | None:
    """The same of samples that rise already."""
    part, whole = _share(percent)
    rank = -(-part * len(ordered) // whole)  # rounded up
    return Percentile(ordered[rank - 1], len(ordered)) if ordered else None


@cache
def _share(percent: float) -> tuple[int, int]:
    """As an exact ratio: 99.9 / 100 * 1000 in floats is above 999, one rank too high."""
    if not 0 < percent <= 100:
        raise ValueError(f"percent must be in (0, 100], not {percent}")
    return (Fraction(str(percent)) / 100).as_integer_ratio()


def succeeded(samples: Iterable[RequestSample]) -> list[RequestSample]:
    return [s for s in samples if s.error is None]


def ttft_s(sample: RequestSample) -> float | None:
    return None if sample.t1_s is None else sample.t1_s - sample.t0_s


def tpot_s(sample: RequestSample) -> float | None:
    """None for fewer than two output tokens: there is no interval to divide."""
    if sample.t1_s is None or sample.tn_s is None or (sample.output_tokens or 0) < 2:
        return None
    return (sample.tn_s - sample.t1_s) / ((sample.output_tokens or 0) - 1)


def e2e_s(sample: RequestSample) -> float | None:
    return None if sample.tn_s is None else sample.tn_s - sample.t0_s


def schedule_lag_s(sample: RequestSample) -> float:
    return sample.t0_s - sample.t_sched_s


def prefix_hit_frac(sample: RequestSample) -> float | None:
    """None where the server reports no cached tokens (vLLM: `--enable-prompt-tokens-details`)."""
    if sample.cached_tokens is None or not sample.prompt_tokens:
        return None
    return sample.cached_tokens / sample.prompt_tokens


def ttfts_s(samples: Iterable[RequestSample]) -> list[float]:
    """TTFT of every successful request that had content."""
    return [value for s in succeeded(samples) if (value := ttft_s(s)) is not None]


def itls_s(samples: Iterable[RequestSample]) -> list[float]:
    """Inter-chunk gaps of all successful requests, pooled."""
    return [gap_us / 1e6 for s in succeeded(samples) for gap_us in s.itl_us]


def output_tokens(samples: Iterable[RequestSample]) -> int:
    return sum(s.output_tokens or 0 for s in succeeded(samples))


def output_tokens_per_s(samples: Sequence[RequestSample]) -> float:
    """Tokens of successful requests over the time from the first send to the last content chunk.

    0 where nothing came back. Failed requests still stretch the window: their time was spent.
    """
    ends_s = [s.tn_s for s in samples if s.tn_s is not None]
    if not ends_s:
        return 0.0
    window_s = max(ends_s) - min(s.t0_s for s in samples)
    return output_tokens(samples) / window_s if window_s > 0 else 0.0

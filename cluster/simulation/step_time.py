"""What one step of an engine takes: the interface, and a model fitted to measured steps.

    step_s = base_s + prefill_token_s * prefill_tokens
           + decode_request_s * decode_requests + context_token_s * context_tokens

`roofline.py` has a model that needs no measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class StepWork(NamedTuple):
    """What one step computes.

    `prefill_pairs`: token pairs that attention looks at, a chunk's tokens with all before them.
    `prefill_context_tokens`: KV read for the chunks. `context_tokens`: KV read for the decodes.
    """

    prefill_requests: int = 0
    prefill_tokens: int = 0
    prefill_pairs: float = 0.0
    prefill_context_tokens: int = 0
    decode_requests: int = 0
    context_tokens: int = 0


class StepTime(Protocol):
    """Contract: above 0, and for steps that only decode a convex, piecewise linear function of
    `context_tokens`: `segment.py` sums many such steps at once and relies on it."""

    def step_s(self, work: StepWork) -> float: ...


class Observed(NamedTuple):
    """A measured step."""

    work: StepWork
    step_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A linear `StepTime`, all coefficients in seconds and none below 0."""

    base_s: float
    prefill_token_s: float = 0.0
    decode_request_s: float = 0.0
    context_token_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("base_s", "prefill_token_s", "decode_request_s", "context_token_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)}")

    def step_s(self, work: StepWork) -> float:
        return (
            self.base_s
            + self.prefill_token_s * work.prefill_tokens
            + self.decode_request_s * work.decode_requests
            + self.context_token_s * work.context_tokens
        )


def fit(steps: Sequence[Observed]) -> Fitted:
    """Least squares of the relative error, so that short decode steps count as much as long
    prefills.

    A coefficient that would come out below 0 is set to 0 and the others are fitted again. Raises
    ValueError for no step at all and for one that took no time.
    """
    if not steps:
        raise ValueError("no step was measured")
    if wrong := [step for step in steps if not step.step_s > 0]:
        raise ValueError(f"step_s must be above 0, not {wrong[0].step_s} for {wrong[0].work}")
    measured_s = np.array([step.step_s for step in steps])
    terms = np.array([_terms(step.work) for step in steps]) / measured_s[:, None]
    base_s, prefill_s, decode_s, context_s = map(float, _not_negative(terms))
    return Fitted(
        base_s=base_s,
        prefill_token_s=prefill_s,
        decode_request_s=decode_s,
        context_token_s=context_s,
    )


def _terms(work: StepWork) -> tuple[float, ...]:
    return (1.0, work.prefill_tokens, work.decode_requests, work.context_tokens)


def _not_negative(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """The coefficients that bring every row's sum nearest to 1."""
    found = np.zeros(terms.shape[1])
    kept = list(range(terms.shape[1]))
    while kept:
        # Columns in one scale: a context has thousands of tokens where a batch has ten requests.
        scales = np.abs(terms[:, kept]).max(axis=0)
        scales[scales == 0] = 1.0
        part, *_ = np.linalg.lstsq(terms[:, kept] / scales, np.ones(len(terms)), rcond=None)
        if part.min() >= 0:
            found[kept] = part / scales
            break
        del kept[int(part.argmin())]
    return found

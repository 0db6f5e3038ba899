"""What the admission desk tells of each request when it is over; usage is booked from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cluster.admission.usage import Usage

Outcome = Literal["served", "cancelled", "failed", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRequest:
    """One request of the model's API, over all its answers and attempts; told exactly once.

    `request_id`: vLLM's external id of it. `waited_s`: in the gateway's queue. `at_unix_s`: when it
    ended, `took_s` after it came. `ttft_s`: until the first of its answers began; None where none
    did. `tpot_s`: for each token after the first, of one answer; None for several side by side.
    `engines`: those that had it, in order. `reason`: of a refusal, else empty.
    """

    request_id: str
    tenant: str
    model: str
    outcome: Outcome
    usage: Usage
    waited_s: float
    at_unix_s: float
    took_s: float = 0.0
    ttft_s: float | None = None
    tpot_s: float | None = None
    engines: tuple[str, ...] = ()
    reason: str = ""

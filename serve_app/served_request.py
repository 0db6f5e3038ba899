"""What the admission desk tells of each request when it is over; usage is booked from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cluster.admission.usage import Usage

Outcome = Literal["served", "cancelled", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRequest:
    """One request of the model's API, over all its answers and attempts; told exactly once.

    `request_id`: vLLM's external id of it. `waited_s`: in the gateway's queue. `at_unix_s`: when it
    ended.
    """

    request_id: str
    tenant: str
    model: str
    outcome: Outcome
    usage: Usage
    waited_s: float
    at_unix_s: float

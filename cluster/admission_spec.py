"""The parts of the spec that say how many requests may wait, and for how long."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cluster.spec_model import SpecModel

DEFAULT_MAX_WAIT_S = 30.0

MaxWait = Annotated[
    float,
    Field(
        gt=0,
        description="Seconds that a request may wait for an engine with room. One that would wait "
        "longer is refused at once, one that has is refused then: 503 with Retry-After. A tenant's "
        "own comes first; with no engine up, failover.hold_timeout_s holds if it is longer. "
        "Default 30: clients and proxies mostly give up after 60.",
    ),
]


class AdmissionSpec(SpecModel):
    """What a gateway takes in when the fleet is full."""

    max_queued_requests: int = Field(
        default=4096,
        ge=1,
        description="Requests that wait for an engine with room, per gateway replica and model. "
        "A tenant may have as many there as places are free, so that one alone fills half of them. "
        "Default 4096: half of max_ongoing_requests; at 1 MB a body, 4 GB.",
    )
    queue_at_gateway: bool = Field(
        default=True,
        description="Whether what exceeds the engines' room waits in the gateways, in the tenants' "
        "fair order. Default true; false sends all to the engines at once, first come first "
        "served, and then neither weights, priorities nor max_wait_s have an effect.",
    )
    refuse_margin_frac: float = Field(
        default=0.25,
        ge=0,
        lt=1,
        description="Share of a predicted wait, 0 to 1, that may be an error: a request is refused "
        "early only where the rest of the prediction is above its max_wait_s. Default 0.25: about "
        "what predictions from the last seconds' service are off by.",
    )
    share_report_s: float = Field(
        default=1.0,
        gt=0,
        description="Seconds between a gateway's reports of what its tenants ask for, which decide "
        "its share of their limits. Default 1: a burst at one gateway gets its share of a limit "
        "per minute within a few seconds.",
    )

"""What gateways counted between two looks, though they start anew and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from cluster.scaling.signals import GatewaySignals

REMEMBERED = 256
"""Gateways, those here included: more than come and go while one is not heard of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Between two looks, over all gateways; fields as in `GatewaySignals`."""

    requests: float = 0
    prompt_tokens: float = 0
    uncached_prompt_tokens: float = 0
    answered_requests: float = 0
    output_tokens: float = 0
    ttft_total: float = 0
    ttft_good: float = 0
    ttft_sum_s: float = 0
    tpot_total: float = 0
    tpot_good: float = 0

    def __add__(self, other: Counted) -> Counted:
        return Counted(**{name: getattr(self, name) + getattr(other, name) for name in COUNTERS})


COUNTERS = tuple(field.name for field in fields(Counted))


class Counting:
    """A gateway that is new, or counts less than when it was last seen (it began anew), counts from
    0; one that is missing is remembered, and goes on from there when it is back. At the first look
    everything is from before."""

    def __init__(self) -> None:
        self._last: dict[str, GatewaySignals] | None = None  # the latest seen last

    def since_last(self, gateways: Sequence[GatewaySignals]) -> Counted:
        if self._last is None:
            counted = Counted()
        else:
            pairs = [(gateway, self._before(gateway, self._last)) for gateway in gateways]
            counted = Counted(
                **{
                    name: sum(getattr(now, name) - getattr(before, name) for now, before in pairs)
                    for name in COUNTERS
                }
            )
        self._remember(gateways)
        return counted

    def _remember(self, gateways: Sequence[GatewaySignals]) -> None:
        last = self._last = self._last or {}
        for gateway in gateways:
            last.pop(gateway.id, None)
            last[gateway.id] = gateway
        for oldest in list(last)[: max(0, len(last) - max(REMEMBERED, len(gateways)))]:
            del last[oldest]

    def _before(self, gateway: GatewaySignals, last: dict[str, GatewaySignals]) -> GatewaySignals:
        before = last.get(gateway.id)
        if before is None or before.requests > gateway.requests:
            return GatewaySignals(id=gateway.id)
        return before

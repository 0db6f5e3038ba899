"""Divides every limit among the gateways, by what each reports that its clients ask for.

One reconciler serves a cluster. Gateways report every second or so, each with what it asks for and
which shares it holds, and are answered with the shares to hold from then on. The shares that are
held never sum to more than 1: what one gateway is to lose, another gets only once the first has
reported that it no longer holds it. Lost reports and answers delay a change and break nothing.

Three cases are outside of that, and each is bounded:
- a gateway that cannot reach the reconciler keeps its share; after `AGE_OUT_S` without a report the
  others are given it too. The excess is that gateway's share, until it reports again (a gateway
  that is known to have been removed is told by `left`, and costs nothing);
- a gateway that has never been answered holds 1 / (the most gateways there may be): that much;
- a new reconciler knows no gateway. For `AGE_OUT_S` it takes shares back but gives none out.

A resource is anything with a limit, by any name: a tenant's rates, its concurrent requests.

What had been saved up of a rate moves with its share: a gateway whose bucket is cut says how much
that spilled, and who is given the share next is given that, too. Without it a tenant's burst would
get smaller with every change. It is kept for `AGE_OUT_S`: after that buckets have refilled instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.admission.max_min import shares, whole_shares

AGE_OUT_S = 10.0
"""Ten missed reports: longer than a gateway's pauses, short beside the minute of a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one gateway says of one resource.

    `demand`: a part of the limit, or, where the limit can only be divided into `units` (a whole
    number of concurrent requests), in units. `held`: the share (0 to 1) it has, or still uses.
    `spilled`: what its bucket lost by a smaller share since the last report, a part of the limit.
    """

    demand: float
    held: float
    units: int | None = None
    spilled: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareReport:
    """One gateway's claims, by resource. `number` counts its reports."""

    gateway: str
    number: int
    claims: Mapping[str, Claim]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareAnswer:
    """The shares to hold now, by resource; to be ignored unless `number` is the last report's.
    `carried`: what else there is in the bucket, a part of the limit."""

    number: int
    shares: Mapping[str, float]
    carried: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Gateway:
    """`granted`: what it was last told to hold, which it may or may not know yet."""

    claims: Mapping[str, Claim]
    at_s: float
    granted: dict[str, float] = field(default_factory=dict)

    def may_hold(self, resource: str) -> float:
        claim = self.claims.get(resource)
        return max(claim.held if claim else 0.0, self.granted.get(resource, 0.0))


class Reconciler:
    def __init__(self, now_s: float) -> None:
        self._gateways: dict[str, _Gateway] = {}
        self._gives_from_s = now_s + AGE_OUT_S
        self._spilled: dict[str, tuple[float, float]] = {}  # by resource: how much, and since when

    def report(self, report: ShareReport, now_s: float) -> ShareAnswer:
        """A gateway's claims, answered."""
        self._age_out(now_s)
        known = self._gateways.get(report.gateway)
        granted = {} if known is None else known.granted
        gateway = _Gateway(report.claims, now_s, granted)
        self._gateways[report.gateway] = gateway
        gateway.granted = {
            resource: self._granted(report.gateway, resource, claim, now_s)
            for resource, claim in report.claims.items()
        }
        carried = {
            resource: self._carried(resource, claim, gateway.granted[resource], now_s)
            for resource, claim in report.claims.items()
        }
        return ShareAnswer(
            number=report.number,
            shares=dict(gateway.granted),
            carried={resource: part for resource, part in carried.items() if part},
        )

    def _carried(self, resource: str, claim: Claim, granted: float, now_s: float) -> float:
        """What a gateway gets of what others' buckets spilled, or 0 where it only adds to that."""
        spilled, since_s = self._spilled.pop(resource, (0.0, now_s))
        if now_s - since_s > AGE_OUT_S:
            spilled = 0.0
        if claim.spilled:
            spilled, since_s = min(1.0, spilled + claim.spilled), now_s
        carried = min(spilled, max(0.0, granted - claim.held))
        if spilled > carried:
            self._spilled[resource] = (spilled - carried, since_s)
        return carried

    def left(self, gateway: str) -> None:
        """It has been removed, and lets nothing through any more. Unknown ones are ignored."""
        self._gateways.pop(gateway, None)

    @property
    def gateways(self) -> tuple[str, ...]:
        return tuple(self._gateways)

    def _age_out(self, now_s: float) -> None:
        for name, gateway in list(self._gateways.items()):
            if now_s - gateway.at_s > AGE_OUT_S:
                del self._gateways[name]

    def _granted(self, name: str, resource: str, claim: Claim, now_s: float) -> float:
        """The target, within what no other gateway may hold."""
        others = sum(
            gateway.may_hold(resource) for other, gateway in self._gateways.items() if other != name
        )
        free = max(0.0, 1.0 - others)
        if now_s < self._gives_from_s:
            free = min(free, claim.held)
        target = self._target(name, resource, claim)
        if claim.units is None:
            return min(target, free)
        return min(round(target * claim.units), int(free * claim.units + 1e-6)) / claim.units

    def _target(self, name: str, resource: str, claim: Claim) -> float:
        demands = {
            other: gateway.claims[resource].demand
            for other, gateway in self._gateways.items()
            if resource in gateway.claims
        }
        if claim.units is None:
            return shares(demands)[name]
        return whole_shares(demands, claim.units)[name] / claim.units

"""What the gateways of each application last said, where the scalers of its engines find it.

Serve asks the policy of each deployment about that deployment's own replicas only, in its
controller, one after the other. The gateways' policy puts here what gateways know of every model;
the engines' policies read it in the same process a moment later. Nothing else crosses: the board
begins empty with every controller, and is full again with the gateways' next reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serve_app.scaling_stats import GatewayStats

OLD_S = 30.0
"""After so long without the gateways' policy being asked, what it said counts no more."""


@dataclass(frozen=True, slots=True)
class _Posted:
    at_s: float
    gateways: Mapping[str, GatewayStats]


_boards: dict[str, _Posted] = {}  # by application


def post(app: str, gateways: Mapping[str, GatewayStats], now_s: float) -> None:
    """This is what the gateways say now, by replica id."""
    _boards[app] = _Posted(now_s, dict(gateways))


def gateways(app: str, now_s: float) -> Mapping[str, GatewayStats]:
    """What they said last; empty where none has said anything lately."""
    posted = _boards.get(app)
    if posted is None or now_s - posted.at_s > OLD_S:
        return {}
    return posted.gateways


def clear() -> None:
    """Forget all, as a controller that starts anew."""
    _boards.clear()

"""All scalers by name, as the simulator's command line takes them."""

from __future__ import annotations

from collections.abc import Callable

from cluster.scaling import Scaler
from cluster.scaling.limits import ScalingLimits, Slo
from cluster.scaling.ongoing_requests import OngoingRequests, OngoingRequestsSettings
from cluster.scaling.slo_scaler import SloScaler
from cluster.scaling.ttft_threshold import TtftThreshold

Make = Callable[[ScalingLimits, Slo, float], Scaler]
"""Of limits, SLO, and how many ongoing requests an engine is to have."""

SCALERS: dict[str, Make] = {
    "slo": lambda limits, slo, _ongoing: SloScaler(limits, slo),
    "ongoing_requests": lambda limits, _slo, ongoing: OngoingRequests(
        limits, OngoingRequestsSettings(target_ongoing_requests=ongoing)
    ),
    "ttft_threshold": lambda limits, slo, _ongoing: TtftThreshold(limits, slo),
}

"""What a scaler has to keep: the SLO, and how many engines there may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """`attainment_frac` of the requests get their first token within `ttft_s`, and then, on
    average over each request, a token every `tpot_s`.

    Defaults: the limits of MLPerf Inference's server scenario for Llama 3.1 8B, at the 99th
    percentile.
    """

    ttft_s: float = 2.0
    tpot_s: float = 0.1
    attainment_frac: float = 0.99

    def __post_init__(self) -> None:
        for name in ("ttft_s", "tpot_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0.5 <= self.attainment_frac < 1:
            raise ValueError(
                f"attainment_frac must be at least 0.5 and below 1, not {self.attainment_frac}"
            )

    def met_by(self, ttft_s: float | None, tpot_s: float | None) -> bool:
        """Whether a request with these was in time. One without a first token was not; one of a
        single token has no `tpot_s`."""
        return ttft_s is not None and ttft_s <= self.ttft_s and (tpot_s or 0.0) <= self.tpot_s


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingLimits:
    """`least` to `most` engines. With `least` 0 the last one goes after `idle_s` without a request.
    `headroom_frac`: so much more than is computed. `standby`: so many beside those that are needed.
    """

    least: int = 1
    most: int
    idle_s: float = 300.0
    headroom_frac: float = 0.0
    standby: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most or self.most < 1:
            raise ValueError(f"from {self.least} to {self.most} engines is no range")
        for name in ("idle_s", "headroom_frac", "standby"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)}")

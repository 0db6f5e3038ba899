"""Tells what was decided: every change of a target in the log, the last decision in the store."""

from __future__ import annotations

import logging

from cluster.scaling.decision import ScalingDecision
from serve_app import scaling_record
from serve_app.scaling_record import KEPT_CHANGES, Change, Scaled

logger = logging.getLogger("ray.serve")

AGAIN_S = 5.0
"""A decision that changes nothing is written so often, for the numbers in its sentence."""


class ScalingRecorder:
    """Of one deployment. `earlier`: what a scaler before this one left, if any."""

    def __init__(self, app: str, deployment: str) -> None:
        """Raises what the store raises."""
        self._app, self._deployment = app, deployment
        self.earlier = scaling_record.read(app, deployment)
        self._changes = () if self.earlier is None else self.earlier.changes
        self._written: tuple[int, int, str] | None = None
        self._written_at_s = 0.0
        self._failed = False

    def note(
        self, before: int, ready: int, decision: ScalingDecision, now_s: float, wall_s: float
    ) -> None:
        """This was decided where `before` replicas were wanted, and `ready` served; now, by the
        monotonic and by the wall clock."""
        if decision.target != before:
            self._changed(before, decision, wall_s)
        said = decision.target, ready, decision.reason.value
        if said == self._written and now_s - self._written_at_s < AGAIN_S:
            return
        self._written, self._written_at_s = said, now_s
        self._write(ready, decision, wall_s)

    def _changed(self, before: int, decision: ScalingDecision, wall_s: float) -> None:
        reason = decision.reason.value
        logger.info(
            "%s: from %d to %d replicas (%s): %s",
            *(self._deployment, before, decision.target, reason, decision.sentence),
        )
        change = Change(
            at_s=wall_s,
            before=before,
            after=decision.target,
            reason=reason,
            sentence=decision.sentence,
        )
        self._changes = (*self._changes, change)[-KEPT_CHANGES:]

    def _write(self, ready: int, decision: ScalingDecision, wall_s: float) -> None:
        scaled = Scaled(
            target=decision.target,
            ready=ready,
            reason=decision.reason.value,
            sentence=decision.sentence,
            at_s=wall_s,
            cold_start_s=decision.cold_start_s,
            changes=self._changes,
        )
        try:
            scaling_record.write(self._app, self._deployment, scaled)
            self._failed = False
        except Exception as error:  # whatever it is, the decision stands
            if not self._failed:
                logger.warning("the store does not take what was decided: %s", error)
            self._failed = True

"""Step costs as they may be compared: engines that are about as fast count as equally fast.

What an engine's own steps say of it is uncertain: least squares tell a step's base from its decodes
hardly apart where all steps are alike. Of identical engines that is enough to prefer one for good;
it is then given more, and its steps say even less of what few decodes would take. So the steps'
shape is the mean of all engines, and each differs by two factors only, which its steps do tell: of
a step with as many decodes as there are on average, and of a prompt token. Within `ALIKE_FRAC` of 1
a factor counts as 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.types import StepCost

ALIKE_FRAC = 0.25
"""Identical engines were found to differ by up to 20 % in simulation. Types whose decode steps
differ less from the mean of both, as those of A100 and H100 may, are told apart by their prompt
tokens, and by what they have queued."""


def alike(costs: Sequence[StepCost], mean: StepCost, decode_requests: float) -> list[StepCost]:
    """One for each of `costs`. `decode_requests`: in an average step."""
    mean_step_s = mean.base_s + mean.decode_request_s * decode_requests
    comparable = []
    for cost in costs:
        step_s = cost.base_s + cost.decode_request_s * decode_requests
        step = _factor(step_s, mean_step_s)
        token = _factor(cost.prefill_token_s, mean.prefill_token_s)
        comparable.append(
            StepCost(
                base_s=mean.base_s * step,
                prefill_token_s=mean.prefill_token_s * token,
                decode_request_s=mean.decode_request_s * step,
            )
        )
    return comparable


def _factor(own_s: float, mean_s: float) -> float:
    factor = own_s / mean_s if mean_s > 0.0 else 1.0
    return 1.0 if abs(factor - 1.0) <= ALIKE_FRAC else factor

"""The step costs of a fleet, as they may be compared: engines about as fast count as equally fast.

What an engine's own steps say of it differs by some percent between identical engines: prompts and
contexts differ, and a step is not quite linear in them. To prefer one of them for it would give it
more, for no reason, over all of a long answer. So each engine counts with the mean of all that are
within `ALIKE_FRAC` of it: by a step with as many decodes as there are on average for what decoding
takes, and by a prompt token for what prompts take. Other types of GPU are not averaged in.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import fsum
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cluster.types import ReplicaSnapshot

Floats = NDArray[np.float64]
"""One entry for each replica, in their order."""

ALIKE_FRAC = 0.15
"""Steps of identical engines were found to differ by up to 12 % from their mean on Mooncake's trace
in simulation, by 2 % where contexts are alike; those of an H200 and an H100 differ by 20 %."""

_COSTS = attrgetter("base_s", "prefill_token_s", "decode_request_s")


class StepCosts(NamedTuple):
    """What `cluster.types.StepCost` has, of each replica."""

    base_s: Floats
    prefill_token_s: Floats
    decode_request_s: Floats


def step_costs(replicas: Sequence[ReplicaSnapshot]) -> StepCosts | None:
    """Where one is unknown, the mean of those that are known; None where none is."""
    known = [replica.step_cost for replica in replicas if replica.step_cost is not None]
    if not known:
        return None
    costs = columns(_COSTS, known)
    if len(known) < len(replicas):
        means = np.array([fsum(column) / len(known) for column in costs])
        is_known = [replica.step_cost is not None for replica in replicas]
        every = np.repeat(means[:, np.newaxis], len(replicas), axis=1)
        every[:, is_known] = costs
        costs = every
    return StepCosts(*costs)


def alike(costs: StepCosts, decode_requests: float) -> StepCosts:
    """Each the mean of those about as fast. `decode_requests`: in an average step."""
    steps_s = costs.base_s + costs.decode_request_s * decode_requests
    base_s, decode_request_s = _near_means(steps_s, costs.base_s, costs.decode_request_s)
    (prefill_token_s,) = _near_means(costs.prefill_token_s, costs.prefill_token_s)
    return StepCosts(base_s, prefill_token_s, decode_request_s)


def _near_means(durations_s: Floats, *columns: Floats) -> list[Floats]:
    """Of each column, for each replica, the mean over those with about its duration."""
    order = np.lexsort((*columns, durations_s))  # whatever the replicas' order, the same sums
    ascending = durations_s[order]
    if ascending[0] * (1.0 + ALIKE_FRAC) >= ascending[-1]:  # all are alike
        return [np.full(len(order), column[order].sum() / len(order)) for column in columns]
    first = np.searchsorted(ascending, durations_s / (1.0 + ALIKE_FRAC), side="left")
    end = np.searchsorted(ascending, durations_s * (1.0 + ALIKE_FRAC), side="right")
    means = []
    for column in columns:
        sums = np.concatenate(([0.0], np.cumsum(column[order])))
        means.append((sums[end] - sums[first]) / (end - first))
    return means


def columns(fields: attrgetter[tuple[float, ...]], rows: Sequence[object]) -> Floats:
    """An array for each field. (Row by row through `fromiter`: a third of the time of a list.)"""
    values = chain.from_iterable(map(fields, rows))
    return np.fromiter(values, dtype=np.float64).reshape(len(rows), -1).T.copy()

"""What was last decided on the size of a deployment, kept where gateways and the next scaler find
it: in the cluster's store, under `scaling/app/deployment`. The scaler in Serve's controller writes
it, alone.
"""

from __future__ import annotations

import logging

import msgspec

from serve_app import cluster_store

logger = logging.getLogger("ray.serve")

KEPT_CHANGES = 20

OLD_S = 60.0
"""A decision this old stands no more: the deployment has a fixed size now, or is gone. One that
stands is written again every few seconds, and clocks in a cluster differ by less."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The target was changed at a wall-clock time."""

    at_s: float
    before: int
    after: int
    reason: str
    sentence: str


class Scaled(msgspec.Struct, frozen=True, kw_only=True):
    """The last decision, and the last `KEPT_CHANGES` changes, newest last. `ready`: replicas that
    served then. `cold_start_s`: what a start is taken to last."""

    target: int
    ready: int
    reason: str
    sentence: str
    at_s: float
    cold_start_s: float | None = None
    changes: tuple[Change, ...] = ()


def key(app: str, deployment: str) -> str:
    return f"{_prefix(app)}{deployment}"


def write(app: str, deployment: str, scaled: Scaled) -> None:
    """Raises what the store raises."""
    cluster_store.put(key(app, deployment), msgspec.json.encode(scaled))


def read(app: str, deployment: str) -> Scaled | None:
    """None where nothing was decided, or other code wrote it in another form. Raises what the store
    raises."""
    value = cluster_store.get(key(app, deployment))
    return None if value is None else _decoded(value)


def read_all(app: str, wall_s: float) -> dict[str, Scaled]:
    """{deployment: its last decision} of those that are decided on still; empty where the store
    does not answer. Blocks."""
    found: dict[str, Scaled] = {}
    try:
        for each, value in cluster_store.values(_prefix(app)).items():
            scaled = _decoded(value)
            if scaled is not None and wall_s - scaled.at_s < OLD_S:
                found[each.removeprefix(_prefix(app))] = scaled
    except Exception as error:  # whatever it is, the store will be back
        logger.info("the store does not say how deployments are scaled: %s", error)
        return {}
    return found


def _decoded(value: bytes) -> Scaled | None:
    try:
        return msgspec.json.decode(value, type=Scaled)
    except msgspec.DecodeError:
        return None


def _prefix(app: str) -> str:
    return f"scaling/{app}/"

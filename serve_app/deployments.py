"""What Ray Serve, and the cluster's store, say of each model's engines: are they all up, do they
start, and if not, why; how many are wanted, and how long a start takes.

Serve starts a failed engine again after a pause that doubles with every failure (up to a minute),
and tells its last error here. Engines that start and then die are no failure to Serve: it starts
the next at once, and that one waits itself (`serve_app.engine_history`), which is shown here too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ray import serve
from ray.serve.schema import DeploymentStatusOverview, ReplicaState

from serve_app import engine_history, engine_starts, scaling_record
from serve_app.engine_history import Wait
from serve_app.scaling_record import Scaled

logger = logging.getLogger("tokenfleet.gateway")

STATUS_EVERY_S = 5.0
"""Each gateway asks the controller and the store so often, however often it is asked itself."""

AT_LEAST_S = 0.2
"""Between two looks, whatever happens."""

GATEWAYS = "Gateway"
"""The deployment of the gateways."""

Status = dict[str, str]


class Watched(Protocol):
    """A model whose deployment is looked at."""

    name: str
    deployment: Status | None
    backing_off: Sequence[Wait]
    scaled: Scaled | None
    start_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of an application's deployments, each by the deployment's name."""

    statuses: Mapping[str, Status] = field(default_factory=dict)
    waits: Mapping[str, Sequence[Wait]] = field(default_factory=dict)
    scaled: Mapping[str, Scaled] = field(default_factory=dict)
    starts_s: Mapping[str, float] = field(default_factory=dict)
    gateways: int = 0
    """That run; 0 where it is not known."""


def engines_deployment(model: str) -> str:
    """The name of the deployment of a model's engines; slashes mean something to Serve."""
    return f"Engine:{model}".replace("/", "--")


def look(app: str) -> Seen:
    """All of it; what does not answer says nothing. Blocks."""
    return replace(
        read(app),
        waits=engine_history.waits(app),
        scaled=scaling_record.read_all(app, time.time()),
        starts_s=engine_starts.read_all(app),
    )


def read(app: str) -> Seen:
    """Statuses, and how many gateways run; nothing where the controller does not answer."""
    try:
        overviews = serve.status().applications[app].deployments
    except Exception as error:  # whatever it is, the controller will be back
        logger.info("the controller does not say how the deployments are: %s", error)
        return Seen()
    return Seen(
        statuses={name: _status(overview) for name, overview in overviews.items()},
        gateways=_running(overviews.get(GATEWAYS)),
    )


def _status(overview: DeploymentStatusOverview) -> Status:
    return {"status": str(overview.status.value), "message": overview.message}


def _running(overview: DeploymentStatusOverview | None) -> int:
    states = {} if overview is None else overview.replica_states
    return int(states.get(ReplicaState.RUNNING, 0))


async def watch(
    models: Iterable[Watched],
    look: Callable[[], Seen],
    again: asyncio.Event,
    on_gateways: Callable[[int], None] = lambda count: None,
) -> None:
    """Keep what every model knows of its deployment up to date, for ever; None and empty where
    nothing is known. `look` may block. Looks at once where `again` is set: a model that has just
    lost its last engine may be meant to have none. `on_gateways` gets the number of gateways."""
    while True:
        again.clear()
        seen = await asyncio.to_thread(look)
        if seen.gateways:
            on_gateways(seen.gateways)
        for model in models:
            name = engines_deployment(model.name)
            model.deployment, model.backing_off = seen.statuses.get(name), seen.waits.get(name, ())
            model.scaled = seen.scaled.get(name)
            model.start_s = seen.starts_s.get(name, model.start_s)
        await asyncio.sleep(AT_LEAST_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(again.wait(), STATUS_EVERY_S)

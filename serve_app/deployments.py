"""What Ray Serve says of each model's engines: are they all up, do they start, and if not, why.

Serve starts a failed engine again after a pause that doubles with every failure (up to a minute),
and tells its last error here. Engines that start and then die are no failure to Serve: it starts
the next at once, and that one waits itself (`serve_app.engine_history`), which is shown here too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ray import serve

from serve_app.engine_history import Wait

logger = logging.getLogger("tokenfleet.gateway")

STATUS_EVERY_S = 5.0
"""Each gateway asks the controller and the store so often, however often it is asked itself."""

Status = dict[str, str]


class Watched(Protocol):
    """A model whose deployment is looked at."""

    name: str
    deployment: Status | None
    backing_off: Sequence[Wait]


def engines_deployment(model: str) -> str:
    """The name of the deployment of a model's engines; slashes mean something to Serve."""
    return f"Engine:{model}".replace("/", "--")


def read(app: str) -> dict[str, Status]:
    """{deployment: its status and message}; empty where the controller does not answer."""
    try:
        overview = serve.status().applications[app]
    except Exception as error:  # whatever it is, the controller will be back
        logger.info("the controller does not say how the deployments are: %s", error)
        return {}
    return {
        name: {"status": str(deployment.status.value), "message": deployment.message}
        for name, deployment in overview.deployments.items()
    }


async def watch(
    models: Iterable[Watched],
    look: Callable[[], dict[str, Status]],
    look_waits: Callable[[], dict[str, list[Wait]]],
) -> None:
    """Keep every model's `deployment` and `backing_off` up to date, for ever; None and empty where
    nothing is known. Both looks say it by deployment, and may block."""
    while True:
        statuses = await asyncio.to_thread(look)
        waits = await asyncio.to_thread(look_waits)
        for model in models:
            name = engines_deployment(model.name)
            model.deployment, model.backing_off = statuses.get(name), waits.get(name, ())
        await asyncio.sleep(STATUS_EVERY_S)

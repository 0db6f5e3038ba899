"""What Ray Serve says of each model's engines: are they all up, do they start, and if not, why.

Serve starts a failed engine again after a pause that doubles with every failure (up to a minute),
and tells its last error here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from ray import serve

logger = logging.getLogger("tokenfleet.gateway")

STATUS_EVERY_S = 5.0
"""Each gateway asks the controller so often, however often it is asked itself."""

Status = dict[str, str]


class Watched(Protocol):
    """A model whose deployment is looked at."""

    name: str
    deployment: Status | None


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


async def watch(models: Iterable[Watched], look: Callable[[], dict[str, Status]]) -> None:
    """Keep every model's `deployment` up to date, for ever; None where nothing is known."""
    while True:
        statuses = await asyncio.to_thread(look)
        for model in models:
            model.deployment = statuses.get(engines_deployment(model.name))
        await asyncio.sleep(STATUS_EVERY_S)

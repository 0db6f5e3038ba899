"""A call to every replica of a deployment through Serve's handle, and all their answers."""

from __future__ import annotations

from typing import Any

from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle


async def ask_all(
    replicas: DeploymentHandle, method: str, *args: Any, within_s: float
) -> list[object]:
    """One answer, or exception, per replica. Raises TimeoutError where one takes longer."""
    try:
        call = replicas.broadcast(method, *args)
        return await call.results_async(timeout_s=within_s, return_exceptions=True)
    except DeploymentUnavailableError:
        # Serve has not yet told this process which replicas there are; a plain call waits for that.
        await getattr(replicas, method).remote(*args)
        return await ask_all(replicas, method, *args, within_s=within_s)

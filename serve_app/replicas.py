"""The deployments' classes, as Ray Serve sees them: light, for whoever deploys imports them too.

What they do is in `serve_app.engine` and `serve_app.gateway`, which import vLLM: for ten seconds,
which a driver has no use for, and in which an engine's core can begin beside its host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from cluster import spec as cluster_spec
from cluster.admission.tenants import OPEN
from serve_app.early_core import EarlyCore, collecting_later
from serve_app.host_thread import HostThread

if TYPE_CHECKING:
    from serve_app.peers import Part
    from serve_app.sse_events import EventId
    from serve_app.usage_book import Counted


class Engine:
    """One engine replica. The constructor returns when the engine can take requests."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, spec: dict[str, Any], model_name: str
    ) -> None:
        parsed = cluster_spec.parse(spec)
        thread = HostThread("engine-host")
        core = await thread.run(EarlyCore.begin(parsed.model(model_name).resources.device))
        try:
            with collecting_later():
                from serve_app.engine import EngineReplica
            self._engine = EngineReplica(parsed, model_name, thread, core)
            await self._engine.start()
        finally:
            core.close()

    def record_replica_metadata(self) -> dict[str, str]:
        """Serve passes this to every gateway when the replica is ready."""
        return self._engine.metadata()

    def check_health(self) -> None:
        """Serve replaces the replica when this raises."""
        self._engine.check_health()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve asks this every second where the model's engines follow its load."""
        return await self._engine.scaling_stats()

    async def __del__(self) -> None:
        """Serve awaits this when it removes the replica."""
        if hasattr(self, "_engine"):
            await self._engine.remove()


@serve.ingress()
class Gateway:
    """One gateway replica. Serves from the start; models come in as their engines get ready."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        spec: dict[str, Any],
        limits: DeploymentHandle | None = None,
        **engines: DeploymentHandle,
    ) -> None:
        with collecting_later():
            from serve_app.gateway import GatewayReplica
        self._gateway = GatewayReplica()
        await self._gateway.start(spec, limits, engines)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._gateway.app

    def check_health(self) -> None:
        """Serve reports, and replaces, the replica when this raises."""
        self._gateway.check_health()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve asks this twice a second: what is asked for, and how this gateway bears it."""
        return self._gateway.scaling_stats()

    async def read_stream(
        self, last: EventId, number: int | None, tenant: str = OPEN.name
    ) -> Part | None:
        """For another gateway's client, see `serve_app.peers`."""
        return await self._gateway.read_stream(last, number, tenant)

    async def usage(self) -> Counted:
        """For the gateway that is asked, see `serve_app.usage_route`."""
        return self._gateway.usage()

    async def __del__(self) -> None:
        """Serve awaits this when it removes the replica."""
        if hasattr(self, "_gateway"):
            await self._gateway.close()

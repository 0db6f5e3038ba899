"""Which engines exist, as Ray Serve tells every process that holds a handle to them.

Serve runs the router class of a deployment inside each process with a handle, and calls its
`update_replicas` whenever the set of running replicas changes, with what each replica said of
itself when it became ready (`record_replica_metadata`). Nothing is ever routed through it: requests
go over the wire, Serve only tells who is there. A process that loses the controller keeps the set
it last knew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from serve_app.engine_address import EngineAddress

Listener = Callable[[Mapping[str, EngineAddress]], None]

ENDPOINT_KEY, PUBLIC_KEY_KEY = "wire_endpoint", "wire_public_key"
MODEL_KEY = "model"

_listeners: dict[str, Listener] = {}
_last_known: dict[str, dict[str, EngineAddress]] = {}
# A listener must hear the newest set last, though subscribing and Serve's news are two threads'.
_order = threading.RLock()


def subscribe(model: str, listener: Listener) -> None:
    """Call `listener` with {replica id: wire address} now, if known, and after every change.

    Calls after this one come from Serve's router thread, one at a time.
    """
    with _order:
        _listeners[model] = listener
        if model in _last_known:
            listener(_last_known[model])


def unsubscribe(model: str) -> None:
    """Stop calling the model's listener."""
    with _order:
        _listeners.pop(model, None)


def publish(model: str, addresses: Mapping[str, EngineAddress]) -> None:
    """Record the engines of a model and tell its listener."""
    with _order:
        _last_known[model] = dict(addresses)
        if listener := _listeners.get(model):
            listener(addresses)


class MembershipRouter(RequestRouter):
    """Publishes the replica set. Serve pickles this class by value, so its methods reach this
    module's state through an import of their own."""

    def initialize_state(self, **kwargs: Any) -> None:
        self._model = str(kwargs[MODEL_KEY])

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        from serve_app import membership

        super().update_replicas(replicas)
        membership.publish(self._model, membership.addresses_of(replicas))

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Any replica will do for the few management calls that go through Serve."""
        return [candidate_replicas]


def metadata_of(address: EngineAddress) -> dict[str, str]:
    """What a replica says of itself through Serve; plain text, whatever Serve does with it."""
    return {ENDPOINT_KEY: address.endpoint, PUBLIC_KEY_KEY: address.public_key}


def addresses_of(replicas: Sequence[RunningReplica]) -> dict[str, EngineAddress]:
    """{replica id: wire address} of the replicas that have said where they listen."""
    return {
        replica.replica_id.unique_id: EngineAddress(
            replica.replica_metadata[ENDPOINT_KEY], replica.replica_metadata[PUBLIC_KEY_KEY]
        )
        for replica in replicas
        if replica.replica_metadata.keys() >= {ENDPOINT_KEY, PUBLIC_KEY_KEY}
    }

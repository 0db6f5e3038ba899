"""A stream that one gateway keeps and another one's client resumes, less Serve between them."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass

import pytest
from ray import cloudpickle
from ray.exceptions import RayActorError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import RayServeException
from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter

from serve_app.gateway import Gateway
from serve_app.kept_streams import KeptStreams
from serve_app.peers import OWNER_KEY, Part, PeerRouter, read_for_peer
from serve_app.resumable import Resumable
from serve_app.sse_events import EventId
from tests.serve_app.streaming_app import RESUMABLE, Connection, StreamingModel, resume
from tests.serve_app.stub_models import no_peer, shell
from tests.serve_app.test_resumable import EVENTS, NOBODY_S, finished, run
from tests.waiting import DEADLINE_S, eventually


class TwoGateways:
    """The first runs the model and keeps its streams; the second asks it, `failing` with that."""

    def __init__(self, model: StreamingModel, window_s: float = DEADLINE_S) -> None:
        self.kept = KeptStreams("one", 1_000_000, window_s)
        self.first = shell(model, resumable=Resumable(self.kept, no_peer))
        other = KeptStreams("two", 1_000_000, window_s)
        self.second = shell(model, resumable=Resumable(other, self._read))
        self.failing: Exception | None = None
        self.asked: list[str] = []

    async def _read(self, last: EventId, number: int | None) -> Part | None:
        self.asked.append(last.owner)
        if self.failing is not None:
            raise self.failing
        part = await read_for_peer(self.kept, last, number)
        return cloudpickle.loads(cloudpickle.dumps(part))


def test_the_other_gateway_s_client_gets_the_rest():
    async def read() -> None:
        model = StreamingModel(EVENTS)
        gateways = TwoGateways(model)
        first = Connection(gateways.first, RESUMABLE, most=60)
        await first.task
        rest = await finished(resume(gateways.second, first.events[-1][0]))
        assert (rest.status, rest.headers) == (first.status, first.headers)
        assert [event for _, event in first.events + rest.events] == EVENTS
        assert rest.complete
        assert model.requests == 1
        assert set(gateways.asked) == {"one"}

    run(read())


def test_the_latest_of_connections_here_and_there_has_the_stream():
    async def read() -> None:
        gateways = TwoGateways(StreamingModel(EVENTS, until_left=True))
        first = Connection(gateways.first, RESUMABLE)
        await eventually(lambda: len(first.events) == len(EVENTS))
        stream = first.headers["x-tokenfleet-stream"]
        there = resume(gateways.second, stream)
        await finished(first)
        await eventually(lambda: len(there.events) == len(EVENTS))
        here = resume(gateways.first, stream)
        await finished(there)
        await eventually(lambda: len(here.events) == len(EVENTS))
        assert not any(connection.complete for connection in (first, there, here))
        here.lost.set()
        await here.task
        gateways.kept.close()

    run(read())


def test_a_client_that_leaves_the_other_gateway_is_waited_for_as_any():
    async def leave() -> None:
        model = StreamingModel(EVENTS, until_left=True)
        gateways = TwoGateways(model, window_s=NOBODY_S)
        first = Connection(gateways.first, RESUMABLE, most=60)
        await first.task
        there = resume(gateways.second, first.headers["x-tokenfleet-stream"])
        await eventually(lambda: len(there.events) == len(EVENTS))
        assert not model.left.is_set()
        there.lost.set()
        await there.task
        await model.left.wait()

    run(leave())


@pytest.mark.parametrize("error", [RayActorError(), RayServeException("it stops")])
def test_a_gateway_that_is_gone_has_taken_its_streams_along(error):
    async def ask() -> None:
        gateways = TwoGateways(StreamingModel(EVENTS))
        first = Connection(gateways.first, RESUMABLE, most=60)
        await first.task
        gateways.failing = error
        assert (await finished(resume(gateways.second, first.events[-1][0]))).status == 410

    run(ask())


def test_a_gateway_that_dies_meanwhile_cuts_the_stream():
    async def ask() -> None:
        gateways = TwoGateways(StreamingModel(EVENTS, until_left=True))
        first = Connection(gateways.first, RESUMABLE, most=60)
        await first.task
        rest = resume(gateways.second, first.events[-1][0])
        await eventually(lambda: rest.events)
        gateways.failing = RayActorError()
        gateways.kept.close()
        await finished(rest)
        assert (rest.status, rest.complete) == (200, False)

    run(ask())


GATEWAYS = DeploymentID(name="Gateway", app_name="app")


@dataclass(frozen=True)
class Replica:
    """The part of Serve's `RunningReplica` that is read; making one takes a cluster."""

    replica_id: ReplicaID


REPLICAS = [Replica(ReplicaID(unique_id=name, deployment_id=GATEWAYS)) for name in "abc"]


@pytest.fixture
def router(monkeypatch) -> PeerRouter:
    """A router that knows REPLICAS."""
    known = {replica.replica_id: replica for replica in REPLICAS}
    monkeypatch.setattr(PeerRouter, "curr_replicas", known)
    monkeypatch.setattr(PeerRouter, "apply_locality_routing", lambda self, pending_request: known)
    return PeerRouter.__new__(PeerRouter)


def chosen(router: PeerRouter, **kwargs: str) -> list[Replica]:
    async def choose() -> list[list[Replica]]:
        pending = PendingRequest(args=[], kwargs=kwargs, metadata=None)
        return await router.choose_replicas(REPLICAS, pending)

    (replicas,) = asyncio.run(choose())
    return replicas


def test_a_call_goes_to_the_replica_it_names(router):
    assert [chosen(router, **{OWNER_KEY: name}) for name in "abc"] == [[r] for r in REPLICAS]


@pytest.mark.parametrize("kwargs", [{}, {OWNER_KEY: "gone"}])
def test_any_other_call_goes_to_one_of_two(router, kwargs):
    drawn = [chosen(router, **kwargs) for _ in range(200)]
    assert {len(set(two)) for two in drawn} == {2}
    assert {replica for two in drawn for replica in two} == set(REPLICAS)


def test_the_router_overrides_what_serve_calls():
    theirs = inspect.signature(RequestRouter.choose_replicas).parameters
    assert list(inspect.signature(PeerRouter.choose_replicas).parameters) == list(theirs)


def test_the_gateway_takes_the_call_that_the_router_reads():
    parameters = list(inspect.signature(Gateway.read_stream).parameters)
    assert parameters == ["self", "last", "number", OWNER_KEY]

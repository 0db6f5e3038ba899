"""A stream that one gateway keeps and another one's client resumes, less Serve between them."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from ray import cloudpickle
from ray.exceptions import RayActorError
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentBroadcastResponse, DeploymentHandle

from cluster.admission.tenants import OPEN
from serve_app.caller import CALLER
from serve_app.kept_streams import KeptStreams
from serve_app.peers import Part, peer_read, read_for_peer
from serve_app.replicas import Gateway
from serve_app.resumable import Resumable
from serve_app.sse_events import EventId
from tests.serve_app.streaming_app import RESUMABLE, Connection, StreamingModel, resume
from tests.serve_app.stub_models import no_peer, shell
from tests.serve_app.test_resumable import EVENTS, NOBODY_S, finished, run
from tests.waiting import DEADLINE_S, eventually


class TwoGateways:
    """The first runs the model and keeps its streams; the second asks it."""

    def __init__(self, model: StreamingModel, window_s: float = DEADLINE_S) -> None:
        self.kept = KeptStreams("one", 1_000_000, window_s)
        self.first = shell(model, resumable=Resumable(self.kept, no_peer))
        other = KeptStreams("two", 1_000_000, window_s)
        self.second = shell(model, resumable=Resumable(other, self._read))
        self.asked: list[str] = []

    async def _read(self, last: EventId, number: int | None) -> Part | None:
        self.asked.append(last.owner)
        part = await read_for_peer(self.kept, last, number, CALLER.get().tenant.name)
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


def test_a_gateway_that_dies_meanwhile_cuts_the_stream():
    async def ask() -> None:
        gateways = TwoGateways(StreamingModel(EVENTS, until_left=True))
        first = Connection(gateways.first, RESUMABLE, most=60)
        await first.task
        rest = resume(gateways.second, first.events[-1][0])
        await eventually(lambda: rest.events)
        gateways.kept.close()
        await finished(rest)
        assert (rest.status, rest.complete) == (200, False)

    run(ask())


class Handle:
    """Serve's handle of gateways that answer so; `unknown` to it until one was called."""

    def __init__(self, *answers: object, unknown: bool = False) -> None:
        self.answers, self._unknown = answers, unknown
        self.called: list[tuple[object, ...]] = []

    def broadcast(self, *call: object) -> Handle:
        self.called.append(call)
        return self

    async def results_async(self, *, timeout_s: float, return_exceptions: bool) -> list[object]:
        assert return_exceptions
        if self.answers == (TimeoutError,):
            raise TimeoutError
        if self._unknown:
            raise DeploymentUnavailableError(None)
        return list(self.answers)

    @property
    def usage(self) -> Handle:
        return self

    @property
    def read_stream(self) -> Handle:
        return self

    async def remote(self, *call: object) -> None:
        self._unknown = False


LAST = EventId("one", "Zm9vYmFyYmF6cXV4MTIzNA", 3)
PART = Part(1, {}, b"data: 1\n\n", complete=False)


@pytest.mark.parametrize(
    ("answers", "part"),
    [
        pytest.param([None, PART, None], PART, id="one keeps it"),
        pytest.param([RayActorError(), PART], PART, id="another one dies"),
        pytest.param([None, RayActorError()], None, id="its own died"),
        pytest.param([None], None, id="nobody keeps it"),
        pytest.param([TimeoutError], None, id="somebody hangs"),
    ],
)
def test_all_gateways_are_asked(answers, part):
    handle = Handle(*answers)
    assert asyncio.run(peer_read(lambda: handle)(LAST, 1)) == part
    assert handle.called == [("read_stream", LAST, 1, OPEN.name)]


def test_a_handle_that_does_not_know_the_gateways_yet_gets_to_know_them():
    assert asyncio.run(peer_read(lambda: Handle(PART, unknown=True))(LAST, 1)) == PART


def test_serve_s_handle_can_still_call_every_replica():
    call = inspect.signature(DeploymentHandle.broadcast).parameters
    assert list(call)[:2] == ["self", "method_name"], "Ray changed DeploymentHandle.broadcast"
    fetch = inspect.signature(DeploymentBroadcastResponse.results_async).parameters
    assert {"timeout_s", "return_exceptions"} <= set(fetch), "Ray changed its results_async"


def test_the_gateway_takes_that_call():
    parameters = list(inspect.signature(Gateway.read_stream).parameters)
    assert parameters == ["self", "last", "number", "tenant"]


def test_a_gateway_waits_for_an_event_only_so_long(monkeypatch):
    monkeypatch.setattr("serve_app.peers.PART_WITHIN_S", NOBODY_S)

    async def wait() -> None:
        gateways = TwoGateways(StreamingModel(EVENTS, until_left=True))
        first = Connection(gateways.first, RESUMABLE, most=60)
        await first.task
        rest = resume(gateways.second, first.events[-1][0])
        await eventually(lambda: rest.events)
        asked = len(gateways.asked)
        await eventually(lambda: len(gateways.asked) >= asked + 3)
        assert not rest.task.done()
        gateways.kept.close()
        await finished(rest)

    run(wait())

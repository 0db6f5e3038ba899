"""Steady load: so many at once, until it is told to stop."""

import asyncio
from random import Random

from loadtest.chaos.kinds import KINDS, Kind, completion
from loadtest.chaos.outcome import Outcome
from loadtest.chaos.traffic import asker, steady
from tests.loadtest.fake_server import DONE, FakeServer, delta, response, saying, serving, usage

STREAMS = 4


def test_so_many_are_in_flight_until_it_stops() -> None:
    taken: list[Outcome] = []
    most = 0

    async def play() -> None:
        stop, in_flight = asyncio.Event(), 0

        async def ask(kind: Kind) -> Outcome:
            nonlocal in_flight, most
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(0)
            in_flight -= 1
            return Outcome(kind=kind.name, began_s=0, ended_s=1, error="no")

        def take(outcome: Outcome) -> None:
            taken.append(outcome)
            stop.set()

        await steady(ask, KINDS, STREAMS, Random(0), take, stop)

    asyncio.run(play())
    assert most == STREAMS
    assert len(taken) == STREAMS  # those in flight when it stopped were waited for


def test_each_request_has_a_connection_of_its_own() -> None:
    server = FakeServer(saying(*response(delta(content="a"), usage(1) + DONE)))

    async def twice(endpoint_ask: object) -> list[Outcome]:
        return [await ask(completion("c")) for _ in range(2)]

    with serving(server) as endpoint:
        ask = asker(endpoint, "m")
        outcomes = asyncio.run(twice(ask))
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert server.connections == 2
    assert server.requests[0] == completion("c").request("m")

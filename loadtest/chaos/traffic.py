"""Steady mixed load: so many requests at once, for as long as it lasts.

A request has a connection of its own: one that is kept alive may be closed by the ingress, when it
reloads, in the moment that the next request is written to it, which says nothing about the fleet.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from time import monotonic

from loadtest.chaos.kinds import Kind
from loadtest.chaos.outcome import Outcome, outcome_of
from loadtest.client import Endpoint, Stream, render_post

ANSWER_WITHIN_S = 300.0
PAUSE_AFTER_ERROR_S = 1.0  # as clients do, lest one refusal become thousands

Ask = Callable[[Kind], Awaitable[Outcome]]


def asker(endpoint: Endpoint, model: str) -> Ask:
    """Asks a model at an endpoint; never raises, see `Outcome.error`."""

    async def ask(kind: Kind) -> Outcome:
        stream = Stream(endpoint)
        request = render_post(endpoint, kind.path, kind.request(model))
        try:
            reply = await stream.send(request, ANSWER_WITHIN_S)
        finally:
            stream.close()
        ended_s = monotonic()
        # In a thread: thousands of chunks are read at once, and the other streams' clocks run.
        return await asyncio.to_thread(outcome_of, kind, reply, ended_s)

    return ask


async def steady(
    ask: Ask,
    kinds: Sequence[Kind],
    streams: int,
    rng: Random,
    take: Callable[[Outcome], None],
    stop: asyncio.Event,
) -> None:
    """Keep `streams` requests of random kinds in flight until `stop`; returns when the last has
    ended."""

    async def lane() -> None:
        while not stop.is_set():
            outcome = await ask(rng.choice(kinds))
            take(outcome)
            if outcome.error is not None:
                await _pause(stop)

    async with asyncio.TaskGroup() as lanes:
        for _ in range(streams):
            lanes.create_task(lane())


async def _pause(stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), PAUSE_AFTER_ERROR_S)
    except TimeoutError:
        return

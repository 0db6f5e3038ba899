"""Many requests in flight at once, and something that happens to the cluster in their middle."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from openai import APIError, AsyncOpenAI

from tests.integration.answers import Answer, folded
from tests.integration.fleet import Fleet
from tests.integration.kinds import Kind

UNDER_WAY_CHUNKS = 5


@dataclass
class Played:
    """One request and what came of it. `under_way` is set once it streams (or has ended)."""

    kind: Kind
    parts: list[dict[str, Any]] = field(default_factory=list)
    arrived_at_s: list[float] = field(default_factory=list)
    error: APIError | None = None
    ended: bool = False
    under_way: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self, client: AsyncOpenAI, model: str = "demo") -> None:
        try:
            async for part in ask(client, self.kind, model):
                self.parts.append(part)
                self.arrived_at_s.append(time.monotonic())
                if len(self.parts) == UNDER_WAY_CHUNKS:
                    self.under_way.set()
        except APIError as error:
            self.error = error
        finally:
            self.ended = True
            self.under_way.set()

    @property
    def answer(self) -> Answer:
        assert self.error is None, f"{self.kind.name}: {self.error!r}"
        return folded(self.parts)

    @property
    def longest_gap_s(self) -> float:
        """Between two parts; 0 where there are not two."""
        return max((late - early for early, late in pairwise(self.arrived_at_s)), default=0.0)


async def ask(client: AsyncOpenAI, kind: Kind, model: str = "demo"):
    """Yield the response, or each chunk of the stream, as vLLM sent it."""
    body = {**kind.body, "return_token_ids": True}
    call: dict[str, Any] = {"model": model, "stream": kind.stream, "extra_body": body}
    if kind.stream:
        body["stream_options"] = {"include_usage": True}
    if kind.is_chat:
        response = await client.chat.completions.create(messages=body.pop("messages"), **call)
    else:
        if kind.stream:
            # The SDK's type of a chunk is that of the last one: it demands a finish reason.
            client = client.copy(_extra_kwargs={"_strict_response_validation": False})
        response = await client.completions.create(prompt=body.pop("prompt"), **call)
    if not kind.stream:
        yield response.to_dict()
        return
    async for chunk in response:
        yield chunk.to_dict()


async def play_all(fleet: Fleet, kinds: Iterable[Kind], model: str = "demo") -> list[Played]:
    """Every kind at once, undisturbed."""
    played = [Played(kind) for kind in kinds]
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        for each in played:
            group.create_task(each.play(client, model))
    return played


async def start_in_turn(
    fleet: Fleet,
    client: AsyncOpenAI,
    group: asyncio.TaskGroup,
    played: Iterable[Played],
    already: int = 0,
) -> None:
    """Start each as soon as the one before is with an engine, then wait until all stream.

    `already` requests are in flight.

    So two requests alike, started one after the other on engines with equal load, run on different
    engines: whichever engine is lost, it has one of every kind.
    """
    started, flights = [], already
    for each in played:
        group.create_task(each.play(client))
        started.append(each)
        flights += each.kind.flights
        await asyncio.to_thread(fleet.wait_for_active, flights)
    for each in started:
        if each.kind.stream:
            await each.under_way.wait()
    early = [each.kind.name for each in started if each.ended]
    assert not early, f"too short to be met in mid-stream: {early}"

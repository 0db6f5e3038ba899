"""Many requests in flight at once, and something that happens to the cluster in their middle."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from openai import APIError, AsyncOpenAI

from loadtest.chaos.answers import Answer, folded
from loadtest.chaos.kinds import Kind
from loadtest.chaos.processes import processes_of
from tests.integration.fleet import Fleet

UNDER_WAY_PARTS = 3
SLICE_S = 0.05
QUIET_S = 0.1


@dataclass
class Played:
    """One request and what came of it, part by part."""

    kind: Kind
    parts: list[dict[str, Any]] = field(default_factory=list)
    arrived_at_s: list[float] = field(default_factory=list)
    error: APIError | None = None
    ended: bool = False

    async def play(self, client: AsyncOpenAI, model: str = "demo") -> None:
        try:
            async for part in ask(client, self.kind, model):
                self.parts.append(part)
                self.arrived_at_s.append(time.monotonic())
        except APIError as error:
            self.error = error
        finally:
            self.ended = True

    def longest_gap_s(self, since_s: float) -> float:
        """Between two parts that arrived after an instant; 0 where there are not two."""
        later = [at_s for at_s in self.arrived_at_s if at_s > since_s]
        return max((late - early for early, late in pairwise(later)), default=0.0)

    @property
    def answer(self) -> Answer:
        assert self.error is None, f"{self.kind.name}: {self.error!r}"
        return folded(self.parts)


async def ask(client: AsyncOpenAI, kind: Kind, model: str = "demo") -> AsyncIterator[Any]:
    """Yield the response, or each chunk of the stream, as vLLM sent it."""
    body = {**kind.body, "return_token_ids": True}
    call: dict[str, Any] = {"model": model, "stream": kind.stream, "extra_body": body}
    if kind.stream:
        body["stream_options"] = {"include_usage": True}
    if kind.is_chat:
        response = await client.chat.completions.create(messages=body.pop("messages"), **call)
    else:
        if kind.stream or kind.body.get("echo"):
            # The SDK has no type of its own for chunks and demands a finish reason in each; and it
            # knows no null where OpenAI's own API has one, as the first prompt token's logprob.
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


async def start_all(
    fleet: Fleet,
    client: AsyncOpenAI,
    group: asyncio.TaskGroup,
    played: list[Played],
    model: str = "demo",
) -> list[asyncio.Task[None]]:
    """Start all, and wait until every one is with an engine and every stream flows.

    The engines stand still until they have them all: none is over before the last has begun.
    """
    flights = fleet.flights(model)["active"] + sum(each.kind.flights for each in played)
    cores = await asyncio.to_thread(cores_of, fleet, model)
    async with frozen(*cores):
        tasks = [group.create_task(each.play(client, model)) for each in played]
        await asyncio.to_thread(fleet.wait_for_active, flights, model)
        await all_flow(played, cores)
    return tasks


async def all_flow(played: list[Played], cores: list[int]) -> None:
    """Run the cores, which stand still, until every stream has brought something more.

    They run in slices: on two cores they would else be far ahead of what this process has read,
    and the fastest stream would be over when the slowest begins here. Raises where one is over.
    """
    streams = [each for each in played if each.kind.stream]
    wanted = [len(each.parts) + UNDER_WAY_PARTS for each in streams]
    while any(
        len(each.parts) < parts and not each.ended
        for each, parts in zip(streams, wanted, strict=True)
    ):
        _send(cores, signal.SIGCONT)
        await asyncio.sleep(SLICE_S)
        _send(cores, signal.SIGSTOP)
        await _all_read(played)
    early = [each.kind.name for each in played if each.ended]
    assert not early, f"too short to be met in mid-stream: {early}"


async def _all_read(played: list[Played]) -> None:
    """Wait until no part arrives any more."""
    before, now = -1, 0
    while before != now:
        await asyncio.sleep(QUIET_S)
        before, now = now, sum(len(each.parts) for each in played)


def cores_of(fleet: Fleet, model: str = "demo") -> list[int]:
    """The pids of the cores of all engines of a model."""
    return [core_of(row) for row in fleet.engines(model)]


def core_of(engine: dict[str, Any]) -> int:
    return processes_of(engine["pid"])["EngineCore"][0].pid


@asynccontextmanager
async def frozen(*pids: int) -> AsyncIterator[None]:
    """Processes that stand still meanwhile: streams do not run out while one waits."""
    _send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _send(pids, signal.SIGCONT)


@asynccontextmanager
async def without(fleet: Fleet, engine: dict[str, Any]) -> AsyncIterator[None]:
    """Meanwhile an engine's host stands still, and the fleet does without it."""
    left = len(fleet.engines()) - 1
    async with frozen(engine["pid"]):
        await asyncio.to_thread(fleet.wait_for_engines, left)
        yield


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # killed meanwhile
            os.kill(pid, number)

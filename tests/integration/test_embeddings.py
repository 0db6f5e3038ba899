"""A pooling model beside the generating ones: its routes, and its requests when its engine dies."""

import asyncio
import os
import signal

import pytest
from openai import NotFoundError

from loadtest.chaos.processes import processes_of
from tests.integration.fleet import Fleet

MODEL = "demo-embed"
TEXTS = [f"The {animal} goes to the sea." for animal in ("cat", "dog", "bird", "horse")]
DIMENSIONS = 256


@pytest.fixture
def embedder(fleet: Fleet) -> Fleet:
    """The cluster with the pooling engine up."""
    fleet.wait_for_engines(1, MODEL)
    return fleet


async def _embed(fleet: Fleet) -> list[list[float]]:
    async with fleet.client() as client:
        # As floats: to the strict client base64 is no list of numbers.
        answer = await client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")
    return [row.embedding for row in answer.data]


def test_texts_become_vectors_of_length_one(embedder: Fleet) -> None:
    vectors = asyncio.run(_embed(embedder))
    assert [len(vector) for vector in vectors] == [DIMENSIONS] * len(TEXTS)
    assert [sum(x * x for x in vector) for vector in vectors] == pytest.approx([1.0] * len(TEXTS))
    assert len({tuple(vector) for vector in vectors}) == len(TEXTS)


def test_it_does_not_chat(embedder: Fleet) -> None:
    async def chat() -> None:
        async with embedder.client() as client:
            await client.chat.completions.create(model=MODEL, messages=[])

    with pytest.raises(NotFoundError):
        asyncio.run(chat())


def test_requests_of_a_killed_engine_are_answered_by_its_replacement(embedder: Fleet) -> None:
    undisturbed = asyncio.run(_embed(embedder))
    assert asyncio.run(_embed_while_killed(embedder)) == undisturbed


async def _embed_while_killed(fleet: Fleet) -> list[list[float]]:
    processes = processes_of(fleet.engines(MODEL)[0]["pid"])
    os.kill(processes["EngineCore"][0].pid, signal.SIGSTOP)  # it dies stopped
    task = asyncio.create_task(_embed(fleet))
    await asyncio.to_thread(fleet.wait_for_active, len(TEXTS), MODEL)
    os.kill(processes["host"][0].pid, signal.SIGKILL)
    return await task

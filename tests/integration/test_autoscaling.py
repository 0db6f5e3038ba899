"""Engines follow the load, from none to two and back, and no request notices but by waiting."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI

from serve_app.held_requests import COMMENT
from tests.integration.fleet import ANSWER_WITHIN_S, ENGINE, READY_WITHIN_S, Fleet
from tests.waiting import until

# So much headroom that a load which keeps one engine half busy asks for both: how fast an engine is
# on this machine does not matter then. The last one goes within seconds.
SPEC = f"""
models:
  - name: demo
    source: demo
    scaling: {{min: 0, max: 2, idle_s: 5, headroom_frac: 3}}
    engine: {ENGINE}
    resources: {{cpus: 0.2}}
gateway: {{cpus: 0.2}}
failover:
  hold_timeout_s: {ANSWER_WITHIN_S}
"""
CLIENTS = 8
PROMPT_TOKENS = 2000  # of random tokens, so that no cache holds any of it
LARGEST_TOKEN = 1000
BODY = {"model": "demo", "prompt": "Once upon a time", "temperature": 0, "max_tokens": 20}


@pytest.fixture(scope="module")
def elastic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet.start(tmp_path_factory.mktemp("elastic"), SPEC)
    try:
        fleet.wait_until_said_ready()
        yield fleet
    finally:
        printed = fleet.stop()
    assert "no process left" in printed


@dataclass
class Held:
    """A stream that was asked for when there was no engine: what came of it, and of another
    request, which did not stream."""

    content: bytes
    whole: dict[str, Any]


def scaling(fleet: Fleet) -> dict[str, Any]:
    return fleet.row()["scaling"] or {}


def changes(fleet: Fleet) -> list[tuple[int, int]]:
    return [(change["before"], change["after"]) for change in scaling(fleet).get("changes", ())]


def wait_until_asleep(fleet: Fleet) -> None:
    until(
        lambda: scaling(fleet).get("target") == 0 and not fleet.row()["engines"],
        within_s=READY_WITHIN_S,
        what="nobody asks, and the last engine has gone",
    )


def test_from_none_to_two_and_back_no_request_fails(elastic: Fleet) -> None:
    asyncio.run(_up_and_down(elastic))


async def _up_and_down(fleet: Fleet) -> None:
    await asyncio.to_thread(wait_until_asleep, fleet)
    assert changes(fleet) == [(0, 1), (1, 0)]  # the first, for the gateway to learn from
    assert fleet.http.get("/ready").status_code == 200
    assert fleet.http.get("/version").status_code == 200
    assert not fleet.row()["held"]
    held = await _held(fleet)
    assert COMMENT in held.content
    events = held.content.replace(COMMENT, b"").decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert held.whole["usage"]["completion_tokens"] == BODY["max_tokens"]
    await _loaded_until_two(fleet)
    await asyncio.to_thread(wait_until_asleep, fleet)
    went = changes(fleet)[2:]
    assert went == [(0, 1), (1, 2), (2, 1), (1, 0)]
    assert fleet.flights()["failed"] == 0
    assert {change["reason"] for change in scaling(fleet)["changes"][-2:]} == {"idle"}


async def _held(fleet: Fleet) -> Held:
    async with httpx2.AsyncClient(
        base_url=fleet.url, timeout=ANSWER_WITHIN_S, trust_env=False
    ) as client:
        whole = asyncio.ensure_future(client.post("/v1/completions", json=BODY))
        content = b""
        async with client.stream("POST", "/v1/completions", json=BODY | {"stream": True}) as answer:
            assert answer.status_code == 200
            assert not fleet.engines(), "it was to be held"
            async for part in answer.aiter_bytes():
                content += part
        return Held(content, (await whole).raise_for_status().json())


async def _loaded_until_two(fleet: Fleet) -> None:
    """Every client asks again and again until both engines serve; whichever fails raises."""
    both = asyncio.Event()
    rng = random.Random(0)
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(_ask_until(both, client, rng))
        await asyncio.to_thread(fleet.wait_for_engines, 2)
        both.set()


async def _ask_until(both: asyncio.Event, client: AsyncOpenAI, rng: random.Random) -> None:
    while not both.is_set():
        prompt = [rng.randrange(LARGEST_TOKEN) for _ in range(PROMPT_TOKENS)]
        answer = await client.completions.create(model="demo", prompt=prompt, max_tokens=16)
        assert answer.choices[0].finish_reason in ("length", "stop")

"""A run in which an engine is killed: streams in a closed loop for a fixed time, `kill -9` of one
EngineCore after a third of it.

A stream whose request failed waits a moment before the next, as a client that retries would: a
server that refuses at once would otherwise be asked thousands of times.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic

import psutil
import uvloop

from loadtest.bench.peers.descendants import title
from loadtest.bench.plan import Plan, Subject, render_chat
from loadtest.bench.records import DuringRow, KillRow, Row
from loadtest.client import Endpoint, Stream
from loadtest.metrics import RequestSample
from loadtest.prompts import prompt
from loadtest.reply import RawReply, sample_of

RETRY_AFTER_S = 0.5
KILL_PART = 3  # the kill comes after a third of the run


@dataclass(frozen=True, slots=True)
class KillPlan:
    streams: int
    run_s: float
    timeout_s: float  # of one request


Done = tuple[RawReply, float]
"""A reply and when it had ended."""


def run(
    plan: Plan, kill: KillPlan, subject: Subject, words: int, cores: Sequence[psutil.Process]
) -> list[Row]:
    """`cores`: of all engines of the subject; the first is killed."""
    victim_title = title(cores[0])
    requests = [
        _requests(plan, subject, kill.streams, stream, words) for stream in range(kill.streams)
    ]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        done, killed_at_s = runner.run(_run(subject.endpoint, requests, kill, cores[0].kill))
    start_s = min(reply.t0_s for reply, _ in done)
    rows: list[Row] = [
        DuringRow(
            side=subject.side, sample=since(start_s, sample_of(reply)), ended_s=at_s - start_s
        )
        for reply, at_s in done
    ]
    head = KillRow(
        side=subject.side,
        streams=kill.streams,
        engines=len(cores),
        killed=victim_title,
        killed_at_s=killed_at_s - start_s,
        last_sent_s=max(reply.t0_s for reply, _ in done) - start_s,
    )
    return [head, *rows]


def _requests(
    plan: Plan, subject: Subject, streams: int, stream: int, words: int
) -> Iterator[bytes]:
    """Endless; the same on all sides, and never the same prompt twice."""
    for number in itertools.count():
        seed = (plan.seed, "killed", streams, stream, number)
        content = prompt(words, *seed)
        yield render_chat(plan.model, subject.endpoint, content, plan.output_tokens)


async def _run(
    endpoint: Endpoint, requests: Sequence[Iterator[bytes]], kill: KillPlan, do: Callable[[], None]
) -> tuple[list[Done], float]:
    ends_s = monotonic() + kill.run_s
    streams = [Stream(endpoint) for _ in requests]

    async def killing() -> float:
        await asyncio.sleep(kill.run_s / KILL_PART)
        at_s = monotonic()
        do()
        return at_s

    async with asyncio.TaskGroup() as group:
        killed = group.create_task(killing())
        pairs = zip(streams, requests, strict=True)
        tasks = [
            group.create_task(_until(ends_s, stream, mine, kill.timeout_s))
            for stream, mine in pairs
        ]
    for stream in streams:
        stream.close()
    return [done for task in tasks for done in task.result()], killed.result()


async def _until(
    ends_s: float, stream: Stream, requests: Iterator[bytes], timeout_s: float
) -> list[Done]:
    done = []
    while monotonic() < ends_s:
        reply = await stream.send(next(requests), timeout_s)
        done.append((reply, monotonic()))
        if seems_failed(reply):
            await asyncio.sleep(RETRY_AFTER_S)
    return done


def seems_failed(reply: RawReply) -> bool:
    """Told without decoding JSON, which has to wait until the run is over."""
    bad_end = bool(reply.failure) or reply.status != 200
    return bad_end or any(b'"error"' in part for _, part in reply.parts)


def since(start_s: float, sample: RequestSample) -> RequestSample:
    """`sample` with instants as seconds after `start_s`."""

    def later(at_s: float | None) -> float | None:
        return None if at_s is None else at_s - start_s

    return replace(
        sample,
        t_sched_s=sample.t_sched_s - start_s,
        t0_s=sample.t0_s - start_s,
        t1_s=later(sample.t1_s),
        tn_s=later(sample.tn_s),
    )
